"""One bot, one run: observe -> decide -> apply. Level-triggered: a run may die between any two writes."""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Callable

from soloist_fence.api import Verb, nonce_from

from soloist_operator import kinds, ownership, relocation, rollout, takeover
from soloist_operator.api.status import ConditionType, Phase
from soloist_operator.apply import Writer, timestamp
from soloist_operator.attempts import AttemptMemory, attempt_of
from soloist_operator.children import STRANGER_LOOK_S
from soloist_operator.cluster import Cluster
from soloist_operator.conditions import FALSE, NOT_YET, TRUE, could_not_look
from soloist_operator.decide import decide
from soloist_operator.decommission import decide_deletion
from soloist_operator.errors import (
    ClusterError,
    ConflictError,
    ForbiddenError,
    InvalidError,
    NameTakenError,
    TooManyRequestsError,
)
from soloist_operator.heartbeat import Heartbeats
from soloist_operator.holding import attempt_view
from soloist_operator.metrics import Metrics
from soloist_operator.objects import Object, deleting, dig, name_of, uid_of
from soloist_operator.observe import CouldNotLook, Gone, Observed, Observer
from soloist_operator.plan import Again, Announce, Blocked, Done, Outcome, Plan, SwapClaim
from soloist_operator.queue import Key
from soloist_operator.relocation import Watch
from soloist_operator.road import Context
from soloist_operator.settings import Settings
from soloist_operator.sightings import Sightings
from soloist_operator.specs.common import BotRef
from soloist_operator.takeover import Crowd

logger = logging.getLogger(__name__)

_NONCE_BYTES = 8
BLIND_AFTER_S = 30.0
"""How long a bot may go unseen before its status says so; a lost connection is over sooner."""


class RunFailedError(Exception):
    """A run could not be finished; its key comes back with back-off."""


