"""Between the sockets and the exchange: who asks, may he, what happens to him on the way, and the answer (sections 2 to 4)."""

import asyncio
import logging
import sqlite3
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

import msgspec
from soloist_kalshi.signing import HEADER_KEY, WEBSOCKET_PATH

from soloist_exchange import rest
from soloist_exchange.auth import Caller, authenticate, clock_skew, require_scope, restricted
from soloist_exchange.errors import ExchangeError, Refused
from soloist_exchange.exchange import Exchange
from soloist_exchange.faults import Fault, Faults, How
from soloist_exchange.feed import Feed, Session
from soloist_exchange.http import HTML, Connection, Connections, HttpRequest, Slot
from soloist_exchange.markets import MarketStatus
from soloist_exchange.metrics import RequestTimes, Usage
from soloist_exchange.rest_call import Reply, Request, Route, encode, not_found
from soloist_exchange.router import Router
from soloist_exchange.turns import Turn
from soloist_exchange.websocket import GOING_AWAY, Outbox, WebSocket, accepted, wants_deflate

__all__ = ["BASE_PATH", "Wire"]

BASE_PATH: Final = "/trade-api/v2"
WEBSOCKETS_PER_ACCOUNT: Final = 200  # section 13.1
NOBODY: Final = -1  # no account has this number
_BASE: Final = BASE_PATH + "/"
_KEY: Final = HEADER_KEY.lower()
_LOOK_AGAIN_S: Final = 0.005
_AFTERWARDS: Final = frozenset({"connection_reset", "half_open"})

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Target:
    """A route with the name that metrics know it by."""

    route: Route
    endpoint: str


@dataclass(slots=True)
class _Later:
    """Something that happens after the commit instead of a reply (see turns.Teller)."""

    act: Callable[[], object]

    def flush(self, *, committed: bool) -> None:
        """Do it; when the commit failed, the process ends anyway."""
        del committed
        self.act()


@dataclass(slots=True)
class _Open:
    """One WebSocket connection and whose it is."""

    websocket: WebSocket
    session: Session


