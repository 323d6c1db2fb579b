from __future__ import annotations

from contextlib import closing

import pytest

from tests.unit.soloist_exchange.rest_world import ORDERS, RestWorld


@pytest.fixture
def world(tmp_path):
    with closing(RestWorld(tmp_path)) as world:
        yield world


def write_tokens(world, shard=0):
    return world.exchange.buckets(world.me.account_id, shard).write.tokens


@pytest.mark.parametrize(
    ("tier", "read", "write"),
    [
        ("basic", (200, 400), (100, 100)),
        ("advanced", (300, 600), (300, 600)),
        ("premier", (1200, 1200), (1200, 2400)),
    ],
)
def test_limits_are_those_of_the_tier_with_the_grant_that_gave_it(world, tier, read, write):
    body = world.get("/account/limits", caller=world.caller("other", tier=tier))
    assert body == {
        "usage_tier": tier,
        "read": {"refill_rate": read[0], "bucket_capacity": read[1]},
        "write": {"refill_rate": write[0], "bucket_capacity": write[1]},
        "grants": []
        if tier == "basic"
        else [{"exchange_instance": "event_contract", "level": tier, "source": "manual"}],
    }


def test_an_upgrade_needs_an_order_through_the_api_and_leads_to_advanced(world):
    path = "/account/api_usage_level/upgrade"
    assert world.refused("POST", path).status == 403
    world.order()
    assert world.call("POST", path) == (201, None)
    assert world.get("/account/limits")["usage_tier"] == "advanced"
    rich = world.caller("rich", tier="prime")
    world.order(caller=rich)
    assert world.call("POST", path, caller=rich) == (201, None)
    assert world.get("/account/limits", caller=rich)["usage_tier"] == "prime"


def test_a_restricted_key_cannot_upgrade_its_account(world):
    bound = world.key(world.me, subaccount=0)
    assert world.refused("POST", "/account/api_usage_level/upgrade", caller=bound).status == 403


def test_a_create_costs_ten_a_cancel_two_and_the_bucket_refills(world):
    made = [world.call("POST", ORDERS, world.body(), pays=True)[1] for _ in range(9)]
    for order in made[:5]:
        world.call("DELETE", f"{ORDERS}/{order['order_id']}", pays=True)
    refusal = world.refused("DELETE", f"{ORDERS}/{made[5]['order_id']}", pays=True)
    assert (refusal.status, refusal.code, refusal.shape) == (429, "too many requests", "text")
    world.wait(20)  # 100 tokens a second
    assert world.call("DELETE", f"{ORDERS}/{made[5]['order_id']}", pays=True)[0] == 200


def test_reading_one_order_costs_two_and_reads_leave_the_write_bucket_alone(world):
    made = world.order()
    before = world.exchange.buckets(world.me.account_id).read.tokens
    world.get(f"/portfolio/orders/{made['order_id']}", pays=True)
    world.get("/portfolio/orders", pays=True)
    assert before - world.exchange.buckets(world.me.account_id).read.tokens == 12
    assert write_tokens(world) == 100


@pytest.mark.parametrize(("cost", "left"), [("2", 98), ("batch", 0)])
def test_a_cancel_all_costs_two_or_as_much_as_the_largest_batch(world, cost, left):
    world.switch(cancel_all_cost=cost)
    world.call("DELETE", ORDERS, pays=True)
    assert write_tokens(world) == left


def test_a_write_that_names_a_shard_above_zero_is_paid_by_that_shards_own_bucket(world):
    world.exchange.transfer(world.me.account_id, "t", 0, 0, 100_000_000, exchange_index_to=2)
    body = world.body(ticker="M3", exchange_index=2)
    _, made = world.call("POST", ORDERS, body, pays=True)
    path = f"{ORDERS}/{made['order_id']}"
    amended = {"ticker": "M3", "side": "bid", "price": "0.40", "count": "2.00", "exchange_index": 2}
    world.call("POST", f"{path}/amend", amended, pays=True)
    world.call("POST", f"{path}/decrease", {"reduce_to": "1.00", "exchange_index": 2}, pays=True)
    world.call("DELETE", path, exchange_index=2, pays=True)
    assert (write_tokens(world), write_tokens(world, 2)) == (100, 68)
    while write_tokens(world, 2) >= 10:
        world.call("POST", ORDERS, world.body(ticker="M3", exchange_index=2), pays=True)
    assert world.refused("POST", ORDERS, world.body(ticker="M3", exchange_index=2), pays=True).status == 429
    world.call("POST", ORDERS, world.body(ticker="M3"), pays=True)  # routed by ticker: unscoped
    assert write_tokens(world) == 90


@pytest.mark.parametrize("index", [None, -1])
def test_a_write_that_is_routed_by_ticker_bills_every_shard_by_switch(world, index):
    fields = {} if index is None else {"exchange_index": index}
    world.call("POST", ORDERS, world.body(**fields), pays=True)
    assert (write_tokens(world), write_tokens(world, 2)) == (90, 100)
    world.switch(auto_routed_bills_all_shards=True)
    _, made = world.call("POST", ORDERS, world.body(**fields), pays=True)
    assert (write_tokens(world), write_tokens(world, 2)) == (80, 90)
    world.call("DELETE", f"{ORDERS}/{made['order_id']}", market_ticker="M1", pays=True)
    assert (write_tokens(world), write_tokens(world, 2)) == (78, 88)
    world.call("POST", ORDERS, world.body(exchange_index=0), pays=True)
    assert (write_tokens(world), write_tokens(world, 2)) == (68, 88)
    world.exchange.buckets(world.me.account_id, 2).write.drain()
    assert world.refused("POST", ORDERS, world.body(**fields), pays=True).status == 429
    assert write_tokens(world) == 68


def test_a_write_that_cannot_be_read_is_paid_by_the_unscoped_bucket_and_then_refused(world):
    assert world.refused("POST", ORDERS, b'{"exchange_index": "x"}', pays=True).status == 400
    assert world.refused("DELETE", f"{ORDERS}/x", exchange_index="x", pays=True).status == 400
    assert write_tokens(world) == 88
