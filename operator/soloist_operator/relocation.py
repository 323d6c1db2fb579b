"""From an engine that may still live to one elsewhere: what is seen of the old pod, where the next one goes, how its name is freed.

Pure (design: singleton.md, P7). Nothing here asks a lost kubelet for anything. What makes it safe is the fence: the old
pod's key is revoked before any of this happens, and the next engine gets a volume that the old one cannot write to.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from soloist_fence.api import Outcome

from soloist_operator import claims, custody
from soloist_operator.api.status import Phase
from soloist_operator.api.tradingbot import KeyPolicy
from soloist_operator.claims import Whose
from soloist_operator.conditions import no
from soloist_operator.custody import ANNOTATION_ACKNOWLEDGE, Custody
from soloist_operator.death import OUT_OF_SERVICE_TAINT, TERMINAL_PHASES, Proven, Sight, proof_of_death
from soloist_operator.heartbeat import Heartbeat
from soloist_operator.kinds import FENCE_FINALIZER, POD
from soloist_operator.objects import Object, annotation, deleting, dig, name_of, uid_of
from soloist_operator.observe import Observed
from soloist_operator.plan import ForceDelete, SetFinalizer
from soloist_operator.specs.engine import ANNOTATION_EPOCH, Lodging, avoided_nodes, epoch_secret, state_claim
from soloist_operator.takeover import UNREACHABLE, Cause, Crowd, Node, Pod, Sighting


@dataclass(frozen=True)
class Watch:
    """What this process timed by its own clock, for one bot."""

    api_healthy_s: float = 0.0
    node_silent_s: float | None = None
    overrun_s: float = 0.0
    silent_nodes: tuple[str, ...] = ()
    """Nodes that nothing is sent to: silent by our clock, or by our predecessor's and not heard by us yet."""
    crowd: Crowd = field(default_factory=Crowd)
    due: bool = False
    """A takeover is due in this run: only then does a person's word about an unproven pod count."""


# ---------------------------------------------------------------------------------------------- what is seen


def overrun(observed: Observed, now: str) -> bool:
    """Whether the engine's pod is past its grace period and not proven dead."""
    pod = observed.pod
    return (
        pod is not None
        and deleting(pod)
        and str(pod["metadata"]["deletionTimestamp"]) <= now
        and not isinstance(proof_of_death(pod, observed.node), Proven)
    )


def sight(observed: Observed, heartbeat: Heartbeat, watch: Watch, now: str) -> Sighting:
    """One observation, in the words of the classifier."""
    pod, record = observed.pod, heartbeat.record
    spoke = pod is not None and record is not None and record.pod_uid == uid_of(pod)
    return Sighting(
        pod=_pod(observed, now),
        node=_node(observed),
        engine_silent_s=heartbeat.silent_s if spoke else None,
        engine_started=_started(pod),
        node_silent_s=watch.node_silent_s,
        overrun_s=watch.overrun_s,
        api_healthy_s=watch.api_healthy_s,
    )


def _pod(observed: Observed, now: str) -> Pod:
    pod = observed.pod
    if custody.unaccounted(observed) is not None:
        return Pod.GONE if pod is None else Pod.REPLACED
    if pod is None:
        return Pod.NONE
    if not deleting(pod):
        return Pod.NONE if dig(pod, "status", "phase") in TERMINAL_PHASES else Pod.RUNNING
    if isinstance(proof_of_death(pod, observed.node), Proven):
        return Pod.NONE
    return Pod.OVERRUN if overrun(observed, now) else Pod.STOPPING


def _node(observed: Observed) -> Node:
    match observed.node.sight:
        case Sight.ABSENT:
            return Node.ABSENT
        case Sight.UNSEEN:
            return Node.UNSEEN
        case Sight.UNASSIGNED:
            return Node.UNASSIGNED
        case Sight.PRESENT:
            taints: Iterable[Object] = dig(observed.node.node, "spec", "taints") or []
            out = any(taint.get("key") == OUT_OF_SERVICE_TAINT for taint in taints)
            return Node.OUT_OF_SERVICE if out else Node.PRESENT


def _started(pod: Object | None) -> bool:
    statuses: list[Object] = dig(pod, "status", "containerStatuses") or []
    engine: Object = next((s for s in statuses if s.get("name") == "engine"), {})
    return dig(engine, "state", "running") is not None and bool(engine.get("started"))


# ---------------------------------------------------------------------------------------------- who has to go


def acknowledged(observed: Observed, uid: str) -> bool:
    """Whether a person said that the pod of this uid may be replaced without proof."""
    return (annotation(observed.bot, ANNOTATION_ACKNOWLEDGE) or "").strip() == uid


def ousted(observed: Observed, watch: Watch) -> bool:
    """Whether the pod's time is over: fence evidence of an epoch above its own, or a person's word where no fence exists."""
    pod = observed.pod
    if pod is None:
        return False
    if dig(observed.bot, "spec", "account", "keyPolicy") != KeyPolicy.MANAGED.value:
        return watch.due and acknowledged(observed, uid_of(pod))
    claim = observed.claim
    return (
        claim is not None
        and claims.whose_claim(claim, observed.ref.uid) is Whose.OURS
        and claims.phase_of(claim) is Phase.ACTIVE
        and dig(claim, "status", "evidence", "outcome") == Outcome.PUBLISHED.value
        and claims.epoch_of(claim) > key_epoch(observed)
    )


