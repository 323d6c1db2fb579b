"""What survives a kill: accounts, keys, orders, fills and the log of what happened, in SQLite in write-ahead mode.

The serving process and the command line share the file, so an account that is created while serving is known at once.
A reply is sent only after `commit`: with write-ahead logging a committed step survives the process, at any kill.
Portfolio reads of what is over come from here, so the memory of the process does not grow with its history.
"""

import fcntl
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
from soloist_kalshi.signing import Verifier

from soloist_exchange.errors import StateError
from soloist_exchange.orders import Order, SelfTrade, Status, TimeInForce, UpdateReason

__all__ = [
    "FIRST_ACCOUNT",
    "FULL_SCOPES",
    "AccountRow",
    "KeyRow",
    "Range",
    "Store",
    "StoredFill",
    "serving_alone",
]

FULL_SCOPES = ("read", "write")
FIRST_ACCOUNT = 100  # lower numbers are the exchange's own participants
VERSION = 2
# The indexes hold every column that a portfolio read filters by: pages are found without decoding an order.
SCHEMA = """
CREATE TABLE IF NOT EXISTS accounts (
  account_id INTEGER PRIMARY KEY, name TEXT UNIQUE NOT NULL, deposited INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS keys (
  key_id TEXT PRIMARY KEY, account_id INTEGER NOT NULL REFERENCES accounts, name TEXT NOT NULL, key_type TEXT NOT NULL,
  public_pem TEXT NOT NULL, scopes TEXT NOT NULL, subaccount INTEGER, created_ms INTEGER NOT NULL, deleted_ms INTEGER);
CREATE TABLE IF NOT EXISTS orders (
  order_id TEXT PRIMARY KEY, sequence INTEGER UNIQUE NOT NULL, account_id INTEGER NOT NULL, subaccount INTEGER NOT NULL,
  ticker TEXT NOT NULL, created_ms INTEGER NOT NULL, client_order_id TEXT NOT NULL, status TEXT NOT NULL, fields BLOB NOT NULL);
CREATE UNIQUE INDEX IF NOT EXISTS orders_by_client ON orders (account_id, client_order_id) WHERE client_order_id <> '';
CREATE INDEX IF NOT EXISTS orders_by_account ON orders (account_id, sequence, created_ms, subaccount, ticker, status);
CREATE INDEX IF NOT EXISTS orders_resting ON orders (sequence) WHERE status = 'resting';
CREATE TABLE IF NOT EXISTS fills (
  number INTEGER PRIMARY KEY AUTOINCREMENT, trade_id TEXT NOT NULL, order_id TEXT NOT NULL, account_id INTEGER NOT NULL,
  subaccount INTEGER NOT NULL, ticker TEXT NOT NULL, side INTEGER NOT NULL, price INTEGER NOT NULL, count INTEGER NOT NULL,
  fee INTEGER NOT NULL, is_taker INTEGER NOT NULL, time_ms INTEGER NOT NULL);
CREATE INDEX IF NOT EXISTS fills_by_account ON fills (account_id, number, time_ms, subaccount, ticker, order_id);
CREATE TABLE IF NOT EXISTS events (
  sequence INTEGER PRIMARY KEY AUTOINCREMENT, time_ms INTEGER NOT NULL, account TEXT NOT NULL, kind TEXT NOT NULL,
  fields BLOB NOT NULL);
CREATE INDEX IF NOT EXISTS events_by_account ON events (account, sequence);
"""
_PLAIN = (
    "order_id", "account_id", "ticker", "side", "price", "created_ms", "subaccount", "client_order_id", "key_id",
    "expiration_ms", "post_only", "reduce_only", "cancel_on_pause",
)  # fmt: skip
_STATE = (
    "initial", "remaining", "filled", "updated_ms", "taker_cost", "maker_cost", "taker_fees", "maker_fees", "fee_carry",
    "sequence",
)  # fmt: skip
_FILL_COLUMNS = (
    "number, trade_id, order_id, account_id, subaccount, ticker, side, price, count, fee, is_taker, time_ms"
)


@dataclass(frozen=True, slots=True)
class AccountRow:
    """An account as stored; `deposited` in money."""

    account_id: int
    name: str
    deposited: int


