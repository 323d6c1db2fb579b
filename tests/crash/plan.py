"""Which world a seed stands for, and how long a broken build has to be looked at."""

from __future__ import annotations

from tests.crash.memory_engine import OURS, Build
from tests.crash.world import Result, World

CRASHES_PER_WORLD = 40
FIRST_SEEDS = {"labels-instead-of-facts": 6, "cursor-is-last-fill": 5}
"""Where a build was caught soonest; the search goes on from there."""
MOST_WORLDS = 60


def bots_of(seed: int) -> int:
    """One in four worlds has two bots, on two subaccounts of one account."""
    return 2 if seed % 4 == 1 else 1


def world_of(seed: int, build: Build = OURS) -> World:
    """One in four loses one journal in five."""
    delete_every = 5 if seed % 4 == 2 else 0
    return World(seed, CRASHES_PER_WORLD, build=build, bots=bots_of(seed), delete_every=delete_every)


def catch(build: Build) -> Result:
    """What is found about a broken build, soon or after many worlds.

    Nothing counts where the same world finds something about the whole build, too: then the test is broken, not the build.
    """
    total = Result()
    first = FIRST_SEEDS.get(build.name, 0)
    for seed in range(first, first + MOST_WORLDS):
        total.add(World(seed, CRASHES_PER_WORLD, build=build).run())
        if total.findings:
            whole = World(seed, CRASHES_PER_WORLD).run()
            assert not whole.findings, f"without the mutation as well: {whole.findings}"
            break
    return total
