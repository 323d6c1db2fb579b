"""`soloist-trader watchdog`."""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
from pathlib import Path

import click

CLUSTER_STATE = Path("/var/lib/soloist")
CLUSTER_WATCH = Path("/var/run/soloist/watch")
LISTEN = "0.0.0.0:8081"


@click.command()
@click.option(
    "--from",
    "source",
    type=click.Path(path_type=Path),
    required=True,
    help="Directory of the mounted Secret.",
)
@click.option("--to", "target", type=click.Path(path_type=Path), required=True, help="Key directory.")
@click.option(
    "--config",
    "path",
    type=click.Path(path_type=Path),
    help="The engine's configuration. Without it, keys are copied and nothing is watched.",
)
@click.option(
    "--state-dir",
    type=click.Path(path_type=Path),
    default=CLUSTER_STATE,
    show_default=True,
    help="The engine's state directory: the latch, and the socket of `ctl kill`.",
)
@click.option(
    "--watch-dir",
    type=click.Path(path_type=Path),
    default=CLUSTER_WATCH,
    show_default=True,
    help="Directory in shared memory where the engine leaves its heartbeat.",
)
@click.option(
    "--listen", default=LISTEN, show_default=True, help="HOST:PORT of /status /metrics /health, read-only."
)
@click.option(
    "--silence-ms",
    type=click.IntRange(1_000, 60_000),
    default=5_000,
    show_default=True,
    help="An engine whose loop does not turn for so long is ended.",
)
def watchdog(
    source: Path,
    target: Path,
    path: Path | None,
    state_dir: Path,
    watch_dir: Path,
    listen: str,
    silence_ms: int,
) -> None:
    """Watch one engine until SIGTERM, and end it when it is silent.

    Armed by the engine's first heartbeat, disarmed by the mark of its orderly stop. On silence, in this order: latch
    (watchdog-latch.json in the state directory, fsynced; the engine is HALTED while it holds), SIGKILL, both order groups
    triggered, own orders cancelled by id, proof by a listing that is later than all of that, proof mark. A watchdog that dies
    on the way goes on after its restart. It runs as the engine's user and needs its process namespace.

    `soloist-trader ctl kill --reason …` asks for the same, also when the engine is mute. Every 15 s the account's orders are
    audited: an accepted order of somebody else halts the engine until `ctl resume --latch watchdog`. Meanwhile it keeps the
    engine's key directory equal to the mounted Secret (key rotation). Exit codes: 0 stopped, 1 stopped in the middle of a
    kill that is not proven (the next watchdog goes on), 2 the configuration cannot be used.
    """
    from soloist_trader.shell import logs  # noqa: PLC0415 `--help` does not need it

    logs.configure()
    if path is None:
        asyncio.run(_copy(source, target))
        return
    from soloist_trader import config  # noqa: PLC0415 as above
    from soloist_trader.errors import ConfigurationError  # noqa: PLC0415 as above
    from soloist_trader.shell.termination import write_termination  # noqa: PLC0415 as above
    from soloist_trader.watchdog.service import Options, Watchdog  # noqa: PLC0415 as above

    async def live() -> int:
        configuration = config.load(path)
        if configuration.account is None:
            problem = f"mode {configuration.mode} has no account and needs no watchdog; only Live does"
            raise ConfigurationError([("spec.mode", problem)])
        options = Options(configuration, source, target, state_dir, watch_dir, listen, silence_ms)
        return await Watchdog(options).run()

    try:
        code = asyncio.run(live())
    except ConfigurationError as error:
        write_termination("ConfigurationInvalid", str(error), error.problems)
        logs.log("ConfigurationInvalid", f"{error} (configuration {path})", level=logging.ERROR)
        code = 2
    sys.exit(code)


async def _copy(source: Path, target: Path) -> None:
    """Keep the keys equal until SIGTERM or SIGINT."""
    from soloist_trader.watchdog.keys import Copier  # noqa: PLC0415 as above

    copying = asyncio.ensure_future(Copier(source, target).run())
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, copying.cancel)
    try:
        await copying
    except asyncio.CancelledError:
        return
