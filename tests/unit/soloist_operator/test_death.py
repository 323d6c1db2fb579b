"""Every clause of the proof of death, one row each: without it the pod is unproven, and the words say what is missing."""

from __future__ import annotations

from typing import Any

import pytest
from soloist_operator.death import NodeSight, Proven, Sight, Unproven, proof_of_death

from tests.unit.soloist_operator.operator_scene import pod, present

ENDED = {"terminated": {"exitCode": 0}}
LOST = {"terminated": {"exitCode": 137, "reason": "ContainerStatusUnknown"}}


def owner(*managers: str) -> dict[str, Any]:
    entries = [{"manager": m, "fieldsV1": {"f:status": {"f:phase": {}}}} for m in managers]
    return {"metadata": {"managedFields": entries}}


def engine(**status: Any) -> dict[str, Any]:
    return {"status": {"containerStatuses": [{"name": "engine", **status}]}}


def watchdog(**status: Any) -> dict[str, Any]:
    return {
        "status": {
            "initContainerStatuses": [{"name": "keys", "state": ENDED}, {"name": "watchdog", **status}]
        }
    }


def test_a_pod_that_its_kubelet_ended_on_a_ready_node_is_dead() -> None:
    assert isinstance(proof_of_death(pod(), present()), Proven)


def test_a_failed_pod_is_as_dead_as_a_succeeded_one() -> None:
    assert isinstance(proof_of_death(pod(status={"phase": "Failed"}), present()), Proven)


MISSING: dict[str, tuple[dict[str, Any], NodeSight, str]] = {
    "not being deleted": ({"metadata": {"deletionTimestamp": None}}, present(), "not being deleted"),
    "phase Running": ({"status": {"phase": "Running"}}, present(), "phase is Running"),
    "phase Unknown": ({"status": {"phase": "Unknown"}}, present(), "phase is Unknown"),
    "no phase": ({"status": {"phase": None}}, present(), "phase is not set"),
    "phase by PodGC": (owner("kube-controller-manager"), present(), "written by kube-controller-manager"),
    "phase by kubelet and PodGC": (owner("kubelet", "kube-controller-manager"), present(), "kube-controller-manager and kubelet"),
    "phase by a person": (owner("kubectl-edit"), present(), "written by kubectl-edit"),
    "phase by nobody": ({"metadata": {"managedFields": []}}, present(), "written by nobody"),
    "kubelet has not seen the last change": ({"status": {"observedGeneration": 1}}, present(), "generation 1 of the pod, not 2"),
    "kubelet says nothing about generations": ({"status": {"observedGeneration": None}}, present(), "generation None"),
    "pod without generation": (
        {"metadata": {"generation": None}, "status": {"observedGeneration": None}},
        present(),
        "generation None",
    ),
    "engine running": (engine(state={"running": {}}), present(), "container engine is not terminated"),
    "engine unreported": ({"status": {"containerStatuses": []}}, present(), "container engine has no reported state"),
    "engine lost": (
        engine(state=LOST, containerID="containerd://1"),
        present(),
        "engine was lost by the kubelet",
    ),
    "engine lost, its id only in its end": (
        engine(state={"terminated": {**LOST["terminated"], "containerID": "containerd://1"}}),
        present(),
        "engine was lost by the kubelet",
    ),
    "engine lost after a restart": (
        engine(state=LOST, lastState=ENDED),
        present(),
        "engine was lost by the kubelet",
    ),
    "engine between two restarts": (
        engine(state={"waiting": {"reason": "CrashLoopBackOff"}}, lastState=ENDED, restartCount=3, containerID="c"),
        present(),
        "container engine is not terminated",
    ),
    "engine waiting after a restart that lost its past": (
        engine(state={"waiting": {}}, restartCount=1),
        present(),
        "container engine is not terminated",
    ),
    "sidecar running": (watchdog(state={"running": {}}), present(), "container watchdog is not terminated"),
    "sidecar unreported": (
        {"status": {"initContainerStatuses": [{"name": "keys", "state": ENDED}]}},
        present(),
        "container watchdog has no reported state",
    ),
    "node gone": ({}, NodeSight(Sight.ABSENT), "node's object is gone"),
    "node not seen": ({}, NodeSight(Sight.UNSEEN, why="403 forbidden"), "could not look at the node: 403 forbidden"),
    "node not ready": ({}, present(status={"conditions": [{"type": "Ready", "status": "False"}]}), "node-1 is not Ready"),
    "node silent": ({}, present(status={"conditions": [{"type": "Ready", "status": "Unknown"}]}), "node-1 is not Ready"),
    "node never reported": ({}, present(status={"conditions": None}), "node-1 is not Ready"),
    "node out of service": (
        {},
        present(spec={"taints": [{"key": "node.kubernetes.io/out-of-service", "effect": "NoExecute"}]}),
        "out-of-service taint",
    ),
    "bound pod without a look at its node": ({}, NodeSight(Sight.UNASSIGNED), "names no node"),
}  # fmt: skip


@pytest.mark.parametrize("case", MISSING)
def test_one_missing_clause_is_no_proof(case: str) -> None:
    parts, seen, words = MISSING[case]
    judged = proof_of_death(pod(**parts), seen)
    assert isinstance(judged, Unproven)
    assert words in str(judged)


@pytest.mark.parametrize("case", [c for c in MISSING if c != "pod without generation"])
def test_a_clause_is_missing_alone(case: str) -> None:
    """The rows test one clause each: nothing else of the pod is wrong, but for what follows from it."""
    parts, seen, _ = MISSING[case]
    judged = proof_of_death(pod(**parts), seen)
    assert isinstance(judged, Unproven)
    assert len(judged.missing) == 1


def test_a_container_behind_a_failed_init_container_never_ran() -> None:
    never = {
        "name": "engine",
        "state": {"waiting": {"reason": "PodInitializing"}},
        "restartCount": 0,
        "started": False,
    }
    assert isinstance(
        proof_of_death(pod(status={"phase": "Failed", "containerStatuses": [never]}), present()), Proven
    )


def test_a_pod_that_was_deleted_before_its_first_container_was_made_never_ran() -> None:
    """Seen on a cluster: the kubelet calls the first init container lost, although nothing was ever started."""
    waiting = {"waiting": {"reason": "PodInitializing"}}
    status = {
        "phase": "Failed",
        "initContainerStatuses": [
            {"name": "keys", "state": LOST, "restartCount": 0, "started": False},
            {"name": "watchdog", "state": waiting, "restartCount": 0, "started": False},
        ],
        "containerStatuses": [{"name": "engine", "state": waiting, "restartCount": 0, "started": False}],
    }
    assert isinstance(proof_of_death(pod(status=status), present()), Proven)


def test_a_pod_deleted_before_it_had_a_node_never_ran() -> None:
    unbound = pod(spec={"nodeName": None}, status={"phase": "Pending", "containerStatuses": None})
    assert isinstance(proof_of_death(unbound, NodeSight(Sight.UNASSIGNED)), Proven)


def test_a_pod_that_may_still_get_a_node_is_not_dead() -> None:
    unbound = pod(metadata={"deletionTimestamp": None}, spec={"nodeName": None}, status={"phase": "Pending"})
    assert isinstance(proof_of_death(unbound, NodeSight(Sight.UNASSIGNED)), Unproven)
