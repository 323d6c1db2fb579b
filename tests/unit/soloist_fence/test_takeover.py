"""The takeover, row by row: what it deletes, what stops it, and what it leaves behind when it stops."""

from dataclasses import replace

import pytest
from soloist_fence.api import (
    MARKER_SCOPES,
    EpochSecret,
    Reason,
    VenueKey,
    claim_hash,
    epoch_secret_name,
    marker_identity,
    marker_key_name,
    venue_key_name,
)
from soloist_fence.commands import (
    CancelOrder,
    CreateSecret,
    DeleteKey,
    DeleteSecret,
    GenerateKey,
    IssuedKey,
    ListKeys,
    ListOrders,
    OrderGroup,
    ProbeKey,
    ReadClaim,
    Sleep,
    VenueTime,
)
from soloist_fence.errors import FenceError, NoAnswerError
from soloist_fence.release import release
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
    order,
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
    assert f"kubectl annotate accountclaim {CLAIM} soloist.trade/revoke-key-ids=stranger" in error.message
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
    world.orders.append(order(f"s{claim_hash(CLAIM)}-5-1a-7", resting=False))
    error = refused(world, attempt)
    assert error.reason is Reason.HIGHER_EPOCH
    assert error.counts == {"highestEpoch": 5}


def test_an_order_of_another_claim_says_nothing():
    world, attempt = first_arm()
    world.orders += [order("szzzzzz-5-1a-7", resting=True), order("by hand", resting=True)]
    published = run(takeover(attempt, BOT), world)
    assert published.counts["ordersSeen"] == 0


def test_an_order_of_a_later_epoch_that_arrives_during_the_wait_stops_the_attempt():
    """After a restored backup: the zombie's key was deleted by an attempt that nobody remembers, and still works for D_rev."""
    world, attempt = first_arm()

    def before(world, command):
        if isinstance(command, Sleep) and world.made == 1 and not world.orders:
            world.orders.append(order(f"s{claim_hash(CLAIM)}-2-1a-1", resting=False))

    world.before = before
    error = refused(world, attempt)
    assert (error.reason, error.counts["highestEpoch"]) == (Reason.HIGHER_EPOCH, 2)
    assert not world.published()
    assert not world.keys.keys() - {MANAGEMENT_KEY.key_id}


def test_our_resting_orders_are_cancelled_by_id_after_the_wait_and_nobody_elses():
    world, attempt, _ = second_arm()
    mine = claim_hash(CLAIM)
    world.orders += [
        order(f"s{mine}-1-1a-1", resting=True),
        order(f"s{mine}-1-1a-2", resting=False),
        order("by hand", resting=True),
        order("szzzzzz-1-1a-1", resting=True),
    ]
    published = run(takeover(attempt, BOT), world)
    assert (published.counts["ordersSeen"], published.counts["ordersCancelled"]) == (2, 1)
    assert [o.client_order_id for o in world.orders if o.resting] == ["by hand", "szzzzzz-1-1a-1"]
    kinds = [type(command) for command in world.performed]
    wait = next(i for i, c in enumerate(world.performed) if isinstance(c, Sleep) and c.duration_ms > 900)
    assert wait < kinds.index(CancelOrder) < kinds.index(CreateSecret)


def test_an_order_that_does_not_go_away_stops_the_attempt_at_its_deadline():
    world, attempt, _ = second_arm()
    world.orders.append(order(f"s{claim_hash(CLAIM)}-1-1a-1", resting=True))
    world.do_cancel_order = lambda _: None
    error = refused(world, attempt)
    assert (error.reason, error.counts) == (Reason.NOT_CONFIRMED, {"ordersResting": 1})
    assert "still rest" in error.message
    assert not world.published()


def test_a_listing_counts_only_when_it_is_later_than_the_revocation():
    """An order accepted in the last moment of the old key becomes visible late: it must be seen, and cancelled."""
    world, attempt, _ = second_arm()
    world.venue.read_model_lag_ms = 4_000

    def before(world, command):
        # Accepted while the old key still works, 500 ms after its deletion.
        if isinstance(command, GenerateKey):
            created_ms = world.now_ms + 500
            world.orders.append(order(f"s{claim_hash(CLAIM)}-1-1a-1", resting=True, created_ms=created_ms))

    world.before = before
    published = run(takeover(attempt, BOT), world)
    assert published.counts["ordersCancelled"] == 1
    assert not any(o.resting for o in world.orders)


