"""Every fault of the exchange, as our client sees it: what it must take as unknown, and what then is true (section 15)."""

from __future__ import annotations

import asyncio
import time

import pytest
from soloist_kalshi import frames
from soloist_kalshi.errors import (
    VenueForbidden,
    VenueRateLimited,
    VenueUnauthorized,
    VenueUnavailable,
    VenueUnreachable,
)
from soloist_kalshi.orders import Accepted, Cancelled, NotSent, OrderClient, Rejected, Unknown
from soloist_kalshi.rest import ReadPolicy, RestClient
from soloist_kalshi.signing import Signer

from tests.conformance.cards import DEADLINE_MS, DEADLINE_S, card, connected, order, place
from tests.conformance.kit import ORDERS, Socket

ONCE = ReadPolicy(attempts=1)


@pytest.fixture
def arm(exchange, desk):
    """Return `arm(kind, **fields)`: a fault of this account alone, once unless `times` says otherwise."""

    def make(kind, **fields):
        exchange.faults({"kind": kind, "account": desk.account.name, "times": 1} | fields)

    return make


@pytest.fixture
async def socket(exchange, desk):
    async with connected(exchange, desk.account.signer) as found:
        yield found


def accepted(desk):
    orders = desk.exchange.admin("accepted-orders", account=desk.account.name)["orders"]
    return [row["client_order_id"] for row in orders]


def requests_seen(desk):
    """How often the exchange's faults matched a request so far."""
    return sum(row["matched"] for row in desk.exchange.admin("faults")["faults"])


@pytest.mark.parametrize(
    ("kind", "fields", "happened"),
    [
        ("error_before", {}, False),
        ("error_after", {}, True),
        ("error_before", {"body": "json", "status": 500}, False),
        ("error_after", {"body": "json", "status": 504}, True),
        ("reply_lost_before", {}, False),
        ("reply_lost_after", {}, True),
        ("connection_reset", {"when": "before"}, False),
        ("connection_reset", {"when": "after"}, True),
        ("truncated", {}, True),
    ],
)
@card(
    "C269",
    section="8.1",
    title="5xx, lost, reset or truncated reply: unknown; the same id again tells, and nothing is ordered twice",
)
async def test_an_order_with_an_unknown_outcome(desk, arm, kind, fields, happened):
    wanted = order(desk.ticker, "bid", "0.40")
    arm(kind, method="POST", path=ORDERS, **fields)
    assert isinstance(await place(desk.orders, wanted), Unknown)
    assert accepted(desk) == [wanted.client_order_id] * int(happened)
    again = await place(desk.orders, wanted)
    if happened:
        assert (again.status, again.code) == (409, "order_already_exists")
    else:
        assert isinstance(again, Accepted)
    assert accepted(desk) == [wanted.client_order_id]


@pytest.mark.parametrize("when", ["before", "after"])
@card("C270", section="15", title="A half-open connection: the order is unknown at its deadline, on time")
async def test_a_half_open_connection(desk, arm, when):
    wanted = order(desk.ticker, "bid", "0.40")
    await desk.cancel("unknown")  # the connection is there: its handshake takes nothing of the deadline
    arm("half_open", method="POST", path=ORDERS, when=when)
    outcome = await desk.orders.create(wanted, subaccount=0, deadline_ms=1_500)
    assert isinstance(outcome, Unknown)
    assert accepted(desk) == [wanted.client_order_id] * int(when == "after")
    assert isinstance(await desk.bid("0.39"), Accepted)


@pytest.mark.parametrize("kind", ["reply_lost_before", "reply_lost_after"])
@pytest.mark.parametrize("verb", ["create", "cancel", "amend", "decrease", "cancel_all", "reset_group"])
@card(
    "C271",
    section="8.1",
    title="No write is sent twice, neither by us nor by the HTTP library: one request is seen",
)
async def test_a_write_is_sent_once(desk, arm, kind, verb):
    # This keeps a connection alive: a library that resends on a dropped one would do it now.
    made = await desk.bid("0.40", "5.00")
    group = (await desk.orders.create_group(1000, subaccount=0, deadline_ms=DEADLINE_MS)).order_group_id
    arm(kind, times=0)
    if verb == "create":
        outcome = await desk.bid("0.39")
    elif verb == "cancel":
        outcome = await desk.cancel(made.order_id)
    elif verb == "amend":
        outcome = await desk.amend(made.order_id, "bid", "0.41", "5.00")
    elif verb == "decrease":
        outcome = await desk.decrease(made.order_id, by=100)
    elif verb == "cancel_all":
        outcome = await desk.orders.cancel_all(subaccount=0, deadline_ms=DEADLINE_MS)
    else:
        outcome = await desk.orders.reset_group(group, subaccount=0, deadline_ms=DEADLINE_MS)
    assert isinstance(outcome, Unknown)
    assert requests_seen(desk) == 1


