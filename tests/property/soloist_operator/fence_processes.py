"""The pod of a fence's Job in memory: the product's own machine, its own command line, and the evidence that it ends with."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import Any

from soloist_fence import cli
from soloist_fence.api import Evidence, FenceArguments, Outcome, Reason, Verb
from soloist_fence.attempt import Attempt
from soloist_fence.commands import Command
from soloist_fence.errors import FenceError
from soloist_fence.identify import Inquiry, identify
from soloist_fence.release import release
from soloist_fence.run import failure
from soloist_fence.takeover import takeover

from tests.unit.soloist_fence.fence_world import MANAGEMENT_KEY
from tests.unit.soloist_operator.memory_cluster import Object


@dataclass(eq=False)
class FenceProcess:
    """One pod of a fence's Job: the product's machine, and the command that it wants done next."""

    job: Object
    verb: Verb
    given: dict[str, Any]
    machine: Generator[Command[Any], Any, Any]
    command: Command[Any]
    awake_ms: int = 0


def start(job: Object, now_ms: int) -> FenceProcess:
    """The process that a Job asks for, before its first command."""
    args: list[str] = list(job["spec"]["template"]["spec"]["containers"][0]["args"])
    verb = Verb(args[0])
    given = cli.main.commands[verb.value].make_context(verb.value, args[1:]).params
    machine = _machine(
        verb, {name: value for name, value in given.items() if name != "evidence_file"}, now_ms
    )
    return FenceProcess(job, verb, given, machine, next(machine))


def _machine(verb: Verb, given: dict[str, Any], now_ms: int) -> Generator[Command[Any], Any, Any]:
    deadline_ms = now_ms + verb.deadline_s * 1000
    management = MANAGEMENT_KEY.key_id
    if verb is Verb.IDENTIFY:
        return identify(
            Inquiry(
                nonce=given["nonce"],
                static=given["static"],
                bound=given["bound"],
                key_id=management,
                key_type="ed25519",
                key_list_lag_ms=given["key_list_lag_ms"],
                deadline_ms=deadline_ms,
            )
        )
    arguments = FenceArguments(**given)
    attempt = Attempt(
        claim=arguments.claim,
        cluster_id=arguments.cluster_id,
        epoch=arguments.epoch,
        nonce=arguments.nonce,
        subaccount=0,
        secret_name=arguments.secret_name,
        revocation_bound_ms=arguments.revocation_bound_ms,
        key_type=arguments.key_type,
        authenticating_key_id=management,
        acknowledged_key_ids=frozenset(arguments.acknowledged_key_ids),
        deadline_ms=deadline_ms,
        key_list_lag_ms=arguments.key_list_lag_ms,
    )
    bot = arguments.bot.partition("/")[2]
    return release(attempt, bot, orders=arguments.orders) if verb is Verb.RELEASE else takeover(attempt, bot)


def evidence_of(fence: FenceProcess, result: Any) -> Evidence:
    """The evidence of a good end, as soloist_fence.run writes it."""
    if fence.verb is Verb.IDENTIFY:
        given = {"account_identity": result.identity, "marker_id": result.marker_id, "key_may_exist": False}
        return Evidence("", 0, fence.given["nonce"], Outcome.IDENTIFIED, Reason.DONE, **given)
    named = fence.given["claim"], fence.given["epoch"], fence.given["nonce"]
    if fence.verb is Verb.RELEASE:
        return Evidence(*named, Outcome.RELEASED, Reason.DONE, counts=result.counts, key_may_exist=False)
    more = {"key_id": result.key_id, "secret_name": result.secret_name, "counts": result.counts}
    return Evidence(*named, Outcome.PUBLISHED, Reason.DONE, **more)


def failure_of(fence: FenceProcess, error: FenceError) -> Evidence:
    """The evidence of a bad end."""
    claim, epoch = fence.given.get("claim", ""), fence.given.get("epoch", 0)
    may_exist = error.key_may_exist and fence.verb is Verb.TAKEOVER
    return failure(claim, epoch, fence.given["nonce"], error, key_may_exist=may_exist)