class Loop:
    """Reconciles bots. One instance per process: it remembers the attempts that this process opened."""

    def __init__(
        self,
        cluster: Cluster,
        settings: Settings,
        heartbeats: Heartbeats,
        metrics: Metrics,
        *,
        sightings: Sightings | None = None,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], str] = timestamp,
        after_restore: bool = False,
    ) -> None:
        self._cluster = cluster
        self._after_restore = after_restore
        self._settings = settings
        self._heartbeats = heartbeats
        self._metrics = metrics
        self._sightings = Sightings() if sightings is None else sightings
        self._blind_since_s: dict[Key, float] = {}
        self._in_flight: set[Key] = set()
        self._stopped: set[Key] = set()
        self._trials = rollout.Trials()
        self._turns = rollout.Turns()
        self._clock = clock
        self._wall = wall
        self._memory = AttemptMemory()
        self._observer = Observer(cluster, clock=clock)
        self._writer = Writer(cluster, self._memory, clock)

    async def run(self, key: Key) -> Outcome | None:
        """One run. None: the bot is gone. Raises RunFailedError when the key must come back with back-off."""
        started_s = self._clock()
        try:
            outcome = await self._run(key)
        except RunFailedError:
            self._metrics.runs.labels("failed").inc()
            raise
        finally:
            self._metrics.run_seconds.observe(self._clock() - started_s)
        self._metrics.runs.labels("gone" if outcome is None else type(outcome).__name__.lower()).inc()
        return outcome

    async def _run(self, key: Key) -> Outcome | None:
        seen = await self._observer.observe(key)
        if isinstance(seen, Gone):
            self._forget(key)
            return None
        if isinstance(seen, CouldNotLook):
            self._sightings.api.failed()
            await self._show_blindness(key, seen)
            raise RunFailedError(f"could not look at {key}: {seen.why}")
        self._blind_since_s.pop(key, None)
        if seen.lease is not None:
            self._heartbeats.note(key, seen.lease, self._clock())
        self._heartbeats.place(key, dig(seen.pod, "spec", "nodeName"))
        await self._look_at_node(key, seen)
        context = self._context(key, seen)
        plan = decide_deletion(seen, context) if deleting(seen.bot) else decide(seen, context)
        try:
            await self._carry_out(key, seen, plan)
        except NameTakenError as error:
            await self._show_refusal(seen, plan, ownership.NAME_TAKEN, str(error))
            return Again(STRANGER_LOOK_S)
        except ConflictError as error:
            logger.info("%s: somebody was faster, looking again: %s", key, error)
            return Again(0.2)
        except TooManyRequestsError as error:
            return Again(error.retry_after_s)
        except (InvalidError, ForbiddenError) as error:
            reason = "Forbidden" if isinstance(error, ForbiddenError) else "Refused"
            await self._show_refusal(
                seen, plan, reason, f"{error}. Correct the spec, or the operator's rights"
            )
            raise RunFailedError(str(error)) from error
        except ClusterError as error:
            self._sightings.api.failed()
            raise RunFailedError(str(error)) from error
        self._count(key, seen, plan)
        return plan.outcome

    def _forget(self, key: Key) -> None:
        self._heartbeats.forget(key)
        self._blind_since_s.pop(key, None)
        self._in_flight.discard(key)
        self._stopped.discard(key)
        self._trials.forget(key)
        self._turns.take(key, self._clock(), wanted=False)

    async def _look_at_node(self, key: Key, seen: Observed) -> None:
        """Read the Lease of a node live, in a run that may have to judge it: the list of all is some seconds old."""
        node = dig(seen.pod, "spec", "nodeName")
        if not node or not (
            self._heartbeats.view(key, self._clock()).silent or deleting(seen.pod or {"metadata": {}})
        ):
            return
        try:
            lease = await self._cluster.get(kinds.LEASE, kinds.NODE_LEASES, node)
        except ClusterError as error:
            logger.warning("%s: could not look at the Lease of node %s: %s", key, node, error)
            self._sightings.api.failed()
        else:
            self._sightings.nodes.note(node, lease, self._clock())

    async def _carry_out(self, key: Key, seen: Observed, plan: Plan) -> None:
        """Write a plan. Its takeover is under way before the first write: the other workers decide in the meantime."""
        fencing = self._is_fencing(seen)
        (self._in_flight.add if fencing or _takes_over(plan) else self._in_flight.discard)(key)
        try:
            await self._writer.carry_out(seen.ref, seen.bot, plan)
        except ClusterError:
            if not fencing:  # if it was opened all the same, its epoch is opened again, and counts then
                self._in_flight.discard(key)
            raise

    def _is_fencing(self, seen: Observed) -> bool:
        """Whether a takeover of this process is at work. One that waits after a failure, for a person even, is not."""
        claim = seen.claim
        if claim is None or dig(claim, "status", "phase") != Phase.FENCING.value or _cause(claim) is None:
            return False
        return self._memory.is_at_work(attempt_of(claim, Verb.TAKEOVER), self._clock())

    def _count(self, key: Key, seen: Observed, plan: Plan) -> None:
        """Takeovers made and stopped, for whoever is paged."""
        if (cause := _takes_over(plan)) and dig(seen.claim, "status", "phase") == Phase.ACTIVE.value:
            self._metrics.takeovers.labels(cause).inc()
        stopped = any(c["reason"] == takeover.STOPPED for c in (plan.status or {}).get("conditions", ()))
        (self._stopped.add if stopped else self._stopped.discard)(key)
        self._metrics.takeovers_stopped.set(len(self._stopped))
        if plan.status is not None and seen.claim is not None and not deleting(seen.bot):
            self._metrics.keys(name_of(seen.claim), _unhealthy_keys(plan.status))

    def _context(self, key: Key, seen: Observed) -> Context:
        now_s = self._clock()
        nonce = nonce_from(secrets.token_bytes(_NONCE_BYTES))
        return Context(
            settings=self._settings,
            now=self._wall(),
            heartbeat=self._heartbeats.view(key, now_s),
            watch=self._watch(key, seen, now_s),
            attempts={
                verb: attempt_view(self._memory, seen, verb, nonce, now_s)
                for verb in (Verb.IDENTIFY, Verb.TAKEOVER, Verb.RELEASE)
            },
            restored=self._is_restored(seen),
            turn=self._turns.take(
                key, now_s, wanted=not deleting(seen.bot) and rollout.unasked(seen, self._settings)
            ),
            trial_s=self._trial_s(key, seen, now_s),
        )

    def _trial_s(self, key: Key, seen: Observed, now_s: float) -> float:
        """How long the engine's pod has been up and not ready."""
        if seen.pod is None:
            self._trials.forget(key)
            return 0.0
        share = rollout.share(seen, self._heartbeats.view(key, now_s))
        return self._trials.seen(key, uid_of(seen.pod), now_s, share=share)

    def _is_restored(self, seen: Observed) -> bool:
        """Whether a claim may come from the backup that was restored: this process has opened no epoch of it."""
        return (
            self._after_restore and seen.claim is not None and not self._memory.renewed(name_of(seen.claim))
        )

    def _watch(self, key: Key, seen: Observed, now_s: float) -> Watch:
        sightings, node = self._sightings, dig(seen.pod, "spec", "nodeName")
        late = relocation.overrun(seen, self._wall())
        before_us = filter(sightings.nodes.unheard, relocation.found_silent(seen))
        heard_of, silent = self._heartbeats.crowd(now_s)
        return Watch(
            api_healthy_s=sightings.api.healthy_s(now_s),
            node_silent_s=sightings.nodes.silent_s(str(node), now_s) if node else None,
            overrun_s=0.0
            if seen.pod is None
            else sightings.overruns.seen(uid_of(seen.pod), now_s, overrun=late),
            silent_nodes=tuple(sorted({*sightings.nodes.silent(now_s), *before_us})),
            crowd=Crowd(heard_of, silent, len(self._in_flight - {key})),
        )

    async def _show_blindness(self, key: Key, seen: CouldNotLook) -> None:
        """What could not be looked at for a while (a right that is missing, say) is told where a person looks."""
        now_s = self._clock()
        if now_s - self._blind_since_s.setdefault(key, now_s) < BLIND_AFTER_S or seen.bot is None:
            return
        metadata = seen.bot["metadata"]
        ref = BotRef(metadata["namespace"], metadata["name"], metadata["uid"])
        try:
            await self._writer.show(ref, seen.bot, could_not_look(seen.bot, seen.why, self._wall()))
        except ClusterError as error:
            logger.warning("%s: nor could that be shown: %s", key, error)

    async def _show_refusal(self, seen: Observed, plan: Plan, reason: str, message: str) -> None:
        """The API server refused a child as written (a bad affinity, say), our rights are missing, or a name is: say so in the status."""
        if plan.status is None:
            return
        status = refused(plan.status, reason, message)
        (told,) = (c for c in status["conditions"] if c["type"] == ConditionType.READY.value)
        shown: list[Object] = dig(seen.bot, "status", "conditions") or []
        new = not any(c["type"] == told["type"] and c["reason"] == reason for c in shown)
        announcements = (Announce("Warning", reason, told["message"]),) if new else ()
        await self._writer.tell(seen.ref, seen.bot, status, announcements)


