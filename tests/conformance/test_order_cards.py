"""C020-C044: order entry (section 8) and its errors (section 3.3), by the venue client where it can say it, else as raw bytes."""

from __future__ import annotations

import time

import msgspec
import pytest
from soloist_kalshi.orders import Accepted, Cancelled, Rejected

from tests.conformance.cards import DEADLINE_MS, order, place, signed

ORDERS = "/portfolio/events/orders"


@pytest.fixture
async def trader(exchange, account):
    async with exchange.orders(account().signer) as client:
        yield client


@pytest.fixture
async def desk(exchange, account):
    """An account with both of its clients: (orders, reads)."""
    demo = account()
    async with exchange.orders(demo.signer) as orders, exchange.rest(demo.signer) as reads:
        yield orders, reads


def cancel(client, order_id, ticker):
    return client.cancel(order_id, market_ticker=ticker, subaccount=0, deadline_ms=DEADLINE_MS)


def raw_order(ticker, /, **changes):
    body = {
        "ticker": ticker,
        "side": "bid",
        "count": "1.00",
        "price": "0.40",
        "time_in_force": "good_till_canceled",
        "self_trade_prevention_type": "maker",
        "client_order_id": f"raw-{time.time_ns()}",
    } | changes
    return {name: value for name, value in body.items() if value is not None}


async def test_c020_an_order_rests_is_listed_and_cancelled(desk, ticker):
    orders, reads = desk
    wanted = order(ticker, "bid", "0.40", "2.50")
    made = await place(orders, wanted)
    assert isinstance(made, Accepted)
    assert (made.fill_count, made.remaining_count, made.client_order_id) == (0, 250, wanted.client_order_id)
    assert (made.average_fill_price, made.average_fee_paid) == (None, None)
    (listed,) = await reads.list_orders(subaccount=0, status="resting")
    assert (listed.order_id, listed.remaining_count_fp, listed.yes_price_dollars, listed.book_side) == (
        made.order_id,
        "2.50",
        "0.4000",
        "bid",
    )
    assert (await reads.get_balance(subaccount=0)).balance_dollars == "9999.000000"
    gone = await cancel(orders, made.order_id, ticker)
    assert isinstance(gone, Cancelled)
    assert (gone.reduced_by, gone.client_order_id) == (250, wanted.client_order_id)
    (listed,) = await reads.list_orders(subaccount=0)
    assert (listed.status, listed.remaining_count_fp, listed.initial_count_fp) == ("canceled", "0.00", "2.50")
    assert await reads.list_orders(subaccount=0, status="resting") == []
    assert (await reads.get_balance(subaccount=0)).balance_dollars == "10000.000000"


async def test_c021_a_client_order_id_is_used_up_for_ever(trader, ticker):
    wanted = order(ticker, "bid", "0.40")
    made = await place(trader, wanted)
    again = await place(trader, wanted)
    assert (again.status, again.code) == (409, "order_already_exists")
    await cancel(trader, made.order_id, ticker)
    again = await place(trader, wanted)
    assert (again.status, again.code) == (409, "order_already_exists")
    unfilled = order(ticker, "bid", "0.40", time_in_force="immediate_or_cancel")
    assert isinstance(await place(trader, unfilled), Accepted)
    assert (await place(trader, unfilled)).code == "order_already_exists"


async def test_c022_a_refused_order_does_not_use_up_its_id(trader, ticker):
    wanted = order(ticker, "bid", "0.4050")
    assert (await place(trader, wanted)).code == "invalid_price"
    assert isinstance(await place(trader, msgspec.structs.replace(wanted, price="0.40")), Accepted)


@pytest.mark.parametrize("price", ["0.4050", "0.0000", "1.0000", "1.0100", "0.0001"])
async def test_c023_a_price_off_the_grid(trader, ticker, price):
    refused = await place(trader, order(ticker, "bid", price))
    assert (refused.status, refused.code) == (400, "invalid_price")


