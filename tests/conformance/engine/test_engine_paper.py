"""Card E31: every shipped strategy in mode Paper on the real exchange's public data: fills, no order at the venue."""

import pytest
import yaml

from tests.conformance.engine.engine_processes import PATIENCE_S
from tests.support import eventually

pytestmark = pytest.mark.timeout(120)  # a hang, not a budget: each card runs several processes


STRATEGIES = {
    "threshold": {
        "minimum_probability": "0.05", "maximum_probability": "0.95", "maximum_spread_dollars": "0.10",
        "maximum_hold_seconds": 1, "cooldown_seconds": 0.1, "minimum_seconds_to_close": 0,
    },
    "market_maker": {
        "half_spread_dollars": "0.01", "requote_dollars": "0.01", "minimum_probability": "0.02",
        "maximum_probability": "0.98", "minimum_seconds_to_close": 0, "levels": 2,
    },
    "bollinger": {
        "candle_seconds": 0.2, "periods": 4, "deviations": 0.1, "minimum_band_dollars": "0", "maximum_spread_dollars": "0.10",
        "minimum_seconds_to_close": 0, "maximum_hold_seconds": 1, "cooldown_seconds": 0.1,
    },
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(STRATEGIES))
def test_e31_a_strategy_trades_on_paper(make_bot, name):
    bot = make_bot()
    bot.write_config({}, mode="Paper")
    document = yaml.safe_load(bot.config.read_text())
    document["strategy"] = {"name": name, "parameters": STRATEGIES[name]}
    document["markets"]["tickers"].append("SIM-NOWHERE")
    bot.config.write_text(yaml.safe_dump(document))
    bot.start_and_wait()
    fills = eventually(
        lambda: bot.status()["fills"],
        PATIENCE_S,
        lambda: f"no fill on paper:\n{bot.log_file.read_text()[-3000:]}",
    )
    assert fills[0]["market"] in document["markets"]["tickers"]
    assert bot.exchange.accepted(bot.account.name) == []
    unknown = [line for line in bot.log() if line["event"] == "UnknownMarkets"]
    assert len(unknown) == 1
    assert bot.terminate() == 0
