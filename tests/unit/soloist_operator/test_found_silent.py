"""Which nodes an operator that starts now keeps off because of what its predecessor left on record."""

from __future__ import annotations

from soloist_operator import relocation
from soloist_operator.api.status import Phase
from soloist_operator.objects import Object
from soloist_operator.observe import Observed
from soloist_operator.sightings import SILENT_AFTER_S, NodeLeases
from soloist_operator.specs.engine import ANNOTATION_AVOIDS
from soloist_operator.takeover import Cause

from tests.unit.soloist_operator.operator_scene import live, observed, running_pod

LOST = "node-1"


def lease(renewed: str) -> Object:
    return {"metadata": {"name": LOST}, "spec": {"renewTime": renewed}}


def seen(*, epoch: int, why: str, avoids: str = "") -> Observed:
    """The pod on node-1 has the key of epoch 1; the claim is in `epoch`, opened because of `why`."""
    pod = running_pod()
    pod["spec"]["volumes"] = [{"name": "epoch-key", "secret": {"secretName": "demo-key-e1-abc"}}]
    claim = {
        "metadata": {"name": "claim-1"},
        "status": {"phase": Phase.FENCING.value, "epoch": epoch, "reason": why},
    }
    annotations = {ANNOTATION_AVOIDS: avoids} if avoids else {}
    stateful_set = {"metadata": {"name": "demo", "annotations": annotations}, "spec": {}}
    return observed(live(), pod=pod, claim=claim, stateful_set=stateful_set)


def test_the_node_that_the_takeover_is_about() -> None:
    assert relocation.found_silent(seen(epoch=2, why=Cause.NODE_SILENT.value)) == {LOST}
    assert relocation.found_silent(seen(epoch=2, why=Cause.ENGINE_HUNG.value)) == frozenset()
    assert relocation.found_silent(seen(epoch=1, why=Cause.NODE_SILENT.value)) == frozenset(), (
        "a pod of this epoch"
    )


def test_the_nodes_that_the_template_keeps_off() -> None:
    assert relocation.found_silent(seen(epoch=1, why="FirstArm", avoids="node-2,node-3")) == {
        "node-2",
        "node-3",
    }


def test_a_predecessors_word_stands_until_the_node_is_heard() -> None:
    nodes = NodeLeases()
    assert not nodes.unheard(LOST), "there is no such node"
    nodes.listed([lease("at 0")], 0)
    nodes.listed([lease("at 0")], SILENT_AFTER_S - 1)
    assert nodes.unheard(LOST)
    assert nodes.silent(SILENT_AFTER_S - 1) == (), "nor have we timed its silence"
    nodes.listed([lease("at 14")], SILENT_AFTER_S - 1)
    assert not nodes.unheard(LOST)
    nodes.listed([lease("at 14")], 100)
    assert nodes.silent(100) == (LOST,)
    assert not nodes.unheard(LOST), "our own clock judges it from here on"
