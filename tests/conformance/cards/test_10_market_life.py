"""The life of a market: status, close, a changed grid, and what becomes of resting orders (sections 6 and 13.4)."""

from __future__ import annotations

import contextlib

import pytest
from soloist_kalshi import frames
from soloist_kalshi.orders import Accepted, Rejected

from tests.conformance.cards import card, connected

HOUR_MS = 3_600_000


@pytest.fixture
async def life(exchange, desk):
    """Subscribe to the life of this test's market; return a function that waits for its next events."""
    async with connected(exchange, desk.account.signer) as socket:
        await socket.sid(socket.client.subscribe(["market_lifecycle_v2"]), "market_lifecycle_v2")

        def mine():
            return [
                raw["msg"]
                for raw in socket.raw
                if raw["type"] == "market_lifecycle_v2" and raw["msg"]["market_ticker"] == desk.ticker
            ]

        async def events(how_many):
            return await socket.until(lambda: mine()[how_many - 1 :] and mine(), f"{how_many} events")

        yield events


def inactive(outcome):
    return isinstance(outcome, Rejected) and (outcome.status, outcome.code.lower()) == (
        400,
        "market_inactive",
    )


@card("C129", section="6", title="The filter says open, the object says active", demo=True)
async def test_open_means_active(exchange, ticker):
    async with exchange.rest(None) as reads:
        (found,) = await reads.get_markets(tickers=[ticker], status="open")
    assert found.status == "active"


@card(
    "C130",
    section="6",
    title="A deactivated market takes no order; resting orders stay, and end when it is activated again",
)
async def test_a_deactivated_market(exchange, desk, life):
    rests = await desk.bid("0.40")
    exchange.market(desk.ticker, "deactivate")
    assert (await desk.reads.get_market(desk.ticker)).status == "inactive"
    assert inactive(await desk.bid("0.40"))
    assert await desk.resting() == {rests.order_id}
    exchange.market(desk.ticker, "activate")
    assert await desk.resting() == set()
    assert (await desk.order(rests.order_id)).status == "canceled"
    assert isinstance(await desk.bid("0.40"), Accepted)
    assert [event["event_type"] for event in await life(2)] == ["deactivated", "activated"]


@card(
    "C131",
    section="16",
    title="MARKET_INACTIVE is 400, or by switch 409",
    switches=("market_inactive_status",),
)
async def test_the_status_of_market_inactive(exchange, desk):
    exchange.market(desk.ticker, "deactivate")
    assert (await desk.bid("0.40")).status == 400
    exchange.switch(market_inactive_status=409)
    refused = await desk.bid("0.40")
    assert (refused.status, refused.code.lower()) == (409, "market_inactive")


@card("C132", section="6", title="A market that has not opened takes no order, and opens without an event")
async def test_an_unopened_market(exchange, desk, new_ticker):
    ticker = new_ticker("unopened")
    assert (await desk.reads.get_market(ticker)).status == "initialized"
    (found,) = await desk.reads.get_markets(tickers=[ticker], status="unopened")
    assert found.ticker == ticker
    assert inactive(await desk.bid("0.40", ticker=ticker))
    async with connected(exchange, desk.account.signer) as socket:
        await socket.sid(socket.client.subscribe(["market_lifecycle_v2"]), "market_lifecycle_v2")
        exchange.market(ticker, "activate")
        assert isinstance(await desk.bid("0.40", ticker=ticker), Accepted)
        exchange.market(ticker, "deactivate")  # an event that comes after the one that must not
        await socket.until(
            lambda: any(raw.get("msg", {}).get("event_type") == "deactivated" for raw in socket.raw),
            "the market's deactivation",
        )
        assert "activated" not in {raw.get("msg", {}).get("event_type") for raw in socket.raw}


@card(
    "C133",
    section="6",
    title="At its close time a market closes by itself: resting orders end with CloseCancel",
    clock="virtual",
)
async def test_a_market_closes(exchange, desk):
    async with connected(exchange, desk.account.signer) as socket:
        await socket.sid(socket.client.subscribe(["user_orders"]), "user_orders")
        rests = await desk.bid("0.40")
        exchange.market(desk.ticker, "close-time", close_ms=exchange.now_ms() + HOUR_MS)
        exchange.advance(HOUR_MS - 1_000)
        assert (await desk.reads.get_market(desk.ticker)).status == "active"
        exchange.advance(2_000)
        assert (await desk.reads.get_market(desk.ticker)).status == "closed"
        assert (await desk.order(rests.order_id)).status == "canceled"
        assert await desk.balance() == "10000.000000"
        await socket.until(lambda: len(socket.of(frames.UserOrderFrame)) == 2, "two order frames")
        assert socket.of(frames.UserOrderFrame)[-1].msg.last_update_reason == "CloseCancel"


