"""Rotation: never a third key, never zero, and every road back to one."""

import pytest
from soloist_fence.api import Reason, VenueKey
from soloist_fence.commands import DeleteKey, GenerateKey, ListKeys, PatchSecret, ProbeKey, ReadLease, Sleep
from soloist_fence.errors import FenceError
from soloist_fence.rotation import CONFIRM_MS, Rotated, Skipped, rotate
from soloist_fence.takeover import takeover

from tests.unit.soloist_fence.fence_world import (
    BOT,
    World,
    armed,
    attempt_of,
    lose_reply_of,
    opened,
    own_key,
    run,
    slot,
    undisturbed,
)


def trading():
    """A world in which epoch 1 trades with key-1, and the attempt that its CronJob makes."""
    world = World(opened())
    attempt = attempt_of(world.claim, world)
    published = run(takeover(attempt, BOT), world)
    armed(world, attempt, published.key_id)
    world.performed.clear()
    return world, next_rotation(world)


def next_rotation(world):
    return attempt_of(world.claim, world, deadline_ms=world.now_ms + 900_000)


def mounted(world, attempt):
    return world.secrets[attempt.secret_name]


def refused(world, attempt, secret=None):
    with pytest.raises(FenceError) as caught:
        run(rotate(attempt, secret or mounted(world, attempt)), world)
    return caught.value


def test_a_rotation_ends_with_one_new_key_in_use():
    world, attempt = trading()
    rotated = run(rotate(attempt, mounted(world, attempt)), world)
    assert isinstance(rotated, Rotated)
    assert rotated.key_id == world.engine.key_id == "key-2"
    assert world.published() == world.accepted() == {"key-2"}
    secret = mounted(world, attempt)
    assert [s.generation for s in secret.slots] == [2]
    assert secret.generation == 3
    changes = [
        type(c) for c in world.performed if isinstance(c, GenerateKey | PatchSecret | DeleteKey | ProbeKey)
    ]
    assert changes == [GenerateKey, PatchSecret, PatchSecret, DeleteKey, ProbeKey] + [ProbeKey] * (
        len(changes) - 5
    )
    assert len(changes) > 5, "the late revocation of this venue was waited for"


@pytest.mark.parametrize(("slower_ms", "told"), [(0, False), (2_000, True)])
def test_a_venue_that_is_slower_than_its_bound_is_told(slower_ms, told):
    world, attempt = trading()
    world.venue.revocation_ms = attempt.revocation_bound_ms + slower_ms
    rotated = run(rotate(attempt, mounted(world, attempt)), world)
    assert ("stillAcceptedMs" in rotated.counts) is told


def test_the_engine_never_lacks_an_accepted_key():
    world, attempt = trading()

    def before(world, command):
        if isinstance(command, ReadLease):
            world.do_read_lease(command)
        assert world.engine.key_id in world.keys, f"before {command!r}"

    world.before = before
    run(rotate(attempt, mounted(world, attempt)), world)


def test_rotations_follow_each_other():
    world, _ = trading()
    for expected in ("key-2", "key-3", "key-4"):
        attempt = next_rotation(world)
        assert run(rotate(attempt, mounted(world, attempt)), world).key_id == expected
    assert [s.generation for s in mounted(world, attempt).slots] == [6]
    assert mounted(world, attempt).generation == 7


def test_without_a_heartbeat_nothing_changes():
    world, attempt = trading()
    world.engine = None
    skipped = run(rotate(attempt, mounted(world, attempt)), world)
    assert isinstance(skipped, Skipped)
    assert skipped.reason is Reason.NO_RUNNING_ENGINE
    assert not any(isinstance(c, GenerateKey | PatchSecret | DeleteKey) for c in world.performed)


def test_a_silent_engine_is_no_engine():
    world, attempt = trading()
    frozen = world.do_read_lease(ReadLease())
    world.do_read_lease = lambda _: frozen
    assert isinstance(run(rotate(attempt, mounted(world, attempt)), world), Skipped)


def test_a_pod_that_was_not_admitted_confirms_nothing():
    world, attempt = trading()
    read = world.do_read_lease

    def stranger(command):
        lease = read(command)
        return type(lease)(lease.renewed_at, "the admitted pod", lease.epoch, lease.pod_uid, lease.key_id)

    world.do_read_lease = stranger
    assert isinstance(run(rotate(attempt, mounted(world, attempt)), world), Skipped)


def test_a_claim_that_is_not_active_is_skipped():
    world, attempt = trading()
    world.claim = type(world.claim)(**{**vars(world.claim), "phase": "Arming"})
    skipped = run(rotate(attempt, mounted(world, attempt)), world)
    assert isinstance(skipped, Skipped)
    assert "Arming" in skipped.message


def test_an_engine_that_never_confirms_keeps_its_key():
    world, attempt = trading()
    world.engine.switches = False
    error = refused(world, attempt)
    assert error.reason is Reason.NOT_CONFIRMED
    assert world.published() == {"key-1"} == set(world.keys) - {"management"}
    assert world.engine.key_id == "key-1"


def test_an_engine_that_switches_just_after_the_deadline_keeps_the_key_it_uses():
    world, attempt = trading()
    world.engine.propagation_ms = CONFIRM_MS + 30_000
    error = refused(world, attempt)
    assert error.reason is Reason.NOT_CONFIRMED
    assert world.engine.key_id in world.keys, "the key in use is never deleted"


