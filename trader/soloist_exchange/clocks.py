"""The two clocks of the exchange: one that runs, and one that stands still until it is told to move."""

import time
from pathlib import Path
from typing import Literal, Protocol

from soloist_exchange.errors import StateError

__all__ = ["Clock", "ClockKind", "RealClock", "VirtualClock"]

ClockKind = Literal["real", "virtual"]


class Clock(Protocol):
    """The time of the venue: milliseconds since 1970, and microseconds from any start."""

    def now_ms(self) -> int:
        """Return Unix milliseconds."""

    def now_us(self) -> int:
        """Return microseconds that never go back."""


class RealClock:
    """The wall clock, and a monotonic one for what must not jump."""

    def now_ms(self) -> int:
        """Return Unix milliseconds."""
        return time.time_ns() // 1_000_000

    def now_us(self) -> int:
        """Return microseconds of the monotonic clock."""
        return time.monotonic_ns() // 1000


class VirtualClock:
    """A clock that stands still. Its time is kept in a file, so that it does not go back at a restart.

    Only the venue lives by it: order expiry, closes, group windows, token buckets, timestamps of what happens. Signatures are judged by
    the wall clock, by which clients sign.
    """

    def __init__(self, file: Path, start_ms: int) -> None:
        self._file = file
        self._now_ms = start_ms
        if file.exists():
            text = file.read_text(encoding="ascii").strip()
            if not text.isdecimal():
                raise StateError(f"{file}: not a time in milliseconds; delete it")
            self._now_ms = max(start_ms, int(text))

    def now_ms(self) -> int:
        """Return Unix milliseconds."""
        return self._now_ms

    def now_us(self) -> int:
        """Return the same time in microseconds."""
        return self._now_ms * 1000

    def move_to(self, now_ms: int) -> None:
        """Move forward to a time; nothing is due by itself."""
        assert now_ms >= self._now_ms
        self._now_ms = now_ms

    def keep(self, until_ms: int) -> None:
        """Write down where the clock is about to go, whole or not at all: a kill on the way must not bring back an earlier time."""
        temporary = self._file.with_name(f".{self._file.name}")
        temporary.write_text(str(until_ms), encoding="ascii")
        temporary.replace(self._file)
