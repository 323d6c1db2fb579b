"""Everything in a scenario that acts by itself: it opens the markets, moves their participants, and carries out the script.

Seeded and driven by the exchange's clock: the same seed and the same times make the same orders, byte for byte. With a tape, the
orders are the tape's.
"""

import heapq
from collections.abc import Callable
from pathlib import Path

from soloist_exchange.flow_desk import INFORMED_ACCOUNT, MAKER_ACCOUNT, RIVAL_ACCOUNT, TAKER_ACCOUNT, Desk
from soloist_exchange.flow_market import MarketFlow
from soloist_exchange.flow_open import Opener
from soloist_exchange.flow_replay import Replay
from soloist_exchange.listener import Listener
from soloist_exchange.markets import MarketState
from soloist_exchange.orders import TimeInForce
from soloist_exchange.scenario_actions import FaultsAction, MarketAction, ResultAction
from soloist_exchange.scenario_plan import MarketPlan, Scenario
from soloist_exchange.script import Agenda, Script
from soloist_exchange.venue import Venue

__all__ = [
    "INFORMED_ACCOUNT",
    "LATE_MS",
    "MAKER_ACCOUNT",
    "MOVES_PER_STEP",
    "RIVAL_ACCOUNT",
    "TAKER_ACCOUNT",
    "Flow",
]

# A step of many markets ends early, so that requests are answered in between.
MOVES_PER_STEP = 50
# What is later than this is left out: after a pause of the process nobody needs the moves that were missed.
LATE_MS = 1000


