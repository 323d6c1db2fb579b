"""Any scenario: conservation, no crossed book, no order of the participants refused, and a tape that plays the same again."""

from __future__ import annotations

import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from soloist_exchange.flow_record import record
from soloist_exchange.orders import ASK, BID
from soloist_exchange.scenario import Scenario, from_tape, problems
from soloist_exchange.scenario_grids import STRUCTURES

from tests.unit.soloist_exchange.exchange_venues import World

MINUTE_MS = 60_000
labels = st.sampled_from(list(STRUCTURES))
moments = st.integers(0, MINUTE_MS)
percents = st.integers(0, 100)

informed = st.fixed_dictionaries({"ahead_steps": st.integers(1, 8), "percent": percents})
news = st.fixed_dictionaries(
    {
        "ticks": st.integers(1, 30),
        "per_mille": st.integers(0, 60),
        "at_ms": st.lists(moments, max_size=3),
        "pull_ms": st.integers(0, 3000),
    }
)
plans = st.fixed_dictionaries(
    {
        "step_ms": st.integers(50, 2000),
        "start_dollars": st.sampled_from(["0.01", "0.05", "0.10", "0.50", "0.90", "0.99"]),
        "price_level_structure": labels,
        "levels": st.integers(0, 6),
        "level_contracts": st.sampled_from([1, 2, 200]),
        "spread_ticks": st.integers(1, 5),
        "move_percent": percents,
        "trade_percent": percents,
        "cross_percent": st.integers(0, 30),
        "sides": st.sampled_from(["both", "bids", "asks", "none"]),
        "create_at_ms": st.sampled_from([0, 0, 5000]),
    },
    optional={"close_at_ms": st.integers(5000, MINUTE_MS), "informed": informed, "news": news},
)
on_market = {"at_ms": moments, "ticker": st.sampled_from(["M-0", "M-*"])}
actions = st.one_of(
    st.fixed_dictionaries({"do": st.sampled_from(["activate", "deactivate", "close", "settle"]), **on_market}),
    st.fixed_dictionaries({"do": st.just("determine"), "result": st.sampled_from(["yes", "no"]), **on_market}),
    st.fixed_dictionaries({"do": st.just("move_close"), "close_at_ms": moments, **on_market}),
    st.fixed_dictionaries({"do": st.just("price_ranges"), "price_level_structure": labels, **on_market}),
    st.fixed_dictionaries({"do": st.just("news"), "ticks": st.integers(-40, 40), "pull_ms": st.integers(0, 3000), **on_market}),
    st.fixed_dictionaries({"do": st.just("pull"), "for_ms": st.integers(0, 3000), **on_market}),
    st.fixed_dictionaries({
        "do": st.just("order"), "side": st.sampled_from(["bid", "ask"]), "contracts": st.integers(1, 900),
        "price_dollars": st.sampled_from(["0.01", "0.45", "0.50", "0.99"]),
        "time_in_force": st.sampled_from(["immediate_or_cancel", "good_till_canceled", "fill_or_kill"]), **on_market,
    }),
    st.fixed_dictionaries({"do": st.sampled_from(["pause", "resume"]), "what": st.sampled_from(["trading", "exchange"]), "at_ms": moments}),
)  # fmt: skip
scenarios = st.builds(
    lambda markets, script: Scenario.model_validate(
        {
            "name": "any",
            "markets": [plan | {"ticker": f"M-{number}"} for number, plan in enumerate(markets)],
            "script": script,
        }
    ),
    st.lists(plans, min_size=1, max_size=3),
    st.lists(actions, max_size=8),
)


@settings(max_examples=40, deadline=None)
@given(scenarios, st.integers(0, 100))
def test_any_scenario_keeps_the_venues_laws(scenario, seed):
    assert list(problems(scenario)) == []
    world = World(scenario, seed)
    end_ms = world.flow.start_ms + MINUTE_MS
    while True:
        due = [item for item in (world.flow.step(), world.venue.tick()) if item is not None]
        if not due or min(due) > end_ms:
            break
        world.clock.now_ms = max(world.clock(), min(due))
        for market in world.venue.markets.values():
            bid, ask = market.book.best(BID), market.book.best(ASK)
            assert bid is None or ask is None or bid < ask
    world.venue.recount()
    # Only an order of the script may come at the wrong time; the others trade when they can.
    if not any(action.do == "order" for action in scenario.script):
        assert world.flow.desk.refused == 0


@settings(max_examples=25, deadline=None)
@given(scenarios, st.integers(0, 100))
def test_any_tape_played_and_recorded_again_is_the_same_tape(scenario, seed):
    with tempfile.TemporaryDirectory() as name:
        first, second = Path(name) / "first.tape", Path(name) / "second.tape"
        record(scenario, seed, 1, first)
        record(from_tape(Scenario(name="again", tape="unused"), first), 0, None, second)
        assert first.read_bytes() == second.read_bytes()
