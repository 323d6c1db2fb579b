"""The exchange itself: markets, accounts, orders, matching and money, without a socket and without a clock of its own.

Every call is one step: it either raises Refused, changing nothing, or happens completely and tells its listeners what happened; at its
end money and contracts are checked. Only what rests is kept here; what is over lives in the store.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from soloist_kalshi.fees import DIRECT_PRECISION, INDIRECT_PRECISION, FeeAccumulator

from soloist_exchange.admission import admit, admit_amendment, admit_change, not_found
from soloist_exchange.collateral import Collateral
from soloist_exchange.errors import ConservationError, Refused
from soloist_exchange.groups import Group, Groups
from soloist_exchange.ledger import DOLLAR, Account, Ledger, Purse
from soloist_exchange.lifecycle import Lifecycle
from soloist_exchange.listener import Fill, Listener, Settlement
from soloist_exchange.markets import EventState, FeeTerms, MarketState, MarketStatus, Result, SeriesState
from soloist_exchange.matching import Match
from soloist_exchange.orders import BID, Amendment, Order, SelfTrade, Status, TimeInForce, UpdateReason
from soloist_exchange.switches import Switches
from soloist_exchange.timers import Timers

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

_FEE_STEPS: Final = {"0.0001": 100, "0.000001": 1}
_PRECISIONS: Final = {"direct": DIRECT_PRECISION, "indirect": INDIRECT_PRECISION}


class Venue:
    """See the module. `clock_ms` is the exchange's clock; `new_id` makes trade and group ids.

    `is_id_taken(account_id, subaccount, client_order_id)` says whether an earlier order, also one of a step that is not durable yet,
    used a client order id; subaccount None asks about the whole account. `orders` holds what rests for connected accounts, by order id.
    `now_ms` is the clock at the beginning of the current step. `steps` counts the steps that ended with both conservation laws intact.
    """

    def __init__(
        self,
        clock_ms: Callable[[], int],
        new_id: Callable[[], str],
        is_id_taken: Callable[[int, int | None, str], bool],
        switches: Switches | None = None,
    ) -> None:
        self.clock_ms = clock_ms
        self.new_id = new_id
        self.is_id_taken = is_id_taken
        self.switches = switches or Switches()
        self.markets: dict[str, MarketState] = {}
        self.events: dict[str, EventState] = {}
        self.series: dict[str, SeriesState] = {}
        self.ledger = Ledger()
        self.collateral = Collateral()
        self.groups = Groups(self)
        self.lifecycle = Lifecycle(self)
        self.orders: dict[str, Order] = {}
        self.listeners: list[Listener] = []
        self.trading_active = True
        self.exchange_active = True
        self.last_sequence = 0
        self.steps = 0
        self.now_ms = clock_ms()
        self._resting: dict[int, dict[str, Order]] = {}
        self._reduce_only: dict[tuple[int, int, str], dict[str, Order]] = {}
        self._tails: dict[tuple[int, int | None], int] = {}
        self._touched: dict[str, MarketState] = {}
        self._timers = Timers()
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

    def resting(self, account_id: int, subaccount: int | None = None) -> list[Order]:
        """Return the resting orders of a connected account, oldest first."""
        return [
            order
            for order in self._resting.get(account_id, {}).values()
            if subaccount is None or order.subaccount == subaccount
        ]

    def resting_count(self, account_id: int) -> int:
        """Return how many orders of a connected account rest."""
        return len(self._resting.get(account_id, ()))

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

    def require_exchange(self) -> None:
        """Refuse everything while the whole exchange is paused."""
        if not self.exchange_active:
            raise Refused(409, "exchange_is_paused", "exchange is paused")

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
        """Do what is due by the clock: expiries, opens, closes, settlements, late cancel-alls; return the next due time (ms)."""
        with self._step():
            while (action := self._timers.due_action(self.now_ms)) is not None:
                action()
            while (order_id := self._timers.due_order(self.now_ms)) is not None:
                if (order := self.orders.get(order_id)) is not None:
                    self.withdraw(order, UpdateReason.EXPIRY_CANCEL)
        return self._timers.next_ms()

    def expire(self) -> None:
        """Tick, under its older name."""
        self.tick()

    def at(self, due_ms: int, action: Callable[[], None]) -> None:
        """Let a tick at or after a time call `action`, within its step."""
        self._timers.at(due_ms, action)

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

    @contextmanager
    def _step(self) -> Iterator[None]:
        """Run a call whose every refusal comes before its first change."""
        self.now_ms = self.clock_ms()
        yield
        self._end()

    def _end(self) -> None:
        """Tell the books' changes, and stop rather than go on with money or contracts made or lost."""
        for market in self._touched.values():
            if changes := market.book.drain_changes():
                for listener in self.listeners:
                    listener.on_book(market, changes)
        self._touched.clear()
        self.ledger.check()
        self.steps += 1

    def withdraw(self, order: Order, reason: UpdateReason) -> None:
        """Take an order out within the step that is under way, whatever its market's state."""
        market = self.markets[order.ticker]
        if order.level is not None:
            market.book.remove(order)
        self._close(order, reason)
        self._touched[market.ticker] = market

    def _cannot_fill_whole(self, market: MarketState, order: Order) -> bool:
        """Whether a fill-or-kill order must end unfilled. One that meets its owner's order is treated as immediate-or-cancel."""
        if order.time_in_force is not TimeInForce.FILL_OR_KILL:
            return False
        found, meets_own = market.book.available(order)
        return found < order.remaining and not meets_own

    def _match(self, market: MarketState, account: Account, order: Order) -> None:
        for match in market.book.match(order):
            if not match.count:
                if order.self_trade is SelfTrade.TAKER_AT_CROSS:
                    self._close(order, UpdateReason.SELF_TRADE_CANCEL)
                    return
                self.withdraw(match.maker, UpdateReason.SELF_TRADE_CANCEL)
                continue
            self._settle_match(market, account, order, match)
            if order.status is not Status.RESTING:  # its group was triggered by this fill
                return
        if order.remaining == 0:
            self._close(order, UpdateReason.TRADE)
        elif order.time_in_force is TimeInForce.GOOD_TILL_CANCELED:
            self._rest(market, account, order)
            self._changed(order)
        else:
            self._close(order, UpdateReason.NONE)

    def _settle_match(self, market: MarketState, account: Account, taker: Order, match: Match) -> None:
        trade_id = self.new_id()
        maker, price, count = match
        maker_account = self.ledger.accounts[maker.account_id]
        taken = self._book_fill(trade_id, market, account, taker, price, count, is_taker=True)
        self._book_fill(trade_id, market, maker_account, maker, price, count, is_taker=False)
        market.last_price, market.last_count = price, count
        market.volume += count
        market.dollar_volume += price * count
        market.open_interest = self.ledger.open_interest.get(market.ticker, 0)
        for listener in self.listeners:
            listener.on_trade(market, taken)
        if maker.remaining == 0:
            self._close(maker, UpdateReason.TRADE)
        else:
            maker.reason = UpdateReason.TRADE
            self._changed(maker)
        taker.reason = UpdateReason.TRADE
        for order, owner in ((taker, account), (maker, maker_account)):
            if self._reduce_only:
                self._cap_reduce_only(market, owner, order)
            if order.group_id:
                self.groups.matched(order, count, self.now_ms)

    def _book_fill(
        self,
        trade_id: str,
        market: MarketState,
        account: Account,
        order: Order,
        price: int,
        count: int,
        *,
        is_taker: bool,
    ) -> Fill:
        cost = (price if order.side == BID else DOLLAR - price) * count
        # The exchange's own participants pay no fees: their money is the scenario's.
        fee = 0 if account.internal else self._charge(market, order, price, count, cost, is_taker=is_taker)
        after = self.ledger.fill(
            account, order.subaccount, order.ticker, order.side, price, count, fee, self.now_ms
        )
        if is_taker:
            order.taker_cost += cost
            order.taker_fees += fee
        else:
            order.maker_cost += cost
            order.maker_fees += fee
        fill = Fill(trade_id, order, price, count, fee, is_taker, self.now_ms, after)
        if not account.internal:
            # The position that the owner's other orders may close has moved.
            if is_taker:
                self.collateral.refresh(account, order)
            else:
                self.collateral.back(account, order, order.remaining)
            for listener in self.listeners:
                listener.on_fill(fill)
        return fill

    def trade_fee(self, market: MarketState, price: int, count: int, *, is_taker: bool) -> int:
        """Return the trade fee of a fill in a market now, before the rounding of the balance (money)."""
        if self.now_ms < market.fee_waiver_until_ms:
            return 0
        return market.fee.trade_fee(price, count, _FEE_STEPS[self.switches.fee_step], is_taker=is_taker)

    def _charge(
        self, market: MarketState, order: Order, price: int, count: int, cost: int, *, is_taker: bool
    ) -> int:
        trade_fee = self.trade_fee(market, price, count, is_taker=is_taker)
        accumulator = FeeAccumulator(_PRECISIONS[self.switches.fee_precision], order.fee_carry)
        fee = accumulator.charge(-cost, trade_fee)
        order.fee_carry = accumulator.carried
        return fee

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

    def _shrink(self, market: MarketState, account: Account, order: Order, count: int) -> None:
        market.book.shrink(order, count)
        if not account.internal:
            self.collateral.back(account, order, order.remaining)
        self._changed(order)

    def _cap_reduce_only(self, market: MarketState, account: Account, filled: Order) -> None:
        """Keep an owner's resting reduce-only orders within the position that a fill has just changed."""
        orders = self._reduce_only.get((filled.account_id, filled.subaccount, filled.ticker))
        for order in list(orders.values()) if orders else ():
            closable = account.closable(order.subaccount, order.ticker, order.side)
            if closable == 0 or order.level is None:
                if closable == 0:
                    self.withdraw(order, UpdateReason.REDUCE_ONLY_CANCEL)
            elif closable < order.remaining:
                order.reason = UpdateReason.DECREASE
                self._shrink(market, account, order, order.remaining - closable)

    def _rest(self, market: MarketState, account: Account, order: Order) -> None:
        market.book.add(order)
        if account.internal:
            return
        if order.order_id not in self.orders:
            self.orders[order.order_id] = order
            self._resting.setdefault(order.account_id, {})[order.order_id] = order
            if order.reduce_only:
                place = (order.account_id, order.subaccount, order.ticker)
                self._reduce_only.setdefault(place, {})[order.order_id] = order
            if order.expiration_ms:
                self._timers.expire_order(order)
            if self._tails:
                self._cancel_in_tail(order)
        self.collateral.back(account, order, order.remaining)

    def _close(self, order: Order, reason: UpdateReason) -> None:
        order.status = Status.EXECUTED if order.remaining == 0 and order.filled else Status.CANCELED
        order.remaining = 0
        order.reason = reason
        if order.group_id:
            self.groups.leave(order)
        if self.orders.pop(order.order_id, None) is not None:
            account_id = order.account_id
            resting = self._resting[account_id]
            del resting[order.order_id]
            if not resting:
                del self._resting[account_id]
            if order.reduce_only:
                place = (account_id, order.subaccount, order.ticker)
                del self._reduce_only[place][order.order_id]
                if not self._reduce_only[place]:
                    del self._reduce_only[place]
            if order.expiration_ms:
                self._timers.forget_order(order)
            self.collateral.back(self.ledger.accounts[account_id], order, 0)
        elif order.filled == 0 and order.time_in_force is not TimeInForce.GOOD_TILL_CANCELED:
            order.releases_id = not self.switches.zero_fill_ioc_uses_id
        self._changed(order)

    def _changed(self, order: Order) -> None:
        order.updated_ms = self.now_ms
        if not self.ledger.accounts[order.account_id].internal:
            for listener in self.listeners:
                listener.on_order(order)

    def _rename(self, order: Order, client_order_id: str) -> None:
        previous, order.client_order_id = order.client_order_id, client_order_id
        if not self.ledger.accounts[order.account_id].internal:
            for listener in self.listeners:
                listener.on_renamed(order, previous)

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
        tradable = {MarketStatus.ACTIVE, MarketStatus.INACTIVE}
        for order in self.resting(account_id, subaccount):
            if self.markets[order.ticker].status in tradable:
                self.withdraw(order, UpdateReason.NONE)

    def _cancel_in_tail(self, order: Order) -> None:
        """Let the next tick cancel an order that came to rest in the tail of a cancel-all (section 8.6)."""
        for place in ((order.account_id, None), (order.account_id, order.subaccount)):
            until_ms = self._tails.get(place)
            if until_ms is None:
                continue
            if until_ms <= self.now_ms:
                del self._tails[place]
            else:
                self.at(self.now_ms, lambda: self._cancel_late(order))
                return

    def _cancel_late(self, order: Order) -> None:
        if order.status is Status.RESTING:
            self.withdraw(order, UpdateReason.NONE)
