"""From fills to trades: a trade is a market's position from flat to flat.

The arithmetic is the core's own (`core.positions.Position`), so that trades and ledger agree to the last unit. A fill
that turns a position around closes one trade and opens the next; its fee is divided by size.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, NamedTuple

from soloist_trader.core.positions import Position, PositionFill
from soloist_trader.store.schema import DAY_MS
from soloist_trader.store.words import date_text, time_text

SETTLEMENT_KEY: Final = "~settled"
"""Sorts behind every fill of the same millisecond, as in the core."""


class Fill(NamedTuple):
    """A booked fill, or what the tables hold of it. `order_ms` is where it stands among the market's fills."""

    order_ms: int
    fill_id: str
    side: int
    price: int
    size: int
    fee: int
    fee_adjustment: int
    client_order_id: str
    strategy: str
    filled_ms: int
    day: int


class Payout(NamedTuple):
    """A settlement. `residue` is what rounding to cents added, as money."""

    order_ms: int
    fill_id: str
    settled_ms: int
    value: int
    residue: int
    day: int


class Origin(NamedTuple):
    """Where the trades of a market begin: flat, or with a position that came from elsewhere."""

    size: int = 0
    basis: int = 0
    opened_ms: int = 0
    reason: str = ""
    """`adopted`, `snapshot`, or empty for flat at the journal's first record."""


FLAT: Final = Origin()


@dataclass(slots=True)
class Trade:
    """One row of `trades`. `direction` is 1 for YES, -1 for NO."""

    trade_id: str
    market: str
    number: int
    strategy: str
    direction: int
    opened_by: str
    entry_ms: int
    entry_order_ms: int
    entry_fill_id: str
    entry_client_order_id: str
    size: int = 0
    entry_value: int = 0
    closed_size: int = 0
    exit_value: int = 0
    open_size: int = 0
    basis: int = 0
    realised: int = 0
    fees: int = 0
    exit_ms: int | None = None
    exit_day: int = 0
    exit_reason: str | None = None
    exit_client_order_id: str | None = None

    def row(self) -> tuple[object, ...]:
        """Values for the table's columns."""
        closed = self.exit_ms is not None
        day = self.exit_day or (self.exit_ms or 0) // DAY_MS
        return (
            self.trade_id,
            self.market,
            self.number,
            self.strategy,
            "YES" if self.direction > 0 else "NO",
            "closed" if closed else "open",
            self.opened_by,
            time_text(self.entry_ms),
            self.entry_ms,
            self.entry_order_ms,
            self.entry_fill_id,
            self.entry_client_order_id,
            self.entry_value // self.size if self.size else 0,
            self.entry_value,
            self.size,
            time_text(self.exit_ms) if self.exit_ms is not None else None,
            self.exit_ms,
            day if closed else None,
            date_text(day) if closed else None,
            self.exit_reason,
            self.exit_client_order_id,
            self.exit_value // self.closed_size if self.closed_size else None,
            self.exit_value,
            self.closed_size,
            self.open_size,
            self.basis,
            self.realised,
            self.fees,
            self.realised - self.fees,
        )

    def enter(self, price: int, size: int, basis: int) -> None:
        """More of the same."""
        self.size += size
        self.entry_value += price * size
        self.open_size += size
        self.basis = basis

    def leave(self, price: int, size: int, realised: int, basis: int) -> None:
        """Less of it."""
        self.closed_size += size
        self.exit_value += price * size
        self.open_size -= size
        self.realised += realised
        self.basis = basis

    def close(self, time_ms: int, day: int, reason: str, client_order_id: str | None) -> None:
        """It is flat."""
        self.exit_ms, self.exit_day, self.exit_reason = time_ms, day, reason
        self.exit_client_order_id = client_order_id


