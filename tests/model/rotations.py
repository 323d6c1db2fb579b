"""What a rotation Job does, one step at a time, and the changes that must be noticed."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from tests.model.takeovers import Takeovers
from tests.model.world import (
    ACTIVE,
    Key,
    Pod,
    Rotation,
    Secret,
    Setting,
    Step,
    World,
    create_key,
    delete_key,
    put,
    secret_of,
    shown,
)

AT_REST = ("done", "failed", "dead")
CHECKS = {
    "check bump": "bump",
    "check leftover": "delete leftover",
    "check create": "create",
    "check list": "list slots",
    "check drop old": "drop old",
    "check delete old": "delete old",
    "check withdraw": "withdraw",
    "check delete new": "delete new",
}


class Rotations:
    """The steps of every rotation of a world. All of them are of cluster 0."""

    def __init__(self, setting: Setting, takeovers: Takeovers) -> None:
        self._broken = setting.mutations
        self._deaths = setting.deaths
        self._stale = setting.stale
        self._takeovers = takeovers
        self._steps: dict[str, Callable[[World, int, Rotation], World]] = {
            "list": self._list,
            "bump": self._bump,
            "delete leftover": self._delete_leftover,
            "create": self._create,
            "list slots": self._list_slots,
            "patch in": self._patch_in,
            "drop old": self._drop_old,
            "delete old": self._delete_old,
            "withdraw": self._withdraw,
            "delete new": self._delete_new,
            "discard": self._discard,
        }

    def steps(self, world: World) -> Iterator[Step]:
        """Whatever any rotation may do next."""
        for number, rotation in enumerate(world.rotations):
            if rotation.at in AT_REST:
                continue
            if rotation.at == "idle":
                yield from self._begin(world, number)
                continue
            if rotation.at == "wait for the list":
                if not rotation.awaited & world.hidden:
                    waited = self._go(world, number, rotation, "check list", awaited=frozenset())
                    yield f"rotation {number} has waited for the list", waited
            elif rotation.at in CHECKS:
                yield f"rotation {number}: {rotation.at}", self._check(world, number, rotation)
            elif rotation.at.startswith("confirm"):
                yield from self._confirm(world, number, rotation)
            else:
                yield f"rotation {number}: {rotation.at}", self._steps[rotation.at](world, number, rotation)
            if world.deaths < self._deaths:
                dead = self._go(world, number, rotation, "dead")
                yield f"rotation {number} dies", dead._replace(deaths=world.deaths + 1)

    def _go(self, world: World, number: int, rotation: Rotation, at: str, **changes: object) -> World:
        changed = rotation._replace(at=at, **changes)  # type: ignore[arg-type]
        if at in AT_REST:
            changed = Rotation(at=at)
        return world._replace(rotations=put(world.rotations, number, changed))

    def _begin(self, world: World, number: int) -> Iterator[Step]:
        claim = world.clusters[0].claim
        if claim.phase != ACTIVE:
            return
        secret = secret_of(world.clusters[0], self._takeovers.secret_name(claim.epoch, claim.active))
        if secret is None or not any(pod.nonce == claim.active for pod in world.pods):
            return
        begun = Rotation("list", 0, claim.epoch, claim.active, secret.name, secret.generation, secret.slots)
        yield f"rotation {number} begins", world._replace(rotations=put(world.rotations, number, begun))

    def _check(self, world: World, number: int, rotation: Rotation) -> World:
        claim = world.clusters[0].claim
        if (claim.epoch, claim.nonce, claim.phase) == (rotation.epoch, rotation.nonce, ACTIVE):
            return self._go(world, number, rotation, CHECKS[rotation.at])
        unpublished = rotation.key is not None and rotation.key not in rotation.slots
        return self._go(world, number, rotation, "discard" if unpublished else "failed")

    # ------------------------------------------------------------------ the engine's word

    def _engine(self, world: World, rotation: Rotation) -> Pod | None:
        """The admitted engine: the only one whose Lease counts."""
        claim = world.clusters[0].claim
        if claim.nonce != rotation.nonce or claim.phase != ACTIVE:
            return None
        return next((pod for pod in world.pods if (pod.cluster, pod.nonce) == (0, rotation.nonce)), None)

    def _confirm(self, world: World, number: int, rotation: Rotation) -> Iterator[Step]:
        """A renewal after the change names the key; or the deadline passes, at any time."""
        pod = self._engine(world, rotation)
        old, new = rotation.slots[0], rotation.slots[-1]
        wanted, then, otherwise = {
            "confirm slots": (set(rotation.slots), "check leftover", "failed"),
            "confirm new": ({new}, "check drop old", "check withdraw"),
            "confirm drop": ({new}, "check delete old", "failed"),
            "confirm old": ({old}, "check delete new", "failed"),
        }[rotation.at]
        if pod is not None and pod.seen >= rotation.generation and pod.using in wanted:
            yield f"rotation {number}: the engine confirms", self._go(world, number, rotation, then)
        yield f"rotation {number}: {rotation.at} times out", self._go(world, number, rotation, otherwise)

    # ------------------------------------------------------------------ the steps

    def _list(self, world: World, number: int, rotation: Rotation) -> World:
        leftovers = self._leftovers(world, number, rotation, rotation.slots)
        if leftovers is None:
            return self._go(world, number, rotation, "failed")
        if leftovers and "leftovers deleted at once" in self._broken:
            return self._go(world, number, rotation, "check leftover", todo=leftovers)
        if leftovers:
            return self._go(world, number, rotation, "check bump", todo=leftovers)
        return self._go(world, number, rotation, self._next(rotation))

    def _next(self, rotation: Rotation) -> str:
        return "confirm new" if len(rotation.slots) > 1 else "check create"

    def _leftovers(
        self, world: World, number: int, rotation: Rotation, expected: tuple[Key, ...]
    ) -> tuple[Key, ...] | None:
        """Keys of this epoch that are in no slot; None when a slot's key is missing or anybody else could trade."""
        listing = shown(world, f"rotation {number}")
        if not set(expected) <= listing and "rotation of a swept epoch" not in self._broken:
            return None
        mine = {
            key
            for key in listing
            if (key.cluster, key.epoch, key.nonce) == (0, rotation.epoch, rotation.nonce)
        }
        if listing - mine - set(expected) and "rotation of a swept epoch" not in self._broken:
            return None
        return tuple(sorted(mine - set(expected)))

    def _patched(
        self, world: World, rotation: Rotation, slots: tuple[Key, ...]
    ) -> tuple[World, Rotation] | None:
        """A JSON patch that tests the generation; None when it does not fit any more."""
        cluster = world.clusters[0]
        secret = secret_of(cluster, rotation.secret)
        if secret is None or secret.generation != rotation.generation:
            return None
        changed = Secret(secret.name, secret.generation + 1, slots)
        secrets = cluster.secrets - {secret} | {changed}
        world = world._replace(clusters=put(world.clusters, 0, cluster._replace(secrets=secrets)))
        return world, rotation._replace(slots=slots, generation=changed.generation)

    def _bump(self, world: World, number: int, rotation: Rotation) -> World:
        done = self._patched(world, rotation, rotation.slots)
        if done is None:
            return self._go(world, number, rotation, "failed")
        return self._go(done[0], number, done[1], "confirm slots")

    def _delete_leftover(self, world: World, number: int, rotation: Rotation) -> World:
        key, *todo = rotation.todo
        at = "check leftover" if todo else self._next(rotation)
        return self._go(delete_key(world, key), number, rotation, at, todo=tuple(todo))

    def _create(self, world: World, number: int, rotation: Rotation) -> World:
        generation = rotation.generation + 1
        key = Key(0, rotation.epoch, rotation.nonce, generation, f"rotation {number}")
        at = "wait for the list" if self._stale else "check list"
        if "rotation check before create" in self._broken:
            at = "patch in"
        world = create_key(world, key, stale=self._stale)
        return self._go(world, number, rotation, at, key=key, awaited=world.hidden)

    def _list_slots(self, world: World, number: int, rotation: Rotation) -> World:
        """Exactly the slots' keys and mine."""
        assert rotation.key is not None
        found = self._leftovers(world, number, rotation, (*rotation.slots, rotation.key))
        return self._go(world, number, rotation, "discard" if found is None or found else "patch in")

    def _patch_in(self, world: World, number: int, rotation: Rotation) -> World:
        assert rotation.key is not None
        done = self._patched(world, rotation, (*rotation.slots, rotation.key))
        if done is None:
            return self._go(world, number, rotation, "discard")
        return self._go(done[0], number, done[1], "confirm new")

    def _drop_old(self, world: World, number: int, rotation: Rotation) -> World:
        old, new = rotation.slots
        done = self._patched(world, rotation, (new,))
        if done is None:
            return self._go(world, number, rotation, "failed")
        return self._go(done[0], number, done[1], "confirm drop", key=old)

    def _delete_old(self, world: World, number: int, rotation: Rotation) -> World:
        assert rotation.key is not None
        return self._go(delete_key(world, rotation.key), number, rotation, "done")

    def _withdraw(self, world: World, number: int, rotation: Rotation) -> World:
        old, new = rotation.slots
        done = self._patched(world, rotation, (old,))
        if done is None:
            return self._go(world, number, rotation, "failed")
        at = "check delete new" if "withdrawn key deleted at once" in self._broken else "confirm old"
        return self._go(done[0], number, done[1], at, key=new)

    def _delete_new(self, world: World, number: int, rotation: Rotation) -> World:
        assert rotation.key is not None
        return self._go(delete_key(world, rotation.key), number, rotation, "failed")

    def _discard(self, world: World, number: int, rotation: Rotation) -> World:
        assert rotation.key is not None
        return self._go(delete_key(world, rotation.key), number, rotation, "failed")
