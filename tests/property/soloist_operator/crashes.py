"""What may happen to an operator at one of its requests, and a play of it: from a scene to a bot that trades."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Awaitable
from dataclasses import dataclass, field
from typing import Any

from soloist_operator import kinds
from soloist_operator.errors import UnavailableError

from tests.property.soloist_operator.fenced_cluster import FencedCluster
from tests.property.soloist_operator.operator_process import KilledError, OperatorProcess
from tests.unit.soloist_operator.operator_scene import live

LONGEST_S = 200
SETTLE_S = 10
DIES, UNANSWERED, PAUSES = "dies", "gets no answer", "is paused"


@dataclass
class Trouble:
    """What happens at the n-th request of the first operator. `done`: after the API server did it, else before."""

    what: str
    request: int
    done: bool
    seen: int = 0
    runs: int = 0
    writes: list[int] = field(default_factory=list)
    """The numbers of the requests that changed something."""
    met: bool = False
    paused: asyncio.Event = field(default_factory=asyncio.Event)
    go_on: asyncio.Event = field(default_factory=asyncio.Event)

    async def hook(self, cluster: FencedCluster, request: Awaitable[Any]) -> Any:
        """Stand between the operator and the API server."""
        self.seen += 1
        number, changes = self.seen, cluster.changes
        if number != self.request:
            answer = await request
            if cluster.changes != changes:
                self.writes.append(number)
            return answer
        self.met = True
        if self.done:
            answer = await request
            await self._strike()
            return answer
        try:
            await self._strike()
        except BaseException:
            request.close()  # type: ignore[attr-defined]
            raise
        return await request

    async def _strike(self) -> None:
        if self.what == DIES:
            raise KilledError
        if self.what == UNANSWERED:
            raise UnavailableError("no answer")
        self.paused.set()
        await self.go_on.wait()


class Play:
    """One run: the trouble, then whatever operators it takes until the bot trades, and what must be so then."""

    def __init__(self, cluster: FencedCluster, trouble: Trouble) -> None:
        self.cluster = cluster
        self.trouble = trouble
        self.above = 0 if cluster.claim() is None else cluster.claim()["status"]["epoch"]
        cluster.operator += 1
        self.operator = OperatorProcess(cluster, cluster.operator)
        self.sleeper: asyncio.Task[None] | None = None
        self.sleepers_number = self.operator.number
        cluster.request_hook = lambda request: self.trouble.hook(cluster, request)

    async def until_it_trades(self) -> None:
        """Seconds pass until the engine of an epoch above the old one trades and is reported ready."""
        for _ in range(LONGEST_S):
            self.cluster.tick()
            await self._work()
            if self._trades():
                return
        raise AssertionError(f"no engine after {LONGEST_S} s: {self.cluster.condition('Ready')}")

    def _trades(self) -> bool:
        engine = self.cluster.trading()
        ready = self.cluster.condition("EngineReady")[0] == "True"
        return engine is not None and engine.epoch > self.above and ready

    async def settle(self) -> None:
        """A paused operator wakes up and goes on as long as it lives; the other one looks at everything once more."""
        cluster = self.cluster
        cluster.request_hook = None
        if self.sleeper is not None:
            mine, cluster.operator = cluster.operator, self.sleepers_number
            self.trouble.go_on.set()
            await self.sleeper
            cluster.operator = mine
        for _ in range(SETTLE_S):
            cluster.tick()
            await self.operator.work()
        if self.sleeper is not None:  # what it did in its sleep is mended
            await self.until_it_trades()
        self.operator.resync()
        await self.operator.work()
        cluster.tick()

    async def _work(self) -> None:
        if self.sleeper is not None or self.trouble.what != PAUSES or self.trouble.met:
            try:
                await self.operator.work()
            except* KilledError:
                self._replace_operator()
            return
        work = asyncio.create_task(self.operator.work())
        paused = asyncio.create_task(self.trouble.paused.wait())
        await asyncio.wait({work, paused}, return_when=asyncio.FIRST_COMPLETED)
        paused.cancel()
        if not work.done():
            self.sleeper = work
            self._replace_operator()

    def _replace_operator(self) -> None:
        self.cluster.request_hook = None
        self.cluster.operator += 1
        self.operator = OperatorProcess(self.cluster, self.cluster.operator)


def ends_well(cluster: FencedCluster) -> int:
    """One Active claim, one Secret, one key, one engine of its epoch, nothing left over. Returns the epoch."""
    claim = cluster.claim()
    assert claim is not None
    status = claim["status"]
    assert status["phase"] == "Active"
    epochs = [seen["status"]["epoch"] for seen in cluster.claims_seen]
    assert epochs == sorted(epochs), "an epoch went down"
    assert set(range(1, status["epoch"] + 1)) <= set(epochs), "an epoch was skipped"
    assert {epoch for _, epoch, _ in cluster.openers} == set(range(1, status["epoch"] + 1))
    assert set(cluster.account.secrets) == {status["secretName"]}, "an epoch Secret is left over"
    assert cluster.account.published() == {status["keyId"]}
    assert cluster.account.accepted() == {status["keyId"]}, "a key is left over"
    able = [engine for engine in cluster.engines if engine.key_id == status["keyId"]]
    assert len(able) == 1
    assert not cluster.fences, "a fence that nobody waits for"
    return int(status["epoch"])


def brought_up() -> FencedCluster:
    """A bot whose engine trades on node-1 in epoch 1."""
    cluster = applied()
    play = Play(cluster, Trouble(DIES, 0, done=False))

    async def to_the_end() -> None:
        await play.until_it_trades()
        await play.settle()

    asyncio.run(to_the_end())
    return cluster


def applied() -> FencedCluster:
    """A TradingBot that somebody applied a moment ago."""
    cluster = FencedCluster()
    body = {"metadata": {"name": "demo", "namespace": "bots"}, "spec": live()}
    cluster.put(kinds.TRADING_BOT, body)
    return cluster


def lost() -> FencedCluster:
    """A bot whose node fell silent: node and engine live on and nobody hears them; the engine still trades."""
    cluster = brought_up()
    cluster.lost_nodes.add("node-1")
    return cluster


SCENES = {"bring-up": applied, "takeover of a lost node": lost}


def play(scene: FencedCluster, trouble: Trouble) -> tuple[FencedCluster, int, int]:
    """Play a copy of the scene to its end. Returns the world, how often the last operator ran, and the last epoch."""
    cluster = copy.deepcopy(scene)
    playing = Play(cluster, trouble)

    async def to_the_end() -> int:
        await playing.until_it_trades()
        runs = playing.operator.runs
        await playing.settle()
        return runs

    return cluster, asyncio.run(to_the_end()), ends_well(cluster)
