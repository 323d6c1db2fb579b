"""The road's parts that every bot has, with an account or without: surroundings, the configuration's check, the engine. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from soloist_operator import (
    accepted,
    claims,
    conditions,
    desired,
    judgements,
    kinds,
    ownership,
    relocation,
    rollout,
)
from soloist_operator.api.tradingbot import (
    State,
    TradingBotSpec,
    WhenUnreachable,
)
from soloist_operator.conditions import Verdict, no, yes
from soloist_operator.desired import Desired
from soloist_operator.holding import JOB_LOOK_S
from soloist_operator.objects import Object, annotation, deleting
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
    Plan,
)
from soloist_operator.road import DYING_POD_LOOK_S, Road, finish
from soloist_operator.specs.engine import ANNOTATION_VALID, Arming, Lodging, state_claim
from soloist_operator.specs.jobs import CHECK_CONTAINER, check_job

REFUSED_LOOK_S = 300.0
CHECK_RETRY_S = 60.0
"""After a check that ended without a verdict: an image that could not be pulled, a node that was lost."""
STATEFUL_SET_LOOK_S = 1.0
STRANGER_LOOK_S = 15.0


def leave_alone(road: Road, verdict: Verdict) -> Plan:
    """Something that is not ours has a name that we need: nothing of it is touched, nor anything else."""
    shown = dict(road.observed.bot.get("status") or {})
    road.facts = {k: v for k, v in shown.items() if k not in {"conditions", "observedGeneration"}}
    road.found(specification=verdict, updated=verdict, protected=verdict)
    return road.end(Blocked(verdict.reason, STRANGER_LOOK_S))


def resolved(spec: TradingBotSpec, wanted: Desired) -> dict[str, str]:
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


def prepare(road: Road, wanted: Desired) -> Plan | None:
    """Surroundings and a checked configuration; a plan when the road ends here for now."""
    observed, settings = road.observed, road.context.settings
    road.facts["resolved"] = resolved(wanted.spec, wanted)
    if (stranger := ownership.surroundings(observed)) is not None:
        return leave_alone(road, stranger)
    if observed.lease is not None:  # a halt must arrive, whatever else is refused
        road.draft.actions.extend(_lease(road, wanted.spec))
    checked = check(road, wanted)
    if observed.stateful_set is None or checked is None:
        road.draft.actions.extend(desired.network_policy(observed, wanted, settings))
        road.draft.actions.extend(desired.surroundings(observed, wanted))
        road.draft.actions.extend(desired.config_map(observed, wanted.preflight))
        if wanted.configuration != wanted.preflight:
            road.draft.actions.extend(desired.config_map(observed, wanted.configuration))
        road.found(protected=yes("Declared", "budget, network policy and fence finalizer are as declared"))
    else:
        road.found(protected=_still_protected(observed))
    return None if checked is None else await_check(road, wanted, checked)


def _lease(road: Road, spec: TradingBotSpec) -> Iterator[Action]:
    """What the engine is told. An audit that saw foreign orders halts it, whatever the spec says."""
    halt = claims.halt_of(road.observed.claim)
    halted = halt is not None and not halt.get("acknowledged")
    yield from desired.lease(
        road.observed, claimed_epoch(road.observed), State.HALTED if halted else spec.state
    )


def claimed_epoch(observed: Observed) -> int | None:
    """The epoch of the claim that was read, whoever holds it."""
    return None if observed.claim is None else claims.epoch_of(observed.claim)


def _still_protected(observed: Observed) -> Verdict:
    if observed.disruption_budget is None or observed.network_policy is None:
        return no(
            "Missing", "the budget or the network policy is gone; it comes back when the spec is accepted"
        )
    return yes("Kept", "budget and network policy are as last declared")


@dataclass(frozen=True)
class Unchecked:
    """The engine has not accepted this configuration: not yet (`over` False), or it refused it."""

    verdict: Verdict
    over: bool
    start: bool = False
    after_s: float = JOB_LOOK_S
    stale: Object | None = None
    """A Job that ended without a verdict, long enough ago to ask again."""


def check(road: Road, wanted: Desired) -> Unchecked | None:
    """Whether the engine's own image accepts the configuration; None when it does."""
    observed, valid = road.observed, wanted.preflight.validity_hash
    if annotation(observed.stateful_set, ANNOTATION_VALID) == valid:
        return None
    if road.refused or (road.chosen is not None and road.chosen.back):
        return None  # an engine ran with it; what it takes to ask again may be what is broken
    name = observed.ref.check(valid)
    job = observed.job(name)
    checking = no("Checking", f"Job {name} asks the engine about the configuration")
    if job is None:
        return Unchecked(checking, over=False, start=True)
    if deleting(job):
        return Unchecked(checking, over=False, after_s=1.0)
    outcome = outcome_of(job, observed.pods, CHECK_CONTAINER)
    if isinstance(outcome, Running):
        return Unchecked(no("Checking", f"{checking.message}{outcome.trouble}"), over=False)
    assert isinstance(outcome, Finished)
    if outcome.succeeded:
        return None
    problems = "; ".join(map(str, check_problems(outcome)))
    refused = no("InvalidConfiguration", f"{problems}. What runs stays as it is")
    if reported_problems(outcome.message):
        return Unchecked(refused, over=True, after_s=REFUSED_LOOK_S)
    left_s = CHECK_RETRY_S - finished_age_s(job, road.context.now)
    if left_s > 0:
        return Unchecked(no("CheckUnfinished", f"{problems}. It is tried again"), over=True, after_s=left_s)
    return Unchecked(checking, over=False, after_s=1.0, stale=job)


