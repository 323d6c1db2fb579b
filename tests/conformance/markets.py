"""The markets of the cards' exchanges: kinds that never move by themselves, some hundred of each, so that every card has its own."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from pathlib import Path

__all__ = ["take", "write"]

# Five levels of 500 to 1500 contracts on each side, best bid 0.49 and best ask 0.51.
_STILL: dict[str, object] = {"step_ms": 0, "levels": 5, "level_contracts": 1000, "spread_ticks": 2}
_KINDS: dict[str, tuple[int, dict[str, object]]] = {"cent": (300, {})}
_taken: dict[str, Iterator[int]] = {kind: itertools.count() for kind in _KINDS}


def write(path: Path) -> str:
    """Write the scenario with all markets and return its path."""
    plans = [
        {"ticker": _ticker(kind, number), **_STILL, **fields}
        for kind, (how_many, fields) in _KINDS.items()
        for number in range(how_many)
    ]
    path.write_text(json.dumps({"name": "cards", "markets": plans}))
    return str(path)


def take(kind: str = "cent") -> str:
    """Return the ticker of a market of this kind that nobody has taken."""
    number = next(_taken[kind])
    assert number < _KINDS[kind][0], f"raise the number of {kind} markets: every test takes one of its own"
    return _ticker(kind, number)


def _ticker(kind: str, number: int) -> str:
    return f"CARD-{number}" if kind == "cent" else f"{kind.upper()}-{number}"
