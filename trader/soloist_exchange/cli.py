"""The command line `soloist-exchange`."""

import asyncio
import gc
import json
import logging
import signal
import sys
import time
from pathlib import Path

import click

from soloist_exchange import certificates, scenario
from soloist_exchange.cli_accounts import account
from soloist_exchange.cli_lists import scenarios, switches, tapes
from soloist_exchange.cli_options import HELP, STATE_DIR, Address
from soloist_exchange.errors import ExchangeError
from soloist_exchange.scenario_actions import assignments
from soloist_exchange.server import Listening, Options, encode_listening, run, serve
from soloist_exchange.store import serving_alone
from soloist_exchange.switches import Switches, parse

__all__ = ["main"]

_log = logging.getLogger(__name__)

CERTIFICATE_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.group(context_settings=HELP)
def main() -> None:
    """A local exchange that speaks the venue's REST and WebSocket contract.

    \b
    soloist-exchange serve --state-dir state --scenario demo
    soloist-exchange account create me --balance 10000.00 --state-dir state
    soloist-exchange scenarios                  # markets to choose from
    soloist-exchange switches                   # what the venue's documents leave open
    soloist-exchange tape record --out rain.tape --scenario demo --minutes 30
    """  # noqa: D301 - click wants the character itself, not its name


@main.command(name="serve")
@click.option(
    "--listen", type=Address(), default="127.0.0.1:8443", show_default=True, help="REST and WebSocket."
)
@click.option(
    "--admin",
    type=Address(),
    default="127.0.0.1:8444",
    show_default=True,
    help="Admin API; keep it on loopback.",
)
@STATE_DIR
@click.option(
    "--scenario", "scenario_name", default="demo", show_default=True, help="A built-in name, or a YAML file."
)
@click.option(
    "--seed", type=int, default=1, show_default=True, help="The same seed makes the same flow of orders."
)
@click.option(
    "--clock",
    "clock_kind",
    type=click.Choice(["real", "virtual"]),
    default="real",
    show_default=True,
    help="A virtual clock stands still until POST /admin/clock moves it.",
)
@click.option(
    "--switch",
    "assigned",
    multiple=True,
    metavar="NAME=VALUE",
    help="Behave otherwise where the venue's documents leave a question open; repeatable. See `soloist-exchange switches`.",
)
@click.option("--tls-cert", type=CERTIFICATE_FILE, help="Certificate (PEM).")
@click.option("--tls-key", type=CERTIFICATE_FILE, help="Its private key (PEM).")
@click.option("--tls-ca", type=CERTIFICATE_FILE, help="The authority that clients trust; printed as ca_file.")
@click.option("--plain", is_flag=True, help="No TLS.")
def serve_command(
    listen: tuple[str, int],
    admin: tuple[str, int],
    state_dir: Path,
    scenario_name: str,
    seed: int,
    clock_kind: str,
    assigned: tuple[str, ...],
    tls_cert: Path | None,
    tls_key: Path | None,
    tls_ca: Path | None,
    *,
    plain: bool,
) -> None:
    """Serve until SIGTERM or Ctrl-C.

    Prints one JSON line when ready: rest_url, ws_url, ca_file, admin_url. Without TLS files it makes its own authority and
    certificate for localhost in the state directory. Logs go to standard error, as JSON.

    \b
    soloist-exchange serve --state-dir state
    soloist-exchange serve --state-dir state --scenario mine.yaml --seed 7 --listen 127.0.0.1:0 --admin 127.0.0.1:0
    soloist-exchange serve --state-dir state --scenario static --clock virtual --switch read_model_lag_ms=500
    """  # noqa: D301 - click wants the character itself, not its name
    started_s = time.monotonic()
    _log_as_json()
    if bool(tls_cert) != bool(tls_key):
        raise click.UsageError("--tls-cert and --tls-key go together")
    # Nothing that is made until everything is open becomes garbage: looking for it would only cost.
    gc.disable()
    try:
        plan = scenario.load(scenario_name, lambda records: _log.info("tape: %d records checked", records))
        chosen = _switches(plan, assigned)
        _log.info("opening %d markets of scenario %s", len(plan.plans), plan.name)
        state_dir.mkdir(parents=True, exist_ok=True)
        tls = None if plain else certificates.ensure(state_dir)
        if tls_cert and tls_key:
            tls = certificates.Certificates(tls_cert, tls_key, tls_ca or tls_cert)
        options = Options(
            *listen,
            *admin,
            state_dir,
            plan,
            seed,
            tls,
            clock="virtual" if clock_kind == "virtual" else "real",
            switches=chosen,
        )
        with serving_alone(state_dir):
            run(_serve(options, started_s))
    except ExchangeError as error:
        raise click.ClickException(str(error)) from error
    except OSError as error:
        raise click.ClickException(f"{error}; choose another --listen, --admin or --state-dir") from error


def _switches(plan: scenario.Scenario, assigned: tuple[str, ...]) -> Switches:
    """Return the scenario's switches with those of the command line over them."""
    chosen = parse(assignments(plan.switches), Switches())
    try:
        return parse(assigned, chosen)
    except ExchangeError as error:
        raise click.BadParameter(str(error), param_hint="--switch") from error


async def _serve(options: Options, started_s: float) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)

    def ready(listening: Listening) -> None:
        gc.enable()
        # What is there now stays until the end: it is never looked through again.
        gc.freeze()
        print(encode_listening(listening), flush=True)
        _log.info("ready after %d ms", round((time.monotonic() - started_s) * 1000))

    await serve(options, ready, stop)


main.add_command(account)
main.add_command(scenarios)
main.add_command(switches)
main.add_command(tapes, name="tape")


class _JsonFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        fields = {
            "time_ms": int(record.created * 1000),
            "level": record.levelname,
            "message": record.getMessage(),
        }
        if record.exc_info:
            fields["exception"] = self.formatException(record.exc_info)
        return json.dumps(fields)


def _log_as_json() -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_JsonFormatter())
    logging.basicConfig(level=logging.INFO, handlers=[handler])
