"""Public data: markets, books, trades, candles, events, series, and the exchange itself (section 6)."""

from __future__ import annotations

import datetime as dt

import httpx
import pytest
from soloist_kalshi.endpoint import tls_context
from soloist_kalshi.errors import VenueNotFound
from soloist_kalshi.numbers import price_from_dollars

from tests.conformance.cards import card

MINUTE_MS = 60_000


def public(exchange, path, **query):
    return httpx.get(exchange.rest_url + path, params=query, verify=tls_context(exchange.ca_file))


@card(
    "C222",
    section="6",
    title="A market has every required field, and its NO prices mirror the YES prices",
    demo=True,
)
async def test_a_market(exchange, ticker):
    async with exchange.rest(None) as reads:
        market = await reads.get_market(ticker)
    yes_bid, no_ask = price_from_dollars(market.yes_bid_dollars), price_from_dollars(market.no_ask_dollars)
    yes_ask, no_bid = price_from_dollars(market.yes_ask_dollars), price_from_dollars(market.no_bid_dollars)
    assert (yes_bid + no_ask, yes_ask + no_bid) == (10_000, 10_000)
    assert market.price_grid().contains(100)
    assert reads.unknown_fields is not None


@card(
    "C223",
    section="6",
    title="Markets are found by ticker, event, series and status; a prefix is not a series",
)
async def test_filters_of_markets(desk, new_ticker):
    get = desk.reads.get_markets
    assert [row.ticker for row in await get(tickers=[desk.ticker], status="open")] == [desk.ticker]
    assert await get(tickers=[desk.ticker], status="settled") == []
    sibling = new_ticker("sibling")
    assert sibling in {row.ticker for row in await get(event_ticker="SIBLINGS")}
    assert sibling in {row.ticker for row in await get(series_ticker="KIN")}
    assert await get(series_ticker="KI") == []
    assert {row.ticker for row in await get(tickers=[desk.ticker, sibling])} == {desk.ticker, sibling}


@pytest.mark.parametrize("query", [{"status": "active"}, {"status": "open,closed"}, {"min_close_ts": "soon"}])
@card(
    "C224", section="6", title="A filter with an unknown or a second status, or a time that is none, is 400"
)
def test_filters_that_cannot_be(exchange, query):
    reply = public(exchange, "/markets", **query)
    assert reply.status_code == 400
    assert reply.json()["msg"].startswith("Parameter validation failed")


@card("C225", section="6", title="Markets are filtered by their close time")
def test_filter_by_close_time(exchange, ticker):
    (shown,) = public(exchange, "/markets", tickers=ticker).json()["markets"]
    close_ts = int(dt.datetime.fromisoformat(shown["close_time"]).timestamp())

    def found(**query):
        return [
            row["ticker"] for row in public(exchange, "/markets", tickers=ticker, **query).json()["markets"]
        ]

    assert found(min_close_ts=close_ts - 60, max_close_ts=close_ts + 60) == [ticker]
    assert found(max_close_ts=close_ts - 60) == []


@card(
    "C226", section="6", title="A book has bids only, ascending, best last; NO levels in NO prices", demo=True
)
async def test_a_book(exchange, account, ticker):
    async with exchange.rest(account().signer) as reads:
        book = await reads.get_orderbook(ticker)
        best = await reads.get_orderbook(ticker, depth=1)
    yes = [price_from_dollars(price) for price, _ in book.yes_dollars or []]
    no = [price_from_dollars(price) for price, _ in book.no_dollars or []]
    assert yes == sorted(set(yes))
    assert no == sorted(set(no))
    assert not (yes and no) or yes[-1] + no[-1] < 10_000
    assert len(best.yes_dollars or []) <= 1


@card("C227", section="6", title="The depth of a book counts from its best level")
async def test_the_depth_of_a_book(desk):
    book = await desk.reads.get_orderbook(desk.ticker)
    assert [price for price, _ in book.yes_dollars] == ["0.4500", "0.4600", "0.4700", "0.4800", "0.4900"]
    assert [price for price, _ in book.no_dollars] == ["0.4500", "0.4600", "0.4700", "0.4800", "0.4900"]
    best = await desk.reads.get_orderbook(desk.ticker, depth=2)
    assert [price for price, _ in best.yes_dollars] == ["0.4800", "0.4900"]
    for depth in ("101", "-1"):
        assert public(desk.exchange, f"/markets/{desk.ticker}/orderbook", depth=depth).status_code == 400


