from __future__ import annotations

from contextlib import closing

import pytest

from tests.unit.soloist_exchange.rest_world import START_MS, RestWorld

SUBACCOUNTS = "/portfolio/subaccounts"
INTRA = "/portfolio/intra_exchange_instance_transfer"


@pytest.fixture
def world(tmp_path):
    with closing(RestWorld(tmp_path)) as world:
        world.owner = world.caller("owner", subaccounts=2)
        yield world


def move(world, **fields):
    body = {"client_transfer_id": "t1", "from_subaccount": 0, "to_subaccount": 1, "amount_cents": 1234}
    return world.call("POST", f"{SUBACCOUNTS}/transfer", body | fields, caller=world.owner)


def refused_move(world, **fields):
    body = {"client_transfer_id": "t1", "from_subaccount": 0, "to_subaccount": 1, "amount_cents": 1234}
    return world.refused("POST", f"{SUBACCOUNTS}/transfer", body | fields, caller=world.owner)


def balances(world):
    rows = world.get(f"{SUBACCOUNTS}/balances", caller=world.owner)["subaccount_balances"]
    return {(row["subaccount_number"], row["exchange_index"]): row["balance"] for row in rows}


def test_subaccounts_are_numbered_from_one_to_sixty_three(world):
    numbers = [
        world.call("POST", SUBACCOUNTS, body)[1]["subaccount_number"]
        for body in (None, {}, {"exchange_index": 2})
    ]
    assert numbers == [1, 2, 3]
    for _ in range(60):
        status, _ = world.call("POST", SUBACCOUNTS)
        assert status == 201
    assert world.refused("POST", SUBACCOUNTS).status == 400


def test_a_transfer_moves_cents_once_and_for_good(world):
    assert move(world) == (200, {})
    assert balances(world) == {(0, 0): "987.6600", (1, 0): "12.3400", (2, 0): "0.0000"}
    refusal = refused_move(world)
    assert refusal.status == 409
    assert refused_move(world, amount_cents=1).status == 409
    move(world, client_transfer_id="t2", from_subaccount=1, to_subaccount=2, amount_cents=34)
    assert balances(world)[2, 0] == "0.3400"


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"amount_cents": 0}, "bad_request"),
        ({"amount_cents": -5}, "bad_request"),
        ({"amount_cents": "5"}, "bad_request"),
        ({"amount_cents": 1_000_000}, "insufficient_balance"),
        ({"from_subaccount": 1, "to_subaccount": 0}, "insufficient_balance"),
        ({"to_subaccount": 3}, "bad_request"),
        ({"to_subaccount": -1}, "bad_request"),
        ({"to_subaccount": 0}, "bad_request"),
        ({"client_transfer_id": ""}, "bad_request"),
        ({"exchange_index": 2}, "insufficient_balance"),
        ({"exchange_index": -1}, "bad_request"),
    ],
)
def test_a_refused_transfer_moves_nothing_and_leaves_its_id_free(world, fields, code):
    before = balances(world)
    refusal = refused_move(world, **fields)
    assert (refusal.status, refusal.code) == (400, code)
    assert balances(world) == before
    assert move(world) == (200, {})


def test_transfers_are_listed_newest_first_and_paged(world):
    for number in range(3):
        move(world, client_transfer_id=f"t{number}", amount_cents=number + 1)
    path = f"{SUBACCOUNTS}/transfers"
    first = world.get(path, caller=world.owner, limit=2)
    assert first["transfers"][0] == {
        "transfer_id": "t2",
        "from_subaccount": 0,
        "to_subaccount": 1,
        "amount_cents": 3,
        "created_ts": START_MS // 1000,
        "exchange_index": 0,
    }
    second = world.get(path, caller=world.owner, limit=2, cursor=first["cursor"])
    assert [row["transfer_id"] for row in second["transfers"]] == ["t0"]
    assert second["cursor"] == ""


