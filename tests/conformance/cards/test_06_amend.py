"""Amend and decrease: what changes, what fills, and who keeps the place in the queue (sections 8.3 and 8.4)."""

from __future__ import annotations

import pytest
from soloist_kalshi.orders import Accepted, Amended, Decreased

from tests.conformance.cards import card
from tests.conformance.kit import ORDERS


@pytest.fixture
async def queue(desks):
    """Two accounts with a bid each at one price, the first one in front: (first, its order, second, its order)."""
    first, second = await desks(), await desks()
    front = await first.bid("0.50", "5.00")
    back = await second.bid("0.50", "3.00")
    return first, front.order_id, second, back.order_id


@card("C073", section="8.3", title="An amend keeps the order's id and tells what rests", demo=True)
async def test_an_amend_keeps_the_id(desk):
    made = await desk.bid("0.01", "2.00", post_only=True)
    changed = await desk.amend(made.order_id, "bid", "0.02", "3.00")
    assert isinstance(changed, Amended)
    assert (changed.order_id, changed.remaining_count) == (made.order_id, 300)
    await desk.cancel(made.order_id)


@card(
    "C074",
    section="8.3",
    title="An amended order is listed with its new price and size, and holds back what they need",
)
async def test_an_amended_order(desk):
    made = await desk.bid("0.40", "2.00")
    await desk.amend(made.order_id, "bid", "0.30", "5.00")
    shown = await desk.order(made.order_id)
    assert (shown.yes_price_dollars, shown.remaining_count_fp, shown.status) == ("0.3000", "5.00", "resting")
    assert await desk.balance() == "9998.500000"


@card("C075", section="7", title="Queue positions: contracts ahead, 0 at the front")
async def test_queue_positions(queue):
    first, front, second, back = queue
    assert (await first.ahead(front), await second.ahead(back)) == (0, 500)
    (listed,) = await second.reads.list_queue_positions(subaccount=0, tickers=[second.ticker])
    assert (listed.order_id, listed.market_ticker, listed.queue_position_fp) == (back, second.ticker, "5.00")


@card("C076", section="8.3", title="A smaller size keeps the place in the queue")
async def test_a_smaller_size_keeps_the_place(queue):
    first, front, second, back = queue
    await first.amend(front, "bid", "0.50", "4.00")
    assert (await first.ahead(front), await second.ahead(back)) == (0, 400)


@card("C077", section="8.3", title="A larger size loses the place in the queue")
async def test_a_larger_size_loses_the_place(queue):
    first, front, second, back = queue
    await first.amend(front, "bid", "0.50", "6.00")
    assert (await first.ahead(front), await second.ahead(back)) == (300, 0)


@card("C078", section="8.3", title="Another price, and back again, loses the place in the queue")
async def test_another_price_loses_the_place(queue):
    first, front, second, back = queue
    await first.amend(front, "bid", "0.49", "5.00")
    await first.amend(front, "bid", "0.50", "5.00")
    assert (await first.ahead(front), await second.ahead(back)) == (300, 0)


@card("C079", section="8.3", title="Another expiration alone keeps the place in the queue", clock="virtual")
async def test_another_expiration_keeps_the_place(exchange, queue):
    first, front, second, back = queue
    expiry = exchange.now_ms() // 1000 + 60
    changed = await first.amend(front, "bid", "0.50", "5.00", expiration_time=expiry)
    assert isinstance(changed, Amended)
    assert (await first.ahead(front), await second.ahead(back)) == (0, 500)
    exchange.advance(61_000)
    assert (await first.order(front)).status == "canceled"


@card("C080", section="8.3", title="An expiration left out is kept, 0 takes it away", clock="virtual")
async def test_keeping_and_removing_an_expiration(exchange, desk):
    expiry = exchange.now_ms() // 1000 + 60
    kept = await desk.bid("0.40", "2.00", expiration_time=expiry)
    freed = await desk.bid("0.40", "2.00", expiration_time=expiry)
    await desk.amend(kept.order_id, "bid", "0.40", "1.00")
    await desk.amend(freed.order_id, "bid", "0.40", "1.00", expiration_time=0)
    exchange.advance(61_000)
    assert await desk.resting() == {freed.order_id}


@card("C081", section="8.3", title="An amend may cross, and fills as a taker")
async def test_an_amend_may_fill(desk):
    made = await desk.bid("0.40", "2.00")
    changed = await desk.amend(made.order_id, "bid", "0.51", "2.00")
    assert isinstance(changed, Amended)
    assert (changed.fill_count, changed.remaining_count, changed.average_fill_price) == (200, 0, 510_000)
    (fill,) = await desk.reads.list_fills(subaccount=0)
    assert (fill.is_taker, fill.order_id, fill.count_fp) == (True, made.order_id, "2.00")
    assert (await desk.order(made.order_id)).status == "executed"


@card("C082", section="8.3", title="The count of an amend is what is filled plus what shall rest")
async def test_the_count_of_an_amend(desks):
    maker, taker = await desks(), await desks()
    made = await maker.ask("0.50", "5.00")
    await taker.bid("0.50", "2.00")
    changed = await maker.amend(made.order_id, "ask", "0.50", "4.00")
    assert (changed.order_id, changed.remaining_count) == (made.order_id, 200)
    shown = await maker.order(made.order_id)
    assert (shown.fill_count_fp, shown.remaining_count_fp) == ("2.00", "2.00")


@card("C083", section="3.3", title="An amend to less than what is filled is refused, and the order stays")
async def test_an_amend_below_the_fills(desks):
    maker, taker = await desks(), await desks()
    made = await maker.ask("0.50", "5.00")
    await taker.bid("0.50", "2.00")
    refused = await maker.amend(made.order_id, "ask", "0.50", "1.00")
    assert refused.status == 400
    assert (await maker.order(made.order_id)).remaining_count_fp == "3.00"


