"""A published client that is not ours (pykalshi, unmodified) trades here: the second opinion on the wire.

It gets a base URL and a key file as its constructor takes them, and the authority as every OpenSSL program does, by SSL_CERT_FILE.
Its feeds know the venue's own hosts only, so a subclass names ours.
"""

from __future__ import annotations

import asyncio
import itertools

import pytest
from pykalshi import (
    Action,
    AsyncKalshiClient,
    CandlestickPeriod,
    KalshiClient,
    MarketStatus,
    OrderStatus,
    Side,
    TimeInForce,
)
from pykalshi.afeed import AsyncFeed
from pykalshi.enums import BookSide, SelfTradePrevention
from pykalshi.exceptions import (
    AuthenticationError,
    InsufficientFundsError,
    KalshiAPIError,
    OrderRejectedError,
    ResourceNotFoundError,
)
from pykalshi.feed import Feed
from pykalshi.orderbook import OrderbookManager

from tests.conformance.cards import DEADLINE_S, card
from tests.support import eventually

_files = itertools.count(1)


@pytest.fixture
def theirs(exchange, account, monkeypatch, tmp_path):
    """Return `theirs(balance, kind=KalshiClient)`: their client for one more account."""
    monkeypatch.setenv("SSL_CERT_FILE", exchange.ca_file)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    opened = []

    def make(balance="10000.00", *, kind=KalshiClient, **options):
        demo = account(balance, key_type="rsa", **options)
        path = tmp_path / f"{next(_files)}.pem"
        path.write_bytes(demo.pem)
        client = kind(
            api_key_id=demo.key_id, private_key_path=str(path), api_base=exchange.rest_url, max_retries=0
        )
        opened.append(client)
        return client

    yield make
    for client in opened:
        if isinstance(client, KalshiClient):
            client.close()


@pytest.fixture
def client(theirs):
    return theirs()


def bid(client, ticker, price, count="1.00", **options):
    return client.portfolio.place_order(
        ticker, book_side=BookSide.BID, price_dollars=price, count_fp=count, **options
    )


def ask(client, ticker, price, count="1.00", **options):
    return client.portfolio.place_order(
        ticker, book_side=BookSide.ASK, price_dollars=price, count_fp=count, **options
    )


@card("C302", section="6", title="pykalshi reads the exchange: status, schedule, limits and keys")
def test_their_exchange(client):
    status = client.exchange.get_status()
    assert (status.exchange_active, status.trading_active) == (True, True)
    assert client.exchange.is_trading()
    assert client.exchange.get_schedule()["standard_hours"]
    assert client.api_keys.get_limits().usage_tier == "basic"
    assert [key.id for key in client.api_keys.list()] == [client.api_key_id]
    assert client.history.get_cutoff().orders_updated_ts


@card("C303", section="6", title="pykalshi reads markets: one, by filter, and page by page")
def test_their_markets(client, ticker):
    market = client.get_market(ticker)
    assert (market.status, market.yes_bid_dollars, market.yes_ask_dollars) == (
        MarketStatus.ACTIVE,
        "0.4900",
        "0.5100",
    )
    assert market.price_level_structure == "linear_cent"
    (found,) = client.get_markets(tickers=[ticker], status=MarketStatus.OPEN)
    assert found.ticker == ticker
    every = [row.ticker for row in client.get_markets(limit=200, fetch_all=True)]
    assert len(every) == len(set(every)) > 400
    with pytest.raises(ResourceNotFoundError):
        client.get_market("NO-SUCH-MARKET")


@card("C304", section="6", title="pykalshi reads events and series, and finds its way between them")
def test_their_events(client, new_ticker):
    ticker = new_ticker("sibling")
    event = client.get_market(ticker).get_event()
    assert (event.event_ticker, event.mutually_exclusive) == ("SIBLINGS", True)
    assert ticker in {row.ticker for row in event.get_markets()}
    assert event.get_series().title == "Kin"
    assert "SIBLINGS" in {row.event_ticker for row in client.get_events(series_ticker="KIN")}
    assert [row.ticker for row in client.get_all_series(category="Family")] == ["KIN"]
    assert client.get_event("SIBLINGS", with_nested_markets=True).title == "Who of them"


