"""What happens at a time: the actions of a scenario's script, and the moments that its markets' plans name. Driven by the exchange's clock."""

import heapq
import itertools
import logging
from collections.abc import Callable, Iterable
from typing import Protocol

from soloist_kalshi.numbers import price_from_dollars

from soloist_exchange.errors import Refused
from soloist_exchange.faults import Fault
from soloist_exchange.markets import MarketState, MarketStatus
from soloist_exchange.orders import ASK, BID, TimeInForce
from soloist_exchange.scenario_actions import (
    FaultsAction,
    MarketAction,
    MoveCloseAction,
    NewsAction,
    OrderAction,
    PauseAction,
    PriceRangesAction,
    PullAction,
    ResultAction,
    ScriptAction,
    SwitchesAction,
    armed,
    assignments,
)
from soloist_exchange.scenario_grids import price_ranges
from soloist_exchange.switches import parse
from soloist_exchange.venue import Venue

__all__ = ["Actors", "Agenda", "Script"]

_log = logging.getLogger(__name__)

_OPEN = {MarketStatus.INITIALIZED, MarketStatus.ACTIVE, MarketStatus.INACTIVE}


class Agenda:
    """Calls at times, earliest first; those of one time in the order in which they were noted."""

    def __init__(self) -> None:
        self._entries: list[tuple[int, int, Callable[[], None]]] = []
        self._numbers = itertools.count()

    def note(self, at_ms: int, call: Callable[[], None]) -> None:
        """Remember a call for a time of the exchange's clock."""
        heapq.heappush(self._entries, (at_ms, next(self._numbers), call))

    def due_ms(self) -> int | None:
        """Return the time of the next call, None when there is none."""
        return self._entries[0][0] if self._entries else None

    def run_next(self) -> None:
        """Carry out the earliest call."""
        heapq.heappop(self._entries)[2]()


class Actors(Protocol):
    """What the participants do when the script says so."""

    def news(self, ticker: str, ticks: int, pull_ms: int) -> None:
        """Let the middle price of a market jump."""

    def pull(self, ticker: str, for_ms: int) -> None:
        """Take the makers' quotes away for a while."""

    def order(self, ticker: str, side: int, price: int, contracts: int, life: TimeInForce) -> None:
        """Send an order of a taker."""


class Script:
    """Carries out actions on a venue. An action that the venue refuses is logged and counted in `refused`; the others go on.

    `start_ms` is the start of the scenario by the exchange's clock. Who serves connects the faults.
    With `actors` None (a replay) news, pulls and orders are left out: the tape has what they led to.
    """

    def __init__(self, venue: Venue, actors: Actors | None, start_ms: int) -> None:
        self._venue = venue
        self._actors = actors
        self._start_ms = start_ms
        self.refused = 0
        self._set_faults: Callable[[list[Fault]], None] | None = None
        self._waiting: list[Fault] | None = None

    def connect_faults(self, set_faults: Callable[[list[Fault]], None]) -> None:
        """Tell what replaces the faults in force. What the script has set before that is set now."""
        self._set_faults = set_faults
        if self._waiting is not None:
            set_faults(self._waiting)

    def note(self, agenda: Agenda, actions: Iterable[ScriptAction]) -> None:
        """Put actions on the agenda."""
        for action in actions:
            agenda.note(self._start_ms + action.at_ms, lambda action=action: self.act(action))  # type: ignore[misc]

    def act(self, action: ScriptAction) -> None:
        """Carry out one action now."""
        if isinstance(action, PauseAction):
            self._pause(action)
        elif isinstance(action, FaultsAction):
            self._replace_faults(armed(action.faults))
        elif isinstance(action, SwitchesAction):
            self._venue.switches = parse(assignments(action.switches), self._venue.switches)
        else:
            for market in self._markets(action.ticker):
                try:
                    self._act_on(market, action)
                except Refused as refusal:
                    self.refused += 1
                    _log.warning(
                        "script: %s %s at %d ms: %s", action.do, market.ticker, action.at_ms, refusal
                    )

    def _replace_faults(self, faults: list[Fault]) -> None:
        if self._set_faults is None:
            self._waiting = faults  # nobody serves yet: there is no wire on which something could go wrong
        else:
            self._set_faults(faults)

    def _markets(self, pattern: str) -> list[MarketState]:
        if not pattern.endswith("*"):
            market = self._venue.markets.get(pattern)
            return [market] if market else []
        prefix = pattern[:-1]
        return [market for ticker, market in self._venue.markets.items() if ticker.startswith(prefix)]

    def _pause(self, action: PauseAction) -> None:
        call = {
            ("pause", "trading"): self._venue.pause_trading,
            ("resume", "trading"): self._venue.resume_trading,
            ("pause", "exchange"): self._venue.pause_exchange,
            ("resume", "exchange"): self._venue.resume_exchange,
        }[action.do, action.what]
        call()

    def _act_on(self, market: MarketState, action: ScriptAction) -> None:
        venue, ticker = self._venue, market.ticker
        if isinstance(action, MarketAction):
            call = {
                "activate": venue.activate,
                "deactivate": venue.deactivate,
                "close": venue.close,
                "settle": venue.settle,
            }[action.do]
            call(ticker)
        elif isinstance(action, ResultAction):
            if market.status in _OPEN:
                venue.close(ticker)
            value = action.settlement_dollars
            venue.determine(ticker, action.result, None if value is None else price_from_dollars(value))
        elif isinstance(action, MoveCloseAction):
            venue.move_close(ticker, self._start_ms + action.close_at_ms)
        elif isinstance(action, PriceRangesAction):
            label = action.price_level_structure
            venue.set_price_ranges(ticker, price_ranges(label), label)
        elif self._actors is not None:
            self._direct(self._actors, ticker, action)

    @staticmethod
    def _direct(actors: Actors, ticker: str, action: ScriptAction) -> None:
        if isinstance(action, NewsAction):
            actors.news(ticker, action.ticks, action.pull_ms)
        elif isinstance(action, PullAction):
            actors.pull(ticker, action.for_ms)
        elif isinstance(action, OrderAction):
            actors.order(
                ticker,
                BID if action.side == "bid" else ASK,
                price_from_dollars(action.price_dollars),
                action.contracts,
                TimeInForce(action.time_in_force),
            )
