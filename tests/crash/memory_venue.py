"""The real exchange without sockets: its gateway, its feed, its faults and its store, called in the loop's thread.

Requests and frames take a moment each way. What was sent arrives whatever becomes of who sent it; signatures are taken as good.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any
from urllib.parse import urlencode

from soloist_exchange.auth import Caller
from soloist_exchange.control import Control
from soloist_exchange.exchange import Exchange, create_account, generate_key
from soloist_exchange.faults import Fault, Faults
from soloist_exchange.feed import Feed, Session
from soloist_exchange.feed_sessions import Session as FeedSession
from soloist_exchange.gateway import BASE_PATH, Wire, _Open
from soloist_exchange.http import JSON, HttpRequest
from soloist_exchange.scenario import Scenario
from soloist_exchange.store import FULL_SCOPES
from soloist_exchange.switches import Switches
from soloist_exchange.turns import Turn

from tests.crash.virtual import VirtualLoop

KEY = "kalshi-access-key"
STEP_S = 0.2
ACCOUNT = "bots"
DEPOSIT = 10_000_000_000
"""Money that each subaccount begins with."""
TICKERS = ("CRASH-A", "CRASH-B")
SCENARIO = {
    "name": "crash",
    "markets": [
        {
            "ticker": ticker, "start_dollars": start, "step_ms": 200, "levels": 3, "level_contracts": 4, "move_percent": 70,
            "trade_percent": 80, "spread_ticks": 1,
        }
        for ticker, start in zip(TICKERS, ("0.40", "0.55"), strict=True)
    ],
}  # fmt: skip


class Lost(Exception):  # noqa: N818 what happened to the request, as the client sees it
    """The connection ended without a whole reply."""


class _Connection:
    """What the gateway may do to a connection. Each call has one of its own."""

    def __init__(self, call: _Call) -> None:
        self.owner = None
        self.transport = None
        self._call = call

    def abort(self) -> None:
        self._call.end(Lost("the connection was reset"))

    reset = abort

    def mute(self) -> None:
        """Nothing is answered; the client's deadline ends the wait."""


class _Call:
    """One request; also the slot of its reply (see soloist_exchange.http.Slot)."""

    def __init__(self, venue: MemoryVenue, loop: asyncio.AbstractEventLoop) -> None:
        self.venue = venue
        self.connection = _Connection(self)
        self.endpoint = ""
        self.status = 0
        self.started_s = 0.0
        self.answer: asyncio.Future[tuple[int, bytes]] = loop.create_future()
        self._body = b""
        self._whole = True

    def reply(
        self,
        status: int,
        body: bytes = b"",
        content_type: str = JSON,  # noqa: ARG002 the slot's own signature
        *,
        sent: int | None = None,
    ) -> None:
        self.status, self._body, self._whole = status, body, sent is None
        self.venue.turn.replies(self)

    def flush(self, *, committed: bool) -> None:
        if committed:
            self.end((self.status, self._body) if self._whole else Lost("the reply ended early"))

    def end(self, outcome: tuple[int, bytes] | Lost) -> None:
        self.venue.later(self.venue.latency_s(), lambda: self._give(outcome))

    def _give(self, outcome: tuple[int, bytes] | Lost) -> None:
        if self.answer.done():
            return
        if isinstance(outcome, Lost):
            self.answer.set_exception(outcome)
            self.answer.exception()  # whoever asked may be dead
        else:
            self.answer.set_result(outcome)


class _Wire(Wire):
    """The gateway, which believes the key that a caller names."""

    def _authenticate(self, request: HttpRequest) -> Caller:
        key = self._exchange.key(request.headers[KEY])
        assert key is not None
        return Caller(key, self._exchange.account(key.account_id).name)

    def _own(self, connection: object, caller: Caller) -> None:
        """Connections are not counted."""

    def lost(self, connection: object) -> None:
        """As above."""


class MemorySocket:
    """The exchange's end of one WebSocket; frames keep their order on the way."""

    def __init__(
        self, venue: MemoryVenue, on_frame: Callable[[bytes], None], on_lost: Callable[[], None]
    ) -> None:
        self.outbox = self
        self.alive = True
        self._venue = venue
        self._on_frame = on_frame
        self._on_lost = on_lost
        self._waiting: list[bytes] = []
        self._free_us = 0
        self.session: FeedSession

    def __len__(self) -> int:
        return len(self._waiting)

    def put(self, frame: bytes) -> None:
        if not self._waiting:
            self._venue.turn.frames(self)
        self._waiting.append(frame)

    def flush(self, *, committed: bool) -> None:
        waiting, self._waiting = self._waiting, []
        if committed:
            for frame in waiting:
                self._in_order(lambda frame=frame: self._on_frame(frame) if self.alive else None)

    def _in_order(self, act: Callable[[], object]) -> None:
        venue = self._venue
        self._free_us = max(self._free_us + 1, venue.loop.now_us + int(venue.latency_s() * 1_000_000))
        venue.later((self._free_us - venue.loop.now_us) / 1_000_000, act)

    def close(self, code: int = 1000) -> None:  # noqa: ARG002 an outbox has it
        self._in_order(self.abort)

    def abort(self) -> None:
        if self.alive:
            self.drop()
            self._venue.later(0, self._on_lost)

    def drop(self) -> None:
        """The client's process is gone, or it hung up."""
        if self.alive:
            self.alive = False
            self._venue.disconnected(self)

    def send(self, text: str) -> None:
        """A command of the client."""
        self._in_order(lambda: self._venue.feed.command(self.session, text) if self.alive else None)


