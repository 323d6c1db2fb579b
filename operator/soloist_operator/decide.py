"""From what was observed to what is to be done: the whole road of one bot. Pure; one call is one step.

    valid spec -> our finalizer -> the claim -> the configuration is checked -> the account is fenced -> the children
    -> the pod is brought up to date -> status

A step that waits or fails ends the road there, and everything behind it stays as it is: a running bot is never stopped
by a bad edit. The pod's guard (finalizer, proof of death) works on every run, whatever the spec says.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from soloist_fence.api import Verb, claim_name

from soloist_operator import claims, conditions, custody, desired, holding, judgements, kinds
from soloist_operator.api.status import Phase
from soloist_operator.api.tradingbot import Account, KeyPolicy, KeyType, State, TradingBotSpec
from soloist_operator.api.validate import InvalidSpec, Problem, validate
from soloist_operator.conditions import NOT_NEEDED, Findings, Verdict, no, yes
from soloist_operator.desired import Desired
from soloist_operator.heartbeat import Heartbeat
from soloist_operator.holding import JOB_LOOK_S, AttemptView, FenceParameters
from soloist_operator.objects import Object, annotation, deleting, dig, finalizers
from soloist_operator.observe import Observed
from soloist_operator.outcomes import Finished, Running, check_problems, outcome_of
from soloist_operator.plan import Again, Blocked, Create, Done, Draft, Outcome, Plan, SetFinalizer
from soloist_operator.settings import Settings
from soloist_operator.specs.engine import ANNOTATION_CONFIG, ANNOTATION_VALID, Arming
from soloist_operator.specs.jobs import CHECK_CONTAINER, check_job

DYING_POD_LOOK_S = 5.0
"""A dying pod is looked at again even if no event comes: its node may be the one that fell silent."""
REFUSED_LOOK_S = 300.0
STATEFUL_SET_LOOK_S = 1.0


@dataclass(frozen=True)
class Context:
    """What a decision needs besides the cluster. `now` is RFC 3339 text in UTC."""

    settings: Settings
    now: str
    heartbeat: Heartbeat
    attempts: Mapping[Verb, AttemptView]


@dataclass
class Road:
    """One run: what is known so far, and the plan being written."""

    observed: Observed
    context: Context
    draft: Draft = field(default_factory=Draft)
    findings: dict[str, Any] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)

    def found(self, **verdicts: Verdict | str) -> None:
        """Remember judgements, by their names in Findings."""
        self.findings |= verdicts

    def end(self, outcome: Outcome) -> Plan:
        """The plan, with the status that follows from what was found."""
        bot = self.observed.bot
        status = conditions.status_of(bot, Findings(**self.findings), self.facts, self.context.now)
        told = conditions.announcements(bot, status)
        return Plan(tuple(self.draft.actions), status, outcome, told)


def decide(observed: Observed, context: Context) -> Plan:
    """The next step of a bot that is not being deleted."""
    assert not deleting(observed.bot), "deletion is decommission.py's"
    road = Road(observed, context)
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
    guard = custody.guard(road.observed, road.context.now)
    road.draft.actions.extend((*guard.actions, *custody.strays(road.observed)))
    if guard.obstacle is not None:
        road.found(fenced=guard.obstacle, progress=guard.obstacle.message)


def _valid_spec(observed: Observed, settings: Settings) -> TradingBotSpec | InvalidSpec:
    spec = validate(observed.bot.get("spec") or {}, settings.venues)
    if isinstance(spec, InvalidSpec):
        return spec
    bound = dig(observed.bot, "status", "claim")
    if bound and bound != _claim_name(observed, spec):
        message = "names another account than the one this bot holds: write the old account, or delete the TradingBot and create it again"
        return InvalidSpec((Problem("spec.account", message),))
    return spec


def _claim_name(observed: Observed, spec: TradingBotSpec) -> str | None:
    account = spec.account
    if account is None:
        return None
    return claim_name(spec.venue, observed.ref.namespace, account.secret_name, account.subaccount)


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
        "claim": _claim_name(observed, spec) if ours else dig(observed.bot, "status", "claim"),
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
    }


# ---------------------------------------------------------------------------------------------- the road


def _without_account(road: Road, spec: TradingBotSpec) -> Plan:
    wanted = desired.resolve(road.observed, spec, road.context.settings, claim=None, epoch=None)
    waiting = _prepare(road, wanted)
    return waiting if waiting is not None else _run(road, wanted, None)


def _with_account(road: Road, spec: TradingBotSpec, account: Account) -> Plan:
    observed = road.observed
    name = _claim_name(observed, spec)
    assert name is not None
    held = holding.hold(observed, name, account, spec.venue)
    if isinstance(held, holding.NotHeld):
        road.draft.actions.extend(held.actions)
        road.found(claimed=held.verdict)
        if held.actions:
            road.found(progress=held.verdict.message)
            return road.end(Again(held.after_s))
        return road.end(Blocked(held.verdict.reason, held.after_s))
    road.found(claimed=yes("Claimed", f"AccountClaim {name} is held by this bot"))
    takeover = road.context.attempts[Verb.TAKEOVER]
    armed = holding.armed(held.claim, account)
    if armed is not None:
        _judge_holding(road, account, held.claim, armed.verdict)
    epoch = _coming_epoch(held.claim, takeover)
    wanted = desired.resolve(observed, spec, road.context.settings, claim=name, epoch=epoch)
    waiting = _prepare(road, wanted)
    if waiting is not None:
        return waiting
    fence = fence_parameters(observed, account, road.context.settings.venues[spec.venue].revocation_bound_ms)
    if armed is None:
        return _arm(road, wanted, account, held.claim, fence)
    if account.key_policy is KeyPolicy.MANAGED:
        settings = road.context.settings
        road.draft.actions.extend(desired.rotation(observed, wanted, settings, fence, held.claim))
        road.draft.actions.extend(holding.follow_rotation(held.claim, road.context.heartbeat, observed.pod))
    return _run(road, wanted, armed.arming)


def _judge_holding(road: Road, account: Account, claim: Object, verdict: Verdict) -> None:
    if "fenced" not in road.findings:
        road.found(fenced=verdict)
    if account.key_policy is KeyPolicy.MANAGED:
        road.found(keys=judgements.keys_verdict(road.observed, claim))
    else:
        road.found(keys=yes("Static", "the key is yours: Soloist neither replaces nor revokes it"))


def _arm(road: Road, wanted: Desired, account: Account, claim: Object, fence: FenceParameters) -> Plan:
    """One step towards an Active claim."""
    context = road.context
    takeover = context.attempts[Verb.TAKEOVER]
    if wanted.spec.state is State.STOPPED:
        road.found(fenced=no("Stopped", "spec.state is Stopped: the account is fenced when the bot starts"))
        return _finish(road, wanted, Done())
    if account.key_policy is KeyPolicy.STATIC:
        step = holding.arm_static(claim, account, context.now, takeover.nonce)
    else:
        setup = desired.fence_setup(road.observed, wanted, context.settings)
        step = holding.arm_managed(road.observed, claim, takeover, setup, fence, context.now)
    road.draft.actions.extend(step.actions)
    if "fenced" not in road.findings:
        road.found(fenced=step.verdict, progress=step.progress)
    return _finish(road, wanted, Again(step.after_s))


def fence_parameters(observed: Observed, account: Account, revocation_bound_ms: int) -> FenceParameters:
    """What the fence is told about an account."""
    return FenceParameters(
        cluster_id=observed.cluster_id,
        revocation_bound_ms=revocation_bound_ms,
        key_type=account.key_type or KeyType.ED25519,
        acknowledged_key_ids=tuple(account.acknowledged_key_ids or ()),
    )


def _coming_epoch(claim: Object, takeover: AttemptView) -> int:
    """The epoch that the configuration is rendered for: the running one, or the one that comes next."""
    epoch = claims.epoch_of(claim)
    if claims.phase_of(claim) is Phase.ACTIVE or takeover.is_open:
        return epoch
    return 1 + max(epoch, claims.highest_seen(claim))


def _prepare(road: Road, wanted: Desired) -> Plan | None:
    """Surroundings and a checked configuration; a plan when the road ends here for now."""
    observed, settings = road.observed, road.context.settings
    road.facts["resolved"] = _resolved(wanted.spec, wanted)
    if observed.lease is not None:  # a halt must arrive, whatever else is refused
        road.draft.actions.extend(desired.lease(observed, _claimed_epoch(observed), wanted.spec.state))
    checked = _check(road, wanted)
    if observed.stateful_set is None or checked is None:
        road.draft.actions.extend(desired.surroundings(observed, wanted, settings))
        road.draft.actions.extend(desired.config_map(observed, wanted))
        road.found(protected=yes("Declared", "budget, network policy and fence finalizer are as declared"))
    else:
        road.found(protected=_still_protected(observed))
    if checked is None:
        return None
    if checked.start:
        if observed.stateful_set is not None:
            road.draft.actions.extend(desired.config_map(observed, wanted))
        job = check_job(
            observed.ref,
            wanted.spec,
            image=wanted.image,
            config_map=observed.ref.config(wanted.configuration.config_hash),
            validity_hash=wanted.configuration.validity_hash,
        )
        road.draft.do(Create(kinds.JOB, job))
    road.found(updated=checked.verdict)
    if checked.over:
        road.found(specification=checked.verdict)
        return _finish(road, wanted, Blocked(checked.verdict.reason, REFUSED_LOOK_S))
    road.found(progress=checked.verdict.message)
    return _finish(road, wanted, Again(JOB_LOOK_S))


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


def _check(road: Road, wanted: Desired) -> _Unchecked | None:
    observed, valid = road.observed, wanted.configuration.validity_hash
    if annotation(observed.stateful_set, ANNOTATION_VALID) == valid:
        return None
    name = observed.ref.check(valid)
    job = observed.job(name)
    if job is None:
        return _Unchecked(
            no("Checking", f"Job {name} asks the engine about the configuration"), over=False, start=True
        )
    outcome = outcome_of(job, observed.pods, CHECK_CONTAINER)
    if isinstance(outcome, Running):
        return _Unchecked(no("Checking", f"Job {name}: {outcome.detail}"), over=False)
    assert isinstance(outcome, Finished)
    if outcome.succeeded:
        return None
    problems = "; ".join(map(str, check_problems(outcome)))
    return _Unchecked(no("InvalidConfiguration", f"{problems}. What runs stays as it is"), over=True)


def _run(road: Road, wanted: Desired, arming: Arming | None) -> Plan:
    """The engine itself: its StatefulSet, then its pod, then what nobody needs any more."""
    observed = road.observed
    if observed.lease is None:
        road.draft.actions.extend(desired.lease(observed, _claimed_epoch(observed), wanted.spec.state))
    declared = desired.stateful_set(observed, wanted, road.context.settings, arming)
    writes = list(desired.missing(kinds.STATEFUL_SET, declared, observed.stateful_set))
    if writes:
        road.draft.actions.extend(writes)
        road.found(
            updated=no("RollingOut", "the StatefulSet is being written"), progress="writing the StatefulSet"
        )
        return _finish(road, wanted, Again(STATEFUL_SET_LOOK_S))
    if wanted.spec.state is State.STOPPED:
        road.found(updated=yes("Current", "nothing runs, as asked"))
        return _finish(road, wanted, Done())
    step = custody.rollout(observed, wanted.spec.update.policy)
    if isinstance(step, Verdict):
        road.found(updated=step)
        if step.status == conditions.TRUE:
            road.draft.actions.extend(desired.garbage(observed, wanted))
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
        return road.end(Again(DYING_POD_LOOK_S))
    return road.end(outcome)
