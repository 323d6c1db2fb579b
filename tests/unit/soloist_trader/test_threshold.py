import pytest
from pydantic import ValidationError
from soloist_trader.core.strategy import MarketView, price_at_or_above, price_at_or_below
from soloist_trader.core.units import ASK, BID, GOOD_TILL_CANCELED, IMMEDIATE_OR_CANCEL
from soloist_trader.strategies.threshold import Threshold, ThresholdParameters

TICKS = tuple(range(100, 10_000, 100))
NOW_MS = 1_000_000


def strategy(**parameters):
    return Threshold(ThresholdParameters.model_validate({"minimum_seconds_to_close": 0, **parameters}))


def view(**fields):
    shown = MarketView("M")
    shown.now_ms, shown.ticks, shown.volume = NOW_MS, TICKS, 100_000
    shown.bid_price, shown.bid_count, shown.ask_price, shown.ask_count = 4_900, 500, 5_000, 500
    for name, value in fields.items():
        setattr(shown, name, value)
    return shown


def long(**fields):
    return view(position=100, average_price=5_000, opened_ms=NOW_MS - 100, **fields)


def short(**fields):
    return view(position=-100, average_price=5_000, opened_ms=NOW_MS - 100, **fields)


def test_enters_where_every_filter_fits():
    (target,) = strategy(order_contracts="2.50").targets(view())
    assert target == (BID, "entry", 5_000, 250, IMMEDIATE_OR_CANCEL, False)


@pytest.mark.parametrize(
    ("parameters", "fields"),
    [
        ({"minimum_probability": "0.50"}, {}),
        ({"maximum_probability": "0.49"}, {}),
        ({"maximum_spread_dollars": "0.0099"}, {}),
        ({"minimum_liquidity_contracts": "5.01"}, {}),
        ({"minimum_volume_contracts": "1000.01"}, {}),
        ({"minimum_seconds_to_close": 61}, {"close_time_ms": NOW_MS + 60_000}),
        ({}, {"ask_price": 0}),
        ({}, {"bid_price": 0}),
    ],
)
def test_each_filter_keeps_it_out_and_alone(parameters, fields):
    assert strategy(**parameters).targets(view(**fields)) == []


def test_a_cool_down_follows_an_entry():
    found = strategy(cooldown_seconds=2)
    found.entered("M", NOW_MS - 1_999)
    assert found.targets(view()) == []
    found.entered("M", NOW_MS - 2_000)
    assert found.targets(view())


def test_join_rests_at_the_own_sides_best_price_and_follows_it():
    found = strategy(entry="join", cooldown_seconds=60)
    assert found.targets(view()) == [(BID, "entry", 4_900, 100, GOOD_TILL_CANCELED, False)]
    found.entered("M", NOW_MS)
    assert found.targets(view(unsettled_bids=100, bid_price=4_800)) == [
        (BID, "entry", 4_800, 100, GOOD_TILL_CANCELED, False)
    ]


def test_no_buys_no_by_selling_yes():
    (target,) = strategy(side="no").targets(view())
    assert target[:4] == (ASK, "entry", 4_900, 100)


@pytest.mark.parametrize(
    ("held", "fields", "expected"),
    [
        (long, {}, (ASK, 5_200, GOOD_TILL_CANCELED)),
        (long, {"bid_price": 4_700}, (ASK, 4_700, IMMEDIATE_OR_CANCEL)),
        (long, {"bid_price": 4_701}, (ASK, 5_200, GOOD_TILL_CANCELED)),
        (long, {"now_ms": NOW_MS + 59_900}, (ASK, 4_900, IMMEDIATE_OR_CANCEL)),
        (short, {}, (BID, 4_800, GOOD_TILL_CANCELED)),
        (short, {"ask_price": 5_300}, (BID, 5_300, IMMEDIATE_OR_CANCEL)),
        (short, {"now_ms": NOW_MS + 60_000}, (BID, 5_000, IMMEDIATE_OR_CANCEL)),
    ],
)
def test_leaves_by_profit_loss_or_time(held, fields, expected):
    (target,) = strategy().targets(held(**fields))
    assert (target.side, target.price, target.time_in_force) == expected
    assert (target.level, target.size) == ("exit", 100)


def test_without_a_price_to_leave_at_it_waits():
    assert strategy(maximum_hold_seconds=0.001).targets(long(bid_price=0)) == []


def test_profit_and_loss_can_be_switched_off():
    found = strategy(take_profit_dollars=None, stop_loss_dollars=None)
    assert found.targets(long(bid_price=100)) == []


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"order_contracts": 5}, "quoted decimal"),
        ({"order_contracts": "0"}, "nothing would ever be bought"),
        ({"minimum_probability": "0.9", "maximum_probability": "0.1"}, "no price can be between"),
        ({"take_profit_dollars": "2 cents"}, "not a decimal"),
        ({"maximum_hold_seconds": 0}, "greater than 0"),
    ],
)
def test_bad_parameters_are_refused_with_a_reason(parameters, message):
    with pytest.raises(ValidationError, match=message):
        ThresholdParameters.model_validate(parameters)


def test_prices_snap_to_the_grid_and_stay_inside_it():
    assert price_at_or_above(TICKS, 5_001) == 5_100
    assert price_at_or_below(TICKS, 5_099) == 5_000
    assert price_at_or_above(TICKS, 12_000) == 9_900
    assert price_at_or_below(TICKS, -5) == 100
