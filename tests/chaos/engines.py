"""Scenarios of one engine: it is killed, hangs, sleeps, or loses its venue."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager

from tests.chaos import disasters, takeovers
from tests.chaos.catalogue import HUNG_MS, KILLED_MS, LOST_NODE_MS, scenario
from tests.chaos.stage import Stage
from tests.cluster import faults
from tests.support import eventually

VENUE_OUTAGE_S = 60
NOTICED_S = 5
EVENT_S = 30
RETRANSMITTED_S = 120
"""TCP doubles its wait: after 35 s of silence the kernel sends what it holds within the next 51 s."""


def _pod(stage: Stage) -> str:
    return f"{stage.bot.namespace}/{stage.bot.pod}"


@scenario("1", "engine killed (SIGKILL)", runs=10, recovery_limit_ms=KILLED_MS)
def killed(stage: Stage) -> None:
    stage.begin()
    disasters.kill(stage.cluster, _pod(stage), "engine")
    stage.trades_again()
    stage.whole_again()
    stage.restarted_in_place()


@scenario("2a", "engine hangs (SIGSTOP) on a live node", runs=10, recovery_limit_ms=HUNG_MS)
def hung(stage: Stage) -> None:
    stage.begin()
    with disasters.frozen(stage.cluster, _pod(stage), "engine"):
        stage.trades_again()
    stage.whole_again()
    stage.restarted_in_place()


@scenario("2b", "machine suspended: engine, watchdog and kubelet sleep, then wake", runs=10, zombie=True,
          recovery_limit_ms=LOST_NODE_MS)  # fmt: skip
def suspended(stage: Stage) -> None:
    node = stage.node
    stage.begin()
    # The kubelet sleeps longer than the engine: nothing but the venue stops the zombie.
    with disasters.kubelet_frozen(stage.cluster, node):
        with disasters.frozen(stage.cluster, _pod(stage)):
            stage.trades_again()
        stage.zombie_was_refused()
    disasters.bring_back(stage.cluster, node)
    stage.whole_again()


@scenario("2c", "engine and watchdog hang on a live node: the kubelet ends them", recovery_limit_ms=HUNG_MS)
def hung_with_its_watchdog(stage: Stage) -> None:
    # SIGKILL ends a stopped process, too, so liveness is sooner than the operator's 30 s and no takeover follows.
    stage.begin()
    with disasters.frozen(stage.cluster, _pod(stage)):
        stage.trades_again()
        eventually(lambda: _ended_by_its_kubelet(stage), EVENT_S, stage.bot.story)
    stage.whole_again()
    stage.restarted_in_place()


def _ended_by_its_kubelet(stage: Stage) -> bool:
    """Whether the kubelet says that it ended the engine for its liveness probe."""
    uid = takeovers.pod_uid(stage.bot)
    told = stage.bot.kubectl(
        "get", "events", "-o", "json", "--field-selector", f"involvedObject.uid={uid},reason=Killing"
    )
    return any("engine failed liveness probe" in event["message"] for event in json.loads(told)["items"])


@scenario("2d", "engine cut off from the API server alone, its node is heard: taken over as hung", zombie=True,
          recovery_limit_ms=LOST_NODE_MS)  # fmt: skip
def silent_on_a_heard_node(stage: Stage) -> None:
    # What liveness cannot end: its loop turns. Only its Lease falls silent, as when a network policy or plugin fails a pod.
    stage.begin()
    assert stage.old is not None
    with _without_api_server(stage):
        stage.trades_again()
        stage.zombie_was_refused()
    stage.whole_again()
    last = takeovers.history(stage.bot)[-1]
    assert (last["outcome"], last["epoch"], last["reason"]) == (
        "Active",
        stage.old.epoch + 1,
        "EngineHung",
    ), last
    assert takeovers.pod_uid(stage.bot) != stage.old.pod_uid
    # Its kubelet is heard and proves the old pod's end, so the next engine has the same volume.
    assert stage.bot.status()["resolved"]["stateGeneration"] == "0"


@contextmanager
def _without_api_server(stage: Stage) -> Iterator[None]:
    """What the engine's pod sends to the API server is dropped; its node, its venue and its successor's pod are not concerned."""
    node = stage.node
    address = stage.bot.get("pod", stage.bot.pod)["status"]["podIP"]
    # The source is the pod's own: POSTROUTING of mangle comes before the address is translated.
    rule = (
        f"POSTROUTING --source {address} --protocol tcp --dport {faults.API_SERVER_PORT} "
        f"--match comment --comment {disasters.MARK} --jump DROP"
    )
    disasters.shell(stage.cluster, node, f"iptables --wait --table mangle --insert {rule}")
    try:
        yield
    finally:
        disasters.let_through(stage.cluster, node)


@scenario("3", "orders signed and sent, held back by the network until after the takeover", zombie=True,
          recovery_limit_ms=LOST_NODE_MS)  # fmt: skip
def held_back(stage: Stage) -> None:
    node, address = stage.node, stage.exchange_address()
    with disasters.partitioned(stage.cluster, node):
        stage.begin()
        with disasters.cut_off(stage.cluster, node, address, 8443):
            stage.trades_again()
        stage.zombie_orders_were_refused(RETRANSMITTED_S)
    disasters.bring_back(stage.cluster, node)
    stage.whole_again()


@scenario("5", "engine cut off from the venue alone: it waits, nobody takes over")
def venue_out_of_reach(stage: Stage) -> None:
    epoch, node, address = stage.epoch, stage.node, stage.exchange_address()
    with disasters.cut_off(stage.cluster, node, address, 8443):
        stage.begin()
        time.sleep(VENUE_OUTAGE_S)  # the outage itself, not a wait for something
        assert stage.epoch == epoch, "a venue outage is no reason for a takeover"
        silent_ms = stage.fault_ms + NOTICED_S * 1000
        assert not stage.bot.accepted(silent_ms), "the engine was not cut off: this run shows nothing"
    stage.trades_since(stage.fault_ms + VENUE_OUTAGE_S * 1000)
    stage.whole_again()
    stage.restarted_in_place()


@scenario("21", "crash loop, then partition, then out-of-service taint", zombie=True,
          recovery_limit_ms=LOST_NODE_MS)  # fmt: skip
def crash_loop_then_partition(stage: Stage) -> None:
    node = stage.node
    for _ in range(3):
        before = stage.incumbent()
        disasters.kill(stage.cluster, _pod(stage), "engine")
        eventually(lambda before=before: stage.incumbent() != before, 120, stage.bot.story, interval_s=0.5)
    stage.begin()
    with disasters.partitioned(stage.cluster, node), disasters.out_of_service(stage.cluster, node):
        stage.trades_again()
        stage.zombie_was_refused()
    disasters.bring_back(stage.cluster, node)
    stage.whole_again()
