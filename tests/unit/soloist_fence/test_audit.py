"""Audit: what it finds, how grave it is, what it deletes, and that not looking is never fine."""

from dataclasses import replace

import pytest
from soloist_fence.api import (
    MARKER_SCOPES,
    Reason,
    VenueKey,
    claim_hash,
    marker_identity,
    marker_key_name,
)
from soloist_fence.audit import audit
from soloist_fence.commands import DeleteKey, ListKeys, ListOrders, ReadClaim
from soloist_fence.errors import FenceError, NoAnswerError
from soloist_fence.takeover import takeover

from tests.unit.soloist_fence.fence_world import (
    BOT,
    CLAIM,
    World,
    armed,
    attempt_of,
    opened,
    order,
    own_key,
    run,
)

OURS = claim_hash(CLAIM)
SINCE_MS = 50_000


def trading(epoch=3):
    """Epoch 3 is Active since SINCE_MS, its key is published."""
    world = World(opened())
    for _ in range(epoch - 1):
        world.claim = opened(world.claim)
    attempt = attempt_of(world.claim, world)
    published = run(takeover(attempt, BOT), world)
    armed(world, attempt, published.key_id)
    world.claim = replace(world.claim, since_ms=SINCE_MS)
    world.now_ms = 100_000
    world.performed.clear()
    return world, attempt_of(world.claim, world), published.key_id


def audited(world, attempt, *, reap=False):
    return run(audit(attempt, reap=reap), world)


def foreign(key_id="stranger", **changes):
    return replace(VenueKey(key_id, "my laptop", frozenset({"read", "write"})), **changes)


def test_nothing_is_clean():
    world, attempt, _ = trading()
    found = audited(world, attempt)
    assert (found.reason, found.key_ids) == (Reason.DONE, ())
    assert set(found.counts.values()) == {0}


def test_a_rotation_under_way_is_clean():
    world, attempt, _ = trading()
    world.keys["g2"] = own_key("g2", 3, attempt.nonce, generation=2)
    assert audited(world, attempt).reason is Reason.DONE


KEYS = {
    Reason.STALE_KEYS: own_key("bad", 1, "nonce0001"),
    Reason.UNKNOWN_HISTORY: own_key("bad", 1, "nonce9999"),
    Reason.HIGHER_EPOCH: own_key("bad", 7, "nonce0002"),
    Reason.CONFLICT: foreign("bad"),
}


@pytest.mark.parametrize("reap", [False, True])
@pytest.mark.parametrize("reason", KEYS)
def test_each_kind_of_key_is_found_and_only_a_stale_one_is_ever_deleted(reason, reap):
    world, attempt, used = trading()
    world.keys["bad"] = KEYS[reason]
    found = audited(world, attempt, reap=reap)
    if reap and reason is Reason.STALE_KEYS:
        assert (found.reason, found.counts["keysReaped"]) == (Reason.DONE, 1)
        assert "bad" not in world.keys
    else:
        assert found.reason is reason
        assert found.key_ids == (("bad",) if reason is not Reason.HIGHER_EPOCH else ())
        assert "bad" in world.keys
        assert not any(isinstance(command, DeleteKey) for command in world.performed)
    assert used in world.keys


def test_an_unknown_nonce_above_the_epoch_is_unknown_history():
    world, attempt, _ = trading()
    world.keys["bad"] = own_key("bad", 9, "nonce9999")
    assert audited(world, attempt).reason is Reason.UNKNOWN_HISTORY


def test_the_gravest_is_the_reason_and_all_are_counted():
    world, attempt, _ = trading()
    for number, key in enumerate(KEYS.values()):
        world.keys[f"bad-{number}"] = replace(key, key_id=f"bad-{number}")
    world.orders.append(order(f"s{OURS}-2-1a-1", resting=False, created_ms=SINCE_MS + 1))
    found = audited(world, attempt)
    assert found.reason is Reason.FOREIGN_ORDERS
    assert {name: n for name, n in found.counts.items() if n} == {
        "staleKeys": 1,
        "unknownKeys": 1,
        "threateningKeys": 1,
        "ordersOfOtherEpochs": 1,
        "highestEpoch": 7,
    }


