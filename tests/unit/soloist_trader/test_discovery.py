import json
from dataclasses import dataclass

import pytest
from click.testing import CliRunner
from pydantic import ValidationError
from soloist_trader.cli import main
from soloist_trader.strategies.discovery import MarketFilters, judge

NOW_MS = 1_800_000_000_000
CLOSE = "2027-01-15T08:10:00Z"
"""600 s after NOW_MS."""


@dataclass(frozen=True)
class Market:
    ticker: str
    volume_fp: str = "100.00"
    close_time: str = CLOSE
    yes_bid_dollars: str = "0.4000"
    yes_ask_dollars: str = "0.4500"
    yes_bid_size_fp: str = "20.00"
    yes_ask_size_fp: str = "30.00"


def judged(markets, following=(), **filters):
    return judge(markets, MarketFilters.model_validate(filters), following, NOW_MS)


def chosen(markets, following=(), **filters):
    return [verdict.ticker for verdict in judged(markets, following, **filters) if not verdict.rule]


FITTING = {
    "min_volume": "100.00", "max_spread": "0.05", "min_liquidity": "20.00",
    "min_seconds_to_close": 600, "max_seconds_to_close": 600,
}  # fmt: skip


def test_a_market_at_every_bound_is_chosen_and_says_what_it_is():
    (verdict,) = judged([Market("A")], **FITTING)
    assert verdict.rule == ""
    assert verdict.why == "volume 100.00, bid 0.4000, ask 0.4500, closes in 600 s"


@pytest.mark.parametrize(
    ("changed", "rule", "why"),
    [
        ({"volume_fp": "99.99"}, "minVolume", "volume 99.99 is below 100.00"),
        ({"yes_ask_dollars": "0.4501"}, "maxSpread", "spread 0.0501 is above 0.0500"),
        ({"yes_bid_dollars": "0.0000"}, "maxSpread", "one side of its book is empty"),
        ({"yes_ask_dollars": "1.0000"}, "maxSpread", "one side of its book is empty"),
        ({"yes_bid_size_fp": "19.99"}, "minLiquidity", "19.99 contracts at the best price of a side"),
        ({"yes_ask_size_fp": "19.99"}, "minLiquidity", "below 20.00"),
        ({"close_time": "2027-01-15T08:09:59Z"}, "minSecondsToClose", "closes in 599 s, before 600 s"),
        ({"close_time": "2027-01-15T08:10:01Z"}, "maxSecondsToClose", "closes in 601 s, after 600 s"),
    ],
)
def test_each_filter_leaves_a_market_out_alone_and_says_why(changed, rule, why):
    (verdict,) = judged([Market("A", **changed)], **FITTING)
    assert verdict.rule == rule
    assert why in verdict.why


def test_those_with_most_volume_come_first_whatever_the_listing_says():
    listed = [Market("C"), Market("A"), Market("B", volume_fp="1000.00")]
    assert chosen(listed) == chosen(listed[::-1]) == ["B", "A", "C"]
    assert chosen(listed, max_markets=2) == ["B", "A"]
    assert judged(listed, max_markets=2)[-1].rule == "maxMarkets"


def test_a_market_that_is_followed_keeps_its_place_whatever_the_filters_say_now():
    listed = [Market("B", volume_fp="1000.00"), Market("A", volume_fp="1.00")]
    assert chosen(listed, {"A"}, min_volume="50.00", max_markets=1) == ["A"]
    assert chosen(listed, {"A", "PAUSED"}, max_markets=2) == ["A"], (
        "one that is not listed has its place, too"
    )


def test_a_window_that_nothing_fits_is_refused():
    with pytest.raises(ValidationError, match="no market can close between"):
        MarketFilters(min_seconds_to_close=60, max_seconds_to_close=59)


def test_the_command_describes_every_filter():
    text = CliRunner().invoke(main, ["strategies", "--filters"]).output
    schema = json.loads(CliRunner().invoke(main, ["strategies", "--filters", "--json"]).output)
    assert {"minVolume", "maxSpread", "minLiquidity"} <= schema["properties"].keys()
    for name, described in schema["properties"].items():
        assert name in text
        assert described["description"] in text


def test_the_command_lists_every_strategy_with_its_parameters():
    text = CliRunner().invoke(main, ["strategies"]).output
    schemas = json.loads(CliRunner().invoke(main, ["strategies", "--json"]).output)
    assert sorted(schemas) == ["bollinger", "market_maker", "threshold"]
    for name, schema in schemas.items():
        assert name in text
        for parameter, described in schema["properties"].items():
            assert parameter in text
            assert described["description"] in text
