"""How a silent engine is ended: latch, SIGKILL, trigger both groups, cancel by id, verify, proof. In that order.

An engine that wakes between cancel and kill would quote again, so it is latched and dead before anything is cancelled. Each
step may be repeated, so a watchdog that dies on the way begins again at the top and reaches the same end.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final, Protocol

from soloist_kalshi.errors import VenueError, VenueForbidden, VenueUnauthorized

from soloist_trader.shell.clock import monotonic_ms, now_ms
from soloist_trader.shell.latch_file import Latch, store_latch
from soloist_trader.shell.logs import log
from soloist_trader.shell.retry import Retry
from soloist_trader.watchdog import process
from soloist_trader.watchdog.pulse import Beat
from soloist_trader.watchdog.venue import Done, Resting

FLIGHT_MS: Final = 1_000
"""D_flight: bytes of a process that died may arrive for so long."""
DISK_S: Final = 3.0
"""For the latch. A disk that hangs is a reason for an engine to hang, and must not keep it alive."""
LOOK_AGAIN_S: Final = 0.2
ENDS_WITHIN_MS: Final = 2_000
STEPS: Final = ("latched", "killed", "triggered", "cancelled", "proven")


class Venue(Protocol):
    """What the road needs of the venue (watchdog/venue.py)."""

    def at_most_ms(self) -> int:
        """The venue's time now, at its latest."""

    async def as_of_ms(self) -> int:
        """How fresh its order lists are."""

    async def trigger(self, group_id: str) -> Done:
        """Trigger an order group."""

    async def own_resting(self) -> list[Resting]:
        """Orders of this claim that rest."""

    async def cancel(self, order: Resting) -> Done:
        """Cancel one order."""


@dataclass
class Progress:
    """How far the last walk came, for `/status`: step to milliseconds since it began, and what is missing now."""

    steps_ms: dict[str, int] = field(default_factory=dict)
    missing: str = ""
    began_ms: int = field(default_factory=monotonic_ms)

    def note(self, step: str) -> None:
        """A step is done; the first time counts."""
        if step not in self.steps_ms:
            self.steps_ms[step] = monotonic_ms() - self.began_ms
            log("WatchdogStep", step, afterMs=self.steps_ms[step])


