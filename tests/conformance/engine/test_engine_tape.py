"""Card E30: the real engine process against the real exchange, recorded; the command finds its tape and journal to agree."""

import json
import subprocess

import pytest
import yaml
from soloist_trader.core import events
from soloist_trader.tape import TapeReader
from soloist_trader.tape.reader import Recorded

from tests.conformance.engine.engine_processes import BIN, PATIENCE_S
from tests.support import eventually

pytestmark = pytest.mark.timeout(120)  # a hang, not a budget: each card runs several processes


ORDERS = 30


def replay(bot, *arguments):
    done = subprocess.run(
        [BIN / "soloist-trader", "replay", bot.state / "tape", "--json", *arguments],
        capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip
    assert done.returncode in {0, 1}, done.stderr
    return done.returncode, json.loads(done.stdout)


@pytest.mark.timeout(90)  # a third of it on a busy machine
def test_e30_a_recorded_run_replays_to_the_same_decisions_and_the_journal_agrees(make_bot, tmp_path):
    bot = make_bot()
    document = yaml.safe_load(bot.config.read_text())
    bot.config.write_text(yaml.safe_dump({**document, "recording": {"tape": True}}))
    bot.start_and_wait()
    eventually(lambda: len(bot.exchange.accepted(bot.account.name)) >= ORDERS, PATIENCE_S, "too few orders")
    bot.ctl("reconcile", "--reason", "its audit is a fact that the edge puts into the ledger itself")
    tape = bot.status()["tape"]
    assert (tape["gaps"], tape["failed"]) == (0, "")
    assert bot.terminate() == 0
    first = next(item for item in TapeReader(bot.state / "tape") if isinstance(item, Recorded))
    assert (first.event_seq, type(first.event)) == (1, events.Began), (
        "nothing enters the core before it is on the tape"
    )
    code, facts = replay(bot, "--compare", bot.state)
    assert (code, facts["identical"], facts["notCompared"]) == (0, True, []), facts
    assert facts["events"] == facts["eventsCompared"] > ORDERS
    assert facts["decisionsCompared"] > ORDERS
    frames = facts["frames"]
    assert frames["frames"] >= frames["batches"] > ORDERS
    assert frames["eventsCompared"] > ORDERS
    assert (frames["gaps"], frames["connectionsEnded"]) == (0, 0), frames
    assert facts["journal"]["difference"] == ""
    assert facts["journal"]["compared"] > ORDERS

    other = tmp_path / "other.yaml"
    other.write_text(yaml.safe_dump({"order_contracts": "2.00"}))
    code, facts = replay(bot, "--parameters", other)
    assert (code, facts["identical"]) == (1, False)
    assert "Intended" in facts["firstDifference"]["recorded"]
