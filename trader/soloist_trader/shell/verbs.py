"""What the control socket's verbs do. Each is journaled with actor and reason before it is answered."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from soloist_trader.core import events
from soloist_trader.core.records import Latched
from soloist_trader.core.units import ACTIVE, HALTED, REDUCING
from soloist_trader.errors import JournalFailedError
from soloist_trader.shell.clock import monotonic_ms, now_ms
from soloist_trader.shell.control import Request, RequestError
from soloist_trader.shell.logs import log

if TYPE_CHECKING:
    from soloist_trader.shell.service import Service

PERSON: Final = "person"
"""The latch that `halt` and `reduce` set."""
LIFTED_AT_ONCE: Final = (PERSON, "recovery", "runaway", "cash")
"""Latches that `resume` lifts without naming them: each waits for a person, and for nothing else."""
RULED_ELSEWHERE: Final = {
    "operator": "the TradingBot's spec.desiredState rules it; change that",
    "lease": "it goes when the Lease is renewed again",
    "journal": "the journal failed for good; replace the volume and restart",
    "watchdog": "it goes when the watchdog has proven that nothing rests",
}
SWEEP_WAIT_MS: Final = 15_000
SNAPSHOT_WAIT_MS: Final = 25_000
POLL_S: Final = 0.05


class Verbs:
    """Carries verbs out on one engine, in the loop's thread."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def carry(self, request: Request) -> dict[str, Any]:
        """Carry out one request; what the answer adds. Raises RequestError."""
        log("Control", f"{request.verb} by {request.actor}: {request.reason}", market=request.market)
        why = f"{request.actor}: {request.reason}"
        match request.verb:
            case "halt" | "reduce":
                state = HALTED if request.verb == "halt" else REDUCING
                if self._service.ledger.latches.get(PERSON, ("", ""))[0] == state:
                    self._audit(request, why)  # held already: the core would not write it again
                self._service.runtime.dispatch(events.Verb(now_ms(), PERSON, state, why))
                added: dict[str, Any] = {}
            case "resume":
                added = {"lifted": self._resume(request, why)}
            case "release-market":
                added = self._release(request)
            case "reconcile":
                self._audit(request, why)
                added = await self._reconcile()
            case _:
                self._audit(request, why)
                added = await self._snapshot()
        if not self._service.runtime.flush_journal():
            raise RequestError(f"done, but not audited: {self._service.journal.failed}")
        ledger = self._service.ledger
        return {
            "state": ledger.state,
            "latches": {actor: list(latch) for actor, latch in ledger.latches.items()},
            **added,
        }

    def _audit(self, request: Request, why: str) -> None:
        """A verb that changes no state is kept as a latch let go that nobody held: it names actor and reason."""
        self._service.runtime.note(Latched(now_ms(), f"ctl {request.verb}", ACTIVE, why))

    def _resume(self, request: Request, why: str) -> list[str]:
        latches = self._service.ledger.latches
        if request.latch:
            if request.latch not in latches:
                held = ", ".join(latches) or "none"
                raise RequestError(f"nothing holds latch {request.latch!r}; held: {held}")
            if request.latch in RULED_ELSEWHERE:
                raise RequestError(f"latch {request.latch!r}: {RULED_ELSEWHERE[request.latch]}")
            lifted = [request.latch]
        else:
            lifted = [actor for actor in LIFTED_AT_ONCE if actor in latches]
            if latches and not lifted:
                raise RequestError(
                    f"held by {', '.join(latches)}: name one with --latch, if a person may lift it"
                )
        for actor in lifted:
            self._service.runtime.dispatch(events.Verb(now_ms(), actor, ACTIVE, why))
        if not lifted:
            # A group may still be triggered, by a latch that went before; the word arms it.
            self._service.runtime.dispatch(events.Verb(now_ms(), PERSON, ACTIVE, why))
            self._audit(request, why)
        return lifted

    def _release(self, request: Request) -> dict[str, Any]:
        halts = self._service.ledger.halts
        if request.market not in halts:
            raise RequestError(
                f"market {request.market!r} is not halted; halted: {', '.join(halts) or 'none'}"
            )
        contradiction = halts[request.market]
        self._service.runtime.dispatch(
            events.MarketReleaseAsked(now_ms(), request.market, request.actor, request.reason)
        )
        return {"released": request.market, "contradiction": contradiction}

    async def _reconcile(self) -> dict[str, Any]:
        """Sweep now, and wait for it."""
        reconciler = self._service.reconciler
        if reconciler.phase != "Ready":
            raise RequestError(f"the engine is {reconciler.phase}: it reconciles before it trades")
        before, deadline_ms = reconciler.sweeps, monotonic_ms() + SWEEP_WAIT_MS
        reconciler.hurry()
        while reconciler.sweeps == before:
            if monotonic_ms() > deadline_ms:
                raise RequestError(
                    f"no sweep within {SWEEP_WAIT_MS} ms: {reconciler.last_error or 'it goes on'}"
                )
            await asyncio.sleep(POLL_S)
        engine = self._service.engine
        return {
            "compared": engine.compared,
            "differences": {market: list(pair) for market, pair in engine.differences.items()},
        }

    async def _snapshot(self) -> dict[str, Any]:
        """End the segment and snapshot everything until now, and wait for it."""
        journal = self._service.journal
        try:
            journal.seal()
        except JournalFailedError as error:
            raise RequestError(str(error)) from error
        deadline_ms = monotonic_ms() + SNAPSHOT_WAIT_MS
        while not journal.poll_snapshot():
            await self._wait(deadline_ms)
        ended = journal.snapshots_ended
        if not journal.snapshot() and journal.snapshots_ended == ended:
            return {"snapshot": "nothing new since the last one"}
        while journal.snapshots_ended == ended:
            # The loop's own look may come first and hear of the end.
            journal.poll_snapshot()
            await self._wait(deadline_ms)
        if journal.snapshot_result.startswith("failed"):
            raise RequestError(journal.snapshot_result)
        return {"snapshot": journal.snapshot_result}

    async def _wait(self, deadline_ms: int) -> None:
        if monotonic_ms() > deadline_ms:
            raise RequestError(f"the snapshot takes longer than {SNAPSHOT_WAIT_MS} ms; its end is in the log")
        await asyncio.sleep(POLL_S)
