"""A new image that cannot run is taken back, and a drained node gives its bot away: both by stops that are proven."""

from __future__ import annotations

import pytest

from tests.chaos import disasters, rollouts, takeovers
from tests.e2e.scene import Bot, now_ms
from tests.support import eventually

NAMESPACE = "e2e-rollout"
READY_S = 180
REPLACED_S = 120
ROLLED_BACK_S = 300


@pytest.mark.timeout(720)
def test_an_image_that_cannot_run_is_taken_back(bot: Bot, cluster) -> None:
    image = rollouts.load_broken_image(cluster)
    bot.prepare("demo.yaml")
    bot.apply()
    bot.wait_ready(READY_S)
    bot.wait_accepted_after(now_ms(), 30)
    old, good = takeovers.incumbent(bot), bot.status()["image"]

    bot.manifest["spec"]["image"] = image
    bot.apply()
    told = bot.wait_condition("Updated", "False", "RolledBack", ROLLED_BACK_S)
    assert rollouts.TAG in told["message"]
    refused_ms = now_ms()
    takeovers.wait_successor(bot, old, REPLACED_S)
    bot.wait_condition("EngineReady", "True", "Reconciled", REPLACED_S)
    bot.wait_condition("Updated", "False", "RolledBack", 30)
    print(f"taken back to trading again: {(now_ms() - refused_ms) / 1000:.1f} s")
    assert bot.status()["image"] == good
    assert bot.status()["epoch"] == old.epoch, "a proven stop needs no takeover"
    seen = takeovers.verdict(bot, old)
    assert seen.is_safe(), seen

    del bot.manifest["spec"]["image"]
    uid = takeovers.pod_uid(bot)
    bot.apply()
    bot.wait_ready(60)
    assert takeovers.pod_uid(bot) == uid, "it asks for what runs already"


@pytest.mark.timeout(600)
def test_a_drained_node_gives_its_bot_away(bot: Bot, cluster) -> None:
    """`kubectl drain` completes without a human; on local volumes the next engine starts on a fresh one."""
    node = disasters.worker(cluster)
    bot.prepare("demo.yaml")
    takeovers.settle_on(bot, node, READY_S)
    old = takeovers.incumbent(bot)
    try:
        cluster.kubectl(
            "drain", node, "--ignore-daemonsets", "--delete-emptydir-data", "--timeout=180s",
            "--pod-selector", f"soloist.trade/bot={bot.name}",
        )  # fmt: skip
        print(f"drain took {(now_ms() - old.fault_ms) / 1000:.1f} s")
        first = takeovers.wait_successor(bot, old, REPLACED_S)
        print(f"trading again after {(first['time_ms'] - old.fault_ms) / 1000:.1f} s")
        assert takeovers.node_of(bot) != node
    finally:
        cluster.kubectl("uncordon", node)
    eventually(lambda: takeovers.resume_after_recovery(bot) or None, 60, bot.story)
    bot.wait_ready(60)
    seen = takeovers.verdict(bot, old)
    assert seen.is_safe(), seen
    assert bot.status()["epoch"] == old.epoch, "a planned move is no takeover"
    assert bot.exists("pvc", f"{bot.name}-state-0"), "kept for a person"
