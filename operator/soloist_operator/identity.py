"""Which account is it? Asked once per bot, of the venue itself, before there is a claim (singleton.md, P0). Pure.

Two management keys of one account, or two Secrets with one key, are two names of one account: only the venue can tell.
The answer is bound into the bot's status and into the claim, and never derived again. A takeover compares it with its own
listings; a Static key has no takeover, so `look` compares it each time an epoch is opened.
"""

from __future__ import annotations

from dataclasses import dataclass

from soloist_fence.api import Evidence, IdentifyArguments, Outcome, Reason, Verb, claim_name_of, marker_of

from soloist_operator.api.tradingbot import Account, KeyPolicy
from soloist_operator.attempts import Attempt, AttemptView
from soloist_operator.conditions import Verdict, no, yes
from soloist_operator.kinds import JOB
from soloist_operator.objects import Object, annotation, deleting, dig
from soloist_operator.observe import Observed
from soloist_operator.outcomes import Running, fence_evidence, outcome_of
from soloist_operator.plan import Action, Create, Delete
from soloist_operator.specs.common import BotRef
from soloist_operator.specs.jobs import ANNOTATION_NONCE, FENCE_CONTAINER, FenceSetup, identify_job

CLAIMED, FENCED, KEYS = "AccountClaimed", "Fenced", "KeysHealthy"
_LOOK_S = 5.0
REMEDY = "put a key of the bound account back, or delete this TradingBot and create one for the other account"


@dataclass(frozen=True)
class Identified:
    """The account's identity by the venue's word, and the name of its claim."""

    identity: str
    claim: str


@dataclass(frozen=True)
class Unidentified:
    """Not known yet; `actions` ask, `after_s` says when to look again."""

    verdict: Verdict
    after_s: float
    actions: tuple[Action, ...] = ()


def bound(bot: Object, account: Account) -> Identified | None:
    """What the bot's status is bound to, None before that."""
    identity = dig(bot, "status", "accountIdentity")
    return None if not identity else Identified(identity, claim_name_of(str(identity), account.subaccount))


def attempt(ref: BotRef, nonce: str) -> Attempt:
    """An identification as this process remembers it: the nonce of its Job, and no claim."""
    return Attempt(Verb.IDENTIFY, f"{ref.namespace}/{ref.name}/{ref.uid}", 0, nonce)


def job_attempt(observed: Observed) -> Attempt:
    """The identification that the Job of this name is by its own word; without a Job, none that anybody opened."""
    job = observed.job(observed.ref.identify)
    return attempt(observed.ref, annotation(job, ANNOTATION_NONCE) or "")


def ask(
    observed: Observed, account: Account, view: AttemptView, setup: FenceSetup, key_list_lag_ms: int
) -> Identified | Unidentified:
    """One step towards the answer."""
    asking = no("Identifying", f"Job {observed.ref.identify} asks the venue which account this is")
    static = account.key_policy is KeyPolicy.STATIC
    arguments = IdentifyArguments(view.nonce, static=static, key_list_lag_ms=key_list_lag_ms)
    evidence = _inquire(observed, arguments, view, setup, asking, CLAIMED)
    if isinstance(evidence, Unidentified):
        return evidence
    identity = str(evidence.account_identity)
    return Identified(identity, claim_name_of(identity, account.subaccount))


def drop_answered(observed: Observed) -> tuple[Action, ...]:
    """Delete a Static bot's first identification once its answer is bound, so that it never passes for a later look."""
    job = observed.job(observed.ref.identify)
    if job is None or deleting(job):
        return ()
    return (Delete(JOB, job, "its answer is bound; the key is looked at again before it is armed"),)


