from __future__ import annotations

from contextlib import closing

import pytest

from tests.unit.soloist_exchange.rest_world import START_MS, RestWorld

START_S = START_MS // 1000
START = "2023-11-14T22:13:20Z"


@pytest.fixture
def world(tmp_path):
    with closing(RestWorld(tmp_path)) as world:
        yield world


def tickers(world, **query):
    return [market["ticker"] for market in world.get("/markets", **query)["markets"]]


def trade(world, count="1.00", price="0.40", ticker="M1", taker="bid"):
    maker = "ask" if taker == "bid" else "bid"
    if not hasattr(world, "other"):
        world.other = world.caller("other")
    world.order(caller=world.other, side=maker, count=count, price=price, ticker=ticker)
    world.order(side=taker, count=count, price=price, ticker=ticker)


# ---------------------------------------------------------------------- one market


def test_a_market_has_every_required_field(world):
    trade(world, "2.00", "0.42")
    world.order(price="0.40", count="3.00")
    world.order(side="ask", price="0.45", count="1.50")
    assert world.get("/markets/M1") == {
        "market": {
            "ticker": "M1",
            "event_ticker": "EV-A",
            "market_type": "binary",
            "title": world.venue.markets["M1"].title,
            "yes_sub_title": "Yes",
            "no_sub_title": "No",
            "created_time": START,
            "updated_time": START,
            "open_time": START,
            "close_time": "2024-11-13T22:13:20Z",
            "expected_expiration_time": "2024-11-13T22:13:20Z",
            "latest_expiration_time": "2024-11-13T22:13:20Z",
            "settlement_timer_seconds": world.venue.markets["M1"].settlement_timer_ms // 1000,
            "status": "active",
            "yes_bid_dollars": "0.4000",
            "yes_bid_size_fp": "3.00",
            "yes_ask_dollars": "0.4500",
            "yes_ask_size_fp": "1.50",
            "no_bid_dollars": "0.5500",
            "no_ask_dollars": "0.6000",
            "last_price_dollars": "0.4200",
            "volume_fp": "2.00",
            "volume_24h_fp": "2.00",
            "result": "",
            "can_close_early": True,
            "open_interest_fp": "2.00",
            "notional_value_dollars": "1.0000",
            "previous_yes_bid_dollars": "0.0000",
            "previous_yes_ask_dollars": "0.0000",
            "previous_price_dollars": "0.0000",
            "expiration_value": "",
            "rules_primary": "A simulated market of the local exchange.",
            "rules_secondary": "",
            "price_level_structure": "linear_cent",
            "price_ranges": [{"start": "0.0000", "end": "1.0000", "step": "0.0100"}],
            "exchange_index": 0,
        }
    }


def test_a_settled_market_tells_its_result(world):
    world.venue.close("M1")
    world.venue.determine("M1", "yes")
    world.wait(1000)
    world.venue.settle("M1")
    market = world.get("/markets/M1")["market"]
    assert (market["status"], market["result"], market["expiration_value"]) == ("finalized", "yes", "yes")
    assert market["settlement_ts"] == "2023-11-14T22:13:21Z"
    assert market["settlement_value_dollars"] == "1.0000"


def test_the_volume_of_a_day_forgets_what_is_older(world):
    trade(world, "2.00")
    world.wait(25 * 3600 * 1000)
    trade(world, "1.00")
    market = world.get("/markets/M1")["market"]
    assert (market["volume_fp"], market["volume_24h_fp"]) == ("3.00", "1.00")


@pytest.mark.parametrize(
    "path", ["/markets/NONE", "/markets/NONE/orderbook", "/series/SER/markets/NONE/candlesticks"]
)
def test_an_unknown_market_is_a_404(world, path):
    query = {} if "candle" not in path else {"start_ts": 1, "end_ts": 2, "period_interval": 1}
    refusal = world.refused("GET", path, **query)
    assert (refusal.status, refusal.code) == (404, "not_found")


# ---------------------------------------------------------------------- the list and its filters


