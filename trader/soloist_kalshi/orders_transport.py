"""How a write reaches the venue: a small interface, and its implementation over connections of our own.

A write is never repeated. No library is asked to send it, so none can send it again; a request is given to one connection once, and what
becomes of that connection is what becomes of the request. Where a kept connection is free, nothing is awaited before the bytes are the
kernel's: they leave in the turn of the loop, and in the call, that wanted them to.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Final, Protocol
from urllib.parse import urlsplit

from soloist_kalshi.clock import ServerClock
from soloist_kalshi.endpoint import Endpoint, current_signer, tls_context, why_unreachable
from soloist_kalshi.errors import VenueClockSkew
from soloist_kalshi.keys import SignerSource
from soloist_kalshi.orders_connection import Connection, open_socket
from soloist_kalshi.orders_outcomes import NotSent, Rejected, Reply, Unknown, judge
from soloist_kalshi.signed_ahead import SignedAhead
from soloist_kalshi.signing import Signer

__all__ = ["ConnectionPool", "Gate", "WriteTransport"]

# Returns None to let the bytes go, or the reason why not. Synchronous: nothing runs between it and the socket.
Gate = Callable[[], str | None]

# Below every usual idle limit of an edge: a connection that the venue closes while we write costs an Unknown.
_KEEP_ALIVE_S: Final = 30.0
_FRESH_S: Final = _KEEP_ALIVE_S / 2
_DIAL_S: Final = 5.0
_PORTS: Final = {True: 443, False: 80}


class WriteTransport(Protocol):
    """Sends one write at most once."""

    async def send(
        self, method: str, path: str, query: str, body: bytes | None, *, deadline_ms: int, gate: Gate | None
    ) -> Reply | Rejected | Unknown | NotSent:
        """Return the 2xx reply, or what else became of it.

        `path` is below the base path and `query` empty or with its question mark, both escaped. The whole call, connecting included,
        takes no longer than the deadline. The gate is asked right before the bytes go to the socket.
        """

    def warm(self, connections: int) -> None:
        """Begin to open what is missing for so many writes to find a connection that is open and young."""

    async def close(self) -> None:
        """Close every connection."""


class ConnectionPool:
    """At most `connections` kept connections. A write that finds all of them busy waits for one, in its turn.

    Requests of the `hottest` method and path are signed ahead once `warm` was called.
    """

    def __init__(
        self,
        base_url: str,
        signer_source: SignerSource | Signer,
        *,
        ca_file: str | None = None,
        clock: ServerClock | None = None,
        connections: int = 32,
        hottest: tuple[str, str],
    ) -> None:
        self.clock = clock if clock is not None else ServerClock()
        self._endpoint = Endpoint.parse(base_url)
        self._signer = signer_source
        self._tls = tls_context(ca_file) if self._endpoint.secure else None
        self._limit = connections
        parts = urlsplit(self._endpoint.origin)
        assert parts.hostname is not None, "the endpoint was parsed"
        self._host, self._port = parts.hostname, parts.port or _PORTS[self._endpoint.secure]
        # What every request has in common.
        self._head = (
            f"HTTP/1.1\r\nHost: {parts.netloc}\r\nUser-Agent: soloist\r\nAccept: application/json\r\n"
        )
        method, path = hottest
        self.signed = SignedAhead(signer_source, self.clock, method, self._endpoint.base_path + path)
        self._open: set[Connection] = set()
        self._idle: list[Connection] = []
        self._dials: set[asyncio.Task[None]] = set()
        self._waiting: deque[asyncio.Future[Connection | OSError]] = deque()

    async def close(self) -> None:
        """Close every connection; the next write opens new ones."""
        self.signed.end()
        while self._waiting:
            self._tell(ConnectionError("the connections were closed by us"))
        for dial in self._dials:
            dial.cancel()
        await asyncio.gather(*self._dials, return_exceptions=True)
        for connection in list(self._open):
            connection.end()

    def warm(self, connections: int) -> None:
        """Open what is missing for so many writes at once beside what grew old; failures are left to the next write."""
        self.signed.begin()
        now_s = asyncio.get_running_loop().time()
        young = sum(now_s - idle.idle_since_s <= _FRESH_S for idle in self._idle)
        for _ in range(connections - young - len(self._dials)):
            self._dial()

    async def send(
        self, method: str, path: str, query: str, body: bytes | None, *, deadline_ms: int, gate: Gate | None
    ) -> Reply | Rejected | Unknown | NotSent:
        """Send one request once, see WriteTransport."""
        assert deadline_ms > 0
        until_s = asyncio.get_running_loop().time() + deadline_ms / 1_000
        connection = self._take_idle()
        if connection is None:
            try:
                self.clock.timestamp_ms()
            except VenueClockSkew as error:
                return NotSent(str(error))
            if gate is not None and (reason := gate()) is not None:
                return NotSent(reason)  # spares a connection
            try:
                connection = await self._wait(until_s)
            except OSError as error:
                return NotSent(why_unreachable(error, self._endpoint.origin))
        # From here to the kernel there is no await: what the gate says holds for the bytes.
        try:
            request = self._sign(method, self._endpoint.base_path + path, query, body)
        except VenueClockSkew as error:
            self._offer(connection)
            return NotSent(str(error))
        if gate is not None and (reason := gate()) is not None:
            self._offer(connection)
            return NotSent(reason)
        sent_ms = self.clock.monotonic_ms()
        pending = connection.begin(request, until_s, at_once=gate is not None)
        try:
            answer = await pending
        except BaseException:
            if (
                pending.cancelled() or not pending.done()
            ):  # else it was answered, and may carry somebody else's request by now
                connection.end()
            raise
        if isinstance(answer, OSError):
            return Unknown(why_unreachable(answer, self._endpoint.origin))
        self.clock.observe(answer.date, sent_ms)
        return judge(Reply(answer.status, answer.body))

    def _sign(self, method: str, full_path: str, query: str, body: bytes | None) -> bytes:
        """Return the bytes of a request, signed now. Raises VenueClockSkew."""
        if method == self.signed.method and full_path == self.signed.path:
            access = self.signed.take()
        else:
            signer = current_signer(self._signer)
            assert signer is not None
            access = signer.header_lines(method, full_path, self.clock.timestamp_ms())
        head = f"{method} {full_path}{query} {self._head}{access}"
        if body is None:
            return f"{head}\r\n".encode("ascii")
        return (
            f"{head}Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode("ascii")
            + body
        )

    # -- connections

    def _take_idle(self) -> Connection | None:
        """The one used last: it is the one that the venue kept for certain."""
        while self._idle:
            connection = self._idle.pop()
            if connection.is_usable():
                return connection
        return None

    async def _wait(self, until_s: float) -> Connection:
        """Wait for a connection; raises the error of opening one, or the TimeoutError of the deadline."""
        loop = asyncio.get_running_loop()
        waiting: asyncio.Future[Connection | OSError] = loop.create_future()
        self._waiting.append(waiting)
        self._dial()
        timer = loop.call_at(until_s, _answer, waiting, TimeoutError())
        try:
            given = await waiting
        except (asyncio.CancelledError, GeneratorExit):
            if (
                waiting.done()
                and not waiting.cancelled()
                and isinstance(late := waiting.result(), Connection)
            ):
                self._offer(late)
            raise
        finally:
            timer.cancel()
            waiting.cancel()  # whoever left gets no connection any more
        if isinstance(given, OSError):
            raise given
        if not given.is_usable():
            raise ConnectionError("the venue closed the connection before anything was sent")
        return given

    def _tell(self, word: Connection | OSError) -> bool:
        """Tell whoever waits longest; false if nobody waits."""
        while self._waiting:
            if _answer(self._waiting.popleft(), word):
                return True
        return False

    def _offer(self, connection: Connection) -> None:
        if not self._tell(connection):
            self._idle.append(connection)

    def _dial(self) -> None:
        """Begin to open a connection, if there may be one more."""
        if len(self._open) + len(self._dials) < self._limit:
            dial = asyncio.get_running_loop().create_task(self._connect())
            self._dials.add(dial)
            dial.add_done_callback(self._dials.discard)

    async def _connect(self) -> None:
        dial = asyncio.current_task()
        assert dial is not None
        try:
            async with asyncio.timeout(_DIAL_S):
                opened = await open_socket(self._host, self._port, self._tls)
        except OSError as error:  # TimeoutError is one
            self._dials.discard(dial)  # whoever is told may dial again at once
            while self._tell(error) and not self._open:
                pass  # without a connection that may become free, nothing else comes for those who wait behind
            return
        self._dials.discard(dial)
        connection = Connection(opened, idle_s=_KEEP_ALIVE_S, on_idle=self._offer, on_end=self._ended)
        self._open.add(connection)
        self._offer(connection)

    def _ended(self, connection: Connection) -> None:
        self._open.discard(connection)
        if connection in self._idle:
            self._idle.remove(connection)
        if self._waiting:
            self._dial()


def _answer(waiting: asyncio.Future[Connection | OSError], word: Connection | OSError) -> bool:
    """Tell one that waits; false if it was told already, or gave up."""
    if waiting.done():
        return False
    waiting.set_result(word)
    return True