@card("C305", section="6", title="pykalshi reads books, of full and of empty markets")
def test_their_books(client, ticker, new_ticker):
    book = client.get_market(ticker).get_orderbook(depth=3)
    assert (book.best_yes_bid, book.best_yes_ask, len(book.orderbook.yes_dollars)) == ("0.4900", "0.5100", 3)
    empty = client.get_market(new_ticker("empty")).get_orderbook()
    assert (empty.best_yes_bid, empty.best_no_bid) == (None, None)


@card("C306", section="8.1", title="pykalshi places, reads and cancels an order")
def test_their_orders(client, ticker):
    made = bid(client, ticker, "0.40", "2.50", client_order_id="theirs-1")
    assert (made.status, made.remaining_count_fp) == (OrderStatus.RESTING, "2.50")
    shown = client.portfolio.get_order(made.order_id)
    assert (shown.ticker, shown.book_side, shown.yes_price_dollars, shown.client_order_id) == (
        ticker, BookSide.BID, "0.4000", "theirs-1",
    )  # fmt: skip
    assert [row.order_id for row in client.portfolio.get_orders(status=OrderStatus.RESTING)] == [
        made.order_id
    ]
    assert made.cancel().status is OrderStatus.CANCELED
    assert made.refresh().status is OrderStatus.CANCELED
    assert client.portfolio.get_balance().balance == 1_000_000
    with pytest.raises(ResourceNotFoundError):
        client.portfolio.cancel_order(made.order_id)


@card("C307", section="8.1", title="pykalshi trades: fills, positions, balance and public trades agree")
def test_their_trades(client, ticker):
    made = bid(client, ticker, "0.51", "3.00", time_in_force=TimeInForce.IOC)
    assert made.status is OrderStatus.EXECUTED
    (fill,) = client.portfolio.get_fills(ticker=ticker)
    assert (fill.order_id, fill.count_fp, fill.book_side, fill.is_taker) == (
        made.order_id,
        "3.00",
        BookSide.BID,
        True,
    )
    assert fill.fee_cost_dollars is not None
    (held,) = client.portfolio.get_positions(ticker=ticker)
    assert held.position_fp == "3.00"
    assert client.portfolio.get_balance().balance < 1_000_000 - 153
    (trade,) = client.get_trades(ticker=ticker)
    assert (trade.trade_id, trade.taker_book_side, trade.count_fp) == (fill.trade_id, BookSide.BID, "3.00")
    assert [row.trade_id for row in client.get_market(ticker).get_trades()] == [trade.trade_id]


@card("C308", section="7", title="pykalshi buys NO in its own words, and it is an ask on the YES book")
def test_their_words_for_no(client, ticker):
    made = client.portfolio.place_order(ticker, Action.BUY, Side.NO, "2.00", no_price_dollars="0.30")
    shown = client.portfolio.get_order(made.order_id)
    assert (shown.book_side, shown.yes_price_dollars, shown.no_price_dollars) == (
        BookSide.ASK,
        "0.7000",
        "0.3000",
    )


@card("C309", section="8.3", title="pykalshi amends and decreases, and reads the queue")
def test_their_amends(client, ticker):
    first = bid(client, ticker, "0.40", "5.00")
    second = bid(client, ticker, "0.40", "2.00")
    assert client.portfolio.get_queue_position(second.order_id).queue_position_fp == "5.00"
    rows = client.portfolio.get_queue_positions(market_tickers=[ticker])
    assert {row.order_id: row.queue_position_fp for row in rows} == {
        first.order_id: "0.00",
        second.order_id: "5.00",
    }
    first.decrease("1.00")
    assert first.refresh().remaining_count_fp == "4.00"
    first.amend(price_dollars="0.41")
    shown = first.refresh()
    assert (shown.yes_price_dollars, shown.remaining_count_fp) == ("0.4100", "4.00")
    assert client.portfolio.get_queue_position(second.order_id).queue_position_fp == "0.00"


