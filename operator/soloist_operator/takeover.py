"""When is a takeover due, and what holds one back? Pure (design: singleton.md, "When is a takeover due?").

A takeover is never needed for safety: the fence makes a wrong one harmless, and merely costs an outage. So every row
here is about not losing time and not making a storm.
"""

from __future__ import annotations

import datetime as dt
import enum
from collections.abc import Iterable
from dataclasses import dataclass

from soloist_operator.objects import Object
from soloist_operator.sightings import SILENT_AFTER_S

HUNG_AFTER_S = 30.0
"""Liveness and the watchdog restart a mute engine in place; what is still mute then, they cannot help."""
STUCK_AFTER_S = 15.0
"""A kubelet that is heard, and has not ended a pod this long after its grace period, does not manage to."""
BLIND_LOOK_S = 5.0

LIMIT = 3
WINDOW_S = 600.0
SPACING_S = 30.0
"""Between the first takeover and the next; each one more doubles it."""
AT_ONCE = 5
"""Takeovers in flight over all bots."""
CROWD_SHARE = 0.2
CROWD_FLOOR = 3
"""Fewer silent bots than this are never a crowd: in a small cluster one lost node is more than a fifth."""


class Cause(enum.StrEnum):
    """Why an epoch is opened above a running one; the word in the claim's `reason` and history."""

    POD_GONE = "PodGone"
    """The admitted pod vanished and nobody proved its end: its fence finalizer was stripped."""
    POD_REPLACED = "PodReplaced"
    """Another pod has its name, and nobody proved its end."""
    NODE_SILENT = "NodeSilent"
    """Neither the engine nor its node's kubelet is heard: partition, or a lost node."""
    NODE_GONE = "NodeGone"
    """The Node object was deleted: nobody speaks for the machine any more."""
    NODE_OUT_OF_SERVICE = "NodeOutOfService"
    """A person declared the node dead; the pod is given up, the process may live."""
    ENGINE_HUNG = "EngineHung"
    """The kubelet is heard and says that the engine runs, and the engine says nothing."""
    POD_STUCK = "PodStuck"
    """The kubelet is heard and does not manage to end the pod."""


UNREACHABLE = frozenset(Cause) - {Cause.ENGINE_HUNG}
"""Causes after which the old engine may go on writing to its volume, where nobody can stop it."""


class Pod(enum.Enum):
    """The engine's pod, as this run sees it."""

    NONE = "there is none, and none is missing"
    RUNNING = "not being deleted"
    STOPPING = "in its grace period"
    OVERRUN = "past its grace period, its end unproven"
    GONE = "the admitted one vanished without proof"
    REPLACED = "not the admitted one, whose end is unproven"


class Node(enum.Enum):
    """Its node, as this run sees it."""

    PRESENT = "present"
    ABSENT = "the object is gone"
    OUT_OF_SERVICE = "carries the out-of-service taint"
    UNSEEN = "could not look"
    UNASSIGNED = "the pod was never assigned to one"


@dataclass(frozen=True)
class Sighting:
    """One observation. Silences are None where there is nothing to be heard: a pod that never wrote, a node without a Lease."""

    pod: Pod
    node: Node = Node.PRESENT
    engine_silent_s: float | None = 0.0
    engine_started: bool = True
    """The kubelet says that the engine's container runs and is past its startup probe."""
    node_silent_s: float | None = 0.0
    overrun_s: float = 0.0
    api_healthy_s: float = float("inf")


@dataclass(frozen=True)
class Due:
    """A new epoch is needed."""

    cause: Cause
    message: str


@dataclass(frozen=True)
class Wait:
    """Something is wrong, and it is too early to say; look again then."""

    why: str
    after_s: float


def takeover_due(seen: Sighting) -> Due | Wait | None:
    """Judge one observation; None: nothing is wrong that a takeover could mend."""
    match seen.pod:
        case Pod.NONE:
            return None
        case Pod.GONE:
            return Due(Cause.POD_GONE, "the engine's pod vanished and its end was never proven")
        case Pod.REPLACED:
            return Due(
                Cause.POD_REPLACED,
                "another pod has the engine's name, and the old one's end was never proven",
            )
    if seen.node is Node.UNASSIGNED or not _suspicious(seen):
        return None
    if seen.api_healthy_s < SILENT_AFTER_S:
        why = f"our own access to the API server has not been well for {SILENT_AFTER_S:.0f} s yet: the silence may be ours"
        return Wait(why, SILENT_AFTER_S - seen.api_healthy_s)
    if seen.node is Node.UNSEEN:
        return Wait("could not look at the pod's node", BLIND_LOOK_S)
    return _overrun(seen) if seen.pod is Pod.OVERRUN else _silent(seen)


def _suspicious(seen: Sighting) -> bool:
    if seen.pod is Pod.OVERRUN:
        return True
    if seen.engine_silent_s is None:
        # It has not spoken yet. Only a node that is not heard either is a reason not to wait for it.
        return seen.node in {Node.ABSENT, Node.UNSEEN} or _node_is_silent(seen)
    return seen.engine_silent_s >= SILENT_AFTER_S


