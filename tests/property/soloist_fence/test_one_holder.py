"""One holder, whatever is interleaved, paused or killed: the machines of two clusters on one account.

Hypothesis draws a schedule: which fence makes its next step, which one dies (with its last request done or not), which
one is given up by its operator while it goes on as a zombie. After every step the invariants hold; at the end, one
undisturbed takeover ends with exactly one accepted key, the published one.

Each safety rule is then switched off, and the same property has to fail: a test that cannot fail proves nothing.
"""

from __future__ import annotations

import contextlib
from collections.abc import Generator
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from soloist_fence import attempt as attempt_module
from soloist_fence import takeover as takeover_module
from soloist_fence.api import parse_venue_key_name
from soloist_fence.attempt import Attempt
from soloist_fence.commands import (
    Command,
    CreateSecret,
    DeleteKey,
    DeleteSecret,
    GenerateKey,
    Now,
    ReadClaim,
)
from soloist_fence.errors import FenceError
from soloist_fence.takeover import takeover

from tests.unit.soloist_fence.fence_world import (
    BOT,
    CLAIM,
    CLUSTER_ID,
    Venue,
    World,
    armed,
    attempt_of,
    opened,
    own_key,
    run,
)

OTHER_CLUSTER_ID = "6f0c5b7e-0000-4000-8000-000000000002"
ATTEMPTS_PER_CLUSTER = 4


@dataclass
class Fence:
    """One attempt under way in one cluster."""

    world: World
    attempt: Attempt
    machine: Generator[Command[Any], Any, Any]
    command: Command[Any] | None
    last: type[Command[Any]] | None = None
    own_keys: set[str] = field(default_factory=set)


class Account:
    """Two clusters whose bots reach one account, and everything that was ever published."""

    def __init__(self) -> None:
        self.venue = Venue()
        idle = opened()
        self.worlds = [World(idle, self.venue, CLUSTER_ID), World(idle, self.venue, OTHER_CLUSTER_ID)]
        self.attempts = [0, 0]
        self.fences: list[Fence] = []
        self.ever_published: set[str] = set()

    def open(self, cluster: int) -> None:
        """The operator of a cluster starts its next attempt; an older one that still runs becomes a zombie."""
        if self.attempts[cluster] >= ATTEMPTS_PER_CLUSTER:
            return
        world = self.worlds[cluster]
        if self.attempts[cluster]:
            world.claim = opened(world.claim)
        self.attempts[cluster] += 1
        attempt = attempt_of(world.claim, world)
        machine = takeover(attempt, BOT)
        self.fences.append(Fence(world, attempt, machine, next(machine)))

    def step(self, fence: Fence) -> None:
        """Perform one command of a fence and check the invariants."""
        command = fence.command
        if command is None:
            return
        self.check_before(fence, command)
        try:
            reply = fence.world.perform(command)
            if isinstance(command, GenerateKey):
                fence.own_keys.add(reply.key_id)
            if not isinstance(command, Now):
                fence.last = type(command)
            self.check_after()
            fence.command = fence.machine.send(reply)
        except FenceError as error:
            self.throw(fence, error)
        except StopIteration as stop:
            fence.command = None
            if (fence.world.claim.epoch, fence.world.claim.nonce) == (
                fence.attempt.epoch,
                fence.attempt.nonce,
            ):
                armed(fence.world, fence.attempt, stop.value.key_id)

    def throw(self, fence: Fence, error: FenceError) -> None:
        try:
            fence.command = fence.machine.throw(error)
        except FenceError:
            fence.command = None

    def kill(self, fence: Fence, *, done: bool) -> None:
        """The process is gone; its last request may have been done."""
        if fence.command is not None and done:
            self.check_before(fence, fence.command)
            with contextlib.suppress(FenceError):
                fence.world.perform(fence.command)
            self.check_after()
        fence.machine.close()
        fence.command = None

    def check_before(self, fence: Fence, command: Command[Any]) -> None:
        """I7: no destructive call without a fresh look at the claim; no key deleted whose nonce was never issued."""
        destructive = isinstance(command, DeleteSecret | GenerateKey | CreateSecret)
        if isinstance(command, DeleteKey) and command.key_id not in fence.own_keys:
            destructive = True
            listed = self.venue.keys.get(command.key_id)
            name = listed and parse_venue_key_name(listed.name)
            if listed is not None:
                assert name is not None, f"a key that is not ours is deleted: {listed}"
                assert name.claim == CLAIM
                assert name.cluster_id == fence.attempt.cluster_id
                assert name.nonce in fence.world.claim.nonces, f"a nonce that was never issued: {listed}"
        if destructive and not (isinstance(command, DeleteSecret) and fence.last is CreateSecret):
            assert fence.last is ReadClaim, f"{type(command).__name__} without a look at the claim"

    def check_after(self) -> None:
        """I2: of all keys that any engine ever may have received, at most one is accepted."""
        for world in self.worlds:
            self.ever_published |= world.published()
        holders = self.ever_published & self.worlds[0].accepted()
        assert len(holders) <= 1, f"two holders: {sorted(holders)}"


