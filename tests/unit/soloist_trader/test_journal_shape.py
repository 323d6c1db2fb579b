"""What a snapshot holds is pinned: a snapshot outlives the engine that wrote it, so another shape needs another version."""

import hashlib

import pytest
from soloist_trader.core.ledger import EXPORT_VERSION, Group, Ledger
from soloist_trader.core.orders import _PLAIN, Order, Terms
from soloist_trader.core.positions import Position, PositionFill
from soloist_trader.core.records import (
    Amended,
    Amending,
    Booked,
    CashAdjusted,
    Contradicted,
    CursorMoved,
    DayBegan,
    Excluded,
    GroupMade,
    Intended,
    Latched,
    Observed,
    Settled,
    Slot,
    Started,
    Stopped,
)

PINNED = {
    # version: (shape of what is exported, hash of the state of `facts`)
    1: ("98d3b919d72c3da6", "131064923bef7365"),
}
"""Never change a line of a version that was released: raise EXPORT_VERSION and add one. A snapshot of the version before is
then passed over: a whole journal is replayed, and one that was compacted is refused."""


def order(number, **changes):
    said = Intended(
        10 + number, f"s{number}", number, "t", "M", 1, f"l{number}", 4_000, 100, "good_till_canceled", 60,
        reduce_only=True, group="open",
    )  # fmt: skip
    return said._replace(**changes)


FACTS = [
    Started(1, "unit00", 2, 3, 7, "Live"),
    Stopped(2, proven=True, message="done"),
    DayBegan(3, 20_000, 5),
    CursorMoved(4, 1_000),
    GroupMade(5, "open", "g1", 100),
    Latched(6, "person", "HALTED", "looks"),
    CashAdjusted(7, 1_000_000, "deposit"),
    order(1),
    Observed(20, "s1", "v1", 40, closed=False, source="reply", fees=3),
    Amending(21, "s1", 4_100, 200, 60),
    Amended(22, "s1", 4_100, 200, 60, taken=True),
    Amending(23, "s1", 4_200, 200, 60),
    Booked(24, "f1", "s1", "v1", "M", 1, 4_000, 40, 3, is_taker=True, fill_time_ms=2_000),
    Excluded(25, "f2", 2_001, "s1", 10),
    order(2, market="N"),
    Contradicted(26, "s2", "FieldsDiffer"),
    Settled(27, "N", "yes", 3_000, 7, 0, 0, 0, 10_000),
]


def shape(value):
    """Types all the way down; the names stand beside it."""
    if isinstance(value, tuple):
        return tuple(shape(item) for item in value)
    return type(value).__name__


def names():
    return (
        _PLAIN, Order.__slots__, Position.__slots__, PositionFill._fields, Terms._fields, Slot._fields, Group._fields,
        Started._fields, Stopped._fields,
    )  # fmt: skip


def full_ledger():
    ledger = Ledger()
    for fact in FACTS:
        ledger.apply(fact)
    return ledger


def digest(value):
    return hashlib.sha256(repr(value).encode()).hexdigest()[:16]


def test_every_part_of_an_export_has_something_in_it():
    exported = full_ledger().export()
    assert all(part != () for part in exported), [index for index, part in enumerate(exported) if part == ()]
    assert len(exported[5]) == 2
    assert all(exported[5][0][-3:]), "amending, former and credited"


def test_another_shape_of_what_a_snapshot_holds_needs_another_version():
    ledger = full_ledger()
    found = (digest((shape(ledger.export()), names())), ledger.state_hash()[:16])
    assert PINNED[EXPORT_VERSION] == found, (
        "what is exported, or what the state hash covers, has changed: raise EXPORT_VERSION and pin the new shape beside the old"
    )


def test_an_export_of_another_version_is_refused():
    exported = full_ledger().export()
    assert Ledger.restore(exported).export() == exported
    with pytest.raises(ValueError, match="this engine reads"):
        Ledger.restore((EXPORT_VERSION + 1, *exported[1:]))