def checked_configuration(road: Road, wanted: Desired) -> str | None:
    """Which check's Job is of use to somebody; None for every one of them, while a refused spec may still be asked about."""
    return None if road.refused else wanted.preflight.validity_hash


def await_check(road: Road, wanted: Desired, checked: Unchecked) -> Plan:
    """The engine has not accepted the configuration: ask it, or say what it refuses."""
    ask(road, wanted, checked)
    road.found(updated=checked.verdict)
    if checked.over:
        road.found(specification=checked.verdict)
        return finish(road, wanted, Blocked(checked.verdict.reason, checked.after_s))
    if "progress" not in road.findings:
        road.found(progress=checked.verdict.message)
    return finish(road, wanted, Again(checked.after_s))


def ask(road: Road, wanted: Desired, checked: Unchecked) -> None:
    """Have the engine's image look at a configuration, if that is not under way."""
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


def _engine(road: Road, wanted: Desired, arming: Arming | None) -> Object:
    declared = desired.stateful_set(road.observed, wanted, road.context.settings, arming)
    return accepted.noted(declared, wanted.spec)


def run(road: Road, wanted: Desired, arming: Arming | None) -> Plan:
    """The engine itself: its StatefulSet, then its pod, then what nobody needs any more."""
    observed = road.observed
    if observed.lease is None and (observed.pod is not None or wanted.epoch is None):
        road.draft.actions.extend(_lease(road, wanted.spec))
    declared = _engine(road, wanted, arming)
    writes = list(desired.missing(kinds.STATEFUL_SET, declared, observed.stateful_set))
    if writes and wanted.lodging.avoid:  # it changes anyway: no node is kept off longer than it is silent
        still = tuple(n for n in wanted.lodging.avoid if n in road.context.watch.silent_nodes)
        wanted = replace(wanted, lodging=replace(wanted.lodging, avoid=still))
        declared = _engine(road, wanted, arming)
        writes = list(desired.missing(kinds.STATEFUL_SET, declared, observed.stateful_set))
    if writes:
        volume = desired.state_volume(observed, wanted)
        road.draft.actions.extend(action for action in volume if action not in road.draft.actions)
        road.draft.actions.extend(writes)
        # Of a first engine the next look would say nothing else, and a status that changes twice is written twice.
        first = observed.stateful_set is None and wanted.spec.state is not State.STOPPED
        told = rollout.NO_POD if first else no("RollingOut", "the StatefulSet is being written")
        road.found(updated=told, progress=told.message)
        return finish(road, wanted, Again(STATEFUL_SET_LOOK_S))
    if wanted.spec.state is State.STOPPED:
        road.found(updated=yes("Current", "nothing runs, as asked"))
        return finish(road, wanted, Done())
    fresh = start_fresh(wanted.spec)
    dismissal = None
    if rollout.seen_by_controller(observed.stateful_set):
        dismissal = relocation.dismiss(observed, road.watch, start_fresh=fresh)
    if dismissal is not None:
        assert dismissal.obstacle is not None, "it says what it does"
        road.draft.actions.extend(dismissal.actions)
        road.found(
            fenced=dismissal.obstacle,
            progress=dismissal.obstacle.message,
            updated=no("RollingOut", "the next pod comes from the new template"),
        )
        return finish(road, wanted, Again(DYING_POD_LOOK_S))
    return _bring_up_to_date(road, wanted)


