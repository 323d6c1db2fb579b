"""`soloist-fence`: one verb, one attempt, evidence at the end."""

from __future__ import annotations

import asyncio
import json
import logging
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click

from soloist_fence.api import (
    Evidence,
    FenceArguments,
    FenceInterfaceError,
    IdentifyArguments,
    Verb,
    claim_hash,
    valid_nonce,
)
from soloist_fence.errors import FenceError
from soloist_fence.measure import MeasureArguments, measure
from soloist_fence.run import LookArguments, Sight, look, run, run_audit, run_identify

Function = TypeVar("Function", bound=Callable[..., Any])
_DEFAULT_EVIDENCE_FILE = "/dev/termination-log"


def _claim(_context: click.Context, _parameter: click.Parameter, claim: str) -> str:
    try:
        claim_hash(claim)
    except FenceInterfaceError as error:
        raise click.BadParameter(str(error)) from error
    return claim


def _bot(_context: click.Context, _parameter: click.Parameter, bot: str | None) -> str | None:
    namespace, slash, name = (bot or "").partition("/")
    if bot is not None and not (namespace and slash and name):
        raise click.BadParameter("expected NAMESPACE/NAME")
    return bot


def _nonce(_context: click.Context, _parameter: click.Parameter, nonce: str | None) -> str | None:
    if nonce is not None and not valid_nonce(nonce):
        raise click.BadParameter("expected 6 to 32 characters of a-z and 0-9")
    return nonce


CLAIM = click.option("--claim", required=True, callback=_claim, help="Name of the AccountClaim.")
ACKNOWLEDGED = click.option(
    "--acknowledged-key-id",
    "acknowledged_key_ids",
    multiple=True,
    help="A trade-capable key that places no orders here, in the user's word. Repeatable.",
)
LAG = click.option(
    "--key-list-lag-ms",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="How far the venue's key list may be behind: waited between making a key and the listing that judges it.",
)
FILES = (
    click.option(
        "--config",
        default=FenceArguments.config,
        show_default=True,
        help="The bot's rendered configuration.",
    ),
    click.option(
        "--management-key-dir",
        default=FenceArguments.management_key_dir,
        show_default=True,
        help="Where the management Secret (key-id, private-key.pem) is mounted.",
    ),
)
EVIDENCE = click.option(
    "--evidence-file",
    type=click.Path(dir_okay=False, path_type=Path),
    default=_DEFAULT_EVIDENCE_FILE,
    show_default=True,
    help="Where the evidence (JSON, < 2 KB) goes.",
)


def _changing(function: Function) -> Function:
    """The options of the verbs that act for one epoch; names and meaning are those of FenceArguments."""
    options = [
        CLAIM,
        click.option("--bot", required=True, callback=_bot, metavar="NAMESPACE/NAME", help="The TradingBot."),
        click.option(
            "--epoch",
            required=True,
            type=click.IntRange(min=1),
            help="Epoch of this attempt, or of the running key.",
        ),
        click.option(
            "--nonce", required=True, callback=_nonce, help="Nonce of the attempt that the claim records."
        ),
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
            help="D_rev of the venue profile: a deleted key is refused after this (see measure-revocation).",
        ),
        click.option(
            "--key-type",
            type=click.Choice(["ed25519", "rsa"]),
            default="ed25519",
            show_default=True,
            help="Kind of the keys that are made.",
        ),
        ACKNOWLEDGED,
        LAG,
        *FILES,
        click.option(
            "--slots-dir",
            default=FenceArguments.slots_dir,
            show_default=True,
            help="Where rotate finds the epoch Secret mounted; takeover and release prove the end of the keys that they find there, if any.",
        ),
        EVIDENCE,
    ]
    return _with(options, function)


def _looking(function: Function) -> Function:
    """The options of the verbs that judge what is: all but the claim's name come from the claim and the configuration."""
    options = [
        CLAIM,
        click.option(
            "--bot",
            callback=_bot,
            metavar="NAMESPACE/NAME",
            help="The TradingBot. Default: the configuration's.",
        ),
        click.option("--epoch", type=click.IntRange(min=1), help="Running epoch. Default: the claim's."),
        click.option("--nonce", callback=_nonce, help="Nonce of that epoch. Default: the claim's."),
        click.option(
            "--cluster-id",
            help="uid of the Namespace kube-system. Default: as in the name of the claim's Active key.",
        ),
        ACKNOWLEDGED,
        *FILES,
        # Taken and not needed, so that the arguments of a rotation's Job serve for a look, too.
        *(
            click.option(name, hidden=True, expose_value=False)
            for name in (
                "--secret-name",
                "--revocation-bound-ms",
                "--key-type",
                "--slots-dir",
                "--key-list-lag-ms",
            )
        ),
    ]
    return _with(options, function)


