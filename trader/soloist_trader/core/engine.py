"""`Engine.step(event) -> commands`: the whole decision, deterministic and synchronous.

The durable state is the ledger's. What is held here beside it (books' tops, strategy, budget) is volatile and comes
back from the venue's snapshots after a start.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable
from typing import Any, Final

from soloist_trader.core import events, risk
from soloist_trader.core.account import Account
from soloist_trader.core.budget import EXIT_RESERVE, ORDER_COST, RENEW_RESERVE, RESERVE, WriteBudget
from soloist_trader.core.codes import AlertCode, Code
from soloist_trader.core.commands import Command
from soloist_trader.core.desk import AMEND_REPLY_MS, Desk, Identity
from soloist_trader.core.groups import Groups
from soloist_trader.core.ledger import Ledger
from soloist_trader.core.orders import Order
from soloist_trader.core.records import CursorMoved, DayBegan, Latched, MarketReleased, Slot, VenueRecovered
from soloist_trader.core.risk import Limits, Proposal
from soloist_trader.core.settings import Settings
from soloist_trader.core.strategy import MarketView, Strategy, Target
from soloist_trader.core.units import (
    ACTIVE,
    BID,
    GOOD_TILL_CANCELED,
    HALTED,
    OPEN_GROUP,
    REDUCE_GROUP,
    REDUCING,
)
from soloist_trader.core.upkeep import MAXIMUM_AMENDS, Upkeep

__all__ = ["STALE_BOOK_MS", "Engine", "Market", "Settings"]

DAY_MS: Final = 86_400_000
STALE_BOOK_MS: Final = 5_000
"""What rests in a market whose book was lost for so long is cancelled."""
FEE_TOLERANCE: Final = 10_000
"""A cent: what rounding and the venue's accumulators may make of one fill."""


_DEFAULTS: Final = Settings()


class Market:
    """Volatile state of one market."""

    __slots__ = ("generation", "is_open", "live", "lost_ms", "view")

    def __init__(self, market: str) -> None:
        self.view = MarketView(market)
        self.live = False
        self.is_open = False
        self.generation = 0
        self.lost_ms = 0


