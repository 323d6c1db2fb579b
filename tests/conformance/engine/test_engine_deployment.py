"""Card E51: what runs is shown and journaled, and a start of something else than what was approved changes nothing."""

import hashlib
import json

import pytest
from soloist_trader.core.records import Deployed, Started
from soloist_trader.journal.reader import Tail, read_journal

pytestmark = pytest.mark.timeout(120)  # a hang, not a budget: the card runs several processes
EXIT_CONFIGURATION = 2
APPROVED = "SOLOIST_APPROVED_CONFIGURATION_SHA256"


def recorded(bot):
    kinds = (Started, Deployed)
    return [one for _, _, batch in read_journal(bot.state, Tail()) for one in batch if isinstance(one, kinds)]


def test_e51_a_changed_configuration_is_refused_before_anything_is_connected_or_written(
    make_bot, monkeypatch
):
    bot = make_bot()
    approved = hashlib.sha256(bot.config.read_bytes()).hexdigest()
    monkeypatch.setenv("SOLOIST_IMAGE", "registry/trader@sha256:1")
    monkeypatch.setenv(APPROVED, approved)
    bot.start_and_wait()
    shown = bot.status()["deployment"]
    assert (shown["image"], shown["configurationSha256"]) == ("registry/trader@sha256:1", approved)
    said = bot.logged("Starting")["deployment"]
    assert said == {
        "image": shown["image"], "configuration_sha256": approved, "strategy_sha256": shown["strategySha256"],
    }  # fmt: skip
    assert f'configuration_sha256="{approved}"' in bot.get("/metrics").decode()
    bot.kill()

    before = {file: file.read_bytes() for file in bot.state.glob("journal-*")}
    bot.config.write_text(bot.config.read_text().replace("max_open_orders: 20", "max_open_orders: 2000"))
    bot.start()
    assert bot.wait_exit() == EXIT_CONFIGURATION
    (refused,) = bot.log()
    assert refused["event"] == "NotApproved", json.dumps(refused)
    changed = hashlib.sha256(bot.config.read_bytes()).hexdigest()
    assert all(word in refused["message"] for word in (APPROVED, approved, changed))
    assert {file: file.read_bytes() for file in bot.state.glob("journal-*")} == before

    monkeypatch.setenv(APPROVED, changed)
    bot.start_and_wait()
    assert bot.terminate() == 0
    found = recorded(bot)
    assert [type(one) for one in found] == [Started, Deployed] * 2
    assert [one.configuration_sha256 for one in found[1::2]] == [approved, changed]
    assert bot.judge() == []
