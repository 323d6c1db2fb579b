"""Whatever a caller sends, the answer is a reply or a refusal of the contract, never a bug; money and contracts stay whole."""

from __future__ import annotations

import random
from contextlib import closing

import pytest
from soloist_exchange import rest
from soloist_exchange.errors import Refused

from tests.unit.soloist_exchange.rest_world import ORDERS, START_MS, RestWorld

ROUNDS = 25
WORDS = [
    "", "0", "1", "-1", "2", "63", "64", "100", "1001", "9" * 400, "1e9", "0.5", "٣", "x", "true", "false", "null", "M1",
    "M1,M2", "EV-A", "SER", "open", "resting", "position", "exclude", "60", str(START_MS // 1000), "\x00", "' OR 1=1", "é",
]  # fmt: skip
QUERY = [
    "limit", "cursor", "ticker", "tickers", "market_ticker", "market_tickers", "event_ticker", "series_ticker", "status", "min_ts",
    "max_ts", "start_ts", "end_ts", "period_interval", "include_latest_before_start", "depth", "subaccount", "exchange_index",
    "count_filter", "min_created_ts", "max_close_ts", "min_updated_ts", "mve_filter", "with_nested_markets", "category", "tags",
    "order_id", "is_block_trade", "include_volume",
]  # fmt: skip
VALUES = [
    None, True, 0, 1, -1, 64, 10**18, 10**30, 0.5, "", "x", "M1", "M3", "NONE", "bid", "ask", "0.40", "0.4050", "1", "1.00", "-1.00",
    "1.005", "999999999999.99", "good_till_canceled", "immediate_or_cancel", "fill_or_kill", "taker_at_cross", "maker", "read",
    "event_contract", "ed25519", [], ["read"], ["write"], {}, [{}], [None],
]  # fmt: skip
FIELDS = [
    "ticker", "side", "count", "price", "time_in_force", "self_trade_prevention_type", "client_order_id", "expiration_time",
    "post_only", "reduce_only", "cancel_order_on_pause", "subaccount", "order_group_id", "exchange_index", "reduce_by", "reduce_to",
    "market_ticker", "updated_client_order_id", "orders", "contracts_limit", "contracts_limit_fp", "name", "key_type", "scopes",
    "public_key", "client_transfer_id", "from_subaccount", "to_subaccount", "amount_cents", "source", "destination", "amount",
    "source_exchange_shard", "destination_exchange_shard", "subaccount_number", "enabled",
]  # fmt: skip


@pytest.fixture
def world(tmp_path):
    with closing(RestWorld(tmp_path)) as world:
        world.me = world.caller("busy", tier="premier", subaccounts=2)
        yield world


@pytest.mark.parametrize("route", rest.ROUTES, ids=lambda route: f"{route.method} {route.path}")
def test_anything_is_answered(world, route):
    dice = random.Random(f"{route.method} {route.path}")
    for _ in range(ROUNDS):
        made = world.order(price=dice.choice(["0.10", "0.20"]), count="3.00")
        _, group = world.call("POST", "/portfolio/order_groups/create", {"contracts_limit": 5})
        names = ["M1", "EV-A", "SER", "none", "%00", made["order_id"], group["order_group_id"]]
        path = "/".join(
            dice.choice(names) if part.startswith("{") else part for part in route.path.split("/")
        )
        query = {name: dice.choice(WORDS) for name in dice.sample(QUERY, dice.randint(0, 4))}
        body = _body(dice, world)
        try:
            status, _ = world.call(route.method, path, body, pays=dice.random() < 0.5, **query)
        except Refused as refusal:
            status = refusal.status
        assert status in {200, 201, 204} or 400 <= status < 500
        world.wait(200)
        world.venue.ledger.recount()


def _body(dice, world):
    """Return an order with some wrong fields, a mixture of fields of all calls, or no JSON at all."""
    kind = dice.random()
    if kind < 0.1:
        return dice.choice([None, b"", b"{", b"[]", b"\xff\xfe", b"null", b'{"orders":[', b"0" * 1000])
    mixed = {name: dice.choice(VALUES) for name in dice.sample(FIELDS, dice.randint(0, 6))}
    if kind < 0.5:
        return mixed
    order = world.body() | dict(list(mixed.items())[:2])
    return order if kind < 0.8 else {"orders": [order, mixed, order][: dice.randint(1, 3)]}


def test_the_mixture_reaches_orders(world):
    """Guard of the test above: what it sends is not refused altogether."""
    dice = random.Random(1)
    accepted = 0
    for _ in range(200):
        try:
            accepted += world.call("POST", ORDERS, _body(dice, world))[0] == 201
        except Refused:
            continue
    assert accepted > 20
