from __future__ import annotations

import json

import pytest
from soloist_exchange.feed import Limits
from soloist_exchange.wire_frames import market_id

from tests.unit.soloist_exchange.feed_sockets import Hall

BOOK = "orderbook_delta"


def error(frame):
    assert frame["type"] == "error", frame
    return frame["msg"]["code"]


# ---------------------------------------------------------------------- errors

REFUSED = [
    ("not json", 1, None),
    ("[]", 1, None),
    ("7", 1, None),
    ("[" * 100_000, 1, None),
    ('{"id":-1,"cmd":"list_subscriptions"}', 1, None),
    ('{"id":"1","cmd":"list_subscriptions"}', 1, None),
    ('{"id":true,"cmd":"list_subscriptions"}', 1, None),
    ('{"id":1.5,"cmd":"list_subscriptions"}', 1, None),
    ('{"id":1,"cmd":"subscribe"}', 2, 1),
    ('{"id":1,"cmd":"unsubscribe","params":null}', 2, 1),
    ('{"id":1,"cmd":"update_subscription","params":[]}', 2, 1),
    ('{"id":1,"cmd":"subscribe","params":{}}', 3, 1),
    ('{"id":1,"cmd":"subscribe","params":{"channels":[]}}', 3, 1),
    ('{"id":1,"cmd":"unsubscribe","params":{}}', 4, 1),
    ('{"id":1,"cmd":"unsubscribe","params":{"sids":[]}}', 4, 1),
    ('{"type":"ping"}', 5, None),
    ('{"id":2,"cmd":"login"}', 5, 2),
    ('{"id":2,"cmd":["subscribe"]}', 5, 2),
    ('{"id":1,"cmd":"unsubscribe","params":{"sids":[9]}}', 7, 1),
    ('{"id":1,"cmd":"update_subscription","params":{"action":"add_markets","sid":9,"market_ticker":"M"}}', 7, 1),
    ('{"id":1,"cmd":"subscribe","params":{"channels":["ticker_v2"]}}', 8, 1),
    ('{"id":1,"cmd":"subscribe","params":{"channels":["communications"]}}', 8, 1),
    ('{"id":1,"cmd":"subscribe","params":{"channels":["multivariate_market_lifecycle"]}}', 8, 1),
    ('{"id":1,"cmd":"subscribe","params":{"channels":["pyth_value"],"underlying_tickers":["all"]}}', 8, 1),
    ('{"id":1,"cmd":"subscribe","params":{"channels":"ticker"}}', 11, 1),
    ('{"id":1,"cmd":"subscribe","params":{"channels":["orderbook_delta"],"market_tickers":"X"}}', 11, 1),
    ('{"id":1,"cmd":"subscribe","params":{"channels":["ticker"],"use_yes_price":"yes"}}', 11, 1),
    ('{"id":1,"cmd":"subscribe","params":{"channels":["ticker"],"market_ticker":"M","market_tickers":["M"]}}', 11, 1),
    ('{"id":1,"cmd":"subscribe","params":{"channels":["ticker"],"market_ticker":"M","market_id":"i"}}', 11, 1),
    ('{"id":1,"cmd":"subscribe","params":{"channels":["trade"],"market_id":"i"}}', 11, 1),
    ('{"id":1,"cmd":"subscribe","params":{"channels":["trade"],"user_filter":"others"}}', 11, 1),
    ('{"id":1,"cmd":"unsubscribe","params":{"sids":["1"]}}', 11, 1),
    ('{"id":1,"cmd":"update_subscription","params":{"action":7,"sid":1}}', 11, 1),
    ('{"id":1,"cmd":"update_subscription","params":{"action":"add_markets","market_tickers":["X"]}}', 12, 1),
    ('{"id":1,"cmd":"update_subscription","params":{"action":"add_markets","sids":[1,2],"market_ticker":"X"}}', 12, 1),
    ('{"id":1,"cmd":"update_subscription","params":{"action":"add_markets","sid":1,"sids":[1],"market_ticker":"X"}}', 12, 1),
    ('{"id":1,"cmd":"update_subscription","params":{"action":"forget","sid":1}}', 13, 1),
    ('{"id":1,"cmd":"update_subscription","params":{"action":"indexlist","sid":1}}', 13, 1),
    ('{"id":1,"cmd":"subscribe","params":{"channels":["orderbook_delta"]}}', 14, 1),
    ('{"id":1,"cmd":"subscribe","params":{"channels":["orderbook_delta"],"market_tickers":[]}}', 14, 1),
    ('{"id":1,"cmd":"subscribe","params":{"channels":["orderbook_delta"],"market_id":"i"}}', 14, 1),
    ('{"id":1,"cmd":"update_subscription","params":{"sid":1}}', 15, 1),
    ('{"id":1,"cmd":"subscribe","params":{"channels":["trade"],"shard_factor":0}}', 19, 1),
    ('{"id":1,"cmd":"subscribe","params":{"channels":["trade"],"shard_key":0}}', 20, 1),
    ('{"id":1,"cmd":"subscribe","params":{"channels":["trade"],"shard_factor":2,"shard_key":2}}', 21, 1),
    ('{"id":1,"cmd":"subscribe","params":{"channels":["trade"],"shard_factor":101}}', 22, 1),
    ('{"id":1,"cmd":"update_subscription","params":{"action":"subscribe_indices","sid":1}}', 24, 1),
    ('{"id":1,"cmd":"update_subscription","params":{"action":"subscribe_underlyings","sid":1}}', 28, 1),
    ('{"id":1,"cmd":"update_subscription","params":{"action":"subscribe_underlyings","underlying_tickers":["all"]}}', 13, 1),
]  # fmt: skip


