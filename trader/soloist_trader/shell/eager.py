"""Tasks that begin at once, as `asyncio.eager_task_factory` of Python 3.12 makes them.

A task of Python 3.11 takes its first step in the next turn of the loop, behind whatever the loop reads in between. An order whose intent
is durable must not wait for that.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Generator
from typing import Any


def begin(coroutine: Coroutine[Any, Any, None]) -> asyncio.Future[None]:
    """Run a coroutine to where it first waits, here and now; a task goes on from there.

    An exception is the future's, as it would be a task's. Until it first waits there is no current task: `asyncio.timeout` needs one.
    """
    loop = asyncio.get_running_loop()
    try:
        awaited = coroutine.send(None)
    except StopIteration:
        ended = loop.create_future()
        ended.set_result(None)
        return ended
    except Exception as error:  # noqa: BLE001 what a task does: whoever holds the future hears of it
        ended = loop.create_future()
        ended.set_exception(error)
        return ended
    return loop.create_task(_Begun(coroutine, awaited))


class _Begun(Coroutine[Any, Any, None]):
    """A coroutine that waits for something already: the task hears of that first."""

    def __init__(self, coroutine: Coroutine[Any, Any, None], awaited: Any) -> None:
        self._coroutine = coroutine
        self._first = [awaited]

    def send(self, value: Any) -> Any:
        return self._first.pop() if self._first else self._coroutine.send(value)

    def throw(self, *error: Any) -> Any:
        self._first.clear()
        return self._coroutine.throw(*error)

    def close(self) -> None:
        self._coroutine.close()

    def __await__(self) -> Generator[Any, Any, None]:
        raise NotImplementedError("a task drives it, nobody awaits it")
