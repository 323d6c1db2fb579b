"""Card E47: an engine that was down for longer than the venue's live window."""

import asyncio
import json
import urllib.request

import pytest
from soloist_kalshi.messages import CreateOrder
from soloist_kalshi.orders import Accepted, OrderClient

from tests.conformance.engine.engine_processes import ORDERS_PATH, PATIENCE_S, TICKERS, Bot, serving
from tests.conformance.engine.test_engine_life import resting, wait_orders
from tests.support import eventually

pytestmark = pytest.mark.timeout(120)  # a hang, not a budget: each card runs several processes

LIVE_WINDOW_MS = 1_000
LATER = TICKERS[1:]


async def take(exchange, order):
    """Somebody else trades through a resting order of the bot."""
    taker = await asyncio.to_thread(exchange.account, "taker")
    side = "ask" if order["side"] == "bid" else "bid"
    async with OrderClient(exchange.rest_url, taker.signer, ca_file=exchange.ca_file) as orders:
        crossing = CreateOrder(
            ticker=order["ticker"], side=side, count="2000.00", price=f"{order['price'] / 10_000:.4f}",
            time_in_force="immediate_or_cancel", self_trade_prevention_type="taker_at_cross", client_order_id="taker-1",
        )  # fmt: skip
        assert isinstance(await orders.create(crossing, subaccount=0, deadline_ms=5_000), Accepted)


def switch(exchange, **switches):
    request = urllib.request.Request(
        f"{exchange.admin_url}/admin/switches", json.dumps(switches).encode(), method="PATCH"
    )
    with urllib.request.urlopen(request, timeout=10) as reply:
        assert reply.status == 200


def of_kind(exchange, bot, kind):
    return {row["client_order_id"]: row for row in exchange.events(bot.account.name) if row["kind"] == kind}


async def history_shows(exchange, bot, order_ids):
    """Until the live window is past an unknown order and the other's fills."""
    async with asyncio.timeout(PATIENCE_S), exchange.client(bot.account) as reads:
        while True:
            orders = await reads.list_orders(subaccount=0, historical=True)
            fills = await reads.list_fills(subaccount=0, historical=True)
            if {row.order_id for row in orders} >= order_ids <= {row.order_id for row in fills}:
                assert not await reads.list_fills(subaccount=0)
                return


def test_e47_down_for_longer_than_the_live_window_it_still_equals_the_venue(tmp_path):
    with serving(tmp_path) as exchange:
        bot = Bot(
            tmp_path,
            exchange,
            exchange.account("long-away"),
            take_profit_dollars="0.05",
            maximum_hold_seconds=60,
        )
        try:
            for ticker in LATER:
                exchange.admin(f"markets/{ticker}/deactivate", {})
            bot.start_and_wait()
            eventually(lambda: resting(bot), PATIENCE_S, "no exit rests")
            lost, exit_ = leave_in_doubt(exchange, bot)
            asyncio.run(take(exchange, exit_))
            assert exit_["client_order_id"] in of_kind(exchange, bot, "filled")
            exchange.faults()
            switch(exchange, live_window_ms=LIVE_WINDOW_MS)
            asyncio.run(history_shows(exchange, bot, {lost["order_id"], exit_["order_id"]}))

            bot.start_and_wait()
            assert bot.status()["differences"] == {}
            wait_orders(
                bot, len(exchange.accepted(bot.account.name)) + 5
            )  # orders become history as it trades
            assert bot.terminate() == 0
            assert bot.judge() == []
            ledger, _ = bot.ledger()
            assert not ledger.latches
        finally:
            bot.close()


def leave_in_doubt(exchange, bot):
    """Kill the engine with an order that executed unknown to it, and another one that rests."""
    silent = [
        {"kind": "frame_dropped", "account": bot.account.name, "path": path}
        for path in ("user_orders", "fill")
    ]
    slow = {
        "kind": "slow",
        "account": bot.account.name,
        "method": "POST",
        "path": ORDERS_PATH,
        "delay_ms": 600_000,
    }
    blind = {
        "kind": "error_before",
        "account": bot.account.name,
        "method": "GET",
        "path": "/portfolio/orders",
    }
    exchange.faults(slow, blind, *silent)
    before = set(of_kind(exchange, bot, "accepted"))
    for (
        ticker
    ) in LATER:  # closed until now: a fast engine would hold something in every market and send nothing new
        exchange.admin(f"markets/{ticker}/activate", {})

    def executed():
        filled = of_kind(exchange, bot, "filled")
        closed = of_kind(exchange, bot, "closed")
        new = of_kind(exchange, bot, "accepted").keys() - before
        return next((filled[name] for name in new if name in filled and name in closed), None)

    lost = eventually(executed, PATIENCE_S, lambda: str(exchange.events(bot.account.name)[-20:]))
    bot.kill()
    ledger, _ = bot.ledger()
    assert lost["client_order_id"] in {
        order.client_order_id for order in ledger.unsettled() if not order.exists
    }
    accepted, closed = of_kind(exchange, bot, "accepted"), of_kind(exchange, bot, "closed")
    rests = next(row for name, row in accepted.items() if name not in closed)
    return lost, rests
