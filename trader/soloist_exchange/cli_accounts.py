"""`soloist-exchange account`: accounts in a state directory, also of an exchange that serves."""

import json
import re
import time
from pathlib import Path

import click
from soloist_kalshi.numbers import NumberError, money_from_dollars, money_to_dollars

from soloist_exchange.accounts import SUBACCOUNTS, TIERS, create_account
from soloist_exchange.cli_options import FORMATS, STATE_DIR, print_rows
from soloist_exchange.errors import ExchangeError
from soloist_exchange.store import Store

__all__ = ["account"]

ACCOUNT_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")  # it names a file, too


@click.group(short_help="Create and list accounts, also while the exchange serves.")
def account() -> None:
    """Accounts of the exchange; they work at once, also while it serves."""


@account.command(name="create")
@click.argument("name")
@click.option("--balance", default="10000.00", show_default=True, help="Dollars to begin with.")
@click.option(
    "--key-type",
    type=click.Choice(["ed25519", "rsa"]),
    default="ed25519",
    show_default=True,
    help="Kind of the account's first key.",
)
@click.option(
    "--tier",
    type=click.Choice(list(TIERS)),
    default="basic",
    show_default=True,
    help="Rate limits (API usage level).",
)
@click.option(
    "--subaccounts",
    type=click.IntRange(0, SUBACCOUNTS - 1),
    default=0,
    show_default=True,
    metavar="N",
    help="Open the subaccounts 1 to N beside the primary one.",
)
@click.option("--print-key", is_flag=True, help="Print the private key, too (PEM, in field private_key).")
@STATE_DIR
def account_create(
    name: str, balance: str, key_type: str, tier: str, subaccounts: int, state_dir: Path, *, print_key: bool
) -> None:
    """Create an account with one full key; works while the exchange serves.

    Prints one JSON line: account, key_id, private_key_file.

    \b
    soloist-exchange account create me --state-dir state
    soloist-exchange account create fast --tier prestige --subaccounts 3 --key-type rsa --state-dir state
    """  # noqa: D301 - click wants the character itself, not its name
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
            store,
            name,
            deposited,
            "rsa" if key_type == "rsa" else "ed25519",
            now_ms,
            tier=tier,
            subaccounts=subaccounts,
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
    click.echo(json.dumps(printed))


@account.command(name="list")
@FORMATS
@STATE_DIR
def account_list(state_dir: Path, *, as_json: bool) -> None:
    """List the accounts of a state directory: name, tier, subaccounts, deposited dollars, key ids (comma separated)."""
    if not state_dir.is_dir():
        raise click.BadParameter(f"{state_dir} is not there", param_hint="--state-dir")
    try:
        store = Store(state_dir)
        rows = [
            {
                "account": row.name,
                "tier": row.tier,
                "subaccounts": row.subaccounts,
                "deposited_dollars": money_to_dollars(row.deposited),
                "key_ids": [key.key_id for key in store.keys(row.account_id)],
            }
            for row in store.accounts()
        ]
        store.close()
    except (ExchangeError, OSError) as error:
        raise click.ClickException(str(error)) from error
    print_rows(rows, as_json=as_json)