@dataclass(frozen=True, slots=True)
class KeyRow:
    """An API key as stored: the public part only."""

    key_id: str
    account_id: int
    name: str
    key_type: str
    scopes: tuple[str, ...]
    subaccount: int | None
    verifier: Verifier


@dataclass(frozen=True, slots=True)
class StoredFill:
    """One account's side of a trade; `number` is 0 until it is stored."""

    trade_id: str
    order_id: str
    account_id: int
    subaccount: int
    ticker: str
    side: int
    price: int
    count: int
    fee: int
    is_taker: bool
    time_ms: int
    number: int = 0


@dataclass(frozen=True, slots=True)
class Range:
    """Which rows of an account a read wants, newest first; None and "" mean any. `before` is the last page's lowest number."""

    limit: int
    before: int | None = None
    subaccount: int | None = None
    ticker: str = ""
    order_id: str = ""
    status: str = ""
    from_ms: int | None = None
    to_ms: int | None = None


@contextmanager
def serving_alone(directory: Path) -> Iterator[None]:
    """Hold a state directory for one serving process; the lock ends with the process, at any kill. Raises StateError."""
    directory.mkdir(parents=True, exist_ok=True)
    with (directory / "serving.lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StateError(
                f"state directory {directory}: another exchange serves it; end that one or give another --state-dir"
            ) from None
        yield