def test_filters_of_markets(world):
    assert tickers(world) == ["M1", "M2", "M3"]
    assert tickers(world, event_ticker="EV-A") == ["M1", "M2"]
    assert tickers(world, event_ticker="NONE") == []
    assert tickers(world, series_ticker="SER") == ["M1", "M2", "M3"]
    assert tickers(world, series_ticker="SE") == []
    assert tickers(world, tickers="M3,M1") == ["M1", "M3"]
    assert tickers(world, tickers="M3", event_ticker="EV-A") == []
    assert tickers(world, mve_filter="exclude") == ["M1", "M2", "M3"]
    assert tickers(world, mve_filter="only") == []


def test_status_words_of_the_filter_are_not_those_of_the_object(world):
    world.venue.deactivate("M2")
    world.venue.close("M3")
    assert tickers(world, status="open") == ["M1"]
    assert tickers(world, status="paused") == ["M2"]
    assert tickers(world, status="closed") == ["M3"]
    world.venue.determine("M3", "no")
    assert tickers(world, status="closed") == ["M3"]
    world.venue.settle("M3")
    assert tickers(world, status="closed") == []
    assert tickers(world, status="settled") == ["M3"]
    assert tickers(world, status="unopened") == []


def test_an_unopened_market_has_its_own_word(tmp_path):
    later = {"ticker": "LATER", "step_ms": 0, "levels": 0, "status": "initialized", "open_at_ms": 60_000}
    with closing(RestWorld(tmp_path, {"name": "later", "markets": [later]})) as world:
        assert tickers(world, status="unopened") == ["LATER"]
        assert tickers(world, status="open") == []
        world.wait(60_000)
        assert tickers(world, status="unopened") == []
        assert tickers(world, status="open") == ["LATER"]


def test_timestamp_filters_take_both_ends(world):
    close_s = START_S + 365 * 86_400
    assert tickers(world, min_created_ts=START_S, max_created_ts=START_S) == ["M1", "M2", "M3"]
    assert tickers(world, min_created_ts=START_S + 1) == []
    assert tickers(world, min_close_ts=close_s) == ["M1", "M2", "M3"]
    assert tickers(world, max_close_ts=close_s - 1) == []
    assert tickers(world, min_settled_ts=1) == []
    world.wait(5000)
    world.venue.close("M1")
    world.venue.determine("M1", "yes")
    world.venue.settle("M1")
    assert tickers(world, min_settled_ts=START_S + 5, max_settled_ts=START_S + 5) == ["M1"]
    assert tickers(world, max_settled_ts=START_S + 4) == []
    assert tickers(world, min_updated_ts=START_S + 1) == ["M1"]
    assert tickers(world, max_updated_ts=START_S + 1) == ["M2", "M3"]
    assert tickers(world, min_updated_ts=START_S + 1, mve_filter="exclude", series_ticker="SER") == ["M1"]


ALLOWED = [
    {"status": "unopened", "min_created_ts": 1},
    {"status": "open", "max_created_ts": 1},
    {"status": "closed", "min_close_ts": 1},
    {"status": "settled", "max_settled_ts": 1},
    {"min_updated_ts": 1, "mve_filter": "exclude"},
    {"limit": 0},
    {"limit": 1000},
    {"limit": ""},
]
REFUSED = {
    "limit above the maximum": (
        {"limit": 1001},
        "'GetMarketsParams.Limit' Error:Field validation for 'Limit' failed on the 'lte' tag",
    ),
    "limit below 0": ({"limit": -1}, "'Limit' failed on the 'gte' tag"),
    "limit that is no number": ({"limit": "all"}, "limit"),
    "a status of the object": ({"status": "active"}, "'Status' failed on the 'oneof' tag"),
    "two status filters": ({"status": "open,closed"}, "'Status' failed on the 'oneof' tag"),
    "two events": ({"event_ticker": "EV-A,EV-B"}, "event_ticker"),
    "no such combo filter": ({"mve_filter": "both"}, "'MveFilter' failed on the 'oneof' tag"),
    "a time that is none": ({"min_close_ts": "now"}, "min_close_ts"),
    "created with closed": ({"status": "closed", "min_created_ts": 1}, "created"),
    "close with open": ({"status": "open", "min_close_ts": 1}, "close"),
    "settled with closed": ({"status": "closed", "min_settled_ts": 1}, "settled"),
    "two families": ({"min_created_ts": 1, "max_close_ts": 1}, "exclude each other"),
    "updated with status": ({"min_updated_ts": 1, "status": "open"}, "status"),
    "updated with an event": ({"min_updated_ts": 1, "event_ticker": "EV-A"}, "event_ticker"),
    "updated with tickers": ({"min_updated_ts": 1, "tickers": "M1"}, "tickers"),
    "updated with combos": ({"min_updated_ts": 1, "mve_filter": "only"}, "mve_filter"),
    "updated with a series alone": ({"min_updated_ts": 1, "series_ticker": "SER"}, "mve_filter"),
}