class Engine:
    """One bot. `step` is the only way in; the list it returns the only way out."""

    def __init__(
        self,
        ledger: Ledger,
        identity: Identity,
        strategy: Strategy,
        limits: Limits,
        markets: Iterable[str],
        settings: Settings = _DEFAULTS,
    ) -> None:
        self.ledger = ledger
        self.limits = limits
        self.strategy = strategy
        self.settings = settings
        self.budget = WriteBudget()
        self.desk = self._make_desk(ledger, identity)
        self.groups = Groups(self.desk)
        self.upkeep = Upkeep(self.desk, limits)
        self.account = Account(self.desk, settings.cash_limit)
        self.markets = {market: Market(market) for market in markets}
        self.ready = False
        self.stopping = ""
        self.denials: dict[str, int] = {}
        self.journal_full = False
        self.commit_p99_us = 0
        """The journal's last complaint about its disk, 0 if there was none."""
        self._handlers: dict[type, Callable[[Any], None]] = {
            events.TopChanged: self._on_top,
            events.Traded: self._on_trade,
            events.Tick: self._on_tick,
            events.OrderSeen: self.desk.on_seen,
            events.FillSeen: self._on_fill,
            events.OrderRefused: self.desk.on_refused,
            events.OrderNotSent: self.desk.on_not_sent,
            events.OrderUnknown: self.desk.on_unknown,
            events.OrderExists: self.desk.on_exists,
            events.OrderAbsent: self.desk.on_absent,
            events.CancelEnded: self.desk.on_cancel_ended,
            events.BookLost: self._on_book_lost,
            events.MarketSeen: self._on_market,
            events.BudgetSeen: self._on_budget,
            events.PositionsSeen: self.account.on_positions,
            events.SettlementSeen: self.account.on_settlement,
            events.BalanceSeen: self.account.on_balance,
            events.AmendEnded: self.desk.on_amend_ended,
            events.GroupSeen: self.groups.on_seen,
            events.MarketReleaseAsked: self._on_market_release,
            events.RecoveryReported: self._on_recovery_reported,
            events.CommitSlow: self._on_commit_slow,
            events.JournalFull: self._on_journal_full,
            events.SweepEnded: self._on_sweep_ended,
            events.Verb: self._on_verb,
            events.Readied: self._on_readied,
            events.StopAsked: self._on_stop_asked,
            events.Began: self._on_began,
        }

    def _make_desk(self, ledger: Ledger, identity: Identity) -> Desk:
        return Desk(ledger, identity, self.budget, self._ticks_of)

    @property
    def differences(self) -> dict[str, tuple[int, int]]:
        """Market to (ours, the venue's) position, from the last comparison that could be made."""
        return self.account.differences

    @property
    def compared(self) -> int:
        """How many markets the last comparison covered."""
        return self.account.compared

    def step(self, event: events.Event) -> list[Command]:
        """Take in one event; return what is to be done, in this sequence."""
        self._handlers[type(event)](event)
        desk = self.desk
        if desk.changed_markets:
            changed = sorted(desk.changed_markets)
            desk.changed_markets.clear()
            for market in changed:
                self._decide(event.now_ms, self._market(market))
        commands = desk.commands
        if commands:
            desk.commands = []
            return commands
        return []

    def _ticks_of(self, market: str) -> tuple[int, ...]:
        return self._market(market).view.ticks

    def _market(self, market: str) -> Market:
        found = self.markets.get(market)
        if found is None:
            found = self.markets[market] = Market(market)
        return found

    # -- the world

    def _on_began(self, event: events.Began) -> None:
        self.desk.begin(event.now_ms)

    def _on_top(self, event: events.TopChanged) -> None:
        market = self._market(event.market)
        view = market.view
        view.bid_price, view.bid_count = event.bid_price, event.bid_count
        view.ask_price, view.ask_count = event.ask_price, event.ask_count
        market.generation = event.generation
        market.live = True
        self._decide(event.now_ms, market)

    def _on_trade(self, event: events.Traded) -> None:
        market = self._market(event.market)
        market.view.last_price = event.price
        market.view.volume += event.size
        self._decide(event.now_ms, market)

    def _on_book_lost(self, event: events.BookLost) -> None:
        market = self._market(event.market)
        if market.live:
            market.live = False
            market.lost_ms = event.now_ms

    def _on_market(self, event: events.MarketSeen) -> None:
        market = self._market(event.market)
        market.is_open = event.is_open
        market.view.volume = event.volume
        market.view.ticks = event.ticks
        market.view.close_time_ms = event.close_time_ms

    def _on_budget(self, event: events.BudgetSeen) -> None:
        share = self.settings.rate_share_percent
        self.upkeep.write_rate = max(event.refill_per_s * share // 100, 1)
        # One order less than the venue's bucket: its refill and ours are not measured at the same instant.
        capacity = event.capacity * share // 100 - ORDER_COST
        self.budget.configure(self.upkeep.write_rate, max(capacity, ORDER_COST + RESERVE))

    def _on_fill(self, event: events.FillSeen) -> None:
        if not self.ledger.has_fill(event.fill_id):
            self.account.note_fill(event.now_ms, event.market)
            self._check_fee(event)
        self.desk.on_fill(event)

    def _check_fee(self, event: events.FillSeen) -> None:
        model = self.settings.fee_model
        if model is None:
            return
        expected = model(event.price, event.size, event.is_taker)
        if abs(event.fee - expected) > FEE_TOLERANCE:
            self.desk.alert(
                AlertCode.FEES_DIFFER,
                f"fill {event.fill_id} in {event.market}: fee {event.fee}, our model says {expected} (1/1 000 000 dollar)",
            )

    def _on_tick(self, event: events.Tick) -> None:
        now_ms = event.now_ms
        day = now_ms // DAY_MS
        if day != self.ledger.day:
            self.desk.record(DayBegan(now_ms, day, self.ledger.profit()))
            if "risk" in self.ledger.latches:
                self.desk.record(Latched(now_ms, "risk", ACTIVE, "a new trading day began"))
        elif (
            self.ready and self.day_profit() <= -self.limits.daily_loss and "risk" not in self.ledger.latches
        ):
            self._latch(
                now_ms, "risk", REDUCING, f"{Code.DAILY_LOSS}: {self.day_profit()} since the day began"
            )
        self.desk.chase(now_ms)
        if not self.ready:
            for order in self.ledger.unsettled():
                self.desk.cancel(now_ms, order)  # left by an earlier process; its strategy state is gone
        for market in self.markets.values():
            self._decide(now_ms, market)
        self.groups.step(now_ms)
        self._renew(now_ms)

    # -- states

    def _latch(self, now_ms: int, actor: str, state: str, reason: str) -> None:
        self.desk.record(Latched(now_ms, actor, state, reason))
        self.desk.alert(AlertCode.STATE_CHANGED, f"{actor}: {state}, {reason}")

    def _on_verb(self, event: events.Verb) -> None:
        held = self.ledger.latches.get(event.actor)
        if (held[0] if held else ACTIVE) != event.state:
            self._latch(event.now_ms, event.actor, event.state, event.reason)
            self.desk.changed_markets.update(self.markets)
        if event.state == ACTIVE:
            self.groups.on_released(event.now_ms, event.actor)
        else:
            self.groups.step(event.now_ms)

    def _on_market_release(self, event: events.MarketReleaseAsked) -> None:
        if event.market not in self.ledger.halts:
            return
        self.desk.record(MarketReleased(event.now_ms, event.market, event.actor, event.reason))
        self.desk.alert(AlertCode.MARKET_RELEASED, f"{event.market} by {event.actor}: {event.reason}")
        self.desk.changed_markets.add(event.market)

    def _on_recovery_reported(self, event: events.RecoveryReported) -> None:
        self.desk.record(VenueRecovered(event.now_ms, event.reason))
        self.desk.alert(AlertCode.RECOVERED_FROM_VENUE, event.reason)
        if not event.trusted:
            self._latch(event.now_ms, "recovery", REDUCING, event.reason)

    def _on_commit_slow(self, event: events.CommitSlow) -> None:
        self.commit_p99_us = event.p99_us
        self.desk.alert(AlertCode.COMMIT_SLOW, f"the 99th percentile of commits is {event.p99_us} us")

    def _on_journal_full(self, event: events.JournalFull) -> None:
        if event.full and not self.journal_full:
            self.desk.alert(AlertCode.JOURNAL_FULL, "too much waits for a commit; new orders are denied")
        self.journal_full = event.full

    def _on_readied(self, _event: events.Readied) -> None:
        self.ready = True
        self.desk.changed_markets.update(self.markets)

    def _on_stop_asked(self, event: events.StopAsked) -> None:
        self.stopping = event.reason
        self.groups.stopping = True
        self.groups.step(event.now_ms)
        self.desk.changed_markets.update(self.markets)

    def day_profit(self) -> int:
        """Profit since the day began: realised, fees, and open positions at the price that would close them."""
        total = self.ledger.profit() - self.ledger.day_profit
        for market, position in self.ledger.positions.items():
            held = self.markets.get(market)
            if position.count and held is not None and held.live:
                total += position.unrealised(held.view.bid_price, held.view.ask_price)
        return total

    def _on_sweep_ended(self, event: events.SweepEnded) -> None:
        self.desk.record(CursorMoved(event.now_ms, event.as_of_ms))

    # -- deciding

    def _fill_view(self, now_ms: int, market: Market) -> MarketView:
        view = market.view
        view.now_ms = now_ms
        position = self.ledger.positions.get(view.market)
        if position is None:
            view.position = view.average_price = view.opened_ms = 0
        else:
            view.position, view.opened_ms = position.count, position.opened_ms
            view.average_price = position.average_price
        bids = asks = 0
        for order in self.ledger.unsettled(view.market):
            if order.slot.side == BID:
                bids += order.unbooked
            else:
                asks += order.unbooked
        view.unsettled_bids, view.unsettled_asks = bids, asks
        return view

    def _decide(self, now_ms: int, market: Market) -> None:
        """Bring the orders of one market to what is wanted there."""
        if not self.ready and not self.stopping:
            return
        name = market.view.market
        if self.stopping or self.ledger.state == HALTED or name in self.ledger.halts:
            self._withdraw(now_ms, name, {})
            return
        if not market.live or not market.is_open:
            if market.lost_ms and now_ms - market.lost_ms > STALE_BOOK_MS:
                self._withdraw(now_ms, name, {})
            return
        view = self._fill_view(now_ms, market)
        wanted = self._admissible(self.strategy.targets(view), view)
        self._withdraw(now_ms, name, wanted, market.generation)
        for slot, (target, reduces) in wanted.items():
            self._place(now_ms, market, slot, target, reduces)

    def _admissible(self, targets: list[Target], view: MarketView) -> dict[Slot, tuple[Target, bool]]:
        """Targets by slot, with whether they reduce.

        Exits are cut, never denied: to the position less unsettled exits, and to the limit of one order.
        """
        wanted: dict[Slot, tuple[Target, bool]] = {}
        reducing_only = self.ledger.state == REDUCING
        closing = -1 if view.position > 0 else 1
        held = abs(view.position)
        exits = {
            order.slot: order.unbooked
            for order in self.ledger.unsettled(view.market)
            if order.slot.side == closing
        }
        asked = {Slot(self.strategy.name, view.market, closing, target.level) for target in targets}
        kept = sum(size for slot, size in exits.items() if slot not in asked)
        for target in targets:
            slot = Slot(self.strategy.name, view.market, target.side, target.level)
            reduces = view.position * target.side < 0
            if reduces:
                own = exits.get(slot, 0)
                # What rests may stay as far as the position covers it; what is new has to fit beside everything.
                room = max(min(own, held - kept), held - sum(exits.values()) + own)
                size = min(target.size, room, self.limits.max_order)
                target = target._replace(size=size)  # noqa: PLW2901 the same target, cut
                exits[slot] = max(own, size)
                kept += max(size, 0)
            elif reducing_only:
                self._deny(Code.STATE_REDUCING)
                continue
            if target.size > 0:
                wanted[slot] = (target, reduces)
        return wanted

    def _withdraw(
        self, now_ms: int, market: str, wanted: dict[Slot, tuple[Target, bool]], generation: int = 0
    ) -> None:
        """Cancel what rests and is not wanted as it is; an exit is moved by amend where the edge can."""
        for order in list(self.ledger.unsettled(market)):
            if not order.resting:
                continue
            if order.slot not in wanted:
                self.desk.cancel(now_ms, order)
                continue
            target, reduces = wanted[order.slot]
            size = order.booked + target.size
            if target.keep or (target.price, size) == (order.price, order.size):
                continue
            if order.amending is not None or self.desk.awaits_reply(order):
                # Only a doubt is worth a cancel: an amend on its way is answered in a moment.
                asked = order.amending[:2] if order.amending else ()
                if (target.price, size) != asked and now_ms - order.amending_ms > AMEND_REPLY_MS:
                    self.desk.cancel(now_ms, order)
                continue
            if self.settings.amends and reduces and len(order.former) < MAXIMUM_AMENDS:
                self._move_exit(now_ms, order, target.price, size, generation)
            else:
                self.desk.cancel(now_ms, order)

    def _move_exit(self, now_ms: int, order: Order, price: int, size: int, generation: int) -> None:
        """One order carries the exit, whatever becomes of the amend: two exits can never both fill.

        `size` is what is booked and what is wanted beyond, so that a fill on its way counts within it.
        """
        if size <= order.evidence or not self.upkeep.may_move(now_ms, order):
            return
        if not self._on_grid(self._market(order.slot.market), price):
            self._deny(Code.PRICE_OFF_GRID)
        elif self.journal_full:
            self._deny(Code.JOURNAL_FULL)
        elif not self.budget.take(now_ms, ORDER_COST, EXIT_RESERVE):
            self._deny(Code.WRITE_BUDGET)
        else:
            self.desk.amend(now_ms, order, price, size, order.expiration_s, generation)

    def _renew(self, now_ms: int) -> None:
        """Move the expiry that is next by an expiry-only amend, one a tick, with what the budget has left over."""
        may_not = self.stopping or self.journal_full or self.ledger.state == HALTED
        if may_not or not (self.settings.amends and self.ready):
            return
        order = self.upkeep.next_renewal(now_ms, self._is_tradable)
        if order is not None and self.budget.take(now_ms, ORDER_COST, RENEW_RESERVE):
            expiration_s = self.upkeep.expiration_s(now_ms, order.sequence)
            generation = self._market(order.slot.market).generation
            self.desk.amend(now_ms, order, order.price, order.size, expiration_s, generation)

    def _is_tradable(self, name: str) -> bool:
        market = self._market(name)
        return market.live and market.is_open and name not in self.ledger.halts

    def _deny(self, code: Code) -> None:
        self.denials[code] = self.denials.get(code, 0) + 1

    def _place(self, now_ms: int, market: Market, slot: Slot, target: Target, reduces: bool) -> None:
        if not self.desk.slot_is_free(slot):
            return
        role = REDUCE_GROUP if reduces else OPEN_GROUP
        code = self._refusal(now_ms, market, slot, target, role)
        if code is None and not self.budget.take(now_ms, ORDER_COST, EXIT_RESERVE if reduces else RESERVE):
            code = Code.WRITE_BUDGET
        if code is not None:
            self._deny(code)
            return
        rests = target.time_in_force == GOOD_TILL_CANCELED
        self.desk.intend(
            now_ms,
            slot,
            target.price,
            target.size,
            target.time_in_force,
            self.upkeep.expiration_s(now_ms, self.ledger.sequence) if rests else 0,
            reduces and not rests,  # the venue takes reduce_only with immediate-or-cancel only
            market.generation,
            role,
        )
        if not reduces:
            self.strategy.entered(slot.market, now_ms)

    def _refusal(self, now_ms: int, market: Market, slot: Slot, target: Target, role: str) -> Code | None:
        if not self._on_grid(market, target.price):
            return Code.PRICE_OFF_GRID
        if self.journal_full:
            return Code.JOURNAL_FULL
        if self.desk.patience.waits(now_ms, slot):
            return Code.BACKING_OFF
        code = self.groups.denial(role, required=self.settings.groups)
        if code is not None:
            return code
        reduces = role == REDUCE_GROUP
        proposal = Proposal(market.view.market, target.side, target.price, target.size, reduces)
        return risk.check(self.limits, self.ledger, proposal, self.day_profit())

    @staticmethod
    def _on_grid(market: Market, price: int) -> bool:
        ticks = market.view.ticks
        index = bisect_left(ticks, price)
        return index < len(ticks) and ticks[index] == price
