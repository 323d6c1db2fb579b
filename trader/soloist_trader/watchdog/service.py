"""One watchdog process: keys, looks at the engine, the kill, audits, a person's word."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections import Counter
from collections.abc import Coroutine
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from soloist_kalshi.errors import VenueError, VenueForbidden, VenueUnauthorized

from soloist_trader.config import Configuration
from soloist_trader.shell.clock import monotonic_ms, now_ms
from soloist_trader.shell.control import (
    WATCHDOG_SOCKET,
    WATCHDOG_VERBS,
    ControlServer,
    Request,
    RequestError,
)
from soloist_trader.shell.keyring import KeyRing
from soloist_trader.shell.latch_file import Latch, read_latch, store_latch
from soloist_trader.shell.logs import log
from soloist_trader.watchdog import audit, process
from soloist_trader.watchdog.keys import Copier, OwnKeys, verifier
from soloist_trader.watchdog.pulse import Beat, first_watch_ms, read_beat, write_word
from soloist_trader.watchdog.road import Road
from soloist_trader.watchdog.serve import Face, StatusServer
from soloist_trader.watchdog.silence import LOOK_MS, Silence, Verdict, judge
from soloist_trader.watchdog.venue import VenueDesk

WORD_EVERY_LOOKS: Final = 4
ANSWER_S: Final = 25.0
"""A person who asked for a kill hears after so long how far it came."""
STOP_S: Final = 15.0
"""At SIGTERM a kill under way, or an engine that died without its stop mark, gets so long."""
SILENCE: Final = "silence"
PERSON: Final = "person"
RESUMED: Final = "resumed"


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line decides."""

    configuration: Configuration
    source: Path
    target: Path
    state_directory: Path
    watch_directory: Path
    listen: str
    silence_ms: int


