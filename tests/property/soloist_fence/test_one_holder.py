"""One holder, whatever is interleaved, paused, killed or answered wrongly: a state machine over the fence's own machines.

Two clusters share an account. Each may name it (identify), take it over, rotate its key, audit and release it, several of
these at once; a person makes keys by hand, and names some of them as to be revoked; any of them may stop for good at any command, with the request done or not, or get no usable answer to it; the venue
revokes late and lists late; engines that nobody stopped go on sending. The invariants are in `account`. At the end one
undisturbed takeover leaves exactly one accepted key, the published one.

Each safety rule is then switched off, and the same machine has to fail: a test that cannot fail proves nothing.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    precondition,
    rule,
    run_state_machine_as_test,
)
from soloist_fence import attempt as attempt_module
from soloist_fence import quiesce as quiesce_module
from soloist_fence import release as release_module
from soloist_fence import takeover as takeover_module
from soloist_fence.api import Reason, parse_venue_key_name
from soloist_fence.commands import CreateSecret, DeleteKey, GenerateKey, ListKeys, Now, OrderGroup
from soloist_fence.errors import FenceError
from soloist_fence.quiesce import Quiet
from soloist_fence.takeover import takeover

from tests.property.soloist_fence.account import OTHER_CLUSTER_ID, OURS, Account, named_account
from tests.unit.soloist_fence.fence_world import (
    BOT,
    World,
    armed,
    attempt_of,
    opened,
    order,
    own_key,
    run,
)

CLUSTERS = st.integers(0, 1)
WHICH = st.integers(0, 7)
LATE_MS = st.sampled_from([0, 400, 1_000])
STALE_MS = st.sampled_from([0, 0, 2_000])
BEHIND_MS = st.sampled_from([0, 0, 1_500])
LANDMARKS = st.sampled_from([GenerateKey, CreateSecret, DeleteKey, ListKeys])
LONGEST_RUN = 80


class OneHolder(RuleBasedStateMachine):
    """Whatever may happen to one account, in any order."""

    account: Account

    @initialize(
        named=st.booleans(), revocation_ms=LATE_MS, key_list_lag_ms=STALE_MS, read_model_lag_ms=BEHIND_MS
    )
    def begin(self, named, **faults):
        build = named_account if named else Account
        self.account = build(**faults)
        for cluster in (0, 1):
            self.account.name(cluster)
            self.account.open(cluster)

    def fence(self, which):
        alive = self.account.alive()
        return alive[which % len(alive)]

    @rule(cluster=CLUSTERS)
    def open(self, cluster):
        self.account.open(cluster)

    @rule(cluster=CLUSTERS)
    def rotate(self, cluster):
        self.account.rotate(cluster)

    @rule(cluster=CLUSTERS)
    def release(self, cluster):
        self.account.release(cluster)

    @rule(cluster=CLUSTERS, named=st.booleans())
    def make_a_foreign_key(self, cluster, named):
        self.account.make_a_foreign_key(cluster, named=named)

    @rule(cluster=CLUSTERS)
    def audit(self, cluster):
        self.account.audit(cluster)

    @precondition(lambda self: self.account.alive())
    @rule(which=WHICH, steps=st.integers(1, 25))
    def run(self, which, steps):
        fence = self.fence(which)
        for _ in range(steps):
            self.account.step(fence)

    @precondition(lambda self: self.account.alive())
    @rule(which=WHICH, landmark=LANDMARKS, past=st.booleans())
    def run_to(self, which, landmark, past):
        """To the next command of a kind, and past it or not: where the interesting pauses are."""
        fence = self.fence(which)
        for _ in range(LONGEST_RUN):
            if fence.command is None or isinstance(fence.command, landmark):
                break
            self.account.step(fence)
        if past:
            self.account.step(fence)

    @precondition(lambda self: self.account.alive())
    @rule(which=WHICH)
    def run_to_the_end(self, which):
        fence = self.fence(which)
        for _ in range(LONGEST_RUN):
            self.account.step(fence)

    @precondition(lambda self: self.account.alive())
    @rule(which=WHICH, done=st.booleans())
    def kill(self, which, done):
        self.account.kill(self.fence(which), done=done)

    @precondition(lambda self: self.account.alive())
    @rule(which=WHICH, done=st.booleans())
    def lose_the_reply(self, which, done):
        self.account.lose(self.fence(which), done=done)

    @precondition(lambda self: self.account.pods)
    @rule(which=WHICH)
    def trade(self, which):
        self.account.trade(self.account.pods[which % len(self.account.pods)])

    @rule(ms=st.sampled_from([100, 900, 5_000]))
    def let_time_pass(self, ms):
        self.account.venue.now_ms += ms

    def teardown(self):
        if hasattr(self, "account"):
            settle(self.account)


def settle(account: Account) -> None:
    """Kill whoever still runs, release the second cluster as its owner would, take over in the first."""
    for fence in account.fences:
        account.kill(fence, done=False)
    for key_id, key in list(account.venue.keys.items()):
        name = parse_venue_key_name(key.name)
        if name is not None and name.cluster_id == OTHER_CLUSTER_ID:
            account.venue.delete(key_id)
    markers = [
        key_id for key_id, key in account.venue.keys.items() if key.name.startswith("soloist-account/")
    ]
    world = account.worlds[0]
    bound = None if not markers else f"marker:{markers[0]}"
    for extra in markers[1:]:
        account.venue.delete(extra)  # what the message of IdentityAmbiguous asks a person for
    for key_id in account.foreign:
        account.venue.delete(key_id)  # what the message of Conflict asks a person for
    account.venue.now_ms += 10_000
    world.claim = replace(world.claim, identity=bound)
    attempt, published = converge(account, world)
    account.check_after()
    account.check_quiet(attempt)
    assert world.accepted() == world.published() == {published.key_id}


def converge(account, world, above=0):
    """Undisturbed attempts as the operator makes them; the other cluster's orders carry this claim's name, perhaps higher epochs."""
    world.claim = opened(world.claim, at_least=above + 1)
    attempt = attempt_of(world.claim, world, key_list_lag_ms=account.venue.key_list_lag_ms)
    try:
        return attempt, run(takeover(attempt, BOT), world)
    except FenceError as error:
        if error.reason is not Reason.HIGHER_EPOCH or above:
            raise
        reported = error.counts["highestEpoch"]
    return converge(account, world, above=reported)


FAST = settings(
    max_examples=120,
    stateful_step_count=25,
    derandomize=True,
    database=None,
    deadline=None,
    report_multiple_bugs=False,
    suppress_health_check=list(HealthCheck),
)
# A mutation has only to be found, not to be made small.
FIND = settings(FAST, max_examples=5_000, phases=[Phase.generate])


@pytest.mark.timeout(300)
def test_one_holder():
    run_state_machine_as_test(OneHolder, settings=FAST)


# ------------------------------------------------------------------------------- the same, with one rule switched off


def no_sole_key_check(*_):
    return None


def no_wait(_attempt, _verified_ms):
    return Quiet(0, 0, 0, 0)
    yield


def check_before_create(attempt):
    """Mutation: the listing that must show nobody else comes before our key exists."""
    claim = yield from attempt_module.still_ours(attempt)
    keys = yield from ListKeys().ask()
    takeover_module.judge(attempt, claim, keys, ())
    return (yield from ORIGINAL["create"](attempt))


def believe(_attempt, _key, _restricted_to):
    return (yield from Now().ask())


def publish_before_wait(attempt, key):
    yield from ORIGINAL["publish"](attempt, key)
    yield from ORIGINAL["quiesce"](attempt, (yield from Now().ask()))


def sweep_nothing(_attempt, _bot):
    return takeover_module.Sweep((), ())
    yield


def sweep_last(attempt, key):
    yield from ORIGINAL["publish"](attempt, key)
    yield from ORIGINAL["sweep"](attempt, BOT)


def never_look_at_the_claim(_attempt):
    return World(opened()).claim
    yield


def take_all_for_named(attempt, _claim, keys, _orders):
    ours = {key.key_id: key for key, _ in attempt.of_this_claim(keys)}
    return takeover_module.Judgement(
        tuple(ours.values()),
        tuple(key for key in keys if key.key_id not in ours and attempt.threat(key, subaccount=None)),
    )


def revoke_unasked(attempt, keys):
    for key in keys:
        yield from attempt_module.still_ours(attempt)
        yield from DeleteKey(key.key_id).ask()


ORIGINAL = {
    name: getattr(takeover_module, name) for name in ("create", "publish", "quiesce", "sweep", "verify")
}
MUTATIONS = {
    "no sole-key check": ({"sole": no_sole_key_check}, "I2"),
    "no wait for D_rev": ({"quiesce": no_wait}, "I2|I3|I5"),
    "check before create": ({"create": check_before_create, "verify": believe}, "I2"),
    "publish before wait": ({"quiesce": no_wait, "publish": publish_before_wait}, "I2|I5"),
    "sweep last": ({"sweep": sweep_nothing, "verify": believe, "publish": sweep_last}, "I2"),
    "claim not re-read": ({"still_ours": never_look_at_the_claim}, "without a look"),
}


@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", MUTATIONS)
def test_the_machine_fails_with(name, monkeypatch):
    mutants, said = MUTATIONS[name]
    for function, mutant in mutants.items():
        monkeypatch.setattr(takeover_module, function, mutant)
    must_fail(said)


@pytest.mark.timeout(300)
def test_the_machine_fails_with_a_release_that_does_not_wait(monkeypatch):
    monkeypatch.setattr(release_module, "quiesce", no_wait)
    must_fail("still accepted|I5")


@pytest.mark.timeout(300)
def test_the_machine_fails_when_every_foreign_key_is_revoked(monkeypatch):
    monkeypatch.setattr(takeover_module, "judge", take_all_for_named)
    monkeypatch.setattr(takeover_module, "revoke_named", revoke_unasked)
    must_fail("not ours")


def must_fail(said):
    class Mutated(OneHolder):
        def teardown(self):
            """The end is not what is looked for."""

    with pytest.raises(AssertionError, match=said):
        run_state_machine_as_test(Mutated, settings=FIND)


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
    assert account.published == {}


def test_a_key_of_unknown_history_is_left_to_a_person(monkeypatch):
    restored_backup(nonce_check=True, monkeypatch=monkeypatch)


def test_without_the_nonce_check_it_would_be_destroyed(monkeypatch):
    with pytest.raises(AssertionError, match="never issued"):
        restored_backup(nonce_check=False, monkeypatch=monkeypatch)


def higher_orders_elsewhere() -> Account:
    """One cluster traded in epoch 2 and died after its next sweep; the other one, in its first epoch, sees orders and no key."""
    account = named_account()
    for epoch in (1, 2):
        account.open(0)
        run_while(account, lambda fence: fence.command is not None)
        account.trade(account.pods[-1])
        assert account.newest_epoch == epoch
    account.worlds[0].orders[:] = [replace(sent, resting=False) for sent in account.worlds[0].orders]
    account.open(0)
    run_while(account, lambda fence: not isinstance(fence.command, GenerateKey))
    account.kill(account.fences[-1], done=False)
    account.venue.now_ms += 5_000
    account.open(1)
    run_while(account, lambda fence: fence.command is not None)
    account.trade(account.pods[-1])
    return account


def run_while(account, goes_on):
    fence = account.fences[-1]
    for _ in range(200):
        if goes_on(fence):
            account.step(fence)
    assert not goes_on(fence)


def test_an_epoch_below_orders_that_were_sent_is_never_armed():
    assert [pod.cluster for pod in higher_orders_elsewhere().pods] == [0, 0]


def test_without_a_look_at_the_orders_their_epochs_would_go_down(monkeypatch):
    for module in (takeover_module, quiesce_module):
        monkeypatch.setattr(module, "highest_sent", lambda *_: 0)
    with pytest.raises(AssertionError, match="I1"):
        higher_orders_elsewhere()


def test_the_deadline_is_part_of_the_look(monkeypatch):
    world = World(opened())
    attempt = attempt_of(world.claim, world)
    world.now_ms = attempt.deadline_ms
    with pytest.raises(FenceError, match="deadline"):
        run(attempt_module.still_ours(attempt), world)


# ------------------------------------------------------------------------------- a crash at every await


def second_takeover(crash_at=None, *, lost=False):
    """Epoch 1 trades and has an order resting; epoch 2 takes over and may be killed. Returns world and what it published."""
    world = World(opened())
    first = run(takeover(attempt_of(world.claim, world), BOT), world)
    armed(world, attempt_of(world.claim, world), first.key_id)
    world.orders.append(order(f"s{OURS}-1-1-1", resting=True))
    world.venue.groups["group"] = set()
    world.claim = opened(replace(world.claim, order_groups=(OrderGroup(1, "group"),)))
    return world, run(takeover(attempt_of(world.claim, world), BOT), world, crash_at=crash_at, lost=lost)


def points_and_outcomes(*, lost):
    """Kill a takeover at each of its commands, one run for each; count what it left and that the next attempt converges."""
    outcomes = Counter()
    for crash_at in range(1_000):
        world, finished = second_takeover(crash_at, lost=lost)
        left = len(world.accepted() & world.keys.keys()), len(world.published())
        world.claim = opened(world.claim)
        published = run(takeover(attempt_of(world.claim, world), BOT), world)
        assert world.accepted() == world.published() == {published.key_id}, f"crash at command {crash_at}"
        assert not any(o.resting for o in world.orders), f"crash at command {crash_at}"
        assert not world.venue.groups
        if finished is not None:
            return crash_at, outcomes
        outcomes[left] += 1
    raise AssertionError("a takeover has an end")


@pytest.mark.parametrize("lost", [False, True], ids=["not done", "done"])
def test_a_crash_at_every_command_of_a_takeover_is_repaired_by_the_next_epoch(lost, record_property):
    points, outcomes = points_and_outcomes(lost=lost)
    record_property("points", points)
    record_property("outcomes", str(dict(outcomes)))
    assert points == len(commands_of_a_takeover())
    assert sum(outcomes.values()) == points
    # (keys listed, keys published)
    assert set(outcomes) <= {(1, 1), (1, 0), (0, 0)}
    assert outcomes[0, 0] > 0
    assert outcomes[1, 0] > 0


def commands_of_a_takeover():
    world, published = second_takeover()
    assert published is not None
    second = next(i for i, c in enumerate(world.performed) if isinstance(c, CreateSecret))
    rest = world.performed[second + 1 :]
    return rest[rest.index(Now()) + 1 :]
