"""Everything that the journal asks of the operating system, and nothing else, so that a test can put itself in between.

A test's disk may fail any call, and may lose or reorder whatever was not synced: a file's bytes until `sync`, a
name (created, renamed, unlinked) until `sync_directory`. The journal is right if it is right on every such disk.
"""

from __future__ import annotations

import errno
import fcntl
import os
from pathlib import Path
from typing import Final

_NO_PREALLOCATION: Final = frozenset({errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS})
"""What file systems answer that cannot preallocate (some network volumes): the file then grows as it is written."""


class Disk:
    """The real disk. Every method raises OSError, and none tries anything twice."""

    def make_directory(self, directory: Path) -> None:
        """Create a directory and what is missing above it."""
        directory.mkdir(parents=True, exist_ok=True)

    def lock(self, path: Path) -> int:
        """Open and lock a file; raises BlockingIOError if somebody holds it. The lock lasts until `close`."""
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(file)
            raise
        return file

    def open(self, path: Path) -> int:
        """Create an empty file for appending, and end one that was there. Only the owner may read it."""
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)

    def reopen(self, path: Path) -> int:
        """Open a file that is there, to sync it again or to cut it."""
        return os.open(path, os.O_RDWR | os.O_CLOEXEC)

    def close(self, file: int) -> None:
        """Close a file; not synced bytes stay in danger."""
        os.close(file)

    def preallocate(self, file: int, size: int) -> None:
        """Reserve `size` bytes of zeros, so that a commit need not write the file's length, too."""
        try:
            os.posix_fallocate(file, 0, size)
        except OSError as error:
            if error.errno not in _NO_PREALLOCATION:
                raise

    def write(self, file: int, data: bytes) -> None:
        """Write all of `data` where the last write ended."""
        view = memoryview(data)
        while view:
            view = view[os.write(file, view) :]

    def cut(self, file: int, size: int) -> None:
        """Shorten a file to `size` bytes."""
        os.ftruncate(file, size)

    def sync(self, file: int) -> None:
        """Make the bytes of a file durable (fdatasync)."""
        os.fdatasync(file)

    def rename(self, source: Path, target: Path) -> None:
        """Give a file another name in the same directory; a file of that name goes."""
        source.rename(target)

    def unlink(self, path: Path) -> None:
        """Remove a file."""
        path.unlink()

    def sync_directory(self, directory: Path) -> None:
        """Make the names in a directory durable."""
        file = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(file)
        finally:
            os.close(file)

    def list(self, directory: Path, pattern: str) -> list[Path]:
        """Files of a directory that match a pattern, by name."""
        return sorted(directory.glob(pattern))

    def read(self, path: Path) -> bytes:
        """The whole of a file."""
        return path.read_bytes()


def write_durably(disk: Disk, path: Path, data: bytes) -> None:
    """Put a file in place whole or not at all: temporary name, sync, rename, sync of the directory."""
    temporary = path.with_name(path.name + ".tmp")
    file = disk.open(temporary)
    try:
        disk.write(file, data)
        disk.sync(file)
    finally:
        disk.close(file)
    disk.rename(temporary, path)
    disk.sync_directory(path.parent)
