from __future__ import annotations

import asyncio

import pytest
from soloist_exchange.feed import Feed
from soloist_exchange.orders import ASK, BID, TimeInForce

from tests.unit.soloist_exchange.feed_sockets import OTHER, OWNER, Client, Hall

BOOK = "orderbook_delta"


def fills(client):
    return [frame["msg"]["order_id"] for frame in client.of("fill")]


def filled(hall, count=1):
    """Fill the owner's orders one by one and return their ids."""
    hall.world.order(OTHER, ASK, 4_000, 100 * count)
    made = [hall.world.order(OWNER, BID, 4_000, 100) for _ in range(count)]
    return [order.order_id for order in made]


@pytest.mark.parametrize(
    ("kind", "fields", "at_once", "in_the_end"),
    [
        ("frame_dropped", {"times": 1}, [1, 2], [1, 2]),
        ("frame_dropped", {"times": 1, "after": 1}, [0, 2], [0, 2]),
        ("frame_duplicated", {"times": 1}, [0, 0, 1, 2], [0, 0, 1, 2]),
        ("duplicate_fill", {}, [0, 0, 1, 1, 2, 2], [0, 0, 1, 1, 2, 2]),
        ("frame_delayed", {"times": 1}, [1, 2], [1, 2, 0]),
        ("late_fill_after_cancel", {"times": 1}, [1, 2], [1, 2, 0]),
        ("frame_reordered", {"times": 1}, [1, 0, 2], [1, 0, 2]),
        ("frame_reordered", {"after": 2}, [0, 1], [0, 1, 2]),
        ("frame_dropped", {"account": "account-2"}, [0, 1, 2], [0, 1, 2]),
        ("frame_dropped", {"path": "trade"}, [0, 1, 2], [0, 1, 2]),
    ],
)
def test_frames_go_wrong_as_the_fault_says(kind, fields, at_once, in_the_end):
    hall = Hall("M")
    client = hall.client()
    client.subscribe("fill")
    hall.fault(kind, **fields)
    orders = filled(hall, 3)
    assert fills(client) == [orders[place] for place in at_once]
    hall.later.run()
    assert fills(client) == [orders[place] for place in in_the_end]


def test_a_frame_that_is_lost_took_its_number():
    hall = Hall("M")
    client = hall.client(OTHER)
    client.subscribe(BOOK, market_ticker="M")
    hall.fault("frame_dropped", times=1, path=BOOK)
    for _ in range(3):
        hall.world.order(OWNER, BID, 4_000, 100)
    assert [frame["seq"] for frame in client.of(BOOK)] == [3, 4]


def test_an_overflow_ends_the_subscription_and_no_other():
    hall = Hall("M")
    client = hall.client(OTHER)
    client.subscribe(BOOK, "ticker", "trade", market_ticker="M")
    client.clear()
    hall.fault("overflow", times=1, path=BOOK)
    for _ in range(2):
        hall.world.order(OWNER, BID, 4_000, 100)
    assert client.of("error") == [
        {"type": "error", "sid": 1, "seq": 3, "msg": {"code": 25, "msg": "Subscription buffer overflow"}}
    ]
    assert client.of(BOOK) == []
    assert len(client.of("ticker")) == 2
    (refused,) = client.say("unsubscribe", sids=[1])
    assert refused["msg"]["code"] == 7
    again = client.subscribe(BOOK, market_ticker="M")
    assert (again[0]["msg"]["sid"], again[1]["seq"]) == (4, 1)


def test_an_overflow_in_the_middle_of_a_step_ends_it_for_that_step_too():
    hall = Hall("M")
    client = hall.client(OTHER)
    client.subscribe(BOOK, market_ticker="M")
    for price in (4_000, 4_100, 4_200):
        hall.world.order(OWNER, ASK, price, 100)
    client.clear()
    hall.fault("overflow", times=1)
    hall.world.order(OTHER, BID, 4_200, 300, time_in_force=TimeInForce.IMMEDIATE_OR_CANCEL)
    assert [frame["type"] for frame in client.frames] == ["error"]


def test_late_frames_of_a_connection_that_ended_go_nowhere():
    hall = Hall("M")
    client = hall.client()
    client.subscribe("fill")
    client.clear()
    hall.fault("frame_delayed")
    filled(hall)
    hall.feed.sessions.remove(client.session)
    hall.later.run()
    assert client.raw == []


def test_a_dropped_connection_is_ended_instead_of_told():
    hall = Hall("M")
    client = hall.client()
    hall.faults.disconnect = lambda account, how: client.ends.append(f"{account} {how}")
    client.subscribe("fill")
    client.clear()
    hall.fault("close_without_frame", times=1)
    filled(hall)
    assert (client.ends, client.raw) == (["account-1 without_frame"], [])


@pytest.mark.parametrize(("channel", "seq"), [(BOOK, 2), ("ticker", None)])
def test_a_channel_error_is_terminal_and_counts_where_the_channel_counts(channel, seq):
    hall = Hall("M")
    client = hall.client()
    client.subscribe(channel, market_ticker="M")
    client.clear()
    hall.feed.end_channel(client.session.subscriptions[1], 10)
    (ended,) = client.frames
    assert (ended["sid"], ended.get("seq"), ended["msg"]) == (1, seq, {"code": 10, "msg": "Channel error"})
    hall.world.order(OWNER, BID, 4_000, 100)
    assert len(client.frames) == 1
    assert client.session.subscriptions == {}


@pytest.mark.parametrize("kind", ["frame_delayed", "frame_reordered"])
async def test_what_is_late_comes_by_the_loop_s_clock(kind):
    hall = Hall("M")
    feed = Feed(hall.world, hall.faults)  # as it is served: without a test's timers
    client = Client(feed, OWNER, None, "key")
    arrived = asyncio.Event()

    def send(raw):
        client.raw.append(raw)
        arrived.set()

    client.session.send = send
    client.subscribe("fill")
    arrived.clear()
    hall.fault(kind, times=1, delay_ms=1)
    orders = filled(hall)
    assert fills(client) == []
    async with asyncio.timeout(4):
        await arrived.wait()
    assert fills(client) == orders
