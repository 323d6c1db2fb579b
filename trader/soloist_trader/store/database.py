"""SQLite and PostgreSQL behind five verbs. Statements are written once, with `?` for a value.

Numbers are integers of 64 bits in both. SQLite tables are STRICT, so that a float cannot get in there either.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

from soloist_trader.store.errors import StoreError

if TYPE_CHECKING:
    import psycopg

FILE_NAME: Final = "store.sqlite"
_SQLITE_PREFIX: Final = "sqlite://"
_POSTGRES_PREFIXES: Final = ("postgresql://", "postgres://")
_BUSY_MS: Final = 10_000
_LOCK: Final = "SELECT pg_advisory_xact_lock(hashtext('soloist store ' || current_schema()))"

Row = tuple[Any, ...]
"""One row of a result: integers, texts, bytes or None."""


class Database(Protocol):
    """A connection. Every method raises StoreError with the database's own words."""

    name: str
    """For people; never holds a password."""

    def transaction(self) -> AbstractContextManager[None]:
        """All or nothing, and one writer at a time."""

    def execute(self, statement: str, values: Sequence[Any] = ()) -> None:
        """Run one statement."""

    def execute_many(self, statement: str, rows: Iterable[Sequence[Any]]) -> None:
        """Run one statement for each row of values."""

    def rows(self, statement: str, values: Sequence[Any] = ()) -> list[Row]:
        """The rows of a query."""

    def table(self, statement: str) -> tuple[list[str], list[Row]]:
        """The names of a query's columns, and its rows."""

    def has_table(self, name: str) -> bool:
        """Whether a table of this name is there."""

    def define(self, statement: str) -> str:
        """A definition in this database's words for `BIGINT`, `BYTES` and the end of a table."""

    def decimal(self, expression: str, digits: int) -> str:
        """SQL that writes an integer expression as a decimal with `digits` places; exact, NULL stays NULL."""

    def close(self) -> None:
        """Release the connection."""


class SqliteDatabase:
    """A file, in WAL mode: readers are never held up."""

    def __init__(self, path: Path) -> None:
        self.name = f"{_SQLITE_PREFIX}{path}"
        try:
            self._connection = sqlite3.connect(path, isolation_level=None, timeout=_BUSY_MS / 1000)
        except sqlite3.Error as error:
            raise StoreError(
                f"{path} cannot be opened: {error}. Name a directory that may be written to."
            ) from error
        try:
            self._connection.execute("PRAGMA journal_mode = WAL")
            self._connection.execute("PRAGMA synchronous = NORMAL")
        except sqlite3.Error as error:
            self._connection.close()
            raise StoreError(f"{path} is not a store: {error}. Move the file away and rebuild.") from error

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing; the lock is taken at once, so that what was read stays true."""
        with self._told():
            self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._connection.execute("ROLLBACK")
            raise
        with self._told():
            self._connection.execute("COMMIT")

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise StoreError(f"{self.name}: {error}") from error

    def execute(self, statement: str, values: Sequence[Any] = ()) -> None:
        """Run one statement."""
        with self._told():
            self._connection.execute(statement, values)

    def execute_many(self, statement: str, rows: Iterable[Sequence[Any]]) -> None:
        """Run one statement for each row of values."""
        with self._told():
            self._connection.executemany(statement, rows)

    def rows(self, statement: str, values: Sequence[Any] = ()) -> list[Row]:
        """The rows of a query."""
        with self._told():
            return self._connection.execute(statement, values).fetchall()

    def table(self, statement: str) -> tuple[list[str], list[Row]]:
        """The names of a query's columns, and its rows."""
        with self._told():
            cursor = self._connection.execute(statement)
            return [column[0] for column in cursor.description], cursor.fetchall()

    def has_table(self, name: str) -> bool:
        """Whether a table of this name is there."""
        return bool(self.rows("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?", (name,)))

    def define(self, statement: str) -> str:
        """A definition in SQLite's words."""
        words = statement.replace("BIGINT", "INTEGER").replace("BYTES", "BLOB")
        return f"{words} STRICT" if words.startswith("CREATE TABLE") else words

    def decimal(self, expression: str, digits: int) -> str:
        """Text made of integers: SQLite has no exact decimals."""
        unit = 10**digits
        return (
            f"CASE WHEN ({expression}) IS NULL THEN NULL ELSE printf('%s%d.%0{digits}d', "
            f"CASE WHEN ({expression}) < 0 THEN '-' ELSE '' END, "
            f"abs({expression}) / {unit}, abs({expression}) % {unit}) END"
        )

    def close(self) -> None:
        """Release the connection."""
        self._connection.close()