class Road:
    """Walks for one state directory. `beat` is the last heartbeat; `venue` waits until there is a key to sign with."""

    def __init__(
        self,
        directory: Path,
        beat: Callable[[], Beat | None],
        venue: Callable[[], Awaitable[Venue]],
        on_key_refused: Callable[[], Awaitable[None]],
    ) -> None:
        self._directory = directory
        self._beat = beat
        self._venue = venue
        self._on_key_refused = on_key_refused
        self.progress = Progress()

    async def walk(self, latch: Latch) -> Latch:
        """From a latch to its proof; returns the proven latch. Goes on until it is there, whatever the venue does."""
        self.progress = Progress()
        latch = replace(latch, proven=False, latched_ms=latch.latched_ms or now_ms())
        if await self._store(latch):
            self.progress.note("latched")
        await self._end(latch)
        venue = await self._venue()
        await self._sweep(latch, venue)
        proven = replace(latch, proven=True, proven_ms=now_ms())
        retry = Retry("LatchNotWritten")
        while not await self._store(proven):
            self.progress.missing = "the proof cannot be written"
            await retry.pause(f"the proof cannot be written to {self._directory}")
        self.progress.missing = ""
        self.progress.note("proven")
        return proven

    async def _store(self, latch: Latch) -> bool:
        """The latch on the disk; false when the disk does not take it in time. A silent engine is killed all the same."""
        try:
            async with asyncio.timeout(DISK_S):
                await asyncio.to_thread(store_latch, self._directory, latch)
        except (OSError, TimeoutError) as error:
            log(
                "LatchNotWritten",
                f"{self._directory}: {type(error).__name__}: {error}",
                level=logging.CRITICAL,
            )
            return False
        return True

    def _target(self, latch: Latch) -> process.ProcessId | None:
        """The process to end. Another incarnation in the heartbeat is a successor, which the latch keeps HALTED."""
        beat = self._beat()
        if beat is None or not latch.incarnation or beat.incarnation != latch.incarnation:
            return None
        return beat.process

    async def _end(self, latch: Latch) -> None:
        """Kill it and see it gone. One that hangs in the kernel runs no code of its own any more: cancelling may begin."""
        why = self._kill(latch)
        deadline_ms = monotonic_ms() + ENDS_WITHIN_MS
        while not why and self._alive(latch) and monotonic_ms() < deadline_ms:  # noqa: ASYNC110 a death tells no event
            await asyncio.sleep(LOOK_AGAIN_S / 10)
        if why:
            log("EngineNotKilled", why, level=logging.CRITICAL)
        else:
            self.progress.note("killed")

    def _kill(self, latch: Latch) -> str:
        """SIGKILL if it lives; why that cannot be done, empty if it can."""
        target = self._target(latch)
        try:
            if target is not None and process.kill(target):
                said = f"SIGKILL to process {target.pid}"
                log("EngineKilled", said, level=logging.ERROR, incarnation=latch.incarnation)
        except process.CannotKillError as error:
            return str(error)
        return ""

    def _alive(self, latch: Latch) -> str:
        """Why the engine may not be called dead; empty when it is gone."""
        target = self._target(latch)
        if target is None:
            return ""
        try:
            return "" if process.is_gone(target) else f"process {target.pid} has not ended yet"
        except process.CannotKillError as error:
            return str(error)

    async def _sweep(self, latch: Latch, venue: Venue) -> None:
        """Trigger and cancel until a listing that is later than the last change and the engine's death shows nothing."""
        triggers = set(latch.groups)
        retry = Retry("WatchdogSweepFailed")
        after_ms: int | None = None
        while True:
            try:
                triggers -= await self._trigger(venue, triggers)
                alive = self._alive(latch)
                as_of_ms = await venue.as_of_ms()
                resting = await venue.own_resting()
            except (VenueUnauthorized, VenueForbidden) as error:
                self.progress.missing = str(error)
                await self._on_key_refused()
                await retry.pause(self.progress.missing)
                continue
            except (VenueError, ValueError) as error:
                self.progress.missing = str(error)
                await retry.pause(self.progress.missing)
                continue
            if not triggers:
                self.progress.note("triggered")
            if resting:
                await self._cancel(venue, resting)
            if alive or resting or triggers or after_ms is None:
                # Counted from here: the venue has answered, so its clock is known.
                after_ms = venue.at_most_ms() + FLIGHT_MS
            elif as_of_ms > after_ms:
                self.progress.note("cancelled")
                return
            self.progress.missing = _missing(alive, resting, triggers)
            if alive:
                self._kill(latch)
                await retry.pause(alive)
            await asyncio.sleep(LOOK_AGAIN_S)

    async def _trigger(self, venue: Venue, groups: set[str]) -> set[str]:
        """Trigger these at once; those that are."""
        wanted = sorted(groups)
        done = await asyncio.gather(*(venue.trigger(group) for group in wanted))
        if Done.KEY_REFUSED in done:
            await self._on_key_refused()
        return {group for group, outcome in zip(wanted, done, strict=True) if outcome is Done.YES}

    async def _cancel(self, venue: Venue, resting: list[Resting]) -> None:
        done = await asyncio.gather(*(venue.cancel(order) for order in resting))
        taken = sum(outcome is Done.YES for outcome in done)
        log("WatchdogCancelled", f"{taken} of {len(resting)} resting orders cancelled by id")
        if Done.KEY_REFUSED in done:
            await self._on_key_refused()


def _missing(alive: str, resting: list[Resting], triggers: set[str]) -> str:
    if alive:
        return alive
    if resting:
        return f"{len(resting)} own orders rested at the last look"
    if triggers:
        return f"{len(triggers)} order groups could not be triggered yet"
    return "waiting for a listing that is later than the last change"
