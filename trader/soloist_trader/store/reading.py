"""Asking the store: queries by name, and their results as text."""

from __future__ import annotations

from importlib import resources
from typing import Final

from soloist_trader.store.database import Database
from soloist_trader.store.errors import StoreError

_SUFFIX: Final = ".sql"


def query_names() -> list[str]:
    """Names that `read_query` knows."""
    files = resources.files("soloist_trader.store.queries").iterdir()
    return sorted(file.name.removesuffix(_SUFFIX) for file in files if file.name.endswith(_SUFFIX))


def query_text(name: str) -> str:
    """The SQL of a query. Raises StoreError for a name that is none."""
    if name not in query_names():
        raise StoreError(f"there is no query {name!r}; there are {', '.join(query_names())}.")
    file = resources.files("soloist_trader.store.queries") / f"{name}{_SUFFIX}"
    return file.read_text(encoding="utf-8")


def read_query(database: Database, name: str) -> list[dict[str, str | int | None]]:
    """The rows of a query by column. Decimals are texts, equal on both databases."""
    columns, rows = database.table(query_text(name).strip().removesuffix(";"))
    return [
        {
            column: value if value is None or isinstance(value, int) else str(value)
            for column, value in zip(columns, row, strict=True)
        }
        for row in rows
    ]
