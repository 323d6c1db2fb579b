"""Giving a connection up at every stage of its opening leaves nothing open; compression, and a peer or consumer that is too slow."""

import asyncio
import contextlib
import gc
import ssl
import time
import zlib

import picows
import pytest
from soloist_kalshi.attempt_budget import AttemptBudget
from soloist_kalshi.errors import VenueProtocolError, VenueUnreachable
from soloist_kalshi.websocket import WebSocketPolicy
from soloist_kalshi.websocket_dial import Dialer

from tests.unit.soloist_kalshi.kalshi_servers import eventually, self_signed
from tests.unit.soloist_kalshi.test_websocket import QUICK, Consumer, Venue, delta

LONG_MS = 60_000


class SilentServer:
    """Accepts, reads, and never says a word; knows which connections have ended."""

    def __init__(self):
        self.accepted = 0
        self.ended = 0

    async def __aenter__(self):
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_):
        self._server.close()
        await self._server.wait_closed()

    async def _serve(self, reader, writer):
        self.accepted += 1
        with contextlib.suppress(ConnectionError):
            while await reader.read(1_000):
                pass
        self.ended += 1
        writer.close()


def dialer(port, scheme="ws", context=None, connect_ms=LONG_MS):
    return Dialer(
        f"{scheme}://127.0.0.1:{port}/trade-api/ws/v2",
        context,
        connect_ms=connect_ms,
        idle_ms=1_000,
        pong_ms=1_000,
        max_frame_bytes=1_000,
    )


@pytest.mark.parametrize("scheme", ["ws", "wss"])
@pytest.mark.parametrize("how", ["abandoned", "cancelled", "deadline"])
async def test_giving_up_while_the_venue_says_nothing_closes_the_socket(scheme, how):
    """Before: cancelling the handshake left the transport open, and its end was a ResourceWarning of the garbage collector."""
    context = ssl.create_default_context() if scheme == "wss" else None
    async with SilentServer() as server:
        attempt = dialer(server.port, scheme, context, connect_ms=200 if how == "deadline" else LONG_MS)
        task = asyncio.create_task(attempt.dial(picows.WSListener, {}))
        await eventually(lambda: server.accepted == 1, lambda: server.accepted)
        if how == "abandoned":
            attempt.abandon()
        elif how == "cancelled":
            task.cancel()
        expected = {"abandoned": OSError, "cancelled": asyncio.CancelledError, "deadline": TimeoutError}[how]
        with pytest.raises(expected):
            await asyncio.wait_for(task, 5)
        await eventually(lambda: server.ended == 1, lambda: server.ended)
        gc.collect()


async def test_an_attempt_that_was_given_up_before_it_began_connects_nowhere():
    async with SilentServer() as server:
        attempt = dialer(server.port)
        attempt.abandon()
        with pytest.raises(ConnectionError):
            await attempt.dial(picows.WSListener, {})
        assert server.accepted == 0


async def test_closing_the_client_while_it_connects_ends_the_connection_at_the_venue():
    async with SilentServer() as server:
        consumer = Consumer(
            Venue(), url=f"ws://127.0.0.1:{server.port}/x", policy=WebSocketPolicy(connect_ms=LONG_MS)
        )
        async with consumer:
            await consumer.until(lambda: server.accepted == 1)
        await eventually(lambda: server.ended == 1, lambda: server.ended)
    assert consumer.closed == []


