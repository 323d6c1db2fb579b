"""The pod's guard: its finalizer while it lives, its name released once it is proven dead; rollout.py says when it is replaced. Pure.

Replacement is always one road: delete the pod (the engine gets SIGTERM, cancels, verifies, exits) -> proof of death ->
remove the fence finalizer -> the StatefulSet controller makes the next pod with the same epoch and key.
"""

from __future__ import annotations

from dataclasses import dataclass

from soloist_operator import claims, safety
from soloist_operator.api.status import Phase
from soloist_operator.claims import Whose
from soloist_operator.conditions import Verdict, no
from soloist_operator.death import TERMINAL_PHASES, Proven, proof_of_death
from soloist_operator.kinds import FENCE_FINALIZER, GROUP, LEASE, POD
from soloist_operator.objects import annotation, deleting, dig, finalizers, name_of, uid_of
from soloist_operator.observe import Observed
from soloist_operator.plan import Action, Apply, Delete, SetFinalizer
from soloist_operator.specs import engine
from soloist_operator.specs.engine import ANNOTATION_ADMITTED, ANNOTATION_EPOCH, ANNOTATION_STATE

ANNOTATION_ACKNOWLEDGE = f"{GROUP}/acknowledge-unproven"
"""A person's word, on the TradingBot: the pod of this uid is dead, or harmless. A uid never comes back, so it counts once."""


@dataclass(frozen=True)
class Custody:
    """What to do with the pod, and what that means for Fenced (None: the pod is no obstacle)."""

    actions: tuple[Action, ...] = ()
    obstacle: Verdict | None = None


def guard(observed: Observed, now: str) -> Custody:
    """What every pod gets, whatever the spec says: its finalizer while it lives, its release once proven dead."""
    pod = observed.pod
    if pod is None:
        return Custody()
    guarded = FENCE_FINALIZER in finalizers(pod)
    if not deleting(pod):
        if dig(pod, "status", "phase") in TERMINAL_PHASES:
            # Evicted, or its node shut down: it will not come back, and only a deletion lets it be judged.
            return Custody(
                (Delete(POD, pod, "the pod ended and nobody deleted it"),),
                no("OldInstanceStopping", f"pod {name_of(pod)} ended; its death is being proven"),
            )
        if not guarded:
            add = SetFinalizer(
                POD, pod, FENCE_FINALIZER, present=True, why="somebody took the fence off the pod"
            )
            return Custody((add,))
        return Custody()
    if not guarded:
        return Custody(obstacle=no("OldInstanceStopping", f"pod {name_of(pod)} is about to disappear"))
    proof = proof_of_death(pod, observed.node)
    if isinstance(proof, Proven):
        release = SetFinalizer(POD, pod, FENCE_FINALIZER, present=False, why=proof.how)
        return Custody(
            (*_discharge(observed), release),
            no("OldInstanceStopping", f"pod {name_of(pod)} is proven dead: {proof.how}"),
        )
    # deletionTimestamp is the end of the grace period: until then the engine is stopping in order.
    if str(pod["metadata"]["deletionTimestamp"]) > now:
        return Custody(
            obstacle=no("OldInstanceStopping", f"pod {name_of(pod)} is stopping; missing so far: {proof}")
        )
    return Custody(
        obstacle=no(
            "OldInstanceUnproven",
            f"pod {name_of(pod)} is not proven dead, so no other engine may start. Missing: {proof}. Repair the node, or see "
            "the runbook OldInstanceUnproven",
        )
    )


def admitted(observed: Observed) -> str:
    """Uid of the pod that may renew the Lease, empty for none: the operator's own record of who was let in.

    It is emptied before a proven pod's name is released. So a uid that is still there, while its pod is not, tells of a
    pod whose end nobody proved, also to the next operator process.
    """
    pod = observed.pod
    missing = unaccounted(observed)
    if missing is not None:
        return missing
    if pod is None or (deleting(pod) and isinstance(proof_of_death(pod, observed.node), Proven)):
        return ""
    epoch = _armed_epoch(observed)
    if epoch is not None and annotation(pod, ANNOTATION_EPOCH) != epoch:
        return ""  # of an older epoch, or the account is being fenced
    return uid_of(pod)


def unaccounted(observed: Observed) -> str | None:
    """Uid of a pod that was admitted in this epoch and is gone or replaced although its end was not proven."""
    epoch, before = _armed_epoch(observed), annotation(observed.lease, ANNOTATION_ADMITTED)
    if not before or not epoch or annotation(observed.lease, ANNOTATION_EPOCH) != epoch:
        return None
    if observed.pod is not None and uid_of(observed.pod) == before:
        return None
    word = (annotation(observed.bot, ANNOTATION_ACKNOWLEDGE) or "").strip()
    return None if word == before else before


def _armed_epoch(observed: Observed) -> str | None:
    """The epoch that may trade, empty while there is none, None for a bot without an account."""
    if not dig(observed.bot, "spec", "account"):
        return None
    claim = observed.claim
    if claim is None or claims.whose_claim(claim, observed.ref.uid) is not Whose.OURS:
        return ""
    return str(claims.epoch_of(claim)) if claims.phase_of(claim) is Phase.ACTIVE else ""


def _discharge(observed: Observed) -> tuple[Action, ...]:
    """Take the pod's uid out of the Lease. Written before the name is released, so that a crash between loses no proof."""
    lease = observed.lease
    if observed.pod is None or annotation(lease, ANNOTATION_ADMITTED) != uid_of(observed.pod):
        return ()
    epoch = annotation(lease, ANNOTATION_EPOCH)
    told = engine.lease(
        observed.ref,
        epoch=int(epoch) if epoch else None,
        desired_state=annotation(lease, ANNOTATION_STATE) or "",
        admitted_pod_uid="",
        given_back=safety.given_back(observed),
    )
    return (Apply(LEASE, told),)


def strays(observed: Observed) -> tuple[Action, ...]:
    """End every fenced pod beside the engine, and release its name once it is proven dead.

    Scaling the StatefulSet by hand makes such pods. They cannot trade (no Lease, and the journal's volume is another), but
    nobody else takes their finalizer off.
    """
    actions: list[Action] = []
    for stray in observed.strays:
        if not deleting(stray.pod):
            actions.append(Delete(POD, stray.pod, "a bot has one engine pod"))
        elif isinstance(proof := proof_of_death(stray.pod, stray.node), Proven):
            actions.append(SetFinalizer(POD, stray.pod, FENCE_FINALIZER, present=False, why=proof.how))
    return tuple(actions)
