from __future__ import annotations

import uuid

import pytest
from soloist_exchange.orders import ASK, BID, SelfTrade
from soloist_exchange.wire_frames import market_id, timestamp

from tests.unit.soloist_exchange.bare_venues import START_MS, YEAR_MS
from tests.unit.soloist_exchange.feed_sockets import OTHER, OWNER, Hall

BOOK = "orderbook_delta"
NOW = "2023-11-14T22:13:20.000000Z"


def test_times_are_printed_with_microseconds():
    assert timestamp(START_MS) == NOW
    assert timestamp(START_MS + 61_007) == "2023-11-14T22:14:21.007000Z"


def test_a_market_id_is_a_uuid_and_stays_the_same():
    assert str(uuid.UUID(market_id("M"))) == market_id("M") != market_id("N")


# ---------------------------------------------------------------------- orderbook_delta


def test_a_snapshot_and_a_delta_in_no_prices_and_in_yes_prices():
    hall = Hall("M")
    hall.world.order(OWNER, BID, 4_000, 150)
    hall.world.order(OWNER, BID, 3_900, 100)
    hall.world.order(OTHER, ASK, 6_000, 250)
    of_no, of_yes = hall.client(3), hall.client(3)
    (snapshot,) = of_no.subscribe(BOOK, market_ticker="M")[1:]
    assert snapshot == {
        "type": "orderbook_snapshot",
        "sid": 1,
        "seq": 1,
        "msg": {
            "market_ticker": "M",
            "market_id": market_id("M"),
            "yes_dollars_fp": [["0.3900", "1.00"], ["0.4000", "1.50"]],
            "no_dollars_fp": [["0.4000", "2.50"]],
        },
    }
    (in_yes,) = of_yes.subscribe(BOOK, market_ticker="M", use_yes_price=True)[1:]
    assert in_yes["msg"]["no_dollars_fp"] == [["0.6000", "2.50"]]
    hall.world.order(OTHER, ASK, 6_000, 50)
    (delta,) = of_no.of(BOOK)
    assert delta == {
        "type": BOOK,
        "sid": 1,
        "seq": 2,
        "msg": {
            "market_ticker": "M",
            "market_id": market_id("M"),
            "price_dollars": "0.4000",
            "delta_fp": "0.50",
            "side": "no",
            "ts": NOW,
            "ts_ms": START_MS,
        },
    }
    assert of_yes.of(BOOK)[0]["msg"] == {**delta["msg"], "price_dollars": "0.6000"}
    hall.world.order(OWNER, BID, 3_900, 1)
    assert of_no.of(BOOK)[1]["msg"]["price_dollars"] == of_yes.of(BOOK)[1]["msg"]["price_dollars"] == "0.3900"
    hall.world.order(OWNER, BID, 6_000, 300)
    assert [(f["msg"]["side"], f["msg"]["delta_fp"]) for f in of_no.of(BOOK)[2:]] == [
        ("no", "-2.50"),
        ("no", "-0.50"),
    ]


@pytest.mark.parametrize(
    ("orders", "present"),
    [([], set()), ([(BID, 4_000)], {"yes_dollars_fp"}), ([(ASK, 6_000)], {"no_dollars_fp"})],
)
def test_an_empty_side_is_absent(orders, present):
    hall = Hall("M")
    for side, price in orders:
        hall.world.order(OWNER, side, price, 100)
    (snapshot,) = hall.client().subscribe(BOOK, market_ticker="M")[1:]
    assert set(snapshot["msg"]) - {"market_ticker", "market_id"} == present


def test_only_the_owner_sees_whose_order_it_was():
    hall = Hall("M")
    owner, stranger = hall.client(OWNER), hall.client(OTHER)
    bound_to_it, bound_elsewhere = hall.client(OWNER, subaccount=3), hall.client(OWNER, subaccount=0)
    for client in (owner, stranger, bound_to_it, bound_elsewhere):
        client.subscribe(BOOK, market_ticker="M")
    hall.venue.transfer(OWNER, 0, 3, 0, 0, 100_000_000)
    order = hall.world.order(OWNER, BID, 4_000, 100, subaccount=3, client_order_id='my "own" \N{EURO SIGN}')
    for client, sees in ((owner, True), (stranger, False), (bound_to_it, True), (bound_elsewhere, False)):
        (delta,) = client.of(BOOK)
        own = {name: delta["msg"][name] for name in ("client_order_id", "subaccount") if name in delta["msg"]}
        assert own == ({"client_order_id": order.client_order_id, "subaccount": 3} if sees else {})
    hall.world.order(OTHER, BID, 4_000, 100, client_order_id="")
    assert "client_order_id" not in stranger.of(BOOK)[1]["msg"]
    assert stranger.of(BOOK)[1]["msg"]["subaccount"] == 0


