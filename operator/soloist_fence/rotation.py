"""Rotation: a new key for the running epoch, without a moment in which the engine has none.

The epoch Secret is the rotation's whole state: slots, and a `generation` that every change raises under a test. So any
rotation, started by the schedule or by hand, twice at once or after a crash, reads where the last one stopped:

    one slot, no other key      create g+1, verify, patch it in; confirmed -> patch g out; confirmed -> delete g; prove 401
    two slots                   the last rotation died before its end: finish it, never create a third
    a key that is in no slot    a lost reply or a dead Job: raise the generation so that no older rotation can publish it,
                                let the engine confirm what it uses, delete it, then rotate
    no confirmation of g+1      patch g+1 out, wait until the engine confirms g, delete g+1, fail loudly

"Confirmed" is the Lease: renewed after the change by the admitted pod, naming the key it signs with. Renewals are compared
with each other, never with a clock of this process.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from soloist_fence.api import STILL_ACCEPTED, EpochSecret, Reason, Slot, VenueKey, venue_key_name
from soloist_fence.attempt import Attempt, conflict, higher_epoch, still_ours
from soloist_fence.commands import (
    DeleteKey,
    IssuedKey,
    LeaseView,
    ListKeys,
    Machine,
    Now,
    PatchSecret,
    ReadLease,
    Sleep,
)
from soloist_fence.errors import FenceError, NoAnswerError
from soloist_fence.quiesce import prove_revoked
from soloist_fence.takeover import issue

POLL_MS = 1_000
HEARTBEAT_MS = 20_000
"""Four renewals of the engine (one every 5 s): silence for this long means that no engine runs."""
CONFIRM_MS = 240_000
"""A changed Secret reaches the pod within about 90 s (kubelet sync and cache); the engine needs seconds more."""
PROPAGATION_MS = 100_000
"""After a slot was taken back, an engine may still see it for this long, and switch to it."""
PROBE_MARGIN_MS = 5_000
"""The engine trades on meanwhile, so a rotation does not wait for a venue that is slower than D_rev by more than this."""

_ACTIVE = "Active"


@dataclass(frozen=True)
class Rotated:
    """A finished rotation: the engine uses `key_id`, the old key gets 401."""

    key_id: str
    counts: Mapping[str, int]
    durations_ms: Mapping[str, int]


@dataclass(frozen=True)
class Skipped:
    """Nothing was changed, because nobody could confirm a change."""

    reason: Reason
    message: str


@dataclass
class _Secret:
    """The epoch Secret as this rotation last knew it; every change goes through it and is tested by the API server."""

    name: str
    generation: int
    slots: tuple[Slot, ...]

    def change(self, *, add: Slot | None = None, remove: Slot | None = None) -> Machine[None]:
        """Patch the Secret; raises FenceError(SecretMoved) when somebody else changed it first."""
        removed = None if remove is None else remove.generation
        yield from PatchSecret(self.name, self.generation, self.generation + 1, add=add, remove=removed).ask()
        self.generation += 1
        kept = tuple(slot for slot in self.slots if slot != remove)
        self.slots = kept if add is None else (*kept, add)


def rotate(attempt: Attempt, mounted: EpochSecret) -> Machine[Rotated | Skipped]:
    """Run one rotation of the attempt's epoch; `mounted` is the epoch Secret as this Job's pod sees it."""
    started_ms = yield from Now().ask()
    claim = yield from still_ours(attempt)
    if claim.phase != _ACTIVE:
        return Skipped(
            Reason.NO_RUNNING_ENGINE,
            f"{attempt.claim} is {claim.phase}, not {_ACTIVE}: no engine trades with this epoch",
        )
    _check_mounted(attempt, mounted)
    if (yield from heartbeat(attempt)) is None:
        return Skipped(
            Reason.NO_RUNNING_ENGINE,
            f"no admitted engine of epoch {attempt.epoch} renewed its Lease within {HEARTBEAT_MS // 1000} s: nobody could "
            "confirm a new key; the key stays as it is",
        )
    secret = _Secret(attempt.secret_name, mounted.generation, mounted.slots)
    resumed = len(secret.slots) == 2  # noqa: PLR2004 - one old, one new: that is what a rotation is
    leftovers = yield from reap_leftovers(attempt, secret)
    if not resumed:
        yield from introduce(attempt, secret)
    old, new = secret.slots
    late_ms = yield from hand_over(attempt, secret, old, new)
    finished_ms = yield from Now().ask()
    return Rotated(
        key_id=new.key_id,
        counts={
            "resumed": int(resumed),
            "leftoversDeleted": leftovers,
            "keysDeleted": 1 + leftovers,
            **({STILL_ACCEPTED: late_ms} if late_ms > attempt.revocation_bound_ms else {}),
        },
        durations_ms={"total": finished_ms - started_ms},
    )


def _check_mounted(attempt: Attempt, mounted: EpochSecret) -> None:
    if mounted.epoch != attempt.epoch or len(mounted.slots) not in {1, 2}:
        raise FenceError(
            Reason.SECRET_MOVED,
            f"Secret {attempt.secret_name} holds epoch {mounted.epoch} and {len(mounted.slots)} keys, expected epoch "
            f"{attempt.epoch} and one or two keys: was it edited by hand? A takeover makes a new one",
        )


# ---------------------------------------------------------------------------------------------- the engine's word


def running(attempt: Attempt, lease: LeaseView | None) -> bool:
    """Whether a Lease is written by the admitted engine of this attempt's epoch."""
    return (
        lease is not None and lease.epoch == attempt.epoch and lease.pod_uid == lease.admitted_pod_uid != ""
    )


