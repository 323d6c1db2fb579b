"""The account's road: claim it, fence it, hold it. Pure; each call is one step, the swap decides the race."""

from __future__ import annotations

import json
from dataclasses import dataclass

from soloist_fence.api import REVOKE_KEY_IDS_ANNOTATION, FenceArguments, Reason, Verb, epoch_secret_name

from soloist_operator import attempts, claims, identity
from soloist_operator.api.status import Phase
from soloist_operator.api.tradingbot import Account, KeyPolicy, KeyType
from soloist_operator.attempts import Attempt, AttemptMemory, AttemptView, attempt_of
from soloist_operator.claims import Holder, Whose
from soloist_operator.conditions import Verdict, no, yes
from soloist_operator.heartbeat import Heartbeat
from soloist_operator.identity import Identified
from soloist_operator.kinds import JOB
from soloist_operator.objects import Object, annotation, dig, name_of, uid_of
from soloist_operator.observe import Observed
from soloist_operator.plan import Action, Create, Delete, SwapClaim
from soloist_operator.specs.engine import ANNOTATION_ENGINE, Arming
from soloist_operator.specs.jobs import FenceSetup, fence_job

CONFLICT_LOOK_S = 15.0
JOB_LOOK_S = 5.0


@dataclass(frozen=True)
class Held:
    """The claim is ours. `claim` is it, read live."""

    claim: Object


@dataclass(frozen=True)
class NotHeld:
    """The claim is not ours (yet); `after_s` says when to look again, `actions` try to change that."""

    verdict: Verdict
    after_s: float
    actions: tuple[Action, ...] = ()


@dataclass(frozen=True)
class Opening:
    """Everything is ready for the first epoch of a Managed account, so that a claim is taken and opened in one swap."""

    nonce: str
    now: str
    fence: FenceParameters


def hold(
    observed: Observed, found: Identified, account: Account, venue: str, now: str, opening: Opening | None
) -> Held | NotHeld:
    """Take or confirm the claim of an account. Without `opening` it is only taken."""
    ref, claim, name = observed.ref, observed.claim, found.claim
    holder = Holder(ref.namespace, ref.name, ref.uid)
    match claims.whose_claim(claim, ref.uid):
        case Whose.OURS:
            assert claim is not None
            return Held(claim)
        case Whose.MISSING:
            body = claims.new_claim(
                found.identity, holder, venue=venue, subaccount=account.subaccount, now=now
            )
            return _take(body, "the account had no claim", opening)
        case Whose.FREE:
            assert claim is not None
            return _take(claims.adopted(claim, holder, now=now), "the claim was Idle", opening)
        case Whose.ORPHANED:
            assert claim is not None
            if account.key_policy is KeyPolicy.MANAGED:
                # Its old key is swept by our first takeover, before any key of ours exists.
                return _take(claims.adopted(claim, holder, now=now), "the claim was Orphaned", opening)
            message = (
                f"AccountClaim {name} is Orphaned: the bot that held it was abandoned and its engine may still run with this "
                "Static key. Replace the key at the venue, put the new one into another Secret and create the TradingBot with it"
            )
            return NotHeld(no("AccountConflict", message), CONFLICT_LOOK_S)
        case Whose.OTHERS:
            assert claim is not None
            return _others(observed, claim, now)


def _take(body: Object, why: str, opening: Opening | None) -> NotHeld:
    name = name_of(body)
    taking = no("Claiming", f"AccountClaim {name} is being taken")
    if opening is None or opening.fence.is_refuted(body):
        return NotHeld(taking, 0.0, (SwapClaim(body, why),))
    opened = claims.opened(
        body,
        nonce=opening.nonce,
        now=opening.now,
        why=why_open(body),
        above=claims.highest_seen(body),
        acknowledged_key_ids=opening.fence.acknowledged_key_ids,
    )
    opens = attempt_of(opened, Verb.TAKEOVER)
    return NotHeld(taking, 0.0, (SwapClaim(opened, f"{why}; opens epoch {opens.epoch}", opens=opens),))


