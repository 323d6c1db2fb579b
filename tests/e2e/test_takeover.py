"""An engine that nobody can prove dead is replaced all the same, and the exchange never sees two of them.

CI plays the partition. `SOLOIST_ALL_TAKEOVERS=1` plays the others, too; `make chaos` plays all of them many times.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import AbstractContextManager, contextmanager

import pytest

from tests.chaos import disasters
from tests.e2e import takeovers
from tests.e2e.scene import Bot
from tests.support import eventually

NAMESPACE = "e2e-takeover"
READY_S = 180
TAKEN_OVER_S = 150
"""How long a takeover may take here, where other tests want the processor too; the promise is measured by `make chaos`."""

everything = pytest.mark.skipif(
    not os.environ.get("SOLOIST_ALL_TAKEOVERS"),
    reason="SOLOIST_ALL_TAKEOVERS=1 plays it; CI plays the partition",
)


@contextmanager
def partition(bot: Bot, node: str):
    with disasters.partitioned(bot.cluster, node):
        yield


@contextmanager
def force_delete(bot: Bot, node: str):
    """The pod is deleted by force while its process lives on a node that nobody hears."""
    with disasters.partitioned(bot.cluster, node):
        bot.kubectl("delete", "pod", bot.pod, "--force", "--grace-period=0", "--wait=false")
        yield


@contextmanager
def node_deleted(bot: Bot, node: str):
    """Somebody, or a cloud controller, deletes the Node object; the machine runs on."""
    try:
        with disasters.partitioned(bot.cluster, node):
            disasters.delete_node(bot.cluster, node)
            yield
    finally:  # whoever comes next finds a cluster of two nodes, also after a failure
        disasters.bring_back(bot.cluster, node)


Disaster = Callable[[Bot, str], AbstractContextManager[None]]


@pytest.mark.timeout(420)
@pytest.mark.parametrize(
    ("disaster", "causes", "zombie"),
    [
        pytest.param(partition, {"NodeSilent"}, True, id="partition"),
        pytest.param(force_delete, {"NodeSilent"}, True, id="force-delete", marks=everything),
        # The network plugin takes a deleted node's routes away, so its zombie lives and reaches nobody.
        pytest.param(node_deleted, {"NodeSilent", "NodeGone"}, False, id="node-deleted", marks=everything),
    ],
)
def test_an_engine_on_a_lost_node_is_replaced_on_another(
    bot: Bot, cluster, disaster: Disaster, causes: set[str], zombie: bool
) -> None:
    node = disasters.worker(cluster)
    bot.prepare("demo.yaml")
    takeovers.settle_on(bot, node, READY_S)
    old = takeovers.incumbent(bot)
    with disaster(bot, node):
        first = takeovers.wait_successor(bot, old, TAKEN_OVER_S)
        eventually(
            lambda: not zombie or takeovers.verdict(bot, old).zombie_requests_rejected > 0,
            60,
            "the old engine never tried again: this run shows nothing",
        )
        assert takeovers.node_of(bot) != node
        assert takeovers.pod_uid(bot) != old.pod_uid
    disasters.bring_back(cluster, node)
    bot.wait_ready(60)

    seen = takeovers.verdict(bot, old)
    print(f"{disaster.__name__}: {first['client_order_id']} {seen}")
    assert seen.is_safe(), seen
    assert bot.status()["epoch"] == old.epoch + 1, "one takeover, and none when the node comes back"
    last = takeovers.history(bot)[-1]
    assert (last["outcome"], last["epoch"]) == ("Active", old.epoch + 1)
    assert last["reason"] in causes
    # The old engine may still have written to its volume: the new one has another, and a person can look at the old.
    assert bot.status()["resolved"]["stateGeneration"] == "1"
    assert bot.exists("pvc", f"{bot.name}-state-0")


@everything
@pytest.mark.timeout(420)
def test_an_engine_that_hangs_on_a_live_node_trades_again(bot: Bot, cluster) -> None:
    """Liveness and watchdog restart it in place: nothing is taken over, and its journal is its own."""
    bot.prepare("demo.yaml")
    takeovers.settle_on(bot, disasters.worker(cluster), READY_S)
    old = takeovers.incumbent(bot)
    with disasters.frozen(cluster, f"{NAMESPACE}/{bot.pod}", "engine"):
        takeovers.wait_successor(bot, old, TAKEN_OVER_S)
    seen = takeovers.verdict(bot, old)
    print(f"hung: {seen}")
    assert seen.is_safe(), seen
    assert (bot.status()["epoch"], takeovers.pod_uid(bot)) == (old.epoch, old.pod_uid)
