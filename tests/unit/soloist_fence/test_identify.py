"""P0, step by step, and with two processes interleaved at every command."""

from collections import Counter
from dataclasses import replace

import pytest
from soloist_fence import identify as identify_module
from soloist_fence.api import MARKER_SCOPES, Reason, VenueKey, marker_key_name, marker_key_nonce
from soloist_fence.commands import DeleteKey, GenerateKey, ListKeys, Now, Sleep
from soloist_fence.errors import FenceError, NotPermittedError
from soloist_fence.identify import SETTLE_MS, Inquiry, identify
from soloist_fence.names import marker_nonce

from tests.unit.soloist_fence.fence_world import MANAGEMENT_KEY, World, lose_reply_of, opened, run

ASKED = Inquiry(
    nonce="nonce0001",
    static=False,
    bound=None,
    key_id=MANAGEMENT_KEY.key_id,
    key_type="ed25519",
    key_list_lag_ms=0,
    deadline_ms=60_000,
)
STATIC = replace(ASKED, static=True, key_id="static")


MADE_AT_0 = marker_nonce(0, "nonce0009")


def marker(key_id, nonce=MADE_AT_0):
    return VenueKey(key_id, marker_key_name(nonce), frozenset(MARKER_SCOPES))


def markers(world):
    return sorted(key.key_id for key in world.keys.values() if marker_key_nonce(key.name) is not None)


def account(*marker_ids):
    world = World(opened())
    world.keys.update({key_id: marker(key_id) for key_id in marker_ids})
    return world


def refused(world, inquiry=ASKED):
    with pytest.raises(FenceError) as caught:
        run(identify(inquiry), world)
    return caught.value


def test_without_a_marker_one_is_made_that_can_do_nothing():
    world = account()
    found = run(identify(ASKED), world)
    assert (found.identity, found.made) == (f"marker:{found.marker_id}", True)
    made = world.keys[found.marker_id]
    assert made.name == "soloist-account/00000000fnonce0001", "made at 15 ms"
    assert made.scopes == {"read::portfolio_balance"}
    assert made.subaccount is None


def test_one_marker_is_adopted_after_its_maker_had_time_to_think():
    world = account("m")
    found = run(identify(ASKED), world)
    assert (found.identity, found.made) == ("marker:m", False)
    waited_ms = sum(command.duration_ms for command in world.performed if isinstance(command, Sleep))
    assert waited_ms + 1_000 > SETTLE_MS


def test_a_marker_of_old_is_adopted_at_once():
    world = account("m")
    world.now_ms = SETTLE_MS
    assert run(identify(ASKED), world).identity == "marker:m"
    assert not any(isinstance(command, Sleep) for command in world.performed)


def test_a_marker_that_claims_to_come_from_the_future_has_to_wait():
    world = account()
    world.keys["m"] = marker("m", marker_nonce(10**9, "nonce0009"))
    error = refused(world)
    assert error.reason is Reason.IDENTITY_AMBIGUOUS
    assert markers(world) == ["m"]


def test_a_marker_that_vanishes_meanwhile_is_not_adopted():
    world = account("m")

    def before(world, command):
        if isinstance(command, Sleep):
            world.venue.delete("m")

    world.before = before
    found = run(identify(ASKED), world)
    assert found.made
    assert markers(world) == [found.marker_id]


def test_who_is_not_alone_deletes_its_own_and_starts_over():
    world = account()

    def before(world, command):
        if isinstance(command, GenerateKey):
            world.keys["rival"] = marker("rival")

    world.before = before
    found = run(identify(ASKED), world)
    assert (found.identity, found.made) == ("marker:rival", False)
    assert markers(world) == ["rival"]


def test_two_markers_that_stay_are_for_a_person():
    world = account("one", "two")
    error = refused(world)
    assert (error.reason, error.key_ids) == (Reason.IDENTITY_AMBIGUOUS, ("one", "two"))
    assert markers(world) == ["one", "two"], "nothing of somebody else is deleted"
    assert world.now_ms >= ASKED.deadline_ms, "a rival may be about to delete its own"