@card("C272", section="3.5", title="A cancel with an unknown outcome: the order itself tells")
async def test_a_cancel_with_an_unknown_outcome(desk, arm):
    made = await desk.bid("0.40")
    arm("reply_lost_before", method="DELETE")
    assert isinstance(await desk.cancel(made.order_id), Unknown)
    assert (await desk.order(made.order_id)).status == "resting"
    arm("reply_lost_after", method="DELETE")
    assert isinstance(await desk.cancel(made.order_id), Unknown)
    assert (await desk.order(made.order_id)).status == "canceled"
    assert (await desk.cancel(made.order_id)).status == 404


@card("C273", section="15", title="A slow reply: carried out at once, answered late")
async def test_a_slow_reply(desk, arm):
    wanted = order(desk.ticker, "bid", "0.40")
    await desk.cancel("unknown")  # the connection is there: its handshake takes nothing of the deadline
    arm("slow", method="POST", times=2, delay_ms=2_000)
    assert isinstance(await desk.orders.create(wanted, subaccount=0, deadline_ms=1_000), Unknown)
    assert accepted(desk) == [wanted.client_order_id]
    started_s = time.monotonic()
    assert isinstance(await desk.bid("0.40"), Accepted)
    assert time.monotonic() - started_s >= 2


@card("C274", section="4", title="A 429 out of nowhere: rejected for certain, nothing happened")
async def test_rate_limited(desk, arm):
    arm("rate_limited", method="POST")
    refused = await desk.bid("0.40")
    assert (refused.status, refused.code) == (429, "too_many_requests")
    assert accepted(desk) == []
    arm("rate_limited", method="GET", times=0)
    async with RestClient(
        desk.exchange.rest_url, desk.account.signer, ca_file=desk.exchange.ca_file, policy=ONCE
    ) as reads:
        with pytest.raises(VenueRateLimited):
            await reads.get_balance(subaccount=0)


@card("C275", section="2", title="A 401 for clock skew: rejected for certain, with the venue's reason")
async def test_clock_skew(desk, arm):
    arm("clock_skew", method="POST")
    refused = await desk.bid("0.40")
    assert (refused.status, refused.code) == (401, "header_timestamp_expired")
    assert accepted(desk) == []
    arm("clock_skew", method="GET")
    with pytest.raises(VenueUnauthorized, match="header timestamp expired"):
        await desk.reads.get_balance(subaccount=0)


@card("C276", section="2", title="A 403 of a restricted key: rejected for certain, with the documented text")
async def test_forbidden(desk, arm):
    arm("forbidden", method="POST")
    refused = await desk.bid("0.40")
    assert refused.status == 403
    assert "restricted to a single sub-account" in refused.message
    arm("forbidden", method="GET")
    with pytest.raises(VenueForbidden):
        await desk.reads.get_balance(subaccount=0)


@card(
    "C277",
    section="10",
    title="Keys refused by tier, own public ones and restricted ones: 403, and nothing is made",
)
async def test_keys_refused_by_tier(desk, arm):
    with pytest.raises(VenueForbidden):
        await desk.reads.create_api_key("mine", "-----BEGIN PUBLIC KEY-----\n-----END PUBLIC KEY-----\n")
    arm("forbidden", method="POST", endpoint="/api_keys/generate")
    with pytest.raises(VenueForbidden):
        await desk.reads.generate_api_key("restricted", subaccount=1)
    assert len(await desk.reads.list_api_keys()) == 1


@card("C278", section="15", title="Reads are repeated within their budget; key writes never are")
async def test_reads_are_repeated(desk, arm):
    arm("error_before", method="GET", times=2)
    assert (await desk.reads.get_balance(subaccount=0)).balance == 1_000_000
    arm("reply_lost_before", method="GET")
    assert (await desk.reads.get_balance(subaccount=0)).balance == 1_000_000
    arm("error_after", method="POST", path="/api_keys", times=0)
    with pytest.raises(VenueUnavailable):
        await desk.reads.generate_api_key("orphan")
    assert requests_seen(desk) == 1
    desk.exchange.faults()
    assert [key.name for key in await desk.reads.list_api_keys()].count("orphan") == 1


@card(
    "C279",
    section="15",
    title="A fault hits the account, endpoint and share of requests that it names, and ends",
)
async def test_whom_a_fault_hits(exchange, desks):
    desk, other = await desks(tier="expert"), await desks()
    exchange.faults({"kind": "error_before", "account": desk.account.name, "method": "POST", "percent": 50})
    outcomes = [await desk.bid("0.10") for _ in range(40)]
    hit = sum(isinstance(item, Unknown) for item in outcomes)
    assert 0 < hit < 40
    assert isinstance(await other.bid("0.10"), Accepted)
    await desk.reads.get_balance(subaccount=0)
    exchange.faults()
    assert isinstance(await desk.bid("0.10"), Accepted)


