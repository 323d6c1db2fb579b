"""Why an Active epoch must be replaced although nobody suspects its engine. Pure; each judgement names what was seen.

Its key is of no use any more (its Secret was deleted, the venue refuses it), or the claim comes from a backup.
"""

from __future__ import annotations

import datetime as dt

from soloist_fence.api import Reason

from soloist_operator import claims
from soloist_operator.api.tradingbot import Account, KeyPolicy
from soloist_operator.conditions import Verdict, no
from soloist_operator.heartbeat import Heartbeat, engine_record
from soloist_operator.objects import Object, dig, name_of
from soloist_operator.observe import Observed
from soloist_operator.outcomes import ended_with, reported_problems

AFTER_RESTORE = "AfterRestore"
SECRET_GONE = "EpochSecretGone"  # noqa: S105 - a word, not a password
KEY_REFUSED = "KeyRefused"
_EXIT_UNUSABLE, _EXIT_MAY_NOT_TRADE = 2, 3
_KEY_REJECTED = "KeyRejected"
LIMIT, WINDOW = 3, dt.timedelta(minutes=10)


def due(observed: Observed, claim: Object, account: Account, *, now: str, restored: bool) -> str | None:
    """Why the claim's Active epoch must be replaced, in one word; None when it stands. `restored`: see Context."""
    if restored:
        return AFTER_RESTORE
    if account.key_policy is KeyPolicy.STATIC:
        return None  # a takeover makes no Static key: judgements.py says what is wrong with it
    pod = observed.pod
    if pod is None or _mounted_secret(pod) != dig(claim, "status", "secretName"):
        return None  # a pod of another epoch says nothing about this one
    if _too_often(claim, now):
        return None
    keys = ended_with(pod, "keys")
    if keys is not None and keys[0] == _EXIT_UNUSABLE and reported_problems(keys[1]):
        return SECRET_GONE
    engine = ended_with(pod, "engine")
    if engine is not None and engine[0] == _EXIT_MAY_NOT_TRADE and _KEY_REJECTED in engine[1]:
        return KEY_REFUSED
    return None


def _too_often(claim: Object, now: str) -> bool:
    """Whether new keys were made for these reasons again and again: what refuses them is then not the key."""
    recent = 0
    for line in dig(claim, "status", "history") or []:
        if line.get("outcome") == "Active" and line.get("reason") in {SECRET_GONE, KEY_REFUSED}:
            age = dt.datetime.fromisoformat(now) - dt.datetime.fromisoformat(str(line["time"]))
            recent += age < WINDOW
    return recent >= LIMIT


def _mounted_secret(pod: Object) -> str | None:
    """The epoch Secret that a pod mounts."""
    volumes: list[Object] = dig(pod, "spec", "volumes") or []
    return next((str(dig(v, "secret", "secretName")) for v in volumes if v.get("name") == "epoch-key"), None)


def epoch_above(observed: Observed, claim: Object, heartbeat: Heartbeat) -> int:
    """The epoch that an engine reports if it is above the claim's, else 0."""
    read = engine_record(observed.lease) if observed.lease is not None else None
    highest = max((r.epoch for r in (heartbeat.record, read) if r is not None), default=0)
    return highest if highest > claims.epoch_of(claim) else 0


def unknown_history(claim: Object, epoch: int) -> Verdict:
    """Condition Fenced when a Lease speaks of an epoch that the claim never opened."""
    return no(
        Reason.UNKNOWN_HISTORY.value,
        f"an engine reports epoch {epoch}, AccountClaim {name_of(claim)} knows only {claims.epoch_of(claim)}: the claim comes from a "
        "backup. Nothing new is armed. If you restored it, restart the operator with --after-restore: every claim then gets a new "
        "epoch above all that was seen",
    )
