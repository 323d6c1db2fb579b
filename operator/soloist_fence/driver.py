"""Performs what the state machines ask for: the only place where waiting, clocks and sockets meet the protocol."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Any, Protocol, TypeVar

from soloist_fence.api import Reason
from soloist_fence.cluster import Cluster
from soloist_fence.commands import (
    CancelOrder,
    Command,
    CreateSecret,
    DeleteKey,
    DeleteOrderGroup,
    DeleteSecret,
    GenerateKey,
    ListKeys,
    ListOrders,
    Machine,
    Now,
    PatchSecret,
    ProbeKey,
    ReadClaim,
    ReadLease,
    Sleep,
    VenueTime,
)
from soloist_fence.errors import FenceError, NoAnswerError, NoConnectionError
from soloist_fence.venue import Venue

T = TypeVar("T")
FIRST_CONTACT_S = 10.0
"""How long the first read of a peer is repeated: a fresh pod's NetworkPolicy and DNS take some seconds to be there."""
FIRST_CONTACT_PAUSE_S = 1.0
"""The venue's client tries four times by itself and has a budget of wasted attempts; this leaves most of it."""

_QUIET = (Now, ReadClaim, ReadLease, Sleep, VenueTime)

logger = logging.getLogger("soloist_fence")


class Performer(Protocol):
    """Anything that can do what a machine asks for."""

    async def perform(self, command: Command[Any]) -> Any:
        """Do one command and return its reply, or raise FenceError."""


class FirstContact:
    """Patience with a peer that has never answered this process. Only looks are repeated, and nothing after the first answer.

    Every machine begins with a look at each peer, so this ends before anything is made or deleted. A refusal is an answer.
    """

    def __init__(
        self,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._clock = clock
        self._sleep = sleep
        self._since_s: dict[str, float] = {}
        self._heard: set[str] = set()

    async def look(self, peer: str, once: Callable[[], Awaitable[T]]) -> T:
        """Perform a read; raises the FenceError that remains."""
        since_s = self._since_s.setdefault(peer, self._clock())
        while True:
            try:
                reply = await once()
            except NoConnectionError as error:
                if peer in self._heard or self._clock() - since_s >= FIRST_CONTACT_S:
                    raise
                logger.info("the %s cannot be reached yet, trying again: %s", peer, error)
                await self._sleep(FIRST_CONTACT_PAUSE_S)
            except FenceError:
                self._heard.add(peer)
                raise
            else:
                self._heard.add(peer)
                return reply


class World:
    """The real venue, the real API server and the clock that goes on while the machine sleeps.

    `cluster` is None for the one verb that runs before there is a claim.
    """

    def __init__(self, venue: Venue, cluster: Cluster | None, contact: FirstContact | None = None) -> None:
        self._venue = venue
        self._cluster = cluster
        self._contact = FirstContact() if contact is None else contact

    async def perform(self, command: Command[Any]) -> Any:
        """Do one command; see `commands` for what each may answer."""
        match command:
            case Now():
                return boottime_ms()
            case Sleep(duration_ms):
                return await asyncio.sleep(duration_ms / 1000)
            case VenueTime():
                return self._venue.time_ms()
            case ListKeys():
                return await self._contact.look("venue", self._venue.list_keys)
            case ListOrders(look_back_s):
                return await self._contact.look("venue", lambda: self._venue.list_orders(look_back_s))
            case ProbeKey(key):
                return await self._venue.accepts(key)
            case GenerateKey(name, scopes, subaccount, key_type):
                return await self._venue.generate_key(name, scopes, subaccount, key_type)
            case DeleteKey(key_id):
                return await self._venue.delete_key(key_id)
            case CancelOrder(order_id, ticker):
                return await self._venue.cancel_order(order_id, ticker)
            case DeleteOrderGroup(group_id):
                return await self._venue.delete_order_group(group_id)
        return await self._perform_in_cluster(command)

    async def _perform_in_cluster(self, command: Command[Any]) -> Any:
        assert self._cluster is not None, f"{command!r} needs a cluster, and this verb has none"
        match command:
            case ReadClaim():
                return await self._contact.look("API server", self._cluster.read_claim)
            case ReadLease():
                return await self._contact.look("API server", self._cluster.read_lease)
            case CreateSecret(name, content, holder_uid):
                return await self._cluster.create_secret(name, content, holder_uid)
            case PatchSecret(name, expected_generation, new_generation, add, remove):
                return await self._cluster.patch_secret(
                    name, expected_generation, new_generation, add, remove
                )
            case DeleteSecret(name):
                return await self._cluster.delete_secret(name)
        raise AssertionError(f"no such command: {command!r}")


def boottime_ms() -> int:
    """Milliseconds of CLOCK_BOOTTIME."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1_000_000


async def drive(machine: Machine[T], performer: Performer, terminating: asyncio.Event) -> T:
    """Run a machine to its end and return its result; raises the FenceError that it ends with.

    When `terminating` is set (SIGTERM: the Job's deadline), the command under way is abandoned and the machine is told
    once, so that it can delete its own key; what it asks for after that is performed.
    """
    told = False
    try:
        command = next(machine)
        while True:
            try:
                reply = await _perform(command, performer, None if told else terminating)
            except FenceError as error:
                told = told or terminating.is_set()
                command = machine.throw(error)
            else:
                command = machine.send(reply)
    except StopIteration as stop:
        result: T = stop.value
        return result


async def _perform(command: Command[Any], performer: Performer, terminating: asyncio.Event | None) -> Any:
    """Do one command and log it, which is safe: no repr shows a private key."""
    started = time.monotonic()
    try:
        reply = await _unless_told_to_stop(command, performer, terminating)
    except FenceError as error:
        logger.warning("%r failed after %d ms: %s", command, 1000 * (time.monotonic() - started), error)
        raise
    except Exception as error:
        # Policy: a defect ends the attempt the way every failure does, with its own key deleted and evidence written.
        logger.exception("%r failed", command)
        raise FenceError(
            Reason.INTERNAL, f"{type(command).__name__}: {type(error).__name__}: {error}"
        ) from error
    level = logging.DEBUG if isinstance(command, _QUIET) else logging.INFO
    logger.log(level, "%r took %d ms", command, 1000 * (time.monotonic() - started))
    return reply


async def _unless_told_to_stop(
    command: Command[Any], performer: Performer, terminating: asyncio.Event | None
) -> Any:
    """Do one command, or raise DeadlinePassed as soon as termination is asked for."""
    if terminating is None:
        return await performer.perform(command)
    work = asyncio.ensure_future(performer.perform(command))
    stop = asyncio.ensure_future(terminating.wait())
    await asyncio.wait({work, stop}, return_when=asyncio.FIRST_COMPLETED)
    finished = work.done()
    for task in (work, stop):
        task.cancel()
    await asyncio.gather(work, stop, return_exceptions=True)
    if not finished:
        # What was under way may have arrived: whoever hears this must not take it for undone.
        raise NoAnswerError(
            Reason.DEADLINE_PASSED,
            f"the process was told to stop during {type(command).__name__}; start a new attempt",
        )
    return work.result()
