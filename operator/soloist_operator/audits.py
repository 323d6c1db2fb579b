"""What the audits of an account say, and what follows: a word, a reaping, a halt. Pure.

An audit runs as a CronJob (specs/jobs.py) and only looks. Its evidence stays with its Job until the next one, so nothing is
written while nothing is found. The watchdog beside the engine audits orders every few seconds and says so in the Lease.
"""

from __future__ import annotations

from dataclasses import dataclass

from soloist_fence.api import Evidence, FenceInterfaceError, Outcome, Reason

from soloist_operator import claims
from soloist_operator.conditions import Verdict, no
from soloist_operator.heartbeat import Heartbeat
from soloist_operator.kinds import GROUP, JOB, LABEL_COMPONENT
from soloist_operator.objects import Object, annotation, deleting, dig, label, name_of, uid_of
from soloist_operator.observe import Observed
from soloist_operator.outcomes import Finished, outcome_of
from soloist_operator.plan import Action, Create, Delete, SwapClaim
from soloist_operator.specs.common import Component
from soloist_operator.specs.jobs import FENCE_CONTAINER

ANNOTATION_ACKNOWLEDGE_HALT = f"{GROUP}/acknowledge-halt"
"""On a TradingBot, by a person: the `since` of the halt that the person has looked into."""


@dataclass(frozen=True)
class Audit:
    """The last finished audit: `evidence` is None when it left none, `why` then says so."""

    job: Object
    evidence: Evidence | None
    why: str


def last(observed: Observed, claim: Object) -> Audit | None:
    """The last finished audit of this claim's running epoch; None when none has finished yet."""
    found: list[tuple[str, Audit]] = []
    for job in observed.jobs:
        if label(job, LABEL_COMPONENT) != Component.AUDIT.value:
            continue
        outcome = outcome_of(job, observed.pods, FENCE_CONTAINER)
        if not isinstance(outcome, Finished) or (outcome.succeeded and not outcome.message):
            continue  # still at work, or its pod is gone: nothing to read
        audit = _read(job, outcome)
        if audit.evidence is not None and (audit.evidence.claim, audit.evidence.epoch) != (
            name_of(claim),
            claims.epoch_of(claim),
        ):
            continue  # of an epoch that is over
        found.append(
            (str(dig(job, "status", "startTime") or job["metadata"].get("creationTimestamp") or ""), audit)
        )
    return max(found, key=lambda entry: entry[0])[1] if found else None


def _read(job: Object, outcome: Finished) -> Audit:
    try:
        evidence = Evidence.parse(outcome.message)
    except FenceInterfaceError as error:
        return Audit(job, None, f"it ended without evidence ({outcome.why}): {error}")
    return Audit(job, evidence, evidence.message)


def verdict(audit: Audit) -> Verdict | None:
    """What an audit means for condition KeysHealthy; None when it found nothing, so that the keys' own story counts.

    "Could not look" is Unknown, never fine.
    """
    job, evidence = name_of(audit.job), audit.evidence
    if evidence is None:
        return Verdict("Unknown", "CouldNotAudit", f"Job {job}: {audit.why}")
    if evidence.outcome is Outcome.FAILED:
        return Verdict("Unknown", evidence.reason.value, f"Job {job} could not look: {evidence.message}")
    if evidence.outcome is not Outcome.FOUND:
        return None
    reason = "ForeignKey" if evidence.reason is Reason.CONFLICT else evidence.reason.value
    keys = f" (keys {', '.join(evidence.key_ids)})" if evidence.key_ids else ""
    return no(reason, f"Job {job}: {evidence.message}{keys}")


def watchdog_verdict(observed: Observed, heartbeat: Heartbeat) -> Verdict | None:
    """What the watchdog beside the engine saw, for condition KeysHealthy; None when it saw nothing.

    An engine that fell silent afterwards takes nothing back. The text carries no counts: they may grow with every look.
    """
    record, pod = heartbeat.record, observed.pod
    if record is None or pod is None or record.pod_uid != uid_of(pod):
        return None
    seen = []
    if record.foreign_orders:
        seen.append(
            "orders of somebody else in this subaccount, and halted the engine until a person resumes it (ctl resume --latch watchdog)"
        )
    if record.other_epoch_orders:
        seen.append(
            "orders of this bot in another epoch: the venue still accepts the key of an older engine (docs/guarantee.md, A1). For these "
            "the engine is not halted; set spec.state to Halted if in doubt"
        )
    if not seen:
        return None
    return no(
        Reason.FOREIGN_ORDERS.value,
        f"the watchdog of pod {name_of(pod)} saw {'; and '.join(seen)}. Its log names every order (AuditFound), soloist-fence status "
        "every key that could have sent them: find out who does",
    )


def foreign_orders(audit: Audit | None) -> int:
    """How many orders an audit saw accepted that the claim's engine did not send."""
    if audit is None or audit.evidence is None or audit.evidence.outcome is not Outcome.FOUND:
        return 0
    counted = int(audit.evidence.counts.get("foreignOrders", 0))
    return max(counted, int(audit.evidence.reason is Reason.FOREIGN_ORDERS))


def stale_keys(audit: Audit | None) -> bool:
    """Whether there are keys of older epochs that `audit --reap` may delete."""
    if audit is None or audit.evidence is None:
        return False
    evidence = audit.evidence
    if evidence.outcome is not Outcome.FOUND:
        return False
    return evidence.reason is Reason.STALE_KEYS or evidence.counts.get("staleKeys", 0) > 0


def reaping(observed: Observed, audit: Audit | None, job: Object) -> tuple[Action, ...]:
    """Start `audit --reap` when stale keys were found; `job` is the Job that would do it.

    A reaping that ended after the finding is a newer audit, so the same finding starts it once. One that is left of an
    earlier finding makes room first.
    """
    if not stale_keys(audit):
        return ()
    assert audit is not None
    there = observed.job(name_of(job))
    if there is None:
        return (Create(JOB, job),)
    if deleting(there) or name_of(audit.job) == name_of(job):
        return ()  # its own evidence says that keys are left: the next audit decides
    finished = isinstance(outcome_of(there, observed.pods, FENCE_CONTAINER), Finished)
    return (Delete(JOB, there, "it reaped what an earlier audit found"),) if finished else ()


def halting(observed: Observed, claim: Object, audit: Audit | None, now: str) -> SwapClaim | None:
    """Record a halt that an audit asks for, or a person's acknowledgement of it."""
    halt, orders = claims.halt_of(claim), foreign_orders(audit)
    said = (annotation(observed.bot, ANNOTATION_ACKNOWLEDGE_HALT) or "").strip()
    if halt is not None and not halt.get("acknowledged"):
        if said == halt["since"]:
            return SwapClaim(claims.acknowledged(claim), "a person acknowledged the halt")
        return None
    if orders and (halt is None or orders > int(halt.get("orders") or 0)):
        assert audit is not None
        message = f"Job {name_of(audit.job)}: {audit.why}"
        return SwapClaim(
            claims.halted(claim, orders=orders, message=message, now=now), "an audit saw foreign orders"
        )
    return None


def halt_verdict(observed: Observed, claim: Object) -> Verdict | None:
    """Condition KeysHealthy while the bot is halted by an audit."""
    halt = claims.halt_of(claim)
    if halt is None or halt.get("acknowledged"):
        return None
    return no(
        Reason.FOREIGN_ORDERS.value,
        f"halted since {halt['since']}: {halt['message']}. Find out who sends them; then kubectl annotate --overwrite tbs "
        f"{observed.ref.name} {ANNOTATION_ACKNOWLEDGE_HALT}={halt['since']}",
    )
