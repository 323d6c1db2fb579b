"""Time that passes when nothing else is to be done: an event loop that sleeps in no time, and its clock for all our code."""

from __future__ import annotations

import asyncio
import selectors
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from weakref import WeakSet

START_S = 1_780_000_000
OWNER: ContextVar[object] = ContextVar("soloist_crash_owner")
"""Whose tasks are made here: those of a process end with it, those of the exchange do not."""


class _Selector(selectors.DefaultSelector):
    """Waiting moves the clock; nothing ever comes from outside."""

    loop: VirtualLoop

    def select(self, timeout=None):
        if timeout is None:
            raise RuntimeError("the world stands still: no timer is set and nobody has anything to do")
        if timeout > 0:
            self.loop.now_us += int(timeout * 1_000_000) + 1
        return super().select(0) if timeout else []


class VirtualLoop(asyncio.SelectorEventLoop):
    """`now_us` is the time since the world began, in microseconds."""

    def __init__(self) -> None:
        self.now_us = 0
        selector = _Selector()
        selector.loop = self
        super().__init__(selector)
        self.set_task_factory(_make_task)

    def time(self) -> float:
        return self.now_us / 1_000_000

    def now_ms(self) -> int:
        """Unix milliseconds."""
        return START_S * 1_000 + self.now_us // 1_000


TASKS: dict[object, WeakSet] = {}


def _make_task(loop, coroutine, **options):
    task = asyncio.Task(coroutine, loop=loop, **options)
    context = options.get("context")
    owner = context.get(OWNER) if context is not None else OWNER.get(None)
    if owner is not None:
        TASKS.setdefault(owner, WeakSet()).add(task)
    return task


class _Time:
    """Stands for the module `time` in the code under test."""

    def __init__(self, loop: VirtualLoop) -> None:
        self._loop = loop

    def time_ns(self) -> int:
        return START_S * 1_000_000_000 + self._loop.now_us * 1_000

    def monotonic_ns(self) -> int:
        return self._loop.now_us * 1_000

    perf_counter_ns = monotonic_ns
    process_time_ns = monotonic_ns

    def time(self) -> float:
        return START_S + self._loop.now_us / 1_000_000

    def monotonic(self) -> float:
        return self._loop.now_us / 1_000_000

    perf_counter = monotonic

    def sleep(self, seconds: float) -> None:
        raise AssertionError(f"blocking sleep of {seconds} s in the loop's thread")


@contextmanager
def virtual_time() -> Iterator[VirtualLoop]:
    """A virtual loop, and its clock in every module of ours that reads one."""
    loop = VirtualLoop()
    clock = _Time(loop)
    changed = [
        module
        for name, module in list(sys.modules.items())
        if name.startswith("soloist_") and getattr(module, "time", None) is time
    ]
    for module in changed:
        module.time = clock
    asyncio.set_event_loop(loop)
    try:
        yield loop
    finally:
        for module in changed:
            module.time = time
        asyncio.set_event_loop(None)
        loop.close()
        TASKS.clear()
