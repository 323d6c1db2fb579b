import json
import logging
import typing

import msgspec
import pytest
from soloist_kalshi import frames, frames_commands
from soloist_kalshi.codec import FrameDecoder, encode
from soloist_kalshi.errors import VenueProtocolError
from soloist_kalshi.frames import Command, Frame, OkFrame, OkMessage, SubscriptionInfo

# As on the wire, or as documented (section 13.4).
WIRE = {
    "orderbook_snapshot": {
        "sid": 2,
        "seq": 1,
        "msg": {
            "market_ticker": "SIM-A",
            "market_id": "m",
            "yes_dollars_fp": [["0.0800", "300.00"], ["0.2200", "333.00"]],
        },
    },
    "orderbook_delta": {
        "sid": 2,
        "seq": 3,
        "msg": {
            "market_ticker": "SIM-A",
            "market_id": "m",
            "price_dollars": "0.9600",
            "delta_fp": "-54.00",
            "side": "yes",
            "ts": "2026-08-11T00:00:00.000000Z",
            "ts_ms": 1,
        },
    },
    "ticker": {
        "sid": 3,
        "msg": {
            "market_id": "m",
            "market_ticker": "SIM-A",
            "price_dollars": "0.4800",
            "yes_bid_dollars": "0.4500",
            "yes_ask_dollars": "0.5300",
            "volume_fp": "33.00",
            "open_interest_fp": "20.00",
            "dollar_volume": 16,
            "dollar_open_interest": 10,
            "yes_bid_size_fp": "1.00",
            "yes_ask_size_fp": "1.00",
            "last_trade_size_fp": "1.00",
            "ts": 1,
            "ts_ms": 1_000,
            "time": "2026-08-11T00:00:00Z",
        },
    },
    "trade": {
        "sid": 4,
        "seq": 1,
        "msg": {
            "trade_id": "t",
            "market_ticker": "SIM-A",
            "yes_price_dollars": "0.3600",
            "no_price_dollars": "0.6400",
            "count_fp": "136.00",
            "taker_side": "no",
            "taker_outcome_side": "no",
            "taker_book_side": "ask",
            "is_block_trade": False,
            "ts": 1,
            "ts_ms": 1_000,
        },
    },
    "fill": {
        "sid": 5,
        "msg": {
            "trade_id": "t",
            "order_id": "o",
            "client_order_id": "c",
            "market_ticker": "SIM-A",
            "exchange_index": 0,
            "is_taker": True,
            "side": "yes",
            "yes_price_dollars": "0.7500",
            "count_fp": "2.78",
            "fee_cost": "0.036500",
            "action": "buy",
            "ts": 1,
            "ts_ms": 1_000,
            "post_position_fp": "-5.00",
            "purchased_side": "yes",
            "outcome_side": "yes",
            "book_side": "bid",
            "subaccount": 0,
        },
    },
    "market_position": {
        "sid": 6,
        "msg": {
            "user_id": "u",
            "market_ticker": "SIM-A",
            "position_fp": "-10.00",
            "position_cost_dollars": "5.000000",
            "realized_pnl_dollars": "-1.000000",
            "fees_paid_dollars": "0.100000",
            "position_fee_cost_dollars": "0.050000",
            "volume_fp": "20.00",
        },
    },
    "user_order": {
        "sid": 7,
        "msg": {
            "order_id": "o",
            "user_id": "u",
            "ticker": "SIM-A",
            "exchange_index": 0,
            "status": "canceled",
            "side": "yes",
            "is_yes": True,
            "outcome_side": "yes",
            "book_side": "bid",
            "yes_price_dollars": "0.3500",
            "fill_count_fp": "1.00",
            "remaining_count_fp": "0.00",
            "initial_count_fp": "10.00",
            "taker_fill_cost_dollars": "0.350000",
            "maker_fill_cost_dollars": "0.000000",
            "taker_fees_dollars": "0.016000",
            "maker_fees_dollars": "0.000000",
            "client_order_id": "c",
            "self_trade_prevention_type": "taker_at_cross",
            "created_time": "2026-08-11T00:00:00Z",
            "created_ts_ms": 1,
            "last_update_time": "2026-08-11T00:00:00Z",
            "last_update_ts_ms": 1,
            "last_update_reason": "CloseCancel",
            "subaccount_number": 0,
        },
    },
    "market_lifecycle_v2": {
        "sid": 8,
        "seq": 1,
        "msg": {
            "market_ticker": "SIM-A",
            "event_type": "created",
            "exchange_index": 0,
            "open_ts": 1,
            "close_ts": 2,
            "additional_metadata": {
                "name": "Rain",
                "title": "Rain tomorrow",
                "yes_sub_title": "Rain",
                "no_sub_title": "No rain",
                "rules_primary": "If it rains",
                "rules_secondary": "",
                "can_close_early": True,
                "event_ticker": "SIM",
                "expected_expiration_ts": 2,
                "strike_type": "greater",
                "floor_strike": 4487.5,
            },
            "price_level_structure": "linear_cent",
            "price_ranges": [{"start": "0.0000", "end": "1.0000", "step": "0.0100"}],
        },
    },
    "event_lifecycle": {
        "sid": 8,
        "seq": 2,
        "msg": {
            "event_ticker": "SIM",
            "exchange_index": 0,
            "title": "Rain tomorrow",
            "subtitle": "",
            "collateral_return_type": "MECNET",
            "series_ticker": "SIMS",
            "strike_date": 1,
        },
    },
    "event_fee_update": {
        "sid": 8,
        "seq": 3,
        "msg": {"event_ticker": "SIM", "fee_type_override": "quadratic", "fee_multiplier_override": 0.5},
    },
    "order_group_updates": {
        "sid": 9,
        "seq": 1,
        "msg": {
            "event_type": "limit_updated",
            "order_group_id": "g",
            "contracts_limit_fp": "150.00",
            "ts_ms": 1_000,
        },
    },
    "subscribed": {"id": 1, "msg": {"channel": "orderbook_delta", "sid": 1}},
    "ok": {"id": 2, "sid": 1, "seq": 4, "msg": {"market_tickers": ["SIM-A", "SIM-B"]}},
    "unsubscribed": {"id": 3, "sid": 1, "seq": 9},
    "error": {"sid": 1, "seq": 10, "msg": {"code": 25, "msg": "Subscription buffer overflow"}},
}


