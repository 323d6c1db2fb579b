"""C070-C082: the WebSocket (section 13)."""

from __future__ import annotations

import asyncio

import pytest
from soloist_kalshi import frames
from soloist_kalshi.numbers import count_from_text
from soloist_kalshi.signing import Signer

from tests.conformance.cards import DEADLINE_MS, connected, order, place


@pytest.fixture
async def desk(exchange, account):
    """An account with its order client and an open connection: (orders, reads, socket)."""
    demo = account()
    async with (
        exchange.orders(demo.signer) as orders,
        exchange.rest(demo.signer) as reads,
        connected(exchange, demo.signer) as socket,
    ):
        yield orders, reads, socket


def replayed(raws, ticker):
    """The book that a client keeps: the last snapshot and what followed, as {(side, price): count}."""
    book = {}
    for raw in raws:
        message = raw["msg"] if isinstance(raw.get("msg"), dict) else {}
        if message.get("market_ticker") != ticker:
            continue
        if raw["type"] == "orderbook_snapshot":
            book = {
                (side, price): count_from_text(count)
                for side in ("yes", "no")
                for price, count in message.get(f"{side}_dollars_fp", [])
            }
        elif raw["type"] == "orderbook_delta":
            place = message["side"], message["price_dollars"]
            book[place] = book.get(place, 0) + count_from_text(message["delta_fp"])
            assert book[place] >= 0, raw
            if book[place] == 0:
                del book[place]
    return book


def served(book):
    return {
        (side, price): count_from_text(count)
        for side, levels in (("yes", book.yes_dollars), ("no", book.no_dollars))
        for price, count in levels or []
    }


async def test_c070_a_snapshot_then_deltas_give_the_rest_book(desk, ticker):
    orders, reads, socket = desk
    await socket.sid(socket.client.subscribe(["orderbook_delta"], [ticker]), "orderbook_delta")
    made = await place(orders, order(ticker, "bid", "0.50", "2.00"))
    await place(orders, order(ticker, "ask", "0.45", "1200.00", self_trade_prevention_type="maker"))
    last = await place(orders, order(ticker, "bid", "0.20", "3.00"))
    await orders.cancel(last.order_id, market_ticker=ticker, subaccount=0, deadline_ms=DEADLINE_MS)
    await socket.until(
        lambda: (
            socket.of(frames.OrderbookDeltaFrame)
            and socket.of(frames.OrderbookDeltaFrame)[-1].msg.client_order_id == last.client_order_id
            and socket.of(frames.OrderbookDeltaFrame)[-1].msg.delta_fp == "-3.00"
        ),
        "the delta of the cancelled order",
    )
    assert replayed(socket.raw, ticker) == served(await reads.get_orderbook(ticker))
    mine = [frame.msg for frame in socket.of(frames.OrderbookDeltaFrame) if frame.msg.client_order_id]
    assert mine[0].client_order_id == made.client_order_id
    assert socket.gaps == []


async def test_c071_control_frames_consume_sequence_numbers(exchange, desk, ticker):
    """Snapshots, ok and unsubscribed of a sid count like its deltas (recorded: 386119, 386120, ok 386121)."""
    orders, _, socket = desk
    other = "CARD-119"
    sid = await socket.sid(socket.client.subscribe(["orderbook_delta"], [ticker]), "orderbook_delta")
    socket.client.update_subscription(sid, "add_markets", [other])
    await socket.until(lambda: len(socket.of(frames.OrderbookSnapshotFrame)) == 2, "the second snapshot")
    asked = socket.client.get_snapshot(sid, [ticker, other])
    await socket.until(lambda: len(socket.of(frames.OrderbookSnapshotFrame)) == 4, "two more snapshots")
    await place(orders, order(ticker, "bid", "0.40"))
    await socket.until(lambda: socket.of(frames.OrderbookDeltaFrame), "a delta")
    socket.client.update_subscription(sid, "delete_markets", [other])
    socket.client.unsubscribe([sid])
    await socket.until(lambda: socket.of(frames.UnsubscribedFrame), "unsubscribed")
    numbered = [(raw["type"], raw["seq"]) for raw in socket.raw if "seq" in raw]
    assert numbered == [
        ("orderbook_snapshot", 1),
        ("ok", 2),
        ("orderbook_snapshot", 3),
        ("orderbook_snapshot", 4),
        ("orderbook_snapshot", 5),
        ("orderbook_delta", 6),
        ("ok", 7),
        ("unsubscribed", 8),
    ]
    assert [raw["id"] for raw in socket.raw if raw["type"] == "orderbook_snapshot" and "id" in raw] == [
        asked
    ] * 2
    oks = [frame.msg.market_tickers for frame in socket.of(frames.OkFrame)]
    assert oks == [sorted([ticker, other]), [ticker]]