def look(
    observed: Observed,
    found: Identified,
    view: AttemptView,
    setup: FenceSetup,
    key_list_lag_ms: int,
    *,
    condition: str = FENCED,
) -> Unidentified | None:
    """One step of asking whether a Static key is still one of the bound account; None when it is, by evidence that counts.

    Who acts on that closes `job_attempt`, so that the next time it is asked again; `condition` shows the answer. An account
    that was named by its key is asked for anew, because `--bound` has the fence compare markers only.
    """
    marker = marker_of(found.identity)
    asking = no(
        "Fencing" if condition == FENCED else "Identifying",
        f"Job {observed.ref.identify} asks the venue whether the key is still of this account",
    )
    arguments = IdentifyArguments(
        view.nonce,
        static=True,
        bound=found.identity if marker is not None else None,
        key_list_lag_ms=key_list_lag_ms,
    )
    evidence = _inquire(observed, arguments, view, setup, asking, condition)
    if isinstance(evidence, Unidentified):
        return evidence
    # Of a key that may not list, the fence repeats what it was told and has seen no marker: that confirms nothing.
    if (evidence.account_identity, evidence.marker_id or None) == (found.identity, marker):
        return None
    if marker is not None and not evidence.marker_id:
        seen = "the key in its Secret may not list the account's keys, so nobody can tell which account it trades"
    else:
        seen = f"the key in its Secret is of {evidence.account_identity}"
    message = f"the bot is bound to {found.identity}, and {seen}. No epoch is opened for it: {REMEDY}"
    return _over(observed, no(Reason.IDENTITY_AMBIGUOUS.value, message))


def _inquire(
    observed: Observed,
    arguments: IdentifyArguments,
    view: AttemptView,
    setup: FenceSetup,
    asking: Verdict,
    condition: str,
) -> Evidence | Unidentified:
    """One step of an identification. Evidence counts only from the Job's own pod, for the process that made the Job.

    `asking` is the verdict while it is under way; `condition` shows how the last one ended.
    """
    ref, job = observed.ref, observed.job(observed.ref.identify)
    if job is None:
        if view.pause_s > 0:
            return Unidentified(_last(observed, condition) or asking, view.pause_s)
        create = Create(JOB, identify_job(ref, arguments, setup), opens=attempt(ref, view.nonce))
        return Unidentified(asking, _LOOK_S, (create,))
    if deleting(job):
        return Unidentified(_last(observed, condition) or asking, _LOOK_S)
    if not view.is_open:
        drop = Delete(JOB, job, "nobody remembers why it was started")
        return Unidentified(asking, 0.2, (drop,))
    outcome = outcome_of(job, observed.pods, FENCE_CONTAINER)
    if isinstance(outcome, Running):
        return Unidentified(_with_trouble(asking, outcome.trouble), _LOOK_S)
    nonce = str(annotation(job, ANNOTATION_NONCE))
    evidence = fence_evidence(outcome, claim="", epoch=0, nonce=nonce)
    if isinstance(evidence, str):
        return _over(observed, no("NoEvidence", evidence))
    if evidence.outcome is not Outcome.IDENTIFIED or not evidence.account_identity:
        message = f"{evidence.field}: {evidence.message}" if evidence.field else evidence.message
        return _over(observed, no(evidence.reason.value, message))
    return evidence


def _over(observed: Observed, verdict: Verdict) -> Unidentified:
    """The identification ended without the answer that is needed: the next one waits, longer each time."""
    job = observed.job(observed.ref.identify)
    assert job is not None, "only called for a Job that ended"
    over = Delete(JOB, job, "the identification failed", failed=job_attempt(observed))
    return Unidentified(verdict, 0.2, (over,))


def claimed_verdict(found: Identified) -> Verdict:
    """Condition AccountClaimed of the bot that holds the claim."""
    message = f"AccountClaim {found.claim} is held by this bot"
    if marker_of(found.identity) is not None:
        return yes("Claimed", message)
    return yes(
        Reason.IDENTITY_BY_KEY_ONLY.value,
        f"{message}; the account is known by this key only, because the key may not list the account's keys: another key of the "
        "same account would not be noticed",
    )


def _with_trouble(verdict: Verdict, trouble: str) -> Verdict:
    return verdict if not trouble else no(verdict.reason, f"{verdict.message}{trouble}")


def _last(observed: Observed, kind: str) -> Verdict | None:
    """What the status says about the last attempt: its Job is gone, its message stays."""
    for condition in dig(observed.bot, "status", "conditions") or []:
        if condition["type"] == kind and condition["status"] == "False":
            return no(condition["reason"], condition["message"])
    return None
