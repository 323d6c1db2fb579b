"""The commands of `soloist-trader`. Imports that cost time are made by the command that needs them."""

from __future__ import annotations

import importlib

import click

_COMMANDS = {
    "run": "soloist_trader.cli.run:run",
    "check": "soloist_trader.cli.check:check",
    "strategies": "soloist_trader.cli.strategies:strategies",
    "replay": "soloist_trader.cli.replay:replay",
    "backtest": "soloist_trader.cli.backtest:backtest",
    "keys": "soloist_trader.cli.keys:keys",
    "watchdog": "soloist_trader.cli.watchdog:watchdog",
    "ctl": "soloist_trader.cli.ctl:ctl",
    "reconcile": "soloist_trader.cli.reconcile:reconcile",
    "journal": "soloist_trader.cli.journal:journal",
    "store": "soloist_trader.cli.store:store",
    "status": "soloist_trader.cli.status:status",
    "watch": "soloist_trader.cli.status:watch",
}


class _LazyGroup(click.Group):
    """A group whose commands are imported when they are used."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 click's signature
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 click's signature
        if cmd_name not in _COMMANDS:
            return None
        module, _, name = _COMMANDS[cmd_name].partition(":")
        command = getattr(importlib.import_module(module), name)
        assert isinstance(command, click.Command)
        return command


@click.group(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="soloist", prog_name="soloist-trader")
def main() -> None:
    """The Soloist engine: one bot, one account, no order lost and none doubled.

    Begin with `check` on a configuration, then `run`; `watch` shows orders, fills and profit as they happen.
    """


if __name__ == "__main__":
    main(prog_name="soloist-trader")
