"""From what was observed to what is to be done: the whole road of one bot. Pure; one call is one step.

    valid spec -> our finalizer -> which account is it?  and  does the engine accept the configuration? -> the claim
    -> the account is fenced -> the children -> the pod is brought up to date -> status

A step that waits or fails ends the road there, and everything behind it stays as it is: a running bot is never stopped
by a bad edit. The pod's guard (finalizer, proof of death) works on every run, whatever the spec says.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from soloist_fence.api import Verb

from soloist_operator import (
    audits,
    claims,
    conditions,
    custody,
    desired,
    holding,
    identity,
    judgements,
    kinds,
    ownership,
    relocation,
    renewal,
    takeover,
)
from soloist_operator.api.status import Phase
from soloist_operator.api.tradingbot import (
    Account,
    KeyPolicy,
    KeyType,
    State,
    TradingBotSpec,
    WhenUnreachable,
)
from soloist_operator.api.validate import InvalidSpec, Problem, validate
from soloist_operator.attempts import AttemptView
from soloist_operator.conditions import NOT_NEEDED, Findings, Verdict, no, yes
from soloist_operator.desired import Desired
from soloist_operator.heartbeat import Heartbeat
from soloist_operator.holding import JOB_LOOK_S, Arms, FenceParameters, Opening
from soloist_operator.identity import Identified, Unidentified
from soloist_operator.objects import Object, annotation, deleting, dig, finalizers, uid_of
from soloist_operator.observe import Observed
from soloist_operator.outcomes import (
    Finished,
    Running,
    check_problems,
    finished_age_s,
    outcome_of,
    reported_problems,
)
from soloist_operator.plan import (
    Action,
    Again,
    Blocked,
    Create,
    Delete,
    Done,
    Draft,
    Outcome,
    Plan,
    SetFinalizer,
    SwapClaim,
)
from soloist_operator.relocation import Watch
from soloist_operator.settings import Settings, Venue
from soloist_operator.specs.engine import ANNOTATION_CONFIG, ANNOTATION_VALID, Arming, Lodging
from soloist_operator.specs.jobs import CHECK_CONTAINER, check_job

DYING_POD_LOOK_S = 5.0
"""A dying pod is looked at again even if no event comes: its node may be the one that fell silent."""
REFUSED_LOOK_S = 300.0
CHECK_RETRY_S = 60.0
"""After a check that ended without a verdict: an image that could not be pulled, a node that was lost."""
BOUND_LOOK_S = 0.05
"""At once, but after the status was written: what it is bound to must be on record before it is used."""
STATEFUL_SET_LOOK_S = 1.0
STRANGER_LOOK_S = 15.0


@dataclass(frozen=True)
class Context:
    """What a decision needs besides the cluster. `now` is RFC 3339 text in UTC."""

    settings: Settings
    now: str
    heartbeat: Heartbeat
    attempts: Mapping[Verb, AttemptView]
    restored: bool = False
    """The operator was started with --after-restore, and has opened no epoch of this bot's claim since."""
    watch: Watch = field(default_factory=Watch)


@dataclass
class Road:
    """One run: what is known so far, and the plan being written."""

    observed: Observed
    context: Context
    draft: Draft = field(default_factory=Draft)
    findings: dict[str, Any] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)
    replace: str | None = None
    """Why a running epoch must be replaced by a new one, in one word: takeover.py's, or renewal.py's."""
    watch: Watch = field(default_factory=Watch)
    look_s: float | None = None
    """Something has to be judged again that soon, whatever else there is to wait for."""

    def found(self, **verdicts: Verdict | str) -> None:
        """Remember judgements, by their names in Findings."""
        self.findings |= verdicts

    def end(self, outcome: Outcome) -> Plan:
        """The plan, with the status that follows from what was found."""
        bot = self.observed.bot
        status = conditions.status_of(bot, Findings(**self.findings), self.facts, self.context.now)
        told = conditions.announcements(bot, status)
        drafted = self.draft.actions
        # The guard's word to the Lease comes first, and may be all that the Lease needs.
        once = tuple(action for place, action in enumerate(drafted) if action not in drafted[:place])
        return Plan(once, status, outcome, told)


