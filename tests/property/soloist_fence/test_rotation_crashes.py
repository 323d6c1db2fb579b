"""A rotation killed at any command, its last request done or not: the next one ends with one key, in use, accepted.

The engine follows the Secret with a delay, as the kubelet makes it. At no instant may the key it uses be deleted.
"""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from soloist_fence import rotation as rotation_module
from soloist_fence.commands import DeleteKey, ReadLease
from soloist_fence.errors import FenceError
from soloist_fence.rotation import Rotated, rotate
from soloist_fence.takeover import takeover

from tests.unit.soloist_fence.fence_world import BOT, World, armed, attempt_of, opened, run

FAST = settings(
    max_examples=200, derandomize=True, database=None, deadline=None, suppress_health_check=list(HealthCheck)
)
DELAYS_MS = st.integers(1_000, 90_000)


def trading(propagation_ms):
    world = World(opened())
    attempt = attempt_of(world.claim, world)
    published = run(takeover(attempt, BOT), world)
    armed(world, attempt, published.key_id)
    world.engine.propagation_ms = propagation_ms
    world.before = never_without_a_key
    return world


def never_without_a_key(world, command):
    if isinstance(command, DeleteKey):
        world.answer(ReadLease())
        assert command.key_id != world.engine.key_id, "the key in use is deleted"
    assert world.engine.key_id in world.keys


def rotation(world):
    attempt = attempt_of(world.claim, world, deadline_ms=world.now_ms + 900_000)
    return rotate(attempt, world.secrets[attempt.secret_name])


def crash_then_rotate(crash_at, lost, propagation_ms):
    """Return whether the first rotation was over before the crash."""
    world = trading(propagation_ms)
    finished = run(rotation(world), world, crash_at=crash_at, lost=lost)
    rotated = run(rotation(world), world)
    assert isinstance(rotated, Rotated)
    assert world.accepted() == world.published() == {rotated.key_id} == {world.engine.key_id}
    return finished is not None


@FAST
@given(st.integers(0, 200), st.booleans(), DELAYS_MS)
def test_the_next_rotation_repairs_a_crash(crash_at, lost, propagation_ms):
    crash_then_rotate(crash_at, lost, propagation_ms)


@pytest.mark.parametrize("lost", [False, True], ids=["not done", "done"])
def test_a_crash_at_every_command(lost):
    crash_at = 0
    while not crash_then_rotate(crash_at, lost, 4_000):
        crash_at += 1
    assert crash_at > 30, "every command was reached"


def believe_at_once(_attempt, key_ids, _patience_ms):
    """Mutation: nobody waits for the engine's word."""
    return min(key_ids)
    yield


def test_the_property_fails_without_the_engines_word(monkeypatch):
    monkeypatch.setattr(rotation_module, "confirmed", believe_at_once)

    @settings(FAST, report_multiple_bugs=False)
    @given(st.integers(0, 200), st.booleans(), DELAYS_MS)
    def mutated(crash_at, lost, propagation_ms):
        crash_then_rotate(crash_at, lost, propagation_ms)

    with pytest.raises(AssertionError, match="the key in use is deleted"):
        mutated()


def withdrawn_late():
    """A published g+1 is withdrawn unconfirmed, ten seconds before the engine sees and uses it."""
    world = trading(propagation_ms=rotation_module.CONFIRM_MS + 10_000)
    with pytest.raises(FenceError, match=r"goes on with|neither"):
        run(rotation(world), world)
    for _ in range(400):
        world.now_ms += 1_000
        world.answer(ReadLease())
        assert world.engine.key_id in world.keys, "the engine switched to a deleted key"


def test_a_withdrawn_key_is_deleted_only_when_it_can_no_longer_be_seen():
    withdrawn_late()


def test_without_that_wait_the_engine_switches_to_a_deleted_key(monkeypatch):
    monkeypatch.setattr(rotation_module, "PROPAGATION_MS", 0)
    with pytest.raises(AssertionError, match=r"a deleted key|key in use"):
        withdrawn_late()