@card("C310", section="8.5", title="pykalshi sends batches of orders and of cancels")
def test_their_batches(client, ticker):
    wanted = [
        {"ticker": ticker, "book_side": "bid", "price_dollars": "0.40", "count_fp": "1.00"},
        {"ticker": ticker, "action": "buy", "side": "no", "no_price_dollars": "0.30", "count_fp": "2.00"},
    ]
    made = client.portfolio.batch_place_orders(wanted)
    assert [row.remaining_count_fp for row in made] == ["1.00", "2.00"]
    gone = client.portfolio.batch_cancel_orders([row.order_id for row in made])
    assert [row.order_id for row in gone] == [row.order_id for row in made]
    assert list(client.portfolio.get_orders(status=OrderStatus.RESTING)) == []


@card("C311", section="9", title="pykalshi makes, reads, limits, triggers and resets a group")
def test_their_groups(client, ticker):
    assert list(client.portfolio.get_order_groups()) == []
    group = client.portfolio.create_order_group("10.00").id
    made = bid(client, ticker, "0.40", order_group_id=group)
    assert client.portfolio.get_order_group(group).orders == [made.order_id]
    client.portfolio.update_order_group_limit(group, "20.00")
    assert [row.contracts_limit_fp for row in client.portfolio.get_order_groups()] == ["20.00"]
    client.portfolio.trigger_order_group(group)
    assert made.refresh().status is OrderStatus.CANCELED
    with pytest.raises(KalshiAPIError):
        bid(client, ticker, "0.40", order_group_id=group)
    client.portfolio.reset_order_group(group)
    assert bid(client, ticker, "0.40", order_group_id=group).status is OrderStatus.RESTING


@card("C312", section="3.3", title="pykalshi knows our refusals by their codes")
def test_their_errors(theirs, client, ticker):
    with pytest.raises(OrderRejectedError):
        bid(client, ticker, "0.4050")
    with pytest.raises(InsufficientFundsError):
        bid(theirs("1.00"), ticker, "0.40", "10.00")
    bid(client, ticker, "0.40", client_order_id="twice")
    with pytest.raises(KalshiAPIError) as refused:
        bid(client, ticker, "0.40", client_order_id="twice")
    assert (refused.value.status_code, refused.value.error_code) == (409, "order_already_exists")
    with pytest.raises(KalshiAPIError) as refused:
        bid(client, ticker, "0.51", post_only=True)
    assert refused.value.error_code == "invalid_order"
    ask(client, ticker, "0.50")
    crossed = bid(client, ticker, "0.50", self_trade_prevention=SelfTradePrevention.CANCEL_INCOMING)
    assert crossed.status is OrderStatus.CANCELED


@card("C313", section="2", title="pykalshi is refused with a key that was deleted")
def test_their_deleted_key(client):
    made = client.api_keys.generate("short")
    assert made.private_key.startswith("-----BEGIN RSA PRIVATE KEY-----")
    client.api_keys.delete(client.api_key_id)
    with pytest.raises(AuthenticationError):
        client.portfolio.get_balance()


@card("C314", section="7", title="pykalshi reads a settlement")
def test_their_settlements(exchange, client, ticker):
    bid(client, ticker, "0.51", "2.00")
    exchange.market(ticker, "determine", result="yes")
    exchange.market(ticker, "settle")
    (row,) = client.portfolio.get_settlements()
    assert (row.ticker, row.market_result, row.revenue, row.net_position) == (ticker, "yes", 200, "2.00")
    market = client.get_market(ticker)
    assert (market.status, market.result) == (MarketStatus.FINALIZED, "yes")


@card("C315", section="6", title="pykalshi reads candlesticks of one market and of several")
def test_their_candlesticks(exchange, client, ticker):
    bid(client, ticker, "0.51", "2.00")
    now_s = exchange.now_ms() // 1000
    span = {"start_ts": now_s - 3600, "end_ts": now_s + 120, "period": CandlestickPeriod.ONE_MINUTE}
    candles = client.get_market(ticker).get_candlesticks(**span).candlesticks
    assert {row.price.close_dollars for row in candles if row.volume_fp == "2.00"} == {"0.5100"}
    many = client.get_candlesticks_batch([ticker], **span)
    assert [row.end_period_ts for row in many[ticker].candlesticks] == [row.end_period_ts for row in candles]


