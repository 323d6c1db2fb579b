"""HTTP/1.1 on one connection: kept alive, pipelined in order, limited in every direction, and upgraded to a WebSocket when asked.

httptools (llhttp) reads. No server library is used, because a reply must wait for the commit of its turn (see `turns`).
"""

import asyncio
import contextlib
import socket
import struct
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final, Protocol, cast
from urllib.parse import unquote, urlsplit

import httptools

from soloist_exchange.http_messages import HTML, JSON, HttpRequest, encode_reply
from soloist_exchange.turns import Turn

__all__ = [
    "HTML",
    "JSON",
    "Application",
    "Connection",
    "Connections",
    "HttpRequest",
    "Limits",
    "Slot",
]

_CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"
_NAMES: Final[dict[bytes, str]] = {}
_NAMES_KEPT: Final = 256
_RESET: Final = struct.pack("ii", 1, 0)


@dataclass(frozen=True, slots=True)
class Limits:
    """What one connection may ask for; beyond it the answer is 408, 413 or 431, and the connection ends."""

    head_bytes: int = 32 << 10
    body_bytes: int = 1 << 20
    request_s: float = 10.0  # from the first byte of a request to its last
    idle_s: float = 600.0  # between requests, and for a reader of replies that does not read
    linger_s: float = 2.0  # for what a client still sends after its request was refused
    pipelined: int = 64


def _lower(name: bytes) -> str:
    """Return a header's name in lower case, and remember it: clients send the same few names again and again."""
    key = name.decode("latin-1").lower()
    if len(_NAMES) < _NAMES_KEPT:
        _NAMES[name] = key
    return key


class Application(Protocol):
    """What a connection asks for answers."""

    def request(self, request: HttpRequest, slot: "Slot") -> None:
        """Answer through the slot, now or later."""

    def upgrade(self, request: HttpRequest, slot: "Slot") -> None:
        """Answer a request to become a WebSocket: with `Connection.hand_over`, or with a reply."""

    def opened(self, connection: "Connection") -> None:
        """Hear of a new connection."""

    def lost(self, connection: "Connection") -> None:
        """Hear that a connection has ended or was handed over."""

    def replied(self, slot: "Slot") -> None:
        """Hear that a reply was written."""


class Slot:
    """The place of one reply in the order of its connection."""

    __slots__ = ("closes", "connection", "data", "endpoint", "head_only", "keep_alive", "started_s", "status")

    def __init__(self, connection: "Connection", *, keep_alive: bool, head_only: bool) -> None:
        self.connection = connection
        self.keep_alive = keep_alive
        self.head_only = head_only
        self.closes = False
        self.data: bytes | None = None
        self.status = 0
        self.endpoint = ""
        self.started_s = time.perf_counter()

    def reply(
        self, status: int, body: bytes = b"", content_type: str = JSON, *, sent: int | None = None
    ) -> None:
        """Answer; the bytes leave after the turn's commit. `sent` sends only that much of the body, and ends the connection."""
        self.status = status
        self.closes = not self.keep_alive or sent is not None
        self.data = encode_reply(
            status, body, content_type, closes=self.closes, head_only=self.head_only, sent=sent
        )
        self.connection.ready()


