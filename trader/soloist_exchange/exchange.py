"""The venue with a memory: accounts and keys, the log that is the oracle, and a commit before every reply."""

import sqlite3
import uuid
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from soloist_kalshi.limits import AccountBuckets
from soloist_kalshi.signing import KeyType, generate_private_key

from soloist_exchange.errors import StateError
from soloist_exchange.flow import MAKER_ACCOUNT, Flow
from soloist_exchange.ledger import Account
from soloist_exchange.matching import LevelChange
from soloist_exchange.orders import BID, Order, Status
from soloist_exchange.scenario import Scenario
from soloist_exchange.store import FULL_SCOPES, AccountRow, KeyRow, Store, StoredFill
from soloist_exchange.venue import Fill, Listener, MarketState, Venue

__all__ = ["Exchange", "PublicTrade", "create_account", "generate_key"]

TRADES_KEPT = 10_000


@dataclass(frozen=True, slots=True)
class PublicTrade:
    """A trade as everybody sees it, from its taker's fill; numbered from 1."""

    number: int
    market: MarketState
    fill: Fill


class Exchange(Listener):
    """A venue, its scenario's participants and its store. One step, one commit."""

    def __init__(
        self,
        directory: Path,
        scenario: Scenario,
        seed: int,
        clock_ms: Callable[[], int],
        clock_us: Callable[[], int],
    ) -> None:
        self.store = Store(directory)
        self.clock_ms = clock_ms
        self.venue = Venue(
            clock_ms,
            lambda: str(uuid.uuid4()),
            lambda account_id, _subaccount, name: self.store.has_client_order_id(account_id, name),
        )
        self.flow = Flow(self.venue, scenario, seed)
        self.trades: deque[PublicTrade] = deque(maxlen=TRADES_KEPT)
        self._trades_seen = 0
        self._clock_us = clock_us
        self._buckets: dict[int, AccountBuckets] = {}
        self._keys: dict[str, KeyRow] = {}
        self._dirty: dict[str, Order] = {}
        self.broken: StateError | None = None
        self.venue.listeners.append(self)
        self._restore()
        self.flow.begin()
        self.commit()

    # ---------------------------------------------------------------- accounts and keys

    def account(self, account_id: int) -> Account:
        """Return an account, also one that the command line made a moment ago."""
        if account_id not in self.venue.ledger.accounts:
            self._open_accounts()
        return self.venue.ledger.accounts[account_id]

    def key(self, key_id: str) -> KeyRow | None:
        """Return a key that is valid now. Deletions are made here only, so what was once read stays true until then."""
        found = self._keys.get(key_id) or self.store.key(key_id)
        if found is not None:
            self._keys[key_id] = found
            self.account(found.account_id)
        return found

    def delete_key(self, account_id: int, key_id: str) -> bool:
        """Delete a key, with effect at once."""
        if not self.store.delete_key(account_id, key_id, self.clock_ms()):
            return False
        self._keys.pop(key_id, None)
        return True

    def buckets(self, account_id: int) -> AccountBuckets:
        """Return the rate limits of an account; all its keys share them."""
        found = self._buckets.get(account_id)
        if found is None:
            found = self._buckets[account_id] = AccountBuckets(self._clock_us)
        return found

    # ---------------------------------------------------------------- steps

    def commit(self) -> None:
        """Make the step durable; called before its reply is sent. Steps of the scenario alone write nothing.

        Raises StateError, and keeps it in `broken`: memory is then ahead of the disk, and the process must end.
        """
        try:
            if self._dirty:
                self.store.begin()
                for order in self._dirty.values():
                    self.store.save_order(order)
                self._dirty.clear()
            self.store.commit()
        except StateError as error:
            self.broken = error
            raise
        except sqlite3.Error as error:
            raise self.fail(error) from error

    def log(self, account_id: int, kind: str, **fields: object) -> None:
        """Append to the oracle's log."""
        self.store.begin()
        self.store.log(self.clock_ms(), self.account(account_id).name, kind, fields)

    def fail(self, error: Exception) -> StateError:
        """Note that a step could not be written: the process must end before it says anything that a restart would forget."""
        self.broken = StateError(
            f"state directory {self.store.directory}: {error}; make room and start again"
        )
        return self.broken

    # ---------------------------------------------------------------- what the venue tells (see venue.Listener)

    def on_accepted(self, order: Order) -> None:
        """Log an accepted order."""
        self._dirty[order.order_id] = order
        self.log(order.account_id, "accepted", **_described(order), key_id=order.key_id)

    def on_fill(self, fill: Fill) -> None:
        """Store and log a fill."""
        order = fill.order
        self.store.begin()
        self.store.save_fill(
            StoredFill(
                trade_id=fill.trade_id,
                order_id=order.order_id,
                account_id=order.account_id,
                subaccount=order.subaccount,
                ticker=order.ticker,
                side=order.side,
                price=fill.price,
                count=fill.count,
                fee=fill.fee,
                is_taker=fill.is_taker,
                time_ms=fill.time_ms,
            )
        )
        self.log(
            order.account_id,
            "filled",
            order_id=order.order_id,
            client_order_id=order.client_order_id,
            trade_id=fill.trade_id,
            price=fill.price,
            count=fill.count,
            fee=fill.fee,
            is_taker=fill.is_taker,
        )

    def on_order(self, order: Order) -> None:
        """Remember to save the order; log its end."""
        self._dirty[order.order_id] = order
        if order.status is not Status.RESTING:
            self.log(
                order.account_id,
                "closed",
                **_described(order),
                status=order.status.value,
                reason=order.reason.value,
                filled=order.filled,
            )

    def on_trade(self, market: MarketState, fill: Fill) -> None:
        """Keep a public trade."""
        self._trades_seen += 1
        self.trades.append(PublicTrade(self._trades_seen, market, fill))

    def on_book(self, market: MarketState, changes: list[LevelChange]) -> None:
        """Books are not stored: the scenario makes them again."""

    # ---------------------------------------------------------------- restart

    def _restore(self) -> None:
        """Bring back accounts, money and resting orders. The makers take the other side of what is held."""
        self._open_accounts()
        ledger = self.venue.ledger
        makers = ledger.accounts[MAKER_ACCOUNT]
        for fill in self.store.all_fills():
            ledger.fill(
                ledger.accounts[fill.account_id],
                fill.subaccount,
                fill.ticker,
                fill.side,
                fill.price,
                fill.count,
                fill.fee,
                fill.time_ms,
            )
            # The counterparty of a restored fill is the market makers', whoever it was: their money is the scenario's.
            ledger.fill(makers, 0, fill.ticker, -fill.side, fill.price, fill.count, 0, fill.time_ms)
        self.venue.last_sequence = self.store.last_sequence()
        for order in self.store.resting_orders():
            self.venue.restore(order)
        ledger.check()

    def _open_accounts(self) -> None:
        known = self.venue.ledger.accounts
        for row in self.store.accounts():
            if row.account_id not in known:
                self.venue.ledger.open(Account(row.account_id, row.name, deposited=row.deposited))


