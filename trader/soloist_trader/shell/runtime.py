"""The loop around the core: events in, journal, gate, venue, outcomes back in as events.

Everything that one frame, tick or outcome led to is flushed together: one commit holds every intent of it, and only then do
their bytes leave, before anything else is looked at. What comes about otherwise is flushed at the end of the loop's turn.
Cancels and look-ups do not wait for the journal.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable
from typing import Final

from soloist_trader.core import events
from soloist_trader.core.codes import AlertCode
from soloist_trader.core.commands import (
    Alert,
    Amend,
    Cancel,
    Command,
    Entomb,
    FindFills,
    FindOrder,
    Persist,
    Place,
    ResetGroup,
    TriggerGroup,
)
from soloist_trader.core.engine import Engine
from soloist_trader.core.records import Booked, Record
from soloist_trader.core.units import HALTED, SIDE_NAMES
from soloist_trader.errors import JournalFailedError
from soloist_trader.journal.quantiles import SLOW_P99_US
from soloist_trader.journal.writer import UNCOMMITTED_RECORDS, Commit, Journal
from soloist_trader.shell.clock import now_ms
from soloist_trader.shell.eager import begin
from soloist_trader.shell.fee_watch import FeeWatch
from soloist_trader.shell.gate import SendGate
from soloist_trader.shell.logs import log
from soloist_trader.shell.metrics import Histogram
from soloist_trader.shell.venue import Edge, VenueCommand
from soloist_trader.tape.writer import Tape

TICK_S: Final = 0.1
RECENT_FILLS: Final = 50
MAXIMUM_LOOKUPS: Final = 8
"""Look-ups in flight; more are dropped and asked for again, so that recovery keeps within the read budget."""
_NANOSECONDS_PER_US: Final = 1_000
_HOUSEKEEPING_TICKS: Final = 10
"""The journal's snapshots and its disk are looked at once a second."""

Intent = Place | Entomb | Amend
"""What must be durable before its bytes leave."""


