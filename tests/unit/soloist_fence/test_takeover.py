"""The takeover, row by row: what it deletes, what stops it, and what it leaves behind when it stops."""

from dataclasses import replace

import pytest
from soloist_fence.api import EpochSecret, Reason, VenueKey, claim_hash, epoch_secret_name, venue_key_name
from soloist_fence.commands import (
    CreateSecret,
    DeleteKey,
    DeleteSecret,
    GenerateKey,
    ListKeys,
    ListOrders,
    OrderSighting,
    ReadClaim,
    Sleep,
)
from soloist_fence.errors import FenceError
from soloist_fence.takeover import takeover

from tests.unit.soloist_fence.fence_world import (
    BOT,
    CLAIM,
    CLUSTER_ID,
    MANAGEMENT_KEY,
    World,
    armed,
    attempt_of,
    lose_reply_of,
    opened,
    own_key,
    run,
    slot,
)


def first_arm():
    world = World(opened())
    return world, attempt_of(world.claim, world)


def second_arm():
    """A world in which epoch 1 is published and Active, and epoch 2 was just opened."""
    world, attempt = first_arm()
    published = run(takeover(attempt, BOT), world)
    armed(world, attempt, published.key_id)
    world.claim = opened(world.claim)
    world.performed.clear()
    return world, attempt_of(world.claim, world), published.key_id


def refused(world, attempt):
    with pytest.raises(FenceError) as caught:
        run(takeover(attempt, BOT), world)
    return caught.value


def test_first_arm_publishes_one_key_of_least_scope():
    world, attempt = first_arm()
    published = run(takeover(attempt, BOT), world)
    key = world.keys[published.key_id]
    assert key.scopes == {"read", "write::trade"}
    assert key.subaccount == 0
    assert key.name == venue_key_name(CLUSTER_ID, CLAIM, 1, 1, "nonce0001")
    assert world.accepted() == world.published() == {published.key_id}
    assert published.secret_name == "demo-key-e1-nonce0001"
    secret = world.secrets[published.secret_name]
    assert (secret.epoch, secret.generation, [s.generation for s in secret.slots]) == (1, 1, [1])


def test_takeover_revokes_the_old_epoch_before_it_makes_a_key():
    world, attempt, old = second_arm()
    published = run(takeover(attempt, BOT), world)
    kinds = [type(command) for command in world.performed]
    assert kinds.index(DeleteSecret) < kinds.index(DeleteKey) < kinds.index(GenerateKey)
    assert world.accepted() == world.published() == {published.key_id} != {old}
    assert published.counts["keysDeleted"] == 1
    assert published.counts["secretsDeleted"] == 1


def test_the_wait_follows_the_verifying_listing():
    world, attempt, _ = second_arm()
    run(takeover(attempt, BOT), world)
    kinds = [type(command) for command in world.performed]
    create = kinds.index(GenerateKey)
    verify = kinds.index(ListKeys, create)
    wait = next(
        i
        for i, c in enumerate(world.performed)
        if i > verify and isinstance(c, Sleep) and c.duration_ms > 900
    )
    assert create < verify < wait < kinds.index(CreateSecret)


def test_the_claim_is_read_right_before_each_destructive_call():
    world, attempt, _ = second_arm()
    run(takeover(attempt, BOT), world)
    looks = [type(c) for c in world.performed if type(c).__name__ != "Now"]
    for index, kind in enumerate(looks):
        if kind in {DeleteKey, DeleteSecret, GenerateKey, CreateSecret}:
            assert looks[index - 1] is ReadClaim, f"{kind.__name__} at {index} in {looks}"


def foreign(key_id="stranger", **changes):
    return replace(VenueKey(key_id, "my laptop", frozenset({"read", "write"})), **changes)


def test_a_foreign_key_is_a_conflict_that_names_it_and_the_fix():
    world, attempt, old = second_arm()
    world.keys["stranger"] = foreign()
    error = refused(world, attempt)
    assert error.reason is Reason.CONFLICT
    assert "stranger" in error.message
    assert "my laptop" in error.message
    assert "spec.account.acknowledgedKeyIds" in error.message
    assert error.field == "spec.account.acknowledgedKeyIds"
    assert old in world.keys, "nothing is destroyed before the judgement"
    assert "stranger" in world.keys


@pytest.mark.parametrize(
    "key",
    [foreign(scopes=frozenset({"read"})), foreign(subaccount=7), foreign(key_id="known")],
    ids=["read only", "other subaccount", "acknowledged"],
)
def test_a_harmless_key_does_not_stop_it(key):
    world, attempt = first_arm()
    world.keys[key.key_id] = key
    run(takeover(replace(attempt, acknowledged_key_ids=frozenset({"known"})), BOT), world)
    assert key.key_id in world.keys