class Watchdog:
    """Looks four times a second. All of it runs in one loop; what may block (the disk of the latch) runs in a thread."""

    def __init__(self, options: Options) -> None:
        account, venue = options.configuration.account, options.configuration.venue
        assert account is not None
        self.options = options
        self._account = account
        self._copier = Copier(options.source, options.target)
        self._keys = OwnKeys(KeyRing(options.target, account.epoch, verifier(venue, account)))
        self._desk: VenueDesk | None = None
        self._silence = Silence()
        self._beat: Beat | None = None
        self._verdict = Verdict.UNARMED
        self._road = Road(options.state_directory, lambda: self._beat, self._venue, self._keys.refused)
        self._walking: asyncio.Task[Latch] | None = None
        self._latch: Latch | None = None
        self._reading: asyncio.Task[Latch | None] | None = None
        self._writing = asyncio.Lock()
        """One writer of the latch at a time: the road, an audit, or a person's word."""
        self._kills: Counter[str] = Counter()
        self._audits: Counter[str] = Counter()
        self._found: dict[str, audit.Finding] = {}
        self._audited_ms = 0
        self._since_ms = first_watch_ms(options.watch_directory)
        self._face = Face(options.watch_directory)
        self._stop = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    async def run(self) -> int:
        """Run until SIGTERM or SIGINT; the exit code: 1 when a kill under way could not be proven in time."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop.set)
        server = StatusServer(self.options.listen, self._face)
        server.start()
        log("WatchdogServing", "status, health and metrics", port=server.port)
        self.options.state_directory.mkdir(parents=True, exist_ok=True)
        control = ControlServer(self.options.state_directory, self._carry, WATCHDOG_SOCKET, WATCHDOG_VERBS)
        try:
            self._copier.step()
            await self._read_latch()
            await control.start()
            self._spawn(self._copier.run(), "copy keys")
            self._spawn(self._keys.run(), "keys")
            self._spawn(self._look_on(), "look")
            self._spawn(self._audit_on(), "audit")
            stopping = asyncio.create_task(self._stop.wait())
            await asyncio.wait([stopping, *self._tasks], return_when=asyncio.FIRST_COMPLETED)
            if not self._stop.is_set():  # a task of ours never ends by itself
                stopping.cancel()
                for task in self._tasks:
                    if task.done():
                        task.result()
            return await self._end()
        finally:
            await control.stop()
            for task in self._tasks:
                task.cancel()
            if self._walking is not None:
                self._walking.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            if self._desk is not None:
                await self._desk.close()
            server.stop()

    def _spawn(self, coroutine: Coroutine[Any, Any, None], name: str) -> None:
        self._tasks.append(asyncio.create_task(coroutine, name=name))

    async def _venue(self) -> VenueDesk:
        """The venue, once there is a key that it accepts."""
        await self._keys.accepted.wait()
        if self._desk is None:
            self._desk = VenueDesk(self.options.configuration.venue, self._account, self._keys.source)
        return self._desk

    # -- looking

    async def _look_on(self) -> None:
        looks = 0
        while True:
            await self._read_latch()
            self._look()
            if looks % WORD_EVERY_LOOKS == 0:
                self._speak()
            looks += 1
            await asyncio.sleep(LOOK_MS / 1000)

    async def _read_latch(self) -> None:
        """The latch as the disk has it, unless the disk hangs: then what was known last counts, and looking goes on."""
        if self._walking is not None:
            return
        if self._reading is None:
            self._reading = asyncio.create_task(asyncio.to_thread(read_latch, self.options.state_directory))
        reading = self._reading
        await asyncio.wait([reading], timeout=LOOK_MS / 1000)
        if reading.done() and reading is self._reading:
            self._latch, self._reading = reading.result(), None

    def _know(self, latch: Latch) -> None:
        """The latch as this process wrote it; a reading that began before is of no use."""
        self._latch = latch
        self._reading = None

    def _look(self) -> None:
        """One look at the heartbeat and the latch, and what follows."""
        beat = read_beat(self.options.watch_directory)
        before, self._beat = self._beat, beat or self._beat
        silent_ms = self._silence.look(monotonic_ms(), beat)
        if beat is not None and (before is None or before.incarnation != beat.incarnation):
            log("WatchdogArmed", f"engine of incarnation {beat.incarnation}, process {beat.process.pid}")
        latch = self._latch
        if self._walking is None:
            verdict = judge(self._beat, latch, silent_ms, self.options.silence_ms)
            if verdict is not self._verdict:
                log("WatchdogVerdict", str(verdict), silentMs=silent_ms)
            self._verdict = verdict
            if verdict is Verdict.END:
                self._walk(self._new_latch(f"silent for {silent_ms} ms", latch), SILENCE)
            elif verdict is Verdict.RESUME and latch is not None:
                self._walk(latch, RESUMED)
        self._face.show(self._shown(latch))

    def _new_latch(self, reason: str, before: Latch | None, *, by_person: bool = False) -> Latch:
        """A latch for the engine that beat last. What waited for a person goes on waiting."""
        waits = by_person or (before is not None and before.waits_for_person)
        groups = set(self._beat.groups if self._beat else ())
        if before is not None and not before.proven:
            groups.update(before.groups)
        return Latch(
            reason,
            waits_for_person=waits,
            incarnation=self._beat.incarnation if self._beat else "",
            groups=tuple(sorted(groups)),
            latched_ms=now_ms(),
            released_ms=before.released_ms if before is not None else 0,
        )

    def _walk(self, latch: Latch, cause: str) -> asyncio.Task[Latch]:
        self._kills[cause] += 1
        log("WatchdogKill", latch.reason, level=logging.ERROR, cause=cause, incarnation=latch.incarnation)
        self._know(latch)
        self._walking = asyncio.create_task(self._walk_alone(latch), name="kill")
        self._walking.add_done_callback(self._walked)
        return self._walking

    async def _walk_alone(self, latch: Latch) -> Latch:
        async with self._writing:
            return await self._road.walk(latch)

    def _walked(self, task: asyncio.Task[Latch]) -> None:
        self._walking = None
        if task.cancelled():
            return
        if (error := task.exception()) is not None:
            # The latch is there without its proof: the next look begins again.
            log("WatchdogKillFailed", f"{type(error).__name__}: {error}", level=logging.CRITICAL)
            return
        self._know(task.result())
        self._silence = Silence()
        log("WatchdogProven", "nothing of this claim rests", stepsMs=self._road.progress.steps_ms)

    # -- showing

    def _speak(self) -> None:
        """The word for the engine's Lease: with which key this process signs, and what its audits found."""
        counts = self._counts()
        write_word(
            self.options.watch_directory,
            {
                "keyId": self._keys.key_id,
                "foreign": counts[audit.FOREIGN],
                "otherEpoch": counts[audit.OTHER_EPOCH],
            },
        )

    def _counts(self) -> Counter[str]:
        return Counter(finding.kind for finding in self._found.values())

    def _shown(self, latch: Latch | None) -> dict[str, Any]:
        beat, counts = self._beat, self._counts()
        return {
            "verdict": str(self._verdict),
            "armed": self._verdict is Verdict.WATCHING,
            "silentMs": self._silence.silent_ms,
            "incarnation": beat.incarnation if beat else "",
            "turn": beat.turn if beat else 0,
            "latched": latch is not None and latch.holds,
            "latch": latch.as_json() if latch is not None else None,
            "stepsMs": dict(self._road.progress.steps_ms),
            "missing": self._road.progress.missing,
            "keyId": self._keys.key_id,
            "keyAccepted": self._keys.accepted.is_set(),
            "kills": dict(self._kills),
            "audits": dict(self._audits),
            "found": {audit.FOREIGN: counts[audit.FOREIGN], audit.OTHER_EPOCH: counts[audit.OTHER_EPOCH]},
        }

    # -- audits

    async def _audit_on(self) -> None:
        while True:
            venue = await self._venue()
            if self._walking is None:
                await self._audit(venue)
            await asyncio.sleep(audit.EVERY_S)

    async def _audit(self, venue: VenueDesk) -> None:
        """Look at what was accepted since the last audit. An audit that could not look is counted as that."""
        latch = self._latch
        since_ms = max(self._since_ms, latch.released_ms if latch is not None else 0)
        began_ms = now_ms()
        from_ms = max(since_ms, self._audited_ms - audit.OVERLAP_MS, began_ms - audit.LONGEST_LOOK_MS)
        try:
            orders = await venue.orders_since(from_ms)
            found = audit.findings(orders, self._account.claim_hash, self._account.epoch, since_ms)
        except (VenueError, ValueError) as error:
            self._audits["failed"] += 1
            log("AuditFailed", str(error), level=logging.WARNING)
            if isinstance(error, VenueUnauthorized | VenueForbidden):
                await self._keys.refused()
            return
        self._audited_ms = began_ms
        fresh = [finding for finding in found if finding.order_id not in self._found]
        self._audits["found" if fresh else "clean"] += 1
        for finding in fresh:
            self._found[finding.order_id] = finding
            shown = (
                f"order {finding.order_id} ({finding.client_order_id or 'no id of ours'}) in {finding.market}"
            )
            log("AuditFound", f"{finding.kind}: {shown}", level=logging.ERROR, kind=finding.kind)
        foreign = [finding for finding in fresh if finding.kind == audit.FOREIGN]
        if foreign:
            await self._halt(
                f"{len(foreign)} orders of somebody else were accepted: {foreign[0].order_id}, …"
            )

    async def _halt(self, reason: str) -> None:
        """HALTED without a kill: the engine lives and cancels its own; a person has to look."""
        async with self._writing:
            before = self._latch or Latch(reason, proven=True)
            await self._write(replace(before, reason=reason, waits_for_person=True, latched_ms=now_ms()))

    async def _write(self, latch: Latch) -> None:
        """Raises OSError; the caller holds `_writing`."""
        await asyncio.to_thread(store_latch, self.options.state_directory, latch)
        self._know(latch)

    # -- a person's word

    async def _carry(self, request: Request) -> dict[str, Any]:
        """Carry out `kill` or `resume`; what the answer adds. Raises RequestError."""
        why = f"{request.actor}: {request.reason}"
        log("Control", f"{request.verb} by {why}", level=logging.WARNING)
        return await (self._kill(why) if request.verb == "kill" else self._release(why))

    async def _kill(self, why: str) -> dict[str, Any]:
        if self._walking is not None:
            raise RequestError("a kill is under way already; /status shows how far it came")
        self._look_at_beat()
        latch = self._latch
        walking = self._walk(self._new_latch(f"killed by {why}", latch, by_person=True), PERSON)
        try:
            async with asyncio.timeout(ANSWER_S):
                await asyncio.shield(walking)
        except TimeoutError:
            missing = self._road.progress.missing
            return {"proven": False, "message": missing, "stepsMs": self._road.progress.steps_ms}
        return {
            "proven": True,
            "message": "nothing rests; `ctl resume --latch watchdog` lets it trade again",
            "stepsMs": self._road.progress.steps_ms,
        }

    def _look_at_beat(self) -> None:
        self._beat = read_beat(self.options.watch_directory) or self._beat

    async def _release(self, why: str) -> dict[str, Any]:
        latch = self._latch
        if latch is None or not latch.holds:
            raise RequestError("no latch of the watchdog holds")
        if self._walking is not None or not latch.proven:
            raise RequestError(f"it is not proven yet that nothing rests: {self._road.progress.missing}")
        async with self._writing:
            await self._write(replace(latch, waits_for_person=False, released_ms=now_ms()))
        self._found.clear()
        return {"message": f"the latch ({latch.reason}) is released by {why}"}

    # -- the end

    async def _end(self) -> int:
        """The pod stops: its engine has ended. Without its stop mark, what it left is cancelled now, not after a silence."""
        if self._walking is None and self._died_unmarked():
            latch = self._latch
            self._walk(self._new_latch("the engine ended without its stop mark", latch), SILENCE)
        deadline_ms = monotonic_ms() + STOP_S * 1000
        while self._walking is not None and monotonic_ms() < deadline_ms and not self._keys.rejected:
            await asyncio.wait([self._walking], timeout=LOOK_MS / 1000)
        if self._walking is None:
            return 0
        missing = self._road.progress.missing or "no key that the venue accepts"
        log("WatchdogStopUnproven", missing, level=logging.ERROR)
        return 1

    def _died_unmarked(self) -> bool:
        self._look_at_beat()
        if judge(self._beat, self._latch, 0, self.options.silence_ms) is not Verdict.WATCHING:
            return False
        assert self._beat is not None
        try:
            return process.is_gone(self._beat.process)
        except process.CannotKillError as error:
            log("EngineNotSeen", str(error), level=logging.WARNING)
            return False