@card(
    "C280",
    section="15",
    title="An exchange that is not there: the order was not sent, the read says connection refused",
)
async def test_nobody_is_there(exchange, account, unused_tcp_port):
    signer, nowhere = account().signer, f"https://127.0.0.1:{unused_tcp_port}/trade-api/v2"
    async with OrderClient(nowhere, signer, ca_file=exchange.ca_file) as orders:
        assert isinstance(await place(orders, order("CARD-1", "bid", "0.40")), NotSent)
    async with RestClient(nowhere, signer, ca_file=exchange.ca_file, policy=ONCE) as reads:
        with pytest.raises(VenueUnreachable, match="connection refused"):
            await reads.get_balance(subaccount=0)


@card("C281", section="8.1", title="A fill on the stream before the order's own reply")
async def test_a_fill_before_the_reply(desk, arm, socket):
    await socket.sid(socket.client.subscribe(["fill"]), "fill")
    arm("fill_before_reply", method="POST", delay_ms=1_000)
    ordered = asyncio.create_task(desk.bid("0.51", "2.00"))
    await socket.until(lambda: socket.of(frames.FillFrame), "the fill")
    assert not ordered.done()
    made = await ordered
    assert made.fill_count == 200
    assert socket.of(frames.FillFrame)[0].msg.order_id == made.order_id


@card("C282", section="15", title="A late fill: it arrives after the cancel of the rest")
async def test_a_late_fill_after_a_cancel(exchange, desks, arm, socket, desk):
    other = await desks()
    await socket.sid(socket.client.subscribe(["fill", "user_orders"]), "user_orders")
    made = await desk.bid("0.50", "5.00")
    arm("late_fill_after_cancel", delay_ms=3_000)
    await other.ask("0.50", "2.00")
    gone = await desk.cancel(made.order_id)
    assert isinstance(gone, Cancelled)
    assert gone.reduced_by == 300
    await socket.until(
        lambda: any(frame.msg.status == "canceled" for frame in socket.of(frames.UserOrderFrame)),
        "the cancel",
    )
    assert socket.of(frames.FillFrame) == []
    await socket.until(lambda: socket.of(frames.FillFrame), "the late fill")
    assert socket.of(frames.FillFrame)[0].msg.count_fp == "2.00"


@card(
    "C283",
    section="15",
    title="A fill that is told twice has the same trade id, and the position counts it once",
)
async def test_a_duplicate_fill(desk, arm, socket):
    await socket.sid(socket.client.subscribe(["fill"]), "fill")
    arm("duplicate_fill")
    await desk.bid("0.51", "2.00")
    await socket.until(lambda: len(socket.of(frames.FillFrame)) == 2, "two fill frames")
    first, second = socket.of(frames.FillFrame)
    assert first.msg.trade_id == second.msg.trade_id
    assert len(await desk.reads.list_fills(subaccount=0)) == 1
    assert await desk.position() == "2.00"


@card(
    "C284",
    section="15",
    title="A market is paused in the middle of a burst: accepted before, MARKET_INACTIVE after",
)
async def test_a_market_is_paused_in_a_burst(desk, arm):
    arm("market_paused", method="POST", path=ORDERS, after=3, ticker=desk.ticker)
    outcomes = [await desk.bid("0.40") for _ in range(6)]
    assert [type(item) for item in outcomes] == [Accepted] * 3 + [Rejected] * 3
    assert {item.code.lower() for item in outcomes[3:]} == {"market_inactive"}
    assert len(await desk.resting()) == 3


@card("C285", section="13.5", title="A dropped frame is a gap, and only a snapshot makes the book good again")
async def test_a_dropped_frame(desk, arm, socket):
    sid = await socket.sid(socket.client.subscribe(["orderbook_delta"], [desk.ticker]), "orderbook_delta")
    arm("frame_dropped", path="orderbook_delta")
    await desk.bid("0.40")
    await desk.bid("0.41")
    await socket.until(lambda: socket.gaps, "a gap")
    assert [(gap.sid, gap.expected, gap.received) for gap in socket.gaps] == [(sid, 2, 3)]


