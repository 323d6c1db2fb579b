"""Identify (P0): which account is this? Answered by the venue, so that every bot of one account finds the same claim.

The account is named by a marker: a key of the smallest scope called `soloist-account/<nonce>`, whose private half is
thrown away. Whoever finds exactly one adopts it. Whoever finds none makes one, looks again, and adopts it only if it is
the sole one; else it deletes its own, waits a little, and starts over.

Two processes that pause at the wrong moment may still adopt different markers. So a marker is not believed once and for
all: every takeover demands in its own listings that the marker of its claim is there and alone (`same_account`).
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
    marker_of,
)
from soloist_fence.attempt import ambiguous, markers
from soloist_fence.commands import DeleteKey, GenerateKey, ListKeys, Machine, Now, Sleep
from soloist_fence.errors import FenceError, NotPermittedError

SETTLE_MS = 2_000
"""Before a marker that somebody else made is adopted, its maker gets this long to see that it is not alone and to delete it."""
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
        found = markers((yield from ListKeys().ask()))
        if len(found) == 1:
            yield from Sleep(SETTLE_MS + inquiry.key_list_lag_ms).ask()
            if markers((yield from ListKeys().ask())) == found:
                return Identified(marker_identity(found[0]), found[0])
        elif not found and (made := (yield from _make(inquiry))) is not None:
            return Identified(marker_identity(made), made, made=True)
        if (yield from Now().ask()) >= inquiry.deadline_ms:
            raise ambiguous(None, found)
        yield from Sleep(_jitter_ms(inquiry.nonce, round_number)).ask()
    raise ambiguous(None, [])


def _make(inquiry: Inquiry) -> Machine[str | None]:
    """Make a marker; its id when it is the sole one, None when it was not and is deleted again."""
    name = marker_key_name(inquiry.nonce)
    try:
        # The private half is dropped right here: nobody will ever sign with a marker.
        made = (yield from GenerateKey(name, MARKER_SCOPES, None, inquiry.key_type).ask()).key_id
        yield from Sleep(inquiry.key_list_lag_ms).ask()
        listed = yield from ListKeys().ask()
    except NotPermittedError:
        raise
    except FenceError:
        yield from _forget(inquiry, name)
        raise
    if markers(listed) == [made]:
        return made
    yield from _delete_own(name, listed, made)
    return None


def _delete_own(name: str, listed: tuple[VenueKey, ...], made: str | None) -> Machine[None]:
    """Delete what this process made: the key that it knows, and whatever else carries its name after a lost reply."""
    own = {key.key_id for key in listed if key.name == name} | ({made} if made is not None else set())
    for key_id in sorted(own):
        yield from DeleteKey(key_id).ask()


def _forget(inquiry: Inquiry, name: str) -> Machine[None]:
    """Clean up after a failure, by name. What cannot be deleted now is adopted or reported by the next run."""
    try:
        yield from Sleep(inquiry.key_list_lag_ms).ask()
        yield from _delete_own(name, (yield from ListKeys().ask()), None)
    except FenceError:
        return


def _jitter_ms(nonce: str, round_number: int) -> int:
    """A wait that differs from process to process: the machine draws no random numbers, its nonce is one."""
    digest = hashlib.sha256(f"{nonce}|{round_number}".encode()).digest()
    return _SHORTEST_WAIT_MS + int.from_bytes(digest[:4], "big") % JITTER_MS
