"""Whose claim is this? And the next content of a claim, for each step: pure, the swap itself is in apply.py."""

from __future__ import annotations

import copy
import enum
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from soloist_fence.api import (
    REVOKE_KEY_IDS_ANNOTATION,
    STILL_ACCEPTED,
    Evidence,
    Outcome,
    Reason,
    claim_name_of,
)

from soloist_operator.api.status import Phase
from soloist_operator.kinds import ACCOUNT_CLAIM
from soloist_operator.objects import Object, dig

# An outage of days must not push out the nonce of a key that is still in use: attempts come every 5 minutes at most.
NONCES_KEPT = 1000
HISTORY_KEPT = 10

GROUPS_KEPT = 50
FIRST_ARM = "FirstArm"
"""Why an epoch is opened when no engine of this bot ever traded."""


class Whose(enum.Enum):
    """Who holds a claim, from one bot's point of view."""

    MISSING = "nobody has made it yet"
    FREE = "nobody holds it"
    OURS = "this bot holds it"
    OTHERS = "another bot holds it"
    ORPHANED = "its last bot was abandoned"


@dataclass(frozen=True)
class Holder:
    """A TradingBot as a claim names it."""

    namespace: str
    name: str
    uid: str

    def to_json(self) -> dict[str, str]:
        """`spec.holder`."""
        return {"namespace": self.namespace, "name": self.name, "uid": self.uid}

    def __str__(self) -> str:
        """For messages."""
        return f"{self.namespace}/{self.name}"


def holder_of(claim: Object) -> Holder | None:
    """Who holds a claim by its own word."""
    found = dig(claim, "spec", "holder")
    return None if not found else Holder(found["namespace"], found["name"], found["uid"])


def phase_of(claim: Object) -> Phase:
    """Where a claim stands; a claim without status was made a moment ago."""
    return Phase(dig(claim, "status", "phase") or Phase.IDLE)


def epoch_of(claim: Object) -> int:
    """The last epoch that was opened, 0 before the first."""
    return int(dig(claim, "status", "epoch") or 0)


def nonce_of(claim: Object) -> str:
    """The nonce of that epoch's attempt, empty before the first."""
    return str(dig(claim, "status", "nonce") or "")


def whose_claim(claim: Object | None, uid: str) -> Whose:
    """Judge a claim that was read live. The uid decides, never the name: a bot of the same name may be another one."""
    if claim is None:
        return Whose.MISSING
    holder = holder_of(claim)
    if holder is not None:
        return Whose.OURS if holder.uid == uid else Whose.OTHERS
    return Whose.ORPHANED if phase_of(claim) is Phase.ORPHANED else Whose.FREE


def new_claim(identity: str, holder: Holder, *, venue: str, subaccount: int, now: str) -> Object:
    """A claim that did not exist, held from the start: the API server's unique names make it a lock.

    Whoever reaches the account, by whatever key, comes to the same name, because `identity` is the venue's word.
    """
    return {
        "apiVersion": ACCOUNT_CLAIM.api_version,
        "kind": ACCOUNT_CLAIM.kind,
        "metadata": {
            "name": claim_name_of(identity, subaccount),
            "labels": {"app.kubernetes.io/managed-by": "soloist"},
        },
        "spec": {
            "holder": holder.to_json(),
            "venue": venue,
            "subaccount": subaccount,
            "accountIdentity": identity,
        },
        "status": {"phase": Phase.IDLE.value, "epoch": 0, "since": now, "reason": "Claimed"},
    }


def adopted(claim: Object, holder: Holder, *, now: str) -> Object:
    """A free claim with a holder. An Orphaned one stays that until its first epoch is opened: its key is not yet swept."""
    following = copy.deepcopy(claim)
    following["spec"]["holder"] = holder.to_json()
    following["status"] = {**(following.get("status") or {}), "since": now, "reason": "Claimed"}
    following["status"].pop("message", None)
    return following


