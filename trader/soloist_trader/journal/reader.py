"""Reading a journal back: every segment in sequence, every chain checked, damage judged."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from soloist_trader.core.records import Record
from soloist_trader.errors import JournalDamagedError, StateError
from soloist_trader.journal.codec import CodecError, decode_batch
from soloist_trader.journal.disk import Disk
from soloist_trader.journal.frames import (
    FORMAT_VERSION,
    FRAME_HEADER_LENGTH,
    OLDEST_VERSION,
    SEGMENT_HEADER_LENGTH,
    Frame,
    SegmentHeader,
    find_frame_after,
    only_zeros,
    read_frame,
    read_seal,
    read_segment_header,
)

PATTERN: Final = "journal-*.log"
_NAME_PREFIX: Final = "journal-"


class DamageError(JournalDamagedError):
    """Damage at one place: `path`, `offset`, and `what` is wrong there. `soloist-trader journal repair` begins here."""

    def __init__(self, path: Path, offset: int, what: str) -> None:
        self.path = path
        self.offset = offset
        self.what = what
        super().__init__(
            f"journal {path} is damaged at byte {offset}: {what}. Nothing was changed. Copy the state directory for "
            f"inspection, then either restore this file from a backup, or see what `soloist-trader journal repair` "
            f"would cut off, or move the whole directory away: the engine then recovers positions and orders from "
            f"the venue."
        )


def segment_path(directory: Path, segment: int) -> Path:
    """File of a segment; names sort like numbers."""
    return directory / f"journal-{segment:016x}.log"


def segment_number(path: Path) -> int:
    """The segment that a file's name tells. Raises StateError for a name that the journal never gave."""
    try:
        return int(path.stem.removeprefix(_NAME_PREFIX), 16)
    except ValueError as error:
        raise StateError(
            f"{path} is not a name of the journal's; move the file out of the directory."
        ) from error


@dataclass(slots=True)
class Tail:
    """Where writing goes on, and what was found on the way there.

    Begin with an empty one to read from the first batch, or with the position of a snapshot (`segment`, `sequence`
    and `crc` of its last batch) to read what came after it.
    """

    segment: int = 0
    sequence: int = 0
    crc: int = 0
    damage: str = ""
    """What was cut off or passed over, for a person; empty if nothing."""
    batches: int = 0
    records: int = 0
    segments: list[Path] = field(default_factory=list)
    snapshot: Path | None = None
    """The snapshot that the state began with, if any; `batches` and `records` count what came after it."""
    covered: int = 0
    """The last segment that the snapshot covers."""
    sealed: bool = False
    """Whether `segment` has its seal, so that there is a next one."""
    _data: bytes = b""
    _end: int = 0

    @property
    def intact(self) -> bytes:
        """The last segment up to the end of its last batch."""
        return self._data[: self._end]

    def say(self, what: str) -> None:
        """Add to `damage`."""
        self.damage = f"{self.damage}; {what}" if self.damage else what

    def begin(self, path: Path, data: bytes) -> None:
        """Go on in this segment, at its first batch."""
        self.sealed = False
        self._data, self._end = data, SEGMENT_HEADER_LENGTH
        assert path in self.segments

    def advance(self, frame: Frame, records: int) -> None:
        """Go on behind this batch."""
        self.sequence, self.crc, self._end = frame.sequence, frame.crc, frame.end
        self.batches += 1
        self.records += records

    def forget_content(self) -> None:
        """Release the bytes of the last segment."""
        self._data, self._end = b"", 0


def read_journal(
    directory: Path,
    tail: Tail,
    *,
    disk: Disk | None = None,
    partial: bool = False,
    until: int | None = None,
) -> Iterator[tuple[Path, Frame, list[Record]]]:
    """Yield (file, frame, records) for every intact batch; afterwards `tail` says where to go on.

    With `partial` a journal whose first segments were compacted away is read from where it begins now; without, it is
    refused unless `tail` is the position of a snapshot that covers them. With `until` reading ends with that segment,
    which has a successor. Works beside a running engine.

    Raises JournalDamagedError for damage that is followed by intact data, for a missing segment, and for a format this
    version does not know. Damage inside the final batch of the final segment ends the iteration, and `damage` says so.
    """
    disk = disk or Disk()
    covered, done = tail.segment, -1
    tail.sealed = covered > 0  # a snapshot is taken of segments only that have a successor
    while True:
        # A running engine may begin a segment while the one before it is read, so the list is read again at its end.
        paths = _segments(disk, directory, max(covered, done), until)
        if not paths:
            break
        if done < 0 and not partial:
            _refuse_missing_start(paths[0], covered)
        for index, path in enumerate(paths):
            yield from _SegmentReader(
                disk, tail, path, is_last=until is None and index == len(paths) - 1
            ).batches()
            done = segment_number(path)
            if tail.segment != done:
                return  # the segment was just begun: writing goes on in the one before
        if until is not None or not tail.sealed:
            return
    if tail.sealed and until is None:
        raise DamageError(
            segment_path(directory, tail.segment + 1),
            0,
            f"the file is missing: segment {tail.segment} was ended when it was begun",
        )


