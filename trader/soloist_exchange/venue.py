"""The exchange itself: markets, accounts, orders, matching and money, without a socket and without a clock of its own.

Every call is one step: it either refuses, changing nothing, or happens completely and tells its listeners what happened. Only what
rests is kept here; what is over lives in the store.
"""

import heapq
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from soloist_kalshi.fees import FeeAccumulator, taker_fee
from soloist_kalshi.numbers import PriceGrid, notional

from soloist_exchange.collateral import Collateral
from soloist_exchange.errors import Refused
from soloist_exchange.ledger import DOLLAR, Account, Ledger
from soloist_exchange.matching import Book, LevelChange, Match
from soloist_exchange.orders import (
    BID,
    LONGEST_CLIENT_ORDER_ID,
    Order,
    SelfTrade,
    Status,
    TimeInForce,
    UpdateReason,
)

__all__ = ["Fill", "Listener", "MarketState", "Venue"]

LATEST_MS = 253_402_300_799_000  # the last second of the year 9999: what RFC 3339 can print


@dataclass(frozen=True, slots=True)
class Fill:
    """One account's side of a trade."""

    trade_id: str
    order: Order
    price: int
    count: int
    fee: int
    is_taker: bool
    time_ms: int
    position_after: int


@dataclass(slots=True)
class MarketState:
    """A market with its book and its statistics."""

    ticker: str
    event_ticker: str
    title: str
    grid: PriceGrid
    ranges: list[dict[str, str]]
    open_ms: int
    close_ms: int
    status: str = "active"
    book: Book = field(default_factory=Book)
    last_price: int = 0
    last_count: int = 0
    volume: int = 0
    dollar_volume: int = 0
    open_interest: int = 0


class Listener(Protocol):
    """Told of everything that happens, in order, before the call that caused it returns."""

    def on_accepted(self, order: Order) -> None:
        """An order of a connected account was accepted (and may have been filled by the time of the next call)."""

    def on_fill(self, fill: Fill) -> None:
        """A connected account's order was filled."""

    def on_order(self, order: Order) -> None:
        """A connected account's order changed its state."""

    def on_trade(self, market: MarketState, fill: Fill) -> None:
        """A public trade, told from the taker's side."""

    def on_book(self, market: MarketState, changes: list[LevelChange]) -> None:
        """Levels of a book changed."""


