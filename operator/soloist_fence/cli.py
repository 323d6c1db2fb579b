"""`soloist-fence`: one verb, one attempt, evidence at the end."""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, TypeVar

import click

from soloist_fence.api import (
    Evidence,
    FenceArguments,
    FenceInterfaceError,
    Outcome,
    Reason,
    Verb,
    claim_hash,
    valid_nonce,
)
from soloist_fence.attempt import Attempt
from soloist_fence.cluster import Cluster, Connection
from soloist_fence.commands import ListKeys, Machine, ReadClaim
from soloist_fence.driver import World, boottime_ms, drive
from soloist_fence.errors import FenceError
from soloist_fence.inputs import read_configuration, read_management_key, read_slots
from soloist_fence.release import release
from soloist_fence.rotation import Skipped, rotate
from soloist_fence.takeover import takeover
from soloist_fence.venue import Venue

Function = TypeVar("Function", bound=Callable[..., Any])
_DEFAULT_EVIDENCE_FILE = "/dev/termination-log"


class Options:
    """The command line as every verb understands it."""

    def __init__(self, arguments: FenceArguments, evidence_file: Path) -> None:
        self.arguments = arguments
        self.evidence_file = evidence_file
        self.namespace, _, self.bot = arguments.bot.partition("/")


def _common(function: Function) -> Function:
    """The options that all verbs share; names and meaning are those of FenceArguments."""
    defaults = {
        name: FenceArguments.__dataclass_fields__[name].default
        for name in ("config", "management_key_dir", "slots_dir")
    }
    options = [
        click.option("--claim", required=True, help="Name of the AccountClaim."),
        click.option("--bot", required=True, metavar="NAMESPACE/NAME", help="The TradingBot."),
        click.option(
            "--epoch",
            required=True,
            type=click.IntRange(min=1),
            help="Epoch of this attempt, or of the running key.",
        ),
        click.option("--nonce", required=True, help="Nonce of the attempt that the claim records."),
        click.option(
            "--cluster-id", required=True, help="uid of the Namespace kube-system; part of every key's name."
        ),
        click.option(
            "--secret-name", required=True, help="The epoch Secret: made by takeover, changed by rotate."
        ),
        click.option(
            "--revocation-bound-ms",
            required=True,
            type=click.IntRange(min=0),
            help="D_rev of the venue profile: a deleted key is refused after this.",
        ),
        click.option(
            "--key-type", type=click.Choice(["ed25519", "rsa"]), default="ed25519", show_default=True
        ),
        click.option(
            "--acknowledged-key-id",
            "acknowledged_key_ids",
            multiple=True,
            help="A trade-capable key that places no orders here, in the user's word. Repeatable.",
        ),
        click.option(
            "--config",
            default=defaults["config"],
            show_default=True,
            help="The bot's rendered configuration.",
        ),
        click.option(
            "--management-key-dir",
            default=defaults["management_key_dir"],
            show_default=True,
            help="Where the management Secret (key-id, private-key.pem) is mounted.",
        ),
        click.option(
            "--slots-dir",
            default=defaults["slots_dir"],
            show_default=True,
            help="Where rotate finds the epoch Secret mounted.",
        ),
        click.option(
            "--evidence-file",
            default=_DEFAULT_EVIDENCE_FILE,
            show_default=True,
            help="Where the evidence (JSON, < 2 KB) goes.",
        ),
    ]
    for option in reversed(options):
        function = option(function)
    return function


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.option("-v", "--verbose", is_flag=True, help="Log every look at the claim and the Lease, too.")
def main(verbose: bool) -> None:
    """Make sure that at most one engine holds a key that the venue accepts.

    The operator starts this as a Job (takeover, release) or CronJob (rotate) in the bot's namespace. It makes and deletes
    API keys with the management key, keeps the epoch Secret, and writes evidence as the container's termination message.
    It can place no order.

    \b
    To rotate a key by hand:
      kubectl -n NAMESPACE create job --from=cronjob/BOT-key-rotation rotate-by-hand
    """  # noqa: D301 - click wants the character itself, not its name
    logging.basicConfig(
        stream=sys.stderr,
        level=logging.DEBUG if verbose else logging.INFO,
        format="%(asctime)s %(levelname)s %(name)s %(message)s",
    )
    for library in ("httpx", "httpcore"):
        logging.getLogger(library).setLevel(logging.WARNING)


