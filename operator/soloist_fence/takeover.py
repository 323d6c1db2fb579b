"""Takeover: sweep, create, verify, quiesce, publish (steps P2 to P6 of the one-holder protocol).

Each function below (and `quiesce`, a module of its own) is one row of the protocol's table. The order is the safety argument:

    sweep first           nobody of this claim can trade while a new key exists
    create before verify  the listing that finds our key alone was made while it already existed, so of two attempts that
                          race, in this cluster or another, at least one sees the other
    wait after verify     what another attempt swept just before our listing may be accepted for D_rev longer
    publish last          an engine gets the key only when all of this holds
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from soloist_fence.api import (
    LEAST_SCOPES,
    REVOKE_KEY_IDS_ANNOTATION,
    STILL_ACCEPTED,
    EpochSecret,
    Reason,
    Slot,
    VenueKey,
    epoch_secret_name,
    is_epoch_secret,
    venue_key_name,
)
from soloist_fence.attempt import (
    Attempt,
    conflict,
    higher_epoch,
    same_account,
    still_ours,
    unknown_history,
)
from soloist_fence.commands import (
    ClaimView,
    CreateSecret,
    DeleteKey,
    DeleteSecret,
    GenerateKey,
    IssuedKey,
    ListKeys,
    ListOrders,
    Machine,
    Now,
    OrderSighting,
    Sleep,
)
from soloist_fence.errors import FenceError, NoAnswerError, RestrictedKeyRefusedError
from soloist_fence.quiesce import highest_sent, quiesce

SWEEP_ROUNDS = 20
"""How often the key list is read again until it no longer shows what was deleted."""
LISTING_PAUSE_MS = 250

FIRST_GENERATION = 1


@dataclass(frozen=True)
class Published:
    """A finished takeover."""

    key_id: str
    secret_name: str
    counts: Mapping[str, int]
    durations_ms: Mapping[str, int]


@dataclass(frozen=True)
class Sweep:
    """What P2 deleted."""

    secrets: tuple[str, ...]
    keys: tuple[str, ...]
    revoked_by_hand: tuple[str, ...] = ()


@dataclass(frozen=True)
class Judgement:
    """What P2 may delete: keys of this claim, and foreign keys that a person named by their ids."""

    ours: tuple[VenueKey, ...]
    named: tuple[VenueKey, ...] = ()


def takeover(attempt: Attempt, bot: str) -> Machine[Published]:
    """Run one takeover attempt; `bot` is the TradingBot's name (it prefixes its Secrets). Raises FenceError."""
    started_ms = yield from Now().ask()
    try:
        swept = yield from sweep(attempt, bot)
    except FenceError as error:
        error.key_may_exist = False
        raise
    swept_ms = yield from Now().ask()
    key: IssuedKey | None = None
    try:
        key, restricted_to = yield from create(attempt)
        verified_ms = yield from verify(attempt, key, restricted_to)
        quiet = yield from quiesce(attempt, verified_ms)
        yield from publish(attempt, key)
    except FenceError as error:
        error.key_may_exist = key is not None or not refused(error)
        yield from discard(attempt, key)
        raise
    finished_ms = yield from Now().ask()
    return Published(
        key_id=key.key_id,
        secret_name=attempt.secret_name,
        counts={
            "keysDeleted": len(swept.keys),
            "keysRevokedByHand": len(swept.revoked_by_hand),
            "secretsDeleted": len(swept.secrets),
            "ordersSeen": quiet.orders_seen,
            "ordersCancelled": quiet.orders_cancelled,
            "groupsDeleted": quiet.groups_deleted,
            "oldKeysProven": quiet.keys_proven,
            **({STILL_ACCEPTED: quiet.still_accepted_ms} if quiet.still_accepted_ms else {}),
        },
        durations_ms={
            "sweep": swept_ms - started_ms,
            "createAndVerify": verified_ms - swept_ms,
            "quiesceAndPublish": finished_ms - verified_ms,
            "total": finished_ms - started_ms,
        },
    )


