"""What each channel tells (section 13.4), and how a book is kept from it (section 13.5)."""

from __future__ import annotations

import json

import pytest
from soloist_kalshi import frames
from soloist_kalshi.numbers import count_from_text

from tests.conformance.cards import card, connected


@pytest.fixture
async def socket(exchange, desk):
    async with connected(exchange, desk.account.signer) as found:
        yield found


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


@card(
    "C255",
    section="13.4",
    title="Subscribing to a book brings a snapshot first, the same as over REST",
    demo=True,
)
async def test_a_snapshot_first(exchange, account, ticker):
    async with connected(exchange, account().signer) as socket:
        await socket.sid(socket.client.subscribe(["orderbook_delta"], [ticker]), "orderbook_delta")
        await socket.until(lambda: socket.of(frames.OrderbookSnapshotFrame), "a snapshot")
    first = next(raw for raw in socket.raw if raw["type"].startswith("orderbook"))
    assert (first["type"], first["seq"], first["msg"]["market_ticker"]) == ("orderbook_snapshot", 1, ticker)
    assert first["msg"]["market_id"]


@card(
    "C256",
    section="13.5",
    title="A snapshot and its deltas give the REST book, over rests, trades, amends and cancels",
)
async def test_deltas_give_the_book(desk, socket):
    await socket.sid(socket.client.subscribe(["orderbook_delta"], [desk.ticker]), "orderbook_delta")
    made = await desk.bid("0.50", "2.00")
    await desk.ask("0.45", "1200.00", self_trade_prevention_type="maker")
    moved = await desk.bid("0.20", "3.00")
    await desk.amend(moved.order_id, "bid", "0.21", "4.00")
    await desk.decrease(moved.order_id, by=100)
    await desk.cancel(moved.order_id)
    last = await desk.bid("0.19", "5.00")

    def is_last():
        deltas = socket.of(frames.OrderbookDeltaFrame)
        return deltas and deltas[-1].msg.client_order_id == last.client_order_id

    await socket.until(is_last, "the delta of the last order")
    assert replayed(socket.raw, desk.ticker) == served(await desk.reads.get_orderbook(desk.ticker))
    mine = [frame.msg for frame in socket.of(frames.OrderbookDeltaFrame) if frame.msg.client_order_id]
    assert mine[0].client_order_id == made.client_order_id
    assert socket.gaps == []


@card("C257", section="13.4", title="A delta tells its time; only own orders carry client_order_id")
async def test_the_fields_of_a_delta(exchange, desks):
    desk, other = await desks(), await desks()
    async with connected(exchange, desk.account.signer) as socket:
        await socket.sid(socket.client.subscribe(["orderbook_delta"], [desk.ticker]), "orderbook_delta")
        made = await desk.bid("0.40", "2.00")
        await other.ask("0.60", "3.00")
        await socket.until(lambda: len(socket.of(frames.OrderbookDeltaFrame)) == 2, "two deltas")
    own, foreign = [raw["msg"] for raw in socket.raw if raw["type"] == "orderbook_delta"]
    assert (own["side"], own["price_dollars"], own["delta_fp"]) == ("yes", "0.4000", "2.00")
    assert (own["client_order_id"], own["subaccount"]) == (made.client_order_id, 0)
    assert (foreign["side"], foreign["price_dollars"], foreign["delta_fp"]) == ("no", "0.4000", "3.00")
    assert not {"client_order_id", "subaccount"} & set(foreign)
    assert abs(own["ts_ms"] - made.ts_ms) < 60_000
    assert own["ts"].endswith("Z")


@card("C258", section="13.4", title="With use_yes_price NO levels are in YES prices: the book reads as asks")
async def test_use_yes_price(desk, socket):
    number = socket.client.subscribe(["orderbook_delta"], [desk.ticker], use_yes_price=True)
    await socket.sid(number, "orderbook_delta")
    await desk.ask("0.60")
    await socket.until(lambda: socket.of(frames.OrderbookDeltaFrame), "a delta")
    (snapshot,) = socket.of(frames.OrderbookSnapshotFrame)
    assert "0.5100" in {price for price, _ in snapshot.msg.no_dollars_fp}
    (delta,) = socket.of(frames.OrderbookDeltaFrame)
    assert (delta.msg.side, delta.msg.price_dollars) == ("no", "0.6000")


