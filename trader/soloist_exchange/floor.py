"""What happens inside a step of the venue: orders meet, rest and end; money and contracts move with them; listeners are told."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from soloist_kalshi.fees import DIRECT_PRECISION, INDIRECT_PRECISION, FeeAccumulator

from soloist_exchange.collateral import Collateral
from soloist_exchange.errors import Refused
from soloist_exchange.groups import Groups
from soloist_exchange.ledger import DOLLAR, Account, Ledger
from soloist_exchange.listener import Fill, Listener
from soloist_exchange.markets import MarketState
from soloist_exchange.matching import Match
from soloist_exchange.orders import BID, Order, SelfTrade, Status, TimeInForce, UpdateReason
from soloist_exchange.switches import Switches
from soloist_exchange.timers import Timers

__all__ = ["Floor"]

_FEE_STEPS: Final = {"0.0001": 100, "0.000001": 1}
_PRECISIONS: Final = {"direct": DIRECT_PRECISION, "indirect": INDIRECT_PRECISION}


class Floor:
    """The state of a venue and the parts that its calls are made of. See `Venue` for the arguments.

    `orders` holds what rests for connected accounts, by order id. `now_ms` is the clock at the beginning of the current step. `steps`
    counts the steps that ended with both conservation laws intact.
    """

    def __init__(
        self,
        clock_ms: Callable[[], int],
        new_id: Callable[[], str],
        is_id_taken: Callable[[int, int | None, str], bool],
        switches: Switches,
    ) -> None:
        self.clock_ms = clock_ms
        self.new_id = new_id
        self.is_id_taken = is_id_taken
        self.switches = switches
        self.markets: dict[str, MarketState] = {}
        self.ledger = Ledger()
        self.collateral = Collateral()
        self.groups = Groups(self)
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

    def require_exchange(self) -> None:
        """Refuse everything while the whole exchange is paused."""
        if not self.exchange_active:
            raise Refused(409, "exchange_is_paused", "exchange is paused")

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

    def at(self, due_ms: int, action: Callable[[], None]) -> None:
        """Let a tick at or after a time call `action`, within its step."""
        self._timers.at(due_ms, action)

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
        if self._reduce_only or taker.group_id or maker.group_id:
            for order, owner in ((taker, account), (maker, maker_account)):
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

    def _shrink(self, market: MarketState, account: Account, order: Order, count: int) -> None:
        market.book.shrink(order, count)
        if not account.internal:
            self.collateral.back(account, order, order.remaining)
        self._changed(order)

    def _cap_reduce_only(self, market: MarketState, account: Account, filled: Order) -> None:
        """Keep an owner's resting reduce-only orders within the position that a fill has just changed."""
        orders = self._reduce_only.get((filled.account_id, filled.subaccount, filled.ticker))
        for order in list(orders.values()) if orders else ():
            if not order.remaining:  # it is the one that was filled, and ends by that
                continue
            closable = account.closable(order.subaccount, order.ticker, order.side)
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
