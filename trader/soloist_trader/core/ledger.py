"""The durable state: orders, fills, positions, latches. Changed by `apply(record)` and by nothing else.

`apply` never runs a strategy and never asks for anything to be done, so a journal replays to the same state, equal on
every platform (`state_hash`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from typing import Any, Final, NamedTuple

from soloist_trader.core import records
from soloist_trader.core.codes import Contradiction
from soloist_trader.core.orders import Order, Terms
from soloist_trader.core.positions import Position, PositionFill
from soloist_trader.core.records import Record, Slot, Started, Stopped
from soloist_trader.core.units import ACTIVE, ARMED, ONE_DOLLAR_PRICE, STATE_RANK

FORGET_AFTER_MS: Final = 600_000
"""Settled orders and fill ids older than the cursor by this are forgotten. Fills are read again from cursor - 120 s."""


EXPORT_VERSION: Final = 1
"""Of `Ledger.export`. A snapshot of another version is not used: all records are read instead, and if
some of them were compacted away, the engine refuses to start."""


class SlotOccupiedError(AssertionError):
    """An order was intended for a slot that holds an unsettled one: a bug, so the engine stops rather than trade."""


class AmendPendingError(AssertionError):
    """Other terms were asked for while an amend is in doubt: a bug, so the engine stops rather than trade."""


class Group(NamedTuple):
    """An order group of ours. `limit` in 1/100 contract per 15 s."""

    group_id: str
    limit: int
    state: str


class Ledger:
    """Everything that must survive a crash, and nothing that can be read again from the venue's feeds."""

    def __init__(self) -> None:
        self.started: Started | None = None
        self.stopped: Stopped | None = None
        self.sequence = 0
        self.cursor_ms = 0
        self.adopted_ms = 0
        """The first cursor: what the venue's positions contained when this journal began."""
        self.day = 0
        self.day_profit = 0
        self.orders: dict[str, Order] = {}
        self.positions: dict[str, Position] = {}
        self.latches: dict[str, tuple[str, str]] = {}
        self.halts: dict[str, str] = {}
        """Markets halted by contradicting evidence, with the contradiction."""
        self.groups: dict[str, Group] = {}
        """Order groups by role, `open` and `reduce`."""
        self.cash_known = False
        self.cash_adjusted = 0
        """Cash that trading does not explain, the opening balance included, as money."""
        self._by_order_id: dict[str, Order] = {}
        self._by_slot: dict[Slot, Order] = {}
        self._unsettled: dict[str, dict[str, Order]] = {}
        self._fill_ids: dict[str, int] = {}
        self._excluded_ids: dict[str, int] = {}
        self._settlements: dict[tuple[str, int], int] = {}
        self._handlers: dict[type, Callable[[Any], None]] = {
            records.Started: self._apply_started,
            records.Intended: self._apply_intended,
            records.Doubted: self._apply_doubted,
            records.Tombstoned: self._apply_tombstoned,
            records.Released: self._apply_released,
            records.Observed: self._apply_observed,
            records.Found: self._apply_found,
            records.Booked: self._apply_booked,
            records.Excluded: self._apply_excluded,
            records.PositionAdopted: self._apply_position,
            records.Latched: self._apply_latched,
            records.CursorMoved: self._apply_cursor,
            records.DayBegan: self._apply_day,
            records.Stopped: self._apply_stopped,
            records.Contradicted: self._apply_contradicted,
            records.Amending: self._apply_amending,
            records.Amended: self._apply_amended,
            records.GroupMade: self._apply_group_made,
            records.GroupChanged: self._apply_group_changed,
            records.Settled: self._apply_settled,
            records.CashAdjusted: self._apply_cash,
            records.MarketReleased: self._apply_market_released,
            records.FeesAdjusted: self._apply_fees,
            records.VenueRecovered: self._apply_nothing,
            records.Deployed: self._apply_nothing,
        }

    # -- reading

    @property
    def state(self) -> str:
        """ACTIVE, REDUCING or HALTED: the strictest latch."""
        return max((state for state, _ in self.latches.values()), key=STATE_RANK.__getitem__, default=ACTIVE)

    def order_by_id(self, order_id: str) -> Order | None:
        """The order that the venue calls `order_id`."""
        return self._by_order_id.get(order_id)

    def in_slot(self, slot: Slot) -> Order | None:
        """The unsettled order that occupies a slot."""
        return self._by_slot.get(slot)

    def unsettled(self, market: str | None = None) -> Iterator[Order]:
        """Unsettled orders of one market, or of all."""
        if market is not None:
            yield from self._unsettled.get(market, {}).values()
            return
        for orders in self._unsettled.values():
            yield from orders.values()

    def unsettled_count(self) -> int:
        """How many orders are unsettled."""
        return sum(len(orders) for orders in self._unsettled.values())

    def position(self, market: str) -> Position:
        """The position of a market; flat if there never was one."""
        return self.positions.get(market) or Position()

    def has_fill(self, fill_id: str) -> bool:
        """True if the fill is booked or excluded."""
        return fill_id in self._fill_ids or fill_id in self._excluded_ids

    def is_booked(self, fill_id: str) -> bool:
        """True if the fill moved a position of this journal."""
        return fill_id in self._fill_ids

    def is_adopted(self, fill_id: str, fill_time_ms: int) -> bool:
        """True if an adopted position contains the fill already."""
        return fill_id in self._excluded_ids or fill_time_ms < self.adopted_ms

    def has_settlement(self, market: str, settled_time_ms: int) -> bool:
        """True if the settlement is in the ledger, or was before the ledger began or its horizon."""
        if (market, settled_time_ms) in self._settlements or settled_time_ms <= self.adopted_ms:
            return True
        return settled_time_ms < self.horizon_ms and not self.position(market).count

    def expected_cash(self) -> int:
        """The account's cash by fills, fees, settlements and adjustments, as money, with nothing resting."""
        return self.cash_adjusted + sum(position.cash_at_venue() for position in self.positions.values())

    @property
    def horizon_ms(self) -> int:
        """What happened before this is settled and forgotten."""
        return self.cursor_ms - FORGET_AFTER_MS

    def profit(self) -> int:
        """Realised profit after fees, all markets, as money."""
        return sum(position.realised - position.fees for position in self.positions.values())

    def state_hash(self) -> str:
        """SHA-256 over the durable state in a canonical text; equal for equal states everywhere."""
        facts = (
            self.sequence,
            self.cursor_ms,
            self.day,
            self.day_profit,
            tuple(sorted((order.facts() for order in self.orders.values()), key=lambda fact: str(fact[0]))),
            tuple((market, position.facts()) for market, position in sorted(self.positions.items())),
            tuple(sorted(self.latches.items())),
            tuple(sorted(self.halts.items())),
            tuple(sorted(self._fill_ids)),
            tuple(sorted(self._excluded_ids)),
            tuple(sorted(self._settlements)),
            tuple((role, tuple(group)) for role, group in sorted(self.groups.items())),
            self.cash_known,
            self.cash_adjusted,
            self.adopted_ms,
        )
        return hashlib.sha256(repr(facts).encode()).hexdigest()

    # -- snapshots

    def export(self) -> tuple[Any, ...]:
        """Everything as plain tuples of numbers, texts and truths, in the order in which it is walked. See `restore`."""
        return (
            EXPORT_VERSION,
            tuple(self.started) if self.started else (),
            tuple(self.stopped) if self.stopped else (),
            (self.sequence, self.cursor_ms, self.adopted_ms, self.day, self.day_profit),
            (self.cash_known, self.cash_adjusted),
            tuple(order.export() for order in self.orders.values()),
            tuple((market, tuple(orders)) for market, orders in self._unsettled.items()),
            tuple((market, position.export()) for market, position in self.positions.items()),
            tuple((actor, *latch) for actor, latch in self.latches.items()),
            tuple(self.halts.items()),
            tuple((role, *group) for role, group in self.groups.items()),
            tuple(self._fill_ids.items()),
            tuple(self._excluded_ids.items()),
            tuple((*key, value) for key, value in self._settlements.items()),
        )

    @classmethod
    def restore(cls, exported: tuple[Any, ...]) -> Ledger:
        """The ledger of an export. Raises ValueError for an export of another version."""
        ledger = cls()
        ledger.load(exported)
        return ledger

    def load(self, exported: tuple[Any, ...]) -> None:
        """Take over an export, in place; the ledger must be empty. Raises ValueError for another version."""
        if not exported or exported[0] != EXPORT_VERSION:
            raise ValueError(f"a ledger export of version {exported[:1]}; this engine reads {EXPORT_VERSION}")
        _, started, stopped, numbers, cash, orders, unsettled, positions, latches, halts, groups, *ids = (
            exported
        )
        self.started = Started(*started) if started else None
        self.stopped = Stopped(*stopped) if stopped else None
        self.sequence, self.cursor_ms, self.adopted_ms, self.day, self.day_profit = numbers
        self.cash_known, self.cash_adjusted = cash
        for order in map(Order.restore, orders):
            self.orders[order.client_order_id] = order
            if order.order_id:
                self._by_order_id[order.order_id] = order
        for market, client_order_ids in unsettled:
            found = {name: self.orders[name] for name in client_order_ids}
            self._unsettled[market] = found
            for order in found.values():
                self._by_slot.setdefault(order.slot, order)
        self.positions = {market: Position.restore(position) for market, position in positions}
        self.latches = {actor: (state, reason) for actor, state, reason in latches}
        self.halts = dict(halts)
        self.groups = {role: Group(*group) for role, *group in groups}
        fill_ids, excluded_ids, settlements = ids
        self._fill_ids, self._excluded_ids = dict(fill_ids), dict(excluded_ids)
        self._settlements = {(market, settled_ms): value for market, settled_ms, value in settlements}

    # -- changing

    def apply(self, record: Record) -> None:
        """Put one record into the state."""
        self._handlers[type(record)](record)

    def _apply_started(self, record: records.Started) -> None:
        self.started = record
        self.stopped = None

    def _apply_intended(self, record: records.Intended) -> None:
        slot = Slot(record.strategy, record.market, record.side, record.level)
        self._check_slot(slot, record.client_order_id)
        order = Order(record.client_order_id, slot, record.price, record.size, record.time_ms)
        order.time_in_force = record.time_in_force
        order.expiration_s = record.expiration_s
        order.reduce_only = record.reduce_only
        order.sequence = record.sequence
        order.group = record.group
        self.sequence = max(self.sequence, record.sequence)
        self._add(order)

    def _check_slot(self, slot: Slot, client_order_id: str) -> None:
        """The slot rule, on the far side of the border: nothing may be intended for an occupied slot."""
        occupant = self._by_slot.get(slot)
        if occupant is not None or client_order_id in self.orders:
            holder = occupant.client_order_id if occupant else client_order_id
            raise SlotOccupiedError(
                f"slot {slot} holds unsettled order {holder}; {client_order_id} may not be intended"
            )

    def _add(self, order: Order) -> None:
        self.orders[order.client_order_id] = order
        self._by_slot[order.slot] = order
        self._unsettled.setdefault(order.slot.market, {})[order.client_order_id] = order

    def _touch(self, order: Order, time_ms: int) -> None:
        """After a change: judge the facts together, and keep the indexes of unsettled orders, and the halts, right."""
        order.updated_ms = max(order.updated_ms, time_ms)
        slot = order.slot
        market = slot.market
        # A million records are replayed through here: no amend makes the size smaller, so look closely above it only.
        if (order.booked > order.size or order.filled > order.size) and order.evidence > order.size_max:
            order.contradict(Contradiction.FILLED_ABOVE_SIZE)
        if order.release_code and order.exists:
            burnt = order.tombstoned and order.closed and not order.evidence  # our own tombstone, come late
            if not burnt:
                order.contradict(Contradiction.RELEASED_BUT_ON_BOOK)
        if order.contradiction and order.halting:
            self.halts[market] = str(order.contradiction)
        unsettled = self._unsettled.get(market)
        if order.settled:
            if unsettled is not None:
                unsettled.pop(order.client_order_id, None)
            if self._by_slot.get(slot) is order:
                del self._by_slot[slot]
                for other in (
                    unsettled or {}
                ).values():  # one that late evidence brought back waits for the slot
                    if other.slot == slot:
                        self._by_slot[slot] = other
                        break
        elif unsettled is None or order.client_order_id not in unsettled:
            # Late evidence showed fills that are not booked yet: risk must see the order again.
            self._unsettled.setdefault(market, {})[order.client_order_id] = order
            self._by_slot.setdefault(slot, order)

    def _apply_doubted(self, record: records.Doubted) -> None:
        order = self.orders.get(record.client_order_id)
        if order is not None:
            order.doubted = True
            self._touch(order, record.time_ms)

    def _apply_tombstoned(self, record: records.Tombstoned) -> None:
        order = self.orders.get(record.client_order_id)
        if order is not None:
            order.tombstoned = True
            self._touch(order, record.time_ms)

    def _apply_released(self, record: records.Released) -> None:
        order = self.orders.get(record.client_order_id)
        if order is not None:
            order.release_code = max(order.release_code, record.code)
            self._touch(order, record.time_ms)

    def _apply_observed(self, record: records.Observed) -> None:
        order = self.orders.get(record.client_order_id)
        if order is None:
            return
        if not order.order_id:
            self._name(order, record.order_id)
        elif record.order_id and order.order_id != record.order_id:
            order.contradict(Contradiction.ORDER_ID_CHANGED)
        order.filled = max(order.filled, record.filled)
        order.closed = order.closed or record.closed
        if record.fees >= 0:
            order.fees_filled, order.fees_total = max(
                (order.fees_filled, order.fees_total), (record.filled, record.fees)
            )
        self._touch(order, record.time_ms)

    def _name(self, order: Order, order_id: str) -> None:
        if order_id and not order.order_id:
            order.order_id = order_id
            self._by_order_id[order_id] = order

    def _apply_found(self, record: records.Found) -> None:
        slot = Slot(records.FOUND, record.market, record.side, record.client_order_id)
        order = Order(record.client_order_id, slot, record.price, record.size, record.time_ms)
        self._name(order, record.order_id)
        self._add(order)

    def _apply_booked(self, record: records.Booked) -> None:
        if record.fill_id in self._fill_ids:
            return
        self._fill_ids[record.fill_id] = record.fill_time_ms
        position = self.positions.get(record.market)
        if position is None:
            position = self.positions[record.market] = Position()
        fill = PositionFill(record.fill_time_ms, record.fill_id, record.side, record.price, record.size)
        position.book(fill, record.fee)
        order = self.orders.get(record.client_order_id)
        if order is None:
            return
        self._name(order, record.order_id)
        order.booked += record.size
        order.fees += record.fee
        self._touch(order, record.time_ms)

    def _apply_excluded(self, record: records.Excluded) -> None:
        self._excluded_ids[record.fill_id] = record.fill_time_ms
        order = self.orders.get(record.client_order_id)
        if order is not None and record.fill_id not in order.credited:
            order.credited.add(record.fill_id)
            order.booked += record.size
            self._touch(order, record.time_ms)

    def _apply_position(self, record: records.PositionAdopted) -> None:
        self.positions.setdefault(record.market, Position()).adopt(record.size, record.cost, record.time_ms)

    def _apply_latched(self, record: records.Latched) -> None:
        if record.state == ACTIVE:
            self.latches.pop(record.actor, None)
        else:
            self.latches[record.actor] = (record.state, record.reason)

    def _apply_cursor(self, record: records.CursorMoved) -> None:
        self.adopted_ms = self.adopted_ms or record.cursor_ms
        self.cursor_ms = max(self.cursor_ms, record.cursor_ms)
        horizon_ms = self.horizon_ms
        for position in self.positions.values():
            position.fold(horizon_ms)
        for ids in (self._fill_ids, self._excluded_ids):
            for name in [name for name, time_ms in ids.items() if time_ms < horizon_ms]:
                del ids[name]
        for key in [key for key in self._settlements if key[1] < horizon_ms]:
            del self._settlements[key]
        for order in [order for order in self.orders.values() if order.updated_ms < horizon_ms]:
            if order.settled and not order.halting:
                del self.orders[order.client_order_id]
                self._by_order_id.pop(order.order_id, None)
        for market in [name for name, orders in self._unsettled.items() if not orders]:
            del self._unsettled[market]

    def _apply_day(self, record: records.DayBegan) -> None:
        self.day, self.day_profit = record.day, record.profit

    def _apply_stopped(self, record: records.Stopped) -> None:
        self.stopped = record

    def _apply_contradicted(self, record: records.Contradicted) -> None:
        order = self.orders.get(record.client_order_id)
        if order is not None:
            order.contradict(record.contradiction)
            self._touch(order, record.time_ms)

    def _apply_market_released(self, record: records.MarketReleased) -> None:
        self.halts.pop(record.market, None)
        for order in self.orders.values():
            if order.slot.market == record.market and order.contradiction:
                order.acknowledged = order.contradiction

    def _apply_amending(self, record: records.Amending) -> None:
        order = self.orders.get(record.client_order_id)
        if order is None:
            return
        terms = Terms(record.price, record.size, record.expiration_s)
        if order.amending not in {None, terms}:
            raise AmendPendingError(
                f"{record.client_order_id}: {order.amending} is in doubt, {terms} must wait"
            )
        order.amending, order.amending_ms = terms, record.time_ms
        self._touch(order, record.time_ms)

    def _apply_amended(self, record: records.Amended) -> None:
        order = self.orders.get(record.client_order_id)
        terms = Terms(record.price, record.size, record.expiration_s)
        if order is None or order.amending != terms:
            return
        order.amending = None
        if record.taken:
            order.take(terms)
        self._touch(order, record.time_ms)

    def _apply_group_made(self, record: records.GroupMade) -> None:
        self.groups[record.role] = Group(record.group_id, record.limit, ARMED)

    def _apply_group_changed(self, record: records.GroupChanged) -> None:
        group = self.groups.get(record.role)
        if group is not None:
            self.groups[record.role] = group._replace(state=record.state)

    def _apply_settled(self, record: records.Settled) -> None:
        key = (record.market, record.settled_time_ms)
        if key in self._settlements:
            return
        self._settlements[key] = record.value
        exact = record.value * record.count_yes + (ONE_DOLLAR_PRICE - record.value) * record.count_no
        position = self.positions.setdefault(record.market, Position())
        position.settle(record.settled_time_ms, record.value, record.revenue - exact)

    def _apply_cash(self, record: records.CashAdjusted) -> None:
        self.cash_known = True
        self.cash_adjusted += record.amount

    def _apply_fees(self, record: records.FeesAdjusted) -> None:
        self.positions.setdefault(record.market, Position()).fees += record.amount
        order = self.orders.get(record.client_order_id)
        if order is not None:
            order.fees += record.amount

    def _apply_nothing(self, record: Record) -> None:
        """A fact for people: it changes no state."""
