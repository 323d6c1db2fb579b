"""The scenarios that have names."""

from typing import Any

from soloist_kalshi.numbers import price_to_dollars

from soloist_exchange.scenario_grids import STRUCTURES, grid
from soloist_exchange.scenario_plan import LARGEST_SCENARIO, Scenario

__all__ = ["SCENARIOS"]

_MINUTE_MS = 60_000
_DEMO_STARTS = {"RAIN": "0.35", "WIND": "0.50", "SNOW": "0.42", "HEAT": "0.58", "FROST": "0.65"}


def _demo_markets(**fields: Any) -> list[dict[str, Any]]:
    return [
        {
            "ticker": f"SIM-{name}",
            "title": f"Simulated {name.lower()} tomorrow",
            "start_dollars": start,
        }
        | fields
        for name, start in _DEMO_STARTS.items()
    ]


def _demo() -> dict[str, Any]:
    return {
        "description": "five lively markets, several changes a second each",
        "markets": _demo_markets(),
    }


def _quiet() -> dict[str, Any]:
    plan = {"step_ms": 5000, "move_percent": 20, "trade_percent": 5}
    return {
        "description": "three markets where little happens",
        "markets": [{"ticker": f"SIM-QUIET-{number}", **plan} for number in range(1, 4)],
    }


def _static() -> dict[str, Any]:
    plan = {"step_ms": 0, "levels": 10, "level_contracts": 1000, "spread_ticks": 2}
    return {
        "description": "three deep books that never move by themselves",
        "markets": [{"ticker": f"SIM-STATIC-{number}", **plan} for number in range(1, 4)],
    }


def _lively() -> dict[str, Any]:
    return {
        "description": "twenty markets that move ten times a second, with crossing moments",
        "markets_many": [
            {
                "count": 20, "prefix": "LIVELY", "step_ms": 100, "move_percent": 70, "trade_percent": 60,
                "cross_percent": 5, "spread_ticks": 2,
            }
        ],
    }  # fmt: skip


def _news() -> dict[str, Any]:
    return {
        "description": "five markets whose price jumps twice a minute; makers stay away for two seconds",
        "markets": _demo_markets(news={"ticks": 12, "per_mille": 7, "pull_ms": 2000}),
    }


def _informed() -> dict[str, Any]:
    return {
        "description": "five markets with a trader who knows the price of the next second, and news",
        "markets": _demo_markets(
            informed={"ahead_steps": 5, "percent": 40, "contracts": 60},
            news={"ticks": 8, "per_mille": 4, "pull_ms": 500},
        ),
    }


def _empty() -> dict[str, Any]:
    still = {"step_ms": 0, "levels": 5, "level_contracts": 500}
    return {
        "description": "still markets with empty and one-sided books",
        "markets": [
            {"ticker": "EMPTY-BOTH", "sides": "none", **still},
            {"ticker": "EMPTY-ASKS", "sides": "bids", **still},
            {"ticker": "EMPTY-BIDS", "sides": "asks", **still},
            {"ticker": "EMPTY-THIN", "sides": "both", **still, "levels": 1, "level_contracts": 1},
        ],
    }


def _many(count: int, words: str) -> dict[str, Any]:
    return {
        "description": f"{words} markets, each with one move a second",
        "markets_many": [
            {"count": count, "prefix": "MANY", "step_ms": 1000, "levels": 5, "move_percent": 50, "trade_percent": 20}
        ],
    }  # fmt: skip


def _life() -> dict[str, Any]:
    """Return markets that live through everything within minutes; one begins every half minute, for half an hour."""
    count, stagger_ms = 60, 30_000
    binary: dict[str, Any] = {
        "prefix": "LIFE", "count": count, "stagger_ms": stagger_ms, "event": "LIFE-DAY", "series": "LIFE",
        "status": "initialized", "create_at_ms": 0, "open_at_ms": 15_000, "close_at_ms": 3 * _MINUTE_MS,
        "determine_at_ms": 3 * _MINUTE_MS + 15_000, "settle_at_ms": 3 * _MINUTE_MS + 45_000,
    }  # fmt: skip
    scalar = binary | {
        "prefix": "LIFE-SCALAR", "market_type": "scalar", "result": "scalar", "settlement_dollars": "0.37",
        "event": "LIFE-RANGE", "count": count // 6, "stagger_ms": 6 * stagger_ms,
    }  # fmt: skip
    script: list[dict[str, Any]] = []
    for index in range(count):
        ticker, born_ms = f"LIFE-{index + 1}", index * stagger_ms
        if index % 2 == 0:
            script.append({"at_ms": born_ms + _MINUTE_MS, "do": "deactivate", "ticker": ticker})
            script.append({"at_ms": born_ms + _MINUTE_MS + 20_000, "do": "activate", "ticker": ticker})
        if index % 3 == 0:
            script.append({
                "at_ms": born_ms + 2 * _MINUTE_MS, "do": "price_ranges", "ticker": ticker,
                "price_level_structure": "tapered_deci_cent",
            })  # fmt: skip
        if index % 5 == 0:
            script.append({
                "at_ms": born_ms + 2 * _MINUTE_MS, "do": "move_close", "ticker": ticker,
                "close_at_ms": born_ms + 3 * _MINUTE_MS - 10_000,
            })  # fmt: skip
    return {
        "description": "markets that appear, open, pause, close, are determined and settle, one every half minute",
        "series": [{"ticker": "LIFE", "title": "A life in four minutes", "category": "Simulation", "frequency": "custom"}],
        "events": [
            {"ticker": "LIFE-DAY", "series": "LIFE", "title": "Which of them comes"},
            {"ticker": "LIFE-RANGE", "series": "LIFE", "title": "How much of it comes"},
        ],
        "markets_many": [binary, scalar],
        "script": sorted(script, key=lambda action: int(action["at_ms"])),
    }  # fmt: skip


def _grids() -> dict[str, Any]:
    return {
        "description": "one market for every price grid of the contract",
        "markets": [
            {
                "ticker": f"GRID-{label.upper().replace('_', '-')}",
                "title": f"Prices of {label}",
                "price_level_structure": label,
                # Near the border of the finer steps, so that quotes stand on both sides of it.
                "start_dollars": price_to_dollars(grid(label).round_down(950) or 100),
            }
            for label in STRUCTURES
        ],
    }  # fmt: skip


_CONTENTS: dict[str, dict[str, Any]] = {
    "demo": _demo(),
    "quiet": _quiet(),
    "static": _static(),
    "lively": _lively(),
    "news": _news(),
    "informed": _informed(),
    "empty": _empty(),
    "hundred": _many(100, "a hundred"),
    "thousand": _many(1000, "a thousand"),
    "five-thousand": _many(LARGEST_SCENARIO, "five thousand"),
    "life": _life(),
    "grids": _grids(),
}

SCENARIOS: dict[str, Scenario] = {
    name: Scenario.model_validate({"name": name, **content}) for name, content in _CONTENTS.items()
}
