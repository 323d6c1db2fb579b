import json

import msgspec
import pytest
from soloist_kalshi import messages
from soloist_kalshi.codec import UnknownFields, decode, encode
from soloist_kalshi.errors import VenueProtocolError


def test_the_count_of_unknown_names_is_bounded():
    unknown = UnknownFields()
    for number in range(UnknownFields.LIMIT + 100):
        unknown.note(f"X.{number}")
    assert len(unknown.counts) == UnknownFields.LIMIT


def test_an_html_page_is_called_one():
    with pytest.raises(VenueProtocolError, match="HTML page instead of Balance: check the base URL"):
        decode(b" <!DOCTYPE html>", messages.Balance)


def test_absent_and_null_optional_fields_are_alike_and_never_sent():
    body = b'{"exchange_active":true,"trading_active":true,"exchange_estimated_resume_time":null}'
    status = decode(body, messages.ExchangeStatus)
    assert encode(status) == b'{"exchange_active":true,"trading_active":true}'


@pytest.mark.parametrize("module", [messages])
def test_every_struct_is_frozen_and_public(module):
    structs = [
        value
        for name, value in vars(module).items()
        if isinstance(value, type)
        and issubclass(value, msgspec.Struct)
        and value.__module__ == module.__name__
    ]
    for struct in structs:
        assert struct.__struct_config__.frozen, struct
        assert struct.__struct_config__.omit_defaults, struct
        assert struct.__name__.startswith("_") or struct.__name__ in module.__all__, struct


MARKET = {
    "ticker": "SIM-A",
    "event_ticker": "SIM",
    "market_type": "binary",
    "yes_sub_title": "yes",
    "no_sub_title": "no",
    "created_time": "2026-06-11T05:12:22.338653Z",
    "updated_time": "2026-06-11T05:12:22Z",
    "open_time": "2026-06-11T05:12:22Z",
    "close_time": "2026-06-25T16:00:00Z",
    "latest_expiration_time": "2026-06-25T16:00:00Z",
    "settlement_timer_seconds": 300,
    "status": "active",
    "yes_bid_dollars": "0.4500",
    "yes_bid_size_fp": "1.00",
    "yes_ask_dollars": "0.5300",
    "yes_ask_size_fp": "1.00",
    "no_bid_dollars": "0.4700",
    "no_ask_dollars": "0.5500",
    "last_price_dollars": "0.0000",
    "volume_fp": "0.00",
    "volume_24h_fp": "0.00",
    "result": "",
    "can_close_early": True,
    "open_interest_fp": "0.00",
    "notional_value_dollars": "1.0000",
    "previous_yes_bid_dollars": "0.0000",
    "previous_yes_ask_dollars": "0.0000",
    "previous_price_dollars": "0.0000",
    "expiration_value": "",
    "rules_primary": "",
    "rules_secondary": "",
    "price_level_structure": "linear_cent",
    "price_ranges": [{"start": "0.0000", "end": "1.0000", "step": "0.0100"}],
}


@pytest.mark.parametrize(
    "strike",
    [
        {},
        {"strike_type": "greater", "floor_strike": 91},
        {"strike_type": "between", "floor_strike": 91.5, "cap_strike": 92.5},
        {"strike_type": "structured", "custom_strike": {"tennis_competitor": "367dcce8"}},
        {"mve_selected_legs": [{"event_ticker": "E", "market_ticker": "M", "side": "yes"}]},
    ],
)
def test_markets_with_every_kind_of_strike(strike):
    unknown = UnknownFields()
    market = decode(json.dumps({**MARKET, **strike}).encode(), messages.Market, unknown)
    assert json.loads(encode(market)) == {**MARKET, **strike}
    assert unknown.counts == {}
    assert market.price_grid().contains(5_300)


@pytest.mark.parametrize("field", MARKET)
def test_every_required_field_of_a_market_is_missed(field):
    raw = json.dumps({name: value for name, value in MARKET.items() if name != field}).encode()
    with pytest.raises(VenueProtocolError, match=field):
        decode(raw, messages.Market)