@card("C228", section="6", title="Several books come in one call")
async def test_several_books(desk, new_ticker):
    other = new_ticker()
    await desk.bid("0.50", "3.00")
    books = await desk.reads.get_orderbooks([desk.ticker, other])
    assert set(books) == {desk.ticker, other}
    assert books[desk.ticker].yes_dollars[-1] == ("0.5000", "3.00")


@card(
    "C229",
    section="16",
    title="Books need no key, or by switch they do; the client signs them anyway",
    switches=("orderbook_auth",),
)
async def test_who_may_read_a_book(exchange, desk):
    path = f"/markets/{desk.ticker}/orderbook"
    assert public(exchange, path).status_code == 200
    exchange.switch(orderbook_auth="required")
    assert public(exchange, path).status_code == 401
    assert (await desk.reads.get_orderbook(desk.ticker)).yes_dollars


@card(
    "C230",
    section="16",
    title="The key of an empty book is orderbook_fp, or by switch orderbook; the client takes both",
    switches=("empty_book_key",),
)
async def test_an_empty_book(exchange, desk, new_ticker):
    ticker = new_ticker("empty")
    path = f"/markets/{ticker}/orderbook"
    for key in ("orderbook_fp", "orderbook"):
        exchange.switch(empty_book_key=key)
        assert set(public(exchange, path).json()) == {key}
        book = await desk.reads.get_orderbook(ticker)
        assert not book.yes_dollars
        assert not book.no_dollars


@card("C231", section="6", title="Public trades: newest first, of one market, between two times")
async def test_trades(exchange, desk):
    await desk.bid("0.51", "2.00")
    await desk.ask("0.49", "3.00")
    rows = [row async for row in desk.reads.iterate_trades(ticker=desk.ticker)]
    assert [(row.taker_book_side, row.count_fp, row.yes_price_dollars) for row in rows] == [
        ("ask", "3.00", "0.4900"),
        ("bid", "2.00", "0.5100"),
    ]
    assert rows[0].no_price_dollars == "0.5100"
    second = exchange.now_ms() // 1000
    assert [row async for row in desk.reads.iterate_trades(ticker=desk.ticker, min_ts=second + 60)] == []
    assert [row async for row in desk.reads.iterate_trades(ticker=desk.ticker, max_ts=second - 60)] == []


@card("C232", section="6", title="A trade updates last price, volume and open interest of its market")
async def test_a_trade_updates_the_market(desks):
    one, two = await desks(), await desks()
    await one.ask("0.50", "4.00")
    await two.bid("0.50", "4.00")
    market = await one.reads.get_market(one.ticker)
    assert (market.last_price_dollars, market.volume_fp, market.open_interest_fp) == (
        "0.5000",
        "4.00",
        "4.00",
    )
    assert market.volume_24h_fp == "4.00"
    await two.ask("0.50", "1.00")
    await one.bid("0.50", "1.00")
    market = await one.reads.get_market(one.ticker)
    assert (market.volume_fp, market.open_interest_fp) == ("5.00", "3.00")


@card(
    "C233",
    section="6",
    title="Candlesticks: open, low, high, close and volume of each minute; no trade, no price",
    clock="virtual",
)
async def test_candlesticks(exchange, desks, new_ticker):
    one, two = await desks(tier="expert"), await desks(tier="expert")
    one.ticker = two.ticker = ticker = new_ticker("empty")
    exchange.advance(MINUTE_MS - exchange.now_ms() % MINUTE_MS + 1_000)  # a second into a minute
    start_s = exchange.now_ms() // MINUTE_MS * 60
    for price in ("0.50", "0.60", "0.40", "0.45"):
        await one.ask(price)
        await two.bid(price)
    exchange.advance(2 * MINUTE_MS)
    event, _ = await one.reads.get_event((await one.reads.get_market(ticker)).event_ticker)
    span = {"start_ts": start_s, "end_ts": start_s + 120, "period_minutes": 1}
    candles = await one.reads.get_candlesticks(event.series_ticker, ticker, **span)
    by_end = {candle.end_period_ts: candle for candle in candles}
    traded = by_end[start_s + 60]
    price = traded.price
    assert (price.open_dollars, price.low_dollars, price.high_dollars, price.close_dollars) == (
        "0.5000", "0.4000", "0.6000", "0.4500",
    )  # fmt: skip
    assert price_from_dollars(price.mean_dollars) == 4875
    assert (traded.volume_fp, traded.open_interest_fp) == ("4.00", "4.00")
    if quiet := by_end.get(start_s + 120):
        assert (quiet.volume_fp, quiet.price.close_dollars) == ("0.00", None)
    many = await one.reads.get_markets_candlesticks([ticker], **span)
    assert many == {ticker: candles}