@pytest.mark.parametrize(("text", "code", "command_id"), REFUSED)
def test_error_codes(text, code, command_id):
    client = Hall("M").client()
    (answer,) = client.send(text)
    assert (error(answer), answer.get("id"), "sid" in answer) == (code, command_id, False)
    assert client.session.subscriptions == {}
    assert client.subscribe("trade")[0]["type"] == "subscribed", "a connection survives what it refuses"


def test_an_unknown_channel_between_known_ones_is_refused_alone():
    answers = Hall("M").client().subscribe("trade", "nonsense", "ticker")
    assert [answer["type"] for answer in answers] == ["subscribed", "error", "subscribed"]
    assert {answer["id"] for answer in answers} == {1}


@pytest.mark.parametrize("number", ['"id":0,', ""])
def test_id_zero_is_no_id(number):
    client = Hall("M").client()
    client.send(
        f'{{{number}"cmd":"subscribe","params":{{"channels":["{BOOK}","ticker"],"market_ticker":"M"}}}}'
    )
    client.send(f'{{{number}"cmd":"list_subscriptions"}}')
    client.send(
        f'{{{number}"cmd":"update_subscription","params":{{"sid":1,"action":"get_snapshot","market_ticker":"M"}}}}'
    )
    client.send(f'{{{number}"cmd":"unsubscribe","params":{{"sids":[1]}}}}')
    assert [frame["type"] for frame in client.frames] == [
        "subscribed", "orderbook_snapshot", "subscribed", "ok", "orderbook_snapshot", "unsubscribed",
    ]  # fmt: skip
    assert not any("id" in frame for frame in client.frames)


def test_error_9_once_the_key_is_gone_and_the_connection_is_not():
    hall = Hall("M", switches={"deleted_key_ends_websocket": False})
    client = hall.client(key_id="old")
    client.subscribe("fill")
    hall.feed.key_deleted("old")
    assert client.ends == []
    public, private = client.subscribe("trade", "user_orders")
    assert (public["type"], error(private)) == ("subscribed", 9)