def _node_is_silent(seen: Sighting) -> bool:
    return seen.node_silent_s is not None and seen.node_silent_s >= SILENT_AFTER_S


def _overrun(seen: Sighting) -> Due | Wait:
    """The pod is being deleted and its grace period is over: by now its kubelet should have reported its end."""
    if seen.node is Node.ABSENT:
        return Due(Cause.NODE_GONE, "the pod is being deleted and its node's object is gone")
    if seen.node is Node.OUT_OF_SERVICE:
        return Due(
            Cause.NODE_OUT_OF_SERVICE, "the pod was given up because somebody marked its node out of service"
        )
    if _node_is_silent(seen):
        return Due(
            Cause.NODE_SILENT,
            f"the pod is being deleted and its node has been silent for {SILENT_AFTER_S:.0f} s",
        )
    if seen.overrun_s >= STUCK_AFTER_S:
        return Due(
            Cause.POD_STUCK, f"the kubelet has not ended the pod {STUCK_AFTER_S:.0f} s after its grace period"
        )
    left_s = STUCK_AFTER_S - seen.overrun_s
    if seen.node_silent_s is not None:
        left_s = min(left_s, SILENT_AFTER_S - seen.node_silent_s)
    return Wait("the pod is past its grace period; its kubelet has not reported its end", left_s)


def _silent(seen: Sighting) -> Due | Wait:
    """The engine does not renew its Lease."""
    if seen.node is Node.ABSENT:
        return Due(Cause.NODE_GONE, "the engine is silent and its node's object is gone")
    if _node_is_silent(seen):
        return Due(Cause.NODE_SILENT, f"the engine and its node have been silent for {SILENT_AFTER_S:.0f} s")
    assert seen.engine_silent_s is not None, "a pod that never spoke is suspicious by its node alone"
    looks = [] if seen.node_silent_s is None else [SILENT_AFTER_S - seen.node_silent_s]
    if seen.pod is Pod.RUNNING and seen.engine_started:
        if seen.engine_silent_s >= HUNG_AFTER_S:
            return Due(
                Cause.ENGINE_HUNG,
                f"the engine has been silent for {HUNG_AFTER_S:.0f} s on a node that is heard",
            )
        looks.append(HUNG_AFTER_S - seen.engine_silent_s)
    # A container that is not up is being restarted by its kubelet: the next one would fare no better elsewhere.
    why = "the engine is silent, its node is heard: liveness and watchdog restart it in place"
    return Wait(why, min(looks, default=BLIND_LOOK_S))


# ---------------------------------------------------------------------------------------------- damping


@dataclass(frozen=True)
class Crowd:
    """How many bots there are to be heard, how many of them fell silent, and how many takeovers are under way."""

    heard_of: int = 0
    silent: int = 0
    in_flight: int = 0


@dataclass(frozen=True)
class Held:
    """A due takeover has to wait (`reason` TakeoverWaiting), or for a person (TakeoverStopped)."""

    reason: str
    message: str
    after_s: float


STOPPED = "TakeoverStopped"
WAITING = "TakeoverWaiting"


def held_back(history: Iterable[Object], now: str, crowd: Crowd, *, stopped: bool) -> Held | None:
    """What stands against a takeover that is due. `stopped`: it was stopped before and nobody said otherwise.

    `history` is the claim's; times in it are this operator's, or its predecessor's, by the wall clock.
    """
    ages_s = sorted(_age_s(str(line.get("time")), now) for line in history if _was_takeover(line))
    recent = [age for age in ages_s if age < WINDOW_S]
    if stopped or len(recent) >= LIMIT:
        message = (
            f"{LIMIT} takeovers within {WINDOW_S / 60:.0f} minutes did not help, so no more are made. Find out why the engine "
            "does not stay, then acknowledge"
        )
        return Held(STOPPED, message, WINDOW_S)
    if recent and recent[0] < (pause_s := SPACING_S * 2.0 ** (len(recent) - 1)):
        return Held(
            WAITING,
            "the last takeover is too recent; the next one waits, each time longer",
            pause_s - recent[0],
        )
    if crowd.silent > max(CROWD_FLOOR, CROWD_SHARE * crowd.heard_of):
        message = (
            f"more than {CROWD_SHARE:.0%} of the bots fell silent at once, which looks like a fault of the API server or the "
            "network and not of engines: waiting"
        )
        return Held(WAITING, message, BLIND_LOOK_S)
    if crowd.in_flight >= AT_ONCE:
        return Held(WAITING, f"{AT_ONCE} takeovers are under way; this one waits", BLIND_LOOK_S)
    return None


def _was_takeover(line: Object) -> bool:
    return line.get("outcome") == "Active" and line.get("reason") in set(Cause)


def _age_s(time: str, now: str) -> float:
    return (dt.datetime.fromisoformat(now) - dt.datetime.fromisoformat(time)).total_seconds()