@card("C286", section="13.5", title="A duplicated frame is counted and not told twice")
async def test_a_duplicated_frame(desk, arm, socket):
    await socket.sid(socket.client.subscribe(["orderbook_delta"], [desk.ticker]), "orderbook_delta")
    arm("frame_duplicated", path="orderbook_delta")
    await desk.bid("0.40")
    await desk.bid("0.41")
    await socket.until(lambda: len(socket.of(frames.OrderbookDeltaFrame)) == 2, "two deltas")
    await socket.until(lambda: socket.client.sequence.duplicates == 1, "the duplicate to be counted")
    assert socket.gaps == []
    assert [frame.msg.price_dollars for frame in socket.of(frames.OrderbookDeltaFrame)] == [
        "0.4000",
        "0.4100",
    ]


@pytest.mark.parametrize("kind", ["frame_delayed", "frame_reordered"])
@card(
    "C287",
    section="13.5",
    title="A frame that comes late or out of order is a gap; what came too late is not applied",
)
async def test_a_frame_out_of_order(desk, arm, socket, kind):
    await socket.sid(socket.client.subscribe(["orderbook_delta"], [desk.ticker]), "orderbook_delta")
    arm(kind, path="orderbook_delta", delay_ms=3_000)
    await desk.bid("0.40")
    await desk.bid("0.41")
    await socket.until(lambda: socket.client.sequence.duplicates == 1, "the late frame to be counted")
    assert len(socket.gaps) == 1
    assert [frame.msg.price_dollars for frame in socket.of(frames.OrderbookDeltaFrame)] == ["0.4100"]


@card(
    "C288",
    section="13.2",
    title="Overflow, error 25: the sid is dead, a new subscription begins again with a snapshot",
)
async def test_an_overflow(desk, arm, socket):
    sid = await socket.sid(socket.client.subscribe(["orderbook_delta"], [desk.ticker]), "orderbook_delta")
    arm("overflow", path="orderbook_delta")
    await desk.bid("0.40")
    await socket.until(lambda: socket.of(frames.ErrorFrame), "error 25")
    error = socket.of(frames.ErrorFrame)[0]
    assert (error.msg.code, error.sid) == (25, sid)
    socket.client.unsubscribe([sid])
    await socket.until(lambda: len(socket.of(frames.ErrorFrame)) == 2, "the sid to be unknown")
    assert socket.of(frames.ErrorFrame)[1].msg.code == 7
    number = socket.client.subscribe(["orderbook_delta"], [desk.ticker])
    again = await socket.sid(number, "orderbook_delta")
    assert again != sid
    await socket.until(lambda: len(socket.of(frames.OrderbookSnapshotFrame)) == 2, "a fresh snapshot")


@pytest.mark.parametrize(
    ("kind", "words"),
    [("close_with_frame", "closed the connection with"), ("close_without_frame", "without a close frame")],
)
@card(
    "C289",
    section="13.1",
    title="A connection ends with and without a close frame; the client connects again by itself",
)
async def test_a_connection_ends(exchange, desk, arm, kind, words):
    async with connected(exchange, desk.account.signer, reconnects=True) as socket:
        await socket.sid(socket.client.subscribe(["user_orders"]), "user_orders")
        arm(kind)
        socket.opened.clear()
        made = await desk.bid("0.40")
        async with asyncio.timeout(DEADLINE_S):
            await socket.opened.wait()
        assert words in str(socket.closed[0])
        assert await desk.resting() == {made.order_id}


@card("C290", section="13.1", title="502 on reconnect: the client keeps trying until the venue is back")
async def test_refused_upgrades(exchange, desk, arm):
    arm("websocket_refused", times=2)
    socket = Socket(exchange, desk.account.signer, reconnects=True)
    running = asyncio.create_task(socket.client.run())
    try:
        async with asyncio.timeout(DEADLINE_S):
            await socket.opened.wait()
        assert [type(error) for error in socket.closed] == [VenueUnavailable] * 2
        assert [error.status for error in socket.closed] == [502, 502]
    finally:
        await socket.client.close()
        await running


@card("C291", section="10", title="A deleted key that still works for a while (D_rev), as a fault")
async def test_a_delayed_revocation(exchange, desk):
    exchange.faults({"kind": "revocation_delayed", "delay_ms": 600_000})
    made = await desk.reads.generate_api_key("lingering")
    async with exchange.rest(Signer.from_pem(made.api_key_id, made.private_key.encode())) as client:
        await desk.reads.delete_api_key(made.api_key_id)
        await client.get_balance(subaccount=0)


@card("C292", section="10", title="A list of keys that shows the past, as a fault")
async def test_a_stale_key_list(exchange, desk):
    exchange.faults({"kind": "key_list_stale", "delay_ms": 600_000})
    made = await desk.reads.generate_api_key("hidden")
    assert made.api_key_id not in {key.api_key_id for key in await desk.reads.list_api_keys()}
    exchange.faults()
    assert made.api_key_id in {key.api_key_id for key in await desk.reads.list_api_keys()}
