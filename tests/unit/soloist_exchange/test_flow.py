from __future__ import annotations

import pytest
from soloist_exchange.flow import LATE_MS, MOVES_PER_STEP, TICK
from soloist_exchange.orders import BID
from soloist_exchange.scenario import SCENARIOS, Scenario

from tests.unit.soloist_exchange.exchange_venues import World


def tape(seed, steps=300):
    world = World(SCENARIOS["demo"], seed)
    world.account(100)
    for turn in range(steps):
        world.run(1)
        if turn % 50 == 10:
            world.order(100, BID, 5000, 100, ticker="SIM-WIND")
    return "\n".join(world.tape.lines).encode()


def test_the_same_seed_gives_the_same_tape_byte_for_byte():
    assert tape(7) == tape(7)


def test_another_seed_gives_another_tape():
    assert tape(7) != tape(8)


def test_another_market_does_not_change_the_others():
    plans = list(SCENARIOS["demo"].markets)
    alone, together = (World(Scenario(name="x", markets=markets)) for markets in (plans[:1], plans))
    lines = []
    for world in (alone, together):
        world.run(200)
        lines.append([line for line in world.tape.lines if line.startswith("book SIM-RAIN")])
    assert lines[0] == lines[1]


@pytest.mark.timeout(30)
def test_the_demonstration_stays_within_reach_and_is_never_crossed():
    world = World(SCENARIOS["demo"])
    trades = 0
    for _ in range(10_000):
        world.run(1, step_ms=40)
        for market in world.flow._markets:
            reach = market.plan.reach_ticks * TICK
            assert abs(market.middle - market.start) <= reach
        trades += sum(line.startswith("trade") for line in world.tape.lines)
        world.tape.lines.clear()
        world.flow._markets[0].state.book.check()
    for market in world.flow._markets:
        market.state.book.check()
        assert market.state.volume > 0
    assert trades > 1_000
    world.venue.ledger.check()
    assert world.venue.orders == {}


def test_many_markets_do_not_keep_the_loop():
    """A step ends after a bounded number of moves and says that more is due."""
    plan = {"step_ms": 100, "levels": 1}
    world = World(Scenario.model_validate({
        "name": "many", "markets": [{"ticker": f"M{n}", **plan} for n in range(3 * MOVES_PER_STEP)],
    }))  # fmt: skip
    world.clock.now_ms += 100
    moved = 0
    while (due_ms := world.flow.step()) <= world.clock():
        moved += 1
    assert moved == 3
    assert due_ms > world.clock()


def test_a_long_pause_is_left_out():
    world = World(SCENARIOS["demo"])
    world.run(1)
    world.tape.lines.clear()
    world.clock.now_ms += 3_600_000
    due_ms = world.flow.step()
    assert due_ms > world.clock() - LATE_MS
    assert len(world.tape.lines) < 1_000


def test_a_still_scenario_is_never_due():
    assert World(SCENARIOS["static"]).flow.step() is None
