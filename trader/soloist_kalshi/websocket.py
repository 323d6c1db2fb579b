"""One WebSocket connection to the venue, kept up (section 13).

Frames go to a synchronous callback in the read loop, as bytes: there is no queue in between, so a slow consumer slows the socket and
nothing else. Before each frame the sequence of its sid is checked, control frames included; duplicates are dropped and counted, and a
gap is told before the frame that reveals it. After a reconnect all sids are void: `on_opened` is where the owner subscribes again.
"""

import asyncio
import logging
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Literal

import msgspec
import picows

from soloist_kalshi.attempt_budget import AttemptBudget
from soloist_kalshi.clock import ServerClock
from soloist_kalshi.codec import encode
from soloist_kalshi.endpoint import Backoff, Endpoint, current_signer, tls_context, why_unreachable
from soloist_kalshi.errors import (
    VenueError,
    VenueForbidden,
    VenueProtocolError,
    VenueUnauthorized,
    VenueUnreachable,
    parse_error_body,
)
from soloist_kalshi.frames import (
    Command,
    SubscribeCommand,
    SubscribeParams,
    UnsubscribeCommand,
    UnsubscribeParams,
    UpdateSubscriptionCommand,
    UpdateSubscriptionParams,
)
from soloist_kalshi.keys import SignerSource
from soloist_kalshi.signing import Signer
from soloist_kalshi.websocket_dial import Dialer

__all__ = ["Gap", "SequenceTracker", "WebSocketClient", "WebSocketPolicy"]

_log = logging.getLogger(__name__)

# RFC 7692: every message is its own stream, cut off before this tail.
_DEFLATE_OFFER = "permessage-deflate; server_no_context_takeover; client_no_context_takeover"
_DEFLATE_TAIL = b"\x00\x00\xff\xff"
_NO_CLOSE_FRAME = "the connection ended without a close frame, or our ping was not answered"


@dataclass(frozen=True, slots=True)
class WebSocketPolicy:
    """Limits of one connection. Liveness: any frame within `idle_ms`, or our own ping answered within `pong_ms`.

    A read whose frames take longer than `slow_read_ms` to handle is counted: the venue drops consumers that are too slow (error 25).
    `deflate` offers permessage-deflate; it saves bandwidth and costs time on every frame, so it is off. picows leaves compression to
    its user: the frames are inflated here, without a context between messages.
    """

    connect_ms: int = 10_000
    idle_ms: int = 10_000
    pong_ms: int = 5_000
    close_ms: int = 1_000
    base_wait_ms: int = 200
    cap_wait_ms: int = 10_000
    max_frame_bytes: int = 64 * 1024 * 1024
    slow_read_ms: int = 100
    deflate: bool = False


@dataclass(frozen=True, slots=True)
class Gap:
    """Frames of a sid are missing: every market of the sid is suspect until its next snapshot."""

    sid: int
    expected: int
    received: int


class SequenceTracker:
    """The last sequence number per sid of one connection: they start at 1 and grow by 1 over all markets of the sid."""

    __slots__ = ("_last", "duplicates", "gaps")

    def __init__(self) -> None:
        self._last: dict[int, int] = {}
        self.gaps = 0
        self.duplicates = 0

    def observe(self, sid: int, seq: int) -> Gap | Literal["duplicate"] | None:
        """Take the number of the next frame; None means in order."""
        expected = self._last.get(sid, 0) + 1
        if seq < expected:
            self.duplicates += 1
            return "duplicate"
        self._last[sid] = seq
        if seq == expected:
            return None
        self.gaps += 1
        return Gap(sid, expected, seq)

    def forget(self, sid: int) -> None:
        """Drop a sid that was unsubscribed or that a terminal error ended."""
        self._last.pop(sid, None)


class _Envelope(msgspec.Struct):
    """What the sequence check needs of a frame; the rest is skipped over, not decoded."""

    sid: int | None = None
    seq: int | None = None