@card("C259", section="13.4", title="The key of an empty side is absent; of an empty book both are")
async def test_an_empty_side(desk, socket, new_ticker):
    desk.ticker = new_ticker("empty")
    sid = await socket.sid(socket.client.subscribe(["orderbook_delta"], [desk.ticker]), "orderbook_delta")
    await socket.until(lambda: socket.of(frames.OrderbookSnapshotFrame), "a snapshot")
    await desk.bid("0.40")
    socket.client.get_snapshot(sid, [desk.ticker])
    await socket.until(lambda: len(socket.of(frames.OrderbookSnapshotFrame)) == 2, "a second snapshot")
    empty, bids = [raw["msg"] for raw in socket.raw if raw["type"] == "orderbook_snapshot"]
    assert not {"yes_dollars_fp", "no_dollars_fp"} & set(empty)
    assert "no_dollars_fp" not in bids
    assert bids["yes_dollars_fp"] == [["0.4000", "1.00"]]


@card("C260", section="13.4", title="Private channels tell the life of an order, and agree with REST")
async def test_private_channels(desk, socket):
    await socket.sid(socket.client.subscribe(["user_orders", "fill", "market_positions"]), "market_positions")
    rests = await desk.bid("0.50", "2.00")
    taken = await desk.bid("0.51", "3.00")
    await desk.cancel(rests.order_id)
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
    (listed,) = await desk.reads.list_fills(subaccount=0)
    assert (listed.trade_id, listed.fee_cost) == (fill.trade_id, fill.fee_cost)
    (position,) = [frame.msg for frame in socket.of(frames.MarketPositionFrame)]
    (shown,) = await desk.reads.list_positions(subaccount=0)
    assert (position.position_fp, position.volume_fp) == (shown.position_fp, "3.00")
    assert float(position.fees_paid_dollars) == float(shown.fees_paid_dollars)


@card("C261", section="13.3", title="Private frames and tickers carry no seq: gaps in them cannot be seen")
async def test_private_frames_have_no_numbers(desk, socket):
    await socket.sid(
        socket.client.subscribe(["ticker", "user_orders", "fill", "market_positions"]), "market_positions"
    )
    await desk.bid("0.51")
    await socket.until(
        lambda: {"ticker", "user_order", "fill", "market_position"} <= {raw["type"] for raw in socket.raw},
        "a frame of each channel",
    )
    kinds = {"ticker", "user_order", "fill", "market_position"}
    assert not [raw for raw in socket.raw if raw["type"] in kinds and "seq" in raw]


@card(
    "C262",
    section="8.8",
    title="user_order tells why: Trade, Amend, Decrease, and what was asked for says nothing",
)
async def test_reasons(exchange, desks):
    desk, other = await desks(), await desks()
    async with connected(exchange, desk.account.signer) as socket:
        await socket.sid(socket.client.subscribe(["user_orders"]), "user_orders")
        made = await desk.bid("0.40", "5.00")
        await desk.amend(made.order_id, "bid", "0.50", "5.00")
        await desk.decrease(made.order_id, by=100)
        await other.ask("0.50", "1.00")
        await desk.cancel(made.order_id)
        await socket.until(lambda: len(socket.of(frames.UserOrderFrame)) == 5, "five order frames")
    reasons = [frame.msg.last_update_reason or None for frame in socket.of(frames.UserOrderFrame)]
    assert reasons == [None, "Amend", "Decrease", "Trade", None]


