"""The venue's part of every start, from the first look to the open gate; and what to do where the journal is gone.

Without a journal: evidence from the venue, the verdict into ledger and journal, and a report.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

from soloist_kalshi.errors import VenueError

from soloist_trader.core import events
from soloist_trader.core.records import DayBegan
from soloist_trader.core.units import HALTED, STATE_RANK
from soloist_trader.shell.clock import ms_to_text, now_ms
from soloist_trader.shell.live import LiveEdge
from soloist_trader.shell.logs import log
from soloist_trader.shell.recovery import FLIGHT_MS, Reconciler, until_shown
from soloist_trader.shell.retry import Retry
from soloist_trader.shell.runtime import Runtime
from soloist_trader.shell.venue_recovery import DAY_MS, Evidence, SafetyRecord, Verdict, judge

REPORT_FILE: Final = "recovery-report.json"
WATCHDOG: Final = "watchdog"
_RULED_ELSEWHERE: Final = frozenset({"lease", "operator", "journal", WATCHDOG})
"""Latches that come back by themselves while their cause lasts: Lease, desired state, disk; the watchdog's see below."""

_Result = TypeVar("_Result")


async def until_reached(reconciler: Reconciler, attempt: Callable[[], Awaitable[_Result]]) -> _Result:
    """Try until the venue answers; why it does not is in readiness meanwhile, and in the log ever more rarely."""
    retry = Retry("VenueUnreachable")
    while True:
        try:
            result = await attempt()
        except (VenueError, ValueError) as error:
            reconciler.last_error = str(error)
            await retry.pause(str(error))
            continue
        reconciler.last_error = ""
        return result


@dataclass(frozen=True, slots=True)
class VenueStart:
    """What a start needs to know besides engine and venue, and whom it tells."""

    directory: Path
    """Takes the report of a start without a journal."""
    group_limits: dict[str, int]
    """Role to the contracts (1/100) that may match in the venue's window."""
    safety: SafetyRecord | None
    """What the Lease remembers; None outside a cluster."""
    key_came_ms: int
    """When the key of this epoch came, in Unix milliseconds; 0 if nothing is known of it."""
    on_recovered: Callable[[], None]
    """The journal was gone, and the venue knew this bot."""
    on_groups: Callable[[], None]
    """The order groups are in ledger and journal, and no order names them yet."""


async def start_with_venue(runtime: Runtime, reconciler: Reconciler, start: VenueStart) -> None:
    """From connected to trading: journal gone or not, order groups, agreement with the venue, and only then the gate.

    Waits for as long as the venue does not answer.
    """
    edge = runtime.edge
    if isinstance(edge, LiveEdge):
        await before_first_reading(runtime, edge, reconciler, start)
    await reconciler.recover()
    runtime.gate.open()


async def before_first_reading(
    runtime: Runtime, edge: LiveEdge, reconciler: Reconciler, start: VenueStart
) -> None:
    """Is the journal gone, and the order groups of this start instead of those of earlier ones."""
    ledger, safety = runtime.engine.ledger, start.safety
    if ledger.cursor_ms == 0:  # no comparison was ever journaled: the bot is new, or its journal is gone
        reconciler.phase = "RecoveringFromVenue"
        if await until_reached(
            reconciler,
            lambda: recover_from_venue(runtime, edge, safety, start.key_came_ms, start.directory),
        ):
            start.on_recovered()
    reconciler.phase = "MakingOrderGroups"
    earlier = [group.group_id for group in ledger.groups.values()]
    earlier += list(safety.groups.values()) if safety is not None else []
    made = await until_reached(
        reconciler, lambda: edge.make_groups(start.group_limits, list(dict.fromkeys(earlier)))
    )
    for group in made:
        runtime.dispatch(group)
    runtime.flush_journal()
    start.on_groups()


async def recover_from_venue(
    runtime: Runtime, edge: LiveEdge, record: SafetyRecord | None, fenced_ms: int, directory: Path
) -> bool:
    """Look at what the venue has of ours; false for a bot that is simply new. Raises VenueError.

    Latches, and what the day made, go into ledger and journal before anything is traded.
    """
    ledger = runtime.engine.ledger
    began_ms = ledger.started.time_ms if ledger.started is not None else now_ms()
    # An earlier reading might miss what is later than the record.
    await until_shown(edge, began_ms + FLIGHT_MS)
    moment = now_ms()
    evidence = await edge.evidence(moment - DAY_MS)
    if evidence.is_empty and (record is None or (not record.sequence and not record.latches)):
        return False
    epoch = runtime.engine.desk.identity.epoch
    verdict = judge(record, evidence, moment, epoch, fenced_ms)
    _write_report(directory, verdict, evidence)
    for line in verdict.lines:
        log("RecoveryReport", line, level=logging.WARNING)
    for actor, (state, why) in (record.latches if record is not None else {}).items():
        if actor not in _RULED_ELSEWHERE and STATE_RANK[state]:
            runtime.dispatch(events.Verb(moment, actor, state, f"safety record: {why}"))
    # Profit counts from zero again; what the day lost already is put below it.
    runtime.note(DayBegan(moment, moment // DAY_MS, -verdict.day_profit))
    runtime.dispatch(events.RecoveryReported(moment, verdict.reason, verdict.trusted))
    killed = record.latches.get(WATCHDOG) if record is not None else None
    if killed is not None and STATE_RANK[killed[0]]:
        # The latch file went with the volume, and the watchdog's proof with it: only a person can lift what it meant.
        runtime.dispatch(events.Verb(moment, "recovery", HALTED, f"safety record: {killed[1]}"))
    return True


def _write_report(directory: Path, verdict: Verdict, evidence: Evidence) -> None:
    """Leave the report beside the journal. It is for people: a disk that refuses it is said and changes nothing."""
    body = {
        "version": 1,
        "at": ms_to_text(now_ms()),
        "trusted": verdict.trusted,
        "reason": verdict.reason,
        "dayProfit": verdict.day_profit,
        "lines": verdict.lines,
        "resting": [order.client_order_id for order in evidence.orders if order.is_resting],
    }
    temporary = directory / f".{REPORT_FILE}.{os.getpid()}"
    try:
        temporary.write_text(json.dumps(body, indent=1), encoding="utf-8")
        temporary.replace(directory / REPORT_FILE)
    except OSError as error:
        log("RecoveryReportNotWritten", str(error), level=logging.ERROR)
