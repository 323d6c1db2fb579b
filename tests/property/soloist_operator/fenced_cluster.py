"""A small world around the real operator: an API server, an exchange, fences and engines, all in memory and in steps.

The operator is the product's own loop; a fence Job runs the fence's own machine, a few commands for every request that
somebody sends to the API server, so that an operator that dies leaves fences at every point of their work. An engine gets
its key from the epoch Secret as a pod does, goes on trading on a lost node, and every order that the exchange accepts is
checked at once: this is what the protocol's statement is about.
"""

from __future__ import annotations

import datetime as dt
import json
import re
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from soloist_fence.api import Evidence, claim_hash
from soloist_fence.cluster import claim_view
from soloist_fence.commands import ClaimView, ReadClaim, Sleep
from soloist_fence.errors import FenceError
from soloist_operator import kinds
from soloist_operator.kinds import Kind
from soloist_operator.objects import (
    annotation,
    content_hash,
    controlled_by,
    deleting,
    dig,
    label,
    name_of,
    uid_of,
)
from soloist_operator.queue import Key
from soloist_operator.specs.engine import (
    ANNOTATION_ADMITTED,
    ANNOTATION_ENGINE,
    ANNOTATION_EPOCH,
    avoided_nodes,
    epoch_secret,
)

from tests.property.soloist_operator.fence_processes import FenceProcess, evidence_of, failure_of, start
from tests.unit.soloist_fence.fence_world import World, order
from tests.unit.soloist_operator.memory_cluster import MemoryCluster, Object
from tests.unit.soloist_operator.operator_scene import ended, node, running_pod

KEY = Key("bots", "demo")
NODES = ("node-1", "node-2")
REVISION = "controller-revision-hash"
BEATS = 10
"""A second passes in so many parts, in each of which a fence does some of its work."""
FENCE_STEPS = 8
BEGINNING = dt.datetime(2026, 1, 2, tzinfo=dt.UTC)


@dataclass
class Engine:
    """One engine process. It is over when its kubelet ended it, and never because somebody says so."""

    bot: Key
    pod_uid: str
    node: str
    epoch: int
    key_id: str
    let_in: bool = False
    """The Lease named its pod and its epoch when it looked: it trades. It holds its key before that."""
    sent: int = 0


