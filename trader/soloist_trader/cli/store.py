"""`soloist-trader store`."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from soloist_trader.store.database import Database
    from soloist_trader.store.position import Place

_STATE_DIR = click.option(
    "--state-dir",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    required=True,
    help="The engine's state directory, which holds the journal.",
)
_URL = click.option(
    "--url",
    envvar="SOLOIST_STORE_URL",
    help="postgresql://user@host/database or sqlite:///path/of/a/file; default: store.sqlite in the state directory. "
    "Also read from SOLOIST_STORE_URL, where a password does not show in the list of processes.",
)
_JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON instead of tab-separated text.")
_LOWEST_PRIORITY = 19
_MOST_BYTES = 1 << 30
_CHUNK = click.option(
    "--chunk",
    type=click.IntRange(min=1),
    default=20_000,
    show_default=True,
    help="Records per transaction.",
)


@click.group()
def store() -> None:
    """Tables of trades, orders, positions and logs for people and dashboards.

    They are made from the journal, into SQLite or PostgreSQL, beside a running engine or without one, and can be made
    anew at any time. `docs/store.md` describes every table and view.
    """


@contextlib.contextmanager
def _opened(state_dir: Path, url: str | None) -> Iterator[Database]:
    """The store; what goes wrong with it is one sentence on stderr and exit code 1."""
    from soloist_trader.errors import EngineError  # noqa: PLC0415 `--help` does not need it
    from soloist_trader.store import open_database  # noqa: PLC0415 as above

    try:
        with contextlib.closing(open_database(state_dir, url)) as database:
            yield database
    except EngineError as error:
        click.echo(error, err=True)
        sys.exit(1)


def _progress() -> Callable[[Place], None]:
    def say(place: Place) -> None:
        click.echo(f"{place.records} records, segment {place.segment}", err=True)

    return say


def _print(facts: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(facts))
        return
    for name, value in facts.items():
        click.echo(f"{name}\t{value}")


@store.command()
@_STATE_DIR
@_URL
@_JSON
@_CHUNK
@click.option(
    "--forget", is_flag=True, help="Also when the journal was compacted and the past would be lost."
)
def rebuild(state_dir: Path, url: str | None, chunk: int, *, as_json: bool, forget: bool) -> None:
    """Empty the store and fill it from the journal.

    Needed once, and after an upgrade that says so. If it is ended in between, `follow` goes on where it was.
    """
    from soloist_trader import store as room  # noqa: PLC0415 `--help` does not need it

    with _opened(state_dir, url) as database:
        done = room.rebuild(database, state_dir, forget=forget, chunk=chunk, report=_progress())
        facts = {"store": database.name, "records": done.place.records, "segment": done.place.segment}
        _print(facts, as_json=as_json)


@store.command()
@_STATE_DIR
@_URL
@_JSON
@_CHUNK
@click.option("--once", is_flag=True, help="End when the end of the journal is reached.")
@click.option(
    "--poll-seconds",
    type=click.FloatRange(min=0.1),
    default=1.0,
    show_default=True,
    help="Time between two looks at the journal.",
)
@click.option(
    "--beside-engine",
    is_flag=True,
    help="Take the lowest priority, at most 1 GiB, and end when the standard input ends. The engine starts it so.",
)
def follow(
    state_dir: Path,
    url: str | None,
    chunk: int,
    poll_seconds: float,
    *,
    as_json: bool,
    once: bool,
    beside_engine: bool,
) -> None:
    """Keep the store at the end of the journal until interrupted; builds it if there is none yet.

    An engine whose configuration says `store: {follow: true}` runs this by itself.
    """
    from soloist_trader import store as room  # noqa: PLC0415 `--help` does not need it

    if beside_engine:
        _yield_to_engine()
    report = _progress()
    with _opened(state_dir, url) as database, contextlib.suppress(KeyboardInterrupt):
        make = room.catch_up if database.has_table("projected") else room.rebuild
        done = make(database, state_dir, chunk=chunk, report=report)
        facts = {"store": database.name, "records": done.place.records, "segment": done.place.segment}
        _print(facts, as_json=as_json)
        if not once:
            room.follow(database, state_dir, poll_s=poll_seconds, chunk=chunk, report=report)


def _yield_to_engine() -> None:
    """Never be what the engine waits for or dies of: CPU and disk last, memory bounded, and no life without it."""
    os.nice(_LOWEST_PRIORITY)
    resource.setrlimit(resource.RLIMIT_AS, (_MOST_BYTES, _MOST_BYTES))
    with contextlib.suppress(OSError):  # not Linux: then the kernel chooses by size
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")
    threading.Thread(target=_end_with_input, name="input", daemon=True).start()


def _end_with_input() -> None:
    while os.read(sys.stdin.fileno(), 1):  # unbuffered: a lock of the interpreter would be held at its end
        pass
    os.kill(os.getpid(), signal.SIGINT)


@store.command()
@click.argument("name")
@_STATE_DIR
@_URL
@_JSON
@click.option("--sql", is_flag=True, help="Print the query instead of its result.")
def query(name: str, state_dir: Path, url: str | None, *, as_json: bool, sql: bool) -> None:
    """Run a query of the runbook; money is in dollars, exact, and times are UTC.

    NAME is recent-trades, daily-performance, active-positions, recent-errors or account-snapshots.
    """
    from soloist_trader.store import query_text, read_query  # noqa: PLC0415 `--help` does not need it
    from soloist_trader.store.position import read_place  # noqa: PLC0415 as above

    with _opened(state_dir, url) as database:
        if sql:
            click.echo(query_text(name), nl=False)
            return
        read_place(database)  # says what is wrong with a store that is none, or of another version
        rows = read_query(database, name)
    if as_json:
        click.echo(json.dumps(rows))
        return
    for index, row in enumerate(rows):
        if not index:
            click.echo("\t".join(row))
        click.echo("\t".join("" if value is None else _cell(value) for value in row.values()))


def _cell(value: str | int) -> str:
    return str(value).replace("\t", " ").replace("\n", " ")


@store.command()
@_STATE_DIR
@_URL
@_JSON
def check(state_dir: Path, url: str | None, *, as_json: bool) -> None:
    """Compare the store with a replay of the journal, to the last unit of money. Exits 1 if they differ."""
    from soloist_trader import store as room  # noqa: PLC0415 `--help` does not need it

    with _opened(state_dir, url) as database:
        found = room.check(database, state_dir)
        facts = {
            "store": database.name,
            "records": found.place.records,
            "behind": found.behind,
            "differences": found.differences if as_json else len(found.differences),
        }
        _print(facts, as_json=as_json)
    for difference in found.differences:
        click.echo(difference, err=True)
    if found.differences:
        sys.exit(1)
