"""Backtest: the same core on recorded markets, its orders against the simulated account, time as the data says.

Everything is one sequence of (time, number): data, ticks, orders that arrive `latency_ms` after the decision, and replies
that come as long after that. The same data give the same result on every machine.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from heapq import heappop, heappush
from typing import Final, NamedTuple

from soloist_kalshi.fees import FeeTerms

from soloist_trader.core import events
from soloist_trader.core.commands import Amend, Cancel, Command, Entomb, FindFills, FindOrder, Persist, Place
from soloist_trader.core.engine import Engine
from soloist_trader.core.engine import Settings as CoreSettings
from soloist_trader.core.intake import Identity
from soloist_trader.core.ledger import Ledger
from soloist_trader.core.records import Booked, Record
from soloist_trader.core.risk import Limits
from soloist_trader.core.strategy import Strategy
from soloist_trader.modes.data import MarketEvent
from soloist_trader.modes.matcher import STANDARD_FEES, Matcher

IDENTITY: Final = Identity("backts", 0, 1, 1, "Backtest")
SAMPLES: Final = 2_000
"""The equity is looked at so many times, and at every fill."""
LEAST_SAMPLE_MS: Final = 1_000
SWEEP_MS: Final = 30_000

MakeStrategy = Callable[[Sequence[MarketEvent]], Strategy]
"""Makes the strategy of one run. It is given that run's data, so that one which precomputes from them can be judged."""


@dataclass(frozen=True, slots=True)
class Settings:
    """How the simulated venue behaves. Times in milliseconds, one way."""

    latency_ms: int = 50
    tick_ms: int = 100
    fees: FeeTerms = STANDARD_FEES
    refill_per_s: int = 100
    capacity: int = 200


class Point(NamedTuple):
    """The equity at one moment, as money: realised and unrealised profit after fees."""

    time_ms: int
    equity: int


@dataclass(slots=True)
class Run:
    """What came of it. `decisions` are records with the time of the step that made them."""

    begin_ms: int
    end_ms: int
    engine: Engine
    decisions: list[tuple[int, Record]] = field(default_factory=list)
    equity: list[Point] = field(default_factory=list)
    alerts: dict[str, int] = field(default_factory=dict)

    @property
    def fills(self) -> list[Booked]:
        """Booked fills in their sequence."""
        return [record for _, record in self.decisions if isinstance(record, Booked)]