def test_seq_runs_over_all_markets_of_a_sid_and_every_sid_has_its_own():
    hall = Hall("A", "B")
    client = hall.client(OTHER)
    client.subscribe(BOOK, "trade", market_tickers=["A", "B"])
    for ticker in ("A", "B", "A"):
        hall.world.order(OWNER, BID, 4_000, 100, ticker=ticker)
    hall.world.order(OWNER, ASK, 4_000, 100, ticker="B", self_trade=SelfTrade.MAKER)
    hall.world.order(OTHER, ASK, 4_000, 100, ticker="A")
    assert [frame["seq"] for frame in client.frames if frame.get("sid") == 1] == list(range(1, 9))
    assert [frame["seq"] for frame in client.of("trade")] == [1]


def test_nothing_of_a_market_that_was_taken_away():
    hall = Hall("A", "B")
    client = hall.client(OTHER)
    client.subscribe(BOOK, market_tickers=["A", "B"])
    client.say("update_subscription", sid=1, action="delete_markets", market_ticker="A")
    for ticker in ("A", "B"):
        hall.world.order(OWNER, BID, 4_000, 100, ticker=ticker)
    assert [(frame["seq"], frame["msg"]["market_ticker"]) for frame in client.of(BOOK)] == [(4, "B")]


# ---------------------------------------------------------------------- ticker, trade


def test_a_tick_has_every_field_and_no_seq_and_comes_when_one_changes():
    hall = Hall("M")
    client = hall.client()
    client.subscribe("ticker")
    hall.world.order(OWNER, BID, 4_000, 150)
    hall.world.order(OWNER, BID, 3_000, 100)
    assert len(client.of("ticker")) == 1, "a change below the top is no tick"
    hall.world.order(OTHER, ASK, 4_000, 50)
    assert client.of("ticker")[-1] == {
        "type": "ticker",
        "sid": 1,
        "msg": {
            "market_id": market_id("M"),
            "market_ticker": "M",
            "price_dollars": "0.4000",
            "yes_bid_dollars": "0.4000",
            "yes_ask_dollars": "1.0000",
            "volume_fp": "0.50",
            "open_interest_fp": "0.50",
            "dollar_volume": 0,
            "dollar_open_interest": 0,
            "yes_bid_size_fp": "1.00",
            "yes_ask_size_fp": "0.00",
            "last_trade_size_fp": "0.50",
            "ts": START_MS // 1000,
            "ts_ms": START_MS,
            "time": NOW,
        },
    }


def test_what_a_tick_shows_brings_a_tick_and_nothing_else_does():
    hall = Hall("M")
    hall.world.order(OWNER, BID, 4_000, 100)
    hall.world.order(OWNER, ASK, 6_000, 100)
    client = hall.client(3)
    client.subscribe("ticker")

    def ticks():
        told = [(f["msg"]["yes_bid_dollars"], f["msg"]["yes_bid_size_fp"]) for f in client.of("ticker")]
        client.clear()
        return told

    below = hall.world.order(OWNER, BID, 3_900, 100)
    above = hall.world.order(OWNER, ASK, 6_100, 100)
    hall.venue.decrease(below, to=50)
    hall.venue.cancel(above)
    assert ticks() == []
    joined = hall.world.order(OTHER, BID, 4_000, 100)
    assert ticks() == [("0.4000", "2.00")]
    better = hall.world.order(OTHER, BID, 4_100, 300)
    assert ticks() == [("0.4100", "3.00")]
    hall.world.order(OWNER, ASK, 4_100, 100)
    assert ticks() == [("0.4100", "2.00")]
    hall.venue.cancel(better)
    assert ticks() == [("0.4000", "2.00")]
    hall.venue.cancel(joined)
    assert ticks() == [("0.4000", "1.00")]
    hall.venue.cancel_all(OWNER, None)
    assert ticks()[-1] == ("0.0000", "0.00")
    hall.venue.deactivate("M")
    hall.venue.activate("M")
    hall.venue.close("M")
    hall.venue.determine("M", "yes")
    assert ticks() == []
    hall.venue.settle("M")
    assert client.of("ticker")[0]["msg"]["open_interest_fp"] == "0.00"


