"""Strategies are entry points of the group `soloist.strategies`; an installed package can bring its own."""

from __future__ import annotations

from difflib import get_close_matches
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from soloist_trader.strategies.base import StrategyPlugin

GROUP = "soloist.strategies"


@cache
def available() -> dict[str, EntryPoint]:
    """Every installed strategy by name; nothing is imported yet."""
    return {entry.name: entry for entry in sorted(entry_points(group=GROUP), key=lambda entry: entry.name)}


def load(name: str) -> type[StrategyPlugin[Any]]:
    """The class of a strategy. Raises KeyError with what a person can do about it."""
    entry = available().get(name)
    if entry is None:
        known = ", ".join(available()) or "none"
        close = get_close_matches(name, available(), n=1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        raise KeyError(f"unknown strategy {name!r}; installed: {known}.{hint}")
    plugin = entry.load()
    if not (isinstance(plugin, type) and issubclass(plugin, StrategyPlugin)):
        raise KeyError(f"entry point {entry.value!r} of strategy {name!r} is not a StrategyPlugin")
    return plugin
