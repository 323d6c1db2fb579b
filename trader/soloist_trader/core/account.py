"""Comparing the ledger with the account: positions, settlements, cash. A difference is said and latched, never traded away."""

from __future__ import annotations

from typing import Final

from soloist_trader.core import events
from soloist_trader.core.codes import AlertCode
from soloist_trader.core.desk import Desk
from soloist_trader.core.records import CashAdjusted, Excluded, Latched, PositionAdopted, Settled
from soloist_trader.core.units import ACTIVE, REDUCING

MISMATCH_STRIKES: Final = 2
OPENING_BALANCE: Final = "OpeningBalance"
UNEXPLAINED: Final = "Unexplained"


class Account:
    """One account of the venue beside one ledger."""

    def __init__(self, desk: Desk, cash_limit: int) -> None:
        self._desk = desk
        self._ledger = desk.ledger
        self._cash_limit = cash_limit
        self.differences: dict[str, tuple[int, int]] = {}
        """Market to (ours, the venue's) position, from the last comparison that could be made."""
        self.compared = 0
        self.whole = False
        """Whether the last comparison could be made for every market."""
        self._strikes: dict[str, int] = {}
        self._last_change_ms: dict[str, int] = {}
        self._cash_difference = (0, 0)
        """The difference that the last balance showed, and how many in a row showed it."""

    def note_fill(self, now_ms: int, market: str) -> None:
        """A fill became known: a listing older than it cannot be compared."""
        self._last_change_ms[market] = max(self._last_change_ms.get(market, 0), now_ms)

    def _latch(self, now_ms: int, actor: str, state: str, reason: str) -> None:
        self._desk.record(Latched(now_ms, actor, state, reason))
        self._desk.alert(AlertCode.STATE_CHANGED, f"{actor}: {state}, {reason}")

    # -- positions

    def on_positions(self, event: events.PositionsSeen) -> None:
        """All positions of the account. The first ones are adopted: a journal that just began knows no fill before."""
        if self._ledger.cursor_ms == 0:
            self._adopt(event)
        theirs = {market: count for market, count, _ in event.positions}
        self.differences = {}
        self.compared = 0
        # One that struck and is listed no more is flat there: without it, its strike would stay for good.
        markets = sorted(theirs.keys() | self._ledger.positions.keys() | self._strikes.keys())
        for market in markets:
            settling = any(order.evidence > order.booked for order in self._ledger.unsettled(market))
            if settling or self._last_change_ms.get(market, 0) >= event.as_of_ms:
                continue  # the listing may be older than our last fill: no comparison is possible now
            self.compared += 1
            ours = self._ledger.position(market).count
            if ours == theirs.get(market, 0):
                self._strikes.pop(market, None)
                continue
            self.differences[market] = (ours, theirs.get(market, 0))
            self._strikes[market] = self._strikes.get(market, 0) + 1
        self.whole = self.compared == len(markets)
        self._judge(event.now_ms)

    def _adopt(self, event: events.PositionsSeen) -> None:
        """Take the venue's positions as they are, and remember the fills that they contain by id."""
        listed = {market for market, _, _ in event.positions}
        for market, count, cost in event.positions:
            if count or market in self._ledger.positions:
                self._desk.record(PositionAdopted(event.now_ms, market, count, cost))
        for market in sorted(
            self._ledger.positions.keys() - listed
        ):  # a crash came between adoption and cursor
            self._desk.record(PositionAdopted(event.now_ms, market, 0, 0))
        for fill_id, fill_time_ms in event.fill_ids:
            if not self._ledger.has_fill(fill_id):
                self._desk.record(Excluded(event.now_ms, fill_id, fill_time_ms))

    def _judge(self, now_ms: int) -> None:
        latches = self._ledger.latches
        persistent = sorted(
            market for market, strikes in self._strikes.items() if strikes >= MISMATCH_STRIKES
        )
        if persistent and "reconcile" not in latches:
            shown = ", ".join(f"{market} ours {self._ledger.position(market).count}" for market in persistent)
            self._latch(now_ms, "reconcile", REDUCING, f"position differs from the venue's: {shown}")
        elif not self._strikes and self.whole and "reconcile" in latches:
            self._latch(now_ms, "reconcile", ACTIVE, "a comparison with the venue was clean")

    # -- money

    def on_settlement(self, event: events.SettlementSeen) -> None:
        """A market paid out; its key is (market, settled time), so that repeated listings are absorbed."""
        ledger = self._ledger
        if ledger.has_settlement(event.market, event.settled_time_ms):
            return
        position = ledger.position(event.market)
        theirs = event.count_yes - event.count_no
        if position.count != theirs:
            self._desk.alert(
                AlertCode.SETTLEMENT_DIFFERS,
                f"{event.market}: the venue settled {theirs}, the ledger holds {position.count} (1/100 contract)",
            )
        elif position.fills and not position.adopted and position.fees != event.fee:
            self._desk.alert(
                AlertCode.FEES_DIFFER,
                f"{event.market}: booked fees {position.fees}, the venue's {event.fee} (1/1 000 000 dollar)",
            )
        self._desk.record(Settled(*event))
        self.note_fill(event.now_ms, event.market)
        self._desk.changed_markets.add(event.market)

    def on_balance(self, event: events.BalanceSeen) -> None:
        """The account's cash. Comparable only while nothing of ours is unsettled: a resting order holds cash back."""
        ledger = self._ledger
        last_change_ms = max(self._last_change_ms.values(), default=0)
        quiet = not ledger.unsettled_count() and not self.differences and last_change_ms < event.as_of_ms
        if ledger.cursor_ms == 0 or not quiet:
            return
        difference = event.cash - ledger.expected_cash()
        if not ledger.cash_known:
            self._desk.record(CashAdjusted(event.now_ms, difference, OPENING_BALANCE))
            return
        before, strikes = self._cash_difference
        strikes = strikes + 1 if difference == before else 1
        self._cash_difference = (difference, strikes)
        if not difference or strikes < MISMATCH_STRIKES:
            return
        self._cash_difference = (0, 0)
        self._desk.record(CashAdjusted(event.now_ms, difference, UNEXPLAINED))
        reason = f"cash changed by {difference} (1/1 000 000 dollar) without fill, fee or settlement"
        self._desk.alert(AlertCode.CASH_UNEXPLAINED, reason)
        if abs(difference) > self._cash_limit and "cash" not in ledger.latches:
            self._latch(event.now_ms, "cash", REDUCING, reason)
