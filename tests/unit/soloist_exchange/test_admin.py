from __future__ import annotations

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.unit.soloist_exchange.exchange_serving import ORDERS, exchange


@pytest.fixture
async def desk(tmp_path):
    async with exchange(tmp_path, clock="virtual") as found:
        yield found


@pytest.fixture
def user(desk):
    return desk.user("demo")


async def test_an_empty_exchange_shows_what_it_is(desk):
    health = await desk.admin("GET", "health")
    assert (health["status"], health["markets"]) == ("serving", 2)
    assert await desk.admin("GET", "conservation") == {"difference": 0, "unpaired": {}}
    assert (await desk.admin("GET", "accounts")) == {"accounts": []}
    assert (await desk.admin("GET", "accepted-orders")) == {"orders": []}


async def test_what_there_is_not_is_said(desk):
    for method, path in (
        ("GET", "nothing"),
        ("GET", "books/X"),
        ("POST", "markets/X/close"),
        ("GET", "clock"),
    ):
        assert (await desk.admin(method, path, status=404))["error"]
    assert "no account" in (await desk.admin("GET", "accounts", status=404, account="nobody"))["error"]


async def test_accepted_orders_and_events_tell_who_when_and_what(desk, user):
    made = (await user.create("M")).json()
    refused = await user.create("M", price="0.405")
    assert refused.status_code == 400
    (row,) = (await desk.admin("GET", "accepted-orders", account="demo"))["orders"]
    assert row["order_id"] == made["order_id"]
    assert row["client_order_id"] == made["client_order_id"]
    assert (row["account"], row["key_id"], row["outcome"]) == ("demo", user.signer.key_id, "accepted")
    kinds = [event["kind"] for event in (await desk.admin("GET", "events"))["events"]]
    assert kinds == ["accepted", "rejected"]
    assert (await desk.admin("GET", "events", since=str(row["sequence"])))["events"][0]["kind"] == "rejected"
    await desk.admin("GET", "events", status=400, since="soon")


async def test_a_deleted_key_is_still_told_with_its_times(desk, user):
    made = (
        await user.call("POST", "/api_keys/generate", {"name": "second", "scopes": ["read", "write::trade"]})
    ).json()
    await desk.admin("POST", "clock", {"advance_ms": 5000})
    assert (await user.call("DELETE", f"/api_keys/{made['api_key_id']}")).status_code == 204
    first, second = (await desk.admin("GET", "keys", account="demo"))["keys"]
    assert (first["key_id"], first["deleted_ms"]) == (user.signer.key_id, None)
    assert (second["key_id"], second["name"]) == (made["api_key_id"], "second")
    assert second["deleted_ms"] == second["created_ms"] + 5000


async def test_the_oracle_knows_books_orders_money_positions_and_groups(desk, user):
    group = (await user.call("POST", "/portfolio/order_groups/create", {"contracts_limit": 5})).json()
    rests = (await user.create("M", "bid", "0.40", order_group_id=group["order_group_id"])).json()
    assert (await user.create("M", "bid", "0.60")).json()["fill_count"] == "1.00"
    told = await desk.admin("GET", "oracle")
    (account,) = told["accounts"]
    (order,), (position,) = account["orders"], account["positions"]
    assert (order["order_id"], order["remaining"], order["side"]) == (rests["order_id"], "1.00", "bid")
    assert (position["ticker"], position["count"]) == ("M", "1.00")
    (purse,) = account["money"]
    assert purse["reserved"] == "0.400000"
    (found,) = account["groups"]
    assert (found["order_group_id"], found["orders"]) == (group["order_group_id"], [rests["order_id"]])
    market = next(item for item in told["markets"] if item["ticker"] == "M")
    assert ["0.4000", "1.00"] in market["yes_dollars"]
    assert market["volume"] == "1.00"
    assert told["conservation"] == {"difference": 0, "unpaired": {}}


# ---------------------------------------------------------------------- clock


