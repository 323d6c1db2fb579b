"""The REST half of the wire: every call that there is (sections 3-8 and 10)."""

from soloist_exchange import rest_keys, rest_markets, rest_orders, rest_portfolio

__all__ = ["ROUTES"]

ROUTES = (*rest_markets.ROUTES, *rest_portfolio.ROUTES, *rest_orders.ROUTES, *rest_keys.ROUTES)
