"""The serving process: two ports, the clock that moves the scenario, and an end that everybody on the wire can see."""

import asyncio
import contextlib
import ssl
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import msgspec
import uvloop
from soloist_kalshi.signing import WEBSOCKET_PATH

from soloist_exchange import admin, certificates
from soloist_exchange.auth import wall_clock_ms
from soloist_exchange.clocks import Clock, ClockKind, RealClock, VirtualClock
from soloist_exchange.control import Control
from soloist_exchange.errors import StateError
from soloist_exchange.exchange import Exchange
from soloist_exchange.faults import Faults
from soloist_exchange.feed import Feed
from soloist_exchange.gateway import BASE_PATH, Wire
from soloist_exchange.http import Application, Connection, Limits
from soloist_exchange.scenario import Scenario
from soloist_exchange.switches import Switches
from soloist_exchange.turns import Turn

__all__ = ["Listening", "Options", "encode_listening", "run", "serve"]

HOUSEKEEPING_S: Final = 0.2
CHECK_S: Final = 5.0
SWEEP_S: Final = 1.0
STOP_S: Final = 3.0
HANDSHAKE_S: Final = 10.0
SHUTDOWN_S: Final = 0.5  # a client that keeps idle connections does not answer TLS's goodbye
BACKLOG: Final = 1024


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
    clock: ClockKind = "real"
    switches: Switches = field(default_factory=Switches)


@dataclass(frozen=True, slots=True)
class Listening:
    """Where the exchange can be reached."""

    rest_url: str
    ws_url: str
    ca_file: str | None
    admin_url: str


def run(main: Coroutine[None, None, None]) -> None:
    """Run a coroutine on the loop that the exchange is fast on."""
    uvloop.run(main)


async def serve(options: Options, ready: Callable[[Listening], None], stop: asyncio.Event) -> None:
    """Serve until `stop` is set; `ready` is told where once both ports listen."""
    clock = _clock(options)
    exchange = Exchange(
        options.state_dir,
        options.scenario,
        options.seed,
        clock_ms=clock.now_ms,
        clock_us=clock.now_us,
        switches=options.switches,
    )
    try:
        turn = Turn(exchange.commit)
        faults = Faults(options.seed)
        feed = Feed(exchange, faults)
        wire = Wire(exchange, feed, faults, turn)
        exchange.flow.script.connect_faults(faults.set)
        control = Control(exchange, faults, turn, clock)
        console = admin.Admin(control, wire)
        async with (
            _listen(wire, turn, options.host, options.port, _tls(options)) as port,
            _listen(console, turn, options.admin_host, options.admin_port, None) as admin_port,
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
            try:
                await _run(control, wire, console, stop)
            finally:
                await asyncio.gather(wire.stop(STOP_S), console.stop(STOP_S))
    finally:
        with contextlib.suppress(StateError):  # a state that cannot be written was said already, and why
            exchange.commit()
        exchange.close()


def _clock(options: Options) -> Clock:
    if options.clock == "real":
        return RealClock()
    return VirtualClock(options.state_dir / "virtual-clock", wall_clock_ms())


async def _run(control: Control, wire: Wire, console: admin.Admin, stop: asyncio.Event) -> None:
    """Move the scenario, expire orders and check that nothing appeared or vanished, until told to stop."""
    loop = asyncio.get_running_loop()
    check_s = sweep_s = 0.0
    while not stop.is_set():
        if control.exchange.broken is not None:
            raise control.exchange.broken
        started_s = time.monotonic()
        due_ms = control.step()
        if started_s >= check_s:
            control.exchange.venue.ledger.recount()
            check_s = started_s + CHECK_S
        if started_s >= sweep_s:
            wire.connections.sweep(loop.time())
            console.connections.sweep(loop.time())
            sweep_s = started_s + SWEEP_S
        # However many markets move, half of the time belongs to the requests.
        wait_s = max(control.wait_s(due_ms, HOUSEKEEPING_S), time.monotonic() - started_s)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), wait_s)
    if control.exchange.broken is not None:
        raise control.exchange.broken


@contextlib.asynccontextmanager
async def _listen(
    application: Application, turn: Turn, host: str, port: int, tls: ssl.SSLContext | None
) -> AsyncIterator[int]:
    limits = Limits()
    server = await asyncio.get_running_loop().create_server(
        lambda: Connection(application, turn, limits),
        host,
        port,
        ssl=tls,
        backlog=BACKLOG,
        reuse_address=True,
        ssl_handshake_timeout=None if tls is None else HANDSHAKE_S,
        ssl_shutdown_timeout=None if tls is None else SHUTDOWN_S,
    )
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


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
