"""One engine process from start to exit: journal, admin, key, lease, recovery, trading, stop."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import signal
from collections.abc import Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from soloist_kalshi.attempt_budget import AttemptBudget

from soloist_trader.config import Configuration, echo
from soloist_trader.core import events
from soloist_trader.core.commands import Amend, Place
from soloist_trader.core.engine import Engine
from soloist_trader.core.identifiers import parse_order_id
from soloist_trader.core.ledger import Ledger
from soloist_trader.core.records import Deployed, Stopped
from soloist_trader.core.units import ACTIVE, HALTED, REDUCING
from soloist_trader.errors import FatalError, StateError
from soloist_trader.journal.writer import Commit, Journal
from soloist_trader.shell.admin import AdminServer, Board
from soloist_trader.shell.admission import Admission
from soloist_trader.shell.assembly import make_identity, make_tape, settings, verify_key
from soloist_trader.shell.clock import monotonic_ms, now_ms
from soloist_trader.shell.control import ControlServer
from soloist_trader.shell.crash_guard import CrashGuard
from soloist_trader.shell.deployment import Deployment
from soloist_trader.shell.fee_watch import FeeWatch
from soloist_trader.shell.gate import SendGate
from soloist_trader.shell.key_doubt import KeyDoubt
from soloist_trader.shell.keyring import KeyRing
from soloist_trader.shell.latch_file import LatchFile
from soloist_trader.shell.lease import LeaseAddress
from soloist_trader.shell.live import LiveEdge
from soloist_trader.shell.logs import log
from soloist_trader.shell.market_choice import MarketChoice, held_markets
from soloist_trader.shell.paper import PaperEdge
from soloist_trader.shell.publish import Publisher
from soloist_trader.shell.recovery import Reconciler
from soloist_trader.shell.runtime import Runtime
from soloist_trader.shell.state_directory import require_lasting
from soloist_trader.shell.store_follower import StoreFollower
from soloist_trader.shell.termination import write_termination
from soloist_trader.shell.thaw import ThawGuard
from soloist_trader.shell.venue import Edge
from soloist_trader.shell.venue_start import VenueStart, start_with_venue, until_reached
from soloist_trader.shell.verbs import Verbs
from soloist_trader.watchdog.pulse import Pulse

STOP_BUDGET_MS: Final = 20_000
"""From SIGTERM to exit; the pod's grace period must be longer (the operator gives 30 s or more)."""
PUBLISH_S: Final = 0.1
ATTEMPTS_FILE: Final = "venue-attempts.json"
"""The client's budget of wasted attempts at the venue, over restarts."""
ATTEMPTS: Final = 120
ATTEMPTS_PER_MINUTE: Final = 120
"""Two failures a second for good are a tenth of the slowest account's reads; a start every 2.5 s is as much."""
WATCHDOG: Final = "watchdog"
THAW: Final = "thaw"
"""Holds the gate from a standstill of the process until the books begin anew."""
ORDERS_LEFT: Final = "OrdersLeft"
_NEVER_CONNECTED: Final = {"Starting", "WaitingForLease", "CrashLoopBackOff", "ProvingKey"}
EXIT_CLEAN: Final = 0
EXIT_CONFIGURATION: Final = 2
EXIT_FATAL: Final = 3
EXIT_UNPROVEN: Final = 4


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line decides. `lease` is None outside a cluster."""

    configuration: Configuration
    keys: Path
    state_directory: Path
    admin: str
    lease: LeaseAddress | None
    pod_uid: str
    require_lasting_state: bool = False
    """Refuse a Live state directory that does not outlive the pod."""
    commit: Commit = Commit.AUTO
    """Who commits; by default what the disk's own speed at start says."""
    watch_directory: Path | None = None
    """Shared memory with the watchdog; None without one."""
    deployment: Deployment = field(default_factory=Deployment)
    """What runs, for the journal and whoever looks; it was approved before."""


