"""What the state file knows of trading: orders and their client ids, fills, positions, settlements and order groups."""

from collections.abc import Iterable
from typing import Any

import msgspec

from soloist_exchange.ledger import Position
from soloist_exchange.orders import Order
from soloist_exchange.store_codec import decode_order, decode_position, encode_order, encode_position
from soloist_exchange.store_file import StateFile
from soloist_exchange.store_rows import Range, StoredFill, StoredSettlement

__all__ = ["FillRow", "PortfolioStore", "PositionPlace"]

# Account, subaccount, ticker.
PositionPlace = tuple[int, int, str]
# The columns of a fill in the table's order, without its number.
FillRow = tuple[str, str, int, int, str, int, int, int, int, bool, int, int]

_FILL = "trade_id, order_id, account_id, subaccount, ticker, side, price, count, fee, is_taker, time_ms, exchange_index"
_SETTLEMENT = (
    "account_id, subaccount, ticker, event_ticker, exchange_index, result, yes_count, yes_cost, no_count, no_cost, revenue, "
    "value, fee, time_ms"
)
_IN_RANGE = (
    "account_id = :account AND (:subaccount IS NULL OR subaccount = :subaccount) AND (:ticker = '' OR ticker = :ticker) "
    "AND (:exchange_index IS NULL OR exchange_index = :exchange_index) "
    "AND (:tickers IS NULL OR ticker IN (SELECT value FROM json_each(:tickers)))"
)


