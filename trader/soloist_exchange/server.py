"""Sockets: one TLS port for REST and WebSocket, one loopback port for the admin API, and the clock that moves the scenario."""

import asyncio
import contextlib
import sqlite3
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import msgspec
from aiohttp import WSMsgType, web
from soloist_kalshi.limits import CostTable
from soloist_kalshi.signing import HEADER_KEY, WEBSOCKET_PATH

from soloist_exchange import admin, certificates, rest, rest_call
from soloist_exchange.auth import Caller, authenticate, require_scope
from soloist_exchange.errors import Refused, StateError
from soloist_exchange.exchange import Exchange
from soloist_exchange.faults import Fault, Faults
from soloist_exchange.feed import Feed, Session
from soloist_exchange.scenario import Scenario

__all__ = ["Listening", "Options", "serve"]

BASE_PATH = "/trade-api/v2"
PING_S = 10.0
LONGEST_BODY = 1 << 20
FRAMES_QUEUED = 20_000
HOUSEKEEPING_S = 0.2
CHECK_S = 5.0
CLOSE_S = 5.0
JSON = "application/json"
COSTS = CostTable.documented()

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True)
class Options:
    """What `serve` was told. Ports of 0 pick a free one; `tls` None means plain HTTP."""

    host: str
    port: int
    admin_host: str
    admin_port: int
    state_dir: Path
    scenario: Scenario
    seed: int
    tls: certificates.Certificates | None


@dataclass(frozen=True, slots=True)
class Listening:
    """Where the exchange can be reached."""

    rest_url: str
    ws_url: str
    ca_file: str | None
    admin_url: str


class _Wire:
    """Between aiohttp and the exchange: authentication, limits, faults, errors, and a commit before every reply."""

    def __init__(self, exchange: Exchange, feed: Feed, faults: Faults) -> None:
        self._exchange = exchange
        self._feed = feed
        self._faults = faults

    def application(self) -> web.Application:
        application = web.Application(client_max_size=LONGEST_BODY)
        for route in rest.ROUTES:
            application.router.add_route(route.method, BASE_PATH + route.path, self._handler(route))
        application.router.add_get(WEBSOCKET_PATH, self.websocket)
        application.router.add_route("*", "/{path:.*}", self._no_such_call)
        return application

    def _handler(self, route: rest_call.Route) -> Handler:
        async def handle(request: web.Request) -> web.StreamResponse:
            body = await request.read()
            caller: Caller | None = None
            try:
                if route.scope is not None:
                    caller = self._authenticate(request)
                    require_scope(caller, route.scope)
                    self._take(caller, route)
            except Refused as refusal:
                return self._refused(refusal)
            account = caller.account if caller else ""
            fault = self._faults.request(account, request.method, request.path.removeprefix(BASE_PATH))
            if fault is not None and fault.kind in {"error_before", "reply_lost_before"}:
                return self._broken(request, fault)
            reply = self._answer(route, request, caller, body)
            if fault is not None and fault.kind == "slow":
                # Carried out when it arrived: a key that is deleted meanwhile does nothing afterwards.
                await asyncio.sleep(fault.delay_ms / 1000)
            if fault is not None and fault.kind in {"error_after", "reply_lost_after"}:
                return self._broken(request, fault)
            return reply

        return handle

    async def _no_such_call(self, _: web.Request) -> web.StreamResponse:
        return self._refused(rest_call.not_found())

    def _answer(
        self, route: rest_call.Route, request: web.Request, caller: Caller | None, body: bytes
    ) -> web.StreamResponse:
        """Carry out one call: nothing in here waits, so it is one step."""
        call = rest_call.Request(
            self._exchange, caller, request.query, request.match_info, body, self._feed.key_deleted
        )
        try:
            try:
                status, content = route.handle(call)
            finally:
                self._exchange.commit()
        except Refused as refusal:
            return self._refused(refusal)
        except (StateError, sqlite3.Error) as error:
            self._exchange.fail(error)
            return web.Response(
                status=503, text="the exchange cannot write its state", content_type="text/html"
            )
        if content is None:
            return web.Response(status=status)
        return web.Response(status=status, body=rest_call.encode(content), content_type=JSON)

    def _authenticate(self, request: web.Request) -> Caller:
        """Tell who signed, and leave a trace of a key that is not accepted (any more)."""
        try:
            return authenticate(self._exchange, request.headers, request.method, request.path)
        except Refused as refusal:
            self._exchange.store.begin()
            self._exchange.store.log(
                self._exchange.clock_ms(),
                "",
                "unauthorized",
                {
                    "key_id": request.headers.get(HEADER_KEY, ""),
                    "method": request.method,
                    "path": request.path,
                    "details": refusal.details,
                },
            )
            self._exchange.commit()
            raise

    def _take(self, caller: Caller, route: rest_call.Route) -> None:
        buckets = self._exchange.buckets(caller.account_id)
        bucket = buckets.write if route.write else buckets.read
        if not bucket.try_take(COSTS.cost(route.method, route.path)):
            raise Refused(429, "too many requests", shape="text")

    def _refused(self, refusal: Refused) -> web.Response:
        """Return the error body of section 3.1 that the refusal asks for."""
        content: dict[str, object]
        if refusal.shape == "parameter":
            content = {"msg": refusal.message}
        elif refusal.shape == "text":
            content = {"error": refusal.code}
        else:
            content = {"code": refusal.code, "message": refusal.message}
            if refusal.details:
                content["details"] = refusal.details
            if refusal.shape == "nested":
                content = {"error": content}
        return web.Response(status=refusal.status, body=rest_call.encode(content), content_type=JSON)

    def _broken(self, request: web.Request, fault: Fault) -> web.StreamResponse:
        """Lose the reply or answer 503, as the fault says."""
        if fault.kind.startswith("reply_lost") and request.transport is not None:
            request.transport.abort()
        return web.Response(status=503, text="upstream connect error", content_type="text/html")

    # ------------------------------------------------------------------ WebSocket

    async def websocket(self, request: web.Request) -> web.StreamResponse:
        try:
            caller = self._authenticate(request)
            require_scope(caller, "read")
        except Refused as refusal:
            return self._refused(refusal)
        socket = web.WebSocketResponse(autoping=True, heartbeat=None, max_msg_size=LONGEST_BODY)
        await socket.prepare(request)
        outbox = _Outbox(request.transport)
        session = Session(caller, outbox.put, outbox.close)
        self._feed.sessions.append(session)
        tasks = [
            asyncio.create_task(self._write(socket, outbox)),
            asyncio.create_task(self._ping(socket)),
        ]
        try:
            async for message in socket:
                if outbox.closed:
                    break
                if message.type is WSMsgType.TEXT:
                    self._feed.command(session, message.data)
        finally:
            self._feed.sessions.remove(session)
            outbox.done()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        return socket

    async def _write(self, socket: web.WebSocketResponse, outbox: "_Outbox") -> None:
        while (frame := await outbox.frames.get()) is not None:
            try:
                await socket.send_str(frame.decode() + "\n")
            except ConnectionError:
                return
        await socket.close()

    async def _ping(self, socket: web.WebSocketResponse) -> None:
        with contextlib.suppress(ConnectionError):
            while True:
                await asyncio.sleep(PING_S)
                await socket.ping(b"heartbeat")


