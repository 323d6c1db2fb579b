"""Release: leave no key and no epoch Secret of a claim behind, because its bot is being deleted.

The same sweep as a takeover's, without a new key at the end. Other keys of the account are nobody's business here: a
conflict does not keep a bot from being deleted. Where nobody could prove that the engine is dead, its orders are taken back,
too (P5): then this is what makes the engine harmless.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from soloist_fence.api import STILL_ACCEPTED, Reason
from soloist_fence.attempt import Attempt, higher_epoch, still_named, still_ours, unknown_history
from soloist_fence.commands import ListKeys, Machine, Now, Sleep
from soloist_fence.errors import FenceError
from soloist_fence.quiesce import prove_old_keys_revoked, quiesce
from soloist_fence.takeover import LISTING_PAUSE_MS, SWEEP_ROUNDS, remove, unknown_nonces


@dataclass(frozen=True)
class Released:
    """A finished release: no key of the claim is listed, D_rev has passed since, and, if asked for, none of its orders rests."""

    counts: Mapping[str, int]
    durations_ms: Mapping[str, int]


def release(attempt: Attempt, bot: str, *, orders: bool = False) -> Machine[Released]:
    """Delete every key of the claim up to this attempt's epoch, and its Secrets; with `orders`, cancel what rests. Raises FenceError.

    HigherEpoch and UnknownHistory stop it: such a key belongs to somebody who knows more than this attempt. So does
    IdentityAmbiguous: a management key that reaches another account now says nothing about this one.
    """
    started_ms = yield from Now().ask()
    claim = yield from still_ours(attempt)
    secrets = keys_deleted = 0
    active_secret = claim.secret_name
    for _ in range(SWEEP_ROUNDS):
        listed = yield from ListKeys().ask()
        still_named(claim, listed)
        ours = attempt.of_this_claim(listed)
        if ours and max(name.epoch for _, name in ours) > attempt.epoch:
            raise higher_epoch(attempt, max(name.epoch for _, name in ours))
        strangers = unknown_nonces(attempt, claim, listed)
        if strangers:
            raise unknown_history(attempt, strangers)
        removed = yield from remove(attempt, bot, tuple(key for key, _ in ours), active_secret)
        secrets += len(removed.secrets)
        keys_deleted += len(removed.keys)
        active_secret = None
        if not ours:
            counts = {"keysDeleted": keys_deleted, "secretsDeleted": secrets}
            if orders:
                quiet = yield from quiesce(attempt, (yield from Now().ask()))
                counts |= {"ordersCancelled": quiet.orders_cancelled, "groupsDeleted": quiet.groups_deleted}
                late_ms = quiet.still_accepted_ms
            else:
                deleted_ms = yield from Now().ask()
                yield from Sleep(attempt.revocation_bound_ms).ask()
                late_ms = yield from prove_old_keys_revoked(attempt, deleted_ms)
            if late_ms:
                counts[STILL_ACCEPTED] = late_ms
            finished_ms = yield from Now().ask()
            return Released(
                counts=counts,
                durations_ms={"total": finished_ms - started_ms},
            )
        yield from Sleep(LISTING_PAUSE_MS).ask()
    raise FenceError(
        Reason.VENUE_UNREACHABLE,
        f"the venue still lists deleted keys after {SWEEP_ROUNDS} looks; the next attempt deletes them again",
    )