def decide(observed: Observed, context: Context) -> Plan:
    """The next step of a bot that is not being deleted."""
    assert not deleting(observed.bot), "deletion is decommission.py's"
    road = Road(observed, context)
    if (stranger := ownership.stateful_set(observed)) is not None:
        return _stranger(road, stranger)
    _guard_pod(road)
    spec = _valid_spec(observed, context.settings)
    if isinstance(spec, InvalidSpec):
        return _invalid(road, spec)
    _facts(road, spec)
    if kinds.BOT_FINALIZER not in finalizers(observed.bot):
        finalizer = SetFinalizer(
            kinds.TRADING_BOT, observed.bot, kinds.BOT_FINALIZER, present=True, why="nothing was made yet"
        )
        road.draft.actions.insert(0, finalizer)
    if spec.account is None:
        road.found(claimed=NOT_NEEDED, fenced=NOT_NEEDED, keys=NOT_NEEDED)
        return _without_account(road, spec)
    return _with_account(road, spec, spec.account)


# ---------------------------------------------------------------------------------------------- any spec


def _guard_pod(road: Road) -> None:
    observed, context = road.observed, road.context
    guard = custody.guard(observed, context.now)
    road.draft.actions.extend((*guard.actions, *custody.strays(observed)))
    if guard.obstacle is not None:
        road.found(fenced=guard.obstacle, progress=guard.obstacle.message)
    judged = takeover.takeover_due(relocation.sight(observed, context.heartbeat, context.watch, context.now))
    road.watch = replace(context.watch, due=isinstance(judged, takeover.Due))
    if isinstance(judged, takeover.Wait):
        road.look_s = judged.after_s
    elif isinstance(judged, takeover.Due):
        _take_over(road, judged)


def _take_over(road: Road, due: takeover.Due) -> None:
    """A takeover is due: open the next epoch, unless something stands against it."""
    observed, context = road.observed, road.context
    claim, uid = (
        observed.claim,
        custody.unaccounted(observed) or uid_of(observed.pod or {"metadata": {"uid": ""}}),
    )
    word = f"kubectl annotate --overwrite tbs {observed.ref.name} {custody.ANNOTATION_ACKNOWLEDGE}={uid}"
    if dig(observed.bot, "spec", "account", "keyPolicy") != KeyPolicy.MANAGED.value:
        if not relocation.acknowledged(observed, uid):
            message = (
                f"{due.message}; no fence can make that harmless, so no other engine may start. Repair the node, or, once you know that "
                f"pod uid {uid} is dead: {word} (runbook OldInstanceUnproven)"
            )
            road.found(fenced=no("OldInstanceUnproven", message))
        return
    if claim is None or claims.whose_claim(claim, observed.ref.uid) is not claims.Whose.OURS:
        return
    if claims.phase_of(claim) is not Phase.ACTIVE:
        return  # it is under way
    if relocation.ousted(observed, road.watch) and relocation.lost(observed, road.watch):
        return  # it is done: what is left is to free the old pod's name
    acknowledged = relocation.acknowledged(observed, uid)
    shown = dig(observed.bot, "status", "conditions") or []
    stopped = any(c["type"] == "Fenced" and c["reason"] == takeover.STOPPED for c in shown)
    held = takeover.held_back(
        dig(claim, "status", "history") or [], context.now, context.watch.crowd, stopped=stopped
    )
    if held is None or acknowledged:
        road.replace = due.cause.value
        return
    hint = f": {word}" if held.reason == takeover.STOPPED else ""
    road.found(fenced=no(held.reason, f"{due.message}. {held.message}{hint}"))
    road.look_s = held.after_s


def _valid_spec(observed: Observed, settings: Settings) -> TradingBotSpec | InvalidSpec:
    spec = validate(observed.bot.get("spec") or {}, settings.venues)
    if isinstance(spec, InvalidSpec):
        return spec
    bound, found = dig(observed.bot, "status", "claim"), None
    if spec.account is not None:
        found = identity.bound(observed.bot, spec.account)
    if bound and (found is None or bound != found.claim):
        message = "names another account than the one this bot holds: write the old account, or delete the TradingBot and create it again"
        return InvalidSpec((Problem("spec.account", message),))
    return spec


def _stranger(road: Road, verdict: Verdict) -> Plan:
    """Something that is not ours has a name that we need: nothing of it is touched, nor anything else."""
    shown = dict(road.observed.bot.get("status") or {})
    road.facts = {k: v for k, v in shown.items() if k not in {"conditions", "observedGeneration"}}
    road.found(specification=verdict, updated=verdict, protected=verdict)
    return road.end(Blocked(verdict.reason, STRANGER_LOOK_S))


