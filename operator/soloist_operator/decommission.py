"""Deleting a TradingBot: the engine ends, its death is proven, its key is revoked, the claim is let go, then we are.

Nothing here needs a valid spec: a bot with a broken one can be deleted, too. There is no time-out that gives up; only
the annotation `soloist.trade/abandon: <reason>` does, by a person's word. The end of a Managed engine that a takeover would
replace (its node is lost, say) is not waited for: its key is revoked and its orders are cancelled first, in an epoch above its
own, and with that evidence its name is freed (singleton.md, P7).
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from soloist_fence.api import Verb

from soloist_operator import (
    accepted,
    attempts,
    claims,
    conditions,
    custody,
    holding,
    kinds,
    ownership,
    relocation,
    takeover,
)
from soloist_operator.accounts import fence_parameters
from soloist_operator.api.status import Phase
from soloist_operator.api.tradingbot import Account, KeyPolicy
from soloist_operator.api.validate import InvalidSpec, validate
from soloist_operator.attempts import attempt_of
from soloist_operator.claims import Whose
from soloist_operator.conditions import NOT_NEEDED, Findings, Verdict, no, yes
from soloist_operator.desired import config_map, fence_setup, finished_jobs, resolve
from soloist_operator.kinds import BOT_FINALIZER, FENCE_FINALIZER, GROUP
from soloist_operator.objects import (
    Object,
    annotation,
    controlled_by,
    deleting,
    dig,
    finalizers,
    name_of,
)
from soloist_operator.observe import Observed
from soloist_operator.plan import (
    Again,
    Blocked,
    Delete,
    Done,
    Draft,
    ForceDelete,
    Outcome,
    Plan,
    ScaleToZero,
    SetFinalizer,
    SwapClaim,
)
from soloist_operator.road import Context

ANNOTATION_ABANDON = f"{GROUP}/abandon"
POD_LOOK_S = 5.0
GIVEN_UP_LOOK_S = 0.5
SAID_LOOK_S = 0.05
"""At once, but after the status and its Event were written: nothing else will ever tell."""
STUCK_LOOK_S = 30.0


@dataclass
class _Farewell:
    observed: Observed
    context: Context
    draft: Draft = field(default_factory=Draft)
    unproven: str = ""
    """Why the engine is fenced, because its end will not be proven; empty while that is not so."""

    @property
    def abandoned(self) -> str:
        """The person's reason, empty when nobody abandoned the bot."""
        return (annotation(self.observed.bot, ANNOTATION_ABANDON) or "").strip()

    def end(self, fenced: Verdict, outcome: Outcome) -> Plan:
        bot = self.observed.bot
        leaving = no("Deleting", fenced.message)
        findings = Findings(
            specification=leaving,
            claimed=_claimed(self.observed),
            fenced=fenced,
            engine=no("Deleting", "the TradingBot is being deleted"),
            updated=no("Deleting", "the TradingBot is being deleted"),
            progress="" if fenced.reason == "OldInstanceUnproven" else fenced.message,
        )
        shown = dict(bot.get("status") or {})
        facts: dict[str, Any] = {
            k: v for k, v in shown.items() if k not in {"conditions", "observedGeneration", "pod", "node"}
        }
        pod = self.observed.pod
        facts |= {"pod": None if pod is None else name_of(pod), "node": dig(pod, "spec", "nodeName")}
        status = conditions.status_of(bot, findings, facts, self.context.now)
        return Plan(tuple(self.draft.actions), status, outcome, conditions.announcements(bot, status))


