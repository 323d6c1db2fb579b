import asyncio
import logging

import pytest
from soloist_fence.api import Reason
from soloist_fence.commands import CreateSecret, DeleteKey, GenerateKey, ListOrders
from soloist_fence.driver import drive
from soloist_fence.errors import FenceError
from soloist_fence.takeover import takeover

from tests.unit.soloist_fence.fence_world import BOT, World, attempt_of, opened


class Performer:
    """Performs in a world; can hang at a kind of command, or fail with a defect."""

    def __init__(self, world, *, hang_at=None, defect_at=None):
        self.world = world
        self.hang_at = hang_at
        self.defect_at = defect_at
        self.reached = asyncio.Event()

    async def perform(self, command):
        if isinstance(command, self.hang_at or ()):
            self.reached.set()
            await asyncio.Event().wait()
        if isinstance(command, self.defect_at or ()):
            raise ZeroDivisionError("a defect")
        return self.world.perform(command)


def first_arm():
    world = World(opened())
    return world, takeover(attempt_of(world.claim, world), BOT)


async def test_a_machine_runs_to_its_end():
    world, machine = first_arm()
    published = await drive(machine, Performer(world), asyncio.Event())
    assert world.published() == {published.key_id}


async def test_termination_deletes_the_own_key_and_says_why():
    world, machine = first_arm()
    terminating = asyncio.Event()
    performer = Performer(world, hang_at=CreateSecret)
    driving = asyncio.create_task(drive(machine, performer, terminating))
    await performer.reached.wait()
    assert len(world.keys) == 2
    terminating.set()
    with pytest.raises(FenceError, match="told to stop during CreateSecret") as caught:
        await driving
    assert caught.value.reason is Reason.DEADLINE_PASSED
    assert world.accepted() - set(world.venue.deleted_ms) == set()


async def test_a_defect_ends_the_attempt_like_every_failure(caplog):
    world, machine = first_arm()
    with pytest.raises(FenceError, match="ListOrders: ZeroDivisionError") as caught:
        await drive(machine, Performer(world, defect_at=ListOrders), asyncio.Event())
    assert caught.value.reason is Reason.INTERNAL
    assert "ZeroDivisionError: a defect" in caplog.text, "the traceback is in the log"


async def test_a_defect_after_create_still_deletes_the_key():
    world, machine = first_arm()
    with pytest.raises(FenceError):
        await drive(machine, Performer(world, defect_at=CreateSecret), asyncio.Event())
    assert any(isinstance(command, DeleteKey) for command in world.performed)
    assert len(world.keys) == 1


async def test_the_log_never_shows_a_private_key(caplog):
    caplog.set_level(logging.DEBUG)
    world, machine = first_arm()
    await drive(machine, Performer(world), asyncio.Event())
    assert any(isinstance(command, GenerateKey) for command in world.performed)
    assert "CreateSecret" in caplog.text
    assert "private half" not in caplog.text