def _invalid(road: Road, invalid: InvalidSpec) -> Plan:
    """A bad edit changes the status and, if it can be read, the state that the engine is told."""
    observed = road.observed
    wanted = (observed.bot.get("spec") or {}).get("state", State.RUNNING.value)
    if observed.lease is not None and wanted in set(State):
        road.draft.actions.extend(desired.lease(observed, _claimed_epoch(observed), State(wanted)))
    shown = dict(observed.bot.get("status") or {})
    road.facts = {k: v for k, v in shown.items() if k not in {"conditions", "observedGeneration"}}
    wrong = no(invalid.reason, f"{invalid}. What runs stays as it is")
    before = {c["type"]: c for c in shown.get("conditions") or []}
    for name, kind in (("claimed", "AccountClaimed"), ("keys", "KeysHealthy"), ("protected", "Protected")):
        if kind in before:
            road.found(
                **{name: Verdict(before[kind]["status"], before[kind]["reason"], before[kind]["message"])}
            )
    if "fenced" not in road.findings and "Fenced" in before and before["Fenced"]["reason"] not in _OBSTACLES:
        fenced = before["Fenced"]
        road.found(fenced=Verdict(fenced["status"], fenced["reason"], fenced["message"]))
    epoch = road.facts.get("epoch")
    state = State(wanted) if wanted in set(State) else State.RUNNING
    engine = judgements.engine_verdict(observed, road.context.heartbeat, epoch, state)
    road.found(specification=wrong, updated=wrong, engine=engine)
    return road.end(Blocked(invalid.reason, REFUSED_LOOK_S))


_OBSTACLES = frozenset({"OldInstanceStopping", "OldInstanceUnproven"})


def _facts(road: Road, spec: TradingBotSpec) -> None:
    observed, pod = road.observed, road.observed.pod
    engine: Object = next((c for c in dig(pod, "spec", "containers") or [] if c["name"] == "engine"), {})
    claim = observed.claim
    ours = claim is not None and claims.whose_claim(claim, observed.ref.uid) is claims.Whose.OURS
    record = road.context.heartbeat.record
    known_key = dig(claim, "status", "keyId") if ours else None
    current_key = record.key_id if ours and record is not None and not road.context.heartbeat.silent else None
    road.facts = {
        "mode": spec.mode.value,
        "state": judgements.shown_state(observed, road.context.heartbeat, spec.state),
        "accountIdentity": dig(observed.bot, "status", "accountIdentity"),
        "claim": dig(observed.bot, "status", "claim"),
        "epoch": (claims.epoch_of(claim) or None) if ours and claim is not None else None,
        "pod": observed.ref.pod if pod is not None else None,
        "node": dig(pod, "spec", "nodeName"),
        "image": engine.get("image"),
        "configHash": annotation(pod, ANNOTATION_CONFIG),
        "keyId": current_key or known_key,
    }


def _resolved(spec: TradingBotSpec, wanted: Desired) -> dict[str, str]:
    """`status.resolved`: what applies where the spec is silent."""
    return {
        "image": wanted.image.reference,
        "imagePullPolicy": wanted.image.pull_policy,
        "configHash": wanted.configuration.config_hash,
        "updatePolicy": spec.update.policy.value,
        "disruptionPolicy": spec.disruption.policy.value,
        "storageSize": spec.storage.size,
        "stateGeneration": str(wanted.lodging.volume),
        "whenUnreachable": spec.storage.when_unreachable.value,
    }


# ---------------------------------------------------------------------------------------------- the road


def _without_account(road: Road, spec: TradingBotSpec) -> Plan:
    wanted = desired.resolve(
        road.observed, spec, road.context.settings, claim=None, epoch=None, lodging=_lodging(road, spec)
    )
    waiting = _prepare(road, wanted)
    return waiting if waiting is not None else _run(road, wanted, None)


