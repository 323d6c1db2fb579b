"""The state file: one SQLite database in write-ahead mode, its tables, its transactions and the version of its format.

A step survives any kill of the process once it is committed: with write-ahead logging what was written belongs to the kernel then.
"""

import sqlite3
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path

from soloist_exchange.errors import StateError

__all__ = ["VERSION", "StateFile"]

# Goes up with every change of the tables, or of what a `fields` column holds (see store_codec).
VERSION = 3
# Every row of the hot path goes to the end of its trees, but for the client order id: sequence numbers and order ids ascend.
# orders_by_account and fills_by_account hold every column that a portfolio read filters by: pages are found without decoding.
SCHEMA = """
CREATE TABLE IF NOT EXISTS accounts (
  account_id INTEGER PRIMARY KEY, name TEXT UNIQUE NOT NULL, deposited INTEGER NOT NULL, tier TEXT NOT NULL,
  subaccounts INTEGER NOT NULL, netting TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS keys (
  key_id TEXT PRIMARY KEY, account_id INTEGER NOT NULL REFERENCES accounts, name TEXT NOT NULL, key_type TEXT NOT NULL,
  public_pem TEXT NOT NULL, scopes TEXT NOT NULL, subaccount INTEGER, created_ms INTEGER NOT NULL, deleted_ms INTEGER);
CREATE TABLE IF NOT EXISTS transfers (
  number INTEGER PRIMARY KEY, account_id INTEGER NOT NULL, client_transfer_id TEXT NOT NULL, from_subaccount INTEGER NOT NULL,
  to_subaccount INTEGER NOT NULL, exchange_index_from INTEGER NOT NULL, exchange_index_to INTEGER NOT NULL,
  money INTEGER NOT NULL, time_ms INTEGER NOT NULL, UNIQUE (account_id, client_transfer_id));
CREATE TABLE IF NOT EXISTS cash (
  account_id INTEGER, subaccount INTEGER, exchange_index INTEGER, money INTEGER NOT NULL,
  PRIMARY KEY (account_id, subaccount, exchange_index)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS positions (
  account_id INTEGER, subaccount INTEGER, ticker TEXT, fields BLOB NOT NULL,
  PRIMARY KEY (account_id, subaccount, ticker)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS orders (
  sequence INTEGER PRIMARY KEY, order_id TEXT NOT NULL, account_id INTEGER NOT NULL, subaccount INTEGER NOT NULL,
  exchange_index INTEGER NOT NULL, ticker TEXT NOT NULL, created_ms INTEGER NOT NULL, status TEXT NOT NULL,
  place INTEGER NOT NULL, fields BLOB NOT NULL);
CREATE UNIQUE INDEX IF NOT EXISTS orders_by_id ON orders (order_id);
CREATE INDEX IF NOT EXISTS orders_by_account
  ON orders (account_id, sequence, created_ms, subaccount, exchange_index, ticker, status);
CREATE TABLE IF NOT EXISTS client_ids (
  account_id INTEGER, client_order_id TEXT, subaccount INTEGER,
  PRIMARY KEY (account_id, client_order_id, subaccount)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS fills (
  number INTEGER PRIMARY KEY, trade_id TEXT NOT NULL, order_id TEXT NOT NULL, account_id INTEGER NOT NULL,
  subaccount INTEGER NOT NULL, ticker TEXT NOT NULL, side INTEGER NOT NULL, price INTEGER NOT NULL, count INTEGER NOT NULL,
  fee INTEGER NOT NULL, is_taker INTEGER NOT NULL, time_ms INTEGER NOT NULL, exchange_index INTEGER NOT NULL);
CREATE INDEX IF NOT EXISTS fills_by_account
  ON fills (account_id, number, time_ms, subaccount, exchange_index, ticker, order_id);
CREATE TABLE IF NOT EXISTS settlements (
  number INTEGER PRIMARY KEY, account_id INTEGER NOT NULL, subaccount INTEGER NOT NULL, ticker TEXT NOT NULL,
  event_ticker TEXT NOT NULL, exchange_index INTEGER NOT NULL, result TEXT NOT NULL, yes_count INTEGER NOT NULL,
  yes_cost INTEGER NOT NULL, no_count INTEGER NOT NULL, no_cost INTEGER NOT NULL, revenue INTEGER NOT NULL, value INTEGER,
  fee INTEGER NOT NULL, time_ms INTEGER NOT NULL);
CREATE INDEX IF NOT EXISTS settlements_by_account ON settlements (account_id, number);
CREATE TABLE IF NOT EXISTS order_groups (group_id TEXT PRIMARY KEY, fields BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS markets (number INTEGER PRIMARY KEY, ticker TEXT UNIQUE NOT NULL, fields BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS statistics (ticker TEXT PRIMARY KEY, fields BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS trades (
  number INTEGER PRIMARY KEY, trade_id TEXT NOT NULL, ticker TEXT NOT NULL, price INTEGER NOT NULL, count INTEGER NOT NULL,
  taker_side INTEGER NOT NULL, time_ms INTEGER NOT NULL);
CREATE INDEX IF NOT EXISTS trades_by_ticker ON trades (ticker, number, time_ms);
CREATE TABLE IF NOT EXISTS candles (
  number INTEGER PRIMARY KEY, ticker TEXT NOT NULL, start_ms INTEGER NOT NULL, fields BLOB NOT NULL);
CREATE UNIQUE INDEX IF NOT EXISTS candles_by_ticker ON candles (ticker, start_ms);
CREATE TABLE IF NOT EXISTS notes (name TEXT PRIMARY KEY, fields BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS events (sequence INTEGER PRIMARY KEY, fields BLOB NOT NULL);
"""
WAIT_S = 10  # for another process that writes, as the command line does
STATEMENTS_KEPT = 256
# Commits between two checkpoints, which move what the log of the database holds into the database, and wait for the disk.
CHECKPOINT_COMMITS = 1_000
# Pages of the log after which a commit does it itself, should the worker not keep up.
LARGEST_LOG_PAGES = 32_000


