"""The running operator without kopf: workers, resync, and what an event means. Plain asyncio."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable

from soloist_operator import kinds
from soloist_operator.cluster import Cluster
from soloist_operator.errors import ClusterError, OperatorError
from soloist_operator.freshness import DEAF_AFTER_S, Freshness
from soloist_operator.heartbeat import Heartbeats
from soloist_operator.kinds import Kind
from soloist_operator.loop import Loop, RunFailedError, delay_s
from soloist_operator.metrics import Metrics
from soloist_operator.objects import Object, dig, label, name_of
from soloist_operator.queue import Key, WorkQueue
from soloist_operator.settings import Settings
from soloist_operator.sightings import LOOK_S, WRITES_UNSEEN_S, Sightings

logger = logging.getLogger(__name__)

WORKERS = 8
RESYNC_S = 300.0
AUDIT_S = 30.0
SILENCE_LOOK_S = 1.0
SHORTEST_DELAY_S = 0.05
KINDS_LOOKS = 60


class Service:
    """Everything that runs beside the watch. `start` and `stop` belong to one event loop."""

    def __init__(
        self,
        settings: Settings,
        metrics: Metrics,
        *,
        kubeconfig: str | None = None,
        clock: Callable[[], float] = time.monotonic,
        after_restore: bool = False,
    ) -> None:
        self._settings = settings
        self._after_restore = after_restore
        self._metrics = metrics
        self._kubeconfig = kubeconfig
        self._clock = clock
        self._heartbeats = Heartbeats()
        self._sightings = Sightings()
        self._freshness = Freshness()
        self._due_s: dict[Key, float] = {}
        self._cordoned: set[str] = set()
        self._tasks: list[asyncio.Task[None]] = []
        self._queue = WorkQueue(clock=clock)
        self._cluster: Cluster | None = None

    async def start(self) -> None:
        """Connect and begin to work. Raises OperatorError when our kinds are not served."""
        self._cluster = await Cluster.connect(
            count_write=self._metrics.count_write, kubeconfig=self._kubeconfig
        )
        await self._await_kinds(self._cluster)
        loop = Loop(
            self._cluster,
            self._settings,
            self._heartbeats,
            self._metrics,
            sightings=self._sightings,
            clock=self._clock,
            after_restore=self._after_restore,
        )
        work = [self._work(loop) for _ in range(WORKERS)]
        looks = (self._audit(self._cluster), self._watch_silence(), self._watch_nodes(self._cluster))
        self._tasks = [asyncio.create_task(part) for part in (*work, *looks)]

    async def _await_kinds(self, cluster: Cluster) -> None:
        """Kopf looks once which kinds exist: right after an installation ours may come a moment later."""
        wanted = {kinds.TRADING_BOT.plural, kinds.ACCOUNT_CLAIM.plural}
        for _ in range(KINDS_LOOKS):
            missing = wanted - await cluster.served(kinds.GROUP, kinds.VERSION)
            if not missing:
                return
            logger.info("waiting for the CRDs of %s", ", ".join(sorted(missing)))
            await asyncio.sleep(1)
        raise OperatorError(
            f"the API server does not serve {', '.join(sorted(missing))} of {kinds.GROUP}/{kinds.VERSION}: install the CRDs "
            "(chart value crds.enabled, or kubectl apply -f crds/)"
        )

    async def stop(self) -> None:
        """Stop taking work. A run that is cut off in the middle is as good as one that was never begun."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks = []
        if self._cluster is not None:
            await self._cluster.__aexit__(None, None, None)

    def trouble(self) -> str | None:
        """Why this process should be restarted, None when it is well."""
        dead = [task for task in self._tasks if task.done()]
        if dead:
            return (
                f"a background task ended: {dead[0].exception() if not dead[0].cancelled() else 'cancelled'}"
            )
        silence_s = self._freshness.silence_s(self._clock())
        if silence_s >= DEAF_AFTER_S:
            return f"the watch has not delivered a listed change for {silence_s:.0f} s"
        return None

    # ------------------------------------------------------------------------------------------ events

    async def noticed(self, kind: Kind, body: Object, *, deleted: bool) -> None:
        """An event of a watched kind. Returns at once: the work is done by the workers."""
        if kind == kinds.NODE:
            await self._noticed_node(body, deleted=deleted)
            return
        key = bot_of(kind, body)
        if key is None or key.namespace not in self._settings.watch_namespaces:
            return  # claims are cluster-wide: their holder may be another installation's bot
        if kind == kinds.TRADING_BOT:
            self._freshness.heard(key, str(dig(body, "metadata", "resourceVersion")))
        if kind == kinds.LEASE and not deleted and not self._heartbeats.note(key, body, self._clock()):
            return
        await self._queue.add(key)

    async def _noticed_node(self, node: Object, *, deleted: bool) -> None:
        """Wake a node's bots when it is cordoned. The rest of what a node says is read when it matters."""
        name = name_of(node)
        if deleted or not dig(node, "spec", "unschedulable"):
            self._cordoned.discard(name)
        elif name not in self._cordoned:
            self._cordoned.add(name)
            for key in list(self._heartbeats.on_nodes((name,))):
                await self._queue.add(key)

    # ------------------------------------------------------------------------------------------ tasks

    async def _work(self, loop: Loop) -> None:
        while True:
            key = await self._queue.take()
            failed = False
            try:
                outcome = await loop.run(key)
                if outcome is None:
                    self._queue.forget(key)
                elif (after_s := delay_s(outcome)) is not None:
                    await self._queue.add(key, max(SHORTEST_DELAY_S, after_s))
            except RunFailedError as error:
                failed = True
                logger.warning("%s: %s", key, error)
            except Exception:
                # Policy: a defect met by one bot must not stop the others; the key comes back with back-off.
                failed = True
                logger.exception("%s: the run failed unexpectedly", key)
            finally:
                await self._queue.finish(key, failed=failed)
                self._metrics.queued.set(len(self._queue))

    async def _audit(self, cluster: Cluster) -> None:
        """List every bot, to resync each about every five minutes and to notice a deaf watch."""
        while True:
            await asyncio.sleep(AUDIT_S)
            try:
                found = await self._list_bots(cluster)
            except ClusterError as error:
                logger.warning("could not list TradingBots: %s", error)
                continue
            now_s = self._clock()
            self._freshness.listed(found, now_s)
            self._metrics.watch_silence_seconds.set(self._freshness.silence_s(now_s))
            for key in found:
                due_s = self._due_s.setdefault(key, now_s + RESYNC_S * random.random())  # noqa: S311 - spreads load
                if due_s <= now_s:
                    self._due_s[key] = now_s + RESYNC_S * (0.9 + 0.2 * random.random())  # noqa: S311 - as above
                    await self._queue.add(key)
            for key in [known for known in self._due_s if known not in found]:
                del self._due_s[key]

    async def _list_bots(self, cluster: Cluster) -> dict[Key, str]:
        found = {}
        for namespace in self._settings.watch_namespaces:
            for bot in await cluster.find(kinds.TRADING_BOT, namespace):
                metadata = bot["metadata"]
                found[Key(namespace, metadata["name"])] = str(metadata["resourceVersion"])
        return found

    async def _watch_silence(self) -> None:
        """Wake the bots whose engine fell silent: no event tells of what does not happen."""
        while True:
            await asyncio.sleep(SILENCE_LOOK_S)
            for key in list(self._heartbeats.newly_silent(self._clock())):
                await self._queue.add(key)

    async def _watch_nodes(self, cluster: Cluster) -> None:
        """List the kubelets' heartbeats every five seconds: whom do we hear, and is it us who hear nothing."""
        while True:
            try:
                leases = await cluster.find(kinds.LEASE, kinds.NODE_LEASES)
            except ClusterError as error:
                logger.warning("could not list the nodes' Leases: %s", error)
                self._sightings.api.failed()
            else:
                now_s, nodes = self._clock(), self._sightings.nodes
                nodes.listed(leases, now_s)
                self._sightings.api.answered(now_s, writes_seen=nodes.any_within(WRITES_UNSEEN_S, now_s))
                for key in list(self._heartbeats.on_nodes(nodes.newly_silent(now_s))):
                    await self._queue.add(key)
            await asyncio.sleep(LOOK_S)


def bot_of(kind: Kind, body: Object) -> Key | None:
    """The bot that an object belongs to, None when it belongs to none."""
    metadata = body["metadata"]
    if kind == kinds.TRADING_BOT:
        return Key(metadata["namespace"], metadata["name"])
    if kind == kinds.ACCOUNT_CLAIM:
        holder = dig(body, "spec", "holder")
        return Key(holder["namespace"], holder["name"]) if holder else None
    name = label(body, kinds.LABEL_BOT)
    if name is None:
        owners: list[Object] = metadata.get("ownerReferences") or []
        name = next((o["name"] for o in owners if o.get("kind") == kinds.TRADING_BOT.kind), None)
    return None if name is None else Key(metadata["namespace"], name)