def _bring_up_to_date(road: Road, wanted: Desired) -> Plan:
    """Of a StatefulSet as declared: does the pod come from it, is the engine ready with it, may it stay where it is."""
    observed, chosen, context = road.observed, road.chosen, road.context
    assert chosen is not None, "only called for a valid spec"
    engine = judgements.engine_verdict(
        observed, context.heartbeat, road.facts.get("epoch"), wanted.spec.state
    )
    step = rollout.replacement(
        observed,
        wanted.spec.update.policy,
        at_once=bool(chosen.back) or road.move is not None,
        # An engine that is not ready has nothing to lose.
        waits_for_turn=chosen.is_good
        and not context.turn
        and engine.status == conditions.TRUE
        and rollout.reshaped(observed),
    )
    if not isinstance(step, Verdict):
        road.draft.actions.extend(step.actions)
        road.found(updated=no("RollingOut", "the old pod is asked to stop"), progress="replacing the pod")
        return finish(road, wanted, Done())
    if step.status != conditions.TRUE:
        road.found(updated=step)
        if step.reason == conditions.WAITING_FOR_TURN:
            road.look_again(rollout.TURN_LOOK_S)
        elif "progress" not in road.findings and step.reason != conditions.WAITING_FOR_APPROVAL:
            road.found(progress=step.message)
        return finish(road, wanted, Done())
    judged = rollout.judge(chosen, engine, context.trial_s)
    road.facts["rollout"] = judged.memory.shown()
    road.found(updated=judged.verdict)
    if judged.refused:
        road.found(progress="putting the last good template back")
        return finish(road, wanted, Again(rollout.CHOOSE_LOOK_S))
    for look_s in filter(None, (judged.look_s, rollout.TURN_LOOK_S if chosen.waits else None)):
        road.look_again(look_s)
    if road.move is not None:
        assert observed.pod is not None, "a bot without a pod does not move"
        road.draft.do(Delete(kinds.POD, observed.pod, road.move.why))
        road.found(progress=road.move.why)
        return finish(road, wanted, Done())
    road.draft.actions.extend(desired.garbage(observed, wanted))
    road.draft.actions.extend(
        desired.finished_jobs(observed, checked_configuration(road, wanted), wanted.epoch or 0)
    )
    return finish(road, wanted, Done())


def lodging(road: Road, spec: TradingBotSpec) -> Lodging:
    """Where the engine may live: its volume, and the nodes that are to be avoided."""
    observed = road.observed
    found = relocation.lodging(observed, road.watch, start_fresh=start_fresh(spec))
    if road.move is None or not road.move.fresh or observed.pod is None:
        return found
    mounted = state_claim(observed.pod["spec"])
    return (
        replace(found, volume=found.volume + 1)
        if mounted == observed.ref.volume_claim(found.volume)
        else found
    )


def start_fresh(spec: TradingBotSpec) -> bool:
    """Whether a volume that nobody reaches is left behind for a new one."""
    return spec.storage.when_unreachable is WhenUnreachable.START_FRESH