async def test_a_virtual_clock_stands_still_until_it_is_moved_and_what_is_due_then_happens(desk, user):
    before_ms = (await desk.admin("GET", "health"))["time_ms"]
    made = (await user.create("M", expiration_time=before_ms // 1000 + 60)).json()
    assert (await desk.admin("GET", "health"))["time_ms"] == before_ms
    assert await desk.admin("POST", "clock", {"advance_ms": 30_000}) == {"time_ms": before_ms + 30_000}
    assert await status(user, made) == "resting"
    await desk.admin("POST", "clock", {"advance_ms": 31_000})
    assert await status(user, made) == "canceled"
    (ended,) = (await desk.admin("GET", "events", kind="closed"))["events"]
    # It ended when it was due, although the clock was moved past that in one go.
    assert ended["time_ms"] == (before_ms // 1000 + 60) * 1000


async def status(user, made) -> str:
    return (await user.call("GET", f"/portfolio/orders/{made['order_id']}")).json()["order"]["status"]


@pytest.mark.parametrize("by", [-1, 10**12, "soon", None])
async def test_a_clock_goes_forward_and_not_too_far(desk, by):
    await desk.admin("POST", "clock", {"advance_ms": by}, status=400)


async def test_token_buckets_live_by_the_virtual_clock(desk, user):
    async def creates(count):
        return [(await user.create("M")).status_code for _ in range(count)]

    while (await creates(1)) == [201]:
        pass
    assert await creates(3) == [429] * 3
    await desk.admin(
        "POST", "clock", {"advance_ms": 200}
    )  # basic writes refill 100 tokens a second, a create costs 10
    assert await creates(3) == [201, 201, 429]


async def test_the_virtual_clock_does_not_go_back_at_a_restart(tmp_path):
    async with exchange(tmp_path, clock="virtual") as desk:
        moved = await desk.admin("POST", "clock", {"advance_ms": 3_600_000})
    async with exchange(tmp_path, clock="virtual") as desk:
        assert (await desk.admin("GET", "health"))["time_ms"] >= moved["time_ms"]


async def test_the_real_clock_cannot_be_moved(tmp_path):
    async with exchange(tmp_path) as desk:
        assert "virtual" in (await desk.admin("POST", "clock", {"advance_ms": 1}, status=409))["error"]


# ---------------------------------------------------------------------- switches, pauses, markets, accounts


async def test_switches_are_shown_turned_and_checked(desk):
    assert (await desk.admin("GET", "switches"))["last_cursor"] == "empty"
    turned = await desk.admin(
        "PATCH", "switches", {"last_cursor": "null", "clock_past_ms": 5, "ping_when_busy": False}
    )
    assert (turned["last_cursor"], turned["clock_past_ms"], turned["ping_when_busy"]) == ("null", 5, False)
    for wrong in ({"last_cursor": "never"}, {"colour": "red"}, {"clock_past_ms": "soon"}):
        assert (await desk.admin("PATCH", "switches", wrong, status=400))["error"]
    assert await desk.admin("GET", "switches") == turned


@pytest.mark.parametrize(
    ("what", "create", "cancel"),
    [("trading", "trading_is_paused", 200), ("exchange", "exchange_is_paused", 409)],
)
async def test_pauses(desk, user, what, create, cancel):
    made = (await user.create("M")).json()
    paused = await desk.admin("POST", "pause", {"what": what, "active": False})
    assert paused == {"trading_active": what != "trading", "exchange_active": what != "exchange"}
    refused = await user.create("M")
    assert (refused.status_code, refused.json()["error"]["code"]) == (409, create)
    cancelled = await user.call("DELETE", f"{ORDERS}/{made['order_id']}")
    assert cancelled.status_code == cancel
    await desk.admin("POST", "pause", {"what": what, "active": True})
    assert (await user.create("M")).status_code == 201
    await desk.admin("POST", "pause", {"what": "lunch", "active": True}, status=400)


async def test_a_market_from_its_pause_to_its_settlement(desk, user):
    assert (await user.create("M", "bid", "0.60")).json()["fill_count"] == "1.00"
    assert (await desk.admin("POST", "markets/M/deactivate"))["status"] == "inactive"
    assert (await user.create("M")).status_code == 400
    assert (await desk.admin("POST", "markets/M/activate"))["status"] == "active"
    now_ms = (await desk.admin("GET", "health"))["time_ms"]
    moved = await desk.admin("POST", "markets/M/close-time", {"close_ms": now_ms + 5000})
    assert moved["close_ms"] == now_ms + 5000
    finer = await desk.admin("POST", "markets/M/price-ranges", {"price_level_structure": "deci_cent"})
    assert finer["price_level_structure"] == "deci_cent"
    assert (await user.create("M", price="0.405")).status_code == 201
    await desk.admin("POST", "markets/M/price-ranges", {"price_level_structure": "odd"}, status=400)
    assert (await desk.admin("POST", "markets/N/close"))["status"] == "closed"
    decided = await desk.admin("POST", "markets/M/determine", {"result": "yes"})
    assert (decided["status"], decided["result"]) == ("determined", "yes")
    assert (await desk.admin("POST", "markets/M/settle"))["status"] == "finalized"
    (account,) = (await desk.admin("GET", "accounts"))["accounts"]
    assert account["positions"][0]["count"] == "0.00"
    assert await desk.admin("GET", "conservation") == {"difference": 0, "unpaired": {}}
    await desk.admin("POST", "markets/M/determine", {"result": "maybe"}, status=400)
    assert (await desk.admin("POST", "markets/M/activate", status=409))["error"]


async def test_tiers_and_deposits(desk, user):
    assert (await desk.admin("POST", "accounts/demo/tier", {"tier": "prime"}))["tier"] == "prime"
    limits = (await user.call("GET", "/account/limits")).json()
    assert limits["usage_tier"] == "prime"
    await desk.admin("POST", "accounts/demo/tier", {"tier": "gold"}, status=400)
    await desk.admin("POST", "accounts/demo/deposit", {"dollars": "5.25"})
    (account,) = (await desk.admin("GET", "accounts", account="demo"))["accounts"]
    assert account["cash"] == {"0": "10005.250000"}
    for wrong in ("0", "-1", "much"):
        await desk.admin("POST", "accounts/demo/deposit", {"dollars": wrong}, status=400)
    assert await desk.admin("GET", "conservation") == {"difference": 0, "unpaired": {}}


async def test_faults_are_added_reported_and_taken_away(desk, user):
    await desk.admin("POST", "faults", [{"kind": "slow", "name": "one", "delay_ms": 0}])
    await desk.admin("PATCH", "faults", [{"kind": "forbidden", "name": "two", "after": 1}])
    assert [(await user.create("M")).status_code for _ in range(2)] == [201, 201]
    told = await desk.admin("GET", "faults")
    assert [(item["fault"]["kind"], item["hits"]) for item in told["faults"]] == [
        ("slow", 2),
        ("forbidden", 0),
    ]
    assert "half_open" in told["kinds"]
    left = await desk.admin("DELETE", "faults", name="one")
    assert [item["name"] for item in left["faults"]] == ["two"]
    assert (await desk.admin("POST", "faults", [{"kind": "earthquake"}], status=400))["error"]
    assert (await desk.admin("POST", "faults", {"kind": "slow"}, status=400))["error"]
    assert [item["fault"]["name"] for item in (await desk.admin("GET", "faults"))["faults"]] == ["two"]


async def test_disconnect_wants_to_know_how(desk):
    assert await desk.admin("POST", "disconnect") == {"disconnected": 0}
    assert "without_frame" in (await desk.admin("POST", "disconnect", status=400, how="loudly"))["error"]


# ---------------------------------------------------------------------- metrics


async def test_metrics_are_what_prometheus_reads(desk, user):
    await desk.faults({"kind": "error_after", "times": 1})
    for _ in range(3):
        await user.create("M", "bid", "0.60")
    text = await desk.admin("GET", "metrics")
    families = {family.name: family for family in text_string_to_metric_families(text)}
    for family in families.values():
        assert family.documentation, family.name
        assert family.type in {"counter", "gauge", "histogram"}, family.name
    values = {
        (sample.name.removeprefix("soloist_exchange_"), tuple(sample.labels.values())): sample.value
        for family in families.values()
        for sample in family.samples
    }
    create = f"POST {ORDERS}"
    assert values["conservation_difference", ()] == 0
    assert values["conservation_unpaired", ()] == 0
    assert values["requests_total", (create, "201")] == 2
    assert values["requests_total", (create, "503")] == 1
    assert values["fault_hits_total", ("error_after",)] == 1
    assert values["request_duration_seconds_count", (create,)] == 3
    assert values["request_duration_seconds_bucket", (create, "+Inf")] == 3
    assert values["account_keys", ("demo",)] == 1
    assert values["account_connections_max", ("demo",)] == 1
    assert values["fills_total", ()] == 3