def wire(kind, **changes):
    return json.dumps({"type": kind, **WIRE[kind], **changes}).encode() + b"\n"


@pytest.mark.parametrize("kind", WIRE)
def test_every_frame_goes_both_ways_without_loss(kind):
    decoder = FrameDecoder()
    frame = decoder.decode(wire(kind))
    assert type(frame).__struct_config__.tag == kind
    assert json.loads(encode(frame)) == {"type": kind, **WIRE[kind]}
    assert decoder.unknown.counts == {}


def test_every_known_frame_is_tried_here():
    assert {member.__struct_config__.tag for member in typing.get_args(Frame)} == set(WIRE)


def _required(kind):
    """Yield the paths of all required fields of a frame."""
    member = next(member for member in typing.get_args(Frame) if member.__struct_config__.tag == kind)
    message = next((field.type for field in msgspec.structs.fields(member) if field.name == "msg"), None)
    for field in msgspec.structs.fields(member):
        if field.required:
            yield (field.name,)
    if isinstance(message, type):
        for field in msgspec.structs.fields(message):
            if field.required and kind != "event_fee_update":  # its nulls mean something
                yield ("msg", field.name)


@pytest.mark.parametrize(("kind", "path"), [(kind, path) for kind in WIRE for path in _required(kind)])
def test_a_missing_null_or_wrongly_typed_field_keeps_the_raw_frame(kind, path):
    for replacement in ("absent", None, {"x": 1}, 1.5):
        body = json.loads(wire(kind))
        target = body if len(path) == 1 else body["msg"]
        if replacement == "absent":
            del target[path[-1]]
        else:
            target[path[-1]] = replacement
        raw = json.dumps(body).encode()
        with pytest.raises(VenueProtocolError) as caught:
            FrameDecoder().decode(raw)
        assert caught.value.raw == raw


@pytest.mark.parametrize("number", [0.56, 56, "0.56x", "", "-", "1e2", "0.12345", "0.5600\n"])
def test_numbers_are_texts_of_the_contract(number):
    body = json.loads(wire("orderbook_delta"))
    body["msg"]["price_dollars"] = number
    with pytest.raises(VenueProtocolError):
        FrameDecoder().decode(json.dumps(body).encode())