def refused(error: FenceError) -> bool:
    """Whether a failure before any key was known proves that none was made: an answer, and no defect of ours."""
    return not isinstance(error, NoAnswerError) and error.reason is not Reason.INTERNAL


# ---------------------------------------------------------------------------------------------- P2


def sweep(attempt: Attempt, bot: str) -> Machine[Sweep]:
    """P2: judge everything first; only then delete the older epoch Secrets, the older keys, and look again."""
    claim = yield from still_ours(attempt)
    keys = yield from ListKeys().ask()
    orphans = never_active(attempt, claim, keys)
    early = yield from remove(attempt, bot, orphans)
    keys = tuple(key for key in keys if key not in orphans)
    listing = yield from ListOrders().ask()
    judged = judge(attempt, claim, keys, listing.orders)
    late = yield from remove(attempt, bot, judged.ours, claim.secret_name)
    yield from revoke_named(attempt, judged.named)
    named = frozenset(key.key_id for key in judged.named)
    yield from _until_none_listed(attempt, named)
    return Sweep(early.secrets + late.secrets, early.keys + late.keys, tuple(sorted(named)))


def remove(
    attempt: Attempt, bot: str, keys: tuple[VenueKey, ...], active_secret: str | None = None
) -> Machine[Sweep]:
    """Delete the epoch Secrets that these keys belong to (and the claim's active one), then the keys.

    In this order every Secret that still exists has a key in the venue's list that names it, so none is forgotten; and a
    rotation that slept finds its Secret gone (404) instead of publishing into it. A claim that came from a Static bot names
    that person's own Secret, which stays.
    """
    secrets = {epoch_secret_name(bot, name.epoch, name.nonce) for _, name in attempt.of_this_claim(keys)}
    if active_secret is not None and is_epoch_secret(active_secret, bot):
        secrets.add(active_secret)
    deleted = []
    for secret in sorted(secrets):
        yield from still_ours(attempt)
        if (yield from DeleteSecret(secret).ask()):
            deleted.append(secret)
    for key in keys:
        yield from still_ours(attempt)
        yield from DeleteKey(key.key_id).ask()
    return Sweep(secrets=tuple(deleted), keys=tuple(key.key_id for key in keys))


def never_active(attempt: Attempt, claim: ClaimView, keys: tuple[VenueKey, ...]) -> tuple[VenueKey, ...]:
    """Keys of earlier attempts of this claim that no engine ever received.

    They go before the judgement: two attempts that died in two clusters would otherwise each see the other's orphan as a
    conflict for ever. A claim that records no active Secret never had one.
    """
    return tuple(
        key
        for key, name in attempt.of_this_claim(keys)
        if name.epoch < attempt.epoch
        and name.nonce in known_nonces(attempt, claim)
        and not (claim.secret_name or "").endswith(f"-key-e{name.epoch}-{name.nonce}")
    )


def judge(
    attempt: Attempt, claim: ClaimView, keys: tuple[VenueKey, ...], orders: tuple[OrderSighting, ...]
) -> Judgement:
    """P2's judgement, pure: the keys that may be deleted. Raises FenceError when anything does not fit.

    HigherEpoch: a key or an order of this claim at or above our epoch. IdentityAmbiguous: another account, or two names for
    it. UnknownHistory: a nonce that the claim never issued. Conflict: a threatening key that is not of this claim. The last
    two do not stop us for keys that a person named by their exact ids.
    """
    ours = attempt.of_this_claim(keys)
    highest = max([highest_sent(attempt, orders), *(name.epoch for _, name in ours)])
    if highest >= attempt.epoch:
        raise higher_epoch(attempt, highest)
    same_account(claim, keys)
    strangers = unknown_nonces(attempt, claim, keys)
    foreign = [
        key
        for key in keys
        if attempt.own_name(key) is None and attempt.threat(key, subaccount=attempt.subaccount)
    ]
    named = tuple(key for key in (*strangers, *foreign) if key.key_id in claim.revoke_key_ids)
    if left := [key for key in strangers if key not in named]:
        raise unknown_history(attempt, left)
    if left := [key for key in foreign if key not in named]:
        raise conflict(attempt, left)
    return Judgement(tuple(key for key, _ in ours if key not in named), named)


