"""The loop around the core: events in, journal, gate, venue, outcomes back in as events.

Everything that a loop turn produces is flushed together: one commit holds every intent of the turn, and only then do
their bytes leave. Cancels and look-ups do not wait for the journal.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable
from typing import Final

from soloist_trader.core import events
from soloist_trader.core.commands import Alert, Command, Entomb, FindFills, FindOrder, Persist, Place
from soloist_trader.core.engine import Engine
from soloist_trader.core.records import Booked
from soloist_trader.core.units import HALTED, SIDE_NAMES
from soloist_trader.errors import JournalFailedError
from soloist_trader.journal.writer import UNCOMMITTED_RECORDS, Journal
from soloist_trader.shell.clock import now_ms
from soloist_trader.shell.gate import SendGate
from soloist_trader.shell.logs import log
from soloist_trader.shell.metrics import Histogram
from soloist_trader.shell.venue import Edge, VenueCommand

TICK_S: Final = 0.1
RECENT_FILLS: Final = 50
MAXIMUM_LOOKUPS: Final = 8
"""Look-ups in flight; more are dropped and asked for again, so that recovery keeps within the read budget."""
_NANOSECONDS_PER_US: Final = 1_000


class Runtime:
    """Drives one engine. All methods run in the loop's thread."""

    def __init__(self, engine: Engine, journal: Journal, gate: SendGate, edge: Edge) -> None:
        self.engine = engine
        self.journal = journal
        self.gate = gate
        self.edge = edge
        self.recent_fills: deque[tuple[int, Booked]] = deque(maxlen=RECENT_FILLS)
        self.fill_number = 0
        self.trades: dict[tuple[str, str, str], int] = {}
        self.errors: dict[str, int] = {}
        self.alerts: dict[str, int] = {}
        self.decision = Histogram()
        self.commit = Histogram()
        self.order_round_trip = Histogram()
        self.own_events = 0
        """Orders and fills seen so far; tells recovery whether anything happened between two passes."""
        self._buffer: list[events.Event] | None = None
        self._outbox: list[VenueCommand] = []
        self._flush_scheduled = False
        self._tasks: set[asyncio.Task[None]] = set()
        self._lookups = 0
        self._fail: Callable[[BaseException], None] = _raise

    def on_failure(self, fail: Callable[[BaseException], None]) -> None:
        """Who is told about an exception of our own code in a task."""
        self._fail = fail

    # -- events

    def sink(self, event: events.Event) -> None:
        """What an edge sees. Own orders and fills wait while recovery reads the account."""
        if type(event) is events.OrderSeen or type(event) is events.FillSeen:
            self.own_events += 1
            if self._buffer is not None:
                self._buffer.append(event)
                return
        self.dispatch(event)

    def hold_own_events(self) -> None:
        """Buffer own orders and fills until `release_own_events`."""
        self._buffer = []

    def release_own_events(self) -> None:
        """Apply what was buffered."""
        buffered, self._buffer = self._buffer or [], None
        for event in buffered:
            self.dispatch(event)

    def dispatch(self, event: events.Event) -> None:
        """Step the engine and queue what it wants."""
        began_ns = time.perf_counter_ns()
        commands = self.engine.step(event)
        if commands:
            self.decision.observe((time.perf_counter_ns() - began_ns) // _NANOSECONDS_PER_US)
            for command in commands:
                self._take(command)

    def _take(self, command: Command) -> None:
        if isinstance(command, Persist):
            record = command.record
            if not self.journal.failed:  # nothing is ever committed again: do not collect it
                self.journal.append(record)
            if type(record) is Booked:
                self._note_fill(record)
            elif self.journal.uncommitted > UNCOMMITTED_RECORDS:
                self._schedule()
            return
        if isinstance(command, Alert):
            self.alerts[command.code] = self.alerts.get(command.code, 0) + 1
            log(command.code, command.message, level=logging.WARNING)
            return
        self._outbox.append(command)
        self._schedule()

    def _note_fill(self, record: Booked) -> None:
        self.fill_number += 1
        self.recent_fills.append((self.fill_number, record))
        key = (record.market, SIDE_NAMES[record.side], "taker" if record.is_taker else "maker")
        self.trades[key] = self.trades.get(key, 0) + 1

    def _schedule(self) -> None:
        if not self._flush_scheduled:
            self._flush_scheduled = True
            asyncio.get_running_loop().call_soon(self._flush)

    # -- out

    def _flush(self) -> None:
        """End of a loop turn: cancels first, then one commit, then the orders it made durable."""
        self._flush_scheduled = False
        outbox, self._outbox = self._outbox, []
        intents = [command for command in outbox if isinstance(command, Place | Entomb)]
        for command in outbox:
            if not isinstance(command, Place | Entomb):
                self._start(command)
        if not intents:
            if self.journal.uncommitted > UNCOMMITTED_RECORDS:
                self._commit()
            return
        durable = self._commit()
        for command in intents:
            if not durable:
                self.dispatch(
                    events.OrderNotSent(now_ms(), command.client_order_id, "the journal could not be written")
                )
                continue
            if isinstance(command, Place):
                self.gate.admit(command.client_order_id)
            self._start(command)

    def _commit(self) -> bool:
        if self.journal.failed:
            return False
        began_ns = time.perf_counter_ns()
        try:
            self.journal.commit()
        except JournalFailedError as error:
            self._count_error("journal")
            log("JournalFailed", str(error), level=logging.CRITICAL)
            self.dispatch(events.Verb(now_ms(), "journal", HALTED, "the journal cannot be written"))
            return False
        self.commit.observe((time.perf_counter_ns() - began_ns) // _NANOSECONDS_PER_US)
        return True

    def _start(self, command: VenueCommand) -> None:
        lookup = isinstance(command, FindOrder | FindFills)
        if lookup and self._lookups >= MAXIMUM_LOOKUPS:
            return
        self._lookups += lookup
        task = asyncio.get_running_loop().create_task(self._run(command))
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._fail(error)

    async def _run(self, command: VenueCommand) -> None:
        gate = None
        if isinstance(command, Place):
            place = command
            gate = lambda: self.gate.judge(place)  # noqa: E731 a gate is a function of no arguments
        began_ns = time.perf_counter_ns()
        try:
            outcome = await self.edge.execute(command, gate)
        finally:
            if isinstance(command, FindOrder | FindFills):
                self._lookups -= 1
            if isinstance(command, Place):
                self.gate.done(command.client_order_id)
        if isinstance(command, Place):
            self.order_round_trip.observe((time.perf_counter_ns() - began_ns) // _NANOSECONDS_PER_US)
        for event in outcome:
            kind = type(event)
            if kind is events.OrderUnknown or kind is events.OrderRefused:
                self._count_error("unknown_outcome" if kind is events.OrderUnknown else "order_refused")
                log(kind.__name__, str(event), level=logging.WARNING)
            self.dispatch(event)

    def _count_error(self, kind: str) -> None:
        self.errors[kind] = self.errors.get(kind, 0) + 1

    # -- time

    async def tick(self) -> None:
        """Turn every 100 ms until cancelled: time for the core, and a commit for records without intents."""
        while True:
            self.dispatch(events.Tick(now_ms()))
            if self.journal.uncommitted and not self._outbox:
                self._commit()
            await asyncio.sleep(TICK_S)

    def flush_journal(self) -> bool:
        """Commit what is there; false if the journal failed."""
        return self._commit()

    @property
    def in_flight(self) -> int:
        """Commands whose outcome is not known yet."""
        return len(self._tasks)


def _raise(error: BaseException) -> None:
    raise error