def heartbeat(attempt: Attempt) -> Machine[LeaseView | None]:
    """The Lease once it was seen being renewed; None when that does not happen in time."""
    first = yield from ReadLease().ask()
    return (yield from _renewed_after(attempt, first, frozenset(), HEARTBEAT_MS))


def confirmed(attempt: Attempt, key_ids: frozenset[str], patience_ms: int) -> Machine[str | None]:
    """The key id out of `key_ids` that the engine says it uses, in a renewal later than now; None when it never does."""
    first = yield from ReadLease().ask()
    lease = yield from _renewed_after(attempt, first, key_ids, patience_ms)
    return None if lease is None else lease.key_id


def _renewed_after(
    attempt: Attempt, first: LeaseView | None, key_ids: frozenset[str], patience_ms: int
) -> Machine[LeaseView | None]:
    """Poll until the Lease was renewed after `first` (and names one of `key_ids`, when given)."""
    give_up_ms = (yield from Now().ask()) + patience_ms
    while True:
        lease = yield from ReadLease().ask()
        renewed = lease is not None and (first is None or lease.renewed_at != first.renewed_at)
        if (
            lease is not None
            and renewed
            and running(attempt, lease)
            and (not key_ids or lease.key_id in key_ids)
        ):
            return lease
        if (yield from Now().ask()) >= give_up_ms:
            return None
        yield from Sleep(POLL_MS).ask()


# ---------------------------------------------------------------------------------------------- the steps


def judge(
    attempt: Attempt, keys: tuple[VenueKey, ...], expected: frozenset[str], reaches: int | None
) -> list[VenueKey]:
    """What the key list says about a rotation, pure: the keys of this epoch that are in no slot.

    `reaches` is the subaccount that our keys are bound to, None for the whole account: a threat is judged there.
    Raises FenceError: HigherEpoch, Conflict (a threatening key that is not of this claim, or of an older epoch), and
    SecretMoved when a slot's key is missing: this epoch was swept, and nothing of it may live on.
    """
    listed = {key.key_id for key in keys}
    if not expected <= listed:
        raise FenceError(
            Reason.SECRET_MOVED,
            f"the venue no longer lists {', '.join(sorted(expected - listed))}: epoch {attempt.epoch} was swept, or its key "
            "deleted by hand; the operator's next takeover makes a new key",
        )
    ours = attempt.of_this_claim(keys)
    highest = max((name.epoch for _, name in ours), default=attempt.epoch)
    if highest > attempt.epoch:
        raise higher_epoch(attempt, highest)
    of_epoch = {
        key.key_id for key, name in ours if (name.epoch, name.nonce) == (attempt.epoch, attempt.nonce)
    }
    threats = [
        key
        for key in keys
        if key.key_id not in of_epoch | expected and attempt.threat(key, subaccount=reaches)
    ]
    if threats:
        raise conflict(attempt, threats)
    return [key for key in keys if key.key_id in of_epoch - expected]


def reap_leftovers(attempt: Attempt, secret: _Secret) -> Machine[int]:
    """Delete the keys of this epoch that no slot holds; returns how many there were."""
    slot_keys = frozenset(slot.key_id for slot in secret.slots)
    leftovers = judge(attempt, (yield from ListKeys().ask()), slot_keys, attempt.subaccount)
    if not leftovers:
        return 0
    yield from still_ours(attempt)
    yield from secret.change()  # from here on no rotation that read an older generation can publish
    yield from Sleep(PROPAGATION_MS).ask()
    if (yield from confirmed(attempt, slot_keys, CONFIRM_MS)) is None:
        raise FenceError(
            Reason.NOT_CONFIRMED,
            f"the engine does not say that it uses a key of Secret {secret.name}, so {leftovers[0].key_id}, which no slot holds, "
            "is not deleted: look at the engine's Lease and log; a takeover deletes every key",
        )
    for key in leftovers:
        yield from still_ours(attempt)
        yield from DeleteKey(key.key_id).ask()
    return len(leftovers)


