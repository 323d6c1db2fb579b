"""`soloist-trader journal`."""

from __future__ import annotations

import json
import sys
from collections import Counter, deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

LISTED_AT_MOST = 200

_state_dir = click.option(
    "--state-dir",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    required=True,
    help="Directory of the journal.",
)
_as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON instead of tab-separated lines.")


@contextmanager
def _told() -> Iterator[None]:
    """Damage and unusable directories are told on stderr, with exit code 1."""
    from soloist_trader.errors import StateError  # noqa: PLC0415 `--help` does not need it

    try:
        yield
    except (StateError, OSError) as error:
        click.echo(error, err=True)
        sys.exit(1)


def _print(fields: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(fields))
        return
    for name, value in fields.items():
        for item in value if isinstance(value, list) else [value]:
            click.echo(f"{name}\t{item}")


@click.group()
def journal() -> None:
    """Look into a journal, shorten it, mend it.

    `verify` and `show` never change anything and work beside a running engine. `compact` works beside one, too.
    `repair` is for a journal that an engine refuses to start from.
    """


@journal.command()
@_state_dir
@_as_json
def verify(state_dir: Path, *, as_json: bool) -> None:
    """Check every checksum, the chain and every snapshot, rebuild the state, print its hash.

    Exits 1 on damage in the middle, and when a snapshot is not what the records give. Progress is on stderr.
    """
    from soloist_trader.journal.disk import Disk  # noqa: PLC0415 `--help` does not need it
    from soloist_trader.journal.inspection import inspect  # noqa: PLC0415 as above

    with _told():
        found = inspect(state_dir, Disk(), lambda name: click.echo(f"reading {name}", err=True))
    tail, ledger = found.tail, found.ledger
    _print(
        {
            "segments": found.segments,
            "batches": tail.batches,
            "records": tail.records,
            "snapshots": found.snapshots,
            "from": tail.snapshot.name if tail.snapshot else "the first record",
            "tail": tail.damage or "intact",
            "orders": len(ledger.orders),
            "unsettled": ledger.unsettled_count(),
            "state": ledger.state_hash(),
            "wrong": found.wrong,
        },
        as_json=as_json,
    )
    sys.exit(1 if found.wrong else 0)


@journal.command()
@_state_dir
@_as_json
@click.option("--kind", help="Only records of this kind, such as Intended or Booked.")
@click.option("--last", type=click.IntRange(min=0), default=0, help="Only the last N records.")
def show(state_dir: Path, kind: str | None, last: int, *, as_json: bool) -> None:
    """Print records, one per line: file, batch, kind and fields. With --json one object per line.

    Begins with the oldest record that was not compacted away. Damage is the last line, on stderr, with exit code 1.
    """
    from soloist_trader.core.records import RECORD_TYPES  # noqa: PLC0415 `--help` does not need it
    from soloist_trader.journal.reader import Tail, read_journal  # noqa: PLC0415 as above

    kinds = [record.__name__ for record in RECORD_TYPES]
    if kind is not None and kind not in kinds:
        raise click.BadParameter(f"{kind} is no kind of record; there are {', '.join(kinds)}")

    def lines() -> Iterator[str]:
        for path, frame, records in read_journal(state_dir, Tail(), partial=True):
            for record in records:
                name = type(record).__name__
                if kind is None or name == kind:
                    yield _line(path.name, frame.sequence, name, record._asdict(), as_json=as_json)

    with _told():
        if not last:
            for line in lines():
                click.echo(line)
            return
        kept: deque[str] = deque(maxlen=last)
        try:
            kept.extend(lines())
        finally:
            for line in kept:
                click.echo(line)


def _line(file: str, sequence: int, kind: str, fields: dict[str, Any], *, as_json: bool) -> str:
    if as_json:
        return json.dumps({"file": file, "batch": sequence, "kind": kind, "fields": fields})
    return "\t".join([file, str(sequence), kind, *(f"{name}={value!r}" for name, value in fields.items())])


