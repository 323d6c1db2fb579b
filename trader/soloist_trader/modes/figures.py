"""Figures of a backtest: profit, drawdown, Sharpe ratio, win rate, trips. Money in 1/1 000 000 dollar."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import sqrt
from statistics import fmean, pstdev
from typing import Final, NamedTuple

from soloist_trader.core.records import Booked, Intended
from soloist_trader.modes.backtest import Point, Run

RETURN_MS: Final = 60_000
"""Returns are changes of the equity from minute to minute."""
_YEAR_MS: Final = 365 * 86_400_000


class Trip(NamedTuple):
    """From flat to flat in one market. `profit` is after fees."""

    market: str
    begin_ms: int
    end_ms: int
    profit: int


@dataclass(frozen=True, slots=True)
class Figures:
    """The numbers of a report. A ratio is None where there is too little to judge."""

    orders: int
    fills: int
    contracts: int
    fees: int
    profit: int
    drawdown: int
    sharpe: float | None
    win_rate: float | None
    trips: tuple[Trip, ...]
    open_positions: dict[str, int]
    by_market: dict[str, int]


def drawdown(equity: Sequence[Point]) -> int:
    """The deepest fall from an earlier high, as money >= 0."""
    high = deepest = 0
    for point in equity:
        high = max(high, point.equity)
        deepest = max(deepest, high - point.equity)
    return deepest


def sharpe(equity: Sequence[Point]) -> float | None:
    """Mean over deviation of the minutes' profits, scaled to a year of 365 days; None below three minutes or without risk."""
    if not equity:
        return None
    closes: dict[int, int] = {}
    for point in equity:
        closes[point.time_ms // RETURN_MS] = point.equity
    values, last = [0], 0
    for minute in range(min(closes), max(closes) + 1):
        last = closes.get(minute, last)
        values.append(last)
    changes = [float(after - before) for before, after in pairwise(values)]
    if len(changes) < 3:  # noqa: PLR2004 said in the docstring
        return None
    deviation = pstdev(changes)
    return fmean(changes) / deviation * sqrt(_YEAR_MS / RETURN_MS) if deviation else None


def trips(fills: Sequence[Booked]) -> list[Trip]:
    """Round trips; a fill that flips through zero ends one and begins the next, each with its part of the fee."""
    held: dict[str, list[int]] = {}
    found: list[Trip] = []
    for fill in fills:
        count, cash, begin_ms = held.get(fill.market, [0, 0, fill.time_ms])
        closing = min(abs(count), fill.size) if count * fill.side < 0 else 0
        parts = [(closing, fill.fee * closing // fill.size)] if closing else []
        if fill.size > closing:
            parts.append((fill.size - closing, fill.fee - sum(fee for _, fee in parts)))
        for size, fee in parts:
            if not count:
                begin_ms = fill.time_ms
            count += fill.side * size
            cash -= fill.side * size * fill.price + fee
            if not count:
                found.append(Trip(fill.market, begin_ms, fill.time_ms, cash))
                cash = 0
        held[fill.market] = [count, cash, begin_ms]
    return found


def figures(run: Run) -> Figures:
    """The figures of one run."""
    ledger = run.engine.ledger
    made = trips(run.fills)
    wins = sum(trip.profit > 0 for trip in made)
    return Figures(
        orders=sum(isinstance(record, Intended) for _, record in run.decisions),
        fills=len(run.fills),
        contracts=sum(fill.size for fill in run.fills),
        fees=sum(position.fees for position in ledger.positions.values()),
        profit=run.equity[-1].equity,
        drawdown=drawdown(run.equity),
        sharpe=sharpe(run.equity),
        win_rate=wins / len(made) if made else None,
        trips=tuple(made),
        open_positions={
            market: position.count for market, position in sorted(ledger.positions.items()) if position.count
        },
        by_market={
            market: position.realised - position.fees for market, position in sorted(ledger.positions.items())
        },
    )
