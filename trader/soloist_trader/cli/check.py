"""`soloist-trader check`."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click


@click.command()
@click.option("--config", "path", type=click.Path(path_type=Path), required=True, help="Configuration file.")
def check(path: Path) -> None:
    """Check a configuration without connecting to anything.

    Prints JSON and exits 0, or 2 with every problem: the field as it is written in the TradingBot, and what to change.
    The same JSON is left as the container's termination message, and the problems stand on stderr, a line each, with the
    field as this file spells it.
    """
    from soloist_trader import config  # noqa: PLC0415 `--help` does not need it
    from soloist_trader.errors import ConfigurationError  # noqa: PLC0415 as above
    from soloist_trader.shell.termination import write_termination  # noqa: PLC0415 as above

    try:
        configuration = config.load(path)
    except ConfigurationError as error:
        problems = [{"field": field, "message": message} for field, message in error.problems]
        click.echo(json.dumps({"version": 1, "outcome": "Failed", "problems": problems}))
        for line in config.lines(path, error.problems):
            click.echo(line, err=True)
        write_termination("ConfigurationInvalid", str(error), error.problems)
        sys.exit(2)
    click.echo(json.dumps({"version": 1, "outcome": "Passed", "configuration": config.echo(configuration)}))
