"""What the venue refuses, in the order in which it looks (section 3.3). Nothing here changes anything."""

from typing import TYPE_CHECKING, Final

from soloist_exchange.errors import Refused
from soloist_exchange.ledger import Account
from soloist_exchange.markets import MarketState, MarketStatus
from soloist_exchange.orders import LONGEST_CLIENT_ORDER_ID, Amendment, Order, Status, TimeInForce

if TYPE_CHECKING:
    from soloist_exchange.floor import Floor

__all__ = ["OPEN_ORDERS_PER_ACCOUNT", "admit", "admit_amendment", "admit_change", "not_found"]

OPEN_ORDERS_PER_ACCOUNT: Final = 200_000
LATEST_MS: Final = 253_402_300_799_000  # the last second of the year 9999: what RFC 3339 can print


def not_found() -> Refused:
    """Return the 404 that cancelled, executed and unknown orders share."""
    return Refused(404, "not_found", "not found")


def admit(venue: "Floor", order: Order) -> tuple[Account, MarketState]:
    """Return account and market of an order that may be accepted; a reduce-only order is capped by its position. Raises Refused."""
    account = venue.ledger.accounts[order.account_id]
    market = venue.markets.get(order.ticker)
    if market is None:
        raise not_found()
    _require_trading(venue, market)
    if order.client_order_id:
        _require_free_id(venue, order, order.client_order_id)
    if order.initial <= 0:
        raise Refused(400, "invalid_order_size", "invalid order size")
    if not market.grid.contains(order.price):
        raise Refused(400, "invalid_price", "invalid price")
    if order.expiration_ms:
        _require_expiration(venue, order, order.expiration_ms)
    if order.group_id:
        venue.groups.admit(order, market.exchange_index)
    if order.post_only:
        _require_passive(venue, market, order, order.price)
    if account.internal:
        return account, market
    capped = _capped_count(venue, account, order)
    if order.time_in_force is TimeInForce.FILL_OR_KILL and venue.switches.fill_or_kill == "reject":
        _require_volume(market, order, capped)
    if venue.resting_count(account.account_id) >= OPEN_ORDERS_PER_ACCOUNT:
        raise Refused(400, "invalid_order", details=f"more than {OPEN_ORDERS_PER_ACCOUNT} open orders")
    _require_collateral(venue, account, market, order, order.price, capped)
    order.initial = order.remaining = capped
    return account, market


def admit_change(venue: "Floor", order: Order, *, is_trade: bool) -> tuple[Account, MarketState]:
    """Return account and market of an order that its owner may cancel or decrease, or (`is_trade`) amend. Raises Refused."""
    venue.require_exchange()
    market = venue.markets[order.ticker]
    if is_trade:
        _require_trading(venue, market)
    elif not market.is_cancelable(venue.now_ms):
        raise _inactive(venue)
    if order.status is not Status.RESTING:
        raise not_found()
    return venue.ledger.accounts[order.account_id], market


def admit_amendment(
    venue: "Floor", account: Account, market: MarketState, order: Order, wanted: Amendment
) -> tuple[int, int, int]:
    """Return the (price, remaining, expiration_ms) that an amend leads to. Raises Refused."""
    if wanted.ticker not in {None, order.ticker}:
        raise Refused(400, "order_ticker_mismatch", "order ticker mismatch")
    if wanted.side not in {None, order.side}:
        raise Refused(400, "order_side_mismatch", "order side mismatch")
    if wanted.expected_client_order_id not in {None, order.client_order_id}:
        raise Refused(400, "order_id_and_client_order_id_mismatch", "order id and client order id mismatch")
    if wanted.client_order_id not in {None, "", order.client_order_id}:
        _require_free_id(venue, order, wanted.client_order_id or "")
    price = order.price if wanted.price is None else wanted.price
    remaining = order.remaining if wanted.count is None else wanted.count - order.filled
    if remaining <= 0:
        raise Refused(
            400,
            "invalid_order_size",
            "invalid order size",
            "INVALID_AMEND_QTY_FOR_ORDER: count is filled plus resting, and must be more than what is filled",
        )
    # A price that left the grid under a resting order may stay (section 5).
    if price != order.price and not market.grid.contains(price):
        raise Refused(400, "invalid_price", "invalid price")
    expiration_ms = order.expiration_ms if wanted.expiration_ms is None else wanted.expiration_ms
    if wanted.expiration_ms:
        _require_expiration(venue, order, expiration_ms)
    if order.post_only and price != order.price:
        _require_passive(venue, market, order, price)
    if not account.internal and (price, remaining) != (order.price, order.remaining):
        if order.reduce_only:
            remaining = min(remaining, max(1, account.closable(order.subaccount, order.ticker, order.side)))
        _require_collateral(venue, account, market, order, price, remaining)
    return price, remaining, expiration_ms