@dataclass(eq=False)
class FencedCluster(MemoryCluster):
    """See the module. Time passes with `tick` alone, a second each."""

    steps_per_request: int = 1
    """Commands that each fence does beside one request of an operator."""
    seconds: float = 0.0
    lost_nodes: set[str] = field(default_factory=set)
    nodes: tuple[str, ...] = NODES
    """In the scheduler's order; for almost a minute it knows nothing of a lost one."""
    engines: list[Engine] = field(default_factory=list)
    fences: list[FenceProcess] = field(default_factory=list)
    request_hook: Callable[[Awaitable[Any]], Awaitable[Any]] | None = None
    """Stands between an operator and the API server: it may fail, stop or kill."""
    openers: dict[tuple[str, int, str], int] = field(default_factory=dict)
    """Which operator process opened an epoch: by claim, epoch and nonce."""
    operator: int = 0
    """Which operator process is at work now."""
    requests: int = 0
    changes: int = 0
    """Writes that wake an operator: all but renewals."""
    written: list[str] = field(default_factory=list)
    """What operators wrote: verb and plural, in order."""

    def __post_init__(self) -> None:
        super().__init__(0, _no_fence)
        nobody = ClaimView(epoch=0, nonce="", nonces=frozenset(), phase="Idle")
        self.account = World(nobody)
        """The exchange, its keys and orders, and the epoch Secrets, which no operator can read."""
        self.published: dict[str, tuple[str, int]] = {}
        """Every key that was ever in an epoch Secret: which Secret, which epoch."""
        self.newest_epoch = 0
        self.accepted_orders: list[tuple[int, str]] = []
        self.put(kinds.NAMESPACE, {"metadata": {"name": "bots"}})
        for name in NODES:
            self.put(kinds.NODE, node(metadata={"name": name}))
            self.put(kinds.LEASE, {"metadata": {"name": name, "namespace": kinds.NODE_LEASES}, "spec": {}})

    async def _turn(self) -> None:
        """Nobody comes between but whom a test sends."""

    def put(self, kind: Kind, body: Object) -> Object:
        self.changes += kind != kinds.LEASE
        return super().put(kind, body)

    # ------------------------------------------------------------------------------------------ the API server

    async def _asked(self, request: Awaitable[Any], write: str = "") -> Any:
        self.requests += 1
        if write:
            self.written.append(write)
        answer = await (request if self.request_hook is None else self.request_hook(request))
        for fence in list(self.fences):
            for _ in range(self.steps_per_request):
                self._step(fence)
        return answer

    async def get(self, kind: Kind, namespace: str | None, name: str) -> Object | None:
        return await self._asked(super().get(kind, namespace, name))

    async def find(self, kind: Kind, namespace: str | None, label_selector: str = "") -> list[Object]:
        return await self._asked(super().find(kind, namespace, label_selector))

    async def create(self, kind: Kind, body: Object) -> Object:
        return await self._asked(self._create(kind, body), f"create {kind.plural}")

    async def _create(self, kind: Kind, body: Object) -> Object:
        made = await super().create(kind, body)
        if kind == kinds.ACCOUNT_CLAIM:
            self._swapped(None, made)
        return made

    async def replace(self, kind: Kind, body: Object) -> Object:
        return await self._asked(self._replace(kind, body), f"replace {kind.plural}")

    async def _replace(self, kind: Kind, body: Object) -> Object:
        assert kind == kinds.ACCOUNT_CLAIM, "only claims are replaced whole"
        assert body["metadata"]["resourceVersion"], "a claim is written blindly"
        before = await super().get(kind, None, name_of(body))
        made = await super().replace(kind, body)
        self._swapped(before, made)
        return made

    async def apply(self, kind: Kind, body: Object, subresource: str | None = None) -> Object:
        return await self._asked(self._apply(kind, body, subresource), f"apply {kind.plural}")

    async def _apply(self, kind: Kind, body: Object, subresource: str | None) -> Object:
        assert kind != kinds.ACCOUNT_CLAIM, "a claim is written without compare-and-swap"
        before = await super().get(kind, body["metadata"].get("namespace"), name_of(body))
        if kind == kinds.STATEFUL_SET:
            self._check_template(body)
            if before is not None and before.get("spec") != body["spec"]:
                generation = before["metadata"]["generation"] + 1
                body = {**body, "metadata": {**body["metadata"], "generation": generation}}
        if kind == kinds.LEASE and (said := annotation(before, ANNOTATION_ENGINE)) is not None:
            told = {ANNOTATION_ENGINE: said, **(body["metadata"].get("annotations") or {})}
            body = {**body, "metadata": {**body["metadata"], "annotations": told}}
        return await super().apply(kind, body, subresource)

    async def json_patch(
        self, kind: Kind, namespace: str | None, name: str, operations: list[Object]
    ) -> Object:
        return await self._asked(self._patch(kind, namespace, name, operations), f"patch {kind.plural}")

    async def _patch(self, kind: Kind, namespace: str | None, name: str, operations: list[Object]) -> Object:
        assert kind != kinds.ACCOUNT_CLAIM, "a claim is patched"
        tested = {operation["path"] for operation in operations if operation["op"] == "test"}
        assert {"/metadata/uid", "/metadata/resourceVersion"} <= tested, "an unguarded patch"
        made = await super().json_patch(kind, namespace, name, operations)
        if deleting(made) and not made["metadata"].get("finalizers"):
            self._vanish(kind, made)
        return made

    async def delete(self, kind: Kind, target: Object, *, grace_s: int | None = None, **_: Any) -> None:
        await self._asked(self._delete(kind, target, grace_s), f"delete {kind.plural}")

    async def _delete(self, kind: Kind, target: Object, grace_s: int | None) -> None:
        assert kind != kinds.ACCOUNT_CLAIM, "a claim is deleted"
        await super().delete(kind, target)
        left = await super().get(kind, target["metadata"].get("namespace"), name_of(target))
        if left is None:
            self._collect(kind, target)
        elif grace_s == 0:
            left["metadata"]["deletionGracePeriodSeconds"] = 0
            self.put(kind, left)

    def _vanish(self, kind: Kind, body: Object) -> None:
        del self.objects[kind.plural, body["metadata"].get("namespace") or "", name_of(body)]
        self._collect(kind, body)

    def _collect(self, kind: Kind, owner: Object) -> None:
        """The garbage collector: what a Job controls goes with it."""
        if kind == kinds.TRADING_BOT:
            left = self.account.accepted() & self.published.keys()
            assert not left, f"the TradingBot is gone and the venue accepts its keys: {left}"
        if kind != kinds.JOB:
            return
        self.fences = [fence for fence in self.fences if uid_of(fence.job) != uid_of(owner)]
        for pod in [pod for pod in self.of(kinds.POD) if controlled_by(pod, uid_of(owner))]:
            self._vanish(kinds.POD, pod)

    # ------------------------------------------------------------------------------------------ what must hold

    def _swapped(self, before: Object | None, made: Object) -> None:
        """An epoch goes up by one, with a nonce of its own, and is armed by whoever opened it."""
        status, epoch = made["status"], made["status"]["epoch"]
        earlier = 0 if before is None else before["status"]["epoch"]
        attempt = (name_of(made), epoch, str(status.get("nonce")))
        if epoch != earlier:
            assert epoch == earlier + 1, f"epoch {earlier} is followed by {epoch}"
            assert status["nonce"] not in (before or {"status": {}})["status"].get("nonces", ()), (
                "a nonce twice"
            )
            self.openers[attempt] = self.operator
        elif before is not None:
            assert status.get("nonce") == before["status"].get("nonce"), f"epoch {epoch} is opened twice"
        if status["phase"] == "Active" and dig(before, "status", "phase") != "Active":
            assert self.openers[attempt] == self.operator, (
                "evidence of an attempt that another process opened"
            )
            assert status["secretName"] in self.account.secrets, "armed with a Secret that does not exist"

    def _check_template(self, stateful_set: Object) -> None:
        """A key that still is one is mounted when its claim is Active. (A paused operator may write an old template: a dead key.)"""
        secret = epoch_secret(stateful_set["spec"]["template"]["spec"])
        (claim,) = self.of(kinds.ACCOUNT_CLAIM)
        if secret in self.account.secrets:
            assert claim["status"]["phase"] == "Active", "a template is armed before its claim is"
            assert claim["status"]["secretName"] == secret, "a template is armed with another epoch's key"

    def check(self) -> None:
        """The statement: never two engines with credentials that the exchange accepts; never two published epochs."""
        for name, secret in self.account.secrets.items():
            self.published |= {slot.key_id: (name, secret.epoch) for slot in secret.slots}
        accepted = self.account.accepted()
        holders = sorted({self.published[key] for key in accepted & self.published.keys()})
        assert len(holders) <= 1, f"two published epochs have an accepted key: {holders}"
        able = [engine for engine in self.engines if engine.key_id in accepted]
        assert len(able) <= 1, f"two engines hold accepted credentials: {able}"

    # ------------------------------------------------------------------------------------------ fences

    def _carry_out(self, job: Object) -> None:
        """A Job's pod starts. A check of a configuration succeeds at once; a fence goes to work."""
        container = job["spec"]["template"]["spec"]["containers"][0]
        if container["command"] != ["soloist-fence"]:
            self._job_pod(job, {"terminated": {"exitCode": 0, "message": ""}})
            return
        self._job_pod(job, {"running": {}})
        self.fences.append(start(job, self.account.now_ms))

    def _step(self, fence: FenceProcess) -> None:
        """One command of a fence, unless it sleeps or is over."""
        if fence not in self.fences or fence.awake_ms > self.account.now_ms:
            return
        command = fence.command
        try:
            if isinstance(command, Sleep):
                fence.awake_ms = self.account.now_ms + command.duration_ms
                reply = None
            elif isinstance(command, ReadClaim):
                reply = claim_view(self.objects[kinds.ACCOUNT_CLAIM.plural, "", fence.given["claim"]])
            else:
                reply = self.account.answer(command)
            fence.command = fence.machine.send(reply)
        except FenceError as error:
            self._thrown(fence, error)
        except StopIteration as stop:
            self._ended(fence, evidence_of(fence, stop.value))
        self.check()

    def _thrown(self, fence: FenceProcess, error: FenceError) -> None:
        try:
            fence.command = fence.machine.throw(error)
        except FenceError as last:
            self._ended(fence, failure_of(fence, last))
        except StopIteration as stop:
            self._ended(fence, evidence_of(fence, stop.value))

    def _ended(self, fence: FenceProcess, evidence: Evidence) -> None:
        self.fences.remove(fence)
        state = {"exitCode": evidence.outcome.exit_code, "message": evidence.to_json()}
        self._job_pod(fence.job, {"terminated": state})

    # ------------------------------------------------------------------------------------------ a second passes

    def tick(self) -> None:
        """Controllers, kubelets, fences and engines do what they do in a second."""
        self.seconds += 1
        for name in set(NODES) - self.lost_nodes:
            self.objects[kinds.LEASE.plural, kinds.NODE_LEASES, name]["spec"]["renewTime"] = (
                f"at {self.seconds}"
            )
        for _ in range(BEATS):
            self.account.now_ms += 1000 // BEATS
            for fence in list(self.fences):
                for _ in range(FENCE_STEPS):
                    self._step(fence)
        for stateful_set in self.of(kinds.STATEFUL_SET):
            self._control(stateful_set)
        for pod in [pod for pod in self.of(kinds.POD) if epoch_secret(pod.get("spec") or {})]:
            self._keep(pod)
        for engine in self.engines:
            self._renew(engine)
            self._trade(engine)
        self.check()

    def _control(self, stateful_set: Object) -> None:
        """The StatefulSet controller: look at the template; make the pod whose name is free."""
        metadata, template = stateful_set["metadata"], stateful_set["spec"]["template"]
        status = {
            "observedGeneration": metadata["generation"],
            "updateRevision": content_hash(template),
            "replicas": stateful_set["spec"]["replicas"],
        }
        if stateful_set.get("status") != status:
            stateful_set = self.put(kinds.STATEFUL_SET, {**stateful_set, "status": status})
        place = (kinds.POD.plural, metadata["namespace"], f"{metadata['name']}-0")
        pod = self.objects.get(place)
        if pod is not None and not status["replicas"] and not deleting(pod):
            self.told_to_go(kinds.POD, KEY.namespace, place[2])
        if pod is not None or not status["replicas"]:
            return
        free = [name for name in self.nodes if name not in avoided_nodes(stateful_set)]
        made = running_pod(
            metadata={
                "name": place[2],
                "uid": f"pod-{self.seconds:.0f}-{len(self.engines)}",
                "labels": {**template["metadata"]["labels"], REVISION: status["updateRevision"]},
                "annotations": template["metadata"]["annotations"],
                "finalizers": list(template["metadata"].get("finalizers") or []),
            }
        )
        made["spec"] |= {"volumes": template["spec"]["volumes"], "nodeName": free[0]}
        self.put(kinds.POD, made)

    def _keep(self, pod: Object) -> None:
        """A kubelet: start the engine when its key is there, end it when it is told to."""
        if pod["spec"]["nodeName"] in self.lost_nodes:
            return
        uid, running = uid_of(pod), [e for e in self.engines if e.pod_uid == uid_of(pod)]
        if deleting(pod):
            if dig(pod, "status", "phase") == "Running":
                self.engines = [engine for engine in self.engines if engine.pod_uid != uid]
                over = ended(pod)
                self.put(
                    kinds.POD,
                    {
                        **pod,
                        "status": over["status"],
                        "metadata": {**pod["metadata"], "managedFields": over["metadata"]["managedFields"]},
                    },
                )
            return
        secret = self.account.secrets.get(epoch_secret(pod["spec"]) or "")
        if not running and secret is not None:
            bot = Key(pod["metadata"]["namespace"], str(label(pod, kinds.LABEL_BOT)))
            running = [Engine(bot, uid, pod["spec"]["nodeName"], secret.epoch, secret.slots[-1].key_id)]
            self.engines += running
        lease = self.objects.get((kinds.LEASE.plural, pod["metadata"]["namespace"], name_of(pod)))
        for engine in running:
            told = annotation(lease, ANNOTATION_ADMITTED), annotation(lease, ANNOTATION_EPOCH)
            engine.let_in = engine.let_in or told == (uid, str(engine.epoch))

    def _renew(self, engine: Engine) -> None:
        """An engine renews its Lease, if it reaches the API server and the policy lets its pod."""
        lease = self.objects.get((kinds.LEASE.plural, engine.bot.namespace, f"{engine.bot.name}-0"))
        if (
            engine.node in self.lost_nodes
            or lease is None
            or annotation(lease, ANNOTATION_ADMITTED) != engine.pod_uid
        ):
            return
        told = {"podUid": engine.pod_uid, "epoch": engine.epoch, "incarnation": "1", "state": "ACTIVE"}
        told |= {"ready": True, "keyId": engine.key_id}
        lease["metadata"]["annotations"][ANNOTATION_ENGINE] = json.dumps(told)
        lease["spec"] = {"holderIdentity": f"{engine.pod_uid}/1", "renewTime": f"at {self.seconds}"}

    def _trade(self, engine: Engine) -> None:
        """An engine sends an order. The exchange's accepted orders are the oracle: their epochs never go down."""
        if not engine.let_in or engine.key_id not in self.account.accepted():
            return
        engine.sent += 1
        (claim,) = self.of(kinds.ACCOUNT_CLAIM)
        text = f"s{claim_hash(name_of(claim))}-{engine.epoch}-{engine.pod_uid[4:].replace('-', '')}-{engine.sent}"
        self.account.orders[:] = [o for o in self.account.orders if o.resting][-3:]
        self.account.orders.append(order(text, resting=True, created_ms=self.account.now_ms))
        self.accepted_orders.append((engine.epoch, engine.pod_uid))
        assert engine.epoch >= self.newest_epoch, (
            f"an order of epoch {engine.epoch} after one of {self.newest_epoch}"
        )
        self.newest_epoch = engine.epoch

    def told_to_go(self, kind: Kind, namespace: str, name: str, *, by_force: bool = False) -> None:
        """Somebody deletes an object; `by_force` as `kubectl delete --force` does it."""
        body = self.objects[kind.plural, namespace, name]
        if not body["metadata"].get("finalizers"):
            self._vanish(kind, body)
            return
        over = {"deletionTimestamp": self.wall(), "deletionGracePeriodSeconds": 0 if by_force else 1}
        self.put(kind, {**body, "metadata": {**body["metadata"], **over}})

    # ------------------------------------------------------------------------------------------ what a test asks

    def wall(self) -> str:
        """The time by everybody's clock on the wall."""
        return (BEGINNING + dt.timedelta(seconds=self.seconds)).strftime("%Y-%m-%dT%H:%M:%SZ")

    def claim(self) -> Object | None:
        """The one claim, None before there is one."""
        found = self.of(kinds.ACCOUNT_CLAIM)
        assert len(found) <= 1, "two claims of one account"
        return found[0] if found else None

    def trading(self) -> Engine | None:
        """The engine of the claim's Active epoch that the operator shows as ready, None while there is none."""
        claim = self.claim()
        if claim is None or dig(claim, "status", "phase") != "Active":
            return None
        here = [
            e for e in self.engines if e.epoch == claim["status"]["epoch"] and e.node not in self.lost_nodes
        ]
        return here[0] if here and here[0].sent else None

    def condition(self, kind: str, key: Key = KEY) -> tuple[str, str]:
        """Status and reason of a condition of the bot."""
        body = self.objects[kinds.TRADING_BOT.plural, key.namespace, key.name]
        found = next((c for c in dig(body, "status", "conditions") or [] if c["type"] == kind), None)
        return ("", "") if found is None else (found["status"], found["reason"])

    def rest(self) -> Counter[str]:
        """Everything that there is, by plural and name; epochs and hashes in names are left out, and so are Jobs of attempts."""
        names = (f"{plural} {re.sub('-config-.*', '', name)}" for plural, _, name in self.objects)
        return Counter(name for name in names if not re.search("-fence-e[0-9]+", name))

    def attempts(self) -> int:
        """How many Jobs of attempts are kept."""
        return sum("-fence-e" in name_of(job) for job in self.of(kinds.JOB))


def _no_fence(_job: Object, _cluster: MemoryCluster) -> tuple[int, str]:
    raise AssertionError("Jobs are carried out in steps here")