def decide_deletion(observed: Observed, context: Context) -> Plan:
    """The next step of a bot that is being deleted."""
    if BOT_FINALIZER not in finalizers(observed.bot):
        return Plan((), None, Done())
    kept = None
    if ownership.stateful_set(observed) is None:
        kept = accepted.last(observed, context.settings)
    spec = validate(observed.bot.get("spec") or {}, context.settings.venues)
    if kept is not None and isinstance(spec, InvalidSpec):
        observed = replace(observed, bot=kept.instead(observed.bot))
    farewell = _Farewell(observed, context)
    engine = _end_engine(farewell)
    if engine is not None:
        return engine
    claim = observed.claim
    if claim is not None and claims.whose_claim(claim, observed.ref.uid) is Whose.OURS:
        return _let_go(farewell, claim)
    done = SetFinalizer(
        kinds.TRADING_BOT, observed.bot, BOT_FINALIZER, present=False, why="nothing of it is left"
    )
    return Plan((*farewell.draft.actions, done), None, Done())


def _claimed(observed: Observed) -> Verdict:
    claim = observed.claim
    if claim is None:
        return NOT_NEEDED
    if claims.whose_claim(claim, observed.ref.uid) is Whose.OURS:
        return yes("Claimed", f"AccountClaim {name_of(claim)} is held by this bot")
    return no("NotHeld", f"AccountClaim {name_of(claim)} is not held by this bot")


# ---------------------------------------------------------------------------------------------- the engine


def _end_engine(farewell: _Farewell) -> Plan | None:
    """Stop what could start, audit or rotate, then wait for the engine's proven end; None when there is no engine left."""
    observed, draft = farewell.observed, farewell.draft
    stateful_set, pod = _own_stateful_set(observed), observed.pod
    for cron_job in (observed.rotation, observed.audit):
        if cron_job is not None and not deleting(cron_job) and controlled_by(cron_job, observed.ref.uid):
            draft.do(Delete(kinds.CRON_JOB, cron_job, "the TradingBot is being deleted"))
    if stateful_set is None and observed.stateful_set is not None:
        return None  # somebody else's StatefulSet: its pods are none of ours
    if stateful_set is not None and dig(stateful_set, "spec", "replicas") != 0 and not deleting(stateful_set):
        draft.do(ScaleToZero(stateful_set))
        return farewell.end(no("Stopping", "the engine is asked to stop"), Again(POD_LOOK_S))
    if farewell.abandoned:
        return _give_up_engine(farewell)
    draft.actions.extend(custody.strays(observed))
    if pod is None and observed.strays:
        names = ", ".join(name_of(stray.pod) for stray in observed.strays)
        return farewell.end(no("Stopping", f"pod {names} beside the engine is ending"), Again(POD_LOOK_S))
    if pod is None:
        return _await_controller(farewell)
    guard = custody.guard(observed, farewell.context.now)
    draft.actions.extend(guard.actions)
    if stateful_set is None and not deleting(pod) and not guard.actions:
        draft.do(Delete(kinds.POD, pod, "its StatefulSet is gone"))
    obstacle = guard.obstacle or no("Stopping", f"pod {name_of(pod)} is asked to stop")
    if deleting(pod) and not guard.actions:
        judged = takeover.takeover_due(
            relocation.sight(
                observed, farewell.context.heartbeat, farewell.context.watch, farewell.context.now
            )
        )
        if isinstance(judged, takeover.Due) and _can_be_fenced(farewell):
            farewell.unproven = judged.message
            return None
    if obstacle.reason == "OldInstanceUnproven":
        obstacle = no(
            obstacle.reason,
            f"{obstacle.message}; or give up the proof, and the key with it: kubectl annotate --overwrite tbs {observed.ref.name} "
            f"{ANNOTATION_ABANDON}='<reason>'",
        )
    return farewell.end(obstacle, Again(POD_LOOK_S))


def _can_be_fenced(farewell: _Farewell) -> bool:
    """Whether a release can make the engine harmless: its key is ours to revoke, and a Job can still be made."""
    observed, claim = farewell.observed, farewell.observed.claim
    return (
        claim is not None
        and claims.whose_claim(claim, observed.ref.uid) is Whose.OURS
        and dig(observed.bot, "spec", "account", "keyPolicy") == KeyPolicy.MANAGED.value
        and not _never_keyed(claim)
        and not observed.namespace_ending
    )


