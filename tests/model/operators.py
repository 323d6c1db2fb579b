"""What the operators, the engines, the venue and disasters do, one step at a time: P1, P7, P8."""

from __future__ import annotations

from collections.abc import Iterator

from tests.model.takeovers import AT_REST, Takeovers
from tests.model.world import (
    ACTIVE,
    FENCING,
    Claim,
    Cluster,
    Fence,
    Key,
    Operator,
    Pod,
    Setting,
    Step,
    World,
    put,
    secret_of,
)

ENGINES = 5


class Cast:
    """The steps of everybody but the fences and the rotations."""

    def __init__(self, setting: Setting, takeovers: Takeovers) -> None:
        self._setting = setting
        self._broken = setting.mutations
        self._takeovers = takeovers

    def steps(self, world: World) -> Iterator[Step]:
        """Whatever they may do next."""
        for number, operator in enumerate(world.operators):
            yield from self._operator(world, number, operator)
        for index, cluster in enumerate(world.clusters):
            yield from self._start_engine(world, index, cluster)
            yield from self._disaster(world, index, cluster)
        for number, pod in enumerate(world.pods):
            yield from self._engine(world, number, pod)
        for key in sorted(world.fading):
            yield f"the venue refuses {name(key)} from now on", world._replace(fading=world.fading - {key})
        for key in sorted(world.hidden):
            yield f"the venue's list shows {name(key)}", world._replace(hidden=world.hidden - {key})

    # ------------------------------------------------------------------ P1 and P7

    def _operator(self, world: World, number: int, operator: Operator) -> Iterator[Step]:
        claim = world.clusters[operator.cluster].claim
        own = world.fences[operator.attempt] if operator.attempt >= 0 else None
        if len(world.fences) < self._setting.attempts and self._wants_takeover(world, operator, own):
            if operator.read is None:
                reported = max(operator.reported, own.highest if own else 0)
                seen = operator._replace(read=claim, reported=reported)
                yield f"operator {number} reads the claim", self._say(world, number, seen)
            else:
                yield f"operator {number} opens an attempt", self._open(world, number, operator, claim)
        if "evidence survives the operator" in self._broken and claim.phase == FENCING:
            operator, own = operator._replace(attempt=claim.nonce), world.fences[claim.nonce]
        if own is not None and own.at == "done" and self._may_arm(operator, own, claim):
            yield f"operator {number} arms epoch {own.epoch}", self._arm(world, number, operator, own)

    def _wants_takeover(self, world: World, operator: Operator, own: Fence | None) -> bool:
        """At any time when `eager`; else only while nothing is armed and the last attempt has ended without success."""
        if self._setting.sequential and any(fence.at not in AT_REST for fence in world.fences):
            return False
        if self._setting.eager or operator.read is not None:
            return True
        cluster = world.clusters[operator.cluster]
        if cluster.claim.phase == ACTIVE and not cluster.restored:
            return False
        return own is None or own.at in {"failed", "dead"} or cluster.claim.nonce != operator.attempt

    def _say(self, world: World, number: int, operator: Operator) -> World:
        return world._replace(operators=put(world.operators, number, operator))

    def _open(self, world: World, number: int, operator: Operator, claim: Claim) -> World:
        """P1: compare-and-swap to a higher epoch than anything seen."""
        read = operator.read
        assert read is not None
        if read != claim and "force-apply on the claim" not in self._broken:
            return self._say(world, number, operator._replace(read=None))
        epoch = 1 + max(read.epoch, operator.reported)
        if "epoch is claim plus one" in self._broken:
            epoch = 1 + read.epoch
        if "retry inside one epoch" in self._broken and read.epoch and read.phase == FENCING:
            epoch = read.epoch
        nonce = len(world.fences)
        opened = Claim(epoch, nonce, FENCING, read.active, read.history | {nonce})
        cluster = world.clusters[operator.cluster]._replace(claim=opened, restored=False)
        world = world._replace(
            clusters=put(world.clusters, operator.cluster, cluster),
            fences=(*world.fences, Fence(operator.cluster, epoch)),
        )
        return self._say(world, number, Operator(operator.cluster, None, nonce, operator.reported))

    def _may_arm(self, operator: Operator, own: Fence, claim: Claim) -> bool:
        if "force-apply on the claim" in self._broken:
            return claim.active != operator.attempt
        return (claim.epoch, claim.nonce, claim.phase) == (own.epoch, operator.attempt, FENCING)

    def _arm(self, world: World, number: int, operator: Operator, own: Fence) -> World:
        """P7: the claim becomes Active first; the engine's start follows from it."""
        cluster = world.clusters[operator.cluster]
        history = cluster.claim.history | {operator.attempt}
        claim = Claim(own.epoch, operator.attempt, ACTIVE, operator.attempt, history)
        armed = cluster._replace(claim=claim, restored=False)
        world = world._replace(clusters=put(world.clusters, operator.cluster, armed))
        return self._say(world, number, operator._replace(attempt=-1))

    # ------------------------------------------------------------------ P8

    def _start_engine(self, world: World, index: int, cluster: Cluster) -> Iterator[Step]:
        """The StatefulSet makes the pod that an Active claim asks for; an older one may live on where nobody sees it."""
        claim = cluster.claim
        if claim.phase != ACTIVE or cluster.restored or len(world.pods) >= ENGINES:
            return
        secret = secret_of(cluster, self._takeovers.secret_name(claim.epoch, claim.active))
        running = claim.active in cluster.started
        if secret is None or (running and "release before evidence" not in self._broken):
            return
        known = cluster._replace(started=cluster.started | {claim.active})
        pod = Pod(
            index, claim.epoch, claim.active, secret.name, len(world.pods), secret.generation, secret.slots,
            secret.slots[-1],
        )  # fmt: skip
        yield (
            f"an engine of epoch {claim.epoch} starts",
            world._replace(pods=(*world.pods, pod), clusters=put(world.clusters, index, known)),
        )

    def _engine(self, world: World, number: int, pod: Pod) -> Iterator[Step]:
        """It sends with whatever key is accepted, and takes over what its mounted Secret says."""
        if pod.epoch > world.sent[pod.cluster] and self.accepted(world, pod):
            sent = put(world.sent, pod.cluster, pod.epoch)
            yield f"engine {number} has an order of epoch {pod.epoch} accepted", world._replace(sent=sent)
        secret = secret_of(world.clusters[pod.cluster], pod.secret)
        if secret is not None and (secret.generation, secret.slots) != (pod.seen, pod.slots):
            using = secret.slots[-1]
            reloaded = pod._replace(seen=secret.generation, slots=secret.slots, using=using)
            yield (
                f"engine {number} reloads and uses {name(using)}",
                world._replace(pods=put(world.pods, number, reloaded)),
            )

    @staticmethod
    def accepted(world: World, pod: Pod) -> bool:
        """Whether the venue still accepts any key that the engine holds."""
        return any(key in world.listed or key in world.fading for key in pod.slots)

    # ------------------------------------------------------------------ restored backups

    def _disaster(self, world: World, index: int, cluster: Cluster) -> Iterator[Step]:
        if index or cluster.restores >= self._setting.restores:
            return
        if cluster.saved is None:
            saved = cluster._replace(saved=(cluster.claim, cluster.secrets, cluster.started))
            yield "a backup is taken", world._replace(clusters=put(world.clusters, index, saved))
            return
        if cluster.saved == (cluster.claim, cluster.secrets, cluster.started):
            return
        claim, secrets, started = cluster.saved
        back = cluster._replace(claim=claim, saved=None, restored=True, restores=cluster.restores + 1)
        if self._setting.whole_etcd:
            back = back._replace(secrets=secrets, started=started)
        operators = tuple(
            Operator(item.cluster) if item.cluster == index else item for item in world.operators
        )
        yield (
            "the backup is restored and the operators start again",
            world._replace(clusters=put(world.clusters, index, back), operators=operators),
        )


def name(key: Key) -> str:
    """A key, for a person."""
    return f"e{key.epoch}/g{key.generation}/{key.nonce} of cluster {key.cluster} by {key.maker}"
