"""Spot checks of books: a wrong one begins anew, a late read or a moving market does not."""

import pytest
from soloist_trader.core.events import TopChanged
from soloist_trader.journal.writer import Journal
from soloist_trader.shell import recovery
from soloist_trader.shell.gate import SendGate
from soloist_trader.shell.recovery import SPOT_LOOKS, Reconciler
from soloist_trader.shell.runtime import Runtime

from tests.unit.soloist_trader.core_world import CoreWorld

OURS = (4_000, 4_200)


class Shelf:
    """An edge with nothing but a whole book to look at; `looks` are its answers, the last one for good."""

    def __init__(self, looks):
        self.looks = looks
        self.seen = 0
        self.reconnects = 0
        self.on_look = lambda: None

    async def look_at_top(self, market):
        assert market == "M"
        self.on_look()
        self.seen += 1
        return self.looks[min(self.seen, len(self.looks)) - 1]

    def reconnect(self):
        self.reconnects += 1


def top(runtime, world, bid_price, generation=1):
    runtime.dispatch(TopChanged(world.now_ms, "M", bid_price, 100, OURS[1], 100, generation))


@pytest.fixture
def make(tmp_path, monkeypatch):
    monkeypatch.setattr(recovery, "SPOT_AGAIN_S", 0)

    def build(*looks):
        world, edge = CoreWorld(), Shelf(looks)
        runtime = Runtime(world.engine, Journal(tmp_path), SendGate(lambda _market: 1), edge)
        top(runtime, world, OURS[0])
        return world, runtime, edge, Reconciler(runtime, world.now_ms)

    return build


@pytest.mark.parametrize(
    ("looks", "seen", "reconnects"),
    [
        ([OURS], 1, 0),
        ([(3_900, 4_200), OURS], 2, 0),
        ([(3_900, 4_200)], SPOT_LOOKS, 1),
        ([(0, 0)], SPOT_LOOKS, 1),
    ],
)
async def test_a_book_that_stays_wrong_begins_anew(make, looks, seen, reconnects):
    _, _, edge, reconciler = make(*looks)
    await reconciler.check_a_book()
    assert (edge.seen, edge.reconnects) == (seen, reconnects)


async def test_a_market_that_moves_during_the_look_proves_nothing(make):
    world, runtime, edge, reconciler = make((3_900, 4_200))
    edge.on_look = lambda: top(runtime, world, 4_100)
    await reconciler.check_a_book()
    assert (edge.seen, edge.reconnects) == (1, 0)