def test_a_read_model_that_stands_still_stops_the_attempt():
    world, attempt, _ = second_arm()
    world.venue.read_model_lag_ms = 1_000_000
    error = refused(world, attempt)
    assert error.reason is Reason.NOT_CONFIRMED
    assert "user_data_timestamp" in error.message


def test_order_groups_of_older_epochs_are_deleted_and_no_others():
    world, attempt, _ = second_arm()
    mine = claim_hash(CLAIM)
    world.orders.append(order(f"s{mine}-1-1a-1", resting=True))
    world.venue.groups = {"old": {f"order of s{mine}-1-1a-1"}, "later": set(), "somebody's": set()}
    world.claim = replace(world.claim, order_groups=(OrderGroup(1, "old"), OrderGroup(2, "later")))
    published = run(takeover(attempt, BOT), world)
    assert published.counts["groupsDeleted"] == 1
    assert set(world.venue.groups) == {"later", "somebody's"}
    assert not any(o.resting for o in world.orders)


def test_a_persons_own_secret_is_never_deleted():
    """A Static bot was given up: its claim names that person's Secret, and a Managed bot adopts the claim."""
    world, attempt, _ = second_arm()
    world.secrets["my-key"] = EpochSecret(1, 1, (slot(1, "mine"),))
    world.claim = replace(world.claim, secret_name="my-key")
    run(takeover(attempt, BOT), world)
    assert "my-key" in world.secrets


def test_a_known_old_key_must_be_refused_before_anything_is_published():
    world, attempt, old = second_arm()
    published = run(takeover(replace(attempt, old_keys=(IssuedKey(old, "pem"),)), BOT), world)
    assert published.counts["oldKeysProven"] == 1
    kinds = [type(command) for command in world.performed]
    assert kinds.index(ProbeKey) < kinds.index(CreateSecret)


def test_a_venue_that_does_not_revoke_is_noticed():
    world, attempt, old = second_arm()
    world.do_probe_key = lambda _: True
    error = refused(world, replace(attempt, old_keys=(IssuedKey(old, "pem"),)))
    assert error.reason is Reason.NOT_CONFIRMED
    assert "measure-revocation" in error.message
    assert error.counts["stillAcceptedMs"] > attempt.revocation_bound_ms
    assert error.key_ids == (old,)
    assert not world.published()


@pytest.mark.parametrize("verb", [takeover, release])
@pytest.mark.parametrize("kind", [ProbeKey, Sleep], ids=["venue fails", "told to stop"])
def test_what_the_probes_saw_is_not_lost_when_something_else_fails(verb, kind):
    """The next attempt could not ask that key any more."""
    world, attempt, old = second_arm()
    world.venue.revocation_ms = 20_000
    probes = 0

    def before(world, command):
        nonlocal probes
        probes += isinstance(command, ProbeKey)
        if isinstance(command, kind) and probes > 5:
            raise NoAnswerError(Reason.VENUE_UNREACHABLE, "503")

    world.before = before
    with pytest.raises(FenceError) as caught:
        run(verb(replace(attempt, old_keys=(IssuedKey(old, "pem"),)), BOT), world)
    assert caught.value.reason is Reason.VENUE_UNREACHABLE
    assert caught.value.counts["stillAcceptedMs"] > attempt.revocation_bound_ms


def test_a_late_venues_last_orders_are_seen():
    """The zombie's last order is accepted just before the late refusal, and the venue's read model shows it later still."""
    world, attempt, old = second_arm()
    world.venue.revocation_ms, world.venue.read_model_lag_ms = 5_000, 900
    sent = []

    def before(world, command):
        last_moment = world.venue.deleted_ms.get(old, world.now_ms) + world.venue.revocation_ms - 300
        if isinstance(command, ProbeKey) and old in world.accepted() and world.now_ms > last_moment:
            zombie = order(f"s{claim_hash(CLAIM)}-1-1a-{len(sent)}", resting=True, created_ms=world.now_ms)
            sent.append(zombie)
            world.orders.append(zombie)

    world.before = before
    published = run(takeover(replace(attempt, old_keys=(IssuedKey(old, "pem"),)), BOT), world)
    assert sent
    assert not any(each.resting for each in world.orders)
    assert published.counts["ordersCancelled"] == len(sent)


def test_a_venue_slower_than_its_bound_is_waited_for_and_told():
    world, attempt, old = second_arm()
    world.venue.revocation_ms = 20 * attempt.revocation_bound_ms
    published = run(takeover(replace(attempt, old_keys=(IssuedKey(old, "pem"),)), BOT), world)
    assert published.counts["stillAcceptedMs"] > attempt.revocation_bound_ms
    assert world.now_ms >= world.venue.deleted_ms[old] + world.venue.revocation_ms