def why_open(claim: Object) -> str:
    """Why the next epoch of a claim that is not Active is opened, in one word."""
    match claims.phase_of(claim):
        case Phase.ORPHANED:
            return "Adopted"
        case Phase.CONFLICT:
            return "ConflictResolved"
        case Phase.FENCING:
            return str(dig(claim, "status", "reason") or claims.FIRST_ARM)
        case _:
            return claims.FIRST_ARM


def _others(observed: Observed, claim: Object, now: str) -> NotHeld:
    """Somebody else's claim. A holder that was looked for live and does not exist holds nothing."""
    ref, other = observed.ref, claims.holder_of(claim)
    assert other is not None
    if observed.holder_gone:
        why = (
            f"TradingBot {other} (uid {other.uid}) does not exist any more and never let go: its namespace terminated, or somebody "
            f"took its finalizer off. Its key {dig(claim, 'status', 'keyId') or '(unknown)'} may still be accepted by the venue"
        )
        swap = SwapClaim(claims.orphaned(claim, reason="HolderVanished", why=why, now=now), why)
        return NotHeld(no("Claiming", f"AccountClaim {name_of(claim)} is Orphaned: {why}"), 0.0, (swap,))
    same_name = (
        " (an earlier TradingBot of the same name, still being deleted?)"
        if (other.namespace, other.name) == (ref.namespace, ref.name)
        else ""
    )
    message = (
        f"the account is held by TradingBot {other}{same_name} (AccountClaim {name_of(claim)}, "
        f"{claims.phase_of(claim).value} since {dig(claim, 'status', 'since') or 'its creation'}); one account trades with one bot: "
        "delete that bot, or give this one an account or subaccount of its own"
    )
    return NotHeld(no("AccountConflict", message), CONFLICT_LOOK_S)


@dataclass(frozen=True)
class Armed:
    """An engine may trade under this epoch."""

    arming: Arming
    verdict: Verdict


@dataclass(frozen=True)
class NotArmed:
    """Fencing is not finished; `progress` says what is under way."""

    verdict: Verdict
    after_s: float
    actions: tuple[Action, ...] = ()
    progress: str = ""


def attempt_view(
    memory: AttemptMemory, observed: Observed, verb: Verb, nonce: str, now_s: float
) -> AttemptView:
    """What a process remembers about the attempts of a bot. A contender for a claim knows nothing of the holder's."""
    claim = observed.claim
    edition = str(observed.bot["metadata"]["generation"])
    if verb is Verb.IDENTIFY:
        asked = identity.job_attempt(observed)
        return AttemptView(memory.is_open(asked), memory.pause_s(asked.claim, edition, now_s), nonce)
    if claim is None or claims.whose_claim(claim, observed.ref.uid) is not Whose.OURS:
        return AttemptView(is_open=False, pause_s=0.0, nonce=nonce)
    edition += f" {annotation(claim, REVOKE_KEY_IDS_ANNOTATION) or ''}"
    attempt = attempt_of(claim, verb)
    memory.note(attempt, now_s)
    if claims.phase_of(claim) is Phase.ACTIVE:
        memory.settle(name_of(claim), claims.epoch_of(claim))
    return AttemptView(memory.is_open(attempt), memory.pause_s(name_of(claim), edition, now_s), nonce)


def armed(claim: Object, account: Account) -> Armed | None:
    """What an Active claim permits; None when it is not Active."""
    if claims.phase_of(claim) is not Phase.ACTIVE:
        return None
    epoch, secret = claims.epoch_of(claim), str(dig(claim, "status", "secretName"))
    if account.key_policy is KeyPolicy.STATIC:
        message = (
            f"epoch {epoch}; the key of Secret {secret} is yours: only proof of death replaces an engine"
        )
        return Armed(Arming(epoch, secret), yes("Static", message))
    return Armed(
        Arming(epoch, secret), yes("Sole", f"epoch {epoch} holds the only accepted key of the account")
    )


@dataclass(frozen=True)
class Arms:
    """The swap that makes the claim Active; what comes after it in the same plan is written only if it succeeds (P7)."""

    swap: SwapClaim


