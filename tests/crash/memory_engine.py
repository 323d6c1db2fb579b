"""One engine without a process: the real core, journal, runtime, gate, edge and recovery, over a disk that forgets and a venue in memory.

`Boundary` counts what happens to it - appends, disk calls, commits, sends, replies, events - and ends it at the one that was chosen.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from soloist_kalshi.attempt_budget import AttemptBudget
from soloist_kalshi.errors import VenueUnreachable
from soloist_kalshi.keys import SignerSource
from soloist_kalshi.orders import OrderClient
from soloist_kalshi.orders_outcomes import NotSent, Rejected, Reply, Unknown, judge
from soloist_kalshi.rest import ReadPolicy, RestClient
from soloist_kalshi.signing import Signer, generate_private_key
from soloist_kalshi.websocket import WebSocketClient
from soloist_trader.config import Configuration
from soloist_trader.core import events
from soloist_trader.core.desk import Desk, Identity
from soloist_trader.core.engine import Engine, Settings
from soloist_trader.core.ledger import Ledger
from soloist_trader.core.records import Intended, Record, Slot
from soloist_trader.core.units import ACTIVE
from soloist_trader.journal.reader import Tail, read_journal
from soloist_trader.journal.snapshots import take_snapshot
from soloist_trader.journal.writer import Journal
from soloist_trader.shell import recovery
from soloist_trader.shell.clock import now_ms
from soloist_trader.shell.gate import SendGate
from soloist_trader.shell.listings import Listings
from soloist_trader.shell.live import LiveEdge
from soloist_trader.shell.market_subscription import MarketSubscription
from soloist_trader.shell.publish import Publisher
from soloist_trader.shell.recovery import Reconciler
from soloist_trader.shell.runtime import Intent, Runtime
from soloist_trader.shell.venue_recovery import SafetyRecord
from soloist_trader.shell.venue_start import VenueStart, start_with_venue, until_reached

from tests.crash.memory_venue import TICKERS, Lost, MemorySocket, MemoryVenue
from tests.crash.virtual import OWNER, TASKS
from tests.unit.soloist_trader.journal_disks import DIRECTORY, MemoryDisk

SEGMENT_BYTES = 16 * 1024
RECOVERY = "recovery"
"""Who latches a bot that lost its journal, until a person has read the report."""
QUIET = frozenset({
    events.Tick, events.TopChanged, events.Traded, events.MarketSeen, events.BookLost, events.BudgetSeen,
})  # fmt: skip
"""Events that change nothing durable by themselves: no boundary unless something is decided on them."""
_READS = ReadPolicy(attempts=3, request_ms=4_000, deadline_ms=10_000)


class Crashed(SystemExit):
    """The process is gone. A SystemExit, because the loop lets it through at once and nothing catches it."""

    def __init__(self, process: EngineProcess, where: str) -> None:
        super().__init__(where)
        self.process = process
        self.where = where


@dataclass
class Boundary:
    """Where a process ends: at the `at`-th boundary after `arm`, 0 for never."""

    process: EngineProcess
    at: int = 0
    passed: int = 0
    armed: bool = False

    def arm(self, at: int) -> None:
        self.at, self.passed, self.armed = at, 0, True

    def __call__(self, where: str) -> None:
        process = self.process
        if process.dead or not self.armed:
            return
        self.passed += 1
        if self.passed == self.at:
            process.dead = True
            raise Crashed(process, where)


@dataclass(frozen=True)
class Build:
    """Which code is under test: ours, or for a mutation a part of it broken on purpose."""

    name: str = "ours"
    desk: type[Desk] = Desk
    ledger: type[Ledger] = Ledger
    engine: type[Engine] = Engine
    overlap_ms: int = recovery.OVERLAP_MS
    """How far before the cursor fills are read again."""
    syncs: bool = True
    """False: fdatasync does nothing, so a crash may lose everything since the segment began."""
    obeys_commits: bool = True
    """False: orders leave although the commit that holds their intents failed."""


OURS = Build()


class CrashDisk(MemoryDisk):
    """The disk that forgets, with a boundary before and after each of its calls."""

    boundary: Callable[[str], None] = staticmethod(lambda _where: None)  # type: ignore[assignment]
    syncs = True
    _failing: tuple[str, int, int] = ("", 0, 0)

    def fail_soon(self, call: str, number: int, after: int) -> None:
        """From the so-manieth of these calls on, every one fails with this error number."""
        self._failing = (call, number, after)

    def _step(self, call: str) -> None:
        self.log.clear()
        failing, number, after = self._failing
        if call == failing and after > 0:
            self._failing = (failing, number, after - 1)
            if after == 1:
                self.faults[call] = number
        super()._step(call)
        self.boundary(f"before disk {call}")

    def write(self, file: int, data: bytes) -> None:
        super().write(file, data)
        self.boundary("after disk write")

    def sync(self, file: int) -> None:
        if self.syncs:
            super().sync(file)
        else:
            self._step("sync")
        self.boundary("after disk sync")


class CrashJournal(Journal):
    """A boundary before and after each append and commit; tells which orders were intended."""

    process: EngineProcess

    def append(self, record: Record) -> None:
        self.process.boundary(f"before append {type(record).__name__}")
        super().append(record)
        if isinstance(record, Intended):
            self.process.note_intended(record)
        self.process.boundary(f"after append {type(record).__name__}")

    def snapshot(self) -> bool:
        """What the helper process does, here and now: the engine may die at any of its steps."""
        sealed = self._tail.segment - 1
        if sealed <= self._snapshot_segment:
            return False
        self._snapshot_segment = sealed
        try:
            take_snapshot(DIRECTORY, self.disk, taken_ms=now_ms(), until=sealed)
        except OSError as error:  # the helper process says so and ends; the engine goes on
            self.snapshot_result = f"failed: {error}"
            self.snapshots_ended += 1
        return True


class CrashRuntime(Runtime):
    """A boundary before and after each event that matters and each flush; a dead one does nothing."""

    process: EngineProcess

    def dispatch(self, event: events.Event) -> None:
        process = self.process
        if process.dead:
            return
        kind = type(event)
        if kind is events.Readied:
            process.on_quiet(process)
        if kind not in QUIET:
            process.boundary(f"before event {kind.__name__}")
        super().dispatch(event)
        if kind not in QUIET:
            process.boundary(f"after event {kind.__name__}")

    def _send(self, intents: list[Intent], why_not: str) -> None:
        super()._send(intents, why_not if self.process.build.obeys_commits else "")

    def _flush(self) -> None:
        if self.process.dead:
            return
        self.process.boundary("before flush")
        super()._flush()
        self.process.boundary("after flush")


class _Writes:
    """A WriteTransport to the venue in memory."""

    def __init__(self, process: EngineProcess) -> None:
        self._process = process

    async def send(
        self, method: str, path: str, query: str, body: bytes | None, *, deadline_ms: int, gate: Any
    ) -> Reply | Rejected | Unknown | NotSent:
        process = self._process
        if gate is not None and (reason := gate()) is not None:
            return NotSent(reason)
        await asyncio.sleep(0)  # a connection is taken
        if gate is not None and (reason := gate()) is not None:
            return NotSent(reason)
        process.boundary(f"before send {method}")
        answer = process.venue.call(process.key_id, method, path, query, body)
        process.boundary(f"after send {method}")
        try:
            async with asyncio.timeout(deadline_ms / 1_000):
                status, content = await asyncio.shield(answer)
        except (Lost, TimeoutError) as error:
            return Unknown(f"{type(error).__name__}: {error}")
        process.boundary(f"before reply {method}")
        return judge(Reply(status, content))

    def warm(self, connections: int) -> None:
        """Nothing is opened."""

    async def close(self) -> None:
        """Nothing is open."""


class _Reads(RestClient):
    """REST reads from the venue in memory."""

    process: EngineProcess

    async def _once(self, method, path, *, query=None, content=None, signed):  # noqa: ARG002 signatures are not looked at
        params = {
            name: ("true" if value else "false")
            if isinstance(value, bool)
            else value
            if isinstance(value, list)
            else str(value)
            for name, value in (query or {}).items()
            if value is not None
        }
        venue = self.process.venue
        answer = venue.call(self.process.key_id, method, path, venue.query_text(params), content)
        try:
            async with asyncio.timeout(_READS.request_ms / 1_000):
                return await asyncio.shield(answer)
        except (Lost, TimeoutError) as error:
            raise VenueUnreachable(f"{method} {path}: {type(error).__name__}: {error}") from error


class _Transport:
    """The part of a picows transport that the client uses."""

    def __init__(self, socket: MemorySocket, lost: asyncio.Event) -> None:
        self._socket = socket
        self._lost = lost
        self.is_disconnected = False

    def send(self, kind: object, payload: bytes) -> None:  # noqa: ARG002 as picows has it
        self._socket.send(payload.decode())

    def disconnect(self, *, graceful: bool = True) -> None:  # noqa: ARG002 as picows has it
        if not self.is_disconnected:
            self.is_disconnected = True
            self._socket.drop()
            self._lost.set()

    async def wait_disconnected(self) -> None:
        await self._lost.wait()
        self.is_disconnected = True


class _Socket(WebSocketClient):
    """The real client of frames, connected to the venue in memory."""

    process: EngineProcess

    async def _connect(self):
        from soloist_kalshi.websocket import SequenceTracker

        process = self.process
        self.sequence = SequenceTracker()
        self.dropped = False
        self._last_command_id = 0
        await asyncio.sleep(process.venue.latency_s())
        lost = asyncio.Event()
        try:
            socket = process.venue.connect(process.key_id, self._hear, lost.set)
        except Lost as error:
            raise VenueUnreachable(str(error)) from error
        process.socket = socket
        return _Transport(socket, lost)

    def _hear(self, payload: bytes) -> None:
        if self.process.dead or self.dropped:
            return
        self.deliver(payload)
        self.read_ended()


class MemoryEdge(LiveEdge):
    """The Live edge over the venue in memory."""

    def __init__(self, process: EngineProcess, configuration: Configuration) -> None:
        source = SignerSource(process.signer)
        super().__init__(configuration, source, process.fail_word, process.hurry, AttemptBudget())
        reads = _Reads(
            "http://127.0.0.1:1/trade-api/v2", source, clock=self.clock, policy=_READS, random=process.random
        )
        reads.process = process
        self._rest = reads
        self._listings = Listings(reads, self._account.subaccount)
        self._writes._orders = OrderClient(
            "http://127.0.0.1:1/trade-api/v2", source, clock=self.clock, transport=_Writes(process)
        )
        real = self._socket
        socket = _Socket(
            "ws://127.0.0.1:1/trade-api/ws/v2", source, on_frame=real._on_frame, on_opened=real._on_opened, on_closed=real._on_closed,
            on_read_end=real._on_read_end, clock=self.clock, random=process.random,
        )  # fmt: skip
        socket.process = process
        self._socket = socket
        self._subscription = MarketSubscription(socket)


@dataclass(eq=False)
class EngineProcess:
    """From start to crash."""

    venue: MemoryVenue
    key_id: str
    signer: Signer
    configuration: Configuration
    disk: CrashDisk
    random: Random
    build: Build
    intents: dict[str, tuple[Slot, int]]
    """Every order that was ever intended by this bot, to slot and size: the harness's own notes."""
    on_quiet: Callable[[EngineProcess], None]
    on_error: Callable[[EngineProcess, str], None]
    reports: Path
    """Directory for what is written for people: on a real disk, nothing reads it back."""
    safety: SafetyRecord | None
    """What the Lease remembered when it began."""
    boundary: Boundary = field(init=False)
    dead: bool = False
    survived: set[str] = field(default_factory=set)
    """Orders whose intent the journal held at the start."""
    socket: MemorySocket | None = None
    ready: bool = False
    started_us: int = 0
    ready_us: int = 0

    def __post_init__(self) -> None:
        self.boundary = Boundary(self)

    # -- life

    def start(self) -> None:
        """Begin; the rest happens in the loop."""
        self.started_us = self.venue.loop.now_us
        token = OWNER.set(self)
        try:
            self.venue.loop.create_task(self._live())
        finally:
            OWNER.reset(token)

    def end(self) -> None:
        """Take everything of it out of the loop, without letting it do anything more."""
        self.dead = True
        for task in list(TASKS.pop(self, ())):
            task.cancel()
        if self.socket is not None:
            self.socket.drop()

    async def _live(self) -> None:
        try:
            await self._run()
        except Exception as error:  # noqa: BLE001 policy: whatever the engine raises is a finding of the test
            if not self.dead:
                self.on_error(self, f"the engine raised {error!r}")

    async def _run(self) -> None:
        account = self.configuration.account
        assert account is not None
        self.disk.boundary = self.boundary
        self.disk.syncs = self.build.syncs
        for _, _, records in read_journal(DIRECTORY, Tail(), disk=self.disk, partial=True):
            self.survived.update(record.client_order_id for record in records if isinstance(record, Intended))
        self.ledger = self.build.ledger()
        self.journal = CrashJournal(DIRECTORY, disk=self.disk, segment_bytes=SEGMENT_BYTES)
        self.journal.process = self
        self.journal.open(self.ledger)
        self.survived.update(self.ledger.orders)
        identity = Identity(
            account.claim_hash, account.subaccount, account.epoch, self.random.getrandbits(64), "Live"
        )
        desk = self.build.desk

        class Decides(self.build.engine):  # type: ignore[misc, name-defined]
            def _make_desk(self, ledger: Ledger, identity: Identity) -> Desk:
                return desk(ledger, identity, self.budget, self._ticks_of)

        self.engine = Decides(
            self.ledger, identity, self.configuration.make_strategy(), self.configuration.risk.limits(), TICKERS,
            Settings(amends=True, groups=True, rate_share_percent=50),
        )  # fmt: skip
        self.gate = SendGate(self._generation)
        self.edge = MemoryEdge(self, self.configuration)
        self.runtime = CrashRuntime(self.engine, self.journal, self.gate, self.edge)
        self.edge.after_frame = self.runtime.after_frame
        self.runtime.process = self
        self.runtime.on_failure(lambda error: self.on_error(self, f"a task of the engine raised {error!r}"))
        self.reconciler = Reconciler(self.runtime, now_ms())
        self.publisher = Publisher(self.configuration, identity, self.runtime, self.reconciler)
        self.runtime.hold_own_events()
        self.runtime.dispatch(events.Began(now_ms()))
        self.runtime.flush_journal()
        ticking = asyncio.create_task(self.runtime.tick())
        await until_reached(self.reconciler, lambda: self.edge.start(self.runtime.sink))
        await start_with_venue(
            self.runtime,
            self.reconciler,
            VenueStart(
                self.reports,
                self.configuration.group_limits(),
                self.safety,
                0,
                lambda: self.boundary("recovered from the venue"),
                lambda: self.boundary("order groups in the heartbeat"),
            ),
        )
        sweeping = asyncio.create_task(self.reconciler.sweep())
        await asyncio.gather(ticking, sweeping, *self.edge.tasks)

    def safety_record(self) -> SafetyRecord:
        """What it would write into the Lease now."""
        return self.publisher.safety()

    def resume(self) -> None:
        """A person read the report, looked at the venue and lets it open positions again."""
        if not self.dead:
            self.runtime.dispatch(events.Verb(now_ms(), RECOVERY, ACTIVE, "the report was read"))

    def _generation(self, market: str) -> int:
        held = self.engine.markets.get(market)
        return held.generation if held is not None and held.live else -1

    def hurry(self) -> None:
        """The private channels are back."""
        self.reconciler.hurry()

    def fail_word(self, why: str) -> None:
        """A 401 or 403 would be a fault that nobody set."""
        self.on_error(self, f"the key was refused: {why}")

    def note_intended(self, record: Intended) -> None:
        slot = Slot(record.strategy, record.market, record.side, record.level)
        self.intents[record.client_order_id] = (slot, record.size)


def make_signer() -> Signer:
    """A key that signs in microseconds; nobody checks it."""
    pair = generate_private_key("ed25519")
    return Signer.from_pem("memory", pair.private_pem)