class Service:
    """Assembles the parts and owns their lives."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.configuration = options.configuration
        self.ledger = Ledger()
        self.journal = Journal(options.state_directory, commit=options.commit)
        self.board = Board()
        self.identity = make_identity(options.configuration)
        self._started_ms = now_ms()
        self._began_ms = monotonic_ms()
        self._stop = asyncio.Event()
        self._fatal: asyncio.Future[BaseException] = asyncio.get_running_loop().create_future()
        self._tasks: list[asyncio.Task[None]] = []
        self._keys: KeyRing | None = None
        self.admission = Admission(self)
        self.choice = MarketChoice(options.configuration.markets, lambda: held_markets(self.ledger))
        self._guard = CrashGuard(options.state_directory, self.identity.epoch)
        self._latch_file = LatchFile(options.state_directory)
        self._pulse = Pulse(options.watch_directory, self._incarnation)
        self._thaw = ThawGuard()
        self.gate = SendGate(self._book_generation, self._objection)
        self.engine: Engine
        self.runtime: Runtime
        self.edge: Edge
        self.reconciler: Reconciler
        self.publisher: Publisher

    def _book_generation(self, market: str) -> int:
        held = self.engine.markets.get(market)
        return held.generation if held is not None and held.live else -1

    def _objection(self, command: Place | Amend) -> str:
        """What changed since the decision: the process stood still, watchdog, epoch, latch."""
        if stood_still_ms := self._thaw.stood_still_ms():
            self._on_thaw(stood_still_ms)
            return f"the process stood still for {stood_still_ms} ms"
        latched = self._latch_file.reason()
        if latched:
            return latched
        parts = parse_order_id(command.client_order_id)
        if isinstance(command, Place) and (parts is None or parts.epoch != self.identity.epoch):
            return f"the order is not of epoch {self.identity.epoch}"
        ledger = self.ledger
        if ledger.state == HALTED:
            return "HALTED since the decision"
        opens = ledger.position(command.market).count * command.side >= 0
        if ledger.state == REDUCING and opens and isinstance(command, Place):
            return "REDUCING since the decision"
        return ""

    # -- life

    async def run(self) -> int:
        """Run until SIGTERM, SIGINT or a fatal reason; returns the exit code. Raises StateError, KeysError."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop.set)
        configuration = self.configuration
        log(
            "Starting",
            f"{configuration.bot.namespace}/{configuration.bot.name}: {configuration.strategy.name}, mode "
            f"{configuration.mode} on {configuration.venue.name}, state in {self.options.state_directory}",
            configuration=echo(configuration),
            incarnation=self._incarnation,
            deployment=self.options.deployment._asdict(),
        )
        if self.configuration.mode == "Live" and self.options.require_lasting_state:
            self.options.state_directory.mkdir(parents=True, exist_ok=True)
            require_lasting(self.options.state_directory)
        self._open_journal()
        admin = AdminServer(self.options.admin, self.board)
        admin.start()
        log("Serving", f"/startup /health /ready /metrics /status on port {admin.port}", port=admin.port)
        control: ControlServer | None = None
        try:
            self._assemble()
            control = ControlServer(self.options.state_directory, Verbs(self).carry)
            await control.start()
            self._spawn(self._publish(), "publish")
            self._spawn(self.runtime.tick(), "tick")
            self.board.started = True
            starting = asyncio.create_task(self._start(), name="start")
            starting.add_done_callback(self._watch)
            self._tasks.append(starting)
            return await self._until_end()
        finally:
            if control is not None:
                await control.stop()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            if hasattr(self, "runtime") and self.runtime.tape is not None:
                self.runtime.tape.close()
            if self.journal.fileno() >= 0:
                loop.remove_reader(self.journal.fileno())
            self.journal.close()
            admin.stop()

    @property
    def has_managed_key(self) -> bool:
        """True if the engine's key can be taken away from it; one without a key has nothing to lose either."""
        return self._keys is None or self._keys.is_managed

    @property
    def _incarnation(self) -> str:
        return f"{self.identity.incarnation:x}"

    def _open_journal(self) -> None:
        """Replay, and refuse a directory that belongs to another account or mode."""
        tail = self.journal.open(self.ledger)
        if self.journal.fileno() >= 0:
            asyncio.get_running_loop().add_reader(self.journal.fileno(), self.journal.collect)
            # The loop made it non-blocking; `commit` waits on it.
            os.set_blocking(self.journal.fileno(), True)
        before = self.ledger.started
        log(
            "JournalOpened",
            tail.damage or "intact",
            records=tail.records,
            batches=tail.batches,
            stateHash=self.ledger.state_hash(),
            cleanExit=self.ledger.stopped is not None,
            commitMode=str(self.journal.mode),
            commits=self.journal.describe_commits(),
        )
        if before is None:
            return
        ours = (self.identity.claim_hash, self.identity.subaccount, self.identity.mode)
        theirs = (before.claim_hash, before.subaccount, before.mode)
        if ours != theirs:
            raise StateError(
                f"state directory {self.options.state_directory} belongs to claim {theirs[0]}, subaccount {theirs[1]}, "
                f"mode {theirs[2]}; this engine is {ours[0]}, {ours[1]}, {ours[2]}. Use another --state-dir."
            )
        if before.epoch > self.identity.epoch:
            raise FatalError(
                "EpochMismatch",
                f"the journal is of epoch {before.epoch}, this engine of {self.identity.epoch}",
            )

    def _assemble(self) -> None:
        configuration = self.configuration
        self.engine = Engine(
            self.ledger,
            self.identity,
            configuration.make_strategy(),
            configuration.risk.limits(),
            configuration.markets.tickers,
            settings(configuration),
        )
        self.edge = self._make_edge()
        tape = make_tape(
            configuration, self.engine, self.edge, self.options.state_directory, self._started_ms
        )
        self.runtime = Runtime(self.engine, self.journal, self.gate, self.edge, tape)
        if isinstance(self.edge, LiveEdge):
            self.runtime.fee_watch = FeeWatch(self.ledger, self.edge.fees)
            self.edge.after_frame = self.runtime.after_frame
        self.runtime.on_failure(self.fail)
        self.reconciler = Reconciler(self.runtime, self._started_ms)
        self.publisher = Publisher(configuration, self.identity, self.runtime, self.reconciler)
        self.publisher.choice = self.choice
        self.publisher.deployment = self.options.deployment
        if configuration.store.follow:
            self.publisher.follower = StoreFollower(configuration.store, self.options.state_directory)
        self.publisher.watchdog = self._pulse.word
        self.publisher.recovery = "Success" if self.ledger.started is not None else "CleanStart"
        self.runtime.hold_own_events()
        self.runtime.dispatch(events.Began(now_ms()))
        self.runtime.note(Deployed(now_ms(), *self.options.deployment))
        self._look_at_latch_file()
        if not self.runtime.flush_journal():
            raise StateError(self.journal.failed)

    def _make_edge(self) -> Edge:
        configuration = self.configuration
        if configuration.mode != "Live":
            shadow = configuration.mode == "Shadow"
            return PaperEdge(configuration, self.ledger, shadow=shadow, choice=self.choice)
        self._keys = KeyRing(
            self.options.keys,
            self.identity.epoch,
            lambda signer: verify_key(configuration, self.identity.subaccount, signer),
        )
        self._keys.load()
        self._attempts = AttemptBudget(
            self.options.state_directory / ATTEMPTS_FILE,
            capacity=ATTEMPTS,
            refill_per_minute=ATTEMPTS_PER_MINUTE,
        )
        self.key_doubt = KeyDoubt(self._keys, self.gate, self._spawn, self._on_key_switched)
        return LiveEdge(
            configuration,
            self._keys.source,
            self.key_doubt.refused,
            self._on_reopened,
            self._attempts,
            self.choice,
        )

    async def _start(self) -> None:
        """The start order of the design: epoch, key, private channels, account, compare, only then trade."""
        if self.options.lease is not None:
            self._spawn(self.admission.start(self.options.lease).run(), "lease")
            self.reconciler.phase = "WaitingForLease"
            await self.admission.admitted.wait()
        wait_ms = self._guard.begin()
        if wait_ms:
            self.reconciler.phase = "CrashLoopBackOff"
            why = f"{self._guard.failures} starts in a row ended badly; the venue is asked again in {wait_ms} ms"
            self.reconciler.last_error = why
            log("CrashLoopBackOff", why, level=logging.WARNING)
            await asyncio.sleep(wait_ms / 1000)
            self.reconciler.last_error = ""
        if self._keys is not None:
            self.reconciler.phase = "ProvingKey"
            await self._keys.prove()
            self._spawn(self._keys.watch(self._on_key_switched), "keys")
        self.reconciler.phase = "Subscribing"
        await self._connect()
        await start_with_venue(self.runtime, self.reconciler, self._venue_start())
        self._guard.good()
        self._spawn(self.reconciler.sweep(), "sweep")
        self._follow_journal()
        gc.collect()
        gc.freeze()
        self.admission.hurry()
        log("Ready", "reconciled with the venue", afterMs=monotonic_ms() - self._began_ms)

    async def _connect(self) -> None:
        await until_reached(self.reconciler, lambda: self.edge.start(self.runtime.sink))
        for task in self.edge.tasks:  # a dead reader means frozen books: never trade on them
            task.add_done_callback(self._watch_reader)

    def _venue_start(self) -> VenueStart:
        return VenueStart(
            self.options.state_directory,
            self.configuration.group_limits(),
            self.admission.safety,
            self._keys.came_ms if self._keys is not None else 0,
            self._on_venue_recovered,
            self._on_groups_made,
        )

    def _on_venue_recovered(self) -> None:
        self.publisher.recovery = "VenueRecovered"

    def _on_groups_made(self) -> None:
        # Before an order may name them: an engine that hangs now beats no more, and what its watchdog does not know it cannot trigger.
        self._beat()
        self.admission.hurry()

    def _spawn(self, coroutine: Coroutine[Any, Any, None], name: str) -> None:
        task = asyncio.create_task(coroutine, name=name)
        task.add_done_callback(self._watch)
        self._tasks.append(task)

    def _watch(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self.fail(error)

    def _follow_journal(self) -> None:
        """The store beside the engine; an end of this task is a log line, never the engine's."""
        if self.publisher.follower is None:
            return
        task = asyncio.create_task(self.publisher.follower.run(), name="store follower")
        task.add_done_callback(_say_end)
        self._tasks.append(task)

    def _watch_reader(self, task: asyncio.Task[None]) -> None:
        """A reader of the venue has no end of its own: one that returns is as dead as one that failed."""
        self._watch(task)
        if not task.cancelled() and task.exception() is None:
            self.fail(RuntimeError(f"task {task.get_name()!r} ended by itself"))

    def fail(self, error: BaseException) -> None:
        """Stop sending first; then the process ends."""
        reason = error.reason if isinstance(error, FatalError) else type(error).__name__
        self.gate.close(f"{reason}: {error}")
        if not self._fatal.done():
            self._fatal.set_result(error)

    async def _until_end(self) -> int:
        stopping = asyncio.create_task(self._stop.wait())
        waited: set[asyncio.Future[Any]] = {stopping, self._fatal}
        await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        if self._fatal.done():
            error = self._fatal.result()
            if not isinstance(error, FatalError):
                log("Crashed", "an error of the engine itself", level=logging.CRITICAL)
                self._guard.crashed()
                raise error
            log("Fatal", str(error), level=logging.CRITICAL, reason=error.reason)
            self._guard.good()  # it said why and ends in order: no crash, and the next key or epoch need not wait
            write_termination(error.reason, str(error))
            return EXIT_FATAL
        return await self._shut_down()

    async def _shut_down(self) -> int:
        """Latch, cancel, prove, flush, exit record. It never liquidates."""
        deadline_ms = monotonic_ms() + STOP_BUDGET_MS
        self.gate.close("stopping")
        self.publisher.stopping = True
        log("Stopping", "cancelling own orders")
        self.runtime.release_own_events()
        proven, reason, message = await self._end_orders(deadline_ms)
        self.journal.append(Stopped(now_ms(), proven, message))
        flushed = self.runtime.flush_journal()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(2):
                await self.admission.farewell()
        await self.edge.close()
        level = logging.INFO if proven else logging.ERROR
        log("Stopped", message, level=level, proven=proven, stateHash=self.ledger.state_hash())
        self._guard.good()
        if proven or reason == ORDERS_LEFT:
            self._pulse.stopped(self._group_ids())
        if not proven or not flushed:
            write_termination(
                reason if flushed else "StopUnproven", message if flushed else self.journal.failed
            )
            return EXIT_UNPROVEN
        return EXIT_CLEAN

    async def _end_orders(self, deadline_ms: int) -> tuple[bool, str, str]:
        """What became of own orders at the stop: whether it is proven that none rests, a word, and a sentence.

        Nothing is claimed that was not seen: an engine that was never admitted asks the venue nothing, and one that leaves
        its orders says so.
        """
        left = self.ledger.unsettled_count()
        if self.reconciler.phase in _NEVER_CONNECTED:
            why = f"stopped while {self.reconciler.phase}: this process sent nothing and looked at nothing"
            return False, "StopUnproven", f"{why}; the journal knows of {left} unsettled orders"
        if not self.configuration.trading.cancel_on_stop:
            return False, ORDERS_LEFT, f"{left} orders are left as they are: trading.cancelOnStop is false"
        self.runtime.dispatch(events.StopAsked(now_ms(), "asked to stop"))
        missing = await self.reconciler.prove_nothing_rests(deadline_ms)
        return not missing, "StopUnproven", missing or "a listing shows that nothing rests"

    async def _publish(self) -> None:
        while True:
            if stood_still_ms := self._thaw.turn():  # before anything else: what was decided before is stale
                self._on_thaw(stood_still_ms)
            self._look_at_latch_file()
            self.publisher.lease_age_ms = self.admission.age_ms
            self.board.publish(self.publisher.snapshot())
            self._beat()
            await asyncio.sleep(PUBLISH_S)

    # -- key

    def _on_key_switched(self) -> None:
        if isinstance(self.edge, LiveEdge):
            self.edge.change_key()
        self.admission.hurry()

    def _on_reopened(self) -> None:
        self.gate.release(THAW)
        self.reconciler.hurry()

    def _on_thaw(self, stood_still_ms: int) -> None:
        """Send nothing until the connection and the books are new: what waits in the socket is as old as the standstill."""
        if not isinstance(self.edge, LiveEdge):
            return
        why = f"the process stood still for {stood_still_ms} ms"
        log("Thawed", why, level=logging.ERROR)
        self.gate.hold(THAW, why)
        self.edge.reconnect()

    # -- watchdog

    def _beat(self) -> None:
        self._pulse.beat(self._group_ids(), self.board.status)

    def _group_ids(self) -> tuple[str, ...]:
        return tuple(group.group_id for group in self.ledger.groups.values())

    def _look_at_latch_file(self) -> None:
        """HALTED while the watchdog's latch is not proven."""
        why = self._latch_file.reason()
        held = WATCHDOG in self.ledger.latches
        if why and not held:
            self.runtime.dispatch(events.Verb(now_ms(), WATCHDOG, HALTED, why))
        elif held and not why:
            self.runtime.dispatch(
                events.Verb(now_ms(), WATCHDOG, ACTIVE, "the watchdog proved that nothing rests")
            )


def _say_end(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        log("StoreFollowerLost", f"{error}; the store stands still until a restart", level=logging.ERROR)
