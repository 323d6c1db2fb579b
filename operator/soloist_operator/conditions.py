"""From judgements to the status a person and a GitOps tool read. Pure; the same judgements give the same text.

Nothing here may vary with time: a status that changes by itself would be written for ever.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from soloist_operator.api.status import ConditionType
from soloist_operator.objects import Object, dig
from soloist_operator.plan import Announce

TRUE, FALSE, UNKNOWN = "True", "False", "Unknown"
MESSAGE_LIMIT = 1024


@dataclass(frozen=True)
class Verdict:
    """One judgement: True, False or Unknown ("could not look"), one CamelCase word, and what to do next."""

    status: str
    reason: str
    message: str


def yes(reason: str, message: str) -> Verdict:
    """A good judgement."""
    return Verdict(TRUE, reason, message)


def no(reason: str, message: str) -> Verdict:
    """A judgement that keeps the bot from being Ready."""
    return Verdict(FALSE, reason, message)


NOT_NEEDED = yes("NotNeeded", "this mode trades no account")
VALID = yes("Valid", "the spec is valid")
NOT_YET = Verdict(UNKNOWN, "NotYet", "an earlier step comes first")

WAITING_FOR_APPROVAL = "WaitingForApproval"
WAITING_FOR_TURN = "WaitingForTurn"
WAITING = frozenset({WAITING_FOR_APPROVAL, WAITING_FOR_TURN})
"""Why Updated may be False of a bot that is Ready: what runs is good, and what is to come has time."""


@dataclass(frozen=True)
class Findings:
    """Everything that one run judged."""

    specification: Verdict = VALID
    claimed: Verdict = NOT_YET
    fenced: Verdict = NOT_YET
    engine: Verdict = NOT_YET
    updated: Verdict = NOT_YET
    keys: Verdict = NOT_YET
    protected: Verdict = NOT_YET
    progress: str = ""
    """What the operator is doing; empty when it waits for nothing."""

    def ready(self) -> Verdict:
        """The summary: the first bad judgement in the order in which a bot comes up, else the first that is missing."""
        judged = (self.specification, self.claimed, self.fenced, self.updated, self.engine)
        bad = [v for v in judged if v.status == FALSE and v.reason not in WAITING]
        for verdict in (*bad, *(v for v in judged if v.status == UNKNOWN)):
            return replace(verdict, status=FALSE)
        return yes("Ready", "the engine is reconciled with the venue and trades as asked")

    def progressing(self) -> Verdict:
        """Whether the operator is in the middle of something."""
        return yes("Working", self.progress) if self.progress else no("Settled", "nothing is under way")

    def verdicts(self) -> dict[ConditionType, Verdict]:
        """Every condition."""
        return {
            ConditionType.READY: self.ready(),
            ConditionType.ACCOUNT_CLAIMED: self.claimed,
            ConditionType.FENCED: self.fenced,
            ConditionType.ENGINE_READY: self.engine,
            ConditionType.UPDATED: self.updated,
            ConditionType.KEYS_HEALTHY: self.keys,
            ConditionType.PROTECTED: self.protected,
            ConditionType.PROGRESSING: self.progressing(),
        }


def status_of(bot: Object, findings: Findings, facts: Mapping[str, Any], now: str) -> Object:
    """The complete status. `facts` are its other fields; those that are None are absent."""
    generation = int(bot["metadata"]["generation"])
    before = {c["type"]: c for c in dig(bot, "status", "conditions") or []}
    conditions = [
        _condition(kind.value, verdict, before.get(kind.value), generation, now)
        for kind, verdict in findings.verdicts().items()
    ]
    shown = {name: value for name, value in facts.items() if value is not None}
    return {"observedGeneration": generation, "conditions": conditions, **shown}


def could_not_look(bot: Object, why: str, now: str) -> Object:
    """The status as it is, but Ready is Unknown: nothing is decided about a bot that cannot be seen, and nothing is fine."""
    shown = dict(bot.get("status") or {})
    generation = int(bot["metadata"]["generation"])
    blind = Verdict(UNKNOWN, "CouldNotLook", f"nothing is decided until it can be looked at again: {why}")
    before = {c["type"]: c for c in shown.get("conditions") or []}
    ready = _condition(
        ConditionType.READY.value, blind, before.get(ConditionType.READY.value), generation, now
    )
    return {**shown, "conditions": [ready, *(c for kind, c in before.items() if kind != ready["type"])]}


def _condition(
    kind: str, verdict: Verdict, before: Mapping[str, Any] | None, generation: int, now: str
) -> dict[str, Any]:
    same = before is not None and before["status"] == verdict.status
    return {
        "type": kind,
        "status": verdict.status,
        "reason": verdict.reason,
        "message": _short(verdict.message),
        "lastTransitionTime": before["lastTransitionTime"] if same and before is not None else now,
        "observedGeneration": generation,
    }


def _short(message: str) -> str:
    return message if len(message) <= MESSAGE_LIMIT else message[: MESSAGE_LIMIT - 1] + "…"


def same_status(bot: Object, status: Object) -> bool:
    """Whether the bot already shows this status, so that nothing is written."""
    shown = dict(bot.get("status") or {})
    conditions = shown.pop("conditions", None) or []
    wanted = dict(status)
    wanted_conditions = wanted.pop("conditions")
    by_type = {c["type"]: c for c in conditions}
    return (
        shown == wanted
        and len(conditions) == len(wanted_conditions)
        and all(by_type.get(c["type"]) == c for c in wanted_conditions)
    )


_ANNOUNCED = (
    ConditionType.READY.value,
    ConditionType.ACCOUNT_CLAIMED.value,
    ConditionType.FENCED.value,
    ConditionType.KEYS_HEALTHY.value,
    ConditionType.PROTECTED.value,
)
_QUIET_REASONS = frozenset({"NotYet", "NotNeeded", "Declared", "Kept"})


def announcements(bot: Object, status: Object) -> tuple[Announce, ...]:
    """Events for conditions whose status or reason changed; each story is told once."""
    before = {c["type"]: (c["status"], c["reason"]) for c in dig(bot, "status", "conditions") or []}
    # What is only on its way is no reason to warn anybody.
    under_way = any(
        c["type"] == ConditionType.PROGRESSING and c["status"] == TRUE for c in status["conditions"]
    )
    found: dict[tuple[str, str], Announce] = {}
    for condition in status["conditions"]:
        kind, state, reason = condition["type"], condition["status"], condition["reason"]
        if kind not in _ANNOUNCED or reason in _QUIET_REASONS or before.get(kind) == (state, reason):
            continue
        word = "Normal" if state == TRUE or under_way else "Warning"
        found.setdefault((reason, condition["message"]), Announce(word, reason, condition["message"]))
    return tuple(found.values())