async def test_c072_sids_count_per_connection_and_one_reply_per_channel(exchange, account, ticker):
    demo = account()
    for _ in range(2):
        async with connected(exchange, demo.signer) as socket:
            number = socket.client.subscribe(["ticker", "trade", "orderbook_delta"], [ticker])
            await socket.sid(number, "orderbook_delta")
            replies = socket.of(frames.SubscribedFrame)
            assert [(frame.id, frame.msg.channel, frame.msg.sid) for frame in replies] == [
                (number, "ticker", 1),
                (number, "trade", 2),
                (number, "orderbook_delta", 3),
            ]


async def test_c073_a_second_subscribe_keeps_the_sid_and_brings_only_what_is_new(desk, ticker):
    orders, _, socket = desk
    first = await socket.sid(socket.client.subscribe(["orderbook_delta"], [ticker]), "orderbook_delta")
    second = await socket.sid(
        socket.client.subscribe(["orderbook_delta"], [ticker, "CARD-118"]), "orderbook_delta"
    )
    assert first == second
    await place(orders, order(ticker, "bid", "0.40"))
    await socket.until(lambda: socket.of(frames.OrderbookDeltaFrame), "a delta")
    assert [frame.msg.market_ticker for frame in socket.of(frames.OrderbookSnapshotFrame)] == [
        ticker,
        "CARD-118",
    ]
    assert len(socket.of(frames.OrderbookDeltaFrame)) == 1


async def test_c074_private_channels_tell_the_life_of_an_order(desk, ticker):
    orders, reads, socket = desk
    channels = ["user_orders", "fill", "market_positions"]
    await socket.sid(socket.client.subscribe(channels), "market_positions")
    rests = await place(orders, order(ticker, "bid", "0.50", "2.00"))
    taken = await place(orders, order(ticker, "bid", "0.51", "3.00"))
    await orders.cancel(rests.order_id, market_ticker=ticker, subaccount=0, deadline_ms=DEADLINE_MS)
    await socket.until(lambda: len(socket.of(frames.UserOrderFrame)) >= 3, "three order frames")
    states = [
        (frame.msg.order_id, frame.msg.status, frame.msg.fill_count_fp, frame.msg.remaining_count_fp)
        for frame in socket.of(frames.UserOrderFrame)
    ]
    assert states == [
        (rests.order_id, "resting", "0.00", "2.00"),
        (taken.order_id, "executed", "3.00", "0.00"),
        (rests.order_id, "canceled", "0.00", "0.00"),
    ]
    (fill,) = [frame.msg for frame in socket.of(frames.FillFrame)]
    assert (fill.order_id, fill.client_order_id, fill.count_fp, fill.post_position_fp, fill.is_taker) == (
        taken.order_id, taken.client_order_id, "3.00", "3.00", True,
    )  # fmt: skip
    (listed,) = await reads.list_fills(subaccount=0)
    assert (listed.trade_id, listed.fee_cost) == (fill.trade_id, fill.fee_cost)
    (position,) = [frame.msg for frame in socket.of(frames.MarketPositionFrame)]
    (shown,) = await reads.list_positions(subaccount=0)
    assert (position.position_fp, position.fees_paid_dollars, position.volume_fp) == (
        shown.position_fp, shown.fees_paid_dollars, "3.00",
    )  # fmt: skip


