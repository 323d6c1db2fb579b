from __future__ import annotations

from contextlib import closing

import pytest
from soloist_exchange import rest
from soloist_exchange.router import Router

from tests.unit.soloist_exchange.rest_world import RestWorld

# Every call of sections 3 to 12 of the contract, by section, and the paths of the legacy one.
CONTRACT = {
    "3.5": ["GET /exchange/user_data_timestamp"],
    "4": [
        "GET /account/limits",
        "GET /account/endpoint_costs",
        "POST /account/api_usage_level/upgrade",
    ],
    "6": [
        "GET /exchange/status",
        "GET /exchange/schedule",
        "GET /markets",
        "GET /markets/{ticker}",
        "GET /markets/{ticker}/orderbook",
        "GET /markets/orderbooks",
        "GET /markets/trades",
        "GET /markets/candlesticks",
        "GET /series/{series_ticker}/markets/{ticker}/candlesticks",
        "GET /events",
        "GET /events/{event_ticker}",
        "GET /events/fee_changes",
        "GET /series",
        "GET /series/{series_ticker}",
        "GET /series/fee_changes",
        "GET /historical/cutoff",
        "GET /historical/markets",
        "GET /historical/markets/{ticker}",
        "GET /historical/markets/{ticker}/candlesticks",
        "GET /historical/trades",
        "GET /historical/fills",
        "GET /historical/orders",
        "GET /historical/positions",
    ],
    "7": [
        "GET /portfolio/balance",
        "GET /portfolio/positions",
        "GET /portfolio/fills",
        "GET /portfolio/settlements",
        "GET /portfolio/orders",
        "GET /portfolio/orders/{order_id}",
        "GET /portfolio/orders/queue_positions",
        "GET /portfolio/orders/{order_id}/queue_position",
        "GET /portfolio/summary/total_resting_order_value",
    ],
    "8": [
        "POST /portfolio/events/orders",
        "DELETE /portfolio/events/orders",
        "DELETE /portfolio/events/orders/{order_id}",
        "POST /portfolio/events/orders/{order_id}/amend",
        "POST /portfolio/events/orders/{order_id}/decrease",
        "POST /portfolio/events/orders/batched",
        "DELETE /portfolio/events/orders/batched",
    ],
    "8.7": [
        "POST /portfolio/orders",
        "DELETE /portfolio/orders/{order_id}",
        "POST /portfolio/orders/{order_id}/amend",
        "POST /portfolio/orders/{order_id}/decrease",
        "POST /portfolio/orders/batched",
        "DELETE /portfolio/orders/batched",
    ],
    "9": [
        "GET /portfolio/order_groups",
        "POST /portfolio/order_groups/create",
        "GET /portfolio/order_groups/{order_group_id}",
        "PUT /portfolio/order_groups/{order_group_id}/reset",
        "PUT /portfolio/order_groups/{order_group_id}/trigger",
        "PUT /portfolio/order_groups/{order_group_id}/limit",
        "DELETE /portfolio/order_groups/{order_group_id}",
    ],
    "10": [
        "GET /api_keys",
        "POST /api_keys",
        "POST /api_keys/generate",
        "DELETE /api_keys/{api_key}",
    ],
    "11": [
        "POST /portfolio/subaccounts",
        "POST /portfolio/subaccounts/transfer",
        "GET /portfolio/subaccounts/transfers",
        "GET /portfolio/subaccounts/balances",
        "GET /portfolio/subaccounts/netting",
        "PUT /portfolio/subaccounts/netting",
        "POST /portfolio/intra_exchange_instance_transfer",
        "GET /portfolio/intra_exchange_instance_transfers",
        "GET /portfolio/intra_exchange_instance_transfers/{transfer_id}",
    ],
}
PUBLIC = ("/exchange/", "/markets", "/events", "/series", "/historical/")
PRIVATE_HISTORY = {"/historical/fills", "/historical/orders", "/historical/positions"}


@pytest.fixture
def world(tmp_path):
    with closing(RestWorld(tmp_path)) as world:
        yield world


def test_every_call_of_the_contract_has_one_route_and_every_route_is_in_the_contract():
    contract = sorted(call for calls in CONTRACT.values() for call in calls)
    assert sorted(f"{route.method} {route.path}" for route in rest.ROUTES) == contract


def test_a_fixed_path_wins_over_a_parameter_that_would_match_it():
    router = Router((route.method, route.path, route.path) for route in rest.ROUTES)
    for route in rest.ROUTES:
        if "{" not in route.path:
            found = router.find(route.method, route.path)
            assert found is not None
            assert found[0] == route.path


def test_market_data_is_public_and_everything_else_needs_a_scope():
    for route in rest.ROUTES:
        is_public = route.path.startswith(PUBLIC) and route.path not in PRIVATE_HISTORY
        assert (route.scope is None) == is_public, route.path
        if route.scope is not None:
            wanted = "read" if route.method == "GET" else "write"
            assert route.scope.partition("::")[0] == wanted, route.path


def test_only_order_writes_draw_from_the_write_bucket():
    drawn = {route.path for route in rest.ROUTES if route.write}
    assert drawn == {
        route.path
        for route in rest.ROUTES
        if route.method != "GET"
        and route.path.startswith(
            ("/portfolio/events/orders", "/portfolio/orders", "/portfolio/order_groups")
        )
    }


def test_order_books_need_a_signature_by_switch_only(world):
    books = [route for route in rest.ROUTES if "orderbook" in route.path]
    assert len(books) == 2
    assert {route.scope_of(world.exchange) for route in books} == {None}
    world.switch(orderbook_auth="required")
    assert {route.scope_of(world.exchange) for route in books} == {"read"}
    (markets,) = (route for route in rest.ROUTES if route.path == "/markets")
    assert markets.scope_of(world.exchange) is None


def test_calls_that_are_out_of_scope_are_not_there(world):
    for path in (
        "/communications/rfqs",
        "/multivariate_event_collections",
        "/fcm/orders",
        "/exchange/announcements",
        "/milestones",
    ):
        assert world.refused("GET", path).status == 404


def test_the_listed_costs_are_those_that_differ_from_the_default(world):
    body = world.get("/account/endpoint_costs")
    assert body["default_cost"] == 10
    costs = {(item["method"], item["path"]): item["cost"] for item in body["endpoint_costs"]}
    orders = "/portfolio/events/orders"
    assert costs == {
        ("GET", "/portfolio/orders/{order_id}"): 2,
        ("DELETE", orders): 2,
        ("DELETE", orders + "/{order_id}"): 2,
        ("DELETE", orders + "/batched"): 2,
        ("POST", "/account/api_usage_level/upgrade"): 30,
        ("POST", "/portfolio/orders"): 100,
        ("POST", "/portfolio/orders/{order_id}/amend"): 100,
        ("POST", "/portfolio/orders/{order_id}/decrease"): 100,
        ("POST", "/portfolio/orders/batched"): 100,
        ("DELETE", "/portfolio/orders/{order_id}"): 20,
        ("DELETE", "/portfolio/orders/batched"): 20,
    }
