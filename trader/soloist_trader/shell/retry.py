"""Trying again: soon at first, then slower, and said to a person ever more rarely."""

from __future__ import annotations

import asyncio
import logging
from typing import Final

from soloist_trader.shell.clock import monotonic_ms
from soloist_trader.shell.logs import log

FIRST_S: Final = 0.5
LONGEST_S: Final = 5.0
SAY_FIRST_MS: Final = 2_000
SAY_LONGEST_MS: Final = 300_000


class Retry:
    """One thing that is tried until it works. `event` is the word of its log lines."""

    def __init__(self, event: str) -> None:
        self._event = event
        self._wait_s = FIRST_S
        self._say_after_ms = SAY_FIRST_MS
        self._said_ms: int | None = None
        self._said = ""
        self.attempts = 0

    def failed(self, why: str) -> float:
        """Note a failure; how long to wait, in seconds. A new reason is said at once, the same one after ever longer."""
        self.attempts += 1
        now = monotonic_ms()
        if self._said_ms is None or why != self._said or now - self._said_ms >= self._say_after_ms:
            if self._said_ms is not None and why == self._said:
                self._say_after_ms = min(self._say_after_ms * 2, SAY_LONGEST_MS)
            self._said_ms, self._said = now, why
            log(self._event, why, level=logging.WARNING, attempts=self.attempts)
        wait_s, self._wait_s = self._wait_s, min(self._wait_s * 1.5, LONGEST_S)
        return wait_s

    async def pause(self, why: str) -> None:
        """Note a failure and wait."""
        await asyncio.sleep(self.failed(why))
