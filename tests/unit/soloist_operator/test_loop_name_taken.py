"""Somebody else's Job has the name of one of ours: nothing of it is touched, nobody believes it, and a person is told."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from soloist_operator import kinds
from soloist_operator.heartbeat import Heartbeats
from soloist_operator.loop import Loop
from soloist_operator.metrics import Metrics
from soloist_operator.plan import Again, Outcome
from soloist_operator.queue import Key

from tests.unit.soloist_operator.memory_cluster import MemoryCluster, obliging_fence
from tests.unit.soloist_operator.operator_scene import SETTINGS, live

KEY = Key("bots", "demo")


class Desk:
    """One operator; Events are kept."""

    def __init__(self) -> None:
        self.cluster = MemoryCluster(0, obliging_fence(lambda _: "marker:m-1"))
        self.loop = Loop(
            self.cluster,  # type: ignore[arg-type]
            SETTINGS,
            Heartbeats(),
            Metrics(),
            clock=lambda: 0.0,
        )
        self.cluster.put(kinds.NAMESPACE, {"metadata": {"name": "bots"}})
        self.cluster.put(
            kinds.TRADING_BOT, {"metadata": {"name": "demo", "namespace": "bots"}, "spec": live()}
        )

    def run(self) -> Outcome | None:
        return asyncio.run(self.loop.run(KEY))

    def ready(self) -> dict[str, Any]:
        (bot,) = self.cluster.of(kinds.TRADING_BOT)
        return next(c for c in bot["status"]["conditions"] if c["type"] == "Ready")

    def job(self, name: str) -> dict[str, Any]:
        return next(j for j in self.cluster.of(kinds.JOB) if j["metadata"]["name"] == name)


LABELS = {"soloist.trade/bot": "demo", "app.kubernetes.io/managed-by": "soloist"}
CRON = {"kind": "CronJob", "name": "theirs", "uid": "u", "controller": True}


@pytest.mark.parametrize(
    "metadata",
    [
        pytest.param({}, id="a stranger's"),
        pytest.param({"labels": LABELS}, id="with our labels"),
        pytest.param({"labels": LABELS, "ownerReferences": [CRON]}, id="another controller's"),
    ],
)
def test_a_strangers_job_is_left_alone_and_named_until_it_is_gone(metadata: dict[str, Any]) -> None:
    desk = Desk()
    desk.cluster.put(kinds.JOB, {"metadata": {"name": "demo-identify", "namespace": "bots", **metadata}})
    before = desk.job("demo-identify")
    for _ in range(3):
        outcome = desk.run()
    assert isinstance(outcome, Again)
    assert outcome.after_s >= 15, "not five times a second for ever"
    assert desk.job("demo-identify") == before
    assert desk.ready()["reason"] == "NameTaken"
    assert "Job demo-identify exists and is not this bot's" in desk.ready()["message"]
    assert "Remove it" in desk.ready()["message"]
    shown = desk.cluster.of(kinds.TRADING_BOT)[0]["metadata"]["resourceVersion"]
    desk.run()
    assert desk.cluster.of(kinds.TRADING_BOT)[0]["metadata"]["resourceVersion"] == shown, "told once"
    del desk.cluster.objects[(kinds.JOB.plural, "bots", "demo-identify")]
    for _ in range(10):
        desk.run()
    (claim,) = desk.cluster.of(kinds.ACCOUNT_CLAIM)
    assert claim["status"]["phase"] == "Active"


def test_another_operators_job_is_only_a_race() -> None:
    """A Job that this very bot controls was made by somebody faster: look again at once, and say nothing."""
    desk = Desk()
    desk.run()
    made = desk.job("demo-identify")
    desk.cluster.objects.pop((kinds.JOB.plural, "bots", "demo-identify"))
    hidden = {**made, "metadata": {**made["metadata"], "labels": {}}}
    desk.cluster.put(kinds.JOB, hidden)
    outcome = desk.run()
    assert isinstance(outcome, Again)
    assert outcome.after_s < 1
    assert desk.ready()["reason"] != "NameTaken"