def _with(options: Sequence[Callable[[Any], Any]], function: Function) -> Function:
    for option in reversed(options):
        function = option(function)
    return function


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.option("-v", "--verbose", is_flag=True, help="Log every look at the claim and the Lease, too.")
def main(verbose: bool) -> None:
    """Make sure that at most one engine holds a key that the venue accepts.

    The operator starts this as a Job (identify, takeover, release) or CronJob (rotate, audit) in the bot's namespace. It
    makes and deletes API keys with the management key, keeps the epoch Secret, takes back orders of older epochs, and
    writes evidence as the container's termination message. It can place no order.

    \b
    Exit codes: 0 done, clean or nothing to do; 1 failed, or could not look; 2 wrong options; 3 the audit found something.
    \b
    To rotate a key by hand:
      kubectl -n NAMESPACE create job --from=cronjob/BOT-key-rotation rotate-by-hand
    To see who may trade, change the first argument of such a Job to `status`:
      kubectl -n NAMESPACE create job --from=cronjob/BOT-key-rotation look --dry-run=client -o json |
        jq '.spec.template.spec.containers[0].args[0]="status"' | kubectl create -f -
      kubectl -n NAMESPACE logs job/look
    """  # noqa: D301 - click wants the character itself, not its name
    logging.basicConfig(
        stream=sys.stderr,
        level=logging.DEBUG if verbose else logging.INFO,
        format="%(asctime)s %(levelname)s %(name)s %(message)s",
    )
    for library in ("httpx", "httpcore"):
        logging.getLogger(library).setLevel(logging.WARNING)


@main.command(Verb.IDENTIFY.value)
@click.option("--nonce", required=True, callback=_nonce, help="Random; names the marker, if one is made.")
@click.option(
    "--bound",
    metavar="IDENTITY",
    help="The account's identity as the claim has it (marker:ID or key:ID): make nothing, only check that it is still so.",
)
@click.option(
    "--static",
    is_flag=True,
    help="The mounted key is the bot's own Static key: if it may not list or make keys, name the account by its id.",
)
@LAG
@FILES[0]
@FILES[1]
@EVIDENCE
def identify_command(evidence_file: Path, **given: Any) -> None:
    """Find out which account the mounted key belongs to, so that its bots meet at one AccountClaim.

    The account is named by a marker: a key called soloist-account/…, of the smallest scope, with which nobody can sign.
    Exactly one is adopted; without any one is made. Two of them, or another one than --bound: Failed, IdentityAmbiguous.
    Ends with outcome Identified and accountIdentity; reason IdentityByKeyOnly when aliases of the account go unnoticed.
    """
    _finish(asyncio.run(run_identify(IdentifyArguments(**given))), evidence_file)


@main.command(Verb.TAKEOVER.value)
@_changing
def takeover_command(evidence_file: Path, **given: Any) -> None:
    """Sweep every older key of the claim, make the epoch's key, verify that it is the only one, wait until nothing of an
    older epoch can trade or rests, publish it.

    Ends with outcome Published, or Failed with a reason; every failure deletes the attempt's own key. An attempt is never
    repeated: the next one has the next epoch. A foreign key that may trade stops it (Conflict), unless a person names its
    exact id: kubectl annotate accountclaim CLAIM soloist.trade/revoke-key-ids=ID[,ID]
    """  # noqa: D205 - the first sentence is the summary, and click joins its lines
    _finish(asyncio.run(run(Verb.TAKEOVER, FenceArguments(**given))), evidence_file)


@main.command(Verb.ROTATE.value)
@_changing
def rotate_command(evidence_file: Path, **given: Any) -> None:
    """Replace the running epoch's key without an outage: create, publish, wait until the engine uses it, delete the old one.

    Safe at any time, twice at once and after a crash. Without a running engine it ends with outcome Skipped.
    """
    _finish(asyncio.run(run(Verb.ROTATE, FenceArguments(**given))), evidence_file)


@main.command(Verb.RELEASE.value)
@_changing
@click.option(
    "--orders",
    is_flag=True,
    help="Cancel what the claim's engines left resting, too, and see it gone: nobody could prove that the engine is dead.",
)
def release_command(evidence_file: Path, **given: Any) -> None:
    """Delete every key and epoch Secret of the claim, because its bot is being deleted."""
    _finish(asyncio.run(run(Verb.RELEASE, FenceArguments(**given))), evidence_file)