def test_error_26_beyond_the_markets_of_a_session():
    hall = Hall("A", "B", "C", limits=Limits(markets=3))
    client = hall.client()
    client.subscribe(BOOK, "ticker", market_tickers=["A"])
    (refused,) = client.say("update_subscription", sid=1, action="add_markets", market_tickers=["B", "C"])
    assert (error(refused), refused["sid"], refused["seq"]) == (26, 1, 2)
    (unsequenced,) = client.say("update_subscription", sid=2, action="add_markets", market_tickers=["B", "C"])
    assert (error(unsequenced), unsequenced["sid"], "seq" in unsequenced) == (26, 2, False)
    assert error(client.subscribe("trade", market_tickers=["B", "C"])[0]) == 26
    assert (
        client.say("update_subscription", sid=1, action="add_markets", market_tickers=["A", "B"])[0]["type"]
        == "ok"
    )
    assert error(client.subscribe("trade", market_tickers=["C"])[0]) == 26
    client.say("unsubscribe", sids=[2])
    assert client.subscribe("trade", market_tickers=["C"])[0]["type"] == "subscribed"
    assert client.subscribe("ticker")[0]["type"] == "subscribed", "all markets count as none"


def test_error_27_beyond_the_commands_of_a_second():
    hall = Hall("M", limits=Limits(commands_per_s=2))
    client, other = hall.client(), hall.client()
    assert [client.send({"id": n, "cmd": "list_subscriptions"})[0]["type"] for n in (1, 2, 3)] == [
        "ok",
        "ok",
        "error",
    ]
    assert error(client.frames[-1]) == 27
    assert other.send({"id": 1, "cmd": "list_subscriptions"})[0]["type"] == "ok"
    hall.second = 1.0
    assert client.send({"id": 4, "cmd": "list_subscriptions"})[0]["type"] == "ok"
    assert [error(client.send("garbage")[0]) for _ in range(2)] == [1, 27]
    assert client.subscribe("trade")[0]["msg"]["code"] == 27
    assert client.session.subscriptions == {}


# ---------------------------------------------------------------------- subscribe


def test_sids_count_per_connection_and_every_channel_answers():
    hall = Hall("M")
    for _ in range(2):
        answers = hall.client().subscribe("ticker", "trade", "fill", "market_positions", "user_orders", "order_group_updates", "market_lifecycle_v2", BOOK, market_ticker="M")  # fmt: skip
        told = [(answer["id"], answer["msg"]["channel"], answer["msg"]["sid"]) for answer in answers[:8]]
        assert told == [
            (1, "ticker", 1), (1, "trade", 2), (1, "fill", 3), (1, "market_positions", 4), (1, "user_orders", 5),
            (1, "order_group_updates", 6), (1, "market_lifecycle_v2", 7), (1, BOOK, 8),
        ]  # fmt: skip
        assert [answer["type"] for answer in answers[8:]] == ["orderbook_snapshot"]


def test_a_sid_is_never_used_twice():
    client = Hall("M").client()
    client.subscribe("trade")
    client.say("unsubscribe", sids=[1])
    assert client.subscribe("trade")[0]["msg"]["sid"] == 2


def test_one_snapshot_per_market_in_the_order_asked_for_and_unknown_markets_are_named():
    client = Hall("A", "B").client()
    answers = client.subscribe(BOOK, market_tickers=["B", "NOWHERE", "A", "B"])
    assert [answer["type"] for answer in answers] == [
        "subscribed",
        "error",
        "orderbook_snapshot",
        "orderbook_snapshot",
    ]
    assert (error(answers[1]), answers[1]["msg"]["market_ticker"]) == (11, "NOWHERE")
    assert [(answer["seq"], answer["msg"]["market_ticker"]) for answer in answers[2:]] == [(2, "B"), (3, "A")]
    (listed,) = client.send({"id": 9, "cmd": "list_subscriptions"})
    assert listed["msg"] == [{"channel": BOOK, "sid": 1, "market_tickers": ["A", "B"]}]


