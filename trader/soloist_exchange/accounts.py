"""Accounts and their keys: tiers and rate limits (section 4), scopes and revocation (section 10), subaccounts and transfers (section 11)."""

import asyncio
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Final

from soloist_kalshi.limits import AccountBuckets
from soloist_kalshi.messages import AccountLimits, BucketLimits
from soloist_kalshi.signing import KeyType, PrivateKeyPair, Verifier, generate_private_key

from soloist_exchange.errors import Refused, StateError
from soloist_exchange.ledger import Account
from soloist_exchange.store import FULL_SCOPES, Store
from soloist_exchange.store_rows import AccountRow, KeyRow, Range, TransferRow
from soloist_exchange.store_writer import Writer
from soloist_exchange.venue import Venue
from soloist_exchange.views import Views

__all__ = [
    "SCOPES",
    "SUBACCOUNTS",
    "TIERS",
    "Accounts",
    "check_scopes",
    "create_account",
    "generate_key",
    "tier_limits",
]

SUBACCOUNTS: Final = 64  # the primary one and 63 numbered ones
SCOPES: Final = frozenset({
    "read",
    "write",
    "read::portfolio_balance",
    "read::block_trade_accept",
    "write::trade",
    "write::transfer",
    "write::block_trade_accept",
    "write::fcm_risk",
})  # fmt: skip
# Tokens per second for reads and writes, since 2026-09-24.
TIERS: Final = {
    "basic": (200, 100),
    "advanced": (300, 300),
    "expert": (600, 600),
    "premier": (1200, 1200),
    "paragon": (2400, 2400),
    "prime": (4800, 4800),
    "prestige": (12_000, 9_600),
}
UPLOADING: Final = frozenset({"premier", "paragon", "prime", "prestige"})
ORDERS_LOOKED_AT: Final = 100
_SECONDS: Final = {"1s": (1, 1), "2s": (2, 2), "3s": (3, 3)}


def tier_limits(tier: str, capacity: str = "documented") -> AccountLimits:
    """Return the budgets of a tier; `capacity` is the value of the switch bucket_capacity.

    Documented are two seconds of budget for the reads of basic and advanced and for the writes above basic, one second otherwise.
    """
    read, write = TIERS[tier]
    documented = (2 if tier in {"basic", "advanced"} else 1, 1 if tier == "basic" else 2)
    read_s, write_s = _SECONDS.get(capacity, documented)
    return AccountLimits(
        usage_tier=tier,
        read=BucketLimits(refill_rate=read, bucket_capacity=read * read_s),
        write=BucketLimits(refill_rate=write, bucket_capacity=write * write_s),
    )


def check_scopes(scopes: tuple[str, ...]) -> None:
    """Refuse scopes that do not exist, and scopes for writing without `read`."""
    if unknown := set(scopes) - SCOPES:
        raise Refused(400, "bad_request", "bad request", f"unknown scopes {sorted(unknown)}", shape="flat")
    if "read" not in scopes and any(item.startswith("write") for item in scopes):
        raise Refused(400, "bad_request", "bad request", "write scopes need read", shape="flat")


