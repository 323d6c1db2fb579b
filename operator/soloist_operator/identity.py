"""Which account is it? Asked once per bot, of the venue itself, before there is a claim (singleton.md, P0). Pure.

Two management keys of one account, or two Secrets with one key, are two names of one account: only the venue can tell.
The answer is bound into the bot's status and into the claim, and never derived again.
"""

from __future__ import annotations

from dataclasses import dataclass

from soloist_fence.api import IdentifyArguments, Outcome, Reason, Verb, claim_name_of, marker_of

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

CLAIMED = "AccountClaimed"
_LOOK_S = 5.0


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
    """One step towards the answer. Evidence counts only from the Job's own pod, for the process that made the Job."""
    ref, job = observed.ref, observed.job(observed.ref.identify)
    asking = no("Identifying", f"Job {ref.identify} asks the venue which account this is")
    if job is None:
        if view.pause_s > 0:
            return Unidentified(_last(observed) or asking, view.pause_s)
        arguments = IdentifyArguments(
            view.nonce, static=account.key_policy is KeyPolicy.STATIC, key_list_lag_ms=key_list_lag_ms
        )
        create = Create(JOB, identify_job(ref, arguments, setup), opens=attempt(ref, view.nonce))
        return Unidentified(asking, _LOOK_S, (create,))
    if deleting(job):
        return Unidentified(_last(observed) or asking, _LOOK_S)
    if not view.is_open:
        drop = Delete(JOB, job, "nobody remembers why it was started")
        return Unidentified(asking, 0.2, (drop,))
    outcome = outcome_of(job, observed.pods, FENCE_CONTAINER)
    if isinstance(outcome, Running):
        return Unidentified(_with_trouble(asking, outcome.trouble), _LOOK_S)
    nonce = str(annotation(job, ANNOTATION_NONCE))
    evidence = fence_evidence(outcome, claim="", epoch=0, nonce=nonce)
    over = Delete(JOB, job, "the identification failed", failed=attempt(ref, nonce))
    if isinstance(evidence, str):
        return Unidentified(no("NoEvidence", evidence), 0.2, (over,))
    if evidence.outcome is not Outcome.IDENTIFIED or not evidence.account_identity:
        message = f"{evidence.field}: {evidence.message}" if evidence.field else evidence.message
        return Unidentified(no(evidence.reason.value, message), 0.2, (over,))
    identity = evidence.account_identity
    return Identified(identity, claim_name_of(identity, account.subaccount))


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


def _last(observed: Observed) -> Verdict | None:
    """What the status says about the last attempt: its Job is gone, its message stays."""
    for condition in dig(observed.bot, "status", "conditions") or []:
        if condition["type"] == CLAIMED and condition["status"] == "False":
            return no(condition["reason"], condition["message"])
    return None