def arm_static(
    claim: Object, account: Account, looked: Attempt, now: str, nonce: str, why: str, above: int
) -> Arms:
    """Static: the epoch is opened and Active in one swap; the old pod is guarded by proof of death alone.

    `looked` saw the account's identity confirmed (identity.look), and counts for this epoch only.
    """
    opened = claims.opened(claim, nonce=nonce, now=now, why=why, above=max(above, claims.highest_seen(claim)))
    following = claims.active(opened, secret_name=account.secret_name, key_id=None, evidence=None, now=now)
    opens = attempt_of(opened, Verb.TAKEOVER)
    return Arms(
        SwapClaim(
            following,
            f"a Static key needs no takeover: opens epoch {opens.epoch}",
            opens=opens,
            closes=looked,
        )
    )


def arm_managed(
    observed: Observed,
    claim: Object,
    view: AttemptView,
    setup: FenceSetup,
    fence: FenceParameters,
    now: str,
    *,
    why: str,
    above: int,
) -> Arms | NotArmed:
    """Managed: one step of the takeover, until the claim can become Active."""
    walked = walk(observed, claim, Verb.TAKEOVER, view, setup, fence, now, why=why, above=above)
    if isinstance(walked, NotArmed):
        return walked
    evidence = walked.evidence
    following = claims.active(
        claim,
        secret_name=str(evidence.secret_name),
        key_id=evidence.key_id,
        evidence=attempts.evidence_record(evidence),
        now=now,
    )
    return Arms(
        SwapClaim(following, "the fence published the only key", closes=attempt_of(claim, Verb.TAKEOVER))
    )


@dataclass(frozen=True)
class FenceParameters:
    """What a fence's command line says about the account, whatever its epoch."""

    cluster_id: str
    revocation_bound_ms: int
    key_list_lag_ms: int
    key_type: KeyType
    acknowledged_key_ids: tuple[str, ...]
    orders: bool = False
    """A release has to take back the engine's orders, too."""

    def arguments(self, observed: Observed, claim: Object) -> FenceArguments:
        """The command line for the claim's current epoch."""
        ref = observed.ref
        epoch, nonce = claims.epoch_of(claim), claims.nonce_of(claim)
        secret = dig(claim, "status", "secretName") if claims.phase_of(claim) is Phase.ACTIVE else None
        return FenceArguments(
            claim=name_of(claim),
            bot=f"{ref.namespace}/{ref.name}",
            epoch=epoch,
            nonce=nonce,
            cluster_id=self.cluster_id,
            secret_name=str(secret or epoch_secret_name(ref.name, epoch, nonce)),
            revocation_bound_ms=self.revocation_bound_ms,
            key_list_lag_ms=self.key_list_lag_ms,
            key_type=self.key_type.value,
            acknowledged_key_ids=self.acknowledged_key_ids,
            orders=self.orders,
        )

    def is_refuted(self, claim: Object) -> bool:
        """Whether the last attempt saw a deleted key accepted for longer than the bound."""
        return claims.still_accepted_ms(claim) > self.revocation_bound_ms

    def refutation(self, claim: Object) -> Verdict:
        """What to say then."""
        return no(
            Reason.NOT_CONFIRMED.value,
            f"the venue went on accepting a deleted key for {claims.still_accepted_ms(claim)} ms, and revocationBoundMs of the venue "
            f"profile is {self.revocation_bound_ms}: no epoch is opened before it is higher than that (soloist-fence measure-revocation; "
            "docs/guarantee.md). A bot that is to be deleted can be abandoned",
        )


