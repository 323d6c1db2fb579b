"""What one fence process was started for, and the rule that every destructive step obeys."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from soloist_fence.api import (
    ACKNOWLEDGED_KEYS_FIELD,
    REVOKE_KEY_IDS_ANNOTATION,
    SHOWN_KEY_IDS,
    KeyName,
    Reason,
    VenueKey,
    marker_key_nonce,
    marker_of,
    parse_venue_key_name,
    threatens,
)
from soloist_fence.commands import ClaimView, IssuedKey, Machine, Now, ReadClaim
from soloist_fence.errors import FenceError

_SHOWN_KEYS = SHOWN_KEY_IDS


@dataclass(frozen=True)
class Attempt:
    """One attempt of one epoch; never reused."""

    claim: str
    cluster_id: str
    epoch: int
    nonce: str
    subaccount: int
    secret_name: str
    revocation_bound_ms: int
    key_type: str
    authenticating_key_id: str
    acknowledged_key_ids: frozenset[str]
    deadline_ms: int
    """CLOCK_BOOTTIME after which only the attempt's own key may still be touched."""
    key_list_lag_ms: int = 0
    """How far the venue's key list may be behind: a listing tells of a moment only so long after it."""
    old_keys: tuple[IssuedKey, ...] = ()
    """Keys of older epochs whose private half is known, so that their end can be proven."""

    def threat(self, key: VenueKey, *, subaccount: int | None) -> bool:
        """Whether a key could trade behind this attempt's back; `subaccount` None asks for the whole account."""
        return threatens(
            key,
            subaccount=subaccount,
            authenticating_key_id=self.authenticating_key_id,
            acknowledged_key_ids=self.acknowledged_key_ids,
        )

    def own_name(self, key: VenueKey) -> KeyName | None:
        """The parsed name of a key of this claim in this cluster; None for every other key."""
        name = parse_venue_key_name(key.name)
        if name is None or name.claim != self.claim or name.cluster_id != self.cluster_id:
            return None
        return name

    def of_this_claim(self, keys: Iterable[VenueKey]) -> list[tuple[VenueKey, KeyName]]:
        """The keys of this claim with their parsed names."""
        return [(key, name) for key in keys if (name := self.own_name(key)) is not None]


def still_ours(attempt: Attempt) -> Machine[ClaimView]:
    """Re-read the claim; the step that follows may destroy something.

    Raises FenceError when the claim names another attempt, or when this attempt's own deadline has passed: a process that
    slept through either must not act on what it knew before.
    """
    claim = yield from ReadClaim().ask()
    if (claim.epoch, claim.nonce) != (attempt.epoch, attempt.nonce):
        raise FenceError(
            Reason.CLAIM_MOVED,
            f"{attempt.claim} is at epoch {claim.epoch}, this attempt was epoch {attempt.epoch}: "
            "another attempt took over and this one stops; nothing to do",
        )
    if (yield from Now().ask()) >= attempt.deadline_ms:
        raise FenceError(
            Reason.DEADLINE_PASSED,
            "this attempt ran past its own deadline and stops; the next attempt starts from the beginning",
        )
    return claim


def conflict(attempt: Attempt, keys: Iterable[VenueKey]) -> FenceError:
    """The failure that names the keys which could trade this account, and what a person can do about them."""
    found = list(keys)
    shown = ", ".join(f"{key.key_id} ({key.name!r})" for key in found[:_SHOWN_KEYS])
    more = f" and {len(found) - _SHOWN_KEYS} more" if len(found) > _SHOWN_KEYS else ""
    return FenceError(
        Reason.CONFLICT,
        f"other keys may place orders on subaccount {attempt.subaccount}: {shown}{more}. Delete them at the venue, or, if "
        f"you are sure that they place no orders here, list their ids in {ACKNOWLEDGED_KEYS_FIELD}; to have exactly these deleted: "
        f"kubectl annotate accountclaim {attempt.claim} {REVOKE_KEY_IDS_ANNOTATION}={','.join(key.key_id for key in found[:_SHOWN_KEYS])}",
        field=ACKNOWLEDGED_KEYS_FIELD,
        counts={"threateningKeys": len(found)},
        key_ids=[key.key_id for key in found],
    )


def unknown_history(attempt: Attempt, keys: Iterable[VenueKey]) -> FenceError:
    """The failure for keys that carry this claim's name and a nonce that it never issued."""
    found = list(keys)
    shown = ", ".join(key.key_id for key in found[:_SHOWN_KEYS])
    return FenceError(
        Reason.UNKNOWN_HISTORY,
        f"keys {shown} carry the name of {attempt.claim} and a nonce that it never issued: was the cluster restored from a "
        "backup, or cloned? Make sure that no other cluster trades this account, then delete these keys at the venue or "
        f"kubectl annotate accountclaim {attempt.claim} {REVOKE_KEY_IDS_ANNOTATION}={','.join(key.key_id for key in found[:_SHOWN_KEYS])}",
        counts={"unknownKeys": len(found)},
        key_ids=[key.key_id for key in found],
    )


def higher_epoch(attempt: Attempt, highest: int) -> FenceError:
    """The failure for a key or order at or above this attempt's epoch; the next attempt starts above `highest`."""
    return FenceError(
        Reason.HIGHER_EPOCH,
        f"the venue shows epoch {highest} of {attempt.claim}, this attempt is epoch {attempt.epoch}: the next attempt "
        f"starts at {highest + 1}",
        counts={"highestEpoch": highest},
    )


def markers(keys: Iterable[VenueKey]) -> list[str]:
    """Ids of the keys by which the account is named, sorted."""
    return sorted(key.key_id for key in keys if marker_key_nonce(key.name) is not None)


def same_account(claim: ClaimView, keys: Iterable[VenueKey]) -> None:
    """Raise IdentityAmbiguous unless the listing shows the marker that the claim is bound to, and no other.

    A claim is a lock only as long as every bot of the account finds the same name for it. Two first arms may, by a pause at
    the wrong moment, adopt different markers; then neither arms until a person has deleted the wrong one.
    """
    bound = None if claim.identity is None else marker_of(claim.identity)
    if bound is not None and markers(keys) != [bound]:
        raise ambiguous(bound, markers(keys))


def still_named(claim: ClaimView, keys: Iterable[VenueKey]) -> None:
    """Raise IdentityAmbiguous unless the listing shows the marker that the claim is bound to, whatever else it shows.

    Less than `same_account`: it keeps a key of another account from vouching for this one.
    """
    bound = None if claim.identity is None else marker_of(claim.identity)
    if bound is not None and bound not in (found := markers(keys)):
        raise ambiguous(bound, found)


def ambiguous(bound: str | None, found: list[str]) -> FenceError:
    """The failure for markers that do not name the account without doubt."""
    shown = ", ".join(found[:_SHOWN_KEYS]) or "none"
    what = (
        f"the account is bound to marker {bound} and the venue lists {shown}"
        if bound is not None
        else f"the account has {len(found)} markers: {shown}"
    )
    return FenceError(
        Reason.IDENTITY_AMBIGUOUS,
        f"{what}. A marker is a key named soloist-account/…: keep the one that a claim is bound to (kubectl get accountclaims -o "
        "custom-columns=NAME:.metadata.name,ACCOUNT:.spec.accountIdentity), delete the others at the venue. When the bound "
        "one is gone: does another bot or cluster use this account? No new engine is armed before this is settled",
        counts={"markers": len(found)},
        key_ids=found,
    )
