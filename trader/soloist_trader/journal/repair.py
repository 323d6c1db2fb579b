"""Ending a damaged journal at its last batch that continues the chain. Never by itself: a person has seen what is lost.

What is cut is copied first, durably, to a directory `cut-<number>` beside the journal, with a list of every record in
it that still reads. A crash between two steps leaves a journal that is refused like before, or repaired.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

from soloist_trader.core.ledger import Ledger
from soloist_trader.core.records import Record
from soloist_trader.errors import StateError
from soloist_trader.journal.codec import CodecError, decode_batch
from soloist_trader.journal.disk import Disk, write_durably
from soloist_trader.journal.frames import FRAME_MAGIC, read_frame, segment_header
from soloist_trader.journal.reader import PATTERN, DamageError, Tail, segment_number, segment_path
from soloist_trader.journal.snapshots import SNAPSHOT_PATTERN, rebuild

LIST_NAME: Final = "lost.tsv"


class Lost(NamedTuple):
    """A record behind the damage that can still be read."""

    file: str
    offset: int
    sequence: int
    record: Record


class Plan(NamedTuple):
    """What a repair would do."""

    damage: DamageError
    tail: Tail
    ledger: Ledger
    """The state at the last batch that is kept."""
    cut: list[Path]
    """Files that go, oldest first; a copy of each is kept."""
    shortened: Path | None
    """The segment that keeps its begin, `kept` bytes of it."""
    kept: int
    lost: list[Lost]
    bytes_cut: int


def plan_repair(directory: Path, disk: Disk) -> Plan | None:
    """What to cut so that the journal opens again; None if it does as it is. Changes nothing.

    Raises JournalDamagedError for a journal of a format that this version does not know: nothing is damaged there.
    """
    tail, ledger = Tail(), Ledger()
    try:
        rebuild(directory, disk, ledger, tail)
    except DamageError as damage:
        return _plan(directory, disk, damage, tail, ledger)
    return None


def _plan(directory: Path, disk: Disk, damage: DamageError, tail: Tail, ledger: Ledger) -> Plan:
    number, kept = segment_number(damage.path), len(tail.intact)
    shortens = damage.offset > 0
    shortened = damage.path if shortens else None
    first_gone = number + 1 if shortens else tail.segment + 1
    segments = [path for path in disk.list(directory, PATTERN) if segment_number(path) >= first_gone]
    beyond = f"snapshot-{tail.segment + (not shortens):016x}"
    snapshots = [path for path in disk.list(directory, SNAPSHOT_PATTERN) if path.name >= beyond]
    lost: list[Lost] = []
    bytes_cut = sum(len(disk.read(path)) for path in segments)
    if shortened is not None:
        data = disk.read(shortened)
        bytes_cut += len(data.rstrip(b"\0")) - kept
        lost += _readable(shortened, data, kept)
    for path in segments:
        lost += _readable(path, disk.read(path), 0)
    return Plan(
        damage, tail, ledger, segments + snapshots, shortened, kept if shortens else 0, lost, bytes_cut
    )


def _readable(path: Path, data: bytes, offset: int) -> Iterator[Lost]:
    """Records of every intact frame from `offset` on, whatever it continues."""
    position = data.find(FRAME_MAGIC, offset)
    while position >= 0:
        frame = read_frame(data, position)
        if frame is None:
            position = data.find(FRAME_MAGIC, position + 1)
            continue
        try:
            records = decode_batch(frame.payload)
        except CodecError:
            records = []
        for record in records:
            yield Lost(path.name, position, frame.sequence, record)
        position = data.find(FRAME_MAGIC, frame.end)


def apply_repair(directory: Path, disk: Disk, plan: Plan) -> Path:
    """Do it; returns the directory that holds the copies. The caller holds the journal's lock. Raises OSError."""
    copies = _copies_directory(directory, disk)
    for path in ([plan.shortened] if plan.shortened else []) + plan.cut:
        write_durably(disk, copies / path.name, disk.read(path))
    listed = "".join(f"{row.file}\t{row.offset}\t{row.sequence}\t{row.record}\n" for row in plan.lost)
    write_durably(disk, copies / LIST_NAME, listed.encode())
    disk.sync_directory(directory)
    # Newest first: until the last step the damage is still before intact data, and a start still refuses.
    for path in reversed(plan.cut):
        disk.unlink(path)
        disk.sync_directory(directory)
    tail = plan.tail
    if plan.shortened is not None:
        write_durably(disk, plan.shortened, disk.read(plan.shortened)[: plan.kept])
    elif tail.segment:
        # The segment before it has its seal: an empty successor is what may follow.
        successor = tail.segment + 1
        write_durably(disk, segment_path(directory, successor), segment_header(successor, tail.crc))
    return copies


def _copies_directory(directory: Path, disk: Disk) -> Path:
    number = 1
    while (directory / f"cut-{number}").exists():
        number += 1
    copies = directory / f"cut-{number}"
    disk.make_directory(copies)
    return copies


def repair_locked(directory: Path, disk: Disk, plan: Plan) -> Path:
    """`apply_repair` under the journal's lock, and only if the plan is still what it was. Raises StateError, OSError."""
    try:
        lock = disk.lock(directory / "lock")
    except BlockingIOError as error:
        raise StateError(
            f"state directory {directory} is in use by an engine; stop that one first."
        ) from error
    try:
        again = plan_repair(directory, disk)
        if again is None or (again.cut, again.kept, again.lost) != (plan.cut, plan.kept, plan.lost):
            raise StateError(f"journal {directory} changed since it was looked at; look again.")
        return apply_repair(directory, disk, plan)
    finally:
        disk.close(lock)
