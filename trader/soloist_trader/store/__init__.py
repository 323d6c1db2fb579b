"""The store: tables that people and dashboards read, projected from the journal and never read by the engine."""

from soloist_trader.store.database import open_database
from soloist_trader.store.errors import StoreError, StoreStaleError
from soloist_trader.store.projection import catch_up, check, follow, project, rebuild
from soloist_trader.store.reading import query_names, query_text, read_query

__all__ = [
    "StoreError",
    "StoreStaleError",
    "catch_up",
    "check",
    "follow",
    "open_database",
    "project",
    "query_names",
    "query_text",
    "read_query",
    "rebuild",
]
