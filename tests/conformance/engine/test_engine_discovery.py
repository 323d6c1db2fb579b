"""Cards E40 to E42 and E46: a bot that names a series follows what its filters choose, while markets come and go."""

import json
import subprocess

import pytest
import yaml

from tests.conformance.engine.engine_processes import BIN, PATIENCE_S, Bot, serving
from tests.support import eventually

pytestmark = pytest.mark.timeout(120)  # a hang, not a budget: each card runs several processes

MARKETS = [
    {"ticker": "DISC-ONE", "spread_ticks": 1},
    {"ticker": "DISC-TWO", "spread_ticks": 1},
    {"ticker": "DISC-WIDE", "spread_ticks": 20},
    {"ticker": "DISC-LATE", "spread_ticks": 1, "status": "initialized", "open_at_ms": 3_600_000},
    {"ticker": "ALONE-ONE", "spread_ticks": 1, "status": "initialized", "open_at_ms": 3_600_000},
    {"ticker": "OTHER-ONE", "spread_ticks": 1},
]
NAMED = ["DISC-LATE", "DISC-ONE", "DISC-TWO"]
HOLDS = {"maximum_hold_seconds": 3_600, "take_profit_dollars": None, "stop_loss_dollars": None}
"""Buy once, and never sell: only a settlement ends a position."""


@pytest.fixture
def exchange(tmp_path):
    scenario = tmp_path / "scenario.yaml"
    scenario.write_text(yaml.safe_dump({"name": "disc", "description": "one series", "markets": MARKETS}))
    with serving(tmp_path, str(scenario)) as exchange:
        yield exchange


@pytest.fixture
def make_bot(exchange, tmp_path):
    bots = []

    def make(*, mode="Live", filters=None, **parameters):
        account = exchange.account(f"disc-{len(bots)}")
        directory = tmp_path / account.name
        directory.mkdir()
        bot = Bot(directory, exchange, account, **parameters)
        bots.append(bot)
        bot.write_config({"minimum_seconds_to_close": 0, **parameters}, mode)
        configure(bot, filters or {"max_spread": "0.05"})
        return bot

    yield make
    for bot in bots:
        bot.close()


def configure(bot, filters, **markets):
    document = yaml.safe_load(bot.config.read_text())
    document["markets"] = {"series": ["DISC"], "filters": filters, "look_every_seconds": 1, **markets}
    document["recording"] = {"tape": True}
    bot.config.write_text(yaml.safe_dump(document))


def followed(status):
    return sorted(status["discovery"]["chosen"])


def held(status):
    return {row["market"] for row in status["positions"] if float(row["count"])}


def test_e40_markets_come_stay_while_held_and_leave_and_the_tape_knows_all_of_it(make_bot, exchange):
    bot = make_bot(**HOLDS)
    bot.start_and_wait()
    first = bot.status()
    assert followed(first) == ["DISC-ONE", "DISC-TWO"]
    assert first["discovery"]["leftOut"] == {"maxSpread": 1}
    assert "DISC-WIDE" in first["discovery"]["leftOutWhy"]
    bot.status_when(lambda status: held(status) == {"DISC-ONE", "DISC-TWO"})

    exchange.admin("markets/DISC-LATE/activate", {})
    bot.status_when(lambda status: held(status) == set(NAMED))
    assert bot.logged("WebSocketClosed") is None, "the others were left alone"

    exchange.admin("markets/DISC-TWO/close", {})
    closed = bot.status_when(
        lambda status: status["discovery"]["chosen"].get("DISC-TWO", "") == "holds a position or an order"
    )
    assert "DISC-TWO" in held(closed)
    exchange.admin("markets/DISC-TWO/determine", {"result": "yes"})
    exchange.admin("markets/DISC-TWO/settle", {})
    bot.ctl("reconcile", "--reason", "the settlement")
    gone = bot.status_when(lambda status: followed(status) == ["DISC-LATE", "DISC-ONE"])
    assert "DISC-TWO" not in [row["market"] for row in gone["markets"]]
    assert bot.terminate() == 0
    assert {row["ticker"] for row in exchange.events(bot.account.name) if row["kind"] == "accepted"} == set(
        NAMED
    )
    assert bot.judge() == []

    done = subprocess.run(
        [BIN / "soloist-trader", "replay", bot.state / "tape", "--json", "--compare", bot.state],
        capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip
    facts = json.loads(done.stdout)
    assert (done.returncode, facts["identical"], facts["notCompared"]) == (0, True, []), facts


def test_e41_a_restart_follows_what_it_holds_although_no_filter_would_choose_it_now(make_bot):
    bot = make_bot(**HOLDS)
    bot.start_and_wait()
    bot.status_when(lambda status: held(status) == {"DISC-ONE", "DISC-TWO"})
    bot.kill()
    configure(bot, {"min_volume": "100000000.00"})
    bot.start_and_wait()
    status = bot.status()
    assert followed(status) == ["DISC-ONE", "DISC-TWO"]
    assert set(status["discovery"]["chosen"].values()) == {"holds a position or an order"}
    assert bot.terminate() == 0
    assert bot.judge() == []


def test_e46_a_live_bot_waits_for_its_first_market_and_outlives_its_last(make_bot, exchange):
    bot = make_bot(maximum_hold_seconds=1)
    configure(bot, {"max_spread": "0.05"}, series=["ALONE"])
    bot.start_and_wait()
    bot.status_when(lambda status: (status["reason"], status["ready"]) == ("NoMarkets", False))
    exchange.admin("markets/ALONE-ONE/activate", {})
    bot.status_when(lambda status: status["ready"] and status["fills"])
    exchange.admin("markets/ALONE-ONE/close", {})
    exchange.admin("markets/ALONE-ONE/determine", {"result": "no"})
    exchange.admin("markets/ALONE-ONE/settle", {})
    bot.ctl("reconcile", "--reason", "the settlement")
    status = bot.status_when(lambda status: status["reason"] == "NoMarkets" and status["venue"]["connected"])
    assert (status["ready"], status["discovery"]["chosen"]) == (False, {})
    assert bot.terminate() == 0
    assert bot.judge() == []


def test_e42_on_paper_the_same_choice_and_a_word_when_nothing_fits(make_bot, exchange):
    bot = make_bot(mode="Paper", filters={"min_volume": "100000000.00"}, maximum_hold_seconds=1)
    bot.start_and_wait()
    status = bot.status_when(lambda status: status["reason"] == "NoMarkets")
    assert "3 left out by minVolume" in status["message"]
    assert (status["ready"], status["markets"]) == (False, [])
    assert bot.terminate() == 0

    configure(bot, {"max_spread": "0.05"}, tickers=["OTHER-ONE"])
    bot.start_and_wait()
    bot.status_when(lambda status: followed(status) == ["DISC-ONE", "DISC-TWO"])
    exchange.admin("markets/DISC-LATE/activate", {})
    fills = eventually(
        lambda: {row["market"] for row in bot.status()["fills"]} >= {*NAMED, "OTHER-ONE"},
        PATIENCE_S,
        lambda: json.dumps(bot.status()["markets"], indent=1),
    )
    assert fills
    exchange.admin("markets/DISC-LATE/close", {})
    assert bot.terminate() == 0
