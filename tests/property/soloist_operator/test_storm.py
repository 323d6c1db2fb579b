"""Many engines fall silent at once: takeovers stay few at a time, and in the end every engine is taken over, once.

The real loop against an API server in memory, with as many workers as the service has, in step: all decide at the same moment.
"""

from __future__ import annotations

import asyncio
import json

import pytest
from soloist_operator import kinds, takeover
from soloist_operator.heartbeat import CROWD_MEMORY_S, Heartbeats
from soloist_operator.loop import Loop
from soloist_operator.metrics import Metrics
from soloist_operator.objects import dig
from soloist_operator.queue import Key
from soloist_operator.service import WORKERS
from soloist_operator.sightings import LOOK_S, SILENT_AFTER_S, WRITES_UNSEEN_S, Sightings
from soloist_operator.specs.engine import ANNOTATION_ENGINE

from tests.unit.soloist_operator.memory_cluster import MemoryCluster, Object, obliging_fence
from tests.unit.soloist_operator.operator_scene import MANAGED, SETTINGS, live, node, running_pod

SILENT = 20
FENCE_LOOKS = 3
"""A fence's Job takes so many looks of the operator."""
KEYS = [Key("bots", f"bot-{number}") for number in range(SILENT)]


class Storm(MemoryCluster):
    """Twenty bots, each with an account and a node of its own; `others` are bots of which only the Leases are seen."""

    def __init__(self, *, others: int) -> None:
        super().__init__(
            0, obliging_fence(lambda job: f"marker:{job['metadata']['labels'][kinds.LABEL_BOT]}")
        )
        self.at_work: list[tuple[int, Object]] = []
        self.looks = 0
        self.most_in_flight = 0
        self.taken_over_s: dict[str, float] = {}
        self.quick = True
        self.now_s = 0.0
        self.others = [Key("bots", f"other-{number}") for number in range(others)]
        self.sightings, self.heartbeats, self.metrics = Sightings(), Heartbeats(), Metrics()
        self.loop = Loop(
            self,  # type: ignore[arg-type]
            SETTINGS,
            self.heartbeats,
            self.metrics,
            sightings=self.sightings,
            clock=lambda: self.now_s,
        )
        self.put(kinds.NAMESPACE, {"metadata": {"name": "bots"}})
        self.node_lease("well")
        for key in KEYS:
            account = {**MANAGED, "managementKeySecretRef": {"name": key.name}}
            metadata = {"name": key.name, "namespace": key.namespace}
            self.put(kinds.TRADING_BOT, {"metadata": metadata, "spec": live(account=account)})
            self.put(kinds.NODE, node(metadata={"name": f"node-of-{key.name}"}))
            self.node_lease(f"node-of-{key.name}")

    async def _turn(self) -> None:
        await asyncio.sleep(0)

    def put(self, kind: kinds.Kind, body: Object) -> Object:
        found = super().put(kind, body)
        if kind == kinds.ACCOUNT_CLAIM and self.now_s:
            self.most_in_flight = max(self.most_in_flight, len(self.in_flight()))
            if (found["status"]["phase"], found["status"]["epoch"]) == ("Active", 2):
                self.taken_over_s[found["spec"]["holder"]["name"]] = self.now_s
        return found

    def in_flight(self) -> list[Object]:
        """Claims that are being fenced because of a takeover."""
        return [
            claim
            for claim in self.of(kinds.ACCOUNT_CLAIM)
            if claim["status"]["phase"] == "Fencing" and claim["status"].get("reason") in set(takeover.Cause)
        ]

    def _carry_out(self, job: Object) -> None:
        if self.quick:
            super()._carry_out(job)
        else:
            self.at_work.append((self.looks + FENCE_LOOKS, job))

    def node_lease(self, name: str) -> None:
        metadata = {"name": name, "namespace": kinds.NODE_LEASES}
        self.put(kinds.LEASE, {"metadata": metadata, "spec": {"renewTime": f"at {self.now_s}"}})

    # ------------------------------------------------------------------------------------------ before the storm

    async def bring_up(self) -> None:
        """Until all twenty trade."""
        for _ in range(8):
            await self.look()
        for key in KEYS:
            template = self.objects[kinds.STATEFUL_SET.plural, key.namespace, key.name]["spec"]["template"]
            metadata = {
                "name": f"{key.name}-0",
                "uid": f"pod-of-{key.name}",
                "labels": template["metadata"]["labels"],
            }
            made = running_pod(metadata={**metadata, "annotations": template["metadata"]["annotations"]})
            made["spec"] |= {"volumes": template["spec"]["volumes"], "nodeName": f"node-of-{key.name}"}
            self.put(kinds.POD, made)
        for _ in range(2):
            await self.look()
        for key in KEYS:
            self.renew(key)
        await self.look()
        self.quick = False

    def renew(self, key: Key) -> None:
        lease = self.objects[kinds.LEASE.plural, key.namespace, f"{key.name}-0"]
        said = {
            "podUid": f"pod-of-{key.name}",
            "epoch": 1,
            "incarnation": "1",
            "state": "ACTIVE",
            "ready": True,
        }
        lease["metadata"]["annotations"][ANNOTATION_ENGINE] = json.dumps(said)
        lease["spec"] = {"holderIdentity": "it", "renewTime": f"at {self.now_s}"}

    # ------------------------------------------------------------------------------------------ the storm

    async def pass_time(self, seconds: float) -> None:
        """Everybody is silent but one node and the other bots; the operator's service lists and hears that."""
        for _ in range(int(seconds / LOOK_S)):
            self.now_s += LOOK_S
            self.node_lease("well")
            leases = [body for place, body in self.objects.items() if place[1] == kinds.NODE_LEASES]
            self.sightings.nodes.listed(leases, self.now_s)
            heard = self.sightings.nodes.any_within(WRITES_UNSEEN_S, self.now_s)
            self.sightings.api.answered(self.now_s, writes_seen=heard)
            for key in self.others:
                said = {"podUid": key.name, "epoch": 1, "incarnation": "1", "state": "ACTIVE", "ready": True}
                annotations = {ANNOTATION_ENGINE: json.dumps(said)}
                metadata = {"name": f"{key.name}-0", "annotations": annotations}
                self.heartbeats.note(
                    key, {"metadata": metadata, "spec": {"renewTime": f"at {self.now_s}"}}, self.now_s
                )

    async def look(self) -> None:
        """Every bot once, as many at a time as the service has workers."""
        self.looks += 1
        for ends, job in [started for started in self.at_work if started[0] <= self.looks]:
            self.at_work.remove((ends, job))
            super()._carry_out(job)
        workers = asyncio.Semaphore(WORKERS)

        async def run(key: Key) -> None:
            async with workers:
                await self.loop.run(key)

        await asyncio.gather(*(run(key) for key in KEYS))

    async def until_all_are_taken_over(self) -> None:
        for _ in range(SILENT * (FENCE_LOOKS + 4)):
            await self.pass_time(LOOK_S)
            await self.look()
            if len(self.taken_over_s) == SILENT:
                return
        raise AssertionError(f"only {sorted(self.taken_over_s)} were taken over")

    def ends_well(self) -> None:
        """Every bot was taken over once, and at no time more than five of them."""
        assert self.most_in_flight <= takeover.AT_ONCE
        assert {claim["status"]["epoch"] for claim in self.of(kinds.ACCOUNT_CLAIM)} == {2}
        assert not self.in_flight()
        epochs = [(claim["metadata"]["name"], claim["status"]["epoch"]) for claim in self.claims_seen]
        assert all(epoch <= 2 for _, epoch in epochs), "a bot was taken over twice"
        counted = self.metrics.registry.get_sample_value(
            "soloist_operator_takeovers_total", {"cause": takeover.Cause.NODE_SILENT.value}
        )
        assert counted == SILENT

    def reasons(self) -> set[str]:
        """What Fenced says of each bot."""
        found = set()
        for bot in self.of(kinds.TRADING_BOT):
            found |= {c["reason"] for c in dig(bot, "status", "conditions") if c["type"] == "Fenced"}
        return found


