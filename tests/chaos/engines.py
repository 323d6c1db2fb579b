"""Scenarios of one engine: it is killed, hangs, sleeps, or loses its venue."""

from __future__ import annotations

import time

from tests.chaos import disasters
from tests.chaos.catalogue import HUNG_MS, KILLED_MS, LOST_NODE_MS, scenario
from tests.chaos.stage import Stage
from tests.support import eventually

VENUE_OUTAGE_S = 60
NOTICED_S = 5
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


@scenario("21", "crash loop, then partition, then out-of-service taint", zombie=True)
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
