"""What became of a Job: read from the Job and from the pod that it controls, never guessed."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterable
from dataclasses import dataclass

from soloist_fence.api import Evidence, FenceInterfaceError

from soloist_operator.api.validate import Problem
from soloist_operator.death import TERMINAL_PHASES
from soloist_operator.objects import Object, controlled_by, dig, name_of, uid_of


@dataclass(frozen=True)
class Running:
    """Not finished; `detail` says what it waits for, as far as the cluster tells.

    `trouble` is the part of it that a person may have to do something about, empty while all goes well: what a status may
    show without changing with every step of a pod.
    """

    detail: str
    trouble: str = ""


@dataclass(frozen=True)
class Finished:
    """Over. `message` is the termination message of its container, empty when there is none."""

    succeeded: bool
    message: str
    why: str


def outcome_of(job: Object, pods: Iterable[Object], container: str) -> Running | Finished:
    """Judge a Job of one pod. Only the pod that the Job's uid controls is believed."""
    pod = next((p for p in pods if controlled_by(p, uid_of(job))), None)
    status = None if pod is None else _container_status(pod, container)
    terminated = dig(status, "state", "terminated")
    if pod is not None and terminated is not None and dig(pod, "status", "phase") in TERMINAL_PHASES:
        exit_code = int(terminated.get("exitCode", -1))
        why = f"exit code {exit_code}, {terminated.get('reason') or 'no reason given'}"
        return Finished(exit_code == 0, str(terminated.get("message") or ""), why)
    for condition in dig(job, "status", "conditions") or []:
        if condition.get("type") == "Failed" and condition.get("status") == "True":
            return Finished(
                succeeded=False,
                message="",
                why=f"{condition.get('reason')}: {condition.get('message') or 'no details'}{_waiting(pod, status)}",
            )
        if condition.get("type") == "Complete" and condition.get("status") == "True":
            return Finished(succeeded=True, message="", why="its pod is gone")
    if pod is None:
        return Running(f"Job {name_of(job)} has no pod yet")
    trouble = _waiting(pod, status)
    return Running(f"pod {name_of(pod)} is {dig(pod, 'status', 'phase') or 'new'}{trouble}", trouble)


def finished_age_s(job: Object, now: str) -> float:
    """Seconds since a Job ended by the cluster's clock, which paces a retry and decides nothing; 0 when it does not say."""
    times = [
        str(condition["lastTransitionTime"])
        for condition in dig(job, "status", "conditions") or []
        if condition.get("type") in {"Complete", "Failed"} and condition.get("lastTransitionTime")
    ]
    if not times:
        return 0.0
    return (dt.datetime.fromisoformat(now) - dt.datetime.fromisoformat(max(times))).total_seconds()


def _container_status(pod: Object, container: str) -> Object | None:
    statuses: list[Object] = dig(pod, "status", "containerStatuses") or []
    return next((status for status in statuses if status.get("name") == container), None)


def _waiting(pod: Object | None, status: Object | None) -> str:
    waiting = dig(status, "state", "waiting")
    if waiting and waiting.get("reason") not in {"ContainerCreating", "PodInitializing"}:
        return f": {waiting.get('reason')}: {waiting.get('message') or ''}"
    for condition in dig(pod, "status", "conditions") or []:
        if condition.get("type") == "PodScheduled" and condition.get("status") == "False":
            return f": {condition.get('reason')}: {condition.get('message') or ''}"
    return ""


def fence_evidence(finished: Finished, *, claim: str, epoch: int, nonce: str) -> Evidence | str:
    """The evidence of an attempt, or why there is none that counts."""
    if not finished.message:
        return f"the Job left no evidence ({finished.why}); its pod's log may say more"
    try:
        evidence = Evidence.parse(finished.message)
    except FenceInterfaceError as error:
        return str(error)
    if (evidence.claim, evidence.epoch, evidence.nonce) != (claim, epoch, nonce):
        return f"the evidence speaks of {evidence.claim} epoch {evidence.epoch}, not of this attempt"
    return evidence


def check_problems(finished: Finished) -> tuple[Problem, ...]:
    """What the engine's image says is wrong with a configuration (docs/interfaces.md "Check")."""
    problems = reported_problems(finished.message)
    if problems:
        return problems
    detail = finished.message[:300] or finished.why
    return (
        Problem("spec", f"the pre-flight check did not finish: {detail}. See the Job's pod, and spec.image"),
    )


def ended_with(pod: Object, container: str) -> tuple[int, str] | None:
    """Exit code and termination message with which a container ended, now or before its last restart; None while it runs."""
    statuses = [
        *(dig(pod, "status", "initContainerStatuses") or []),
        *(dig(pod, "status", "containerStatuses") or []),
    ]
    status = next((s for s in statuses if s.get("name") == container), None)
    if status is None or dig(status, "state", "running"):
        return None
    ended = dig(status, "state", "terminated") or dig(status, "lastState", "terminated")
    return None if ended is None else (int(ended.get("exitCode", -1)), str(ended.get("message") or ""))


def reported_problems(message: str) -> tuple[Problem, ...]:
    """Problems in a termination message of the trader image, none when it holds something else."""
    try:
        document = json.loads(message)
        return tuple(Problem(str(p["field"]), str(p["message"])) for p in document["problems"])
    except (ValueError, KeyError, TypeError):
        return ()