@dataclass(slots=True)
class MarketTrades:
    """The trades of one market, one fill after the other. `changed` are the rows to write, newest last."""

    market: str
    position: Position = field(default_factory=Position)
    open: Trade | None = None
    number: int = 0
    last: tuple[int, str] = (-1, "")
    changed: dict[str, Trade] = field(default_factory=dict)
    realised_outside: int = 0
    fees_outside: int = 0
    """Money of this market that belongs to no trade here: from before the first, or rounding while flat."""
    origin: Origin = FLAT
    since_record: int = 0
    since_number: int = 0

    def begin(self, origin: Origin, record: int) -> None:
        """Take the position of `origin` for granted from this record on; what is open ends there."""
        if self.open is not None:
            self.open.close(origin.opened_ms, 0, "adopted", None)
            self.open.open_size = self.open.basis = 0
            self.changed[self.open.trade_id] = self.open
        self.origin, self.since_record, self.since_number = origin, record, self.number
        self.restart()

    def restart(self) -> None:
        """The state right after `begin`."""
        origin = self.origin
        self.position, self.open, self.last = Position(), None, (-1, "")
        self.number = self.since_number
        if not origin.size:
            return
        self.position.adopt(origin.size, origin.basis, origin.opened_ms)
        trade = self._open(
            f"{origin.reason}:{self.market}:{self.since_record}",
            "",
            1 if origin.size > 0 else -1,
            origin.reason,
            (-1, ""),
            origin.opened_ms,
            "",
        )
        trade.size = trade.open_size = abs(origin.size)
        trade.entry_value = trade.basis = origin.basis

    def add(self, fill: Fill) -> None:
        """One more fill, later than `last`."""
        before, realised = self.position.count, self.position.realised
        self.position.book(PositionFill(fill.order_ms, fill.fill_id, fill.side, fill.price, fill.size), 0)
        self._forget(fill.order_ms, fill.fill_id)
        gained = self.position.realised - realised
        if before * fill.side >= 0:
            trade = self.open or self._open_by(fill, "fill")
            trade.enter(fill.price, fill.size, self.position.basis)
            trade.fees += fill.fee + fill.fee_adjustment
            self.changed[trade.trade_id] = trade
            return
        trade, closing = self._opened(), min(fill.size, abs(before))
        flips = closing < fill.size
        fee = fill.fee * closing // fill.size if flips else fill.fee + fill.fee_adjustment
        trade.leave(fill.price, closing, gained, 0 if flips else self.position.basis)
        trade.fees += fee
        self.changed[trade.trade_id] = trade
        if flips or not self.position.count:
            trade.close(fill.filled_ms, fill.day, "flip" if flips else "fill", fill.client_order_id)
            self.open = None
        if flips:
            after = self._open_by(fill, "flip")
            after.enter(fill.price, fill.size - closing, self.position.basis)
            after.fees += fill.fee - fee + fill.fee_adjustment

    def settle(self, payout: Payout) -> str:
        """The market paid out. The trade that ended with it, or an empty text."""
        before, realised = self.position.count, self.position.realised
        self.position.settle(payout.order_ms, payout.value, payout.residue)
        self._forget(payout.order_ms, SETTLEMENT_KEY)
        gained = self.position.realised - realised
        if self.open is None:
            self.realised_outside += gained
            return ""
        trade = self.open
        trade.leave(payout.value, abs(before), gained, 0)
        trade.close(payout.settled_ms, payout.day, "settlement", None)
        self.changed[trade.trade_id] = trade
        self.open = None
        return trade.trade_id

    def _opened(self) -> Trade:
        assert self.open is not None, "a position that is not flat has a trade"
        return self.open

    def _open_by(self, fill: Fill, opened_by: str) -> Trade:
        return self._open(
            fill.fill_id,
            fill.strategy,
            fill.side,
            opened_by,
            (fill.order_ms, fill.fill_id),
            fill.filled_ms,
            fill.client_order_id,
        )

    def _open(
        self,
        trade_id: str,
        strategy: str,
        direction: int,
        opened_by: str,
        key: tuple[int, str],
        time_ms: int,
        client_order_id: str,
    ) -> Trade:
        self.number += 1
        self.open = Trade(
            trade_id, self.market, self.number, strategy, direction, opened_by, time_ms, *key, client_order_id
        )
        self.changed[trade_id] = self.open
        return self.open

    def _forget(self, order_ms: int, fill_id: str) -> None:
        self.position.fold(order_ms + 1)
        self.last = (order_ms, fill_id)
