"""Identify (P0): which account is this? Answered by the venue, so that every bot of one account finds the same claim.

The account is named by a marker: a key of the smallest scope called `soloist-account/<nonce>`, whose private half is
thrown away. Whoever finds exactly one adopts it. Whoever finds none makes one, looks again, and adopts it only if it is
the sole one; else it deletes its own, waits a little, and starts over.

Nobody may adopt what its maker is about to delete. So the marker's name begins with the time of its making, its maker
deletes it within OWN_MS of that time or never, and nobody else adopts it within SETTLE_MS. What a process does that pauses
between its last look at the clock and its delete is caught elsewhere: every takeover demands in its own listings that the
marker of its claim is there and alone (`same_account`).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from soloist_fence.api import (
    MARKER_SCOPES,
    VenueKey,
    key_identity,
    marker_identity,
    marker_key_name,
    marker_key_nonce,
    marker_of,
)
from soloist_fence.attempt import ambiguous, markers
from soloist_fence.commands import DeleteKey, GenerateKey, ListKeys, Machine, Now, Sleep, VenueTime
from soloist_fence.errors import FenceError, NotPermittedError
from soloist_fence.names import marker_made_ms, marker_nonce

OWN_MS = 5_000
"""So long after the time in its name a marker may be deleted by its maker."""
SETTLE_MS = 12_000
"""So long it may not be adopted by others: OWN_MS, a request under way (5 s) and what we do not know of the venue's clock."""
JITTER_MS = 3_000
_SHORTEST_WAIT_MS = 250


@dataclass(frozen=True)
class Inquiry:
    """One run of identify. `static`: the key in hand is the trading key itself, and may have no right to look."""

    nonce: str
    static: bool
    bound: str | None
    key_id: str
    key_type: str
    key_list_lag_ms: int
    deadline_ms: int


@dataclass(frozen=True)
class Identified:
    """The account's name; `marker_id` is None when only the key itself could be named."""

    identity: str
    marker_id: str | None
    made: bool = False


def identify(inquiry: Inquiry) -> Machine[Identified]:
    """Name the account. Raises FenceError: IdentityAmbiguous, or what the venue or the management key got in the way."""
    if inquiry.bound is not None and marker_of(inquiry.bound) is None:
        return Identified(inquiry.bound, None)  # named by a key once: there is nothing to compare it with
    try:
        if inquiry.bound is not None:
            return (yield from _still_bound(inquiry.bound))
        return (yield from _adopt_or_make(inquiry))
    except NotPermittedError:
        if not inquiry.static:
            raise
        return Identified(inquiry.bound or key_identity(inquiry.key_id), None)


def _still_bound(identity: str) -> Machine[Identified]:
    """An account that is bound already: the listing must show exactly its marker; nothing is made or deleted."""
    bound = marker_of(identity)
    found = markers((yield from ListKeys().ask()))
    if found != [bound]:
        raise ambiguous(bound, found)
    return Identified(identity, bound)


def _adopt_or_make(inquiry: Inquiry) -> Machine[Identified]:
    for round_number in range(1_000):
        keys = yield from ListKeys().ask()
        found = markers(keys)
        if len(found) == 1 and (yield from _settled(inquiry, keys)):
            return Identified(marker_identity(found[0]), found[0])
        if not found and (made := (yield from _make(inquiry))) is not None:
            return Identified(marker_identity(made), made, made=True)
        if (yield from Now().ask()) >= inquiry.deadline_ms:
            raise ambiguous(None, found)
        yield from Sleep(_jitter_ms(inquiry.nonce, round_number)).ask()
    raise ambiguous(None, [])


def _settled(inquiry: Inquiry, keys: tuple[VenueKey, ...]) -> Machine[bool]:
    """Whether the sole marker of a listing may be adopted; else wait until its time has come, and the next round decides.

    The listing that counts comes after the look at the clock: between the first one and that, its maker had time to delete it.
    """
    nonces = (marker_key_nonce(key.name) for key in keys)
    (made_ms,) = (marker_made_ms(nonce) for nonce in nonces if nonce is not None)
    age_ms = (yield from VenueTime().ask()) - made_ms - inquiry.key_list_lag_ms
    if age_ms >= SETTLE_MS:
        return markers((yield from ListKeys().ask())) == markers(keys)
    yield from Sleep(min(SETTLE_MS - age_ms, SETTLE_MS)).ask()
    return False


def _make(inquiry: Inquiry) -> Machine[str | None]:
    """Make a marker; its id when it is the sole one, None when it was not and is deleted again, if there is time."""
    delete_before_ms = (yield from Now().ask()) + OWN_MS
    name = marker_key_name(marker_nonce((yield from VenueTime().ask()), inquiry.nonce))
    try:
        # The private half is dropped right here: nobody will ever sign with a marker.
        made = (yield from GenerateKey(name, MARKER_SCOPES, None, inquiry.key_type).ask()).key_id
        yield from Sleep(inquiry.key_list_lag_ms).ask()
        listed = yield from ListKeys().ask()
    except NotPermittedError:
        raise
    except FenceError:
        yield from _forget(inquiry, name, delete_before_ms)
        raise
    if markers(listed) == [made]:
        return made
    yield from _delete_own({made}, delete_before_ms)
    return None


def _delete_own(own: set[str], before_ms: int) -> Machine[None]:
    """Delete markers that this process made; not after their time, because somebody may have adopted them."""
    for key_id in sorted(own):
        if (yield from Now().ask()) < before_ms:
            yield from DeleteKey(key_id).ask()


def _forget(inquiry: Inquiry, name: str, before_ms: int) -> Machine[None]:
    """Clean up after a failure, by name. What cannot be deleted now is adopted or reported by the next run."""
    try:
        yield from Sleep(inquiry.key_list_lag_ms).ask()
        listed = yield from ListKeys().ask()
        yield from _delete_own({key.key_id for key in listed if key.name == name}, before_ms)
    except FenceError:
        return


def _jitter_ms(nonce: str, round_number: int) -> int:
    """A wait that differs from process to process: the machine draws no random numbers, its nonce is one."""
    digest = hashlib.sha256(f"{nonce}|{round_number}".encode()).digest()
    return _SHORTEST_WAIT_MS + int.from_bytes(digest[:4], "big") % JITTER_MS
