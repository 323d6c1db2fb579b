import json
from dataclasses import dataclass

import pytest
from click.testing import CliRunner
from pydantic import ValidationError
from soloist_trader.cli import main
from soloist_trader.strategies.discovery import DiscoverRule, discover

NOW_MS = 1_800_000_000_000
CLOSE = "2027-01-15T08:10:00Z"
"""600 s after NOW_MS."""


@dataclass(frozen=True)
class Market:
    ticker: str
    event_ticker: str = "RAIN-27JAN15"
    status: str = "active"
    volume_fp: str = "100.00"
    close_time: str = CLOSE


def found(markets, **rule):
    return discover(markets, [DiscoverRule.model_validate({"series": "RAIN", **rule})], NOW_MS)


def test_a_fitting_market_is_found():
    assert found([Market("A")], minimum_seconds_to_close=600, maximum_seconds_to_close=600) == ("A",)


@pytest.mark.parametrize(
    ("changed", "rule"),
    [
        ({"event_ticker": "RAINBOW-27JAN15"}, {}),
        ({"status": "inactive"}, {}),
        ({}, {"minimum_volume_contracts": "100.01"}),
        ({}, {"minimum_seconds_to_close": 601}),
        ({}, {"maximum_seconds_to_close": 599}),
    ],
)
def test_each_condition_leaves_it_out_alone(changed, rule):
    assert found([Market("A", **changed)], **rule) == ()


def test_those_with_most_volume_come_first_whatever_the_listing_says():
    listed = [Market("C"), Market("A"), Market("B", volume_fp="1000.00")]
    assert found(listed) == found(listed[::-1]) == ("B", "A", "C")
    assert found(listed, maximum_markets=2) == ("B", "A")


def test_rules_follow_each_other_and_name_a_market_once():
    listed = [Market("A"), Market("S", event_ticker="SNOW", volume_fp="5.00")]
    rules = [DiscoverRule(series="SNOW"), DiscoverRule(series="RAIN"), DiscoverRule(series="SNOW")]
    assert discover(listed, rules, NOW_MS) == ("S", "A")


def test_a_window_that_nothing_fits_is_refused():
    with pytest.raises(ValidationError, match="nothing can close between"):
        DiscoverRule(series="RAIN", minimum_seconds_to_close=60, maximum_seconds_to_close=59)


def test_the_command_lists_every_strategy_with_its_parameters():
    text = CliRunner().invoke(main, ["strategies"]).output
    schemas = json.loads(CliRunner().invoke(main, ["strategies", "--json"]).output)
    assert sorted(schemas) == ["bollinger", "market_maker", "threshold"]
    for name, schema in schemas.items():
        assert name in text
        for parameter, described in schema["properties"].items():
            assert parameter in text
            assert described["description"] in text