ACTIONS = st.sampled_from(["step"] * 3 + ["burst"] * 5 + ["open", "kill done", "kill not done"])
SCHEDULES = st.lists(st.tuples(ACTIONS, st.integers(0, 7), st.integers(1, 25)), max_size=25)


def play(schedule: list[tuple[str, int, int]]) -> Account:
    """Carry out a schedule, then let one cluster take over undisturbed."""
    account = Account()
    account.open(0)
    account.open(1)
    for action, choice, length in schedule:
        alive = [fence for fence in account.fences if fence.command is not None]
        if action == "open" or not alive:
            account.open(choice % 2)
            continue
        fence = alive[choice % len(alive)]
        if action.startswith("kill"):
            account.kill(fence, done=action == "kill done")
            continue
        for _ in range(1 if action == "step" else length):
            account.step(fence)
    return account


def settle(account: Account) -> None:
    """Kill whoever still runs, release the second cluster as its owner would, take over in the first."""
    for fence in account.fences:
        account.kill(fence, done=False)
    for key_id, key in list(account.venue.keys.items()):
        name = parse_venue_key_name(key.name)
        if name is not None and name.cluster_id == OTHER_CLUSTER_ID:
            account.venue.deleted_ms[key_id] = account.venue.now_ms
            del account.venue.keys[key_id]
    account.attempts[0] = 0
    world = account.worlds[0]
    world.claim = opened(world.claim)
    published = run(takeover(attempt_of(world.claim, world), BOT), world)
    account.check_after()
    assert world.accepted() == world.published() == {published.key_id}


FAST = settings(
    max_examples=2_000,
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)


@FAST
@given(SCHEDULES)
def test_one_holder(schedule):
    account = play(schedule)
    settle(account)


@pytest.mark.parametrize("lost", [False, True], ids=["not done", "done"])
def test_a_crash_at_every_command_of_a_takeover_is_repaired_by_the_next_epoch(lost):
    crash_at = 0
    while True:
        world = World(opened())
        first = run(takeover(attempt_of(world.claim, world), BOT), world)
        armed(world, attempt_of(world.claim, world), first.key_id)
        world.claim = opened(world.claim)
        finished = run(takeover(attempt_of(world.claim, world), BOT), world, crash_at=crash_at, lost=lost)
        world.claim = opened(world.claim)
        published = run(takeover(attempt_of(world.claim, world), BOT), world)
        assert world.accepted() == world.published() == {published.key_id}, f"crash at command {crash_at}"
        if finished is not None:
            break
        crash_at += 1
    assert crash_at > 20, "every command was reached"


# ------------------------------------------------------------------------------- the same, with one rule switched off


def no_sole_key_check(*_):
    return None


def no_wait(attempt, verified_ms):
    return ()
    yield


def publish_at_once(attempt):
    """Mutation: the key is published right after it was made."""
    key, restricted_to = yield from takeover_module.original_create(attempt)
    yield from takeover_module.original_publish(attempt, key)
    return key, restricted_to


def publish_nothing(attempt, key):
    return
    yield


def never_look_at_the_claim(attempt):
    return World(opened()).claim
    yield


MUTATIONS = {
    "no sole-key check": {"sole": no_sole_key_check},
    "no wait for D_rev": {"quiesce": no_wait},
    "publish before verify": {"create": publish_at_once, "publish": publish_nothing},
    "claim not re-read": {"still_ours": never_look_at_the_claim},
}


@pytest.mark.parametrize("name", MUTATIONS)
def test_the_property_fails_without(name, monkeypatch):
    monkeypatch.setattr(takeover_module, "original_create", takeover_module.create, raising=False)
    monkeypatch.setattr(takeover_module, "original_publish", takeover_module.publish, raising=False)
    for function, mutant in MUTATIONS[name].items():
        monkeypatch.setattr(takeover_module, function, mutant)

    @settings(FAST, report_multiple_bugs=False)
    @given(SCHEDULES)
    def mutated(schedule):
        play(schedule)

    with pytest.raises(AssertionError, match=r"two holders|without a look"):
        mutated()


def restored_backup(*, nonce_check: bool, monkeypatch) -> None:
    """A key of a claim that was restored from an older backup: its nonce is not in the history any more."""
    if not nonce_check:
        monkeypatch.setattr(takeover_module, "unknown_nonces", lambda *_: [])
    account = Account()
    account.venue.keys["restored"] = own_key("restored", 1, "nonce9999")
    account.worlds[0].claim = opened(account.worlds[0].claim)
    account.open(0)
    for _ in range(200):
        account.step(account.fences[0])
    assert "restored" in account.venue.keys
    assert account.ever_published == set()


def test_a_key_of_unknown_history_is_left_to_a_person(monkeypatch):
    restored_backup(nonce_check=True, monkeypatch=monkeypatch)


def test_without_the_nonce_check_it_would_be_destroyed(monkeypatch):
    with pytest.raises(AssertionError, match="never issued"):
        restored_backup(nonce_check=False, monkeypatch=monkeypatch)


def test_the_deadline_is_part_of_the_look(monkeypatch):
    world = World(opened())
    attempt = attempt_of(world.claim, world)
    world.now_ms = attempt.deadline_ms
    with pytest.raises(FenceError, match="deadline"):
        run(attempt_module.still_ours(attempt), world)
