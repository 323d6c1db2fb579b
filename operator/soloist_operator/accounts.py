"""The road of a bot with an account: which account it is, its claim, its fence, and what looks after it. Pure; one call is one step."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from soloist_fence.api import Reason, Verb, key_identity, marker_of

from soloist_operator import (
    audits,
    claims,
    desired,
    holding,
    identity,
    judgements,
    ownership,
    renewal,
)
from soloist_operator.api.status import Phase
from soloist_operator.api.tradingbot import (
    Account,
    KeyPolicy,
    KeyType,
    State,
    TradingBotSpec,
)
from soloist_operator.attempts import AttemptView
from soloist_operator.children import (
    STATEFUL_SET_LOOK_S,
    STRANGER_LOOK_S,
    await_check,
    check,
    checked_configuration,
    leave_alone,
    lodging,
    prepare,
    resolved,
    run,
)
from soloist_operator.conditions import TRUE, UNKNOWN, Verdict, no, yes
from soloist_operator.desired import Desired
from soloist_operator.holding import Arms, FenceParameters, Opening
from soloist_operator.identity import Identified, Unidentified
from soloist_operator.objects import Object, dig
from soloist_operator.observe import Observed
from soloist_operator.plan import (
    Action,
    Again,
    Blocked,
    Done,
    Plan,
    SwapClaim,
)
from soloist_operator.road import Road, finish
from soloist_operator.settings import Venue
from soloist_operator.takeover import AT_ONCE, BLIND_LOOK_S, WAITING, Cause, Crowd

BOUND_LOOK_S = 0.05
"""At once, but after the status was written: what it is bound to must be on record before it is used."""


def with_account(road: Road, spec: TradingBotSpec, account: Account) -> Plan:
    """The next step of a bot with an account."""
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
        return finish(road, preflight, Blocked("UnknownHistory", STRANGER_LOOK_S))
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
        lodging=lodging(road, spec),
    )
    waiting = prepare(road, wanted)
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
        follow = holding.follow_engine(observed, claim, context.heartbeat)
    else:
        follow = _follow_static(road, wanted, account, claim, fence)
    road.draft.actions.extend(follow[: _one_swap(road)])
    armed = holding.armed(claim, account)
    assert armed is not None, "only called for an Active claim"
    return run(road, wanted, armed.arming)


def _follow_static(
    road: Road, wanted: Desired, account: Account, claim: Object, fence: FenceParameters
) -> tuple[SwapClaim, ...]:
    """Follow the engine of a Static account; to another key only once the venue says that it is of the bound account.

    Only its owner changes a Static Secret, so an engine may find another key in there at any restart of its containers.
    """
    observed, heartbeat = road.observed, road.context.heartbeat
    found, key_id = identity.bound(observed.bot, account), holding.new_key(observed, claim, heartbeat)
    assert found is not None, "a claim is held under a bound identity"
    by_key = marker_of(found.identity) is None
    looked_at = not by_key and not dig(claim, "status", "keyId")  # when its epoch was opened
    if key_id is None or looked_at or key_identity(key_id) == found.identity:
        return holding.follow_engine(observed, claim, heartbeat)
    if by_key:
        told = (
            f"the bot is bound to {found.identity} and its engine signs with key {key_id}: nobody can tell which account that trades. "
            f"The engine is not stopped by this: set spec.state to Halted if in doubt, {identity.REMEDY}"
        )
        _doubt(road, no(Reason.IDENTITY_AMBIGUOUS.value, told))
        return holding.follow_engine(observed, claim, heartbeat, key=False)
    looked = _look(road, wanted, account, fence, condition=identity.KEYS)
    if looked is None:
        attempt = identity.job_attempt(observed)
        swaps = holding.follow_engine(observed, claim, heartbeat)
        return tuple(replace(swap, closes=attempt) for swap in swaps)
    road.draft.actions.extend(looked.actions)
    road.look_again(looked.after_s)
    under_way = looked.verdict.reason == "Identifying"
    _doubt(road, replace(looked.verdict, status=UNKNOWN) if under_way else looked.verdict)
    return holding.follow_engine(observed, claim, heartbeat, key=False)


def _doubt(road: Road, verdict: Verdict) -> None:
    """Condition KeysHealthy, unless something graver was found: orders of somebody else."""
    if road.findings["keys"].status == TRUE:
        road.found(keys=verdict)


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
        if account.key_policy is KeyPolicy.STATIC:
            road.draft.actions.extend(identity.drop_answered(observed))
        return road.end(Again(BOUND_LOOK_S))
    return _while_identifying(road, wanted, asked)


def _while_identifying(road: Road, wanted: Desired, asked: Unidentified) -> Plan:
    observed, settings = road.observed, road.context.settings
    road.facts["resolved"] = resolved(wanted.spec, wanted)
    road.found(claimed=asked.verdict)
    if asked.verdict.reason == "Identifying":
        road.found(progress=asked.verdict.message)
    if (stranger := ownership.surroundings(observed)) is not None:
        return leave_alone(road, stranger)
    road.draft.actions.extend(desired.network_policy(observed, wanted, settings))
    road.draft.actions.extend(desired.config_map(observed, wanted.preflight))
    road.draft.actions.extend(asked.actions)
    checked = check(road, wanted)
    if checked is None:
        return finish(road, wanted, Again(asked.after_s))
    waiting = await_check(road, wanted, checked)
    if isinstance(waiting.outcome, Blocked) and asked.after_s < waiting.outcome.after_s:
        return replace(waiting, outcome=Again(asked.after_s))
    return waiting


def _hold(
    road: Road, spec: TradingBotSpec, account: Account, found: Identified
) -> holding.Held | holding.NotHeld:
    """Take the claim; and open its first epoch in the same swap when the configuration is accepted already.

    Of a Static account it is only taken: nothing is armed before its key was looked at again.
    """
    observed, context = road.observed, road.context
    opening = None
    if spec.state is not State.STOPPED and account.key_policy is KeyPolicy.MANAGED:
        wanted = desired.resolve(observed, spec, context.settings, claim=None, epoch=None)
        if check(road, wanted) is None:
            opening = Opening(
                context.attempts[Verb.TAKEOVER].nonce,
                context.now,
                fence_parameters(observed, account, context.settings.venues[spec.venue]),
            )
    return holding.hold(observed, found, account, spec.venue, context.now, opening)


def _judge_holding(road: Road, account: Account, claim: Object, verdict: Verdict) -> None:
    if "fenced" not in road.findings:
        road.found(fenced=verdict)
    heartbeat = road.context.heartbeat
    if account.key_policy is KeyPolicy.MANAGED:
        road.found(keys=judgements.keys_verdict(road.observed, claim, heartbeat))
    else:
        own = yes("Static", "the key is yours: Soloist neither replaces nor revokes it")
        road.found(keys=audits.watchdog_verdict(road.observed, heartbeat) or own)


def _arm(
    road: Road, wanted: Desired, account: Account, claim: Object, fence: FenceParameters, above: int
) -> Plan:
    """One step towards an Active claim; when it can become Active, the engine follows in the same plan (P7)."""
    context, observed = road.context, road.observed
    takeover = context.attempts[Verb.TAKEOVER]
    why = road.replace or holding.why_open(claim)
    if wanted.spec.state is State.STOPPED and road.replace is None:
        road.found(fenced=no("Stopped", "spec.state is Stopped: the account is fenced when the bot starts"))
        return finish(road, wanted, Done())
    step: Arms | holding.NotArmed
    if account.key_policy is KeyPolicy.STATIC:
        step = _arm_static(road, wanted, account, claim, fence, why=why, above=above)
    elif (held := _held_back(claim, takeover, context.watch.crowd)) is not None:
        step = held
    else:
        setup = desired.fence_setup(observed, wanted, context.settings, avoid=context.watch.silent_nodes)
        step = holding.arm_managed(observed, claim, takeover, setup, fence, context.now, why=why, above=above)
    if isinstance(step, Arms):
        return _arm_now(road, wanted, account, step)
    road.draft.actions.extend(step.actions)
    road.draft.actions.extend(
        desired.finished_jobs(observed, checked_configuration(road, wanted), claims.epoch_of(claim))
    )
    if "fenced" not in road.findings or road.replace is not None:
        road.found(fenced=step.verdict, progress=step.progress)
    return finish(road, wanted, Again(step.after_s))


def _held_back(claim: Object, attempt: AttemptView, crowd: Crowd) -> holding.NotArmed | None:
    """A takeover that begins anew, after a failure or by a new operator, takes one of the places like any other."""
    if attempt.is_open or claims.phase_of(claim) is not Phase.FENCING or crowd.in_flight < AT_ONCE:
        return None
    if dig(claim, "status", "reason") not in set(Cause):
        return None
    waiting = no(WAITING, f"{AT_ONCE} takeovers are under way; this one waits before it begins anew")
    return holding.NotArmed(waiting, BLIND_LOOK_S)


def _arm_static(
    road: Road,
    wanted: Desired,
    account: Account,
    claim: Object,
    fence: FenceParameters,
    *,
    why: str,
    above: int,
) -> Arms | holding.NotArmed:
    """Static: no fence sees whose key it is, so the venue is asked again before an epoch is opened."""
    observed, context = road.observed, road.context
    looked = _look(road, wanted, account, fence)
    if looked is not None:
        progress = looked.verdict.message if looked.verdict.reason == "Fencing" else ""
        return holding.NotArmed(looked.verdict, looked.after_s, looked.actions, progress)
    attempt = identity.job_attempt(observed)
    nonce = context.attempts[Verb.TAKEOVER].nonce
    return holding.arm_static(claim, account, attempt, context.now, nonce, why, above)


def _look(
    road: Road, wanted: Desired, account: Account, fence: FenceParameters, *, condition: str = identity.FENCED
) -> Unidentified | None:
    """Is the Static key still one of the bound account? None when it is."""
    observed, context = road.observed, road.context
    found = identity.bound(observed.bot, account)
    assert found is not None, "a claim is held under a bound identity"
    setup = desired.fence_setup(observed, wanted, context.settings, avoid=context.watch.silent_nodes)
    view = context.attempts[Verb.IDENTIFY]
    return identity.look(observed, found, view, setup, fence.key_list_lag_ms, condition=condition)


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
    armed_for = desired.resolve(
        observed,
        wanted.spec,
        road.context.settings,
        claim=str(road.facts["claim"]),
        epoch=epoch,
        lodging=lodging(road, wanted.spec),
    )
    road.facts["resolved"] = resolved(wanted.spec, armed_for)
    road.draft.actions.extend(desired.config_map(observed, armed_for.configuration))
    if wanted.spec.state is State.STOPPED:
        return finish(road, armed_for, Again(STATEFUL_SET_LOOK_S))
    return run(road, armed_for, armed.arming)


def fence_parameters(observed: Observed, account: Account, venue: Venue) -> FenceParameters:
    """What the fence is told about an account."""
    return FenceParameters(
        cluster_id=observed.cluster_id,
        revocation_bound_ms=venue.revocation_bound_ms,
        key_list_lag_ms=venue.key_list_lag_ms,
        key_type=account.key_type or KeyType.ED25519,
        acknowledged_key_ids=tuple(account.acknowledged_key_ids or ()),
    )
