"""The exchange itself: markets, accounts, orders, matching and money, without a socket and without a clock of its own.

Every call is one step: it either raises Refused, changing nothing, or happens completely and tells its listeners what happened; at its
end money and contracts are checked. Only what rests is kept here; what is over lives in the store.
"""

from collections.abc import Callable

from soloist_exchange.admission import admit, admit_amendment, admit_change, not_found
from soloist_exchange.errors import ConservationError, Refused
from soloist_exchange.floor import Floor
from soloist_exchange.groups import Group
from soloist_exchange.ledger import Account, Purse
from soloist_exchange.lifecycle import Lifecycle
from soloist_exchange.listener import Fill, Listener, Settlement
from soloist_exchange.markets import EventState, FeeTerms, MarketState, MarketStatus, Result, SeriesState
from soloist_exchange.orders import Amendment, Order, Status, UpdateReason
from soloist_exchange.switches import Switches

__all__ = [
    "Amendment",
    "EventState",
    "FeeTerms",
    "Fill",
    "Listener",
    "MarketState",
    "SeriesState",
    "Settlement",
    "Venue",
]


class Venue(Floor):
    """See the module. `clock_ms` is the exchange's clock; `new_id` makes trade and group ids.

    `is_id_taken(account_id, subaccount, client_order_id)` says whether an earlier order, also one of a step that is not durable yet,
    used a client order id; subaccount None asks about the whole account.
    """

    def __init__(
        self,
        clock_ms: Callable[[], int],
        new_id: Callable[[], str],
        is_id_taken: Callable[[int, int | None, str], bool],
        switches: Switches | None = None,
    ) -> None:
        super().__init__(clock_ms, new_id, is_id_taken, switches or Switches())
        self.events: dict[str, EventState] = {}
        self.series: dict[str, SeriesState] = {}
        self.lifecycle = Lifecycle(self)
        self.lifecycle.start_day()

    # ------------------------------------------------------------------ orders

    def create(self, order: Order) -> Order:
        """Accept, match and perhaps rest an order. Raises Refused."""
        self.now_ms = self.clock_ms()
        account, market = admit(self, order)
        order.exchange_index = market.exchange_index
        self.last_sequence += 1
        order.sequence = self.last_sequence
        if order.group_id:
            self.groups.join(order)
        if not account.internal:
            for listener in self.listeners:
                listener.on_accepted(order)
        if order.post_only and market.book.crosses(order.side, order.price):
            self._close(order, UpdateReason.POST_ONLY_CROSS_CANCEL)
        elif self._cannot_fill_whole(market, order):
            self._close(order, UpdateReason.NONE)
        else:
            self._match(market, account, order)
        self._touched[market.ticker] = market
        self._end()
        return order

    def cancel(self, order: Order, reason: UpdateReason = UpdateReason.NONE) -> int:
        """Take a resting order out of the book and return the count it gave up. Raises Refused, for NONE (its owner's wish) only."""
        self.now_ms = self.clock_ms()
        if reason is UpdateReason.NONE:
            admit_change(self, order, is_trade=False)
        assert order.status is Status.RESTING, f"cannot cancel what is over: {order}"
        given_up = order.remaining
        self.withdraw(order, reason)
        self._end()
        return given_up

    def amend(self, order: Order, amendment: Amendment) -> None:
        """Change price, count, client order id or expiration of a resting order; it may cross and fill. Raises Refused.

        Its place in the queue is kept for a smaller count at the same price, and when only the expiration changes (section 8.3).
        """
        self.now_ms = self.clock_ms()
        account, market = admit_change(self, order, is_trade=True)
        price, remaining, expiration_ms = admit_amendment(self, account, market, order, amendment)
        if amendment.client_order_id not in {None, "", order.client_order_id}:
            self._rename(order, amendment.client_order_id or "")
        if expiration_ms != order.expiration_ms:
            order.expiration_ms = expiration_ms
            self._timers.expire_order(order)
        order.reason = UpdateReason.AMEND
        order.initial = order.filled + remaining
        if price != order.price or remaining > order.remaining:
            self._requeue(market, account, order, price, remaining)
        elif remaining < order.remaining:
            self._shrink(market, account, order, order.remaining - remaining)
        else:
            self._changed(order)
        self._touched[market.ticker] = market
        self._end()

    def decrease(self, order: Order, *, to: int) -> None:
        """Lower the remaining count of a resting order to `to`; it keeps its place. 0 cancels, by switch. Raises Refused."""
        self.now_ms = self.clock_ms()
        account, market = admit_change(self, order, is_trade=False)
        if to < 0 or to > order.remaining or (to == 0 and self.switches.reduce_to_zero == "reject"):
            raise Refused(
                400,
                "invalid_order_size",
                "invalid order size",
                f"a decrease leads to less than what remains, {order.remaining} (1/100 contract), not to {to}",
            )
        if to == 0:
            self.withdraw(order, UpdateReason.DECREASE)
        elif to < order.remaining:
            order.reason = UpdateReason.DECREASE
            self._shrink(market, account, order, order.remaining - to)
        self._touched[market.ticker] = market
        self._end()

    def cancel_all(self, account_id: int, subaccount: int | None = None) -> None:
        """Cancel every resting order of an account, by the switches at once or late, and with a tail. Raises Refused."""
        self.now_ms = self.clock_ms()
        self.require_exchange()
        if tail_ms := self.switches.cancel_all_tail_ms:
            self._tails[account_id, subaccount] = self.now_ms + tail_ms
        if lag_ms := self.switches.cancel_all_lag_ms:
            self.at(self.now_ms + lag_ms, lambda: self._cancel_all(account_id, subaccount))
        else:
            self._cancel_all(account_id, subaccount)
        self._end()

    def queue_ahead(self, order: Order) -> int:
        """Return the count in front of a resting order at its price. Raises Refused (404) when it does not rest."""
        if order.level is None:
            raise not_found()
        return self.markets[order.ticker].book.queue_ahead(order)

    def restore(self, order: Order) -> None:
        """Put back an order that rested before a restart, at the end of its queue; in no open market it is closed."""
        self.now_ms = self.clock_ms()
        market = self.markets.get(order.ticker)
        if market is None or market.status not in {MarketStatus.ACTIVE, MarketStatus.INACTIVE}:
            self._close(order, UpdateReason.CLOSE_CANCEL)
        else:
            order.exchange_index = market.exchange_index
            self.groups.join(order)
            self._rest(market, self.ledger.accounts[order.account_id], order)
            market.book.drain_changes()

    # ------------------------------------------------------------------ groups

    def reset_group(self, group: Group) -> None:
        """Clear a group's counter and trigger. Raises Refused."""
        with self._step():
            self.groups.reset(group)

    def trigger_group(self, group: Group) -> None:
        """Cancel a group's orders and block it until it is reset. Raises Refused."""
        with self._step():
            self.groups.trigger(group)

    def limit_group(self, group: Group, limit: int) -> None:
        """Give a group another limit (1/100 contract); it may trigger at once. Raises Refused."""
        with self._step():
            self.groups.limit(group, limit)

    def delete_group(self, group: Group) -> None:
        """Cancel a group's orders and forget the group. Raises Refused."""
        with self._step():
            self.groups.delete(group)

    # ------------------------------------------------------------------ pauses, money, time

    def pause_trading(self) -> None:
        """Stop placing and amending; cancelling works. Orders with cancel_order_on_pause are cancelled."""
        with self._step():
            self._pause(trading=False, exchange=self.exchange_active)

    def resume_trading(self) -> None:
        """End a trading pause."""
        with self._step():
            self._pause(trading=True, exchange=self.exchange_active)

    def pause_exchange(self) -> None:
        """Stop everything, cancelling too. Orders with cancel_order_on_pause are cancelled."""
        with self._step():
            self._pause(trading=self.trading_active, exchange=False)

    def resume_exchange(self) -> None:
        """End a pause of the exchange."""
        with self._step():
            self._pause(trading=self.trading_active, exchange=True)

    def transfer(
        self,
        account_id: int,
        from_subaccount: int,
        to_subaccount: int,
        exchange_index_from: int,
        exchange_index_to: int,
        money: int,
    ) -> None:
        """Move cash that no order has reserved between subaccounts or shards of an account. Raises Refused."""
        with self._step():
            self.require_exchange()
            account = self.ledger.accounts[account_id]
            source: Purse = (from_subaccount, exchange_index_from)
            target: Purse = (to_subaccount, exchange_index_to)
            if money <= 0 or source == target:
                raise Refused(400, "bad_request", details="a transfer moves more than 0 to another place")
            if money > account.available(*source):
                raise Refused(400, "insufficient_balance", "insufficient balance")
            self.ledger.transfer(account, source, target, money)

    def deposit(self, account_id: int, money: int, *, subaccount: int = 0, exchange_index: int = 0) -> None:
        """Bring money in from outside."""
        with self._step():
            assert money >= 0
            account = self.ledger.accounts[account_id]
            self.ledger.deposit(account, money, subaccount=subaccount, exchange_index=exchange_index)

    def tick(self) -> int | None:
        """Do what is due by the clock: expiries, opens, closes, settlements, late cancel-alls; return the next due time (ms).

        Time goes on during every pause: what expires then, expires.
        """
        with self._step():
            while (action := self._timers.due_action(self.now_ms)) is not None:
                action()
            while (order_id := self._timers.due_order(self.now_ms)) is not None:
                if (order := self.orders.get(order_id)) is not None:
                    self.withdraw(order, UpdateReason.EXPIRY_CANCEL)
        return self._timers.next_ms()

    # ------------------------------------------------------------------ markets (see lifecycle)

    def add_market(self, market: MarketState) -> None:
        """Bring a market in; its series and event are made when they are missing."""
        with self._step():
            self.lifecycle.add(market)

    def activate(self, ticker: str) -> None:
        """Open a market; one that was paused loses its resting orders. Raises Refused."""
        with self._step():
            self.lifecycle.activate(self.market(ticker))

    def deactivate(self, ticker: str) -> None:
        """Pause a market. Raises Refused."""
        with self._step():
            self.lifecycle.deactivate(self.market(ticker))

    def move_close(self, ticker: str, close_ms: int) -> None:
        """Set another close time. Raises Refused."""
        with self._step():
            self.lifecycle.move_close(self.market(ticker), close_ms)

    def close(self, ticker: str) -> None:
        """Close a market now; its resting orders are cancelled shortly after. Raises Refused."""
        with self._step():
            self.lifecycle.close(self.market(ticker))

    def determine(self, ticker: str, result: Result, value: int | None = None) -> None:
        """Say how a closed market ended; `value` in 1/10 000 dollar is for scalar results. Raises Refused."""
        with self._step():
            self.lifecycle.determine(self.market(ticker), result, value)

    def dispute(self, ticker: str) -> None:
        """Hold the settlement of a determined market until it is determined again. Raises Refused."""
        with self._step():
            self.lifecycle.dispute(self.market(ticker))

    def settle(self, ticker: str) -> None:
        """Pay the positions of a determined market. Raises Refused."""
        with self._step():
            self.lifecycle.settle(self.market(ticker))

    def set_price_ranges(self, ticker: str, ranges: list[dict[str, str]], label: str) -> None:
        """Change the price grid of a market; what rests stays. Raises Refused and NumberError."""
        with self._step():
            self.lifecycle.set_price_ranges(self.market(ticker), ranges, label)

    def market(self, ticker: str) -> MarketState:
        """Return a market. Raises Refused (404)."""
        found = self.markets.get(ticker)
        if found is None:
            raise not_found()
        return found

    # ------------------------------------------------------------------ checks

    def recount(self) -> None:
        """Take every sum of the venue anew and compare: money, contracts, books, reservations. O(everything); for tests and on demand.

        Raises ConservationError, and AssertionError for a book that contradicts itself.
        """
        self.ledger.recount()
        self.groups.check()
        for market in self.markets.values():
            market.book.check()
        for account in self.ledger.accounts.values():
            resting = self._resting.get(account.account_id, {})
            needed = self.collateral.recount(account, resting.values())
            reserved = {purse: money for purse, money in account.reserved.items() if money}
            if needed != reserved:
                raise ConservationError(
                    f"account {account.name}: reserved {reserved}, its orders need {needed}"
                )

    # ------------------------------------------------------------------ steps

    def _pause(self, *, trading: bool, exchange: bool) -> None:
        paused = not (trading and exchange)
        self.trading_active, self.exchange_active = trading, exchange
        if paused:
            for order in list(self.orders.values()):
                if order.cancel_on_pause:
                    self.withdraw(order, UpdateReason.HALT_CANCEL)
        for listener in self.listeners:
            listener.on_exchange()

    def _cancel_all(self, account_id: int, subaccount: int | None) -> None:
        """Withdraw what may be cancelled: orders in a closed market stay until the market itself cancels them."""
        for order in self.resting(account_id, subaccount):
            if self.markets[order.ticker].is_cancelable(self.now_ms):
                self.withdraw(order, UpdateReason.NONE)

    def _requeue(
        self, market: MarketState, account: Account, order: Order, price: int, remaining: int
    ) -> None:
        """Send an amended order through the book again: it has lost its place, and may cross."""
        market.book.remove(order)
        self.collateral.back(account, order, 0)
        order.price, order.remaining = price, remaining
        if order.post_only and market.book.crosses(order.side, price):
            self._close(order, UpdateReason.POST_ONLY_CROSS_CANCEL)
        else:
            self._match(market, account, order)

    def _rename(self, order: Order, client_order_id: str) -> None:
        previous, order.client_order_id = order.client_order_id, client_order_id
        if not self.ledger.accounts[order.account_id].internal:
            for listener in self.listeners:
                listener.on_renamed(order, previous)
