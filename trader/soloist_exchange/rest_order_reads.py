"""Reads of an account's orders and of their places in the queue (section 7)."""

from dataclasses import replace

from soloist_kalshi import messages
from soloist_kalshi.numbers import count_to_text

from soloist_exchange import rest_query as query
from soloist_exchange import wire
from soloist_exchange.orders import Order, Status
from soloist_exchange.rest_call import Reply, Request, call, not_found, page
from soloist_exchange.rest_portfolio import portfolio_range
from soloist_exchange.rest_windows import collect, cutoff_ms, order_is_history

__all__ = ["ROUTES"]

STATUSES = frozenset(item.value for item in Status)
GET_ORDER_COST = 2
MOST_TICKERS = 1000


def list_orders(request: Request) -> Reply:
    """GET /portfolio/orders, newest first; what ended before the cutoff is history."""
    status = query.choice(request, "status", STATUSES)
    return _order_page(request, status, is_history=False)


def historical_orders(request: Request) -> Reply:
    """GET /historical/orders, newest first."""
    return _order_page(request, "", is_history=True)


def _order_page(request: Request, status: str, *, is_history: bool) -> Reply:
    exchange, account_id = request.exchange, request.sender.account_id
    cutoff = cutoff_ms(exchange)
    wanted = portfolio_range(request, from_ms=query.from_ms(request, "min_ts"), status=status)
    if is_history:  # what ended before the cutoff was created before it
        wanted = replace(wanted, to_ms=cutoff if wanted.to_ms is None else min(cutoff, wanted.to_ms))
    rows, cursor = collect(
        lambda asked: exchange.orders_view(account_id, asked),
        wanted,
        lambda order: order.sequence,
        lambda order: order_is_history(order, cutoff) is is_history,
    )
    return page(request, "orders", [wire.order(order) for order in rows], cursor)


def get_order(request: Request) -> Reply:
    """GET /portfolio/orders/{order_id}; what is not the caller's does not exist for it, and neither does what is history."""
    order = request.exchange.order_view(request.sender.account_id, request.match["order_id"])
    if order is None or not _is_visible(request, order) or _is_history(request, order):
        raise not_found()
    return 200, messages.OrderReply(order=wire.order(order))


def _is_visible(request: Request, order: Order) -> bool:
    return request.sender.key.subaccount in {None, order.subaccount}


def _is_history(request: Request, order: Order) -> bool:
    return order_is_history(order, cutoff_ms(request.exchange))


def list_queue_positions(request: Request) -> Reply:
    """GET /portfolio/orders/queue_positions of the resting orders: all, those in some markets, or an event's."""
    tickers = set(query.texts(request, "market_tickers", most=MOST_TICKERS))
    event = query.text(request, "event_ticker")
    venue = request.exchange.venue
    found = [
        messages.QueuePosition(
            order_id=order.order_id,
            market_ticker=order.ticker,
            queue_position_fp=count_to_text(venue.queue_ahead(order)),
        )
        for order in venue.resting(request.sender.account_id, query.subaccount(request, 0))
        if (not tickers or order.ticker in tickers)
        and event in {"", venue.markets[order.ticker].event_ticker}
    ]
    return 200, messages.QueuePositionList(queue_positions=found)


def get_queue_position(request: Request) -> Reply:
    """GET /portfolio/orders/{order_id}/queue_position: the count in front, 0 = next."""
    order = request.exchange.venue.orders.get(request.match["order_id"])
    if order is None or order.account_id != request.sender.account_id or not _is_visible(request, order):
        raise not_found()
    return 200, messages.QueuePositionReply(
        queue_position_fp=count_to_text(request.exchange.venue.queue_ahead(order))
    )


ROUTES = (
    call("GET", "/portfolio/orders", "GetOrders", list_orders),
    call("GET", "/portfolio/orders/queue_positions", "GetOrderQueuePositions", list_queue_positions),
    call("GET", "/portfolio/orders/{order_id}", "GetOrder", get_order, cost=GET_ORDER_COST),
    call("GET", "/portfolio/orders/{order_id}/queue_position", "GetOrderQueuePosition", get_queue_position),
    call("GET", "/historical/orders", "GetHistoricalOrders", historical_orders),
)