def _with_account(road: Road, spec: TradingBotSpec, account: Account) -> Plan:
    observed, context = road.observed, road.context
    found = identity.bound(observed.bot, account)
    if found is None:
        return _identify(road, spec, account)
    held = _hold(road, spec, account, found)
    if isinstance(held, holding.NotHeld):
        road.draft.actions.extend(held.actions)
        road.found(claimed=held.verdict)
        if held.actions:
            road.found(progress=held.verdict.message)
            return road.end(Again(held.after_s))
        return road.end(Blocked(held.verdict.reason, held.after_s))
    claim = held.claim
    road.found(claimed=identity.claimed_verdict(found))
    above = renewal.epoch_above(observed, claim, context.heartbeat)
    if above and not context.restored:
        road.found(fenced=renewal.unknown_history(claim, above))
        preflight = desired.resolve(observed, spec, context.settings, claim=None, epoch=None)
        return _finish(road, preflight, Blocked("UnknownHistory", STRANGER_LOOK_S))
    armed = holding.armed(claim, account)
    if armed is not None:
        _judge_holding(road, account, claim, armed.verdict)
        road.replace = road.replace or renewal.due(
            observed, claim, account, now=context.now, restored=context.restored
        )
    running = armed is not None and road.replace is None
    wanted = desired.resolve(
        observed,
        spec,
        context.settings,
        claim=found.claim,
        epoch=claims.epoch_of(claim) if running else None,
        lodging=_lodging(road, spec),
    )
    waiting = _prepare(road, wanted)
    if waiting is not None:
        return waiting
    fence = fence_parameters(observed, account, context.settings.venues[spec.venue])
    if armed is None or road.replace is not None:
        return _arm(road, wanted, account, claim, fence, above)
    return _hold_on(road, wanted, account, claim, fence)


def _hold_on(road: Road, wanted: Desired, account: Account, claim: Object, fence: FenceParameters) -> Plan:
    """The claim is Active, and stays so."""
    observed, context = road.observed, road.context
    assert wanted.epoch is not None, "an Active claim has an epoch"
    if account.key_policy is KeyPolicy.MANAGED:
        road.draft.actions.extend(_look_after(road, wanted, claim, fence))
    road.draft.actions.extend(holding.follow_engine(observed, claim, context.heartbeat)[: _one_swap(road)])
    armed = holding.armed(claim, account)
    assert armed is not None, "only called for an Active claim"
    return _run(road, wanted, armed.arming)


def _one_swap(road: Road) -> int:
    """At most one swap of a claim in a plan: a second one would carry the version that the first replaced."""
    return 0 if any(isinstance(action, SwapClaim) for action in road.draft.actions) else 1


def _look_after(road: Road, wanted: Desired, claim: Object, fence: FenceParameters) -> Iterator[Action]:
    """Rotation and audit of a Managed account. They come after the engine: nothing of theirs is due in its first minute."""
    observed, context = road.observed, road.context
    last = audits.last(observed, claim)
    halting = audits.halting(observed, claim, last, context.now)
    if halting is not None:
        yield halting
    if observed.pod is None and observed.rotation is None:
        return
    yield from desired.rotation(observed, wanted, context.settings, fence, claim)
    yield from desired.audit(observed, wanted, context.settings, fence, claim)
    yield from audits.reaping(
        observed, last, desired.reap_job(observed, wanted, context.settings, fence, claim)
    )


def _identify(road: Road, spec: TradingBotSpec, account: Account) -> Plan:
    """Which account is it? The venue is asked while the engine's image looks at the configuration."""
    observed, context = road.observed, road.context
    wanted = desired.resolve(observed, spec, context.settings, claim=None, epoch=None)
    setup = desired.fence_setup(observed, wanted, context.settings)
    lag_ms = context.settings.venues[spec.venue].key_list_lag_ms
    asked = identity.ask(observed, account, context.attempts[Verb.IDENTIFY], setup, lag_ms)
    if isinstance(asked, Identified):
        road.facts |= {"accountIdentity": asked.identity, "claim": asked.claim}
        road.found(
            claimed=no("Claiming", f"the account is {asked.identity}"), progress="the account is identified"
        )
        return road.end(Again(BOUND_LOOK_S))
    return _while_identifying(road, wanted, asked)


def _while_identifying(road: Road, wanted: Desired, asked: Unidentified) -> Plan:
    observed, settings = road.observed, road.context.settings
    road.facts["resolved"] = _resolved(wanted.spec, wanted)
    road.found(claimed=asked.verdict)
    if asked.verdict.reason == "Identifying":
        road.found(progress=asked.verdict.message)
    if (stranger := ownership.surroundings(observed)) is not None:
        return _stranger(road, stranger)
    road.draft.actions.extend(desired.network_policy(observed, wanted, settings))
    road.draft.actions.extend(desired.config_map(observed, wanted.preflight))
    road.draft.actions.extend(asked.actions)
    checked = _check(road, wanted)
    if checked is None:
        return _finish(road, wanted, Again(asked.after_s))
    waiting = _await_check(road, wanted, checked)
    if isinstance(waiting.outcome, Blocked) and asked.after_s < waiting.outcome.after_s:
        return replace(waiting, outcome=Again(asked.after_s))
    return waiting


