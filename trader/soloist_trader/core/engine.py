"""`Engine.step(event) -> commands`: the whole decision, deterministic and synchronous.

The durable state is the ledger's. What is held here beside it (books' tops, strategy, budget) is volatile and comes
back from the venue's snapshots after a start.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable
from typing import Any, Final

from soloist_trader.core import events, risk
from soloist_trader.core.budget import EXIT_RESERVE, ORDER_COST, RESERVE, WriteBudget
from soloist_trader.core.commands import Alert, Command, Entomb
from soloist_trader.core.desk import Desk, Identity, worst_price
from soloist_trader.core.ledger import Ledger
from soloist_trader.core.records import CursorMoved, DayBegan, Excluded, Latched, PositionAdopted, Slot
from soloist_trader.core.codes import Code
from soloist_trader.core.risk import Limits, Proposal
from soloist_trader.core.strategy import MarketView, Strategy, Target
from soloist_trader.core.units import ACTIVE, BID, GOOD_TILL_CANCELED, HALTED, REDUCING

DAY_MS: Final = 86_400_000
STALE_BOOK_MS: Final = 5_000
"""What rests in a market whose book was lost for so long is cancelled."""
REST_S: Final = 120
"""Every order that can rest expires (dead man): no engine, no order."""
REST_JITTER_S: Final = 30
MISMATCH_STRIKES: Final = 2


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
        self, ledger: Ledger, identity: Identity, strategy: Strategy, limits: Limits, markets: Iterable[str]
    ) -> None:
        self.ledger = ledger
        self.limits = limits
        self.strategy = strategy
        self.budget = WriteBudget()
        self.desk = self._make_desk(ledger, identity)
        self.markets = {market: Market(market) for market in markets}
        self.ready = False
        self.stopping = ""
        self.denials: dict[str, int] = {}
        self.differences: dict[str, tuple[int, int]] = {}
        """Market to (ours, the venue's) position, from the last comparison that could be made."""
        self.compared = 0
        self._strikes: dict[str, int] = {}
        self._last_fill_ms: dict[str, int] = {}
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
            events.PositionsSeen: self._on_positions,
            events.SweepEnded: self._on_sweep_ended,
            events.Verb: self._on_verb,
            events.Readied: self._on_readied,
            events.StopAsked: self._on_stop_asked,
            events.Began: self._on_began,
        }

    def _make_desk(self, ledger: Ledger, identity: Identity) -> Desk:
        return Desk(ledger, identity, self.budget)

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
            return [self._priced(command) if type(command) is Entomb else command for command in commands]
        return []

    def _priced(self, command: Entomb) -> Entomb:
        """A tombstone goes out at the worst price of the grid; without a grid at the order's own (it is IOC)."""
        ticks = self._market(command.market).view.ticks
        return command._replace(price=worst_price(command.side, ticks)) if ticks else command

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
        # One order less than the venue's bucket: its refill and ours are not measured at the same instant.
        self.budget.configure(event.refill_per_s, max(event.capacity - ORDER_COST, ORDER_COST + RESERVE))

    def _on_fill(self, event: events.FillSeen) -> None:
        if self.ledger.has_fill(event.fill_id):
            return
        self._last_fill_ms[event.market] = max(self._last_fill_ms.get(event.market, 0), event.now_ms)
        self.desk.on_fill(event)

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

    # -- states

    def _latch(self, now_ms: int, actor: str, state: str, reason: str) -> None:
        self.desk.record(Latched(now_ms, actor, state, reason))
        self.desk.commands.append(Alert("StateChanged", f"{actor}: {state}, {reason}"))

    def _on_verb(self, event: events.Verb) -> None:
        held = self.ledger.latches.get(event.actor)
        if (held[0] if held else ACTIVE) == event.state:
            return
        self._latch(event.now_ms, event.actor, event.state, event.reason)
        self.desk.changed_markets.update(self.markets)

    def _on_readied(self, _event: events.Readied) -> None:
        self.ready = True
        self.desk.changed_markets.update(self.markets)

    def _on_stop_asked(self, event: events.StopAsked) -> None:
        self.stopping = event.reason
        self.desk.changed_markets.update(self.markets)

    def day_profit(self) -> int:
        """Profit since the day began: realised, fees, and open positions at the price that would close them."""
        total = self.ledger.profit() - self.ledger.day_profit
        for market, position in self.ledger.positions.items():
            held = self.markets.get(market)
            if position.count and held is not None and held.live:
                total += position.unrealised(held.view.bid_price, held.view.ask_price)
        return total

    # -- comparing with the venue

    def _on_positions(self, event: events.PositionsSeen) -> None:
        if self.ledger.cursor_ms == 0:
            for market, count, cost in event.positions:
                if count:
                    self.desk.record(PositionAdopted(event.now_ms, market, count, cost))
            for fill_id, fill_time_ms in event.fill_ids:
                self.desk.record(Excluded(event.now_ms, fill_id, fill_time_ms))
        theirs = {market: count for market, count, _ in event.positions}
        self.differences = {}
        self.compared = 0
        for market in theirs.keys() | self.ledger.positions.keys():
            settling = any(order.evidence > order.booked for order in self.ledger.unsettled(market))
            if settling or self._last_fill_ms.get(market, 0) >= event.as_of_ms:
                continue  # the listing may be older than our last fill: no comparison is possible now
            self.compared += 1
            ours = self.ledger.position(market).count
            if ours == theirs.get(market, 0):
                self._strikes.pop(market, None)
                continue
            self.differences[market] = (ours, theirs.get(market, 0))
            self._strikes[market] = self._strikes.get(market, 0) + 1
        self._judge_positions(event.now_ms)

    def _judge_positions(self, now_ms: int) -> None:
        persistent = sorted(
            market for market, strikes in self._strikes.items() if strikes >= MISMATCH_STRIKES
        )
        if persistent and "reconcile" not in self.ledger.latches:
            shown = ", ".join(f"{market} ours {self.ledger.position(market).count}" for market in persistent)
            self._latch(now_ms, "reconcile", REDUCING, f"position differs from the venue's: {shown}")
        elif not self._strikes and self.compared and "reconcile" in self.ledger.latches:
            self._latch(now_ms, "reconcile", ACTIVE, "a comparison with the venue was clean")

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
        self._withdraw(now_ms, name, wanted)
        for slot, (target, reduces) in wanted.items():
            self._place(now_ms, market, slot, target, reduces)

    def _admissible(self, targets: list[Target], view: MarketView) -> dict[Slot, tuple[Target, bool]]:
        """Targets by slot, with whether they reduce. Exits are cut to the position less unsettled exits."""
        wanted: dict[Slot, tuple[Target, bool]] = {}
        reducing_only = self.ledger.state == REDUCING
        closing = -1 if view.position > 0 else 1
        exits = {
            order.slot: order.unbooked
            for order in self.ledger.unsettled(view.market)
            if order.slot.side == closing
        }
        for target in targets:
            slot = Slot(self.strategy.name, view.market, target.side, target.level)
            reduces = view.position * target.side < 0
            if reduces:
                others = sum(size for other, size in exits.items() if other != slot)
                size = min(target.size, abs(view.position) - others)
                target = target._replace(size=size)  # noqa: PLW2901 the same target, cut
                exits[slot] = max(exits.get(slot, 0), size)
            elif reducing_only:
                self._deny(Code.STATE_REDUCING)
                continue
            if target.size > 0:
                wanted[slot] = (target, reduces)
        return wanted

    def _withdraw(self, now_ms: int, market: str, wanted: dict[Slot, tuple[Target, bool]]) -> None:
        """Cancel what rests and is not wanted as it is."""
        for order in self.ledger.unsettled(market):
            if not order.resting:
                continue
            target = wanted[order.slot][0] if order.slot in wanted else None
            if target is not None and (
                target.keep or (target.price == order.price and target.size == order.size - order.booked)
            ):
                continue
            self.desk.cancel(now_ms, order)

    def _deny(self, code: Code) -> None:
        self.denials[code] = self.denials.get(code, 0) + 1

    def _place(self, now_ms: int, market: Market, slot: Slot, target: Target, reduces: bool) -> None:
        if not self.desk.slot_is_free(slot):
            return
        code = self._refusal(market, target, reduces)
        if code is not None:
            self._deny(code)
            return
        if not self.budget.take(now_ms, ORDER_COST, EXIT_RESERVE if reduces else RESERVE):
            self._deny(Code.WRITE_BUDGET)
            return
        rests = target.time_in_force == GOOD_TILL_CANCELED
        jitter_s = self.ledger.sequence % REST_JITTER_S
        self.desk.intend(
            now_ms,
            slot,
            target.price,
            target.size,
            target.time_in_force,
            now_ms // 1000 + REST_S + jitter_s if rests else 0,
            reduces and not rests,  # the venue takes reduce_only with immediate-or-cancel only
            market.generation,
        )
        if not reduces:
            self.strategy.entered(slot.market, now_ms)

    def _refusal(self, market: Market, target: Target, reduces: bool) -> Code | None:
        ticks = market.view.ticks
        index = bisect_left(ticks, target.price)
        if index >= len(ticks) or ticks[index] != target.price:
            return Code.PRICE_OFF_GRID
        proposal = Proposal(market.view.market, target.side, target.price, target.size, reduces)
        return risk.check(self.limits, self.ledger, proposal, self.day_profit())
