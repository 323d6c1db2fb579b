"""Did the process stand still? Frozen (SIGSTOP, a cgroup freezer), suspended with its machine, or starved for seconds.

Whatever was decided before is stale, and so are the books until they are read again; another engine may hold the account by
now. Both clocks are looked at: CLOCK_BOOTTIME counts through a suspend, the wall clock shows that somebody set it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from soloist_trader.shell.clock import now_ms

STOOD_STILL_MS: Final = 2_000
"""Twenty turns of the loop: no pause of a busy interpreter, and as old as market data may get."""


def boot_ms() -> int:
    """A clock that never goes back and counts through a suspend, in milliseconds."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1_000_000


class ThawGuard:
    """Remembers when the loop last turned, by both clocks."""

    def __init__(self, boot: Callable[[], int] = boot_ms, wall: Callable[[], int] = now_ms) -> None:
        self._boot = boot
        self._wall = wall
        self._last: tuple[int, int] | None = None

    def stood_still_ms(self) -> int:
        """For how long the loop has not turned, 0 while that is ordinary. A wall clock that was set counts by how far."""
        if self._last is None:
            return 0
        boot_passed, wall_passed = self._boot() - self._last[0], self._wall() - self._last[1]
        longest = max(boot_passed, abs(wall_passed))
        return longest if longest >= STOOD_STILL_MS else 0

    def turn(self) -> int:
        """The loop turns: as `stood_still_ms`, which begins anew."""
        stood_still_ms = self.stood_still_ms()
        self._last = (self._boot(), self._wall())
        return stood_still_ms
