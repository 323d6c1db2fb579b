"""`soloist-trader keys`: key files on their way to the engine."""

from __future__ import annotations

import sys
from pathlib import Path

import click

_FIELD = "spec.account.keySecretRef"


def _options(command: click.Command) -> click.Command:
    for option in (
        click.Option(
            ["--to", "target"], type=click.Path(path_type=Path), required=True, help="Key directory."
        ),
        click.Option(
            ["--from", "source"],
            type=click.Path(path_type=Path),
            required=True,
            help="Directory of the mounted Secret.",
        ),
    ):
        command.params.insert(0, option)
    return command


@click.command(name="keys")
@click.argument("verb", type=click.Choice(["copy"]), default="copy", required=False)
def _keys(verb: str, source: Path, target: Path) -> None:  # noqa: ARG001 the only verb
    """Copy a Secret's key files where the engine reads them, mode 0400, in one atomic step.

    A Secret volume is readable by its group (Kubernetes 57923), a key must not be. Exits 2 with a termination message
    when the Secret is missing or lacks entries: `key-id` and `private-key.pem`, or `g<G>.key-id` and
    `g<G>.private-key.pem`.
    """
    from soloist_trader.errors import KeysError  # noqa: PLC0415 `--help` does not need it
    from soloist_trader.shell.keys import copy_keys  # noqa: PLC0415 as above
    from soloist_trader.shell.termination import write_termination  # noqa: PLC0415 as above

    try:
        copied = copy_keys(source, target)
    except KeysError as error:
        write_termination("KeysUnusable", str(error), [(_FIELD, str(error))])
        click.echo(f"KeysUnusable: {error}", err=True)
        sys.exit(2)
    click.echo(f"keys copied to {copied}")


keys = _options(_keys)