class StateFile:
    """One connection to the state file of a directory, which is made when it is missing.

    Raises StateError when it cannot be used, or when its format is another version's.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._file = directory / "exchange.sqlite"
        self._commits = 0
        self._checkpoints: ThreadPoolExecutor | None = None
        self._checkpoint: Future[None] | None = None
        with self.explained():
            directory.mkdir(parents=True, exist_ok=True)
            self.database = sqlite3.connect(
                self._file,
                isolation_level=None,
                timeout=WAIT_S,
                cached_statements=STATEMENTS_KEPT,
            )
            try:
                self._prepare()
            except BaseException:
                self.database.close()
                raise

    def _prepare(self) -> None:
        self.database.execute("PRAGMA journal_mode = WAL")
        self.database.execute("PRAGMA synchronous = NORMAL")
        self.database.execute(f"PRAGMA wal_autocheckpoint = {LARGEST_LOG_PAGES}")
        self.begin()
        version = self.database.execute("PRAGMA user_version").fetchone()[0]
        tables = self.database.execute("SELECT COUNT(*) FROM sqlite_master").fetchone()[0]
        if tables and version != VERSION:
            raise StateError(
                f"state directory {self.directory}: made by another version (format {version}, this one writes {VERSION}); "
                "give another --state-dir or delete it"
            )
        for statement in SCHEMA.split(";"):
            self.database.execute(statement)
        self.database.execute(f"PRAGMA user_version = {VERSION}")
        self.commit()

    def close(self) -> None:
        """Close the file. What was not committed is gone."""
        if self._checkpoints is not None:
            self._checkpoints.shutdown()
        self.database.close()

    def begin(self) -> None:
        """Open a transaction unless one is open."""
        if not self.database.in_transaction:
            with self.explained():
                self.database.execute("BEGIN IMMEDIATE")

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Make what is written in the block durable together, or, after an exception, none of it."""
        self.begin()
        try:
            yield
        except BaseException:
            self.database.execute("ROLLBACK")
            raise
        self.commit()

    def commit(self) -> None:
        """Make durable what was written since `begin`. Raises StateError when it cannot: nothing may go on then."""
        if self.database.in_transaction:
            with self.explained():
                self.database.execute("COMMIT")
                self._commits += 1
                if self._commits % CHECKPOINT_COMMITS == 0:
                    self._begin_checkpoint()

    def _begin_checkpoint(self) -> None:
        """Let a worker checkpoint, unless it still does. Raises what went wrong with the last one."""
        if self._checkpoint is not None:
            if not self._checkpoint.done():
                return
            self._checkpoint.result()
        if self._checkpoints is None:
            self._checkpoints = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self._checkpoint = self._checkpoints.submit(_checkpoint, self._file)

    @contextmanager
    def explained(self) -> Iterator[None]:
        """Turn what the disk and SQLite raise in the block into a StateError that says what to do."""
        try:
            yield
        except (OSError, sqlite3.Error) as error:
            raise StateError(
                f"state directory {self.directory}: {error}; give a writable --state-dir with room on its disk"
            ) from error


def _checkpoint(file: Path) -> None:
    """Move what was committed from the log into the database, beside readers and the writer."""
    with closing(sqlite3.connect(file, isolation_level=None, timeout=WAIT_S)) as database:
        database.execute("PRAGMA wal_checkpoint(PASSIVE)")
