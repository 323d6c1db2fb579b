"""One market's book: price-time priority on the YES side, integers only, no clock, no money.

A NO order at price p is an order on the other side at 1 - p; the wire layer converts. The book reports every change
of a level through `changes`, in the order it happened, so that deltas replayed by a client give the same book.
A level's orders are chained through the orders themselves: joining, leaving and finding the first cost the same in a long queue.
"""

from bisect import bisect_left, insort
from collections.abc import Iterator
from typing import NamedTuple

from soloist_exchange.orders import ASK, BID, Level, Order

__all__ = ["Book", "LevelChange", "Match"]


class LevelChange(NamedTuple):
    """A level grew or shrank by `delta` (1/100 contract) because of `order`."""

    side: int
    price: int
    delta: int
    order: Order


class Match(NamedTuple):
    """One fill: the resting order's price, and how much. A count of 0: the maker is of the taker's own account."""

    maker: Order
    price: int
    count: int  # type: ignore[assignment]  # a trade's count is its field's word; tuple.count is never called


class _Side:
    """The levels of one side; `prices` is ascending, the best level is at the end that `best` looks at."""

    __slots__ = ("levels", "prices", "side")

    def __init__(self, side: int) -> None:
        self.side = side
        self.levels: dict[int, Level] = {}
        self.prices: list[int] = []

    def best(self) -> int | None:
        if not self.prices:
            return None
        return self.prices[-1] if self.side == BID else self.prices[0]

    def best_first(self) -> Iterator[int]:
        return reversed(self.prices) if self.side == BID else iter(self.prices)


