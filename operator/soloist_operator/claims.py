"""Whose claim is this? And the next content of a claim, for each step: pure, the swap itself is in apply.py."""

from __future__ import annotations

import copy
import enum
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from soloist_fence.api import Reason

from soloist_operator.api.status import Phase
from soloist_operator.kinds import ACCOUNT_CLAIM
from soloist_operator.objects import Object, dig

# An outage of days must not push out the nonce of a key that is still in use: attempts come every 5 minutes at most.
NONCES_KEPT = 1000
HISTORY_KEPT = 10

_NO_KEY_WAS_MADE = frozenset(
    {Reason.MANAGEMENT_KEY_MISSING, Reason.MANAGEMENT_KEY_INVALID, Reason.MANAGEMENT_KEY_REJECTED}
)
"""Failures before the fence could make a key: the nonce need not be remembered."""


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


def new_claim(name: str, holder: Holder, *, venue: str, subaccount: int) -> Object:
    """A claim that did not exist, held from the start: the API server's unique names make it a lock."""
    return {
        "apiVersion": ACCOUNT_CLAIM.api_version,
        "kind": ACCOUNT_CLAIM.kind,
        "metadata": {"name": name, "labels": {"app.kubernetes.io/managed-by": "soloist"}},
        "spec": {"holder": holder.to_json(), "venue": venue, "subaccount": subaccount},
        "status": {"phase": Phase.IDLE.value, "epoch": 0},
    }


def adopted(claim: Object, holder: Holder) -> Object:
    """A free claim with a holder."""
    following = copy.deepcopy(claim)
    following["spec"]["holder"] = holder.to_json()
    return following


def opened(claim: Object, *, nonce: str, now: str, above: int = 0) -> Object:
    """P1: the next epoch, above every epoch seen anywhere (`above`), with a nonce of its own."""
    following = copy.deepcopy(claim)
    old = dict(following.get("status") or {})
    following["status"] = {
        **_kept(old),
        "phase": Phase.FENCING.value,
        "epoch": 1 + max(epoch_of(claim), above),
        "nonce": nonce,
        "nonces": [*(old.get("nonces") or []), nonce][-NONCES_KEPT:],
        "since": now,
    }
    return following


def started(claim: Object, *, job_uid: str) -> Object:
    """The attempt's Job is known: only its pod's evidence counts."""
    following = copy.deepcopy(claim)
    following["status"]["jobUid"] = job_uid
    return following


def failed(claim: Object, evidence: Mapping[str, Any], *, now: str, reason: Reason | None) -> Object:
    """The attempt is over without a key. The next one is a new epoch."""
    following = copy.deepcopy(claim)
    status = following["status"]
    conflict = reason in {Reason.CONFLICT, Reason.UNKNOWN_HISTORY}
    status["phase"] = (Phase.CONFLICT if conflict else Phase.FENCING).value
    if reason in _NO_KEY_WAS_MADE:
        status["nonces"] = [nonce for nonce in status.get("nonces") or [] if nonce != status.get("nonce")]
    status["jobUid"] = ""
    return _recorded(following, evidence, now=now, outcome="Failed", reason=str(evidence.get("reason")))


def active(
    claim: Object, *, secret_name: str, key_id: str | None, evidence: Mapping[str, Any] | None, now: str
) -> Object:
    """P7, first half: the engine of this epoch may trade."""
    following = copy.deepcopy(claim)
    status = following["status"]
    status |= {"phase": Phase.ACTIVE.value, "secretName": secret_name, "since": now}
    if key_id is not None:
        status["keyId"] = key_id
    return _recorded(following, evidence or {}, now=now, outcome="Active", reason="Done")


def rotated(claim: Object, *, key_id: str) -> Object:
    """The engine reports another key of the same epoch."""
    following = copy.deepcopy(claim)
    following["status"]["keyId"] = key_id
    return following


def released(claim: Object, evidence: Mapping[str, Any] | None, *, now: str) -> Object:
    """Every key is revoked; whoever comes next may hold it."""
    following = _recorded(copy.deepcopy(claim), evidence or {}, now=now, outcome="Released", reason="Done")
    return _let_go(following, Phase.IDLE, now=now)


def orphaned(claim: Object, *, why: str, now: str) -> Object:
    """A person abandoned the bot: epoch and key id stay on record, because the key may still be accepted."""
    record = {"version": 1, "outcome": "Abandoned", "reason": "Abandoned", "message": why}
    following = _recorded(copy.deepcopy(claim), record, now=now, outcome="Abandoned", reason="Abandoned")
    return _let_go(following, Phase.ORPHANED, now=now)


def _let_go(claim: Object, phase: Phase, *, now: str) -> Object:
    claim["spec"].pop("holder", None)
    status = claim["status"]
    status |= {"phase": phase.value, "since": now}
    status.pop("jobUid", None)
    if phase is Phase.IDLE:
        status.pop("keyId", None)
        status.pop("secretName", None)
    return claim


def _kept(status: Mapping[str, Any]) -> dict[str, Any]:
    """What survives the opening of an epoch. The last Active key stays known to the fence until it is replaced."""
    return {
        name: status[name]
        for name in ("evidence", "history", "keyId", "secretName")
        if status.get(name) is not None
    }


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
