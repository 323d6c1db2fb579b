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
"""All files of a directory together; the oldest are removed."""
QUEUE_CHUNKS: Final = 64
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
    ) -> None:
        """Raises TapeError if the directory cannot be made."""
        try:
            directory.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise TapeError(f"tape directory {directory} cannot be made: {error}") from error
        self._directory = directory
        self._started_ms = started_ms
        self._file_bytes = file_bytes
        self._maximum_bytes = maximum_bytes
        self._failed = ""
        self._written = 0
        self._files = 0
        self._queue: queue.Queue[Chunk | None] = queue.Queue(QUEUE_CHUNKS)
        self._thread = threading.Thread(target=self._run, name="tape", daemon=True)
        self._thread.start()

    @property
    def wants_file(self) -> bool:
        """True once the file is large enough."""
        return self._written >= self._file_bytes

    @property
    def failed(self) -> str:
        """The disk error that ended it."""
        return self._failed

    def offer(self, chunk: Chunk) -> bool:
        """Take a chunk unless the queue is full."""
        if chunk.header:
            self._written = 0  # of the file that begins with this chunk; the thread counts on from here
        try:
            self._queue.put_nowait(chunk)
        except queue.Full:
            return False
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
                    file.write(blocks.pack_header(chunk.header))
                assert file is not None, "the first chunk of a tape begins a file"
                self._written += file.write(
                    blocks.pack(blocks.ENTRIES, chunk.first, chunk.events, chunk.payload)
                )
                file.flush()
                self._queue.task_done()
        except OSError as error:
            self._failed = f"the tape in {self._directory} cannot be written: {error}"
            self._queue.task_done()
            while self._queue.get() is not None:  # nobody may wait for a queue that is never emptied
                self._queue.task_done()
        finally:
            if file is not None:
                file.close()

    def _open(self) -> BinaryIO:
        """A new file, after the oldest made room for it."""
        self._files += 1
        held = sorted(self._directory.glob(f"*{SUFFIX}"))
        sizes = {path: path.stat().st_size for path in held}
        for path in held:
            if sum(sizes.values()) + self._file_bytes <= self._maximum_bytes:
                break
            path.unlink()
            del sizes[path]
        return (self._directory / f"{self._started_ms:014d}-{self._files:06d}{SUFFIX}").open("xb")
