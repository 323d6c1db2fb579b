"""From what was observed to what is to be done: the whole road of one bot. Pure; one call is one step.

    valid spec -> our finalizer -> which account is it?  and  does the engine accept the configuration? -> the claim
    -> the account is fenced -> the children -> the pod is brought up to date -> status

A step that waits or fails ends the road there, and everything behind it stays as it is: a running bot is never stopped
by a bad edit. The pod's guard (finalizer, proof of death) works on every run, whatever the spec says.
"""

from __future__ import annotations

from dataclasses import replace

from soloist_operator import (
    accepted,
    claims,
    custody,
    desired,
    drain,
    identity,
    judgements,
    kinds,
    ownership,
    relocation,
    rollout,
    safety,
    takeover,
)
from soloist_operator.accounts import with_account
from soloist_operator.api.status import Phase
from soloist_operator.api.tradingbot import (
    KeyPolicy,
    State,
    TradingBotSpec,
)
from soloist_operator.api.validate import InvalidSpec, Problem, validate
from soloist_operator.children import (
    REFUSED_LOOK_S,
    ask,
    check,
    claimed_epoch,
    leave_alone,
    lodging,
    prepare,
    run,
)
from soloist_operator.conditions import NOT_NEEDED, Verdict, no
from soloist_operator.objects import Object, annotation, deleting, dig, finalizers, uid_of
from soloist_operator.observe import Observed
from soloist_operator.plan import (
    Blocked,
    Plan,
    SetFinalizer,
)
from soloist_operator.road import Context, Road
from soloist_operator.settings import Settings
from soloist_operator.specs.engine import ANNOTATION_CONFIG


def decide(observed: Observed, context: Context) -> Plan:
    """The next step of a bot that is not being deleted."""
    assert not deleting(observed.bot), "deletion is decommission.py's"
    if (stranger := ownership.stateful_set(observed)) is not None:
        return leave_alone(Road(observed, context), stranger)
    kept, spec = accepted.last(observed, context.settings), _valid_spec(observed, context.settings)
    if kept is not None and isinstance(spec, InvalidSpec):
        observed = replace(observed, bot=kept.instead(observed.bot))
    road = Road(observed, context)
    _guard_pod(road)
    if isinstance(spec, InvalidSpec):
        if kept is None or not accepted.replacing(road, kept.spec):
            return _invalid(road, spec)
        wrong = _wrong(spec)
        return _go_on(road, kept, specification=wrong, updated=wrong)
    free = context.turn or spec.state is State.STOPPED  # nothing is disturbed
    road.chosen = rollout.choose(observed.bot, spec, context.settings, turn=free)
    spec, road.context = road.chosen.spec, replace(context, settings=road.chosen.settings)
    if kept is not None and accepted.replacing(road, kept.spec):
        wanted = desired.resolve(observed, spec, road.context.settings, claim=None, epoch=None)
        if (checked := check(road, wanted)) is not None:
            ask(road, wanted, checked)
            told = {"specification": checked.verdict} if checked.over else {}
            return _go_on(road, kept, updated=checked.verdict, **told)
    return _along(road, spec)


def _go_on(road: Road, kept: accepted.Accepted, **refused: Verdict) -> Plan:
    """What is asked for cannot be used now, and an epoch cannot wait: the road of the last accepted spec."""
    road.refused = refused
    road.observed = replace(road.observed, bot=kept.instead(road.observed.bot))
    road.chosen = rollout.standing(road.observed.bot, kept.spec, kept.settings)
    road.context = replace(road.context, settings=kept.settings)
    return _along(road, kept.spec)


def _along(road: Road, spec: TradingBotSpec) -> Plan:
    """The road of a spec that can be used."""
    observed, context = road.observed, road.context
    leaving = drain.judge(observed, spec, context.watch.silent_nodes)
    road.move = leaving if isinstance(leaving, drain.Move) else None
    road.stays = leaving if isinstance(leaving, Verdict) else None
    _facts(road, spec)
    if kinds.BOT_FINALIZER not in finalizers(observed.bot):
        finalizer = SetFinalizer(
            kinds.TRADING_BOT, observed.bot, kinds.BOT_FINALIZER, present=True, why="nothing was made yet"
        )
        road.draft.actions.insert(0, finalizer)
    if spec.account is None:
        road.found(claimed=NOT_NEEDED, fenced=NOT_NEEDED, keys=NOT_NEEDED)
        return _without_account(road, spec)
    return with_account(road, spec, spec.account)


# ---------------------------------------------------------------------------------------------- the pod, and a spec that cannot be used


def _guard_pod(road: Road) -> None:
    observed, context = road.observed, road.context
    guard = custody.guard(observed, context.now)
    road.draft.actions.extend((*guard.actions, *custody.strays(observed)))
    under_way = relocation.under_way(observed)
    if guard.obstacle is not None and not (under_way and guard.obstacle.reason == "OldInstanceUnproven"):
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


def _invalid(road: Road, invalid: InvalidSpec) -> Plan:
    """A bad edit changes the status and, if it can be read, the state that the engine is told."""
    observed = road.observed
    wanted = (observed.bot.get("spec") or {}).get("state", State.RUNNING.value)
    if observed.lease is not None and wanted in set(State):
        road.draft.actions.extend(desired.lease(observed, claimed_epoch(observed), State(wanted)))
    shown = dict(observed.bot.get("status") or {})
    road.facts = {k: v for k, v in shown.items() if k not in {"conditions", "observedGeneration"}}
    wrong = _wrong(invalid)
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


def _wrong(invalid: InvalidSpec) -> Verdict:
    return no(invalid.reason, f"{invalid}. What runs stays as it is")


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
        "safety": safety.remembered(observed, road.context.heartbeat),
        "rollout": None if road.chosen is None else road.chosen.memory.shown(),
    }


# ---------------------------------------------------------------------------------------------- the road


def _without_account(road: Road, spec: TradingBotSpec) -> Plan:
    wanted = desired.resolve(
        road.observed, spec, road.context.settings, claim=None, epoch=None, lodging=lodging(road, spec)
    )
    waiting = prepare(road, wanted)
    return waiting if waiting is not None else run(road, wanted, None)