class Accounts(Views):
    """See the module. Every change is part of the step that is under way: `Exchange.commit` makes it durable."""

    def __init__(
        self,
        store: Store,
        venue: Venue,
        writer: Writer,
        clock_ms: Callable[[], int],
        clock_us: Callable[[], int],
    ) -> None:
        super().__init__(store, venue, writer, clock_ms)
        self._clock_us = clock_us
        self._rows: dict[int, AccountRow] = {}
        self._keys: dict[str, KeyRow] = {}
        self._buckets: dict[int, _Buckets] = {}
        self._generator: ThreadPoolExecutor | None = None

    def close(self) -> None:
        """Let the worker go that makes keys."""
        if self._generator is not None:
            self._generator.shutdown()

    # ------------------------------------------------------------------ accounts

    def open_all(self) -> None:
        """Open the accounts that the state file has and the ledger has not; what they own was brought back, or is their deposit."""
        known = self.venue.ledger.accounts
        for row in self.store.accounts():
            self._rows[row.account_id] = row
            if row.account_id not in known:
                account = self.venue.ledger.open(Account(row.account_id, row.name, deposited=row.deposited))
                self._writer.opened(account)

    def account(self, account_id: int) -> Account:
        """Return an account, also one that the command line made a moment ago."""
        found = self.venue.ledger.accounts.get(account_id)
        if found is None:
            self.open_all()
            found = self.venue.ledger.accounts[account_id]
        return found

    def account_id(self, name: str) -> int:
        """Return the id of an account. Raises StateError when there is none of that name."""
        for _ in range(2):
            for row in self._rows.values():
                if row.name == name:
                    return row.account_id
            self.open_all()
        raise StateError(f"no account {name!r}; create it with: soloist-exchange account create {name}")

    def row(self, account_id: int) -> AccountRow:
        """Return what is stored of an account beside its money."""
        if account_id not in self._rows:
            self.open_all()
        return self._rows[account_id]

    def deposit(self, account_id: int, money: int) -> None:
        """Bring money into the primary subaccount, on shard 0."""
        account = self.account(account_id)
        self.venue.deposit(account_id, money)
        self._writer.touched_purse(account, 0, 0)
        self._save(replace(self.row(account_id), deposited=account.deposited))

    def _save(self, row: AccountRow) -> None:
        self._rows[row.account_id] = row
        self.store.begin()
        self.store.save_account(row)

    # ------------------------------------------------------------------ tiers

    def tier(self, account_id: int) -> str:
        """Return the usage tier of an account."""
        return self.row(account_id).tier

    def limits(self, account_id: int) -> AccountLimits:
        """Return the budgets of an account, as GET /account/limits shows them."""
        return tier_limits(self.tier(account_id), self.venue.switches.bucket_capacity)

    def set_tier(self, account_id: int, tier: str) -> None:
        """Put an account on a tier. Raises StateError for a tier that there is not."""
        if tier not in TIERS:
            raise StateError(f"no tier {tier!r}; the tiers are {', '.join(TIERS)}")
        self._save(replace(self.row(account_id), tier=tier))

    def upgrade(self, account_id: int) -> None:
        """Lift a basic account to advanced; refused (403) unless one of its last 100 orders came through the API."""
        if self.tier(account_id) != "basic":
            return
        self._writer.flush()
        latest = self.store.orders(account_id, Range(limit=ORDERS_LOOKED_AT))
        if not any(order.key_id for order in latest):
            raise Refused(
                403, "forbidden", "an upgrade needs an order through the API among the last 100 orders"
            )
        self.set_tier(account_id, "advanced")

    def buckets(self, account_id: int, exchange_index: int = 0) -> AccountBuckets:
        """Return the rate limits of an account, which all its keys share; `write` is the bucket of the shard (section 4)."""
        found = self._buckets.get(account_id)
        if found is None:
            found = self._buckets[account_id] = _Buckets()
        limits = self.limits(account_id)
        if limits != found.limits:
            found.resize(limits)
        return found.of_shard(exchange_index, self._clock_us)

    # ------------------------------------------------------------------ keys

    def key(self, key_id: str) -> KeyRow | None:
        """Return a key that is valid now: not deleted, or not longer than the switch revocation_delay_ms."""
        found = self._keys.get(key_id)
        if found is None:
            found = self.store.key(key_id)
            if found is None:
                return None
            self._keys[key_id] = found
            self.account(found.account_id)
        if found.deleted_ms is not None:
            works_until_ms = found.deleted_ms + self.venue.switches.revocation_delay_ms
            if self.clock_ms() >= works_until_ms:
                return None
        return found

    def keys_view(self, account_id: int) -> list[KeyRow]:
        """Return the keys of an account as GET /api_keys shows them: `switches.key_list_lag_ms` ago."""
        lag_ms = self.venue.switches.key_list_lag_ms
        return self.store.keys(account_id, self.clock_ms() - lag_ms if lag_ms else None)

    def delete_key(self, account_id: int, key_id: str) -> bool:
        """Delete a key; False when the account has no such key. It stops working at once, or later by the switch."""
        now_ms = self.clock_ms()
        self.store.begin()
        if not self.store.delete_key(account_id, key_id, now_ms):
            return False
        self._keys.pop(key_id, None)
        return True

    async def generate_key_async(
        self,
        account_id: int,
        *,
        name: str,
        key_type: KeyType,
        scopes: tuple[str, ...] = FULL_SCOPES,
        subaccount: int | None = None,
    ) -> tuple[str, bytes]:
        """Make a key pair in a worker, store its public part, and return key id and private PEM. Raises Refused for its scopes."""
        check_scopes(scopes)
        if self._generator is None:
            self._generator = ThreadPoolExecutor(1, thread_name_prefix="key-generator")
        pair = await asyncio.get_running_loop().run_in_executor(
            self._generator, generate_private_key, key_type
        )
        self.store.begin()
        return _store_key(
            self.store,
            account_id,
            pair,
            name=name,
            scopes=scopes,
            subaccount=subaccount,
            now_ms=self.clock_ms(),
        ), pair.private_pem

    def upload_key(
        self,
        account_id: int,
        *,
        name: str,
        public_pem: bytes,
        scopes: tuple[str, ...] = FULL_SCOPES,
        subaccount: int | None = None,
    ) -> str:
        """Store a public key of the account's own and return its id. Raises Refused (403 below the tier premier), VenueKeyError."""
        if self.tier(account_id) not in UPLOADING:
            raise Refused(403, "forbidden", "uploading a public key needs the Premier or Market Maker level")
        check_scopes(scopes)
        verifier = Verifier.from_public_pem(public_pem)
        self.store.begin()
        return _store_key(
            self.store,
            account_id,
            PrivateKeyPair(verifier.key_type, b"", public_pem),
            name=name,
            scopes=scopes,
            subaccount=subaccount,
            now_ms=self.clock_ms(),
        )

    # ------------------------------------------------------------------ subaccounts

    def open_subaccount(self, account_id: int) -> int:
        """Open the next subaccount and return its number. Raises Refused after the 63rd."""
        row = self.row(account_id)
        if row.subaccounts >= SUBACCOUNTS - 1:
            raise Refused(400, "bad_request", details=f"more than {SUBACCOUNTS - 1} subaccounts")
        self._save(replace(row, subaccounts=row.subaccounts + 1))
        return row.subaccounts + 1

    def subaccounts(self, account_id: int) -> int:
        """Return the highest subaccount that is open; 0 is the primary one."""
        return self.row(account_id).subaccounts

    def netting(self, account_id: int) -> frozenset[int]:
        """Return the subaccounts that have netting on."""
        return frozenset(self.row(account_id).netting)

    def set_netting(self, account_id: int, subaccount: int, *, enabled: bool) -> None:
        """Turn netting of a subaccount on or off: a setting that is kept and shown, and changes no money here."""
        now = self.netting(account_id)
        wanted = now | {subaccount} if enabled else now - {subaccount}
        self._save(replace(self.row(account_id), netting=tuple(sorted(wanted))))

    def transfer(
        self,
        account_id: int,
        client_transfer_id: str,
        from_subaccount: int,
        to_subaccount: int,
        money: int,
        *,
        exchange_index_from: int = 0,
        exchange_index_to: int = 0,
    ) -> TransferRow:
        """Move cash between subaccounts or shards. Raises Refused: 409 for a client_transfer_id that was used, ever."""
        if self.store.has_transfer(account_id, client_transfer_id):
            raise Refused(409, "transfer_already_exists", "transfer already exists")
        for subaccount in (from_subaccount, to_subaccount):
            if not 0 <= subaccount <= self.subaccounts(account_id):
                raise Refused(404, "not_found", "not found")
        account = self.account(account_id)
        self.venue.transfer(
            account_id, from_subaccount, to_subaccount, exchange_index_from, exchange_index_to, money
        )
        self._writer.touched_purse(account, from_subaccount, exchange_index_from)
        self._writer.touched_purse(account, to_subaccount, exchange_index_to)
        self.store.begin()
        return self.store.save_transfer(
            TransferRow(
                account_id,
                client_transfer_id,
                from_subaccount,
                to_subaccount,
                exchange_index_from,
                exchange_index_to,
                money,
                self.clock_ms(),
            )
        )


