from __future__ import annotations

import pytest
from soloist_exchange.orders import ASK, BID
from soloist_exchange.venue import Amendment

from tests.unit.soloist_exchange.bare_venues import START_MS
from tests.unit.soloist_exchange.feed_sockets import OTHER, OWNER, Hall

NOW = "2023-11-14T22:13:20.000000Z"


def test_a_fill_and_its_position_have_every_field():
    hall = Hall("M", exchange_index=2)
    hall.venue.transfer(OWNER, 0, 0, 0, 2, 100_000_000)
    hall.venue.transfer(OTHER, 0, 0, 0, 2, 100_000_000)
    client = hall.client(OTHER)
    client.subscribe("fill", "market_positions")
    hall.world.order(OWNER, BID, 5_200, 300)
    taken = hall.world.order(OTHER, ASK, 5_200, 100)
    fill, position = client.frames[2:]
    assert fill == {
        "type": "fill",
        "sid": 1,
        "msg": {
            "trade_id": hall.world.tape.fills[0].trade_id,
            "order_id": taken.order_id,
            "client_order_id": taken.client_order_id,
            "market_ticker": "M",
            "exchange_index": 2,
            "is_taker": True,
            "side": "no",
            "yes_price_dollars": "0.5200",
            "count_fp": "1.00",
            "fee_cost": "0.017500",
            "action": "buy",
            "ts": START_MS // 1000,
            "ts_ms": START_MS,
            "post_position_fp": "-1.00",
            "purchased_side": "no",
            "outcome_side": "no",
            "book_side": "ask",
            "subaccount": 0,
        },
    }
    assert position == {
        "type": "market_position",
        "sid": 2,
        "msg": {
            "user_id": "2",
            "market_ticker": "M",
            "position_fp": "-1.00",
            "position_cost_dollars": "0.480000",
            "realized_pnl_dollars": "0.000000",
            "fees_paid_dollars": "0.017500",
            "position_fee_cost_dollars": "0.017500",
            "volume_fp": "1.00",
            "subaccount": 0,
        },
    }


def test_a_fill_comes_before_its_trade_or_after_it_and_the_position_follows_the_fill():
    """Which arrives first is not defined (section 13.4): a client that relies on either is found out. The same trade, the same order."""
    told = []
    for _ in range(2):
        hall = Hall("M")
        client = hall.client(OTHER)
        client.subscribe("trade", "fill", "market_positions")
        hall.world.order(OWNER, BID, 4_000, 3_000)
        client.clear()
        for _ in range(30):
            hall.world.order(OTHER, ASK, 4_000, 100)
        told.append(client.frames)
    assert told[0] == told[1]
    trades = [[frame["type"] for frame in told[0][start : start + 3]] for start in range(0, 90, 3)]
    assert {tuple(kinds) for kinds in trades} == {
        ("trade", "fill", "market_position"), ("fill", "market_position", "trade"),
    }  # fmt: skip
    assert [frame["seq"] for frame in told[0] if frame["type"] == "trade"] == list(range(1, 31))


def test_an_order_has_every_field_and_says_why_it_changed():
    hall = Hall("M")
    group = hall.venue.groups.create(OWNER, 0, 1_000, 0)
    client = hall.client()
    client.subscribe("user_orders")
    order = hall.world.order(OWNER, BID, 4_000, 300, group_id=group.group_id, expiration_ms=START_MS + 60_000)
    assert client.frames[1] == {
        "type": "user_order",
        "sid": 1,
        "msg": {
            "order_id": order.order_id,
            "user_id": "1",
            "ticker": "M",
            "exchange_index": 0,
            "status": "resting",
            "side": "yes",
            "is_yes": True,
            "outcome_side": "yes",
            "book_side": "bid",
            "yes_price_dollars": "0.4000",
            "fill_count_fp": "0.00",
            "remaining_count_fp": "3.00",
            "initial_count_fp": "3.00",
            "taker_fill_cost_dollars": "0.000000",
            "maker_fill_cost_dollars": "0.000000",
            "taker_fees_dollars": "0.000000",
            "maker_fees_dollars": "0.000000",
            "client_order_id": order.client_order_id,
            "order_group_id": group.group_id,
            "self_trade_prevention_type": "taker_at_cross",
            "created_time": NOW,
            "created_ts_ms": START_MS,
            "last_update_time": NOW,
            "last_update_ts_ms": START_MS,
            "expiration_time": "2023-11-14T22:14:20.000000Z",
            "expiration_ts_ms": START_MS + 60_000,
            "subaccount_number": 0,
        },
    }
    hall.world.order(OTHER, ASK, 4_000, 100)
    hall.venue.decrease(order, to=150)
    hall.venue.amend(order, Amendment(price=4_100, count=250))
    hall.world.wait(60_000)
    states = [
        (
            f["msg"].get("last_update_reason"),
            f["msg"]["status"],
            f["msg"]["fill_count_fp"],
            f["msg"]["remaining_count_fp"],
        )
        for f in client.of("user_order")[1:]
    ]
    assert states == [
        ("Trade", "resting", "1.00", "2.00"),
        ("Decrease", "resting", "1.00", "1.50"),
        ("Amend", "resting", "1.00", "1.50"),
        ("ExpiryCancel", "canceled", "1.00", "0.00"),
    ]