def _segments(disk: Disk, directory: Path, after: int, until: int | None) -> list[Path]:
    last = float("inf") if until is None else until
    return [path for path in disk.list(directory, PATTERN) if after < segment_number(path) <= last]


def _refuse_missing_start(path: Path, covered: int) -> None:
    first = segment_number(path)
    if covered or first == 1:
        return
    raise DamageError(
        path,
        0,
        f"segments 1 to {first - 1} before it are missing, and no valid snapshot covers them",
    )


@dataclass(slots=True)
class _SegmentReader:
    """One pass over one segment."""

    disk: Disk
    tail: Tail
    path: Path
    is_last: bool

    def batches(self) -> Iterator[tuple[Path, Frame, list[Record]]]:
        tail, path = self.tail, self.path
        try:
            data = self.disk.read(path)
        except FileNotFoundError as error:
            raise StateError(f"{path} was compacted while it was to be read; read again.") from error
        tail.segments.append(path)
        header = self._header(data)
        if header is None:
            return
        tail.segment, tail.crc = header.segment, header.previous_crc
        tail.begin(path, data)
        offset, end = SEGMENT_HEADER_LENGTH, len(data)
        while offset < end:
            frame = read_frame(data, offset)
            if frame is None or not self._continues(frame):
                self._judge_rest(data, offset, frame)
                return
            try:
                records = decode_batch(frame.payload)
            except CodecError as error:
                raise DamageError(path, offset, str(error)) from error
            tail.advance(frame, len(records))
            offset = frame.end
            yield path, frame, records

    def _header(self, data: bytes) -> SegmentHeader | None:
        """The header, if this segment continues what was read. None: it was torn while the segment was begun."""
        tail, path = self.tail, self.path
        header = read_segment_header(data)
        if header is None:
            if self.is_last and not tail.sealed and len(data) <= SEGMENT_HEADER_LENGTH:
                tail.say(f"{path.name}: header torn, the segment was just begun")
                return None
            raise DamageError(path, 0, "the segment header is not readable")
        if not OLDEST_VERSION <= header.version <= FORMAT_VERSION:
            raise JournalDamagedError(
                f"journal {path} has format version {header.version}; this engine reads {OLDEST_VERSION} to "
                f"{FORMAT_VERSION}. Run the engine version that wrote it."
            )
        if header.segment != segment_number(path):
            raise DamageError(path, 0, f"it holds segment {header.segment}; the file was renamed")
        if tail.segment and header.segment != tail.segment + 1:
            raise DamageError(
                path, 0, f"segment {tail.segment + 1} is missing before segment {header.segment}"
            )
        if tail.segment and header.previous_crc != tail.crc:
            raise DamageError(path, 0, "it does not continue the segment before it")
        return header

    def _continues(self, frame: Frame) -> bool:
        tail = self.tail
        follows = tail.sequence in {0, frame.sequence - 1}
        return frame.segment == tail.segment and frame.previous_crc == tail.crc and follows

    def _judge_rest(self, data: bytes, offset: int, frame: Frame | None) -> None:
        """What follows the last intact batch: nothing, a seal, an unfinished batch, or damage that a person judges."""
        tail, path = self.tail, self.path
        if read_seal(data, offset, tail.segment, tail.sequence, tail.crc):
            tail.sealed = True
            offset += FRAME_HEADER_LENGTH
        if only_zeros(data, offset):
            return
        later = find_frame_after(data, offset, tail.segment, tail.sequence + 1)
        if later is not None:
            raise DamageError(path, offset, f"an intact later batch begins at byte {later}")
        if frame is not None:
            raise DamageError(path, offset, "an intact batch does not continue the one before it")
        length = len(data.rstrip(b"\0")) - offset
        if self.is_last:
            tail.say(f"{path.name}: {length} bytes of an unfinished batch at byte {offset}")
            return
        if not has_successor(path.parent, self.disk, tail):
            raise DamageError(path, offset, "an intact later segment exists")
        # The next segment names the last batch that was read here, so no batch is lost: the seal itself was torn.
        tail.say(f"{path.name}: {length} bytes at byte {offset} belong to no batch; none is lost")


def has_successor(directory: Path, disk: Disk, tail: Tail) -> bool:
    """Whether the next segment was begun behind the last batch of this one, so that nothing is written here again."""
    try:
        data = disk.read(segment_path(directory, tail.segment + 1))
    except FileNotFoundError:
        return False
    header = read_segment_header(data)
    return header is not None and header.previous_crc == tail.crc