class Book:
    """Bids and asks of one market. An order is in the book exactly while its `level` is set."""

    __slots__ = ("_asks", "_bids", "changes")

    def __init__(self) -> None:
        self._bids = _Side(BID)
        self._asks = _Side(ASK)
        self.changes: list[LevelChange] = []

    def _side(self, side: int) -> _Side:
        return self._bids if side == BID else self._asks

    def best(self, side: int) -> int | None:
        """Return the best price of a side, None when it is empty."""
        return self._side(side).best()

    def level_total(self, side: int, price: int) -> int:
        """Return the resting count at a price."""
        level = self._side(side).levels.get(price)
        return level.total if level else 0

    def levels(self, side: int) -> list[tuple[int, int]]:
        """Return (price, count) of every level, best first."""
        book_side = self._side(side)
        return [(price, book_side.levels[price].total) for price in book_side.best_first()]

    def orders(self, side: int) -> Iterator[Order]:
        """Iterate the orders of a side in matching priority."""
        book_side = self._side(side)
        for price in book_side.best_first():
            order = book_side.levels[price].first
            while order is not None:
                yield order
                order = order.behind

    def queue_ahead(self, order: Order) -> int:
        """Return the count in front of a resting order at its price."""
        ahead = 0
        other = order.ahead
        while other is not None:
            ahead += other.remaining
            other = other.ahead
        return ahead

    def crosses(self, side: int, price: int) -> bool:
        """Whether an order on `side` at `price` would meet a resting order."""
        best = self._side(-side).best()
        return best is not None and _reaches(side, price, best)

    def available(self, taker: Order) -> tuple[int, bool]:
        """Return how much the taker could fill now, and whether an order of its own account stands in the way."""
        found = 0
        for maker in self.orders(-taker.side):
            if not _reaches(taker.side, taker.price, maker.price) or found >= taker.remaining:
                break
            if maker.account_id == taker.account_id:
                return found, True
            found += maker.remaining
        return min(found, taker.remaining), False

    def match(self, taker: Order) -> Iterator[Match]:
        """Match an incoming order against the other side, one fill at a time; `remaining` and `filled` of both are updated.

        The caller may take makers out of the book between two matches, and ends the matching by leaving the loop. A match of count 0
        is an order of the taker's own account: it stands in the way until the caller removes it. What is left of the taker is not put
        into the book: the caller knows its time in force.
        """
        book_side = self._side(-taker.side)
        bids = taker.side == BID
        limit = taker.price
        while taker.remaining and (prices := book_side.prices):
            price = prices[0] if bids else prices[-1]
            if price > limit if bids else price < limit:
                break
            maker = book_side.levels[price].first
            assert maker is not None, f"an empty level at {price}"
            if maker.account_id == taker.account_id:
                yield Match(maker, price, 0)
                continue
            count = min(taker.remaining, maker.remaining)
            taker.remaining -= count
            taker.filled += count
            maker.filled += count
            self.shrink(maker, count)
            yield Match(maker, price, count)

    def add(self, order: Order) -> None:
        """Put an order at the end of its price's queue."""
        assert order.remaining > 0, f"an order without remaining count cannot rest: {order}"
        assert order.level is None, f"the order rests already: {order}"
        price = order.price
        book_side = self._side(order.side)
        level = book_side.levels.get(price)
        if level is None:
            level = book_side.levels[price] = Level(order.side, price)
            insort(book_side.prices, price)
        last = level.last
        if last is None:
            level.first = order
        else:
            last.behind = order
            order.ahead = last
        level.last = order
        level.total += order.remaining
        order.level = level
        self.changes.append(LevelChange(order.side, price, order.remaining, order))

    def remove(self, order: Order) -> None:
        """Take an order out of the book; its `remaining` stays as it was."""
        level = self._unlink(order)
        level.total -= order.remaining
        self.changes.append(LevelChange(order.side, level.price, -order.remaining, order))

    def shrink(self, order: Order, count: int) -> None:
        """Lower the remaining count of a resting order; it keeps its place, and leaves the book at zero."""
        assert 0 < count <= order.remaining, f"cannot shrink by {count}: {order}"
        level = order.level
        assert level is not None, f"the order does not rest: {order}"
        order.remaining -= count
        level.total -= count
        if order.remaining == 0:
            self._unlink(order)
        self.changes.append(LevelChange(order.side, level.price, -count, order))

    def _unlink(self, order: Order) -> Level:
        level, ahead, behind = order.level, order.ahead, order.behind
        assert level is not None, f"the order does not rest: {order}"
        if ahead is None:
            level.first = behind
        else:
            ahead.behind = behind
        if behind is None:
            level.last = ahead
        else:
            behind.ahead = ahead
        order.level = order.ahead = order.behind = None
        if level.first is None:
            book_side = self._side(level.side)
            del book_side.levels[level.price]
            del book_side.prices[bisect_left(book_side.prices, level.price)]
        return level

    def drain_changes(self) -> list[LevelChange]:
        """Return and forget the changes since the last call."""
        changes, self.changes = self.changes, []
        return changes

    def check(self) -> None:
        """Assert every invariant of the book; O(orders), for tests and on demand."""
        bid, ask = self.best(BID), self.best(ASK)
        assert bid is None or ask is None or bid < ask, f"crossed book: bid {bid} >= ask {ask}"
        for book_side in (self._bids, self._asks):
            assert book_side.prices == sorted(book_side.levels), "price index and levels differ"
            for price, level in book_side.levels.items():
                _check_level(level, book_side.side, price)


def _check_level(level: Level, side: int, price: int) -> None:
    assert level.first is not None, f"empty level at {price}"
    total = 0
    before: Order | None = None
    order: Order | None = level.first
    while order is not None:
        assert order.remaining > 0, f"a finished order rests: {order}"
        assert (order.price, order.side) == (price, side), f"an order at the wrong level: {order}"
        assert order.level is level, f"a broken chain at {price}: {order}"
        assert order.ahead is before, f"a broken chain at {price}: {order}"
        total += order.remaining
        before, order = order, order.behind
    assert level.last is before, f"the last order of {price} is another"
    assert level.total == total, f"total at {price}"


def _reaches(side: int, limit: int, price: int) -> bool:
    """Whether a limit on `side` accepts `price` of the other side."""
    return limit >= price if side == BID else limit <= price
