"""Which connection and which subscription carries which market, and how that changes when markets come, go or overflow.

A session of one connection has a buffer per subscription: too many busy markets on one sid end in error 25 (section 13.5). The planner
spreads tickers over as few subscriptions as the limits allow, halves the limit of a subscription that overflowed, and never moves a
market that may stay. It is pure: plans are values, and `changes` are what a running feed has to do to get from one to the next.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace

__all__ = ["Change", "FeedPlan", "FeedPlanError", "PlanLimits", "Slot", "changes", "overflowed", "plan"]


class FeedPlanError(ValueError):
    """The tickers do not fit into the limits."""


@dataclass(frozen=True, slots=True)
class PlanLimits:
    """What the venue allows one user: markets per subscription, subscriptions per connection, connections (section 13.1).

    A second subscription to one channel on one connection is refused or ends in the first one's sid (section 13.2), so it is one each
    unless a venue says otherwise.
    """

    markets_per_sid: int = 500
    sids_per_connection: int = 1
    connections: int = 180

    def __post_init__(self) -> None:
        if min(self.markets_per_sid, self.sids_per_connection, self.connections) < 1:
            raise FeedPlanError("each limit is at least 1")

    @property
    def slots(self) -> int:
        """How many subscriptions there may be."""
        return self.sids_per_connection * self.connections


@dataclass(frozen=True, slots=True, order=True)
class Slot:
    """A place for one subscription: the `index`-th of a connection."""

    connection: int
    index: int


@dataclass(frozen=True, slots=True)
class FeedPlan:
    """Tickers by slot; `limits_by_slot` holds what a slot takes after it overflowed. Slots without tickers are not in `tickers`."""

    limits: PlanLimits
    tickers: dict[Slot, tuple[str, ...]]
    limits_by_slot: dict[Slot, int]

    @classmethod
    def empty(cls, limits: PlanLimits) -> "FeedPlan":
        """Return the plan of no market."""
        return cls(limits, {}, {})

    def room(self, slot: Slot) -> int:
        """Return how many more markets a slot takes."""
        return self.capacity(slot) - len(self.tickers.get(slot, ()))

    def capacity(self, slot: Slot) -> int:
        """Return how many markets a slot takes."""
        return self.limits_by_slot.get(slot, self.limits.markets_per_sid)

    @property
    def connections(self) -> frozenset[int]:
        """The connections that carry anything."""
        return frozenset(slot.connection for slot in self.tickers)


@dataclass(frozen=True, slots=True)
class Change:
    """What one slot has to drop and to take."""

    slot: Slot
    remove: tuple[str, ...]
    add: tuple[str, ...]


def plan(current: FeedPlan, wanted: Iterable[str]) -> FeedPlan:
    """Return a plan for exactly the wanted tickers in which every ticker that is in a slot with room for it stays there.

    New tickers fill slots that keep something first, then those that were emptied, then free ones, those of open connections before
    others. Raises FeedPlanError when they do not fit.
    """
    open_tickers = dict.fromkeys(wanted)
    kept: dict[Slot, tuple[str, ...]] = {}
    for slot, tickers in sorted(current.tickers.items()):
        staying = [ticker for ticker in tickers if ticker in open_tickers][: current.capacity(slot)]
        for ticker in staying:
            del open_tickers[ticker]
        if staying:
            kept[slot] = tuple(staying)
    result = replace(current, tickers=kept)
    waiting = list(open_tickers)
    emptied = sorted(current.tickers.keys() - kept.keys())
    for slot in (*sorted(kept), *emptied, *_free_slots(current)):
        if not waiting:
            break
        room = result.room(slot)
        if room > 0:
            taken, waiting = waiting[:room], waiting[room:]
            kept[slot] = (*kept.get(slot, ()), *taken)
    if waiting:
        raise FeedPlanError(
            f"{len(waiting)} of the markets do not fit into {result.limits.slots} subscriptions: ask for fewer, or raise the limits"
        )
    return result


def overflowed(current: FeedPlan, slot: Slot) -> FeedPlan:
    """Return a plan after error 25 on a slot: it carries half of what it did from now on, the rest moves elsewhere.

    Raises FeedPlanError when the rest does not fit, or when a single market overflows.
    """
    carried = len(current.tickers.get(slot, ()))
    if carried == 1:
        raise FeedPlanError(
            f"{current.tickers[slot][0]} alone overflows a subscription: the consumer is too slow"
        )
    if carried == 0:
        return current
    limits_by_slot = {**current.limits_by_slot, slot: carried // 2}
    every = [ticker for tickers in current.tickers.values() for ticker in tickers]
    return plan(replace(current, limits_by_slot=limits_by_slot), every)


def changes(old: FeedPlan, new: FeedPlan) -> list[Change]:
    """Return what each slot has to do, in the order of slots."""
    result = []
    for slot in sorted({*old.tickers, *new.tickers}):
        before, after = old.tickers.get(slot, ()), new.tickers.get(slot, ())
        was, will = set(before), set(after)
        if was != will:
            remove = tuple(ticker for ticker in before if ticker not in will)
            add = tuple(ticker for ticker in after if ticker not in was)
            result.append(Change(slot, remove, add))
    return result


def _free_slots(current: FeedPlan) -> Iterable[Slot]:
    """Yield the unused slots: on connections that are open already first, so that few are opened."""
    limits = current.limits
    in_use = sorted(current.connections)
    others = (number for number in range(limits.connections) if number not in current.connections)
    for connection in (*in_use, *others):
        for index in range(limits.sids_per_connection):
            slot = Slot(connection, index)
            if slot not in current.tickers:
                yield slot
