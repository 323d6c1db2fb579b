"""One run of one verb against the real venue and cluster: read the files, connect, drive the machine, tell the evidence."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from soloist_kalshi.signing import Signer

from soloist_fence.api import (
    STILL_ACCEPTED,
    Evidence,
    FenceArguments,
    IdentifyArguments,
    Outcome,
    Reason,
    VenueKey,
    Verb,
    marker_key_nonce,
    parse_venue_key_name,
)
from soloist_fence.attempt import Attempt
from soloist_fence.audit import audit
from soloist_fence.cluster import Cluster, Connection
from soloist_fence.commands import ClaimView, ListKeys, Machine, ReadClaim
from soloist_fence.driver import World, boottime_ms, drive
from soloist_fence.errors import FenceError
from soloist_fence.identify import Inquiry, identify
from soloist_fence.inputs import (
    Configuration,
    read_configuration,
    read_known_keys,
    read_management_key,
    read_slots,
)
from soloist_fence.release import release
from soloist_fence.rotation import Skipped, rotate
from soloist_fence.takeover import takeover
from soloist_fence.venue import Venue

_MARKER_KEY_TYPE = "ed25519"


@dataclass(frozen=True)
class LookArguments:
    """The command line of `audit` and `status`: what is not given is taken from the claim and from the configuration."""

    claim: str
    bot: str | None
    epoch: int | None
    nonce: str | None
    cluster_id: str | None
    acknowledged_key_ids: tuple[str, ...]
    config: str
    management_key_dir: str
    reap: bool = False


@dataclass(frozen=True)
class Account:
    """The files of a bot, read: where its venue is, and the key that may look after its account."""

    configuration: Configuration
    management_key: Signer

    @staticmethod
    def read(config: str, management_key_dir: str) -> Account:
        """Read both. Raises FenceError naming what is missing."""
        return Account(read_configuration(Path(config)), read_management_key(Path(management_key_dir)))

    def venue(self) -> Venue:
        """The venue, seen with the management key."""
        venue = self.configuration.venue
        return Venue(
            venue.rest_url, venue.ca_file, self.management_key, self.configuration.account.subaccount
        )


def told_to_stop() -> asyncio.Event:
    """An event that SIGTERM sets: the Job's deadline, or a person who deletes the Job."""
    terminating = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, terminating.set)
    return terminating


# --------------------------------------------------------------------------------- takeover, rotate, release


async def run(verb: Verb, arguments: FenceArguments) -> Evidence:
    """Run takeover, rotate or release; every end, good or bad, is evidence."""
    # From the very start: the deadline also covers reading files and the first connection.
    deadline_ms = boottime_ms() + verb.deadline_s * 1000
    terminating = told_to_stop()
    started = False
    try:
        async with AsyncExitStack() as stack:
            world, attempt = await _connect(arguments, deadline_ms, stack)
            started = True
            return await _run_machine(verb, arguments, attempt, world, terminating)
    except FenceError as error:
        makes_no_key = verb is Verb.RELEASE or not started
        return failure(
            arguments.claim,
            arguments.epoch,
            arguments.nonce,
            error,
            key_may_exist=error.key_may_exist and not makes_no_key,
        )


async def _connect(
    arguments: FenceArguments, deadline_ms: int, stack: AsyncExitStack
) -> tuple[World, Attempt]:
    """Read every file and open both connections; they close with `stack`. Raises FenceError."""
    account = Account.read(arguments.config, arguments.management_key_dir)
    venue = await stack.enter_async_context(account.venue())
    namespace, _, bot = arguments.bot.partition("/")
    cluster = await stack.enter_async_context(
        Cluster(Connection.in_cluster(), namespace=namespace, bot=bot, claim=arguments.claim)
    )
    attempt = Attempt(
        claim=arguments.claim,
        cluster_id=arguments.cluster_id,
        epoch=arguments.epoch,
        nonce=arguments.nonce,
        subaccount=account.configuration.account.subaccount,
        secret_name=arguments.secret_name,
        revocation_bound_ms=arguments.revocation_bound_ms,
        key_type=arguments.key_type,
        authenticating_key_id=account.management_key.key_id,
        acknowledged_key_ids=frozenset(arguments.acknowledged_key_ids),
        deadline_ms=deadline_ms,
        key_list_lag_ms=arguments.key_list_lag_ms,
    )
    return World(venue, cluster), attempt