def _never_keyed(claim: Object) -> bool:
    """Nonces are kept for every attempt that could have made a key: without one there is nothing to revoke."""
    return claims.epoch_of(claim) == 0 or not dig(claim, "status", "nonces")


def _own_stateful_set(observed: Observed) -> Object | None:
    return observed.stateful_set if ownership.stateful_set(observed) is None else None


def _give_up_engine(farewell: _Farewell) -> Plan | None:
    """A person gave up the proof: every pod is asked to end and loses its finalizer, whatever became of it.

    The guard has no say here: it would put the finalizer back that was just taken off. A pod that lingers because nobody
    hears its kubelet keeps nobody waiting: that is what was given up.
    """
    observed, draft = farewell.observed, farewell.draft
    why = f"abandoned by a person: {farewell.abandoned}"
    pods = [stray.pod for stray in observed.strays]
    pods += [] if observed.pod is None else [observed.pod]
    for pod in pods:
        if not deleting(pod):
            draft.do(Delete(kinds.POD, pod, why))
        elif FENCE_FINALIZER in finalizers(pod):
            draft.do(SetFinalizer(kinds.POD, pod, FENCE_FINALIZER, present=False, why=why))
    if draft.actions:
        return farewell.end(no("Abandoned", why), Again(GIVEN_UP_LOOK_S))
    return _await_controller(farewell) if observed.pod is None else None


def _await_controller(farewell: _Farewell) -> Plan | None:
    """No pod is there: make sure that none is about to be made."""
    stateful_set = _own_stateful_set(farewell.observed)
    if stateful_set is None:
        return None
    seen = dig(stateful_set, "status", "observedGeneration") == stateful_set["metadata"].get("generation")
    if seen and not dig(stateful_set, "status", "replicas"):
        return None
    return farewell.end(no("Stopping", "the StatefulSet's controller has not yet seen the stop"), Again(1.0))


# ---------------------------------------------------------------------------------------------- the claim


def _let_go(farewell: _Farewell, claim: Object) -> Plan:
    context = farewell.context
    static = dig(farewell.observed.bot, "spec", "account", "keyPolicy") == KeyPolicy.STATIC.value
    never_keyed = _never_keyed(claim)
    if farewell.abandoned and not never_keyed:
        return _orphan(farewell, claim, "Abandoned", farewell.abandoned)
    if never_keyed or static:
        farewell.draft.do(
            SwapClaim(claims.released(claim, None, now=context.now), "the engine is proven dead")
        )
        return farewell.end(yes("Released", "the claim is let go"), Again(0.0))
    if farewell.observed.namespace_ending:
        why = (
            f"namespace {farewell.observed.ref.namespace} was deleted with the bot in it: no Job can be made there any more, and the "
            "management key is gone. The engine is proven dead; its key was not revoked"
        )
        return _orphan(farewell, claim, "NamespaceTerminated", why)
    return _revoke(farewell, claim)


def _orphan(farewell: _Farewell, claim: Object, reason: str, why: str) -> Plan:
    """Leave the claim with its epoch and key id on record. The key was not revoked, and nobody says that it was."""
    key = dig(claim, "status", "keyId") or "unknown"
    now = farewell.context.now
    farewell.draft.do(SwapClaim(claims.orphaned(claim, reason=reason, why=why, now=now), f"{reason}: {why}"))
    told = no(
        reason,
        f"AccountClaim {name_of(claim)} is left Orphaned: key {key} may still be accepted by the venue ({why}). A new TradingBot on "
        "the account revokes it before it trades; without one, delete the key at the venue",
    )
    return farewell.end(told, Again(SAID_LOOK_S))


def _instead_of_proof(farewell: _Farewell, verdict: Verdict) -> Verdict:
    if not farewell.unproven:
        return verdict
    return no(
        verdict.reason, f"{farewell.unproven}, so the engine is fenced at the exchange: {verdict.message}"
    )


