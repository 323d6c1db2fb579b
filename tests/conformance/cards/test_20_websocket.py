"""WebSocket commands, subscription ids and sequence numbers (sections 13.1 to 13.3)."""

from __future__ import annotations

import asyncio
import contextlib
import json

import picows
import pytest
from soloist_kalshi import frames
from soloist_kalshi.endpoint import tls_context
from soloist_kalshi.signing import Signer

from tests.conformance.cards import DEADLINE_S, card, connected
from tests.conformance.kit import wall_ms


@pytest.fixture
async def socket(exchange, desk):
    async with connected(exchange, desk.account.signer) as found:
        yield found


def books(socket):
    return socket.of(frames.OrderbookSnapshotFrame)


@card(
    "C243",
    section="13.2",
    title="One reply per channel, all with the command's id, sids counting from 1 per connection",
    demo=True,
)
async def test_sids_count_per_connection(exchange, account, ticker):
    demo = account()
    for _ in range(2):
        async with connected(exchange, demo.signer) as socket:
            number = socket.client.subscribe(["ticker", "trade", "orderbook_delta"], [ticker])
            await socket.sid(number, "orderbook_delta")
            await socket.sid(number, "ticker")
            await socket.sid(number, "trade")
            replies = {frame.msg.channel: frame for frame in socket.of(frames.SubscribedFrame)}
            assert {frame.id for frame in replies.values()} == {number}
            assert sorted(frame.msg.sid for frame in replies.values()) == [1, 2, 3]


@card("C244", section="13.3", title="Snapshots, ok and unsubscribed consume sequence numbers like deltas do")
async def test_control_frames_consume_numbers(desk, socket, new_ticker):
    ticker, other = desk.ticker, new_ticker()
    sid = await socket.sid(socket.client.subscribe(["orderbook_delta"], [ticker]), "orderbook_delta")
    socket.client.update_subscription(sid, "add_markets", [other])
    await socket.until(lambda: len(books(socket)) == 2, "the second snapshot")
    asked = socket.client.get_snapshot(sid, [ticker, other])
    await socket.until(lambda: len(books(socket)) == 4, "two more snapshots")
    await desk.bid("0.40")
    await socket.until(lambda: socket.of(frames.OrderbookDeltaFrame), "a delta")
    socket.client.update_subscription(sid, "delete_markets", [other])
    socket.client.unsubscribe([sid])
    await socket.until(lambda: socket.of(frames.UnsubscribedFrame), "unsubscribed")
    numbered = [(raw["type"], raw["seq"]) for raw in socket.raw if "seq" in raw]
    assert [number for _, number in numbered] == list(range(1, 9))
    assert [kind for kind, _ in numbered] == [
        "orderbook_snapshot", "ok", "orderbook_snapshot", "orderbook_snapshot", "orderbook_snapshot",
        "orderbook_delta", "ok", "unsubscribed",
    ]  # fmt: skip
    answers = [raw["id"] for raw in socket.raw if raw["type"] == "orderbook_snapshot" and "id" in raw]
    assert answers == [asked] * 2
    oks = [set(frame.msg.market_tickers) for frame in socket.of(frames.OkFrame)]
    assert oks == [{ticker, other}, {ticker}]
    assert socket.gaps == []


@card("C245", section="13.3", title="seq counts per sid over all its markets; another sid counts by itself")
async def test_numbers_per_sid(desk, socket, new_ticker):
    other = new_ticker()
    first = await socket.sid(
        socket.client.subscribe(["orderbook_delta"], [desk.ticker, other]), "orderbook_delta"
    )
    second = await socket.sid(socket.client.subscribe(["trade"], [desk.ticker, other]), "trade")
    await desk.bid("0.51", ticker=other)
    await desk.bid("0.51")
    await socket.until(lambda: len(socket.of(frames.TradeFrame)) == 2, "two trades")
    await socket.until(lambda: len(socket.of(frames.OrderbookDeltaFrame)) == 2, "two deltas")
    numbers = {
        sid: [raw["seq"] for raw in socket.raw if raw.get("sid") == sid and "seq" in raw]
        for sid in (first, second)
    }
    assert numbers == {first: [1, 2, 3, 4], second: [1, 2]}


@card(
    "C246",
    section="16",
    title="A second subscribe keeps the sid and brings only what is new, or by switch is error 6",
    switches=("repeat_subscribe",),
)
async def test_a_second_subscribe(exchange, desk, socket, new_ticker):
    other = new_ticker()
    first = await socket.sid(socket.client.subscribe(["orderbook_delta"], [desk.ticker]), "orderbook_delta")
    second = await socket.sid(
        socket.client.subscribe(["orderbook_delta"], [desk.ticker, other]), "orderbook_delta"
    )
    assert first == second
    await socket.until(lambda: len(books(socket)) == 2, "the new market's snapshot")
    assert [frame.msg.market_ticker for frame in books(socket)] == [desk.ticker, other]
    exchange.switch(repeat_subscribe="error_6")
    socket.client.subscribe(["orderbook_delta"], [desk.ticker])
    await socket.until(lambda: socket.of(frames.ErrorFrame), "an error")
    assert socket.of(frames.ErrorFrame)[0].msg.code == 6


