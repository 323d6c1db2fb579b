"""A task that begins at once is a task in every other respect."""

import asyncio
import contextlib

import pytest
from soloist_trader.shell.eager import begin


async def test_it_runs_to_where_it_first_waits_before_begin_returns():
    notes, waiting = [], asyncio.get_running_loop().create_future()

    async def work():
        notes.append("begun")
        notes.append(await waiting)
        await asyncio.sleep(0)
        async with asyncio.timeout(4):  # it is a task by now
            await asyncio.sleep(0)
        notes.append("ended")

    task = begin(work())
    assert notes == ["begun"]
    assert not task.done()
    waiting.set_result("came")
    await task
    assert notes == ["begun", "came", "ended"]


@pytest.mark.parametrize("error", [None, ValueError("x")])
async def test_one_that_never_waits_is_done(error):
    async def work():
        if error is not None:
            raise error

    future = begin(work())
    assert future.done()
    assert future.exception() is error


@pytest.mark.parametrize("turns", [0, 1, 5])
async def test_a_cancellation_reaches_it_whether_or_not_its_task_began(turns):
    notes, waiting = [], asyncio.get_running_loop().create_future()

    async def work():
        try:
            await waiting
        finally:
            notes.append("cleaned up")

    task = begin(work())
    for _ in range(turns):
        await asyncio.sleep(0)
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    assert task.cancelled()
    assert notes == ["cleaned up"]


async def test_what_it_waits_for_may_fail_and_it_may_go_on():
    first = asyncio.get_running_loop().create_future()

    async def work():
        with contextlib.suppress(OSError):
            await first
        await asyncio.sleep(0)
        raise LookupError("later")

    task = begin(work())
    first.set_exception(OSError("now"))
    with pytest.raises(LookupError, match="later"):
        await task
