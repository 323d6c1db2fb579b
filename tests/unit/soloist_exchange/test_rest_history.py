from __future__ import annotations

from contextlib import closing

import pytest

from tests.unit.soloist_exchange.rest_world import ORDERS, SCENARIO, START_MS, RestWorld

DAY_MS = 86_400_000
LATER_MS = 100 * DAY_MS


@pytest.fixture
def world(tmp_path):
    """A market that was traded in and settled a hundred days ago, an order that still rests, and one that ended."""
    with closing(RestWorld(tmp_path)) as world:
        world.other = world.caller("other")
        world.order(caller=world.other, side="ask", ticker="M1", count="2.00")
        world.taken = world.order(ticker="M1", count="2.00")["order_id"]
        world.resting = world.order(ticker="M2", price="0.10")["order_id"]
        gone = world.order(ticker="M2", price="0.11")["order_id"]
        world.call("DELETE", f"{ORDERS}/{gone}")
        world.gone = gone
        world.venue.close("M1")
        world.venue.determine("M1", "yes")
        world.venue.settle("M1")
        world.exchange.commit()
        yield world


def orders(world, path="/portfolio/orders", **query):
    return [order["order_id"] for order in world.get(path, **query)["orders"]]


def test_the_cutoff_is_the_beginning_of_the_day_three_months_back(world):
    body = world.get("/historical/cutoff")
    assert set(body) == {
        "market_settled_ts",
        "trades_created_ts",
        "orders_updated_ts",
        "market_positions_last_updated_ts",
    }
    assert set(body.values()) == {"2023-08-16T00:00:00Z"}
    world.wait(DAY_MS)
    assert set(world.get("/historical/cutoff").values()) == {"2023-08-17T00:00:00Z"}


def test_nothing_is_in_both_places_before_and_after_the_cutoff(world):
    def everything():
        return {
            "markets": [
                [market["ticker"] for market in world.get(path)["markets"]]
                for path in ("/markets", "/historical/markets")
            ],
            "trades": [
                [row["ticker"] for row in world.get(path)["trades"]]
                for path in ("/markets/trades", "/historical/trades")
            ],
            "fills": [
                [fill["order_id"] for fill in world.get(path)["fills"]]
                for path in ("/portfolio/fills", "/historical/fills")
            ],
            "orders": [orders(world), orders(world, "/historical/orders")],
        }

    assert everything() == {
        "markets": [["M1", "M2", "M3"], []],
        "trades": [["M1"], []],
        "fills": [[world.taken], []],
        "orders": [[world.gone, world.resting, world.taken], []],
    }
    world.wait(LATER_MS)
    assert everything() == {
        "markets": [["M2", "M3"], ["M1"]],
        "trades": [[], ["M1"]],
        "fills": [[], [world.taken]],
        "orders": [[world.resting], [world.gone, world.taken]],
    }


def test_a_switch_makes_the_live_window_short(world):
    world.switch(live_window_ms=5_000)
    world.wait(5_000 - world.clock.now_ms % 5_000)
    assert orders(world, "/historical/orders") == []
    world.wait(5_000)
    assert orders(world) == [world.resting]
    assert orders(world, "/historical/orders") == [world.gone, world.taken]
    world.switch(live_window_ms=0)
    world.wait(1)
    assert orders(world, "/historical/orders") == [world.gone, world.taken]


def test_historical_fills_and_orders_are_read_from_a_time_on(world):
    world.wait(LATER_MS)
    first_s = START_MS // 1000
    assert [row["order_id"] for row in world.get("/historical/fills", min_ts=first_s)["fills"]] == [
        world.taken
    ]
    assert world.get("/historical/fills", min_ts=first_s + 60)["fills"] == []
    assert orders(world, "/historical/orders", min_ts=first_s) == [world.gone, world.taken]
    assert orders(world, "/historical/orders", min_ts=first_s + 60) == []


def test_single_reads_follow_the_cutoff(world):
    world.wait(LATER_MS)
    assert world.refused("GET", "/markets/M1").status == 404
    assert world.get("/historical/markets/M1")["market"]["result"] == "yes"
    assert world.refused("GET", "/historical/markets/M2").status == 404
    assert world.refused("GET", "/historical/markets/NONE").status == 404
    assert world.refused("GET", f"/portfolio/orders/{world.taken}").status == 404
    assert world.get(f"/portfolio/orders/{world.resting}")["order"]["status"] == "resting"