@card("C316", section="11", title="pykalshi opens a subaccount, moves money, and orders from it")
def test_their_subaccounts(theirs, ticker):
    client = theirs(tier="advanced")
    number = client.portfolio.create_subaccount().subaccount_number
    client.portfolio.transfer_between_subaccounts(0, number, 5_000, client_transfer_id="theirs")
    with pytest.raises(KalshiAPIError) as refused:
        client.portfolio.transfer_between_subaccounts(0, number, 5_000, client_transfer_id="theirs")
    assert refused.value.status_code == 409
    balances = {
        row.subaccount_number: float(row.balance) for row in client.portfolio.get_subaccount_balances()
    }
    assert balances == {0: 9950, number: 50}
    (row,) = client.portfolio.get_subaccount_transfers()
    assert (row.from_subaccount, row.to_subaccount, row.amount_cents) == (0, number, 5_000)
    made = bid(client, ticker, "0.40", subaccount=number)
    assert client.portfolio.cancel_order(made.order_id, subaccount=number).order_id == made.order_id
    client.portfolio.update_subaccount_netting(number, enabled=True)
    assert {row.subaccount_number: row.enabled for row in client.portfolio.get_subaccount_netting()}[number]


@card("C317", section="13.5", title="pykalshi's feed keeps our book, and hears trades, fills and orders")
def test_their_feed(exchange, client, ticker):
    class LocalFeed(Feed):
        def __init__(self, of_client):
            super().__init__(of_client)
            self._ws_url = exchange.ws_url

    heard = {
        name: [] for name in ("orderbook_delta", "trade", "fill", "user_orders", "ticker", "market_positions")
    }
    book = OrderbookManager(ticker)

    def keep(message):
        heard["orderbook_delta"].append(message)
        if hasattr(message, "yes_dollars"):
            book.apply_snapshot(message.yes_dollars, message.no_dollars)
        else:
            book.apply_delta(message.side, message.price_dollars, message.delta_fp)

    feed = LocalFeed(client)
    feed.on("orderbook_delta", keep)
    for name, messages in heard.items():
        if name != "orderbook_delta":
            feed.on(name, messages.append)
    feed.subscribe("orderbook_delta", market_ticker=ticker)
    for name in ("trade", "ticker"):
        feed.subscribe(name, market_ticker=ticker)
    for name in ("fill", "user_orders", "market_positions"):
        feed.subscribe(name)
    with feed:
        eventually(lambda: len(feed._sids) == 6, DEADLINE_S, "six subscriptions")
        bid(client, ticker, "0.50", "2.00")
        bid(client, ticker, "0.51", "3.00")
        eventually(lambda: all(heard.values()), DEADLINE_S, lambda: f"a frame of each channel: {heard}")
        eventually(
            lambda: book.best_bid == "0.5000" and len(heard["orderbook_delta"]) >= 3, DEADLINE_S, "the book"
        )
    assert all(not isinstance(message, dict) for messages in heard.values() for message in messages)
    served = client.get_market(ticker).get_orderbook().orderbook
    assert {price: float(count) for price, count in book.yes.items()} == {
        price: float(count) for price, count in served.yes_dollars
    }
    assert {price: float(count) for price, count in book.no.items()} == {
        price: float(count) for price, count in served.no_dollars
    }
    assert heard["fill"][0].trade_id == heard["trade"][0].trade_id


@card("C318", section="13.4", title="pykalshi's asynchronous client and feed work, too")
async def test_their_async_client(exchange, theirs, ticker):
    class LocalFeed(AsyncFeed):
        def __init__(self, of_client):
            super().__init__(of_client)
            self._ws_url = exchange.ws_url

    async with theirs(kind=AsyncKalshiClient) as client, asyncio.timeout(20):
        assert (await client.get_market(ticker)).ticker == ticker
        feed = LocalFeed(client)
        feed.subscribe("user_orders")
        await feed.connect()
        made = await client.portfolio.place_order(
            ticker, book_side=BookSide.BID, price_dollars="0.40", count_fp="1.00"
        )
        async for message in feed:
            if getattr(message, "order_id", None) == made.order_id:
                break
        await feed.disconnect()
    assert (message.status, message.ticker) == ("resting", ticker)