def _require_trading(venue: "Floor", market: MarketState) -> None:
    venue.require_exchange()
    if not venue.trading_active:
        raise Refused(409, "trading_is_paused", "trading is paused")
    if market.status != MarketStatus.ACTIVE or market.close_ms <= venue.now_ms:
        raise _inactive(venue)


def _inactive(venue: "Floor") -> Refused:
    return Refused(venue.switches.market_inactive_status, "MARKET_INACTIVE", "market is not active")


def _require_free_id(venue: "Floor", order: Order, client_order_id: str) -> None:
    if len(client_order_id) > LONGEST_CLIENT_ORDER_ID:
        raise Refused(
            400,
            "invalid_order",
            details=f"client_order_id has more than {LONGEST_CLIENT_ORDER_ID} characters",
        )
    scope = order.subaccount if venue.switches.client_order_id_scope == "subaccount" else None
    if venue.is_id_taken(order.account_id, scope, client_order_id):
        raise Refused(409, "order_already_exists", "order already exists")


def _require_expiration(venue: "Floor", order: Order, expiration_ms: int) -> None:
    if order.time_in_force is not TimeInForce.GOOD_TILL_CANCELED:
        raise Refused(400, "invalid_order", details="expiration_time goes with good_till_canceled only")
    if expiration_ms <= venue.clock_ms():
        raise Refused(400, "invalid_order", details="Expiration timestamp must be in the future")
    if expiration_ms > LATEST_MS:
        raise Refused(400, "invalid_order", details="expiration_time is in seconds, before the year 10000")


def _require_passive(venue: "Floor", market: MarketState, order: Order, price: int) -> None:
    if venue.switches.post_only_cross == "reject" and market.book.crosses(order.side, price):
        raise Refused(400, "invalid_order", details="post only cross")


def _capped_count(venue: "Floor", account: Account, order: Order) -> int:
    if not order.reduce_only:
        return order.initial
    rests = order.time_in_force is not TimeInForce.IMMEDIATE_OR_CANCEL
    if rests and venue.switches.reduce_only == "immediate_or_cancel":
        raise Refused(400, "invalid_order", details="reduce_only goes with immediate_or_cancel only")
    closable = account.closable(order.subaccount, order.ticker, order.side)
    if closable == 0:
        raise Refused(400, "invalid_order", details="reduce only: no position to reduce")
    return min(order.initial, closable)


def _require_volume(market: MarketState, order: Order, count: int) -> None:
    """Refuse a fill-or-kill order that the book cannot fill. One that meets its owner's order is immediate-or-cancel (section 8.1)."""
    found, meets_own = market.book.available(order)
    if found < count and not meets_own:
        raise Refused(400, "fok_insufficient_volume", "insufficient volume", "FOK_INSUFFICIENT_VOLUME")


def _require_collateral(
    venue: "Floor", account: Account, market: MarketState, order: Order, price: int, count: int
) -> None:
    """Refuse what the cash does not cover. An order that only closes pays its fee from what the sale brings."""
    needed = venue.collateral.needed_by(account, order, price, count)
    if needed > 0:
        needed += venue.trade_fee(market, price, count, is_taker=True)
    if needed > max(0, account.available(order.subaccount, market.exchange_index)):
        raise Refused(400, "insufficient_balance", "insufficient balance")