@pytest.mark.parametrize(
    ("side", "changes", "code"),
    [
        ("ask", {}, "order_side_mismatch"),
        ("bid", {"ticker": "CARD-1"}, "order_ticker_mismatch"),
        ("bid", {"client_order_id": "another"}, "order_id_and_client_order_id_mismatch"),
    ],
)
@card(
    "C084", section="3.3", title="Another side, ticker or client order id is a mismatch, and the order stays"
)
async def test_mismatches(desk, side, changes, code):
    made = await desk.bid("0.40", "2.00")
    refused = await desk.amend(made.order_id, side, "0.41", "2.00", **changes)
    assert (refused.status, refused.code) == (400, code)
    assert (await desk.order(made.order_id)).yes_price_dollars == "0.4000"


@card("C085", section="8.3", title="updated_client_order_id renames the order; both ids are used up")
async def test_a_new_client_order_id(desk):
    made = await desk.bid("0.40", client_order_id="card-old-name")
    changed = await desk.amend(
        made.order_id,
        "bid",
        "0.41",
        "1.00",
        client_order_id="card-old-name",
        updated_client_order_id="card-new-name",
    )
    assert isinstance(changed, Amended)
    assert (await desk.order(made.order_id)).client_order_id == "card-new-name"
    for name in ("card-old-name", "card-new-name"):
        assert (await desk.bid("0.40", client_order_id=name)).code == "order_already_exists"


@card(
    "C086", section="8.3", title="An amend off the grid or beyond the balance is refused, and the order stays"
)
async def test_amends_that_cannot_be(desks):
    desk = await desks("10.00")
    made = await desk.bid("0.40", "2.00")
    for price, count, code in (
        ("0.4050", "2.00", "invalid_price"),
        ("0.40", "100.00", "insufficient_balance"),
    ):
        refused = await desk.amend(made.order_id, "bid", price, count)
        assert (refused.status, refused.code) == (400, code)
    shown = await desk.order(made.order_id)
    assert (shown.yes_price_dollars, shown.remaining_count_fp) == ("0.4000", "2.00")
    assert await desk.balance() == "9.200000"


@card(
    "C087", section="3.3", title="Amending or decreasing a dead, foreign or unknown order: equal 404 bodies"
)
async def test_amends_of_dead_orders(desks):
    desk, other = await desks(), await desks()
    gone = await desk.bid("0.40")
    await desk.cancel(gone.order_id)
    done = await desk.bid("0.51")
    foreign = await other.bid("0.40")
    amend = {"ticker": desk.ticker, "side": "bid", "price": "0.41", "count": "1.00"}
    replies = {
        (reply.status_code, reply.content.rstrip())
        for order_id in (gone.order_id, done.order_id, foreign.order_id, "unknown")
        for verb, body in (("amend", amend), ("decrease", {"reduce_by": "1.00"}))
        for reply in [desk.raw("POST", f"{ORDERS}/{order_id}/{verb}", json=body)]
    }
    assert replies == {(404, b'{"error":{"code":"not_found","message":"not found"}}')}


@card("C088", section="8.4", title="A decrease, by or to, tells what rests", demo=True)
async def test_a_decrease(desk):
    made = await desk.bid("0.01", "5.00", post_only=True)
    changed = await desk.decrease(made.order_id, by=200)
    assert isinstance(changed, Decreased)
    assert (changed.order_id, changed.remaining_count) == (made.order_id, 300)
    changed = await desk.decrease(made.order_id, to=100)
    assert changed.remaining_count == 100
    await desk.cancel(made.order_id)


@card("C089", section="8.4", title="A decrease keeps the place in the queue, and gives money back")
async def test_a_decrease_keeps_the_place(queue):
    first, front, second, back = queue
    await first.decrease(front, by=200)
    assert (await first.ahead(front), await second.ahead(back)) == (0, 300)
    assert await first.balance() == "9998.500000"


@card("C090", section="8.4", title="A decrease names exactly one of reduce_by and reduce_to")
async def test_one_of_two(desk):
    made = await desk.bid("0.40", "5.00")
    for body in ({}, {"reduce_by": "1.00", "reduce_to": "1.00"}):
        reply = desk.raw("POST", f"{ORDERS}/{made.order_id}/decrease", json=body)
        assert reply.status_code == 400, body
    assert (await desk.order(made.order_id)).remaining_count_fp == "5.00"


@card(
    "C091",
    section="16",
    title="A decrease to 0 cancels, or by switch is refused",
    switches=("reduce_to_zero",),
)
async def test_a_decrease_to_zero(exchange, desk):
    made = await desk.bid("0.40", "5.00")
    changed = await desk.decrease(made.order_id, to=0)
    assert isinstance(changed, Decreased)
    assert changed.remaining_count == 0
    assert (await desk.order(made.order_id)).status == "canceled"
    exchange.switch(reduce_to_zero="reject")
    made = await desk.bid("0.40", "5.00")
    refused = await desk.decrease(made.order_id, to=0)
    assert refused.status == 400
    assert (await desk.order(made.order_id)).status == "resting"


@card("C092", section="8.4", title="A decrease cannot make an order larger")
async def test_a_decrease_never_grows(desk):
    made = await desk.bid("0.40", "5.00")
    await desk.decrease(made.order_id, to=900)
    shown = await desk.order(made.order_id)
    assert shown.remaining_count_fp == "5.00"
    assert isinstance(made, Accepted)