@pytest.mark.parametrize(
    "changes",
    [{"count": 1}, {"price": 0.4}, {"side": "yes"}, {"ticker": None}, {"self_trade_prevention_type": None}],
)
def test_c024_numbers_and_missing_fields_are_bad_requests(exchange, account, ticker, changes):
    reply = signed(exchange, account().signer, "POST", ORDERS, json=raw_order(ticker, **changes))
    assert (reply.status_code, reply.json()["code"]) == (400, "bad_request")
    assert reply.json()["details"].startswith("json: cannot unmarshal")


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"\xff"])
def test_c025_a_body_that_is_no_order(exchange, account, body):
    reply = signed(exchange, account().signer, "POST", ORDERS, content=body)
    assert (reply.status_code, reply.json()["code"]) == (400, "bad_request")


@pytest.mark.parametrize("count", ["0.00", "-1.00"])
async def test_c026_a_size_that_is_none(trader, ticker, count):
    refused = await place(trader, order(ticker, "bid", "0.40", count))
    assert (refused.status, refused.code) == (400, "invalid_order_size")


async def test_c027_insufficient_balance_counts_what_other_orders_hold_back(exchange, account, ticker):
    async with exchange.orders(account("10.00").signer) as client:
        assert isinstance(await place(client, order(ticker, "bid", "0.40", "20.00")), Accepted)
        refused = await place(client, order(ticker, "bid", "0.40", "5.00"))
        assert (refused.status, refused.code) == (400, "insufficient_balance")
        assert isinstance(await place(client, order(ticker, "bid", "0.10", "5.00")), Accepted)


async def test_c028_one_position_cannot_back_two_sales(exchange, account, ticker):
    """Ten held contracts close one order of ten; a second one opens a position and needs its own money."""
    async with exchange.orders(account("6.00").signer) as client:
        assert (await place(client, order(ticker, "bid", "0.51", "10.00"))).fill_count == 1000
        assert isinstance(await place(client, order(ticker, "ask", "0.60", "10.00")), Accepted)
        refused = await place(client, order(ticker, "ask", "0.61", "10.00"))
        assert (refused.status, refused.code) == (400, "insufficient_balance")


async def test_c029_an_unknown_market(trader):
    refused = await place(trader, order("NO-SUCH-MARKET", "bid", "0.40"))
    assert (refused.status, refused.code) == (404, "not_found")


async def test_c030_post_only(trader, ticker):
    refused = await place(trader, order(ticker, "bid", "0.51", post_only=True))
    assert (refused.status, refused.code, refused.message) == (
        400,
        "invalid_order",
        "invalid_order (post only cross)",
    )
    assert isinstance(await place(trader, order(ticker, "bid", "0.50", post_only=True)), Accepted)


async def test_c031_immediate_or_cancel_shows_its_final_state(trader, ticker):
    nothing = await place(trader, order(ticker, "bid", "0.50", time_in_force="immediate_or_cancel"))
    assert (nothing.fill_count, nothing.remaining_count) == (0, 0)
    part = await place(trader, order(ticker, "bid", "0.51", "3000.00", time_in_force="immediate_or_cancel"))
    assert 0 < part.fill_count < 300_000
    assert part.remaining_count == 0


async def test_c032_fill_or_kill_fills_whole_or_not_at_all(desk, ticker):
    orders, reads = desk
    killed = await place(orders, order(ticker, "bid", "0.51", "3000.00", time_in_force="fill_or_kill"))
    assert (killed.fill_count, killed.remaining_count) == (0, 0)
    assert (await reads.get_order(killed.order_id)).status == "canceled"
    filled = await place(orders, order(ticker, "bid", "0.55", "600.00", time_in_force="fill_or_kill"))
    assert (filled.fill_count, filled.remaining_count) == (60_000, 0)
    assert (await reads.get_order(filled.order_id)).status == "executed"


async def test_c033_fill_or_kill_that_meets_an_own_order_is_immediate_or_cancel(trader, ticker):
    """Mode maker: the own order gives way and matching goes on behind it, so what is there fills."""
    await place(trader, order(ticker, "ask", "0.50", "2.00"))
    mode = {"time_in_force": "fill_or_kill", "self_trade_prevention_type": "maker"}
    made = await place(trader, order(ticker, "bid", "0.51", "3000.00", **mode))
    assert 0 < made.fill_count < 300_000
    assert (made.remaining_count, made.average_fill_price) == (0, 510_000)


