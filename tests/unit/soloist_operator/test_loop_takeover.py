"""What the loop times and reads live before it takes over: against an API server in memory, with a clock of the test."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from soloist_operator import kinds
from soloist_operator.errors import UnavailableError
from soloist_operator.heartbeat import Heartbeats
from soloist_operator.loop import Loop, RunFailedError
from soloist_operator.metrics import Metrics
from soloist_operator.queue import Key
from soloist_operator.sightings import Sightings

from tests.unit.soloist_operator.memory_cluster import MemoryCluster, obliging_fence
from tests.unit.soloist_operator.operator_scene import SETTINGS, live, node, running_pod

KEY = Key("bots", "demo")


class Desk:
    """One operator beside a bot whose engine trades on node-1."""

    def __init__(self) -> None:
        self.cluster = MemoryCluster(0, obliging_fence(lambda _: "marker:m-1"))
        self.now_s = 0.0
        self.sightings = Sightings()
        self.metrics = Metrics()
        self.loop = Loop(
            self.cluster,  # type: ignore[arg-type]
            SETTINGS,
            Heartbeats(),
            self.metrics,
            sightings=self.sightings,
            clock=lambda: self.now_s,
        )
        self.cluster.put(kinds.NAMESPACE, {"metadata": {"name": "bots"}})
        self.cluster.put(
            kinds.TRADING_BOT, {"metadata": {"name": "demo", "namespace": "bots"}, "spec": live()}
        )
        self.cluster.put(kinds.NODE, node())
        for _ in range(8):
            self.run()
        self.start_engine()

    def start_engine(self) -> None:
        (stateful_set,) = self.cluster.of(kinds.STATEFUL_SET)
        template = stateful_set["spec"]["template"]
        made = running_pod(metadata={"annotations": template["metadata"]["annotations"]})
        made["spec"]["volumes"] = template["spec"]["volumes"]
        self.cluster.put(kinds.POD, made)
        for _ in range(3):
            self.run()
        self.renew_engine()
        self.run()

    def run(self) -> None:
        asyncio.run(self.loop.run(KEY))

    def renew_engine(self) -> None:
        (lease,) = self.cluster.of(kinds.LEASE)
        told = {"podUid": "pod-1", "epoch": 1, "incarnation": "1", "state": "ACTIVE", "ready": True}
        lease["metadata"]["annotations"]["soloist.trade/engine"] = json.dumps(told)
        lease["spec"] = {"holderIdentity": "pod-1/1", "renewTime": f"at {self.now_s}"}

    def node_lease(self, renewed: float) -> None:
        body = {"metadata": {"name": "node-1", "namespace": kinds.NODE_LEASES}}
        self.cluster.put(kinds.LEASE, {**body, "spec": {"renewTime": f"at {renewed}"}})

    def pass_time(self, seconds: int, *, answering: bool = True) -> None:
        for _ in range(seconds):
            self.now_s += 1
            if answering:
                self.sightings.api.answered(self.now_s, writes_seen=True)

    @property
    def epoch(self) -> int:
        (claim,) = self.cluster.of(kinds.ACCOUNT_CLAIM)
        return int(claim["status"]["epoch"])

    def taken_over(self, cause: str) -> float:
        return (
            self.metrics.registry.get_sample_value("soloist_operator_takeovers_total", {"cause": cause})
            or 0.0
        )


@pytest.fixture
def desk() -> Desk:
    made = Desk()
    assert made.epoch == 1
    return made


def lease_of(cluster: MemoryCluster) -> dict[str, Any]:
    return next(lease for lease in cluster.of(kinds.LEASE) if lease["metadata"]["name"] == "demo-0")


def test_a_bot_whose_node_is_silent_too_is_taken_over_once(desk: Desk) -> None:
    desk.sightings.nodes.note("node-1", {"spec": {"renewTime": "at 0"}}, desk.now_s)
    desk.node_lease(0)
    desk.pass_time(16)
    desk.run()
    assert (desk.epoch, desk.taken_over("NodeSilent")) == (2, 1)
    desk.run()
    desk.run()
    assert (desk.epoch, desk.taken_over("NodeSilent")) == (2, 1)
    assert lease_of(desk.cluster)["metadata"]["annotations"]["soloist.trade/epoch"] == "2"


def test_the_nodes_lease_is_read_live_before_it_is_judged(desk: Desk) -> None:
    """The list that was looked at is some seconds old: a renewal since then is seen."""
    desk.sightings.nodes.note("node-1", {"spec": {"renewTime": "at 0"}}, desk.now_s)
    desk.node_lease(15)
    desk.pass_time(16)
    desk.run()
    assert desk.epoch == 1


def test_a_lease_that_no_event_told_of_is_read_live(desk: Desk) -> None:
    """A deaf watch is not a silent engine."""
    desk.sightings.nodes.note("node-1", {"spec": {"renewTime": "at 0"}}, desk.now_s)
    desk.node_lease(0)
    desk.pass_time(16)
    lease = lease_of(desk.cluster)
    lease["spec"]["renewTime"] = "a moment ago"
    desk.run()
    assert desk.epoch == 1


def test_nothing_is_taken_over_while_our_own_access_is_not_well(desk: Desk) -> None:
    desk.sightings.nodes.note("node-1", {"spec": {"renewTime": "at 0"}}, desk.now_s)
    desk.node_lease(0)
    desk.pass_time(120, answering=False)
    desk.run()
    assert desk.epoch == 1
    desk.pass_time(14)
    desk.run()
    assert desk.epoch == 1
    desk.pass_time(2)
    desk.run()
    assert desk.epoch == 2


def test_a_read_that_fails_is_no_health(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    desk.pass_time(16)
    assert desk.sightings.api.healthy_s(desk.now_s) >= 15

    async def unavailable(*_: object) -> None:
        raise UnavailableError("no answer")

    with monkeypatch.context() as broken:
        broken.setattr(desk.cluster, "get", unavailable)
        with pytest.raises(RunFailedError):
            desk.run()
    assert desk.sightings.api.healthy_s(desk.now_s) == 0