def test_a_subscription_of_unknown_markets_only_is_not_one_of_all():
    hall = Hall("A")
    client = hall.client()
    client.subscribe(BOOK, market_ticker="NOWHERE")
    client.subscribe("ticker", market_id="nobody's")
    client.clear()
    hall.world.order(1, 1, 4_000, 100)
    assert client.frames == []
    answers = client.say("update_subscription", sid=1, action="add_markets", market_ticker="A")
    assert [answer["type"] for answer in answers] == ["ok", "orderbook_snapshot"]


def test_a_second_subscribe_of_unknown_markets_only_widens_nothing():
    client = Hall("A", "B").client()
    client.subscribe(BOOK, market_ticker="A")
    client.subscribe("ticker", market_id=market_id("A"))
    client.subscribe(BOOK, market_ticker="NOWHERE")
    client.subscribe("ticker", market_id="nobody's")
    assert [found.tickers for found in client.session.subscriptions.values()] == [{"A"}, {"A"}]


def test_a_second_subscribe_keeps_the_sid_and_brings_what_is_new():
    client = Hall("A", "B").client()
    client.subscribe(BOOK, market_ticker="A")
    answers = client.subscribe(BOOK, market_tickers=["A", "B"])
    assert [(answer["type"], answer.get("sid")) for answer in answers] == [
        ("subscribed", None),
        ("orderbook_snapshot", 1),
    ]
    assert answers[0]["msg"] == {"channel": BOOK, "sid": 1}
    assert (answers[1]["seq"], answers[1]["msg"]["market_ticker"]) == (2, "B")


def test_a_second_subscribe_is_error_6_by_the_switch():
    client = Hall("A", switches={"repeat_subscribe": "error_6"}).client()
    client.subscribe(BOOK, market_ticker="A")
    (answer,) = client.subscribe(BOOK, market_ticker="A")
    assert error(answer) == 6


def test_a_filter_widens_to_all_markets_and_never_back():
    hall = Hall("A", "B")
    client = hall.client()
    client.subscribe("trade", market_ticker="A")
    client.subscribe("trade")
    (ok,) = client.say("update_subscription", sid=1, action="add_markets", market_ticker="A")
    assert ok["msg"] == {}
    (refused,) = client.say("update_subscription", sid=1, action="delete_markets", market_ticker="A")
    assert (error(refused), refused["sid"]) == (11, 1)
    client.subscribe("trade", market_ticker="A")
    client.clear()
    hall.world.order(1, 1, 4_000, 100, ticker="B")
    hall.world.order(2, -1, 4_000, 100, ticker="B")
    assert [frame["msg"]["market_ticker"] for frame in client.of("trade")] == ["B"]


# ---------------------------------------------------------------------- update_subscription, unsubscribe, list_subscriptions


def test_control_frames_consume_numbers_and_the_list_is_the_one_after_the_change():
    hall = Hall("A", "B")
    client = hall.client()
    client.subscribe(BOOK, market_ticker="A")
    client.say("update_subscription", sid=1, action="add_markets", market_tickers=["B", "A"])
    client.say("update_subscription", sids=[1], action="get_snapshot", market_tickers=["A", "B"])
    hall.world.order(1, 1, 4_000, 100)
    client.say("update_subscription", sid=1, action="delete_markets", market_ticker="B")
    client.say("update_subscription", sid=1, action="delete_markets", market_ticker="A")
    client.say("unsubscribe", sids=[1])
    numbered = [
        (frame["type"], frame.get("id"), frame["seq"], frame.get("msg"))
        for frame in client.frames
        if "seq" in frame
    ]
    assert [(kind, command_id, seq) for kind, command_id, seq, _ in numbered] == [
        ("orderbook_snapshot", None, 1),
        ("ok", 2, 2),
        ("orderbook_snapshot", None, 3),
        ("orderbook_snapshot", 3, 4),
        ("orderbook_snapshot", 3, 5),
        ("orderbook_delta", None, 6),
        ("ok", 4, 7),
        ("ok", 5, 8),
        ("unsubscribed", 6, 9),
    ]
    # Recorded: an ok without markets has the message {}.
    assert [message for kind, _, _, message in numbered if kind == "ok"] == [
        {"market_tickers": ["A", "B"]}, {"market_tickers": ["A"]}, {},
    ]  # fmt: skip