async def test_c034_self_cross_taker_at_cross_leaves_the_resting_order(desk, ticker):
    orders, reads = desk
    rests = await place(orders, order(ticker, "bid", "0.50", "2.00"))
    made = await place(orders, order(ticker, "ask", "0.50", "2.00"))
    assert (made.fill_count, made.remaining_count) == (0, 0)
    assert (await reads.get_order(made.order_id)).status == "canceled"
    assert (await reads.get_order(rests.order_id)).remaining_count_fp == "2.00"
    assert await reads.list_fills(subaccount=0) == []


async def test_c035_self_cross_maker_cancels_the_resting_order_and_goes_on(desk, ticker):
    orders, reads = desk
    rests = await place(orders, order(ticker, "bid", "0.50", "2.00"))
    made = await place(orders, order(ticker, "ask", "0.49", "2.00", self_trade_prevention_type="maker"))
    assert (await reads.get_order(rests.order_id)).status == "canceled"
    assert (made.fill_count, made.average_fill_price) == (200, 490_000)


async def test_c036_an_order_expires_by_itself(desk, ticker):
    orders, reads = desk
    made = await place(orders, order(ticker, "bid", "0.40", expiration_time=int(time.time()) + 2))
    assert made.remaining_count == 100
    deadline_s = time.monotonic() + 10
    while (listed := await reads.get_order(made.order_id)).status == "resting":
        assert time.monotonic() < deadline_s, listed
    assert listed.status == "canceled"
    assert (await reads.get_balance(subaccount=0)).balance_dollars == "10000.000000"


@pytest.mark.parametrize(
    ("changes", "details"),
    [
        ({"expiration_time": 1_600_000_000}, "Expiration timestamp must be in the future"),
        ({"expiration_time": -5}, "Expiration timestamp must be in the future"),
        ({"expiration_time": 10**14}, "expiration_time is in seconds, before the year 10000"),
        (
            {"expiration_time": 4_000_000_000, "time_in_force": "immediate_or_cancel"},
            "expiration_time goes with good_till_canceled only",
        ),
        ({"reduce_only": True}, "reduce_only goes with immediate_or_cancel only"),
        (
            {"reduce_only": True, "time_in_force": "immediate_or_cancel"},
            "reduce only: no position to reduce",
        ),
        ({"client_order_id": "x" * 65}, "client_order_id has more than 64 characters"),
        ({"subaccount": 64}, "subaccount must be 0 to 63"),
        ({"exchange_index": 2}, "the market is not on shard 2"),
    ],
)
async def test_c037_instructions_that_contradict(exchange, account, ticker, changes, details):
    demo = account()
    reply = signed(exchange, demo.signer, "POST", ORDERS, json=raw_order(ticker, **changes))
    assert (reply.status_code, reply.json()["error"]["code"], reply.json()["error"]["details"]) == (
        400,
        "invalid_order",
        details,
    )
    async with exchange.rest(demo.signer) as reads:
        assert await reads.list_orders(subaccount=0) == []


async def test_c038_reduce_only_never_goes_through_zero(desk, ticker):
    orders, reads = desk
    await place(orders, order(ticker, "bid", "0.51", "3.00"))
    mode = {"reduce_only": True, "time_in_force": "immediate_or_cancel"}
    made = await place(orders, order(ticker, "ask", "0.49", "10.00", **mode))
    assert (made.fill_count, made.remaining_count) == (300, 0)
    (position,) = await reads.list_positions(subaccount=0)
    assert position.position_fp == "0.00"


