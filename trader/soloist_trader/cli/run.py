"""`soloist-trader run`."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from pathlib import Path

import click

CLUSTER_KEYS = Path("/var/run/soloist/keys")
CLUSTER_STATE = Path("/var/lib/soloist")
CLUSTER_WATCH = Path("/var/run/soloist/watch")


@click.command()
@click.option("--config", "path", type=click.Path(path_type=Path), required=True, help="Configuration file.")
@click.option(
    "--keys", type=click.Path(path_type=Path), help=f"Key directory. Default: {CLUSTER_KEYS}. Live only."
)
@click.option(
    "--state-dir",
    type=click.Path(path_type=Path),
    help=f"Directory of the journal. Default: {CLUSTER_STATE} in a cluster, else ~/.local/state/soloist/<bot>.",
)
@click.option(
    "--admin",
    default="",
    help="HOST:PORT of /startup /health /ready /metrics /status. Default: every address in a cluster, else "
    "127.0.0.1; port 8080.",
)
@click.option(
    "--lease", help="NAMESPACE/NAME of the Lease to renew. Default in a cluster: POD_NAMESPACE/POD_NAME."
)
@click.option(
    "--watch-dir",
    type=click.Path(path_type=Path),
    help=f"Directory in shared memory, shared with `soloist-trader watchdog`. Default: {CLUSTER_WATCH} where it exists in a "
    "cluster, else none.",
)
@click.option(
    "--any-state-dir",
    is_flag=True,
    help="Trade although the state directory does not outlive the pod (tmpfs, the container's own layer). In a cluster a "
    "Live bot is refused otherwise; outside of one, nothing is checked.",
)
@click.option(
    "--log",
    "log_format",
    type=click.Choice(["auto", "json", "text"]),
    default="auto",
    show_default=True,
    help="How the log is written to standard output; auto is text on a terminal and JSON elsewhere.",
)
def run(
    path: Path,
    keys: Path | None,
    state_dir: Path | None,
    admin: str,
    lease: str | None,
    watch_dir: Path | None,
    any_state_dir: bool,
    log_format: str,
) -> None:
    """Run one engine until SIGTERM.

    It recovers from its journal, agrees with the venue, trades, and at the end cancels its own orders and proves that
    none rests. While it runs, `soloist-trader ctl` asks it to halt, reduce, resume. With
    SOLOIST_APPROVED_CONFIGURATION_SHA256 or SOLOIST_APPROVED_STRATEGY_SHA256 in the environment it starts only with exactly
    that configuration file and strategy source; SOLOIST_IMAGE is what it says of its image. Exit codes: 0 stopped and
    proven, 2 the configuration, keys or state cannot be used or are not approved, 3 the engine may not trade (key revoked, other epoch), 4 stopped without
    the proof (orders left on purpose included), 1 an error of the engine.
    """
    import uvloop  # noqa: PLC0415 `--help` does not need the engine

    from soloist_trader import config  # noqa: PLC0415 as above
    from soloist_trader.errors import (  # noqa: PLC0415 as above
        ConfigurationError,
        FatalError,
        KeysError,
        NotApprovedError,
        StateError,
    )
    from soloist_trader.shell import logs  # noqa: PLC0415 as above
    from soloist_trader.shell.deployment import measure, require_approved  # noqa: PLC0415 as above
    from soloist_trader.shell.lease import LeaseAddress  # noqa: PLC0415 as above
    from soloist_trader.shell.service import (  # noqa: PLC0415 as above
        EXIT_CONFIGURATION,
        EXIT_FATAL,
        Options,
        Service,
    )
    from soloist_trader.shell.termination import write_termination  # noqa: PLC0415 as above

    text = log_format == "text" or (log_format == "auto" and sys.stdout.isatty())
    logs.configure(text=text)
    in_cluster = "KUBERNETES_SERVICE_HOST" in os.environ and "POD_NAME" in os.environ
    if lease is None and in_cluster:
        lease = f"{os.environ.get('POD_NAMESPACE', '')}/{os.environ['POD_NAME']}"

    if watch_dir is None and in_cluster and CLUSTER_WATCH.is_dir():
        watch_dir = CLUSTER_WATCH

    async def live() -> int:
        content = config.read(path)
        configuration = config.parse(content, path)
        deployment = measure(content, configuration, os.environ)
        require_approved(deployment, os.environ)
        options = Options(
            configuration,
            keys or CLUSTER_KEYS,
            state_dir or (CLUSTER_STATE if in_cluster else _home_state(configuration.bot.name)),
            admin or ("0.0.0.0:8080" if in_cluster else "127.0.0.1:8080"),
            LeaseAddress.in_cluster(lease) if lease else None,
            os.environ.get("POD_UID", ""),
            require_lasting_state=in_cluster and not any_state_dir,
            watch_directory=watch_dir,
            deployment=deployment,
        )
        return await Service(options).run()

    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            code = runner.run(live())
    except ConfigurationError as error:
        write_termination("ConfigurationInvalid", str(error), error.problems)
        if text:
            for line in [*config.lines(path, error.problems), "Nothing was connected."]:
                click.echo(line, err=True)
        else:
            logs.log(
                "ConfigurationInvalid",
                f"{error} (configuration {path}; nothing was connected)",
                level=logging.ERROR,
                problems=error.problems,
            )
        code = EXIT_CONFIGURATION
    except NotApprovedError as error:
        write_termination("NotApproved", str(error))
        logs.log("NotApproved", f"{error} (nothing was connected)", level=logging.ERROR)
        code = EXIT_CONFIGURATION
    except KeysError as error:
        write_termination("KeysUnusable", str(error), [("spec.account", str(error))])
        logs.log("KeysUnusable", str(error), level=logging.ERROR)
        code = EXIT_CONFIGURATION
    except StateError as error:
        write_termination("StateUnusable", str(error))
        logs.log("StateUnusable", str(error), level=logging.ERROR)
        code = EXIT_CONFIGURATION
    except FatalError as error:
        write_termination(error.reason, str(error))
        logs.log("Fatal", str(error), level=logging.ERROR, reason=error.reason)
        code = EXIT_FATAL
    sys.exit(code)


def _home_state(bot: str) -> Path:
    base = os.environ.get("XDG_STATE_HOME")
    return (Path(base) if base else Path.home() / ".local" / "state") / "soloist" / bot