@pytest.mark.parametrize(
    ("text", "code", "command_id"),
    [
        ("not json", 1, None),
        ("[]", 1, None),
        ('{"id":1,"cmd":"subscribe"}', 2, 1),
        ('{"id":1,"cmd":"subscribe","params":{}}', 3, 1),
        ('{"id":1,"cmd":"subscribe","params":{"channels":[]}}', 3, 1),
        ('{"id":1,"cmd":"unsubscribe","params":{}}', 4, 1),
        ('{"type":"ping"}', 5, None),
        ('{"id":2,"cmd":"login"}', 5, 2),
        ('{"id":1,"cmd":"unsubscribe","params":{"sids":[9]}}', 7, 1),
        ('{"id":1,"cmd":"subscribe","params":{"channels":["ticker_v2"]}}', 8, 1),
        ('{"id":1,"cmd":"subscribe","params":{"channels":"ticker"}}', 11, 1),
        ('{"id":1,"cmd":"subscribe","params":{"channels":["orderbook_delta"],"market_tickers":"X"}}', 11, 1),
        (
            '{"id":1,"cmd":"update_subscription","params":{"action":"add_markets","market_tickers":["X"]}}',
            12,
            1,
        ),
        (
            '{"id":1,"cmd":"update_subscription","params":{"action":"add_markets","sids":[1,2],"market_tickers":["X"]}}',
            12,
            1,
        ),
        ('{"id":1,"cmd":"update_subscription","params":{"action":"forget","sid":1}}', 13, 1),
        ('{"id":1,"cmd":"subscribe","params":{"channels":["orderbook_delta"]}}', 14, 1),
        ('{"id":1,"cmd":"update_subscription","params":{"sid":1}}', 15, 1),
    ],
)
@card(
    "C247",
    section="13.2",
    title="Each mistake in a command has its error code, with the command's id",
    demo=True,
)
async def test_error_codes(exchange, account, text, code, command_id):
    async with connected(exchange, account().signer) as socket:
        socket.say(text)
        await socket.until(lambda: socket.raw, "an answer")
    answer = socket.raw[0]
    assert (answer["type"], answer["msg"]["code"], answer.get("id")) == ("error", code, command_id)


@pytest.mark.parametrize(
    "params",
    [{"shard_factor": 0}, {"shard_key": 1}, {"shard_factor": 2, "shard_key": 2}, {"shard_factor": 101}],
)
@card("C248", section="13.2", title="A mistake in shard_factor or shard_key is one of the errors 19 to 22")
async def test_shard_errors(socket, params):
    command = {"id": 1, "cmd": "subscribe", "params": {"channels": ["communications"], **params}}
    socket.say(json.dumps(command))
    await socket.until(lambda: socket.of(frames.ErrorFrame), "an error")
    assert 19 <= socket.of(frames.ErrorFrame)[0].msg.code <= 22


@card(
    "C249",
    section="13.2",
    title="A connection survives what it refuses; list_subscriptions tells what is subscribed",
)
async def test_a_connection_survives(desk, socket):
    socket.say("garbage")
    await socket.sid(socket.client.subscribe(["trade"], [desk.ticker]), "trade")
    socket.say('{"id":2,"cmd":"list_subscriptions"}')
    await socket.until(lambda: socket.of(frames.OkFrame), "the list")
    assert [answer["type"] for answer in socket.raw] == ["error", "subscribed", "ok"]
    (listed,) = socket.raw[2]["msg"]
    assert (listed["channel"], listed["sid"], listed["market_tickers"]) == ("trade", 1, [desk.ticker])


@card(
    "C250",
    section="13.2",
    title="After unsubscribe no frame of the sid comes any more, and the sid is unknown",
)
async def test_unsubscribe(desk, socket):
    sid = await socket.sid(socket.client.subscribe(["orderbook_delta"], [desk.ticker]), "orderbook_delta")
    other = await socket.sid(socket.client.subscribe(["user_orders"]), "user_orders")
    assert sid != other
    socket.client.unsubscribe([sid])
    await socket.until(lambda: socket.of(frames.UnsubscribedFrame), "unsubscribed")
    await desk.bid("0.40")
    await socket.until(lambda: socket.of(frames.UserOrderFrame), "the order's frame")
    assert socket.of(frames.OrderbookDeltaFrame) == []
    socket.client.unsubscribe([sid])
    await socket.until(lambda: socket.of(frames.ErrorFrame), "an error")
    assert socket.of(frames.ErrorFrame)[0].msg.code == 7


