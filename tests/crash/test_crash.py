"""The part of the crash test that fits CI; `python -m tests.crash` is the whole."""

import logging
import time

import pytest

from tests.crash.killing import Killed, kill_again_and_again
from tests.crash.mutations import MUTATIONS
from tests.crash.plan import bots_of, catch, world_of
from tests.crash.world import Result

MEMORY_S = 50
REGRESSIONS = (225,)
"""Seeds that failed once. 225: a transfer that the exchange's past did not know halted a bot for cash."""
KILLS_S = 80
"""Budgets, not limits: at least one world and one kill are done however slow the machine is."""


@pytest.fixture(autouse=True)
def quiet():
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


def say(capsys, **figures):
    with capsys.disabled():
        print("\n" + "\t".join(f"{name} {value}" for name, value in figures.items()))


@pytest.mark.timeout(300)
def test_crashes_in_memory(capsys):
    result, until_s, seed = Result(), time.monotonic() + MEMORY_S, 0
    while not result.findings and (seed < 3 or time.monotonic() < until_s):
        result.add(world_of(seed).run())
        seed += 1
    for failed_once in REGRESSIONS:
        result.add(world_of(failed_once).run())
    say(
        capsys, crashes=result.crashes, orders=result.orders, fills=result.fills, doubles=result.doubles, lost=result.lost,
        checks=result.checks, worst_recovery_virtual_ms=result.worst_recovery_ms, seeds=f"0-{seed - 1}",
    )  # fmt: skip
    assert result.findings == []
    assert result.orders > 50
    assert result.fills > 10
    assert len(result.where) > 20, "the crashes did not fall on different boundaries"


@pytest.mark.timeout(300)
def test_kills_of_the_process(tmp_path, capsys):
    result = Killed()
    for seed in (0, 1):
        until_s = time.monotonic() + KILLS_S / 2
        result.add(kill_again_and_again(tmp_path / str(seed), seed, 500, until_s=until_s, bots=bots_of(seed)))
    say(
        capsys, kills=result.kills, journals_deleted=result.deleted, orders=result.orders, fills=result.fills, doubles=result.doubles,
        lost=result.lost, worst_recovery_s=round(result.worst_recovery_s, 1),
    )  # fmt: skip
    assert result.findings == []
    assert result.kills >= 3, "one of a bot alone, and of a pair one each"


@pytest.mark.timeout(300)
@pytest.mark.parametrize("build", MUTATIONS, ids=lambda build: build.name)
def test_a_broken_build_is_caught(build, capsys):
    found = catch(build)
    say(capsys, build=build.name, caught_after_crashes=found.crashes, by=found.findings[:1])
    assert found.findings, f"{build.name} survived {found.crashes} crashes"
