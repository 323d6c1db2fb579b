"""Where a takeover attempt stands, and what comes next. One attempt is one epoch.

Evidence counts only for the process that opened the attempt: `AttemptMemory` is that process's memory and is empty
after a restart, so whatever was under way then is followed by a new epoch (design: singleton.md, P6).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from soloist_fence.api import STILL_ACCEPTED, Evidence, Outcome, Reason, Verb

from soloist_operator import claims
from soloist_operator.api.status import Phase
from soloist_operator.objects import Object, annotation, dig, name_of, uid_of
from soloist_operator.outcomes import Finished, Running, fence_evidence, outcome_of
from soloist_operator.specs.jobs import ANNOTATION_NONCE, FENCE_CONTAINER

FIRST_PAUSE_S = 5.0
LONGEST_PAUSE_S = 300.0
OVERTAKEN_PAUSE_S = 20.0
"""Longer than a takeover takes: whoever opened the epoch above ours may finish it."""


@dataclass(frozen=True)
class Attempt:
    """One attempt, as its claim names it: a takeover, or the release when the bot is deleted.

    An identification comes before there is a claim: `claim` is then the bot's own name for it, the epoch 0.
    """

    verb: Verb
    claim: str
    epoch: int
    nonce: str


def attempt_of(claim: Object, verb: Verb) -> Attempt:
    """The attempt that a claim names."""
    return Attempt(verb, name_of(claim), claims.epoch_of(claim), claims.nonce_of(claim))


@dataclass
class AttemptMemory:
    """Attempts that this process opened and has not closed, and how long to wait after failures."""

    _open: dict[Attempt, float] = field(default_factory=dict)
    _failures: dict[str, int] = field(default_factory=dict)
    _not_before_s: dict[str, float] = field(default_factory=dict)
    _edition: dict[str, str] = field(default_factory=dict)
    _renewed: set[str] = field(default_factory=set)
    _overtaken: dict[str, int] = field(default_factory=dict)

    def open(self, attempt: Attempt, now_s: float) -> None:
        """P1 succeeded: this process may believe the attempt's evidence."""
        self._open[attempt] = now_s
        self._renewed.add(attempt.claim)

    def note(self, current: Attempt, now_s: float) -> None:
        """What the claim names now. An epoch above one of ours that we did not open is another living operator's.

        Whoever is overtaken waits, longer each time, so that one of two operators gets to the end.
        """
        mine = {
            attempt
            for attempt in self._open
            if (attempt.verb, attempt.claim) == (current.verb, current.claim)
            and attempt.epoch < current.epoch
        }
        for attempt in mine:
            del self._open[attempt]
        if mine and current not in self._open:
            times = self._overtaken[current.claim] = self._overtaken.get(current.claim, 0) + 1
            pause_s = min(LONGEST_PAUSE_S, OVERTAKEN_PAUSE_S * 2.0 ** min(times - 1, 16))
            self._not_before_s[current.claim] = now_s + pause_s

    def settle(self, claim: str, epoch: int) -> None:
        """The claim is Active: whatever led to this epoch is over, whoever made it, and nothing of it slows the next takeover."""
        for attempt in [a for a in self._open if a.claim == claim and a.epoch <= epoch]:
            del self._open[attempt]
        self._overtaken.pop(claim, None)
        self._not_before_s.pop(claim, None)

    def is_at_work(self, attempt: Attempt, now_s: float) -> bool:
        """Whether an attempt of this process can still be running: nobody advances that of a bot which was stopped meanwhile."""
        return now_s - self._open.get(attempt, -math.inf) < attempt.verb.active_deadline_s

    def renewed(self, claim: str) -> bool:
        """Whether this process opened an epoch of this claim itself, so that nothing of it comes from a backup."""
        return claim in self._renewed

    def is_open(self, attempt: Attempt) -> bool:
        """Whether this process opened it and it is not over."""
        return attempt in self._open

    def close(self, attempt: Attempt, *, failed: bool, now_s: float) -> None:
        """The attempt is over; after a failure the next one waits, longer each time."""
        self._open.pop(attempt, None)
        if failed:
            failures = self._failures[attempt.claim] = self._failures.get(attempt.claim, 0) + 1
            pause_s = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2.0 ** min(failures - 1, 16))
            self._not_before_s[attempt.claim] = now_s + pause_s
        else:
            self._failures.pop(attempt.claim, None)
            self._not_before_s.pop(attempt.claim, None)

    def pause_s(self, claim: str, edition: str, now_s: float) -> float:
        """Seconds until the next attempt may begin. What a person changed (`edition`) is tried at once."""
        if self._edition.get(claim) != edition:
            self._edition[claim] = edition
            self._not_before_s.pop(claim, None)
            self._failures.pop(claim, None)
        return max(0.0, self._not_before_s.get(claim, now_s) - now_s)


@dataclass(frozen=True)
class AttemptView:
    """What this process remembers about an attempt, and fresh randomness for the next one."""

    is_open: bool
    pause_s: float
    nonce: str


