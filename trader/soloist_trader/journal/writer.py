"""Writing: one frame and one fdatasync per commit; a failure is final.

After a failed fsync the kernel may have dropped the pages while calling them clean, so a second attempt could claim
durability that is not there. The journal refuses everything from then on, and the engine stops opening positions.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable
from pathlib import Path
from typing import Final

from soloist_trader.core.records import Record
from soloist_trader.errors import JournalFailedError, StateError
from soloist_trader.journal.codec import encode_batch
from soloist_trader.journal.frames import frame, segment_header
from soloist_trader.journal.reader import Tail, read_journal, segment_path

SEGMENT_BYTES: Final = 32 * 1024 * 1024
UNCOMMITTED_RECORDS: Final = 4096
"""Records waiting for a commit; above this, new orders are denied by committing at once."""


class Journal:
    """The journal of one state directory, locked against a second engine."""

    def __init__(self, directory: Path, *, segment_bytes: int = SEGMENT_BYTES) -> None:
        self.directory = directory
        self.failed = ""
        self.commits = 0
        self.bytes_written = 0
        self._segment_bytes = segment_bytes
        self._pending: list[Record] = []
        self._tail = Tail()
        self._file = -1
        self._size = 0
        self._lock = -1
        self._sync: Callable[[int], None] = os.fdatasync

    def open(self, apply: Callable[[Record], None]) -> Tail:
        """Lock, replay every record through `apply`, rewrite and sync the tail segment, and be ready to append.

        Raises StateError (locked, unreadable) and JournalDamagedError.
        """
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            self._take_lock()
            tail = Tail()
            for _, _, records in read_journal(self.directory, tail):
                for record in records:
                    apply(record)
            if not tail.intact:
                tail.segment, tail.intact = 1, segment_header(1, 0)
            self._rewrite_tail(tail)
        except OSError as error:
            raise StateError(
                f"state directory {self.directory}: {error}. The engine needs a directory it may write to."
            ) from error
        return tail

    def _take_lock(self) -> None:
        self._lock = os.open(self.directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise StateError(
                f"state directory {self.directory} is in use by another engine; stop that one first."
            ) from error

    def _rewrite_tail(self, tail: Tail) -> None:
        """Write the tail segment anew: pages that an earlier failed fsync left marked clean are not trusted."""
        path = segment_path(self.directory, tail.segment)
        temporary = path.with_suffix(".tmp")
        file = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        _write_all(file, tail.intact)
        os.fsync(file)
        temporary.rename(path)
        for begun in tail.segments:
            if begun > path:
                begun.unlink()  # a crash while rotating left a torn header; nothing was ever in it
        self._sync_directory()
        self._tail, self._file, self._size = tail, file, len(tail.intact)
        tail.intact = b""

    def _sync_directory(self) -> None:
        directory = os.open(self.directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)

    def append(self, record: Record) -> None:
        """Take a record for the next commit."""
        self._pending.append(record)

    @property
    def uncommitted(self) -> int:
        """Records that a crash now would lose."""
        return len(self._pending)

    def commit(self) -> None:
        """Make everything appended durable: one frame, one fdatasync. Raises JournalFailedError, for good."""
        if self.failed:
            raise JournalFailedError(self.failed)
        if not self._pending:
            return
        records, self._pending = self._pending, []
        tail = self._tail
        data, crc = frame(tail.segment, tail.sequence + 1, tail.crc, encode_batch(records))
        try:
            _write_all(self._file, data)
            self._sync(self._file)
            tail.sequence, tail.crc = tail.sequence + 1, crc
            self._size += len(data)
            self.commits += 1
            self.bytes_written += len(data)
            if self._size >= self._segment_bytes:
                self._rotate()
        except OSError as error:
            self.failed = (
                f"journal {self.directory}: {error}; it is not tried again. Free the disk or replace the volume, "
                f"then restart the engine."
            )
            raise JournalFailedError(self.failed) from error

    def _rotate(self) -> None:
        tail = self._tail
        os.close(self._file)
        tail.segment += 1
        header = segment_header(tail.segment, tail.crc)
        path = segment_path(self.directory, tail.segment)
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        _write_all(self._file, header)
        os.fsync(self._file)
        self._sync_directory()
        self._size = len(header)

    def close(self) -> None:
        """Release file and lock. Does not commit."""
        for descriptor in (self._file, self._lock):
            if descriptor >= 0:
                os.close(descriptor)
        self._file = self._lock = -1


def _write_all(file: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(file, view) :]