class Venue:
    """See the module. `clock_ms` is the exchange's clock; `new_id` makes order and trade ids.

    `is_id_taken(account_id, client_order_id)` says whether an earlier step used a client order id. `orders` holds what rests for
    connected accounts, by order id.
    """

    def __init__(
        self,
        clock_ms: Callable[[], int],
        new_id: Callable[[], str],
        is_id_taken: Callable[[int, str], bool],
    ) -> None:
        self.clock_ms = clock_ms
        self.new_id = new_id
        self.markets: dict[str, MarketState] = {}
        self.ledger = Ledger()
        self.orders: dict[str, Order] = {}
        self.listeners: list[Listener] = []
        self.trading_active = True
        self.last_sequence = 0
        self._is_id_taken = is_id_taken
        self._collateral = Collateral()
        self._resting: dict[int, dict[str, Order]] = {}
        self._expiries: list[tuple[int, str]] = []

    # ------------------------------------------------------------------ orders

    def create(self, order: Order) -> Order:
        """Accept, match and perhaps rest an order. Raises Refused."""
        account, market = self._admit(order)
        self.last_sequence += 1
        order.sequence = self.last_sequence
        if not account.internal:
            for listener in self.listeners:
                listener.on_accepted(order)
        if self._cannot_fill_whole(market, order):
            self._close(order, UpdateReason.NONE)
        else:
            self._match(market, order)
        self._flush(market)
        return order

    def cancel(self, order: Order, reason: UpdateReason = UpdateReason.NONE) -> int:
        """Take a resting order out of the book and return the count it gave up."""
        assert order.status is Status.RESTING
        market = self.markets[order.ticker]
        market.book.remove(order)
        reduced = order.remaining
        self._close(order, reason)
        self._flush(market)
        return reduced

    def resting(self, account_id: int, subaccount: int | None = None) -> list[Order]:
        """Return the resting orders of a connected account, oldest first."""
        return [
            order
            for order in self._resting.get(account_id, {}).values()
            if subaccount is None or order.subaccount == subaccount
        ]

    def expire(self) -> None:
        """Close what has expired by the exchange's clock."""
        now_ms = self.clock_ms()
        while self._expiries and self._expiries[0][0] <= now_ms:
            _, order_id = heapq.heappop(self._expiries)
            if (order := self.orders.get(order_id)) is not None:
                self.cancel(order, UpdateReason.EXPIRY_CANCEL)

    def restore(self, order: Order) -> None:
        """Put back an order that rested before a restart, at the end of its queue; without its market it is closed."""
        market = self.markets.get(order.ticker)
        if market is None:
            self._close(order, UpdateReason.CLOSE_CANCEL)
        else:
            self._rest(market, order)
            market.book.drain_changes()

    # ------------------------------------------------------------------ steps

    def _admit(self, order: Order) -> tuple[Account, MarketState]:
        """Check everything that can refuse an order, in the venue's order (section 3.3)."""
        account = self.ledger.accounts[order.account_id]
        market = self.markets.get(order.ticker)
        if market is None:
            raise Refused(404, "not_found", "not found")
        if not self.trading_active:
            raise Refused(409, "trading_is_paused", "trading is paused")
        if market.status != "active":
            raise Refused(400, "MARKET_INACTIVE", "market is not active")
        if len(order.client_order_id) > LONGEST_CLIENT_ORDER_ID:
            raise Refused(
                400,
                "invalid_order",
                details=f"client_order_id has more than {LONGEST_CLIENT_ORDER_ID} characters",
            )
        if order.client_order_id and self._is_id_taken(order.account_id, order.client_order_id):
            raise Refused(409, "order_already_exists", "order already exists")
        if order.initial <= 0:
            raise Refused(400, "invalid_order_size", "invalid order size")
        if not market.grid.contains(order.price):
            raise Refused(400, "invalid_price", "invalid price")
        self._admit_expiration(order)
        if order.post_only and market.book.crosses(order.side, order.price):
            raise Refused(400, "invalid_order", details="post only cross")
        if not account.internal:
            self._admit_reduce_only(account, order)
            self._admit_collateral(account, order)
        return account, market

    def _admit_expiration(self, order: Order) -> None:
        if order.expiration_ms == 0:
            return
        if order.time_in_force is not TimeInForce.GOOD_TILL_CANCELED:
            raise Refused(400, "invalid_order", details="expiration_time goes with good_till_canceled only")
        if order.expiration_ms <= self.clock_ms():
            raise Refused(400, "invalid_order", details="Expiration timestamp must be in the future")
        if order.expiration_ms > LATEST_MS:
            raise Refused(
                400, "invalid_order", details="expiration_time is in seconds, before the year 10000"
            )

    def _admit_reduce_only(self, account: Account, order: Order) -> None:
        if not order.reduce_only:
            return
        if order.time_in_force is not TimeInForce.IMMEDIATE_OR_CANCEL:
            raise Refused(400, "invalid_order", details="reduce_only goes with immediate_or_cancel only")
        closable = account.closable(order.subaccount, order.ticker, order.side)
        if closable == 0:
            raise Refused(400, "invalid_order", details="reduce only: no position to reduce")
        order.initial = order.remaining = min(order.initial, closable)

    def _admit_collateral(self, account: Account, order: Order) -> None:
        """Refuse what the cash does not cover. An order that only closes pays its fee from what the sale brings."""
        needed = self._collateral.needed_by(account, order)
        if needed > 0:
            needed += taker_fee(order.price, order.initial)
        if needed > max(0, account.available(order.subaccount)):
            raise Refused(400, "insufficient_balance", "insufficient balance")

    def _cannot_fill_whole(self, market: MarketState, order: Order) -> bool:
        """Whether a fill-or-kill order must end unfilled. One that meets its owner's order is treated as immediate-or-cancel."""
        if order.time_in_force is not TimeInForce.FILL_OR_KILL:
            return False
        found, meets_own = market.book.available(order)
        return found < order.remaining and not meets_own

    def _match(self, market: MarketState, order: Order) -> None:
        result = market.book.match(order)
        for match in result.matches:
            self._settle_match(market, order, match)
        for maker in result.cancelled_makers:
            self._close(maker, UpdateReason.SELF_TRADE_CANCEL)
        if order.remaining == 0:
            self._close(order, UpdateReason.TRADE)
        elif result.self_cross and order.self_trade is SelfTrade.TAKER_AT_CROSS:
            self._close(order, UpdateReason.SELF_TRADE_CANCEL)
        elif order.time_in_force is TimeInForce.GOOD_TILL_CANCELED:
            self._rest(market, order)
            self._changed(order)
        else:
            self._close(order, UpdateReason.NONE)

    def _settle_match(self, market: MarketState, taker: Order, match: Match) -> None:
        trade_id = self.new_id()
        now_ms = self.clock_ms()
        taken = self._book_fill(trade_id, taker, match, now_ms, is_taker=True)
        self._book_fill(trade_id, match.maker, match, now_ms, is_taker=False)
        market.last_price, market.last_count = match.price, match.count
        market.volume += match.count
        market.dollar_volume += notional(match.price, match.count)
        market.open_interest = self.ledger.open_interest.get(market.ticker, 0)
        for listener in self.listeners:
            listener.on_trade(market, taken)
        maker = match.maker
        maker.reason = UpdateReason.TRADE
        if maker.remaining == 0:
            self._close(maker, UpdateReason.TRADE)
        else:
            self._changed(maker)

    def _book_fill(self, trade_id: str, order: Order, match: Match, now_ms: int, *, is_taker: bool) -> Fill:
        account = self.ledger.accounts[order.account_id]
        cost = notional(match.price if order.side == BID else DOLLAR - match.price, match.count)
        fee = 0
        if not account.internal:  # the exchange's own participants pay no fees: their money is the scenario's
            trade_fee = taker_fee(match.price, match.count) if is_taker else 0
            accumulator = FeeAccumulator(carried=order.fee_carry)
            fee = accumulator.charge(-cost, trade_fee)
            order.fee_carry = accumulator.carried
        after = self.ledger.fill(
            account, order.subaccount, order.ticker, order.side, match.price, match.count, fee, now_ms
        )
        if is_taker:
            order.taker_cost += cost
            order.taker_fees += fee
        else:
            order.maker_cost += cost
            order.maker_fees += fee
        fill = Fill(trade_id, order, match.price, match.count, fee, is_taker, now_ms, after)
        if not account.internal:
            # The position that the owner's other orders may close has moved.
            self._collateral.refresh(account, order)
            for listener in self.listeners:
                listener.on_fill(fill)
        return fill

    def _rest(self, market: MarketState, order: Order) -> None:
        market.book.add(order)
        account = self.ledger.accounts[order.account_id]
        if account.internal:
            return
        self.orders[order.order_id] = order
        self._resting.setdefault(order.account_id, {})[order.order_id] = order
        self._collateral.rests(account, order)
        if order.expiration_ms:
            heapq.heappush(self._expiries, (order.expiration_ms, order.order_id))

    def _close(self, order: Order, reason: UpdateReason) -> None:
        order.status = Status.EXECUTED if order.remaining == 0 and order.filled else Status.CANCELED
        order.remaining = 0
        order.reason = reason
        if self.orders.pop(order.order_id, None) is not None:
            del self._resting[order.account_id][order.order_id]
            self._collateral.left(self.ledger.accounts[order.account_id], order)
        self._changed(order)

    def _changed(self, order: Order) -> None:
        order.updated_ms = self.clock_ms()
        if not self.ledger.accounts[order.account_id].internal:
            for listener in self.listeners:
                listener.on_order(order)

    def _flush(self, market: MarketState) -> None:
        if changes := market.book.drain_changes():
            for listener in self.listeners:
                listener.on_book(market, changes)
