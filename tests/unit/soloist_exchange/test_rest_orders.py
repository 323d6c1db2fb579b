from __future__ import annotations

from contextlib import closing

import pytest

from tests.unit.soloist_exchange.rest_world import ORDERS, START_MS, RestWorld


@pytest.fixture
def world(tmp_path):
    with closing(RestWorld(tmp_path)) as world:
        yield world


def resting(world, **query):
    return [
        order["order_id"] for order in world.get("/portfolio/orders", status="resting", **query)["orders"]
    ]


# ---------------------------------------------------------------------- create


def test_an_order_that_rests_is_answered_without_averages_and_without_a_status(world):
    body = world.body(client_order_id="mine", count="2.50")
    status, reply = world.call("POST", ORDERS, body)
    assert status == 201
    assert reply == {
        "order_id": reply["order_id"],
        "client_order_id": "mine",
        "fill_count": "0.00",
        "remaining_count": "2.50",
        "ts_ms": START_MS,
    }


@pytest.mark.parametrize(("maker", "taker", "price"), [("ask", "bid", "0.4000"), ("bid", "ask", "0.4000")])
def test_a_fill_is_averaged_per_contract_on_the_yes_book(world, maker, taker, price):
    world.order(caller=world.caller("other"), side=maker, count="3.00", price="0.40")
    reply = world.order(side=taker, count="2.00", price="0.40", time_in_force="immediate_or_cancel")
    assert (reply["fill_count"], reply["remaining_count"]) == ("2.00", "0.00")
    assert reply["average_fill_price"] == price
    assert reply["average_fee_paid"] == "0.0168"  # 0.07 x 0.4 x 0.6


# What the body changes, and the refusal: status, code, and the beginning of its details.
REFUSED_ORDERS = {
    "a number as count": ({"count": 1}, 400, "bad_request", "json: cannot unmarshal"),
    "a number as price": ({"price": 0.4}, 400, "bad_request", "json: cannot unmarshal"),
    "no such side": ({"side": "yes"}, 400, "bad_request", "json: cannot unmarshal"),
    "no such time in force": ({"time_in_force": "day"}, 400, "bad_request", "json: cannot unmarshal"),
    "no ticker": ({"ticker": None}, 400, "bad_request", "json: cannot unmarshal"),
    "five decimals": ({"price": "0.40001"}, 400, "invalid_order", "invalid price: invalid dollar precision"),
    "a price that is none": ({"price": "cheap"}, 400, "invalid_order", "invalid price"),
    "a negative price": ({"price": "-0.40"}, 400, "invalid_order", "invalid price"),
    "off the grid": ({"price": "0.4050"}, 400, "invalid_price", ""),
    "price of one": ({"price": "1.0000"}, 400, "invalid_price", ""),
    "a count that is none": ({"count": "many"}, 400, "invalid_order", "invalid count"),
    "three decimals of a count": ({"count": "1.005"}, 400, "invalid_order", "invalid count"),
    "nothing": ({"count": "0.00"}, 400, "invalid_order_size", ""),
    "less than nothing": ({"count": "-1.00"}, 400, "invalid_order_size", ""),
    "unknown market": ({"ticker": "NONE"}, 404, "not_found", ""),
    "another shard": ({"exchange_index": 1}, 404, "not_found", ""),
    "too expensive": ({"count": "10000.00"}, 400, "insufficient_balance", ""),
    "expired": ({"expiration_time": 1}, 400, "invalid_order", "Expiration timestamp must be in the future"),
    "before time began": ({"expiration_time": -1}, 400, "invalid_order", "Expiration timestamp"),
    "in milliseconds": ({"expiration_time": START_MS * 1000}, 400, "invalid_order", "expiration_time is in"),
    "an expiring taker": (
        {"expiration_time": START_MS, "time_in_force": "immediate_or_cancel"},
        400,
        "invalid_order",
        "expiration_time goes with",
    ),
    "reduce-only at rest": ({"reduce_only": True}, 400, "invalid_order", "reduce_only goes with"),
    "no such subaccount": ({"subaccount": 64}, 400, "invalid_order", "subaccount must be"),
    "no such group": ({"order_group_id": "none"}, 404, "order_group_not_found", "ORDER_GROUP_NOT_FOUND"),
    "a long id": ({"client_order_id": "x" * 65}, 400, "invalid_order", "client_order_id has more"),
}