class Runtime:
    """Drives one engine. All methods run in the loop's thread."""

    def __init__(
        self, engine: Engine, journal: Journal, gate: SendGate, edge: Edge, tape: Tape | None = None
    ) -> None:
        self.engine = engine
        self.tape = tape
        """Takes every input of the core, and what it led to; None where nothing is recorded."""
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
        self.fee_watch: FeeWatch | None = None
        """Compares fees with our model where fees are real; None elsewhere."""
        self.own_events = 0
        """Orders and fills seen so far; tells recovery whether anything happened between two passes."""
        self._buffer: list[events.Event] | None = None
        self._outbox: list[VenueCommand] = []
        self._snapshots_told = 0
        self._tape_told = ""
        self._flush_scheduled = self._flushing = False
        self._tasks: set[asyncio.Future[None]] = set()
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
        if self.tape is not None:
            self.tape.write_event(event)
        commands = self.engine.step(event)
        if commands:
            if self.tape is not None:
                self.tape.write_commands(commands)
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
            if self.fee_watch is not None and (message := self.fee_watch.take(record)):
                self._alert(AlertCode.FEES_DIFFER, message)
            return
        if isinstance(command, Alert):
            self._alert(command.code, command.message)
            return
        self._outbox.append(command)
        self._schedule()

    def _alert(self, code: str, message: str) -> None:
        self.alerts[code] = self.alerts.get(code, 0) + 1
        log(code, message, level=logging.WARNING)

    def _note_fill(self, record: Booked) -> None:
        self.fill_number += 1
        self.recent_fills.append((self.fill_number, record))
        key = (record.market, SIDE_NAMES[record.side], "taker" if record.is_taker else "maker")
        self.trades[key] = self.trades.get(key, 0) + 1

    def _schedule(self) -> None:
        if not self._flush_scheduled:
            self._flush_scheduled = True
            asyncio.get_running_loop().call_soon(self.flush)

    # -- out

    def flush(self) -> None:
        """Carry out what was decided, now. Whoever brought an event says so after the last one that belongs together.

        What a flush itself leads to waits for the end of the loop's turn: a refusal that is answered with an order, again
        and again, must not keep the loop.
        """
        if self._flush_scheduled and not self._flushing:
            self._flushing = True
            try:
                self._flush()
            finally:
                self._flushing = False

    def after_frame(self) -> None:
        """A frame was taken in full: what it led to leaves before the next one is looked at."""
        if self._flush_scheduled:
            if self.tape is not None:
                self.tape.end_frames()  # what a flush may lead to comes after this frame, not after its whole read
            self.flush()

    def _flush(self) -> None:
        """Cancels and triggers first, then one commit, then the orders it made durable."""
        self._flush_scheduled = False
        outbox, self._outbox = self._outbox, []
        intents: list[Intent] = [command for command in outbox if isinstance(command, Intent)]
        for command in outbox:
            if not isinstance(command, Intent):
                self._start(command)
        if intents:
            self._commit(lambda why: self._send(intents, why))
        elif self.journal.uncommitted > UNCOMMITTED_RECORDS:
            self._commit()

    def _send(self, intents: list[Intent], why_not: str) -> None:
        """The commit that holds these intents ended; with a reason, nothing of them may leave."""
        before, self._flushing = self._flushing, True  # a commit process's answer comes outside of any flush
        try:
            for command in intents:
                if why_not:
                    self.dispatch(_not_sent(command))
                    continue
                if not isinstance(command, Entomb):
                    self.gate.admit(command)
                self._start(command)
        finally:
            self._flushing = before

    def _commit(self, then: Callable[[str], None] = lambda _why_not: None) -> None:
        """Make durable what is there, then call `then`, with why not if it could not be. Never waits where a process does it."""
        began_ns = time.perf_counter_ns()

        def committed(why_not: str) -> None:
            if why_not:
                self._on_journal_failed(why_not)
            else:
                self.commit.observe((time.perf_counter_ns() - began_ns) // _NANOSECONDS_PER_US)
            then(why_not)

        self.journal.commit_soon(committed)
        if self.journal.full != self.engine.journal_full:
            self.dispatch(events.JournalFull(now_ms(), self.journal.full))

    def _on_journal_failed(self, why: str) -> None:
        if "journal" in self.engine.ledger.latches:
            return
        self._count_error("journal")
        log("JournalFailed", why, level=logging.CRITICAL)
        self.dispatch(events.Verb(now_ms(), "journal", HALTED, "the journal cannot be written"))

    def _start(self, command: VenueCommand) -> None:
        lookup = isinstance(command, FindOrder | FindFills)
        if lookup and self._lookups >= MAXIMUM_LOOKUPS:
            return
        self._lookups += lookup
        running = self._run(command)
        # Writes leave in this very call where a connection is free, in their sequence; reads need a task of their own.
        write = isinstance(command, Intent | Cancel | TriggerGroup | ResetGroup)
        task = begin(running) if write else asyncio.get_running_loop().create_task(running)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Future[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._fail(error)

    async def _run(self, command: VenueCommand) -> None:
        gate = None
        if isinstance(command, Place | Amend):
            intent = command
            gate = lambda: self.gate.judge(intent)  # noqa: E731 a gate is a function of no arguments
        began_ns = time.perf_counter_ns()
        try:
            outcome = await self.edge.execute(command, gate)
        finally:
            if isinstance(command, FindOrder | FindFills):
                self._lookups -= 1
            if isinstance(command, Place | Amend):
                self.gate.done(command)
        if isinstance(command, Place):
            self.order_round_trip.observe((time.perf_counter_ns() - began_ns) // _NANOSECONDS_PER_US)
        for event in outcome:
            kind = type(event)
            if kind is events.OrderUnknown or kind is events.OrderRefused:
                self._count_error("unknown_outcome" if kind is events.OrderUnknown else "order_refused")
                log(kind.__name__, str(event), level=logging.WARNING)
            self.dispatch(event)
        self.flush()

    def _count_error(self, kind: str) -> None:
        self.errors[kind] = self.errors.get(kind, 0) + 1

    # -- time

    async def tick(self) -> None:
        """Turn every 100 ms until cancelled: time for the core, and a commit for records without intents."""
        ticks = 0
        while True:
            self.dispatch(events.Tick(now_ms()))
            self.flush()
            if self.journal.uncommitted and not self._outbox and not self.journal.failed:
                self._commit()
            ticks += 1
            if ticks % _HOUSEKEEPING_TICKS == 0:
                self._keep_house()
            await asyncio.sleep(TICK_S)

    def _keep_house(self) -> None:
        """Snapshots in a process of their own, and a word about a slow disk."""
        journal = self.journal
        journal.poll_snapshot()
        if journal.snapshots_ended != self._snapshots_told:
            self._snapshots_told = journal.snapshots_ended
            log("JournalSnapshot", journal.snapshot_result)
        if journal.snapshot_due and not journal.failed:
            journal.snapshot()
        p99_us = journal.commit_quantiles()[1]
        if journal.mode is Commit.INLINE and p99_us > max(SLOW_P99_US, 2 * self.engine.commit_p99_us):
            self.dispatch(events.CommitSlow(now_ms(), p99_us))
        word = self.tape.word() if self.tape is not None else ""
        if word != self._tape_told:
            self._tape_told = word
            log("TapeIncomplete", word, level=logging.WARNING)

    def note(self, record: Record) -> None:
        """Put a fact of the edge into ledger and journal; it is committed with the next batch."""
        if self.tape is not None:
            self.tape.write_record(record)
        self.engine.ledger.apply(record)
        if not self.journal.failed:
            self.journal.append(record)

    def flush_journal(self) -> bool:
        """Commit what is there, now; false if the journal failed."""
        try:
            self.journal.commit()
        except JournalFailedError as error:
            self._on_journal_failed(str(error))
            return False
        return True

    @property
    def in_flight(self) -> int:
        """Commands whose outcome is not known yet."""
        return len(self._tasks)


def _not_sent(command: Intent) -> events.Event:
    why = "the journal could not be written"
    if isinstance(command, Amend):
        return events.AmendEnded(
            now_ms(), command.client_order_id, "not_sent", command.price, command.size, command.expiration_s
        )
    return events.OrderNotSent(now_ms(), command.client_order_id, why)


def _raise(error: BaseException) -> None:
    raise error