def test_a_key_of_another_cluster_with_our_claims_name_is_foreign():
    world, attempt = first_arm()
    name = venue_key_name("another-cluster", CLAIM, 1, 1, "nonce0001")
    world.keys["twin"] = own_key("twin", 1, "nonce0001", name=name)
    assert refused(world, attempt).reason is Reason.CONFLICT
    assert "twin" in world.keys


@pytest.mark.parametrize("epoch", [2, 9])
def test_a_key_at_or_above_our_epoch_is_reported(epoch):
    world, attempt, old = second_arm()
    world.keys["later"] = own_key("later", epoch, "nonce0009")
    error = refused(world, attempt)
    assert error.reason is Reason.HIGHER_EPOCH
    assert error.counts == {"highestEpoch": epoch}
    assert {old, "later"} <= set(world.keys)


def test_an_order_above_our_epoch_is_reported():
    world, attempt = first_arm()
    world.orders.append(OrderSighting(f"s{claim_hash(CLAIM)}-5-1a-7", resting=False))
    error = refused(world, attempt)
    assert error.reason is Reason.HIGHER_EPOCH
    assert error.counts == {"highestEpoch": 5}


def test_an_order_of_another_claim_says_nothing():
    world, attempt = first_arm()
    world.orders += [OrderSighting("szzzzzz-5-1a-7", resting=True), OrderSighting("by hand", resting=True)]
    published = run(takeover(attempt, BOT), world)
    assert published.counts["ordersSeen"] == 0


def test_an_order_of_a_later_epoch_that_arrives_during_the_wait_stops_the_attempt():
    """After a restored backup: the zombie's key was deleted by an attempt that nobody remembers, and still works for D_rev."""
    world, attempt = first_arm()

    def before(world, command):
        if isinstance(command, Sleep) and world.made == 1 and not world.orders:
            world.orders.append(OrderSighting(f"s{claim_hash(CLAIM)}-2-1a-1", resting=False))

    world.before = before
    error = refused(world, attempt)
    assert (error.reason, error.counts["highestEpoch"]) == (Reason.HIGHER_EPOCH, 2)
    assert not world.published()
    assert not world.keys.keys() - {MANAGEMENT_KEY.key_id}


def test_our_resting_orders_are_counted_not_cancelled():
    world, attempt, _ = second_arm()
    mine = claim_hash(CLAIM)
    world.orders += [
        OrderSighting(f"s{mine}-1-1a-1", resting=True),
        OrderSighting(f"s{mine}-1-1a-2", resting=False),
    ]
    published = run(takeover(attempt, BOT), world)
    assert published.counts["ordersSeen"] == 2
    assert published.counts["ordersResting"] == 1


def test_an_unknown_nonce_stops_it_for_a_person():
    world, attempt, old = second_arm()
    world.keys["restored"] = own_key("restored", 1, "nonce9999")
    error = refused(world, attempt)
    assert error.reason is Reason.UNKNOWN_HISTORY
    assert "restored" in error.message
    assert {old, "restored"} <= set(world.keys)


def test_an_orphan_of_ours_goes_even_when_a_conflict_stops_us():
    world, attempt, old = second_arm()
    world.claim = opened(world.claim)
    attempt = attempt_of(world.claim, world)
    world.keys["orphan"] = own_key("orphan", 2, "nonce0002")
    world.secrets["demo-key-e2-nonce0002"] = EpochSecret(2, 1, (slot(1, "orphan"),))
    world.keys["stranger"] = foreign()
    assert refused(world, attempt).reason is Reason.CONFLICT
    assert "orphan" not in world.keys
    assert "demo-key-e2-nonce0002" not in world.secrets
    assert old in world.keys, "the key that became Active stays until the judgement allows its end"


def test_a_key_that_appears_after_create_is_a_conflict_and_ours_goes():
    world, attempt = first_arm()

    def before(world, command):
        if isinstance(command, GenerateKey):
            world.keys["stranger"] = foreign()

    world.before = before
    assert refused(world, attempt).reason is Reason.CONFLICT
    assert set(world.keys) == {MANAGEMENT_KEY.key_id, "stranger"}
    assert world.secrets == {}


def test_a_zombie_fence_of_a_lower_epoch_is_deleted_and_the_list_read_again():
    world, attempt, _ = second_arm()
    listings = 0

    def before(world, command):
        nonlocal listings
        if isinstance(command, ListKeys) and world.made == 2:
            listings += 1
            if listings == 1:
                world.keys["zombie"] = own_key("zombie", 1, "nonce0001")

    world.before = before
    published = run(takeover(attempt, BOT), world)
    assert "zombie" not in world.keys
    assert listings == 2
    assert world.made == 2, "never create twice"
    assert world.published() == {published.key_id}


