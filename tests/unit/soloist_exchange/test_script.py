from __future__ import annotations

import logging

import pytest
from soloist_exchange.flow import TAKER_ACCOUNT
from soloist_exchange.orders import ASK, BID
from soloist_exchange.scenario import Scenario, problems
from soloist_exchange.script import Agenda

from tests.unit.soloist_exchange.exchange_venues import World

STILL = {"step_ms": 0, "levels": 3, "spread_ticks": 2}


def world(*actions, **fields):
    plan = {
        "name": "x",
        "markets": [{"ticker": "A", **STILL}, {"ticker": "B", **STILL}],
        "script": list(actions),
    }
    scenario = Scenario.model_validate(plan | fields)
    assert list(problems(scenario)) == []
    return World(scenario)


def advance(world, to_ms):
    """Let time pass event by event, as a virtual clock does."""
    end_ms = world.flow.start_ms + to_ms
    while True:
        due = [
            item for item in (world.flow.step(), world.venue.tick()) if item is not None and item <= end_ms
        ]
        if not due:
            break
        world.clock.now_ms = max(world.clock(), min(due))
    world.clock.now_ms = end_ms


def bids(world, ticker="A"):
    return [price for price, _ in world.venue.markets[ticker].book.levels(BID)]


def test_the_agenda_keeps_the_order_of_what_is_due_together():
    done = []
    agenda = Agenda()
    for at_ms, word in ((5, "b"), (3, "a"), (5, "c")):
        agenda.note(at_ms, lambda word=word: done.append(word))
    while agenda.due_ms() is not None:
        agenda.run_next()
    assert done == ["a", "b", "c"]


def test_a_life_by_script():
    made = world(
        {"at_ms": 1000, "do": "deactivate", "ticker": "A"},
        {"at_ms": 2000, "do": "activate", "ticker": "A"},
        {"at_ms": 3000, "do": "close", "ticker": "A"},
        {"at_ms": 4000, "do": "determine", "ticker": "A", "result": "no"},
        {"at_ms": 5000, "do": "settle", "ticker": "A"},
    )
    seen = []
    for to_ms in range(500, 6000, 1000):
        advance(made, to_ms)
        seen.append(str(made.venue.markets["A"].status))
    assert seen == ["active", "inactive", "active", "closed", "determined", "finalized"]
    assert made.venue.markets["A"].result == "no"
    assert made.venue.markets["B"].status == "active"


def test_a_market_that_is_determined_closes_first():
    made = world({"at_ms": 10, "do": "determine", "ticker": "A", "result": "yes"})
    advance(made, 10)
    assert made.venue.markets["A"].status == "determined"
    assert made.flow.script.refused == 0


def test_a_scalar_result():
    made = world(
        {"at_ms": 10, "do": "determine", "ticker": "S", "result": "scalar", "settlement_dollars": "0.25"},
        markets=[{"ticker": "S", "market_type": "scalar", **STILL}],
    )
    advance(made, 10)
    assert made.venue.markets["S"].settlement_value == 2500


def test_pauses_by_script():
    made = world(
        {"at_ms": 10, "do": "pause"},
        {"at_ms": 20, "do": "resume"},
        {"at_ms": 30, "do": "pause", "what": "exchange"},
        {"at_ms": 40, "do": "resume", "what": "exchange"},
    )
    seen = []
    for to_ms in (5, 15, 25, 35, 45):
        advance(made, to_ms)
        seen.append((made.venue.trading_active, made.venue.exchange_active))
    assert seen == [(True, True), (False, True), (True, True), (True, False), (True, True)]


def test_the_close_time_moves():
    made = world({"at_ms": 10, "do": "move_close", "ticker": "A", "close_at_ms": 500})
    advance(made, 499)
    assert made.venue.markets["A"].status == "active"
    advance(made, 500)
    assert made.venue.markets["A"].status == "closed"


def test_a_grid_changes_and_makers_use_it():
    made = world({"at_ms": 10, "do": "price_ranges", "ticker": "A", "price_level_structure": "deci_cent"})
    assert bids(made) == [4900, 4800, 4700]
    advance(made, 20)
    assert made.venue.markets["A"].label == "deci_cent"
    assert bids(made) == [4990, 4980, 4970]


def test_news_moves_a_still_market_after_a_while():
    made = world({"at_ms": 1000, "do": "news", "ticker": "A", "ticks": -5, "pull_ms": 300})
    advance(made, 1299)
    assert bids(made) == []
    advance(made, 1300)
    assert bids(made) == [4400, 4300, 4200]
    assert bids(made, "B") == [4900, 4800, 4700]