@main.command(Verb.TAKEOVER.value)
@_common
def takeover_command(**given: Any) -> None:
    """Sweep every older key of the claim, make the epoch's key, verify that it is the only one, publish it.

    Ends with outcome Published, or Failed with a reason; every failure deletes the attempt's own key. An attempt is never
    repeated: the next one has the next epoch.
    """
    _finish(Verb.TAKEOVER, _options(given))


@main.command(Verb.ROTATE.value)
@_common
def rotate_command(**given: Any) -> None:
    """Replace the running epoch's key without an outage: create, publish, wait until the engine uses it, delete the old one.

    Safe at any time, twice at once and after a crash. Without a running engine it ends with outcome Skipped.
    """
    _finish(Verb.ROTATE, _options(given))


@main.command(Verb.RELEASE.value)
@_common
def release_command(**given: Any) -> None:
    """Delete every key and epoch Secret of the claim, because its bot is being deleted."""
    _finish(Verb.RELEASE, _options(given))


@main.command("status")
@_common
def status_command(**given: Any) -> None:
    """Show who may trade the account: the claim, and what each key at the venue means for it. Changes nothing."""
    options = _options(given)
    try:
        asyncio.run(_show_status(options))
    except FenceError as error:
        raise click.ClickException(f"{error.reason}: {error.message}") from error


def _options(given: dict[str, Any]) -> Options:
    evidence_file = Path(given.pop("evidence_file"))
    arguments = FenceArguments(**given)
    if not valid_nonce(arguments.nonce):
        raise click.BadParameter("expected 6 to 32 characters of a-z and 0-9", param_hint="--nonce")
    namespace, slash, bot = arguments.bot.partition("/")
    if not (namespace and slash and bot):
        raise click.BadParameter("expected NAMESPACE/NAME", param_hint="--bot")
    try:
        claim_hash(arguments.claim)
    except FenceInterfaceError as error:
        raise click.BadParameter(str(error), param_hint="--claim") from error
    return Options(arguments, evidence_file)


def _finish(verb: Verb, options: Options) -> None:
    """Run one verb, write its evidence, and exit 0, or 1 when it failed."""
    evidence = asyncio.run(run(verb, options))
    text = evidence.to_json()
    click.echo(text)
    try:
        options.evidence_file.write_text(text, encoding="utf-8")
    except OSError as error:
        raise click.ClickException(
            f"the evidence cannot be written to {options.evidence_file}: {error}"
        ) from error
    sys.exit(1 if evidence.outcome is Outcome.FAILED else 0)


async def run(verb: Verb, options: Options) -> Evidence:
    """Run one verb against the real venue and cluster; every end, good or bad, is evidence."""
    # From the very start: the deadline also covers reading files and the first connection.
    deadline_ms = boottime_ms() + verb.deadline_s * 1000
    terminating = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, terminating.set)
    try:
        async with AsyncExitStack() as stack:
            world, attempt = await _connect(options, deadline_ms, stack)
            return await _run_machine(verb, options, attempt, world, terminating)
    except FenceError as error:
        return _evidence(
            options, Outcome.FAILED, error.reason, error.message, field=error.field, counts=error.counts
        )


