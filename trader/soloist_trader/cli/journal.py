"""`soloist-trader journal`."""

from __future__ import annotations

import sys
from pathlib import Path

import click


@click.group()
def journal() -> None:
    """Look into a journal. Never changes it; works beside a running engine."""


@journal.command()
@click.option("--state-dir", type=click.Path(path_type=Path, exists=True, file_okay=False), required=True)
def verify(state_dir: Path) -> None:
    """Check every checksum and the chain, rebuild the state, print its hash. Exits 1 on damage in the middle."""
    from soloist_trader.core.ledger import Ledger  # noqa: PLC0415 `--help` does not need it
    from soloist_trader.errors import JournalDamagedError  # noqa: PLC0415 as above
    from soloist_trader.journal.reader import Tail, read_journal  # noqa: PLC0415 as above

    ledger, tail = Ledger(), Tail()
    try:
        for _, _, records in read_journal(state_dir, tail):
            for record in records:
                ledger.apply(record)
    except JournalDamagedError as error:
        click.echo(error, err=True)
        sys.exit(1)
    click.echo(f"segments {len(tail.segments)}  batches {tail.batches}  records {tail.records}")
    click.echo(f"tail     {tail.damage or 'intact'}")
    click.echo(f"orders   {len(ledger.orders)} known, {ledger.unsettled_count()} unsettled")
    click.echo(f"state    {ledger.state_hash()}")


@journal.command()
@click.option("--state-dir", type=click.Path(path_type=Path, exists=True, file_okay=False), required=True)
@click.option("--kind", help="Only records of this kind, such as Intended or Booked.")
@click.option("--last", type=int, default=0, help="Only the last N records.")
def show(state_dir: Path, kind: str | None, last: int) -> None:
    """Print records, one per line: file, batch, kind and fields."""
    from soloist_trader.errors import JournalDamagedError  # noqa: PLC0415 `--help` does not need it
    from soloist_trader.journal.reader import Tail, read_journal  # noqa: PLC0415 as above

    lines: list[str] = []
    try:
        for path, frame, records in read_journal(state_dir, Tail()):
            lines += [
                f"{path.name} {frame.sequence:>8} {record}"
                for record in records
                if kind is None or type(record).__name__ == kind
            ]
    except JournalDamagedError as error:
        lines.append(str(error))
    for line in lines[-last:] if last else lines:
        click.echo(line)
