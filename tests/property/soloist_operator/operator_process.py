"""One process of the operator at work on a `FencedCluster`."""

from __future__ import annotations

import copy

from soloist_operator import kinds
from soloist_operator.heartbeat import Heartbeats
from soloist_operator.loop import Loop, RunFailedError, delay_s
from soloist_operator.metrics import Metrics
from soloist_operator.plan import Outcome as RunOutcome
from soloist_operator.sightings import LOOK_S, WRITES_UNSEEN_S, Sightings

from tests.property.soloist_operator.fenced_cluster import KEY, FencedCluster
from tests.unit.soloist_operator.operator_scene import SETTINGS


class KilledError(BaseException):
    """The operator's process is gone: nothing of it runs any more, no handler, no clean-up."""


class OperatorProcess:
    """One process of the operator: the real loop, with its own memory, and the looks of its service once a second."""

    def __init__(self, cluster: FencedCluster, number: int) -> None:
        self.number = number
        self._cluster = cluster
        self.sightings = Sightings()
        self.heartbeats = Heartbeats()
        self.loop = Loop(
            cluster,  # type: ignore[arg-type]
            SETTINGS,
            self.heartbeats,
            Metrics(),
            sightings=self.sightings,
            clock=lambda: cluster.seconds,
            wall=cluster.wall,
        )
        self.runs = 0
        self._due_s = 0.0
        self._version = -1

    def look(self) -> None:
        """What Service._watch_nodes does, and the events of Leases."""
        cluster, now_s = self._cluster, self._cluster.seconds
        leases = [
            body
            for place, body in cluster.objects.items()
            if place[:2] == (kinds.LEASE.plural, kinds.NODE_LEASES)
        ]
        self.sightings.nodes.listed(copy.deepcopy(leases), now_s)
        heard = self.sightings.nodes.any_within(WRITES_UNSEEN_S, now_s)
        self.sightings.api.answered(now_s, writes_seen=heard)
        lease = cluster.objects.get((kinds.LEASE.plural, KEY.namespace, f"{KEY.name}-0"))
        if lease is not None and self.heartbeats.note(KEY, copy.deepcopy(lease), now_s):
            self._due_s = now_s
        if list(self.heartbeats.newly_silent(now_s)) or self.sightings.nodes.newly_silent(now_s):
            self._due_s = now_s

    def resync(self) -> None:
        """The bot is due, whatever it waits for: every five minutes that happens to each."""
        self._due_s, self._version = 0.0, -1

    async def work(self) -> None:
        """Look, and run the bot if it is due or something of it changed."""
        self.look()
        for _ in range(3):
            version = self._cluster.changes
            if self._cluster.seconds < self._due_s and version == self._version:
                return
            self._version = version
            self.runs += 1
            try:
                outcome: RunOutcome | None = await self.loop.run(KEY)
            except RunFailedError:
                self._due_s = self._cluster.seconds + LOOK_S
                return
            after_s = None if outcome is None else delay_s(outcome)
            self._due_s = float("inf") if after_s is None else self._cluster.seconds + after_s
