"""The simulated account of Paper and Backtest: fills with queue position and fees, from public books and trades only.

It errs to the bot's disadvantage. An arriving order takes what is shown and no more, and what it took is not offered
again until that level changes. A resting order joins behind everything shown at its price; trades at the price use up
what is ahead of it before they fill it, and cancels ahead of it count only once the level shows less than was ahead.
A trade through its price, or the other side's best price reaching it, fills it at its own price.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from soloist_kalshi.fees import FeeAccumulator, FeeTerms

from soloist_trader.core import events
from soloist_trader.core.book import Level
from soloist_trader.core.commands import Amend, Cancel, Place
from soloist_trader.core.units import BID, GOOD_TILL_CANCELED, ONE_DOLLAR_PRICE

NOT_SEEN: Final = -1
"""The level of an order lies behind what is shown: who is ahead is known when it comes into view."""
STANDARD_FEES: Final = FeeTerms("quadratic")


@dataclass(slots=True)
class SimulatedOrder:
    """One order. `ahead` is the count that is filled before it, in 1/100 contract."""

    place: Place
    order_id: str
    price: int
    size: int
    expiration_s: int
    since_ms: int
    """When it came to rest at its price; earlier trades passed it by."""
    ahead: int = 0
    filled: int = 0
    fees: int = 0
    closed: bool = False
    fee_parts: FeeAccumulator = field(default_factory=FeeAccumulator)

    @property
    def remaining(self) -> int:
        """Not filled yet, in 1/100 contract."""
        return 0 if self.closed else self.size - self.filled


@dataclass(slots=True)
class _Shown:
    """The book as it was last shown: price to count for each side; `whole` if nothing lies behind it."""

    sides: dict[int, dict[int, int]]
    whole: bool
    taken: dict[tuple[int, int], int] = field(default_factory=dict)

    def levels(self, side: int) -> list[Level]:
        return sorted(self.sides[side].items(), reverse=side == BID)

    def best(self, side: int) -> int:
        prices = self.sides[side]
        if not prices:
            return 0
        return max(prices) if side == BID else min(prices)


class Matcher:
    """Orders of one bot in all markets. Methods return what the account's owner would be told, in sequence.

    `fee_terms` gives the terms of a market; `first_number` keeps ids of several processes apart.
    """

    def __init__(
        self, fee_terms: Callable[[str], FeeTerms] = lambda _market: STANDARD_FEES, first_number: int = 0
    ) -> None:
        self.orders: dict[str, SimulatedOrder] = {}
        self.fills: list[events.FillSeen] = []
        self._fee_terms = fee_terms
        self._number = first_number
        self._shown: dict[str, _Shown] = {}
        self._open: dict[str, list[SimulatedOrder]] = {}
        """Orders of each market that may still fill; closed ones are dropped at the next look."""

    # -- the market

    def show(
        self, now_ms: int, market: str, bids: list[Level], asks: list[Level], *, whole: bool
    ) -> list[events.Event]:
        """Replace the book of a market. `whole` is false where only the best levels are known."""
        before = self._shown.get(market)
        shown = _Shown({BID: dict(bids), -BID: dict(asks)}, whole)
        if before is not None:
            shown.taken = {
                (side, price): count
                for (side, price), count in before.taken.items()
                if shown.sides[side].get(price) == before.sides[side].get(price)
            }
        self._shown[market] = shown
        told: list[events.Event] = []
        for order in self._resting(market):
            told += self._cross(now_ms, order, shown)
            if order.remaining:
                self._move_up(order, shown)
        return told

    def hide(self, market: str) -> None:
        """The book cannot be trusted: nothing fills until it is shown again."""
        self._shown.pop(market, None)

    def traded(
        self,
        now_ms: int,
        market: str,
        price: int,
        size: int,
        taker_side: int,
        *,
        traded_ms: int | None = None,
    ) -> list[events.Event]:
        """Somebody traded: what is ahead of our orders goes first, then our orders, the best price first.

        `traded_ms` is when, where that is not now: a trade that is told late reaches no order that came after it.
        """
        when_ms = now_ms if traded_ms is None else traded_ms
        told: list[events.Event] = []
        left = size
        resting = [
            order
            for order in self._resting(market)
            if order.place.side == -taker_side and order.since_ms <= when_ms
        ]
        for order in sorted(resting, key=lambda order: -order.price * order.place.side):
            better = (order.price - price) * order.place.side
            if better < 0 or not left:
                break
            available = left
            if better == 0 and order.ahead != 0:
                if order.ahead == NOT_SEEN:
                    break
                available = max(left - order.ahead, 0)
                order.ahead = max(order.ahead - left, 0)
            count = min(order.remaining, available)
            if count:
                left -= count
                told += self._fill(now_ms, order, order.price, count, maker=True)
        return told

    # -- the account

    def place(self, now_ms: int, place: Place) -> list[events.Event]:
        """An order arrives."""
        self._number += 1
        order = SimulatedOrder(
            place, f"simulated-order-{self._number}", place.price, place.size, place.expiration_s, now_ms
        )
        self.orders[place.client_order_id] = order
        shown = self._shown.get(place.market)
        told = self._take(now_ms, order, shown) if shown is not None else []
        if place.time_in_force != GOOD_TILL_CANCELED:
            order.closed = True
        elif order.remaining:
            order.ahead = self._ahead(order, shown)
            self._open.setdefault(place.market, []).append(order)
        return [*told, self.seen(now_ms, order)]

    def cancel(self, now_ms: int, command: Cancel) -> events.Event:
        """A cancel arrives."""
        order = self.orders.get(command.client_order_id)
        if order is None or order.closed:
            return events.CancelEnded(now_ms, command.client_order_id, -1, "not_found")
        reduced = order.remaining
        order.closed = True
        return events.CancelEnded(now_ms, command.client_order_id, reduced, "cancelled")

    def amend(self, now_ms: int, command: Amend) -> list[events.Event]:
        """An amend arrives. Only less at the same price keeps the place in the queue; it may cross, and then takes."""
        order = self.orders.get(command.client_order_id)
        terms = (command.price, command.size, command.expiration_s)
        if order is None or order.closed or command.size <= order.filled:
            return [events.AmendEnded(now_ms, command.client_order_id, "not_found", *terms)]
        loses_place = command.price != order.price or command.size > order.size
        order.price, order.size, order.expiration_s = terms
        told: list[events.Event] = []
        if loses_place:
            order.since_ms = now_ms
            shown = self._shown.get(command.market)
            told = self._take(now_ms, order, shown) if shown is not None else []
            if order.remaining:
                order.ahead = self._ahead(order, shown)
        ended = events.AmendEnded(
            now_ms, command.client_order_id, "amended", *terms, order.filled, order.remaining
        )
        return [*told, ended]

    def expire(self, now_ms: int) -> list[events.Event]:
        """Close every order whose time is up."""
        told: list[events.Event] = []
        for market in self._open:
            for order in self._resting(market):
                if 0 < order.expiration_s * 1000 <= now_ms:
                    order.closed = True
                    told.append(self.seen(now_ms, order))
        return told

    def forget(self, before_ms: int) -> None:
        """Let go of fills and closed orders from before a time."""
        self.fills = [fill for fill in self.fills if fill.fill_time_ms > before_ms]
        self.orders = {
            name: order
            for name, order in self.orders.items()
            if order.remaining or order.place.decided_ms > before_ms
        }

    def seen(self, now_ms: int, order: SimulatedOrder) -> events.OrderSeen:
        """An order as the venue would show it."""
        place = order.place
        return events.OrderSeen(
            now_ms,
            place.client_order_id,
            order.order_id,
            place.market,
            place.side,
            order.price,
            order.size,
            order.filled,
            order.closed,
            "simulated",
            order.fees,
        )

    # -- matching

    def _resting(self, market: str) -> list[SimulatedOrder]:
        found = [order for order in self._open.get(market, ()) if order.remaining]
        self._open[market] = found
        return found

    def _ahead(self, order: SimulatedOrder, shown: _Shown | None) -> int:
        """What an order that comes to rest now stands behind."""
        if shown is None:
            return NOT_SEEN
        side = order.place.side
        count = shown.sides[side].get(order.price)
        if count is not None:
            return count
        best = shown.best(side)
        improves = not best or (order.price - best) * side > 0
        return 0 if improves or shown.whole else NOT_SEEN

    def _move_up(self, order: SimulatedOrder, shown: _Shown) -> None:
        """A level that shows less than was ahead: somebody ahead cancelled."""
        now_ahead = self._ahead(order, shown)
        if order.ahead == NOT_SEEN:
            order.ahead = now_ahead
        elif now_ahead != NOT_SEEN:
            order.ahead = min(order.ahead, now_ahead)

    def _take(self, now_ms: int, order: SimulatedOrder, shown: _Shown) -> list[events.Event]:
        """Fill an arriving order with what is shown at its limit or better."""
        told: list[events.Event] = []
        for price, count in self._crossed(order, shown):
            told += self._fill(now_ms, order, price, count, maker=False)
        return told

    def _cross(self, now_ms: int, order: SimulatedOrder, shown: _Shown) -> list[events.Event]:
        """The other side came to a resting order: it fills at its own price."""
        told: list[events.Event] = []
        for _, count in self._crossed(order, shown):
            told += self._fill(now_ms, order, order.price, count, maker=True)
        return told

    def _crossed(self, order: SimulatedOrder, shown: _Shown) -> list[Level]:
        side, wanted = order.place.side, order.remaining
        found: list[Level] = []
        for price, size in shown.levels(-side):
            if (price - order.price) * side > 0 or not wanted:
                break
            taken = shown.taken.get((-side, price), 0)
            count = min(wanted, size - taken)
            if count > 0:
                shown.taken[-side, price] = taken + count
                wanted -= count
                found.append((price, count))
        return found

    def _fill(
        self, now_ms: int, order: SimulatedOrder, price: int, count: int, *, maker: bool
    ) -> list[events.Event]:
        place = order.place
        self._number += 1
        terms = self._fee_terms(place.market)
        trade_fee = terms.maker(price, count) if maker else terms.taker(price, count)
        own_price = price if place.side == BID else ONE_DOLLAR_PRICE - price
        fee = order.fee_parts.charge(-own_price * count, trade_fee)
        order.filled += count
        order.fees += fee
        order.closed = order.filled >= order.size
        fill = events.FillSeen(
            now_ms,
            f"simulated-{self._number}",
            order.order_id,
            place.client_order_id,
            place.market,
            place.side,
            price,
            count,
            fee,
            not maker,
            now_ms,
        )
        self.fills.append(fill)
        return [fill, self.seen(now_ms, order)] if maker else [fill]
