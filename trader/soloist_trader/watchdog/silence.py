"""Is the engine silent, and what follows? Pure; the clock and what was seen are arguments."""

from __future__ import annotations

import enum
from typing import Final

from soloist_trader.shell.latch_file import Latch
from soloist_trader.watchdog.pulse import Beat

LOOK_MS: Final = 250
SILENCE_MS: Final = 5_000
"""Fifty turns of the loop. Shorter than the liveness probe's 15 s, longer than a pause of a busy node."""


class Silence:
    """Counts for how long the engine did not turn, in milliseconds during which this process was awake itself.

    A node that stood still, or starved both, is no silence of the engine: time between two looks counts for two at most.
    """

    def __init__(self) -> None:
        self.silent_ms = 0
        self._seen: tuple[str, int] | None = None
        self._looked_ms: int | None = None

    def look(self, now_ms: int, beat: Beat | None) -> int:
        """One look at `now_ms` (monotonic); how long it has been silent. A beat that cannot be read is no beat."""
        passed_ms = 0 if self._looked_ms is None else min(now_ms - self._looked_ms, 2 * LOOK_MS)
        self._looked_ms = now_ms
        turned = beat is not None and (beat.incarnation, beat.turn) != self._seen
        if beat is not None:
            self._seen = (beat.incarnation, beat.turn)
        self.silent_ms = 0 if turned else self.silent_ms + passed_ms
        return self.silent_ms


class Verdict(enum.StrEnum):
    """What the watchdog does now."""

    UNARMED = "Unarmed"
    """No engine ever beat."""
    DISARMED = "Disarmed"
    """The engine stopped in order."""
    WATCHING = "Watching"
    HANDLED = "Handled"
    """The silent engine was ended and the proof is there; its successor has not beaten yet."""
    END = "End"
    """Latch and end it now."""
    RESUME = "Resume"
    """A latch without its proof: an earlier process of the watchdog began, this one goes on."""


def judge(beat: Beat | None, latch: Latch | None, silent_ms: int, limit_ms: int) -> Verdict:
    """What follows from the last heartbeat, the latch and the silence."""
    if latch is not None and not latch.proven:
        return Verdict.RESUME
    if beat is None:
        return Verdict.UNARMED
    if not beat.is_running:
        return Verdict.DISARMED
    if latch is not None and latch.incarnation == beat.incarnation:
        return Verdict.HANDLED
    return Verdict.END if silent_ms >= limit_ms else Verdict.WATCHING
