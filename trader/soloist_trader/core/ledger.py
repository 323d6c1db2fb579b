"""The durable state: orders, fills, positions, latches. Changed by `apply(record)` and by nothing else.

`apply` never runs a strategy and never asks for anything to be done, so a journal replays to the same state, equal on
every platform (`state_hash`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from typing import Any, Final

from soloist_trader.core.orders import Contradiction, Order
from soloist_trader.core.positions import Position, PositionFill
from soloist_trader.core.records import (
    Booked,
    Contradicted,
    CursorMoved,
    DayBegan,
    Doubted,
    Excluded,
    Found,
    Intended,
    Latched,
    Observed,
    PositionAdopted,
    Record,
    Released,
    Slot,
    Started,
    Stopped,
    Tombstoned,
)
from soloist_trader.core.units import ACTIVE, STATE_RANK

FORGET_AFTER_MS: Final = 600_000
"""Settled orders and fill ids older than the cursor by this are forgotten. Fills are read again from cursor - 120 s."""


class SlotOccupiedError(AssertionError):
    """An order was intended for a slot that holds an unsettled one: a bug, so the engine stops rather than trade."""


class Ledger:
    """Everything that must survive a crash, and nothing that can be read again from the venue's feeds."""

    def __init__(self) -> None:
        self.started: Started | None = None
        self.stopped: Stopped | None = None
        self.sequence = 0
        self.cursor_ms = 0
        self.day = 0
        self.day_profit = 0
        self.orders: dict[str, Order] = {}
        self.positions: dict[str, Position] = {}
        self.latches: dict[str, tuple[str, str]] = {}
        self.halts: dict[str, str] = {}
        """Markets halted by contradicting evidence, with the contradiction."""
        self._by_order_id: dict[str, Order] = {}
        self._by_slot: dict[Slot, Order] = {}
        self._unsettled: dict[str, dict[str, Order]] = {}
        self._fill_ids: dict[str, int] = {}
        self._handlers: dict[type, Callable[[Any], None]] = {
            Started: self._apply_started,
            Intended: self._apply_intended,
            Doubted: self._apply_doubted,
            Tombstoned: self._apply_tombstoned,
            Released: self._apply_released,
            Observed: self._apply_observed,
            Found: self._apply_found,
            Booked: self._apply_booked,
            Excluded: self._apply_excluded,
            PositionAdopted: self._apply_position,
            Latched: self._apply_latched,
            CursorMoved: self._apply_cursor,
            DayBegan: self._apply_day,
            Stopped: self._apply_stopped,
            Contradicted: self._apply_contradicted,
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
        return fill_id in self._fill_ids

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
            tuple(sorted(self.halts)),
            tuple(sorted(self._fill_ids)),
        )
        return hashlib.sha256(repr(facts).encode()).hexdigest()

    # -- changing

    def apply(self, record: Record) -> None:
        """Put one record into the state."""
        self._handlers[type(record)](record)

    def _apply_started(self, record: Started) -> None:
        self.started = record
        self.stopped = None

    def _apply_intended(self, record: Intended) -> None:
        slot = Slot(record.strategy, record.market, record.side, record.level)
        self._check_slot(slot, record.client_order_id)
        order = Order(record.client_order_id, slot, record.price, record.size, record.time_ms)
        order.time_in_force = record.time_in_force
        order.expiration_s = record.expiration_s
        order.reduce_only = record.reduce_only
        order.sequence = record.sequence
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
        """After a change: keep the indexes of unsettled orders, and the halts, right."""
        order.updated_ms = max(order.updated_ms, time_ms)
        market = order.slot.market
        if order.contradiction:
            self.halts[market] = order.contradiction
        if order.settled:
            self._unsettled.get(market, {}).pop(order.client_order_id, None)
            if self._by_slot.get(order.slot) is order:
                del self._by_slot[order.slot]
        elif order.client_order_id not in self._unsettled.setdefault(market, {}):
            # Late evidence showed fills that are not booked yet: risk must see the order again.
            self._unsettled[market][order.client_order_id] = order
            self._by_slot.setdefault(order.slot, order)

    def _apply_doubted(self, record: Doubted) -> None:
        order = self.orders.get(record.client_order_id)
        if order is not None:
            order.doubted = True
            self._touch(order, record.time_ms)

    def _apply_tombstoned(self, record: Tombstoned) -> None:
        order = self.orders.get(record.client_order_id)
        if order is not None:
            order.tombstoned = True
            self._touch(order, record.time_ms)

    def _apply_released(self, record: Released) -> None:
        order = self.orders.get(record.client_order_id)
        if order is None:
            return
        order.release_code = max(order.release_code, record.code)
        if order.exists:
            order.contradiction = Contradiction.RELEASED_BUT_ON_BOOK
        self._touch(order, record.time_ms)

    def _apply_observed(self, record: Observed) -> None:
        order = self.orders.get(record.client_order_id)
        if order is None:
            return
        if order.order_id and record.order_id and order.order_id != record.order_id:
            order.contradiction = Contradiction.ORDER_ID_CHANGED
        elif record.order_id:
            order.order_id = record.order_id
            self._by_order_id[record.order_id] = order
        if order.release_code:
            order.contradiction = Contradiction.RELEASED_BUT_ON_BOOK
        order.filled = max(order.filled, record.filled)
        if order.filled > order.size:
            order.contradiction = Contradiction.FILLED_ABOVE_SIZE
        order.closed = order.closed or record.closed
        self._touch(order, record.time_ms)

    def _apply_found(self, record: Found) -> None:
        slot = Slot("found", record.market, record.side, record.client_order_id)
        order = Order(record.client_order_id, slot, record.price, record.size, record.time_ms)
        order.order_id = record.order_id
        self._by_order_id[record.order_id] = order
        self._add(order)

    def _apply_booked(self, record: Booked) -> None:
        if record.fill_id in self._fill_ids:
            return
        self._fill_ids[record.fill_id] = record.fill_time_ms
        position = self.positions.setdefault(record.market, Position())
        fill = PositionFill(record.fill_time_ms, record.fill_id, record.side, record.price, record.size)
        position.book(fill, record.fee)
        order = self.orders.get(record.client_order_id)
        if order is None:
            return
        if not order.order_id:
            order.order_id = record.order_id
            self._by_order_id[record.order_id] = order
        order.booked += record.size
        if order.booked > order.size:
            order.contradiction = Contradiction.FILLED_ABOVE_SIZE
        if order.release_code:
            order.contradiction = Contradiction.RELEASED_BUT_ON_BOOK
        self._touch(order, record.time_ms)

    def _apply_excluded(self, record: Excluded) -> None:
        self._fill_ids[record.fill_id] = record.fill_time_ms

    def _apply_position(self, record: PositionAdopted) -> None:
        self.positions.setdefault(record.market, Position()).adopt(record.size, record.cost, record.time_ms)

    def _apply_latched(self, record: Latched) -> None:
        if record.state == ACTIVE:
            self.latches.pop(record.actor, None)
        else:
            self.latches[record.actor] = (record.state, record.reason)

    def _apply_cursor(self, record: CursorMoved) -> None:
        self.cursor_ms = max(self.cursor_ms, record.cursor_ms)
        horizon_ms = self.horizon_ms
        for position in self.positions.values():
            position.fold(horizon_ms)
        self._fill_ids = {fill_id: ms for fill_id, ms in self._fill_ids.items() if ms >= horizon_ms}
        forgotten = [
            order for order in self.orders.values() if order.settled and order.updated_ms < horizon_ms
        ]
        for order in forgotten:
            if not order.contradiction:
                del self.orders[order.client_order_id]
                self._by_order_id.pop(order.order_id, None)

    def _apply_day(self, record: DayBegan) -> None:
        self.day, self.day_profit = record.day, record.profit

    def _apply_stopped(self, record: Stopped) -> None:
        self.stopped = record

    def _apply_contradicted(self, record: Contradicted) -> None:
        order = self.orders.get(record.client_order_id)
        if order is not None:
            order.contradiction = record.contradiction
            self._touch(order, record.time_ms)