def walk(
    observed: Observed,
    claim: Object,
    verb: Verb,
    view: AttemptView,
    setup: FenceSetup,
    fence: FenceParameters,
    now: str,
    *,
    why: str,
    above: int = 0,
) -> NotArmed | attempts.Succeeded:
    """One step of a takeover or of a release; Succeeded when its evidence is there. `why` and `above` are of the epoch."""
    epoch = claims.epoch_of(claim)
    job_name = observed.ref.release(epoch) if verb is Verb.RELEASE else observed.ref.fence(epoch)
    step = attempts.next_step(
        claim, verb, observed.job(job_name), observed.pods, is_open=view.is_open, pause_s=view.pause_s
    )
    doing = no("Fencing", f"{verb.value} of epoch {epoch} is under way (Job {job_name})")
    match step:
        case attempts.OpenEpoch() if fence.is_refuted(claim):
            # Its Secret is gone, so no later attempt could ask for that key again: only a bound that covers it is safe.
            return NotArmed(fence.refutation(claim), attempts.LONGEST_PAUSE_S)
        case attempts.OpenEpoch():
            following = claims.opened(
                claim,
                nonce=view.nonce,
                now=now,
                why=why,
                above=max(above, claims.highest_seen(claim)),
                acknowledged_key_ids=fence.acknowledged_key_ids,
            )
            opens = attempt_of(following, verb)
            swap = SwapClaim(following, f"opens epoch {opens.epoch}: {why}", opens=opens)
            return NotArmed(no("Fencing", f"epoch {opens.epoch} is opened"), 0.0, (swap,), "opening an epoch")
        case attempts.StartJob():
            last_secret = dig(claim, "status", "secretName")
            job = fence_job(
                observed.ref, verb, fence.arguments(observed, claim), setup, last_secret=last_secret
            )
            return NotArmed(doing, 0.0, (Create(JOB, job),), f"starting Job {job_name}")
        case attempts.RecordJob(job_uid):
            swap = SwapClaim(claims.started(claim, job_uid=job_uid), "names the attempt's Job")
            return NotArmed(doing, JOB_LOOK_S, (swap,), f"Job {job_name} is at work")
        case attempts.DropStaleJob(job):
            return NotArmed(
                doing, 1.0, (Delete(JOB, job, "it belongs to an earlier life of this name"),), "tidying"
            )
        case attempts.Waiting(trouble):
            return NotArmed(doing, JOB_LOOK_S, (), f"Job {job_name} is at work{trouble}")
        case attempts.Pausing(pause_s):
            # Without a failure it is another operator's attempt that this one waits for.
            return NotArmed(last_failure(claim) if claims.has_failed(claim) else doing, pause_s)
        case attempts.AttemptFailed():
            record = attempts.failure_record(step)
            following = claims.failed(claim, record, now=now, evidence=step.evidence)
            swap = SwapClaim(following, "the attempt failed", closes=attempt_of(claim, verb), failed=True)
            return NotArmed(last_failure(following), 0.0, (swap,))
        case attempts.Succeeded():
            return step


def last_failure(claim: Object) -> Verdict:
    """What the last attempt of a claim ended with, for condition Fenced."""
    evidence = dig(claim, "status", "evidence") or {}
    field, reason = evidence.get("field"), str(evidence.get("reason") or "Failed")
    message = str(evidence.get("message") or "the last attempt failed")
    message = f"{field}: {message}" if field else message
    return no(reason, message)


def new_key(observed: Observed, claim: Object, heartbeat: Heartbeat) -> str | None:
    """The key id that the admitted engine of the claim's epoch reports, if it is another one than the claim's."""
    record = heartbeat.record
    if record is None or not _speaks(observed, claim, heartbeat):
        return None
    return record.key_id if record.key_id and record.key_id != dig(claim, "status", "keyId") else None


def _speaks(observed: Observed, claim: Object, heartbeat: Heartbeat) -> bool:
    record, pod = heartbeat.record, observed.pod
    if record is None or heartbeat.silent or pod is None or record.pod_uid != uid_of(pod):
        return False
    return record.epoch == claims.epoch_of(claim)


def follow_engine(
    observed: Observed, claim: Object, heartbeat: Heartbeat, *, key: bool = True
) -> tuple[SwapClaim, ...]:
    """Keep the claim's key id (`key`; after a rotation) and order groups up to date with what the admitted engine says."""
    if not _speaks(observed, claim, heartbeat):
        return ()
    key_id = new_key(observed, claim, heartbeat) if key else None
    groups = tuple(sorted(_groups(observed.lease) - claims.groups_of(claim)))
    if key_id is None and not groups:
        return ()
    return (
        SwapClaim(claims.reported(claim, key_id=key_id, groups=groups), "the engine reports key and groups"),
    )


def _groups(lease: Object | None) -> frozenset[str]:
    """Order groups by the engine's own account (docs/interfaces.md, Lease)."""
    try:
        groups = json.loads(annotation(lease, ANNOTATION_ENGINE) or "{}")["safety"]["groups"]
        return frozenset(str(group) for group in groups.values() if group)
    except (ValueError, KeyError, TypeError, AttributeError):
        return frozenset()