def opened(
    claim: Object,
    *,
    nonce: str,
    now: str,
    why: str,
    above: int = 0,
    acknowledged_key_ids: tuple[str, ...] = (),
) -> Object:
    """P1: the next epoch, above every epoch seen anywhere (`above`), with a nonce of its own. `why` is one word."""
    following = copy.deepcopy(claim)
    old = dict(following.get("status") or {})
    following["status"] = {
        **_kept(old),
        "phase": Phase.FENCING.value,
        "epoch": 1 + max(epoch_of(claim), above),
        "nonce": nonce,
        "nonces": [*(old.get("nonces") or []), nonce][-NONCES_KEPT:],
        "since": now,
        "reason": why,
    }
    if acknowledged_key_ids:
        following["status"]["acknowledgedKeyIds"] = list(acknowledged_key_ids)
    return following


def started(claim: Object, *, job_uid: str) -> Object:
    """The attempt's Job is known: only its pod's evidence counts."""
    following = copy.deepcopy(claim)
    following["status"]["jobUid"] = job_uid
    return following


_BLOCKING = frozenset({Reason.CONFLICT, Reason.UNKNOWN_HISTORY, Reason.IDENTITY_AMBIGUOUS})
"""What only a person resolves."""


def failed(claim: Object, record: Mapping[str, Any], *, now: str, evidence: Evidence | None) -> Object:
    """The attempt is over without a key. The next one is a new epoch.

    Its nonce stays in the history unless the fence itself vouches that no key of it can exist: without it a key that was
    made after all would be taken for a stranger's for ever.
    """
    following = copy.deepcopy(claim)
    status = following["status"]
    blocked = evidence is not None and evidence.reason in _BLOCKING
    status["phase"] = (Phase.CONFLICT if blocked else Phase.FENCING).value
    if evidence is not None and not evidence.key_may_exist:
        status["nonces"] = [nonce for nonce in status.get("nonces") or [] if nonce != status.get("nonce")]
    status["jobUid"] = ""
    if blocked:
        status |= {"since": now, "reason": str(record["reason"]), "message": str(record["message"])}
    return _recorded(following, record, now=now, outcome="Failed", reason=str(record.get("reason")))


def active(
    claim: Object, *, secret_name: str, key_id: str | None, evidence: Mapping[str, Any] | None, now: str
) -> Object:
    """P7, first half: the engine of this epoch may trade. `status.reason` goes on saying why the epoch was opened."""
    following = copy.deepcopy(claim)
    status = following["status"]
    status |= {"phase": Phase.ACTIVE.value, "secretName": secret_name, "since": now}
    if key_id is not None:
        status["keyId"] = key_id
    if evidence is not None and status.get("orderGroups"):  # the fence has deleted those of older epochs
        status["orderGroups"] = [g for g in status["orderGroups"] if int(g["epoch"]) >= epoch_of(claim)]
    # A person's override was for this sweep. What remains of it would revoke a key that comes back under the same id.
    (following["metadata"].get("annotations") or {}).pop(REVOKE_KEY_IDS_ANNOTATION, None)
    why = str(status.get("reason") or FIRST_ARM)
    return _recorded(following, evidence or {}, now=now, outcome="Active", reason=why)


def reported(claim: Object, *, key_id: str | None, groups: tuple[str, ...]) -> Object:
    """What the engine of this epoch says about itself: the key it uses, and the order groups it sends in."""
    following = copy.deepcopy(claim)
    status = following["status"]
    if key_id is not None:
        status["keyId"] = key_id
    known = [(int(g["epoch"]), str(g["id"])) for g in status.get("orderGroups") or []]
    new = [(epoch_of(claim), group) for group in groups if (epoch_of(claim), group) not in known]
    if new:
        status["orderGroups"] = [{"epoch": e, "id": i} for e, i in [*known, *new]][-GROUPS_KEPT:]
    return following


def groups_of(claim: Object) -> frozenset[str]:
    """Order groups that are on record for the running epoch."""
    groups: list[Object] = dig(claim, "status", "orderGroups") or []
    return frozenset(str(g["id"]) for g in groups if int(g["epoch"]) == epoch_of(claim))


