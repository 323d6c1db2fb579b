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

    Raises OSError.
    """
    path = directory / "sync-measurement.tmp"
    quantiles, content = Quantiles(), b"\x5a" * MEASURED_BYTES
    file = disk.open(path)
    try:
        disk.preallocate(file, MEASURED_BYTES * MEASURED_SYNCS)
        disk.sync(file)
        began_us = now_us()
        for _ in range(MEASURED_SYNCS):
            before_us = now_us()
            disk.write(file, content)
            disk.sync(file)
            quantiles.observe(now_us() - before_us)
            if now_us() - began_us > MEASURE_AT_MOST_US:
                break
    finally:
        disk.close(file)
        disk.unlink(path)
    return quantiles.read()


def now_us() -> int:
    """A clock for durations, in microseconds."""
    return time.perf_counter_ns() // _NANOSECONDS_PER_US
