"""`soloist-trader ctl`."""

from __future__ import annotations

import getpass
import json
import os
import sys
from pathlib import Path

import click

VERBS = ("halt", "reduce", "resume", "release-market", "reconcile", "snapshot", "kill")
CLUSTER_STATE = Path("/var/lib/soloist")


def _user() -> str:
    """The user's name, or its number: a container's user often has no name."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"uid {os.getuid()}"


@click.command()
@click.argument("verb", type=click.Choice(VERBS))
@click.option("--reason", required=True, help="Why; it is kept in the journal and shown in /status.")
@click.option(
    "--actor",
    default=lambda: os.environ.get("SOLOIST_ACTOR", "") or _user(),
    show_default="SOLOIST_ACTOR, else the user",
    help="Who asks.",
)
@click.option(
    "--state-dir",
    type=click.Path(path_type=Path),
    default=CLUSTER_STATE,
    show_default=True,
    help="State directory of the running engine.",
)
@click.option("--market", default="", help="Ticker, for release-market.")
@click.option(
    "--latch", default="", help="For resume: the latch to lift, as /status names it (risk, reconcile, …)."
)
def ctl(verb: str, reason: str, actor: str, state_dir: Path, market: str, latch: str) -> None:
    """Ask the running engine over the Unix socket in its state directory.

    halt: no order but cancels, both order groups triggered. reduce: exits only. resume: lift what waits for a person (halt
    and reduce, a recovery from the venue, a runaway, unexplained cash), or the latch that is named; that also arms the
    order groups. release-market: a person looked at a contradiction. reconcile: compare with the venue now. snapshot: of
    the journal, now.

    kill: the watchdog latches HALTED, kills the engine, triggers both order groups, cancels by id and proves that nothing
    rests, also when the engine is mute. The engine starts again and stays HALTED until `resume --latch watchdog`, which the
    watchdog carries out, too.

    Prints the answer as JSON: state, latches, and what the verb adds. Exit codes: 0 done, 1 refused, 2 no engine answers.
    """
    from soloist_trader.shell.control import (  # noqa: PLC0415 `--help` does not need it
        SOCKET_NAME,
        WATCHDOG_SOCKET,
        Request,
        ask,
    )

    of_watchdog = verb == "kill" or (latch == "watchdog" and (state_dir / WATCHDOG_SOCKET).exists())
    try:
        request = Request(verb, actor, reason, market, latch)
        answer = ask(state_dir, request, name=WATCHDOG_SOCKET if of_watchdog else SOCKET_NAME)
    except (OSError, ValueError) as error:
        click.echo(
            f"no {'watchdog' if of_watchdog else 'engine'} answers in {state_dir}: {error}. Is it running, is this its --state-dir, and are you its user?",
            err=True,
        )
        sys.exit(2)
    if not answer.pop("ok", False):
        click.echo(f"refused: {answer.get('message', answer)}", err=True)
        sys.exit(1)
    click.echo(json.dumps(answer))