async def _run_machine(
    verb: Verb, options: Options, attempt: Attempt, world: World, terminating: asyncio.Event
) -> Evidence:
    if verb is Verb.TAKEOVER:
        published = await drive(takeover(attempt, options.bot), world, terminating)
        return _evidence(
            options,
            Outcome.PUBLISHED,
            Reason.DONE,
            f"key {published.key_id} is the only one that may trade subaccount {attempt.subaccount}",
            key_id=published.key_id,
            secret_name=published.secret_name,
            counts=dict(published.counts),
            durations_ms=dict(published.durations_ms),
        )
    if verb is Verb.RELEASE:
        released = await drive(release(attempt, options.bot), world, terminating)
        return _evidence(
            options,
            Outcome.RELEASED,
            Reason.DONE,
            "no key of this claim is accepted any more",
            counts=dict(released.counts),
            durations_ms=dict(released.durations_ms),
        )
    mounted = read_slots(Path(options.arguments.slots_dir), attempt.secret_name)
    rotated = await drive(rotate(attempt, mounted), world, terminating)
    if isinstance(rotated, Skipped):
        return _evidence(options, Outcome.SKIPPED, rotated.reason, rotated.message)
    return _evidence(
        options,
        Outcome.ROTATED,
        Reason.DONE,
        f"the engine uses key {rotated.key_id}; the venue refuses the old one",
        key_id=rotated.key_id,
        secret_name=attempt.secret_name,
        counts=dict(rotated.counts),
        durations_ms=dict(rotated.durations_ms),
    )


def _evidence(options: Options, outcome: Outcome, reason: Reason, message: str, **more: Any) -> Evidence:
    arguments = options.arguments
    return Evidence(arguments.claim, arguments.epoch, arguments.nonce, outcome, reason, message, **more)


async def _connect(options: Options, deadline_ms: int, stack: AsyncExitStack) -> tuple[World, Attempt]:
    """Read every file and open both connections; they close with `stack`. Raises FenceError."""
    arguments = options.arguments
    configuration = read_configuration(Path(arguments.config))
    management_key = read_management_key(Path(arguments.management_key_dir))
    subaccount = configuration.account.subaccount
    venue = await stack.enter_async_context(
        Venue(configuration.venue.rest_url, configuration.venue.ca_file, management_key, subaccount)
    )
    cluster = await stack.enter_async_context(
        Cluster(Connection.in_cluster(), namespace=options.namespace, bot=options.bot, claim=arguments.claim)
    )
    attempt = Attempt(
        claim=arguments.claim,
        cluster_id=arguments.cluster_id,
        epoch=arguments.epoch,
        nonce=arguments.nonce,
        subaccount=subaccount,
        secret_name=arguments.secret_name,
        revocation_bound_ms=arguments.revocation_bound_ms,
        key_type=arguments.key_type,
        authenticating_key_id=management_key.key_id,
        acknowledged_key_ids=frozenset(arguments.acknowledged_key_ids),
        deadline_ms=deadline_ms,
    )
    return World(venue, cluster), attempt


async def _show_status(options: Options) -> None:
    async with AsyncExitStack() as stack:
        world, attempt = await _connect(options, boottime_ms() + Verb.TAKEOVER.deadline_s * 1000, stack)
        claim, keys = await drive(_look(), world, asyncio.Event())
    click.echo(f"{attempt.claim}: {claim.phase or 'Idle'}, epoch {claim.epoch}, key {claim.key_id or 'none'}")
    for key in sorted(keys, key=lambda key: key.name):
        name = attempt.own_name(key)
        if name is not None:
            known = "this claim's" if name.nonce in claim.nonces else "this claim's name, UNKNOWN NONCE"
            meaning = f"{known}, epoch {name.epoch} generation {name.generation}"
        elif key.key_id == attempt.authenticating_key_id:
            meaning = "the management key"
        elif key.key_id in attempt.acknowledged_key_ids:
            meaning = "acknowledged"
        else:
            meaning = "THREATENS" if attempt.threat(key, subaccount=attempt.subaccount) else "harmless"
        click.echo(f"  {key.key_id}  {meaning:<40}  {key.name}")


def _look() -> Machine[tuple[Any, Any]]:
    claim = yield from ReadClaim().ask()
    keys = yield from ListKeys().ask()
    return claim, keys


if __name__ == "__main__":
    main()
