"""What the loop does when it cannot look, and what it looks at when a namespace ends: against an API server in memory."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from soloist_operator import kinds
from soloist_operator.errors import ClusterError, ForbiddenError
from soloist_operator.heartbeat import Heartbeats
from soloist_operator.loop import BLIND_AFTER_S, Loop, RunFailedError
from soloist_operator.metrics import Metrics
from soloist_operator.queue import Key

from tests.unit.soloist_operator.memory_cluster import MemoryCluster, obliging_fence
from tests.unit.soloist_operator.operator_scene import SETTINGS, live, paper

KEY = Key("bots", "demo")
BOT = (kinds.TRADING_BOT.plural, "bots", "demo")


class Restricted(MemoryCluster):
    """Some kinds may not be read."""

    def __init__(self) -> None:
        super().__init__(0, obliging_fence(lambda _: "marker:m-1"))
        self.forbidden: set[str] = set()

    async def get(self, kind: kinds.Kind, namespace: str | None, name: str) -> Any:
        self._judge(kind, name)
        return await super().get(kind, namespace, name)

    async def find(self, kind: kinds.Kind, namespace: str | None, label_selector: str = "") -> Any:
        self._judge(kind, label_selector)
        return await super().find(kind, namespace, label_selector)

    def _judge(self, kind: kinds.Kind, what: str) -> None:
        if kind.plural in self.forbidden:
            raise ForbiddenError(f"GET {kind.plural} {what}: forbidden", 403)


class Desk:
    """One operator, and its clock."""

    def __init__(self, spec: dict[str, Any]) -> None:
        self.cluster = Restricted()
        self.cluster.put(kinds.NAMESPACE, {"metadata": {"name": "bots"}})
        self.cluster.put(kinds.TRADING_BOT, {"metadata": {"name": "demo", "namespace": "bots"}, "spec": spec})
        self.now_s = 0.0
        self.metrics = Metrics()
        self.loop = Loop(self.cluster, SETTINGS, Heartbeats(), self.metrics, clock=lambda: self.now_s)  # type: ignore[arg-type]

    def run(self) -> None:
        asyncio.run(self.loop.run(KEY))

    def fail(self) -> None:
        with pytest.raises(RunFailedError, match="could not look"):
            self.run()

    def condition(self, kind: str) -> dict[str, Any]:
        found = self.cluster.objects[BOT].get("status", {}).get("conditions", [])
        return next((c for c in found if c["type"] == kind), {})

    def change(self, place: tuple[str, str, str], **metadata: Any) -> None:
        self.cluster.objects[place]["metadata"].update(metadata)


def test_what_cannot_be_looked_at_for_a_while_is_shown_and_taken_back() -> None:
    desk = Desk(paper())
    desk.run()
    desk.cluster.forbidden = {"leases"}
    desk.fail()
    assert desk.condition("Ready")["status"] == "False", "a moment is no news"
    desk.now_s += BLIND_AFTER_S
    desk.fail()
    ready = desk.condition("Ready")
    assert (ready["status"], ready["reason"]) == ("Unknown", "CouldNotLook")
    assert "GET leases demo-0: forbidden" in ready["message"]
    assert desk.condition("Progressing"), "the rest of the status stays"
    version = desk.cluster.objects[BOT]["metadata"]["resourceVersion"]
    desk.fail()
    assert desk.cluster.objects[BOT]["metadata"]["resourceVersion"] == version, "told once"
    desk.cluster.forbidden = set()
    desk.run()
    assert desk.condition("Ready")["status"] == "False"


def test_a_bot_that_cannot_be_read_at_all_is_left_as_it_is() -> None:
    desk = Desk(paper())
    desk.cluster.forbidden = {"tradingbots"}
    desk.now_s = 100
    desk.fail()
    desk.now_s = 200
    desk.fail()
    assert "status" not in desk.cluster.objects[BOT]


def test_the_farewell_in_a_terminating_namespace_needs_no_right_that_vanishes() -> None:
    """Roles are deleted with the namespace, in any order: what is left is what the ClusterRole gives."""
    desk = Desk(live())
    for _ in range(8):
        desk.run()
    (claim,) = desk.cluster.of(kinds.ACCOUNT_CLAIM)
    assert claim["status"]["phase"] == "Active"
    desk.change(BOT, deletionTimestamp="2026-01-01T00:00:00Z")
    desk.change((kinds.NAMESPACE.plural, "", "bots"), deletionTimestamp="2026-01-01T00:00:00Z")
    allowed = {"tradingbots", "accountclaims", "namespaces", "nodes", "statefulsets", "pods"}
    desk.cluster.forbidden = {kind.plural for kind in kinds.CHILD_KINDS} - allowed
    desk.run()
    assert desk.cluster.objects[("statefulsets", "bots", "demo")]["spec"]["replicas"] == 0
    del desk.cluster.objects[("statefulsets", "bots", "demo")]  # as the namespace's controller does
    for _ in range(2):
        desk.run()
    (claim,) = desk.cluster.of(kinds.ACCOUNT_CLAIM)
    assert (claim["status"]["phase"], claim["status"]["reason"]) == ("Orphaned", "NamespaceTerminated")
    assert claim["status"]["keyId"]
    assert kinds.BOT_FINALIZER not in desk.cluster.objects[BOT]["metadata"]["finalizers"]


def test_a_holder_that_cannot_be_looked_for_is_not_gone() -> None:
    desk = Desk(live())
    for _ in range(8):
        desk.run()
    (claim,) = desk.cluster.of(kinds.ACCOUNT_CLAIM)
    claim["spec"]["holder"] = {"namespace": "elsewhere", "name": "rival", "uid": "u2"}
    desk.cluster.put(kinds.ACCOUNT_CLAIM, claim)
    real = desk.cluster.get

    async def blind(kind: kinds.Kind, namespace: str | None, name: str) -> Any:
        if namespace == "elsewhere":
            raise ClusterError("no answer")
        return await real(kind, namespace, name)

    desk.cluster.get = blind  # type: ignore[method-assign]
    desk.fail()
    (claim,) = desk.cluster.of(kinds.ACCOUNT_CLAIM)
    assert claim["status"]["phase"] == "Active"
    desk.cluster.get = real  # type: ignore[method-assign]
    desk.run()
    (claim,) = desk.cluster.of(kinds.ACCOUNT_CLAIM)
    assert claim["status"]["phase"] == "Orphaned"


def test_unhealthy_keys_are_a_metric_by_claim_and_reason() -> None:
    metrics = Metrics()
    metrics.keys("claim-1", "ForeignKey")
    value = lambda reason: metrics.registry.get_sample_value(  # noqa: E731
        "soloist_operator_keys_unhealthy", {"claim": "claim-1", "reason": reason}
    )
    assert value("ForeignKey") == 1
    metrics.keys("claim-1", "UnknownHistory")
    assert (value("ForeignKey"), value("UnknownHistory")) == (None, 1)
    metrics.keys("claim-1", None)
    assert value("UnknownHistory") is None
