"""Where in the journal the store stands, and reading on from there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec

from soloist_trader.core.ledger import Ledger
from soloist_trader.core.records import Record
from soloist_trader.errors import JournalDamagedError
from soloist_trader.journal.disk import Disk
from soloist_trader.journal.frames import Frame
from soloist_trader.journal.reader import (
    PATTERN,
    DamageError,
    Tail,
    read_journal,
    segment_number,
    segment_path,
)
from soloist_trader.journal.snapshots import KEPT_SNAPSHOTS, valid_snapshots
from soloist_trader.store.database import Database
from soloist_trader.store.errors import StoreError, StoreStaleError
from soloist_trader.store.schema import SCHEMA_VERSION, column_names, upsert

_NAMES: Final = column_names("projected")
_SELECT: Final = f"SELECT {', '.join(_NAMES)} FROM projected"  # noqa: S608 our own names
_UPSERT: Final = upsert("projected", ("only_row",))
_ENCODER: Final = msgspec.msgpack.Encoder()
_DECODER: Final = msgspec.msgpack.Decoder(tuple[Any, ...])


class Place(NamedTuple):
    """The last batch that is in the tables, and the last one of the segment before it."""

    begins_segment: int
    """The first segment that was there when the store was built; above 1 if the journal had been compacted."""
    segment: int = 0
    sequence: int = 0
    crc: int = 0
    before_sequence: int = 0
    before_crc: int = 0
    records: int = 0
    first_record: int = 1
    last_time_ms: int = 0
    snapshot_interval: int = -1

    def after(self, frame: Frame, records: int) -> Place:
        """The place behind a batch."""
        before = self
        if frame.segment != self.segment:
            before = self._replace(before_sequence=self.sequence, before_crc=self.crc)
        return before._replace(
            segment=frame.segment,
            sequence=frame.sequence,
            crc=frame.crc,
            records=self.records + records,
        )


def read_place(database: Database) -> tuple[Place, Ledger]:
    """Where the store stands, and the ledger there. Raises StoreStaleError."""
    if not database.has_table("projected"):
        raise StoreStaleError(
            f"{database.name} holds no store yet; run `soloist-trader store rebuild` or `follow`."
        )
    versions = database.rows("SELECT schema_version FROM projected")
    if versions != [(SCHEMA_VERSION,)]:
        found = versions[0][0] if versions else "none"
        raise StoreStaleError(
            f"{database.name} has schema version {found}, this program writes {SCHEMA_VERSION}; "
            f"run `soloist-trader store rebuild`."
        )
    row = dict(zip(_NAMES, database.rows(_SELECT)[0], strict=True))
    try:
        ledger = Ledger.restore(_tuples(_DECODER.decode(bytes(row["ledger"]))))
    except (ValueError, TypeError, KeyError, IndexError, msgspec.MsgspecError) as error:
        raise StoreStaleError(
            f"{database.name} was written by another version of the engine ({error}); "
            f"run `soloist-trader store rebuild`."
        ) from error
    return Place(*(row[name] for name in Place._fields)), ledger


def write_place(database: Database, place: Place, ledger: Ledger) -> None:
    """Keep it, inside of the transaction that writes the rows."""
    row = {
        **place._asdict(),
        "only_row": 1,
        "schema_version": SCHEMA_VERSION,
        "ledger": _ENCODER.encode(ledger.export()),
    }
    database.execute(_UPSERT, [row[name] for name in _NAMES])


def begins_segment(database: Database) -> int:
    """The segment with which a store of any schema version begins; 0 if there is none."""
    if not database.has_table("projected"):
        return 0
    rows = database.rows("SELECT begins_segment FROM projected")
    return int(rows[0][0]) if rows else 0


def first_place(directory: Path) -> tuple[Place, Ledger]:
    """Where a store of this journal begins: at its first record, or at the oldest snapshot of a compacted one.

    Raises StoreError for a directory without a journal, JournalDamagedError.
    """
    disk = Disk()
    segments = [segment_number(path) for path in disk.list(directory, PATTERN)]
    if not segments:
        raise StoreError(f"{directory} holds no journal; name the engine's state directory with --state-dir.")
    if segments[0] == 1:
        return Place(1), Ledger()
    tail = Tail()
    for _, snapshot in reversed(valid_snapshots(directory, disk, tail, KEPT_SNAPSHOTS)):
        position = snapshot.position
        if position.segment + 1 < segments[0]:
            continue
        place = Place(
            position.segment + 1,
            position.segment,
            position.sequence,
            position.crc,
            records=position.records,
            first_record=position.records + 1,
        )
        return place, Ledger.restore(snapshot.exported)
    raise JournalDamagedError(
        f"{directory}: the journal begins at segment {segments[0]} and no valid snapshot covers what is before it"
        f"{': ' + tail.damage if tail.damage else ''}. Run `soloist-trader journal verify`."
    )


def read_on(directory: Path, place: Place) -> Iterator[tuple[Frame, list[Record]]]:
    """Batches after `place`. Works beside a running engine.

    Raises StoreStaleError if the journal is another one or no longer holds what comes next, JournalDamagedError, and
    StateError if segments were removed while they were read: try again.
    """
    try:
        if place.segment and segment_path(directory, place.segment).exists():
            yield from _read_same_segment(directory, place)
        else:
            yield from _read_next_segments(directory, place)
    except DamageError as error:
        beginnings = [segment_path(directory, place.segment + offset) for offset in (0, 1)]
        if place.segment and error.offset == 0 and error.path in beginnings:
            raise _another_journal(directory, place, f"{error.path.name}: {error.what}") from error
        raise


def _read_same_segment(directory: Path, place: Place) -> Iterator[tuple[Frame, list[Record]]]:
    """The segment of `place` is read from its begin, and must hold the store's last batch."""
    seen = False
    for _, frame, records in read_journal(
        directory, Tail(place.segment - 1, place.before_sequence, place.before_crc)
    ):
        if frame.segment == place.segment and frame.sequence <= place.sequence:
            seen = seen or (frame.sequence, frame.crc) == (place.sequence, place.crc)
            continue
        if not seen:
            break
        yield frame, records
    if not seen:
        raise _another_journal(directory, place, "")


def _read_next_segments(directory: Path, place: Place) -> Iterator[tuple[Frame, list[Record]]]:
    """The segment of `place` is gone, or there was none yet: its successor must begin where it ended."""
    if place.segment:
        later = [
            number
            for number in map(segment_number, Disk().list(directory, PATTERN))
            if number > place.segment
        ]
        if not later:
            raise _another_journal(directory, place, "")
        if later[0] != place.segment + 1:
            raise StoreStaleError(
                f"{directory}: the journal begins at segment {later[0]} now, the store ends in segment "
                f"{place.segment}. What is between them was compacted away before it was followed. "
                f"`soloist-trader store rebuild --forget` begins anew with what the journal still holds."
            )
    for _, frame, records in read_journal(directory, Tail(place.segment, place.sequence, place.crc)):
        yield frame, records


def _another_journal(directory: Path, place: Place, what: str) -> StoreStaleError:
    return StoreStaleError(
        f"{directory}: batch {place.sequence} of segment {place.segment}, the last one in the store, is not in this "
        f"journal{f' ({what})' if what else ''}. It is the store of another journal, or the journal lost its end "
        f"when the machine did. Check --url and --state-dir; then run `soloist-trader store rebuild`."
    )


def _tuples(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return tuple(_tuples(item) for item in value)
    return value
