"""Two TradingBots, one account, two operators at once: exactly one of them ever holds it, and the other says who does.

The real loop, decisions and writer against an API server in memory, interleaved at every request, a thousand seeds.
"""

from __future__ import annotations

import asyncio
import itertools
from typing import Any

import pytest
from soloist_operator import kinds
from soloist_operator.heartbeat import Heartbeats
from soloist_operator.loop import Loop, RunFailedError
from soloist_operator.metrics import Metrics
from soloist_operator.queue import Key

from tests.unit.soloist_operator.memory_cluster import MemoryCluster, obliging_fence
from tests.unit.soloist_operator.operator_scene import MANAGED, SETTINGS, live

SEEDS, GROUPS = 1000, 40
TWO_OPERATORS = 20
RUNS = 40
KEYS = (Key("bots", "demo"), Key("bots", "rival"))


def marker(job: dict[str, Any]) -> str:
    """Whatever Secret the bot names, it is one account: the venue says so."""
    del job
    return "marker:m-1"


async def race(cluster: MemoryCluster, subaccounts: tuple[int, int] = (0, 0), *, operators: int = 1) -> None:
    """Every operator works on both bots, each bot at the same time, until neither has anything left to do."""
    for key, secret, subaccount in zip(KEYS, ("management", "alias"), subaccounts, strict=True):
        account = {**MANAGED, "managementKeySecretRef": {"name": secret}, "subaccount": subaccount}
        metadata = {"name": key.name, "namespace": key.namespace}
        cluster.put(kinds.TRADING_BOT, {"metadata": metadata, "spec": live(account=account)})
    ticks = itertools.count()
    loops = [
        Loop(cluster, SETTINGS, Heartbeats(), Metrics(), clock=lambda: float(next(ticks)))  # type: ignore[arg-type]
        for _ in range(operators)
    ]
    await asyncio.gather(*(_work(loop, key, cluster) for loop in loops for key in KEYS))


async def _work(loop: Loop, key: Key, cluster: MemoryCluster) -> None:
    for _ in range(RUNS):
        try:
            await loop.run(key)
        except RunFailedError:
            continue
        if reason(cluster, key, "AccountClaimed") == "AccountConflict" or armed(cluster, key):
            return


def reason(cluster: MemoryCluster, key: Key, kind: str) -> str:
    body = cluster.objects[(kinds.TRADING_BOT.plural, key.namespace, key.name)]
    conditions = body.get("status", {}).get("conditions", [])
    return next((str(c["reason"]) for c in conditions if c["type"] == kind), "")


def message(cluster: MemoryCluster, key: Key) -> str:
    body = cluster.objects[(kinds.TRADING_BOT.plural, key.namespace, key.name)]
    return next(str(c["message"]) for c in body["status"]["conditions"] if c["type"] == "AccountClaimed")


def armed(cluster: MemoryCluster, key: Key) -> bool:
    """Whether a StatefulSet of this bot mounts an epoch key."""
    return (kinds.STATEFUL_SET.plural, key.namespace, key.name) in cluster.objects


def holders(cluster: MemoryCluster) -> list[str]:
    """Whoever was Active in the claim, ever."""
    return sorted(
        {
            claim["spec"]["holder"]["name"]
            for claim in cluster.claims_seen
            if claim["status"]["phase"] == "Active"
        }
    )


@pytest.mark.parametrize("group", range(GROUPS))
def test_two_bots_of_one_account_have_one_holder(group: int) -> None:
    for seed in range(group, SEEDS, GROUPS):
        cluster = MemoryCluster(seed, obliging_fence(marker))
        asyncio.run(race(cluster))
        assert len(cluster.of(kinds.ACCOUNT_CLAIM)) == 1, seed
        assert len(holders(cluster)) == 1, (seed, holders(cluster))
        (holder,) = holders(cluster)
        winner, loser = sorted(KEYS, key=lambda key: key.name != holder)
        assert armed(cluster, winner), seed
        assert not armed(cluster, loser), (seed, "an engine beside the holder's")
        assert reason(cluster, loser, "AccountClaimed") == "AccountConflict", seed
        assert f"bots/{holder}" in message(cluster, loser), seed
        epochs = [claim["status"]["epoch"] for claim in cluster.claims_seen]
        assert epochs == sorted(epochs), (seed, "an epoch went down")


def test_two_operators_at_once_arm_one_of_them() -> None:
    """An upgrade, or a partition, leaves two operators: each believes only its own attempts, and one bot holds the account."""
    for seed in range(TWO_OPERATORS):
        cluster = MemoryCluster(seed, obliging_fence(marker))
        asyncio.run(race(cluster, operators=2))
        assert len(holders(cluster)) <= 1, (seed, holders(cluster))
        assert sum(armed(cluster, key) for key in KEYS) <= 1, seed
        active = [c["status"]["epoch"] for c in cluster.claims_seen if c["status"]["phase"] == "Active"]
        assert active == sorted(active), (seed, "an older epoch became Active again")


def test_two_subaccounts_are_two_accounts() -> None:
    for seed in range(20):
        cluster = MemoryCluster(seed, obliging_fence(marker))
        asyncio.run(race(cluster, (0, 1)))
        assert holders(cluster) == ["demo", "rival"], seed
        assert all(armed(cluster, key) for key in KEYS), seed


def test_without_compare_and_swap_two_engines_would_be_armed() -> None:
    """The test can fail: with claims written blindly, some interleaving arms both."""
    for seed in range(SEEDS):
        cluster = MemoryCluster(seed, obliging_fence(marker), swaps_blindly=True)
        asyncio.run(race(cluster))
        if all(armed(cluster, key) for key in KEYS):
            return
    pytest.fail("a claim that is written blindly had one holder in every interleaving")