@card("C263", section="13.4", title="A public trade is told once, with its taker's side and its time")
async def test_the_trade_channel(desk, socket):
    await socket.sid(socket.client.subscribe(["trade"], [desk.ticker]), "trade")
    await desk.bid("0.51", "2.00")
    await socket.until(lambda: socket.of(frames.TradeFrame), "a trade")
    (trade,) = socket.of(frames.TradeFrame)
    assert (trade.seq, trade.msg.count_fp, trade.msg.yes_price_dollars, trade.msg.no_price_dollars) == (
        1, "2.00", "0.5100", "0.4900",
    )  # fmt: skip
    assert (trade.msg.taker_book_side, trade.msg.taker_outcome_side) == ("bid", "yes")
    (fill,) = await desk.reads.list_fills(subaccount=0)
    assert trade.msg.trade_id == fill.trade_id


@card(
    "C264",
    section="13.4",
    title="The ticker channel tells prices, sizes, volume and open interest after a change",
)
async def test_the_ticker_channel(desk, socket):
    await socket.sid(socket.client.subscribe(["ticker"], [desk.ticker]), "ticker")
    await desk.bid("0.51", "2.00")
    await socket.until(
        lambda: (seen := socket.of(frames.TickerFrame)) and seen[-1].msg.volume_fp == "2.00", "a ticker"
    )
    top = socket.of(frames.TickerFrame)[-1].msg
    assert (top.price_dollars, top.yes_bid_dollars, top.yes_ask_dollars, top.open_interest_fp) == (
        "0.5100", "0.4900", "0.5100", "2.00",
    )  # fmt: skip


@card(
    "C265",
    section="13.2",
    title="send_initial_snapshot brings the current ticker without waiting for a change",
)
async def test_the_first_ticker(desk, socket):
    command = {
        "id": 1,
        "cmd": "subscribe",
        "params": {"channels": ["ticker"], "market_tickers": [desk.ticker], "send_initial_snapshot": True},
    }
    socket.say(json.dumps(command))
    await socket.until(lambda: socket.of(frames.TickerFrame), "a ticker without any trade")
    assert socket.of(frames.TickerFrame)[0].msg.market_ticker == desk.ticker


@card("C266", section="13.4", title="Public channels without a market filter tell every market")
async def test_no_filter(desk, socket, new_ticker):
    await socket.sid(socket.client.subscribe(["trade"]), "trade")
    other = new_ticker()
    await desk.bid("0.51")
    await desk.bid("0.51", ticker=other)
    await socket.until(lambda: len(socket.of(frames.TradeFrame)) >= 2, "two trades")
    assert {desk.ticker, other} <= {frame.msg.market_ticker for frame in socket.of(frames.TradeFrame)}


@card("C267", section="13.4", title="Two accounts: nobody hears of the other's orders, fills or positions")
async def test_private_means_private(exchange, desks):
    one, two = await desks(), await desks()
    async with connected(exchange, two.account.signer) as socket:
        await socket.sid(
            socket.client.subscribe(["user_orders", "fill", "market_positions"]), "market_positions"
        )
        await one.bid("0.40")
        await one.bid("0.51")
        own = await two.bid("0.39")
        await socket.until(lambda: socket.of(frames.UserOrderFrame), "the own order's frame")
        assert [frame.msg.order_id for frame in socket.of(frames.UserOrderFrame)] == [own.order_id]
        assert not [raw for raw in socket.raw if raw["type"] in {"fill", "market_position"}]


@card("C268", section="13.5", title="A gap in seq is seen, and get_snapshot mends the book")
async def test_a_gap_is_mended(exchange, desk, socket):
    sid = await socket.sid(socket.client.subscribe(["orderbook_delta"], [desk.ticker]), "orderbook_delta")
    exchange.faults(
        {"kind": "frame_dropped", "account": desk.account.name, "path": "orderbook_delta", "times": 1}
    )
    await desk.bid("0.40")
    await desk.bid("0.41")
    await socket.until(lambda: socket.gaps, "a gap")
    (gap,) = socket.gaps
    assert (gap.sid, gap.expected, gap.received) == (sid, 2, 3)
    socket.client.get_snapshot(sid, [desk.ticker])
    await socket.until(lambda: len(socket.of(frames.OrderbookSnapshotFrame)) == 2, "a fresh snapshot")
    assert len(socket.gaps) == 1
    assert replayed(socket.raw, desk.ticker) == served(await desk.reads.get_orderbook(desk.ticker))
