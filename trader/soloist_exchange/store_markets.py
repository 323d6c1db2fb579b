"""What the state file knows of markets: what they are, what traded, their candles, and the exchange's own notes."""

from collections.abc import Iterable
from typing import Any

from soloist_exchange.store_codec import decode, encode
from soloist_exchange.store_file import StateFile
from soloist_exchange.store_rows import PublicTrade

__all__ = ["CandleRow", "MarketStore"]

# Ticker, start_ms and encoded fields.
CandleRow = tuple[str, int, bytes]
_TRADE = "number, trade_id, ticker, price, count, taker_side, time_ms"


class MarketStore(StateFile):
    """See the module. Writers do not commit."""

    def save_markets(self, rows: Iterable[tuple[str, bytes]]) -> None:
        """Write what markets are, by ticker (see store_codec)."""
        self.database.executemany(
            "INSERT INTO markets (ticker, fields) VALUES (?, ?) ON CONFLICT (ticker) DO UPDATE SET fields = excluded.fields",
            rows,
        )

    def save_statistics(self, rows: Iterable[tuple[str, bytes]]) -> None:
        """Write the statistics of markets, by ticker (see store_codec)."""
        self.database.executemany(
            "INSERT INTO statistics VALUES (?, ?) ON CONFLICT (ticker) DO UPDATE SET fields = excluded.fields",
            rows,
        )

    def markets(self) -> list[tuple[bytes, bytes | None]]:
        """Return every market in the order in which they came, with its statistics when it has any."""
        return list(
            self.database.execute(
                "SELECT markets.fields, statistics.fields FROM markets LEFT JOIN statistics USING (ticker) ORDER BY number"
            )
        )

    # ---------------------------------------------------------------- trades

    def save_trades(self, trades: Iterable[tuple[int, str, str, int, int, int, int]]) -> None:
        """Append public trades: number, trade id, ticker, price, count, taker side, time."""
        self.database.executemany(f"INSERT INTO trades ({_TRADE}) VALUES (?, ?, ?, ?, ?, ?, ?)", trades)  # noqa: S608 - a constant

    def trades(
        self, ticker: str, before: int | None, from_ms: int | None, to_ms: int | None, limit: int
    ) -> list[PublicTrade]:
        """Return public trades, newest first; "" and None mean any."""
        source = "trades INDEXED BY trades_by_ticker WHERE ticker = :ticker" if ticker else "trades WHERE 1"
        rows = self.database.execute(
            f"SELECT {_TRADE} FROM {source} AND (:before IS NULL OR number < :before) "  # noqa: S608 - constants
            "AND (:from_ms IS NULL OR time_ms >= :from_ms) AND (:to_ms IS NULL OR time_ms <= :to_ms) "
            "ORDER BY number DESC LIMIT :limit",
            {"ticker": ticker, "before": before, "from_ms": from_ms, "to_ms": to_ms, "limit": limit},
        )
        return [PublicTrade(*row) for row in rows]

    def last_trade(self) -> int:
        """Return the number of the newest public trade, 0 without one."""
        return int(self.database.execute("SELECT COALESCE(MAX(number), 0) FROM trades").fetchone()[0])

    def drop_trades(self, through: int) -> None:
        """Forget public trades up to a number."""
        self.database.execute("DELETE FROM trades WHERE number <= ?", (through,))

    # ---------------------------------------------------------------- candles

    def save_candles(self, rows: Iterable[CandleRow]) -> None:
        """Write candles of one minute."""
        self.database.executemany(
            "INSERT INTO candles (ticker, start_ms, fields) VALUES (?, ?, ?) "
            "ON CONFLICT (ticker, start_ms) DO UPDATE SET fields = excluded.fields",
            rows,
        )

    def candles(self, ticker: str, start_ms: int, end_ms: int) -> list[CandleRow]:
        """Return the candles of one minute that begin in [start_ms, end_ms), oldest first."""
        rows = self.database.execute(
            "SELECT ticker, start_ms, fields FROM candles WHERE ticker = ? AND start_ms >= ? AND start_ms < ? ORDER BY start_ms",
            (ticker, start_ms, end_ms),
        )
        return list(rows)

    def candle_before(self, ticker: str, start_ms: int) -> CandleRow | None:
        """Return the last candle of one minute that begins before a time."""
        row: CandleRow | None = self.database.execute(
            "SELECT ticker, start_ms, fields FROM candles WHERE ticker = ? AND start_ms < ? ORDER BY start_ms DESC LIMIT 1",
            (ticker, start_ms),
        ).fetchone()
        return row

    def drop_candles(self, kept: int) -> None:
        """Forget all but the newest candles."""
        self.database.execute(
            "DELETE FROM candles WHERE number <= (SELECT MAX(number) FROM candles) - ?", (kept,)
        )

    # ---------------------------------------------------------------- notes

    def save_note(self, name: str, value: Any) -> None:
        """Write a value under a name."""
        self.database.execute(
            "INSERT INTO notes VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET fields = excluded.fields",
            (name, encode(value)),
        )

    def note(self, name: str) -> Any:
        """Return the value of a name, None when there is none."""
        row = self.database.execute("SELECT fields FROM notes WHERE name = ?", (name,)).fetchone()
        return decode(row[0]) if row else None
