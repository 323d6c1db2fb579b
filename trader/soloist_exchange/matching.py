"""One market's book: price-time priority on the YES side, integers only, no clock, no money.

A NO order at price p is an order on the other side at 1 - p; the wire layer converts. The book reports every change
of a level through `changes`, in the order it happened, so that deltas replayed by a client give the same book.
"""

from bisect import bisect_left, insort
from collections.abc import Iterator
from typing import NamedTuple

from soloist_exchange.orders import ASK, BID, Order, SelfTrade, opposite

__all__ = ["Book", "LevelChange", "Match", "MatchResult"]


class LevelChange(NamedTuple):
    """A level grew or shrank by `delta` (1/100 contract) because of `order`."""

    side: int
    price: int
    delta: int
    order: Order


class Match(NamedTuple):
    """One fill: the resting order's price, and how much."""

    maker: Order
    price: int
    count: int  # type: ignore[assignment]  # a trade's count is its field's word; tuple.count is never called


class MatchResult(NamedTuple):
    """What an incoming order met. `self_cross`: matching stopped in front of an order of the same account."""

    matches: list[Match]
    cancelled_makers: list[Order]
    self_cross: bool


class _Level:
    """The orders at one price, oldest first, and their sum."""

    __slots__ = ("orders", "total")

    def __init__(self) -> None:
        self.orders: dict[str, Order] = {}
        self.total = 0


class _Side:
    """The levels of one side; `prices` is ascending, the best level is at the end that `best` looks at."""

    __slots__ = ("levels", "prices", "side")

    def __init__(self, side: int) -> None:
        self.side = side
        self.levels: dict[int, _Level] = {}
        self.prices: list[int] = []

    def best(self) -> int | None:
        if not self.prices:
            return None
        return self.prices[-1] if self.side == BID else self.prices[0]

    def best_first(self) -> Iterator[int]:
        return reversed(self.prices) if self.side == BID else iter(self.prices)

    def level(self, price: int) -> _Level:
        level = self.levels.get(price)
        if level is None:
            level = self.levels[price] = _Level()
            insort(self.prices, price)
        return level

    def drop_if_empty(self, price: int) -> None:
        if not self.levels[price].orders:
            del self.levels[price]
            del self.prices[bisect_left(self.prices, price)]


class Book:
    """Bids and asks of one market. An order is in the book exactly while it is `resting` with `remaining` > 0."""

    def __init__(self) -> None:
        self._sides = {BID: _Side(BID), ASK: _Side(ASK)}
        self.changes: list[LevelChange] = []

    def best(self, side: int) -> int | None:
        """Return the best price of a side, None when it is empty."""
        return self._sides[side].best()

    def level_total(self, side: int, price: int) -> int:
        """Return the resting count at a price."""
        level = self._sides[side].levels.get(price)
        return level.total if level else 0

    def levels(self, side: int) -> list[tuple[int, int]]:
        """Return (price, count) of every level, best first."""
        book_side = self._sides[side]
        return [(price, book_side.levels[price].total) for price in book_side.best_first()]

    def orders(self, side: int) -> Iterator[Order]:
        """Iterate the orders of a side in matching priority."""
        book_side = self._sides[side]
        for price in book_side.best_first():
            yield from book_side.levels[price].orders.values()

    def queue_ahead(self, order: Order) -> int:
        """Return the count in front of a resting order at its price."""
        ahead = 0
        for other in self._sides[order.side].levels[order.price].orders.values():
            if other is order:
                break
            ahead += other.remaining
        return ahead

    def crosses(self, side: int, price: int) -> bool:
        """Whether an order on `side` at `price` would meet a resting order."""
        best = self._sides[opposite(side)].best()
        return best is not None and _reaches(side, price, best)

    def available(self, taker: Order) -> tuple[int, bool]:
        """Return how much the taker could fill now, and whether an order of its own account stands in the way."""
        found = 0
        for maker in self.orders(opposite(taker.side)):
            if not _reaches(taker.side, taker.price, maker.price) or found >= taker.remaining:
                break
            if maker.account_id == taker.account_id:
                return found, True
            found += maker.remaining
        return min(found, taker.remaining), False

    def match(self, taker: Order) -> MatchResult:
        """Match an incoming order against the other side; updates `remaining` and `filled` of everyone it touches.

        The rest of the taker is not put into the book: the caller knows its time in force.
        """
        result = MatchResult([], [], self_cross=False)
        book_side = self._sides[opposite(taker.side)]
        while taker.remaining and (price := book_side.best()) is not None:
            if not _reaches(taker.side, taker.price, price):
                break
            maker = next(iter(book_side.levels[price].orders.values()))
            if maker.account_id == taker.account_id:
                if taker.self_trade is SelfTrade.TAKER_AT_CROSS:
                    return result._replace(self_cross=True)
                self.remove(maker)
                result.cancelled_makers.append(maker)
                continue
            count = min(taker.remaining, maker.remaining)
            taker.remaining -= count
            taker.filled += count
            maker.filled += count
            self.shrink(maker, count)
            result.matches.append(Match(maker, price, count))
        return result

    def add(self, order: Order) -> None:
        """Put an order at the end of its price's queue."""
        assert order.remaining > 0, f"an order without remaining count cannot rest: {order}"
        level = self._sides[order.side].level(order.price)
        assert order.order_id not in level.orders, f"the order rests already: {order}"
        level.orders[order.order_id] = order
        level.total += order.remaining
        self.changes.append(LevelChange(order.side, order.price, order.remaining, order))

    def remove(self, order: Order) -> None:
        """Take an order out of the book; its `remaining` stays as it was."""
        book_side = self._sides[order.side]
        level = book_side.levels[order.price]
        del level.orders[order.order_id]
        level.total -= order.remaining
        book_side.drop_if_empty(order.price)
        self.changes.append(LevelChange(order.side, order.price, -order.remaining, order))

    def shrink(self, order: Order, count: int) -> None:
        """Lower the remaining count of a resting order; it keeps its place, and leaves the book at zero."""
        assert 0 < count <= order.remaining, f"cannot shrink by {count}: {order}"
        book_side = self._sides[order.side]
        level = book_side.levels[order.price]
        order.remaining -= count
        level.total -= count
        if order.remaining == 0:
            del level.orders[order.order_id]
            book_side.drop_if_empty(order.price)
        self.changes.append(LevelChange(order.side, order.price, -count, order))

    def drain_changes(self) -> list[LevelChange]:
        """Return and forget the changes since the last call."""
        changes, self.changes = self.changes, []
        return changes

    def check(self) -> None:
        """Assert every invariant of the book; O(orders), for tests and on demand."""
        bid, ask = self.best(BID), self.best(ASK)
        assert bid is None or ask is None or bid < ask, f"crossed book: bid {bid} >= ask {ask}"
        for book_side in self._sides.values():
            assert book_side.prices == sorted(book_side.levels), "price index and levels differ"
            for price, level in book_side.levels.items():
                assert level.orders, f"empty level at {price}"
                assert level.total == sum(order.remaining for order in level.orders.values()), (
                    f"total at {price}"
                )
                for order in level.orders.values():
                    assert order.remaining > 0, f"a finished order rests: {order}"
                    assert (order.price, order.side) == (price, book_side.side), (
                        f"an order at the wrong level: {order}"
                    )


def _reaches(side: int, limit: int, price: int) -> bool:
    """Whether a limit on `side` accepts `price` of the other side."""
    return limit >= price if side == BID else limit <= price
