"""Dead man: an engine that ends and never comes back leaves orders that end by themselves."""

import logging

import pytest
from soloist_exchange.orders import Status
from soloist_trader.core.engine import Engine
from soloist_trader.core.upkeep import LEAST_REST_S, REST_JITTER_S, Upkeep

from tests.crash.memory_engine import OURS, Build
from tests.crash.memory_venue import SCENARIO
from tests.crash.world import World

SEED = 1  # its bots join the book and rest there
NEVER_CRASHES = 1 << 30
LONGEST_REST_S = LEAST_REST_S + REST_JITTER_S + 10
"""With so few orders that their renewals do not need a longer life; and a moment for the venue to look at its timers."""
LOOK_S = 0.05


class Immortal(Upkeep):
    """Orders rest until somebody cancels them."""

    def expiration_s(self, now_ms, sequence):  # noqa: ARG002 as the real one has it
        return 0


class ImmortalEngine(Engine):
    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.upkeep = Immortal(self.desk, self.upkeep._limits)


class LastLife(World):
    """The bot dies for good as soon as two orders of it rest, and nobody comes, nor takes them."""

    scenario = {  # noqa: RUF012 nobody changes it
        **SCENARIO,
        "markets": [{**market, "move_percent": 0, "trade_percent": 0} for market in SCENARIO["markets"]],
    }
    left = ()
    number = 0

    def _resting(self):
        return self.venue.exchange.venue.resting(self.venue.account_id, self.number)

    def _after_death(self):
        """What others do then."""

    def _live(self, loop):
        def look():
            if len(self._resting()) >= 2:
                loop.stop()
            else:
                loop.call_later(LOOK_S, look)

        loop.call_soon(look)
        while not self.result.findings and len(self._resting()) < 2:
            self._turn_and_restart(loop)
        for bot in self.bots:
            bot.process.end()
        self._wait(loop, 2)  # what was on its way arrives
        self.left = tuple(self._resting())
        self._after_death()
        self._wait(loop, LONGEST_REST_S)


@pytest.fixture(autouse=True)
def quiet():
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


@pytest.mark.parametrize(
    ("build", "outlives"), [(OURS, False), (Build("no-expiries", engine=ImmortalEngine), True)]
)
def test_what_an_engine_that_never_comes_back_left_resting_ends_at_its_expiry(build, outlives):
    left, resting = [], []
    for seed in (SEED, SEED + 3, SEED + 6):
        world = LastLife(seed, NEVER_CRASHES, build=build)
        world.run()
        assert world.result.findings == []
        left += world.left
        resting += [order for order in world.left if order.status is Status.RESTING]
    assert len(left) == 6, "two rested of each when it died"
    assert not any(order.filled for order in left), "nobody took them"
    assert resting == (left if outlives else [])
