"""`python -m soloist_trader.cli.codes`: docs/codes.md from the tables of the core."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from soloist_trader.core.codes import markdown


@click.command()
@click.option(
    "--write", is_flag=True, help="Write the file; otherwise only compare it, and exit 1 when it drifted."
)
@click.option(
    "--path",
    type=click.Path(path_type=Path),
    default=Path("docs/codes.md"),
    show_default=True,
    help="The document.",
)
def codes(*, write: bool, path: Path) -> None:
    """Make docs/codes.md: every denial, contradiction and alert of the engine, with its meaning."""
    if write:
        path.write_text(markdown(), encoding="utf-8")
        return
    if not path.is_file() or path.read_text(encoding="utf-8") != markdown():
        click.echo(
            f"{path} is not what the tables say; run `python -m soloist_trader.cli.codes --write`", err=True
        )
        sys.exit(1)


if __name__ == "__main__":
    codes()