@pytest.mark.parametrize(
    "query",
    [
        {},
        {"start_ts": 0, "end_ts": 60, "period_interval": 2},
        {"start_ts": 60, "end_ts": 0, "period_interval": 1},
    ],
)
@card(
    "C234",
    section="6",
    title="Candlesticks need a start, an end after it, and a period of 1, 60 or 1440 minutes",
)
def test_candlesticks_that_cannot_be(exchange, query):
    assert public(exchange, "/markets/candlesticks", market_tickers="CARD-1", **query).status_code == 400


@card("C235", section="6", title="An event has its markets, beside it or nested", demo=True)
async def test_an_event(exchange, ticker):
    async with exchange.rest(None) as reads:
        market = await reads.get_market(ticker)
        event, markets = await reads.get_event(market.event_ticker)
    assert event.event_ticker == market.event_ticker
    assert ticker in {row.ticker for row in markets}
    nested = public(exchange, f"/events/{market.event_ticker}", with_nested_markets="true").json()
    assert ticker in {row["ticker"] for row in nested["event"]["markets"]}


@card(
    "C236",
    section="6",
    title="Events are found by series and by the status of any of their markets; unknown is 404",
)
async def test_events(desk):
    rows = [row async for row in desk.reads.iterate_events(series_ticker="KIN")]
    assert [(row.event_ticker, row.mutually_exclusive, row.title) for row in rows] == [
        ("SIBLINGS", True, "Who of them")
    ]
    assert [row async for row in desk.reads.iterate_events(series_ticker="KIN", status="open")] == rows
    assert [row async for row in desk.reads.iterate_events(series_ticker="KIN", status="settled")] == []
    with pytest.raises(VenueNotFound):
        await desk.reads.get_event("NO-SUCH-EVENT")


@card("C237", section="6", title="Series are found by category and tag; unknown is 404")
async def test_series(desk):
    assert [row.ticker for row in await desk.reads.get_all_series(category="Family")] == ["KIN"]
    assert [row.ticker for row in await desk.reads.get_all_series(tags="kin")] == ["KIN"]
    series = await desk.reads.get_series("KIN")
    assert (series.title, series.fee_type, series.fee_multiplier) == ("Kin", "quadratic", 1)
    with pytest.raises(VenueNotFound):
        await desk.reads.get_series("NO-SUCH-SERIES")


@card(
    "C238",
    section="16",
    title="The exchange's status has every documented field, or by switch the two that the demo sent",
    switches=("exchange_status_fields",),
)
async def test_the_fields_of_the_status(exchange, desk):
    assert set(public(exchange, "/exchange/status").json()) >= {
        "exchange_active",
        "trading_active",
        "intra_exchange_transfers_active",
        "exchange_index_statuses",
    }
    exchange.switch(exchange_status_fields="two")
    assert public(exchange, "/exchange/status").json() == {"exchange_active": True, "trading_active": True}
    assert (await desk.reads.get_exchange_status()).exchange_active is True


@card("C239", section="6", title="The status names every shard")
async def test_the_shards_of_the_status(desk):
    status = await desk.reads.get_exchange_status()
    shards = {row.exchange_index: row.trading_active for row in status.exchange_index_statuses or []}
    assert shards == {0: True, 1: True, 2: True}


@card("C240", section="6", title="The schedule has hours for each day of the week", demo=True)
async def test_the_schedule(exchange):
    async with exchange.rest(None) as reads:
        schedule = await reads.get_schedule()
    assert schedule.standard_hours
    for hours in schedule.standard_hours[0].monday:
        assert len(hours.open_time) == len(hours.close_time) == 5


@card("C241", section="6", title="History: cutoffs in the past; what is live is not in it")
async def test_history(exchange, desk):
    cutoff = await desk.reads.get_historical_cutoff()
    for text in (cutoff.market_settled_ts, cutoff.trades_created_ts, cutoff.orders_updated_ts):
        assert dt.datetime.fromisoformat(text).timestamp() * 1000 < exchange.now_ms()
    await desk.bid("0.51")
    assert await desk.reads.list_orders(subaccount=0, historical=True) == []
    assert await desk.reads.list_fills(subaccount=0, historical=True) == []


@card("C242", section="6", title="Scheduled fee changes of series and events can be read")
async def test_fee_changes(desk):
    assert isinstance(await desk.reads.get_series_fee_changes(), list)
    assert isinstance(await desk.reads.get_event_fee_changes(), list)