async def test_c039_cancelled_executed_foreign_and_unknown_orders_give_the_same_bytes(
    exchange, account, ticker
):
    demo, other = account(), account()
    async with exchange.orders(demo.signer) as client, exchange.orders(other.signer) as others:
        cancelled = await place(client, order(ticker, "bid", "0.40"))
        await cancel(client, cancelled.order_id, ticker)
        executed = await place(client, order(ticker, "bid", "0.51"))
        foreign = await place(others, order(ticker, "bid", "0.40"))
    replies = {
        (reply.status_code, reply.content, reply.headers["content-type"])
        for order_id in (cancelled.order_id, executed.order_id, foreign.order_id, "unknown")
        for reply in [signed(exchange, demo.signer, "DELETE", f"{ORDERS}/{order_id}")]
    }
    assert replies == {(404, b'{"error":{"code":"not_found","message":"not found"}}', "application/json")}


async def test_c040_cancel_all(exchange, account, ticker):
    demo, other = account(), account()
    async with (
        exchange.orders(demo.signer) as client,
        exchange.rest(demo.signer) as reads,
        exchange.orders(other.signer) as others,
    ):
        for price in ("0.38", "0.39", "0.40"):
            await place(client, order(ticker, "bid", price))
        survivor = await place(others, order(ticker, "bid", "0.40"))
        assert signed(exchange, demo.signer, "DELETE", ORDERS).status_code == 204
        assert await reads.list_orders(subaccount=0, status="resting") == []
    async with exchange.rest(other.signer) as reads:
        assert (await reads.get_order(survivor.order_id)).status == "resting"


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/portfolio/orders"),
        ("POST", "/portfolio/orders/batched"),
        ("DELETE", "/portfolio/orders/batched"),
        ("DELETE", "/portfolio/orders/some-id"),
        ("POST", "/portfolio/orders/some-id/amend"),
        ("POST", "/portfolio/orders/some-id/decrease"),
    ],
)
def test_c041_the_old_write_paths_are_gone(exchange, account, method, path):
    reply = signed(exchange, account().signer, method, path)
    assert (reply.status_code, reply.json()["error"]["code"], reply.json()["error"]["message"]) == (
        410,
        "deprecated_v1_order_endpoint",
        "Please switch to the V2 endpoints",
    )


async def test_c042_too_many_requests(exchange, account, ticker):
    """A burst of writes costs 10 tokens each; reads have a bucket of their own, and the refused order was not taken."""
    demo = account()
    async with exchange.orders(demo.signer) as client, exchange.rest(demo.signer) as reads:
        outcomes = [await place(client, order(ticker, "bid", "0.40")) for _ in range(40)]
        refused = [item for item in outcomes if isinstance(item, Rejected)]
        assert 10 <= len(outcomes) - len(refused) < 40
        assert {(item.status, item.code) for item in refused} == {(429, "too_many_requests")}
        assert len(await reads.list_orders(subaccount=0)) == len(outcomes) - len(refused)


def test_c043_the_body_of_429(exchange, account, ticker):
    demo = account()
    while (reply := signed(exchange, demo.signer, "POST", ORDERS, json=raw_order(ticker))).status_code == 201:
        pass
    assert (reply.status_code, reply.text) == (429, '{"error":"too many requests"}')
    assert "retry-after" not in reply.headers


async def test_c044_price_then_time(exchange, account, ticker):
    """The better price fills first; at one price the older order does."""
    early, late, better, taker = account(), account(), account(), account()
    async with (
        exchange.orders(early.signer) as first,
        exchange.orders(late.signer) as second,
        exchange.orders(better.signer) as third,
        exchange.orders(taker.signer) as fourth,
    ):
        await place(first, order(ticker, "ask", "0.50", "1.00"))
        await place(second, order(ticker, "ask", "0.50", "1.00"))
        assert (await place(third, order(ticker, "ask", "0.50", "0.50"))).remaining_count == 50
        made = await place(fourth, order(ticker, "bid", "0.50", "1.50"))
        assert made.fill_count == 150
    held = [exchange.account(item.name)["positions"] for item in (early, late, better)]
    assert [[row["count"] for row in rows] for rows in held] == [["-1.00"], ["-0.50"], []]


def test_c045_a_call_that_does_not_exist(exchange, account):
    reply = signed(
        exchange, account().signer, "POST", "/portfolio/events/orders/batched", json={"orders": []}
    )
    assert (reply.status_code, reply.json()) == (
        404,
        {"error": {"code": "not_found", "message": "not found"}},
    )