def test_reasons_of_orders_that_end():
    """Section 8.8, as far as this venue can bring them about; MarginCancel belongs to another product."""
    hall = Hall("M", close_ms=START_MS + 3_600_000)
    client = hall.client()
    client.subscribe("user_orders")

    def reasons():
        told = [frame["msg"].get("last_update_reason") for frame in client.of("user_order")]
        client.clear()
        return told

    hall.world.order(OWNER, BID, 4_000, 100)
    hall.world.order(OWNER, ASK, 4_000, 100)
    assert reasons() == [None, "SelfTradeCancel"]
    hall.world.order(OTHER, BID, 4_100, 100)
    hall.world.order(OWNER, ASK, 4_100, 100)
    assert reasons() == ["Trade"]
    hall.world.order(OWNER, BID, 3_000, 100, cancel_on_pause=True)
    hall.venue.pause_trading()
    hall.venue.resume_trading()
    assert reasons() == [None, "HaltCancel"]
    hall.world.order(OWNER, BID, 3_000, 100)
    hall.world.wait(3_600_000)
    hall.world.wait(60_000)
    assert reasons()[-1] == "CloseCancel"


def test_reasons_that_need_a_switch():
    hall = Hall("M", switches={"post_only_cross": "cancel", "reduce_only": "any"})
    client = hall.client()
    client.subscribe("user_orders")
    hall.world.order(OTHER, ASK, 4_000, 100)
    crossing = hall.world.order(OWNER, BID, 4_000, 100, post_only=True)
    hall.world.order(OWNER, BID, 4_000, 100)
    reducing = hall.world.order(OWNER, ASK, 6_000, 100, reduce_only=True)
    hall.world.order(OTHER, BID, 3_000, 100)
    hall.world.order(OWNER, ASK, 3_000, 100)
    last = {frame["msg"]["order_id"]: frame["msg"] for frame in client.of("user_order")}
    assert (last[crossing.order_id]["status"], last[crossing.order_id]["last_update_reason"]) == (
        "canceled", "PostOnlyCrossCancel",
    )  # fmt: skip
    assert (last[reducing.order_id]["status"], last[reducing.order_id]["last_update_reason"]) == (
        "canceled", "ReduceOnlyCancel",
    )  # fmt: skip


def test_private_channels_are_private_and_respect_the_key_s_subaccount_and_the_filter():
    hall = Hall("A", "B")
    hall.venue.transfer(OWNER, 0, 3, 0, 0, 100_000_000)
    channels = ("fill", "market_positions", "user_orders")
    whole, bound = hall.client(OWNER), hall.client(OWNER, subaccount=3)
    stranger, of_b = hall.client(3), hall.client(OWNER)
    for client in (whole, bound, stranger):
        client.subscribe(*channels)
    of_b.subscribe(*channels, market_tickers=["B"])
    for client in (whole, bound, stranger, of_b):
        client.clear()
    hall.world.order(OTHER, ASK, 4_000, 300, ticker="A")
    hall.world.order(OWNER, BID, 4_000, 100, ticker="A")
    assert [frame["type"] for frame in whole.frames] == ["fill", "market_position", "user_order"]
    assert bound.frames == stranger.frames == of_b.frames == []
    whole.clear()
    hall.world.order(OWNER, BID, 4_000, 100, ticker="A", subaccount=3)
    assert [frame["type"] for frame in bound.frames] == ["fill", "market_position", "user_order"]
    assert bound.frames == whole.frames
    assert bound.frames[1]["msg"]["subaccount"] == 3
    of_b.say("update_subscription", sid=1, action="add_markets", market_ticker="A")
    of_b.clear()
    hall.world.order(OWNER, BID, 4_000, 100, ticker="A")
    assert [frame["type"] for frame in of_b.frames] == ["fill"]


@pytest.mark.parametrize("kept", ["kept", "removed"])
def test_a_settled_position_is_told(kept):
    hall = Hall("M", switches={"settled_positions": kept})
    hall.world.order(OTHER, ASK, 4_000, 200)
    hall.world.order(OWNER, BID, 4_000, 200)
    client, loser = hall.client(OWNER), hall.client(OTHER)
    for one in (client, loser):
        one.subscribe("market_positions")
    hall.venue.close("M")
    hall.venue.determine("M", "yes")
    hall.venue.settle("M")
    (position,) = client.of("market_position")
    assert (position["msg"]["position_fp"], position["msg"]["position_cost_dollars"]) == ("0.00", "0.000000")
    if kept == "kept":
        assert position["msg"]["realized_pnl_dollars"] == "1.200000"
        assert loser.of("market_position")[0]["msg"]["realized_pnl_dollars"] == "-1.200000"


# ---------------------------------------------------------------------- order_group_updates


def test_the_life_of_an_order_group():
    hall = Hall("M")
    mine, bound, stranger = hall.client(OWNER), hall.client(OWNER, subaccount=5), hall.client(OTHER)
    for client in (mine, bound, stranger):
        client.subscribe("order_group_updates", market_ticker="NOWHERE")
    venue = hall.venue
    group = venue.groups.create(OWNER, 0, 1_000, 0)
    venue.limit_group(group, 500)
    venue.trigger_group(group)
    venue.reset_group(group)
    venue.delete_group(group)
    told = mine.of("order_group_updates")
    assert told[0] == {
        "type": "order_group_updates",
        "sid": 1,
        "seq": 1,
        "msg": {
            "event_type": "created",
            "order_group_id": group.group_id,
            "ts_ms": START_MS,
            "contracts_limit_fp": "10.00",
        },
    }
    assert [(f["seq"], f["msg"]["event_type"], f["msg"].get("contracts_limit_fp")) for f in told] == [
        (1, "created", "10.00"),
        (2, "limit_updated", "5.00"),
        (3, "triggered", None),
        (4, "reset", None),
        (5, "deleted", None),
    ]
    assert bound.of("order_group_updates") == stranger.of("order_group_updates") == []