def test_skip_ticker_ack_leaves_the_markets_out_of_ok_and_not_out_of_the_list():
    client = Hall("A", "B").client()
    client.subscribe(BOOK, market_ticker="A", skip_ticker_ack=True)
    ok, _ = client.say("update_subscription", sid=1, action="add_markets", market_ticker="B")
    assert ok["msg"] == {}
    (listed,) = client.send({"id": 9, "cmd": "list_subscriptions"})
    assert listed["msg"][0]["market_tickers"] == ["A", "B"]


def test_unsubscribe_answers_for_every_sid():
    client = Hall("A").client()
    client.subscribe("trade", "ticker")
    answers = client.say("unsubscribe", sids=[2, 7, 1])
    assert [(answer["type"], answer.get("sid"), answer.get("seq")) for answer in answers] == [
        ("unsubscribed", 2, 1), ("error", None, None), ("unsubscribed", 1, 1),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("channel", "action", "code"),
    [
        ("trade", "get_snapshot", 13),
        ("order_group_updates", "add_markets", 13),
        ("market_lifecycle_v2", "delete_markets", 13),
        ("trade", "add_markets", 14),
    ],
)
def test_actions_that_a_channel_does_not_have(channel, action, code):
    client = Hall("A").client()
    client.subscribe(channel)
    params = {} if code == 14 else {"market_ticker": "A"}
    (answer,) = client.say("update_subscription", sid=1, action=action, **params)
    assert (error(answer), answer["id"], answer["sid"]) == (code, 2, 1)


def test_a_snapshot_of_an_unknown_market_is_an_error_that_counts():
    client = Hall("A").client()
    client.subscribe(BOOK, market_ticker="A")
    answers = client.say("update_subscription", sid=1, action="get_snapshot", market_tickers=["NOWHERE", "A"])
    assert [(answer["type"], answer["id"], answer["seq"]) for answer in answers] == [
        ("error", 2, 2), ("orderbook_snapshot", 2, 3),
    ]  # fmt: skip


def test_replies_are_written_as_the_venue_writes_them():
    """Recorded frames, byte for byte but for names and numbers (section 13.2)."""
    client = Hall("A").client()
    client.subscribe(BOOK, market_ticker="A")
    client.say("update_subscription", sid=1, action="add_markets", market_ticker="A")
    client.say("update_subscription", sid=1, action="get_snapshot", market_ticker="A")
    client.say("update_subscription", sid=1, action="delete_markets", market_ticker="A")
    client.say("unsubscribe", sids=[1])
    client.say("unsubscribe", sids=[1])
    name = f'"market_ticker":"A","market_id":"{market_id("A")}"'
    assert client.raw == [
        line.encode()
        for line in (
            '{"type":"subscribed","id":1,"msg":{"channel":"orderbook_delta","sid":1}}',
            f'{{"type":"orderbook_snapshot","sid":1,"seq":1,"msg":{{{name}}}}}',
            '{"type":"ok","id":2,"sid":1,"seq":2,"msg":{"market_tickers":["A"]}}',
            f'{{"type":"orderbook_snapshot","id":3,"sid":1,"seq":3,"msg":{{{name}}}}}',
            '{"type":"ok","id":4,"sid":1,"seq":4,"msg":{}}',
            '{"type":"unsubscribed","id":5,"sid":1,"seq":5}',
            '{"type":"error","id":6,"msg":{"code":7,"msg":"Unknown subscription ID"}}',
        )
    ]


def test_list_subscriptions_of_nothing_and_of_all_markets():
    client = Hall("A").client()
    assert client.send({"id": 1, "cmd": "list_subscriptions"}) == [{"type": "ok", "id": 1, "msg": []}]
    client.subscribe("ticker", "fill")
    (listed,) = client.send({"id": 2, "cmd": "list_subscriptions"})
    assert listed["msg"] == [{"channel": "ticker", "sid": 1}, {"channel": "fill", "sid": 2}]


