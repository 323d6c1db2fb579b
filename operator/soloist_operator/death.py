"""Is the old pod proven dead? The one judgement on which releasing its name rests (design: singleton.md, proof of death).

Pure: it sees the live pod and what was seen of its node. Every clause that fails says what is missing; a single missing
clause means *unproven*, because a kubelet that we cannot hear may still run the engine.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator
from dataclasses import dataclass

from soloist_operator.objects import Object, deleting, dig

OUT_OF_SERVICE_TAINT = "node.kubernetes.io/out-of-service"
TERMINAL_PHASES = frozenset({"Succeeded", "Failed"})
_KUBELET = "kubelet"
_LOST = "ContainerStatusUnknown"


class Sight(enum.Enum):
    """What came of looking for a node."""

    PRESENT = "present"
    ABSENT = "absent"
    UNSEEN = "could not look"
    UNASSIGNED = "the pod was never assigned to a node"


@dataclass(frozen=True)
class NodeSight:
    """A pod's node as it was seen; `why` explains UNSEEN."""

    sight: Sight
    node: Object | None = None
    why: str = ""


@dataclass(frozen=True)
class Proven:
    """No process of this pod runs, nor will any ever run again. `how` is for the record."""

    how: str


@dataclass(frozen=True)
class Unproven:
    """Something is missing; each entry says what."""

    missing: tuple[str, ...]

    def __str__(self) -> str:
        """For a condition's message."""
        return "; ".join(self.missing)


def proof_of_death(pod: Object, node: NodeSight) -> Proven | Unproven:
    """Judge a pod that was read live in this run."""
    if deleting(pod) and not dig(pod, "spec", "nodeName") and node.sight is Sight.UNASSIGNED:
        # The API server refuses to bind a pod that is being deleted, so no kubelet will ever hear of it.
        return Proven("the pod was deleted before it was assigned to a node, so it never ran")
    missing = (*_pod_clauses(pod), *_container_clauses(pod), *_node_clauses(node))
    if missing:
        return Unproven(missing)
    return Proven(f"the kubelet reported phase {dig(pod, 'status', 'phase')} with every container terminated")


def _pod_clauses(pod: Object) -> Iterator[str]:
    if not deleting(pod):
        yield "the pod is not being deleted, so its kubelet may start its containers again"
    phase = dig(pod, "status", "phase")
    if phase not in TERMINAL_PHASES:
        yield f"the pod's phase is {phase or 'not set'}, not Succeeded or Failed"
    owners = phase_owners(pod)
    if owners != {_KUBELET}:
        # PodGC sets Failed for a pod whose node it has given up: a guess, not an observation.
        wrote = " and ".join(sorted(owners)) or "nobody"
        yield f"the pod's phase was written by {wrote}, not by the kubelet"
    generation = pod["metadata"].get("generation")
    observed = dig(pod, "status", "observedGeneration")
    if observed != generation or generation is None:
        yield f"the kubelet has seen generation {observed} of the pod, not {generation}"


def phase_owners(pod: Object) -> set[str]:
    """Managers that own `status.phase` by the API server's own record."""
    return {
        str(entry.get("manager"))
        for entry in pod["metadata"].get("managedFields") or []
        if dig(entry, "fieldsV1", "f:status", "f:phase") is not None
    }


def _container_clauses(pod: Object) -> Iterator[str]:
    for declared, reported in (
        ("initContainers", "initContainerStatuses"),
        ("containers", "containerStatuses"),
    ):
        statuses = {status["name"]: status for status in dig(pod, "status", reported) or []}
        for container in dig(pod, "spec", declared) or []:
            name = container["name"]
            missing = _container_clause(statuses.get(name))
            if missing is not None:
                yield f"container {name} {missing}"


def _container_clause(status: Object | None) -> str | None:
    if status is None:
        return "has no reported state"
    terminated = dig(status, "state", "terminated")
    if _never_created(status):
        return None
    if terminated is None:
        return "is not terminated"
    if terminated.get("reason") == _LOST:
        return f"was lost by the kubelet ({_LOST})"
    return None


def _never_created(status: Object) -> bool:
    """A container that was never created: there is no process to end.

    When the kubelet ends a pod (status_manager.go, TerminatePod), a container behind a failed init container stays
    `waiting` for ever; and the first init container of a pod that was deleted before anything started is called
    ContainerStatusUnknown like one that was lost, but has no container id and no past.
    """
    terminated = dig(status, "state", "terminated") or {}
    return (
        (dig(status, "state", "waiting") is not None or terminated.get("reason") == _LOST)
        and not terminated.get("containerID")
        and not status.get("containerID")
        and not status.get("lastState")
        and not status.get("restartCount")
        and not status.get("started")
    )


def _node_clauses(seen: NodeSight) -> Iterator[str]:
    match seen.sight:
        case Sight.PRESENT:
            assert seen.node is not None, "a node that was seen"
            yield from _present_node_clauses(seen.node)
        case Sight.ABSENT:
            yield "the node's object is gone, so nobody says whether the machine still runs"
        case Sight.UNSEEN:
            yield f"could not look at the node: {seen.why}"
        case Sight.UNASSIGNED:
            yield "the pod names no node"


def _present_node_clauses(node: Object) -> Iterator[str]:
    name = node["metadata"]["name"]
    ready = next((c for c in dig(node, "status", "conditions") or [] if c.get("type") == "Ready"), None)
    if ready is None or ready.get("status") != "True":
        yield f"node {name} is not Ready"
    if any(taint.get("key") == OUT_OF_SERVICE_TAINT for taint in dig(node, "spec", "taints") or []):
        yield f"node {name} carries the out-of-service taint: a person's word, not the kubelet's"
