"""One market's order book from snapshots and deltas (section 13.5): bids of both sides, in integers, best last on the wire.

A delta that would leave a negative level, or arrives before a snapshot, means that frames were lost or the venue erred: the book is then
untradable until its next snapshot.
"""

from collections.abc import Iterable

from soloist_kalshi.numbers import PRICE_PER_DOLLAR

__all__ = ["Book", "Levels"]

Levels = dict[int, int]


class Book:
    """Bids on YES and on NO: price (1/10 000 dollar) to count (1/100 contract). `why` says why it may not be traded on, "" that it may."""

    __slots__ = ("no", "seq", "ticker", "why", "yes")

    def __init__(self, ticker: str) -> None:
        self.ticker = ticker
        self.yes: Levels = {}
        self.no: Levels = {}
        self.seq = 0
        self.why = "no snapshot yet"

    @property
    def is_tradable(self) -> bool:
        """Whether the book is the venue's as of `seq`, and not crossed."""
        return not self.why and not self.is_crossed

    def snapshot(self, yes: Iterable[tuple[int, int]], no: Iterable[tuple[int, int]], seq: int) -> None:
        """Replace the whole book."""
        self.yes, self.no = dict(yes), dict(no)
        self.seq = seq
        self.why = ""
        if any(count <= 0 for count in (*self.yes.values(), *self.no.values())):
            self.suspect("a snapshot with a level of nothing")

    def delta(self, *, on_yes: bool, price: int, count: int, seq: int) -> bool:
        """Add a signed count to a level; return whether it could be taken. A suspect book takes no deltas."""
        if self.why:
            return False
        side = self.yes if on_yes else self.no
        level = side.get(price, 0) + count
        if level < 0:
            self.suspect(f"a level of {level} at {price}")
            return False
        if level:
            side[price] = level
        else:
            side.pop(price, None)
        self.seq = seq
        return True

    def suspect(self, why: str) -> None:
        """Make the book untradable until the next snapshot."""
        self.why = why

    @property
    def best_yes(self) -> int | None:
        """The best bid for YES."""
        return max(self.yes, default=None)

    @property
    def best_no(self) -> int | None:
        """The best bid for NO, in NO prices."""
        return max(self.no, default=None)

    @property
    def is_crossed(self) -> bool:
        """Whether the best bids of both sides would have matched. Between the frames of one match this is normal."""
        return bool(self.yes and self.no) and max(self.yes) + max(self.no) >= PRICE_PER_DOLLAR
