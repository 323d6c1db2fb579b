"""Audit: could anybody but the claim's engine trade this account, or did anybody? Looks; with `reap`, deletes stale keys.

An audit proves nothing by itself and fixes little: the sole-key check of a takeover is what keeps two engines apart. It
notices what happens afterwards (a person makes a key, a restored cluster wakes up, the venue breaks its word) while an
engine trades. Only keys of this claim, below its epoch and with a nonce of its history, are ever deleted here: nobody
holds a reason to use them. Everything else waits for a person.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from soloist_fence.api import Reason, VenueKey, order_epoch
from soloist_fence.attempt import Attempt, conflict, higher_epoch, same_account, still_ours, unknown_history
from soloist_fence.commands import ClaimView, DeleteKey, ListKeys, ListOrders, Machine, OrderSighting, Sleep
from soloist_fence.errors import FenceError
from soloist_fence.takeover import LISTING_PAUSE_MS, SWEEP_ROUNDS, known_nonces, unknown_nonces, zombie_keys

_ACTIVE = "Active"
LOOK_BACK_S = 1_800
"""Two periods of the CronJob: one that was late or failed leaves no gap."""


@dataclass(frozen=True)
class Audited:
    """What an audit found: the gravest reason (Done for nothing), its words, and the count of everything."""

    reason: Reason
    message: str
    counts: Mapping[str, int]
    key_ids: tuple[str, ...] = ()
    skipped: bool = False


def audit(attempt: Attempt, *, reap: bool) -> Machine[Audited]:
    """Judge keys and orders of a claim that is Active. Raises FenceError when it could not look."""
    claim = yield from still_ours(attempt)
    if claim.phase != _ACTIVE:
        return Audited(
            Reason.NO_RUNNING_ENGINE,
            f"{attempt.claim} is {claim.phase}, not {_ACTIVE}: a takeover makes order there by itself",
            {},
            skipped=True,
        )
    keys = yield from ListKeys().ask()
    reaped = 0
    if reap and zombie_keys(attempt, claim, keys):
        reaped, keys = yield from reap_stale(attempt, keys)
    orders = (yield from ListOrders(LOOK_BACK_S).ask()).orders
    # What was just seen means something else once another attempt is open.
    claim = yield from still_ours(attempt)
    return judge(attempt, claim, keys, orders, reaped=reaped)


def reap_stale(attempt: Attempt, keys: tuple[VenueKey, ...]) -> Machine[tuple[int, tuple[VenueKey, ...]]]:
    """Delete this claim's stale keys until none is listed; returns how many, and the last listing."""
    deleted: set[str] = set()
    for _ in range(SWEEP_ROUNDS):
        claim = yield from still_ours(attempt)
        stale = zombie_keys(attempt, claim, keys)
        if not stale:
            return len(deleted), keys
        for key_id in stale:
            claim = yield from still_ours(attempt)
            if key_id in zombie_keys(attempt, claim, keys):
                yield from DeleteKey(key_id).ask()
                deleted.add(key_id)
        yield from Sleep(LISTING_PAUSE_MS).ask()
        keys = yield from ListKeys().ask()
    raise FenceError(
        Reason.VENUE_UNREACHABLE,
        f"the venue still lists deleted keys after {SWEEP_ROUNDS} looks; the next audit deletes them again",
        key_ids=sorted(deleted),
    )


def judge(
    attempt: Attempt,
    claim: ClaimView,
    keys: tuple[VenueKey, ...],
    orders: tuple[OrderSighting, ...],
    *,
    reaped: int = 0,
) -> Audited:
    """What the listings mean, pure. The gravest finding gives the reason, all of them are counted."""
    named = attempt.of_this_claim(keys)
    strangers = unknown_nonces(attempt, claim, keys)
    stale = zombie_keys(attempt, claim, keys)
    beyond = [
        name.epoch
        for _, name in named
        if name.nonce in known_nonces(attempt, claim)
        and (name.epoch > attempt.epoch or (name.epoch == attempt.epoch and name.nonce != attempt.nonce))
    ]
    foreign = [
        key
        for key in keys
        if attempt.own_name(key) is None and attempt.threat(key, subaccount=attempt.subaccount)
    ]
    other_epochs, by_others = intruders(attempt, claim, orders)
    counts = {
        "keysReaped": reaped,
        "staleKeys": len(stale),
        "unknownKeys": len(strangers),
        "threateningKeys": len(foreign),
        "ordersOfOtherEpochs": len(other_epochs),
        "foreignOrders": len(by_others),
    }
    found: list[FenceError] = []
    if other_epochs or by_others:
        first = (*other_epochs, *by_others)[0]
        found.append(
            FenceError(
                Reason.FOREIGN_ORDERS,
                f"since epoch {attempt.epoch} is Active, the venue accepted {len(other_epochs)} orders of other epochs of "
                f"{attempt.claim} and {len(by_others)} of somebody else, the first is {first.order_id} "
                f"({first.client_order_id!r}): who trades subaccount {attempt.subaccount} besides this bot?",
            )
        )
    if beyond:
        found.append(higher_epoch(attempt, max(beyond)))
    if strangers:
        found.append(unknown_history(attempt, strangers))
    if foreign:
        found.append(conflict(attempt, foreign))
    try:
        same_account(claim, keys)
    except FenceError as error:
        found.append(error)
    if stale:
        found.append(
            FenceError(
                Reason.STALE_KEYS,
                f"{len(stale)} keys of older epochs of {attempt.claim} are still at the venue: soloist-fence audit --reap deletes them",
                key_ids=stale,
            )
        )
    if not found:
        return Audited(
            Reason.DONE, f"only epoch {attempt.epoch} of {attempt.claim} may trade, and did", counts
        )
    gravest = found[0]
    for finding in reversed(found):
        counts |= finding.counts
    return Audited(gravest.reason, gravest.message, counts, gravest.key_ids)


def intruders(
    attempt: Attempt, claim: ClaimView, orders: tuple[OrderSighting, ...]
) -> tuple[list[OrderSighting], list[OrderSighting]]:
    """Orders since the claim became Active that its epoch did not send: of this claim's other epochs, and of anybody else.

    An order without a time counts: not knowing when is no reason to look away. A tombstone of an older epoch does not: the
    engine of this epoch sends it, after a takeover that kept the journal.
    """
    since_ms = claim.since_ms or 0
    late = [order for order in orders if order.created_ms is None or order.created_ms >= since_ms]
    epochs = [(order, order_epoch(order.client_order_id, attempt.claim)) for order in late]
    return (
        [
            order
            for order, epoch in epochs
            if epoch is not None
            and epoch != attempt.epoch
            and not (order.tombstone and epoch < attempt.epoch)
        ],
        [order for order, epoch in epochs if epoch is None],
    )
