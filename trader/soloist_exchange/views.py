"""What an account may read of its orders, fills, positions and money: the present, or what it was `read_model_lag_ms` ago (section 3.5)."""

from collections.abc import Callable
from dataclasses import replace
from typing import Final

from soloist_exchange.ledger import Position
from soloist_exchange.orders import Order, Status
from soloist_exchange.store import Store
from soloist_exchange.store_rows import Range, StoredFill, StoredSettlement
from soloist_exchange.store_writer import Writer
from soloist_exchange.venue import Venue

__all__ = ["Views"]

_RESTING: Final = Status.RESTING.value


class Views:
    """See the module. Without a lag nothing is copied: what is returned may be the live object, to be read at once and left alone."""

    def __init__(self, store: Store, venue: Venue, writer: Writer, clock_ms: Callable[[], int]) -> None:
        self.store = store
        self.venue = venue
        self.clock_ms = clock_ms
        self._writer = writer

    def as_of_ms(self) -> int:
        """Return how fresh the portfolio reads are (Unix milliseconds)."""
        return self.clock_ms() - self.venue.switches.read_model_lag_ms

    # ------------------------------------------------------------------ orders

    def orders_view(self, account_id: int, wanted: Range) -> list[Order]:
        """Return orders of an account, newest first."""
        if self._lags:
            return self._past_orders(account_id, wanted)
        if wanted.status == _RESTING:
            resting = self.venue.resting(account_id, wanted.subaccount)
            found = [order for order in resting if _is_wanted(order, wanted)]
            return sorted(found, key=_newest)[: wanted.limit]
        self._writer.flush()
        return self.store.orders(account_id, wanted)

    def order_view(self, account_id: int, order_id: str) -> Order | None:
        """Return one order of an account; None when it has no such order (yet)."""
        if self._lags:
            changed = self._writer.past.orders.changed(self.as_of_ms())
            order = changed[order_id] if order_id in changed else self.store.order(order_id)
        else:
            order = self.venue.orders.get(order_id)
            if order is None:
                self._writer.flush()
                order = self.store.order(order_id)
        return order if order is not None and order.account_id == account_id else None

    def _past_orders(self, account_id: int, wanted: Range) -> list[Order]:
        """Return the orders as they were: those that have changed since are judged by their earlier state."""
        changed = self._writer.past.orders.changed(self.as_of_ms())
        earlier = [
            order
            for order in changed.values()
            if order is not None and order.account_id == account_id and _is_wanted(order, wanted)
        ]
        stored = self.store.orders(account_id, replace(wanted, limit=wanted.limit + len(changed)))
        unchanged = [order for order in stored if order.order_id not in changed]
        return sorted((*earlier, *unchanged), key=_newest)[: wanted.limit]

    # ------------------------------------------------------------------ fills and settlements

    def fills_view(self, account_id: int, wanted: Range) -> list[StoredFill]:
        """Return fills of an account, newest first."""
        return self.store.fills(account_id, self._until_now(wanted))

    def settlements_view(self, account_id: int, wanted: Range) -> list[StoredSettlement]:
        """Return settlements of an account, newest first."""
        return self.store.settlements(account_id, self._until_now(wanted))

    def _until_now(self, wanted: Range) -> Range:
        """Return the range cut at the time that reads show."""
        self._writer.flush()
        if not self._lags:
            return wanted
        as_of_ms = self.as_of_ms()
        return replace(wanted, to_ms=as_of_ms if wanted.to_ms is None else min(as_of_ms, wanted.to_ms))

    # ------------------------------------------------------------------ positions and money

    def positions_view(self, account_id: int, subaccount: int) -> dict[str, Position]:
        """Return the positions of a subaccount by ticker, also those that are closed."""
        held = self.venue.ledger.accounts[account_id].positions
        shown = {ticker: position for (owner, ticker), position in held.items() if owner == subaccount}
        if self._lags:
            for place, earlier in self._writer.past.positions.changed(self.as_of_ms()).items():
                if place[:2] != (account_id, subaccount):
                    continue
                if earlier is None:
                    shown.pop(place[2], None)
                else:
                    shown[place[2]] = earlier
        return shown

    def balances_view(self, account_id: int, subaccount: int) -> dict[int, int]:
        """Return the available cash of a subaccount by shard (money); shard 0 is always there."""
        account = self.venue.ledger.accounts[account_id]
        shards = {0} | {shard for owner, shard in account.cash if owner == subaccount}
        shown = {shard: account.available(subaccount, shard) for shard in sorted(shards)}
        if self._lags:
            for place, earlier in self._writer.past.available.changed(self.as_of_ms()).items():
                if place[:2] == (account_id, subaccount):
                    shown[place[2]] = earlier or 0
        return shown

    def balance_view(self, account_id: int, subaccount: int, exchange_index: int | None = None) -> int:
        """Return the available cash of a subaccount on one shard, or on all (money)."""
        by_shard = self.balances_view(account_id, subaccount)
        return sum(by_shard.values()) if exchange_index is None else by_shard.get(exchange_index, 0)

    @property
    def _lags(self) -> bool:
        """Whether reads show the past; what has just happened is then noted before it is looked for."""
        if self.venue.switches.read_model_lag_ms == 0:
            return False
        self._writer.flush()
        return True


def _newest(order: Order) -> int:
    return -order.sequence


def _is_wanted(order: Order, wanted: Range) -> bool:
    return (
        wanted.wants(order.subaccount, order.ticker, order.created_ms, order.exchange_index)
        and wanted.status in {"", order.status.value}
        and (wanted.before is None or order.sequence < wanted.before)
    )