async def _run_machine(
    verb: Verb, arguments: FenceArguments, attempt: Attempt, world: World, terminating: asyncio.Event
) -> Evidence:
    _, _, bot = arguments.bot.partition("/")
    slots_dir = Path(arguments.slots_dir)
    if verb is not Verb.ROTATE:
        attempt = replace(attempt, old_keys=read_known_keys(slots_dir, below=attempt.epoch))
    if verb is Verb.TAKEOVER:
        published = await drive(takeover(attempt, bot), world, terminating)
        return _success(
            arguments,
            Outcome.PUBLISHED,
            f"key {published.key_id} is the only one that may trade subaccount {attempt.subaccount}"
            + _slow_venue(attempt, published.counts),
            key_id=published.key_id,
            secret_name=published.secret_name,
            counts=dict(published.counts),
            durations_ms=dict(published.durations_ms),
        )
    if verb is Verb.RELEASE:
        released = await drive(release(attempt, bot, orders=arguments.orders), world, terminating)
        return _success(
            arguments,
            Outcome.RELEASED,
            "no key of this claim is accepted any more" + _slow_venue(attempt, released.counts),
            counts=dict(released.counts),
            durations_ms=dict(released.durations_ms),
            key_may_exist=False,
        )
    rotated = await drive(rotate(attempt, read_slots(slots_dir, attempt.secret_name)), world, terminating)
    if isinstance(rotated, Skipped):
        return _success(arguments, Outcome.SKIPPED, rotated.message, reason=rotated.reason)
    return _success(
        arguments,
        Outcome.ROTATED,
        f"the engine uses key {rotated.key_id}; the venue refuses the old one"
        + _slow_venue(attempt, rotated.counts),
        key_id=rotated.key_id,
        secret_name=attempt.secret_name,
        counts=dict(rotated.counts),
        durations_ms=dict(rotated.durations_ms),
    )


def _slow_venue(attempt: Attempt, counts: Mapping[str, int]) -> str:
    """The end of a message when assumption A1 did not hold; empty when it did."""
    late_ms = counts.get(STILL_ACCEPTED)
    if late_ms is None:
        return ""
    return (
        f"; the venue accepted the deleted key for {late_ms} ms, longer than revocationBoundMs ({attempt.revocation_bound_ms}): "
        "raise it above that"
    )


def _success(
    arguments: FenceArguments, outcome: Outcome, message: str, *, reason: Reason = Reason.DONE, **more: Any
) -> Evidence:
    return Evidence(arguments.claim, arguments.epoch, arguments.nonce, outcome, reason, message, **more)


def failure(
    claim: str, epoch: int, nonce: str, error: FenceError, *, key_may_exist: bool = False
) -> Evidence:
    """The evidence of a run that could not go on."""
    return Evidence(
        claim,
        epoch,
        nonce,
        Outcome.FAILED,
        error.reason,
        error.message,
        field=error.field,
        counts=error.counts,
        key_ids=error.key_ids,
        key_may_exist=key_may_exist,
    )


# --------------------------------------------------------------------------------- identify


async def run_identify(arguments: IdentifyArguments) -> Evidence:
    """Name the account; every end is evidence (claim "", epoch 0)."""
    deadline_ms = boottime_ms() + Verb.IDENTIFY.deadline_s * 1000
    terminating = told_to_stop()
    try:
        account = Account.read(arguments.config, arguments.management_key_dir)
        inquiry = Inquiry(
            nonce=arguments.nonce,
            static=arguments.static,
            bound=arguments.bound,
            key_id=account.management_key.key_id,
            key_type=_MARKER_KEY_TYPE,
            key_list_lag_ms=arguments.key_list_lag_ms,
            deadline_ms=deadline_ms,
        )
        async with account.venue() as venue:
            found = await drive(identify(inquiry), World(venue, None), terminating)
    except FenceError as error:
        return failure("", 0, arguments.nonce, error)
    by_key = found.marker_id is None
    return Evidence(
        "",
        0,
        arguments.nonce,
        Outcome.IDENTIFIED,
        Reason.IDENTITY_BY_KEY_ONLY if by_key else Reason.DONE,
        "the key may not list or make keys, so the account is named by it alone: another Static key of the same account would "
        "pass for another account"
        if by_key
        else f"the account is named by marker {found.marker_id}, {'made now' if found.made else 'found at the venue'}",
        account_identity=found.identity,
        marker_id=found.marker_id,
        counts={"markersMade": int(found.made)},
        key_may_exist=False,
    )


# --------------------------------------------------------------------------------- audit, status


