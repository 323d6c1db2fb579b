"""Reading a journal back: every segment in sequence, every chain checked, damage judged."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from soloist_trader.core.records import Record
from soloist_trader.errors import JournalDamagedError
from soloist_trader.journal.codec import CodecError, decode_batch
from soloist_trader.journal.frames import (
    FORMAT_VERSION,
    SEGMENT_HEADER_LENGTH,
    Frame,
    find_frame_after,
    read_frame,
    read_segment_header,
)

PATTERN: Final = "journal-*.log"


def segment_path(directory: Path, segment: int) -> Path:
    """File of a segment; names sort like numbers."""
    return directory / f"journal-{segment:016x}.log"


@dataclass(slots=True)
class Tail:
    """Where writing goes on. `damage` says what was cut off, empty if nothing."""

    segment: int = 0
    sequence: int = 0
    crc: int = 0
    intact: bytes = b""
    damage: str = ""
    batches: int = 0
    records: int = 0
    segments: list[Path] = field(default_factory=list)


def read_journal(directory: Path, tail: Tail) -> Iterator[tuple[Path, Frame, list[Record]]]:
    """Yield (file, frame, records) for every intact batch; afterwards `tail` says where to go on.

    Raises JournalDamagedError for damage that is followed by intact data, for a missing segment, and for a format this
    version does not know. Damage inside the final batch of the final segment ends the iteration, and `damage` says so.
    """
    paths = sorted(directory.glob(PATTERN))
    for index, path in enumerate(paths):
        yield from _read_segment(tail, path, is_last=index == len(paths) - 1)


def _refuse(path: Path, offset: int, what: str) -> JournalDamagedError:
    return JournalDamagedError(
        f"journal {path} is damaged at byte {offset}: {what}. Nothing was changed. Copy the state directory for "
        f"inspection, then either restore this file from a backup, or move the whole directory away: the engine then "
        f"recovers positions and orders from the venue."
    )


def _read_segment(tail: Tail, path: Path, *, is_last: bool) -> Iterator[tuple[Path, Frame, list[Record]]]:
    data = path.read_bytes()
    tail.segments.append(path)
    header = read_segment_header(data)
    if header is None:
        if is_last and len(data) <= SEGMENT_HEADER_LENGTH:
            tail.damage = f"{path.name}: header torn, the segment was just begun"
            return
        raise _refuse(path, 0, "the segment header is not readable")
    if header.version != FORMAT_VERSION:
        raise JournalDamagedError(
            f"journal {path} has format version {header.version}; this engine reads {FORMAT_VERSION}. "
            f"Run the engine version that wrote it."
        )
    if tail.segment and header.segment != tail.segment + 1:
        raise _refuse(path, 0, f"segment {tail.segment + 1} is missing before segment {header.segment}")
    if tail.segment and header.previous_crc != tail.crc:
        raise _refuse(path, 0, "it does not continue the segment before it")
    tail.segment = header.segment
    tail.crc = header.previous_crc
    offset = SEGMENT_HEADER_LENGTH
    while offset < len(data):
        frame = read_frame(data, offset)
        if frame is None or frame.previous_crc != tail.crc or frame.segment != tail.segment:
            later = find_frame_after(data, offset, tail.segment, tail.sequence + 1)
            if later is not None:
                raise _refuse(path, offset, f"an intact later batch begins at byte {later}")
            if frame is not None:
                raise _refuse(path, offset, "an intact batch does not continue the one before it")
            if not is_last:
                raise _refuse(path, offset, "an intact later segment exists")
            tail.damage = f"{path.name}: {len(data) - offset} bytes of an unfinished batch at byte {offset}"
            break
        try:
            records = list(decode_batch(frame.payload))
        except CodecError as error:
            raise _refuse(path, offset, str(error)) from error
        tail.sequence, tail.crc = frame.sequence, frame.crc
        tail.batches += 1
        tail.records += len(records)
        offset = frame.end
        yield path, frame, records
    tail.intact = data[:offset]
