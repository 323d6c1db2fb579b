"""What survives a kill: accounts, keys, money, orders, markets and the log of what happened, in SQLite in write-ahead mode.

The serving process and the command line share the file, so an account that is created while serving is known at once.
A reply is sent only after `commit`: with write-ahead logging a committed step survives the process, at any kill.
Portfolio reads of what is over come from here, so the memory of the process does not grow with its history.
"""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from soloist_exchange.errors import StateError
from soloist_exchange.store_accounts import FIRST_ACCOUNT, AccountStore
from soloist_exchange.store_codec import decode, encode
from soloist_exchange.store_markets import MarketStore
from soloist_exchange.store_portfolio import PortfolioStore
from soloist_exchange.store_rows import AccountRow, KeyRow, Range, StoredFill

__all__ = [
    "FIRST_ACCOUNT",
    "FULL_SCOPES",
    "AccountRow",
    "EventRow",
    "KeyRow",
    "Range",
    "Store",
    "StoredFill",
    "serving_alone",
]

FULL_SCOPES = ("read", "write")

# Time, account name, kind and fields.
EventRow = tuple[int, str, str, dict[str, Any]]


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


class Store(AccountStore, PortfolioStore, MarketStore):
    """The whole state file, with the log that is the oracle of tests. Writers do not commit."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self._next_event: int | None = None

    def save_events(self, rows: list[EventRow]) -> None:
        """Append to the log. What is appended together is one row of the file: a commit has few rows, whatever happened."""
        if self._next_event is None:
            self._next_event = self._first_free_event()
        self.database.execute("INSERT INTO events VALUES (?, ?)", (self._next_event, encode(rows)))
        self._next_event += len(rows)

    def _first_free_event(self) -> int:
        last = self.database.execute(
            "SELECT sequence, fields FROM events ORDER BY sequence DESC LIMIT 1"
        ).fetchone()
        return 1 if last is None else int(last[0]) + len(decode(last[1]))

    def log(self, time_ms: int, account: str, kind: str, fields: dict[str, Any]) -> None:
        """Append one entry to the log."""
        self.save_events([(time_ms, account, kind, fields)])

    def events(self, account: str = "", kind: str = "", since: int = 0) -> list[dict[str, Any]]:
        """Return log entries after a sequence number, of one account and kind where given."""
        rows = self.database.execute(
            "SELECT sequence, fields FROM events WHERE sequence >= "
            "(SELECT MAX(sequence) FROM events WHERE sequence <= ?) ORDER BY sequence",
            (since + 1,),
        )
        return [
            {"sequence": sequence, "time_ms": time_ms, "account": name, "kind": what} | fields
            for first, encoded in rows
            for sequence, (time_ms, name, what, fields) in enumerate(decode(encoded), first)
            if sequence > since and account in {"", name} and kind in {"", what}
        ]
