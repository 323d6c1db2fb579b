"""The order path: create and cancel, each request sent at most once (section 8).

    NotSent    nothing of it reached the socket
    Rejected   the venue refused, for certain
    Unknown    it may have reached the venue, and what became of it is not known
    Accepted / Cancelled

A write is never repeated here: not by this module and not by the HTTP library. aiohttp sends a DELETE or PUT again when a kept-alive
connection drops; `_no_resend` turns the errors that start this into one it does not repeat, and `_Request` refuses a second send anyway.
"""

import asyncio
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self
from urllib.parse import quote

import aiohttp
import msgspec
from aiohttp.abc import AbstractStreamWriter
from aiohttp.connector import Connection
from aiohttp.payload import BytesPayload
from yarl import URL

from soloist_kalshi.clock import ServerClock
from soloist_kalshi.codec import UnknownFields, decode, encode
from soloist_kalshi.endpoint import (
    Endpoint,
    check_subaccount,
    current_signer,
    path_segment,
    tls_context,
    why_unreachable,
)
from soloist_kalshi.errors import VenueClockSkew, VenueProtocolError, parse_error_body
from soloist_kalshi.keys import SignerSource
from soloist_kalshi.messages import CancelOrderReply, CreateOrder, CreateOrderReply
from soloist_kalshi.numbers import count_from_text, money_from_dollars
from soloist_kalshi.signing import Signer

__all__ = [
    "Accepted",
    "CancelOutcome",
    "Cancelled",
    "CreateOutcome",
    "Gate",
    "NotSent",
    "OrderClient",
    "Rejected",
    "Unknown",
]

# Returns None to let the bytes go, or the reason why not. Synchronous: nothing runs between it and the socket.
Gate = Callable[[], str | None]

_ORDERS_PATH = "/portfolio/events/orders"
_MAX_CLIENT_ORDER_ID = 64
# Below every usual idle limit of an edge: a connection that the venue closes while we write costs an Unknown.
_KEEP_ALIVE_S = 30
# 408 is a proxy that gave up waiting: the venue may have the request.
_REQUEST_TIMEOUT = 408


@dataclass(frozen=True, slots=True)
class Accepted:
    """The venue took the order. Counts in 1/100 contract, averages per contract in 1/1 000 000 dollar (None without a fill)."""

    order_id: str
    client_order_id: str | None
    fill_count: int
    remaining_count: int
    average_fill_price: int | None
    average_fee_paid: int | None
    ts_ms: int


@dataclass(frozen=True, slots=True)
class Cancelled:
    """The venue took `reduced_by` (1/100 contract) out of the book."""

    order_id: str
    client_order_id: str | None
    reduced_by: int
    ts_ms: int


@dataclass(frozen=True, slots=True)
class Rejected:
    """The venue refused. Code `order_already_exists` means that the order exists; 404 on a cancel does not say why."""

    status: int
    code: str
    message: str


@dataclass(frozen=True, slots=True)
class Unknown:
    """The request may have reached the venue. Find out from the order list; never send it again under a new id."""

    why: str


@dataclass(frozen=True, slots=True)
class NotSent:
    """Nothing of the request reached the socket."""

    reason: str


CreateOutcome = Accepted | Rejected | Unknown | NotSent
CancelOutcome = Cancelled | Rejected | Unknown | NotSent


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


@dataclass(frozen=True, slots=True)
class _Reply:
    status: int
    body: bytes = field(repr=False)


