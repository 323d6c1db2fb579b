"""Which bot is looked at next: every key at most once in the queue and at most once at work, failures with back-off.

`Schedule` is the whole logic and never waits: time is an argument. `WorkQueue` is the thin waiting part around it.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field

FIRST_BACKOFF_S = 1.0
LONGEST_BACKOFF_S = 300.0
JITTER = 0.2
"""A delay is stretched by up to this share, so that keys that failed together do not come back together."""


@dataclass(frozen=True, order=True)
class Key:
    """One TradingBot."""

    namespace: str
    name: str

    def __str__(self) -> str:
        """`namespace/name`."""
        return f"{self.namespace}/{self.name}"


@dataclass
class Schedule:
    """When each key is due. `draw` gives numbers in [0, 1) for the jitter."""

    draw: Callable[[], float] = random.random
    _due_s: dict[Key, float] = field(default_factory=dict)
    _working: set[Key] = field(default_factory=set)
    _again: set[Key] = field(default_factory=set)
    _failures: dict[Key, int] = field(default_factory=dict)

    def add(self, key: Key, now_s: float) -> None:
        """Due now. A key at work is due again when its run ends: what it read may already be old."""
        if key in self._working:
            self._again.add(key)
        else:
            self._due_s[key] = min(now_s, self._due_s.get(key, now_s))

    def add_after(self, key: Key, now_s: float, delay_s: float) -> None:
        """Due after a delay, unless it is due earlier anyway."""
        due_s = now_s + delay_s
        self._due_s[key] = min(due_s, self._due_s.get(key, due_s))

    def take(self, now_s: float) -> Key | None:
        """The key that has been due longest, now at work; None when nothing is due."""
        due = [
            (due_s, key) for key, due_s in self._due_s.items() if due_s <= now_s and key not in self._working
        ]
        if not due:
            return None
        _, key = min(due)
        del self._due_s[key]
        self._working.add(key)
        return key

    def finish(self, key: Key, now_s: float, *, failed: bool) -> None:
        """The run of a key ended; a failure brings it back after its back-off, a success forgets earlier failures."""
        self._working.discard(key)
        if failed:
            self._failures[key] = self._failures.get(key, 0) + 1
            self.add_after(key, now_s, self.backoff_s(self._failures[key]))
        else:
            self._failures.pop(key, None)
        if key in self._again:
            self._again.discard(key)
            # An event during a failing run does not defeat the back-off: the cause is still there.
            if not failed:
                self.add(key, now_s)

    def backoff_s(self, failures: int) -> float:
        """1 s, 2 s, 4 s ... 5 min, each with jitter."""
        bare_s: float = min(LONGEST_BACKOFF_S, FIRST_BACKOFF_S * 2.0 ** min(failures - 1, 30))
        return bare_s * (1 + JITTER * self.draw())

    def forget(self, key: Key) -> None:
        """The bot is gone."""
        self._failures.pop(key, None)
        self._due_s.pop(key, None)

    def next_due_s(self) -> float | None:
        """When `take` will next have something, None when nothing is planned."""
        return min((due_s for key, due_s in self._due_s.items() if key not in self._working), default=None)

    def __len__(self) -> int:
        """Keys planned, at work not counted."""
        return len(self._due_s)


class WorkQueue:
    """A Schedule that workers wait on."""

    def __init__(
        self, schedule: Schedule | None = None, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._schedule = schedule or Schedule()
        self._clock = clock
        self._changed = asyncio.Condition()

    async def add(self, key: Key, delay_s: float = 0.0) -> None:
        """Plan a key, now or after a delay."""
        async with self._changed:
            if delay_s > 0:
                self._schedule.add_after(key, self._clock(), delay_s)
            else:
                self._schedule.add(key, self._clock())
            self._changed.notify()

    async def take(self) -> Key:
        """Wait for a key that is due; the caller must `finish` it."""
        async with self._changed:
            while True:
                now_s = self._clock()
                key = self._schedule.take(now_s)
                if key is not None:
                    return key
                due_s = self._schedule.next_due_s()
                wait_s = None if due_s is None else max(0.0, due_s - now_s)
                try:
                    await asyncio.wait_for(self._changed.wait(), wait_s)
                except TimeoutError:
                    continue

    async def finish(self, key: Key, *, failed: bool) -> None:
        """The run of a key ended."""
        async with self._changed:
            self._schedule.finish(key, self._clock(), failed=failed)
            self._changed.notify_all()

    def forget(self, key: Key) -> None:
        """The bot is gone."""
        self._schedule.forget(key)

    def __len__(self) -> int:
        """Keys planned."""
        return len(self._schedule)