def test_a_twin_of_the_same_attempt_stops_the_second():
    world, attempt = first_arm()
    world.keys["twin"] = own_key("twin", 1, "nonce0001")
    assert refused(world, attempt).reason is Reason.HIGHER_EPOCH
    assert "twin" in world.keys, "it may be published already"


@pytest.mark.parametrize("kind", [DeleteKey, DeleteSecret, GenerateKey, CreateSecret])
def test_a_claim_that_moved_stops_it_before_the_call(kind):
    world, attempt, _ = second_arm()

    def before(world, command):
        upcoming = {DeleteSecret: 0, DeleteKey: 1, GenerateKey: 2, CreateSecret: 3}[kind]
        done = [type(c) for c in world.performed[:-1]]
        stage = sum(step in done for step in (DeleteSecret, DeleteKey, GenerateKey))
        if isinstance(command, ReadClaim) and stage >= upcoming and len(done) > 2:
            world.claim = opened(world.claim) if world.claim.epoch == attempt.epoch else world.claim

    world.before = before
    error = refused(world, attempt)
    assert error.reason is Reason.CLAIM_MOVED
    assert kind not in [type(c) for c in world.performed] or kind is DeleteKey
    assert world.made == (2 if kind is CreateSecret else 1)
    assert "key-2" not in world.keys, "its own key is deleted"


def test_a_fence_that_slept_past_its_deadline_touches_only_its_own_key():
    world, attempt, _ = second_arm()

    def before(world, command):
        if isinstance(command, ListOrders) and world.made == 2:
            world.now_ms += 500_000

    world.before = before
    error = refused(world, attempt)
    assert error.reason is Reason.DEADLINE_PASSED
    assert "key-2" not in world.keys
    assert world.secrets == {}


@pytest.mark.parametrize("done", [True, False])
def test_a_lost_reply_to_create_leaves_no_key(done):
    world, attempt = first_arm()
    world.before = lose_reply_of(GenerateKey, done=done)
    assert refused(world, attempt).reason is Reason.VENUE_UNREACHABLE
    assert set(world.keys) == {MANAGEMENT_KEY.key_id}


@pytest.mark.parametrize("done", [True, False])
def test_a_lost_reply_to_publish_leaves_neither_secret_nor_key(done):
    world, attempt = first_arm()
    world.before = lose_reply_of(CreateSecret, done=done)
    refused(world, attempt)
    assert set(world.keys) == {MANAGEMENT_KEY.key_id}
    assert world.secrets == {}


def test_an_existing_secret_is_a_failure_and_stays():
    world, attempt = first_arm()
    restored = EpochSecret(1, 1, (slot(1, "from a backup"),))
    world.secrets[attempt.secret_name] = restored
    assert refused(world, attempt).reason is Reason.SECRET_EXISTS
    assert world.secrets == {attempt.secret_name: restored}
    assert set(world.keys) == {MANAGEMENT_KEY.key_id}


def test_a_failure_of_the_clean_up_does_not_hide_the_first():
    world, attempt = first_arm()

    def before(world, command):
        if isinstance(command, CreateSecret):
            raise FenceError(Reason.SECRET_EXISTS, "first")
        if isinstance(command, DeleteKey):
            raise FenceError(Reason.VENUE_UNREACHABLE, "second")

    world.before = before
    assert refused(world, attempt).message == "first"


def test_without_restricted_keys_an_unrestricted_one_serves_a_lone_subaccount():
    world, attempt = first_arm()
    world.venue.restricted_keys = False
    published = run(takeover(attempt, BOT), world)
    assert world.keys[published.key_id].subaccount is None
    assert world.keys[published.key_id].scopes == {"read", "write::trade"}


def test_without_restricted_keys_another_subaccount_forbids_an_unrestricted_one():
    world, attempt = first_arm()
    world.venue.restricted_keys = False
    world.keys["neighbour"] = foreign("neighbour", subaccount=7)
    assert refused(world, attempt).reason is Reason.CONFLICT
    assert set(world.keys) == {MANAGEMENT_KEY.key_id, "neighbour"}


def test_a_list_that_stays_stale_ends_the_attempt():
    world, attempt, old = second_arm()
    stale = world.keys[old]

    def before(world, command):
        if isinstance(command, ListKeys):
            world.keys[old] = stale

    world.before = before
    assert refused(world, attempt).reason is Reason.VENUE_UNREACHABLE
    assert world.made == 1


def test_secret_names_of_another_bot_survive():
    world, attempt, _ = second_arm()
    world.secrets["other-key-e1-nonce0001"] = EpochSecret(1, 1, (slot(1, "x"),))
    run(takeover(attempt, BOT), world)
    assert epoch_secret_name("other", 1, "nonce0001") in world.secrets
