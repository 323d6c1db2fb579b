"""Order entry V2, and the answer to the legacy one (section 8)."""

from soloist_kalshi import messages
from soloist_kalshi.numbers import (
    NumberError,
    count_from_text,
    count_to_text,
    money_to_dollars,
    notional,
    price_from_dollars,
)

from soloist_exchange.auth import require_subaccount
from soloist_exchange.errors import Refused
from soloist_exchange.ledger import DOLLAR
from soloist_exchange.orders import ASK, BID, Order, SelfTrade, TimeInForce
from soloist_exchange.rest_call import SUBACCOUNTS, Reply, Request, Route, decode, not_found

__all__ = ["ROUTES"]

COUNT_OF_ONE = 100


def create_order(request: Request) -> Reply:
    """POST /portfolio/events/orders."""
    order = _order(request, decode(request.body, messages.CreateOrder))
    exchange = request.exchange
    try:
        exchange.venue.create(order)
    except Refused as refusal:
        exchange.log(
            order.account_id,
            "rejected",
            client_order_id=order.client_order_id,
            key_id=order.key_id,
            ticker=order.ticker,
            code=refusal.code,
            details=refusal.details,
        )
        raise
    return 201, messages.CreateOrderReply(
        order_id=order.order_id,
        client_order_id=order.client_order_id,
        fill_count=count_to_text(order.filled),
        remaining_count=count_to_text(order.remaining),
        ts_ms=order.updated_ms,
        average_fill_price=_average_price(order),
        average_fee_paid=_per_contract(order.taker_fees + order.maker_fees, order.filled),
    )


def _order(request: Request, wanted: messages.CreateOrder) -> Order:
    """Return the order that a body asks for. Raises Refused for what no order can be."""
    caller, subaccount = request.sender, wanted.subaccount or 0
    if not 0 <= subaccount < SUBACCOUNTS:
        raise Refused(400, "invalid_order", details=f"subaccount must be 0 to {SUBACCOUNTS - 1}")
    require_subaccount(caller, subaccount)
    if wanted.order_group_id:
        raise Refused(404, "order_group_not_found", "order group not found")
    if (wanted.exchange_index or 0) > 0:
        raise Refused(400, "invalid_order", details=f"the market is not on shard {wanted.exchange_index}")
    if (wanted.expiration_time or 0) < 0:
        raise Refused(400, "invalid_order", details="Expiration timestamp must be in the future")
    try:
        price, count = price_from_dollars(wanted.price), count_from_text(wanted.count)
    except NumberError as error:
        raise Refused(400, "invalid_order", details=str(error)) from None
    return Order(
        order_id=request.exchange.venue.new_id(),
        account_id=caller.account_id,
        ticker=wanted.ticker,
        side=BID if wanted.side == "bid" else ASK,
        price=price,
        count=count,
        created_ms=request.exchange.clock_ms(),
        subaccount=subaccount,
        client_order_id=wanted.client_order_id or "",
        key_id=caller.key.key_id,
        time_in_force=TimeInForce(wanted.time_in_force),
        self_trade=SelfTrade(wanted.self_trade_prevention_type),
        expiration_ms=(wanted.expiration_time or 0) * 1000,
        post_only=bool(wanted.post_only),
        reduce_only=bool(wanted.reduce_only),
        cancel_on_pause=bool(wanted.cancel_order_on_pause),
    )


def _average_price(order: Order) -> str | None:
    """Return the average price on the YES book, as orders are quoted; None without a fill."""
    paid = order.taker_cost + order.maker_cost
    return _per_contract(paid if order.side == BID else notional(DOLLAR, order.filled) - paid, order.filled)


def _per_contract(money: int, count: int) -> str | None:
    return money_to_dollars(money * COUNT_OF_ONE // count) if count else None


def cancel_order(request: Request) -> Reply:
    """DELETE /portfolio/events/orders/{order_id}: cancelled, executed and unknown orders give the same 404."""
    subaccount = request.subaccount(0)
    order = request.exchange.venue.orders.get(request.match["order_id"])
    if order is None or (order.account_id, order.subaccount) != (request.sender.account_id, subaccount):
        raise not_found()
    reduced = request.exchange.venue.cancel(order)
    return 200, messages.CancelOrderReply(
        order_id=order.order_id,
        client_order_id=order.client_order_id,
        reduced_by=count_to_text(reduced),
        ts_ms=order.updated_ms,
    )


def cancel_all(request: Request) -> Reply:
    """DELETE /portfolio/events/orders: at once here; the venue may take its time."""
    for order in request.exchange.venue.resting(request.sender.account_id, request.subaccount(None)):
        request.exchange.venue.cancel(order)
    return 204, None


def legacy(_: Request) -> Reply:
    """Answer the V1 write paths, which are gone (section 8.7)."""
    raise Refused(
        410,
        "deprecated_v1_order_endpoint",
        "Please switch to the V2 endpoints",
        "https://docs.kalshi.com/api-reference/orders/create-order-v2",
    )


LEGACY = (
    ("POST", "/portfolio/orders"),
    ("DELETE", "/portfolio/orders/{order_id}"),
    ("POST", "/portfolio/orders/{order_id}/amend"),
    ("POST", "/portfolio/orders/{order_id}/decrease"),
    ("POST", "/portfolio/orders/batched"),
)
ROUTES = (
    Route("POST", "/portfolio/events/orders", create_order, scope="write::trade", write=True),
    Route("DELETE", "/portfolio/events/orders", cancel_all, scope="write::trade", write=True),
    Route("DELETE", "/portfolio/events/orders/{order_id}", cancel_order, scope="write::trade", write=True),
    *(Route(method, path, legacy, scope="write::trade", write=True) for method, path in LEGACY),
)