def named(world, *key_ids):
    world.claim = replace(world.claim, revoke_key_ids=frozenset(key_ids))


def test_a_person_may_name_the_foreign_keys_to_revoke():
    world, attempt, _ = second_arm()
    world.keys["stranger"] = foreign()
    world.keys["restored"] = own_key("restored", 1, "nonce9999")
    world.keys["reader"] = foreign("reader", scopes=frozenset({"read"}))
    named(world, "stranger", "restored", "reader", MANAGEMENT_KEY.key_id)
    published = run(takeover(attempt, BOT), world)
    assert published.counts["keysRevokedByHand"] == 2
    assert set(world.keys) == {MANAGEMENT_KEY.key_id, "reader", published.key_id}, (
        "a harmless key is not touched"
    )


def test_one_key_that_nobody_named_stops_all_of_it():
    world, attempt, old = second_arm()
    world.keys["stranger"] = foreign()
    world.keys["other"] = foreign("other")
    named(world, "stranger")
    error = refused(world, attempt)
    assert (error.reason, error.key_ids) == (Reason.CONFLICT, ("other",))
    assert {old, "stranger", "other"} <= set(world.keys)


def test_the_name_is_read_again_before_the_key_goes():
    world, attempt, _ = second_arm()
    world.keys["stranger"] = foreign()
    named(world, "stranger")

    def before(world, command):
        if isinstance(command, ListOrders):  # the judgement is made, the person changes their mind
            named(world)

    world.before = before
    error = refused(world, attempt)
    assert error.reason is Reason.CONFLICT
    assert "no longer named" in error.message
    assert "stranger" in world.keys


def bound(world, marker="marker"):
    world.claim = replace(world.claim, identity=marker_identity(marker))


def marker(key_id="marker"):
    return VenueKey(key_id, marker_key_name("nonce0007"), frozenset(MARKER_SCOPES))


def test_a_takeover_demands_the_marker_of_its_claim():
    world, attempt = first_arm()
    bound(world)
    world.keys["marker"] = marker()
    run(takeover(attempt, BOT), world)
    assert "marker" in world.keys


@pytest.mark.parametrize("ids", [(), ("another",), ("marker", "another")])
def test_another_marker_or_none_arms_nothing(ids):
    world, attempt, old = second_arm()
    bound(world)
    world.keys.update({key_id: marker(key_id) for key_id in ids})
    error = refused(world, attempt)
    assert (error.reason, error.key_ids) == (Reason.IDENTITY_AMBIGUOUS, tuple(sorted(ids)))
    assert old in world.keys


def test_a_marker_that_appears_after_the_judgement_arms_nothing():
    world, attempt = first_arm()
    bound(world)
    world.keys["marker"] = marker()

    def before(world, command):
        if isinstance(command, GenerateKey):
            world.keys["another"] = marker("another")

    world.before = before
    assert refused(world, attempt).reason is Reason.IDENTITY_AMBIGUOUS
    assert not world.published()


def test_a_list_that_lags_gets_its_time_before_it_judges():
    world, attempt = first_arm()
    world.venue.key_list_lag_ms = 3_000
    published = run(takeover(replace(attempt, key_list_lag_ms=3_000), BOT), world)
    assert world.published() == {published.key_id}


KEY_MAY_EXIST = {
    "nothing was asked for": (ListOrders, FenceError(Reason.VENUE_UNREACHABLE, "no"), False),
    "refused": (GenerateKey, FenceError(Reason.MANAGEMENT_KEY_REJECTED, "403"), False),
    "no answer": (GenerateKey, NoAnswerError(Reason.VENUE_UNREACHABLE, "lost"), True),
    "a defect": (GenerateKey, FenceError(Reason.INTERNAL, "ZeroDivisionError"), True),
    "made, and then the management key was deleted": (
        VenueTime, FenceError(Reason.MANAGEMENT_KEY_REJECTED, "401"), True
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", KEY_MAY_EXIST)
def test_the_evidence_says_whether_a_key_may_exist(name):
    world, attempt = first_arm()
    kind, failure, may_exist = KEY_MAY_EXIST[name]

    def before(world, command):
        if isinstance(command, kind):
            raise failure

    world.before = before
    assert refused(world, attempt).key_may_exist is may_exist


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
