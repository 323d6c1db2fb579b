"""Bringing the tables to the end of the journal, in transactions that each hold rows and position together."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, NamedTuple

from soloist_trader.core.ledger import Ledger
from soloist_trader.core.records import Record
from soloist_trader.journal.frames import Frame
from soloist_trader.store import schema
from soloist_trader.store.database import Database, open_database
from soloist_trader.store.errors import StoreError, StoreStaleError
from soloist_trader.store.position import (
    Place,
    begins_segment,
    first_place,
    read_on,
    read_place,
    write_place,
)
from soloist_trader.store.projector import Projector

RECORDS_PER_TRANSACTION: Final = 20_000
REST_SHARE: Final = 10
"""A pass that took a second is followed by a rest of ten: the segment that is written is read from its begin."""

Report = Callable[[Place], None]
"""Told after every transaction."""


class Projected(NamedTuple):
    """What a run did."""

    records: int
    """Records taken by this run."""
    place: Place


def rebuild(
    database: Database,
    directory: Path,
    *,
    forget: bool = False,
    chunk: int = RECORDS_PER_TRANSACTION,
    report: Report | None = None,
) -> Projected:
    """Empty the store and fill it from the journal; also the way from any schema version to this one.

    A kill leaves a store that is right up to some batch; `catch_up` goes on from there. Raises StoreError if the
    journal no longer holds what the store knows, unless `forget` is true.
    """
    place, ledger = first_place(directory)
    known = begins_segment(database)
    if known and known < place.begins_segment and not forget:
        raise StoreError(
            f"{database.name} holds records from segment {known} on, the journal was compacted and begins at segment "
            f"{place.begins_segment}: a rebuild would lose what is between them. `store follow` goes on without loss; "
            f"`store rebuild --forget` loses it on purpose."
        )
    with database.transaction():
        schema.create(database)
        projector = Projector(database, ledger, place.records, place.snapshot_interval)
        projector.begin_at_snapshot()
        projector.flush()
        write_place(database, place, ledger)
    return catch_up(database, directory, chunk=chunk, report=report)


def catch_up(
    database: Database,
    directory: Path,
    *,
    chunk: int = RECORDS_PER_TRANSACTION,
    report: Report | None = None,
) -> Projected:
    """Take every batch of the journal that is not in the store yet. Raises StoreStaleError where only a rebuild helps."""
    place, ledger = read_place(database)
    projector = Projector(database, ledger, place.records, place.snapshot_interval)
    begun = place.records
    for frames in _chunks(read_on(directory, place), chunk):
        with database.transaction():
            _refuse_second_writer(database, place)
            for frame, records in frames:
                for record in records:
                    projector.apply(record)
                place = place.after(frame, len(records))
            projector.flush()
            place = place._replace(
                last_time_ms=projector.last_time_ms, snapshot_interval=projector.snapshot_interval
            )
            write_place(database, place, ledger)
        if report is not None:
            report(place)
    return Projected(place.records - begun, place)


def _chunks(
    frames: Iterator[tuple[Frame, list[Record]]], size: int
) -> Iterator[list[tuple[Frame, list[Record]]]]:
    kept: list[tuple[Frame, list[Record]]] = []
    count = 0
    for frame, records in frames:
        kept.append((frame, records))
        count += len(records)
        if count >= size:
            yield kept
            kept, count = [], 0
    if kept:
        yield kept


def _refuse_second_writer(database: Database, place: Place) -> None:
    rows = database.rows("SELECT segment, sequence, crc FROM projected")
    if rows != [(place.segment, place.sequence, place.crc)]:
        raise StoreError(
            f"{database.name} was changed by another process since this one began; let one of them follow the journal."
        )


def follow(
    database: Database,
    directory: Path,
    *,
    poll_s: float,
    chunk: int = RECORDS_PER_TRANSACTION,
    report: Report | None = None,
    rest: Callable[[float], None] = time.sleep,
) -> None:
    """Catch up again and again. Ends by an exception only: KeyboardInterrupt, StoreError, JournalDamagedError."""
    while True:
        begun = time.monotonic()
        catch_up(database, directory, chunk=chunk, report=report)
        rest(max(poll_s, REST_SHARE * (time.monotonic() - begun)))


def project(directory: Path, url: str | None = None) -> Projected:
    """Bring the store of a state directory to the end of its journal; builds it if there is none yet.

    Raises StoreError, JournalDamagedError, StateError.
    """
    database = open_database(directory, url)
    try:
        if not database.has_table("projected"):
            return rebuild(database, directory)
        return catch_up(database, directory)
    finally:
        database.close()


class Checked(NamedTuple):
    """What a check found. `differences` is empty for a store that is right."""

    place: Place
    behind: int
    """Records of the journal that are not in the store yet."""
    differences: list[str]


def check(database: Database, directory: Path) -> Checked:
    """Compare the store with a replay of the journal up to where the store stands. Changes nothing."""
    place, stored = read_place(database)
    first, ledger = first_place(directory)
    differences: list[str] = []
    if first.segment > place.segment:
        raise StoreStaleError(
            f"{directory}: the journal was compacted beyond the store's place; its past can no longer be checked. "
            f"`store follow` brings it to the end first."
        )
    for frame, records in read_on(directory, first):
        if (frame.segment, frame.sequence) > (place.segment, place.sequence):
            break
        for record in records:
            ledger.apply(record)
    if ledger.export() != stored.export():
        differences.append("ledger: the journal replays to another state than the store has")
    differences += _position_differences(database, ledger)
    behind = sum(len(records) for _, records in read_on(directory, place))
    return Checked(place, behind, differences)


def _position_differences(database: Database, ledger: Ledger) -> list[str]:
    """Positions against the ledger, and trades against positions, market by market."""
    sums: dict[str, tuple[int, ...]] = {
        row[0]: tuple(map(int, row[1:]))
        for row in database.rows(
            "SELECT positions.market, COALESCE(SUM(trades.realised), 0), COALESCE(SUM(trades.fees), 0), "
            "COALESCE(SUM(CASE WHEN trades.side = 'YES' THEN trades.open_size ELSE -trades.open_size END), 0), "
            "COALESCE(SUM(trades.basis), 0) FROM positions LEFT JOIN trades ON trades.market = positions.market "
            "AND trades.number > positions.since_number GROUP BY positions.market"
        )
    }
    found: list[str] = []
    rows = database.rows(
        "SELECT market, size, basis, realised, fees, realised_outside, fees_outside FROM positions"
    )
    for market, size, basis, realised, fees, realised_outside, fees_outside in rows:
        position = ledger.position(market)
        theirs = (position.count, position.basis, position.realised, position.fees)
        if (size, basis, realised, fees) != theirs:
            found.append(
                f"{market}: the position is {(size, basis, realised, fees)}, by the journal {theirs}"
            )
        traded = sums[market]
        expected = (realised - realised_outside, fees - fees_outside, size, basis)
        if traded != expected:
            found.append(f"{market}: its trades add up to {traded}, its position says {expected}")
    missing = ledger.positions.keys() - {row[0] for row in rows}
    return found + [f"{market}: has no row in positions" for market in sorted(missing)]