def _cause(claim: Object | None) -> str | None:
    """Why the last epoch of a claim was opened, when that was a takeover."""
    reason = dig(claim, "status", "reason")
    return str(reason) if reason in set(takeover.Cause) else None


def _takes_over(plan: Plan) -> str | None:
    """Why a plan opens an epoch, when that is a takeover."""
    opening = (action for action in plan.actions if isinstance(action, SwapClaim) and action.opens)
    return next((cause for action in opening if (cause := _cause(action.body))), None)


def _unhealthy_keys(status: Object) -> str | None:
    """The reason of KeysHealthy in a status, None when it is fine or not yet judged."""
    keys = next((c for c in status["conditions"] if c["type"] == ConditionType.KEYS_HEALTHY.value), None)
    if keys is None or keys["status"] == TRUE or keys["reason"] == NOT_YET.reason:
        return None
    return str(keys["reason"])


def refused(status: Object, reason: str, message: str) -> Object:
    """A status in which Ready is False for a reason that only the API server knew."""
    conditions = [
        {**c, "status": FALSE, "reason": reason, "message": message[:1024]} if c["type"] == "Ready" else c
        for c in status["conditions"]
    ]
    return {**status, "conditions": conditions}


def delay_s(outcome: Outcome) -> float | None:
    """After how long a bot is looked at again by itself, None for not before the resync."""
    match outcome:
        case Done():
            return None
        case Again(after_s) | Blocked(_, after_s):
            return after_s