class Wire:
    """The application of the exchange's public port (see http.Application)."""

    def __init__(self, exchange: Exchange, feed: Feed, faults: Faults, turn: Turn) -> None:
        self.usage = Usage()
        self.times = RequestTimes()
        self._websockets: dict[int, _Open] = {}
        self.connections = Connections(lambda: bool(self._websockets))
        self._exchange = exchange
        self._feed = feed
        self._faults = faults
        self._turn = turn
        self._tasks: set[asyncio.Task[None]] = set()
        self._router = Router(
            (route.method, route.path, _Target(route, f"{route.method} {route.path}"))
            for route in rest.ROUTES
        )
        self._overlaid: dict[str, int] = {}
        faults.disconnect = self.disconnect
        faults.on_change = self._overlay_switches

    # ---------------------------------------------------------------- connections

    def opened(self, connection: Connection) -> None:
        """Note a connection."""
        self.connections.add(connection)

    def lost(self, connection: Connection) -> None:
        """Forget it, and whose it was."""
        self.connections.discard(connection)
        if isinstance(owner := connection.owner, Caller):
            self.usage.leave(owner.account, owner.key.key_id)
            connection.owner = None

    def replied(self, slot: Slot) -> None:
        """Count a reply."""
        self.times.observe(slot.endpoint, slot.status, time.perf_counter() - slot.started_s)

    def _own(self, connection: Connection, caller: Caller) -> None:
        owner = connection.owner
        if isinstance(owner, Caller):
            if owner.key.key_id == caller.key.key_id:
                return
            self.usage.leave(owner.account, owner.key.key_id)
        connection.owner = caller
        self.usage.enter(caller.account, caller.key.key_id)

    def disconnect(self, account: str, how: How = "with_frame") -> int:
        """End the WebSocket connections of an account ("" = all), with a close frame or without, and return how many."""
        ended = [item for item in self._websockets.values() if account in {"", item.session.caller.account}]
        for item in ended:
            if how == "with_frame":
                item.websocket.outbox.close()
            else:
                item.websocket.abort()
        return len(ended)

    async def stop(self, within_s: float) -> None:
        """End every connection: WebSockets with a close frame, HTTP after the replies that are due; then cut off what is left."""
        for item in list(self._websockets.values()):
            item.websocket.outbox.close(GOING_AWAY)
        await self.connections.stop(within_s)
        for item in list(self._websockets.values()):
            item.websocket.abort()
        await asyncio.sleep(0)

    def count_websockets(self) -> int:
        """Return how many WebSocket connections are open."""
        return len(self._websockets)

    def keys_of_websockets(self, account_id: int) -> list[str]:
        """Return the key of each WebSocket connection of an account."""
        callers = [item.session.caller for item in self._websockets.values()]
        return [caller.key.key_id for caller in callers if caller.account_id == account_id]

    def _overlay_switches(self) -> None:
        """Let the faults in force set their switches, and give back what those switches were before."""
        venue = self._exchange.venue
        wanted, before = self._faults.switches(), self._overlaid
        given_back = {name: value for name, value in before.items() if name not in wanted}
        self._overlaid = {name: before.get(name, getattr(venue.switches, name)) for name in wanted}
        if given_back or wanted:
            venue.switches = msgspec.structs.replace(venue.switches, **given_back, **wanted)

    # ---------------------------------------------------------------- requests

    def request(self, request: HttpRequest, slot: Slot) -> None:
        """Answer one call. Nothing in here waits, so what the call does is one step."""
        path = request.path.removeprefix(BASE_PATH) if request.path.startswith(_BASE) else ""
        found = self._router.find(request.method, path)
        if found is None:
            slot.endpoint = "unknown"
            self._refuse(slot, not_found())
            return
        target, match = found
        slot.endpoint = target.endpoint
        try:
            caller = self._caller(target.route, request, slot)
            call = Request(self._exchange, caller, request.query, match, request.body, self._feed.key_deleted)
            if caller is not None:
                self._take(caller, target.route, call)
            fault = self._fault(target.route, request, caller) if self._faults.hits_requests else None
            if fault is not None and self._before(fault, slot):
                return
            reply = target.route.handle(call)
        except Refused as refusal:
            self._refuse(slot, refusal)
        except Exception as error:  # noqa: BLE001 - policy: `_broke` ends the process or says that one call has a bug
            self._broke(slot, error)
        else:
            if isinstance(reply, tuple):
                self._finish(slot, fault, reply, caller)
            else:
                task = asyncio.create_task(self._finish_later(slot, fault, reply, caller))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)

    def _caller(self, route: Route, request: HttpRequest, slot: Slot) -> Caller | None:
        scope = route.scope_of(self._exchange)
        if scope is None:
            return None
        caller = self._authenticate(request)
        self._own(slot.connection, caller)
        require_scope(caller, scope)
        return caller

    def _authenticate(self, request: HttpRequest) -> Caller:
        """Tell who signed, and leave a trace of a key that is not accepted (any more)."""
        try:
            return authenticate(self._exchange, request.headers, request.method, request.path)
        except Refused as refusal:
            self._exchange.log(
                NOBODY,
                "unauthorized",
                key_id=request.headers.get(_KEY, ""),
                method=request.method,
                path=request.path,
                user_agent=request.headers.get("user-agent", ""),
                details=refusal.details,
            )
            raise

    def _take(self, caller: Caller, route: Route, call: Request) -> None:
        buckets = self._exchange.buckets(caller.account_id)
        bucket = buckets.write if route.write else buckets.read
        cost = route.cost if isinstance(route.cost, int) else route.cost(call)
        if not bucket.try_take(cost):
            raise _too_many()

    def _refuse(self, slot: Slot, refusal: Refused) -> None:
        """Answer with the error body of section 3.1 that the refusal asks for."""
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
        slot.reply(refusal.status, encode(content))

    def _broke(self, slot: Slot, error: Exception) -> None:
        """Answer a call that went wrong: the process ends if its state may be wrong; a bug of one call is logged and answered."""
        if isinstance(error, ExchangeError | sqlite3.Error):
            self._exchange.fail(error)
            slot.reply(503, b"the exchange cannot go on\n", HTML)
            return
        _log.exception("a bug in %s", slot.endpoint, exc_info=error)
        slot.reply(
            500, encode({"error": {"code": "internal_server_error", "message": "internal server error"}})
        )

    async def _finish_later(
        self, slot: Slot, fault: Fault | None, reply: Awaitable[Reply], caller: Caller | None
    ) -> None:
        try:
            done = await reply
        except Refused as refusal:
            self._refuse(slot, refusal)
        except Exception as error:  # noqa: BLE001 - policy: as for any other call
            self._broke(slot, error)
        else:
            self._finish(slot, fault, done, caller)

    def _finish(self, slot: Slot, fault: Fault | None, reply: Reply, caller: Caller | None) -> None:
        status, content = reply
        body = b"" if content is None else encode(content)
        if fault is None:
            slot.reply(status, body)
        else:
            self._after(fault, slot, status, body, caller)

    # ---------------------------------------------------------------- faults of requests

    def _fault(self, route: Route, request: HttpRequest, caller: Caller | None) -> Fault | None:
        """Draw a fault. A public call that names a key counts as its account's, although its signature is not looked at."""
        account = caller.account if caller is not None else ""
        if caller is None and (key_id := request.headers.get(_KEY)) is not None:
            key = self._exchange.key(key_id)
            account = self._exchange.account(key.account_id).name if key is not None else ""
        path = request.path.removeprefix(BASE_PATH)
        return self._faults.request(account, request.method, path, route.path)

    def _before(self, fault: Fault, slot: Slot) -> bool:
        """Let a fault happen that comes before the call; return whether the call is not carried out."""
        kind, connection = fault.kind, slot.connection
        if kind == "rate_limited":
            raise _too_many()
        if kind == "clock_skew":
            raise clock_skew()
        if kind == "forbidden":
            raise restricted()
        if kind == "market_paused":
            market = self._exchange.venue.markets.get(fault.ticker)
            if market is not None and market.status == MarketStatus.ACTIVE:
                self._exchange.venue.deactivate(fault.ticker)
            return False
        if kind == "error_before":
            _fail(fault, slot)
        elif kind == "reply_lost_before":
            connection.abort()
        elif kind in _AFTERWARDS and fault.when == "before":
            _break(fault, slot)
        else:
            return False
        return True

    def _after(self, fault: Fault, slot: Slot, status: int, body: bytes, caller: Caller | None) -> None:
        """Let a fault happen to a call that was carried out; what it did is committed first."""
        kind, connection = fault.kind, slot.connection
        loop = asyncio.get_running_loop()

        def answer() -> None:
            slot.reply(status, body)

        if kind == "error_after":
            _fail(fault, slot)
        elif kind == "truncated":
            slot.reply(status, body, sent=len(body) // 2)
        elif kind == "reply_lost_after":
            self._turn.replies(_Later(connection.abort))
        elif kind in _AFTERWARDS:
            self._turn.replies(_Later(lambda: _break(fault, slot)))
        elif kind == "slow":
            # Carried out when it arrived: a key that is deleted meanwhile does nothing afterwards.
            self._turn.replies(_Later(lambda: loop.call_later(fault.delay_ms / 1000, answer)))
        elif kind == "fill_before_reply" and caller is not None:
            self._turn.replies(_Later(lambda: self._when_told(caller.account, fault.delay_ms / 1000, answer)))
        else:
            answer()

    def _when_told(self, account: str, delay_s: float, act: Callable[[], object]) -> None:
        """Do something `delay_s` after every frame that waits for an account was sent. The frames of this turn leave before the next one."""
        loop = asyncio.get_running_loop()

        def look() -> None:
            if any(len(item.websocket.outbox) for item in self._of(account)):
                loop.call_later(_LOOK_AGAIN_S, look)
            else:
                loop.call_later(delay_s, act)

        loop.call_soon(look)

    # ---------------------------------------------------------------- WebSocket

    def _of(self, account: str) -> list[_Open]:
        return [item for item in self._websockets.values() if item.session.caller.account == account]

    def upgrade(self, request: HttpRequest, slot: Slot) -> None:
        """Answer a request to become a WebSocket: 101, or 401 and the connection ends."""
        if request.path != WEBSOCKET_PATH:
            self.request(request, slot)
            return
        slot.endpoint = f"GET {WEBSOCKET_PATH}"
        try:
            caller = self._authenticate(request)
            require_scope(caller, "read")
            fault = self._faults.upgrade(caller.account) if self._faults.hits_requests else None
            if fault is not None and fault.kind == "websocket_refused":
                slot.reply(502, b"<html><body><h1>502 Bad Gateway</h1></body></html>\n", HTML)
                return
            if fault is not None and self._before(fault, slot):
                return
            if self.usage.websockets(caller.account) >= WEBSOCKETS_PER_ACCOUNT:
                raise _too_many()
        except Refused as refusal:
            self._refuse(slot, refusal)
        except (ExchangeError, sqlite3.Error) as error:
            self._broke(slot, error)
        else:
            delay_s = fault.delay_ms / 1000 if fault is not None and fault.kind == "slow" else 0.0
            if delay_s:
                asyncio.get_running_loop().call_later(delay_s, self._hand_over, request, slot, caller)
            else:
                self._hand_over(request, slot, caller)

    def _hand_over(self, request: HttpRequest, slot: Slot, caller: Caller) -> None:
        deflate = wants_deflate(request.headers)
        head = accepted(request.headers, deflate=deflate)
        if head is None or request.method != "GET":
            slot.reply(
                400, encode({"error": {"code": "bad_request", "message": "not a WebSocket handshake"}})
            )
            return
        if slot.connection.transport is None:
            return

        def begin(outbox: Outbox) -> None:
            session = Session(caller, outbox.put, outbox.close)
            self._websockets[id(websocket)] = _Open(websocket, session)
            self._feed.sessions.append(session)
            self.usage.enter(caller.account, caller.key.key_id, websocket=True)

        def hear(text: str) -> None:
            try:
                self._feed.command(self._websockets[id(websocket)].session, text)
            except (ExchangeError, sqlite3.Error) as error:
                self._exchange.fail(error)
                websocket.abort()

        def end() -> None:
            self._feed.sessions.remove(self._websockets.pop(id(websocket)).session)
            self.usage.leave(caller.account, caller.key.key_id, websocket=True)
            self.connections.changed()

        websocket = WebSocket(
            self._turn,
            deflate=deflate,
            on_open=begin,
            on_text=hear,
            on_lost=end,
            ping_when_busy=lambda: self._exchange.venue.switches.ping_when_busy,
        )
        self.times.observe(slot.endpoint, 101, time.perf_counter() - slot.started_s)
        slot.connection.hand_over(head, websocket)


def _too_many() -> Refused:
    return Refused(429, "too many requests", shape="text")


def _fail(fault: Fault, slot: Slot) -> None:
    """Answer with the status and the kind of body that a fault names; HTML is what the venue's edge sends."""
    if fault.body == "json":
        slot.reply(
            fault.status,
            encode({"error": {"code": "internal_server_error", "message": "internal server error"}}),
        )
    else:
        slot.reply(fault.status, b"<html><body>upstream connect error</body></html>\n", HTML)


def _break(fault: Fault, slot: Slot) -> None:
    """Reset the connection, or never answer on it again."""
    if fault.kind == "half_open":
        slot.connection.mute()
    else:
        slot.connection.reset()