def test_money_moves_between_shards_and_orders_use_their_own_shards(world):
    body = {
        "source": "event_contract",
        "destination": "event_contract",
        "amount": 125_000,  # 1/10 000 dollar
        "destination_exchange_shard": 2,
    }
    status, made = world.call("POST", INTRA, body, caller=world.owner)
    assert (status, set(made)) == (200, {"transfer_id"})
    assert balances(world)[0, 2] == "12.5000"
    told = {
        "transfer_id": made["transfer_id"],
        "source": "event_contract",
        "destination": "event_contract",
        "source_exchange_shard": 0,
        "destination_exchange_shard": 2,
        "amount": "12.5000",
        "status": "complete",
        "created_ts": START_MS // 1000,
    }
    assert world.get(f"{INTRA}s", caller=world.owner) == {"transfers": [told], "cursor": ""}
    assert world.get(f"{INTRA}s/{made['transfer_id']}", caller=world.owner) == {"transfer": told}
    assert world.get(f"{SUBACCOUNTS}/transfers", caller=world.owner)["transfers"] == []
    refusal = world.refused(
        "POST", "/portfolio/events/orders", world.body(ticker="M3", count="40.00"), caller=world.owner
    )
    assert refusal.code == "insufficient_balance"
    world.order(caller=world.owner, ticker="M3", count="10.00")


def test_transfers_within_a_shard_are_not_told_as_transfers_between_shards(world):
    move(world)
    assert world.get(f"{INTRA}s", caller=world.owner)["transfers"] == []
    assert world.refused("GET", f"{INTRA}s/t1", caller=world.owner).status == 404
    assert world.refused("GET", f"{INTRA}s", caller=world.owner, limit=501).shape == "parameter"


@pytest.mark.parametrize(
    "fields",
    [
        {"source": "margined"},
        {"destination": "margined"},
        {"destination_exchange_shard": 0},
        {"destination_exchange_shard": 101},
        {"amount": 0},
        {"amount": "1"},
        {"source_subaccount": 9},
    ],
)
def test_a_refused_transfer_between_shards(world, fields):
    body = {
        "source": "event_contract",
        "destination": "event_contract",
        "amount": 1,
        "destination_exchange_shard": 2,
    }
    refusal = world.refused("POST", INTRA, body | fields, caller=world.owner)
    assert (refusal.status, refusal.code) == (400, "bad_request")


def test_netting_is_kept_per_subaccount(world):
    assert world.call(
        "PUT", f"{SUBACCOUNTS}/netting", {"subaccount_number": 1, "enabled": True}, caller=world.owner
    ) == (200, {})
    rows = world.get(f"{SUBACCOUNTS}/netting", caller=world.owner)["netting_configs"]
    assert rows == [
        {"subaccount_number": 0, "enabled": False, "exchange_index": 0},
        {"subaccount_number": 1, "enabled": True, "exchange_index": 0},
        {"subaccount_number": 2, "enabled": False, "exchange_index": 0},
    ]
    wrong = {"subaccount_number": 3, "enabled": True}
    assert world.refused("PUT", f"{SUBACCOUNTS}/netting", wrong, caller=world.owner).status == 400


def test_a_restricted_key_reaches_none_of_these_calls_and_a_trader_moves_no_money(world):
    bound = world.key(world.owner, subaccount=1)
    for method, path in (
        ("POST", SUBACCOUNTS),
        ("POST", f"{SUBACCOUNTS}/transfer"),
        ("GET", f"{SUBACCOUNTS}/transfers"),
        ("GET", f"{SUBACCOUNTS}/balances"),
        ("GET", f"{SUBACCOUNTS}/netting"),
        ("PUT", f"{SUBACCOUNTS}/netting"),
        ("POST", INTRA),
        ("GET", f"{INTRA}s"),
        ("GET", f"{INTRA}s/x"),
        ("GET", "/portfolio/summary/total_resting_order_value"),
    ):
        refusal = world.refused(method, path, {}, caller=bound)
        assert (refusal.status, refusal.code) == (403, "subaccount_restricted"), path
    trader = world.key(world.owner, "read", "write::trade")
    assert world.refused("POST", f"{SUBACCOUNTS}/transfer", {}, caller=trader).code == "insufficient_scope"
    mover = world.key(world.owner, "read", "write::transfer")
    assert world.call("POST", SUBACCOUNTS, caller=mover)[0] == 201
