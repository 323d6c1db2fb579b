"""Pauses of trading and of the whole exchange (sections 3.3 and 6)."""

from __future__ import annotations

from soloist_kalshi.orders import Accepted, Cancelled

from tests.conformance.cards import card


@card(
    "C123",
    section="6",
    title="Trading pause: no order is placed or amended (409 trading_is_paused), cancels work",
)
async def test_a_trading_pause(exchange, desk):
    rests = await desk.bid("0.40", "2.00")
    stays = await desk.bid("0.39", "2.00")
    exchange.pause("trading")
    refused = [await desk.bid("0.40"), await desk.amend(rests.order_id, "bid", "0.41", "2.00")]
    assert [(item.status, item.code) for item in refused] == [(409, "trading_is_paused")] * 2
    assert isinstance(await desk.cancel(rests.order_id), Cancelled)
    assert await desk.resting() == {stays.order_id}


@card("C124", section="6", title="Exchange pause: nothing works, not even cancel (409 exchange_is_paused)")
async def test_an_exchange_pause(exchange, desk):
    rests = await desk.bid("0.40", "2.00")
    exchange.pause("exchange")
    refused = [
        await desk.bid("0.40"),
        await desk.amend(rests.order_id, "bid", "0.41", "2.00"),
        await desk.decrease(rests.order_id, by=100),
        await desk.cancel(rests.order_id),
    ]
    assert [(item.status, item.code) for item in refused] == [(409, "exchange_is_paused")] * 4
    exchange.pause("exchange", active=True)
    assert (await desk.order(rests.order_id)).remaining_count_fp == "2.00"


@card(
    "C125", section="8.1", title="Orders with cancel_order_on_pause end at a trading pause, the others stay"
)
async def test_cancel_order_on_pause(exchange, desk):
    stays = await desk.bid("0.40")
    goes = await desk.bid("0.40", cancel_order_on_pause=True)
    assert await desk.resting() == {stays.order_id, goes.order_id}
    exchange.pause("trading")
    assert await desk.resting() == {stays.order_id}
    assert (await desk.order(goes.order_id)).status == "canceled"
    assert await desk.balance() == "9999.600000"


@card("C126", section="6", title="The exchange's status shows both pauses")
async def test_the_status_shows_pauses(exchange):
    async with exchange.rest(None) as reads:

        async def shown():
            status = await reads.get_exchange_status()
            return status.exchange_active, status.trading_active

        assert await shown() == (True, True)
        exchange.pause("trading")
        assert await shown() == (True, False)
        exchange.pause("trading", active=True)
        exchange.pause("exchange")
        assert (await shown())[0] is False
        exchange.pause("exchange", active=True)
        assert await shown() == (True, True)


@card(
    "C127",
    section="3.3",
    title="A refused order of a pause does not use up its id: the same order goes after it",
)
async def test_the_id_after_a_pause(exchange, desk):
    exchange.pause("trading")
    assert (await desk.bid("0.40", client_order_id="after-the-pause")).status == 409
    exchange.pause("trading", active=True)
    assert isinstance(await desk.bid("0.40", client_order_id="after-the-pause"), Accepted)


@card(
    "C128",
    section="6",
    title="A pause in the middle of a burst: each order is accepted before it or refused after it",
)
async def test_a_pause_in_a_burst(exchange, desk):
    before = [await desk.bid("0.40") for _ in range(3)]
    exchange.pause("trading")
    after = [await desk.bid("0.40") for _ in range(3)]
    assert all(isinstance(item, Accepted) for item in before)
    assert {item.code for item in after} == {"trading_is_paused"}
    assert len(await desk.reads.list_orders(subaccount=0)) == 3