def _hold(
    road: Road, spec: TradingBotSpec, account: Account, found: Identified
) -> holding.Held | holding.NotHeld:
    """Take the claim; and open its first epoch in the same swap when the configuration is accepted already."""
    observed, context = road.observed, road.context
    opening = None
    if spec.state is not State.STOPPED:
        wanted = desired.resolve(observed, spec, context.settings, claim=None, epoch=None)
        if _check(road, wanted) is None:
            opening = Opening(
                context.attempts[Verb.TAKEOVER].nonce,
                context.now,
                tuple(account.acknowledged_key_ids or ()),
            )
    return holding.hold(observed, found, account, spec.venue, context.now, opening)


def _judge_holding(road: Road, account: Account, claim: Object, verdict: Verdict) -> None:
    if "fenced" not in road.findings:
        road.found(fenced=verdict)
    if account.key_policy is KeyPolicy.MANAGED:
        road.found(keys=judgements.keys_verdict(road.observed, claim))
    else:
        road.found(keys=yes("Static", "the key is yours: Soloist neither replaces nor revokes it"))


def _arm(
    road: Road, wanted: Desired, account: Account, claim: Object, fence: FenceParameters, above: int
) -> Plan:
    """One step towards an Active claim; when it can become Active, the engine follows in the same plan (P7)."""
    context, observed = road.context, road.observed
    takeover = context.attempts[Verb.TAKEOVER]
    why = road.replace or holding.why_open(claim)
    if wanted.spec.state is State.STOPPED and road.replace is None:
        road.found(fenced=no("Stopped", "spec.state is Stopped: the account is fenced when the bot starts"))
        return _finish(road, wanted, Done())
    step: Arms | holding.NotArmed
    if account.key_policy is KeyPolicy.STATIC:
        step = holding.arm_static(claim, account, context.now, takeover.nonce, why, above)
    else:
        setup = desired.fence_setup(observed, wanted, context.settings, avoid=context.watch.silent_nodes)
        step = holding.arm_managed(observed, claim, takeover, setup, fence, context.now, why=why, above=above)
    if isinstance(step, Arms):
        return _arm_now(road, wanted, account, step)
    road.draft.actions.extend(step.actions)
    road.draft.actions.extend(
        desired.finished_jobs(observed, wanted.preflight.validity_hash, claims.epoch_of(claim))
    )
    if "fenced" not in road.findings or road.replace is not None:
        road.found(fenced=step.verdict, progress=step.progress)
    return _finish(road, wanted, Again(step.after_s))


def _arm_now(road: Road, wanted: Desired, account: Account, step: Arms) -> Plan:
    """P7, first half: the claim becomes Active, then the template gets the new key. No write follows one that failed."""
    observed, claim = road.observed, step.swap.body
    road.draft.do(step.swap)
    armed = holding.armed(claim, account)
    assert armed is not None, "the swap makes it Active"
    epoch = claims.epoch_of(claim)
    road.facts |= {"epoch": epoch, "keyId": dig(claim, "status", "keyId") or road.facts.get("keyId")}
    _judge_holding(road, account, claim, armed.verdict)
    road.observed = observed = replace(observed, claim=claim)
    resolved = desired.resolve(
        observed,
        wanted.spec,
        road.context.settings,
        claim=str(road.facts["claim"]),
        epoch=epoch,
        lodging=_lodging(road, wanted.spec),
    )
    road.facts["resolved"] = _resolved(wanted.spec, resolved)
    road.draft.actions.extend(desired.config_map(observed, resolved.configuration))
    if wanted.spec.state is State.STOPPED:
        return _finish(road, resolved, Again(STATEFUL_SET_LOOK_S))
    return _run(road, resolved, armed.arming)


def _lodging(road: Road, spec: TradingBotSpec) -> Lodging:
    return relocation.lodging(road.observed, road.watch, start_fresh=_start_fresh(spec))