def create_account(
    store: Store, name: str, deposited: int, key_type: KeyType, now_ms: int
) -> tuple[AccountRow, str, bytes]:
    """Create an account with one full key; return it, the key id and the private key (PEM, nowhere else kept)."""
    with store.transaction():  # an account without a key could never be used
        row = store.add_account(name, deposited)
        key_id, private_pem = generate_key(
            store,
            row.account_id,
            name=f"{name} first key",
            key_type=key_type,
            scopes=FULL_SCOPES,
            subaccount=None,
            now_ms=now_ms,
        )
    return row, key_id, private_pem


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
    """Make a key pair, store its public part, and return key id and private PEM."""
    pair = generate_private_key(key_type)
    key_id = str(uuid.uuid4())
    store.add_key(
        key_id=key_id,
        account_id=account_id,
        name=name,
        key_type=key_type,
        public_pem=pair.public_pem,
        scopes=scopes,
        subaccount=subaccount,
        now_ms=now_ms,
    )
    return key_id, pair.private_pem


def _described(order: Order) -> dict[str, object]:
    return {
        "order_id": order.order_id,
        "client_order_id": order.client_order_id,
        "ticker": order.ticker,
        "side": "bid" if order.side == BID else "ask",
        "price": order.price,
        "count": order.initial,
        "subaccount": order.subaccount,
    }