@card(
    "C251", section="13.5", title="After a reconnect all sids are void, and count from 1 again; orders stay"
)
async def test_a_disconnect(exchange, desk):
    async with connected(exchange, desk.account.signer, reconnects=True) as socket:
        made = await desk.bid("0.40")
        await socket.sid(socket.client.subscribe(["ticker"]), "ticker")
        socket.opened.clear()
        assert exchange.disconnect(desk.account.name) == 1
        async with asyncio.timeout(DEADLINE_S):
            await socket.opened.wait()
        assert len(socket.closed) == 1
        assert (await desk.order(made.order_id)).status == "resting"
        socket.raw.clear()
        assert await socket.sid(socket.client.subscribe(["trade"]), "trade") == 1


@card("C252", section="2", title="A key restricted to a subaccount hears of that subaccount only")
async def test_a_restricted_key_hears_its_own(exchange, desk):
    made = await desk.reads.generate_api_key("one", subaccount=1, scopes=["read"])
    restricted = Signer.from_pem(made.api_key_id, made.private_key.encode())
    async with connected(exchange, restricted) as deaf, connected(exchange, desk.account.signer) as hears:
        for one in (deaf, hears):
            await one.sid(one.client.subscribe(["user_orders"]), "user_orders")
        await desk.bid("0.40")
        await hears.until(lambda: hears.of(frames.UserOrderFrame), "the order's frame")
        await deaf.sid(deaf.client.subscribe(["fill"]), "fill")
        assert deaf.of(frames.UserOrderFrame) == []


class Plain(picows.WSListener):
    """A connection that keeps every frame of the wire, pings included."""

    def __init__(self):
        self.arrived = asyncio.Queue()

    def on_ws_frame(self, _, frame):
        self.arrived.put_nowait((frame.msg_type, frame.get_payload_as_bytes()))

    async def next(self, wanted):
        """Return the body of the next frame of one type; text frames on the way are passed over."""
        while (found := await self.arrived.get())[0] is not wanted:
            assert found[0] is picows.WSMsgType.TEXT, found
        return found[1]


@contextlib.asynccontextmanager
async def plain(exchange, signer):
    headers = signer.headers("GET", "/trade-api/ws/v2", wall_ms())
    transport, listener = await picows.ws_connect(
        Plain,
        exchange.ws_url,
        ssl_context=tls_context(exchange.ca_file),
        extra_headers=headers,
        enable_auto_pong=False,
    )
    yield transport, listener
    transport.send_close(picows.WSCloseCode.OK)
    transport.disconnect()
    await transport.wait_disconnected()


@card(
    "C253",
    section="13.1",
    title="Frames are JSON texts that end with a newline; a client's ping gets its pong",
    demo=True,
)
async def test_frames_on_the_wire(exchange, account):
    async with asyncio.timeout(DEADLINE_S), plain(exchange, account().signer) as (transport, listener):
        transport.send_ping(b"are you there")
        assert await listener.next(picows.WSMsgType.PONG) == b"are you there"
        transport.send(picows.WSMsgType.TEXT, b'{"id":1,"cmd":"list_subscriptions"}')
        answer = await listener.next(picows.WSMsgType.TEXT)
    assert answer.endswith(b"\n")
    assert json.loads(answer)["type"] == "ok"


async def first_ping(exchange, signer, *, busy):
    """Return the body of the first ping, or None when 4 s after it was due there was none."""
    async with plain(exchange, signer) as (transport, listener):

        async def talk():
            while True:
                transport.send(picows.WSMsgType.TEXT, b'{"id":1,"cmd":"list_subscriptions"}')
                await asyncio.sleep(0.3)  # traffic, not synchronisation

        talking = asyncio.create_task(talk()) if busy else None
        try:
            async with asyncio.timeout(14):
                return await listener.next(picows.WSMsgType.PING)
        except TimeoutError:
            return None
        finally:
            if talking is not None:
                talking.cancel()


@card(
    "C254",
    section="13.1",
    title="The server pings every 10 s with `heartbeat`; by switch not while frames flow",
    switches=("ping_when_busy",),
)
async def test_pings(exchange, account, virtual_exchange):
    """Two exchanges at once, so that the ten seconds are waited for only once."""
    virtual_exchange.switch(ping_when_busy=False)
    other = virtual_exchange.create_account("pinged-card")
    try:
        seen = await asyncio.gather(
            first_ping(exchange, account().signer, busy=False),
            first_ping(exchange, account().signer, busy=True),
            first_ping(virtual_exchange, other.signer, busy=False),
            first_ping(virtual_exchange, other.signer, busy=True),
        )
    finally:
        virtual_exchange.reset()
    assert seen == [b"heartbeat", b"heartbeat", b"heartbeat", None]