def revoke_named(attempt: Attempt, keys: tuple[VenueKey, ...]) -> Machine[None]:
    """Delete foreign keys that a person named; each only if the claim, read again, still names it."""
    for key in keys:
        claim = yield from still_ours(attempt)
        if key.key_id not in claim.revoke_key_ids:
            raise FenceError(
                Reason.CONFLICT,
                f"key {key.key_id} is no longer named by annotation {REVOKE_KEY_IDS_ANNOTATION} of {attempt.claim}, so it is not deleted",
                key_ids=[key.key_id],
            )
        yield from DeleteKey(key.key_id).ask()


def known_nonces(attempt: Attempt, claim: ClaimView) -> frozenset[str]:
    """Nonces by which a key is known to have been made by this claim in this cluster."""
    return claim.nonces | {attempt.nonce}


def unknown_nonces(attempt: Attempt, claim: ClaimView, keys: tuple[VenueKey, ...]) -> list[VenueKey]:
    """Keys that carry this claim's name and a nonce that it never issued."""
    known = known_nonces(attempt, claim)
    return [key for key, name in attempt.of_this_claim(keys) if name.nonce not in known]


def _until_none_listed(attempt: Attempt, named: frozenset[str]) -> Machine[None]:
    """List again until no key of this claim and none that a person named is left; a stale list shows them for a while."""
    for _ in range(SWEEP_ROUNDS):
        listed = yield from ListKeys().ask()
        left = [(key, name) for key, name in attempt.of_this_claim(listed) if key.key_id not in named]
        again = tuple(key for key in listed if key.key_id in named)
        if not left and not again:
            return
        yield from revoke_named(attempt, again)
        for key, name in left:
            if name.epoch >= attempt.epoch:
                raise higher_epoch(attempt, name.epoch)
            claim = yield from still_ours(attempt)
            if name.nonce not in known_nonces(attempt, claim):
                raise unknown_history(attempt, [key])
            yield from DeleteKey(key.key_id).ask()
        yield from Sleep(LISTING_PAUSE_MS).ask()
    raise FenceError(
        Reason.VENUE_UNREACHABLE,
        f"the venue still lists {len(left)} deleted keys after {SWEEP_ROUNDS} looks; the next attempt sweeps again",
    )


# ---------------------------------------------------------------------------------------------- P3


def create(attempt: Attempt) -> Machine[tuple[IssuedKey, int | None]]:
    """P3: make the key with the least scope. Returns it and the subaccount it is bound to (None: the whole account).

    When the venue makes no restricted keys for this account, an unrestricted one is made only if no other subaccount has
    a trade-capable key: it would be a threat to that one.
    """
    yield from still_ours(attempt)
    name = venue_key_name(attempt.cluster_id, attempt.claim, attempt.epoch, FIRST_GENERATION, attempt.nonce)
    return (yield from issue(attempt, name))


def issue(attempt: Attempt, name: str) -> Machine[tuple[IssuedKey, int | None]]:
    """Generate a key of this name with the least scope that the venue grants (see `create`)."""
    try:
        key = yield from GenerateKey(name, LEAST_SCOPES, attempt.subaccount, attempt.key_type).ask()
    except RestrictedKeyRefusedError as refusal:
        keys = yield from ListKeys().ask()
        others = [
            key for key in keys if attempt.own_name(key) is None and attempt.threat(key, subaccount=None)
        ]
        if others:
            raise FenceError(
                Reason.CONFLICT,
                f"the venue makes no key bound to subaccount {attempt.subaccount} ({refusal.message}), and a key for the whole "
                f"account would reach what key {others[0].key_id} trades: ask the venue for restricted keys",
            ) from refusal
        yield from still_ours(attempt)
        return (yield from GenerateKey(name, LEAST_SCOPES, None, attempt.key_type).ask()), None
    return key, attempt.subaccount


# ---------------------------------------------------------------------------------------------- P4