def test_a_pull_empties_the_book_for_a_while():
    made = world({"at_ms": 1000, "do": "pull", "ticker": "*", "for_ms": 300})
    advance(made, 1100)
    assert (bids(made), bids(made, "B")) == ([], [])
    advance(made, 1300)
    assert bids(made) == bids(made, "B") == [4900, 4800, 4700]


def test_a_pull_while_the_exchange_is_paused_is_made_up_for():
    """Nothing can be cancelled then; afterwards no quote of before stays behind at the old price."""
    made = world(
        {"at_ms": 1000, "do": "pause", "what": "exchange"},
        {"at_ms": 1100, "do": "news", "ticker": "A", "ticks": 9, "pull_ms": 100},
        {"at_ms": 1500, "do": "resume", "what": "exchange"},
    )
    advance(made, 1400)
    assert bids(made) == [4900, 4800, 4700]
    advance(made, 1500)
    assert bids(made) == [5800, 5700, 5600]
    assert made.flow.desk.refused == 0


def test_a_pull_in_a_closed_market_changes_nothing():
    made = world(
        {"at_ms": 1000, "do": "close", "ticker": "A"},
        {"at_ms": 1100, "do": "pull", "ticker": "A", "for_ms": 100},
    )
    advance(made, 1200)
    assert bids(made) == [4900, 4800, 4700]
    advance(made, 2000)
    assert bids(made) == []
    assert made.flow.desk.refused == 0


def test_nobody_quotes_before_a_pause_at_the_start_is_over():
    made = world(
        {"at_ms": 0, "do": "pause"},
        {"at_ms": 1000, "do": "resume"},
        markets=[{"ticker": "A", **STILL}, {"ticker": "B", "create_at_ms": 500, **STILL}],
    )
    advance(made, 900)
    assert (bids(made), bids(made, "B"), made.flow.desk.refused) == ([], [], 0)
    advance(made, 1000)
    assert bids(made) == bids(made, "B") == [4900, 4800, 4700]


def test_an_order_trades():
    made = world(
        {"at_ms": 10, "do": "order", "ticker": "A", "side": "ask", "price_dollars": "0.49", "contracts": 7},
    )
    advance(made, 10)
    held = made.venue.ledger.accounts[TAKER_ACCOUNT].positions[0, "A"]
    assert held.count == ASK * 700


def test_switches_turn():
    made = world(
        {"at_ms": 10, "do": "switches", "switches": {"ping_when_busy": False, "fill_or_kill": "reject"}}
    )
    advance(made, 10)
    assert (made.venue.switches.ping_when_busy, made.venue.switches.fill_or_kill) == (False, "reject")
    assert made.venue.switches.post_only_cross == "reject"


def test_faults_wait_until_somebody_serves():
    made = world(
        {"at_ms": 1000, "do": "faults", "faults": []},
        faults=[{"kind": "slow", "percent": 50}],
    )
    set_to = []
    advance(made, 500)
    made.flow.script.connect_faults(set_to.append)
    assert [[fault.kind for fault in faults] for faults in set_to] == [["slow"]]
    advance(made, 1000)
    assert set_to[-1] == []


def test_what_the_venue_refuses_is_logged_and_the_script_goes_on(caplog):
    made = world(
        {"at_ms": 10, "do": "settle", "ticker": "A"},
        {"at_ms": 20, "do": "deactivate", "ticker": "A"},
    )
    with caplog.at_level(logging.WARNING):
        advance(made, 30)
    assert made.flow.script.refused == 1
    assert "settle A at 10 ms" in caplog.text
    assert made.venue.markets["A"].status == "inactive"


def test_a_star_means_every_market_that_begins_so():
    made = world(
        {"at_ms": 10, "do": "deactivate", "ticker": "M-*"},
        markets=[{"ticker": "A", **STILL}],
        markets_many=[{"count": 3, "prefix": "M", **STILL}],
    )
    advance(made, 10)
    paused = [ticker for ticker, market in made.venue.markets.items() if market.status == "inactive"]
    assert paused == ["M-1", "M-2", "M-3"]


@pytest.mark.parametrize("step_ms", [1, 7, 50, 1000])
def test_a_coarse_clock_does_the_same_in_the_same_order(step_ms):
    made = world(
        {"at_ms": 100, "do": "deactivate", "ticker": "A"},
        {"at_ms": 150, "do": "activate", "ticker": "A"},
        {"at_ms": 160, "do": "close", "ticker": "A"},
    )
    told = []
    for _ in range(2000 // step_ms):
        made.run(1, step_ms)
        told.append(str(made.venue.markets["A"].status))
    assert told[-1] == "closed"
    assert made.flow.script.refused == 0
