"""One bot, one run: observe -> decide -> apply. Level-triggered: a run may die between any two writes."""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Callable

from soloist_fence.api import Verb, nonce_from

from soloist_operator.apply import Writer, timestamp
from soloist_operator.attempts import AttemptMemory
from soloist_operator.cluster import Cluster
from soloist_operator.conditions import FALSE
from soloist_operator.decide import Context, decide
from soloist_operator.decommission import decide_deletion
from soloist_operator.errors import (
    ClusterError,
    ConflictError,
    ForbiddenError,
    InvalidError,
    TooManyRequestsError,
)
from soloist_operator.heartbeat import Heartbeats
from soloist_operator.holding import attempt_view
from soloist_operator.metrics import Metrics
from soloist_operator.objects import Object, deleting
from soloist_operator.observe import CouldNotLook, Gone, Observed, Observer
from soloist_operator.plan import Again, Blocked, Done, Outcome, Plan
from soloist_operator.queue import Key
from soloist_operator.settings import Settings

logger = logging.getLogger(__name__)

_NONCE_BYTES = 8


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
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings = settings
        self._heartbeats = heartbeats
        self._metrics = metrics
        self._clock = clock
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
            self._heartbeats.forget(key)
            return None
        if isinstance(seen, CouldNotLook):
            raise RunFailedError(f"could not look at {key}: {seen.why}")
        if seen.lease is not None:
            self._heartbeats.note(key, seen.lease, self._clock())
        context = self._context(key, seen)
        plan = decide_deletion(seen, context) if deleting(seen.bot) else decide(seen, context)
        try:
            await self._writer.carry_out(seen.ref, seen.bot, plan)
        except ConflictError as error:
            logger.info("%s: somebody was faster, looking again: %s", key, error)
            return Again(0.2)
        except TooManyRequestsError as error:
            return Again(error.retry_after_s)
        except (InvalidError, ForbiddenError) as error:
            await self._show_refusal(seen, plan, error)
            raise RunFailedError(str(error)) from error
        except ClusterError as error:
            raise RunFailedError(str(error)) from error
        return plan.outcome

    def _context(self, key: Key, seen: Observed) -> Context:
        now_s = self._clock()
        nonce = nonce_from(secrets.token_bytes(_NONCE_BYTES))
        return Context(
            settings=self._settings,
            now=timestamp(),
            heartbeat=self._heartbeats.view(key, now_s),
            attempts={
                verb: attempt_view(self._memory, seen, verb, nonce, now_s)
                for verb in (Verb.TAKEOVER, Verb.RELEASE)
            },
        )

    async def _show_refusal(self, seen: Observed, plan: Plan, error: InvalidError | ForbiddenError) -> None:
        """The API server refused a child as written (a bad affinity, say) or our rights are missing: say so in the status."""
        if plan.status is None:
            return
        reason = "Forbidden" if isinstance(error, ForbiddenError) else "Refused"
        status = refused(plan.status, reason, f"{error}. Correct the spec, or the operator's rights")
        await self._writer.show(seen.ref, seen.bot, status)


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