@pytest.mark.parametrize("case", REFUSED_ORDERS)
def test_a_refused_order_says_why_and_leaves_a_trace(world, case):
    fields, status, code, details = REFUSED_ORDERS[case]
    refusal = world.refused("POST", ORDERS, world.body(**fields))
    assert (refusal.status, refusal.code) == (status, code)
    assert refusal.details.startswith(details)
    assert resting(world) == []
    assert refusal.shape == ("flat" if code == "bad_request" else "nested")
    if code != "bad_request" and "subaccount" not in fields:
        (entry,) = [entry for entry in world.exchange.store.events() if entry["kind"] == "rejected"]
        assert entry["code"] == code


def test_a_body_that_is_not_json_is_refused_like_a_wrong_type(world):
    for body in (b"", b"{", b"\xff", b"[]", b"null"):
        refusal = world.refused("POST", ORDERS, body)
        assert (refusal.status, refusal.code, refusal.shape) == (400, "bad_request", "flat")


@pytest.mark.parametrize(
    ("path", "body", "details"),
    [
        (ORDERS, {"count": 1}, "number into Go struct field CreateOrderV2Request.count of type string"),
        (ORDERS, {"price": 0.4}, "number into Go struct field CreateOrderV2Request.price of type string"),
        (
            ORDERS,
            {"post_only": "yes"},
            "string into Go struct field CreateOrderV2Request.post_only of type bool",
        ),
        (
            f"{ORDERS}/x/decrease",
            {"reduce_by": 1},
            "number into Go struct field DecreaseOrderV2Request.reduce_by of type string",
        ),
    ],
)
def test_a_wrong_type_is_told_as_it_was_recorded(world, path, body, details):
    whole = world.body() | body if path == ORDERS else body
    assert world.refused("POST", path, whole).details == f"json: cannot unmarshal {details}"


def test_a_refusal_of_the_engine_has_its_code_as_message_with_blanks(world):
    world.order(caller=world.caller("other"), side="ask", price="0.40")
    refusal = world.refused("POST", ORDERS, world.body(post_only=True))
    assert (refusal.code, refusal.message, refusal.details) == (
        "invalid_order",
        "invalid order",
        "post only cross",
    )
    refusal = world.refused("POST", ORDERS, world.body(price="0.4050"))
    assert (refusal.code, refusal.message, refusal.details) == ("invalid_price", "invalid price", "")


def test_averages_have_four_decimals_and_six_only_where_they_are_needed(world):
    other = world.caller("other")
    for count, price in (("1.00", "0.40"), ("2.00", "0.50")):
        world.order(caller=other, side="ask", count=count, price=price)
    reply = world.order(count="3.00", price="0.50", time_in_force="immediate_or_cancel")
    assert reply["average_fill_price"] == "0.466666"


def test_the_deprecated_side_of_an_order_is_yes_and_its_action_the_direction(world):
    bid, ask = world.order(), world.order(side="ask", price="0.90")
    shown = {order["order_id"]: order for order in world.get("/portfolio/orders")["orders"]}
    words = [
        [shown[made["order_id"]][name] for name in ("side", "action", "outcome_side", "book_side")]
        for made in (bid, ask)
    ]
    assert words == [["yes", "buy", "yes", "bid"], ["yes", "sell", "no", "ask"]]
    assert "cancel_order_on_pause" not in shown[bid["order_id"]]


def test_a_client_order_id_is_used_up_for_good_also_by_a_cancelled_order(world):
    made = world.order(client_order_id="once")
    world.call("DELETE", f"{ORDERS}/{made['order_id']}")
    refusal = world.refused("POST", ORDERS, world.body(client_order_id="once"))
    assert (refusal.status, refusal.code) == (409, "order_already_exists")


def test_post_only_is_refused_at_the_cross_or_accepted_and_cancelled(world):
    world.order(caller=world.caller("other"), side="ask", price="0.40")
    refusal = world.refused("POST", ORDERS, world.body(post_only=True))
    assert (refusal.code, refusal.details) == ("invalid_order", "post only cross")
    world.switch(post_only_cross="cancel")
    made = world.order(post_only=True)
    assert (made["fill_count"], made["remaining_count"]) == ("0.00", "0.00")


def test_pauses_refuse_orders_with_409_and_only_an_exchange_pause_refuses_cancels(world):
    made = world.order()
    world.venue.pause_trading()
    refusal = world.refused("POST", ORDERS, world.body())
    assert (refusal.status, refusal.code) == (409, "trading_is_paused")
    world.venue.pause_exchange()
    for method, path, body in (
        ("POST", ORDERS, world.body()),
        ("DELETE", f"{ORDERS}/{made['order_id']}", None),
        ("DELETE", f"{ORDERS}/unknown", None),
        ("DELETE", ORDERS, None),
    ):
        refusal = world.refused(method, path, body)
        assert (refusal.status, refusal.code) == (409, "exchange_is_paused")
    world.venue.resume_exchange()
    assert world.call("DELETE", f"{ORDERS}/{made['order_id']}")[0] == 200