@card("C134", section="3.3", title="After the close every operation is refused, cancel included")
async def test_after_the_close(exchange, desk):
    rests = await desk.bid("0.40")
    exchange.market(desk.ticker, "close")
    assert inactive(await desk.bid("0.40"))
    outcomes = [
        await desk.amend(rests.order_id, "bid", "0.41", "1.00"),
        await desk.decrease(rests.order_id, by=50),
        await desk.cancel(rests.order_id),
    ]
    assert all(isinstance(outcome, Rejected) for outcome in outcomes)
    (found,) = await desk.reads.get_markets(tickers=[desk.ticker], status="closed")
    assert found.ticker == desk.ticker


@card(
    "C135",
    section="13.4",
    title="A moved close time is told: close_date_updated with close_ts",
    clock="virtual",
)
async def test_a_moved_close(exchange, desk, life):
    close_ms = (exchange.now_ms() + 2 * HOUR_MS) // 1000 * 1000
    exchange.market(desk.ticker, "close-time", close_ms=close_ms)
    (event,) = await life(1)
    assert (event["event_type"], event["close_ts"]) == ("close_date_updated", close_ms // 1000)


@card(
    "C136",
    section="5",
    title="A changed price grid holds at once, is told with its ranges, and keeps resting orders",
)
async def test_a_changed_grid(exchange, desk, life):
    rests = await desk.bid("0.40")
    assert (await desk.bid("0.405")).code == "invalid_price"
    exchange.market(desk.ticker, "price-ranges", price_level_structure="deci_cent")
    market = await desk.reads.get_market(desk.ticker)
    assert market.price_level_structure == "deci_cent"
    assert market.price_grid().contains(4050)
    assert isinstance(await desk.bid("0.405"), Accepted)
    assert (await desk.order(rests.order_id)).status == "resting"
    (event,) = await life(1)
    assert event["event_type"] == "price_level_structure_updated"
    assert event["price_ranges"] == [
        {"start": item.start, "end": item.end, "step": item.step} for item in market.price_ranges
    ]


@card("C137", section="13.4", title="Lifecycle frames carry seq, and a market filter is not supported")
async def test_lifecycle_frames_are_counted(exchange, desks, new_ticker):
    desk = await desks()
    other = new_ticker()
    async with connected(exchange, desk.account.signer) as socket:
        sid = await socket.sid(socket.client.subscribe(["market_lifecycle_v2"]), "market_lifecycle_v2")
        exchange.market(desk.ticker, "deactivate")
        exchange.market(other, "deactivate")
        seen = await socket.until(
            lambda: (
                (found := [raw for raw in socket.raw if raw["type"] == "market_lifecycle_v2"])[1:] and found
            ),
            "two events",
        )
    assert [(raw["sid"], raw["seq"], raw["msg"]["market_ticker"]) for raw in seen] == [
        (sid, 1, desk.ticker),
        (sid, 2, other),
    ]


@pytest.mark.parametrize(
    ("kind", "good", "bad"),
    [
        ("deci", ["0.001", "0.405", "0.999"], ["0.0005", "0.4055"]),
        ("tapered", ["0.099", "0.41", "0.901"], ["0.405", "0.0995"]),
        ("combo", ["0.0099", "0.405", "0.9901"], ["0.0105", "0.98995"]),
        ("centi", ["0.0001", "0.4055", "0.9999"], ["0.40555"]),
    ],
)
@card("C138", section="5", title="price_ranges are the only truth about the grid, whatever the label")
async def test_grids(desk, new_ticker, kind, good, bad):
    ticker = new_ticker(kind)
    grid = (await desk.reads.get_market(ticker)).price_grid()
    for price in good:
        assert grid.contains(round(float(price) * 10_000)), price
        assert isinstance(await desk.bid(price, "0.01", ticker=ticker), Accepted), price
    for price in bad:
        with contextlib.suppress(ValueError):
            assert (await desk.bid(price, "0.01", ticker=ticker)).status == 400, price