async def test_c075_why_an_order_ended(desk, ticker):
    orders, _, socket = desk
    await socket.sid(socket.client.subscribe(["user_orders"]), "user_orders")
    await place(orders, order(ticker, "bid", "0.50"))
    await place(orders, order(ticker, "ask", "0.50"))
    await socket.until(lambda: len(socket.of(frames.UserOrderFrame)) == 2, "two order frames")
    assert [frame.msg.last_update_reason for frame in socket.of(frames.UserOrderFrame)] == [
        None,
        "SelfTradeCancel",
    ]


async def test_c076_public_trades_and_tickers(exchange, account, desk, ticker):
    orders, _, socket = desk
    await socket.sid(socket.client.subscribe(["ticker", "trade"], [ticker]), "trade")
    made = await place(orders, order(ticker, "bid", "0.51", "2.00"))
    assert made.fill_count == 200
    await socket.until(
        lambda: socket.of(frames.TradeFrame) and socket.of(frames.TickerFrame), "trade and ticker"
    )
    trade, top = socket.of(frames.TradeFrame)[0], socket.of(frames.TickerFrame)[-1].msg
    assert (trade.seq, trade.msg.count_fp, trade.msg.yes_price_dollars, trade.msg.taker_book_side) == (
        1, "2.00", "0.5100", "bid",
    )  # fmt: skip
    assert (top.price_dollars, top.yes_bid_dollars, top.yes_ask_dollars, top.volume_fp, top.open_interest_fp) == (
        "0.5100", "0.4900", "0.5100", "2.00", "2.00",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("text", "code", "command_id"),
    [
        ("not json", 1, None),
        ("[]", 1, None),
        ('{"id":1,"cmd":"subscribe"}', 2, 1),
        ('{"id":1,"cmd":"subscribe","params":{}}', 3, 1),
        ('{"id":1,"cmd":"subscribe","params":{"channels":[]}}', 3, 1),
        ('{"id":1,"cmd":"unsubscribe","params":{}}', 4, 1),
        ('{"type":"ping"}', 5, None),
        ('{"id":2,"cmd":"login"}', 5, 2),
        ('{"id":1,"cmd":"unsubscribe","params":{"sids":[9]}}', 7, 1),
        ('{"id":1,"cmd":"subscribe","params":{"channels":["ticker_v2"]}}', 8, 1),
        ('{"id":1,"cmd":"subscribe","params":{"channels":"ticker"}}', 11, 1),
        ('{"id":1,"cmd":"subscribe","params":{"channels":["orderbook_delta"],"market_tickers":"X"}}', 11, 1),
        (
            '{"id":1,"cmd":"update_subscription","params":{"action":"add_markets","market_tickers":["X"]}}',
            12,
            1,
        ),
        (
            '{"id":1,"cmd":"update_subscription","params":{"action":"add_markets","sids":[1,2],"market_tickers":["X"]}}',
            12,
            1,
        ),
        ('{"id":1,"cmd":"update_subscription","params":{"action":"forget","sid":1}}', 13, 1),
        ('{"id":1,"cmd":"subscribe","params":{"channels":["orderbook_delta"]}}', 14, 1),
        ('{"id":1,"cmd":"update_subscription","params":{"sid":1}}', 15, 1),
    ],
)
async def test_c077_error_codes(exchange, account, text, code, command_id):
    async with connected(exchange, account().signer) as socket:
        socket.say(text)
        await socket.until(lambda: socket.raw, "an answer")
    (answer,) = socket.raw
    assert (answer["type"], answer["msg"]["code"], answer.get("id")) == ("error", code, command_id)