class Store:
    """One connection to the state file of a directory, which is made when it is missing. Raises StateError when it cannot be used."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        with self._explained():
            directory.mkdir(parents=True, exist_ok=True)
            self._database = sqlite3.connect(directory / "exchange.sqlite", isolation_level=None, timeout=10)
            self._database.execute("PRAGMA journal_mode = WAL")
            self._database.execute("PRAGMA synchronous = NORMAL")
            self.begin()
            version = self._database.execute("PRAGMA user_version").fetchone()[0]
            tables = self._database.execute("SELECT COUNT(*) FROM sqlite_master").fetchone()[0]
            if tables and version != VERSION:
                raise StateError(
                    f"state directory {directory}: made by another version (format {version}, this one writes {VERSION}); "
                    "give another --state-dir or delete it"
                )
            for statement in SCHEMA.split(";"):
                self._database.execute(statement)
            self._database.execute(f"PRAGMA user_version = {VERSION}")
            self.commit()

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    def begin(self) -> None:
        """Open a transaction unless one is open."""
        with self._explained():
            if not self._database.in_transaction:
                self._database.execute("BEGIN IMMEDIATE")

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Make what is written in the block durable together, or, after an exception, none of it."""
        self.begin()
        try:
            yield
        except BaseException:
            self._database.execute("ROLLBACK")
            raise
        self.commit()

    def commit(self) -> None:
        """Make durable what was written since `begin`. Raises StateError when it cannot: nothing may go on then."""
        with self._explained():
            if self._database.in_transaction:
                self._database.execute("COMMIT")

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except (OSError, sqlite3.Error) as error:
            raise StateError(
                f"state directory {self.directory}: {error}; give a writable --state-dir with room on its disk"
            ) from error

    # ---------------------------------------------------------------- accounts and keys

    def add_account(self, name: str, deposited: int) -> AccountRow:
        """Create an account. Raises StateError when the name is taken."""
        try:
            row = self._database.execute(
                "INSERT INTO accounts (account_id, name, deposited) "
                "VALUES ((SELECT MAX(?, COALESCE(MAX(account_id), 0) + 1) FROM accounts), ?, ?) RETURNING account_id",
                (FIRST_ACCOUNT, name, deposited),
            ).fetchone()
        except sqlite3.IntegrityError:
            raise StateError(f"account {name!r} exists already; choose another name") from None
        return AccountRow(row[0], name, deposited)

    def accounts(self) -> list[AccountRow]:
        """Return all accounts."""
        return [
            AccountRow(*row)
            for row in self._database.execute("SELECT account_id, name, deposited FROM accounts")
        ]

    def add_key(
        self,
        *,
        key_id: str,
        account_id: int,
        name: str,
        key_type: str,
        public_pem: bytes,
        scopes: tuple[str, ...],
        subaccount: int | None,
        now_ms: int,
    ) -> None:
        """Store the public part of a new key."""
        self._database.execute(
            "INSERT INTO keys VALUES (?, ?, ?, ?, ?, ?, ?, ?, NULL)",
            (key_id, account_id, name, key_type, public_pem.decode(), " ".join(scopes), subaccount, now_ms),
        )

    def key(self, key_id: str) -> KeyRow | None:
        """Return a key that is not deleted."""
        row = self._database.execute(
            "SELECT * FROM keys WHERE key_id = ? AND deleted_ms IS NULL", (key_id,)
        ).fetchone()
        return _key(row) if row else None

    def keys(self, account_id: int) -> list[KeyRow]:
        """Return the keys of an account that are not deleted, oldest first."""
        rows = self._database.execute(
            "SELECT * FROM keys WHERE account_id = ? AND deleted_ms IS NULL ORDER BY created_ms, rowid",
            (account_id,),
        )
        return [_key(row) for row in rows]

    def delete_key(self, account_id: int, key_id: str, now_ms: int) -> bool:
        """Mark a key deleted; False when the account has no such key."""
        done = self._database.execute(
            "UPDATE keys SET deleted_ms = ? WHERE key_id = ? AND account_id = ? AND deleted_ms IS NULL",
            (now_ms, key_id, account_id),
        )
        return done.rowcount == 1

    # ---------------------------------------------------------------- orders and fills

    def save_order(self, order: Order) -> None:
        """Write an order's state."""
        fields = {name: getattr(order, name) for name in (*_PLAIN, *_STATE)}
        fields |= {
            "time_in_force": order.time_in_force.value,
            "self_trade": order.self_trade.value,
            "status": order.status.value,
            "reason": order.reason.value,
        }
        self._database.execute(
            "INSERT INTO orders VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) "
            "ON CONFLICT (order_id) DO UPDATE SET status = excluded.status, fields = excluded.fields",
            (
                order.order_id,
                order.sequence,
                order.account_id,
                order.subaccount,
                order.ticker,
                order.created_ms,
                order.client_order_id,
                order.status.value,
                msgspec.json.encode(fields),
            ),
        )

    def orders(self, account_id: int, wanted: Range) -> list[Order]:
        """Return orders of an account, newest first."""
        rows = self._database.execute(
            "SELECT fields FROM orders WHERE sequence IN (SELECT sequence FROM orders INDEXED BY orders_by_account "
            "WHERE account_id = :account AND (:before IS NULL OR sequence < :before) AND (:from_ms IS NULL OR created_ms >= :from_ms) "
            "AND (:to_ms IS NULL OR created_ms <= :to_ms) AND (:subaccount IS NULL OR subaccount = :subaccount) "
            "AND (:ticker = '' OR ticker = :ticker) AND (:status = '' OR status = :status) "
            "ORDER BY sequence DESC LIMIT :limit) ORDER BY sequence DESC",
            _parameters(account_id, wanted),
        )
        return [_order(row[0]) for row in rows]

    def order(self, order_id: str) -> Order | None:
        """Return one order."""
        row = self._database.execute("SELECT fields FROM orders WHERE order_id = ?", (order_id,)).fetchone()
        return _order(row[0]) if row else None

    def resting_orders(self) -> list[Order]:
        """Return what rested when the last step was committed, oldest first."""
        rows = self._database.execute("SELECT fields FROM orders WHERE status = 'resting' ORDER BY sequence")
        return [_order(row[0]) for row in rows]

    def last_sequence(self) -> int:
        """Return the sequence number of the newest order, 0 without one."""
        return int(self._database.execute("SELECT COALESCE(MAX(sequence), 0) FROM orders").fetchone()[0])

    def has_client_order_id(self, account_id: int, client_order_id: str) -> bool:
        """Whether an order of the account has used the id, whatever became of it."""
        found = self._database.execute(
            "SELECT 1 FROM orders WHERE account_id = ? AND client_order_id = ? AND client_order_id <> ''",
            (account_id, client_order_id),
        )
        return found.fetchone() is not None

    def save_fill(self, fill: StoredFill) -> None:
        """Append a fill."""
        self._database.execute(
            f"INSERT INTO fills ({_FILL_COLUMNS}) VALUES (NULL, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",  # noqa: S608 - a constant
            (
                fill.trade_id,
                fill.order_id,
                fill.account_id,
                fill.subaccount,
                fill.ticker,
                fill.side,
                fill.price,
                fill.count,
                fill.fee,
                fill.is_taker,
                fill.time_ms,
            ),
        )

    def fills(self, account_id: int, wanted: Range) -> list[StoredFill]:
        """Return fills of an account, newest first."""
        rows = self._database.execute(
            f"SELECT {_FILL_COLUMNS} FROM fills WHERE number IN (SELECT number FROM fills INDEXED BY fills_by_account "  # noqa: S608 - a constant
            "WHERE account_id = :account AND (:before IS NULL OR number < :before) AND (:from_ms IS NULL OR time_ms >= :from_ms) "
            "AND (:to_ms IS NULL OR time_ms <= :to_ms) AND (:subaccount IS NULL OR subaccount = :subaccount) "
            "AND (:ticker = '' OR ticker = :ticker) AND (:order_id = '' OR order_id = :order_id) "
            "ORDER BY number DESC LIMIT :limit) ORDER BY number DESC",
            _parameters(account_id, wanted),
        )
        return [_fill(row) for row in rows]

    def all_fills(self) -> Iterator[StoredFill]:
        """Iterate over every fill, oldest first."""
        rows = self._database.execute(f"SELECT {_FILL_COLUMNS} FROM fills ORDER BY number")  # noqa: S608 - a constant
        return (_fill(row) for row in rows)

    def last_fill(self) -> int:
        """Return the number of the newest fill, 0 without one."""
        return int(self._database.execute("SELECT COALESCE(MAX(number), 0) FROM fills").fetchone()[0])

    # ---------------------------------------------------------------- the log

    def log(self, time_ms: int, account: str, kind: str, fields: dict[str, Any]) -> None:
        """Append to the log that is the oracle of tests: accepted, filled, closed, rejected, unauthorized."""
        self._database.execute(
            "INSERT INTO events (time_ms, account, kind, fields) VALUES (?, ?, ?, ?)",
            (time_ms, account, kind, msgspec.json.encode(fields)),
        )

    def events(self, account: str = "", kind: str = "", since: int = 0) -> list[dict[str, Any]]:
        """Return log entries after a sequence number, of one account and kind where given."""
        rows = self._database.execute(
            "SELECT sequence, time_ms, account, kind, fields FROM events "
            "WHERE sequence > ? AND (? = '' OR account = ?) AND (? = '' OR kind = ?) ORDER BY sequence",
            (since, account, account, kind, kind),
        )
        return [
            {"sequence": row[0], "time_ms": row[1], "account": row[2], "kind": row[3]}
            | msgspec.json.decode(row[4])
            for row in rows
        ]


