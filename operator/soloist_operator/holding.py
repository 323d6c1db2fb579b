"""The account's road: claim it, fence it, hold it. Pure; each call is one step, the swap decides the race."""

from __future__ import annotations

from dataclasses import dataclass

from soloist_fence.api import FenceArguments, Verb, epoch_secret_name

from soloist_operator import attempts, claims
from soloist_operator.api.status import Phase
from soloist_operator.api.tradingbot import Account, KeyPolicy, KeyType
from soloist_operator.attempts import AttemptMemory, attempt_of
from soloist_operator.claims import Holder, Whose
from soloist_operator.conditions import Verdict, no, yes
from soloist_operator.heartbeat import Heartbeat
from soloist_operator.kinds import JOB
from soloist_operator.objects import Object, dig, name_of, uid_of
from soloist_operator.observe import Observed
from soloist_operator.plan import Action, Create, Delete, SwapClaim
from soloist_operator.specs.engine import Arming
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


def hold(observed: Observed, name: str, account: Account, venue: str) -> Held | NotHeld:
    """Take or confirm the claim called `name`."""
    ref, claim = observed.ref, observed.claim
    holder = Holder(ref.namespace, ref.name, ref.uid)
    taking = no("Claiming", f"AccountClaim {name} is being taken")
    match claims.whose_claim(claim, ref.uid):
        case Whose.OURS:
            assert claim is not None
            return Held(claim)
        case Whose.MISSING:
            body = claims.new_claim(name, holder, venue=venue, subaccount=account.subaccount)
            return NotHeld(taking, 0.0, (SwapClaim(body, "the account had no claim"),))
        case Whose.FREE:
            assert claim is not None
            return NotHeld(taking, 0.0, (SwapClaim(claims.adopted(claim, holder), "the claim was Idle"),))
        case Whose.ORPHANED:
            assert claim is not None
            if account.key_policy is KeyPolicy.MANAGED:
                # Its old key is swept by our first takeover, before any key of ours exists.
                return NotHeld(
                    taking, 0.0, (SwapClaim(claims.adopted(claim, holder), "the claim was Orphaned"),)
                )
            message = (
                f"AccountClaim {name} is Orphaned: the bot that held it was abandoned and its engine may still run with this "
                "Static key. Replace the key at the venue, put the new one into another Secret and create the TradingBot with it"
            )
            return NotHeld(no("AccountConflict", message), CONFLICT_LOOK_S)
        case Whose.OTHERS:
            assert claim is not None
            other = claims.holder_of(claim)
            same_name = (
                " (an earlier TradingBot of the same name, still being deleted?)"
                if (other is not None and (other.namespace, other.name) == (ref.namespace, ref.name))
                else ""
            )
            message = (
                f"the account is held by TradingBot {other}{same_name} (AccountClaim {name}); one account trades with one bot: "
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


@dataclass(frozen=True)
class AttemptView:
    """What this process remembers about the attempt that the claim names, and fresh randomness for the next one."""

    is_open: bool
    pause_s: float
    nonce: str


def attempt_view(
    memory: AttemptMemory, observed: Observed, verb: Verb, nonce: str, now_s: float
) -> AttemptView:
    """What a process remembers about the claim of a bot. A contender for it knows nothing of the holder's attempts."""
    claim = observed.claim
    if claim is None or claims.whose_claim(claim, observed.ref.uid) is not Whose.OURS:
        return AttemptView(is_open=False, pause_s=0.0, nonce=nonce)
    generation = int(observed.bot["metadata"]["generation"])
    pause_s = memory.pause_s(name_of(claim), generation, now_s)
    return AttemptView(memory.is_open(attempt_of(claim, verb)), pause_s, nonce)


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


def arm_static(claim: Object, account: Account, now: str, nonce: str) -> NotArmed:
    """Static: the epoch is opened and Active in one swap; the old pod is guarded by proof of death alone."""
    following = claims.active(
        claims.opened(claim, nonce=nonce, now=now),
        secret_name=account.secret_name,
        key_id=None,
        evidence=None,
        now=now,
    )
    swap = SwapClaim(following, "a Static key needs no takeover")
    return NotArmed(no("Arming", "the claim becomes Active"), 0.0, (swap,), "opening the epoch")


def arm_managed(
    observed: Observed, claim: Object, view: AttemptView, setup: FenceSetup, fence: FenceParameters, now: str
) -> NotArmed:
    """Managed: one step of the takeover, until the claim is Active."""
    walked = walk(observed, claim, Verb.TAKEOVER, view, setup, fence, now)
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
    swap = SwapClaim(following, "the fence published the only key", closes=attempt_of(claim, Verb.TAKEOVER))
    return NotArmed(no("Arming", f"epoch {evidence.epoch} is published"), 0.0, (swap,), "arming the engine")


@dataclass(frozen=True)
class FenceParameters:
    """What a fence's command line says about the account, whatever its epoch."""

    cluster_id: str
    revocation_bound_ms: int
    key_type: KeyType
    acknowledged_key_ids: tuple[str, ...]

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
            key_type=self.key_type.value,
            acknowledged_key_ids=self.acknowledged_key_ids,
        )


