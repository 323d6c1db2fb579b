"""What the commands share: options and how lists are printed."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

__all__ = ["FORMATS", "HELP", "STATE_DIR", "Address", "print_rows"]

LARGEST_PORT = 65_535
HELP = {"help_option_names": ["-h", "--help"], "max_content_width": 110}

STATE_DIR = click.option(
    "--state-dir",
    type=click.Path(file_okay=False, path_type=Path),
    required=True,
    help="Directory with accounts, keys, orders and fills; made when missing.",
)
FORMATS = click.option(
    "--json", "as_json", is_flag=True, help="Print a JSON array instead of tab-separated lines."
)


class Address(click.ParamType[tuple[str, int]]):
    """HOST:PORT."""

    name = "host:port"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, int]:
        """Split a text at its last colon."""
        if isinstance(value, tuple):
            return value
        host, _, port = str(value).rpartition(":")
        if not host or not port.isdecimal() or int(port) > LARGEST_PORT:
            self.fail(f"{value} is not HOST:PORT, as in 127.0.0.1:8443 (port 0 picks a free one)", param, ctx)
        return host, int(port)


def print_rows(rows: Sequence[dict[str, Any]], *, as_json: bool) -> None:
    """Print rows as one JSON array, or one tab-separated line each with lists joined by commas."""
    if as_json:
        click.echo(json.dumps(list(rows), indent=2))
        return
    for row in rows:
        click.echo(
            "\t".join(
                ",".join(map(str, cell)) if isinstance(cell, list) else str(cell) for cell in row.values()
            )
        )
