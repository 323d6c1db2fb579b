"""How long an order lives: time in force and expiration (section 8.1)."""

from __future__ import annotations

import pytest
from soloist_kalshi import frames
from soloist_kalshi.orders import Accepted

from tests.conformance.cards import card, connected
from tests.conformance.kit import ORDERS, raw_order

IOC = {"time_in_force": "immediate_or_cancel"}
FOK = {"time_in_force": "fill_or_kill"}


@card("C057", section="8.1", title="Immediate or cancel: the reply shows the final state")
async def test_immediate_or_cancel(desk):
    nothing = await desk.bid("0.50", **IOC)
    assert (nothing.fill_count, nothing.remaining_count) == (0, 0)
    assert (await desk.order(nothing.order_id)).status == "canceled"
    part = await desk.bid("0.51", "3000.00", **IOC)
    assert 0 < part.fill_count < 300_000
    assert part.remaining_count == 0
    assert (await desk.order(part.order_id)).status == "canceled"


@card(
    "C058",
    section="8.1",
    title="Fill or kill fills whole or not at all; one that cannot ends canceled, or by switch is refused",
    switches=("fill_or_kill",),
)
async def test_fill_or_kill(exchange, desk):
    killed = await desk.bid("0.51", "3000.00", **FOK)
    assert (killed.fill_count, killed.remaining_count) == (0, 0)
    assert (await desk.order(killed.order_id)).status == "canceled"
    filled = await desk.bid("0.55", "600.00", **FOK)
    assert (filled.fill_count, filled.remaining_count) == (60_000, 0)
    assert (await desk.order(filled.order_id)).status == "executed"
    exchange.switch(fill_or_kill="reject")
    refused = await desk.bid("0.51", "3000.00", **FOK)
    assert 400 <= refused.status < 500
    assert len(await desk.reads.list_orders(subaccount=0)) == 2


@card("C059", section="8.1", title="Fill or kill that meets an own order is taken as immediate or cancel")
async def test_fill_or_kill_meets_an_own_order(desk):
    await desk.ask("0.50", "2.00")
    made = await desk.bid("0.51", "3000.00", self_trade_prevention_type="maker", **FOK)
    assert 0 < made.fill_count < 300_000
    assert (made.remaining_count, made.average_fill_price) == (0, 510_000)


@card(
    "C060",
    section="8.1",
    title="An order expires by itself, with ExpiryCancel, and its money comes back",
    clock="virtual",
)
async def test_an_order_expires(exchange, desk):
    async with connected(exchange, desk.account.signer) as socket:
        await socket.sid(socket.client.subscribe(["user_orders"]), "user_orders")
        made = await desk.bid("0.40", expiration_time=exchange.now_ms() // 1000 + 60)
        assert isinstance(made, Accepted)
        shown = await desk.order(made.order_id)
        assert shown.expiration_time is not None
        exchange.advance(58_000)
        assert (await desk.order(made.order_id)).status == "resting"
        exchange.advance(3_000)
        assert (await desk.order(made.order_id)).status == "canceled"
        assert await desk.balance() == "10000.000000"
        await socket.until(lambda: len(socket.of(frames.UserOrderFrame)) == 2, "two order frames")
        assert socket.of(frames.UserOrderFrame)[-1].msg.last_update_reason == "ExpiryCancel"


@pytest.mark.parametrize(
    "changes",
    [
        {"expiration_time": 1_600_000_000},
        {"expiration_time": -5},
        {"expiration_time": 10**14},
        {"expiration_time": 4_000_000_000, "post_only": None, **IOC},
        {"expiration_time": 4_000_000_000, "post_only": None, **FOK},
    ],
)
@card(
    "C061", section="3.3", title="An expiration in the past, in milliseconds, or with IOC or FOK is refused"
)
async def test_expirations_that_cannot_be(desk, changes):
    reply = desk.raw("POST", ORDERS, json=raw_order(desk.ticker, **changes))
    assert (reply.status_code, reply.json()["error"]["code"]) == (400, "invalid_order")
    if changes["expiration_time"] == 1_600_000_000:
        assert reply.json()["error"]["details"] == "Expiration timestamp must be in the future"
    assert await desk.reads.list_orders(subaccount=0) == []


@pytest.mark.parametrize("value", ["good_till_time", "GTC", "", None])
@card("C062", section="8.1", title="There are three times in force; anything else is a bad_request")
def test_other_times_in_force(desk, value):
    reply = desk.raw("POST", ORDERS, json=raw_order(desk.ticker, time_in_force=value))
    assert (reply.status_code, reply.json()["code"]) == (400, "bad_request")
