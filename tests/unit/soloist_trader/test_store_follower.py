"""The store's process ends when the journal's volume fills up, and by its id when the engine's task is cancelled."""

import asyncio
import contextlib

from soloist_trader.config import StoreBlock
from soloist_trader.shell.store_follower import StoreFollower


async def test_a_full_volume_belongs_to_the_journal(tmp_path):
    follower = StoreFollower(StoreBlock(follow=True), tmp_path, least_free_bytes=1 << 62)
    task = asyncio.create_task(follower.run())
    while not follower.failures:  # noqa: ASYNC110 it shows plain facts, and tells nobody
        await asyncio.sleep(0)
    assert "MiB are free" in follower.problem
    assert "make room" in follower.problem
    assert (follower.shown()["running"], list(tmp_path.iterdir())) == (False, [])
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


async def test_what_it_said_last_is_why_it_ended(tmp_path):
    follower = StoreFollower(StoreBlock(follow=True), tmp_path / "nowhere", least_free_bytes=0)
    task = asyncio.create_task(follower.run())
    while not follower.failures:  # noqa: ASYNC110 it shows plain facts, and tells nobody
        await asyncio.sleep(0.01)
    assert "nowhere" in follower.problem
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
