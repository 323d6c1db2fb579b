"""What a fence does, one step at a time: P2 to P6 of the protocol, and the changes that must be noticed."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from tests.model.world import (
    FENCING,
    Cluster,
    Fence,
    Key,
    Secret,
    Setting,
    Step,
    World,
    create_key,
    delete_key,
    put,
    shown,
)

AT_REST = ("done", "failed", "dead")


class Takeovers:
    """The steps of every fence of a world."""

    def __init__(self, setting: Setting) -> None:
        self._broken = setting.mutations
        self._deaths = setting.deaths
        self._stale = setting.stale
        self._unchecked = ("check publish",) if "claim not read before publish" in setting.mutations else ()
        self._steps: dict[str, Callable[[World, int, Fence], World]] = {
            "begin": self._begin,
            "list": self._list,
            "check secrets": lambda world, n, fence: self._checked(world, n, fence, "delete secrets"),
            "delete secrets": self._delete_secrets,
            "check key": lambda world, n, fence: self._checked(world, n, fence, "delete key"),
            "delete key": self._delete_key,
            "list again": self._list_again,
            "wait before create": self._wait_before_create,
            "check create": lambda world, n, fence: self._checked(world, n, fence, "create"),
            "create": self._create,
            "check verify": lambda world, n, fence: self._checked(world, n, fence, "verify"),
            "verify": self._verify,
            "check zombie": lambda world, n, fence: self._checked(world, n, fence, "delete zombie"),
            "delete zombie": self._delete_zombie,
            "list orders": self._list_orders,
            "check publish": lambda world, n, fence: self._checked(world, n, fence, "publish"),
            "publish": self._publish,
            "discard": self._discard,
        }

    def steps(self, world: World) -> Iterator[Step]:
        """Whatever any fence may do next."""
        for number, fence in enumerate(world.fences):
            if fence.at in AT_REST:
                continue
            if fence.at == "wait for the list":
                if not fence.awaited & world.hidden:
                    yield (
                        f"fence {number} has waited for the list",
                        self._go(world, number, fence, "check verify", awaited=frozenset()),
                    )
            elif fence.at == "wait":
                if not fence.awaited & world.fading:
                    yield f"fence {number} has waited", self._go(world, number, fence, self._after_wait())
            else:
                yield f"fence {number}: {fence.at}", self._steps[fence.at](world, number, fence)
            if world.deaths < self._deaths:
                dead = self._go(world, number, fence, "dead", todo=(), awaited=frozenset())
                yield f"fence {number} dies", dead._replace(deaths=world.deaths + 1)

    # ------------------------------------------------------------------ order of the steps

    def _first(self) -> str:
        return "check create" if "sweep last" in self._broken else "list"

    def _after_sweep(self) -> str:
        if "sweep last" in self._broken:
            return "done"
        return "wait before create" if "wait before create" in self._broken else self._before_create()

    def _before_create(self) -> str:
        return "check verify" if "check before create" in self._broken else "check create"

    def _after_create(self) -> str:
        if "check before create" in self._broken:
            return "wait"
        return (
            "wait for the list"
            if self._stale and "no wait for the list" not in self._broken
            else "check verify"
        )

    def _after_verify(self) -> str:
        if "check before create" in self._broken:
            return "check create"
        return "check publish" if "publish before wait" in self._broken else "wait"

    def _after_wait(self) -> str:
        return "check create" if "wait before create" in self._broken else "list orders"

    def _after_publish(self) -> str:
        return "list" if "sweep last" in self._broken else "done"

    # ------------------------------------------------------------------ the steps

    def _go(self, world: World, number: int, fence: Fence, at: str, **changes: object) -> World:
        changed = fence._replace(at=at, **changes)  # type: ignore[arg-type]
        if at in AT_REST:
            changed = Fence(fence.cluster, fence.epoch, at, highest=changed.highest)
        return world._replace(fences=put(world.fences, number, changed))

    def _fail(self, world: World, number: int, fence: Fence, highest: int = 0) -> World:
        """Give up; an own key is deleted first, which is always allowed."""
        at = "discard" if fence.key is not None else "failed"
        return self._go(
            world, number, fence, at, todo=(), awaited=frozenset(), highest=max(highest, fence.highest)
        )

    def _begin(self, world: World, number: int, fence: Fence) -> World:
        read = fence._replace(claim=world.clusters[fence.cluster].claim)
        return self._checked(world, number, read, self._first())

    def _checked(self, world: World, number: int, fence: Fence, at: str) -> World:
        """Read the claim again before a destructive call."""
        claim = world.clusters[fence.cluster].claim
        if (claim.epoch, claim.nonce, claim.phase) == (
            fence.epoch,
            number,
            FENCING,
        ) or fence.at in self._unchecked:
            return self._go(world, number, fence, at)
        return self._fail(world, number, fence)

    def _known(self, number: int, fence: Fence) -> frozenset[int]:
        return fence.claim.history | {number}

    def _list(self, world: World, number: int, fence: Fence) -> World:
        """P2: judge the whole listing before anything is deleted; orphans of epochs that never armed go first."""
        known = self._known(number, fence)
        listing = shown(world, f"fence {number}")
        ours = sorted(key for key in listing if key.cluster == fence.cluster)
        orphans = tuple(
            key
            for key in ours
            if key.epoch < fence.epoch and key.nonce in known and key.nonce != fence.claim.active
        )
        rest = [key for key in ours if key not in orphans]
        highest = max([world.sent[fence.cluster], *(key.epoch for key in rest)])
        foreign = any(key.cluster != fence.cluster for key in listing)
        stranger = any(key.nonce not in known for key in rest)
        if highest >= fence.epoch and "epoch is claim plus one" not in self._broken:
            return self._fail(world, number, fence, highest)
        if stranger and "sweep of unknown nonces" not in self._broken:
            return self._fail(world, number, fence)
        if foreign and "no sole-key check" not in self._broken:
            # The orphans go all the same: two dead fences in two clusters would else block each other for ever.
            return (
                self._doom(world, number, fence, "check key", orphans)
                if orphans
                else self._fail(world, number, fence)
            )
        cluster = world.clusters[fence.cluster]
        doomed = frozenset(
            secret.name for secret in cluster.secrets if secret.slots[0].nonce == fence.claim.active
        )
        return self._doom(world, number, fence._replace(doomed=doomed), "check secrets", (*orphans, *rest))

    def _delete_secrets(self, world: World, number: int, fence: Fence) -> World:
        cluster = world.clusters[fence.cluster]
        doomed = {self.secret_name(key.epoch, key.nonce) for key in fence.todo} | fence.doomed
        kept = frozenset(secret for secret in cluster.secrets if secret.name not in doomed)
        world = world._replace(clusters=put(world.clusters, fence.cluster, cluster._replace(secrets=kept)))
        at = "check key" if fence.todo else "list again"
        return self._go(world, number, fence, at, doomed=frozenset())

    def _delete_key(self, world: World, number: int, fence: Fence) -> World:
        key, *todo = fence.todo
        world = delete_key(world, key)
        return self._go(world, number, fence, "check key" if todo else "list again", todo=tuple(todo))

    def _doom(self, world: World, number: int, fence: Fence, at: str, todo: tuple[Key, ...]) -> World:
        """Go on to delete `todo`. I7: nobody's keys but those that this claim is known to have made."""
        known = self._known(number, fence)
        strangers = [key for key in todo if key.cluster != fence.cluster or key.nonce not in known]
        if strangers:
            world = world._replace(
                broken=f"I7: fence {number} is about to delete {strangers[0]}, which its claim never made"
            )
        return self._go(world, number, fence, at, todo=todo)

    def _list_again(self, world: World, number: int, fence: Fence) -> World:
        known = self._known(number, fence)
        own = fence.key
        listing = shown(world, f"fence {number}")
        left = tuple(sorted(key for key in listing if key.cluster == fence.cluster and key != own))
        if any(key.cluster != fence.cluster for key in listing) and "no sole-key check" not in self._broken:
            return self._fail(world, number, fence)
        if not left:
            return self._go(world, number, fence, self._after_sweep(), awaited=world.fading)
        if max(key.epoch for key in left) >= fence.epoch:
            return self._fail(world, number, fence, max(key.epoch for key in left))
        if any(key.nonce not in known for key in left) and "sweep of unknown nonces" not in self._broken:
            return self._fail(world, number, fence)
        return self._doom(world, number, fence, "check key", left)

    def _wait_before_create(self, world: World, number: int, fence: Fence) -> World:
        return self._go(world, number, fence, "wait")

    def _create(self, world: World, number: int, fence: Fence) -> World:
        key = Key(fence.cluster, fence.epoch, number, 1, f"fence {number}")
        world = create_key(world, key, stale=self._stale)
        # "Wait for the list" is: whatever was made before this moment is shown.
        return self._go(world, number, fence, self._after_create(), key=key, awaited=world.hidden)

    def _verify(self, world: World, number: int, fence: Fence) -> World:
        """P4: mine is the only threatening key of a listing that was made while it existed."""
        known = self._known(number, fence)
        listing = shown(world, f"fence {number}")
        others = sorted(key for key in listing if key != fence.key)
        zombies = tuple(
            key
            for key in others
            if key.cluster == fence.cluster and key.epoch < fence.epoch and key.nonce in known
        )
        if zombies and "sweep last" not in self._broken:
            return self._doom(world, number, fence, "check zombie", zombies)
        threats = [key for key in others if key not in zombies]
        if "no sole-key check" in self._broken:
            threats = []
        if fence.key is not None and fence.key not in listing:
            return self._fail(world, number, fence)
        if threats:
            highest = max((key.epoch for key in threats if key.cluster == fence.cluster), default=0)
            return self._fail(world, number, fence, highest)
        awaited = frozenset() if "no wait" in self._broken else world.fading
        at = "check publish" if "wait before create" in self._broken else self._after_verify()
        return self._go(world, number, fence, at, awaited=awaited)

    def _delete_zombie(self, world: World, number: int, fence: Fence) -> World:
        key, *todo = fence.todo
        world = delete_key(world, key)
        return self._go(world, number, fence, "check zombie" if todo else "check verify", todo=tuple(todo))

    def _list_orders(self, world: World, number: int, fence: Fence) -> World:
        """P5: an order above our epoch may have been accepted since the sweep looked, after a restored backup."""
        highest = world.sent[fence.cluster]
        unjudged = {"orders judged only by the sweep", "epoch is claim plus one"}
        if highest >= fence.epoch and not unjudged & self._broken:
            return self._fail(world, number, fence, highest)
        return self._go(world, number, fence, "check publish")

    def _publish(self, world: World, number: int, fence: Fence) -> World:
        """P6: the name must never have existed."""
        assert fence.key is not None
        cluster: Cluster = world.clusters[fence.cluster]
        name = self.secret_name(fence.epoch, number)
        if any(secret.name == name for secret in cluster.secrets):
            return self._fail(world, number, fence)
        secrets = cluster.secrets | {Secret(name, 1, (fence.key,))}
        world = world._replace(clusters=put(world.clusters, fence.cluster, cluster._replace(secrets=secrets)))
        return self._go(world, number, fence, self._after_publish(), awaited=frozenset())

    def _discard(self, world: World, number: int, fence: Fence) -> World:
        assert fence.key is not None
        return self._go(delete_key(world, fence.key), number, fence, "failed")

    def secret_name(self, epoch: int, nonce: int) -> tuple[int, int]:
        """Name of an epoch's Secret: the nonce keeps it from ever coming back."""
        return (epoch, 0) if "secret named by epoch only" in self._broken else (epoch, nonce)