@pytest.mark.parametrize("status", [400, 409])
def test_an_inactive_market_takes_no_order_with_the_status_of_the_switch(world, status):
    world.switch(market_inactive_status=status)
    world.venue.deactivate("M1")
    refusal = world.refused("POST", ORDERS, world.body())
    assert (refusal.status, refusal.code) == (status, "MARKET_INACTIVE")


# ---------------------------------------------------------------------- cancel


def test_a_cancel_tells_what_it_gave_up_and_the_client_order_id_by_switch(world):
    first, second = world.order(client_order_id="one", count="2.00"), world.order(client_order_id="two")
    status, reply = world.call("DELETE", f"{ORDERS}/{first['order_id']}")
    assert (status, reply) == (
        200,
        {
            "order_id": first["order_id"],
            "client_order_id": "one",
            "reduced_by": "2.00",
            "ts_ms": START_MS,
        },
    )
    world.switch(cancel_reply_client_order_id=False)
    _, reply = world.call("DELETE", f"{ORDERS}/{second['order_id']}")
    assert "client_order_id" not in reply


def test_cancelled_executed_unknown_and_foreign_orders_share_one_404(world):
    cancelled, executed = world.order(), world.order()
    world.call("DELETE", f"{ORDERS}/{cancelled['order_id']}")
    world.order(caller=world.caller("other"), side="ask")
    foreign = world.order(caller=world.caller("third"))
    refusals = {
        (refusal.status, refusal.code, refusal.message, refusal.details, refusal.shape)
        for made in (cancelled["order_id"], executed["order_id"], "unknown", foreign["order_id"])
        for refusal in (world.refused("DELETE", f"{ORDERS}/{made}"),)
    }
    assert refusals == {(404, "not_found", "not found", "", "nested")}


def test_a_cancel_reaches_the_shard_it_names_or_its_market_or_shard_0(world):
    world.exchange.transfer(world.me.account_id, "t", 0, 0, 10_000_000, exchange_index_to=2)
    path = f"{ORDERS}/{world.order(ticker='M3')['order_id']}"
    assert world.refused("DELETE", path).status == 404
    assert world.refused("DELETE", path, exchange_index=0).status == 404
    assert world.refused("DELETE", path, market_ticker="M1").status == 404
    assert world.refused("DELETE", path, market_ticker="NONE").status == 404
    assert world.call("DELETE", path, market_ticker="M3")[0] == 200
    path = f"{ORDERS}/{world.order(ticker='M3')['order_id']}"
    assert world.call("DELETE", path, exchange_index=2)[0] == 200
    path = f"{ORDERS}/{world.order(ticker='M3', exchange_index=2)['order_id']}"
    assert world.call("DELETE", path, exchange_index=-1, market_ticker="M3")[0] == 200
    world.switch(wrong_shard_cancel="route")
    path = f"{ORDERS}/{world.order(ticker='M3', exchange_index=-1)['order_id']}"
    assert world.refused("DELETE", path, exchange_index=0).status == 404
    assert world.call("DELETE", path)[0] == 200


def test_an_omitted_subaccount_is_the_primary_one_for_create_and_cancel_and_all_for_cancel_all(world):
    owner = world.caller("owner", subaccounts=1)
    world.exchange.transfer(owner.account_id, "t", 0, 1, 10_000_000)
    first = world.order(caller=owner, subaccount=1)
    second, third = world.order(caller=owner), world.order(caller=owner, subaccount=1)
    path = f"{ORDERS}/{first['order_id']}"
    assert world.refused("DELETE", path, caller=owner).status == 404
    assert world.call("DELETE", path, caller=owner, subaccount=1)[0] == 200
    assert resting(world, caller=owner) == [third["order_id"], second["order_id"]]
    assert resting(world, caller=owner, subaccount=0) == [second["order_id"]]
    assert world.call("DELETE", ORDERS, caller=owner, subaccount=0) == (204, None)
    assert resting(world, caller=owner) == [third["order_id"]]
    assert world.call("DELETE", ORDERS, caller=owner) == (204, None)
    assert resting(world, caller=owner) == []


def test_cancel_all_takes_its_time_by_switch(world):
    world.switch(cancel_all_lag_ms=500)
    made = world.order()
    assert world.call("DELETE", ORDERS) == (204, None)
    assert resting(world) == [made["order_id"]]
    world.wait(500)
    assert resting(world) == []


