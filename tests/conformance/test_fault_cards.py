"""C090-C096: each fault of the exchange, as the venue client sees it: what it must take as unknown, and what then is true."""

from __future__ import annotations

import time

import pytest
from soloist_kalshi import frames
from soloist_kalshi.errors import VenueUnavailable, VenueUnreachable
from soloist_kalshi.orders import Accepted, Cancelled, NotSent, Unknown
from soloist_kalshi.rest import ReadPolicy, RestClient

from tests.conformance.cards import DEADLINE_MS, connected, order, place

ORDERS = "/portfolio/events/orders"


@pytest.fixture
async def desk(exchange, account):
    """An account with both of its clients: (account, orders, reads)."""
    demo = account()
    async with exchange.orders(demo.signer) as orders, exchange.rest(demo.signer) as reads:
        yield demo, orders, reads


def accepted(exchange, demo):
    return [row["client_order_id"] for row in exchange.admin("accepted-orders", account=demo.name)["orders"]]


@pytest.mark.parametrize(
    ("kind", "happened"),
    [
        ("error_before", False),
        ("reply_lost_before", False),
        ("error_after", True),
        ("reply_lost_after", True),
    ],
)
async def test_c090_an_order_with_an_unknown_outcome(exchange, desk, ticker, kind, happened):
    """The client cannot tell the four apart; resending the same id does (section 8.1)."""
    demo, orders, reads = desk
    exchange.faults({"kind": kind, "account": demo.name, "method": "POST", "path": ORDERS, "times": 1})
    wanted = order(ticker, "bid", "0.40")
    assert isinstance(await place(orders, wanted), Unknown)
    assert (wanted.client_order_id in accepted(exchange, demo)) is happened
    assert len(await reads.list_orders(subaccount=0)) == int(happened)
    again = await place(orders, wanted)
    if happened:
        assert (again.status, again.code) == (409, "order_already_exists")
    else:
        assert isinstance(again, Accepted)
    assert accepted(exchange, demo) == [wanted.client_order_id]


async def test_c091_a_cancel_with_an_unknown_outcome(exchange, desk, ticker):
    demo, orders, reads = desk
    made = await place(orders, order(ticker, "bid", "0.40"))
    where = {"market_ticker": ticker, "subaccount": 0, "deadline_ms": DEADLINE_MS}
    exchange.faults({"kind": "reply_lost_before", "account": demo.name, "method": "DELETE", "times": 1})
    assert isinstance(await orders.cancel(made.order_id, **where), Unknown)
    assert (await reads.get_order(made.order_id)).status == "resting"
    exchange.faults({"kind": "reply_lost_after", "account": demo.name, "method": "DELETE", "times": 1})
    assert isinstance(await orders.cancel(made.order_id, **where), Unknown)
    assert (await reads.get_order(made.order_id)).status == "canceled"
    again = await orders.cancel(made.order_id, **where)
    assert not isinstance(again, Cancelled)
    assert again.status == 404


async def test_c092_a_slow_reply(exchange, desk, ticker):
    """The order is carried out when it arrives; only the reply is late, so a deleted key never acts after its deletion."""
    demo, orders, _ = desk
    exchange.faults({"kind": "slow", "account": demo.name, "method": "POST", "times": 2, "delay_ms": 700})
    wanted = order(ticker, "bid", "0.40")
    assert isinstance(await orders.create(wanted, subaccount=0, deadline_ms=300), Unknown)
    assert accepted(exchange, demo) == [wanted.client_order_id]
    started_s = time.monotonic()
    assert isinstance(await place(orders, order(ticker, "bid", "0.40")), Accepted)
    assert time.monotonic() - started_s >= 0.7


async def test_c093_reads_are_repeated_and_writes_are_not(exchange, desk):
    demo, _, reads = desk
    exchange.faults({"kind": "error_before", "account": demo.name, "method": "GET", "times": 2})
    assert (await reads.get_balance(subaccount=0)).balance == 1_000_000
    exchange.faults({"kind": "reply_lost_before", "account": demo.name, "method": "GET", "times": 1})
    assert (await reads.get_balance(subaccount=0)).balance == 1_000_000
    exchange.faults({"kind": "error_after", "account": demo.name, "method": "POST", "path": "/api_keys"})
    with pytest.raises(VenueUnavailable):
        await reads.generate_api_key("orphan")
    exchange.faults()
    assert [key.name for key in await reads.list_api_keys()].count("orphan") == 1


async def test_c094_a_dropped_frame_is_a_gap_and_a_snapshot_mends_it(exchange, desk, ticker):
    demo, orders, _ = desk
    async with connected(exchange, demo.signer) as socket:
        sid = await socket.sid(socket.client.subscribe(["orderbook_delta"], [ticker]), "orderbook_delta")
        exchange.faults(
            {"kind": "frame_dropped", "account": demo.name, "path": "orderbook_delta", "times": 1}
        )
        await place(orders, order(ticker, "bid", "0.40"))
        await place(orders, order(ticker, "bid", "0.41"))
        await socket.until(lambda: socket.gaps, "a gap")
        (gap,) = socket.gaps
        assert (gap.sid, gap.expected, gap.received) == (sid, 2, 3)
        socket.client.get_snapshot(sid, [ticker])
        await socket.until(lambda: len(socket.of(frames.OrderbookSnapshotFrame)) == 2, "a fresh snapshot")
        assert len(socket.gaps) == 1


async def test_c095_a_fault_hits_whom_it_names_and_ends(exchange, desk, account, ticker):
    demo, orders, _ = desk
    other = account()
    exchange.faults({"kind": "error_before", "account": demo.name, "percent": 100})
    async with exchange.orders(other.signer) as others:
        assert isinstance(await place(others, order(ticker, "bid", "0.40")), Accepted)
    assert isinstance(await place(orders, order(ticker, "bid", "0.40")), Unknown)
    exchange.faults()
    assert isinstance(await place(orders, order(ticker, "bid", "0.40")), Accepted)


async def test_c096_an_exchange_that_is_not_there(start_exchange):
    exchange = start_exchange()
    demo = exchange.create_account("demo")
    exchange.kill()
    async with exchange.orders(demo.signer) as orders:
        assert isinstance(await place(orders, order("SIM-STATIC-1", "bid", "0.40")), NotSent)
    once = ReadPolicy(attempts=1)
    async with RestClient(exchange.rest_url, demo.signer, ca_file=exchange.ca_file, policy=once) as reads:
        with pytest.raises(VenueUnreachable, match="connection refused"):
            await reads.get_balance(subaccount=0)
