import asyncio
import json
from random import Random

import picows
import pytest
from soloist_kalshi.clock import ServerClock
from soloist_kalshi.codec import FrameDecoder, encode
from soloist_kalshi.errors import (
    VenueClockSkew,
    VenueProtocolError,
    VenueUnauthorized,
    VenueUnavailable,
    VenueUnreachable,
)
from soloist_kalshi.frames import (
    OkFrame,
    OrderbookDeltaFrame,
    OrderbookDeltaMessage,
    SubscribedFrame,
    SubscribedMessage,
)
from soloist_kalshi.keys import KeySlot, SignerSource
from soloist_kalshi.signing import Signer, Verifier, generate_private_key, signed_text
from soloist_kalshi.websocket import Gap, SequenceTracker, WebSocketClient, WebSocketPolicy

from tests.unit.soloist_kalshi.kalshi_servers import eventually, self_signed

KEYS = generate_private_key("ed25519")
QUICK = WebSocketPolicy(connect_ms=1_000, idle_ms=60, pong_ms=60, base_wait_ms=1, cap_wait_ms=5)


class Venue:
    """A real WebSocket server of which the test pulls the strings."""

    def __init__(self, context=None):
        self.refuse: list[tuple[int, bytes]] = []
        self.upgrades: list[dict[str, str]] = []
        self.on_upgrade = lambda: None
        self.sessions: list[picows.WSTransport] = []
        self.commands: list[dict] = []
        self.answers_pings = True
        self.pings = 0
        self.pongs: list[bytes] = []
        self._context = context

    async def __aenter__(self):
        self._server = await picows.ws_create_server(
            self._accept, "127.0.0.1", 0, ssl=self._context, enable_auto_pong=False
        )
        await self._server.__aenter__()
        port = self._server.sockets[0].getsockname()[1]
        self.url = f"{'wss' if self._context else 'ws'}://127.0.0.1:{port}/trade-api/ws/v2"
        return self

    async def __aexit__(self, *_):
        for session in self.sessions:
            session.disconnect(graceful=False)
        self._server.close()
        await self._server.wait_closed()

    def _accept(self, request):
        self.on_upgrade()
        self.upgrades.append({name.lower(): value for name, value in request.headers.items()})
        if self.refuse:
            status, body = self.refuse.pop(0)
            return picows.WSUpgradeResponseWithListener(
                picows.WSUpgradeResponse.create_error_response(status, body), None
            )
        return VenueSession(self)

    def send(self, *frames):
        """Send the frames in one write, so that they arrive in one read."""
        for frame in frames:
            raw = frame if isinstance(frame, bytes) else encode(frame)
            self.sessions[-1].send(picows.WSMsgType.TEXT, raw + b"\n")


class VenueSession(picows.WSListener):
    def __init__(self, venue):
        self._venue = venue

    def on_ws_connected(self, transport):
        self._venue.sessions.append(transport)

    def on_ws_frame(self, transport, frame):
        if frame.msg_type is picows.WSMsgType.PING:
            self._venue.pings += 1
            if self._venue.answers_pings:
                transport.send_pong(frame.get_payload_as_bytes())
        elif frame.msg_type is picows.WSMsgType.PONG:
            self._venue.pongs.append(frame.get_payload_as_bytes())
        elif frame.msg_type is picows.WSMsgType.CLOSE:
            transport.disconnect()
        else:
            self._venue.commands.append(json.loads(frame.get_payload_as_bytes()))


class Consumer:
    """What came out of the client, in order."""

    def __init__(self, venue, source=None, url=None, **changes):
        self.frames: list[bytes] = []
        self.gaps: list[Gap] = []
        self.closed: list[Exception] = []
        self.opened = 0
        self.reads = 0
        self.source = source or SignerSource(Signer.from_pem("key-1", KEYS.private_pem))
        arguments = {
            "on_frame": self.frames.append,
            "on_closed": self.closed.append,
            "on_opened": self._on_opened,
            "on_gap": self.gaps.append,
            "on_read_end": self._on_read_end,
            "policy": QUICK,
            "random": Random(1),
        }
        self.client = WebSocketClient(url or venue.url, self.source, **{**arguments, **changes})

    def _on_opened(self):
        self.opened += 1

    def _on_read_end(self):
        self.reads += 1

    async def __aenter__(self):
        self.task = asyncio.create_task(self.client.run())
        return self

    async def __aexit__(self, *_):
        await self.client.close()
        await asyncio.wait_for(self.task, 2)

    async def until(self, condition):
        await eventually(condition, lambda: (self.opened, self.closed, self.gaps, self.frames))