class MemoryVenue:
    """One exchange on a virtual clock, with one account."""

    def __init__(
        self,
        directory: Path,
        loop: VirtualLoop,
        seed: int,
        subaccounts: int,
        scenario: dict[str, Any] = SCENARIO,
    ) -> None:
        self.loop = loop
        self.random = Random(seed)
        self.late_percent = 0
        self.exchange = Exchange(
            directory, Scenario.model_validate(scenario), seed, loop.now_ms, lambda: loop.now_us, Switches(read_model_lag_ms=Random(seed).choice((0, 150, 1_200)))
        )  # fmt: skip
        self.turn = Turn(self.exchange.commit)
        self.faults = Faults(seed)
        self.feed = Feed(self.exchange, self.faults, later=self.later, monotonic_s=loop.time)
        self.wire = _Wire(self.exchange, self.feed, self.faults, self.turn)
        self.control = Control(self.exchange, self.faults, self.turn, _LoopClock(loop))
        row, first, _ = create_account(
            self.exchange.store, ACCOUNT, DEPOSIT * subaccounts, "ed25519", loop.now_ms(), tier="premier",
            subaccounts=subaccounts - 1,
        )  # fmt: skip
        self.account_id = row.account_id
        self.keys = [first]

    def open(self, subaccounts: int) -> None:
        """Give each subaccount its money and a key, and let the market move."""
        self.exchange.key(self.keys[0])  # opens the account
        for subaccount in range(1, subaccounts):
            self.exchange.transfer(self.account_id, f"to subaccount {subaccount}", 0, subaccount, DEPOSIT)
            key_id, _ = generate_key(
                self.exchange.store, self.account_id, name=f"bot {subaccount}", key_type="ed25519",
                scopes=FULL_SCOPES, subaccount=None, now_ms=self.loop.now_ms(),
            )  # fmt: skip
            self.keys.append(key_id)
        self.exchange.commit()
        self._drive()

    def _drive(self) -> None:
        due_ms = self.control.step()
        if self.exchange.broken is not None:
            raise self.exchange.broken
        self.later(max(self.control.wait_s(due_ms, STEP_S), 0.001), self._drive)

    def close(self) -> None:
        self.exchange.close()

    # -- time

    def later(self, delay_s: float, act: Callable[[], object]) -> object:
        """On the exchange's own behalf, whoever asks."""
        return self.loop.call_later(delay_s, act, context=contextvars.Context())

    def latency_s(self) -> float:
        return self.random.randrange(300, 8_000) / 1_000_000

    def _way_s(self) -> float:
        late = self.late_percent and self.random.randrange(100) < self.late_percent
        return self.random.randrange(100_000, 900_000) / 1_000_000 if late else self.latency_s()

    # -- calls

    def call(
        self, key_id: str, method: str, path: str, query: str, body: bytes | None
    ) -> asyncio.Future[tuple[int, bytes]]:
        """Send a request; it is on its way from here on. The future raises Lost."""
        call = _Call(self, self.loop)
        request = HttpRequest(method, BASE_PATH + path, query.removeprefix("?"), {KEY: key_id}, body or b"")
        self.later(
            self._way_s() if method != "GET" else self.latency_s(), lambda: self.wire.request(request, call)
        )
        return call.answer

    def connect(
        self, key_id: str, on_frame: Callable[[bytes], None], on_lost: Callable[[], None]
    ) -> MemorySocket:
        """Open a WebSocket. Raises Lost."""
        fault = self.faults.upgrade(ACCOUNT) if self.faults.hits_requests else None
        if fault is not None:
            raise Lost(f"the upgrade failed: {fault.kind}")
        key = self.exchange.key(key_id)
        assert key is not None
        socket = MemorySocket(self, on_frame, on_lost)
        socket.session = Session(Caller(key, ACCOUNT), socket.put, socket.close)
        self.wire._websockets[id(socket)] = _Open(socket, socket.session)  # type: ignore[arg-type]
        self.feed.sessions.append(socket.session)
        return socket

    def disconnected(self, socket: MemorySocket) -> None:
        """Forget a WebSocket."""
        del self.wire._websockets[id(socket)]
        self.feed.sessions.remove(socket.session)

    def set_faults(self, faults: list[Fault], late_percent: int) -> None:
        """From here on; an empty list ends them."""
        self.faults.set(faults)
        self.late_percent = late_percent

    @staticmethod
    def query_text(params: dict[str, str | list[str]]) -> str:
        """Parameters as they stand behind the question mark."""
        return urlencode(params, doseq=True)


class _LoopClock:
    def __init__(self, loop: VirtualLoop) -> None:
        self._loop = loop

    def now_ms(self) -> int:
        return self._loop.now_ms()

    def now_us(self) -> int:
        return self._loop.now_us