def introduce(attempt: Attempt, secret: _Secret) -> Machine[None]:
    """Create g+1, make sure that exactly the slot's key and ours exist, and patch it in as the second slot."""
    yield from still_ours(attempt)
    generation = secret.generation + 1
    name = venue_key_name(attempt.cluster_id, attempt.claim, attempt.epoch, generation, attempt.nonce)
    key, reaches = yield from issue(attempt, name)
    try:
        if attempt.key_list_lag_ms:
            yield from Sleep(attempt.key_list_lag_ms).ask()
        yield from still_ours(attempt)
        only_slots_and(key, attempt, secret, (yield from ListKeys().ask()), reaches)
    except FenceError:
        yield from DeleteKey(key.key_id).ask()
        raise
    try:
        yield from secret.change(add=Slot(generation, key.key_id, key.private_key_pem))
    except NoAnswerError:
        # The patch may have arrived, and the engine may be about to use the key: it stays, in its slot or as a leftover,
        # and the next rotation takes it from there.
        raise
    except FenceError:
        yield from DeleteKey(key.key_id).ask()
        raise


def only_slots_and(
    key: IssuedKey, attempt: Attempt, secret: _Secret, keys: tuple[VenueKey, ...], reaches: int | None
) -> None:
    """The check after create, pure: of this claim exactly the slot keys and `key` are listed. Raises FenceError."""
    raced = judge(attempt, keys, frozenset({key.key_id, *(slot.key_id for slot in secret.slots)}), reaches)
    if raced:
        raise FenceError(
            Reason.SECRET_MOVED,
            f"another rotation is making key {raced[0].key_id} right now; this one stops, the next one finishes",
        )


def hand_over(attempt: Attempt, secret: _Secret, old: Slot, new: Slot) -> Machine[int]:
    """From two slots to one: the engine confirms the new key, the old one goes, and the venue refuses it.

    Returns how long the venue still accepted it, ms.
    """
    if (yield from confirmed(attempt, frozenset({new.key_id}), CONFIRM_MS)) is None:
        yield from take_back(attempt, secret, old, new)
    yield from still_ours(attempt)
    yield from secret.change(remove=old)
    if (yield from confirmed(attempt, frozenset({new.key_id}), CONFIRM_MS)) is None:
        raise FenceError(
            Reason.NOT_CONFIRMED,
            f"the engine no longer says that it uses key {new.key_id}, so the old key {old.key_id} is not deleted: look at the "
            "engine's Lease and log; the next rotation goes on from here",
        )
    yield from still_ours(attempt)
    yield from DeleteKey(old.key_id).ask()
    deleted_ms = yield from Now().ask()
    give_up_ms = deleted_ms + attempt.revocation_bound_ms + PROBE_MARGIN_MS
    revoked = IssuedKey(old.key_id, old.private_key_pem)
    return (yield from prove_revoked(attempt, revoked, deleted_ms, give_up_ms))


def take_back(attempt: Attempt, secret: _Secret, old: Slot, new: Slot) -> Machine[None]:
    """The engine did not confirm g+1: withdraw it, and delete it only when the engine says that it uses g. Always raises."""
    yield from still_ours(attempt)
    yield from secret.change(remove=new)
    # It may have switched just after the deadline, or still see the withdrawn slot: its word counts only after that.
    yield from Sleep(PROPAGATION_MS).ask()
    if (yield from confirmed(attempt, frozenset({old.key_id}), CONFIRM_MS)) is None:
        raise FenceError(
            Reason.NOT_CONFIRMED,
            f"the engine confirmed neither the new key {new.key_id} nor the old key {old.key_id}; both are still accepted by the "
            "venue and only the old one is in the Secret: look at the engine's Lease and log; the next rotation cleans up",
        )
    yield from still_ours(attempt)
    yield from DeleteKey(new.key_id).ask()
    raise FenceError(
        Reason.NOT_CONFIRMED,
        f"the engine did not switch to the new key {new.key_id} within {CONFIRM_MS // 1000} s and goes on with {old.key_id}; "
        "the new key is deleted. Look at the engine's log, then rotate again",
    )
