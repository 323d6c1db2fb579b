"""A cordoned node: does the bot move, does its volume, and what is said when it stays."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from soloist_operator import drain, kinds
from soloist_operator.api.tradingbot import TradingBotSpec
from soloist_operator.conditions import Verdict
from soloist_operator.death import NodeSight, Sight
from soloist_operator.drain import Move
from soloist_operator.errors import ForbiddenError
from soloist_operator.observe import Elsewhere, Observed, Observer
from soloist_operator.queue import Key

from tests.unit.soloist_operator.memory_cluster import MemoryCluster, obliging_fence
from tests.unit.soloist_operator.operator_scene import live, merged, node, observed, paper, pod, running_pod

CORDONED = {"spec": {"unschedulable": True}}
STATE = [{"name": "state", "persistentVolumeClaim": {"claimName": "demo-state-0"}}]


def other(**parts: Any) -> dict[str, Any]:
    return merged(node(metadata={"name": "node-2", "labels": {"zone": "b", "size": "8"}}), parts)


def bound_to(*names: str) -> dict[str, Any]:
    """A local volume, as its provisioner makes it."""
    term = {"matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "In", "values": list(names)}]}
    return {
        "metadata": {"name": "pv-1"},
        "spec": {"nodeAffinity": {"required": {"nodeSelectorTerms": [term]}}},
    }


def seen(*others: dict[str, Any], volume: Any = None, why: str = "", home: Any = CORDONED) -> Observed:
    return observed(
        paper(),
        pod=running_pod(spec={"volumes": STATE}),
        node=NodeSight(Sight.PRESENT, node(**home)),
        elsewhere=Elsewhere((node(**home), *others), volume, why),
    )


def spec(**changes: Any) -> TradingBotSpec:
    return TradingBotSpec.model_validate(paper(**changes))


def judged(looked: Observed, *, silent: tuple[str, ...] = (), **changes: Any) -> Move | Verdict | None:
    return drain.judge(looked, spec(**changes), silent)


def test_handover_is_the_default_and_moves_to_another_node() -> None:
    assert judged(seen(other())) == Move("node node-1 is cordoned, so the bot moves")


def test_nothing_moves_while_the_node_is_not_cordoned_or_not_seen() -> None:
    assert judged(seen(other(), home={})) is None
    looked = observed(paper(), pod=running_pod(), node=NodeSight(Sight.UNSEEN, why="forbidden"))
    assert judged(looked) is None
    assert judged(observed(paper(), pod=None)) is None


def test_a_pod_that_is_stopping_already_is_left_to_it() -> None:
    looked = observed(paper(), pod=pod(), node=NodeSight(Sight.PRESENT, node(**CORDONED)))
    assert judged(looked) is None


TAINT = {"key": "gpu", "value": "yes", "effect": "NoSchedule"}


@pytest.mark.parametrize(
    ("elsewhere", "changes"),
    [
        pytest.param(None, {}, id="there is none"),
        pytest.param(other(spec={"unschedulable": True}), {}, id="it is cordoned, too"),
        pytest.param(other(status={"conditions": [{"type": "Ready", "status": "Unknown"}]}), {}, id="not Ready"),
        pytest.param(other(metadata={"deletionTimestamp": "2026-01-01T00:00:00Z"}), {}, id="on its way out"),
        pytest.param(other(spec={"taints": [TAINT]}), {}, id="tainted"),
        pytest.param(other(), {"nodeSelector": {"zone": "a"}}, id="not what nodeSelector asks"),
        pytest.param(
            other(),
            {
                "affinity": {
                    "nodeAffinity": {
                        "requiredDuringSchedulingIgnoredDuringExecution": {
                            "nodeSelectorTerms": [
                                {"matchExpressions": [{"key": "zone", "operator": "NotIn", "values": ["b"]}]}
                            ]
                        }
                    }
                }
            },
            id="not what the affinity asks",
        ),
    ],
)  # fmt: skip
def test_with_nowhere_to_go_it_stays_and_says_so(elsewhere: Any, changes: dict[str, Any]) -> None:
    found = judged(seen(*([elsewhere] if elsewhere else [])), **changes)
    assert isinstance(found, Verdict)
    assert (found.status, found.reason) == ("True", "DrainWaiting")
    assert "no other node" in found.message


def test_a_node_that_is_not_heard_takes_nothing() -> None:
    assert isinstance(judged(seen(other()), silent=("node-2",)), Verdict)


def test_a_tolerated_taint_is_no_obstacle() -> None:
    tolerations = [{"key": "gpu", "operator": "Exists", "effect": "NoSchedule"}]
    assert isinstance(judged(seen(other(spec={"taints": [TAINT]})), tolerations=tolerations), Move)
    tolerations = [{"key": "gpu", "operator": "Equal", "value": "no", "effect": "NoSchedule"}]
    assert isinstance(judged(seen(other(spec={"taints": [TAINT]})), tolerations=tolerations), Verdict)


def test_a_bot_that_tolerates_cordons_might_come_back_and_stays() -> None:
    found = judged(seen(other()), tolerations=[{"operator": "Exists"}])
    assert isinstance(found, Verdict)
    assert "tolerates cordoned nodes" in found.message


def test_could_not_look_is_no_place_to_go() -> None:
    found = judged(seen(other(), why="nodes: forbidden"))
    assert isinstance(found, Verdict)
    assert "forbidden" in found.message


def test_block_and_allow_never_move() -> None:
    found = judged(seen(other()), disruption={"policy": "Block"})
    assert isinstance(found, Verdict)
    assert "Handover" in found.message
    assert judged(seen(other()), disruption={"policy": "Allow"}) is None


def test_a_volume_that_cannot_come_along_stays_only_if_a_fresh_one_is_allowed() -> None:
    here, there = other(metadata={"labels": {"kubernetes.io/hostname": "node-2"}}), bound_to("node-1")
    found = judged(seen(here, volume=there))
    assert isinstance(found, Move)
    assert found.fresh
    found = judged(seen(here, volume=there), storage={"whenUnreachable": "Wait"})
    assert isinstance(found, Verdict)
    assert "volume is bound to the node" in found.message
    found = judged(seen(here, volume=bound_to("node-1", "node-2")), storage={"whenUnreachable": "Wait"})
    assert found == Move("node node-1 is cordoned, so the bot moves")


@pytest.mark.parametrize(
    ("operator", "key", "values", "expected"),
    [
        ("In", "zone", ["a", "b"], True),
        ("In", "zone", ["a"], False),
        ("In", "none", ["a"], False),
        ("NotIn", "zone", ["b"], False),
        ("NotIn", "none", ["b"], True),
        ("Exists", "zone", None, True),
        ("Exists", "none", None, False),
        ("DoesNotExist", "none", None, True),
        ("DoesNotExist", "zone", None, False),
        ("Gt", "size", ["4"], True),
        ("Gt", "size", ["8"], False),
        ("Lt", "size", ["9"], True),
        ("Lt", "none", ["9"], False),
        ("Near", "zone", ["b"], False),
    ],
)
def test_node_selectors_as_kubernetes_reads_them(
    operator: str, key: str, values: Any, *, expected: bool
) -> None:
    term = {"matchExpressions": [{"key": key, "operator": operator, "values": values}]}
    assert drain.matches({"nodeSelectorTerms": [term]}, other()) is expected


def test_terms_are_alternatives_and_an_empty_one_selects_nothing() -> None:
    named = {"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["node-2"]}]}
    wrong = {"matchExpressions": [{"key": "zone", "operator": "In", "values": ["a"]}]}
    assert drain.matches({"nodeSelectorTerms": [wrong, named]}, other())
    assert not drain.matches({"nodeSelectorTerms": [{**wrong, **named}]}, other())
    assert not drain.matches({"nodeSelectorTerms": [{}]}, other())
    assert not drain.matches({}, other())


def test_live_bots_are_judged_like_any_other() -> None:
    assert isinstance(drain.judge(seen(other()), TradingBotSpec.model_validate(live()), ()), Move)


class World(MemoryCluster):
    """A bot on a node that may be cordoned, and what may not be read."""

    def __init__(self, *, unschedulable: bool, forbidden: str = "") -> None:
        super().__init__(0, obliging_fence(lambda _: "marker:m-1"))
        self._forbidden = forbidden
        self.put(kinds.TRADING_BOT, {"metadata": {"name": "demo", "namespace": "bots"}, "spec": paper()})
        self.put(kinds.NODE, {"metadata": {"name": "node-1"}, "spec": {"unschedulable": unschedulable}})
        self.put(kinds.NODE, {"metadata": {"name": "node-2"}})
        labels = {kinds.LABEL_BOT: "demo"}
        volume_claim = {"name": "demo-state-0", "namespace": "bots", "labels": labels}
        self.put(kinds.VOLUME_CLAIM, {"metadata": volume_claim, "spec": {"volumeName": "pv-1"}})
        self.put(kinds.VOLUME, bound_to("node-1"))
        self.put(kinds.POD, running_pod(spec={"volumes": STATE}))

    async def find(self, kind: kinds.Kind, namespace: str | None, label_selector: str = "") -> Any:
        if kind.plural == self._forbidden:
            raise ForbiddenError(f"GET {kind.plural}: forbidden", 403)
        return await super().find(kind, namespace, label_selector)

    def seen(self) -> Elsewhere | None:
        looked = asyncio.run(Observer(self, clock=lambda: 0.0).observe(Key("bots", "demo")))
        assert isinstance(looked, Observed)
        return looked.elsewhere


def test_other_nodes_are_only_looked_at_when_the_engines_is_cordoned() -> None:
    assert World(unschedulable=False).seen() is None
    found = World(unschedulable=True).seen()
    assert found is not None
    assert [each["metadata"]["name"] for each in found.nodes] == ["node-1", "node-2"]
    assert found.volume is not None
    assert found.volume["metadata"]["name"] == "pv-1"


def test_a_right_that_is_missing_keeps_the_bot_where_it_is_and_blinds_nobody() -> None:
    found = World(unschedulable=True, forbidden="nodes").seen()
    assert found is not None
    assert "forbidden" in found.why
