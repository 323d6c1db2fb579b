"""Writing segments: begin, append, rotate. The engine's loop does it, or the commit process where the disk is slow."""

from __future__ import annotations

from pathlib import Path

from soloist_trader.journal.disk import Disk
from soloist_trader.journal.frames import seal, segment_header
from soloist_trader.journal.reader import segment_path


class SegmentWriter:
    """The segment that is written now. Every method raises OSError; after the first one, nothing may be written here.

    A successor is durable, whole and under its name before the segment it follows gets its seal. A crash between two
    steps leaves a segment without seal or a temporary file, and both are in order.
    """

    def __init__(self, disk: Disk, directory: Path, segment_bytes: int) -> None:
        self.disk = disk
        self.directory = directory
        self.segment_bytes = segment_bytes
        self.file = -1
        self.size = 0

    def adopt(self, file: int, size: int) -> None:
        """Write on in a file that another process began; it stands at `size`."""
        self.file, self.size = file, size

    def begin(self, segment: int, content: bytes) -> None:
        """Put a segment with this content in place, durably, and write on behind it."""
        disk, path = self.disk, segment_path(self.directory, segment)
        temporary = path.with_name(path.name + ".tmp")
        file = disk.open(temporary)
        try:
            disk.preallocate(file, max(self.segment_bytes, len(content)))
            disk.write(file, content)
            disk.sync(file)
            disk.rename(temporary, path)
            disk.sync_directory(self.directory)
        except OSError:
            disk.close(file)
            raise
        self.file, self.size = file, len(content)

    def append(self, data: bytes) -> None:
        """Write and sync; durable when it returns."""
        self.disk.write(self.file, data)
        self.disk.sync(self.file)
        self.size += len(data)

    @property
    def is_full(self) -> bool:
        """Whether the next batch belongs to the next segment."""
        return self.size >= self.segment_bytes

    def rotate(self, segment: int, sequence: int, crc: int) -> None:
        """End `segment`, whose last batch has this sequence and CRC, and write on in the next one."""
        old, size = self.file, self.size
        self.file = -1
        try:
            self.begin(segment + 1, segment_header(segment + 1, crc))
            end = seal(segment, sequence, crc)
            self.disk.write(old, end)
            self.disk.cut(old, size + len(end))
            self.disk.sync(old)
        finally:
            self.disk.close(old)

    def close(self) -> None:
        """Release the file."""
        if self.file >= 0:
            self.disk.close(self.file)
        self.file = -1