class _Listener(picows.WSListener):
    """The picows side: puts fragments together and hands complete messages on."""

    def __init__(self, client: "WebSocketClient") -> None:
        self._client = client
        self._parts: list[bytes] = []
        self._length = 0
        self._ended = False
        self._compressed = False

    def pause_writing(self) -> None:
        self._client.writing_paused(paused=True)

    def resume_writing(self) -> None:
        self._client.writing_paused(paused=False)

    def on_ws_frame(self, transport: picows.WSTransport, frame: picows.WSFrame) -> None:
        if self._ended or self._client.dropped:
            return
        # picows hands on the rest of a read after an exception or a disconnect: whoever gave up must not see more of it.
        self._ended = True
        self._handle(transport, frame)
        self._ended = False

    def _handle(self, transport: picows.WSTransport, frame: picows.WSFrame) -> None:
        kind = frame.msg_type
        if kind in {picows.WSMsgType.TEXT, picows.WSMsgType.BINARY, picows.WSMsgType.CONTINUATION}:
            self._client.read_goes_on()
            payload = frame.get_payload_as_bytes()
            if frame.rsv1:
                self._compressed = True
            if not frame.fin or self._parts:
                payload = self._assemble(payload, last=frame.fin)
            if payload and self._compressed:
                self._compressed = False
                payload = self._inflate(payload)
            if payload:
                self._client.deliver(payload)
            if frame.last_in_buffer:
                self._client.read_ended()
        elif kind is picows.WSMsgType.CLOSE:
            self._client.closed_by_venue(frame.get_close_code(), frame.get_close_reason())
            transport.send_close(frame.get_close_code())
            transport.disconnect()

    def _assemble(self, payload: bytes, *, last: bool) -> bytes:
        self._parts.append(payload)
        self._length += len(payload)
        if self._length > self._client.policy.max_frame_bytes:
            raise VenueProtocolError("a message in fragments exceeds the frame limit", payload)
        if not last:
            return b""
        whole = b"".join(self._parts)
        self._parts, self._length = [], 0
        return whole

    def _inflate(self, payload: bytes) -> bytes:
        """Return the message of a compressed one; the limit holds for what comes out, too."""
        if not self._client.policy.deflate:
            raise VenueProtocolError("a compressed message, and compression was not agreed on", payload)
        limit = self._client.policy.max_frame_bytes
        inflater = zlib.decompressobj(-zlib.MAX_WBITS)
        try:
            whole = inflater.decompress(payload + _DEFLATE_TAIL, limit)
        except zlib.error as error:
            raise VenueProtocolError(f"a message that cannot be inflated: {error}", payload) from error
        if inflater.unconsumed_tail:
            raise VenueProtocolError("a compressed message exceeds the frame limit", payload)
        return whole


