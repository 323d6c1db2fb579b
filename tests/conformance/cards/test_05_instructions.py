"""Post-only, reduce-only and self-trade prevention (section 8.1)."""

from __future__ import annotations

from soloist_kalshi import frames
from soloist_kalshi.orders import Accepted

from tests.conformance.cards import card, connected

IOC = {"time_in_force": "immediate_or_cancel"}


@card("C063", section="8.1", title="Post-only that would cross is refused with `post only cross`")
async def test_post_only_that_crosses(desk):
    refused = await desk.bid("0.51", post_only=True)
    assert (refused.status, refused.code) == (400, "invalid_order")
    assert "post only cross" in refused.message
    assert await desk.reads.list_orders(subaccount=0) == []


@card("C064", section="8.1", title="Post-only that does not cross rests", demo=True)
async def test_post_only_that_rests(desk):
    made = await desk.bid("0.01", post_only=True)
    assert isinstance(made, Accepted)
    assert made.remaining_count == 100
    await desk.cancel(made.order_id)


@card(
    "C065",
    section="16",
    title="By switch, post-only that would cross is accepted and canceled with PostOnlyCrossCancel",
    switches=("post_only_cross",),
)
async def test_post_only_is_accepted_and_cancelled(exchange, desk):
    exchange.switch(post_only_cross="cancel")
    async with connected(exchange, desk.account.signer) as socket:
        await socket.sid(socket.client.subscribe(["user_orders"]), "user_orders")
        made = await desk.bid("0.51", post_only=True)
        assert isinstance(made, Accepted)
        assert (made.fill_count, made.remaining_count) == (0, 0)
        assert (await desk.order(made.order_id)).status == "canceled"
        await socket.until(lambda: socket.of(frames.UserOrderFrame), "an order frame")
        assert socket.of(frames.UserOrderFrame)[-1].msg.last_update_reason == "PostOnlyCrossCancel"
    assert await desk.balance() == "10000.000000"


@card("C066", section="8.1", title="Reduce-only never goes through zero")
async def test_reduce_only_stops_at_zero(desk):
    await desk.bid("0.51", "3.00")
    made = await desk.ask("0.49", "10.00", reduce_only=True, **IOC)
    assert (made.fill_count, made.remaining_count) == (300, 0)
    assert await desk.position() == "0.00"


@card("C067", section="8.1", title="Reduce-only without a position, or away from it, fills nothing")
async def test_reduce_only_without_a_position(desk):
    refused = await desk.ask("0.49", reduce_only=True, **IOC)
    assert getattr(refused, "fill_count", 0) == 0
    await desk.bid("0.51", "3.00")
    away = await desk.bid("0.51", reduce_only=True, **IOC)
    assert getattr(away, "fill_count", 0) == 0
    assert await desk.position() == "3.00"


@card(
    "C068",
    section="16",
    title="Reduce-only goes with immediate-or-cancel alone, or by switch with every time in force",
    switches=("reduce_only",),
)
async def test_reduce_only_that_rests(exchange, desk):
    await desk.bid("0.51", "3.00")
    refused = await desk.ask("0.60", reduce_only=True)
    assert (refused.status, refused.code) == (400, "invalid_order")
    exchange.switch(reduce_only="any")
    made = await desk.ask("0.60", "2.00", reduce_only=True)
    assert isinstance(made, Accepted)
    assert made.remaining_count == 200


@card(
    "C069",
    section="8.1",
    title="Self-cross, taker_at_cross: the taker ends unfilled, the resting order stays",
)
async def test_taker_at_cross(desk):
    rests = await desk.bid("0.50", "2.00")
    made = await desk.ask("0.50", "2.00")
    assert (made.fill_count, made.remaining_count) == (0, 0)
    assert (await desk.order(made.order_id)).status == "canceled"
    assert (await desk.order(rests.order_id)).remaining_count_fp == "2.00"
    assert await desk.reads.list_fills(subaccount=0) == []


@card("C070", section="8.1", title="Self-cross, taker_at_cross: what was filled before the cross stands")
async def test_taker_at_cross_keeps_earlier_fills(desks):
    desk, other = await desks(), await desks()
    await other.bid("0.50", "1.00")
    await desk.bid("0.50", "2.00")
    made = await desk.ask("0.50", "2.00")
    assert (made.fill_count, made.remaining_count) == (100, 0)
    assert await desk.position() == "-1.00"


@card("C071", section="8.1", title="Self-cross, maker: the resting order is canceled and matching goes on")
async def test_maker_gives_way(desk):
    rests = await desk.bid("0.50", "2.00")
    made = await desk.ask("0.49", "2.00", self_trade_prevention_type="maker")
    assert (await desk.order(rests.order_id)).status == "canceled"
    assert (made.fill_count, made.average_fill_price) == (200, 490_000)


@card("C072", section="8.8", title="A self-trade's victim says SelfTradeCancel, in both modes")
async def test_the_reason_of_a_self_trade(exchange, desk):
    async with connected(exchange, desk.account.signer) as socket:
        await socket.sid(socket.client.subscribe(["user_orders"]), "user_orders")
        rests = await desk.bid("0.50")
        taker = await desk.ask("0.50")
        last = await desk.ask("0.50", self_trade_prevention_type="maker")
        await socket.until(
            lambda: any(frame.msg.order_id == last.order_id for frame in socket.of(frames.UserOrderFrame)),
            "the last order's frame",
        )
        reasons = {
            frame.msg.order_id: frame.msg.last_update_reason
            for frame in socket.of(frames.UserOrderFrame)
            if frame.msg.status == "canceled"
        }
    assert reasons == {taker.order_id: "SelfTradeCancel", rests.order_id: "SelfTradeCancel"}
