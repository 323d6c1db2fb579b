from __future__ import annotations

from contextlib import closing

import pytest
from soloist_kalshi.signing import Signer, generate_private_key, signed_text

from tests.unit.soloist_exchange.rest_world import RestWorld

KEYS = "/api_keys"


@pytest.fixture
def world(tmp_path):
    with closing(RestWorld(tmp_path)) as world:
        yield world


def listed(world, caller=None):
    return {key["api_key_id"]: key for key in world.get(KEYS, caller=caller)["api_keys"]}


@pytest.mark.parametrize(
    ("key_type", "shown"), [("ed25519", "ed25519"), (None, "rsa")], ids=["ed25519", "rsa by default"]
)
def test_a_generated_key_is_shown_once_with_its_private_part_and_signs(world, key_type, shown):
    body = {"name": "bot", "scopes": ["read", "write::trade"], "subaccount": 5}
    if key_type:
        body["key_type"] = key_type
    status, made = world.call("POST", f"{KEYS}/generate", body)
    assert status == 201
    assert set(made) == {"api_key_id", "private_key", "key_type", "warning"}
    assert made["key_type"] == shown
    signer = Signer.from_pem(made["api_key_id"], made["private_key"].encode())
    text = signed_text(1, "GET", "/x")
    assert world.exchange.key(made["api_key_id"]).verifier.verify(text, signer.sign(text))
    assert listed(world)[made["api_key_id"]] == {
        "api_key_id": made["api_key_id"],
        "name": "bot",
        "scopes": ["read", "write::trade"],
        "subaccount": 5,
        "key_type": shown,
    }


def test_a_key_without_scopes_may_read_and_write_and_shows_no_subaccount(world):
    _, made = world.call("POST", f"{KEYS}/generate", {"name": "bot", "key_type": "ed25519"})
    shown = listed(world)[made["api_key_id"]]
    assert shown["scopes"] == ["read", "write"]
    assert "subaccount" not in shown
    assert world.get(KEYS)["api_key_region_expiration_ts"] is None


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"name": ""},
        {"name": "x" * 201},
        {"name": "x", "scopes": ["all"]},
        {"name": "x", "scopes": ["write"]},
        {"name": "x", "scopes": ["write::trade"]},
        {"name": "x", "subaccount": 64},
        {"name": "x", "subaccount": -1},
        {"name": "x", "key_type": "dsa"},
    ],
)
def test_what_no_key_can_be_is_a_bad_request(world, body):
    refusal = world.refused("POST", f"{KEYS}/generate", body)
    assert (refusal.status, refusal.code, refusal.shape) == (400, "bad_request", "flat")
    assert len(listed(world)) == 1


def test_a_public_key_may_be_uploaded_from_the_premier_tier_on(world):
    public = generate_private_key("ed25519").public_pem.decode()
    body = {"name": "mine", "public_key": public}
    assert world.refused("POST", KEYS, body).status == 403
    rich = world.caller("rich", tier="premier")
    status, made = world.call("POST", KEYS, body, caller=rich)
    assert (status, set(made)) == (201, {"api_key_id"})
    assert listed(world, rich)[made["api_key_id"]]["key_type"] == "ed25519"
    for wrong in ({"name": "mine"}, {"name": "mine", "public_key": "no PEM"}):
        assert world.refused("POST", KEYS, wrong, caller=rich).status == 400


def test_a_deleted_key_is_gone_at_once_and_the_feed_is_told(world):
    _, made = world.call("POST", f"{KEYS}/generate", {"name": "bot", "key_type": "ed25519"})
    path = f"{KEYS}/{made['api_key_id']}"
    assert world.call("DELETE", path) == (204, None)
    assert world.deleted_keys == [made["api_key_id"]]
    assert made["api_key_id"] not in listed(world)
    assert world.exchange.key(made["api_key_id"]) is None
    assert world.refused("DELETE", path).status == 404
    foreign = world.caller("other").key.key_id
    assert world.refused("DELETE", f"{KEYS}/{foreign}").status == 404


def test_revocation_and_the_list_may_lag_by_switch(world):
    _, made = world.call("POST", f"{KEYS}/generate", {"name": "bot", "key_type": "ed25519"})
    world.wait(10)
    world.switch(revocation_delay_ms=500, key_list_lag_ms=300)
    world.call("DELETE", f"{KEYS}/{made['api_key_id']}")
    world.wait(299)
    assert made["api_key_id"] in listed(world)
    world.wait(2)
    assert made["api_key_id"] not in listed(world)
    assert world.exchange.key(made["api_key_id"]) is not None
    world.wait(300)
    assert world.exchange.key(made["api_key_id"]) is None


def test_a_key_needs_the_scope_of_the_call_and_a_restricted_one_manages_no_keys(world):
    reader = world.key(world.me, "read")
    for method, path in (("POST", f"{KEYS}/generate"), ("DELETE", f"{KEYS}/x"), ("POST", KEYS)):
        refusal = world.refused(method, path, {"name": "x"}, caller=reader)
        assert (refusal.status, refusal.code) == (403, "insufficient_scope")
    trader = world.key(world.me, "read", "write::trade")
    assert world.refused("POST", f"{KEYS}/generate", {"name": "x"}, caller=trader).status == 403
    world.order(caller=trader)
    balance = world.key(world.me, "read::portfolio_balance")
    world.get("/portfolio/balance", caller=balance)
    assert world.refused("GET", "/portfolio/orders", caller=balance).status == 403
    bound = world.key(world.me, subaccount=0)
    for method, path in (
        ("GET", KEYS),
        ("POST", f"{KEYS}/generate"),
        ("DELETE", f"{KEYS}/x"),
        ("POST", KEYS),
    ):
        refusal = world.refused(method, path, {"name": "x"}, caller=bound)
        assert (refusal.status, refusal.code) == (403, "subaccount_restricted")