def delta(sid, seq):
    message = OrderbookDeltaMessage(
        market_ticker="SIM-A", market_id="m", price_dollars="0.5000", delta_fp="1.00", side="yes"
    )
    return OrderbookDeltaFrame(sid=sid, seq=seq, msg=message)


async def test_the_upgrade_is_signed_and_commands_count_from_one():
    async with Venue() as venue, Consumer(venue) as consumer:
        await consumer.until(lambda: consumer.opened == 1)
        client = consumer.client
        assert client.subscribe(["orderbook_delta", "trade"], ["SIM-A"]) == 1
        assert client.update_subscription(1, "add_markets", ["SIM-B"]) == 2
        assert client.get_snapshot(1, ["SIM-A"]) == 3
        assert client.unsubscribe([1, 2]) == 4
        await consumer.until(lambda: len(venue.commands) == 4)
    [headers] = venue.upgrades
    text = signed_text(headers["kalshi-access-timestamp"], "GET", "/trade-api/ws/v2")
    assert Verifier.from_public_pem(KEYS.public_pem).verify(text, headers["kalshi-access-signature"])
    assert venue.commands == [
        {
            "cmd": "subscribe",
            "id": 1,
            "params": {"channels": ["orderbook_delta", "trade"], "market_tickers": ["SIM-A"]},
        },
        {
            "cmd": "update_subscription",
            "id": 2,
            "params": {"action": "add_markets", "sids": [1], "market_tickers": ["SIM-B"]},
        },
        {
            "cmd": "update_subscription",
            "id": 3,
            "params": {"action": "get_snapshot", "sids": [1], "market_tickers": ["SIM-A"]},
        },
        {"cmd": "unsubscribe", "id": 4, "params": {"sids": [1, 2]}},
    ]


async def test_over_tls(tmp_path):
    context, ca_file = self_signed(tmp_path)
    async with Venue(context) as venue, Consumer(venue, ca_file=ca_file) as consumer:
        await consumer.until(lambda: consumer.opened == 1)


async def test_a_certificate_that_is_not_trusted_is_named(tmp_path):
    context, _ = self_signed(tmp_path)
    async with Venue(context) as venue, Consumer(venue) as consumer:
        await consumer.until(lambda: consumer.closed)
    assert isinstance(consumer.closed[0], VenueUnreachable)
    assert "TLS certificate refused" in str(consumer.closed[0])


async def test_frames_arrive_as_bytes_in_order_and_control_frames_count():
    async with Venue() as venue, Consumer(venue) as consumer:
        await consumer.until(lambda: consumer.opened == 1)
        frames = [
            SubscribedFrame(id=1, msg=SubscribedMessage(channel="orderbook_delta", sid=1)),
            delta(1, 1),
            delta(1, 2),
            OkFrame(id=2, sid=1, seq=3),
            delta(2, 1),
            delta(1, 4),
        ]
        venue.send(*frames)
        await consumer.until(lambda: len(consumer.frames) == 6)
        assert [FrameDecoder().decode(raw) for raw in consumer.frames] == frames
        assert (consumer.gaps, consumer.closed) == ([], [])
        assert 1 <= consumer.reads <= 6


async def test_a_gap_is_told_and_a_duplicate_is_dropped():
    async with Venue() as venue, Consumer(venue) as consumer:
        await consumer.until(lambda: consumer.opened == 1)
        venue.send(delta(1, 1), delta(1, 4), delta(1, 4), delta(1, 2), delta(1, 5), delta(2, 3))
        await consumer.until(lambda: len(consumer.frames) == 4)
        assert consumer.gaps == [Gap(1, 2, 4), Gap(2, 1, 3)]
        assert (consumer.client.sequence.gaps, consumer.client.sequence.duplicates) == (2, 2)


async def test_sequences_and_command_ids_start_again_after_a_reconnect():
    async with Venue() as venue, Consumer(venue) as consumer:
        await consumer.until(lambda: consumer.opened == 1)
        consumer.client.subscribe(["trade"])
        venue.send(delta(1, 1), delta(1, 2))
        await consumer.until(lambda: len(consumer.frames) == 2)
        venue.sessions[-1].disconnect(graceful=False)
        await consumer.until(lambda: consumer.opened == 2)
        assert consumer.client.subscribe(["trade"]) == 1
        venue.send(delta(1, 1))
        await consumer.until(lambda: len(consumer.frames) == 3)
        assert consumer.gaps == []
    assert "without a close frame" in str(consumer.closed[0])


