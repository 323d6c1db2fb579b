"""From what the venue tells to the state file: what a step changed is noted, and written together when it is committed.

An order that changes several times before a commit is written once, with its last state. The steps of one turn of the event loop share
a commit; nobody is told of them before it.
"""

import copy
import sqlite3
from collections.abc import Callable
from functools import partial

from soloist_exchange.errors import ExchangeError, Refused, StateError
from soloist_exchange.groups import Group
from soloist_exchange.history import History
from soloist_exchange.ledger import Account
from soloist_exchange.listener import Fill, Listener, Settlement
from soloist_exchange.markets import MarketState
from soloist_exchange.matching import LevelChange
from soloist_exchange.orders import BID, Order, Status
from soloist_exchange.store import EventRow, Store
from soloist_exchange.store_codec import (
    decode_order,
    encode_group,
    encode_market,
    encode_order,
    encode_statistics,
)
from soloist_exchange.store_past import Past, PursePlace
from soloist_exchange.store_portfolio import FillRow, PositionPlace
from soloist_exchange.store_rows import StoredSettlement
from soloist_exchange.venue import Venue

__all__ = ["PAUSES", "Writer"]

DAY_MS = 24 * 3600 * 1000
PAUSES = "pauses"  # the note that says what is paused


class Writer(Listener):
    """See the module. `broken` is set once something could not be written: memory is then ahead of the disk, the process must end.

    `past` keeps what portfolio reads still show while the read model lags.
    """

    def __init__(self, store: Store, venue: Venue, history: History, clock_ms: Callable[[], int]) -> None:
        self.broken: ExchangeError | None = None
        self.past = Past()
        self._store = store
        self._venue = venue
        self._history = history
        self._clock_ms = clock_ms
        self._dirty = False
        self._events: list[EventRow] = []
        self._orders: dict[int, Order] = {}
        self._ids: dict[tuple[int, str], list[int]] = {}
        # Of every resting order the price and the count with which it keeps its place in the queue, and the place.
        self._places: dict[int, tuple[int, int, int]] = {}
        self._last_place = 0
        self._fills: list[FillRow] = []
        self._positions: set[PositionPlace] = set()
        self._purses: set[PursePlace] = set()
        # Cash as it is written, and what of it was available then.
        self._cash: dict[PursePlace, tuple[int, int]] = {}
        self._settlements: list[StoredSettlement] = []
        self._groups: set[tuple[int, str]] = set()
        self._markets: dict[str, MarketState] = {}
        self._traded: dict[str, MarketState] = {}
        self._internal: list[Account] = []
        self._pauses = False
        self._day = clock_ms() // DAY_MS

    # ------------------------------------------------------------------ steps

    def commit(self) -> None:
        """Make durable what was done since the last commit; called before anybody is told of it. Nothing done, nothing written.

        Raises StateError.
        """
        self.flush()
        try:
            self._store.commit()
        except StateError as error:
            self.broken = error
            raise

    def flush(self) -> None:
        """Put what was done into the open transaction, where reads of the store see it. Raises StateError."""
        if self.broken is not None:
            raise self.broken
        try:
            self._flush()
        except StateError as error:
            self.broken = error
            raise
        except sqlite3.Error as error:
            raise self.fail(error) from error

    def fail(self, error: Exception) -> ExchangeError:
        """Note why the exchange cannot go on: the process must end before it says anything that a restart would forget."""
        if not isinstance(error, ExchangeError):
            error = StateError(f"state directory {self._store.directory}: {error}; make room and start again")
        self.broken = error
        return error

    def is_id_taken(self, account_id: int, subaccount: int | None, client_order_id: str) -> bool:
        """Whether an order of the account (of one subaccount, when given) has used a client order id for good."""
        used = self._ids.get((account_id, client_order_id))
        if used is not None and (subaccount is None or subaccount in used):
            return True
        return self._store.has_client_order_id(account_id, client_order_id, subaccount)

    def log(self, account_id: int, kind: str, fields: dict[str, object]) -> None:
        """Append to the oracle's log; an unknown account has no name."""
        self._dirty = True
        account = self._venue.ledger.accounts.get(account_id)
        self._events.append((self._clock_ms(), account.name if account else "", kind, fields))

    def touched_purse(self, account: Account, subaccount: int, exchange_index: int) -> None:
        """Note that cash moved."""
        self._dirty = True
        self._purses.add((account.account_id, subaccount, exchange_index))

    def opened(self, account: Account) -> None:
        """Note what an account had when it was opened or brought back: that is in the state file already."""
        for (subaccount, exchange_index), money in account.cash.items():
            place = (account.account_id, subaccount, exchange_index)
            self._cash[place] = (money, account.available(subaccount, exchange_index))

    def rests_again(self, order: Order, place: int) -> None:
        """Note the place of an order that was put back."""
        self._places[order.sequence] = (order.price, order.remaining, place)
        self._last_place = max(self._last_place, place)

    # ------------------------------------------------------------------ what the venue tells

    def on_accepted(self, order: Order) -> None:
        """Log an accepted order and take its client order id."""
        self._orders[order.sequence] = order
        if order.client_order_id:
            self._ids.setdefault((order.account_id, order.client_order_id), []).append(order.subaccount)
        self.log(order.account_id, "accepted", _described(order) | {"key_id": order.key_id})

    def on_renamed(self, order: Order, previous: str) -> None:  # noqa: ARG002 - the listener's signature
        """Take the new client order id; the previous one stays taken."""
        self._ids.setdefault((order.account_id, order.client_order_id), []).append(order.subaccount)

    def on_fill(self, fill: Fill) -> None:
        """Note a fill with the money and the position that it moved."""
        order = fill.order
        self._fills.append(
            (
                fill.trade_id,
                order.order_id,
                order.account_id,
                order.subaccount,
                order.ticker,
                order.side,
                fill.price,
                fill.count,
                fill.fee,
                fill.is_taker,
                fill.time_ms,
                order.exchange_index,
            )
        )
        self._positions.add((order.account_id, order.subaccount, order.ticker))
        if order.group_id:  # its window grows
            self._groups.add((order.account_id, order.group_id))
        self.log(
            order.account_id,
            "filled",
            {
                "order_id": order.order_id,
                "client_order_id": order.client_order_id,
                "trade_id": fill.trade_id,
                "price": fill.price,
                "count": fill.count,
                "fee": fill.fee,
                "is_taker": fill.is_taker,
            },
        )

    def on_order(self, order: Order) -> None:
        """Remember to save the order and its money; log its end."""
        self._dirty = True
        self._orders[order.sequence] = order
        self._purses.add((order.account_id, order.subaccount, order.exchange_index))
        if order.status is Status.RESTING:
            self._keep_place(order)
            return
        self._places.pop(order.sequence, None)
        if order.releases_id:
            self._release(order)
        self.log(
            order.account_id,
            "closed",
            _described(order)
            | {"status": order.status.value, "reason": order.reason.value, "filled": order.filled},
        )

    def on_trade(self, market: MarketState, fill: Fill) -> None:
        """Keep a public trade and what it made of the market's statistics."""
        self._dirty = True
        self._traded[market.ticker] = market
        self._history.on_trade(market, fill)

    def on_book(self, market: MarketState, changes: list[LevelChange]) -> None:  # noqa: ARG002 - the listener's signature
        """Books are not stored: orders are, and the scenario makes its own again. Quotes go into the candles."""
        self._history.on_book(market)

    def on_market_state(self, market: MarketState) -> None:
        """Remember to save the market."""
        self._dirty = True
        self._markets[market.ticker] = market
        self._traded[market.ticker] = market

    def on_group(self, group: Group, event_type: str) -> None:  # noqa: ARG002 - the listener's signature
        """Remember to save or forget the group."""
        self._dirty = True
        self._groups.add((group.account_id, group.group_id))

    def on_settlement(self, settlement: Settlement) -> None:
        """Note a settlement with the money and the position that it moved."""
        self._dirty = True
        market = self._venue.markets[settlement.ticker]
        owner, subaccount = settlement.account_id, settlement.subaccount
        self._positions.add((owner, subaccount, settlement.ticker))
        self._purses.add((owner, subaccount, market.exchange_index))
        self._settlements.append(
            StoredSettlement(
                account_id=owner,
                subaccount=subaccount,
                ticker=settlement.ticker,
                event_ticker=market.event_ticker,
                exchange_index=market.exchange_index,
                result=settlement.result,
                yes_count=settlement.yes_count,
                yes_cost=settlement.yes_cost,
                no_count=settlement.no_count,
                no_cost=settlement.no_cost,
                revenue=settlement.revenue,
                value=settlement.value,
                fee=settlement.fee,
                time_ms=settlement.time_ms,
            )
        )

    def on_exchange(self) -> None:
        """Remember to save what is paused."""
        self._dirty = True
        self._pauses = True

    def _keep_place(self, order: Order) -> None:
        """Follow the queue: another price or a greater count puts an order behind all others (section 8.3)."""
        price, remaining, place = self._places.get(order.sequence, (0, 0, 0))
        if order.price != price or order.remaining > remaining:
            self._last_place = place = self._last_place + 1
        self._places[order.sequence] = (order.price, order.remaining, place)

    def _release(self, order: Order) -> None:
        """Give back the client order id of an order that, by the switch, did not use it up: it was never written."""
        used = self._ids.get((order.account_id, order.client_order_id))
        if used is not None:
            used.remove(order.subaccount)
            if not used:
                del self._ids[order.account_id, order.client_order_id]

    # ------------------------------------------------------------------ writing

    def _flush(self) -> None:
        if not self._dirty and not self._history.has_news:
            return
        self._store.begin()
        if (day := self._clock_ms() // DAY_MS) != self._day:
            # With the day every market's previous prices have changed.
            self._day = day
            self._traded.update(self._venue.markets)
        if lag_ms := self._venue.switches.read_model_lag_ms:
            self._remember(lag_ms)
        elif self.past:
            self.past.forget(self._clock_ms())
        self._write_trading()
        if self._purses:
            self._write_cash()
        if self._positions:
            self._write_positions()
        if self._groups:
            self._write_groups()
        if self._traded:
            self._write_markets()
        if self._pauses:
            self._store.save_note(PAUSES, [self._venue.trading_active, self._venue.exchange_active])
            self._pauses = False
        self._history.write()
        self._dirty = False

    def _write_trading(self) -> None:
        store = self._store
        if self._events:
            store.save_events(self._events)
            self._events = []
        if self._orders:
            places = self._places
            store.save_orders(
                (order, places[sequence][2] if sequence in places else 0)
                for sequence, order in self._orders.items()
            )
            self._orders = {}
        if self._ids:
            store.use_client_ids(
                (account_id, client_order_id, subaccount)
                for (account_id, client_order_id), subaccounts in self._ids.items()
                for subaccount in subaccounts
            )
            self._ids = {}
        if self._fills:
            store.save_fills(self._fills)
            self._fills = []
        for settlement in self._settlements:
            store.save_settlement(settlement)
        self._settlements = []

    def _remember(self, lag_ms: int) -> None:
        """Keep what this commit replaces, for as long as the read model lags."""
        now_ms, past, store = self._clock_ms(), self.past, self._store
        for order in self._orders.values():
            after = decode_order(encode_order(order))
            past.orders.note(order.order_id, now_ms, partial(store.order, order.order_id), after)
        accounts = self._venue.ledger.accounts
        for place in self._positions:
            held = accounts[place[0]].positions.get(place[1:])
            past.positions.note(place, now_ms, partial(store.position, place), copy.copy(held))
        for purse in self._purses:
            before = self._cash.get(purse, (0, 0))[1]
            available = accounts[purse[0]].available(*purse[1:])
            past.available.note(purse, now_ms, partial(int, before), available)
        past.forget(now_ms - lag_ms)

    def _write_cash(self) -> None:
        accounts = self._venue.ledger.accounts
        rows = []
        for place in self._purses:
            account_id, subaccount, exchange_index = place
            account = accounts[account_id]
            money = account.cash.get((subaccount, exchange_index), 0)
            if self._cash.get(place, (0, 0))[0] != money:
                rows.append((*place, money))
            self._cash[place] = (money, account.available(subaccount, exchange_index))
        if rows:
            self._store.save_cash(rows)
        self._purses = set()

    def _write_positions(self) -> None:
        accounts = self._venue.ledger.accounts
        rows = []
        for place in self._positions:
            account_id, subaccount, ticker = place
            position = accounts[account_id].positions.get((subaccount, ticker))
            if position is None:
                self._store.drop_position(place)
            else:
                rows.append((place, position))
        self._store.save_positions(rows)
        self._positions = set()

    def _write_groups(self) -> None:
        for account_id, group_id in self._groups:
            try:
                group = self._venue.groups.find(account_id, group_id)
            except Refused:  # it is gone
                self._store.drop_group(group_id)
            else:
                self._store.save_group(group_id, encode_group(group))
        self._groups = set()

    def _write_markets(self) -> None:
        self._store.save_markets((ticker, encode_market(market)) for ticker, market in self._markets.items())
        if not self._internal:  # the scenario opens all of them when it begins
            self._internal = [account for account in self._venue.ledger.accounts.values() if account.internal]
        internal = self._internal
        self._store.save_statistics(
            (
                ticker,
                encode_statistics(
                    market, [(account.account_id, account.held(0, ticker)) for account in internal]
                ),
            )
            for ticker, market in self._traded.items()
        )
        self._markets, self._traded = {}, {}


def _described(order: Order) -> dict[str, object]:
    return {
        "order_id": order.order_id,
        "client_order_id": order.client_order_id,
        "ticker": order.ticker,
        "side": "bid" if order.side == BID else "ask",
        "price": order.price,
        "count": order.initial,
        "subaccount": order.subaccount,
        "time_in_force": order.time_in_force.value,
        "expiration_ms": order.expiration_ms,
    }