def test_a_restricted_key_means_its_subaccount_and_must_not_name_another(world):
    owner = world.caller("owner", subaccounts=2)
    world.exchange.transfer(owner.account_id, "t", 0, 2, 10_000_000)
    bound = world.key(owner, subaccount=2)
    made = world.order(caller=bound)
    shown = world.get("/portfolio/orders", caller=owner)["orders"]
    assert [order["subaccount_number"] for order in shown] == [2]
    world.order(caller=owner)
    assert resting(world, caller=bound) == [made["order_id"]]
    for refusal in (
        world.refused("POST", ORDERS, world.body(subaccount=0), caller=bound),
        world.refused("DELETE", ORDERS, caller=bound, subaccount=1),
        world.refused("GET", "/portfolio/orders", caller=bound, subaccount=0),
    ):
        assert refusal.status == 403
        assert refusal.message == (
            "this API key is restricted to a single sub-account and cannot access this endpoint"
        )
    assert world.call("DELETE", ORDERS, caller=bound) == (204, None)
    assert len(resting(world, caller=owner)) == 1


# ---------------------------------------------------------------------- amend


def amend(world, made, **fields):
    body = {"ticker": "M1", "side": "bid", "price": "0.4000", "count": "5.00"} | fields
    return f"{ORDERS}/{made['order_id']}/amend", body


def test_an_amend_tells_only_what_changed_or_filled(world):
    made = world.order(count="5.00", client_order_id="old")
    path, body = amend(world, made, count="3.00", updated_client_order_id="new")
    status, reply = world.call("POST", path, body)
    assert (status, reply) == (
        200,
        {
            "order_id": made["order_id"],
            "client_order_id": "new",
            "remaining_count": "3.00",
            "fill_count": "0.00",
            "ts_ms": START_MS,
        },
    )
    path, body = amend(world, made, count="3.00", expiration_time=START_MS // 1000 + 60)
    _, reply = world.call("POST", path, body)
    assert set(reply) == {"order_id", "client_order_id", "ts_ms"}
    shown = world.get(f"/portfolio/orders/{made['order_id']}")["order"]
    assert shown["expiration_time"] == "2023-11-14T22:14:20Z"
    path, body = amend(world, made, count="3.00", expiration_time=0)
    world.call("POST", path, body)
    assert "expiration_time" not in world.get(f"/portfolio/orders/{made['order_id']}")["order"]


def test_an_amend_that_crosses_tells_of_its_own_fills_only(world):
    made = world.order(count="5.00")
    other = world.caller("other")
    world.order(caller=other, side="ask", count="1.00", price="0.40")
    world.order(caller=other, side="ask", count="2.00", price="0.50")
    path, body = amend(world, made, price="0.50", count="4.00")
    _, reply = world.call("POST", path, body)
    assert (reply["fill_count"], reply["remaining_count"]) == ("2.00", "1.00")
    assert (reply["average_fill_price"], reply["average_fee_paid"]) == ("0.5000", "0.0175")


REFUSED_AMENDS = {
    "another ticker": ({"ticker": "M2"}, 400, "order_ticker_mismatch"),
    "another side": ({"side": "ask"}, 400, "order_side_mismatch"),
    "another id": ({"client_order_id": "other"}, 400, "order_id_and_client_order_id_mismatch"),
    "off the grid": ({"price": "0.4050"}, 400, "invalid_price"),
    "five decimals": ({"price": "0.40501"}, 400, "invalid_order"),
    "nothing left": ({"count": "0.00"}, 400, "invalid_order_size"),
    "numbers": ({"count": 5}, 400, "bad_request"),
    "an id that is taken": ({"updated_client_order_id": "taken"}, 409, "order_already_exists"),
    "a time that is over": ({"expiration_time": 1}, 400, "invalid_order"),
    "a time before time": ({"expiration_time": -5}, 400, "invalid_order"),
    "too expensive": ({"count": "100000.00"}, 400, "insufficient_balance"),
    "another shard": ({"exchange_index": 2}, 404, "not_found"),
}


@pytest.mark.parametrize("case", REFUSED_AMENDS)
def test_a_refused_amend_changes_nothing(world, case):
    fields, status, code = REFUSED_AMENDS[case]
    world.order(client_order_id="taken", price="0.01")
    made = world.order(count="5.00")
    before = world.get(f"/portfolio/orders/{made['order_id']}")
    path, body = amend(world, made, **fields)
    refusal = world.refused("POST", path, body)
    assert (refusal.status, refusal.code) == (status, code)
    assert world.get(f"/portfolio/orders/{made['order_id']}") == before


def test_an_amend_or_decrease_of_what_is_over_is_a_404(world):
    made = world.order()
    world.call("DELETE", f"{ORDERS}/{made['order_id']}")
    path, body = amend(world, made)
    assert world.refused("POST", path, body).code == "not_found"
    refusal = world.refused("POST", f"{ORDERS}/{made['order_id']}/decrease", {"reduce_by": "1.00"})
    assert refusal.code == "not_found"


# ---------------------------------------------------------------------- decrease


@pytest.mark.parametrize(
    ("body", "left"),
    [
        ({"reduce_by": "2.00"}, "3.00"),
        ({"reduce_to": "1.50"}, "1.50"),
        ({"reduce_by": "9.00"}, "0.00"),
        ({"reduce_to": "0.00"}, "0.00"),
        ({"reduce_by": "1", "market_ticker": "M1"}, "4.00"),
    ],
)
def test_a_decrease_goes_by_or_to(world, body, left):
    made = world.order(count="5.00", client_order_id="mine")
    status, reply = world.call("POST", f"{ORDERS}/{made['order_id']}/decrease", body)
    assert (status, reply) == (
        200,
        {
            "order_id": made["order_id"],
            "client_order_id": "mine",
            "remaining_count": left,
            "ts_ms": START_MS,
        },
    )
    assert (resting(world) == []) == (left == "0.00")


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({}, "bad_request"),
        ({"reduce_by": "1.00", "reduce_to": "1.00"}, "bad_request"),
        ({"reduce_by": 1}, "bad_request"),
        ({"reduce_by": "0.00"}, "invalid_order_size"),
        ({"reduce_by": "-1.00"}, "invalid_order_size"),
        ({"reduce_to": "6.00"}, "invalid_order_size"),
        ({"reduce_to": "few"}, "invalid_order"),
    ],
)
def test_a_refused_decrease(world, body, code):
    made = world.order(count="5.00")
    refusal = world.refused("POST", f"{ORDERS}/{made['order_id']}/decrease", body)
    assert (refusal.status, refusal.code) == (400, code)