async def test_a_close_frame_is_quoted():
    async with Venue() as venue, Consumer(venue) as consumer:
        await consumer.until(lambda: consumer.opened == 1)
        venue.sessions[-1].send_close(picows.WSCloseCode.SERVICE_RESTART, b"maintenance")
        await consumer.until(lambda: consumer.opened == 2)
    assert "maintenance" in str(consumer.closed[0])


@pytest.mark.parametrize(
    ("status", "kind"), [(401, VenueUnauthorized), (502, VenueUnavailable), (503, VenueUnavailable)]
)
async def test_a_refused_upgrade_is_typed_and_tried_again(status, kind):
    async with Venue() as venue:
        venue.refuse = [(status, b'{"error":{"code":"authentication_error","message":"x"}}')] * 2
        async with Consumer(venue) as consumer:
            await consumer.until(lambda: consumer.opened == 1)
    assert [type(error) for error in consumer.closed] == [kind, kind]
    assert consumer.closed[0].code == "authentication_error"
    assert len(venue.upgrades) == 3


async def test_server_pings_are_answered():
    async with Venue() as venue, Consumer(venue) as consumer:
        await consumer.until(lambda: consumer.opened == 1)
        venue.sessions[-1].send_ping(b"heartbeat")
        await consumer.until(lambda: venue.pongs == [b"heartbeat"])


async def test_a_quiet_connection_lives_on_answered_pings():
    async with Venue() as venue, Consumer(venue) as consumer:
        await consumer.until(lambda: venue.pings >= 3)
        assert (consumer.opened, consumer.closed) == (1, [])


async def test_a_silent_peer_is_left():
    async with Venue() as venue:
        venue.answers_pings = False
        async with Consumer(venue) as consumer:
            await consumer.until(lambda: consumer.opened >= 2)
    assert "ping was not answered" in str(consumer.closed[0])


async def test_an_unknown_frame_type_does_not_end_the_connection():
    async with Venue() as venue:
        decoder = FrameDecoder()
        seen = []
        async with Consumer(venue, on_frame=lambda raw: seen.append(decoder.decode(raw))) as consumer:
            await consumer.until(lambda: consumer.opened == 1)
            venue.send(b'{"type":"brand_new","sid":1,"seq":1,"msg":{"x":1}}', delta(1, 2))
            await consumer.until(lambda: len(seen) == 2)
            assert consumer.gaps == []
            assert decoder.unknown_types == {"brand_new": 1}


@pytest.mark.parametrize(
    "raw", [b"not json", b'{"type":"trade","sid":1,"seq":1,"msg":{}}', b'{"sid":"1"}', b"[]"]
)
async def test_a_broken_frame_ends_the_connection_with_the_raw_frame_kept(raw):
    async with Venue() as venue:
        decoder = FrameDecoder()
        async with Consumer(venue, on_frame=decoder.decode) as consumer:
            await consumer.until(lambda: consumer.opened == 1)
            venue.send(raw)
            await consumer.until(lambda: consumer.opened == 2)
        [error] = consumer.closed
        assert isinstance(error, VenueProtocolError)
        assert error.raw == raw + b"\n"


async def test_after_a_failure_no_further_frame_of_the_read_is_delivered():
    def explode(raw):
        seen.append(raw)
        raise VenueProtocolError("no", raw)

    async with Venue() as venue:
        seen = []
        async with Consumer(venue, on_frame=explode) as consumer:
            await consumer.until(lambda: consumer.opened == 1)
            venue.send(delta(1, 1), delta(1, 2), delta(1, 3))
            await consumer.until(lambda: consumer.opened == 2)
        assert len(seen) == 1


async def test_after_a_disconnect_no_further_frame_of_the_read_is_delivered():
    async with Venue() as venue:
        seen = []
        consumer = Consumer(venue, on_frame=lambda raw: (seen.append(raw), consumer.client.disconnect()))
        async with consumer:
            await consumer.until(lambda: consumer.opened == 1)
            venue.send(delta(1, 1), delta(1, 2), delta(1, 3))
            await consumer.until(lambda: consumer.opened == 2)
        assert len(seen) == 1


async def test_an_error_of_our_own_code_comes_out_of_run():
    def explode(_):
        raise ZeroDivisionError

    async with Venue() as venue:
        consumer = Consumer(venue, on_frame=explode)
        task = asyncio.create_task(consumer.client.run())
        await consumer.until(lambda: consumer.opened == 1)
        venue.send(delta(1, 1))
        with pytest.raises(ZeroDivisionError):
            await asyncio.wait_for(task, 2)
    assert consumer.closed == []


