"""How long commits take: quantiles of the last ones, and a measurement before the first."""

from __future__ import annotations

import time
from collections import deque
from pathlib import Path
from typing import Final

from soloist_trader.journal.disk import Disk

KEPT: Final = 1_024
SLOW_P99_US: Final = 2_000
"""Above this a commit in the loop holds up everything else, and a process of its own takes over (network volumes)."""
MEASURED_SYNCS: Final = 200
MEASURED_BYTES: Final = 300
"""A batch with one intent."""
MEASURE_AT_MOST_US: Final = 500_000
"""A start does not wait longer than this for the measurement; a disk so slow is judged by fewer syncs."""
_NANOSECONDS_PER_US: Final = 1_000
_SCHEDULING: Final = Path("/proc/thread-self/schedstat")
"""Of one thread: time on a core, time ready without one (nanoseconds), and turns; see the kernel's sched-stats page."""


class Quantiles:
    """p50 and p99 of the last KEPT durations."""

    def __init__(self) -> None:
        self._recent_us: deque[int] = deque(maxlen=KEPT)

    def observe(self, duration_us: int) -> None:
        """Add one."""
        self._recent_us.append(duration_us)

    def read(self) -> tuple[int, int]:
        """(p50, p99) in microseconds; zeros before the first."""
        if not self._recent_us:
            return 0, 0
        ordered = sorted(self._recent_us)
        return ordered[len(ordered) // 2], ordered[len(ordered) * 99 // 100]


def measure_syncs(disk: Disk, directory: Path) -> tuple[int, int]:
    """(p50, p99) in microseconds of writing a small batch and syncing it, in a file of its own that is removed.

    Without the time that this thread then waited for a core: on a busy node that is most of it, says nothing about the
    disk, and a commit process would have to wait for a core, too. Raises OSError.
    """
    path = directory / "sync-measurement.tmp"
    quantiles, content = Quantiles(), b"\x5a" * MEASURED_BYTES
    file = disk.open(path)
    try:
        disk.preallocate(file, MEASURED_BYTES * MEASURED_SYNCS)
        disk.sync(file)
        began_us = now_us()
        for _ in range(MEASURED_SYNCS):
            waited_us, before_us = core_wait_us(), now_us()
            disk.write(file, content)
            disk.sync(file)
            duration_us = now_us() - before_us
            quantiles.observe(max(duration_us - (core_wait_us() - waited_us), 0))
            if now_us() - began_us > MEASURE_AT_MOST_US:
                break
    finally:
        disk.close(file)
        disk.unlink(path)
    return quantiles.read()


def core_wait_us() -> int:
    """How long this thread was ready to run and had no core, ever; 0 where the kernel does not count it."""
    try:
        return int(_SCHEDULING.read_text().split()[1]) // _NANOSECONDS_PER_US
    except (OSError, IndexError, ValueError):
        return 0


def now_us() -> int:
    """A clock for durations, in microseconds."""
    return time.perf_counter_ns() // _NANOSECONDS_PER_US
