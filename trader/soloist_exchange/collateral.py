"""What resting orders hold back of their owner's cash, so that every one of them could fill.

An order that closes a position needs nothing; but two orders cannot close the same contracts. So the sum is taken over all orders of
an owner in a market: per side the orders that fill first close the position, what remains opens one and costs its whole price. It is
kept per price, so a change costs as many steps as the position spans prices, however many orders there are.
"""

from bisect import bisect_left, insort
from collections.abc import Iterable

from soloist_kalshi.numbers import notional

from soloist_exchange.ledger import DOLLAR, Account
from soloist_exchange.orders import ASK, BID, Order

__all__ = ["Collateral", "required"]

Place = tuple[int, int, str]


def required(orders: Iterable[Order], held: int) -> int:
    """Return the money that orders of one owner in one market need while `held` contracts are owned: the definition, order by order.

    The sides are added up because both may fill.
    """
    total = 0
    sides: dict[int, list[Order]] = {BID: [], ASK: []}
    for order in orders:
        sides[order.side].append(order)
    for side, own in sides.items():
        closable = max(0, -side * held)
        for order in sorted(own, key=lambda order: -order.side * order.price):
            closing = min(closable, order.remaining)
            closable -= closing
            price = order.price if side == BID else DOLLAR - order.price
            total += notional(price, order.remaining - closing)
    return total


class _Prices:
    """One side's resting counts of one owner in one market: by price, their sum, and what they cost without a position."""

    __slots__ = ("cost", "counts", "prices", "side", "total")

    def __init__(self, side: int) -> None:
        self.side = side
        self.counts: dict[int, int] = {}
        self.prices: list[int] = []
        self.total = self.cost = 0

    def change(self, price: int, delta: int) -> None:
        """Add `delta` to the count at a price."""
        count = self.counts.get(price, 0) + delta
        assert count >= 0, f"the collateral at {price} counts {count}"
        if count == 0:
            del self.counts[price]
            del self.prices[bisect_left(self.prices, price)]
        else:
            if count == delta:
                insort(self.prices, price)
            self.counts[price] = count
        self.total += delta
        self.cost += (price if self.side == BID else DOLLAR - price) * delta

    def need(self, held: int) -> int:
        """Return what these orders need while `held` contracts are owned."""
        closable = -self.side * held
        if closable <= 0:
            return self.cost
        if closable >= self.total:
            return 0
        saved = 0
        for price in reversed(self.prices) if self.side == BID else self.prices:
            closing = min(closable, self.counts[price])
            saved += (price if self.side == BID else DOLLAR - price) * closing
            closable -= closing
            if not closable:
                break
        return self.cost - saved


class _Holding:
    """The resting orders of one owner in one market, and what they hold back together."""

    __slots__ = ("asks", "bids", "reserved")

    def __init__(self) -> None:
        self.bids = _Prices(BID)
        self.asks = _Prices(ASK)
        self.reserved = 0

    def side(self, side: int) -> _Prices:
        return self.bids if side == BID else self.asks

    def need(self, held: int) -> int:
        return self.bids.need(held) + self.asks.need(held)


class Collateral:
    """What connected accounts have to hold back, by owner and market; the sums per purse are `Account.reserved`."""

    def __init__(self) -> None:
        self._holdings: dict[Place, _Holding] = {}

    def needed_by(self, account: Account, order: Order, price: int, count: int) -> int:
        """Return what `order` would hold back at a price and count beyond what it and the others do now (money; negative frees)."""
        held = account.held(order.subaccount, order.ticker)
        holding = self._holdings.get(_place(order))
        if holding is None:
            opening = count - min(count, max(0, -order.side * held))
            return notional(price if order.side == BID else DOLLAR - price, opening)
        own = holding.side(order.side)
        if order.backed:
            own.change(order.price, -order.backed)
        own.change(price, count)
        needed = holding.need(held) - holding.reserved
        own.change(price, -count)
        if order.backed:
            own.change(order.price, order.backed)
        return needed

    def back(self, account: Account, order: Order, count: int) -> None:
        """Count `count` of an order from now on: its remaining while it rests, 0 when it left. Its price must still be the old one."""
        place = _place(order)
        holding = self._holdings.get(place)
        if holding is None:
            if not count:
                return
            holding = self._holdings[place] = _Holding()
        if delta := count - order.backed:
            holding.side(order.side).change(order.price, delta)
            order.backed = count
        self._refresh(account, order, place, holding)

    def refresh(self, account: Account, order: Order) -> None:
        """Take the sum of an order's owner and market anew: the position has moved."""
        place = _place(order)
        holding = self._holdings.get(place)
        if holding is not None:
            self._refresh(account, order, place, holding)

    def _refresh(self, account: Account, order: Order, place: Place, holding: _Holding) -> None:
        needed = holding.need(account.held(order.subaccount, order.ticker))
        if needed != holding.reserved:
            purse = (order.subaccount, order.exchange_index)
            account.reserved[purse] = account.reserved.get(purse, 0) + needed - holding.reserved
            holding.reserved = needed
        if not (holding.bids.total or holding.asks.total):
            del self._holdings[place]

    def recount(self, account: Account, orders: Iterable[Order]) -> dict[tuple[int, int], int]:
        """Return what the resting orders of an account need by the definition, per purse, without zeros."""
        places: dict[Place, list[Order]] = {}
        for order in orders:
            places.setdefault(_place(order), []).append(order)
        purses: dict[tuple[int, int], int] = {}
        for (_, subaccount, ticker), own in places.items():
            needed = required(own, account.held(subaccount, ticker))
            purse = (subaccount, own[0].exchange_index)
            purses[purse] = purses.get(purse, 0) + needed
        return {purse: money for purse, money in purses.items() if money}


def _place(order: Order) -> Place:
    return order.account_id, order.subaccount, order.ticker
