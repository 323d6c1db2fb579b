"""`soloist-trader`: the command line of the engine."""

from soloist_trader.cli.main import main

__all__ = ["main"]
