"""The only writer: carries out a plan, in its order, and stops at the first write that fails.

Children and status are applied (server-side, field manager `soloist`, force); claims are swapped by resourceVersion;
finalizers are JSON patches that test uid and resourceVersion; deletes carry both as preconditions.
"""

from __future__ import annotations

import datetime as dt
import logging
from collections.abc import Callable

from soloist_operator import kinds, ownership
from soloist_operator.attempts import AttemptMemory
from soloist_operator.cluster import Cluster
from soloist_operator.conditions import same_status
from soloist_operator.errors import ClusterError, ConflictError, NameTakenError, NotFoundError
from soloist_operator.objects import Object, dig, finalizers, name_of, uid_of, version_of
from soloist_operator.plan import (
    AT_ONCE,
    Action,
    Announce,
    Apply,
    Create,
    Delete,
    ForceDelete,
    Plan,
    ScaleToZero,
    SetFinalizer,
    SwapClaim,
    Trim,
)
from soloist_operator.specs.common import BotRef

logger = logging.getLogger(__name__)


def timestamp() -> str:
    """Now, as Kubernetes writes times: RFC 3339, UTC, seconds."""
    return dt.datetime.now(dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


class Writer:
    """Carries out plans. `clock` gives monotonic seconds for the pauses between attempts."""

    def __init__(self, cluster: Cluster, memory: AttemptMemory, clock: Callable[[], float]) -> None:
        self._cluster = cluster
        self._memory = memory
        self._clock = clock

    async def carry_out(self, ref: BotRef, bot: Object, plan: Plan) -> None:
        """Do everything a plan says. Raises the ClusterError of the write that failed."""
        for action in plan.actions:
            logger.info("%s/%s: %s", ref.namespace, ref.name, describe(action))
            await self._act(ref, action)
        if plan.status is None or plan.outcome == AT_ONCE:
            return  # the next step follows in a moment and will have more to say
        await self.tell(ref, bot, plan.status, plan.announcements)

    async def tell(
        self, ref: BotRef, bot: Object, status: Object, announcements: tuple[Announce, ...]
    ) -> None:
        """Write the status, and the Events that go with it."""
        await self.show(ref, bot, status)
        for announcement in announcements:
            await self._announce(ref, announcement)

    async def show(self, ref: BotRef, bot: Object, status: Object) -> None:
        """Write the status, if it differs from what the bot shows."""
        if same_status(bot, status):
            return
        body = {
            "apiVersion": kinds.TRADING_BOT.api_version,
            "kind": kinds.TRADING_BOT.kind,
            # The uid keeps a status from bringing a deleted bot's name back to life.
            "metadata": {"name": ref.name, "namespace": ref.namespace, "uid": ref.uid},
            "status": status,
        }
        await self._cluster.apply(kinds.TRADING_BOT, body, "status")

    async def _act(self, ref: BotRef, action: Action) -> None:
        match action:
            case Apply(kind, body):
                await self._cluster.apply(kind, body)
            case Trim(kind, target, pointers):
                await self._patch(kind, target, [{"op": "remove", "path": pointer} for pointer in pointers])
            case Create(kind, body, opens):
                await self._create(ref, kind, body)
                if opens is not None:
                    self._memory.open(opens, self._clock())
            case Delete(kind, target, _, failed):
                await self._delete(kind, target)
                if failed is not None:
                    self._memory.close(failed, failed=True, now_s=self._clock())
            case ForceDelete(pod):
                await self._force_delete(pod)
            case SetFinalizer():
                await self._set_finalizer(action)
            case ScaleToZero(stateful_set):
                await self._scale_to_zero(stateful_set)
            case SwapClaim():
                await self._swap(action)

    async def _create(self, ref: BotRef, kind: kinds.Kind, body: Object) -> None:
        """Create what must be new. Raises NameTakenError when somebody else's has its name."""
        try:
            await self._cluster.create(kind, body)
        except ConflictError as error:
            live = await self._cluster.get(kind, ref.namespace, name_of(body))
            stranger = ownership.created(ref, kind, live)
            if stranger is None:
                raise
            raise NameTakenError(stranger.message, error.status) from error

    async def _delete(self, kind: kinds.Kind, target: Object) -> None:
        try:
            await self._cluster.delete(kind, target)
        except NotFoundError:
            return  # what we wanted

    async def _force_delete(self, pod: Object) -> None:
        try:
            await self._cluster.delete(kinds.POD, pod, grace_s=0)
        except NotFoundError:
            return  # what we wanted

    async def _set_finalizer(self, action: SetFinalizer) -> None:
        target = action.target
        present = finalizers(target)
        if action.present:
            change: dict[str, object] = (
                {"op": "add", "path": "/metadata/finalizers/-", "value": action.finalizer}
                if present
                else {"op": "add", "path": "/metadata/finalizers", "value": [action.finalizer]}
            )
        else:
            index = present.index(action.finalizer)
            change = {"op": "remove", "path": f"/metadata/finalizers/{index}"}
        try:
            await self._patch(action.kind, target, [change])
        except NotFoundError:
            if action.present:
                raise

    async def _scale_to_zero(self, stateful_set: Object) -> None:
        await self._patch(
            kinds.STATEFUL_SET, stateful_set, [{"op": "replace", "path": "/spec/replicas", "value": 0}]
        )

    async def _patch(self, kind: kinds.Kind, target: Object, changes: list[dict[str, object]]) -> None:
        guards: list[dict[str, object]] = [
            {"op": "test", "path": "/metadata/uid", "value": uid_of(target)},
            {"op": "test", "path": "/metadata/resourceVersion", "value": version_of(target)},
        ]
        await self._cluster.json_patch(
            kind, target["metadata"].get("namespace"), name_of(target), [*guards, *changes]
        )

    async def _swap(self, action: SwapClaim) -> None:
        body = action.body
        if dig(body, "metadata", "resourceVersion") is None:
            await self._cluster.create(kinds.ACCOUNT_CLAIM, body)
        else:
            await self._cluster.replace(kinds.ACCOUNT_CLAIM, body)
        if action.closes is not None:
            self._memory.close(action.closes, failed=action.failed, now_s=self._clock())
        if action.opens is not None:
            self._memory.open(action.opens, self._clock())

    async def _announce(self, ref: BotRef, announcement: Announce) -> None:
        """A typed Event; losing one loses no safety, so a refusal is logged and forgotten."""
        now = timestamp()
        event: Object = {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"generateName": f"{ref.name}-", "namespace": ref.namespace},
            "involvedObject": {
                "apiVersion": kinds.TRADING_BOT.api_version,
                "kind": kinds.TRADING_BOT.kind,
                "namespace": ref.namespace,
                "name": ref.name,
                "uid": ref.uid,
            },
            "type": announcement.kind,
            "reason": announcement.reason,
            "message": announcement.message,
            "source": {"component": "soloist-operator"},
            "reportingComponent": "soloist.trade/operator",
            "firstTimestamp": now,
            "lastTimestamp": now,
            "count": 1,
        }
        try:
            await self._cluster.create(kinds.EVENT, event)
        except ClusterError as error:
            logger.warning("event of %s/%s not written: %s", ref.namespace, ref.name, error)


def describe(action: Action) -> str:
    """One line for the log."""
    match action:
        case Apply(kind, body):
            return f"apply {kind.kind} {name_of(body)}"
        case Trim(kind, target, pointers):
            return f"remove {', '.join(pointers)} from {kind.kind} {name_of(target)}: nobody declared it"
        case Create(kind, body):
            return f"create {kind.kind} {name_of(body)}"
        case Delete(kind, target, why):
            return f"delete {kind.kind} {name_of(target)}: {why}"
        case ForceDelete(pod, why):
            return f"delete Pod {name_of(pod)} by force: {why}"
        case SetFinalizer(kind, target, finalizer, present, why):
            return f"{'add' if present else 'remove'} {finalizer} on {kind.kind} {name_of(target)}: {why}"
        case ScaleToZero(stateful_set):
            return f"scale StatefulSet {name_of(stateful_set)} to zero"
        case SwapClaim(body, why):
            return f"swap AccountClaim {name_of(body)} to {dig(body, 'status', 'phase')}: {why}"
