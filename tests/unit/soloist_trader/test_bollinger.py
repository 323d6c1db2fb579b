from statistics import pstdev

import pytest
from pydantic import ValidationError
from soloist_trader.core.units import ASK, BID, IMMEDIATE_OR_CANCEL
from soloist_trader.strategies.bollinger import Bollinger, BollingerParameters
from soloist_trader.strategies.candles import Bands, Candles

from tests.unit.soloist_trader.strategy_views import NOW_MS, view

CLOSES = (4_900, 5_100, 4_900, 5_100)
"""Mean 0.50, deviation 0.01: bands at 0.48 and 0.52."""


def strategy(**parameters):
    return Bollinger(
        BollingerParameters.model_validate(
            {"candle_seconds": 1, "periods": 4, "minimum_seconds_to_close": 0, **parameters}
        )
    )


def shown(closes=CLOSES, **parameters):
    """A strategy that saw one trade per candle, and the time of the next candle."""
    found = strategy(**parameters)
    found.targets(view(volume=0))
    for number, close in enumerate(closes):
        found.targets(view(now_ms=NOW_MS + number * 1_000, last_price=close, volume=(number + 1) * 100))
    return found


def now(**fields):
    return view(**{"now_ms": NOW_MS + 4_000, "last_price": CLOSES[-1], "volume": 400, **fields})


def test_candles_close_with_the_last_trade_of_their_interval_and_repeat_it_where_nobody_traded():
    candles = Candles(1_000, 4)
    for now_ms, price in ((100, 10), (900, 20), (1_500, 30)):
        candles.trade(now_ms, price)
    assert candles.closes == (20,)
    candles.advance(4_000)
    assert candles.closes == (20, 30, 30, 30)
    candles.advance(1_000_000_000)
    assert candles.closes == (30, 30, 30, 30)
    candles.advance(5)
    assert candles.closes == (30, 30, 30, 30), "time that goes backwards closes nothing"


def test_bands_are_population_deviations_in_integers():
    candles = Candles(1, 5)
    closes = (4_012, 4_170, 3_999, 5_020, 4_400)
    assert candles.bands(200) is None
    for moment, close in enumerate(closes):
        candles.trade(moment, close)
    candles.advance(5)
    assert candles.bands(250) == Bands(sum(closes) // 5, int(2.5 * pstdev(closes)))


def test_waits_until_every_period_has_a_close():
    found = shown(CLOSES[:3])
    assert found.targets(view(now_ms=NOW_MS + 3_000, ask_price=4_000, bid_price=3_900, volume=300)) == []


def test_buys_below_the_lower_band():
    (target,) = shown().targets(now(bid_price=4_700, ask_price=4_800))
    assert target == (BID, "entry", 4_800, 100, IMMEDIATE_OR_CANCEL, False)


def test_sells_above_the_upper_band():
    (target,) = shown().targets(now(bid_price=5_200, ask_price=5_300))
    assert target == (ASK, "entry", 5_200, 100, IMMEDIATE_OR_CANCEL, False)


@pytest.mark.parametrize(
    ("parameters", "fields"),
    [
        ({}, {"ask_price": 4_900}),
        ({"sides": "no"}, {}),
        ({"minimum_band_dollars": "0.03"}, {}),
        ({"maximum_spread_dollars": "0.0099"}, {}),
        ({"minimum_liquidity_contracts": "5.01"}, {}),
        ({"minimum_seconds_to_close": 61}, {"close_time_ms": NOW_MS + 64_000}),
        ({}, {"bid_price": 0}),
    ],
)
def test_each_filter_keeps_it_out_and_alone(parameters, fields):
    assert shown(**parameters).targets(now(**{"bid_price": 4_700, "ask_price": 4_800, **fields})) == []


def test_a_cool_down_follows_an_entry():
    found = shown(cooldown_seconds=2)
    found.entered("M", NOW_MS + 2_001)
    assert found.targets(now(bid_price=4_700, ask_price=4_800)) == []
    found.entered("M", NOW_MS + 2_000)
    assert found.targets(now(bid_price=4_700, ask_price=4_800))


@pytest.mark.parametrize(
    ("position", "fields", "leaves"),
    [
        (100, {"bid_price": 4_900}, False),
        (100, {"bid_price": 5_000}, True),
        (100, {"bid_price": 4_300}, True),
        (100, {"bid_price": 4_301}, False),
        (100, {"bid_price": 4_900, "opened_ms": NOW_MS - 596_000}, True),
        (100, {"bid_price": 0}, False),
        (-100, {"ask_price": 5_100}, False),
        (-100, {"ask_price": 5_000}, True),
        (-100, {"ask_price": 5_300}, True),
    ],
)
def test_leaves_at_the_mean_by_a_stop_or_by_time(position, fields, leaves):
    held = {"position": position, "average_price": 4_800, "opened_ms": NOW_MS, **fields}
    targets = shown().targets(now(**held))
    best = held.get("bid_price" if position > 0 else "ask_price")
    expected = [(-1 if position > 0 else 1, "exit", best, 100, IMMEDIATE_OR_CANCEL, False)]
    assert targets == (expected if leaves else [])


def test_after_a_restart_it_still_leaves_by_time():
    held = view(position=100, average_price=4_800, opened_ms=NOW_MS - 600_000)
    assert strategy().targets(held)[0].side == ASK


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"order_contracts": "0"}, "nothing would ever be bought"),
        ({"periods": 1}, "greater than or equal to 2"),
        ({"candle_seconds": 0}, "greater than or equal to 0.1"),
    ],
)
def test_bad_parameters_are_refused_with_a_reason(parameters, message):
    with pytest.raises(ValidationError, match=message):
        BollingerParameters.model_validate(parameters)
