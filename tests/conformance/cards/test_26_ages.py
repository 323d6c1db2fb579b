"""What takes months: a market that appears later, and what leaves the live reads (sections 6 and 13.4). The last cards of the virtual clock."""

from __future__ import annotations

import pytest
from soloist_kalshi.errors import VenueNotFound
from soloist_kalshi.orders import Accepted

from tests.conformance.cards import card, connected

DAY_MS = 24 * 3600 * 1000


@card(
    "C323",
    section="13.4",
    title="A new market is told: created, with times and metadata, and can be traded",
    clock="virtual",
)
async def test_a_market_is_created(exchange, desk, new_ticker):
    ticker = new_ticker("later")
    with pytest.raises(VenueNotFound):
        await desk.reads.get_market(ticker)
    async with connected(exchange, desk.account.signer) as socket:
        await socket.sid(socket.client.subscribe(["market_lifecycle_v2"]), "market_lifecycle_v2")
        exchange.advance(101 * DAY_MS)
        (created,) = await socket.until(
            lambda: [
                raw["msg"]
                for raw in socket.raw
                if raw["type"] == "market_lifecycle_v2" and raw["msg"]["market_ticker"] == ticker
            ],
            "the market's creation",
        )
    assert created["event_type"] == "created"
    assert created["open_ts"] < created["close_ts"]
    market = await desk.reads.get_market(ticker)
    assert created["additional_metadata"]["event_ticker"] == market.event_ticker
    assert isinstance(await desk.bid("0.40", ticker=ticker), Accepted)


@card(
    "C324",
    section="6",
    title="After more than three months what has ended is in the history, and no longer in the live reads",
    clock="virtual",
)
async def test_history(exchange, desk):
    filled = await desk.bid("0.51", "2.00")
    rests = await desk.bid("0.40")
    exchange.advance(100 * DAY_MS)
    live = await desk.reads.list_orders(subaccount=0)
    past = await desk.reads.list_orders(subaccount=0, historical=True)
    assert [row.order_id for row in live] == [rests.order_id]
    assert [row.order_id for row in past] == [filled.order_id]
    assert await desk.reads.list_fills(subaccount=0) == []
    (fill,) = await desk.reads.list_fills(subaccount=0, historical=True)
    assert fill.order_id == filled.order_id
    assert await desk.position() == "2.00"


@card(
    "C325",
    section="6",
    title="A live window of seconds, by switch: what ended leaves the live reads, what rests stays; fills can be read from a time on",
    switches=("live_window_ms",),
)
async def test_a_short_live_window(exchange, desk):
    filled = await desk.bid("0.51", "2.00")
    rests = await desk.bid("0.40")
    exchange.switch(live_window_ms=1)
    past = await eventually_listed(desk, filled.order_id)
    assert [row.order_id for row in past] == [filled.order_id]
    live = await desk.reads.list_orders(subaccount=0)
    assert [row.order_id for row in live] == [rests.order_id]
    assert await desk.reads.list_fills(subaccount=0) == []
    from_s = exchange.now_ms() // 1000 - 3600
    (fill,) = await desk.reads.list_fills(subaccount=0, historical=True, min_ts=from_s)
    assert fill.order_id == filled.order_id
    assert await desk.reads.list_fills(subaccount=0, historical=True, min_ts=from_s + 7200) == []


async def eventually_listed(desk, order_id):
    """The history, as soon as it shows an order: a millisecond has to pass first."""
    for _ in range(1_000):
        past = await desk.reads.list_orders(subaccount=0, historical=True)
        if any(row.order_id == order_id for row in past):
            return past
    raise AssertionError(f"{order_id} never became history")
