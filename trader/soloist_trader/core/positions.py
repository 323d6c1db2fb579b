"""Fills to position, average cost and profit. Integers only.

The result does not depend on the order in which fills become known: recent fills are kept sorted by the venue's time, a
late one is put where it belongs and the tail is computed again.
"""

from __future__ import annotations

from bisect import insort
from typing import NamedTuple

from soloist_trader.core.units import BID, ONE_DOLLAR_PRICE


class PositionFill(NamedTuple):
    """The part of a fill that moves a position; tuples sort by venue time, then by fill id."""

    time_ms: int
    fill_id: str
    side: int
    price: int
    size: int


class Position:
    """One market of one account. `count` is signed: above zero YES, below zero NO (short YES).

    `basis` is what the open part was bought for (or sold for, if short): average price x |count|.
    `cash` is the sum of money received less paid for contracts, before fees and collateral.
    """

    __slots__ = ("_base", "_recent", "basis", "cash", "count", "fees", "fills", "opened_ms", "realised")

    def __init__(self) -> None:
        self.count = 0
        self.basis = 0
        self.realised = 0
        self.opened_ms = 0
        self.cash = 0
        self.fees = 0
        self.fills = 0
        self._base = (0, 0, 0, 0)
        self._recent: list[PositionFill] = []

    def adopt(self, count: int, basis: int, time_ms: int) -> None:
        """Begin with a position that the venue already held."""
        self.count, self.basis, self.opened_ms = count, basis, time_ms
        self.cash = -basis if count >= 0 else basis
        self._base = (count, basis, self.realised, time_ms)
        self._recent.clear()

    def book(self, fill: PositionFill, fee: int) -> None:
        """Add one fill. The caller makes sure that each fill id comes once."""
        self.fees += fee
        self.fills += 1
        self.cash -= fill.side * fill.price * fill.size
        if not self._recent or fill > self._recent[-1]:
            self._recent.append(fill)
            self._move(fill)
            return
        insort(self._recent, fill)
        self._recompute()

    def fold(self, before_ms: int) -> None:
        """Fills older than `before_ms` can no longer be overtaken: keep their sum only."""
        keep_from = 0
        while keep_from < len(self._recent) and self._recent[keep_from].time_ms < before_ms:
            keep_from += 1
        if keep_from == 0:
            return
        recent = self._recent[keep_from:]
        self._recent = self._recent[:keep_from]
        self._recompute()
        self._base = (self.count, self.basis, self.realised, self.opened_ms)
        self._recent = recent
        self._recompute()

    def _recompute(self) -> None:
        self.count, self.basis, self.realised, self.opened_ms = self._base
        for fill in self._recent:
            self._move(fill)

    def _move(self, fill: PositionFill) -> None:
        side, price, count = fill.side, fill.price, fill.size
        if self.count * side >= 0:
            if self.count == 0:
                self.opened_ms = fill.time_ms
            self.basis += price * count
            self.count += side * count
            return
        closing = min(count, abs(self.count))
        share = self.basis * closing // abs(self.count)
        self.realised += share - price * closing if side == BID else price * closing - share
        self.basis -= share
        self.count += side * count
        if closing < count:
            self.basis = price * (count - closing)
            self.opened_ms = fill.time_ms
        elif self.count == 0:
            self.opened_ms = 0

    @property
    def average_price(self) -> int:
        """Average price of the open part, in 1/10 000 dollar, rounded down; 0 when flat."""
        return self.basis // abs(self.count) if self.count else 0

    def unrealised(self, bid_price: int, ask_price: int) -> int:
        """Profit if closed now at the price that takes: the bid when long, the ask when short.

        An empty side counts as the worst price (0 when long, one dollar when short).
        """
        if self.count > 0:
            return bid_price * self.count - self.basis
        if self.count < 0:
            return self.basis - (ask_price or ONE_DOLLAR_PRICE) * -self.count
        return 0

    def worst_loss(self) -> int:
        """Money lost if the market settles against the position."""
        if self.count >= 0:
            return self.basis
        return ONE_DOLLAR_PRICE * -self.count - self.basis

    def facts(self) -> tuple[object, ...]:
        """What the state hash covers."""
        return (
            self.count,
            self.basis,
            self.realised,
            self.opened_ms,
            self.cash,
            self.fees,
            self.fills,
            self._base,
            tuple(self._recent),
        )
