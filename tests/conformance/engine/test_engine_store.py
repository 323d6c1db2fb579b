"""Cards E44 and E45: the store follows the journal beside a real engine, and whatever becomes of it, trading goes on."""

import json
import os
import signal
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.conformance.engine.engine_processes import BIN, PATIENCE_S
from tests.support import eventually

pytestmark = pytest.mark.timeout(120)  # a hang, not a budget: each card runs several processes


def configure(bot, **store):
    document = yaml.safe_load(bot.config.read_text())
    document["store"] = {"follow": True, "poll_seconds": 0.1, **store}
    bot.config.write_text(yaml.safe_dump(document))


def store(bot, *arguments):
    done = subprocess.run(
        [BIN / "soloist-trader", "store", *arguments, "--state-dir", bot.state, "--json"],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    return json.loads(done.stdout) if done.stdout else []


def is_alive(process_id):
    try:
        shown = Path(f"/proc/{process_id}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return shown.rpartition(")")[2].split()[0] != "Z"


def gone(process_id):
    eventually(lambda: not is_alive(process_id), PATIENCE_S, f"process {process_id} lives on")


def accepted(bot):
    return len(bot.exchange.accepted(bot.account.name))


def test_e44_the_store_follows_is_begun_again_and_ends_with_the_engine(make_bot):
    bot = make_bot()
    configure(bot)
    bot.start_and_wait()
    first = bot.status_when(lambda status: status["store"]["running"])["store"]["processId"]
    eventually(lambda: store(bot, "query", "recent-trades"), PATIENCE_S, lambda: str(bot.status()["store"]))
    assert os.getpriority(os.PRIO_PROCESS, first) == 19

    os.kill(first, signal.SIGKILL)
    before = accepted(bot)
    again = bot.status_when(lambda status: status["store"]["running"] and status["store"]["failures"] == 1)
    second = again["store"]["processId"]
    assert second != first
    eventually(lambda: accepted(bot) > before, PATIENCE_S, "trading stopped")
    assert "exit code -9" in bot.wait_logged("StoreFollowerEnded")["message"]
    assert 'soloist_store_failures_total{kind="ended"} 1.0' in bot.get("/metrics").decode()

    bot.ctl("halt", "--reason", "quiet: an orphan that has nothing to say is not ended by saying it")
    bot.status_when(lambda status: not status["unsettledOrders"])
    eventually(lambda: store(bot, "check")["behind"] == 0, PATIENCE_S, lambda: str(bot.status()["store"]))
    bot.kill()
    gone(second)
    bot.start_and_wait()
    third = bot.status_when(lambda status: status["store"]["running"])["store"]["processId"]
    assert bot.terminate() == 0
    gone(third)
    assert bot.judge() == []
    store(bot, "follow", "--once")
    checked = store(bot, "check")
    assert (checked["behind"], checked["differences"]) == (0, [])


def test_e45_a_store_that_cannot_be_reached_is_a_word_and_no_harm(make_bot):
    bot = make_bot()
    configure(bot, url="postgresql://nobody@127.0.0.1:1/none")
    bot.start_and_wait()
    status = bot.status_when(lambda status: status["store"]["failures"] >= 2)
    assert "127.0.0.1" in status["store"]["problem"]
    assert status["reason"] == "Trading"
    before = accepted(bot)
    eventually(lambda: accepted(bot) > before, PATIENCE_S, "trading stopped")
    assert bot.terminate() == 0
    assert bot.judge() == []