class Connection(asyncio.Protocol):
    """One connection until it ends or becomes a WebSocket. `owner` is the application's to use."""

    def __init__(self, application: Application, turn: Turn, limits: Limits) -> None:
        self.owner: object = None
        self.transport: asyncio.Transport | None = None
        self.deadline_s = 0.0
        self._application = application
        self._turn = turn
        self._limits = limits
        self._loop = asyncio.get_running_loop()
        self._parser = httptools.HttpRequestParser(self)
        self._slots: deque[Slot] = deque()
        self._done: list[tuple[HttpRequest, bool]] = []
        self._noted = False
        self._muted = False
        self._ended = False
        self._paused = False
        self._stopped = False
        self._lingers = False
        self._rest: bytearray | None = None
        self._problem = 0
        self._chunk_bytes = 0
        self._in_head = self._in_body = False
        self._new_message()

    # ---------------------------------------------------------------- transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self.transport = cast("asyncio.Transport", transport)
        self.deadline_s = self._loop.time() + self._limits.idle_s
        self._application.opened(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """End; replies that are still to come go nowhere."""
        del exc
        self._ended = True
        self.transport = None
        self._slots.clear()
        self._application.lost(self)

    def eof_received(self) -> bool:
        """End after the replies that are due: a client may close its half after its last request."""
        if not self._slots or self._muted or self.transport is None:
            return False
        self.finish()
        return self.transport.get_extra_info("ssl_object") is None  # TLS cannot stay half open

    def pause_writing(self) -> None:
        """Ask no more of a client that does not read its replies."""
        self._paused = True
        self.deadline_s = self._loop.time() + self._limits.idle_s
        self._stop_reading()

    def resume_writing(self) -> None:
        """Go on."""
        self._paused = False
        self._resume()

    def data_received(self, data: bytes) -> None:
        """Read requests; each is answered in its turn."""
        if self._ended or self._muted:
            return
        if self._rest is not None:
            self._rest += data
            return
        self._chunk_bytes = len(data)
        if self._in_head:
            self._begun_bytes += len(data)
        upgraded: int | None = None
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            upgraded = int(upgrade.args[0])
        except httptools.HttpParserError:
            self._problem = self._problem or HTTPStatus.BAD_REQUEST
        if self._in_head and self._begun_bytes > self._limits.head_bytes:
            self._problem = self._problem or HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE
        done, self._done = self._done, []
        last = done.pop()[0] if upgraded is not None and done else None
        for request, keep_alive in done:
            self._answer(request, keep_alive=keep_alive)
        if self._problem:
            self._reject(self._problem)
        elif last is not None:
            self._upgrade(last, data[upgraded:])
        if len(self._slots) > self._limits.pipelined:
            self._stop_reading()

    # ---------------------------------------------------------------- parser (httptools calls these)

    def _new_message(self) -> None:
        self._url = b""
        self._headers: dict[str, str] = {}
        self._body: list[bytes] = []
        self._begun_bytes = self._body_bytes = 0

    def on_message_begin(self) -> None:
        """Begin a request, and its time limit."""
        self._new_message()
        self._in_head = True
        self.deadline_s = self._loop.time() + self._limits.request_s

    def on_url(self, url: bytes) -> None:
        """Take the target, which may come in parts."""
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take one header."""
        key = _NAMES.get(name) or _lower(name)
        headers = self._headers
        if key in headers:
            headers[key] += ", " + value.decode("latin-1")
        else:
            headers[key] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        """Check the head before the body comes."""
        self._in_head, self._in_body = False, True
        headers = self._headers
        length = headers.get("content-length", "0")
        most = self._limits.head_bytes
        if self._begun_bytes + self._chunk_bytes > most and self._head_size() > most:
            self._problem = self._problem or HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE
        elif not length.isdecimal() or int(length[:18]) > self._limits.body_bytes:
            self._problem = self._problem or HTTPStatus.REQUEST_ENTITY_TOO_LARGE
        elif "host" not in headers and self._parser.get_http_version() == "1.1":
            self._problem = self._problem or HTTPStatus.BAD_REQUEST
        elif headers.get("expect", "").lower() == "100-continue":
            self._go_on()

    def _head_size(self) -> int:
        """Return the size of a whole head: asked only when more came at once than a head may have."""
        return len(self._url) + sum(len(name) + len(value) + 4 for name, value in self._headers.items())

    def _go_on(self) -> None:
        """Ask for the body. With replies still due the client is not asked: it goes on by itself (RFC 9110, 10.1.1)."""
        if self.transport is not None and not self._slots and not self._done:
            self.transport.write(_CONTINUE)

    def on_body(self, body: bytes) -> None:
        """Take a part of the body."""
        self._body_bytes += len(body)
        if self._body_bytes > self._limits.body_bytes:
            self._problem = self._problem or HTTPStatus.REQUEST_ENTITY_TOO_LARGE
        if not self._problem:
            self._body.append(body)

    def on_message_complete(self) -> None:
        """Keep a whole request until the bytes that came with it are read."""
        self._in_body = False
        if self._problem:
            return
        target = self._url.decode("latin-1")
        if not target.startswith("/"):  # the absolute form, which proxies send
            parts = urlsplit(target)
            target = f"{parts.path or '/'}?{parts.query}"
        path, _, query = target.partition("?")
        if "%" in path:
            path = unquote(path)
        request = HttpRequest(
            self._parser.get_method().decode("ascii"), path, query, self._headers, b"".join(self._body)
        )
        self._done.append((request, self._parser.should_keep_alive()))

    # ---------------------------------------------------------------- answers

    def _answer(self, request: HttpRequest, *, keep_alive: bool) -> None:
        if self._ended or self._muted:
            return  # the client said that the request before this one was its last
        slot = Slot(self, keep_alive=keep_alive, head_only=request.method == "HEAD")
        if not keep_alive:
            self._ended = True
        self._slots.append(slot)
        self._application.request(request, slot)

    def _reject(self, status: int) -> None:
        """Refuse what is no request, and take what the client still sends.

        Closing at once would reset the connection, and the client would lose the reply (RFC 9112, 9.6).
        """
        self._ended = self._lingers = True
        slot = Slot(self, keep_alive=False, head_only=False)
        self._slots.append(slot)
        phrase = HTTPStatus(status).phrase
        slot.reply(status, f"{status} {phrase}\n".encode(), "text/plain; charset=utf-8")

    def _upgrade(self, request: HttpRequest, rest: bytes) -> None:
        if request.headers.get("upgrade", "").lower() != "websocket":
            # Another protocol was offered: section 7.8 of RFC 9110 lets a server go on with HTTP/1.1.
            self._parser = httptools.HttpRequestParser(self)
            self._answer(request, keep_alive=True)
            if rest:
                self.data_received(rest)
            return
        slot = Slot(self, keep_alive=False, head_only=False)
        waits = bool(self._slots) or self._paused  # what a WebSocket takes over is an idle connection
        self._slots.append(slot)
        self._rest = bytearray(rest)
        if waits:
            slot.reply(HTTPStatus.BAD_REQUEST, b"an upgrade cannot be pipelined\n", "text/plain")
        else:
            self._application.upgrade(request, slot)

    def hand_over(self, head: bytes, protocol: asyncio.Protocol) -> None:
        """Switch protocols: write the 101 reply, and let another protocol have the connection and what was already read."""
        transport, rest = self.transport, bytes(self._rest or b"")
        assert transport is not None
        self._ended = True
        self._slots.clear()
        transport.write(head)
        transport.set_protocol(protocol)
        self.transport = None
        self._application.lost(self)
        protocol.connection_made(transport)
        if rest:
            protocol.data_received(rest)

    def ready(self) -> None:
        """Write what is ready at the end of this turn."""
        if not self._noted:
            self._noted = True
            self._turn.replies(self)

    def flush(self, *, committed: bool) -> None:
        """Write replies in the order of their requests, as far as they are there (see turns.Teller)."""
        self._noted = False
        transport, slots = self.transport, self._slots
        if transport is None or self._muted:
            return
        parts: list[bytes] = []
        closes = False
        while slots and not closes and (data := slots[0].data) is not None:
            slot = slots.popleft()
            if not committed:
                slot.keep_alive = False
                slot.reply(HTTPStatus.SERVICE_UNAVAILABLE, b"the exchange cannot write its state\n", HTML)
                data = slot.data or b""
            parts.append(data)
            closes = slot.closes
            self._application.replied(slot)
        if parts:
            transport.write(parts[0] if len(parts) == 1 else b"".join(parts))
            if not self._in_head and not self._in_body:
                self.deadline_s = self._loop.time() + self._limits.idle_s
        if closes and self._lingers:
            self.deadline_s = self._loop.time() + self._limits.linger_s
            if transport.can_write_eof():
                transport.write_eof()
        elif closes:
            self._ended = True
            transport.close()
        else:
            self._resume()

    def _stop_reading(self) -> None:
        if self.transport is not None and not self._stopped:
            self._stopped = True
            self.transport.pause_reading()

    def _resume(self) -> None:
        if not self._stopped or self._paused or len(self._slots) > self._limits.pipelined:
            return
        self._stopped = False
        if self.transport is not None:
            self.transport.resume_reading()

    # ---------------------------------------------------------------- ends

    def check_deadline(self, now_s: float) -> None:
        """End a connection that idles, and answer 408 to one that takes too long to send its request."""
        if now_s < self.deadline_s or self._muted or self.transport is None:
            return
        if self._paused:
            self.abort()
        elif self._lingers and not self._slots:
            self.transport.close()
        elif self._in_head or self._in_body:
            if not self._ended:
                self._reject(HTTPStatus.REQUEST_TIMEOUT)
        elif not self._slots:
            self.transport.close()

    def finish(self) -> None:
        """End after the replies that are due."""
        self._ended = True
        if self.transport is None:
            return
        if self._muted:
            self.transport.abort()
        elif self._slots:
            self._slots[-1].keep_alive = False
            self._slots[-1].closes = True
        else:
            self.transport.close()

    def mute(self) -> None:
        """Answer nothing any more, and stay open: what a half-open connection is to its client."""
        self._muted = True
        self._slots.clear()

    def abort(self) -> None:
        """End the connection at once."""
        self._ended = True
        if self.transport is not None:
            self.transport.abort()

    def reset(self) -> None:
        """End the connection with RST: a close that lingers for no time."""
        if self.transport is not None:
            self.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self.abort()


class Connections:
    """The connections that an application has open. `also` tells whether something else must end before it is idle."""

    def __init__(self, also: Callable[[], bool] = lambda: False) -> None:
        self._open: set[Connection] = set()
        self._also = also
        self._changed = asyncio.Event()

    def __len__(self) -> int:
        """How many there are."""
        return len(self._open)

    def add(self, connection: Connection) -> None:
        """Note a connection."""
        self._open.add(connection)

    def discard(self, connection: Connection) -> None:
        """Forget it."""
        self._open.discard(connection)
        self.changed()

    def changed(self) -> None:
        """Say that something has ended."""
        self._changed.set()

    def sweep(self, now_s: float) -> None:
        """End connections that take too long (`now_s` by the loop's clock)."""
        for connection in list(self._open):
            connection.check_deadline(now_s)

    async def stop(self, within_s: float) -> None:
        """End every connection after the replies that are due; after `within_s` cut off what is left."""
        for connection in list(self._open):
            connection.finish()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                while self._open or self._also():
                    self._changed.clear()
                    await self._changed.wait()
        for connection in list(self._open):
            connection.abort()
