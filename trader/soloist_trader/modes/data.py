"""Market data for backtests: tapes and Parquet files as the core's market events, in the sequence of their time."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from soloist_trader.core import events
from soloist_trader.core.units import ASK, BID
from soloist_trader.errors import EngineError
from soloist_trader.tape.blocks import Damage
from soloist_trader.tape.codec import TapeGap
from soloist_trader.tape.reader import Missing, Recorded, TapeReader

MarketEvent = events.TopChanged | events.Traded | events.BookLost | events.MarketSeen
_KINDS: Final = (events.TopChanged, events.Traded, events.BookLost, events.MarketSeen)
PARQUET_SUFFIX: Final = ".parquet"
_TICKS: Final = tuple(range(100, 10_000, 100))
_COLUMNS: Final = {
    "time_ms": "Unix milliseconds",
    "market": "ticker",
    "kind": "`top` or `trade`",
    "bid_price": "of a top: best bid in 1/10 000 dollar, 0 if there is none",
    "bid_count": "of a top: its count in 1/100 contract",
    "ask_price": "of a top: best ask",
    "ask_count": "of a top: its count",
    "price": "of a trade: price of YES",
    "size": "of a trade: count",
    "taker_side": "of a trade: `bid` or `ask`",
}


class DataError(EngineError):
    """Market data cannot be used. Names the file, the column or row, and what to do."""


def read_data(path: Path) -> list[MarketEvent]:
    """Market events of a tape (file or directory) or a Parquet file, sorted by time. Raises DataError, TapeError."""
    found = _parquet(path) if path.suffix == PARQUET_SUFFIX else list(_tape(path))
    if not any(isinstance(event, events.TopChanged) for event in found):
        raise DataError(f"{path} holds no change of a book: there is nothing to trade on")
    return sorted(found, key=lambda event: event.now_ms)


def _tape(path: Path) -> Iterator[MarketEvent]:
    """What the recording engine saw of its markets. After a gap every book is lost until it is shown again."""
    markets: set[str] = set()
    last_ms, interrupted = 0, False
    for item in TapeReader(path):
        if isinstance(item, TapeGap | Missing | Damage):
            interrupted = True
        elif isinstance(item, Recorded):
            if interrupted:
                for market in sorted(markets):
                    yield events.BookLost(last_ms, market, "a gap in the data")
                interrupted = False
            if isinstance(item.event, _KINDS):
                last_ms = max(last_ms, item.event.now_ms)
                markets.add(item.event.market)
                yield item.event


def _parquet(path: Path) -> list[MarketEvent]:
    try:
        from pyarrow import ArrowException, parquet  # noqa: PLC0415 an extra of its own
    except ImportError as error:
        raise DataError(
            f"{path}: reading Parquet needs pyarrow, which is not installed; install the extra with "
            "`pip install 'soloist[data]'`, or use a tape"
        ) from error
    try:
        table = parquet.read_table(path)
    except (OSError, ArrowException) as error:
        raise DataError(f"{path} cannot be read as Parquet: {error}") from error
    missing = [name for name in _COLUMNS if name not in table.column_names]
    if missing:
        wanted = "; ".join(f"{name}: {_COLUMNS[name]}" for name in missing)
        raise DataError(f"{path} lacks the columns {', '.join(missing)} ({wanted})")
    found: list[MarketEvent] = []
    generations: set[str] = set()
    for number, row in enumerate(table.select(list(_COLUMNS)).to_pylist()):
        if row["market"] not in generations:
            generations.add(row["market"])
            found.append(events.MarketSeen(row["time_ms"], row["market"], True, 0, _TICKS, 0))  # noqa: FBT003 a tuple's field
        found.append(_event(path, number, row))
    return found


def _event(path: Path, number: int, row: dict[str, Any]) -> MarketEvent:
    numbers = (
        ("bid_price", "bid_count", "ask_price", "ask_count") if row["kind"] == "top" else ("price", "size")
    )
    for name in ("time_ms", *numbers):
        if type(row[name]) is not int:
            raise DataError(
                f"{path} row {number}: {name} is {row[name]!r}, not an integer ({_COLUMNS[name]})"
            )
    if row["kind"] == "top":
        prices = (row["bid_price"], row["bid_count"], row["ask_price"], row["ask_count"])
        return events.TopChanged(row["time_ms"], row["market"], *prices, 1)
    if row["kind"] == "trade" and row["taker_side"] in {"bid", "ask"}:
        side = BID if row["taker_side"] == "bid" else ASK
        return events.Traded(row["time_ms"], row["market"], row["price"], row["size"], side)
    raise DataError(
        f"{path} row {number}: kind {row['kind']!r} with taker_side {row['taker_side']!r}; write `top`, or `trade` with "
        "taker_side `bid` or `ask`"
    )
