"""One kept-alive HTTP/1.1 connection that carries one write at a time, over its own socket.

No transport of the event loop is in between: a loop's transport keeps what it is given until the end of the loop's turn, and here the
bytes are the kernel's when `begin` returns. httptools (llhttp) reads the replies. Nothing is ever sent twice, because nothing here can:
a connection knows one request, and forgets it when it ends.
"""

import asyncio
import select
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

import httptools

from soloist_kalshi.endpoint import connected_socket

__all__ = ["Answer", "Connection", "ReplyError", "open_socket"]

MOST_REPLY_BYTES: Final = 4 << 20
"""Head and body. A reply to the largest batch has some 100 kB."""
_READ_BYTES: Final = 64 << 10
_NOT_NOW: Final = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)
_FIRST_FINAL_STATUS: Final = 200


class ReplyError(OSError):
    """The connection ended before its reply did, or the reply is not HTTP."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A reply in full, and its `Date` header."""

    status: int
    body: bytes = field(repr=False)
    date: str | None


async def open_socket(host: str, port: int, tls: ssl.SSLContext | None) -> socket.socket:
    """Connect, and with a context agree on TLS and check the certificate. Raises OSError, of which ssl's errors are some."""
    plain = await connected_socket(host, port)
    if tls is None:
        return plain
    try:
        secure = tls.wrap_socket(plain, server_hostname=host, do_handshake_on_connect=False)
    except BaseException:
        plain.close()
        raise
    loop = asyncio.get_running_loop()
    try:
        while True:
            try:
                secure.do_handshake()
            except ssl.SSLWantReadError:
                await _ready(secure, loop.add_reader, loop.remove_reader)
            except ssl.SSLWantWriteError:
                await _ready(secure, loop.add_writer, loop.remove_writer)
            else:
                return secure
    except BaseException:
        secure.close()
        raise


async def _ready(
    waited: socket.socket, add: Callable[..., object], remove: Callable[[socket.socket], object]
) -> None:
    ready = asyncio.Event()
    add(waited, ready.set)
    try:
        await ready.wait()
    finally:
        remove(waited)


