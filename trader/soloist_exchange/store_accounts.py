"""What the state file knows of accounts: tiers, subaccounts, keys, transfers and cash."""

import json
import sqlite3
from dataclasses import replace
from typing import Any

from soloist_kalshi.signing import Verifier

from soloist_exchange.errors import StateError
from soloist_exchange.store_file import StateFile
from soloist_exchange.store_rows import AccountRow, KeyRow, Range, TransferRow

__all__ = ["FIRST_ACCOUNT", "AccountStore"]

FIRST_ACCOUNT = 100  # lower numbers are the exchange's own participants
_ACCOUNT = "account_id, name, deposited, tier, subaccounts, netting"
_TRANSFER = (
    "account_id, client_transfer_id, from_subaccount, to_subaccount, exchange_index_from, exchange_index_to, "
    "money, time_ms"
)


class AccountStore(StateFile):
    """See the module. Writers do not commit."""

    # ---------------------------------------------------------------- accounts

    def add_account(self, name: str, deposited: int, tier: str = "basic", subaccounts: int = 0) -> AccountRow:
        """Create an account. Raises StateError when the name is taken."""
        try:
            row = self.database.execute(
                f"INSERT INTO accounts ({_ACCOUNT}) "  # noqa: S608 - a constant
                "VALUES ((SELECT MAX(?, COALESCE(MAX(account_id), 0) + 1) FROM accounts), ?, ?, ?, ?, '[]') RETURNING account_id",
                (FIRST_ACCOUNT, name, deposited, tier, subaccounts),
            ).fetchone()
        except sqlite3.IntegrityError:
            raise StateError(f"account {name!r} exists already; choose another name") from None
        return AccountRow(row[0], name, deposited, tier, subaccounts)

    def accounts(self) -> list[AccountRow]:
        """Return all accounts."""
        rows = self.database.execute(f"SELECT {_ACCOUNT} FROM accounts ORDER BY account_id")  # noqa: S608 - a constant
        return [replace(AccountRow(*row[:5]), netting=tuple(json.loads(row[5]))) for row in rows]

    def save_account(self, account: AccountRow) -> None:
        """Write what may change of an account: deposits, tier, subaccounts and netting."""
        self.database.execute(
            "UPDATE accounts SET deposited = ?, tier = ?, subaccounts = ?, netting = ? WHERE account_id = ?",
            (
                account.deposited,
                account.tier,
                account.subaccounts,
                json.dumps(account.netting),
                account.account_id,
            ),
        )

    def save_cash(self, rows: list[tuple[int, int, int, int]]) -> None:
        """Write account, subaccount, shard and money of every row."""
        self.database.executemany(
            "INSERT INTO cash VALUES (?, ?, ?, ?) "
            "ON CONFLICT (account_id, subaccount, exchange_index) DO UPDATE SET money = excluded.money",
            rows,
        )

    def cash(self) -> list[tuple[int, int, int, int]]:
        """Return account, subaccount, shard and money of all that was ever touched."""
        return list(
            self.database.execute("SELECT account_id, subaccount, exchange_index, money FROM cash ORDER BY 1")
        )

    # ---------------------------------------------------------------- keys

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
        self.database.execute(
            "INSERT INTO keys VALUES (?, ?, ?, ?, ?, ?, ?, ?, NULL)",
            (key_id, account_id, name, key_type, public_pem.decode(), " ".join(scopes), subaccount, now_ms),
        )

    def key(self, key_id: str) -> KeyRow | None:
        """Return a key, also one that was deleted: `deleted_ms` says when."""
        row = self.database.execute("SELECT * FROM keys WHERE key_id = ?", (key_id,)).fetchone()
        return _key(row) if row else None

    def keys(self, account_id: int, as_of_ms: int | None = None) -> list[KeyRow]:
        """Return the keys of an account that are not deleted, oldest first; with `as_of_ms` those of that time."""
        rows = self.database.execute(
            "SELECT * FROM keys WHERE account_id = :account AND CASE WHEN :as_of IS NULL THEN deleted_ms IS NULL "
            "ELSE created_ms <= :as_of AND (deleted_ms IS NULL OR deleted_ms > :as_of) END ORDER BY created_ms, rowid",
            {"account": account_id, "as_of": as_of_ms},
        )
        return [_key(row) for row in rows]

    def all_keys(self, account_id: int) -> list[KeyRow]:
        """Return every key that the account ever had, oldest first."""
        rows = self.database.execute(
            "SELECT * FROM keys WHERE account_id = ? ORDER BY created_ms, rowid", (account_id,)
        )
        return [_key(row) for row in rows]

    def delete_key(self, account_id: int, key_id: str, now_ms: int) -> bool:
        """Mark a key deleted; False when the account has no such key."""
        done = self.database.execute(
            "UPDATE keys SET deleted_ms = ? WHERE key_id = ? AND account_id = ? AND deleted_ms IS NULL",
            (now_ms, key_id, account_id),
        )
        return done.rowcount == 1

    # ---------------------------------------------------------------- transfers

    def has_transfer(self, account_id: int, client_transfer_id: str) -> bool:
        """Whether the account has used the id."""
        found = self.database.execute(
            "SELECT 1 FROM transfers WHERE account_id = ? AND client_transfer_id = ?",
            (account_id, client_transfer_id),
        )
        return found.fetchone() is not None

    def save_transfer(self, row: TransferRow) -> TransferRow:
        """Append a transfer and return it with its number."""
        number = self.database.execute(
            f"INSERT INTO transfers ({_TRANSFER}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",  # noqa: S608 - a constant
            (
                row.account_id,
                row.client_transfer_id,
                row.from_subaccount,
                row.to_subaccount,
                row.exchange_index_from,
                row.exchange_index_to,
                row.money,
                row.time_ms,
            ),
        ).lastrowid
        return TransferRow(
            row.account_id,
            row.client_transfer_id,
            row.from_subaccount,
            row.to_subaccount,
            row.exchange_index_from,
            row.exchange_index_to,
            row.money,
            row.time_ms,
            number or 0,
        )

    def transfers(self, account_id: int, wanted: Range) -> list[TransferRow]:
        """Return transfers of an account, newest first; of the range limit, before, times and subaccount (either end) count."""
        rows = self.database.execute(
            f"SELECT {_TRANSFER}, number FROM transfers WHERE account_id = :account "  # noqa: S608 - a constant
            "AND (:before IS NULL OR number < :before) AND (:from_ms IS NULL OR time_ms >= :from_ms) "
            "AND (:to_ms IS NULL OR time_ms <= :to_ms) "
            "AND (:subaccount IS NULL OR :subaccount IN (from_subaccount, to_subaccount)) "
            "ORDER BY number DESC LIMIT :limit",
            {
                "account": account_id,
                "before": wanted.before,
                "from_ms": wanted.from_ms,
                "to_ms": wanted.to_ms,
                "subaccount": wanted.subaccount,
                "limit": wanted.limit,
            },
        )
        return [TransferRow(*row) for row in rows]


def _key(row: tuple[Any, ...]) -> KeyRow:
    key_id, account_id, name, key_type, public_pem, scopes, subaccount, created_ms, deleted_ms = row
    verifier = Verifier.from_public_pem(public_pem.encode())
    return KeyRow(
        key_id,
        account_id,
        name,
        key_type,
        tuple(scopes.split()),
        subaccount,
        verifier,
        created_ms,
        deleted_ms,
    )