async def a_fifth_falls_silent() -> Storm:
    """Twenty of a hundred: no more than a fifth, so it is believed at once."""
    storm = Storm(others=80)
    await storm.bring_up()
    await storm.pass_time(SILENT_AFTER_S + LOOK_S)
    await storm.until_all_are_taken_over()
    return storm


async def all_fall_silent() -> Storm:
    """Twenty of twenty: that looks like a fault of the API server for ten minutes; after that nobody is a witness any more."""
    storm = Storm(others=0)
    await storm.bring_up()
    await storm.pass_time(SILENT_AFTER_S + LOOK_S)
    while storm.now_s < CROWD_MEMORY_S - LOOK_S:
        await storm.look()
        assert storm.reasons() == {takeover.WAITING}
        assert not storm.in_flight(), f"a takeover after {storm.now_s:.0f} s"
        await storm.pass_time(6 * LOOK_S)
    await storm.until_all_are_taken_over()
    return storm


STORMS = {"a fifth": a_fifth_falls_silent, "all": all_fall_silent}


@pytest.mark.parametrize("name", STORMS)
async def test_takeovers_stay_few_and_none_is_forgotten(name: str) -> None:
    storm = await STORMS[name]()
    storm.ends_well()
    assert storm.most_in_flight == takeover.AT_ONCE, "as many as may be"
    assert len(set(storm.taken_over_s.values())) >= SILENT // takeover.AT_ONCE, "one batch after the other"


async def test_without_the_cap_all_are_in_flight_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The test can fail."""
    cap = takeover.AT_ONCE
    monkeypatch.setattr(takeover, "AT_ONCE", 1000)
    storm = await a_fifth_falls_silent()
    assert storm.most_in_flight > 2 * cap


async def test_without_the_crowds_share_an_outage_makes_a_storm(monkeypatch: pytest.MonkeyPatch) -> None:
    """The test can fail."""
    monkeypatch.setattr(takeover, "CROWD_SHARE", 1.0)
    with pytest.raises(AssertionError):
        await all_fall_silent()
