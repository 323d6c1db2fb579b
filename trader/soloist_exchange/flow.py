"""Who trades besides the connected accounts: per market a maker that quotes around a wandering middle price, and takers.

Seeded and driven by the exchange's clock: the same seed and the same times make the same orders, byte for byte.
"""

import heapq
import random
from dataclasses import dataclass, field

from soloist_kalshi.numbers import price_from_dollars

from soloist_exchange.ledger import Account
from soloist_exchange.orders import ASK, BID, Order, Status, TimeInForce
from soloist_exchange.scenario import CENT_RANGES, MarketPlan, Scenario, cent_grid
from soloist_exchange.venue import MarketState, Venue

__all__ = ["MAKER_ACCOUNT", "TAKER_ACCOUNT", "Flow"]

MAKER_ACCOUNT = 1
TAKER_ACCOUNT = 2
TICK = 100
CONTRACT = 100
YEAR_MS = 365 * 24 * 3600 * 1000
DEPOSIT = 10**15
LARGEST_TRADE_CONTRACTS = 40
# A step of many markets ends early, so that requests are answered in between.
MOVES_PER_STEP = 50
# What is later than this is left out: after a pause of the process nobody needs the moves that were missed.
LATE_MS = 1000


@dataclass(slots=True)
class _MarketFlow:
    """The participants of one market."""

    plan: MarketPlan
    state: MarketState
    random: random.Random
    start: int
    middle: int
    quotes: dict[tuple[int, int], Order] = field(default_factory=dict)


class Flow:
    """Opens the markets of a scenario and moves them when `step` is called."""

    def __init__(self, venue: Venue, scenario: Scenario, seed: int) -> None:
        self._venue = venue
        self._orders = 0
        for account_id, name in ((MAKER_ACCOUNT, "(makers)"), (TAKER_ACCOUNT, "(takers)")):
            venue.ledger.open(Account(account_id, name, internal=True, deposited=DEPOSIT))
        now_ms = venue.clock_ms()
        self._markets = [self._open(plan, seed, now_ms) for plan in scenario.markets]
        # Index of the market after the time: equal times move in the scenario's order.
        self._due = [
            (now_ms + market.random.randrange(market.plan.step_ms), index)
            for index, market in enumerate(self._markets)
            if market.plan.step_ms
        ]
        heapq.heapify(self._due)

    def begin(self) -> None:
        """Quote every market for the first time."""
        for market in self._markets:
            self._quote(market)

    def step(self) -> int | None:
        """Do what is due by the exchange's clock, at most MOVES_PER_STEP; return when more is due (ms), None when never."""
        now_ms = self._venue.clock_ms()
        for _ in range(MOVES_PER_STEP):
            if not self._due or self._due[0][0] > now_ms:
                break
            due_ms, index = self._due[0]
            market = self._markets[index]
            self._move(market)
            next_ms = due_ms + market.plan.step_ms
            if next_ms < now_ms - LATE_MS:
                next_ms = now_ms + market.plan.step_ms
            heapq.heapreplace(self._due, (next_ms, index))
        return self._due[0][0] if self._due else None

    def _open(self, plan: MarketPlan, seed: int, now_ms: int) -> _MarketFlow:
        state = MarketState(
            plan.ticker,
            plan.ticker,
            plan.title or plan.ticker,
            cent_grid(),
            CENT_RANGES,
            now_ms,
            now_ms + YEAR_MS,
        )
        self._venue.markets[plan.ticker] = state
        start = price_from_dollars(plan.start_dollars)
        # A generator per market: adding a market does not change the others.
        generator = random.Random(f"{seed}/{plan.ticker}")  # noqa: S311 - a scenario, not a secret
        return _MarketFlow(plan, state, generator, start, start)

    def _move(self, market: _MarketFlow) -> None:
        plan, generator = market.plan, market.random
        if generator.randrange(100) < plan.move_percent:
            # It is drawn back the more, the farther it has strayed.
            strayed = (market.middle - market.start) // TICK
            up = generator.randrange(2 * plan.reach_ticks + 1) >= plan.reach_ticks + strayed
            moved = market.middle + (TICK if up else -TICK)
            if abs(moved - market.start) <= plan.reach_ticks * TICK:
                market.middle = moved
        self._quote(market)
        if generator.randrange(100) < plan.trade_percent:
            side = BID if generator.randrange(2) else ASK
            count = CONTRACT * generator.randint(1, LARGEST_TRADE_CONTRACTS)
            price = 9900 if side == BID else 100
            self._send(market, TAKER_ACCOUNT, side, price, count, TimeInForce.IMMEDIATE_OR_CANCEL)

    def _quote(self, market: _MarketFlow) -> None:
        """Rest the wanted levels, take away what is not wanted any more, top up what was traded."""
        plan = market.plan
        bid = market.middle - plan.spread_ticks // 2 * TICK
        wanted: dict[tuple[int, int], int] = {}
        for level in range(plan.levels):
            for side, price in (
                (BID, bid - level * TICK),
                (ASK, bid + (plan.spread_ticks + level) * TICK),
            ):
                if market.state.grid.contains(price):
                    wanted[side, price] = plan.level_contracts * CONTRACT
        for place, order in list(market.quotes.items()):
            if order.status is not Status.RESTING:
                del market.quotes[place]
            elif place not in wanted or order.remaining < wanted[place] // 2:
                self._venue.cancel(order)
                del market.quotes[place]
        for place, count in wanted.items():
            if place not in market.quotes:
                side, price = place
                size = count // 2 + CONTRACT * market.random.randrange(max(1, count // CONTRACT))
                order = self._send(market, MAKER_ACCOUNT, side, price, size, TimeInForce.GOOD_TILL_CANCELED)
                if order.status is Status.RESTING:
                    market.quotes[place] = order

    def _send(
        self, market: _MarketFlow, account_id: int, side: int, price: int, count: int, life: TimeInForce
    ) -> Order:
        self._orders += 1
        order = Order(
            order_id=f"flow-{self._orders}",
            account_id=account_id,
            ticker=market.plan.ticker,
            side=side,
            price=price,
            count=count,
            created_ms=self._venue.clock_ms(),
            time_in_force=life,
        )
        return self._venue.create(order)
