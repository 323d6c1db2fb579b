"""Durable facts. The journal holds nothing else; `ledger.apply` rebuilds the durable state from them alone.

A record states what was decided or seen, never what to compute: replay runs no strategy. Fields are appended at the
end only and never change meaning; the journal's format version changes with anything else.
"""

from __future__ import annotations

from typing import Final, NamedTuple


class Slot(NamedTuple):
    """The place of one order. A slot holds at most one unsettled order."""

    strategy: str
    market: str
    side: int
    level: str


class Started(NamedTuple):
    """A process began to write. `incarnation` is random, so that it cannot repeat after a lost journal."""

    time_ms: int
    claim_hash: str
    subaccount: int
    epoch: int
    incarnation: int
    mode: str


class Intended(NamedTuple):
    """An order that may be sent from here on. Durable before its bytes leave."""

    time_ms: int
    client_order_id: str
    sequence: int
    strategy: str
    market: str
    side: int
    level: str
    price: int
    size: int
    time_in_force: str
    expiration_s: int
    reduce_only: bool
    group: str = ""
    """Role of the order group it names (`open` or `reduce`), empty where the edge has no groups."""


class Doubted(NamedTuple):
    """The outcome of sending is not known: the order may or may not have arrived, or may still arrive."""

    time_ms: int
    client_order_id: str
    reason: str


class Tombstoned(NamedTuple):
    """The same id is about to be sent as an order that cannot fill (tombstone rule)."""

    time_ms: int
    client_order_id: str


class Released(NamedTuple):
    """Proof that the order never was on the book: not sent, refused by the venue, or its id burnt."""

    time_ms: int
    client_order_id: str
    code: str
    message: str


class Observed(NamedTuple):
    """Evidence of an order from the venue, by any road, in any order, any number of times."""

    time_ms: int
    client_order_id: str
    order_id: str
    filled: int
    closed: bool
    source: str
    fees: int = -1
    """The order's own fee total as money, -1 where the evidence does not say it."""


class Contradicted(NamedTuple):
    """The venue shows an order of this id whose fields cannot match what was intended."""

    time_ms: int
    client_order_id: str
    contradiction: str


FOUND: Final = "found"
"""The strategy in the slot of an order that this journal never intended."""


class Found(NamedTuple):
    """An own order at the venue that this journal never intended (journal lost, or an earlier incarnation)."""

    time_ms: int
    client_order_id: str
    order_id: str
    market: str
    side: int
    price: int
    size: int


class Booked(NamedTuple):
    """One fill, by its id. `fill_time_ms` is the venue's."""

    time_ms: int
    fill_id: str
    client_order_id: str
    order_id: str
    market: str
    side: int
    price: int
    size: int
    fee: int
    is_taker: bool
    fill_time_ms: int


class Excluded(NamedTuple):
    """A fill that an adopted position already contains. With an order it counts as booked for that order only."""

    time_ms: int
    fill_id: str
    fill_time_ms: int
    client_order_id: str = ""
    size: int = 0


class PositionAdopted(NamedTuple):
    """A position that the venue held before this journal began: signed count, and cost as money."""

    time_ms: int
    market: str
    size: int
    cost: int


class Latched(NamedTuple):
    """`actor` holds the engine in `state`; ACTIVE means that this actor lets go."""

    time_ms: int
    actor: str
    state: str
    reason: str


class CursorMoved(NamedTuple):
    """Fills and orders up to here (the venue's as-of time, read before a fetch) are in the ledger."""

    time_ms: int
    cursor_ms: int


class DayBegan(NamedTuple):
    """A trading day began; the daily loss counts from `profit`, the money made until then."""

    time_ms: int
    day: int
    profit: int


class Stopped(NamedTuple):
    """The exit record of an orderly stop. `proven` is true if a listing showed nothing resting."""

    time_ms: int
    proven: bool
    message: str


class Amending(NamedTuple):
    """An amend may have arrived from here on: both variants of the order count. Durable before its bytes leave."""

    time_ms: int
    client_order_id: str
    price: int
    size: int
    """Filled and desired resting together, so that the same amend twice is the same order."""
    expiration_s: int


class Amended(NamedTuple):
    """What became of the amend: `taken`, or certain never to be."""

    time_ms: int
    client_order_id: str
    price: int
    size: int
    expiration_s: int
    taken: bool


class GroupMade(NamedTuple):
    """The order group that orders of a role (`open`, `reduce`) name from here on. `limit` is a count per 15 s."""

    time_ms: int
    role: str
    group_id: str
    limit: int


class GroupChanged(NamedTuple):
    """The venue showed a group `armed` or `triggered`. A reset is asked for by an actor, never by the engine itself."""

    time_ms: int
    role: str
    state: str


class Settled(NamedTuple):
    """A market paid out. Its key is (market, settled_time_ms); `value` is what a YES contract was worth, as a price.

    `revenue` is money; `fee` is what the venue charged for the market in all, for comparison only.
    """

    time_ms: int
    market: str
    result: str
    settled_time_ms: int
    revenue: int
    count_yes: int
    count_no: int
    fee: int
    value: int


class CashAdjusted(NamedTuple):
    """Money that neither fills, fees nor settlements explain (deposits, transfers, interest). Outside profit and loss."""

    time_ms: int
    amount: int
    reason: str


class MarketReleased(NamedTuple):
    """A person looked at the contradictions of a market and lets it trade again."""

    time_ms: int
    market: str
    actor: str
    reason: str


class FeesAdjusted(NamedTuple):
    """The venue's fee total of a settled order differs from the sum of its fills' fees by this amount of money."""

    time_ms: int
    client_order_id: str
    market: str
    amount: int


class VenueRecovered(NamedTuple):
    """The journal was gone: what is known comes from the venue and from the safety record."""

    time_ms: int
    reason: str


class Deployed(NamedTuple):
    """What the process that just began runs: its image's reference, and SHA-256 of its configuration and its strategy's source.

    A text is empty where nobody said. For people and audits: no decision depends on it.
    """

    time_ms: int
    image: str
    configuration_sha256: str
    strategy_sha256: str


Record = (
    Started
    | Intended
    | Doubted
    | Tombstoned
    | Released
    | Observed
    | Found
    | Booked
    | Excluded
    | PositionAdopted
    | Latched
    | CursorMoved
    | DayBegan
    | Stopped
    | Contradicted
    | Amending
    | Amended
    | GroupMade
    | GroupChanged
    | Settled
    | CashAdjusted
    | MarketReleased
    | FeesAdjusted
    | VenueRecovered
    | Deployed
)

RECORD_TYPES: Final[tuple[type[Record], ...]] = (
    Started,
    Intended,
    Doubted,
    Tombstoned,
    Released,
    Observed,
    Found,
    Booked,
    Excluded,
    PositionAdopted,
    Latched,
    CursorMoved,
    DayBegan,
    Stopped,
    Contradicted,
    Amending,
    Amended,
    GroupMade,
    GroupChanged,
    Settled,
    CashAdjusted,
    MarketReleased,
    FeesAdjusted,
    VenueRecovered,
    Deployed,
)
"""Position in this tuple is the record's number in the journal: append only."""
