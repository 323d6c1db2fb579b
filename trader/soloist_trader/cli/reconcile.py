"""`soloist-trader reconcile`."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from soloist_trader.shell.difference import Row

CLUSTER_KEYS = Path("/var/run/soloist/keys")
CLUSTER_STATE = Path("/var/lib/soloist")


@click.command()
@click.option("--config", "path", type=click.Path(path_type=Path), required=True, help="Configuration file.")
@click.option(
    "--keys",
    type=click.Path(path_type=Path),
    default=CLUSTER_KEYS,
    show_default=True,
    help="Key directory.",
)
@click.option(
    "--state-dir",
    type=click.Path(path_type=Path),
    default=CLUSTER_STATE,
    show_default=True,
    help="Directory of the journal.",
)
@click.option("--all", "everything", is_flag=True, help="Print what is equal, too.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of tab-separated lines.")
def reconcile(path: Path, keys: Path, state_dir: Path, everything: bool, as_json: bool) -> None:
    """Compare a journal with the venue and print what differs. Reads only: no order, no lock, nothing is written.

    Columns: kind (order, fill, settlement, position, cash), subject, ours, venue, verdict. `differs` needs a person,
    `pending` the engine is still finding out, `foreign` is not of this bot. Fills and settlements are those since the
    journal's cursor less two minutes. Beside a running engine, what happens meanwhile shows as a difference; look twice.

    Exit codes: 0 nothing differs, 1 something does, 2 configuration, keys, journal or venue cannot be used.
    """
    from soloist_kalshi.errors import VenueError  # noqa: PLC0415 `--help` does not need it

    from soloist_trader.errors import EngineError  # noqa: PLC0415 as above
    from soloist_trader.shell.difference import DIFFERS, EQUAL  # noqa: PLC0415 as above

    try:
        rows = asyncio.run(_compare(path, keys, state_dir))
    except (EngineError, VenueError, OSError, ValueError) as error:
        click.echo(f"{type(error).__name__}: {error}", err=True)
        sys.exit(2)
    shown = [row for row in rows if everything or row.verdict != EQUAL]
    if as_json:
        click.echo(json.dumps([row._asdict() for row in shown]))
    else:
        for row in shown:
            click.echo("\t".join(row))
    differing = sum(row.verdict == DIFFERS for row in rows)
    click.echo(f"{len(rows)} comparisons, {differing} differ", err=True)
    sys.exit(1 if differing else 0)


async def _compare(path: Path, keys: Path, state_dir: Path) -> list[Row]:
    """One reading of the account beside the journal. Raises EngineError, VenueError."""
    from soloist_kalshi.attempt_budget import AttemptBudget  # noqa: PLC0415 as above
    from soloist_kalshi.keys import SignerSource  # noqa: PLC0415 as above

    from soloist_trader import config  # noqa: PLC0415 as above
    from soloist_trader.core.ledger import Ledger  # noqa: PLC0415 as above
    from soloist_trader.errors import ConfigurationError, StateError  # noqa: PLC0415 as above
    from soloist_trader.journal.disk import Disk  # noqa: PLC0415 as above
    from soloist_trader.journal.reader import Tail  # noqa: PLC0415 as above
    from soloist_trader.journal.snapshots import rebuild  # noqa: PLC0415 as above
    from soloist_trader.shell.difference import differences  # noqa: PLC0415 as above
    from soloist_trader.shell.keys import load_slots  # noqa: PLC0415 as above
    from soloist_trader.shell.live import LiveEdge  # noqa: PLC0415 as above
    from soloist_trader.shell.recovery import OVERLAP_MS, wanted  # noqa: PLC0415 as above

    configuration = config.load(path)
    if configuration.account is None:
        raise ConfigurationError([("spec.mode", "only a Live bot has an account to compare with")])
    ledger = Ledger()
    if not await asyncio.to_thread(state_dir.is_dir):
        raise StateError(f"state directory {state_dir} is not there; name the engine's with --state-dir")
    rebuild(state_dir, Disk(), ledger, Tail())
    if ledger.started is None:
        raise StateError(f"state directory {state_dir} holds no journal; name the engine's with --state-dir")
    slot = load_slots(keys)[-1]
    edge = LiveEdge(
        configuration,
        SignerSource(slot.signer, slot.generation),
        lambda why: click.echo(f"key refused: {why}", err=True),
        lambda: None,
        AttemptBudget(),
    )
    try:
        since_ms = ledger.cursor_ms or ledger.started.time_ms  # no cursor: never compared
        reading = await edge.read(since_ms - OVERLAP_MS, wanted(ledger))
    finally:
        await edge.close()
    return differences(ledger, reading, configuration.account.claim_hash)
