"""The trades of each market beside their tables: loaded when first needed, computed again when a fill comes late."""

from __future__ import annotations

from typing import Final

from soloist_trader.core.positions import Position
from soloist_trader.core.units import ASK, BID
from soloist_trader.store.database import Database
from soloist_trader.store.schema import column_names
from soloist_trader.store.trades import SETTLEMENT_KEY, Fill, MarketTrades, Origin, Payout, Trade

_FILL: Final = (
    "order_ms, fill_id, side, price, size, fee, fee_adjustment, client_order_id, strategy, filled_ms, day"
)
_OPEN: Final = (
    "trade_id, market, number, strategy, side, opened_by, entry_time_ms, entry_order_ms, entry_fill_id, "
    "entry_client_order_id, size, entry_value, closed_size, exit_value, open_size, basis, realised, fees"
)
_SINCE: Final = "since_size, since_basis, since_ms, since_reason, since_record, since_number, realised_outside, fees_outside"


def load_market(database: Database, market: str) -> MarketTrades:
    """What the tables say of a market; a market that they do not know begins flat."""
    trades = MarketTrades(market)
    for row in database.rows(f"SELECT {_SINCE} FROM positions WHERE market = ?", (market,)):  # noqa: S608 our names
        trades.origin = Origin(*row[:4])
        trades.since_record, trades.since_number, trades.realised_outside, trades.fees_outside = row[4:]
    numbers = database.rows("SELECT MAX(number) FROM trades WHERE market = ?", (market,))
    trades.number = numbers[0][0] or 0
    open_rows = database.rows(
        f"SELECT {_OPEN} FROM trades WHERE market = ? AND status = 'open'",  # noqa: S608 our names
        (market,),
    )
    for trade_id, name, number, strategy, side, *rest in open_rows:
        direction = 1 if side == "YES" else -1
        trade = Trade(trade_id, name, number, strategy, direction, *rest)
        trades.open = trade
        trades.position = Position()
        trades.position.adopt(direction * trade.open_size, trade.basis, trade.entry_ms)
    trades.last = max((key for key, _ in _entries(database, trades, None)), default=(-1, ""))
    return trades


def recompute(database: Database, trades: MarketTrades, key: tuple[int, str]) -> None:
    """Compute the trades again from the last one that began flat before `key`. The tables must be up to date.

    Every fill since the market's origin is in the tables, so the result is that of fills in their right sequence.
    """
    rows = database.rows(
        "SELECT number, entry_order_ms, entry_fill_id FROM trades WHERE market = ? AND opened_by = 'fill' "
        "AND number > ? AND entry_order_ms < ? ORDER BY number DESC LIMIT 1",
        (trades.market, trades.since_number, key[0]),
    )
    if rows:
        number, *start = rows[0]
        trades.position, trades.open, trades.number = Position(), None, number - 1
        begin = (int(start[0]), str(start[1]))
        database.execute("DELETE FROM trades WHERE market = ? AND number > ?", (trades.market, trades.number))
    else:
        begin = (-1, "")
        database.execute(
            "DELETE FROM trades WHERE market = ? AND number > ?", (trades.market, trades.since_number)
        )
        trades.changed.clear()
        trades.restart()
    for _, entry in _entries(database, trades, begin):
        if isinstance(entry, Fill):
            trades.add(entry)
            continue
        payout, trade_id = entry
        if not trade_id:
            trades.realised_outside -= payout.residue
        now_trade_id = trades.settle(payout)
        if now_trade_id != trade_id:
            database.execute(
                "UPDATE settlements SET trade_id = ? WHERE market = ? AND settled_ms = ?",
                (now_trade_id, trades.market, payout.settled_ms),
            )


def add_fees(database: Database, trades: MarketTrades, key: tuple[int, str], amount: int) -> None:
    """Correct the fees of the trade that holds the fill of `key`, as `MarketTrades.add` would have booked them.

    The tables must be up to date. Nothing is computed again: a trade that never was flat may have very many fills.
    """
    trade = trades.open
    if trade is not None and (trade.entry_order_ms, trade.entry_fill_id) <= key:
        trade.fees += amount
        trades.changed[trade.trade_id] = trade
        return
    select = "SELECT number, entry_fill_id, trade_id FROM trades WHERE market = ? AND number > ? AND "
    since = (trades.market, trades.since_number, key[0])
    found = [row for row in database.rows(f"{select} entry_order_ms = ?", since) if row[1] <= key[1]]
    found = found or database.rows(f"{select} entry_order_ms < ? ORDER BY number DESC LIMIT 1", since)
    database.execute(
        "UPDATE trades SET fees = fees + ?, profit = profit - ? WHERE trade_id = ?",
        (amount, amount, max(found)[2]),
    )


_Entry = tuple[tuple[int, str], Fill | tuple[Payout, str]]


def _entries(database: Database, trades: MarketTrades, begin: tuple[int, str] | None) -> list[_Entry]:
    """Fills and settlements since the market's origin, sorted; with None only those of the last millisecond.

    Ids are compared here and not by the database, whose collation may sort texts by a language.
    """
    since = (trades.market, trades.since_record)
    if begin is None:
        latest = database.rows(
            "SELECT MAX(order_ms) FROM (SELECT order_ms FROM fills WHERE market = ? AND record > ? UNION ALL "
            "SELECT order_ms FROM settlements WHERE market = ? AND record > ?) AS entries",
            (*since, *since),
        )[0][0]
        if latest is None:
            return []
        begin = (latest, "")
    found: list[_Entry] = []
    for order_ms, fill_id, side, *rest in database.rows(
        f"SELECT {_FILL} FROM fills WHERE market = ? AND record > ? AND order_ms >= ?",  # noqa: S608 our names
        (*since, begin[0]),
    ):
        found.append(((order_ms, fill_id), Fill(order_ms, fill_id, BID if side == "bid" else ASK, *rest)))
    for order_ms, settled_ms, value, residue, day, trade_id in database.rows(
        "SELECT order_ms, settled_ms, value, residue, day, trade_id FROM settlements "
        "WHERE market = ? AND record > ? AND order_ms >= ?",
        (*since, begin[0]),
    ):
        payout = Payout(order_ms, SETTLEMENT_KEY, settled_ms, value, residue, day)
        found.append(((order_ms, SETTLEMENT_KEY), (payout, trade_id)))
    return sorted((entry for entry in found if entry[0] >= begin), key=lambda entry: entry[0])


assert set(_SINCE.split(", ")) <= set(column_names("positions"))
assert set(_OPEN.split(", ")) <= set(column_names("trades"))