def test_markets_by_id_on_the_ticker_channel():
    hall = Hall("A", "B")
    client = hall.client()
    answers = client.subscribe("ticker", market_ids=[market_id("B")], send_initial_snapshot=True)
    assert [answer["type"] for answer in answers] == ["subscribed", "ticker"]
    assert (answers[1]["msg"]["market_ticker"], answers[1]["msg"]["market_id"]) == ("B", market_id("B"))
    answers = client.say(
        "update_subscription",
        sid=1,
        action="add_markets",
        market_id=market_id("A"),
        send_initial_snapshot=True,
    )
    assert answers[0]["msg"] == {"market_ids": [market_id("A"), market_id("B")]}
    assert answers[1]["msg"]["market_ticker"] == "A"
    unknown = client.say("update_subscription", sid=1, action="add_markets", market_id="nobody's")
    assert (unknown[0]["type"], error(unknown[1])) == ("ok", 11)


def test_initial_ticks_of_all_markets_and_none_without_the_flag():
    hall = Hall("A", "B")
    told = hall.client().subscribe("ticker", send_initial_snapshot=True)
    assert [frame["msg"].get("market_ticker") for frame in told] == [None, "A", "B"]
    assert [frame["type"] for frame in hall.client().subscribe("ticker")] == ["subscribed"]


# ---------------------------------------------------------------------- keys and connections


def test_a_deleted_key_ends_its_connections_and_no_others():
    hall = Hall("M")
    mine, kept = hall.client(key_id="old"), hall.client(key_id="new")
    hall.feed.key_deleted("old")
    assert (mine.ends, kept.ends) == (["closed"], [])


def test_a_deleted_key_lives_as_long_as_its_revocation_takes():
    hall = Hall("M", switches={"revocation_delay_ms": 1_500})
    mine = hall.client(key_id="old")
    hall.feed.key_deleted("old")
    hall.world.wait(1_499)
    assert mine.ends == []
    hall.world.wait(1)
    assert mine.ends == ["closed"]


def test_a_connection_that_ended_is_told_nothing():
    hall = Hall("A", "B")
    client, other = hall.client(), hall.client()
    for one in (client, other):
        one.subscribe(BOOK, "trade", "fill", market_ticker="A")
        one.subscribe("ticker", "user_orders")
    hall.feed.sessions.remove(client.session)
    client.clear()
    other.clear()
    hall.world.order(1, 1, 4_000, 100)
    assert client.frames == []
    assert {frame["type"] for frame in other.frames} == {"orderbook_delta", "ticker", "user_order"}
    assert len(hall.feed.sessions) == 1
    hall.feed.sessions.remove(other.session)
    sessions = hall.feed.sessions
    assert (sessions._by_account, sessions.of(BOOK, "A"), sessions.of_all("ticker")) == ({}, (), ())
    assert not any(sessions._by_market.values()), "nothing is kept of connections that ended"


def test_5_000_markets_for_10_connections_are_found_without_looking_at_the_others():
    """Work is counted, not timed: who is asked about a market, and what a subscription costs the index."""
    tickers = [f"M{n}" for n in range(5_000)]
    hall = Hall("A")
    sessions = hall.feed.sessions
    market = hall.venue.markets["A"]
    hall.venue.markets |= dict.fromkeys(tickers, market)
    for _ in range(10):
        client = hall.client()
        client.feed.command(
            client.session,
            json.dumps(
                {
                    "id": 1,
                    "cmd": "subscribe",
                    "params": {"channels": ["ticker", "trade"], "market_tickers": tickers},
                }
            ),
        )
    assert len(sessions.of("ticker", "M77")) == 10
    assert sessions.of("ticker", "M77") is sessions.of("ticker", "M77"), "finding copies nothing"
    assert sessions.of("ticker", "A") == ()
