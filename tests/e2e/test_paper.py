"""Paper needs no account and no key: real market data, fills simulated, nothing sent."""

from __future__ import annotations

import pytest

from tests.e2e.scene import Bot
from tests.support import eventually

NAMESPACE = "e2e-paper"


@pytest.mark.timeout(180)
def test_a_paper_bot_trades_without_a_key(bot: Bot) -> None:
    bot.name = "paper"
    bot.prepare("paper.yaml", with_account=False)
    bot.apply()
    bot.wait_ready(60)
    assert bot.kubectl("get", "tradingbots").splitlines()[1].split()[1:4] == ["True", "Paper", "Running"]
    eventually(lambda: bot.engine_status()["fills"], 60, bot.story)
    assert bot.kubectl("get", "secrets", "-o", "name").strip() == ""