class WebSocketClient:
    """Keeps one signed connection and reconnects with full jitter until `close`.

    Callbacks, all synchronous and in the read loop:
    `on_frame(bytes)` each message; `on_opened()` a new connection, subscribe here; `on_closed(error)` the connection ended, or an
    attempt failed: VenueUnauthorized or VenueForbidden for a refused key, VenueUnavailable for 5xx on the upgrade, VenueClockSkew,
    VenueUnreachable otherwise; `on_gap(Gap)` before the frame that shows it; `on_read_end()` after the last frame of one read, for
    consumers that work in batches. A VenueError raised in `on_frame` ends the connection and arrives in `on_closed`; any other
    exception is an error of our own code and comes out of `run`.
    """

    def __init__(
        self,
        url: str,
        signer_source: SignerSource | Signer,
        *,
        on_frame: Callable[[bytes], None],
        on_closed: Callable[[VenueError], None],
        on_opened: Callable[[], None] | None = None,
        on_gap: Callable[[Gap], None] | None = None,
        on_read_end: Callable[[], None] | None = None,
        ca_file: str | None = None,
        clock: ServerClock | None = None,
        policy: WebSocketPolicy | None = None,
        random: Random | None = None,
        budget: AttemptBudget | None = None,
    ) -> None:
        self.clock = clock if clock is not None else ServerClock()
        self.policy = policy if policy is not None else WebSocketPolicy()
        self.sequence = SequenceTracker()
        self.connections = 0
        self.dropped = False
        self.frames = 0
        self.slow_reads = 0
        self.longest_read_ms = 0
        self.writes_paused = 0
        self._budget = budget
        self._paused = False
        self._endpoint = Endpoint.parse(url, schemes=("ws", "wss"))
        self._signer = signer_source
        self._ssl = tls_context(ca_file) if self._endpoint.secure else None
        self._on_frame = on_frame
        self._on_closed = on_closed
        self._on_opened = on_opened
        self._on_gap = on_gap
        self._on_read_end = on_read_end
        self._backoff = Backoff(
            random if random is not None else Random(),  # noqa: S311 - jitter, not a secret
            self.policy.base_wait_ms,
            self.policy.cap_wait_ms,
        )
        self._transport: picows.WSTransport | None = None
        self._successor: tuple[picows.WSTransport, Signer | None] | None = None
        self._renewing: asyncio.Task[None] | None = None
        self._dialers: set[Dialer] = set()
        self._read_began_ns = 0
        self._closing = asyncio.Event()
        self._last_command_id = 0
        self._close_reason = _NO_CLOSE_FRAME
        self._envelope = msgspec.json.Decoder(_Envelope)

    @property
    def is_open(self) -> bool:
        """Whether commands can be sent now."""
        return self._transport is not None and not self.dropped and not self._transport.is_disconnected

    async def run(self) -> None:
        """Connect, serve and reconnect until `close`. Every end of a connection and every failed attempt is told to `on_closed`."""
        try:
            while not self._closing.is_set():
                await self._connect_and_serve()
        finally:
            await self._end_renewal()

    async def _connect_and_serve(self) -> None:
        try:
            error = await self._serve(await self._connect())
        except VenueError as failure:
            error = failure
        if self._closing.is_set():
            return
        self._on_closed(error)
        if self._successor is not None:
            return
        wait_ms = self._backoff.next_wait_ms()
        if self._budget is not None:
            self._budget.failed()
            wait_ms = max(wait_ms, self._budget.wait_ms())
        await self._wait(wait_ms)

    async def close(self) -> None:
        """End the connection with a close frame and let `run` return; a peer that is gone costs at most `close_ms`."""
        self._closing.set()
        for dialer in self._dialers:
            dialer.abandon()
        transport = self._transport
        if transport is None or transport.is_disconnected:
            return
        transport.send_close(picows.WSCloseCode.OK)
        transport.disconnect()
        try:
            async with asyncio.timeout(self.policy.close_ms / 1_000):
                await transport.wait_disconnected()
        except TimeoutError:
            transport.disconnect(graceful=False)

    def disconnect(self) -> None:
        """Drop the connection; `run` makes a new one, signed with the key of that moment."""
        self.dropped = True
        if self._transport is not None:
            self._transport.disconnect(graceful=False)

    def renew(self) -> None:
        """Change over to a second connection, signed with the key of this moment (after a rotation); the first serves until it is open.

        Where nobody can be reached the first goes on, and its end makes `run` connect as ever. Where the venue refuses the key, the first
        ends at once: `run` is refused, too, and tells `on_closed`.
        """
        if not self.is_open:
            self.disconnect()
        elif self._renewing is None or self._renewing.done():
            self._renewing = asyncio.create_task(self._renew())

    async def _renew(self) -> None:
        first, signer = self._transport, current_signer(self._signer)
        try:
            successor = await self._dial()
        except (VenueUnauthorized, VenueForbidden):
            self.disconnect()
            return
        except VenueError as error:
            _log.warning("no second connection with the new key, the first goes on: %s", error)
            return
        if self._transport is not first:  # it ended meanwhile: `run` connects, with the key of that moment
            successor.disconnect(graceful=False)
            return
        self._successor = successor, signer
        self._close_reason = "we left it for a connection with the new key"
        self.disconnect()

    async def _end_renewal(self) -> None:
        if self._renewing is not None:
            self._renewing.cancel()
            await asyncio.wait({self._renewing})
        if self._successor is not None:
            self._successor[0].disconnect(graceful=False)

    # Commands. Each returns its id; the answer comes as a frame with that id. VenueUnreachable without a connection.

    def subscribe(
        self,
        channels: list[str],
        market_tickers: list[str] | None = None,
        *,
        use_yes_price: bool | None = None,
    ) -> int:
        """Subscribe; each channel answers with its own `subscribed` and sid."""
        params = SubscribeParams(
            channels=channels, market_tickers=market_tickers, use_yes_price=use_yes_price
        )
        return self._command(lambda number: SubscribeCommand(id=number, params=params))

    def update_subscription(
        self,
        sid: int,
        action: Literal["add_markets", "delete_markets", "get_snapshot"],
        market_tickers: list[str],
    ) -> int:
        """Change the markets of a subscription, or ask for their snapshots."""
        params = UpdateSubscriptionParams(action=action, sids=[sid], market_tickers=market_tickers)
        return self._command(lambda number: UpdateSubscriptionCommand(id=number, params=params))

    def get_snapshot(self, sid: int, market_tickers: list[str]) -> int:
        """Ask for fresh snapshots, after a gap."""
        return self.update_subscription(sid, "get_snapshot", market_tickers)

    def unsubscribe(self, sids: list[int]) -> int:
        """End subscriptions."""
        return self._command(
            lambda number: UnsubscribeCommand(id=number, params=UnsubscribeParams(sids=sids))
        )

    # Called by the listener

    def deliver(self, payload: bytes) -> None:
        """Check the sequence of one message and hand it on; an exception makes picows end the connection."""
        self.frames += 1
        if self._is_new(payload):
            self._on_frame(payload)

    def read_goes_on(self) -> None:
        """Note when the first frame of a read was handed on."""
        if not self._read_began_ns:
            self._read_began_ns = time.monotonic_ns()

    def read_age_ms(self) -> int:
        """How long the frames of the present read have been with us; 0 outside of one. Newer ones of it may wait behind the last."""
        began_ns = self._read_began_ns
        return (time.monotonic_ns() - began_ns) // 1_000_000 if began_ns else 0

    def read_ended(self) -> None:
        """Tell the consumer that no further frame of this read follows, and note what handling it cost."""
        took_ms, self._read_began_ns = self.read_age_ms(), 0
        self._backoff.succeeded()
        self.longest_read_ms = max(self.longest_read_ms, took_ms)
        if took_ms > self.policy.slow_read_ms:
            self.slow_reads += 1
        if self._on_read_end is not None:
            self._on_read_end()

    def writing_paused(self, *, paused: bool) -> None:
        """The venue does not read what we send (or does again)."""
        self._paused = paused
        self.writes_paused += paused

    def closed_by_venue(self, code: picows.WSCloseCode, reason: str | None) -> None:
        """Keep the words of a close frame for `on_closed`."""
        self._close_reason = f"the venue closed the connection with {code} {reason or ''}".rstrip()

    def _is_new(self, payload: bytes) -> bool:
        try:
            envelope = self._envelope.decode(payload)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise VenueProtocolError(f"not a frame: {error}", payload) from error
        if envelope.sid is None or envelope.seq is None:
            return True
        verdict = self.sequence.observe(envelope.sid, envelope.seq)
        if verdict == "duplicate":
            return False
        if verdict is not None and self._on_gap is not None:
            self._on_gap(verdict)
        return True

    async def _connect(self) -> picows.WSTransport:
        """The connection to serve next: the one that `renew` opened, or a new one."""
        self.sequence = SequenceTracker()
        self.dropped = False
        self._read_began_ns = 0
        self._last_command_id = 0
        self._close_reason = _NO_CLOSE_FRAME
        self._paused = False
        successor, self._successor = self._successor, None
        if successor is not None and successor[1] is current_signer(self._signer):
            return successor[0]
        if successor is not None:  # the key changed once more
            successor[0].disconnect(graceful=False)
        return await self._dial()

    async def _dial(self) -> picows.WSTransport:
        signer = current_signer(self._signer)
        assert signer is not None
        headers = signer.headers("GET", self._endpoint.base_path, self.clock.timestamp_ms())
        if self.policy.deflate:
            headers["Sec-WebSocket-Extensions"] = _DEFLATE_OFFER
        sent_ms = self.clock.monotonic_ms()
        dialer = Dialer(
            self._endpoint.origin + self._endpoint.base_path,
            self._ssl,
            connect_ms=self.policy.connect_ms,
            idle_ms=self.policy.idle_ms,
            pong_ms=self.policy.pong_ms,
            max_frame_bytes=self.policy.max_frame_bytes,
        )
        self._dialers.add(dialer)
        try:
            transport = await dialer.dial(lambda: _Listener(self), {**headers, "User-Agent": "soloist"})
        except picows.WSHandshakeError as error:
            raise self._refused(error, sent_ms) from error
        except (OSError, TimeoutError, picows.WSError) as error:
            raise VenueUnreachable(f"WebSocket: {why_unreachable(error, self._endpoint.origin)}") from error
        finally:
            self._dialers.discard(dialer)
        self.clock.observe(transport.response.headers.get("Date"), sent_ms)
        return transport

    def _refused(self, error: picows.WSHandshakeError, sent_ms: int) -> VenueError:
        """Return the typed error of a refused upgrade."""
        if error.response is None:
            return VenueUnreachable(f"WebSocket: {self._endpoint.origin}: {error}")
        self.clock.observe(error.response.headers.get("Date"), sent_ms)
        return parse_error_body(int(error.response.status), error.raw_body or b"")

    async def _serve(self, transport: picows.WSTransport) -> VenueError:
        """Stay until the connection ends and say why it did."""
        self._transport = transport
        self.connections += 1
        try:
            if self._closing.is_set() or self.dropped:
                return VenueUnreachable("WebSocket: disconnected by us while it was connecting")
            if self._on_opened is not None:
                self._on_opened()
            await transport.wait_disconnected()
        except VenueError as error:
            return error
        except picows.WSError as error:
            return VenueUnreachable(f"WebSocket: {self._endpoint.origin}: {error}")
        finally:
            self._transport = None
            transport.disconnect(graceful=False)
        return VenueUnreachable(f"WebSocket: {self._endpoint.origin}: {self._close_reason}")

    async def _wait(self, wait_ms: int) -> None:
        try:
            async with asyncio.timeout(wait_ms / 1_000):
                await self._closing.wait()
        except TimeoutError:
            return

    def _command(self, make: Callable[[int], Command]) -> int:
        transport = self._transport
        if transport is None or not self.is_open:
            raise VenueUnreachable("WebSocket: not connected: commands are sent from on_opened on")
        if self._paused:
            # Commands are not queued without a bound: whoever has more of them waits, or reconnects.
            raise VenueUnreachable("WebSocket: the venue does not read our commands now")
        self._last_command_id += 1
        transport.send(picows.WSMsgType.TEXT, encode(make(self._last_command_id)))
        return self._last_command_id
