from __future__ import annotations

from contextlib import closing

import pytest

from tests.unit.soloist_exchange.rest_world import SCENARIO, START_MS, RestWorld

START_S = START_MS // 1000
START = "2023-11-14T22:13:20Z"


@pytest.fixture
def world(tmp_path):
    with closing(RestWorld(tmp_path)) as world:
        yield world


def events(world, **query):
    return [event["event_ticker"] for event in world.get("/events", **query)["events"]]


EVENT = {
    "event_ticker": "EV-A",
    "series_ticker": "SER",
    "sub_title": "",
    "title": "Event A",
    "collateral_return_type": "",
    "mutually_exclusive": True,
    "category": "Weather",
    "last_updated_ts": START,
    "exchange_index": 0,
}


def test_an_event_has_its_markets_beside_it_or_in_it(world):
    body = world.get("/events/EV-A")
    assert body["event"] == EVENT
    assert [market["ticker"] for market in body["markets"]] == ["M1", "M2"]
    nested = world.get("/events/EV-A", with_nested_markets="true")
    assert nested["event"] == EVENT | {"markets": body["markets"]}
    assert nested["markets"] == []
    assert world.refused("GET", "/events/NONE").status == 404


def test_filters_of_events(world):
    assert events(world) == ["EV-A", "EV-B"]
    assert events(world, series_ticker="SER") == ["EV-A", "EV-B"]
    assert events(world, series_ticker="NONE") == []
    assert events(world, tickers="EV-B") == ["EV-B"]
    assert events(world, status="open") == ["EV-A", "EV-B"]
    world.venue.close("M3")
    world.venue.close("M2")
    assert events(world, status="open") == ["EV-A"]  # one open child is enough
    assert events(world, status="closed") == ["EV-A", "EV-B"]
    assert events(world, status="settled") == []
    close_s = START_S + 365 * 86_400
    assert events(world, min_close_ts=close_s - 1) == ["EV-A"]
    assert events(world, min_close_ts=close_s) == []
    assert events(world, min_updated_ts=START_S - 1) == ["EV-A", "EV-B"]
    world.wait(5000)
    world.venue.deactivate("M1")
    assert events(world, min_updated_ts=START_S + 1) == ["EV-A"]


def test_nested_markets_and_milestones_come_when_asked_for(world):
    body = world.get("/events", with_nested_markets="true", with_milestones="true")
    assert [len(event["markets"]) for event in body["events"]] == [2, 1]
    assert body["milestones"] == []
    body = world.get("/events")
    assert "milestones" not in body
    assert "markets" not in body["events"][0]


@pytest.mark.parametrize(
    "query",
    [
        {"limit": 201},
        {"limit": "x"},
        {"status": "paused"},
        {"with_nested_markets": "yes"},
        {"min_close_ts": "x"},
    ],
)
def test_a_bad_query_of_events_names_the_operation(world, query):
    refusal = world.refused("GET", "/events", **query)
    assert (refusal.status, refusal.shape) == (400, "parameter")
    assert refusal.message.startswith("Parameter validation failed for GetEvents: ")


def test_events_come_200_a_page_unless_fewer_are_wanted(tmp_path):
    many = {
        "name": "many",
        "markets": [{"ticker": f"M{number}", "step_ms": 0, "levels": 0} for number in range(203)],
    }
    with closing(RestWorld(tmp_path, many)) as world:
        first = world.get("/events")
        assert len(first["events"]) == 200
        rest = world.get("/events", cursor=first["cursor"])
        assert [event["event_ticker"] for event in rest["events"]] == ["M200", "M201", "M202"]
        assert rest["cursor"] == ""
        assert len(world.get("/events", limit=3)["events"]) == 3
        assert len(world.get("/markets")["markets"]) == 100


def test_a_series_tells_its_fees_as_numbers(world):
    assert world.get("/series/SER") == {
        "series": {
            "ticker": "SER",
            "frequency": "custom",
            "title": "Series",
            "category": "Weather",
            "categories": ["Weather"],
            "tags": ["rain", "wind"],
            "settlement_sources": [],
            "contract_url": "",
            "contract_terms_url": "",
            "additional_prohibitions": [],
            "fee_type": "quadratic",
            "fee_multiplier": 1,
            "last_updated_ts": START,
            "exchange_index": 0,
        }
    }
    assert world.refused("GET", "/series/NONE").status == 404


def test_a_half_multiplier_and_the_volume_that_was_asked_for(tmp_path):
    half = {"kind": "quadratic_with_maker_fees", "multiplier_percent": 50}
    scenario = SCENARIO | {"series": [SCENARIO["series"][0] | {"fee": half}]}
    with closing(RestWorld(tmp_path, scenario)) as world:
        other = world.caller("other")
        for ticker in ("M1", "M2"):
            world.order(caller=other, side="ask", ticker=ticker)
            world.order(ticker=ticker)
        (series,) = world.get("/series", include_volume="true", include_product_metadata="true")["series"]
        assert (series["fee_type"], series["fee_multiplier"]) == ("quadratic_with_maker_fees", 0.5)
        assert series["volume_fp"] == "2.00"
        assert world.get("/series/SER", include_volume="true")["series"]["volume_fp"] == "2.00"
        assert "volume_fp" not in world.get("/series")["series"][0]


def test_filters_of_series(world):
    def shown(**query):
        body = world.get("/series", **query)
        assert set(body) == {"series"}  # no pages
        return [series["ticker"] for series in body["series"]]

    assert shown(category="Weather") == ["SER"]
    assert shown(category="weather") == []
    assert shown(tags="rain") == ["SER"]
    assert shown(tags="snow,wind") == ["SER"]
    assert shown(tags="snow") == []
    assert shown(min_updated_ts=START_S - 1) == ["SER"]
    assert shown(min_updated_ts=START_S) == []
    refusal = world.refused("GET", "/series", include_volume="2")
    assert refusal.message.startswith("Parameter validation failed for GetSeriesList: include_volume")


def test_no_fee_changes_are_scheduled(world):
    assert world.get("/series/fee_changes", show_historical="true") == {"series_fee_change_arr": []}
    assert world.get("/events/fee_changes", limit=10) == {"event_fee_changes": [], "cursor": ""}
    assert world.refused("GET", "/series/fee_changes", show_historical="x").shape == "parameter"
    assert world.refused("GET", "/events/fee_changes", limit=1001).shape == "parameter"
