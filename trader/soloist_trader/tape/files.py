"""Tape files: a directory, a thread that compresses and writes, and a bound on what they take together."""

from __future__ import annotations

import queue
import threading
from pathlib import Path
from typing import BinaryIO, Final

from soloist_trader.tape import blocks
from soloist_trader.tape.errors import TapeError
from soloist_trader.tape.writer import Chunk

FILE_BYTES: Final = 64 * 1024 * 1024
MAXIMUM_BYTES: Final = 1024 * 1024 * 1024
"""All files of a directory together, but for what waits in the queue when a file is full; the oldest are removed."""
QUEUE_BYTES: Final = 16 * 1024 * 1024
"""Uncompressed bytes that may wait for the disk; one chunk is taken whatever its size, or no anchor of a large state ever were."""
FILES_AT_LEAST: Final = 8
"""A bound on the whole is kept in so many files or more: only whole files are removed."""
SUFFIX: Final = ".tape"


class FileSink:
    """Writes chunks to `directory`. The file names sort by the run's start and count files within it.

    A disk error ends it (`failed`); chunks that were taken before are lost with it, and the file shows where.
    """

    def __init__(
        self,
        directory: Path,
        started_ms: int,
        *,
        file_bytes: int = FILE_BYTES,
        maximum_bytes: int = MAXIMUM_BYTES,
        queue_bytes: int = QUEUE_BYTES,
    ) -> None:
        """Raises TapeError if the directory cannot be made."""
        try:
            directory.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise TapeError(f"tape directory {directory} cannot be made: {error}") from error
        self._directory = directory
        self._started_ms = started_ms
        self._file_bytes = min(file_bytes, maximum_bytes // FILES_AT_LEAST)
        self._maximum_bytes = maximum_bytes
        self._queue_bytes = queue_bytes
        self._failed = ""
        # Each of these has one writer, the loop's thread (taken) or the sink's (the others), so that none needs a lock.
        self._bytes_taken = self._bytes_done = 0
        self._files_taken = self._files = 0
        self._written = 0
        self._queue: queue.SimpleQueue[Chunk | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="tape", daemon=True)
        self._thread.start()

    @property
    def wants_file(self) -> bool:
        """True once the file is large enough and no other one is on its way."""
        return self._written >= self._file_bytes and self._files == self._files_taken

    @property
    def failed(self) -> str:
        """The disk error that ended it."""
        return self._failed

    @property
    def waiting_bytes(self) -> int:
        """Bytes that were taken and are not written yet, before compression."""
        return self._bytes_taken - self._bytes_done

    def offer(self, chunk: Chunk) -> bool:
        """Take a chunk unless too much waits."""
        waiting = self.waiting_bytes
        if waiting and waiting + len(chunk.payload) > self._queue_bytes:
            return False
        self._bytes_taken += len(chunk.payload)
        self._files_taken += bool(chunk.header)
        self._queue.put(chunk)
        return True

    def close(self) -> None:
        """Write what was taken and end the thread."""
        self._queue.put(None)
        self._thread.join()

    def _run(self) -> None:
        file: BinaryIO | None = None
        try:
            while (chunk := self._queue.get()) is not None:
                if chunk.header:
                    if file is not None:
                        file.close()
                    file = self._open()
                    self._written = file.write(blocks.pack_header(chunk.header))
                    self._files += 1
                assert file is not None, "the first chunk of a tape begins a file"
                self._written += file.write(
                    blocks.pack(blocks.ENTRIES, chunk.first, chunk.events, chunk.payload)
                )
                file.flush()
                self._bytes_done += len(chunk.payload)
        except OSError as error:
            self._failed = f"the tape in {self._directory} cannot be written: {error}"
        finally:
            if file is not None:
                file.close()

    def _open(self) -> BinaryIO:
        """A new file, after the oldest made room for it."""
        held = [(path, path.stat().st_size) for path in sorted(self._directory.glob(f"*{SUFFIX}"))]
        total = sum(size for _, size in held) + self._file_bytes
        for path, size in held:
            if total <= self._maximum_bytes:
                break
            path.unlink()
            total -= size
        return (self._directory / f"{self._started_ms:014d}-{self._files + 1:06d}{SUFFIX}").open("xb")
