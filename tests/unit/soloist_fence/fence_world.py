"""A venue, a claim and a namespace in memory, for machines that perform nothing themselves.

It obeys the venue's contract (a deleted key is accepted until its revocation bound has passed, a lost reply may have done
its work) and the API server's (names are unique, a JSON patch is tested), so that the machines meet every answer they can
meet outside. `accepted` and `published` are what the safety properties are stated in.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from soloist_fence.api import (
    EpochSecret,
    Reason,
    Slot,
    VenueKey,
    claim_name_of,
    epoch_secret_name,
    marker_key_nonce,
    venue_key_name,
)
from soloist_fence.attempt import Attempt
from soloist_fence.commands import (
    CancelOrder,
    ClaimView,
    Command,
    CreateSecret,
    DeleteKey,
    DeleteOrderGroup,
    DeleteSecret,
    GenerateKey,
    IssuedKey,
    LeaseView,
    ListKeys,
    ListOrders,
    Machine,
    Now,
    OrderListing,
    OrderSighting,
    PatchSecret,
    ProbeKey,
    ReadClaim,
    ReadLease,
    Sleep,
    VenueTime,
)
from soloist_fence.errors import FenceError, NoAnswerError, RestrictedKeyRefusedError

CLAIM = claim_name_of("marker:m", 0)
CLUSTER_ID = "6f0c5b7e-0000-4000-8000-000000000001"
MANAGEMENT_KEY = VenueKey("management", "by hand", frozenset({"read", "write"}))
BOT = "demo"
REVOCATION_BOUND_MS = 1_000
DEADLINE_MS = 120_000


@dataclass
class Engine:
    """An engine that reads the epoch Secret with a delay and switches to its highest generation."""

    pod_uid: str = "pod-1"
    key_id: str = ""
    renewals: int = 0
    propagation_ms: int = 60_000
    switches: bool = True


def undisturbed(_world: World, _command: Command[Any]) -> None:
    """Nothing happens beside the machine."""


@dataclass
class Venue:
    """The account at the venue; several worlds (clusters) may share one."""

    keys: dict[str, VenueKey] = field(default_factory=lambda: {MANAGEMENT_KEY.key_id: MANAGEMENT_KEY})
    gone: dict[str, VenueKey] = field(default_factory=dict)
    made_ms: dict[str, int] = field(default_factory=dict)
    deleted_ms: dict[str, int] = field(default_factory=dict)
    restricted_keys: bool = True
    revocation_ms: int = REVOCATION_BOUND_MS
    key_list_lag_ms: int = 0
    read_model_lag_ms: int = 0
    groups: dict[str, set[str]] = field(default_factory=dict)
    """Order groups: their ids, and the ids of their orders."""
    made: int = 0
    now_ms: int = 0

    def listed(self) -> tuple[VenueKey, ...]:
        """The key list, as it was `key_list_lag_ms` ago. A key that a test put there was always there."""
        as_of_ms = self.now_ms - self.key_list_lag_ms
        late = [key for key_id, key in self.gone.items() if self.deleted_ms[key_id] > as_of_ms]
        known = [
            key for key in (*self.keys.values(), *late) if self.made_ms.get(key.key_id, as_of_ms) <= as_of_ms
        ]
        return tuple(known)

    def delete(self, key_id: str) -> None:
        """Delete a key; unknown ones are deleted already."""
        key = self.keys.pop(key_id, None)
        if key is not None:
            self.gone[key_id] = key
            self.deleted_ms[key_id] = self.now_ms


@dataclass
class World:
    """Everything outside of a fence process: the venue, and one cluster."""

    claim: ClaimView
    venue: Venue = field(default_factory=Venue)
    cluster_id: str = CLUSTER_ID
    secrets: dict[str, EpochSecret] = field(default_factory=dict)
    seen_by_engine: list[tuple[int, EpochSecret]] = field(default_factory=list)
    orders: list[OrderSighting] = field(default_factory=list)
    engine: Engine | None = None
    performed: list[Command[Any]] = field(default_factory=list)
    before: Callable[[World, Command[Any]], None] = undisturbed
    """Called before each command: a test moves the claim, adds a key, or raises."""

    @property
    def keys(self) -> dict[str, VenueKey]:
        return self.venue.keys

    @property
    def made(self) -> int:
        return self.venue.made

    @property
    def now_ms(self) -> int:
        return self.venue.now_ms

    @now_ms.setter
    def now_ms(self, now_ms: int) -> None:
        self.venue.now_ms = now_ms

    def accepted(self) -> set[str]:
        """Keys that the venue accepts right now, the management key and markers aside."""
        late = {k for k, at in self.venue.deleted_ms.items() if self.now_ms < at + self.venue.revocation_ms}
        every = {**self.venue.gone, **self.keys}
        nobodys = {key_id for key_id, key in every.items() if marker_key_nonce(key.name) is not None}
        return (set(self.keys) | late) - {MANAGEMENT_KEY.key_id} - nobodys

    def published(self) -> set[str]:
        """Keys that some epoch Secret holds."""
        return {slot.key_id for secret in self.secrets.values() for slot in secret.slots}

    def perform(self, command: Command[Any]) -> Any:
        """Do a command; raises FenceError as the real edges do."""
        self.performed.append(command)
        self.before(self, command)
        self.now_ms += 5
        return self.answer(command)

    def answer(self, command: Command[Any]) -> Any:
        """The bare answer, without disturbance and without time passing."""
        return getattr(self, "do_" + re.sub(r"(?<!^)([A-Z])", r"_\1", type(command).__name__).lower())(
            command
        )

    def do_now(self, _: Now) -> int:
        return self.now_ms

    def do_sleep(self, command: Sleep) -> None:
        self.now_ms += command.duration_ms

    def do_read_claim(self, _: ReadClaim) -> ClaimView:
        return self.claim

    def do_venue_time(self, _: VenueTime) -> int:
        return self.now_ms

    def do_list_keys(self, _: ListKeys) -> tuple[VenueKey, ...]:
        return self.venue.listed()

    def do_list_orders(self, _: ListOrders) -> OrderListing:
        as_of_ms = self.now_ms - self.venue.read_model_lag_ms
        seen = [order for order in self.orders if (order.created_ms or 0) <= as_of_ms]
        return OrderListing(as_of_ms, tuple(seen))

    def do_cancel_order(self, command: CancelOrder) -> None:
        self.orders[:] = [
            replace(order, resting=False) if order.order_id == command.order_id else order
            for order in self.orders
        ]

    def do_delete_order_group(self, command: DeleteOrderGroup) -> None:
        for order_id in self.venue.groups.pop(command.group_id, set()):
            self.do_cancel_order(CancelOrder(order_id, ""))

    def do_probe_key(self, command: ProbeKey) -> bool:
        return command.key.key_id in self.accepted()

    def do_generate_key(self, command: GenerateKey) -> IssuedKey:
        if command.subaccount is not None and not self.venue.restricted_keys:
            raise RestrictedKeyRefusedError("403: tier")
        self.venue.made += 1
        key_id = f"key-{self.made}"
        self.keys[key_id] = VenueKey(key_id, command.name, frozenset(command.scopes), command.subaccount)
        self.venue.made_ms[key_id] = self.now_ms
        return IssuedKey(key_id, f"private half of {key_id}")

    def do_delete_key(self, command: DeleteKey) -> None:
        self.venue.delete(command.key_id)

    def do_create_secret(self, command: CreateSecret) -> None:
        if command.name in self.secrets:
            raise FenceError(Reason.SECRET_EXISTS, command.name)
        self.secrets[command.name] = command.content

    def do_delete_secret(self, command: DeleteSecret) -> bool:
        return self.secrets.pop(command.name, None) is not None

    def do_patch_secret(self, command: PatchSecret) -> None:
        secret = self.secrets.get(command.name)
        if secret is None or secret.generation != command.expected_generation:
            raise FenceError(Reason.SECRET_MOVED, command.name)
        kept = tuple(slot for slot in secret.slots if slot.generation != command.remove)
        slots = kept if command.add is None else (*kept, command.add)
        changed = replace(secret, generation=command.new_generation, slots=slots)
        self.secrets[command.name] = changed
        self.seen_by_engine.append((self.now_ms, changed))

    def do_read_lease(self, _: ReadLease) -> LeaseView | None:
        engine = self.engine
        if engine is None:
            return None
        for changed_ms, secret in self.seen_by_engine:
            if engine.switches and changed_ms + engine.propagation_ms <= self.now_ms:
                engine.key_id = secret.slots[-1].key_id
        engine.renewals = self.now_ms // 5_000
        return LeaseView(
            str(engine.renewals), engine.pod_uid, self.claim.epoch, engine.pod_uid, engine.key_id
        )


def opened(claim: ClaimView | None = None, *, at_least: int = 1) -> ClaimView:
    """P1 as the operator does it: the next epoch with a nonce of its own, which joins the history."""
    previous = claim or ClaimView(epoch=0, nonce="", nonces=frozenset(), phase="Idle")
    epoch = max(previous.epoch + 1, at_least)
    nonce = f"nonce{epoch:04d}"
    return replace(previous, epoch=epoch, nonce=nonce, nonces=previous.nonces | {nonce}, phase="Fencing")


def attempt_of(claim: ClaimView, world: World, **changes: Any) -> Attempt:
    """The attempt that a claim names."""
    attempt = Attempt(
        claim=CLAIM,
        cluster_id=world.cluster_id,
        epoch=claim.epoch,
        nonce=claim.nonce,
        subaccount=0,
        secret_name=epoch_secret_name(BOT, claim.epoch, claim.nonce),
        revocation_bound_ms=REVOCATION_BOUND_MS,
        key_type="ed25519",
        authenticating_key_id=MANAGEMENT_KEY.key_id,
        acknowledged_key_ids=frozenset(),
        deadline_ms=world.now_ms + DEADLINE_MS,
    )
    return replace(attempt, **changes)


def armed(world: World, attempt: Attempt, key_id: str) -> None:
    """P7 as the operator does it: the claim records the key, the engine starts with it."""
    world.claim = replace(world.claim, phase="Active", key_id=key_id, secret_name=attempt.secret_name)
    world.engine = Engine(key_id=key_id)


def own_key(key_id: str, epoch: int, nonce: str, generation: int = 1, **changes: Any) -> VenueKey:
    """A key of this claim in this cluster."""
    name = venue_key_name(CLUSTER_ID, CLAIM, epoch, generation, nonce)
    return replace(VenueKey(key_id, name, frozenset({"read", "write::trade"}), 0), **changes)


def order(client_order_id: str, *, resting: bool, created_ms: int | None = 0) -> OrderSighting:
    return OrderSighting(client_order_id, resting, f"order of {client_order_id}", "SIM-RAIN", created_ms)


def slot(generation: int, key_id: str) -> Slot:
    return Slot(generation, key_id, f"private half of {key_id}")


def run(machine: Machine[Any], world: World, *, crash_at: int | None = None, lost: bool = False) -> Any:
    """Drive a machine to its end; `crash_at` n ends it at its n-th command, done (`lost`) or not done.

    A crash is a process that is gone: no clean-up of the machine runs. Returns None then.
    """
    command = next(machine)
    done = 0
    try:
        while True:
            if done == crash_at:
                if lost:
                    with contextlib.suppress(FenceError):
                        world.perform(command)
                machine.close()
                return None
            done += 1
            try:
                reply = world.perform(command)
            except FenceError as error:
                command = machine.throw(error)
            else:
                command = machine.send(reply)
    except StopIteration as stop:
        return stop.value


def lose_reply_of(kind: type[Command[Any]], *, done: bool) -> Callable[[World, Command[Any]], None]:
    """A `before` hook: the first command of a kind gets no answer, and is done all the same or not."""
    lost: list[Command[Any]] = []

    def before(world: World, command: Command[Any]) -> None:
        if isinstance(command, kind) and not lost:
            lost.append(command)
            if done:
                world.answer(command)
            raise NoAnswerError(Reason.VENUE_UNREACHABLE, "the reply was lost")

    return before