@pytest.mark.parametrize("query", ALLOWED, ids=str)
def test_filters_that_go_together(world, query):
    world.get("/markets", **query)


@pytest.mark.parametrize("case", REFUSED)
def test_filters_that_do_not_go_together_name_the_operation(world, case):
    query, names = REFUSED[case]
    refusal = world.refused("GET", "/markets", **query)
    assert (refusal.status, refusal.shape) == (400, "parameter")
    assert refusal.message.startswith("Parameter validation failed for GetMarkets: ")
    assert names in refusal.message


def test_pages_of_markets_are_in_the_exchanges_order_whatever_the_filter_leaves_out(world):
    first = world.get("/markets", limit=1, event_ticker="EV-A")
    second = world.get("/markets", limit=1, event_ticker="EV-A", cursor=first["cursor"])
    assert [page["markets"][0]["ticker"] for page in (first, second)] == ["M1", "M2"]
    assert second["cursor"] == ""
    assert tickers(world, cursor="bm9uc2Vuc2U=") == ["M1", "M2", "M3"]
    assert tickers(world, cursor="99") == []
    world.switch(last_cursor="null")
    assert world.get("/markets")["cursor"] is None


# ---------------------------------------------------------------------- order books


def test_a_book_has_bids_only_and_the_best_level_last(world):
    for price in ("0.38", "0.40", "0.39"):
        world.order(price=price)
    for price in ("0.45", "0.44"):
        world.order(side="ask", price=price, count="2.00")
    book = {
        "yes_dollars": [["0.3800", "1.00"], ["0.3900", "1.00"], ["0.4000", "1.00"]],
        "no_dollars": [["0.5500", "2.00"], ["0.5600", "2.00"]],
    }
    assert world.get("/markets/M1/orderbook") == {"orderbook_fp": book}
    assert world.get("/markets/M1/orderbook", depth=0) == {"orderbook_fp": book}
    best = {"yes_dollars": [["0.4000", "1.00"]], "no_dollars": [["0.5600", "2.00"]]}
    assert world.get("/markets/M1/orderbook", depth=1) == {"orderbook_fp": best}
    for depth in (101, -1, "all"):
        refusal = world.refused("GET", "/markets/M1/orderbook", depth=depth)
        assert refusal.message.startswith("Parameter validation failed for GetMarketOrderbook: ")


def test_an_empty_book_has_the_key_of_the_switch(world):
    assert world.get("/markets/M1/orderbook") == {"orderbook_fp": {"yes_dollars": [], "no_dollars": []}}
    world.switch(empty_book_key="orderbook")
    assert world.get("/markets/M1/orderbook") == {"orderbook": {}}
    world.order()
    assert set(world.get("/markets/M1/orderbook")) == {"orderbook_fp"}