@journal.command()
@_state_dir
@_as_json
@click.option("--dry-run", is_flag=True, help="Only say what would go. Takes no snapshot.")
def compact(state_dir: Path, *, as_json: bool, dry_run: bool) -> None:
    """Take a snapshot of what is sealed, and remove what the last two snapshots make superfluous.

    A running engine does this by itself. Without two valid snapshots nothing is removed. History that is removed can
    no longer be shown or projected into a new store.
    """
    from soloist_trader.journal.disk import Disk  # noqa: PLC0415 `--help` does not need it
    from soloist_trader.journal.snapshots import SnapshotError, outdated, take_snapshot  # noqa: PLC0415 as above
    from soloist_trader.shell.clock import now_ms  # noqa: PLC0415 as above

    disk = Disk()
    with _told():
        if dry_run:
            removed = [path.name for path in outdated(state_dir, disk)]
            _print({"would remove": removed}, as_json=as_json)
            return
        try:
            taken = take_snapshot(state_dir, disk, taken_ms=now_ms())
        except BlockingIOError:
            raise click.ClickException("another snapshot of this directory is being taken") from None
        except SnapshotError as error:
            raise click.ClickException(f"the new snapshot does not read back: {error}") from error
    _print(
        {
            "snapshot": f"segment {taken.segment}" if taken.segment else "nothing new is sealed",
            "records": taken.records,
            "state": taken.state_hash,
            "said": taken.said or "nothing",
            "removed": taken.removed,
        },
        as_json=as_json,
    )


@journal.command()
@_state_dir
@_as_json
@click.option("--yes", is_flag=True, help="Do it. Without it, nothing is changed.")
def repair(state_dir: Path, *, as_json: bool, yes: bool) -> None:
    """End a damaged journal at its last batch that continues the chain, so that an engine starts again.

    Prints what is lost. With --yes a copy of every file that is cut goes to a directory `cut-<number>` in the state
    directory, with a list of the records in it that still read. Exits 0 if the journal is in order (now), 1 if not.

    What is lost, the engine gets from the venue: it finds own orders that rest and books fills that it can still list.
    Compare positions with `soloist-trader reconcile` before it trades again.
    """
    from soloist_trader.journal.disk import Disk  # noqa: PLC0415 `--help` does not need it
    from soloist_trader.journal.repair import LIST_NAME, plan_repair, repair_locked  # noqa: PLC0415 as above

    disk = Disk()
    with _told():
        plan = plan_repair(state_dir, disk)
        if plan is None:
            _print({"damage": "none that keeps an engine from starting"}, as_json=as_json)
            return
        counted = Counter(type(row.record).__name__ for row in plan.lost)
        rows = [f"{row.file} {row.offset} {row.sequence} {row.record}" for row in plan.lost]
        _print(
            {
                "damage": f"{plan.damage.path.name} at byte {plan.damage.offset}: {plan.damage.what}",
                "kept": f"until batch {plan.tail.sequence}, state {plan.ledger.state_hash()}",
                "cut": [
                    *([f"{plan.shortened.name} from byte {plan.kept}"] if plan.shortened else []),
                    *(path.name for path in plan.cut),
                ],
                "bytes": plan.bytes_cut,
                "lost records": [f"{kind} {count}" for kind, count in counted.items()],
                "lost": rows if as_json else rows[:LISTED_AT_MOST],
            },
            as_json=as_json,
        )
        if len(rows) > LISTED_AT_MOST and not as_json:
            click.echo(f"... and {len(rows) - LISTED_AT_MOST} more; --json prints all", err=True)
        if not yes:
            click.echo("Nothing was changed. Repeat with --yes to cut this off.", err=True)
            sys.exit(1)
        copies = repair_locked(state_dir, disk, plan)
    click.echo(f"Cut off. Copies are in {copies}, readable records in {copies / LIST_NAME}.", err=True)
