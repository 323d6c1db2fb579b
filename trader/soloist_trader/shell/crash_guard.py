"""The crash-loop guard: a back-off that survives the process, because whoever crashes forgets everything else.

A start counts as bad when the process ended before it agreed with the venue, or by an error of its own at any time. Two
in a row cost nothing, then the wait doubles from 1 s to 60 s. A kill of an engine that traded is no crash loop: it is the
venue's attempt budget beside this file that bounds what any restarts may cost there.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Final

from soloist_trader.shell.clock import now_ms

FILE_NAME: Final = "starts.json"
FREE_FAILURES: Final = 2
FIRST_WAIT_MS: Final = 1_000
LONGEST_WAIT_MS: Final = 60_000
FORGET_AFTER_MS: Final = 600_000


class CrashGuard:
    """The bad starts of one state directory and epoch. A file that cannot be written only costs the memory."""

    def __init__(self, directory: Path, epoch: int, clock_ms: Callable[[], int] = now_ms) -> None:
        self._path = directory / FILE_NAME
        self._epoch = epoch
        self._clock_ms = clock_ms
        self.failures = 0
        """Bad starts in a row before this one."""

    def begin(self) -> int:
        """Count this start as bad until it proves otherwise; how long to wait before it may touch the venue, in ms."""
        failures, at_ms = self._load()
        now = self._clock_ms()
        # A clock that was set back must not make anybody wait longer than the longest wait.
        since_ms = max(now - at_ms, 0)
        self.failures = 0 if since_ms > FORGET_AFTER_MS else failures
        wait_ms = 0
        if self.failures > FREE_FAILURES:
            doublings = min(self.failures - FREE_FAILURES - 1, 10)
            wait_ms = max(min(FIRST_WAIT_MS << doublings, LONGEST_WAIT_MS) - since_ms, 0)
        self._store(self.failures + 1, now)
        return wait_ms

    def good(self) -> None:
        """The start agreed with the venue, or ended in order."""
        self._store(0, self._clock_ms())

    def crashed(self) -> None:
        """It ends by an error of its own, after a good start or before."""
        self._store(self.failures + 1, self._clock_ms())

    def _load(self) -> tuple[int, int]:
        try:
            content = json.loads(self._path.read_bytes())
            if int(content["epoch"]) != self._epoch:
                return 0, 0
            return int(content["failures"]), int(content["at_ms"])
        except FileNotFoundError:
            return 0, 0
        except (OSError, ValueError, KeyError, TypeError):
            # The crash loop itself may have damaged it: once more without mercy than without end.
            return FREE_FAILURES + 1, self._clock_ms()

    def _store(self, failures: int, at_ms: int) -> None:
        """Write and rename: a crash leaves the old or the new count. Not flushed: a machine that crashed has waited enough."""
        temporary = self._path.with_name(f".{FILE_NAME}.{os.getpid()}")
        try:
            temporary.write_text(
                json.dumps({"epoch": self._epoch, "failures": failures, "at_ms": at_ms}), encoding="utf-8"
            )
            temporary.replace(self._path)
        except OSError:
            temporary.unlink(missing_ok=True)
