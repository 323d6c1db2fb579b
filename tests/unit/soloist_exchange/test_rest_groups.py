from __future__ import annotations

from contextlib import closing

import pytest

from tests.unit.soloist_exchange.rest_world import ORDERS, RestWorld

GROUPS = "/portfolio/order_groups"


@pytest.fixture
def world(tmp_path):
    with closing(RestWorld(tmp_path)) as world:
        yield world


def made(world, caller=None, **fields):
    status, reply = world.call("POST", f"{GROUPS}/create", {"contracts_limit": 2} | fields, caller=caller)
    assert status == 201
    return reply["order_group_id"]


def test_without_groups_the_list_is_an_empty_object(world):
    assert world.get(GROUPS) == {}


def test_a_group_is_created_shown_and_listed(world):
    status, reply = world.call("POST", f"{GROUPS}/create", {"contracts_limit_fp": "2.50"})
    assert status == 201
    assert reply == {"order_group_id": reply["order_group_id"], "subaccount": 0, "exchange_index": 0}
    order = world.order(order_group_id=reply["order_group_id"])
    shown = {
        "is_auto_cancel_enabled": True,
        "contracts_limit_fp": "2.50",
        "exchange_index": 0,
    }
    assert world.get(f"{GROUPS}/{reply['order_group_id']}") == shown | {"orders": [order["order_id"]]}
    assert world.get(GROUPS) == {"order_groups": [shown | {"id": reply["order_group_id"]}]}
    told = world.get(f"/portfolio/orders/{order['order_id']}")["order"]
    assert told["order_group_id"] == reply["order_group_id"]


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"contracts_limit": 0},
        {"contracts_limit": -1},
        {"contracts_limit": 1_000_001},
        {"contracts_limit": "2"},
        {"contracts_limit_fp": 2},
        {"contracts_limit_fp": "two"},
        {"contracts_limit_fp": "0.50"},
        {"contracts_limit": 2, "contracts_limit_fp": "3.00"},
        {"contracts_limit": 2, "exchange_index": -1},
    ],
)
def test_a_limit_is_one_to_a_million_contracts_said_once_or_twice_the_same(world, body):
    assert world.refused("POST", f"{GROUPS}/create", body).status == 400
    group = made(world, contracts_limit=2, contracts_limit_fp="2.00")
    if "exchange_index" not in body:
        assert world.refused("PUT", f"{GROUPS}/{group}/limit", body).status == 400
    assert world.get(f"{GROUPS}/{group}")["contracts_limit_fp"] == "2.00"


def test_a_fill_that_reaches_the_limit_triggers_the_group_until_it_is_reset(world):
    group = made(world)
    world.order(order_group_id=group, price="0.40", count="2.00")
    left = world.order(order_group_id=group, price="0.39")
    world.order(caller=world.caller("other"), side="ask", price="0.40", count="2.00")
    assert world.get(f"/portfolio/orders/{left['order_id']}")["order"]["status"] == "canceled"
    assert world.get(f"{GROUPS}/{group}")["orders"] == []
    refusal = world.refused("POST", ORDERS, world.body(order_group_id=group))
    assert (refusal.status, refusal.code) == (400, "exceeded_order_group_risk_limit")
    assert refusal.details == "EXCEEDED_ORDER_GROUP_RISK_LIMIT"
    assert world.call("PUT", f"{GROUPS}/{group}/reset", b"{}") == (200, {})
    world.order(order_group_id=group)


def test_trigger_limit_and_delete_answer_with_an_empty_object_and_cancel(world):
    group = made(world)
    order = world.order(order_group_id=group)
    assert world.call("PUT", f"{GROUPS}/{group}/trigger") == (200, {})
    assert world.get(f"/portfolio/orders/{order['order_id']}")["order"]["status"] == "canceled"
    assert world.get(f"{GROUPS}/{group}")["is_auto_cancel_enabled"] is True
    world.switch(group_auto_cancel_when_triggered=False)
    assert world.get(f"{GROUPS}/{group}")["is_auto_cancel_enabled"] is False
    assert world.get(GROUPS)["order_groups"][0]["is_auto_cancel_enabled"] is False
    assert world.call("PUT", f"{GROUPS}/{group}/limit", {"contracts_limit": 7}) == (200, {})
    assert world.get(f"{GROUPS}/{group}")["contracts_limit_fp"] == "7.00"
    assert world.call("DELETE", f"{GROUPS}/{group}") == (200, {})
    assert world.refused("GET", f"{GROUPS}/{group}").status == 404
    assert world.get(GROUPS) == {}


def test_unknown_and_foreign_groups_are_404_for_every_call(world):
    foreign = made(world, caller=world.caller("other"))
    for group in ("none", foreign):
        for method, path, body in (
            ("GET", f"{GROUPS}/{group}", None),
            ("PUT", f"{GROUPS}/{group}/reset", None),
            ("PUT", f"{GROUPS}/{group}/trigger", None),
            ("PUT", f"{GROUPS}/{group}/limit", {"contracts_limit": 1}),
            ("DELETE", f"{GROUPS}/{group}", None),
        ):
            refusal = world.refused(method, path, body)
            assert (refusal.status, refusal.details) == (404, "ORDER_GROUP_NOT_FOUND")


def test_reads_mean_all_subaccounts_and_writes_the_primary_one_unless_one_is_named(world):
    owner = world.caller("owner", subaccounts=1)
    group = made(world, caller=owner, subaccount=1)
    assert len(world.get(GROUPS, caller=owner)["order_groups"]) == 1
    assert world.get(GROUPS, caller=owner, subaccount=0) == {}
    world.get(f"{GROUPS}/{group}", caller=owner)
    assert world.refused("GET", f"{GROUPS}/{group}", caller=owner, subaccount=0).status == 404
    assert world.refused("PUT", f"{GROUPS}/{group}/reset", caller=owner).status == 404
    assert world.call("PUT", f"{GROUPS}/{group}/reset", caller=owner, subaccount=1) == (200, {})
    refusal = world.refused("POST", ORDERS, world.body(order_group_id=group), caller=owner)
    assert refusal.status == 404


def test_a_group_is_bound_to_its_shard(world):
    group = made(world, exchange_index=2)
    assert world.refused("PUT", f"{GROUPS}/{group}/trigger").status == 404
    assert world.call("PUT", f"{GROUPS}/{group}/trigger", exchange_index=2) == (200, {})
    assert world.refused("POST", ORDERS, world.body(order_group_id=group)).status == 404


def test_a_restricted_key_manages_the_groups_of_its_subaccount(world):
    owner = world.caller("owner", subaccounts=1)
    bound = world.key(owner, subaccount=1)
    group = made(world, caller=bound)
    assert world.call("PUT", f"{GROUPS}/{group}/trigger", caller=bound) == (200, {})
    assert (
        world.refused(
            "POST", f"{GROUPS}/create", {"contracts_limit": 1, "subaccount": 0}, caller=bound
        ).status
        == 403
    )
    assert world.refused("GET", GROUPS, caller=bound, subaccount=0).status == 403
