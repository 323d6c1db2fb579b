"""Breadth-first through every state of a setting; stops at the first broken invariant and says how it came to it."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from tests.model.operators import Cast
from tests.model.rotations import Rotations
from tests.model.takeovers import Takeovers
from tests.model.world import ACTIVE, Setting, World

MORE = 3


@dataclass(frozen=True)
class Found:
    """What a search said. `violation` is empty when nothing is broken; `complete` when there was nothing left to look at."""

    states: int
    complete: bool
    violation: str = ""
    trace: tuple[str, ...] = field(default=(), repr=False)


def explore(setting: Setting, *, limit: int = 2_000_000, live: bool = False) -> Found:
    """Look at every state reachable in a setting, at most `limit`.

    `live`: wherever nothing can happen any more, a few more attempts without a death must make a bot trade.
    """
    takeovers = Takeovers(setting)
    cast, rotations = Cast(setting, takeovers), Rotations(setting, takeovers)
    start = setting.start()
    came_from: dict[World, tuple[World, str] | None] = {start: None}
    queue = deque([start])
    while queue:
        world = queue.popleft()
        violation = broken(world)
        nexts = [*cast.steps(world), *takeovers.steps(world), *rotations.steps(world)]
        if live and not nexts and not violation and not recovers(setting, world):
            violation = f"liveness: {MORE} more attempts do not make a bot trade"
        if violation:
            return Found(len(came_from), complete=False, violation=violation, trace=_trace(came_from, world))
        for step, following in nexts:
            if following not in came_from:
                came_from[following] = (world, step)
                queue.append(following)
        if len(came_from) > limit:
            return Found(len(came_from), complete=False)
    return Found(len(came_from), complete=True)


def broken(world: World) -> str:
    """The invariant that a state breaks, "" when it keeps them all."""
    if world.broken:
        return world.broken
    accepted = world.listed | world.fading
    holders = [pod for pod in world.pods if not accepted.isdisjoint(pod.slots)]
    if len(holders) > 1:
        return f"two holders: {holders[0].number} and {holders[1].number}"
    for pod in holders:
        if pod.epoch < world.sent[pod.cluster]:
            return f"I1: epoch {pod.epoch} can trade after epoch {world.sent[pod.cluster]} did"
    published = {
        (index, secret.name)
        for index, cluster in enumerate(world.clusters)
        for secret in cluster.secrets
        if not accepted.isdisjoint(secret.slots)
    }
    if len(published) > 1:
        return f"I2: two published epochs have an accepted key: {sorted(published)}"
    for index, cluster in enumerate(world.clusters):
        claim = cluster.claim
        if claim.phase != ACTIVE or cluster.restored or cluster.restores:
            continue
        for pod in world.pods:
            if (pod.cluster, pod.nonce) == (index, claim.active) and pod.using not in world.listed:
                return f"I6: the key that engine {pod.number} uses was deleted while its epoch is the claim's"
    return ""


def recovers(setting: Setting, world: World) -> bool:
    """Whether a bot trades, or would after a few more attempts in which nobody dies."""
    if any(trades(world, index) for index in range(len(world.clusters))):
        return True
    calm = setting._replace(
        attempts=len(world.fences) + MORE, deaths=world.deaths, restores=0, eager=False, rotations=0
    )
    takeovers = Takeovers(calm)
    cast = Cast(calm, takeovers)
    seen, stack = {world}, [world]
    while stack:
        world = stack.pop()
        if any(trades(world, index) for index in range(len(world.clusters))):
            return True
        for _, following in (*cast.steps(world), *takeovers.steps(world)):
            if following not in seen:
                seen.add(following)
                stack.append(following)
    return False


def trades(world: World, index: int) -> bool:
    """Whether a cluster's claim is Active and its engine has a key that the venue lists."""
    claim = world.clusters[index].claim
    return claim.phase == ACTIVE and any(
        (pod.cluster, pod.nonce) == (index, claim.active) and pod.using in world.listed for pod in world.pods
    )


def _trace(came_from: dict[World, tuple[World, str] | None], world: World) -> tuple[str, ...]:
    steps: list[str] = []
    before = came_from[world]
    while before is not None:
        steps.append(before[1])
        before = came_from[before[0]]
    return tuple(reversed(steps))