def test_an_event_stays_without_the_markets_that_are_history(world):
    world.wait(LATER_MS)
    body = world.get("/events/EV-A")
    assert [market["ticker"] for market in body["markets"]] == ["M2"]
    nested = world.get("/events", with_nested_markets="true", tickers="EV-A")["events"]
    assert [[market["ticker"] for market in event["markets"]] for event in nested] == [["M2"]]


def test_positions_become_history_with_their_whole_event(world):
    def shown(path):
        return [row["ticker"] for row in world.get(path)["market_positions"]]

    world.wait(LATER_MS)
    assert (shown("/portfolio/positions"), shown("/historical/positions")) == (["M1"], [])
    world.venue.close("M2")
    world.venue.determine("M2", "no")
    world.venue.settle("M2")
    world.wait(LATER_MS)
    assert (shown("/portfolio/positions"), shown("/historical/positions")) == ([], ["M1"])
    body = world.get("/historical/positions", ticker="M1")
    assert body["event_positions"][0]["event_ticker"] == "EV-A"
    assert body["market_positions"][0]["position_fp"] == "0.00"


def test_settlements_stay_where_they_are(world):
    world.wait(LATER_MS)
    assert [row["ticker"] for row in world.get("/portfolio/settlements")["settlements"]] == ["M1"]


def test_old_candles_have_names_without_a_suffix(world):
    query = {
        "start_ts": START_MS // 1000 - 3600,
        "end_ts": START_MS // 1000 + 3600,
        "period_interval": 60,
    }
    assert world.refused("GET", "/historical/markets/M1/candlesticks", **query).status == 404
    world.wait(LATER_MS)
    body = world.get("/historical/markets/M1/candlesticks", **query)
    assert body["ticker"] == "M1"
    (candle,) = body["candlesticks"]
    assert set(candle) == {"end_period_ts", "yes_bid", "yes_ask", "price", "volume", "open_interest"}
    assert set(candle["yes_bid"]) == {"open", "low", "high", "close"}
    assert candle["price"] == {
        "open": "0.4000",
        "low": "0.4000",
        "high": "0.4000",
        "close": "0.4000",
        "mean": "0.4000",
        "previous": None,
    }
    assert candle["volume"] == "2.00"
    refusal = world.refused("GET", "/historical/markets/M1/candlesticks", **query | {"period_interval": 7})
    assert refusal.message.startswith("Parameter validation failed for GetMarketCandlesticksHistorical: ")


def test_filters_of_history(world):
    world.wait(LATER_MS)
    assert world.get("/historical/markets", tickers="M1,M2")["markets"][0]["ticker"] == "M1"
    assert world.get("/historical/markets", event_ticker="EV-B")["markets"] == []
    assert len(world.get("/historical/markets", series_ticker="SER", mve_filter="exclude")["markets"]) == 1
    assert world.get("/historical/trades", ticker="M2")["trades"] == []
    assert world.get("/historical/trades", max_ts=START_MS // 1000 - 1)["trades"] == []
    assert world.get("/historical/fills", max_ts=START_MS // 1000 - 1)["fills"] == []
    assert orders(world, "/historical/orders", ticker="M2") == [world.gone]
    for path, query, operation in (
        ("/historical/markets", {"tickers": "M1", "event_ticker": "EV-A"}, "GetHistoricalMarkets"),
        ("/historical/markets", {"mve_filter": "only"}, "GetHistoricalMarkets"),
        ("/historical/trades", {"limit": 1001}, "GetTradesHistorical"),
        ("/historical/fills", {"limit": 1001}, "GetFillsHistorical"),
        ("/historical/orders", {"limit": 1001}, "GetHistoricalOrders"),
        ("/historical/positions", {"limit": 1001}, "GetHistoricalPositions"),
    ):
        refusal = world.refused("GET", path, **query)
        assert refusal.message.startswith(f"Parameter validation failed for {operation}: ")


def test_a_page_is_full_although_rows_in_between_belong_elsewhere(tmp_path):
    with closing(RestWorld(tmp_path, SCENARIO)) as world:
        kept = []
        for number in range(12):
            made = world.order(price="0.10")["order_id"]
            if number % 4:
                world.call("DELETE", f"{ORDERS}/{made}")
            else:
                kept.insert(0, made)
        world.wait(LATER_MS)
        first = world.get("/portfolio/orders", limit=2)
        assert [order["order_id"] for order in first["orders"]] == kept[:2]
        second = world.get("/portfolio/orders", limit=2, cursor=first["cursor"])
        assert [order["order_id"] for order in second["orders"]] == kept[2:]
        assert second["cursor"] == ""
        assert len(orders(world, "/historical/orders")) == 9
