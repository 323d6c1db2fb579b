"""How a write reaches the venue: a small interface, and its implementation over aiohttp.

A write is never repeated: not by this module and not by the HTTP library. aiohttp sends a DELETE or PUT again when a kept-alive
connection drops; `_no_resend` turns the errors that start this into one it does not repeat, and `_Request` refuses a second send anyway.
"""

import asyncio
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Protocol

import aiohttp
from aiohttp.abc import AbstractStreamWriter
from aiohttp.connector import Connection
from aiohttp.payload import BytesPayload
from yarl import URL

from soloist_kalshi.clock import ServerClock
from soloist_kalshi.endpoint import Endpoint, current_signer, tls_context, why_unreachable
from soloist_kalshi.errors import VenueClockSkew
from soloist_kalshi.keys import SignerSource
from soloist_kalshi.orders_outcomes import NotSent, Rejected, Reply, Unknown, judge
from soloist_kalshi.signing import Signer

__all__ = ["AiohttpTransport", "Gate", "WriteTransport"]

# Returns None to let the bytes go, or the reason why not. Synchronous: nothing runs between it and the socket.
Gate = Callable[[], str | None]

# Below every usual idle limit of an edge: a connection that the venue closes while we write costs an Unknown.
_KEEP_ALIVE_S = 30


class WriteTransport(Protocol):
    """Sends one write at most once."""

    async def send(
        self, method: str, path: str, query: str, body: bytes | None, *, deadline_ms: int, gate: Gate | None
    ) -> Reply | Rejected | Unknown | NotSent:
        """Return the 2xx reply, or what else became of it.

        `path` is below the base path and `query` empty or with its question mark, both escaped. The whole call, connecting included,
        takes no longer than the deadline. The gate is asked right before the bytes go to the socket.
        """

    async def close(self) -> None:
        """Close every connection."""


@dataclass(slots=True)
class _Attempt:
    """What happened to one request at the socket."""

    gate: Gate | None
    sent: bool = False
    refusal: str | None = None

    def pass_gate(self) -> None:
        """Ask the gate and note that bytes go out; raises _Refused when they may not."""
        if self.sent:
            self.refusal = "the HTTP library tried to send a write twice"
            raise _RefusedError(self.refusal)
        reason = self.gate() if self.gate is not None else None
        if reason is not None:
            self.refusal = reason
            raise _RefusedError(reason)
        self.sent = True


_attempt: ContextVar[_Attempt] = ContextVar("soloist_order_attempt")


class _RefusedError(Exception):
    """The gate said no."""


class _DroppedError(Exception):
    """The connection broke; not an aiohttp error, so that aiohttp does not send again."""


class _GatedBody(BytesPayload):
    """A body whose first byte passes the gate. aiohttp holds the headers back until the body is written, so they go together."""

    async def write_with_length(self, writer: AbstractStreamWriter, content_length: int | None) -> None:
        _attempt.get().pass_gate()
        await super().write_with_length(writer, content_length)


class _Request(aiohttp.ClientRequest):
    """A request without a body passes the gate when its headers are written."""

    async def send(self, conn: Connection) -> aiohttp.ClientResponse:
        if not isinstance(self.body, _GatedBody):
            _attempt.get().pass_gate()
        return await super().send(conn)


async def _no_resend(
    request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
) -> aiohttp.ClientResponse:
    try:
        return await handler(request)
    except aiohttp.ClientConnectorError:
        raise
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
        raise _DroppedError(str(error) or type(error).__name__) from error


class AiohttpTransport:
    """Kept-alive connections of aiohttp, at most `connections` of them."""

    def __init__(
        self,
        base_url: str,
        signer_source: SignerSource | Signer,
        *,
        ca_file: str | None = None,
        clock: ServerClock | None = None,
        connections: int = 8,
    ) -> None:
        self.clock = clock if clock is not None else ServerClock()
        self._endpoint = Endpoint.parse(base_url)
        self._signer = signer_source
        self._ssl = tls_context(ca_file) if self._endpoint.secure else False
        self._connections = connections
        self._session: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        """Close every connection; the next write opens new ones."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def send(
        self, method: str, path: str, query: str, body: bytes | None, *, deadline_ms: int, gate: Gate | None
    ) -> Reply | Rejected | Unknown | NotSent:
        """Send one request once, see WriteTransport."""
        assert deadline_ms > 0
        if gate is not None and (reason := gate()) is not None:
            return NotSent(reason)  # spares the connection that a refusal at the socket costs
        full_path = self._endpoint.base_path + path
        signer = current_signer(self._signer)
        assert signer is not None
        try:
            headers = signer.headers(method, full_path, self.clock.timestamp_ms())
        except VenueClockSkew as error:
            return NotSent(str(error))
        attempt = _Attempt(gate)
        token = _attempt.set(attempt)
        try:
            async with asyncio.timeout(deadline_ms / 1_000):
                reply = await self._exchange(
                    method, URL(self._endpoint.origin + full_path + query, encoded=True), body, headers
                )
        except (aiohttp.ClientError, _DroppedError, _RefusedError, TimeoutError, OSError) as error:
            return self._failed(attempt, error)
        finally:
            _attempt.reset(token)
        return judge(reply)

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(
                    limit=self._connections, ssl=self._ssl, keepalive_timeout=_KEEP_ALIVE_S
                ),
                request_class=_Request,
                middlewares=(_no_resend,),
                cookie_jar=aiohttp.DummyCookieJar(),
                timeout=aiohttp.ClientTimeout(total=None),
                headers={"User-Agent": "soloist"},
                trust_env=False,
            )
        return self._session

    async def _exchange(self, method: str, url: URL, body: bytes | None, headers: dict[str, str]) -> Reply:
        data = None if body is None else _GatedBody(body, content_type="application/json")
        sent_ms = self.clock.monotonic_ms()
        async with self._open().request(
            method, url, data=data, headers=headers, allow_redirects=False
        ) as reply:
            self.clock.observe(reply.headers.get("Date"), sent_ms)
            return Reply(reply.status, await reply.read())

    def _failed(self, attempt: _Attempt, error: Exception) -> Unknown | NotSent:
        """Say what an exception means: everything is Unknown from the moment that bytes may have gone out."""
        why = why_unreachable(error, self._endpoint.origin)
        if attempt.sent:
            return Unknown(attempt.refusal or why)
        return NotSent(attempt.refusal or why)
