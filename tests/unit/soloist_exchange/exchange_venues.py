"""A venue with a scenario's participants under a clock that the test moves; without them see bare_venues."""

from __future__ import annotations

from soloist_exchange.flow import Flow
from soloist_exchange.scenario import Scenario

from tests.unit.soloist_exchange.bare_venues import START_MS, BareWorld, Clock, Tape

__all__ = ["START_MS", "Clock", "Tape", "World", "still"]


class World(BareWorld):
    """A venue with a scenario's markets, its clock and its tape."""

    def __init__(self, scenario: Scenario, seed: int = 1) -> None:
        super().__init__()
        self.flow = Flow(self.venue, scenario, seed)
        self.flow.begin()

    def run(self, steps: int, step_ms: int = 100) -> None:
        for _ in range(steps):
            self.clock.now_ms += step_ms
            self.flow.step()


def still(*tickers: str, levels: int = 0) -> Scenario:
    """Markets in which nobody trades by himself."""
    markets = [
        {"ticker": t, "step_ms": 0, "levels": levels, "spread_ticks": 2, "level_contracts": 10}
        for t in tickers or ("M",)
    ]
    return Scenario.model_validate({"name": "still", "markets": markets})