@main.command(Verb.AUDIT.value)
@_looking
@click.option(
    "--reap",
    is_flag=True,
    help="Delete this claim's keys of older epochs, if the claim is known to have made them.",
)
@EVIDENCE
def audit_command(evidence_file: Path, **given: Any) -> None:
    """Look whether anybody but the claim's engine could trade this account, or did.

    \b
    Exit code 0, outcome Clean (or Skipped: no epoch is Active). 1, Failed: could not look. 3, Found, by gravity:
      ForeignOrders      the venue accepted orders that this epoch's engine did not send
      HigherEpoch        a key of this claim above its epoch: the claim was restored from a backup
      UnknownHistory     a key of this claim that it never made: restored backup, cloned cluster. A person decides
      Conflict           a foreign key that may trade this subaccount, and that nobody acknowledged
      IdentityAmbiguous  the account's marker is gone, or has company
      StaleKeys          keys of older epochs; --reap deletes them, each after another look at the claim
    """  # noqa: D301 - click wants the character itself, not its name
    _finish(asyncio.run(run_audit(LookArguments(**given))), evidence_file)


@main.command("status")
@_looking
@click.option("--json", "as_json", is_flag=True, help="One JSON document instead of lines.")
def status_command(as_json: bool, **given: Any) -> None:
    """Show who may trade the account: the claim, and what each key at the venue means for it. Changes nothing.

    Needs the claim's name and a mounted configuration and management key; the rest is read from them. Prints the claim,
    then one line per key: id, meaning, name, separated by tabs. THREATENS, STALE, UNKNOWN NONCE and ANOTHER MARKER are
    what `audit` would report.
    """
    try:
        seen = asyncio.run(look(LookArguments(**given)))
    except FenceError as error:
        raise click.ClickException(f"{error.reason}: {error.message}") from error
    click.echo(_status_json(seen) if as_json else _status_text(seen))


def _status_text(seen: Sight) -> str:
    claim = seen.claim
    head = (
        f"{seen.attempt.claim}\t{claim.phase or 'Idle'}, epoch {claim.epoch}, key {claim.key_id or 'none'}\t"
        f"{claim.identity or 'not bound to an account'}"
    )
    return "\n".join([head, *("\t".join(row) for row in seen.rows())])


def _status_json(seen: Sight) -> str:
    claim = seen.claim
    document = {
        "version": 1,
        "claim": seen.attempt.claim,
        "phase": claim.phase or "Idle",
        "epoch": claim.epoch,
        "keyId": claim.key_id,
        "accountIdentity": claim.identity,
        "keys": [
            {"keyId": key_id, "meaning": meaning, "name": name} for key_id, meaning, name in seen.rows()
        ],
    }
    return json.dumps(document, ensure_ascii=False)


@main.command("measure-revocation")
@click.option("--samples", type=click.IntRange(1, 100), default=5, show_default=True, help="Keys to try.")
@click.option("--rest-url", help="REST base URL, as in the venue profile. Default: the configuration's.")
@click.option(
    "--websocket-url", help="WebSocket URL. Default: the configuration's; without one it is left out."
)
@click.option("--ca-file", help="CA bundle (PEM) for both. Default: the configuration's, or the system's.")
@FILES[0]
@FILES[1]
@click.option("--json", "as_json", is_flag=True, help="One JSON document instead of tab-separated lines.")
def measure_command(as_json: bool, **given: Any) -> None:
    """Measure D_rev on your own account: how long the venue accepts a key after confirming its deletion.

    Makes a throw-away key that can only read, uses it, deletes it, and tries it until it is refused for good: over new REST
    connections, over one that was open already, and in new WebSocket handshakes. Whatever it makes it deletes, also when it
    is interrupted. Prints n, median and maximum in milliseconds for each way; progress goes to standard error. Put at least
    the largest maximum, with a margin, into revocationBoundMs of the venue profile. (A WebSocket that is open already is not
    tried: it places no orders.) Exit code 1 when a key was still accepted after two minutes.

    \b
    Without a cluster: a directory with the files key-id and private-key.pem of a key that may make keys, then
      soloist-fence measure-revocation --rest-url https://…/trade-api/v2 --management-key-dir DIRECTORY --samples 20
    """  # noqa: D301 - click wants the character itself, not its name
    arguments = MeasureArguments(**given)
    try:
        measured = asyncio.run(measure(arguments, lambda line: click.echo(line, err=True)))
    except FenceError as error:
        raise click.ClickException(f"{error.reason}: {error.message}") from error
    click.echo(measured.to_json() if as_json else measured.to_text())
    sys.exit(0 if measured.complete else 1)


def _finish(evidence: Evidence, evidence_file: Path) -> None:
    """Print the evidence, leave it as the termination message, and exit by its outcome."""
    text = evidence.to_json()
    click.echo(text)
    try:
        evidence_file.write_text(text, encoding="utf-8")
    except OSError as error:
        raise click.ClickException(f"the evidence cannot be written to {evidence_file}: {error}") from error
    sys.exit(evidence.outcome.exit_code)


if __name__ == "__main__":
    main()
