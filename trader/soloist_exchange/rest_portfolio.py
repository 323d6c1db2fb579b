"""Reads of an account: limits, balance, positions, orders, fills (sections 4 and 7)."""

from soloist_kalshi import messages
from soloist_kalshi.limits import BASIC_LIMITS, CostTable
from soloist_kalshi.numbers import notional

from soloist_exchange import wire
from soloist_exchange.ledger import DOLLAR
from soloist_exchange.orders import ASK, BID, Order, Status
from soloist_exchange.rest_call import Reply, Request, Route, not_found, page
from soloist_exchange.store import Range

__all__ = ["ROUTES"]

COSTS = CostTable.documented()
STATUSES = frozenset(item.value for item in Status)


def account_limits(_: Request) -> Reply:
    """GET /account/limits."""
    return 200, BASIC_LIMITS


def endpoint_costs(_: Request) -> Reply:
    """GET /account/endpoint_costs."""
    costs = [
        messages.EndpointCost(method=method, path=path, cost=cost)
        for (method, path), cost in COSTS.costs.items()
    ]
    return 200, messages.EndpointCosts(default_cost=COSTS.default_cost, endpoint_costs=costs)


def get_balance(request: Request) -> Reply:
    """GET /portfolio/balance; positions are worth what the best bid for them pays."""
    subaccount = request.subaccount(0) or 0
    account = request.exchange.account(request.sender.account_id)
    worth = 0
    for (owner, ticker), held in account.positions.items():
        state = request.exchange.venue.markets.get(ticker)
        if owner == subaccount and held.count and state is not None:
            best = state.book.best(BID if held.count > 0 else ASK)
            if best is not None:
                worth += notional(best if held.count > 0 else DOLLAR - best, abs(held.count))
    return 200, wire.balance(account, subaccount, worth, request.exchange.clock_ms())


def list_positions(request: Request) -> Reply:
    """GET /portfolio/positions, by ticker. The cursor is an offset: positions never go, only to zero."""
    subaccount, ticker = request.subaccount(0), request.query.get("ticker", "")
    account = request.exchange.account(request.sender.account_id)
    found = [
        (name, held)
        for (owner, name), held in sorted(account.positions.items(), key=lambda item: item[0])
        if owner == subaccount and ticker in {"", name}
    ]
    start = request.cursor() or 0
    end = start + request.limit()
    rows = [wire.position(name, held) for name, held in found[start:end]]
    return page("market_positions", rows, end if end < len(found) else None, event_positions=[])


def list_orders(request: Request) -> Reply:
    """GET /portfolio/orders, newest first.

    The cursor is the sequence number of the page's oldest order: no order is lost or told twice while others come and go.
    """
    wanted = request.range(status=request.choice("status", STATUSES))
    account_id = request.sender.account_id
    if wanted.status == Status.RESTING.value:
        found = _resting(request.exchange.venue.resting(account_id, wanted.subaccount), wanted)
    else:
        found = request.exchange.store.orders(account_id, wanted)
    kept = found[: wanted.limit - 1]
    return page("orders", [wire.order(order) for order in kept], kept[-1].sequence if kept != found else None)


def _resting(orders: list[Order], wanted: Range) -> list[Order]:
    """Filter what rests, from memory: however long the history is, this list is short."""
    found = [
        order
        for order in orders
        if wanted.ticker in {"", order.ticker}
        and (wanted.before is None or order.sequence < wanted.before)
        and (wanted.from_ms is None or order.created_ms >= wanted.from_ms)
        and (wanted.to_ms is None or order.created_ms <= wanted.to_ms)
    ]
    return sorted(found, key=lambda order: -order.sequence)[: wanted.limit]


def get_order(request: Request) -> Reply:
    """GET /portfolio/orders/{order_id}; what is not the caller's does not exist for it."""
    order = request.exchange.store.order(request.match["order_id"])
    restricted = request.sender.key.subaccount
    if (
        order is None
        or order.account_id != request.sender.account_id
        or restricted not in {None, order.subaccount}
    ):
        raise not_found()
    return 200, messages.OrderReply(order=wire.order(order))


def list_fills(request: Request) -> Reply:
    """GET /portfolio/fills, newest first; the cursor as in `list_orders`."""
    wanted = request.range()
    found = request.exchange.store.fills(request.sender.account_id, wanted)
    kept = found[: wanted.limit - 1]
    return page("fills", [wire.rest_fill(fill) for fill in kept], kept[-1].number if kept != found else None)


def list_settlements(request: Request) -> Reply:
    """GET /portfolio/settlements: no market of the built-in scenarios settles."""
    request.subaccount(None)
    return page("settlements", [], None)


ROUTES = (
    Route("GET", "/account/limits", account_limits),
    Route("GET", "/account/endpoint_costs", endpoint_costs),
    Route("GET", "/portfolio/balance", get_balance, scope="read::portfolio_balance"),
    Route("GET", "/portfolio/positions", list_positions),
    Route("GET", "/portfolio/orders", list_orders),
    Route("GET", "/portfolio/orders/{order_id}", get_order),
    Route("GET", "/portfolio/fills", list_fills),
    Route("GET", "/portfolio/settlements", list_settlements),
)