def _start_fresh(spec: TradingBotSpec) -> bool:
    return spec.storage.when_unreachable is WhenUnreachable.START_FRESH


def fence_parameters(observed: Observed, account: Account, venue: Venue) -> FenceParameters:
    """What the fence is told about an account."""
    return FenceParameters(
        cluster_id=observed.cluster_id,
        revocation_bound_ms=venue.revocation_bound_ms,
        key_list_lag_ms=venue.key_list_lag_ms,
        key_type=account.key_type or KeyType.ED25519,
        acknowledged_key_ids=tuple(account.acknowledged_key_ids or ()),
    )


def _prepare(road: Road, wanted: Desired) -> Plan | None:
    """Surroundings and a checked configuration; a plan when the road ends here for now."""
    observed, settings = road.observed, road.context.settings
    road.facts["resolved"] = _resolved(wanted.spec, wanted)
    if (stranger := ownership.surroundings(observed)) is not None:
        return _stranger(road, stranger)
    if observed.lease is not None:  # a halt must arrive, whatever else is refused
        road.draft.actions.extend(_lease(road, wanted.spec))
    checked = _check(road, wanted)
    if observed.stateful_set is None or checked is None:
        road.draft.actions.extend(desired.network_policy(observed, wanted, settings))
        road.draft.actions.extend(desired.surroundings(observed, wanted))
        road.draft.actions.extend(desired.config_map(observed, wanted.preflight))
        if wanted.configuration != wanted.preflight:
            road.draft.actions.extend(desired.config_map(observed, wanted.configuration))
        road.found(protected=yes("Declared", "budget, network policy and fence finalizer are as declared"))
    else:
        road.found(protected=_still_protected(observed))
    return None if checked is None else _await_check(road, wanted, checked)


def _lease(road: Road, spec: TradingBotSpec) -> Iterator[Action]:
    """What the engine is told. An audit that saw foreign orders halts it, whatever the spec says."""
    halt = claims.halt_of(road.observed.claim)
    halted = halt is not None and not halt.get("acknowledged")
    yield from desired.lease(
        road.observed, _claimed_epoch(road.observed), State.HALTED if halted else spec.state
    )


def _await_check(road: Road, wanted: Desired, checked: _Unchecked) -> Plan:
    """The engine has not accepted the configuration: ask it, or say what it refuses."""
    observed = road.observed
    if checked.stale is not None:
        road.draft.do(Delete(kinds.JOB, checked.stale, "it ended without a verdict and is made again"))
    if checked.start:
        if observed.stateful_set is not None:
            road.draft.actions.extend(desired.config_map(observed, wanted.preflight))
        job = check_job(
            observed.ref,
            wanted.spec,
            image=wanted.image,
            config_map=observed.ref.config(wanted.preflight.config_hash),
            validity_hash=wanted.preflight.validity_hash,
        )
        road.draft.do(Create(kinds.JOB, job))
    road.found(updated=checked.verdict)
    if checked.over:
        road.found(specification=checked.verdict)
        return _finish(road, wanted, Blocked(checked.verdict.reason, checked.after_s))
    if "progress" not in road.findings:
        road.found(progress=checked.verdict.message)
    return _finish(road, wanted, Again(checked.after_s))


def _claimed_epoch(observed: Observed) -> int | None:
    return None if observed.claim is None else claims.epoch_of(observed.claim)


def _still_protected(observed: Observed) -> Verdict:
    if observed.disruption_budget is None or observed.network_policy is None:
        return no(
            "Missing", "the budget or the network policy is gone; it comes back when the spec is accepted"
        )
    return yes("Kept", "budget and network policy are as last declared")


@dataclass(frozen=True)
class _Unchecked:
    """The engine has not accepted this configuration: not yet (`over` False), or it refused it."""

    verdict: Verdict
    over: bool
    start: bool = False
    after_s: float = JOB_LOOK_S
    stale: Object | None = None
    """A Job that ended without a verdict, long enough ago to ask again."""