class PortfolioStore(StateFile):
    """See the module. Writers do not commit."""

    # ---------------------------------------------------------------- orders

    def save_orders(self, orders: Iterable[tuple[Order, int]]) -> None:
        """Write the state of orders, and their places: of two that rest, the one with the lower place came to its price first."""
        self.database.executemany(
            "INSERT INTO orders VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (sequence) "
            "DO UPDATE SET status = excluded.status, place = excluded.place, fields = excluded.fields",
            [
                (
                    order.sequence,
                    order.order_id,
                    order.account_id,
                    order.subaccount,
                    order.exchange_index,
                    order.ticker,
                    order.created_ms,
                    order.status.value,
                    place,
                    encode_order(order),
                )
                for order, place in orders
            ],
        )

    def orders(self, account_id: int, wanted: Range) -> list[Order]:
        """Return orders of an account, newest first."""
        rows = self.database.execute(
            "SELECT fields FROM orders WHERE sequence IN (SELECT sequence FROM orders INDEXED BY orders_by_account "  # noqa: S608 - a constant
            f"WHERE {_IN_RANGE} AND (:before IS NULL OR sequence < :before) AND (:from_ms IS NULL OR created_ms >= :from_ms) "
            "AND (:to_ms IS NULL OR created_ms <= :to_ms) AND (:status = '' OR status = :status) "
            "ORDER BY sequence DESC LIMIT :limit) ORDER BY sequence DESC",
            _parameters(account_id, wanted),
        )
        return [decode_order(row[0]) for row in rows]

    def order(self, order_id: str) -> Order | None:
        """Return one order."""
        row = self.database.execute("SELECT fields FROM orders WHERE order_id = ?", (order_id,)).fetchone()
        return decode_order(row[0]) if row else None

    def resting_orders(self) -> list[tuple[Order, int]]:
        """Return what rested when the last step was committed, with its places, in their order."""
        rows = self.database.execute(
            "SELECT fields, place FROM orders WHERE sequence IN "
            "(SELECT sequence FROM orders INDEXED BY orders_by_account WHERE status = 'resting') ORDER BY place"
        )
        return [(decode_order(row[0]), row[1]) for row in rows]

    def last_sequence(self) -> int:
        """Return the sequence number of the newest order, 0 without one."""
        return int(self.database.execute("SELECT COALESCE(MAX(sequence), 0) FROM orders").fetchone()[0])

    def use_client_ids(self, used: Iterable[tuple[int, str, int]]) -> None:
        """Take account, client order id and subaccount for ever."""
        self.database.executemany("INSERT OR IGNORE INTO client_ids VALUES (?, ?, ?)", used)

    def has_client_order_id(
        self, account_id: int, client_order_id: str, subaccount: int | None = None
    ) -> bool:
        """Whether an order of the account (of one subaccount, when given) has used the id, whatever became of it."""
        found = self.database.execute(
            "SELECT 1 FROM client_ids WHERE account_id = ? AND client_order_id = ? AND (? IS NULL OR subaccount = ?)",
            (account_id, client_order_id, subaccount, subaccount),
        )
        return found.fetchone() is not None

    # ---------------------------------------------------------------- fills and settlements

    def save_fills(self, fills: Iterable[FillRow]) -> None:
        """Append fills."""
        self.database.executemany(
            f"INSERT INTO fills ({_FILL}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",  # noqa: S608 - a constant
            fills,
        )

    def fills(self, account_id: int, wanted: Range) -> list[StoredFill]:
        """Return fills of an account, newest first."""
        rows = self.database.execute(
            f"SELECT {_FILL}, number FROM fills WHERE number IN (SELECT number FROM fills INDEXED BY fills_by_account "  # noqa: S608 - a constant
            f"WHERE {_IN_RANGE} AND (:before IS NULL OR number < :before) AND (:from_ms IS NULL OR time_ms >= :from_ms) "
            "AND (:to_ms IS NULL OR time_ms <= :to_ms) AND (:order_id = '' OR order_id = :order_id) "
            "ORDER BY number DESC LIMIT :limit) ORDER BY number DESC",
            _parameters(account_id, wanted),
        )
        return [_fill(row) for row in rows]

    def last_fill(self) -> int:
        """Return the number of the newest fill, 0 without one."""
        return int(self.database.execute("SELECT COALESCE(MAX(number), 0) FROM fills").fetchone()[0])

    def fees(self) -> int:
        """Return the sum of all fees of fills (money)."""
        return int(self.database.execute("SELECT COALESCE(SUM(fee), 0) FROM fills").fetchone()[0])

    def save_settlement(self, row: StoredSettlement) -> None:
        """Append a settlement."""
        self.database.execute(
            f"INSERT INTO settlements ({_SETTLEMENT}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",  # noqa: S608 - a constant
            (
                row.account_id,
                row.subaccount,
                row.ticker,
                row.event_ticker,
                row.exchange_index,
                row.result,
                row.yes_count,
                row.yes_cost,
                row.no_count,
                row.no_cost,
                row.revenue,
                row.value,
                row.fee,
                row.time_ms,
            ),
        )

    def settlements(self, account_id: int, wanted: Range) -> list[StoredSettlement]:
        """Return settlements of an account, newest first."""
        rows = self.database.execute(
            f"SELECT {_SETTLEMENT}, number FROM settlements INDEXED BY settlements_by_account WHERE {_IN_RANGE} "  # noqa: S608 - a constant
            "AND (:before IS NULL OR number < :before) AND (:from_ms IS NULL OR time_ms >= :from_ms) "
            "AND (:to_ms IS NULL OR time_ms <= :to_ms) ORDER BY number DESC LIMIT :limit",
            _parameters(account_id, wanted),
        )
        return [StoredSettlement(*row) for row in rows]

    # ---------------------------------------------------------------- positions and groups

    def save_positions(self, positions: Iterable[tuple[PositionPlace, Position]]) -> None:
        """Write the state of positions."""
        self.database.executemany(
            "INSERT INTO positions VALUES (?, ?, ?, ?) "
            "ON CONFLICT (account_id, subaccount, ticker) DO UPDATE SET fields = excluded.fields",
            [(*place, encode_position(position)) for place, position in positions],
        )

    def drop_position(self, place: PositionPlace) -> None:
        """Forget a position."""
        self.database.execute(
            "DELETE FROM positions WHERE account_id = ? AND subaccount = ? AND ticker = ?", place
        )

    def position(self, place: PositionPlace) -> Position | None:
        """Return one position as it was last written."""
        row = self.database.execute(
            "SELECT fields FROM positions WHERE account_id = ? AND subaccount = ? AND ticker = ?", place
        ).fetchone()
        return decode_position(row[0]) if row else None

    def positions(self) -> list[tuple[PositionPlace, Position]]:
        """Return every position."""
        rows = self.database.execute("SELECT account_id, subaccount, ticker, fields FROM positions")
        return [((row[0], row[1], row[2]), decode_position(row[3])) for row in rows]

    def save_group(self, group_id: str, encoded: bytes) -> None:
        """Write an order group's state."""
        self.database.execute(
            "INSERT INTO order_groups VALUES (?, ?) ON CONFLICT (group_id) DO UPDATE SET fields = excluded.fields",
            (group_id, encoded),
        )

    def drop_group(self, group_id: str) -> None:
        """Forget an order group."""
        self.database.execute("DELETE FROM order_groups WHERE group_id = ?", (group_id,))

    def groups(self) -> list[bytes]:
        """Return the state of every order group."""
        return [row[0] for row in self.database.execute("SELECT fields FROM order_groups ORDER BY group_id")]


def _parameters(account_id: int, wanted: Range) -> dict[str, int | str | None]:
    tickers = None if wanted.tickers is None else msgspec.json.encode(sorted(wanted.tickers)).decode()
    return {
        "account": account_id,
        "before": wanted.before,
        "from_ms": wanted.from_ms,
        "to_ms": wanted.to_ms,
        "subaccount": wanted.subaccount,
        "ticker": wanted.ticker,
        "tickers": tickers,
        "exchange_index": wanted.exchange_index,
        "order_id": wanted.order_id,
        "status": wanted.status,
        "limit": wanted.limit,
    }


def _fill(row: tuple[Any, ...]) -> StoredFill:
    trade_id, order_id, account_id, subaccount, ticker, side, price, count, fee, is_taker, time_ms = row[:11]
    return StoredFill(
        trade_id,
        order_id,
        account_id,
        subaccount,
        ticker,
        side,
        price,
        count,
        fee,
        is_taker=bool(is_taker),
        time_ms=time_ms,
        exchange_index=row[11],
        number=row[12],
    )
