"""Read the cluster, live, into one frozen value. "Could not look" is an outcome of its own and blocks every decision."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol

from soloist_operator import kinds
from soloist_operator.death import NodeSight, Sight
from soloist_operator.errors import ClusterError
from soloist_operator.kinds import Kind
from soloist_operator.objects import Object, dig, finalizers, name_of
from soloist_operator.queue import Key
from soloist_operator.specs.common import BotRef
from soloist_operator.specs.engine import state_claim
from soloist_operator.specs.network import Address

API_SERVER_AGE_S = 60.0
_IPV6_AND_IPV4 = frozenset({"IPv4", "IPv6"})


class Reader(Protocol):
    """What observing needs of a cluster."""

    async def get(self, kind: Kind, namespace: str | None, name: str) -> Object | None:
        """One object, None when it does not exist; ClusterError when we could not look."""

    async def find(self, kind: Kind, namespace: str | None, label_selector: str = "") -> list[Object]:
        """All matching objects; ClusterError when we could not look."""


@dataclass(frozen=True)
class Stray:
    """A pod that should not be, and its node."""

    pod: Object
    node: NodeSight


@dataclass(frozen=True)
class Elsewhere:
    """Where else the engine might run. Only looked for while its node is cordoned; `why`: we could not look."""

    nodes: tuple[Object, ...] = ()
    volume: Object | None = None
    """The PersistentVolume that the engine's pod mounts, None while nothing is bound."""
    why: str = ""


@dataclass(frozen=True)
class Observed:
    """One bot and everything around it, as it was a moment ago."""

    bot: Object
    ref: BotRef
    stateful_set: Object | None
    service: Object | None
    disruption_budget: Object | None
    network_policy: Object | None
    lease: Object | None
    rotation: Object | None
    volume_claims: tuple[Object, ...]
    """Every generation of the state volume that there is, also what an earlier bot of this name left."""
    config_maps: tuple[Object, ...]
    jobs: tuple[Object, ...]
    pods: tuple[Object, ...]
    """Pods of the bot's Jobs and the engine's."""
    pod: Object | None
    """The engine's pod, by name: a removed label does not hide it."""
    node: NodeSight
    claim: Object | None
    api_server: tuple[Address, ...]
    cluster_id: str

    strays: tuple[Stray, ...] = ()
    """Fenced pods of the bot beside its one engine: somebody scaled the StatefulSet, and they have to be proven dead, too."""
    audit: Object | None = None
    """The CronJob that audits the account."""
    holder_gone: bool = False
    """Somebody else holds the claim, and was looked for live and does not exist."""
    elsewhere: Elsewhere | None = None
    """None unless the engine's node is cordoned."""
    namespace_ending: bool = False
    """The bot is being deleted, and its namespace with it: no Job can be made here any more."""

    @property
    def volume(self) -> int:
        """The generation of the state volume in use: the template's; without one (a bot made again), the newest kept."""
        template: Object = dig(self.stateful_set, "spec", "template", "spec") or {}
        named = self.ref.volume_generation(state_claim(template) or "")
        if named is not None:
            return named
        kept = [self.ref.volume_generation(name_of(claim)) for claim in self.volume_claims]
        return max((generation for generation in kept if generation is not None), default=0)

    @property
    def volume_claim(self) -> Object | None:
        """The state volume in use."""
        name = self.ref.volume_claim(self.volume)
        return next((claim for claim in self.volume_claims if name_of(claim) == name), None)

    def job(self, name: str) -> Object | None:
        """One of the bot's Jobs, of an earlier bot of its name too; our labels alone make none of a stranger's."""
        named = (job for job in self.jobs if job["metadata"]["name"] == name)
        return next((job for job in named if self._made_by_a_bot(job)), None)

    def _made_by_a_bot(self, job: Object) -> bool:
        owners: list[Object] = job["metadata"].get("ownerReferences") or []
        ours = (kinds.TRADING_BOT.kind, self.ref.name)
        return any(o.get("controller") and (o.get("kind"), o.get("name")) == ours for o in owners)


@dataclass(frozen=True)
class Gone:
    """The TradingBot does not exist."""


@dataclass(frozen=True)
class CouldNotLook:
    """Something could not be read, so nothing is decided. `bot` is the TradingBot, if at least that could be read."""

    why: str
    bot: Object | None = None