def test_several_books_at_once_named_several_times_or_with_commas(world):
    world.order(ticker="M2")
    rows = world.get("/markets/orderbooks", tickers=["M2", "M1", "NONE"])["orderbooks"]
    assert [row["ticker"] for row in rows] == ["M2", "M1"]
    assert rows[0]["orderbook_fp"] == {"yes_dollars": [["0.4000", "1.00"]], "no_dollars": []}
    assert len(world.get("/markets/orderbooks", tickers="M1,M2")["orderbooks"]) == 2
    assert world.refused("GET", "/markets/orderbooks").shape == "parameter"
    too_many = [f"M{number}" for number in range(101)]
    assert world.refused("GET", "/markets/orderbooks", tickers=too_many).shape == "parameter"


# ---------------------------------------------------------------------- trades


def test_a_trade_is_told_from_its_takers_side(world):
    trade(world, "2.00", "0.42", taker="ask")
    body = world.get("/markets/trades")
    (row,) = body["trades"]
    assert row == {
        "trade_id": row["trade_id"],
        "ticker": "M1",
        "count_fp": "2.00",
        "yes_price_dollars": "0.4200",
        "no_price_dollars": "0.5800",
        "taker_side": "no",
        "taker_outcome_side": "no",
        "taker_book_side": "ask",
        "created_time": START,
        "is_block_trade": False,
    }


def test_trades_are_newest_first_filtered_and_paged(world):
    for number in range(4):
        trade(world, f"{number + 1}.00", ticker="M1" if number % 2 else "M2")
        world.wait(1000)

    def shown(**query):
        return [row["count_fp"] for row in world.get("/markets/trades", **query)["trades"]]

    assert shown() == ["4.00", "3.00", "2.00", "1.00"]
    assert shown(ticker="M1") == ["4.00", "2.00"]
    assert shown(min_ts=START_S + 2) == ["4.00", "3.00"]
    assert shown(max_ts=START_S) == ["1.00"]
    assert shown(is_block_trade="true") == []
    assert shown(is_block_trade="false") == ["4.00", "3.00", "2.00", "1.00"]
    first = world.get("/markets/trades", limit=3)
    trade(world, "9.00")
    assert shown(limit=3, cursor=first["cursor"]) == ["1.00"]
    for query in ({"is_block_trade": "maybe"}, {"limit": 1001}, {"min_ts": "x"}):
        refusal = world.refused("GET", "/markets/trades", **query)
        assert refusal.message.startswith("Parameter validation failed for GetTrades: ")


# ---------------------------------------------------------------------- candlesticks

MINUTE_S = START_S // 60 * 60 + 60  # the first full minute


def test_candles_of_a_market_and_of_several(world):
    world.clock.now_ms = MINUTE_S * 1000
    world.venue.tick()
    trade(world, "2.00", "0.40")
    world.wait(60_000)
    trade(world, "1.00", "0.50")
    query = {"start_ts": MINUTE_S, "end_ts": MINUTE_S + 120, "period_interval": 1}
    body = world.get("/series/SER/markets/M1/candlesticks", **query)
    assert body["ticker"] == "M1"
    first, second = body["candlesticks"]
    assert (first["end_period_ts"], second["end_period_ts"]) == (MINUTE_S + 60, MINUTE_S + 120)
    assert first["price"] == {
        "open_dollars": "0.4000",
        "low_dollars": "0.4000",
        "high_dollars": "0.4000",
        "close_dollars": "0.4000",
        "mean_dollars": "0.4000",
    }
    assert (first["volume_fp"], first["open_interest_fp"]) == ("2.00", "2.00")
    assert (second["price"]["open_dollars"], second["price"]["previous_dollars"]) == ("0.5000", "0.4000")
    assert (second["volume_fp"], second["open_interest_fp"]) == ("1.00", "3.00")
    assert set(first["yes_bid"]) == {"open_dollars", "low_dollars", "high_dollars", "close_dollars"}
    several = world.get("/markets/candlesticks", market_tickers="M2,M1,NONE", **query)["markets"]
    assert [row["market_ticker"] for row in several] == ["M2", "M1"]
    assert several[1]["candlesticks"] == body["candlesticks"]
    day = world.get(
        "/series/SER/markets/M1/candlesticks", **query | {"period_interval": 60, "end_ts": MINUTE_S + 3600}
    )
    (hour,) = day["candlesticks"]
    assert (hour["price"]["low_dollars"], hour["price"]["high_dollars"]) == ("0.4000", "0.5000")
    assert hour["price"]["mean_dollars"] == "0.4333"
    assert hour["volume_fp"] == "3.00"


