"""The one-holder protocol as a small world: claims, operators, fences, rotations, engines and the venue's key list.

A state is one tuple of tuples; `successors` lists everything that may happen next. Each actor stops between any two of its
steps for as long as it likes, and a fence or a rotation may die there; the check of the claim and the call that it guards
are two steps. Time is left out: "wait D_rev after the listing" is "go on once every key that was deleted before that
listing is refused". Leases, the engine's own epoch check and its exit at 401 are left out on purpose: safety must not
lean on them.
"""

from __future__ import annotations

from typing import NamedTuple, TypeVar

FENCING, ACTIVE = "Fencing", "Active"


class Key(NamedTuple):
    """A key at the venue. Its name says all but `maker`: two rotations may give one name to two keys."""

    cluster: int
    epoch: int
    nonce: int
    generation: int
    maker: str


class Claim(NamedTuple):
    """The AccountClaim. `active` is the nonce whose Secret the bot mounts, -1 for none yet."""

    epoch: int = 0
    nonce: int = -1
    phase: str = "Idle"
    active: int = -1
    history: frozenset[int] = frozenset()


class Secret(NamedTuple):
    """An epoch Secret; `name` is (epoch, nonce), or (epoch, 0) under the mutation that forgets the nonce."""

    name: tuple[int, int]
    generation: int
    slots: tuple[Key, ...]


class Pod(NamedTuple):
    """An engine, alive until the end of the world: deleting its object is no proof of its death."""

    cluster: int
    epoch: int
    nonce: int
    secret: tuple[int, int]
    number: int
    seen: int
    slots: tuple[Key, ...]
    using: Key


class Cluster(NamedTuple):
    """What one cluster's etcd holds; `started` are the nonces whose pods it knows.

    `restored`: no pod is started before a new epoch is opened.
    """

    claim: Claim = Claim()
    secrets: frozenset[Secret] = frozenset()
    started: frozenset[int] = frozenset()
    saved: tuple[Claim, frozenset[Secret], frozenset[int]] | None = None
    restored: bool = False
    restores: int = 0


class Operator(NamedTuple):
    """One operator process: what it read, the attempt that it opened itself, the highest epoch reported to it."""

    cluster: int
    read: Claim | None = None
    attempt: int = -1
    reported: int = 0


class Fence(NamedTuple):
    """One attempt; its index is its nonce. `claim` is the claim as it read it when it began, `doomed` are Secrets to delete."""

    cluster: int
    epoch: int
    at: str = "begin"
    claim: Claim = Claim()
    todo: tuple[Key, ...] = ()
    doomed: frozenset[tuple[int, int]] = frozenset()
    awaited: frozenset[Key] = frozenset()
    key: Key | None = None
    highest: int = 0


class Rotation(NamedTuple):
    """One rotation Job; `slots` and `generation` are the epoch Secret as it last knew it."""

    at: str = "idle"
    cluster: int = 0
    epoch: int = 0
    nonce: int = -1
    secret: tuple[int, int] = (0, 0)
    generation: int = 0
    slots: tuple[Key, ...] = ()
    key: Key | None = None
    todo: tuple[Key, ...] = ()
    awaited: frozenset[Key] = frozenset()


class World(NamedTuple):
    """Everything. `fading` keys are deleted and may still be accepted; `sent` is the highest epoch of an order per cluster.

    `listed` keys exist; the venue's list shows them, but for those that are `hidden` from all but their makers yet, each for as
    long as it likes. (A list that goes on showing deleted keys only makes a fence stop, or delete once more; and one that hides a
    key from its maker, too, makes it stop.)
    """

    clusters: tuple[Cluster, ...]
    operators: tuple[Operator, ...]
    fences: tuple[Fence, ...] = ()
    rotations: tuple[Rotation, ...] = ()
    pods: tuple[Pod, ...] = ()
    listed: frozenset[Key] = frozenset()
    fading: frozenset[Key] = frozenset()
    hidden: frozenset[Key] = frozenset()
    sent: tuple[int, ...] = ()
    deaths: int = 0
    broken: str = ""


class Setting(NamedTuple):
    """How large the world may become, and what is wrong with it (`mutations`).

    `eager`: a takeover may be opened at any time, not only when nothing trades. `sequential`: not while a fence runs.
    `stale`: the venue's list shows a new key only later.
    """

    clusters: int = 1
    operators: int = 1
    attempts: int = 2
    rotations: int = 0
    deaths: int = 1
    restores: int = 0
    whole_etcd: bool = True
    eager: bool = True
    sequential: bool = False
    stale: bool = False
    mutations: frozenset[str] = frozenset()

    def start(self) -> World:
        """The empty world of this size."""
        return World(
            clusters=(Cluster(),) * self.clusters,
            operators=tuple(
                Operator(index % self.clusters) for index in range(max(self.operators, self.clusters))
            ),
            rotations=(Rotation(),) * self.rotations,
            sent=(0,) * self.clusters,
        )


Step = tuple[str, World]
Item = TypeVar("Item")


def put(items: tuple[Item, ...], index: int, item: Item) -> tuple[Item, ...]:
    """The tuple with one place replaced."""
    return (*items[:index], item, *items[index + 1 :])


def secret_of(cluster: Cluster, name: tuple[int, int]) -> Secret | None:
    """The Secret of this name, if it exists."""
    return next((secret for secret in cluster.secrets if secret.name == name), None)


def create_key(world: World, key: Key, *, stale: bool) -> World:
    """The venue makes a key: it is accepted at once, and shown at once or later."""
    hidden = world.hidden | {key} if stale else world.hidden
    return world._replace(listed=world.listed | {key}, hidden=hidden)


def shown(world: World, reader: str) -> frozenset[Key]:
    """What the venue's list of keys says to `reader`, who always sees what it made itself."""
    return frozenset(key for key in world.listed if key not in world.hidden or key.maker == reader)


def delete_key(world: World, key: Key) -> World:
    """The venue deletes a key: it is gone from the list at once, and refused some time later."""
    if key not in world.listed:
        return world
    return world._replace(
        listed=world.listed - {key}, fading=world.fading | {key}, hidden=world.hidden - {key}
    )
