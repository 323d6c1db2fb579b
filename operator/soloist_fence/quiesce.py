"""Quiesce (P5): nothing of an older epoch can trade any more, nothing of it rests, and the venue's own listing says so.

Waiting comes first: an order may be accepted until D_rev after the listing that found our key alone. Orders are cancelled
one by one, by id and with their subaccount: a cancel-all goes on for a while at the venue and would hit the successor's.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from soloist_fence.api import STILL_ACCEPTED, Reason, order_epoch
from soloist_fence.attempt import Attempt, higher_epoch, still_ours
from soloist_fence.commands import (
    CancelOrder,
    DeleteOrderGroup,
    IssuedKey,
    ListOrders,
    Machine,
    Now,
    OrderSighting,
    ProbeKey,
    Sleep,
    VenueTime,
)
from soloist_fence.errors import FenceError

FLIGHT_MS = 1_000
"""D_flight: what was accepted before the revocation may become visible for so long. It also covers what we do not know of the
venue's clock (half a second)."""
LOOK_PAUSE_MS = 250
PROBE_PAUSE_MS = 1_000
PATIENCE_MS = 50_000
"""Below the longest bound that the operator's settings allow (60 s), so that one can be set which covers what was seen."""


@dataclass(frozen=True)
class Quiet:
    """What was done until the account was quiet."""

    orders_seen: int
    orders_cancelled: int
    groups_deleted: int
    keys_proven: int
    still_accepted_ms: int = 0
    """How long after its deletion a key was still accepted, at least; 0 when the venue kept D_rev."""


def quiesce(attempt: Attempt, verified_ms: int) -> Machine[Quiet]:
    """Wait D_rev from the verifying listing, take back what older epochs left, and see it gone twice.

    Raises HigherEpoch again: after a restored backup a zombie may have traded above our epoch since the sweep looked, with
    a key that was deleted by an attempt of which nothing is left (tests/model found it). Raises NotConfirmed when a known old
    key is still accepted after PATIENCE_MS (a venue slower than D_rev is waited for so long), or an old order still rests.
    """
    elapsed_ms = (yield from Now().ask()) - verified_ms
    if elapsed_ms < attempt.revocation_bound_ms:
        yield from Sleep(attempt.revocation_bound_ms - elapsed_ms).ask()
    # First: whatever else fails, the old engine's orders are refused.
    groups = yield from delete_old_groups(attempt)
    late_ms = yield from prove_old_keys_revoked(attempt, verified_ms)
    # Only now is the old key known to be dead: a listing has to be later than that.
    settled_ms = (yield from VenueTime().ask()) + FLIGHT_MS
    cancelled: set[str] = set()
    previous: tuple[OrderSighting, ...] | None = None
    while True:
        listing = yield from ListOrders().ask()
        if (highest := highest_sent(attempt, listing.orders)) >= attempt.epoch:
            raise higher_epoch(attempt, highest)
        ours = of_this_claim(attempt, listing.orders)
        resting = [order for order in ours if order.resting]
        unsettled = bool(resting) or listing.as_of_ms <= settled_ms
        if not unsettled and ours == previous:
            return Quiet(len(ours), len(cancelled), groups, len(attempt.old_keys), late_ms)
        previous = None if unsettled else ours
        if unsettled and (yield from Now().ask()) >= attempt.deadline_ms:
            raise not_quiet(resting)
        for order in resting:
            yield from still_ours(attempt)
            yield from CancelOrder(order.order_id, order.ticker).ask()
            cancelled.add(order.order_id)
        behind_ms = settled_ms - listing.as_of_ms
        yield from Sleep(max(LOOK_PAUSE_MS, min(behind_ms, FLIGHT_MS))).ask()


def delete_old_groups(attempt: Attempt) -> Machine[int]:
    """Delete the order groups that engines of older epochs reported; returns how many."""
    claim = yield from still_ours(attempt)
    old = [group for group in claim.order_groups if group.epoch < attempt.epoch]
    for group in old:
        yield from still_ours(attempt)
        yield from DeleteOrderGroup(group.group_id).ask()
    return len(old)


def highest_sent(attempt: Attempt, orders: Iterable[OrderSighting]) -> int:
    """The highest epoch in which this claim was seen to send an order, 0 for none."""
    epochs = (order_epoch(order.client_order_id, attempt.claim) for order in orders)
    return max((epoch for epoch in epochs if epoch is not None), default=0)


def of_this_claim(attempt: Attempt, orders: Iterable[OrderSighting]) -> tuple[OrderSighting, ...]:
    """The orders that engines of this claim sent, in an order that two listings share."""
    ours = (order for order in orders if order_epoch(order.client_order_id, attempt.claim) is not None)
    return tuple(sorted(ours, key=lambda order: order.order_id))


def not_quiet(resting: list[OrderSighting]) -> FenceError:
    """The failure of an attempt whose time ended before the account was quiet."""
    shown = ", ".join(order.order_id for order in resting[:3])
    return FenceError(
        Reason.NOT_CONFIRMED,
        f"{len(resting)} orders of older epochs still rest ({shown})"
        if resting
        else "the venue's order list did not catch up with the revocation (user_data_timestamp) before this attempt's deadline",
        counts={"ordersResting": len(resting)},
    )


def prove_old_keys_revoked(attempt: Attempt, deleted_ms: int) -> Machine[int]:
    """See every known old key refused; returns how long one was accepted after `deleted_ms`, 0 for none. Raises as below."""
    late_ms = 0
    for key in attempt.old_keys:
        late_ms = max(late_ms, (yield from prove_revoked(attempt, key, deleted_ms, deleted_ms + PATIENCE_MS)))
    return late_ms


def prove_revoked(attempt: Attempt, key: IssuedKey, deleted_ms: int, give_up_ms: int) -> Machine[int]:
    """Sign a read with a key that was deleted before `deleted_ms` until the venue refuses it, at the latest at `give_up_ms`.

    Returns how long after `deleted_ms` it was still accepted, 0 for never. Raises NotConfirmed when it goes on being accepted.
    However it fails after that was seen once, `counts.stillAcceptedMs` tells the operator that a higher bound, not another
    attempt, is what it takes: the next one would have no key to ask with.
    """
    still_accepted_ms = 0
    try:
        while (yield from ProbeKey(key).ask()):
            now_ms = yield from Now().ask()
            still_accepted_ms = now_ms - deleted_ms
            if now_ms >= give_up_ms:
                raise still_accepted(attempt, key, still_accepted_ms)
            yield from Sleep(min(PROBE_PAUSE_MS, max(attempt.revocation_bound_ms // 4, 50))).ask()
    except FenceError as error:
        if still_accepted_ms:
            error.counts[STILL_ACCEPTED] = still_accepted_ms
        raise
    return still_accepted_ms


def still_accepted(attempt: Attempt, key: IssuedKey, still_accepted_ms: int) -> FenceError:
    """The failure of an attempt that saw no refusal."""
    return FenceError(
        Reason.NOT_CONFIRMED,
        f"the venue still accepts the deleted key {key.key_id} after {still_accepted_ms} ms: revocationBoundMs of the venue profile "
        f"({attempt.revocation_bound_ms}) has to be higher (soloist-fence measure-revocation)",
        key_ids=[key.key_id],
    )