def walk(
    observed: Observed,
    claim: Object,
    verb: Verb,
    view: AttemptView,
    setup: FenceSetup,
    fence: FenceParameters,
    now: str,
) -> NotArmed | attempts.Succeeded:
    """One step of a takeover or of a release; Succeeded when its evidence is there."""
    epoch = claims.epoch_of(claim)
    job_name = observed.ref.release(epoch) if verb is Verb.RELEASE else observed.ref.fence(epoch)
    step = attempts.next_step(
        claim, verb, observed.job(job_name), observed.pods, is_open=view.is_open, pause_s=view.pause_s
    )
    doing = no("Fencing", f"{verb.value} of epoch {epoch} is under way (Job {job_name})")
    match step:
        case attempts.OpenEpoch():
            following = claims.opened(claim, nonce=view.nonce, now=now, above=claims.highest_seen(claim))
            opens = attempt_of(following, verb)
            swap = SwapClaim(following, f"opens epoch {opens.epoch}", opens=opens)
            return NotArmed(no("Fencing", f"epoch {opens.epoch} is opened"), 0.0, (swap,), "opening an epoch")
        case attempts.StartJob():
            job = fence_job(observed.ref, verb, fence.arguments(observed, claim), setup)
            return NotArmed(doing, 0.0, (Create(JOB, job),), f"starting Job {job_name}")
        case attempts.RecordJob(job_uid):
            swap = SwapClaim(claims.started(claim, job_uid=job_uid), "names the attempt's Job")
            return NotArmed(doing, JOB_LOOK_S, (swap,), f"Job {job_name} is at work")
        case attempts.DropStaleJob(job):
            return NotArmed(
                doing, 1.0, (Delete(JOB, job, "it belongs to an earlier life of this name"),), "tidying"
            )
        case attempts.Waiting(detail):
            return NotArmed(doing, JOB_LOOK_S, (), f"Job {job_name}: {detail}")
        case attempts.Pausing(pause_s):
            return NotArmed(last_failure(claim), pause_s)
        case attempts.AttemptFailed():
            record = attempts.failure_record(step)
            following = claims.failed(claim, record, now=now, reason=step.reason)
            swap = SwapClaim(following, "the attempt failed", closes=attempt_of(claim, verb), failed=True)
            return NotArmed(last_failure(following), 0.0, (swap,))
        case attempts.Succeeded():
            return step


def last_failure(claim: Object) -> Verdict:
    """What the last attempt of a claim ended with, for condition Fenced."""
    evidence = dig(claim, "status", "evidence") or {}
    field = evidence.get("field")
    message = str(evidence.get("message") or "the last attempt failed")
    return no(str(evidence.get("reason") or "Failed"), f"{field}: {message}" if field else message)


def follow_rotation(claim: Object, heartbeat: Heartbeat, pod: Object | None) -> tuple[Action, ...]:
    """Keep the claim's key id up to date with what the admitted engine says it uses after a rotation."""
    record = heartbeat.record
    if record is None or heartbeat.silent or pod is None or record.pod_uid != uid_of(pod):
        return ()
    if not record.key_id or record.epoch != claims.epoch_of(claim):
        return ()
    if record.key_id == dig(claim, "status", "keyId"):
        return ()
    return (SwapClaim(claims.rotated(claim, key_id=record.key_id), "the engine uses a rotated key"),)