async def test_fragments_are_put_together():
    async with Venue() as venue, Consumer(venue) as consumer:
        await consumer.until(lambda: consumer.opened == 1)
        raw = encode(delta(1, 1))
        session = venue.sessions[-1]
        session.send(picows.WSMsgType.TEXT, raw[:10], fin=False)
        session.send(picows.WSMsgType.CONTINUATION, raw[10:20], fin=False)
        session.send_ping(b"between")
        session.send(picows.WSMsgType.CONTINUATION, raw[20:])
        await consumer.until(lambda: consumer.frames == [raw])


async def test_the_next_connection_is_signed_with_the_promoted_key():
    second = generate_private_key("rsa")
    async with Venue() as venue, Consumer(venue) as consumer:
        await consumer.until(lambda: consumer.opened == 1)
        consumer.source.load(
            [consumer.source.slots[0], KeySlot(2, Signer.from_pem("key-2", second.private_pem))]
        )
        consumer.source.promote(2)
        consumer.client.disconnect()
        await consumer.until(lambda: consumer.opened == 2)
    assert [headers["kalshi-access-key"] for headers in venue.upgrades] == ["key-1", "key-2"]


async def test_a_skewed_clock_opens_nothing():
    clock = ServerClock(wall_ms=lambda: 1_800_000_100_000, monotonic_ms=lambda: 0)
    clock.observe("Fri, 15 Jan 2027 08:00:00 GMT", 0)
    async with Venue() as venue, Consumer(venue, clock=clock) as consumer:
        await consumer.until(lambda: consumer.closed)
    assert isinstance(consumer.closed[0], VenueClockSkew)
    assert venue.upgrades == []


async def test_without_a_connection_a_command_is_an_error_and_close_ends_run():
    async with Venue() as venue:
        url = venue.url
    venue.url = url
    consumer = Consumer(venue)
    with pytest.raises(VenueUnreachable, match="not connected"):
        consumer.client.subscribe(["trade"])
    async with consumer:
        await consumer.until(lambda: len(consumer.closed) >= 2)
        assert not consumer.client.is_open
    assert "connection refused" in str(consumer.closed[0])


def test_a_forgotten_sid_starts_again():
    tracker = SequenceTracker()
    assert tracker.observe(1, 1) is None
    tracker.forget(1)
    assert tracker.observe(1, 1) is None


async def silent_server():
    """Accept connections and never answer the upgrade."""
    accepted = []

    async def hold(reader, writer):
        accepted.append(writer)

    server = await asyncio.start_server(hold, "127.0.0.1", 0)
    return server, accepted, f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/trade-api/ws/v2"


async def test_close_does_not_wait_for_an_upgrade_that_never_comes():
    server, accepted, url = await silent_server()
    consumer = Consumer(Venue(), policy=WebSocketPolicy(connect_ms=60_000), url=url)
    task = asyncio.create_task(consumer.client.run())
    await consumer.until(lambda: accepted)
    await consumer.client.close()
    await asyncio.wait_for(task, 1)
    assert consumer.closed == []
    accepted[0].close()
    server.close()


async def test_a_cancelled_run_is_cancelled():
    server, accepted, url = await silent_server()
    consumer = Consumer(Venue(), policy=WebSocketPolicy(connect_ms=60_000), url=url)
    task = asyncio.create_task(consumer.client.run())
    await consumer.until(lambda: accepted)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(task, 1)
    accepted[0].close()
    server.close()


async def test_an_upgrade_that_never_comes_ends_at_its_deadline():
    server, accepted, url = await silent_server()
    consumer = Consumer(
        Venue(), policy=WebSocketPolicy(connect_ms=50, base_wait_ms=1, cap_wait_ms=1), url=url
    )
    async with consumer:
        await consumer.until(lambda: len(consumer.closed) >= 2)
    assert isinstance(consumer.closed[0], VenueUnreachable)
    for writer in accepted:
        writer.close()
    server.close()


async def test_a_disconnect_while_connecting_drops_that_connection_and_makes_another():
    """Otherwise the connection would open with all its frames ignored, for ever."""
    async with Venue() as venue:
        consumer = Consumer(venue)
        venue.on_upgrade = lambda: consumer.client.disconnect() if not venue.upgrades else None
        async with consumer:
            await consumer.until(lambda: consumer.opened == 1)
            assert (len(venue.upgrades), consumer.client.connections) == (2, 2)
            venue.send(delta(1, 1))
            await consumer.until(lambda: len(consumer.frames) == 1)


# A change of key, without a moment without a connection

NEVER_AGAIN = WebSocketPolicy(connect_ms=1_000, base_wait_ms=600_000, cap_wait_ms=600_000)
"""A client that waits before it connects again does not come back within a test."""