class Flow(Listener):
    """Opens the markets of a scenario and moves them when `step` is called.

    `start_ms` is the exchange's time at which it was made: the scenario's times count from there. `desk` sends its orders,
    `script` carries out what is written.
    """

    def __init__(self, venue: Venue, scenario: Scenario, seed: int) -> None:
        self._venue = venue
        self._seed = seed
        self.start_ms = venue.clock_ms()
        self.desk = Desk(venue)
        self._opener = Opener(venue, scenario, self.start_ms)
        self._agenda = Agenda()
        self._replay = Replay(Path(scenario.tape), self.desk, self.start_ms) if scenario.tape else None
        self.script = Script(venue, None if self._replay else self, self.start_ms)
        self._markets: dict[str, MarketFlow] = {}
        # The market's place in the scenario after the time: equal times move in the scenario's order.
        self._due: list[tuple[int, int, MarketFlow]] = []
        self._begun = False
        if scenario.faults:
            self.script.note(self._agenda, [FaultsAction(at_ms=0, do="faults", faults=scenario.faults)])
        for index, plan in enumerate(scenario.plans):
            self._plan(index, plan)
        heapq.heapify(self._due)
        self.script.note(self._agenda, scenario.script)
        venue.listeners.append(self)

    def begin(self) -> None:
        """Do what the script says for the start, and quote every market for the first time (a tape has its own first quotes)."""
        self._begun = True
        while (due_ms := self._agenda.due_ms()) is not None and due_ms <= self.start_ms:
            self._agenda.run_next()
        for market in self._markets.values():
            self._come_back(market)
        if self._replay is not None:
            while self._replay.due_ms() == self.start_ms:
                self._replay.run_next()

    def step(self) -> int | None:
        """Do what is due by the exchange's clock, at most MOVES_PER_STEP; return when more is due (ms), None when never."""
        now_ms = self._venue.clock_ms()
        agenda = self._agenda
        for _ in range(MOVES_PER_STEP):
            agenda_ms, move_ms = agenda.due_ms(), self._move_ms()
            if agenda_ms is not None and agenda_ms <= now_ms and (move_ms is None or agenda_ms <= move_ms):
                agenda.run_next()
            elif move_ms is not None and move_ms <= now_ms:
                self._move_next(now_ms)
            else:
                break
        agenda_ms, move_ms = agenda.due_ms(), self._move_ms()
        if agenda_ms is None or move_ms is None:
            return move_ms if agenda_ms is None else agenda_ms
        return min(agenda_ms, move_ms)

    # ------------------------------------------------------------------ what the script directs (see script.Actors)

    def news(self, ticker: str, ticks: int, pull_ms: int) -> None:
        """Let the middle price of a market jump; makers stay away for a while."""
        self._away(ticker, pull_ms, lambda market, until_ms: market.news(ticks, until_ms))

    def pull(self, ticker: str, for_ms: int) -> None:
        """Take the makers' quotes away for a while."""
        self._away(ticker, for_ms, lambda market, until_ms: market.pull(until_ms))

    def order(self, ticker: str, side: int, price: int, contracts: int, life: TimeInForce) -> None:
        """Send an order of a taker."""
        if (market := self._markets.get(ticker)) is not None:
            market.order(side, price, contracts, life)

    # ------------------------------------------------------------------ what the venue tells (see listener.Listener)

    def on_market_state(self, market: MarketState) -> None:
        """Let makers come back soon to a market that trades again, or has another grid: it may never move by itself."""
        self._notice(market)

    def on_exchange(self) -> None:
        """Let makers come back everywhere after a pause."""
        if self._venue.trading_active and self._venue.exchange_active:
            for market in self._markets.values():
                self._notice(market.state)

    # ------------------------------------------------------------------ steps

    def _plan(self, index: int, plan: MarketPlan) -> None:
        """Open a market now or later, and note what its plan says about its end."""
        if plan.create_at_ms == 0:
            self._open(index, plan)
        else:
            self._agenda.note(self.start_ms + plan.create_at_ms, lambda: self._open(index, plan))
        if plan.determine_at_ms is not None:
            result = ResultAction(
                at_ms=plan.determine_at_ms,
                do="determine",
                ticker=plan.ticker,
                result=plan.result,
                settlement_dollars=plan.settlement_dollars,
            )
            self.script.note(self._agenda, [result])
        if plan.settle_at_ms is not None:
            settle = MarketAction(at_ms=plan.settle_at_ms, do="settle", ticker=plan.ticker)
            self.script.note(self._agenda, [settle])

    def _open(self, index: int, plan: MarketPlan) -> None:
        state = self._opener.open(plan)
        if self._replay is not None:
            return
        now_ms = self._venue.clock_ms()
        market = self._markets[plan.ticker] = MarketFlow(self.desk, plan, state, self._seed, now_ms)
        if plan.step_ms:
            entry = (now_ms + market.random.randrange(plan.step_ms), index, market)
            if self._begun:
                heapq.heappush(self._due, entry)
            else:
                self._due.append(entry)
        if self._begun:
            self._come_back(market)

    def _move_ms(self) -> int | None:
        if self._replay is not None:
            return self._replay.due_ms()
        return self._due[0][0] if self._due else None

    def _move_next(self, now_ms: int) -> None:
        if self._replay is not None:
            self._replay.run_next()
            return
        due_ms, index, market = self._due[0]
        if self._venue.trading_active and self._venue.exchange_active:
            market.move(now_ms)
        next_ms = due_ms + market.plan.step_ms
        if next_ms < now_ms - LATE_MS:
            next_ms = now_ms + market.plan.step_ms
        heapq.heapreplace(self._due, (next_ms, index, market))

    def _away(self, ticker: str, for_ms: int, leave: Callable[[MarketFlow, int], None]) -> None:
        if (market := self._markets.get(ticker)) is None:
            return
        until_ms = self._venue.clock_ms() + for_ms
        leave(market, until_ms)
        self._agenda.note(until_ms, lambda: self._come_back(market))

    def _notice(self, state: MarketState) -> None:
        if self._begun and (market := self._markets.get(state.ticker)) is not None:
            self._agenda.note(self._venue.clock_ms(), lambda: self._come_back(market))

    def _come_back(self, market: MarketFlow) -> None:
        if self._venue.trading_active and self._venue.exchange_active:
            market.come_back(self._venue.clock_ms())