def claim_of(bot: Object) -> str | None:
    """Name of the claim that a bot's status is bound to; None before the venue said which account it is."""
    bound = dig(bot, "status", "claim")
    return str(bound) if bound else None


class Observer:
    """Reads bots. Keeps only what never changes (the cluster id) or hardly ever does (the API server's addresses)."""

    def __init__(self, reader: Reader, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._reader = reader
        self._clock = clock
        self._cluster_id: str | None = None
        self._api_server: tuple[Address, ...] = ()
        self._api_server_read_s = float("-inf")

    async def observe(self, key: Key) -> Observed | Gone | CouldNotLook:
        """Look at one bot and everything around it."""
        seen: Observed | Gone | CouldNotLook
        bot: Object | None = None
        try:
            bot = await self._reader.get(kinds.TRADING_BOT, key.namespace, key.name)
            if bot is None:
                seen = Gone()
            elif await self._namespace_ending(bot):
                seen = await self._before_the_end(bot)
            else:
                seen = await self._around(bot)
        except* ClusterError as errors:
            seen = CouldNotLook("; ".join(map(str, errors.exceptions)), bot)
        return seen

    async def _before_the_end(self, bot: Object) -> Observed:
        """A bot whose namespace terminates: what its farewell still needs, by rights that no Role in there gives."""
        metadata = bot["metadata"]
        ref = BotRef(metadata["namespace"], metadata["name"], metadata["uid"])
        get = self._reader.get
        pods = await self._reader.find(kinds.POD, ref.namespace, f"{kinds.LABEL_BOT}={ref.name}")
        pod = await get(kinds.POD, ref.namespace, ref.pod)
        return Observed(
            bot=bot,
            ref=ref,
            stateful_set=await get(kinds.STATEFUL_SET, ref.namespace, ref.name),
            volume_claims=(),
            service=None,
            disruption_budget=None,
            network_policy=None,
            lease=None,
            rotation=None,
            config_maps=(),
            jobs=(),
            pods=tuple(pods),
            pod=pod,
            node=await self._node_of(pod),
            strays=await self._strays(ref, pods),
            claim=await self._claim(bot),
            namespace_ending=True,
            api_server=(),
            cluster_id=await self._cluster(),
        )

    async def _strays(self, ref: BotRef, pods: list[Object]) -> tuple[Stray, ...]:
        return tuple(
            [
                Stray(found, await self._node_of(found))
                for found in pods
                if name_of(found) != ref.pod and kinds.FENCE_FINALIZER in finalizers(found)
            ]
        )

    async def _around(self, bot: Object) -> Observed:
        metadata = bot["metadata"]
        ref = BotRef(metadata["namespace"], metadata["name"], metadata["uid"])
        namespace, selector = ref.namespace, f"{kinds.LABEL_BOT}={ref.name}"
        get, find = self._reader.get, self._reader.find
        async with asyncio.TaskGroup() as group:
            stateful_set = group.create_task(get(kinds.STATEFUL_SET, namespace, ref.name))
            volumes = group.create_task(find(kinds.VOLUME_CLAIM, namespace, selector))
            service = group.create_task(get(kinds.SERVICE, namespace, ref.name))
            budget = group.create_task(get(kinds.DISRUPTION_BUDGET, namespace, ref.name))
            policy = group.create_task(get(kinds.NETWORK_POLICY, namespace, ref.name))
            lease = group.create_task(get(kinds.LEASE, namespace, ref.pod))
            rotation = group.create_task(get(kinds.CRON_JOB, namespace, ref.rotation))
            audit = group.create_task(get(kinds.CRON_JOB, namespace, ref.audit))
            claim = group.create_task(self._claim(bot))
            config_maps = group.create_task(find(kinds.CONFIG_MAP, namespace, selector))
            jobs = group.create_task(find(kinds.JOB, namespace, selector))
            pods = group.create_task(find(kinds.POD, namespace, selector))
        pod = await get(kinds.POD, namespace, ref.pod)
        node = await self._node_of(pod)
        seen = Observed(
            bot=bot,
            ref=ref,
            stateful_set=stateful_set.result(),
            volume_claims=tuple(volumes.result()),
            service=service.result(),
            disruption_budget=budget.result(),
            network_policy=policy.result(),
            lease=lease.result(),
            rotation=rotation.result(),
            config_maps=tuple(config_maps.result()),
            jobs=tuple(jobs.result()),
            pods=tuple(pods.result()),
            pod=pod,
            node=node,
            elsewhere=await self._elsewhere(pod, node, volumes.result()),
            strays=await self._strays(ref, pods.result()),
            claim=claim.result(),
            audit=audit.result(),
            holder_gone=await self._holder_gone(claim.result(), ref.uid),
            api_server=await self._api_server_addresses(),
            cluster_id=await self._cluster(),
        )
        if seen.volume_claim is not None:
            return seen
        # By name, too: a stranger's has our name and not our label.
        other = await get(kinds.VOLUME_CLAIM, namespace, ref.volume_claim(seen.volume))
        return seen if other is None else replace(seen, volume_claims=(*seen.volume_claims, other))

    async def _claim(self, bot: Object) -> Object | None:
        name = claim_of(bot)
        return None if name is None else await self._reader.get(kinds.ACCOUNT_CLAIM, None, name)

    async def _holder_gone(self, claim: Object | None, uid: str) -> bool:
        """Whether another bot holds the claim and does not exist. A namesake with another uid is another bot."""
        holder = dig(claim, "spec", "holder")
        if not holder or holder["uid"] == uid:
            return False
        found = await self._reader.get(kinds.TRADING_BOT, holder["namespace"], holder["name"])
        return found is None or found["metadata"]["uid"] != holder["uid"]

    async def _namespace_ending(self, bot: Object) -> bool:
        """Only asked for a bot that is being deleted."""
        if not bot["metadata"].get("deletionTimestamp"):
            return False
        found = await self._reader.get(kinds.NAMESPACE, None, str(bot["metadata"]["namespace"]))
        return found is not None and bool(found["metadata"].get("deletionTimestamp"))

    async def _node_of(self, pod: Object | None) -> NodeSight:
        """A pod's node. A node that we could not see is not a reason to see nothing at all."""
        name = dig(pod, "spec", "nodeName")
        if not name:
            return NodeSight(Sight.UNASSIGNED)
        try:
            node = await self._reader.get(kinds.NODE, None, str(name))
        except ClusterError as error:
            return NodeSight(Sight.UNSEEN, why=str(error))
        return NodeSight(Sight.ABSENT) if node is None else NodeSight(Sight.PRESENT, node)

    async def _elsewhere(
        self, pod: Object | None, node: NodeSight, volume_claims: list[Object]
    ) -> Elsewhere | None:
        """The other nodes, and what binds the pod's volume to its own."""
        if pod is None or not dig(node.node, "spec", "unschedulable"):
            return None
        mounted = state_claim(pod["spec"])
        bound = next((dig(c, "spec", "volumeName") for c in volume_claims if name_of(c) == mounted), None)
        try:
            nodes = await self._reader.find(kinds.NODE, None)
            volume = await self._reader.get(kinds.VOLUME, None, str(bound)) if bound else None
        except ClusterError as error:
            return Elsewhere(why=str(error))
        return Elsewhere(tuple(nodes), volume)

    async def _cluster(self) -> str:
        if self._cluster_id is None:
            namespace = await self._reader.get(kinds.NAMESPACE, None, "kube-system")
            if namespace is None:
                raise ClusterError("Namespace kube-system does not exist: its uid is the cluster id")
            self._cluster_id = str(namespace["metadata"]["uid"])
        return self._cluster_id

    async def _api_server_addresses(self) -> tuple[Address, ...]:
        now_s = self._clock()
        if not self._api_server or now_s - self._api_server_read_s >= API_SERVER_AGE_S:
            found = await self._reader.get(kinds.ENDPOINT_SLICE, "default", "kubernetes")
            self._api_server = addresses_of(found)
            self._api_server_read_s = now_s
        return self._api_server


def addresses_of(endpoint_slice: Object | None) -> tuple[Address, ...]:
    """Every address and port of an EndpointSlice, in a stable order; none when it does not exist."""
    if endpoint_slice is None or endpoint_slice.get("addressType") not in _IPV6_AND_IPV4:
        return ()
    ports = [int(port["port"]) for port in endpoint_slice.get("ports") or [] if port.get("port")]
    hosts = [
        str(host)
        for endpoint in endpoint_slice.get("endpoints") or []
        for host in endpoint.get("addresses") or []
    ]
    return tuple(sorted(Address(host, port) for host in hosts for port in ports))