class Backtest:
    """One run over one set of data."""

    def __init__(
        self, data: Sequence[MarketEvent], make_strategy: MakeStrategy, limits: Limits, settings: Settings
    ) -> None:
        assert data, "read_data refuses empty data"
        self._data = data
        self._settings = settings
        self._matcher = Matcher(lambda _market: settings.fees)
        self._engine = Engine(
            Ledger(),
            IDENTITY,
            make_strategy(data),
            limits,
            sorted({event.market for event in data}),
            CoreSettings(amends=True),
        )
        self._run = Run(data[0].now_ms, data[-1].now_ms, self._engine)
        self._heap: list[tuple[int, int, Callable[[int], None]]] = []
        self._number = 0
        span_ms = self._run.end_ms - self._run.begin_ms
        self._sample_ms = max(span_ms // SAMPLES, LEAST_SAMPLE_MS)
        self._sampled_ms = 0

    def run(self) -> Run:
        """Every event of the data, then the end: open positions stay open and are valued at the closing side."""
        begin_ms, end_ms = self._run.begin_ms, self._run.end_ms
        settings = self._settings
        self._step(events.Began(begin_ms))
        self._step(events.BudgetSeen(begin_ms, settings.refill_per_s, settings.capacity))
        self._step(events.SweepEnded(begin_ms, begin_ms))
        self._step(events.Readied(begin_ms))
        self._later(begin_ms, self._tick)
        self._later(begin_ms + SWEEP_MS, self._sweep)
        for event in self._data:
            self._until(event.now_ms)
            self._market(event)
        self._until(end_ms)
        self._sample(end_ms)
        return self._run

    # -- time

    def _later(self, moment_ms: int, what: Callable[[int], None]) -> None:
        self._number += 1
        heappush(self._heap, (moment_ms, self._number, what))

    def _until(self, moment_ms: int) -> None:
        """Everything that is due strictly before `moment_ms`: data come first in their own millisecond."""
        while self._heap and self._heap[0][0] < moment_ms:
            due_ms, _, what = heappop(self._heap)
            what(due_ms)

    def _tick(self, now_ms: int) -> None:
        self._tell(now_ms, self._matcher.expire(now_ms))
        self._step(events.Tick(now_ms))
        if now_ms - self._sampled_ms >= self._sample_ms:
            self._sample(now_ms)
        self._later(now_ms + self._settings.tick_ms, self._tick)

    def _sweep(self, now_ms: int) -> None:
        """Move the cursor as a live engine does, so that what is long settled is forgotten."""
        self._step(events.SweepEnded(now_ms, now_ms))
        self._matcher.forget(self._engine.ledger.horizon_ms)
        self._later(now_ms + SWEEP_MS, self._sweep)

    # -- the world

    def _market(self, event: MarketEvent) -> None:
        now_ms = event.now_ms
        if isinstance(event, events.TopChanged):
            bids = [(event.bid_price, event.bid_count)] if event.bid_price else []
            asks = [(event.ask_price, event.ask_count)] if event.ask_price else []
            self._tell(now_ms, self._matcher.show(now_ms, event.market, bids, asks, whole=False))
        elif isinstance(event, events.Traded):
            self._tell(
                now_ms,
                self._matcher.traded(now_ms, event.market, event.price, event.size, event.taker_side),
            )
        elif isinstance(event, events.BookLost):
            self._matcher.hide(event.market)
        self._step(event)

    def _tell(self, now_ms: int, told: Iterable[events.Event]) -> None:
        """What happened at the venue reaches the bot after the latency."""
        for event in told:
            self._later(now_ms + self._settings.latency_ms, self._telling(event))

    def _telling(self, event: events.Event) -> Callable[[int], None]:
        return lambda now_ms: self._step(event._replace(now_ms=now_ms))

    # -- the bot

    def _step(self, event: events.Event) -> None:
        filled = False
        for command in self._engine.step(event):
            if isinstance(command, Persist):
                self._run.decisions.append((event.now_ms, command.record))
                filled = filled or isinstance(command.record, Booked)
            else:
                self._do(event.now_ms, command)
        if filled:
            self._sample(event.now_ms)

    def _do(self, now_ms: int, command: Command) -> None:
        matcher, arrives_ms = self._matcher, now_ms + self._settings.latency_ms
        if isinstance(command, Place):
            self._later(arrives_ms, lambda moment: self._tell(moment, matcher.place(moment, command)))
        elif isinstance(command, Cancel):
            self._later(arrives_ms, lambda moment: self._tell(moment, [matcher.cancel(moment, command)]))
        elif isinstance(command, Amend):
            self._later(arrives_ms, lambda moment: self._tell(moment, matcher.amend(moment, command)))
        elif isinstance(command, FindOrder):
            order = matcher.orders.get(command.client_order_id)
            if order is not None:
                self._tell(now_ms, [matcher.seen(now_ms, order)])
        elif isinstance(command, FindFills):
            name = command.client_order_id
            self._tell(now_ms, [fill for fill in matcher.fills if fill.client_order_id == name])
        else:
            assert not isinstance(command, Entomb), "nothing is ever in doubt here"
            code = str(getattr(command, "code", type(command).__name__))
            self._run.alerts[code] = self._run.alerts.get(code, 0) + 1

    def _sample(self, now_ms: int) -> None:
        self._sampled_ms = now_ms
        engine = self._engine
        total = engine.ledger.profit()
        for market, position in engine.ledger.positions.items():
            if position.count:
                view = engine.markets[market].view
                total += position.unrealised(view.bid_price, view.ask_price)
        self._run.equity.append(Point(now_ms, total))


class Peek(NamedTuple):
    """A decision that changed although only data later than it were taken away."""

    cut_ms: int
    with_all: str
    with_less: str


def look_ahead(
    data: Sequence[MarketEvent],
    make_strategy: MakeStrategy,
    limits: Limits,
    settings: Settings,
    *,
    cuts: int = 3,
) -> Peek | None:
    """Whether a strategy sees what is later than its event: runs on truncated data must decide the same up to the cut.

    None if every one of `cuts` truncated runs agrees with the whole; a strategy that draws random numbers, reads a clock
    or keeps state outside of itself fails, too. One that opens the data itself, or was fitted to them beforehand, knows the
    end in every run and passes: only what comes through `make_strategy` and the events can be taken away from it.
    """
    whole = Backtest(data, make_strategy, limits, settings).run().decisions
    for number in range(1, cuts + 1):
        index = len(data) * number // (cuts + 1)
        while 0 < index < len(data) and data[index].now_ms == data[index - 1].now_ms:
            index += 1
        if not 0 < index < len(data):
            continue
        cut_ms = data[index - 1].now_ms
        less = Backtest(data[:index], make_strategy, limits, settings).run().decisions
        before = [decision for decision in whole if decision[0] < cut_ms]
        shorter = [decision for decision in less if decision[0] < cut_ms]
        for place in range(max(len(before), len(shorter))):
            ours = str(before[place]) if place < len(before) else "nothing"
            theirs = str(shorter[place]) if place < len(shorter) else "nothing"
            if ours != theirs:
                return Peek(cut_ms, ours, theirs)
    return None