async def test_the_first_connection_serves_until_the_second_is_open():
    second = generate_private_key("rsa")
    async with Venue() as venue, Consumer(venue, policy=NEVER_AGAIN) as consumer:
        await consumer.until(lambda: consumer.opened == 1)
        # While the second one asks to be let in, the first one still speaks.
        venue.on_upgrade = lambda: venue.send(delta(1, 1))
        consumer.source.load(
            [consumer.source.slots[0], KeySlot(2, Signer.from_pem("key-2", second.private_pem))]
        )
        consumer.source.promote(2)
        consumer.client.renew()
        consumer.client.renew()  # twice is once
        await consumer.until(lambda: consumer.opened == 2)
        assert len(consumer.frames) == 1
        assert len(consumer.closed) == 1
        assert "new key" in str(consumer.closed[0])
        await eventually(lambda: venue.sessions[0].is_disconnected, lambda: "the first connection stays open")
        venue.send(delta(1, 1))  # numbers begin again with the connection
        await consumer.until(lambda: len(consumer.frames) == 2)
        assert consumer.gaps == []
    assert [headers["kalshi-access-key"] for headers in venue.upgrades] == ["key-1", "key-2"]


async def test_a_second_connection_that_is_refused_leaves_the_first_alone():
    async with Venue() as venue, Consumer(venue, policy=NEVER_AGAIN) as consumer:
        await consumer.until(lambda: consumer.opened == 1)
        venue.refuse.append((503, b""))
        consumer.client.renew()
        await consumer.until(lambda: not venue.refuse and consumer.client._renewing.done())
        venue.send(delta(1, 1))
        await consumer.until(lambda: len(consumer.frames) == 1)
        assert (consumer.closed, consumer.opened) == ([], 1)
        consumer.client.renew()  # and it can be tried again
        await consumer.until(lambda: consumer.opened == 2)


async def test_a_second_connection_that_comes_too_late_is_let_go(monkeypatch):
    """The first ended and `run` has connected again, with the new key: there is nothing left to change over to."""
    async with Venue() as venue, Consumer(venue) as consumer:
        await consumer.until(lambda: consumer.opened == 1)
        dial, late = consumer.client._dial, asyncio.Event()

        async def slow():
            monkeypatch.undo()
            transport = await dial()
            await late.wait()
            return transport

        monkeypatch.setattr(consumer.client, "_dial", slow)
        consumer.client.renew()
        await consumer.until(lambda: len(venue.sessions) == 2)
        venue.sessions[0].disconnect(graceful=False)
        await consumer.until(lambda: consumer.opened == 2)
        late.set()
        await eventually(lambda: venue.sessions[1].is_disconnected, lambda: "the late one stays open")
        venue.send(delta(1, 1))
        await consumer.until(lambda: len(consumer.frames) == 1)
        assert (len(venue.sessions), len(consumer.closed)) == (3, 1)


async def test_a_refused_second_connection_makes_the_first_ask_for_itself():
    """The new key was proven a moment ago: whoever owns the connection has to hear that it is refused."""
    async with Venue() as venue, Consumer(venue) as consumer:
        await consumer.until(lambda: consumer.opened == 1)
        venue.refuse += [(401, b""), (401, b"")]
        consumer.client.renew()
        await consumer.until(lambda: consumer.opened == 2)
        assert [type(error) for error in consumer.closed] == [VenueUnreachable, VenueUnauthorized]


async def test_a_key_that_changes_twice_ends_with_the_last():
    pairs = {number: generate_private_key("ed25519") for number in (2, 3)}
    slots = {
        number: KeySlot(number, Signer.from_pem(f"key-{number}", pair.private_pem))
        for number, pair in pairs.items()
    }
    async with Venue() as venue, Consumer(venue, policy=NEVER_AGAIN) as consumer:
        await consumer.until(lambda: consumer.opened == 1)

        def again():
            consumer.source.load([slots[2], slots[3]])
            consumer.source.promote(3)
            consumer.client.renew()
            venue.on_upgrade = lambda: None

        consumer.source.load([*consumer.source.slots, slots[2]])
        consumer.source.promote(2)
        venue.on_upgrade = again
        consumer.client.renew()
        await consumer.until(lambda: consumer.opened == 2)
        assert [headers["kalshi-access-key"] for headers in venue.upgrades] == ["key-1", "key-2", "key-3"]


async def test_close_ends_a_change_of_key_that_is_under_way():
    async with Venue() as venue:
        consumer = Consumer(venue, policy=NEVER_AGAIN)
        async with consumer:
            await consumer.until(lambda: consumer.opened == 1)
            consumer.client.renew()
        await eventually(
            lambda: all(session.is_disconnected for session in venue.sessions), lambda: venue.sessions
        )