def halted(claim: Object, *, orders: int, message: str, now: str) -> Object:
    """An audit saw an accepted order of somebody else: the bot is halted until a person acknowledges it."""
    following = copy.deepcopy(claim)
    following["status"]["halt"] = {
        "since": now,
        "message": message[:1024],
        "orders": orders,
        "acknowledged": False,
    }
    return following


def acknowledged(claim: Object) -> Object:
    """A person has seen why the bot was halted. The record stays, so that the same finding does not halt it again."""
    following = copy.deepcopy(claim)
    following["status"]["halt"]["acknowledged"] = True
    return following


def halt_of(claim: Object | None) -> Object | None:
    """The halt on record, acknowledged or not."""
    found: Object | None = dig(claim, "status", "halt")
    return found


def released(claim: Object, evidence: Mapping[str, Any] | None, *, now: str) -> Object:
    """Every key is revoked; whoever comes next may hold it."""
    following = _recorded(copy.deepcopy(claim), evidence or {}, now=now, outcome="Released", reason="Done")
    return _let_go(following, Phase.IDLE, now=now, reason="Released")


def orphaned(claim: Object, *, reason: str, why: str, now: str) -> Object:
    """The bot is given up without proof (`reason`, one word): epoch and key id stay on record, the key may still be accepted."""
    record = {"version": 1, "outcome": "Orphaned", "reason": reason, "message": why}
    if seen_ms := still_accepted_ms(claim):
        record["counts"] = {STILL_ACCEPTED: seen_ms}
    following = _recorded(copy.deepcopy(claim), record, now=now, outcome="Orphaned", reason=reason)
    following["status"]["message"] = why[:1024]
    return _let_go(following, Phase.ORPHANED, now=now, reason=reason)


def _let_go(claim: Object, phase: Phase, *, now: str, reason: str) -> Object:
    claim["spec"].pop("holder", None)
    status = claim["status"]
    status |= {"phase": phase.value, "since": now, "reason": reason}
    for name in ("jobUid", "halt"):
        status.pop(name, None)
    if phase is Phase.IDLE:
        for name in ("keyId", "secretName", "message", "acknowledgedKeyIds"):
            status.pop(name, None)
    return claim


_SURVIVES = ("evidence", "history", "keyId", "secretName", "orderGroups", "halt")


def _kept(status: Mapping[str, Any]) -> dict[str, Any]:
    """What survives the opening of an epoch. The last Active key stays known to the fence until it is replaced."""
    return {name: status[name] for name in _SURVIVES if status.get(name) is not None}


def _recorded(claim: Object, evidence: Mapping[str, Any], *, now: str, outcome: str, reason: str) -> Object:
    status = claim.setdefault("status", {"phase": Phase.IDLE.value, "epoch": 0})
    if evidence:
        status["evidence"] = dict(evidence)
    holder = holder_of(claim)
    line = {
        "epoch": epoch_of(claim),
        "time": now,
        "outcome": outcome,
        "reason": reason,
        "holder": str(holder) if holder else "",
    }
    status["history"] = [*(status.get("history") or []), line][-HISTORY_KEPT:]
    return claim


def highest_seen(claim: Object) -> int:
    """The highest epoch that the last attempt met at the venue (`HigherEpoch`), 0 when it met none above its own."""
    return int(dig(claim, "status", "evidence", "counts", "highestEpoch") or 0)


def has_failed(claim: Object) -> bool:
    """Whether the last attempt on record failed."""
    return str(dig(claim, "status", "evidence", "outcome")) == Outcome.FAILED.value


def still_accepted_ms(claim: Object) -> int:
    """How long after its deletion the last attempt still saw a key accepted, 0 when it saw it refused in the end."""
    evidence = dig(claim, "status", "evidence") or {}
    if evidence.get("outcome") not in {Outcome.FAILED, Phase.ORPHANED}:
        return 0
    return int((evidence.get("counts") or {}).get(STILL_ACCEPTED, 0))
