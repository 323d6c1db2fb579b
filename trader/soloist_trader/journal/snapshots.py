"""Snapshots: the durable state at the end of a sealed segment, so that a start reads only what came after it.

A file `snapshot-<segment>.snap` is a header of 104 bytes and the ledger's export as msgpack. Header: magic `SOLOSNAP`,
format version (u16), reserved (u16), segment (u64), sequence and CRC of its last batch (u64, u32), records until then
(u64), length (u32) and CRC32C (u32) of the payload, state hash (SHA-256), time taken (u64, milliseconds, for people),
12 reserved bytes, CRC32C of the header. All little-endian.

A snapshot counts only if checksums, version and state hash agree; otherwise the one before it is used, and that is said.
The last two valid ones are kept, and the segments that the older of them needs.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec

from soloist_trader.core.ledger import Ledger
from soloist_trader.journal.disk import Disk, write_durably
from soloist_trader.journal.frames import crc32c
from soloist_trader.journal.reader import PATTERN, Tail, has_successor, read_journal, segment_number

SNAPSHOT_PATTERN: Final = "snapshot-*.snap"
SNAPSHOT_VERSION: Final = 1
KEPT_SNAPSHOTS: Final = 2
_MAGIC: Final = b"SOLOSNAP"
_HEADER: Final = struct.Struct("<8sHHQQIQII32sQ12x")
_CRC: Final = struct.Struct("<I")
_HEADER_LENGTH: Final = _HEADER.size + _CRC.size
_ENCODER: Final = msgspec.msgpack.Encoder()
_DECODER: Final = msgspec.msgpack.Decoder(tuple[Any, ...])


class SnapshotError(ValueError):
    """A snapshot that cannot be used, and why."""


class Position(NamedTuple):
    """How far a snapshot goes: the last batch of a sealed segment."""

    segment: int
    sequence: int
    crc: int
    records: int


class Snapshot(NamedTuple):
    """A snapshot whose checksums are right."""

    position: Position
    exported: tuple[Any, ...]
    state_hash: str
    taken_ms: int


def snapshot_path(directory: Path, segment: int) -> Path:
    """File of the snapshot at the end of a segment; names sort like numbers."""
    return directory / f"snapshot-{segment:016x}.snap"


def encode_snapshot(snapshot: Snapshot) -> bytes:
    """Bytes of a snapshot file."""
    payload = _ENCODER.encode(snapshot.exported)
    position = snapshot.position
    head = _HEADER.pack(
        _MAGIC,
        SNAPSHOT_VERSION,
        0,
        position.segment,
        position.sequence,
        position.crc,
        position.records,
        len(payload),
        crc32c(payload),
        bytes.fromhex(snapshot.state_hash),
        snapshot.taken_ms,
    )
    return head + _CRC.pack(crc32c(head)) + payload


def decode_snapshot(data: bytes) -> Snapshot:
    """What a snapshot file holds. Raises SnapshotError."""
    if len(data) < _HEADER_LENGTH:
        raise SnapshotError("it is cut off")
    head = data[: _HEADER.size]
    if _CRC.unpack_from(data, _HEADER.size)[0] != crc32c(head):
        raise SnapshotError("the checksum of its header is wrong")
    magic, version, _, segment, sequence, crc, records, length, payload_crc, state_hash, taken_ms = (
        _HEADER.unpack(head)
    )
    if magic != _MAGIC or version != SNAPSHOT_VERSION:
        raise SnapshotError(f"it has format {magic!r} {version}; this engine reads {SNAPSHOT_VERSION}")
    payload = data[_HEADER_LENGTH:]
    if len(payload) != length or crc32c(payload) != payload_crc:
        raise SnapshotError("the checksum of its content is wrong")
    exported = _as_tuples(_DECODER.decode(payload))
    return Snapshot(Position(segment, sequence, crc, records), exported, state_hash.hex(), taken_ms)


def _as_tuples(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return tuple(_as_tuples(item) for item in value)
    return value


def read_snapshot(path: Path, disk: Disk) -> Snapshot:
    """A snapshot that gives the state it was taken from, proven by its hash. Raises SnapshotError."""
    try:
        snapshot = decode_snapshot(disk.read(path))
    except FileNotFoundError as error:
        raise SnapshotError("it was compacted while it was to be read") from error
    if path != snapshot_path(path.parent, snapshot.position.segment):
        raise SnapshotError(f"it is of segment {snapshot.position.segment}; the file was renamed")
    try:
        state_hash = Ledger.restore(snapshot.exported).state_hash()
    except (ValueError, TypeError, KeyError, IndexError) as error:
        raise SnapshotError(f"this engine cannot read its state: {error}") from error
    if state_hash != snapshot.state_hash:
        raise SnapshotError(f"its state has hash {state_hash[:12]} and not {snapshot.state_hash[:12]}")
    return snapshot


def valid_snapshots(directory: Path, disk: Disk, tail: Tail, at_most: int) -> list[tuple[Path, Snapshot]]:
    """The newest valid snapshots, newest first; `tail` says what was passed over."""
    found: list[tuple[Path, Snapshot]] = []
    for path in reversed(disk.list(directory, SNAPSHOT_PATTERN)):
        try:
            found.append((path, read_snapshot(path, disk)))
        except SnapshotError as error:
            tail.say(f"{path.name} is not used: {error}")
        if len(found) == at_most:
            break
    return found


def rebuild(directory: Path, disk: Disk, ledger: Ledger, tail: Tail, *, until: int | None = None) -> None:
    """Bring an empty ledger to the newest valid snapshot, and then through every record after it.

    Raises JournalDamagedError, also when no valid snapshot covers segments that are gone.
    """
    for path, snapshot in valid_snapshots(directory, disk, tail, 1):
        position = snapshot.position
        ledger.load(snapshot.exported)
        tail.snapshot, tail.covered = path, position.segment
        tail.segment, tail.sequence, tail.crc = position.segment, position.sequence, position.crc
    for _, _, records in read_journal(directory, tail, disk=disk, until=until):
        for record in records:
            ledger.apply(record)


class Taken(NamedTuple):
    """What a snapshot run did. `segment` is 0 if there was nothing new to take."""

    segment: int
    records: int
    state_hash: str
    removed: list[str]
    said: str


def take_snapshot(
    directory: Path, disk: Disk, *, taken_ms: int, until: int | None = None, remove: bool = True
) -> Taken:
    """Write the state at the end of sealed segment `until` (default: the newest), check it, and remove what it outdates.

    Held against a second run by a lock. Raises BlockingIOError (another run), OSError, JournalDamagedError, and
    SnapshotError if what was written does not read back: it is removed then.
    """
    lock = disk.lock(directory / "snapshot.lock")
    try:
        for abandoned in disk.list(directory, "snapshot-*.tmp"):
            disk.unlink(abandoned)
        segments = [segment_number(path) for path in disk.list(directory, PATTERN)]
        until = max(segments, default=1) - 1 if until is None else until
        tail, ledger = Tail(), Ledger()
        taken = _write(directory, disk, ledger, tail, until, taken_ms) if until else Taken(0, 0, "", [], "")
        removed = compact(directory, disk) if remove else []
        return taken._replace(removed=[path.name for path in removed])
    finally:
        disk.close(lock)


def _write(directory: Path, disk: Disk, ledger: Ledger, tail: Tail, until: int, taken_ms: int) -> Taken:
    newest = valid_snapshots(directory, disk, tail, 1)
    if newest and newest[0][1].position.segment >= until:
        return Taken(0, 0, newest[0][1].state_hash, [], tail.damage)
    before = newest[0][1].position.records if newest else 0
    tail.damage = ""  # `rebuild` says it again
    rebuild(directory, disk, ledger, tail, until=until)
    if not has_successor(directory, disk, tail):
        return Taken(0, 0, "", [], f"segment {tail.segment} may still be written; {tail.damage}".rstrip("; "))
    position = Position(tail.segment, tail.sequence, tail.crc, before + tail.records)
    snapshot = Snapshot(position, ledger.export(), ledger.state_hash(), taken_ms)
    path = snapshot_path(directory, tail.segment)
    write_durably(disk, path, encode_snapshot(snapshot))
    try:
        read_snapshot(path, disk)
    except SnapshotError:
        disk.unlink(path)
        raise
    return Taken(tail.segment, position.records, snapshot.state_hash, [], tail.damage)


def outdated(directory: Path, disk: Disk) -> list[Path]:
    """What may go, in the sequence in which it goes: snapshots before the last two valid ones, then their segments.

    Nothing if there are not two valid snapshots: a single one may be lost, too.
    """
    kept = valid_snapshots(directory, disk, Tail(), KEPT_SNAPSHOTS)
    if len(kept) < KEPT_SNAPSHOTS:
        return []
    oldest, snapshot = kept[-1]
    covered = snapshot.position.segment
    return [
        *(path for path in disk.list(directory, SNAPSHOT_PATTERN) if path < oldest),
        *(path for path in disk.list(directory, PATTERN) if segment_number(path) <= covered),
    ]


def compact(directory: Path, disk: Disk) -> list[Path]:
    """Remove what is outdated, oldest first, each removal durable before the next: what remains has no hole."""
    removed = outdated(directory, disk)
    for path in removed:
        disk.unlink(path)
        disk.sync_directory(directory)
    return removed