async def test_c078_a_connection_survives_what_it_refuses(exchange, account, ticker):
    async with connected(exchange, account().signer) as socket:
        socket.say("garbage")
        await socket.sid(socket.client.subscribe(["trade"], [ticker]), "trade")
        socket.say('{"id":2,"cmd":"list_subscriptions"}')
        await socket.until(lambda: socket.of(frames.OkFrame), "the list")
    assert [answer["type"] for answer in socket.raw] == ["error", "subscribed", "ok"]
    assert socket.raw[2]["msg"] == [{"channel": "trade", "sid": 1, "market_tickers": [ticker]}]


async def test_c079_use_yes_price(desk, ticker):
    """With use_yes_price the NO levels are in YES prices: the book reads as asks."""
    orders, _, socket = desk
    number = socket.client.subscribe(["orderbook_delta"], [ticker], use_yes_price=True)
    await socket.sid(number, "orderbook_delta")
    await place(orders, order(ticker, "ask", "0.60"))
    await socket.until(lambda: socket.of(frames.OrderbookDeltaFrame), "a delta")
    (snapshot,) = socket.of(frames.OrderbookSnapshotFrame)
    assert snapshot.msg.no_dollars_fp[-1][0] == "0.5100"
    (delta,) = socket.of(frames.OrderbookDeltaFrame)
    assert (delta.msg.side, delta.msg.price_dollars) == ("no", "0.6000")


async def test_c080_an_empty_side_is_absent(exchange, account, desk, ticker):
    orders, _, socket = desk
    made = await place(orders, order(ticker, "bid", "0.99", "9000.00", time_in_force="immediate_or_cancel"))
    assert made.fill_count > 0
    await socket.sid(socket.client.subscribe(["orderbook_delta"], [ticker]), "orderbook_delta")
    await socket.until(lambda: socket.of(frames.OrderbookSnapshotFrame), "a snapshot")
    (raw,) = [raw for raw in socket.raw if raw["type"] == "orderbook_snapshot"]
    assert "yes_dollars_fp" in raw["msg"]
    assert "no_dollars_fp" not in raw["msg"]


async def test_c081_a_disconnect_voids_sids_and_does_not_cancel_orders(exchange, account, ticker):
    demo = account()
    async with (
        exchange.orders(demo.signer) as orders,
        exchange.rest(demo.signer) as reads,
        connected(exchange, demo.signer, reconnects=True) as socket,
    ):
        made = await place(orders, order(ticker, "bid", "0.40"))
        await socket.sid(socket.client.subscribe(["ticker"]), "ticker")
        socket.opened.clear()
        assert exchange.disconnect(demo.name) == 1
        async with asyncio.timeout(10):
            await socket.opened.wait()
        assert len(socket.closed) == 1
        assert (await reads.get_order(made.order_id)).status == "resting"
        again = await socket.sid(socket.client.subscribe(["trade"]), "trade")
        assert again == 1


async def test_c082_a_restricted_key_hears_of_its_subaccount_only(exchange, account, ticker):
    demo = account()
    async with exchange.rest(demo.signer) as manager, exchange.orders(demo.signer) as orders:
        made = await manager.generate_api_key("one", subaccount=1, scopes=["read"])
        restricted = Signer.from_pem(made.api_key_id, made.private_key.encode())
        async with connected(exchange, restricted) as socket, connected(exchange, demo.signer) as all_of_it:
            for one in (socket, all_of_it):
                await one.sid(one.client.subscribe(["user_orders"]), "user_orders")
            await place(orders, order(ticker, "bid", "0.40"))
            await all_of_it.until(lambda: all_of_it.of(frames.UserOrderFrame), "the order's frame")
            await socket.sid(socket.client.subscribe(["fill"]), "fill")
            assert socket.of(frames.UserOrderFrame) == []