def _parameters(account_id: int, wanted: Range) -> dict[str, int | str | None]:
    return {
        "account": account_id,
        "before": wanted.before,
        "from_ms": wanted.from_ms,
        "to_ms": wanted.to_ms,
        "subaccount": wanted.subaccount,
        "ticker": wanted.ticker,
        "order_id": wanted.order_id,
        "status": wanted.status,
        "limit": wanted.limit,
    }


def _key(row: tuple[Any, ...]) -> KeyRow:
    key_id, account_id, name, key_type, public_pem, scopes, subaccount, _, _ = row
    verifier = Verifier.from_public_pem(public_pem.encode())
    return KeyRow(key_id, account_id, name, key_type, tuple(scopes.split()), subaccount, verifier)


def _order(encoded: bytes) -> Order:
    fields = msgspec.json.decode(encoded)
    order = Order(
        **{name: fields[name] for name in _PLAIN},
        count=fields["initial"],
        time_in_force=TimeInForce(fields["time_in_force"]),
        self_trade=SelfTrade(fields["self_trade"]),
    )
    for name in _STATE:
        setattr(order, name, fields[name])
    order.status = Status(fields["status"])
    order.reason = UpdateReason(fields["reason"])
    return order


def _fill(row: tuple[Any, ...]) -> StoredFill:
    number, trade_id, order_id, account_id, subaccount, ticker, side, price, count, fee, is_taker, time_ms = (
        row
    )
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
        bool(is_taker),
        time_ms,
        number,
    )
