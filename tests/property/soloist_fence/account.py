"""One account, two clusters, and everybody who may touch it: the stage of the one-holder property.

Every actor is the real machine of the fence; the venue and the clusters are in memory and obey their contracts, with the
faults that a schedule asks for. After every command the invariants are checked (I1 to I7 as far as the fence can break
them; I4 and I5 are the engine's).
"""

from __future__ import annotations

import contextlib
from collections.abc import Generator
from dataclasses import dataclass, field, replace
from typing import Any

from soloist_fence import takeover as takeover_module
from soloist_fence.api import Reason, VenueKey, claim_hash, nonce_from, order_epoch, parse_venue_key_name
from soloist_fence.attempt import Attempt
from soloist_fence.audit import audit
from soloist_fence.commands import (
    CancelOrder,
    Command,
    CreateSecret,
    DeleteKey,
    DeleteOrderGroup,
    DeleteSecret,
    GenerateKey,
    Now,
    ReadClaim,
    ReadLease,
)
from soloist_fence.errors import FenceError, NoAnswerError
from soloist_fence.identify import SETTLE_MS, Inquiry, identify
from soloist_fence.release import release
from soloist_fence.rotation import rotate

from tests.unit.soloist_fence.fence_world import (
    BOT,
    CLAIM,
    CLUSTER_ID,
    MANAGEMENT_KEY,
    Engine,
    Venue,
    World,
    armed,
    attempt_of,
    opened,
    order,
)

OTHER_CLUSTER_ID = "6f0c5b7e-0000-4000-8000-000000000002"
ATTEMPTS_PER_CLUSTER = 4
SIDE_RUNS_PER_CLUSTER = 3
FOREIGN_KEYS = 2
OURS = claim_hash(CLAIM)


@dataclass
class Fence:
    """One process of the fence at work. `attempt` is None for identify."""

    verb: str
    cluster: int
    world: World
    attempt: Attempt | None
    machine: Generator[Command[Any], Any, Any]
    command: Command[Any] | None
    last: type[Command[Any]] | None = None
    own_keys: set[str] = field(default_factory=set)


@dataclass
class Pod:
    """An engine, alive until the end: nobody ever proves it dead. `number` counts armings over all clusters."""

    number: int
    cluster: int
    epoch: int
    nonce: str
    engine: Engine