async def test_a_peer_that_ends_during_the_upgrade_is_unreachable():
    async def slam(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(slam, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with Consumer(Venue(), url=f"ws://127.0.0.1:{port}/x") as consumer:
        await consumer.until(lambda: len(consumer.closed) >= 2)
    assert isinstance(consumer.closed[0], VenueUnreachable)
    server.close()
    await server.wait_closed()


async def test_over_tls_the_own_socket_still_checks_the_host_name(tmp_path):
    context, ca_file = self_signed(tmp_path)
    async with Venue(context) as venue:
        port = venue.url.split(":")[2].split("/")[0]
        async with Consumer(venue, url=f"wss://localhost:{port}/x", ca_file=ca_file) as consumer:
            await consumer.until(lambda: consumer.closed)
    assert "TLS certificate refused" in str(consumer.closed[0])


def compressed(raw):
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return (packer.compress(raw) + packer.flush(zlib.Z_SYNC_FLUSH)).removesuffix(b"\x00\x00\xff\xff")


async def test_compressed_frames_are_inflated_when_they_were_offered():
    policy = WebSocketPolicy(connect_ms=1_000, deflate=True, base_wait_ms=1, cap_wait_ms=1)
    raw = b'{"type":"ticker","msg":"' + b"a" * 2_000 + b'"}'
    async with Venue() as venue, Consumer(venue, policy=policy) as consumer:
        await consumer.until(lambda: consumer.opened == 1)
        venue.sessions[-1].send(picows.WSMsgType.TEXT, compressed(raw), fin=True, rsv1=True)
        venue.send(b'{"type":"plain"}')
        await consumer.until(lambda: len(consumer.frames) == 2)
        assert consumer.frames == [raw, b'{"type":"plain"}\n']
        assert venue.upgrades[0]["sec-websocket-extensions"].startswith("permessage-deflate")


@pytest.mark.parametrize(
    ("policy", "payload", "what"),
    [
        (QUICK, compressed(b"{}"), "was not agreed on"),
        (WebSocketPolicy(deflate=True), b"\xff\xff\xff", "cannot be inflated"),
        (WebSocketPolicy(deflate=True, max_frame_bytes=1_000), compressed(b"a" * 5_000), "exceeds"),
    ],
)
async def test_what_cannot_be_inflated_ends_the_connection(policy, payload, what):
    async with Venue() as venue, Consumer(venue, policy=policy) as consumer:
        await consumer.until(lambda: consumer.opened == 1)
        venue.sessions[-1].send(picows.WSMsgType.TEXT, payload, fin=True, rsv1=True)
        await consumer.until(lambda: consumer.closed)
        [error] = consumer.closed
    assert isinstance(error, VenueProtocolError)
    assert what in str(error)


async def test_a_consumer_that_is_too_slow_is_counted():
    policy = WebSocketPolicy(connect_ms=1_000, slow_read_ms=10)
    async with Venue() as venue, Consumer(venue, policy=policy) as consumer:
        await consumer.until(lambda: consumer.opened == 1)
        consumer.client._on_frame = lambda _: time.sleep(
            0.03
        )  # the slow consumer itself, not a wait of the test
        venue.send(delta(1, 1))
        await consumer.until(lambda: consumer.reads == 1)
        assert consumer.client.slow_reads == 1
        assert consumer.client.longest_read_ms >= 30


async def test_commands_to_a_venue_that_reads_nothing_are_refused_not_piled_up():
    async with Venue() as venue, Consumer(venue, policy=WebSocketPolicy(connect_ms=1_000)) as consumer:
        await consumer.until(lambda: consumer.opened == 1)
        venue.sessions[-1].underlying_transport.pause_reading()
        tickers = [f"SIM-{number:040d}" for number in range(20_000)]

        def command_after_command():
            for _ in range(100):
                consumer.client.get_snapshot(1, tickers)

        with pytest.raises(VenueUnreachable, match="does not read our commands"):
            command_after_command()
        assert consumer.client.writes_paused == 1
        venue.sessions[-1].underlying_transport.resume_reading()


async def test_reconnects_take_from_the_attempt_budget():
    """A venue that refuses every upgrade is not stormed by a client whose short back-off would allow it."""
    budget = AttemptBudget(capacity=6, refill_per_minute=1)
    async with Venue() as venue:
        venue.refuse = [(503, b"{}")] * 100
        async with Consumer(venue, budget=budget) as consumer:
            await consumer.until(lambda: len(consumer.closed) == 6)
            assert budget.wait_ms() > 10_000
        assert (len(venue.upgrades), budget.wasted) == (6, 6)
