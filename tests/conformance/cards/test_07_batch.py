"""Many orders in one request, and cancel-all (sections 8.5 and 8.6)."""

from __future__ import annotations

import pytest
from soloist_kalshi.orders import Accepted, Cancelled, Rejected, Requested

from tests.conformance.cards import DEADLINE_MS, card, order
from tests.conformance.kit import ORDERS, raw_order

BATCH = f"{ORDERS}/batched"
HERE = {"subaccount": 0, "deadline_ms": DEADLINE_MS}


@card("C093", section="8.5", title="A batch creates its orders, one answer each and in order", demo=True)
async def test_a_batch_of_orders(desk):
    wanted = [order(desk.ticker, "bid", "0.01", f"{count}.00", post_only=True) for count in (1, 2)]
    made = await desk.orders.create_batch(wanted, **HERE)
    assert [(item.client_order_id, item.remaining_count) for item in made] == [
        (wanted[0].client_order_id, 100),
        (wanted[1].client_order_id, 200),
    ]
    gone = await desk.orders.cancel_batch([(item.order_id, desk.ticker) for item in made], **HERE)
    assert [(item.order_id, item.reduced_by) for item in gone] == [
        (made[0].order_id, 100),
        (made[1].order_id, 200),
    ]


@card(
    "C094",
    section="8.5",
    title="A refused order of a batch carries its error; the others are created, the status is 201",
)
async def test_a_batch_with_a_refusal(desk):
    wanted = [
        order(desk.ticker, "bid", "0.40"),
        order(desk.ticker, "bid", "0.4050"),
        order(desk.ticker, "bid", "0.51"),
    ]
    made = await desk.orders.create_batch(wanted, **HERE)
    assert [type(item) for item in made] == [Accepted, Rejected, Accepted]
    assert (made[1].status, made[1].code) == (201, "invalid_price")
    assert made[2].fill_count == 100
    assert len(await desk.reads.list_orders(subaccount=0)) == 2


@card(
    "C095",
    section="8.5",
    title="The items of a batch act one after the other: the second of one id is a duplicate",
)
def test_one_id_twice_in_a_batch(desk):
    body = raw_order(desk.ticker)
    reply = desk.raw("POST", BATCH, json={"orders": [body, body]})
    assert reply.status_code == 201
    first, second = reply.json()["orders"]
    assert "error" not in first
    assert second["error"]["code"] == "order_already_exists"


@card("C096", section="8.5", title="A batch of cancels: unknown orders carry not_found, the status is 200")
async def test_a_batch_of_cancels_with_a_refusal(desk):
    made = await desk.bid("0.40", "2.00")
    gone = await desk.orders.cancel_batch([("unknown", desk.ticker), (made.order_id, desk.ticker)], **HERE)
    assert isinstance(gone[0], Rejected)
    assert (gone[0].status, gone[0].code) == (200, "not_found")
    assert isinstance(gone[1], Cancelled)
    assert gone[1].reduced_by == 200
    assert await desk.resting() == set()


@card(
    "C097", section="8.5", title="A batch that does not fit the Write bucket is refused as a whole with 429"
)
async def test_a_batch_that_does_not_fit(desk):
    wanted = [order(desk.ticker, "bid", "0.40") for _ in range(11)]
    refused = await desk.orders.create_batch(wanted, **HERE)
    assert {(item.status, item.code) for item in refused} == {(429, "too_many_requests")}
    assert await desk.reads.list_orders(subaccount=0) == []


@card(
    "C098",
    section="4",
    title="A batch costs 10 tokens per order, a batch of cancels 2 per cancel",
    clock="virtual",
)
async def test_what_a_batch_costs(exchange, desk):
    made = await desk.orders.create_batch([order(desk.ticker, "bid", "0.40") for _ in range(9)], **HERE)
    assert all(isinstance(item, Accepted) for item in made)
    gone = await desk.orders.cancel_batch([(item.order_id, desk.ticker) for item in made[:5]], **HERE)
    assert all(isinstance(item, Cancelled) for item in gone)  # 90 + 10 of 100 tokens
    refused = await desk.cancel(made[5].order_id)
    assert refused.status == 429
    exchange.advance(20)  # at 100 tokens per second that is one cancel
    assert isinstance(await desk.cancel(made[5].order_id), Cancelled)
    assert (await desk.cancel(made[6].order_id)).status == 429