class Connection:
    """An open connection. `on_idle` hears when it may carry the next request, and `on_end` once when it is closed.

    Both get the connection. It closes itself after `idle_s` without a request.
    """

    def __init__(
        self,
        opened: socket.socket,
        *,
        idle_s: float,
        on_idle: Callable[["Connection"], None],
        on_end: Callable[["Connection"], None],
    ) -> None:
        self._socket = opened
        self._loop = asyncio.get_running_loop()
        self._idle_s = idle_s
        self._on_idle = on_idle
        self._on_end = on_end
        self._parser = httptools.HttpResponseParser(self)
        self._ended = False
        self._unsent = b""
        self._pending: asyncio.Future[Answer | OSError] | None = None
        self._answer: Answer | None = None
        self._received = 0
        self._body: list[bytes] = []
        self._date: str | None = None
        self._has_length = self._has_head = False
        self._is_last = False
        self._timer = self._loop.call_later(idle_s, self.end)
        self.idle_since_s = self._loop.time()
        """When it became idle, by the loop's clock."""
        self._poll = select.poll()
        self._poll.register(opened, select.POLLIN)
        self._loop.add_reader(opened, self._on_readable)

    def is_usable(self) -> bool:
        """Whether the venue left it open, looked at now and in the kernel: the loop may not have heard of its end yet."""
        if not self._ended and self._poll.poll(0):
            self._on_readable()
        return not self._ended

    def begin(
        self, request: bytes, until_s: float, *, at_once: bool = False
    ) -> asyncio.Future[Answer | OSError]:
        """Send a request, once; the future has its reply by a time of the loop's clock, or why there is none.

        `at_once`: what the kernel does not begin to take in this call is given up. A gate was asked for this moment, not for a later one.

        Whatever the error, bytes may have left. Whoever stops waiting for the future ends the connection.
        """
        assert self._pending is None and not self._ended, "one request at a time"  # noqa: PT018 - both are one promise
        pending: asyncio.Future[Answer | OSError] = self._loop.create_future()
        self._pending = pending
        self._received, self._date, self._is_last = 0, None, False
        self._has_head = self._has_length = False  # of the reply before: an end now is no end of a body
        self._body = []
        self._write(request, at_once=at_once)
        if not self._ended:  # the clock is set after the bytes went: it costs as much as they do
            self._timer.cancel()
            self._timer = self._loop.call_at(until_s, self.end, TimeoutError())
        return pending

    def end(self, why: OSError | None = None) -> None:
        """Close it; a request that is under way gets `why`."""
        if self._ended:
            return
        self._ended = True
        self._timer.cancel()
        self._loop.remove_reader(self._socket)
        if self._unsent:
            self._loop.remove_writer(self._socket)
        self._socket.close()
        pending, self._pending = self._pending, None
        if pending is not None and not pending.done():
            pending.set_result(why or ReplyError("the connection was closed by us"))
        self._on_end(self)

    # -- socket

    def _write(self, request: bytes, *, at_once: bool = False) -> None:
        """Hand over what the kernel takes; the rest of these bytes follows when it takes more."""
        try:
            self._unsent = request[self._socket.send(request) :]
        except _NOT_NOW as error:
            if at_once:
                self.end(OSError(f"the kernel did not take it at once: {error}"))
                return
            self._unsent = request
        except OSError as error:
            self.end(error)
            return
        if self._unsent:
            self._loop.add_writer(self._socket, self._write_rest)

    def _write_rest(self) -> None:
        self._loop.remove_writer(self._socket)
        rest, self._unsent = self._unsent, b""
        self._write(rest)

    def _on_readable(self) -> None:
        while not self._ended:
            try:
                received = self._socket.recv(_READ_BYTES)
            except _NOT_NOW:
                return
            except OSError as error:
                self.end(error)
                return
            if received:
                self._take(received)
            else:
                self._take_end()

    def _take(self, received: bytes) -> None:
        if self._pending is None:
            self.end()  # said without being asked: what belongs to what could not be told apart from here on
            return
        self._received += len(received)
        if self._received > MOST_REPLY_BYTES:
            self.end(ReplyError(f"the reply has more than {MOST_REPLY_BYTES} bytes"))
            return
        try:
            self._parser.feed_data(received)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            if self._answer is None:
                self.end(ReplyError(f"the reply is not HTTP: {error}"))
                return
            self._is_last = True
        if self._answer is not None:
            self._finish(self._answer)

    def _take_end(self) -> None:
        """The venue closed; a body without a length ends so."""
        if self._pending is not None and self._has_head and not self._has_length:
            self._is_last = True
            self._finish(Answer(self._parser.get_status_code(), b"".join(self._body), self._date))
        else:
            self.end(ReplyError("the venue closed the connection before its reply was complete"))

    def _finish(self, answer: Answer) -> None:
        pending, self._pending, self._answer = self._pending, None, None
        assert pending is not None
        given_up = pending.done()
        if not given_up:
            pending.set_result(answer)
        if given_up or self._is_last or self._unsent:
            self.end()
            return
        self._timer.cancel()
        self._timer = self._loop.call_later(self._idle_s, self.end)
        self.idle_since_s = self._loop.time()
        self._on_idle(self)

    # -- parser (httptools calls these)

    def on_message_begin(self) -> None:
        """A reply begins; one after the last makes the connection useless."""
        if self._answer is not None:
            self._is_last = True
        self._body = []
        self._has_head = self._has_length = False

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep what matters of the head."""
        known = name.lower()
        if known == b"date":
            self._date = value.decode("latin-1")
        elif known in {b"content-length", b"transfer-encoding"}:
            self._has_length = True

    def on_headers_complete(self) -> None:
        """The head is complete."""
        self._has_head = True

    def on_body(self, body: bytes) -> None:
        """Keep a piece of the body."""
        self._body.append(body)

    def on_message_complete(self) -> None:
        """The reply is complete; one that only announces another (1xx) is none, and nobody asked for it: the next one goes elsewhere."""
        status = self._parser.get_status_code()
        if status < _FIRST_FINAL_STATUS:
            self._is_last = True
            return
        if self._answer is not None:
            return
        self._is_last = self._is_last or not self._parser.should_keep_alive()
        self._answer = Answer(status, b"".join(self._body), self._date)
