import pytest
from soloist_fence.api import EpochSecret, Reason, VenueKey
from soloist_fence.commands import DeleteKey, DeleteSecret, PatchSecret
from soloist_fence.errors import FenceError
from soloist_fence.release import release
from soloist_fence.takeover import takeover

from tests.unit.soloist_fence.fence_world import BOT, World, armed, attempt_of, opened, own_key, run, slot


def trading():
    world = World(opened())
    attempt = attempt_of(world.claim, world)
    published = run(takeover(attempt, BOT), world)
    armed(world, attempt, published.key_id)
    world.performed.clear()
    return world, attempt_of(world.claim, world)


def test_release_leaves_nothing():
    world, attempt = trading()
    released = run(release(attempt, BOT), world)
    assert world.accepted() == set()
    assert world.secrets == {}
    assert released.counts == {"keysDeleted": 1, "secretsDeleted": 1}


def test_release_in_the_middle_of_a_rotation_deletes_both_keys():
    world, attempt = trading()
    world.keys["key-9"] = own_key("key-9", 1, "nonce0001", generation=2)
    world.do_patch_secret(PatchSecret(attempt.secret_name, 1, 2, add=slot(2, "key-9")))
    released = run(release(attempt, BOT), world)
    assert world.accepted() == set()
    assert released.counts["keysDeleted"] == 2


def test_release_of_a_claim_without_keys_removes_its_secret():
    world, attempt = trading()
    world.keys.pop("key-1")
    run(release(attempt, BOT), world)
    assert world.secrets == {}


def test_release_deletes_the_secret_before_the_key():
    world, attempt = trading()
    run(release(attempt, BOT), world)
    kinds = [type(c) for c in world.performed]
    assert kinds.index(DeleteSecret) < kinds.index(DeleteKey)


def test_release_does_not_care_about_other_keys_of_the_account():
    world, attempt = trading()
    world.keys["laptop"] = VenueKey("laptop", "my laptop", frozenset({"read", "write"}))
    run(release(attempt, BOT), world)
    assert "laptop" in world.keys


@pytest.mark.parametrize(
    ("key", "reason"),
    [
        (own_key("later", 2, "nonce0001"), Reason.HIGHER_EPOCH),
        (own_key("restored", 1, "nonce9999"), Reason.UNKNOWN_HISTORY),
    ],
)
def test_release_stops_for_keys_that_it_cannot_know(key, reason):
    world, attempt = trading()
    world.keys[key.key_id] = key
    with pytest.raises(FenceError) as caught:
        run(release(attempt, BOT), world)
    assert caught.value.reason is reason
    assert {key.key_id, "key-1"} <= set(world.keys)


def test_release_is_repeatable():
    world, attempt = trading()
    run(release(attempt, BOT), world)
    assert run(release(attempt, BOT), world).counts == {"keysDeleted": 0, "secretsDeleted": 0}


def test_release_of_a_claim_that_moved_deletes_nothing():
    world, attempt = trading()
    world.claim = opened(world.claim)
    with pytest.raises(FenceError) as caught:
        run(release(attempt, BOT), world)
    assert caught.value.reason is Reason.CLAIM_MOVED
    assert "key-1" in world.keys
    assert isinstance(world.secrets[attempt.secret_name], EpochSecret)