@pytest.mark.parametrize("body", [{}, {"orders": "all"}, {"orders": [1]}])
@card("C099", section="8.5", title="A batch whose body is none is a bad_request")
def test_a_batch_that_is_none(desk, body):
    for method in ("POST", "DELETE"):
        reply = desk.raw(method, BATCH, json=body)
        assert (reply.status_code, reply.json()["code"]) == (400, "bad_request")


@card("C100", section="8.6", title="Cancel-all: 204, every resting order of the account ends, nobody else's")
async def test_cancel_all(desks):
    desk, other = await desks(), await desks()
    for price in ("0.38", "0.39", "0.40"):
        await desk.bid(price)
    survivor = await other.bid("0.40")
    done = await desk.orders.cancel_all(**HERE)
    assert done == Requested(204)
    assert await desk.resting() == set()
    assert await desk.balance() == "10000.000000"
    assert await other.resting() == {survivor.order_id}


@card("C101", section="8.6", title="Cancel-all of one subaccount spares the others; without one it takes all")
async def test_cancel_all_of_a_subaccount(desks):
    desk = await desks(tier="advanced")
    sub = await desk.funded_subaccount("100.00")
    kept = await desk.bid("0.40")
    await desk.bid("0.40", subaccount=sub)
    await desk.orders.cancel_all(subaccount=sub, deadline_ms=DEADLINE_MS)
    assert await desk.reads.list_orders(subaccount=sub, status="resting") == []
    assert await desk.resting() == {kept.order_id}
    await desk.bid("0.40", subaccount=sub)
    assert desk.raw("DELETE", ORDERS).status_code == 204
    assert await desk.reads.list_orders(subaccount=sub, status="resting") == []
    assert await desk.resting() == set()


@card(
    "C102",
    section="8.6",
    title="By switch, cancel-all happens later, and takes orders placed meanwhile",
    clock="virtual",
    switches=("cancel_all_lag_ms",),
)
async def test_a_late_cancel_all(exchange, desk):
    exchange.switch(cancel_all_lag_ms=5_000)
    before = await desk.bid("0.40")
    await desk.orders.cancel_all(**HERE)
    assert await desk.resting() == {before.order_id}
    await desk.bid("0.39")
    exchange.advance(5_001)
    assert await desk.resting() == set()
    after = await desk.bid("0.40")
    assert await desk.resting() == {after.order_id}


@card(
    "C103",
    section="8.6",
    title="By switch, orders placed in the minute after a cancel-all are canceled, too",
    clock="virtual",
    switches=("cancel_all_tail_ms",),
)
async def test_the_tail_of_a_cancel_all(exchange, desk):
    exchange.switch(cancel_all_tail_ms=60_000)
    await desk.orders.cancel_all(**HERE)
    exchange.advance(30_000)
    await desk.bid("0.40")
    exchange.advance(100)
    assert await desk.resting() == set()
    exchange.advance(31_000)
    after = await desk.bid("0.40")
    exchange.advance(100)
    assert await desk.resting() == {after.order_id}


@card(
    "C104",
    section="4",
    title="Cancel-all costs 2 tokens, or by switch as many as the largest batch",
    clock="virtual",
    switches=("cancel_all_cost",),
)
async def test_what_cancel_all_costs(exchange, desks):
    desk = await desks()
    outcomes = [await desk.orders.cancel_all(**HERE) for _ in range(50)]
    assert outcomes == [Requested(204)] * 50
    assert (await desk.orders.cancel_all(**HERE)).status == 429
    exchange.switch(cancel_all_cost="batch")
    exchange.advance(2_000)
    assert await desk.orders.cancel_all(**HERE) == Requested(204)
    assert (await desk.orders.cancel_all(**HERE)).status == 429
