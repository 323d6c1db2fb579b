"""What happens to the engine. Every event carries the time at which the edge saw it; the core reads no clock."""

from __future__ import annotations

from typing import NamedTuple


class Began(NamedTuple):
    """The process took over the journal. Every order without an outcome is in doubt from here on."""

    now_ms: int


class TopChanged(NamedTuple):
    """The best level of a book changed. A price of 0 means that the side is empty. `generation` counts snapshots."""

    now_ms: int
    market: str
    bid_price: int
    bid_count: int
    ask_price: int
    ask_count: int
    generation: int


class Traded(NamedTuple):
    """Somebody traded. `taker_side` is BID or ASK."""

    now_ms: int
    market: str
    price: int
    size: int
    taker_side: int


class BookLost(NamedTuple):
    """The book of a market can no longer be trusted (sequence gap, reset connection)."""

    now_ms: int
    market: str
    reason: str


class MarketSeen(NamedTuple):
    """What the venue says of a market: open for orders or not, volume in 1/100 contract, valid prices ascending."""

    now_ms: int
    market: str
    is_open: bool
    volume: int
    ticks: tuple[int, ...]
    close_time_ms: int


class Tick(NamedTuple):
    """Time passed."""

    now_ms: int


class BudgetSeen(NamedTuple):
    """The venue's write budget for this account: tokens per second and bucket capacity."""

    now_ms: int
    refill_per_s: int
    capacity: int


class OrderSeen(NamedTuple):
    """The venue showed an order: a reply, the user_orders channel, or a listing. Counts in 1/100 contract."""

    now_ms: int
    client_order_id: str
    order_id: str
    market: str
    side: int
    price: int
    size: int
    filled: int
    closed: bool
    source: str
    fees: int = -1
    """The order's own fee total as money (taker and maker), -1 where it is not said."""
    as_of_ms: int = 0
    """Of a listing: the venue's as-of time read before it; 0 elsewhere. Decides an amend in doubt."""


class AmendEnded(NamedTuple):
    """An amend was answered, refused or lost. Price, size and expiration are what was asked for.

    `outcome` is `amended`, `not_sent`, `unknown`, or the venue's code of a refusal. `filled` is the order's total and
    `remaining` what rests, each -1 where the reply does not say it.
    """

    now_ms: int
    client_order_id: str
    outcome: str
    price: int
    size: int
    expiration_s: int
    filled: int = -1
    remaining: int = -1


class OrderRefused(NamedTuple):
    """The venue refused a create: it never was on the book."""

    now_ms: int
    client_order_id: str
    code: str
    message: str


class OrderNotSent(NamedTuple):
    """The send gate, or a connection that was never made, kept the bytes: it never reached the venue."""

    now_ms: int
    client_order_id: str
    reason: str


class OrderUnknown(NamedTuple):
    """A create was sent and its outcome is not known."""

    now_ms: int
    client_order_id: str
    reason: str


class OrderExists(NamedTuple):
    """The venue answered `order_already_exists`: an order of this id is, or was, on its books."""

    now_ms: int
    client_order_id: str


class OrderAbsent(NamedTuple):
    """A listing in all statuses did not show the order. `as_of_ms` was read from the venue before the listing."""

    now_ms: int
    client_order_id: str
    as_of_ms: int


class CancelEnded(NamedTuple):
    """A cancel was answered, refused or lost. Only `reduced_by` >= 0 is evidence; a 404 is none."""

    now_ms: int
    client_order_id: str
    reduced_by: int
    outcome: str


class FillSeen(NamedTuple):
    """One fill of this account. `client_order_id` is empty where the venue does not say it (REST)."""

    now_ms: int
    fill_id: str
    order_id: str
    client_order_id: str
    market: str
    side: int
    price: int
    size: int
    fee: int
    is_taker: bool
    fill_time_ms: int


class PositionsSeen(NamedTuple):
    """All positions of the account: (market, signed count, cost). `as_of_ms` was read before them."""

    now_ms: int
    as_of_ms: int
    positions: tuple[tuple[str, int, int], ...]
    fill_ids: tuple[tuple[str, int], ...]
    """(fill id, venue time) of the fills that a listing beside it showed; used when positions are adopted."""


class SweepEnded(NamedTuple):
    """A pass over orders, fills and positions is complete; the venue's as-of time was read before it."""

    now_ms: int
    as_of_ms: int


class Verb(NamedTuple):
    """Somebody asks for a state: a person, the operator through the Lease, the journal, the lease keeper."""

    now_ms: int
    actor: str
    state: str
    reason: str


class Readied(NamedTuple):
    """Reconciled with the venue: new orders may be decided from here on."""

    now_ms: int


class StopAsked(NamedTuple):
    """Orderly stop: no new order from here on, cancel what rests."""

    now_ms: int
    reason: str


class GroupSeen(NamedTuple):
    """An order group of ours as the venue shows it: just made, looked up, or changed. `limit` in 1/100 contract per 15 s."""

    now_ms: int
    role: str
    group_id: str
    triggered: bool
    limit: int = 0


class SettlementSeen(NamedTuple):
    """One settlement of this account. `value` is what a YES contract was worth, as a price; money in 1/1 000 000 dollar."""

    now_ms: int
    market: str
    result: str
    settled_time_ms: int
    revenue: int
    count_yes: int
    count_no: int
    fee: int
    value: int


class BalanceSeen(NamedTuple):
    """The account's cash, as money. `as_of_ms` was read before it."""

    now_ms: int
    cash: int
    as_of_ms: int


class MarketReleaseAsked(NamedTuple):
    """A person looked at the contradictions of a market and lets it trade again."""

    now_ms: int
    market: str
    actor: str
    reason: str


class RecoveryReported(NamedTuple):
    """The journal was gone. `trusted` is false if an own order or fill is later than the safety record, or that is too old."""

    now_ms: int
    reason: str
    trusted: bool


class CommitSlow(NamedTuple):
    """The 99th percentile of the journal's commits, in microseconds, passed what the inline commit may take."""

    now_ms: int
    p99_us: int


class JournalFull(NamedTuple):
    """More than the bound waits for a commit (`full`), or no longer. New orders are denied meanwhile."""

    now_ms: int
    full: bool


Event = (
    Began
    | TopChanged
    | Traded
    | BookLost
    | MarketSeen
    | Tick
    | BudgetSeen
    | OrderSeen
    | OrderRefused
    | OrderNotSent
    | OrderUnknown
    | OrderExists
    | OrderAbsent
    | CancelEnded
    | FillSeen
    | PositionsSeen
    | SweepEnded
    | Verb
    | Readied
    | StopAsked
    | AmendEnded
    | GroupSeen
    | SettlementSeen
    | BalanceSeen
    | MarketReleaseAsked
    | RecoveryReported
    | CommitSlow
    | JournalFull
)
