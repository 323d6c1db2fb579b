from dataclasses import replace

import pytest
from soloist_fence.api import (
    MARKER_SCOPES,
    EpochSecret,
    Reason,
    VenueKey,
    claim_hash,
    marker_identity,
    marker_key_name,
)
from soloist_fence.commands import (
    CancelOrder,
    DeleteKey,
    DeleteSecret,
    IssuedKey,
    ListOrders,
    OrderSighting,
    PatchSecret,
)
from soloist_fence.errors import FenceError
from soloist_fence.release import release
from soloist_fence.takeover import takeover

from tests.unit.soloist_fence.fence_world import (
    BOT,
    CLAIM,
    World,
    armed,
    attempt_of,
    opened,
    own_key,
    run,
    slot,
)


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


def test_a_key_of_another_account_vouches_for_nothing():
    """The management Secret's content was replaced: that account never had a key of this claim."""
    world, attempt = trading()
    world.claim = replace(world.claim, identity=marker_identity("m-1"))
    with pytest.raises(FenceError) as caught:
        run(release(attempt, BOT), world)
    assert caught.value.reason is Reason.IDENTITY_AMBIGUOUS
    assert world.accepted() == {"key-1"}
    world.keys["m-1"] = VenueKey("m-1", marker_key_name("abc123"), frozenset(MARKER_SCOPES))
    world.keys["m-2"] = VenueKey("m-2", marker_key_name("abc124"), frozenset(MARKER_SCOPES))
    run(release(attempt, BOT), world)
    assert "key-1" not in world.keys, "that there is a second marker is a takeover's business"


def test_a_release_sees_the_old_key_refused_and_names_a_slow_venue():
    world, attempt = trading()
    world.venue.revocation_ms = 7_000
    key = IssuedKey("key-1", "pem")
    released = run(release(replace(attempt, old_keys=(key,)), BOT), world)
    assert world.accepted() == set()
    assert released.counts["stillAcceptedMs"] > attempt.revocation_bound_ms


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


def resting(client_order_id):
    return OrderSighting(
        client_order_id, resting=True, order_id=client_order_id, ticker="SIM-A", created_ms=None
    )


def lost():
    """The claim is opened for the release while the engine's key is still good."""
    world, _ = trading()
    world.claim = opened(world.claim)
    return world, attempt_of(world.claim, world)


def test_release_leaves_orders_alone_unless_it_is_asked():
    """An engine that stopped in order cancelled what its configuration says; what it left was meant to stay."""
    world, attempt = lost()
    world.orders.append(resting(f"s{claim_hash(CLAIM)}-1-1a-1"))
    run(release(attempt, BOT), world)
    assert not any(isinstance(command, CancelOrder) for command in world.performed)


def test_release_of_an_unproven_engine_takes_its_orders_back_after_the_revocation():
    world, attempt = lost()
    world.orders += [resting(f"s{claim_hash(CLAIM)}-1-1a-1"), resting("by hand")]
    cancelled_ms = []

    def watched(world, command):
        if isinstance(command, CancelOrder):
            cancelled_ms.append(world.now_ms)

    world.before = watched
    released = run(release(attempt, BOT, orders=True), world)
    assert [order.client_order_id for order in world.orders if order.resting] == ["by hand"]
    assert released.counts == {
        "keysDeleted": 1,
        "secretsDeleted": 1,
        "ordersCancelled": 1,
        "groupsDeleted": 0,
    }
    assert cancelled_ms[0] - world.venue.deleted_ms["key-1"] >= attempt.revocation_bound_ms
    assert world.accepted() == set()


def test_release_of_an_unproven_engine_cancels_nothing_once_the_claim_moved():
    world, attempt = lost()
    world.orders.append(resting(f"s{claim_hash(CLAIM)}-1-1a-1"))

    def moved(world, command):
        if isinstance(command, ListOrders):
            world.claim = opened(world.claim)

    world.before = moved
    with pytest.raises(FenceError) as caught:
        run(release(attempt, BOT, orders=True), world)
    assert caught.value.reason is Reason.CLAIM_MOVED
    assert not any(isinstance(command, CancelOrder) for command in world.performed)