ORDERS = {
    "ours of this epoch": (f"s{OURS}-3-1a-1", SINCE_MS + 1, {}),
    "ours of an older epoch, from before": (f"s{OURS}-2-1a-1", SINCE_MS - 1, {}),
    "somebody's, from before": ("by hand", SINCE_MS - 1, {}),
    "ours of an older epoch": (f"s{OURS}-2-1a-1", SINCE_MS, {"ordersOfOtherEpochs": 1}),
    "ours of a later epoch": (f"s{OURS}-4-1a-1", SINCE_MS, {"ordersOfOtherEpochs": 1}),
    "somebody's": ("by hand", SINCE_MS, {"foreignOrders": 1}),
    "somebody's, nobody knows when": ("by hand", None, {"foreignOrders": 1}),
}


@pytest.mark.parametrize("name", ORDERS)
def test_orders_since_the_epoch_is_active_are_judged(name):
    world, attempt, _ = trading()
    client_order_id, created_ms, expected = ORDERS[name]
    world.orders.append(order(client_order_id, resting=False, created_ms=created_ms))
    found = audited(world, attempt)
    assert found.reason is (Reason.FOREIGN_ORDERS if expected else Reason.DONE)
    assert {kind: n for kind, n in found.counts.items() if n} == expected


@pytest.mark.parametrize(("epoch", "counted"), [(2, 0), (4, 1)])
def test_a_tombstone_of_an_older_epoch_is_our_own_engines(epoch, counted):
    """After a takeover that kept the journal, the engine uses up the ids of its predecessor."""
    world, attempt, _ = trading()
    sent = order(f"s{OURS}-{epoch}-1a-1", resting=False, created_ms=SINCE_MS + 1)
    world.orders.append(replace(sent, tombstone=True))
    assert audited(world, attempt).counts["ordersOfOtherEpochs"] == counted


def test_another_marker_is_found():
    world, attempt, _ = trading()
    world.claim = replace(world.claim, identity=marker_identity("m"))
    world.keys["other"] = VenueKey("other", marker_key_name("abc123"), frozenset(MARKER_SCOPES))
    found = audited(world, attempt)
    assert (found.reason, found.key_ids) == (Reason.IDENTITY_AMBIGUOUS, ("other",))


def test_a_claim_that_is_not_active_is_left_alone():
    world, attempt, _ = trading()
    world.claim = replace(world.claim, phase="Fencing")
    world.keys["bad"] = KEYS[Reason.STALE_KEYS]
    found = audited(world, attempt, reap=True)
    assert found.skipped
    assert "bad" in world.keys


@pytest.mark.parametrize("kind", [ListKeys, ListOrders, ReadClaim])
def test_could_not_look_is_not_clean(kind):
    world, attempt, _ = trading()

    def before(_, command):
        if isinstance(command, kind):
            raise NoAnswerError(Reason.VENUE_UNREACHABLE, "no answer")

    world.before = before
    with pytest.raises(FenceError, match="no answer"):
        audited(world, attempt)


def test_the_claim_is_read_again_before_each_delete():
    world, attempt, _ = trading()
    for number in range(3):
        world.keys[f"stale-{number}"] = own_key(f"stale-{number}", 1, "nonce0001")

    def before(world, command):
        if isinstance(command, ReadClaim) and sum(isinstance(c, DeleteKey) for c in world.performed) == 2:
            world.claim = opened(world.claim) if world.claim.epoch == attempt.epoch else world.claim

    world.before = before
    with pytest.raises(FenceError) as caught:
        audited(world, attempt, reap=True)
    assert caught.value.reason is Reason.CLAIM_MOVED
    assert [key_id for key_id in world.keys if key_id.startswith("stale")] == ["stale-2"]
    looks = [type(c) for c in world.performed if type(c).__name__ != "Now"]
    for index, kind in enumerate(looks):
        if kind is DeleteKey:
            assert looks[index - 1] is ReadClaim


def test_a_finding_means_nothing_once_another_attempt_is_open():
    world, attempt, _ = trading()
    world.keys["bad"] = foreign()

    def before(world, command):
        if isinstance(command, ListOrders):
            world.claim = opened(world.claim)

    world.before = before
    with pytest.raises(FenceError) as caught:
        audited(world, attempt)
    assert caught.value.reason is Reason.CLAIM_MOVED