def test_a_decrease_to_nothing_is_refused_by_switch(world):
    world.switch(reduce_to_zero="reject")
    made = world.order()
    path = f"{ORDERS}/{made['order_id']}/decrease"
    assert world.refused("POST", path, {"reduce_to": "0"}).code == "invalid_order_size"


def test_the_oracle_hears_of_every_write_that_reached_an_order_accepted_or_refused(world):
    made = world.order(count="5.00", client_order_id="mine")
    path, body = amend(world, made, count="4.00")
    world.call("POST", path, body)
    world.refused("POST", path, body | {"side": "ask"})
    world.call("POST", f"{ORDERS}/{made['order_id']}/decrease", {"reduce_to": "1.00"})
    world.refused("POST", f"{ORDERS}/{made['order_id']}/decrease", {"reduce_to": "9.00"})
    world.call("DELETE", f"{ORDERS}/{made['order_id']}")
    world.call("DELETE", ORDERS)
    asked = {"amend", "decrease", "cancel", "cancel_all"}
    told = [entry for entry in world.exchange.store.events() if entry["kind"] in asked]
    assert [(entry["kind"], entry["outcome"], entry.get("code")) for entry in told] == [
        ("amend", "accepted", None),
        ("amend", "rejected", "order_side_mismatch"),
        ("decrease", "accepted", None),
        ("decrease", "rejected", "invalid_order_size"),
        ("cancel", "accepted", None),
        ("cancel_all", "accepted", None),
    ]
    assert {entry["key_id"] for entry in told} == {world.me.key.key_id}
    assert {entry["order_id"] for entry in told[:-1]} == {made["order_id"]}


# ---------------------------------------------------------------------- legacy


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/portfolio/orders"),
        ("DELETE", "/portfolio/orders/x"),
        ("POST", "/portfolio/orders/x/amend"),
        ("POST", "/portfolio/orders/x/decrease"),
        ("POST", "/portfolio/orders/batched"),
        ("DELETE", "/portfolio/orders/batched"),
    ],
)
def test_legacy_paths_are_gone_with_410_or_by_switch_with_200_and_the_same_body(world, method, path):
    refusal = world.refused(method, path, {"ticker": "M1"})
    assert (refusal.status, refusal.code) == (410, "deprecated_v1_order_endpoint")
    assert refusal.message == "Please switch to the V2 endpoints"
    assert refusal.details.startswith("https://docs.kalshi.com/")
    world.switch(v1_status=200)
    status, body = world.call(method, path, {"ticker": "M1"})
    assert status == 200
    assert body["error"] == {
        "code": refusal.code,
        "message": refusal.message,
        "details": refusal.details,
    }