@pytest.mark.parametrize("ids", [(), ("other",), ("m", "other")])
def test_a_bound_account_makes_and_deletes_nothing(ids):
    world = account(*ids)
    error = refused(world, replace(ASKED, bound="marker:m"))
    assert error.reason is Reason.IDENTITY_AMBIGUOUS
    assert "marker m" in error.message
    assert [type(command) for command in world.performed] == [ListKeys]


def test_a_bound_account_is_confirmed():
    assert run(identify(replace(ASKED, bound="marker:m")), account("m")).identity == "marker:m"


def test_an_account_bound_by_its_key_has_nothing_to_compare_with():
    with pytest.raises(StopIteration) as stopped:
        next(identify(replace(STATIC, bound="key:old")))
    assert (stopped.value.value.identity, stopped.value.value.marker_id) == ("key:old", None)


@pytest.mark.parametrize("kind", [ListKeys, GenerateKey])
def test_a_static_key_without_the_right_names_the_account_by_itself(kind):
    def before(_, command):
        if isinstance(command, kind):
            raise NotPermittedError("403", field=None)

    world = account()
    world.before = before
    assert run(identify(STATIC), world).identity == "key:static"
    assert refused(world).reason is Reason.MANAGEMENT_KEY_REJECTED, "a management key never does"


def test_a_static_key_that_the_venue_refuses_names_nothing():
    def before(_, command):
        raise FenceError(Reason.MANAGEMENT_KEY_REJECTED, "401")

    world = account()
    world.before = before
    assert refused(world, STATIC).reason is Reason.MANAGEMENT_KEY_REJECTED


@pytest.mark.parametrize("done", [True, False])
@pytest.mark.parametrize("kind", [GenerateKey, ListKeys, DeleteKey])
def test_a_lost_reply_leaves_no_marker_that_nobody_adopted(kind, done):
    world = account()
    rivals = iter(["rival"] if kind is DeleteKey else [])
    lost = lose_reply_of(kind, done=done)

    def before(world, command):
        if isinstance(command, GenerateKey):
            world.keys.update({rival: marker(rival) for rival in rivals})
        if kind is not ListKeys or world.made:
            lost(world, command)

    world.before = before
    error = refused(world)
    assert error.reason is Reason.VENUE_UNREACHABLE
    left = markers(world)
    assert left in ([], ["rival"], ["key-1", "rival"]), left
    if kind is not DeleteKey:
        assert left == []


def interleaved(schedule):
    """Two inquiries on one account; each number of the schedule says whose next command is performed.

    The last look at the clock and the delete after it are one turn: a pause between them is what a takeover catches.
    """
    world = account()
    machines = [identify(ASKED), identify(replace(ASKED, nonce="nonce0002"))]
    commands = [next(machine) for machine in machines]
    results = [None, None]
    wanted = iter(schedule)
    while any(command is not None for command in commands):
        turn = next(wanted, 0)
        turn = turn if commands[turn] is not None else 1 - turn
        try:
            looked = isinstance(commands[turn], Now)
            commands[turn] = machines[turn].send(world.perform(commands[turn]))
            if looked and isinstance(commands[turn], DeleteKey):
                commands[turn] = machines[turn].send(world.perform(commands[turn]))
        except StopIteration as stop:
            results[turn], commands[turn] = stop.value, None
        except FenceError:
            commands[turn] = None
    return world, results


def every_interleaving():
    """How many names were told, over all orders of the first twelve commands of two processes."""
    told = Counter()
    for number in range(2**12):
        world, results = interleaved([number >> bit & 1 for bit in range(12)])
        identities = {result.identity for result in results if result is not None}
        can_arm = {name for name in identities if [name.removeprefix("marker:")] == markers(world)}
        assert len(can_arm) <= 1, (number, identities)
        told[len(identities)] += 1
    return told


@pytest.mark.timeout(60)
def test_two_at_once_are_told_one_name():
    told = every_interleaving()
    assert told[2] == 0, told
    assert told[1] > 4_000, told


@pytest.mark.timeout(60)
@pytest.mark.parametrize("rule", ["OWN_MS", "SETTLE_MS"])
def test_without_the_two_times_somebody_adopts_what_is_deleted_next(rule, monkeypatch):
    monkeypatch.setattr(identify_module, rule, 10**9 if rule == "OWN_MS" else 0)
    assert every_interleaving()[2] > 0