def verify(attempt: Attempt, key: IssuedKey, restricted_to: int | None) -> Machine[int]:
    """P4: the listing must show our key and no other threatening one. Returns when it arrived (ms of `Now`).

    A lower epoch of this claim that appeared (a zombie fence) is deleted and the list read again; we never create twice.
    The listing has to tell of a moment after the create, so a venue whose list lags is given that time first.
    """
    if attempt.key_list_lag_ms:
        yield from Sleep(attempt.key_list_lag_ms).ask()
    for _ in range(SWEEP_ROUNDS):
        claim = yield from still_ours(attempt)
        keys = yield from ListKeys().ask()
        zombies = zombie_keys(attempt, claim, keys)
        if not zombies:
            sole(attempt, key, restricted_to, claim, keys)
            return (yield from Now().ask())
        for zombie in zombies:
            yield from still_ours(attempt)
            yield from DeleteKey(zombie).ask()
        yield from Sleep(LISTING_PAUSE_MS).ask()
    raise FenceError(
        Reason.VENUE_UNREACHABLE,
        f"keys of older epochs kept appearing during {SWEEP_ROUNDS} looks: an old fence is still running; look for its Job",
    )


def zombie_keys(attempt: Attempt, claim: ClaimView, keys: tuple[VenueKey, ...]) -> tuple[str, ...]:
    """Keys of this claim below our epoch that the claim is known to have issued."""
    known = known_nonces(attempt, claim)
    return tuple(
        key.key_id
        for key, name in attempt.of_this_claim(keys)
        if name.epoch < attempt.epoch and name.nonce in known
    )


def sole(
    attempt: Attempt, mine: IssuedKey, restricted_to: int | None, claim: ClaimView, keys: tuple[VenueKey, ...]
) -> None:
    """The sole-key check, pure. Raises FenceError unless `mine` is listed and nothing else threatens the account."""
    others = tuple(key for key in keys if key.key_id != mine.key_id)
    if len(others) == len(keys):
        raise FenceError(
            Reason.CLAIM_MOVED,
            f"the key {mine.key_id} that this attempt made is gone from the venue's list: somebody deleted it; start again",
        )
    ours = attempt.of_this_claim(others)
    if ours and max(name.epoch for _, name in ours) >= attempt.epoch:
        raise higher_epoch(attempt, max(name.epoch for _, name in ours))
    same_account(claim, keys)
    strangers = unknown_nonces(attempt, claim, others)
    if strangers:
        raise unknown_history(attempt, strangers)
    threats = [key for key in others if attempt.threat(key, subaccount=restricted_to)]
    if threats:
        raise conflict(attempt, threats)


# ---------------------------------------------------------------------------------------------- P6


def publish(attempt: Attempt, key: IssuedKey) -> Machine[None]:
    """P6: create the epoch Secret under a name that never existed."""
    claim = yield from still_ours(attempt)
    content = EpochSecret(
        epoch=attempt.epoch,
        generation=FIRST_GENERATION,
        slots=(Slot(FIRST_GENERATION, key.key_id, key.private_key_pem),),
    )
    try:
        yield from CreateSecret(attempt.secret_name, content, claim.holder_uid).ask()
    except NoAnswerError:
        # It may be there. Its name is this attempt's alone, so it can go; the key goes right after.
        yield from DeleteSecret(attempt.secret_name).ask()
        raise


def discard(attempt: Attempt, key: IssuedKey | None) -> Machine[None]:
    """Delete the attempt's own key, always allowed; after a lost reply it is found by its name.

    A failure in here is swallowed on purpose: the evidence has to tell what went wrong first, and the next epoch sweeps
    whatever is left.
    """
    try:
        if key is not None:
            yield from DeleteKey(key.key_id).ask()
            return
        if attempt.key_list_lag_ms:
            yield from Sleep(attempt.key_list_lag_ms).ask()
        for listed, name in attempt.of_this_claim((yield from ListKeys().ask())):
            if (name.epoch, name.nonce) == (attempt.epoch, attempt.nonce):
                yield from DeleteKey(listed.key_id).ask()
    except FenceError:
        return
