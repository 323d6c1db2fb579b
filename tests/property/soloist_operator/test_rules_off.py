"""Each safety rule of the operator is switched off in turn, and the world around it notices: a test that cannot fail proves nothing.

The rules of the fence alone are switched off in tests/property/soloist_fence, the order of the protocol in tests/model.
"""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Callable, Generator
from typing import Any

import pytest
from soloist_fence import takeover as fence_takeover
from soloist_fence.commands import Command, ReadClaim
from soloist_fence.errors import FenceError
from soloist_fence.quiesce import Quiet
from soloist_operator import claims, custody, kinds, relocation
from soloist_operator.apply import Writer
from soloist_operator.attempts import Attempt, AttemptMemory
from soloist_operator.custody import Custody
from soloist_operator.death import Proven
from soloist_operator.objects import Object, name_of
from soloist_operator.plan import SetFinalizer, SwapClaim
from soloist_operator.specs import engine

from tests.property.soloist_operator.crashes import (
    DIES,
    LONGEST_S,
    PAUSES,
    Play,
    Trouble,
    brought_up,
    ends_well,
    lost,
    play,
)
from tests.property.soloist_operator.fenced_cluster import KEY, FencedCluster
from tests.property.soloist_operator.operator_process import OperatorProcess
from tests.property.soloist_operator.test_crashes import LATEST_S


def undisturbed(cluster: FencedCluster) -> None:
    """From here to a bot that trades in the next epoch, with nothing in the operator's way."""
    playing = Play(cluster, Trouble(DIES, 0, done=False))

    async def to_the_end() -> None:
        await playing.until_it_trades()
        await playing.settle()

    asyncio.run(to_the_end())
    ends_well(cluster)


def node_is_lost() -> None:
    undisturbed(lost())


def pod_is_deleted_by_force() -> None:
    """The node is lost, its engine trades on, and somebody runs `kubectl delete pod --force`."""
    cluster = lost()
    cluster.nodes = ("node-2", "node-1")
    cluster.told_to_go(kinds.POD, KEY.namespace, f"{KEY.name}-0", by_force=True)
    undisturbed(cluster)


def bot_is_deleted() -> None:
    """`kubectl delete tradingbot`: when it is gone, nobody holds the account and no key of it is left."""
    cluster = brought_up()
    cluster.told_to_go(kinds.TRADING_BOT, KEY.namespace, KEY.name)
    asyncio.run(until_it_is_gone(cluster))
    claim = cluster.claim()
    assert claim is not None
    assert claims.holder_of(claim) is None
    assert cluster.account.secrets == {}
    assert cluster.engines == []


async def until_it_is_gone(cluster: FencedCluster) -> None:
    cluster.operator += 1
    operator = OperatorProcess(cluster, cluster.operator)
    for _ in range(LONGEST_S):
        cluster.tick()
        await operator.work()
        if not cluster.of(kinds.TRADING_BOT):
            return
    raise AssertionError(f"still there after {LONGEST_S} s")


def troubled(what: str) -> None:
    """The operator dies, or sleeps, around each write of a takeover, and at some reads."""
    scene = lost()
    calm = Trouble(what, 0, done=False)
    undisturbed_for_s = play(scene, calm)[0].seconds
    points = {(point - 1, False) for point in calm.writes} | {(point, True) for point in calm.writes}
    for point, done in sorted(points | {(point, False) for point in range(1, calm.seen, 5)}):
        cluster, _, _ = play(scene, Trouble(what, point, done=done))
        late_s = cluster.seconds - undisturbed_for_s
        assert what == PAUSES or late_s <= LATEST_S, f"{late_s:.0f} s late"


def operator_dies() -> None:
    troubled(DIES)


def operator_sleeps() -> None:
    troubled(PAUSES)


@pytest.mark.parametrize("scene", [node_is_lost, pod_is_deleted_by_force, bot_is_deleted])
def test_with_every_rule_all_goes_well(scene: Callable[[], None]) -> None:
    """`test_crashes` shows the same of an operator that dies or sleeps."""
    scene()


# ---------------------------------------------------------------------------------------------- the rules, off

Change = Callable[[pytest.MonkeyPatch], None]
SWAP, SET_FINALIZER = Writer._swap, Writer._set_finalizer
OPEN, CLOSE = AttemptMemory.open, AttemptMemory.close
STATEFUL_SET, GUARD = engine.stateful_set, custody.guard


