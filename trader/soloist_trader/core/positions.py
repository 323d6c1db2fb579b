"""Fills to position, average cost and profit. Integers only.

The result does not depend on the order in which fills become known: recent fills are kept sorted by the venue's time, a
late one is put where it belongs and the tail is computed again.
"""

from __future__ import annotations

from bisect import insort
from typing import Any, Final, NamedTuple

from soloist_trader.core.units import BID, ONE_DOLLAR_PRICE

_SETTLED: Final = "~settled"
"""Id of the entry that closes a position at a settlement; sorts behind every fill of the same millisecond."""
_CLOSES: Final = 0
"""Side of that entry: it closes whatever is open then, at the settlement's value."""


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

    __slots__ = (
        "_base",
        "_recent",
        "adopted",
        "basis",
        "cash",
        "count",
        "fees",
        "fills",
        "opened_ms",
        "realised",
    )

    def __init__(self) -> None:
        self.count = 0
        self.basis = 0
        self.realised = 0
        self.opened_ms = 0
        self.cash = 0
        self.fees = 0
        self.fills = 0
        self.adopted = False
        """True if a part of its past is the venue's word, so that its fees are not known from the first fill on."""
        self._base = (0, 0, 0, 0, 0)
        self._recent: list[PositionFill] = []

    def adopt(self, count: int, basis: int, time_ms: int) -> None:
        """Begin with a position that the venue already held."""
        self.adopted = True
        self.count, self.basis, self.opened_ms = count, basis, time_ms
        self.cash = -basis if count >= 0 else basis
        self.realised = self.fees = self.fills = 0
        self._base = (count, basis, 0, time_ms, self.cash)
        self._recent.clear()

    def book(self, fill: PositionFill, fee: int) -> None:
        """Add one fill. The caller makes sure that each fill id comes once."""
        self.fees += fee
        self.fills += 1
        self._enter(fill)

    def settle(self, time_ms: int, value: int, residue: int) -> None:
        """The market paid `value` (a price) per YES; `residue` is what the venue's rounding to cents added, as money."""
        count, basis, realised, opened_ms, cash = self._base
        self._base = (count, basis, realised + residue, opened_ms, cash + residue)
        self.realised += residue
        self.cash += residue
        self._enter(PositionFill(time_ms, _SETTLED, _CLOSES, value, 0))

    def _enter(self, fill: PositionFill) -> None:
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
        now = (self.count, self.basis, self.realised, self.opened_ms, self.cash)
        folded, self._recent = self._recent[:keep_from], self._recent[keep_from:]
        self._compute(folded)
        self._base = (self.count, self.basis, self.realised, self.opened_ms, self.cash)
        # The rest over the new base gives what held before: a replay folds often, and need not compute it again.
        self.count, self.basis, self.realised, self.opened_ms, self.cash = now

    def _recompute(self) -> None:
        self._compute(self._recent)

    def _compute(self, fills: list[PositionFill]) -> None:
        self.count, self.basis, self.realised, self.opened_ms, self.cash = self._base
        for fill in fills:
            self._move(fill)

    def _move(self, fill: PositionFill) -> None:
        side, price, count = fill.side, fill.price, fill.size
        if side == _CLOSES:
            side, count = (-1 if self.count > 0 else 1), abs(self.count)
            if not count:
                return
        self.cash -= side * price * count
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

    def cash_at_venue(self) -> int:
        """What this market did to the account's cash: short YES is bought as NO, one dollar less the price."""
        return self.cash - self.fees - ONE_DOLLAR_PRICE * max(-self.count, 0)

    def export(self) -> tuple[Any, ...]:
        """Every field as plain values, for snapshots."""
        return (self.adopted, *self.facts()[5:])

    @classmethod
    def restore(cls, exported: tuple[Any, ...]) -> Position:
        """The position of an export."""
        position = cls()
        position.adopted, position.fees, position.fills, base, recent = exported
        position._base = (base[0], base[1], base[2], base[3], base[4])
        position._recent = [PositionFill(*fill) for fill in recent]
        position._recompute()
        return position

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
            tuple(tuple(fill) for fill in self._recent),
        )