class PostgresDatabase:
    """A PostgreSQL database; the tables are in the first schema of the connection's search path."""

    def __init__(self, url: str) -> None:
        try:
            import psycopg as driver  # noqa: PLC0415 an extra that SQLite does not need
        except ImportError as error:
            raise StoreError(
                "PostgreSQL needs the package psycopg, which is not installed: "
                "pip install 'soloist[store]', or leave --url out to use SQLite."
            ) from error
        self._driver = driver
        self._connection: psycopg.Connection[Row]
        try:
            self._connection = driver.connect(url, autocommit=True, connect_timeout=10)
        except driver.Error as error:
            raise StoreError(
                f"PostgreSQL cannot be reached: {str(error).strip()}. Check --url, and that the server runs."
            ) from error
        info = self._connection.info
        self.name = f"postgresql://{info.host}:{info.port}/{info.dbname}"
        schema = self.rows("SELECT current_schema()")[0][0]
        if schema is None:
            self.close()
            raise StoreError(f"{self.name}: no schema of the search path exists; run CREATE SCHEMA first.")

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing; a lock of this schema keeps a second writer out until the end."""
        with self._told(), self._connection.transaction():
            self._connection.execute(_LOCK)
            yield

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except self._driver.Error as error:
            raise StoreError(f"{self.name}: {str(error).strip()}") from error

    def execute(self, statement: str, values: Sequence[Any] = ()) -> None:
        """Run one statement."""
        with self._told():
            self._connection.execute(_for_postgres(statement), values)

    def execute_many(self, statement: str, rows: Iterable[Sequence[Any]]) -> None:
        """Run one statement for each row of values."""
        with self._told(), self._connection.cursor() as cursor:
            cursor.executemany(_for_postgres(statement), rows)

    def rows(self, statement: str, values: Sequence[Any] = ()) -> list[Row]:
        """The rows of a query."""
        with self._told():
            return self._connection.execute(_for_postgres(statement), values).fetchall()

    def table(self, statement: str) -> tuple[list[str], list[Row]]:
        """The names of a query's columns, and its rows."""
        with self._told():
            cursor = self._connection.execute(_for_postgres(statement), ())
            return [column.name for column in cursor.description or ()], cursor.fetchall()

    def has_table(self, name: str) -> bool:
        """Whether a table of this name is there."""
        return self.rows("SELECT to_regclass(?) IS NOT NULL", (name,)) == [(True,)]

    def define(self, statement: str) -> str:
        """A definition in PostgreSQL's words."""
        return statement.replace("BYTES", "BYTEA")

    def decimal(self, expression: str, digits: int) -> str:
        """PostgreSQL's numeric is exact."""
        return f"round(CAST({expression} AS numeric) / {10**digits}, {digits})"

    def close(self) -> None:
        """Release the connection."""
        self._connection.close()


def _for_postgres(statement: str) -> bytes:
    return statement.replace("%", "%%").replace("?", "%s").encode()


def open_database(directory: Path, url: str | None) -> Database:
    """The store of a state directory: `store.sqlite` in it, or what `url` names. Raises StoreError."""
    if url is None:
        return SqliteDatabase(directory / FILE_NAME)
    if url.startswith(_SQLITE_PREFIX):
        return SqliteDatabase(Path(url.removeprefix(_SQLITE_PREFIX)))
    if url.startswith(_POSTGRES_PREFIXES):
        return PostgresDatabase(url)
    raise StoreError(
        "--url is neither sqlite://<path of a file> nor postgresql://<user>@<host>/<database>; "
        "leave it out for store.sqlite in the state directory."
    )
