"""Order entry V2: create, cancel, amend, decrease and cancel-all, and the answer to the legacy paths (section 8)."""

from contextlib import AbstractContextManager
from functools import lru_cache

import msgspec
from soloist_kalshi import messages
from soloist_kalshi.limits import CANCEL_COST
from soloist_kalshi.numbers import (
    NumberError,
    count_from_text,
    count_to_text,
    price_from_dollars,
)

from soloist_exchange import rest_query as query
from soloist_exchange.errors import Refused
from soloist_exchange.ledger import DOLLAR
from soloist_exchange.orders import ASK, BID, Amendment, Order, SelfTrade, TimeInForce
from soloist_exchange.rest_call import (
    DEFAULT_COST,
    SUBACCOUNTS,
    Reply,
    Request,
    bad_request,
    call,
    decode,
    not_found,
    number,
)
from soloist_exchange.rest_limits import write_cost
from soloist_exchange.wire import dollars

__all__ = ["ROUTES", "NewOrder", "cancelled", "created", "own_order", "place", "subaccount_of"]

ORDERS = "/portfolio/events/orders"
COUNT_OF_ONE = 100
NUMBERS_KEPT = 4096
LEGACY_COST, LEGACY_CANCEL_COST = 100, 20
_TIMES_IN_FORCE = {item.value: item for item in TimeInForce}
_SELF_TRADES = {item.value: item for item in SelfTrade}
# A day's prices and counts are few: their texts are read and written once.
_price = lru_cache(NUMBERS_KEPT)(price_from_dollars)
_count = lru_cache(NUMBERS_KEPT)(count_from_text)
_count_text = lru_cache(NUMBERS_KEPT)(count_to_text)


class NewOrder(messages.CreateOrder, frozen=True, kw_only=True):
    """As the client writes it, but any text passes as a number: a bad one is another refusal than a JSON number (section 3.3)."""

    count: str
    price: str


class _Amend(messages.AmendOrder, frozen=True, kw_only=True):
    count: str
    price: str


class _Decrease(messages.DecreaseOrder, frozen=True, kw_only=True):
    reduce_by: str | None = None
    reduce_to: str | None = None


class _Shard(msgspec.Struct):
    """The one field of a body that says which bucket pays."""

    exchange_index: int | None = None


# ---------------------------------------------------------------------- create


def create_order(request: Request) -> Reply:
    """POST /portfolio/events/orders."""
    wanted = decode(request.body, NewOrder)
    return 201, created(place(request, wanted, subaccount_of(request, wanted.subaccount)))


def place(request: Request, wanted: NewOrder, subaccount: int) -> Order:
    """Send an order to the venue, and leave a trace of one that is refused. Raises Refused."""
    exchange = request.exchange
    try:
        return exchange.venue.create(_order(request, wanted, subaccount))
    except Refused as refusal:
        exchange.log(
            request.sender.account_id,
            "rejected",
            client_order_id=wanted.client_order_id or "",
            key_id=request.sender.key.key_id,
            ticker=wanted.ticker,
            code=refusal.code,
            details=refusal.details,
        )
        raise


def _order(request: Request, wanted: NewOrder, subaccount: int) -> Order:
    """Return the order that a body asks for. Raises Refused for what no order can be."""
    caller, venue = request.sender, request.exchange.venue
    if wanted.exchange_index is not None and wanted.exchange_index >= 0:
        market = venue.markets.get(wanted.ticker)
        if market is None or market.exchange_index != wanted.exchange_index:
            raise not_found()
    expiration_s = wanted.expiration_time or 0
    if expiration_s < 0:
        raise Refused(400, "invalid_order", details="Expiration timestamp must be in the future")
    return Order(
        order_id=venue.new_id(),
        account_id=caller.account_id,
        ticker=wanted.ticker,
        side=BID if wanted.side == "bid" else ASK,
        price=_read_price(wanted.price),
        count=_read_count(wanted.count),
        created_ms=request.exchange.clock_ms(),
        subaccount=subaccount,
        client_order_id=wanted.client_order_id or "",
        key_id=caller.key.key_id,
        time_in_force=_TIMES_IN_FORCE[wanted.time_in_force],
        self_trade=_SELF_TRADES[wanted.self_trade_prevention_type],
        expiration_ms=expiration_s * 1000,
        post_only=bool(wanted.post_only),
        reduce_only=bool(wanted.reduce_only),
        cancel_on_pause=bool(wanted.cancel_order_on_pause),
        group_id=wanted.order_group_id or "",
    )


def created(order: Order) -> messages.CreateOrderReply:
    """Return the reply to an accepted order; it carries no status."""
    filled = order.filled
    paid = order.taker_cost + order.maker_cost
    return messages.CreateOrderReply(
        order_id=order.order_id,
        client_order_id=order.client_order_id,
        fill_count=_count_text(filled),
        remaining_count=_count_text(order.remaining),
        ts_ms=order.updated_ms,
        average_fill_price=_average_price(order.side, paid, filled) if filled else None,
        average_fee_paid=_per_contract(order.taker_fees + order.maker_fees, filled) if filled else None,
    )