def test_a_cleared_fee_override_is_null_and_not_absent():
    body = json.loads(wire("event_fee_update"))
    body["msg"] |= {"fee_type_override": None, "fee_multiplier_override": None}
    frame = FrameDecoder().decode(json.dumps(body).encode())
    assert (frame.msg.fee_type_override, frame.msg.fee_multiplier_override) == (None, None)
    assert json.loads(encode(frame)) == body
    for name in ("event_ticker", "fee_type_override", "fee_multiplier_override"):
        short = json.loads(wire("event_fee_update"))
        del short["msg"][name]
        with pytest.raises(VenueProtocolError, match=name):
            FrameDecoder().decode(json.dumps(short).encode())


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        ("fill", ["side", "action", "purchased_side", "ts"]),
        ("user_order", ["side", "is_yes", "created_time", "last_update_time", "expiration_time"]),
        ("trade", ["taker_side"]),
        ("ticker", ["time"]),
        ("orderbook_delta", ["ts"]),
    ],
)
def test_deprecated_fields_may_go(kind, names):
    body = json.loads(wire(kind))
    for name in names:
        body["msg"].pop(name, None)
    decoder = FrameDecoder()
    assert json.loads(encode(decoder.decode(json.dumps(body).encode()))) == body


def test_both_spellings_of_the_last_update_are_known():
    body = json.loads(wire("user_order"))
    body["msg"]["last_updated_ts_ms"] = 2
    decoder = FrameDecoder()
    assert decoder.decode(json.dumps(body).encode()).msg.last_updated_ts_ms == 2
    assert decoder.unknown.counts == {}


@pytest.mark.parametrize("kind", ["subscribed", "ok", "unsubscribed", "error"])
def test_a_reply_to_a_command_without_an_id_has_none(kind):
    body = json.loads(wire(kind))
    body.pop("id", None)
    assert FrameDecoder().decode(json.dumps(body).encode()).id is None


@pytest.mark.parametrize("message", [{}, {"market_tickers": []}])
def test_ok_with_and_without_a_list(message):
    frame = FrameDecoder().decode(wire("ok", msg=message))
    assert isinstance(frame, OkFrame)
    assert isinstance(frame.msg, OkMessage)


def test_ok_of_list_subscriptions():
    frame = FrameDecoder().decode(wire("ok", msg=[{"channel": "trade", "sid": 2}]))
    assert frame.msg == [SubscriptionInfo(channel="trade", sid=2)]


def test_a_type_that_is_new_to_us_is_handed_on_whole():
    decoder = FrameDecoder()
    raw = b'{"type":"pyth_value","sid":3,"seq":7,"msg":{"value_usd":"82.1"}}'
    frame = decoder.decode(raw)
    assert (frame.type, frame.raw, frame.sid, frame.seq) == ("pyth_value", raw, 3, 7)
    assert decoder.unknown_types == {"pyth_value": 1}


@pytest.mark.parametrize("module", [frames, frames_commands])
def test_every_struct_is_frozen_and_public(module):
    structs = [
        value
        for value in vars(module).values()
        if isinstance(value, type)
        and issubclass(value, msgspec.Struct)
        and value.__module__ == module.__name__
    ]
    assert structs
    for struct in structs:
        assert struct.__struct_config__.frozen, struct
        assert struct.__name__ in module.__all__, struct


def test_new_fields_are_counted_at_every_depth_and_logged_once(caplog):
    decoder = FrameDecoder()
    body = json.loads(wire("ok", msg=[{"channel": "trade", "sid": 2, "deep": 1}], top=1))
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            decoder.decode(json.dumps(body).encode())
    assert decoder.unknown.counts == {"OkFrame.top": 3, "SubscriptionInfo.deep": 3}
    assert len(caplog.records) == 2


def test_a_new_field_in_late_frames_is_found_by_sampling():
    decoder = FrameDecoder()
    for _ in range(FrameDecoder.SAMPLE_FIRST):
        decoder.decode(wire("unsubscribed"))
    for _ in range(FrameDecoder.SAMPLE_EVERY):
        decoder.decode(wire("unsubscribed", late=1))
    assert decoder.unknown.counts["UnsubscribedFrame.late"] == 1


@pytest.mark.parametrize(
    "raw",
    [
        b'{"id":1,"cmd":"subscribe","params":{"channels":["trade"]}}',
        b'{"id":1,"cmd":"subscribe","params":{"channels":["ticker"],"market_ids":["m"],"skip_ticker_ack":true}}',
        b'{"id":2,"cmd":"unsubscribe","params":{"sids":[1]}}',
        b'{"id":3,"cmd":"update_subscription","params":{"action":"get_snapshot","sid":1,"market_ticker":"SIM-A"}}',
        b'{"id":4,"cmd":"list_subscriptions"}',
    ],
)
def test_the_exchange_decodes_commands_with_the_same_structs(raw):
    command = msgspec.json.decode(raw, type=Command)
    assert json.loads(encode(command)) == json.loads(raw)


@pytest.mark.parametrize("number", [0, -1])
def test_command_ids_start_at_one(number):
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(f'{{"id":{number},"cmd":"list_subscriptions"}}', type=Command)