def _check(road: Road, wanted: Desired) -> _Unchecked | None:
    observed, valid = road.observed, wanted.preflight.validity_hash
    if annotation(observed.stateful_set, ANNOTATION_VALID) == valid:
        return None
    name = observed.ref.check(valid)
    job = observed.job(name)
    checking = no("Checking", f"Job {name} asks the engine about the configuration")
    if job is None:
        return _Unchecked(checking, over=False, start=True)
    if deleting(job):
        return _Unchecked(checking, over=False, after_s=1.0)
    outcome = outcome_of(job, observed.pods, CHECK_CONTAINER)
    if isinstance(outcome, Running):
        return _Unchecked(no("Checking", f"{checking.message}{outcome.trouble}"), over=False)
    assert isinstance(outcome, Finished)
    if outcome.succeeded:
        return None
    problems = "; ".join(map(str, check_problems(outcome)))
    refused = no("InvalidConfiguration", f"{problems}. What runs stays as it is")
    if reported_problems(outcome.message):
        return _Unchecked(refused, over=True, after_s=REFUSED_LOOK_S)
    left_s = CHECK_RETRY_S - finished_age_s(job, road.context.now)
    if left_s > 0:
        return _Unchecked(no("CheckUnfinished", f"{problems}. It is tried again"), over=True, after_s=left_s)
    return _Unchecked(checking, over=False, after_s=1.0, stale=job)


def _run(road: Road, wanted: Desired, arming: Arming | None) -> Plan:
    """The engine itself: its StatefulSet, then its pod, then what nobody needs any more."""
    observed = road.observed
    if observed.lease is None and (observed.pod is not None or wanted.epoch is None):
        road.draft.actions.extend(_lease(road, wanted.spec))
    declared = desired.stateful_set(observed, wanted, road.context.settings, arming)
    writes = list(desired.missing(kinds.STATEFUL_SET, declared, observed.stateful_set))
    if writes and wanted.lodging.avoid:  # it changes anyway: no node is kept off longer than it is silent
        still = tuple(n for n in wanted.lodging.avoid if n in road.context.watch.silent_nodes)
        wanted = replace(wanted, lodging=replace(wanted.lodging, avoid=still))
        declared = desired.stateful_set(observed, wanted, road.context.settings, arming)
        writes = list(desired.missing(kinds.STATEFUL_SET, declared, observed.stateful_set))
    if writes:
        volume = desired.state_volume(observed, wanted)
        road.draft.actions.extend(action for action in volume if action not in road.draft.actions)
        road.draft.actions.extend(writes)
        road.found(
            updated=no("RollingOut", "the StatefulSet is being written"), progress="writing the StatefulSet"
        )
        return _finish(road, wanted, Again(STATEFUL_SET_LOOK_S))
    if wanted.spec.state is State.STOPPED:
        road.found(updated=yes("Current", "nothing runs, as asked"))
        return _finish(road, wanted, Done())
    fresh = _start_fresh(wanted.spec)
    dismissal = None
    if custody.seen_by_controller(observed.stateful_set):
        dismissal = relocation.dismiss(observed, road.watch, start_fresh=fresh)
    if dismissal is not None:
        assert dismissal.obstacle is not None, "it says what it does"
        road.draft.actions.extend(dismissal.actions)
        road.found(
            fenced=dismissal.obstacle,
            progress=dismissal.obstacle.message,
            updated=no("RollingOut", "the next pod comes from the new template"),
        )
        return _finish(road, wanted, Again(DYING_POD_LOOK_S))
    step = custody.rollout(observed, wanted.spec.update.policy)
    if isinstance(step, Verdict):
        road.found(updated=step)
        if step.status == conditions.TRUE:
            road.draft.actions.extend(desired.garbage(observed, wanted))
            road.draft.actions.extend(
                desired.finished_jobs(observed, wanted.preflight.validity_hash, wanted.epoch or 0)
            )
        elif "progress" not in road.findings and step.reason != conditions.WAITING_FOR_APPROVAL:
            road.found(progress=step.message)
    else:
        road.draft.actions.extend(step.actions)
        road.found(updated=no("RollingOut", "the old pod is asked to stop"), progress="replacing the pod")
    return _finish(road, wanted, Done())


def _finish(road: Road, wanted: Desired, outcome: Outcome) -> Plan:
    engine = judgements.engine_verdict(
        road.observed, road.context.heartbeat, road.facts.get("epoch"), wanted.spec.state
    )
    road.found(engine=engine)
    if isinstance(outcome, Done) and road.observed.pod is not None and deleting(road.observed.pod):
        outcome = Again(DYING_POD_LOOK_S)
    if road.look_s is not None:
        outcome = Again(min(road.look_s, outcome.after_s) if not isinstance(outcome, Done) else road.look_s)
    return road.end(outcome)
