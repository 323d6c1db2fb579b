"""Strategies are entry points of the group `soloist.strategies`; an installed package can bring its own."""

from __future__ import annotations

from difflib import get_close_matches
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from inspect import isabstract
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
    subject = f"entry point {entry.value!r} of strategy {name!r}"
    try:
        plugin = entry.load()
    except Exception as error:  # policy: whatever somebody else's module raises, its strategy is unusable
        raise KeyError(f"{subject} cannot be loaded: {type(error).__name__}: {error}") from error
    if not (isinstance(plugin, type) and issubclass(plugin, StrategyPlugin)):
        raise KeyError(f"{subject} is not a StrategyPlugin: derive it from soloist_trader.strategies.base")
    if isabstract(plugin):
        raise KeyError(f"{subject} lacks {', '.join(sorted(plugin.__abstractmethods__))}")
    return plugin