def test_a_public_trade_is_told_from_the_taker_s_side():
    hall = Hall("M")
    client = hall.client(3)
    client.subscribe("trade", market_ticker="M")
    hall.world.order(OWNER, BID, 4_000, 150)
    hall.world.order(OTHER, ASK, 3_500, 100)
    assert client.frames[1:] == [
        {
            "type": "trade",
            "sid": 1,
            "seq": 1,
            "msg": {
                "trade_id": hall.world.tape.fills[0].trade_id,
                "market_ticker": "M",
                "yes_price_dollars": "0.4000",
                "no_price_dollars": "0.6000",
                "count_fp": "1.00",
                "taker_side": "no",
                "taker_outcome_side": "no",
                "taker_book_side": "ask",
                "is_block_trade": False,
                "ts": START_MS // 1000,
                "ts_ms": START_MS,
            },
        }
    ]


# ---------------------------------------------------------------------- market_lifecycle_v2


def test_the_life_of_a_market():
    hall = Hall("OLD")
    client = hall.client()
    client.subscribe("market_lifecycle_v2", market_ticker="ELSEWHERE")
    venue, close_ms = hall.venue, START_MS + YEAR_MS
    hall.world.market("M", event_ticker="RAIN", exchange_index=1)
    hall.world.market("N", event_ticker="RAIN", exchange_index=1)
    venue.deactivate("M")
    venue.activate("M")
    venue.move_close("M", close_ms - 1_000)
    venue.set_price_ranges("M", [{"start": "0.0000", "end": "1.0000", "step": "0.0010"}], "deci_cent")
    venue.lifecycle.set_title(venue.markets["M"], "Much rain")
    venue.close("M")
    hall.world.wait(5_000)
    venue.determine("M", "no")
    venue.settle("M")
    told = client.frames[1:]
    assert [frame["seq"] for frame in told] == list(range(1, len(told) + 1))
    assert told[0] == {
        "type": "event_lifecycle",
        "sid": 1,
        "seq": 1,
        "msg": {
            "event_ticker": "RAIN",
            "exchange_index": venue.events["RAIN"].exchange_index,
            "title": venue.events["RAIN"].title,
            "subtitle": "",
            "collateral_return_type": "",
            "series_ticker": venue.events["RAIN"].series_ticker,
        },
    }
    assert told[1]["msg"] == {
        "market_ticker": "M",
        "event_type": "created",
        "exchange_index": 1,
        "open_ts": START_MS // 1000,
        "close_ts": close_ms // 1000,
        "additional_metadata": {
            "name": "M",
            "title": "M",
            "yes_sub_title": "Yes",
            "no_sub_title": "No",
            "rules_primary": "A simulated market of the local exchange.",
            "rules_secondary": "",
            "can_close_early": True,
            "event_ticker": "RAIN",
            "expected_expiration_ts": close_ms // 1000,
        },
        "price_level_structure": "linear_cent",
        "price_ranges": [{"start": "0.0000", "end": "1.0000", "step": "0.0100"}],
    }
    assert [frame["type"] for frame in told].count("event_lifecycle") == 1, "an event is new once"
    seconds = START_MS // 1000 + 5
    assert [frame["msg"] for frame in told if frame["msg"].get("market_ticker") == "M"][1:] == [
        {"market_ticker": "M", "event_type": "deactivated", "is_deactivated": True},
        {"market_ticker": "M", "event_type": "activated", "is_deactivated": False},
        {"market_ticker": "M", "event_type": "close_date_updated", "close_ts": close_ms // 1000 - 1},
        {
            "market_ticker": "M",
            "event_type": "price_level_structure_updated",
            "price_level_structure": "deci_cent",
            "price_ranges": [{"start": "0.0000", "end": "1.0000", "step": "0.0010"}],
        },
        {"market_ticker": "M", "event_type": "metadata_updated", "yes_sub_title": "Much rain"},
        {"market_ticker": "M", "event_type": "close_date_updated", "close_ts": START_MS // 1000},
        {
            "market_ticker": "M",
            "event_type": "determined",
            "result": "no",
            "settlement_value": "0.0000",
            "determination_ts": seconds,
        },
        {"market_ticker": "M", "event_type": "settled", "settled_ts": seconds},
    ]


def test_a_fee_of_an_event_is_told_and_taken_back():
    hall = Hall("M")
    client = hall.client()
    client.subscribe("market_lifecycle_v2")
    event = hall.venue.events["EVENT-M"]
    hall.feed.event_fee_changed(event, "quadratic_with_maker_fees", 0.5)
    hall.feed.event_fee_changed(event, None, None)
    assert client.frames[1:] == [
        {
            "type": "event_fee_update",
            "sid": 1,
            "seq": seq,
            "msg": {
                "event_ticker": "EVENT-M",
                "fee_type_override": kind,
                "fee_multiplier_override": multiplier,
            },
        }
        for seq, kind, multiplier in ((1, "quadratic_with_maker_fees", 0.5), (2, None, None))
    ]