def force_apply(monkeypatch: pytest.MonkeyPatch) -> None:
    """A claim is written over whatever it has become."""

    async def swap(self: Writer, action: SwapClaim) -> None:
        live = await self._cluster.get(kinds.ACCOUNT_CLAIM, None, name_of(action.body))
        body = copy.deepcopy(action.body)
        if live is not None:
            body["metadata"]["resourceVersion"] = live["metadata"]["resourceVersion"]
        await SWAP(self, SwapClaim(body, action.why, action.opens, action.closes, action.failed))

    monkeypatch.setattr(Writer, "_swap", swap)


def no_fence_finalizer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pods are made without the fence finalizer, and none is given one."""

    def stateful_set(*arguments: Any, **named: Any) -> Object:
        made = STATEFUL_SET(*arguments, **named)
        made["spec"]["template"]["metadata"]["finalizers"] = []
        return made

    def guard(*arguments: Any) -> Custody:
        found = GUARD(*arguments)
        kept = (a for a in found.actions if not (isinstance(a, SetFinalizer) and a.present))
        return Custody(tuple(kept), found.obstacle)

    monkeypatch.setattr(engine, "stateful_set", stateful_set)
    monkeypatch.setattr(custody, "guard", guard)


def no_bot_finalizer(monkeypatch: pytest.MonkeyPatch) -> None:
    """A TradingBot never gets our finalizer."""

    async def set_finalizer(self: Writer, action: SetFinalizer) -> None:
        if action.kind != kinds.TRADING_BOT:
            await SET_FINALIZER(self, action)

    monkeypatch.setattr(Writer, "_set_finalizer", set_finalizer)


def no_proof_of_death(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pod that is being deleted is taken for dead."""
    for module in (custody, relocation):
        monkeypatch.setattr(module, "proof_of_death", lambda *_: Proven("so it seems"))


def no_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """The key is published at once, without D_rev."""

    def quiesce(*_: Any) -> Generator[Command[Any], Any, Quiet]:
        return Quiet(0, 0, 0, 0)
        yield

    monkeypatch.setattr(fence_takeover, "quiesce", quiesce)


def no_stand_down(monkeypatch: pytest.MonkeyPatch) -> None:
    """A fence whose attempt is over goes on."""
    still_ours = fence_takeover.still_ours

    def go_on(attempt: Any) -> Generator[Command[Any], Any, Any]:
        try:
            return (yield from still_ours(attempt))
        except FenceError:
            return (yield from ReadClaim().ask())

    monkeypatch.setattr(fence_takeover, "still_ours", go_on)


def evidence_for_anybody(monkeypatch: pytest.MonkeyPatch) -> None:
    """An operator believes evidence of attempts that another process opened."""

    opened: set[Attempt] = set()

    def remember(self: AttemptMemory, attempt: Attempt, now_s: float) -> None:
        opened.add(attempt)
        OPEN(self, attempt, now_s)

    def forget(self: AttemptMemory, attempt: Attempt, *, failed: bool, now_s: float) -> None:
        opened.discard(attempt)
        CLOSE(self, attempt, failed=failed, now_s=now_s)

    monkeypatch.setattr(AttemptMemory, "open", remember)
    monkeypatch.setattr(AttemptMemory, "close", forget)
    monkeypatch.setattr(AttemptMemory, "is_open", lambda _, attempt: attempt in opened)


def nothing_on_record(monkeypatch: pytest.MonkeyPatch) -> None:
    """A new operator does not care which node its predecessor found silent."""
    monkeypatch.setattr(relocation, "found_silent", lambda _: frozenset())


RULES: dict[str, tuple[Change, Callable[[], None], str]] = {
    "compare-and-swap": (
        force_apply,
        operator_sleeps,
        "is opened twice|is followed by|another process opened",
    ),
    "fence finalizer": (no_fence_finalizer, pod_is_deleted_by_force, "two engines hold"),
    "proof of death": (no_proof_of_death, pod_is_deleted_by_force, "two engines hold"),
    "finalizer of the TradingBot": (no_bot_finalizer, bot_is_deleted, "the venue accepts its keys"),
    "wait for D_rev": (no_wait, node_is_lost, "have an accepted key|two engines hold"),
    "stand-down": (no_stand_down, operator_dies, "accepted key|two engines|left over|an order of epoch"),
    "evidence of one's own attempts": (evidence_for_anybody, operator_dies, "another process opened"),
    "predecessor's silent node": (nothing_on_record, operator_dies, "s late"),
}


@pytest.mark.parametrize("rule", RULES)
def test_without_one_rule_it_is_noticed(rule: str, monkeypatch: pytest.MonkeyPatch) -> None:
    switch_off, scene, said = RULES[rule]
    switch_off(monkeypatch)
    with pytest.raises(AssertionError, match=said):
        scene()