def test_two_slots_are_resumed_never_a_third_key():
    world, attempt = trading()
    world.keys["key-9"] = own_key("key-9", 1, "nonce0001", generation=2)
    world.do_patch_secret(PatchSecret(attempt.secret_name, 1, 2, add=slot(2, "key-9")))
    rotated = run(rotate(attempt, mounted(world, attempt)), world)
    assert rotated.counts["resumed"] == 1
    assert world.published() == world.accepted() == {"key-9"}
    assert not any(isinstance(c, GenerateKey) for c in world.performed)


def test_a_leftover_key_goes_after_the_generation_was_raised_and_the_engine_confirmed():
    world, attempt = trading()
    world.keys["leftover"] = own_key("leftover", 1, "nonce0001", generation=2)
    rotated = run(rotate(attempt, mounted(world, attempt)), world)
    assert rotated.counts["leftoversDeleted"] == 1
    assert world.accepted() == world.published() == {rotated.key_id}
    kinds = [type(c) for c in world.performed]
    assert kinds.index(PatchSecret) < kinds.index(DeleteKey) < kinds.index(GenerateKey)


def test_an_older_rotation_cannot_publish_after_a_newer_one_bumped_the_generation():
    world, attempt = trading()
    stale = mounted(world, attempt)
    world.do_patch_secret(PatchSecret(attempt.secret_name, 1, 2))
    error = refused(world, attempt, stale)
    assert error.reason is Reason.SECRET_MOVED
    assert set(world.keys) == {"management", "key-1"}


def test_two_rotations_at_once_never_publish_both():
    world, attempt = trading()

    def before(world, command):
        if isinstance(command, ListKeys) and world.made == 2 and "rival" not in world.keys:
            world.keys["rival"] = own_key("rival", 1, "nonce0001", generation=2)

    world.before = before
    error = refused(world, attempt)
    assert error.reason is Reason.SECRET_MOVED
    assert "key-2" not in world.keys
    assert "rival" in world.keys


@pytest.mark.parametrize("done", [True, False])
def test_a_lost_reply_to_the_patch_leaves_the_key_for_the_next_rotation(done):
    world, attempt = trading()
    world.before = lose_reply_of(PatchSecret, done=done)
    refused(world, attempt)
    assert "key-2" in world.keys
    world.before = undisturbed
    attempt = next_rotation(world)
    rotated = run(rotate(attempt, mounted(world, attempt)), world)
    assert world.accepted() == world.published() == {rotated.key_id}


@pytest.mark.parametrize("done", [True, False])
def test_a_lost_reply_to_create_is_cleaned_by_the_next_rotation(done):
    world, attempt = trading()
    world.before = lose_reply_of(GenerateKey, done=done)
    refused(world, attempt)
    world.before = undisturbed
    attempt = next_rotation(world)
    rotated = run(rotate(attempt, mounted(world, attempt)), world)
    assert world.accepted() == world.published() == {rotated.key_id}


def test_a_takeover_during_a_rotation_wins():
    world, attempt = trading()

    def before(world, command):
        if isinstance(command, PatchSecret):
            del world.secrets[attempt.secret_name]
            del world.keys["key-1"]
            world.claim = opened(world.claim)
            world.before = undisturbed

    world.before = before
    assert refused(world, attempt).reason is Reason.SECRET_MOVED
    assert set(world.keys) == {"management"}


def test_a_swept_epoch_is_not_revived():
    world, attempt = trading()

    def before(world, command):
        if isinstance(command, GenerateKey):
            del world.keys["key-1"]

    world.before = before
    assert refused(world, attempt).reason is Reason.SECRET_MOVED
    assert set(world.keys) == {"management"}


def test_a_foreign_key_stops_it():
    world, attempt = trading()
    world.keys["stranger"] = VenueKey("stranger", "my laptop", frozenset({"read", "write"}))
    error = refused(world, attempt)
    assert error.reason is Reason.CONFLICT
    assert not any(isinstance(c, GenerateKey) for c in world.performed)


def test_a_venue_that_does_not_revoke_is_found_out():
    world, attempt = trading()
    world.do_probe_key = lambda _: True
    error = refused(world, attempt)
    assert error.reason is Reason.NOT_CONFIRMED
    assert "revocationBoundMs" in error.message


def test_a_mount_of_another_epoch_is_refused():
    world, attempt = trading()
    secret = mounted(world, attempt)
    other = type(secret)(2, secret.generation, secret.slots)
    assert refused(world, attempt, other).reason is Reason.SECRET_MOVED


def test_polling_waits_between_looks():
    world, attempt = trading()
    run(rotate(attempt, mounted(world, attempt)), world)
    looks = sum(isinstance(c, ReadLease) for c in world.performed)
    pauses = sum(isinstance(c, Sleep) for c in world.performed)
    assert looks < pauses + 10


def test_a_key_for_the_whole_account_is_withdrawn_when_another_subaccount_gets_one_meanwhile():
    world, attempt = trading()
    world.venue.restricted_keys = False
    secret = mounted(world, attempt)

    def before(world, command):
        if isinstance(command, GenerateKey) and command.subaccount is None:
            world.keys["neighbour"] = VenueKey(
                "neighbour", "somebody's", frozenset({"read", "write"}), attempt.subaccount + 1
            )

    world.before = before
    error = refused(world, attempt)
    assert (error.reason, error.key_ids) == (Reason.CONFLICT, ("neighbour",))
    assert world.accepted() >= {"key-1"}
    assert "key-2" not in world.keys
    assert mounted(world, attempt) == secret