def _average_price(side: int, paid: int, count: int) -> str:
    """Return the average price on the YES book, as orders are quoted; `paid` is for the outcome that was bought."""
    return _per_contract(paid if side == BID else DOLLAR * count - paid, count)


def _per_contract(money: int, count: int) -> str:
    return dollars(money * COUNT_OF_ONE // count)


def _read_price(text: str) -> int:
    try:
        return _price(text)
    except NumberError as error:
        raise Refused(
            400, "invalid_order", details=f"invalid price: invalid dollar precision: {error}"
        ) from None


def _read_count(text: str) -> int:
    try:
        return _count(text)
    except NumberError as error:
        raise Refused(400, "invalid_order", details=f"invalid count: {error}") from None


# ---------------------------------------------------------------------- cancel


def cancel_order(request: Request) -> Reply:
    """DELETE /portfolio/events/orders/{order_id}: cancelled, executed and unknown orders give the same 404."""
    subaccount = query.subaccount(request, 0)
    index, ticker = query.exchange_index(request, least=-1), query.text(request, "market_ticker")
    order = own_order(request, request.match["order_id"], subaccount or 0, index, ticker)
    return 200, cancelled(request, order)


def cancelled(request: Request, order: Order) -> messages.CancelOrderReply:
    """Cancel an order and return the reply. Raises Refused."""
    venue = request.exchange.venue
    with _asked(request, "cancel", order):
        reduced = venue.cancel(order)
    return messages.CancelOrderReply(
        order_id=order.order_id,
        client_order_id=order.client_order_id if venue.switches.cancel_reply_client_order_id else None,
        reduced_by=_count_text(reduced),
        ts_ms=order.updated_ms,
    )


def own_order(
    request: Request, order_id: str, subaccount: int, exchange_index: int | None, market_ticker: str | None
) -> Order:
    """Return a resting order of the caller's on the shard that the request reaches. Raises the one 404 for every other.

    A request goes to the shard it names, else to the one of the market it names, else to shard 0 (section 8.2), or by switch to
    wherever the order is.
    """
    venue = request.exchange.venue
    venue.require_exchange()
    order = venue.orders.get(order_id)
    if order is None or (order.account_id, order.subaccount) != (request.sender.account_id, subaccount):
        raise not_found()
    if exchange_index is not None and exchange_index >= 0:
        reached = exchange_index
    elif market_ticker:
        market = venue.markets.get(market_ticker)
        reached = -1 if market is None else market.exchange_index
    else:
        reached = order.exchange_index if venue.switches.wrong_shard_cancel == "route" else 0
    if reached != order.exchange_index:
        raise not_found()
    return order


def subaccount_of(request: Request, named: int | None) -> int:
    """Return the subaccount of an order's body; the primary one, or the key's own, when none is named. Raises Refused."""
    if named is not None and not 0 <= named < SUBACCOUNTS:
        raise Refused(400, "invalid_order", details=f"subaccount must be 0 to {SUBACCOUNTS - 1}")
    return query.permitted(request, named, 0) or 0


def cancel_all(request: Request) -> Reply:
    """DELETE /portfolio/events/orders: every shard; at once or late, by the switches."""
    sender, subaccount = request.sender, query.subaccount(request, None)
    with request.exchange.asked(sender.account_id, sender.key.key_id, "cancel_all", subaccount=subaccount):
        request.exchange.venue.cancel_all(sender.account_id, subaccount)
    return 204, None


def _asked(request: Request, action: str, order: Order) -> AbstractContextManager[None]:
    """Log what a request did to an order: the oracle of tests knows of every one that reached the venue."""
    sender = request.sender
    return request.exchange.asked(
        sender.account_id,
        sender.key.key_id,
        action,
        order_id=order.order_id,
        client_order_id=order.client_order_id,
    )


# ---------------------------------------------------------------------- amend and decrease


def amend_order(request: Request) -> Reply:
    """POST /portfolio/events/orders/{order_id}/amend. What did not change or fill is not in the reply."""
    wanted = decode(request.body, _Amend)
    subaccount = query.subaccount(request, 0)
    order = own_order(
        request, request.match["order_id"], subaccount or 0, wanted.exchange_index, wanted.ticker
    )
    expiration_s = wanted.expiration_time
    if expiration_s is not None and expiration_s < 0:
        raise Refused(400, "invalid_order", details="Expiration timestamp must be in the future")
    amendment = Amendment(
        price=_read_price(wanted.price),
        count=_read_count(wanted.count),
        client_order_id=wanted.updated_client_order_id,
        expiration_ms=None if expiration_s is None else expiration_s * 1000,
        side=BID if wanted.side == "bid" else ASK,
        ticker=wanted.ticker,
        expected_client_order_id=wanted.client_order_id or None,
    )
    filled, remaining = order.filled, order.remaining
    paid, fees = order.taker_cost + order.maker_cost, order.taker_fees + order.maker_fees
    with _asked(request, "amend", order):
        request.exchange.venue.amend(order, amendment)
    newly = order.filled - filled
    has_changed = newly > 0 or order.remaining != remaining
    cost = order.taker_cost + order.maker_cost - paid
    return 200, messages.AmendOrderReply(
        order_id=order.order_id,
        client_order_id=order.client_order_id,
        remaining_count=_count_text(order.remaining) if has_changed else None,
        fill_count=_count_text(newly) if has_changed else None,
        average_fill_price=_average_price(order.side, cost, newly) if newly else None,
        average_fee_paid=_per_contract(order.taker_fees + order.maker_fees - fees, newly) if newly else None,
        ts_ms=order.updated_ms,
    )


def decrease_order(request: Request) -> Reply:
    """POST /portfolio/events/orders/{order_id}/decrease, by one of two numbers."""
    wanted = decode(request.body, _Decrease)
    by, to = wanted.reduce_by, wanted.reduce_to
    if (by is None) == (to is None):
        raise bad_request("exactly one of reduce_by and reduce_to must be there")
    subaccount = query.subaccount(request, 0)
    order = own_order(
        request, request.match["order_id"], subaccount or 0, wanted.exchange_index, wanted.market_ticker
    )
    if by is not None:
        count = _read_count(by)
        if count <= 0:
            raise Refused(400, "invalid_order_size", "invalid order size")
        target = max(0, order.remaining - count)
    else:
        target = _read_count(to or "")
    with _asked(request, "decrease", order):
        request.exchange.venue.decrease(order, to=target)
    return 200, messages.DecreaseOrderReply(
        order_id=order.order_id,
        client_order_id=order.client_order_id,
        remaining_count=_count_text(order.remaining),
        ts_ms=order.updated_ms,
    )


# ---------------------------------------------------------------------- legacy


def legacy(request: Request) -> Reply:
    """Answer the V1 write paths, which are gone (section 8.7); one client saw the same body as a success (switch `v1_status`)."""
    gone = Refused(
        410,
        "deprecated_v1_order_endpoint",
        "Please switch to the V2 endpoints",
        "https://docs.kalshi.com/api-reference/orders/create-order-v2",
    )
    status = request.exchange.venue.switches.v1_status
    if status == gone.status:
        raise gone
    return status, {"error": {"code": gone.code, "message": gone.message, "details": gone.details}}


# ---------------------------------------------------------------------- who pays


def _shard_of_body(request: Request) -> int | None:
    """Return the shard that an order's body names; None = found by its ticker. What is not JSON is refused later."""
    if b'"exchange_index"' not in request.body:
        return None
    try:
        index = _shard_decoder.decode(request.body).exchange_index
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    return None if index is None or index < 0 else index


_shard_decoder = msgspec.json.Decoder(_Shard)


def _shard_of_query(request: Request) -> int | None:
    """Return the shard that a cancel names; without one and without a ticker it goes to shard 0."""
    index = number(query.text(request, "exchange_index"))
    if index is not None:
        return index
    return None if query.text(request, "market_ticker") else 0


def _cancel_all_cost(request: Request) -> int:
    """Return 2, or by switch what the largest batch takes: everything that the Write bucket can hold."""
    if request.exchange.venue.switches.cancel_all_cost == "2":
        return CANCEL_COST
    return request.exchange.buckets(request.sender.account_id).write.capacity


LEGACY = (
    ("POST", "/portfolio/orders", LEGACY_COST),
    ("DELETE", "/portfolio/orders/{order_id}", LEGACY_CANCEL_COST),
    ("POST", "/portfolio/orders/{order_id}/amend", LEGACY_COST),
    ("POST", "/portfolio/orders/{order_id}/decrease", LEGACY_COST),
    ("POST", "/portfolio/orders/batched", LEGACY_COST),
    ("DELETE", "/portfolio/orders/batched", LEGACY_CANCEL_COST),
)
ROUTES = (
    call(
        "POST",
        ORDERS,
        "CreateOrderV2",
        create_order,
        scope="write::trade",
        write=True,
        cost=write_cost(DEFAULT_COST, _shard_of_body),
        listed_cost=DEFAULT_COST,
    ),
    call(
        "DELETE",
        ORDERS,
        "CancelAllOrdersV2",
        cancel_all,
        scope="write::trade",
        write=True,
        cost=_cancel_all_cost,
        listed_cost=CANCEL_COST,
    ),
    call(
        "DELETE",
        ORDERS + "/{order_id}",
        "CancelOrderV2",
        cancel_order,
        scope="write::trade",
        write=True,
        cost=write_cost(CANCEL_COST, _shard_of_query),
        listed_cost=CANCEL_COST,
    ),
    *(
        call(
            "POST",
            f"{ORDERS}/{{order_id}}/{verb}",
            operation,
            handle,
            scope="write::trade",
            write=True,
            cost=write_cost(DEFAULT_COST, _shard_of_body),
            listed_cost=DEFAULT_COST,
        )
        for verb, operation, handle in (
            ("amend", "AmendOrderV2", amend_order),
            ("decrease", "DecreaseOrderV2", decrease_order),
        )
    ),
    *(
        call(method, path, "LegacyOrders", legacy, scope="write::trade", write=True, cost=cost)
        for method, path, cost in LEGACY
    ),
)