class OrderClient:
    """Sends orders over kept-alive connections. Use as `async with`.

    Every call names its subaccount and its deadline: the whole call, connecting included, takes no longer. The optional gate is asked
    before a connection is taken and, for good, right before the bytes go to the socket. Whoever cancels the task of a call must take
    its outcome as unknown.
    """

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
        self.unknown_fields = UnknownFields()
        self._endpoint = Endpoint.parse(base_url)
        self._signer = signer_source
        self._ssl = tls_context(ca_file) if self._endpoint.secure else False
        self._connections = connections
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close every connection."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def create(
        self, order: CreateOrder, *, subaccount: int, deadline_ms: int, gate: Gate | None = None
    ) -> CreateOutcome:
        """Send an order once.

        Raises ValueError for an order that must not be sent: without client order id, or for another subaccount.
        """
        check_subaccount(subaccount)
        if order.subaccount not in {None, subaccount}:
            raise ValueError(f"the order names subaccount {order.subaccount}, the call {subaccount}")
        if not order.client_order_id or len(order.client_order_id) > _MAX_CLIENT_ORDER_ID:
            raise ValueError(f"an order needs a client order id of 1 to {_MAX_CLIENT_ORDER_ID} characters")
        body = encode(msgspec.structs.replace(order, subaccount=subaccount))
        reply = await self._send("POST", _ORDERS_PATH, "", body, deadline_ms, gate)
        if not isinstance(reply, _Reply):
            return reply
        try:
            made = decode(reply.body, CreateOrderReply, self.unknown_fields)
        except VenueProtocolError as error:
            return Unknown(f"HTTP {reply.status}: {error}")
        return Accepted(
            order_id=made.order_id,
            client_order_id=made.client_order_id,
            fill_count=count_from_text(made.fill_count),
            remaining_count=count_from_text(made.remaining_count),
            average_fill_price=_money(made.average_fill_price),
            average_fee_paid=_money(made.average_fee_paid),
            ts_ms=made.ts_ms,
        )

    async def cancel(
        self,
        order_id: str,
        *,
        market_ticker: str,
        subaccount: int,
        deadline_ms: int,
        gate: Gate | None = None,
    ) -> CancelOutcome:
        """Send a cancel once. `market_ticker` routes it to the order's shard (section 8.2)."""
        path = f"{_ORDERS_PATH}/{path_segment(order_id)}"
        query = f"?subaccount={check_subaccount(subaccount)}&market_ticker={quote(market_ticker, safe='')}"
        reply = await self._send("DELETE", path, query, None, deadline_ms, gate)
        if not isinstance(reply, _Reply):
            return reply
        try:
            gone = decode(reply.body, CancelOrderReply, self.unknown_fields)
        except VenueProtocolError as error:
            return Unknown(f"HTTP {reply.status}: {error}")
        return Cancelled(gone.order_id, gone.client_order_id, count_from_text(gone.reduced_by), gone.ts_ms)

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

    async def _send(
        self, method: str, path: str, query: str, body: bytes | None, deadline_ms: int, gate: Gate | None
    ) -> _Reply | Rejected | Unknown | NotSent:
        """Send one request; a _Reply is a 2xx."""
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
        return _judge(reply)

    async def _exchange(self, method: str, url: URL, body: bytes | None, headers: dict[str, str]) -> _Reply:
        data = None if body is None else _GatedBody(body, content_type="application/json")
        sent_ms = self.clock.monotonic_ms()
        async with self._open().request(
            method, url, data=data, headers=headers, allow_redirects=False
        ) as reply:
            self.clock.observe(reply.headers.get("Date"), sent_ms)
            return _Reply(reply.status, await reply.read())

    def _failed(self, attempt: _Attempt, error: Exception) -> Unknown | NotSent:
        """Say what an exception means: everything is Unknown from the moment that bytes may have gone out."""
        why = why_unreachable(error, self._endpoint.origin)
        if attempt.sent:
            return Unknown(attempt.refusal or why)
        return NotSent(attempt.refusal or why)


def _judge(reply: _Reply) -> _Reply | Rejected | Unknown:
    """Rejected is a 4xx whose body is the venue's; anything that an edge or proxy may have said is Unknown."""
    if 200 <= reply.status < 300:  # noqa: PLR2004 - the 2xx class
        return reply
    error = parse_error_body(reply.status, reply.body)
    definite = 400 <= reply.status < 500 and reply.status != _REQUEST_TIMEOUT  # noqa: PLR2004 - the 4xx class
    if definite and error.code not in {"html", "not_json", "empty"}:
        return Rejected(
            error.status, error.code, f"{error.message} ({error.details})" if error.details else error.message
        )
    return Unknown(str(error))


def _money(text: str | None) -> int | None:
    return None if text is None else money_from_dollars(text)
