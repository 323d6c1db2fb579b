"""What the cluster shows about a bot that runs: is its engine ready, are its keys healthy. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from soloist_fence.api import Evidence, FenceInterfaceError, Outcome

from soloist_operator import audits
from soloist_operator.api.tradingbot import State
from soloist_operator.conditions import Verdict, no, yes
from soloist_operator.heartbeat import SILENT_AFTER_S, Heartbeat
from soloist_operator.kinds import LABEL_COMPONENT
from soloist_operator.objects import Object, deleting, dig, label, name_of, uid_of
from soloist_operator.observe import Observed
from soloist_operator.outcomes import Finished, outcome_of, reported_problems
from soloist_operator.specs.common import Component
from soloist_operator.specs.jobs import FENCE_CONTAINER

_SHOWN = {"ACTIVE": State.RUNNING, "REDUCING": State.REDUCING, "HALTED": State.HALTED}
PENDING = "Pending"


def engine_verdict(observed: Observed, heartbeat: Heartbeat, epoch: int | None, wanted: State) -> Verdict:
    """Condition EngineReady. `epoch` is None for a bot without an account."""
    pod, lease = observed.pod, observed.ref.pod
    if wanted is State.STOPPED:
        return no("Stopped", "spec.state is Stopped: there is no engine; set it to Running to start one")
    if pod is None:
        return no("NoPod", "there is no engine pod yet")
    if deleting(pod):
        return no("Stopping", f"pod {name_of(pod)} is stopping")
    record = heartbeat.record
    if record is None or record.pod_uid != uid_of(pod):
        trouble = pod_trouble(pod)
        return trouble or no("Starting", f"pod {name_of(pod)} has not yet written its Lease {lease}")
    if heartbeat.silent:
        trouble = pod_trouble(pod)
        message = f"the engine has not renewed its Lease {lease} for {SILENT_AFTER_S:.0f} s"
        return no("EngineSilent", f"{message}; {trouble.message}" if trouble else message)
    if epoch is not None and record.epoch != epoch:
        return no("OtherEpoch", f"the engine runs in epoch {record.epoch}, the account is in epoch {epoch}")
    if not record.ready:
        return no(
            record.reason or "NotReady", record.message or "the engine is not yet reconciled with the venue"
        )
    return yes("Reconciled", "the engine is reconciled with the venue and its data are fresh")


def shown_state(observed: Observed, heartbeat: Heartbeat, wanted: State) -> str:
    """`status.state`: what the engine does."""
    pod, record = observed.pod, heartbeat.record
    if pod is None:
        return State.STOPPED.value if wanted is State.STOPPED else PENDING
    if record is None or heartbeat.silent or record.pod_uid != uid_of(pod):
        return PENDING
    state = _SHOWN.get(record.state)
    return state.value if state else PENDING


def pod_trouble(pod: Object) -> Verdict | None:
    """Why a pod does not come up, in the words of its containers or of Kubernetes; None when nothing is wrong."""
    for condition in dig(pod, "status", "conditions") or []:
        if condition.get("type") == "PodScheduled" and condition.get("status") == "False":
            return no(str(condition.get("reason")), f"the pod finds no node: {condition.get('message')}")
    for status in _container_statuses(pod):
        found = _container_trouble(status)
        if found is not None:
            return found
    return None


def _container_statuses(pod: Object) -> Iterator[Object]:
    yield from dig(pod, "status", "initContainerStatuses") or []
    yield from dig(pod, "status", "containerStatuses") or []


_HARMLESS = frozenset({"ContainerCreating", "PodInitializing"})


def _container_trouble(status: Object) -> Verdict | None:
    name = status["name"]
    ended = dig(status, "state", "terminated") or dig(status, "lastState", "terminated") or {}
    running = dig(status, "state", "running")
    if not running and ended and ended.get("exitCode"):
        problems = reported_problems(str(ended.get("message") or ""))
        if problems:
            return no("Refused", f"container {name}: " + "; ".join(map(str, problems)))
        detail = str(ended.get("message") or ended.get("reason") or "no reason given").strip()
        return no("ContainerFailed", f"container {name} ended with exit code {ended['exitCode']}: {detail}")
    waiting = dig(status, "state", "waiting") or {}
    if waiting and waiting.get("reason") not in _HARMLESS:
        return no(
            str(waiting.get("reason") or "Waiting"),
            f"container {name}: {waiting.get('message') or 'is waiting'}",
        )
    return None


def keys_verdict(observed: Observed, claim: Object, heartbeat: Heartbeat) -> Verdict:
    """Condition KeysHealthy of a Managed account: a halt, else what the watchdog saw, the last audit found, the last rotation did."""
    found = audits.halt_verdict(observed, claim) or audits.watchdog_verdict(observed, heartbeat)
    last = audits.last(observed, claim)
    if found is None and last is not None:
        found = audits.verdict(last)
    return found or _rotation_verdict(observed, claim)


def _rotation_verdict(observed: Observed, claim: Object) -> Verdict:
    finished = [
        (str(dig(job, "status", "completionTime") or dig(job, "status", "startTime") or ""), job, outcome)
        for job in observed.jobs
        if label(job, LABEL_COMPONENT) == Component.ROTATION.value
        and isinstance(outcome := outcome_of(job, observed.pods, FENCE_CONTAINER), Finished)
        and not (outcome.succeeded and not outcome.message)  # its pod is gone: nothing to read, nothing wrong
    ]
    if not finished:
        return yes("Published", "the key was published by the fence; no rotation has finished yet")
    _, job, outcome = max(finished, key=lambda entry: entry[0])
    try:
        evidence = Evidence.parse(outcome.message)
    except FenceInterfaceError as error:
        return no("RotationFailed", f"Job {name_of(job)} failed without evidence ({outcome.why}): {error}")
    if evidence.claim != name_of(claim) or evidence.outcome is Outcome.FAILED:
        return no(evidence.reason.value, f"Job {name_of(job)}: {evidence.message}")
    return yes(
        evidence.outcome.value, f"Job {name_of(job)}: {evidence.message or 'the engine uses the new key'}"
    )