def key_epoch(observed: Observed) -> float:
    """The epoch whose key the pod mounts, by the one thing nobody can edit in a pod: its volumes. Infinite if they do not say."""
    secret = epoch_secret((observed.pod or {}).get("spec") or {}) or ""
    found = re.fullmatch(rf"{re.escape(observed.ref.name)}-key-e([1-9][0-9]*)-[0-9a-z]+", secret)
    return float("inf") if found is None else int(found[1])


def under_way(observed: Observed) -> bool:
    """Whether the account is being fenced for this bot: what is not proven of the old pod is about to be harmless."""
    claim = observed.claim
    return (
        claim is not None
        and claims.whose_claim(claim, observed.ref.uid) is Whose.OURS
        and claims.phase_of(claim) is Phase.FENCING
    )


def lost(observed: Observed, watch: Watch) -> bool:
    """Whether nobody can make the old engine stop, so that what it may write to is no place for the next one."""
    pod = observed.pod
    if pod is not None and acknowledged(observed, uid_of(pod)):
        return True
    silent = dig(pod, "spec", "nodeName") in watch.silent_nodes
    return silent or _node(observed) in {Node.ABSENT, Node.OUT_OF_SERVICE} or _cause(observed) in UNREACHABLE


def found_silent(observed: Observed) -> frozenset[str]:
    """Nodes that this bot's last takeover was about, by what is on record: an operator that starts now has yet to time them."""
    nodes = set(avoided_nodes(observed.stateful_set))
    node = dig(observed.pod, "spec", "nodeName")
    if (
        node
        and _cause(observed) is Cause.NODE_SILENT
        and key_epoch(observed) < claims.epoch_of(observed.claim or {})
    ):
        nodes.add(str(node))
    return frozenset(nodes)


def _cause(observed: Observed) -> Cause | None:
    """Why the running epoch was opened, when that was a takeover."""
    reason = dig(observed.claim, "status", "reason")
    return Cause(reason) if reason in set(Cause) else None


# ---------------------------------------------------------------------------------------------- where the next one goes


def lodging(observed: Observed, watch: Watch, *, start_fresh: bool) -> Lodging:
    """Volume and nodes of the next pod. Asked again it says the same: what was decided is read off the StatefulSet."""
    template: Object = dig(observed.stateful_set, "spec", "template") or {}
    volume = observed.volume
    moving = start_fresh and _leaves_its_volume(observed, watch, template, volume)
    if not start_fresh:
        return Lodging(volume)  # the next engine goes wherever that volume is
    if moving or observed.stateful_set is None:
        return Lodging(volume + moving, watch.silent_nodes)
    kept = avoided_nodes(observed.stateful_set)
    if not dig(observed.pod, "spec", "nodeName"):
        kept = tuple(
            node for node in kept if node in watch.silent_nodes
        )  # it is heard again, and somebody waits for a node
    return Lodging(volume, kept)


def _leaves_its_volume(observed: Observed, watch: Watch, template: Object, volume: int) -> bool:
    pod = observed.pod
    if pod is None:
        behind = annotation(template or None, ANNOTATION_EPOCH) != str(claims.epoch_of(observed.claim or {}))
        return observed.stateful_set is not None and behind and _cause(observed) is Cause.POD_GONE
    if not ousted(observed, watch) or not lost(observed, watch):
        return False
    # Once the template names the next volume the old pod no longer mounts the template's, and nothing moves again.
    mounts_it = state_claim(pod["spec"]) == observed.ref.volume_claim(volume)
    return mounts_it and not isinstance(proof_of_death(pod, observed.node), Proven)


# ---------------------------------------------------------------------------------------------- freeing the name


def freed_at_once(pod: Object) -> bool:
    """Whether a pod was deleted by force already; only its finalizer is left then."""
    return deleting(pod) and dig(pod, "metadata", "deletionGracePeriodSeconds") == 0


def dismiss(observed: Observed, watch: Watch, *, start_fresh: bool) -> Custody | None:
    """The next step of freeing the old pod's name without proof; None when the ordinary road is the right one.

    Only called when the StatefulSet is as declared and seen by its controller: the next pod must come from it.
    """
    pod = observed.pod
    if pod is None or not ousted(observed, watch) or isinstance(proof_of_death(pod, observed.node), Proven):
        return None
    gone_for_good = lost(observed, watch)
    if not gone_for_good and _cause(observed) is not Cause.ENGINE_HUNG:
        return None
    name = name_of(pod)
    why = (
        f"a person acknowledged pod uid {uid_of(pod)}"
        if acknowledged(observed, uid_of(pod))
        else f"it is of epoch {key_epoch(observed)}, and the fence published epoch {claims.epoch_of(observed.claim or {})}"
    )
    if not freed_at_once(pod):
        obstacle = no("OldInstanceStopping", f"pod {name} is deleted by force: {why}")
        return Custody((ForceDelete(pod, why),), obstacle)
    mounted = state_claim(pod["spec"])
    next_mounts = state_claim(dig(observed.stateful_set, "spec", "template", "spec") or {})
    if mounted == next_mounts and start_fresh:
        return Custody(
            obstacle=no("OldInstanceStopping", f"pod {name} was deleted by force; its kubelet is to end it")
        )
    release = SetFinalizer(POD, pod, FENCE_FINALIZER, present=False, why=why)
    kept = (
        ""
        if mounted == next_mounts
        else f". Its volume {mounted} is kept; the next engine starts on {next_mounts}"
    )
    return Custody((release,), no("OldInstanceStopping", f"the name of pod {name} is freed: {why}{kept}"))
