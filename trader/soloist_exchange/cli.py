"""The command line `soloist-exchange`."""

import asyncio
import json
import logging
import re
import signal
import sys
import time
from pathlib import Path

import click
from soloist_kalshi.numbers import NumberError, money_from_dollars

from soloist_exchange import certificates, scenario
from soloist_exchange.auth import WINDOW_MS
from soloist_exchange.errors import ExchangeError
from soloist_exchange.exchange import create_account
from soloist_exchange.server import Listening, Options, encode_listening, serve
from soloist_exchange.store import Store, serving_alone

__all__ = ["main"]

LARGEST_PORT = 65_535
ACCOUNT_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")  # it names a file, too

STATE_DIR = click.option(
    "--state-dir",
    type=click.Path(file_okay=False, path_type=Path),
    required=True,
    help="Directory with accounts, keys, orders and fills; made when missing.",
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


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
def main() -> None:
    """A local exchange that speaks the venue's REST and WebSocket contract.

    \b
    soloist-exchange serve --state-dir state --scenario demo
    soloist-exchange account create me --balance 10000.00 --state-dir state
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
    "--tls-cert", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="Certificate (PEM)."
)
@click.option(
    "--tls-key", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="Its private key (PEM)."
)
@click.option(
    "--tls-ca",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="The authority that clients trust; printed as ca_file.",
)
@click.option("--plain", is_flag=True, help="No TLS.")
def serve_command(
    listen: tuple[str, int],
    admin: tuple[str, int],
    state_dir: Path,
    scenario_name: str,
    seed: int,
    tls_cert: Path | None,
    tls_key: Path | None,
    tls_ca: Path | None,
    *,
    plain: bool,
) -> None:
    """Serve until SIGTERM or Ctrl-C.

    Prints one JSON line when ready: rest_url, ws_url, ca_file, admin_url. Without TLS files it makes its own authority and
    certificate for localhost in the state directory. Logs go to standard error, as JSON.
    """
    _log_as_json()
    if bool(tls_cert) != bool(tls_key):
        raise click.UsageError("--tls-cert and --tls-key go together")
    try:
        plan = scenario.load(scenario_name)
        state_dir.mkdir(parents=True, exist_ok=True)
        tls = None if plain else certificates.ensure(state_dir)
        if tls_cert and tls_key:
            tls = certificates.Certificates(tls_cert, tls_key, tls_ca or tls_cert)
        options = Options(*listen, *admin, state_dir, plan, seed, tls)
        with serving_alone(state_dir):
            asyncio.run(_serve(options))
    except ExchangeError as error:
        raise click.ClickException(str(error)) from error
    except OSError as error:
        raise click.ClickException(f"{error}; choose another --listen, --admin or --state-dir") from error


async def _serve(options: Options) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)

    def ready(listening: Listening) -> None:
        print(encode_listening(listening), flush=True)

    await serve(options, ready, stop)


@main.group()
def account() -> None:
    """Accounts of the exchange."""


@account.command(name="create")
@click.argument("name")
@click.option("--balance", default="10000.00", show_default=True, help="Dollars to begin with.")
@click.option("--key-type", type=click.Choice(["ed25519", "rsa"]), default="ed25519", show_default=True)
@click.option("--print-key", is_flag=True, help="Print the private key, too (PEM, in field private_key).")
@STATE_DIR
def account_create(name: str, balance: str, key_type: str, state_dir: Path, *, print_key: bool) -> None:
    """Create an account with one full key; works while the exchange serves.

    Prints one JSON line: account, key_id, private_key_file.
    """
    try:
        deposited = money_from_dollars(balance)
    except NumberError as error:
        raise click.BadParameter(str(error), param_hint="--balance") from None
    if deposited < 0:
        raise click.BadParameter("must not be negative", param_hint="--balance")
    if not ACCOUNT_NAME.fullmatch(name):
        raise click.BadParameter("letters, digits, dot, dash and underscore, at most 100", param_hint="NAME")
    now_ms = time.time_ns() // 1_000_000
    try:
        store = Store(state_dir)
        row, key_id, private_pem = create_account(
            store, name, deposited, "rsa" if key_type == "rsa" else "ed25519", now_ms
        )
        path = state_dir / f"{name}.pem"
        path.touch(mode=0o600)
        path.write_bytes(private_pem)
        store.close()
    except (ExchangeError, OSError) as error:
        raise click.ClickException(str(error)) from error
    printed = {"account": row.name, "key_id": key_id, "private_key_file": str(path)}
    if print_key:
        printed["private_key"] = private_pem.decode()
    print(json.dumps(printed))


@main.command()
def scenarios() -> None:
    """List the built-in scenarios."""
    for item in scenario.SCENARIOS.values():
        print(f"{item.name}\t{len(item.markets)} markets\t{item.description}")


@main.command()
def switches() -> None:
    """List how this exchange behaves where the venue's documents leave a question open."""
    for name, value, meaning in (
        ("clock_window_ms", str(WINDOW_MS), "how far a request's timestamp may be off, both ways"),
        ("pss_salt", "strict", "RSA signatures need a salt of 32 bytes"),
        ("post_only_cross", "reject", "400 invalid_order, not accepted and cancelled"),
        ("reduce_only", "immediate_or_cancel", "refused with any other time in force"),
        ("fill_or_kill", "canceled", "one that cannot fill ends canceled, it is not refused"),
        ("client_order_id_scope", "account", "an id is used up for ever, for all subaccounts"),
        ("zero_fill_ioc_uses_id", "yes", "an immediate-or-cancel order without a fill uses up its id"),
        ("deleted_key_ends_websocket", "yes", "open connections of a deleted key are closed"),
        ("repeat_subscribe", "same_sid", "a second subscribe to a channel keeps its sid and adds markets"),
        ("orderbook_auth", "none", "order books are public"),
        ("read_model_lag_ms", "0", "portfolio reads do not lag"),
    ):
        print(f"{name}\t{value}\t{meaning}")


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
