"""Reading all of a journal to judge it: every segment, every chain, every snapshot against the replayed state."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from soloist_trader.core.ledger import Ledger
from soloist_trader.journal.disk import Disk
from soloist_trader.journal.reader import PATTERN, Tail, read_journal, segment_number
from soloist_trader.journal.snapshots import (
    SNAPSHOT_PATTERN,
    Snapshot,
    SnapshotError,
    read_snapshot,
    snapshot_path,
)


class Inspection(NamedTuple):
    """What was found. `wrong` is what a person should look at, though a start goes on without it."""

    ledger: Ledger
    tail: Tail
    segments: int
    snapshots: int
    wrong: list[str]


def inspect(directory: Path, disk: Disk, progress: Callable[[str], None]) -> Inspection:
    """Replay a journal from its begin, or from the oldest snapshot if segments were compacted away.

    `progress` hears the name of every segment. Raises JournalDamagedError as a start would, and for damage that a start
    passes over because a snapshot covers it, too.
    """
    snapshots, wrong = _snapshots(directory, disk)
    segments = [segment_number(path) for path in disk.list(directory, PATTERN)]
    ledger, tail = Ledger(), Tail()
    before = snapshots.get(min(segments, default=1) - 1)
    if before is not None:
        ledger.load(before.exported)
        position = before.position
        tail.segment, tail.sequence, tail.crc = position.segment, position.sequence, position.crc
        tail.snapshot = snapshot_path(directory, position.segment)
    reading: Path | None = None
    sequence = crc = 0
    for path, frame, records in read_journal(directory, tail, disk=disk):
        if reading is not None and path != reading:
            wrong += _differences(snapshots.get(segment_number(reading)), ledger, sequence, crc)
        if path != reading:
            progress(path.name)
        reading, sequence, crc = path, frame.sequence, frame.crc
        for record in records:
            ledger.apply(record)
    if reading is not None:
        wrong += _differences(snapshots.get(segment_number(reading)), ledger, sequence, crc)
    return Inspection(ledger, tail, len(segments), len(snapshots), wrong)


def _snapshots(directory: Path, disk: Disk) -> tuple[dict[int, Snapshot], list[str]]:
    valid: dict[int, Snapshot] = {}
    wrong = []
    for path in disk.list(directory, SNAPSHOT_PATTERN):
        try:
            snapshot = read_snapshot(path, disk)
        except SnapshotError as error:
            wrong.append(f"{path.name} is not used: {error}")
        else:
            valid[snapshot.position.segment] = snapshot
    return valid, wrong


def _differences(snapshot: Snapshot | None, ledger: Ledger, sequence: int, crc: int) -> list[str]:
    if snapshot is None:
        return []
    name = f"the snapshot of segment {snapshot.position.segment}"
    wrong = []
    if (snapshot.position.sequence, snapshot.position.crc) != (sequence, crc):
        wrong.append(f"{name} is of another chain than this journal")
    if snapshot.state_hash != ledger.state_hash():
        wrong.append(f"{name} holds another state than the records give")
    return wrong