def test_what_was_known_before_comes_first_where_it_is_wanted(world):
    world.clock.now_ms = MINUTE_S * 1000
    world.venue.tick()
    trade(world, "2.00", "0.40")
    world.wait(600_000)
    query = {"start_ts": MINUTE_S + 301, "end_ts": MINUTE_S + 600, "period_interval": 1}
    path = "/series/SER/markets/M1/candlesticks"
    assert world.get(path, **query)["candlesticks"] == []
    (latest,) = world.get(path, **query, include_latest_before_start="true")["candlesticks"]
    assert latest["end_period_ts"] == MINUTE_S + 360
    assert latest["price"] == {"previous_dollars": "0.4000"}
    assert latest["volume_fp"] == "0.00"


@pytest.mark.parametrize(
    "query",
    [
        {"start_ts": None},
        {"end_ts": None},
        {"period_interval": None},
        {"period_interval": 5},
        {"start_ts": "x"},
        {"start_ts": 7200},
    ],
)
def test_candles_need_a_stretch_and_a_period(world, query):
    whole = {"start_ts": 60, "end_ts": 3600, "period_interval": 1} | query
    given = {name: value for name, value in whole.items() if value is not None}
    for path, operation, more in (
        ("/series/SER/markets/M1/candlesticks", "GetMarketCandlesticks", {}),
        ("/markets/candlesticks", "BatchGetMarketCandlesticks", {"market_tickers": "M1"}),
    ):
        refusal = world.refused("GET", path, **given, **more)
        assert refusal.message.startswith(f"Parameter validation failed for {operation}: ")


def test_candles_of_several_name_1_to_100_markets(world):
    query = {"start_ts": 60, "end_ts": 120, "period_interval": 1}
    assert world.refused("GET", "/markets/candlesticks", **query).shape == "parameter"
    many = ",".join(f"M{number}" for number in range(101))
    assert world.refused("GET", "/markets/candlesticks", market_tickers=many, **query).shape == "parameter"


def test_5_000_candles_of_one_market_and_10_000_of_several_are_the_most(world):
    one, several = "/series/SER/markets/M1/candlesticks", "/markets/candlesticks"
    query = {"start_ts": 0, "end_ts": 60 * 5000, "period_interval": 1}
    world.get(one, **query)
    world.get(several, market_tickers="M1,M2", **query)
    query["end_ts"] += 30
    refusal = world.refused("GET", one, **query)
    assert (refusal.status, refusal.code, refusal.shape) == (400, "bad_request", "flat")
    assert refusal.details == "requested time range with candlesticks: 5000.500000, max candlesticks: 5000"
    refusal = world.refused("GET", several, market_tickers="M1,M2", **query)
    assert refusal.details == "requested time range with candlesticks: 10001.000000, max candlesticks: 10000"


def test_nobody_looks_at_the_series_of_a_market_with_candles(world):
    query = {"start_ts": 60, "end_ts": 120, "period_interval": 1}
    assert world.get("/series/OTHER/markets/M1/candlesticks", **query)["ticker"] == "M1"


def test_a_missing_parameter_is_told_in_the_validators_words(world):
    refusal = world.refused("GET", "/markets/candlesticks", market_tickers="M1", start_ts=1, end_ts=2)
    assert refusal.message == (
        "Parameter validation failed for BatchGetMarketCandlesticks: Key: 'BatchGetMarketCandlesticksParams.PeriodInterval' "
        "Error:Field validation for 'PeriodInterval' failed on the 'required' tag"
    )
