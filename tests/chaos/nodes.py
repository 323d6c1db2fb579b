"""Scenarios of nodes and pods: partitions, force deletion, lost Node objects, taints, a drain, no API server."""

from __future__ import annotations

import time

from tests.chaos import disasters, takeovers
from tests.chaos.catalogue import LOST_NODE_MS, scenario
from tests.chaos.stage import Stage
from tests.e2e.scene import now_ms
from tests.support import eventually

OUTAGE_S = 120
DELETED_S = 120
FLOCK = 4


@scenario("4", "node cut off from the API server alone", runs=10, zombie=True, recovery_limit_ms=LOST_NODE_MS)
def cut_off_from_the_api(stage: Stage) -> None:
    node = stage.node
    stage.begin()
    with disasters.partitioned(stage.cluster, node):
        stage.trades_again()
        stage.zombie_was_refused()
    disasters.bring_back(stage.cluster, node)
    stage.whole_again()
    stage.taken_over("NodeSilent")


@scenario(
    "6", "pod force-deleted while its process lives", runs=10, zombie=True, recovery_limit_ms=LOST_NODE_MS
)
def force_deleted(stage: Stage) -> None:
    node = stage.node
    with disasters.partitioned(stage.cluster, node):
        stage.begin()
        stage.bot.kubectl("delete", "pod", stage.bot.pod, "--force", "--grace-period=0", "--wait=false")
        stage.trades_again()
        stage.zombie_was_refused()
    disasters.bring_back(stage.cluster, node)
    stage.whole_again()
    stage.taken_over("NodeSilent")


@scenario("6b", "pod force-deleted on a healthy node")
def force_deleted_on_a_healthy_node(stage: Stage) -> None:
    stage.begin()
    stage.bot.kubectl("delete", "pod", stage.bot.pod, "--force", "--grace-period=0", "--wait=false")
    stage.trades_again()
    stage.whole_again()
    assert stage.old is not None
    assert takeovers.pod_uid(stage.bot) != stage.old.pod_uid


@scenario(
    "7", "Node object deleted while its processes live", runs=10, zombie=True, recovery_limit_ms=LOST_NODE_MS
)
def node_object_deleted(stage: Stage) -> None:
    node = stage.node
    with disasters.partitioned(stage.cluster, node):
        stage.begin()
        disasters.delete_node(stage.cluster, node)
        stage.trades_again()
        stage.zombie_was_refused()
    disasters.bring_back(stage.cluster, node)
    stage.whole_again()
    stage.taken_over("NodeSilent", "NodeGone")


@scenario("7b", "node's machine stops (container paused) and wakes up", recovery_limit_ms=LOST_NODE_MS)
def machine_paused(stage: Stage) -> None:
    node = stage.node
    stage.begin()
    stage.cluster.docker.run("pause", node)
    try:
        stage.trades_again()
    finally:
        stage.cluster.docker.run("unpause", node)
    # Its kubelet wakes with the engine and ends it, mostly before it has tried anything; row 2b keeps the kubelet asleep.
    disasters.bring_back(stage.cluster, node)
    stage.whole_again()
    stage.taken_over("NodeSilent")


@scenario("23", "a refused edit, then the node is cut off", zombie=True, recovery_limit_ms=LOST_NODE_MS)
def refused_edit_then_cut_off(stage: Stage) -> None:
    node = stage.node
    stage.bot.manifest["spec"]["strategy"]["name"] = "no-such-strategy"
    stage.bot.apply()
    eventually(lambda: not stage.bot.is_ready(), 60, stage.bot.story)
    stage.begin()
    with disasters.partitioned(stage.cluster, node):
        stage.trades_again()
        stage.zombie_was_refused()
    disasters.bring_back(stage.cluster, node)
    stage.taken_over("NodeSilent")
    assert not stage.bot.is_ready(), "the refusal is still to be seen"


@scenario("24", "bot deleted while its node is cut off", zombie=True, keys_left=0)
def deleted_while_cut_off(stage: Stage) -> None:
    node = stage.node
    with disasters.partitioned(stage.cluster, node):
        stage.begin()
        stage.bot.delete(DELETED_S)
        gone_ms = now_ms()
        stage.zombie_was_refused()
        assert not stage.bot.accepted(gone_ms), "orders were accepted after the bot was gone"
        assert not stage.oracle.live_orders(stage.account), "orders rest after the bot is gone"
    disasters.bring_back(stage.cluster, node)


@scenario("8", "out-of-service taint on a live node", recovery_limit_ms=LOST_NODE_MS)
def tainted_while_alive(stage: Stage) -> None:
    node = stage.node
    stage.begin()
    with disasters.out_of_service(stage.cluster, node):
        stage.trades_again()
    stage.whole_again()
    stage.taken_over("NodeOutOfService")


@scenario("15", "node drained: the bot moves, the drain completes")
def drained(stage: Stage) -> None:
    node = stage.node
    stage.begin()
    try:
        stage.cluster.kubectl(
            "drain", node, "--ignore-daemonsets", "--delete-emptydir-data", "--timeout=180s",
            "--pod-selector", f"soloist.trade/bot={stage.bot.name}",
        )  # fmt: skip
        stage.trades_again()
        assert stage.node != node
    finally:
        stage.cluster.kubectl("uncordon", node)
    stage.whole_again()


@scenario("22", "no API server for two minutes, five bots")
def no_api_server(stage: Stage) -> None:
    flock = [stage.second_bot(f"flock-{number}") for number in range(FLOCK)]
    for bot in flock:
        bot.prepare("demo.yaml")
        bot.apply()
    for bot in flock:
        bot.wait_ready(240)
    epochs = {bot.name: bot.status()["epoch"] for bot in (stage.bot, *flock)}
    stage.begin()
    with disasters.api_server_stopped(stage.cluster):
        time.sleep(OUTAGE_S)  # the outage itself
    for bot in (stage.bot, *flock):
        bot.wait_ready(240)
    assert {bot.name: bot.status()["epoch"] for bot in (stage.bot, *flock)} == epochs, "a takeover storm"
    over_ms = stage.fault_ms + OUTAGE_S * 1000
    for bot in (stage.bot, *flock):
        eventually(lambda bot=bot: bot.accepted(over_ms), 60, bot.story)
        assert bot.account is not None
        bot.oracle.assert_one_live_order_per_slot(bot.account.name)
        assert len({row["key_id"] for row in bot.accepted()}) == 1
        assert stage.verdict_of(bot).is_safe(), stage.verdict_of(bot)
