from __future__ import annotations

from contextlib import closing

import pytest

from tests.unit.soloist_exchange.rest_world import ORDERS, START_MS, RestWorld

BATCH = f"{ORDERS}/batched"


@pytest.fixture
def world(tmp_path):
    with closing(RestWorld(tmp_path)) as world:
        yield world


def test_a_batch_answers_every_item_in_order_and_stays_201(world):
    items = [
        world.body(client_order_id="a"),
        world.body(client_order_id="b", price="0.4050"),
        world.body(client_order_id="a"),
        world.body(client_order_id="d", ticker="NONE"),
        world.body(client_order_id="e", subaccount=64),
        world.body(client_order_id="f", count="2.00"),
    ]
    status, reply = world.call("POST", BATCH, {"orders": items})
    assert status == 201
    rows = reply["orders"]
    assert [row["client_order_id"] for row in rows] == ["a", "b", "a", "d", "e", "f"]
    codes = [row.get("error", {}).get("code") for row in rows]
    assert codes == [
        None,
        "invalid_price",
        "order_already_exists",
        "not_found",
        "invalid_order",
        None,
    ]
    assert rows[5] == {
        "order_id": rows[5]["order_id"],
        "client_order_id": "f",
        "fill_count": "0.00",
        "remaining_count": "2.00",
        "ts_ms": START_MS,
    }
    assert all("order_id" not in row for row in rows if "error" in row)
    assert rows[4]["error"]["message"] == "invalid order"


def test_a_batch_item_that_fills_has_averages(world):
    world.order(caller=world.caller("other"), side="ask", price="0.40")
    _, reply = world.call("POST", BATCH, {"orders": [world.body()]})
    (row,) = reply["orders"]
    assert (row["fill_count"], row["average_fill_price"]) == ("1.00", "0.4000")
    assert row["average_fee_paid"] == "0.0168"


def test_a_batch_cancel_answers_every_item_in_order_and_stays_200(world):
    first, second = world.order(client_order_id="a"), world.order(client_order_id="b", count="3.00")
    items = [
        {"order_id": first["order_id"]},
        {"order_id": "unknown"},
        {"order_id": second["order_id"], "market_ticker": "M1"},
        {"order_id": first["order_id"]},
    ]
    status, reply = world.call("DELETE", BATCH, {"orders": items})
    assert status == 200
    rows = reply["orders"]
    assert [row["order_id"] for row in rows] == [item["order_id"] for item in items]
    assert [row["reduced_by"] for row in rows] == ["1.00", "0.00", "3.00", "0.00"]
    assert [row.get("error", {}).get("code") for row in rows] == [None, "not_found", None, "not_found"]
    assert rows[0] == {
        "order_id": first["order_id"],
        "client_order_id": "a",
        "reduced_by": "1.00",
        "ts_ms": START_MS,
    }


def test_one_item_of_a_foreign_subaccount_refuses_the_whole_batch_of_a_restricted_key(world):
    owner = world.caller("owner", subaccounts=1)
    world.exchange.transfer(owner.account_id, "t", 0, 1, 10_000_000)
    bound = world.key(owner, subaccount=1)
    items = [world.body(), world.body(subaccount=0)]
    assert world.refused("POST", BATCH, {"orders": items}, caller=bound).status == 403
    assert world.get("/portfolio/orders", caller=owner)["orders"] == []
    _, reply = world.call("POST", BATCH, {"orders": items[:1]}, caller=bound)
    (made,) = reply["orders"]
    cancels = [{"order_id": made["order_id"]}, {"order_id": made["order_id"], "subaccount": 0}]
    assert world.refused("DELETE", BATCH, {"orders": cancels}, caller=bound).status == 403
    _, reply = world.call("DELETE", BATCH, {"orders": cancels[:1]}, caller=bound)
    assert reply["orders"][0]["reduced_by"] == "1.00"


@pytest.mark.parametrize("method", ["POST", "DELETE"])
@pytest.mark.parametrize("body", [{}, {"orders": []}, {"orders": [{}]}, {"orders": "all"}, b"{"])
def test_a_batch_that_is_none_is_a_bad_request(world, method, body):
    refusal = world.refused(method, BATCH, body)
    assert (refusal.status, refusal.code, refusal.shape) == (400, "bad_request", "flat")


def test_a_batch_pays_for_every_item_and_must_fit_the_bucket_as_a_whole(world):
    items = [world.body() for _ in range(11)]
    refusal = world.refused("POST", BATCH, {"orders": items}, pays=True)  # 110 of 100 tokens
    assert (refusal.status, refusal.code, refusal.shape) == (429, "too many requests", "text")
    assert world.get("/portfolio/orders")["orders"] == []
    status, reply = world.call("POST", BATCH, {"orders": items[:9]}, pays=True)
    assert status == 201
    cancels = [{"order_id": row["order_id"]} for row in reply["orders"]]
    assert world.refused("DELETE", BATCH, {"orders": cancels}, pays=True).status == 429  # 18 of 10
    assert world.call("DELETE", BATCH, {"orders": cancels[:5]}, pays=True)[0] == 200
    assert world.refused("DELETE", BATCH, b"{", pays=True).status == 429  # unreadable: paid as one item