def _free_name(farewell: _Farewell, epoch: int) -> Plan:
    """P7: the fence's evidence is there, of an epoch above the pod's. On a lost node nothing less frees the name."""
    pod = farewell.observed.pod
    assert pod is not None, "only a pod is unproven"
    key_epoch = relocation.key_epoch(farewell.observed)
    if key_epoch >= epoch:
        why = f"pod {name_of(pod)} does not say that its key is of an epoch below {epoch}, which was fenced"
        return farewell.end(no("OldInstanceUnproven", why), Again(POD_LOOK_S))
    why = f"it is of epoch {key_epoch}, and the fence revoked every key below epoch {epoch}"
    if relocation.freed_at_once(pod):
        farewell.draft.do(SetFinalizer(kinds.POD, pod, FENCE_FINALIZER, present=False, why=why))
    else:
        farewell.draft.do(ForceDelete(pod, why))
    return farewell.end(
        no("OldInstanceStopping", f"the name of pod {name_of(pod)} is freed: {why}"), Again(1.0)
    )


def _revoke(farewell: _Farewell, claim: Object) -> Plan:
    """Managed: a release of its own epoch, so that a rotation or takeover still running stands down."""
    observed, context = farewell.observed, farewell.context
    view = context.attempts[Verb.RELEASE]
    spec = validate(observed.bot.get("spec") or {}, context.settings.venues)
    if isinstance(spec, InvalidSpec) or spec.account is None:
        why = "spec is invalid" if isinstance(spec, InvalidSpec) else "spec has no account"
        message = (
            f"the key cannot be revoked because the {why} ({spec if isinstance(spec, InvalidSpec) else 'spec.account'}): correct it, "
            f"or give up the key with kubectl annotate tbs {observed.ref.name} {ANNOTATION_ABANDON}='<reason>' and delete the key at the venue"
        )
        return farewell.end(no("CannotRevoke", message), Blocked("CannotRevoke", STUCK_LOOK_S))
    account: Account = spec.account
    arming = context.attempts[Verb.TAKEOVER]
    under_way = arming.is_open and observed.job(observed.ref.fence(claims.epoch_of(claim))) is not None
    wanted = resolve(observed, spec, context.settings, claim=None, epoch=None)
    farewell.draft.actions.extend(config_map(observed, wanted.preflight))
    farewell.draft.actions.extend(finished_jobs(observed, None, claims.epoch_of(claim)))
    setup = fence_setup(observed, wanted, context.settings, avoid=context.watch.silent_nodes)
    fence = replace(
        fence_parameters(observed, account, context.settings.venues[spec.venue]),
        orders=bool(farewell.unproven),
    )
    if under_way:
        # It would stand down by itself; but its evidence may show that there is no key and nothing to revoke.
        ending = holding.walk(
            observed, claim, Verb.TAKEOVER, arming, setup, fence, context.now, why=holding.why_open(claim)
        )
        if isinstance(ending, holding.NotArmed):
            farewell.draft.actions.extend(ending.actions)
            return farewell.end(ending.verdict, Again(ending.after_s))
    step = holding.walk(observed, claim, Verb.RELEASE, view, setup, fence, context.now, why="Released")
    if isinstance(step, holding.NotArmed):
        farewell.draft.actions.extend(step.actions)
        return farewell.end(_instead_of_proof(farewell, step.verdict), Again(step.after_s))
    if farewell.unproven:
        return _free_name(farewell, claims.epoch_of(claim))
    assert claims.phase_of(claim) is not Phase.ACTIVE, "a release runs in an epoch that was never armed"
    record = attempts.evidence_record(step.evidence)
    swap = SwapClaim(
        claims.released(claim, record, now=context.now),
        "every key is revoked",
        closes=attempt_of(claim, Verb.RELEASE),
    )
    farewell.draft.do(swap)
    return farewell.end(yes("Released", "every key of the claim is revoked"), Again(0.0))