class _Outbox:
    """Frames on their way to one connection.

    A reader that is too slow loses its connection, as at the venue, never the exchange its memory. Nothing is queued after `close`.
    """

    def __init__(self, transport: asyncio.Transport | None) -> None:
        self.frames: asyncio.Queue[bytes | None] = asyncio.Queue()
        self.closed = False
        self._transport = transport
        self._abort: asyncio.TimerHandle | None = None

    def put(self, frame: bytes) -> None:
        """Queue a frame."""
        if self.closed:
            return
        if self.frames.qsize() < FRAMES_QUEUED:
            self.frames.put_nowait(frame)
            return
        self.closed = True
        self._end()

    def close(self) -> None:
        """End the connection after the frames that are queued; a peer that does not take them is cut off."""
        if not self.closed:
            self.closed = True
            self.frames.put_nowait(None)
            self._abort = asyncio.get_running_loop().call_later(CLOSE_S, self._end)

    def done(self) -> None:
        """Forget the deadline: the connection has ended."""
        if self._abort is not None:
            self._abort.cancel()

    def _end(self) -> None:
        if self._transport is not None:
            self._transport.abort()


# ---------------------------------------------------------------------- process


async def serve(options: Options, ready: Callable[[Listening], None], stop: asyncio.Event) -> None:
    """Serve until `stop` is set; `ready` is told where once both ports listen."""
    exchange = Exchange(
        options.state_dir,
        options.scenario,
        options.seed,
        clock_ms=lambda: time.time_ns() // 1_000_000,
        clock_us=lambda: time.monotonic_ns() // 1000,
    )
    faults = Faults(options.seed)
    feed = Feed(exchange, faults)
    try:
        async with (
            _listen(
                _Wire(exchange, feed, faults).application(), options.host, options.port, _tls(options)
            ) as port,
            _listen(
                admin.application(exchange, feed, faults), options.admin_host, options.admin_port, None
            ) as admin_port,
        ):
            scheme, authority = ("s", str(options.tls.authority)) if options.tls else ("", None)
            ready(
                Listening(
                    rest_url=f"http{scheme}://{options.host}:{port}{BASE_PATH}",
                    ws_url=f"ws{scheme}://{options.host}:{port}{WEBSOCKET_PATH}",
                    ca_file=authority,
                    admin_url=f"http://{options.admin_host}:{admin_port}",
                )
            )
            await _run(exchange, stop)
            for session in list(feed.sessions):
                session.close()
    finally:
        exchange.commit()
        exchange.store.close()


async def _run(exchange: Exchange, stop: asyncio.Event) -> None:
    """Move the scenario, expire orders and check that nothing appeared or vanished, until told to stop."""
    check_s = 0.0
    while not stop.is_set():
        if exchange.broken is not None:
            raise exchange.broken
        started_s = time.monotonic()
        next_ms = exchange.flow.step()
        exchange.venue.expire()
        exchange.commit()
        if started_s >= check_s:
            exchange.venue.ledger.check()
            check_s = started_s + CHECK_S
        wait_s = HOUSEKEEPING_S
        if next_ms is not None:
            wait_s = min(wait_s, (next_ms - exchange.clock_ms()) / 1000)
        # However many markets move, half of the time belongs to the requests.
        wait_s = max(wait_s, time.monotonic() - started_s)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), wait_s)


@contextlib.asynccontextmanager
async def _listen(
    application: web.Application, host: str, port: int, tls: ssl.SSLContext | None
) -> AsyncIterator[int]:
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=2)
    await runner.setup()
    try:
        site = web.TCPSite(runner, host, port, ssl_context=tls, reuse_address=True)
        await site.start()
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


def _tls(options: Options) -> ssl.SSLContext | None:
    if options.tls is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(options.tls.certificate, options.tls.key)
    return context


def encode_listening(listening: Listening) -> str:
    """Return the one line that `serve` prints when it is ready."""
    return msgspec.json.encode(listening).decode()
