"""The REST half of the wire: every call that there is (sections 3 to 12). What is not in here answers 404."""

from soloist_kalshi import messages

from soloist_exchange import (
    rest_batches,
    rest_candles,
    rest_events,
    rest_exchange,
    rest_groups,
    rest_history,
    rest_keys,
    rest_limits,
    rest_markets,
    rest_order_reads,
    rest_orders,
    rest_portfolio,
    rest_subaccounts,
)
from soloist_exchange.rest_call import DEFAULT_COST, Reply, Request, call

__all__ = ["ROUTES"]


def endpoint_costs(_: Request) -> Reply:
    """GET /account/endpoint_costs: every call that does not cost the default; a batch's cost is that of one item."""
    costs = [
        messages.EndpointCost(method=route.method, path=route.path, cost=route.listed_cost)
        for route in ROUTES
        if route.listed_cost != DEFAULT_COST
    ]
    return 200, messages.EndpointCosts(default_cost=DEFAULT_COST, endpoint_costs=costs)


ROUTES = (
    *rest_exchange.ROUTES,
    *rest_candles.ROUTES,
    *rest_markets.ROUTES,
    *rest_events.ROUTES,
    *rest_history.ROUTES,
    *rest_limits.ROUTES,
    call("GET", "/account/endpoint_costs", "GetAccountEndpointCosts", endpoint_costs),
    *rest_keys.ROUTES,
    *rest_portfolio.ROUTES,
    *rest_subaccounts.ROUTES,
    *rest_order_reads.ROUTES,
    *rest_batches.ROUTES,
    *rest_orders.ROUTES,
    *rest_groups.ROUTES,
)
