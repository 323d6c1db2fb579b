"""Which world a seed stands for, and how long a broken build has to be looked at."""

from __future__ import annotations

from tests.crash.memory_engine import OURS, Build
from tests.crash.world import Result, World

CRASHES_PER_WORLD = 40
FIRST_SEEDS = {"cursor-is-last-fill": 5}
"""Where a build was caught soonest; the search goes on from there."""
MOST_WORLDS = 60


def world_of(seed: int, build: Build = OURS) -> World:
    """One in four has two bots on two subaccounts of one account, one in four loses one journal in five."""
    bots = 2 if seed % 4 == 1 else 1
    return World(seed, CRASHES_PER_WORLD, build=build, bots=bots, delete_every=5 if seed % 4 == 2 else 0)


def catch(build: Build) -> Result:
    """What is found about a broken build, soon or after many worlds."""
    total = Result()
    first = FIRST_SEEDS.get(build.name, 0)
    for seed in range(first, first + MOST_WORLDS):
        total.add(World(seed, CRASHES_PER_WORLD, build=build).run())
        if total.findings:
            break
    return total