class Account:
    """The account, its actors, and what they did. Every method is one event."""

    def __init__(
        self, *, revocation_ms: int = 1_000, key_list_lag_ms: int = 0, read_model_lag_ms: int = 0
    ) -> None:
        self.venue = Venue(
            revocation_ms=revocation_ms,
            key_list_lag_ms=key_list_lag_ms,
            read_model_lag_ms=read_model_lag_ms,
        )
        self.worlds = [World(opened(), self.venue, cluster) for cluster in (CLUSTER_ID, OTHER_CLUSTER_ID)]
        for world in self.worlds:
            world.orders = self.worlds[0].orders  # one account, one list of orders
        self.attempts = [0, 0]
        self.side_runs = [0, 0]
        self.fences: list[Fence] = []
        self.pods: list[Pod] = []
        self.published: dict[str, tuple[int, int]] = {}
        """Every key that was ever in an epoch Secret: its cluster and epoch."""
        self.foreign: list[str] = []
        self.newest_sender = -1
        self.newest_epoch = 0
        self.sent = 0

    # ------------------------------------------------------------------------------------------ who begins what

    def name(self, cluster: int) -> None:
        """The operator asks which account this is; until it knows, it claims nothing."""
        if self.worlds[cluster].claim.identity is None and self.side_runs[cluster] < SIDE_RUNS_PER_CLUSTER:
            self.side_runs[cluster] += 1
            inquiry = Inquiry(
                nonce_from(bytes([cluster + 1, self.side_runs[cluster]] * 4)),
                static=False,
                bound=None,
                key_id=MANAGEMENT_KEY.key_id,
                key_type="ed25519",
                key_list_lag_ms=self.venue.key_list_lag_ms,
                deadline_ms=self.venue.now_ms + 60_000,
            )
            self._begin("identify", cluster, None, identify(inquiry))

    def open(self, cluster: int) -> None:
        """The operator of a cluster starts its next takeover; an older one that still runs becomes a zombie."""
        world = self.worlds[cluster]
        if self.attempts[cluster] >= ATTEMPTS_PER_CLUSTER:
            return
        if self.attempts[cluster]:
            world.claim = opened(world.claim)
        self.attempts[cluster] += 1
        attempt = attempt_of(world.claim, world, key_list_lag_ms=self.venue.key_list_lag_ms)
        self._begin("takeover", cluster, attempt, takeover_module.takeover(attempt, BOT))

    def release(self, cluster: int) -> None:
        """The bot is deleted while nobody can prove its engine dead: its keys and its orders go. The claim may be used again."""
        world = self.worlds[cluster]
        if self.attempts[cluster] >= ATTEMPTS_PER_CLUSTER or not self.attempts[cluster]:
            return
        self.attempts[cluster] += 1
        world.claim = opened(world.claim)
        attempt = attempt_of(world.claim, world, key_list_lag_ms=self.venue.key_list_lag_ms)
        self._begin("release", cluster, attempt, release(attempt, BOT, orders=True))

    def make_a_foreign_key(self, cluster: int, *, named: bool) -> None:
        """A person makes a key that can trade, and perhaps names it in the claim as one to be revoked."""
        key_id = f"foreign-{len(self.foreign)}"
        if len(self.foreign) < FOREIGN_KEYS:
            self.foreign.append(key_id)
            self.venue.keys[key_id] = VenueKey(key_id, "by hand", frozenset({"read", "write"}))
            claim = self.worlds[cluster].claim
            if named:
                self.worlds[cluster].claim = replace(claim, revoke_key_ids=claim.revoke_key_ids | {key_id})

    def rotate(self, cluster: int) -> None:
        """A rotation of the Active epoch begins, beside whatever else runs."""
        world = self.worlds[cluster]
        if world.claim.phase != "Active" or self.side_runs[cluster] >= SIDE_RUNS_PER_CLUSTER:
            return
        self.side_runs[cluster] += 1
        attempt = self._running_epoch(world, 900_000)
        if attempt.secret_name in world.secrets:
            self._begin("rotate", cluster, attempt, rotate(attempt, world.secrets[attempt.secret_name]))

    def audit(self, cluster: int) -> None:
        """An `audit --reap` of the Active epoch begins."""
        world = self.worlds[cluster]
        if world.claim.phase == "Active" and self.side_runs[cluster] < SIDE_RUNS_PER_CLUSTER:
            self.side_runs[cluster] += 1
            attempt = self._running_epoch(world, 120_000)
            self._begin("audit", cluster, attempt, audit(attempt, reap=True))

    def _running_epoch(self, world: World, deadline_ms: int) -> Attempt:
        return attempt_of(
            world.claim,
            world,
            secret_name=world.claim.secret_name,
            deadline_ms=self.venue.now_ms + deadline_ms,
            key_list_lag_ms=self.venue.key_list_lag_ms,
        )

    def _begin(
        self, verb: str, cluster: int, attempt: Attempt | None, machine: Generator[Command[Any], Any, Any]
    ) -> None:
        self.fences.append(Fence(verb, cluster, self.worlds[cluster], attempt, machine, next(machine)))

    # ------------------------------------------------------------------------------------------ what happens to a fence

    def alive(self) -> list[Fence]:
        """The fences that have not ended."""
        return [fence for fence in self.fences if fence.command is not None]

    def step(self, fence: Fence) -> None:
        """Perform one command of a fence and check the invariants."""
        command = fence.command
        if command is None:
            return
        try:
            reply = self._perform(fence, command)
            fence.command = fence.machine.send(reply)
        except FenceError as error:
            self._throw(fence, error)
        except StopIteration as stop:
            fence.command = None
            self._ended(fence, stop.value)

    def lose(self, fence: Fence, *, done: bool) -> None:
        """The reply to a fence's request is lost, or is a 5xx; the request was done all the same, or not."""
        if fence.command is None:
            return
        if done:
            with contextlib.suppress(FenceError):
                self._perform(fence, fence.command)
        self._throw(fence, NoAnswerError(Reason.VENUE_UNREACHABLE, "no usable answer"))

    def kill(self, fence: Fence, *, done: bool) -> None:
        """The process is gone; its last request may have been done."""
        if fence.command is not None and done:
            with contextlib.suppress(FenceError):
                self._perform(fence, fence.command)
        fence.machine.close()
        fence.command = None

    def _throw(self, fence: Fence, error: FenceError) -> None:
        try:
            fence.command = fence.machine.throw(error)
        except FenceError:
            fence.command = None
        except StopIteration as stop:
            fence.command = None
            self._ended(fence, stop.value)

    def _perform(self, fence: Fence, command: Command[Any]) -> Any:
        self.check_before(fence, command)
        reply = fence.world.perform(command)
        if isinstance(command, GenerateKey):
            fence.own_keys.add(reply.key_id)
        if not isinstance(command, Now):
            fence.last = type(command)
        self.check_after()
        return reply

    def _ended(self, fence: Fence, result: Any) -> None:
        """P7: the operator believes evidence of the attempt that the claim names, and of no other."""
        world, attempt = fence.world, fence.attempt
        if fence.verb == "identify" and world.claim.identity is None:
            world.claim = replace(world.claim, identity=result.identity)
        if fence.verb not in {"takeover", "release"} or attempt is None:
            return
        if (world.claim.epoch, world.claim.nonce) != (attempt.epoch, attempt.nonce):
            return
        self.check_quiet(attempt)
        if fence.verb == "release":
            self.check_released(attempt)
            world.claim = replace(world.claim, phase="Idle", secret_name=None, key_id=None)
            return
        armed(world, attempt, result.key_id)
        assert world.engine is not None
        world.engine.propagation_ms = 5_000
        self.pods.append(Pod(len(self.pods), fence.cluster, attempt.epoch, attempt.nonce, world.engine))

    # ------------------------------------------------------------------------------------------ engines

    def trade(self, pod: Pod) -> None:
        """An engine sends an order with the key that it uses; the venue accepts it or not. Zombies try as well."""
        world = self.worlds[pod.cluster]
        if world.engine is pod.engine:
            world.answer(ReadLease())  # it looks at its mounted Secret, as it does all the time
        if pod.engine.key_id not in self.worlds[0].accepted():
            return
        self.sent += 1
        text = f"s{OURS}-{pod.epoch}-{pod.number + 1}-{self.sent}"
        world.orders.append(order(text, resting=True, created_ms=self.venue.now_ms))
        assert pod.epoch >= self.newest_epoch, (
            f"I1: an order of epoch {pod.epoch} is accepted after one of epoch {self.newest_epoch}"
        )
        self.newest_epoch = pod.epoch
        assert pod.number >= self.newest_sender, (
            f"I3: engine {pod.number} has an order accepted after engine {self.newest_sender} had"
        )
        self.newest_sender = pod.number

    # ------------------------------------------------------------------------------------------ invariants

    def check_before(self, fence: Fence, command: Command[Any]) -> None:
        """I7 and I6: a fresh look at the claim before everything that destroys; no key that is in use or of unknown origin."""
        if fence.attempt is None:
            assert not isinstance(command, DeleteKey) or command.key_id in fence.own_keys
            return
        destructive = isinstance(
            command, DeleteSecret | GenerateKey | CreateSecret | CancelOrder | DeleteOrderGroup
        )
        if isinstance(command, DeleteKey) and command.key_id not in fence.own_keys:
            destructive = True
            self._check_delete(fence, command.key_id)
        if isinstance(command, DeleteKey) and fence.verb in {"rotate", "audit"}:
            self._check_in_use(fence, command.key_id)
        if isinstance(command, CancelOrder):
            mine = next(o for o in fence.world.orders if o.order_id == command.order_id)
            epoch = order_epoch(mine.client_order_id, CLAIM)
            assert epoch is not None, "an order of somebody else is cancelled"
            assert epoch < fence.attempt.epoch, "an order of the running epoch is cancelled"
        if destructive and not (isinstance(command, DeleteSecret) and fence.last is CreateSecret):
            assert fence.last is ReadClaim, f"{type(command).__name__} without a look at the claim"

    def _check_delete(self, fence: Fence, key_id: str) -> None:
        listed = self.venue.keys.get(key_id)
        if listed is None or key_id in fence.world.claim.revoke_key_ids:
            return
        name = parse_venue_key_name(listed.name)
        assert name is not None, f"a key that is not ours is deleted: {listed}"
        assert fence.attempt is not None
        whose = name.claim, name.cluster_id
        assert whose == (CLAIM, fence.attempt.cluster_id), f"a key that is not ours is deleted: {listed}"
        assert name.nonce in fence.world.claim.nonces, f"a nonce that was never issued: {listed}"

    def _check_in_use(self, fence: Fence, key_id: str) -> None:
        """I6: neither a rotation nor an audit takes the key that the engine of the Active epoch uses."""
        world = fence.world
        world.answer(ReadLease())
        if world.claim.phase == "Active" and world.engine is not None:
            assert key_id != world.engine.key_id, "I6: the key in use is deleted"

    def check_after(self) -> None:
        """I2: of all epochs whose key any engine ever may have received, at most one is accepted."""
        for index, world in enumerate(self.worlds):
            for secret in world.secrets.values():
                self.published |= {slot.key_id: (index, secret.epoch) for slot in secret.slots}
        accepted = self.worlds[0].accepted()
        holders = {self.published[key_id] for key_id in accepted & self.published.keys()}
        assert len(holders) <= 1, f"I2: two holders: {sorted(holders)}"

    def check_released(self, attempt: Attempt) -> None:
        """A name may be freed, or another bot armed, on this evidence: nothing of the claim in this cluster is accepted."""
        gone = self.venue.keys | self.venue.gone
        mine = [key_id for key_id in self.worlds[0].accepted() if attempt.own_name(gone[key_id]) is not None]
        assert not mine, f"released, and still accepted: {mine}"

    def check_quiet(self, attempt: Attempt) -> None:
        """P5: when an epoch becomes Active, nothing of its claim's older epochs rests."""
        for sighting in self.worlds[0].orders:
            epoch = order_epoch(sighting.client_order_id, CLAIM)
            if sighting.resting and epoch is not None:
                assert epoch >= attempt.epoch, (
                    f"I5: {sighting.client_order_id} rests while epoch {attempt.epoch} is armed"
                )


def named_account(**faults: int) -> Account:
    """An account whose two clusters know its name already, as after the first day."""
    account = Account(**faults)
    account.name(0)
    for _ in range(40):
        account.step(account.fences[0])
    account.venue.now_ms += SETTLE_MS
    account.side_runs = [0, 0]
    account.worlds[1].claim = replace(account.worlds[1].claim, identity=account.worlds[0].claim.identity)
    assert account.worlds[0].claim.identity is not None
    account.fences.clear()
    return account
