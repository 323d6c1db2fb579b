"""Portfolio reads that lag behind the engine, by switch (section 3.5)."""

from __future__ import annotations

import datetime as dt

import pytest
from soloist_kalshi import frames
from soloist_kalshi.errors import VenueNotFound

from tests.conformance.cards import card, connected

LAG_MS = 5_000


@pytest.fixture
async def lagging(exchange, desk):
    """An account whose reads are five seconds behind."""
    exchange.switch(read_model_lag_ms=LAG_MS)
    exchange.advance(2 * LAG_MS)
    return desk


@card(
    "C217",
    section="3.5",
    title="By switch, a fresh order is not found at first: a 404 does not mean unknown",
    clock="virtual",
    switches=("read_model_lag_ms",),
)
async def test_a_fresh_order_is_not_found(exchange, lagging):
    made = await lagging.bid("0.40")
    with pytest.raises(VenueNotFound):
        await lagging.order(made.order_id)
    assert await lagging.reads.list_orders(subaccount=0) == []
    exchange.advance(LAG_MS + 1)
    assert (await lagging.order(made.order_id)).status == "resting"


@card(
    "C218",
    section="3.5",
    title="By switch, a canceled order reads `resting` for a while, and a second cancel is 404 all the same",
    clock="virtual",
    switches=("read_model_lag_ms",),
)
async def test_a_cancelled_order_still_rests(exchange, lagging):
    made = await lagging.bid("0.40")
    exchange.advance(LAG_MS + 1)
    await lagging.cancel(made.order_id)
    assert (await lagging.order(made.order_id)).status == "resting"
    assert (await lagging.cancel(made.order_id)).status == 404
    exchange.advance(LAG_MS + 1)
    assert (await lagging.order(made.order_id)).status == "canceled"


@card(
    "C219",
    section="3.5",
    title="By switch, balance, positions and fills lag together",
    clock="virtual",
    switches=("read_model_lag_ms",),
)
async def test_money_and_fills_lag(exchange, lagging):
    await lagging.bid("0.51", "2.00")
    assert await lagging.balance() == "10000.000000"
    assert await lagging.position() == "0.00"
    assert await lagging.reads.list_fills(subaccount=0) == []
    exchange.advance(LAG_MS + 1)
    assert await lagging.balance() != "10000.000000"
    assert await lagging.position() == "2.00"
    assert len(await lagging.reads.list_fills(subaccount=0)) == 1


@card(
    "C220",
    section="3.5",
    title="as_of_time tells how fresh the portfolio reads are",
    clock="virtual",
    switches=("read_model_lag_ms",),
)
async def test_as_of_time(exchange, lagging):
    async def behind_ms():
        shown = await lagging.reads.get_user_data_timestamp()
        moment = dt.datetime.fromisoformat(shown.as_of_time)
        return exchange.now_ms() - round(moment.timestamp() * 1000)

    assert LAG_MS <= await behind_ms() < LAG_MS + 1_000
    exchange.switch(read_model_lag_ms=0)
    assert await behind_ms() < 1_000


@card(
    "C221",
    section="3.5",
    title="The order stream does not lag: it is how a client knows before the reads do",
    clock="virtual",
    switches=("read_model_lag_ms",),
)
async def test_the_stream_does_not_lag(exchange, lagging):
    async with connected(exchange, lagging.account.signer) as socket:
        await socket.sid(socket.client.subscribe(["user_orders"]), "user_orders")
        made = await lagging.bid("0.40")
        await socket.until(lambda: socket.of(frames.UserOrderFrame), "an order frame")
        assert socket.of(frames.UserOrderFrame)[0].msg.order_id == made.order_id
        assert await lagging.reads.list_orders(subaccount=0) == []
