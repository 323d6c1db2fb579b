"""Card E43: the fees that the venue charges a busy bot agree with our model, and the metrics say so."""

import pytest

from tests.conformance.engine.engine_processes import PATIENCE_S
from tests.support import eventually

pytestmark = pytest.mark.timeout(120)  # a hang, not a budget: each card runs several processes

ORDERS = 10


def metric(bot, name):
    lines = bot.get("/metrics").decode().splitlines()
    return next((float(line.rpartition(" ")[2]) for line in lines if line.startswith(name)), 0.0)


def test_e43_a_busy_bots_fees_agree_with_the_model(make_bot):
    bot = make_bot()
    bot.start_and_wait()
    agree = 'soloist_fee_checks_total{outcome="agree"}'
    eventually(lambda: metric(bot, agree) >= ORDERS, PATIENCE_S, lambda: bot.get("/metrics").decode())
    assert metric(bot, 'soloist_fee_checks_total{outcome="differ"}') == 0
    assert abs(metric(bot, "soloist_fee_model_difference_dollars")) < 0.02 * metric(bot, agree) + 0.02
    assert "feeModelDifference" in bot.status()
    assert bot.terminate() == 0
    assert bot.logged("FeesDiffer") is None