async def run_audit(arguments: LookArguments) -> Evidence:
    """Audit a claim; every end is evidence. Could not look: outcome Failed."""
    deadline_ms = boottime_ms() + Verb.AUDIT.deadline_s * 1000
    terminating = told_to_stop()
    epoch, nonce = arguments.epoch or 0, arguments.nonce or ""
    try:
        async with AsyncExitStack() as stack:
            seen = await _look(arguments, deadline_ms, stack, terminating)
            epoch, nonce = seen.attempt.epoch, seen.attempt.nonce
            _know_cluster(seen)
            found = await drive(audit(seen.attempt, reap=arguments.reap), seen.world, terminating)
    except FenceError as error:
        return failure(arguments.claim, epoch, nonce, error)
    outcome = Outcome.CLEAN if found.reason is Reason.DONE else Outcome.FOUND
    return Evidence(
        arguments.claim,
        epoch,
        nonce,
        Outcome.SKIPPED if found.skipped else outcome,
        found.reason,
        found.message,
        counts=dict(found.counts),
        key_ids=found.key_ids,
        key_may_exist=False,
    )


def _know_cluster(seen: Sight) -> None:
    if not seen.attempt.cluster_id:
        raise FenceError(
            Reason.NOT_CONFIRMED,
            f"the venue does not list the key {seen.claim.key_id or '(none)'} of {seen.attempt.claim}, so its keys cannot be told "
            "from another cluster's: give --cluster-id (the uid of Namespace kube-system)",
        )


@dataclass(frozen=True)
class Sight:
    """A claim and the keys of its account, as they were a moment ago, and the attempt that the claim names."""

    world: World
    attempt: Attempt
    claim: ClaimView
    keys: tuple[VenueKey, ...]

    def rows(self) -> list[tuple[str, str, str]]:
        """Every key: id, what it means for the claim, name at the venue; sorted by name."""
        return [(key.key_id, self._meaning(key), key.name) for key in sorted(self.keys, key=_by_name)]

    def _meaning(self, key: VenueKey) -> str:
        attempt, name = self.attempt, self.attempt.own_name(key)
        if name is not None:
            which = f"epoch {name.epoch} generation {name.generation}"
            if name.nonce not in self.claim.nonces:
                return f"UNKNOWN NONCE, {which}"
            if name.epoch > attempt.epoch:
                return f"HIGHER EPOCH, {which}"
            return f"this claim's, {which}" if name.epoch == attempt.epoch else f"STALE, {which}"
        if marker_key_nonce(key.name) is not None:
            bound = self.claim.identity is None or self.claim.identity.endswith(f":{key.key_id}")
            return "marker of the account" if bound else "ANOTHER MARKER"
        if key.key_id == attempt.authenticating_key_id:
            return "management key"
        if key.key_id in attempt.acknowledged_key_ids:
            return "acknowledged"
        return "THREATENS" if attempt.threat(key, subaccount=attempt.subaccount) else "harmless"


def _by_name(key: VenueKey) -> tuple[str, str]:
    return key.name, key.key_id


async def look(arguments: LookArguments) -> Sight:
    """Read the claim and the key list, for `status`. Raises FenceError."""
    async with AsyncExitStack() as stack:
        return await _look(arguments, boottime_ms() + 60_000, stack, asyncio.Event())


async def _look(
    arguments: LookArguments, deadline_ms: int, stack: AsyncExitStack, terminating: asyncio.Event
) -> Sight:
    account = Account.read(arguments.config, arguments.management_key_dir)
    venue = await stack.enter_async_context(account.venue())
    namespace, _, bot = (arguments.bot or account.configuration.bot_name).partition("/")
    cluster = await stack.enter_async_context(
        Cluster(Connection.in_cluster(), namespace=namespace, bot=bot, claim=arguments.claim)
    )
    world = World(venue, cluster)
    claim, keys = await drive(_claim_and_keys(), world, terminating)
    attempt = Attempt(
        claim=arguments.claim,
        cluster_id=arguments.cluster_id or _cluster_of(arguments.claim, claim, keys),
        epoch=arguments.epoch or claim.epoch,
        nonce=arguments.nonce or claim.nonce,
        subaccount=account.configuration.account.subaccount,
        secret_name=claim.secret_name or "",
        revocation_bound_ms=0,
        key_type=_MARKER_KEY_TYPE,
        authenticating_key_id=account.management_key.key_id,
        acknowledged_key_ids=frozenset(arguments.acknowledged_key_ids) or claim.acknowledged_key_ids,
        deadline_ms=deadline_ms,
    )
    return Sight(world, attempt, claim, keys)


def _claim_and_keys() -> Machine[tuple[ClaimView, tuple[VenueKey, ...]]]:
    claim = yield from ReadClaim().ask()
    keys = yield from ListKeys().ask()
    return claim, keys


def _cluster_of(claim_name: str, claim: ClaimView, keys: tuple[VenueKey, ...]) -> str:
    """The cluster's id as the claim's last Active key carries it; "" when it is not listed."""
    for key in keys:
        name = parse_venue_key_name(key.name)
        if name is not None and name.claim == claim_name and key.key_id == claim.key_id:
            return name.cluster_id
    return ""