class _Buckets:
    """One account's buckets: one for reads, one for writes, and one of the same size for the writes of every other shard."""

    def __init__(self) -> None:
        self.limits: AccountLimits | None = None
        self._shards: dict[int, AccountBuckets] = {}

    def resize(self, limits: AccountLimits) -> None:
        self.limits = limits
        for buckets in self._shards.values():
            buckets.resize(limits)

    def of_shard(self, exchange_index: int, clock_us: Callable[[], int]) -> AccountBuckets:
        found = self._shards.get(exchange_index)
        if found is None:
            assert self.limits is not None
            found = AccountBuckets(clock_us, self.limits)
            if exchange_index:
                found.read = self.of_shard(0, clock_us).read
            self._shards[exchange_index] = found
        return found


# ---------------------------------------------------------------------- for the command line, too


def create_account(
    store: Store,
    name: str,
    deposited: int,
    key_type: KeyType,
    now_ms: int,
    *,
    tier: str = "basic",
    subaccounts: int = 0,
) -> tuple[AccountRow, str, bytes]:
    """Create an account with one full key; return it, the key id and the private key (PEM, nowhere else kept).

    `subaccounts` of them are open beside the primary one. Raises StateError.
    """
    if tier not in TIERS:
        raise StateError(f"no tier {tier!r}; the tiers are {', '.join(TIERS)}")
    if not 0 <= subaccounts < SUBACCOUNTS:
        raise StateError(f"an account has 0 to {SUBACCOUNTS - 1} numbered subaccounts, not {subaccounts}")
    pair = generate_private_key(key_type)
    with store.transaction():  # an account without a key could never be used
        row = store.add_account(name, deposited, tier, subaccounts)
        key_id = _store_key(
            store,
            row.account_id,
            pair,
            name=f"{name} first key",
            scopes=FULL_SCOPES,
            subaccount=None,
            now_ms=now_ms,
        )
    return row, key_id, pair.private_pem


def generate_key(
    store: Store,
    account_id: int,
    *,
    name: str,
    key_type: KeyType,
    scopes: tuple[str, ...],
    subaccount: int | None,
    now_ms: int,
) -> tuple[str, bytes]:
    """Make a key pair, store its public part, and return key id and private PEM. It takes its time: not for the event loop."""
    pair = generate_private_key(key_type)
    key_id = _store_key(
        store, account_id, pair, name=name, scopes=scopes, subaccount=subaccount, now_ms=now_ms
    )
    return key_id, pair.private_pem


def _store_key(
    store: Store,
    account_id: int,
    pair: PrivateKeyPair,
    *,
    name: str,
    scopes: tuple[str, ...],
    subaccount: int | None,
    now_ms: int,
) -> str:
    key_id = str(uuid.uuid4())
    store.add_key(
        key_id=key_id,
        account_id=account_id,
        name=name,
        key_type=pair.key_type,
        public_pem=pair.public_pem,
        scopes=scopes,
        subaccount=subaccount,
        now_ms=now_ms,
    )
    return key_id
