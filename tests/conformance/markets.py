"""The markets of the cards' exchanges: kinds that never move by themselves, so many of each that every card has its own."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

__all__ = ["take", "write"]

# Five levels of 500 to 1500 contracts on each side, best bid 0.49 and best ask 0.51 on a grid of cents.
_STILL: dict[str, Any] = {"step_ms": 0, "levels": 5, "level_contracts": 1000, "spread_ticks": 2}
_EMPTY: dict[str, Any] = {"sides": "none"}
_DAY_MS = 24 * 3600 * 1000
# Kind: how many there are, and what is different in them. Their tickers are KIND-1, KIND-2 and so on.
_KINDS: dict[str, tuple[int, dict[str, Any]]] = {
    "card": (700, {}),
    "empty": (20, _EMPTY),
    "deci": (10, _EMPTY | {"price_level_structure": "deci_cent"}),
    "tapered": (10, _EMPTY | {"price_level_structure": "tapered_deci_cent"}),
    "centi": (10, _EMPTY | {"price_level_structure": "center_centi_edge_centi_cent"}),
    "combo": (10, _EMPTY | {"price_level_structure": "center_deci_edge_centi_cent"}),
    "scalar": (10, {"market_type": "scalar"}),
    "unopened": (10, _EMPTY | {"status": "initialized", "open_at_ms": 300 * _DAY_MS}),
    "shard1": (10, {"exchange_index": 1}),
    "shard2": (10, {"exchange_index": 2}),
    "makerfee": (10, _EMPTY | {"fee": {"kind": "quadratic_with_maker_fees"}}),
    "combofee": (10, _EMPTY | {"fee": {"kind": "quadratic_with_combo_maker_fees"}}),
    "halffee": (10, _EMPTY | {"fee": {"kind": "quadratic", "multiplier_percent": 50}}),
    "nofee": (10, _EMPTY | {"fee_waiver_until_ms": 300 * _DAY_MS}),
    # The multipliers make the trade fees of the documented vectors: 0.0085 for 1 @ 0.055, and 0.0041 for 0.30 @ 0.50.
    "vectora": (4, _EMPTY | {"price_level_structure": "deci_cent", "fee": {"multiplier_percent": 233}}),
    "vectorb": (4, _EMPTY | {"fee": {"multiplier_percent": 77}}),
    "later": (2, _EMPTY | {"create_at_ms": 100 * _DAY_MS}),
    "sibling": (20, {"event": "SIBLINGS"}),
}
# Number 1 of each kind is nobody's: a name for whoever needs another market.
_taken: dict[str, Iterator[int]] = {kind: itertools.count(2) for kind in _KINDS}


def write(path: Path) -> str:
    """Write the scenario with all markets and return its path."""
    many = [
        {"prefix": kind.upper(), "count": how_many, **_STILL, **fields}
        for kind, (how_many, fields) in _KINDS.items()
    ]
    described = {
        "name": "cards",
        "series": [{"ticker": "KIN", "title": "Kin", "category": "Family", "tags": ["kin"]}],
        "events": [
            {"ticker": "SIBLINGS", "series": "KIN", "title": "Who of them", "mutually_exclusive": True}
        ],
        "markets_many": many,
    }
    path.write_text(json.dumps(described))
    return str(path)


def take(kind: str = "card") -> str:
    """Return the ticker of a market of this kind that nobody has taken."""
    number = next(_taken[kind])
    assert number <= _KINDS[kind][0], f"raise the number of {kind} markets: every test takes one of its own"
    return f"{kind.upper()}-{number}"