@dataclass(frozen=True)
class OpenEpoch:
    """P1: nothing is under way that this process could believe."""


@dataclass(frozen=True)
class StartJob:
    """The epoch is open, its Job is not there yet."""


@dataclass(frozen=True)
class RecordJob:
    """The Job is there, the claim does not yet name it."""

    job_uid: str


@dataclass(frozen=True)
class DropStaleJob:
    """A Job of this name belongs to an earlier life of the bot."""

    job: Object


@dataclass(frozen=True)
class Waiting:
    """The Job is at work; `trouble` as in outcomes.Running."""

    trouble: str


@dataclass(frozen=True)
class Pausing:
    """The last attempt failed; the next one waits."""

    pause_s: float


@dataclass(frozen=True)
class Succeeded:
    """The fence did what its verb says: published the only key, or left none."""

    evidence: Evidence


@dataclass(frozen=True)
class AttemptFailed:
    """The attempt is over without a key; `evidence` is None when the Job left none that counts."""

    message: str
    evidence: Evidence | None = None

    @property
    def reason(self) -> Reason | None:
        """The fence's own word, if it gave one."""
        return None if self.evidence is None else self.evidence.reason


Step = OpenEpoch | StartJob | RecordJob | DropStaleJob | Waiting | Pausing | Succeeded | AttemptFailed


def next_step(
    claim: Object, verb: Verb, job: Object | None, pods: Iterable[Object], *, is_open: bool, pause_s: float
) -> Step:
    """Judge a claim that is ours. `job` is the Job named after the verb and the claim's epoch, if it exists."""
    if not is_open:
        if (failed := _refuting(claim, verb, job, pods)) is not None:
            return failed
        return Pausing(pause_s) if pause_s > 0 else OpenEpoch()
    recorded_uid = dig(claim, "status", "jobUid") or ""
    if job is None:
        if recorded_uid:
            return AttemptFailed(f"Job {recorded_uid} of the attempt was deleted before it left evidence")
        return StartJob()
    if annotation(job, ANNOTATION_NONCE) != claims.nonce_of(claim):
        return DropStaleJob(job)
    if recorded_uid != uid_of(job):
        if recorded_uid:
            return AttemptFailed("the Job of the attempt was replaced by another one of its name")
        return RecordJob(uid_of(job))
    return _judge(attempt_of(claim, verb), outcome_of(job, pods, FENCE_CONTAINER))


def _refuting(claim: Object, verb: Verb, job: Object | None, pods: Iterable[Object]) -> AttemptFailed | None:
    """Bad news counts from anybody's attempt: the claim's own Job saw a deleted key accepted beyond D_rev, and nobody wrote it down."""
    if claims.phase_of(claim) is not Phase.FENCING or not dig(claim, "status", "jobUid") or job is None:
        return None
    if uid_of(job) != dig(claim, "status", "jobUid") or annotation(job, ANNOTATION_NONCE) != claims.nonce_of(
        claim
    ):
        return None
    step = _judge(attempt_of(claim, verb), outcome_of(job, pods, FENCE_CONTAINER))
    if (
        isinstance(step, AttemptFailed)
        and step.evidence is not None
        and STILL_ACCEPTED in step.evidence.counts
    ):
        return step
    return None


_GOOD_END = {Verb.TAKEOVER: Outcome.PUBLISHED, Verb.RELEASE: Outcome.RELEASED}


def _judge(attempt: Attempt, outcome: Running | Finished) -> Step:
    if isinstance(outcome, Running):
        return Waiting(outcome.trouble)
    evidence = fence_evidence(outcome, claim=attempt.claim, epoch=attempt.epoch, nonce=attempt.nonce)
    if isinstance(evidence, str):
        return AttemptFailed(evidence)
    wanted = _GOOD_END[attempt.verb]
    if evidence.outcome is not wanted:
        return AttemptFailed(evidence.message, evidence)
    if wanted is Outcome.PUBLISHED and not (evidence.secret_name and evidence.key_id):
        return AttemptFailed("the fence says Published and names no Secret or no key", evidence)
    return Succeeded(evidence)


def failure_record(failure: AttemptFailed) -> Mapping[str, object]:
    """What the claim keeps of a failed attempt."""
    if failure.evidence is not None:
        return evidence_record(failure.evidence)
    return {"version": 1, "outcome": "Failed", "reason": "NoEvidence", "message": failure.message[:500]}


def evidence_record(evidence: Evidence) -> dict[str, object]:
    """Evidence as the claim keeps it: counts and times, and at most five key ids."""
    record: dict[str, object] = {
        "version": 1,
        "outcome": evidence.outcome.value,
        "reason": evidence.reason.value,
        "message": evidence.message[:500],
        "counts": dict(evidence.counts),
        "durationsMs": dict(evidence.durations_ms),
    }
    if evidence.field:
        record["field"] = evidence.field
    if evidence.key_ids:
        record["keyIds"] = list(evidence.key_ids)
    return record
