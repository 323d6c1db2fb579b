"""The documented and recorded vectors of section 12."""

import pytest
from soloist_kalshi.fees import (
    DIRECT_PRECISION,
    FeeAccumulator,
    FeeTerms,
    maker_fee,
    multiplier_from_number,
    taker_fee,
)
from soloist_kalshi.messages import Event, Series
from soloist_kalshi.numbers import NumberError


@pytest.mark.parametrize(
    ("price", "count", "fee"), [(5_200, 100, 17_500), (9_900, 100, 700), (3_301, 3, 500)]
)
def test_recorded_taker_fees(price, count, fee):
    assert taker_fee(price, count) == fee


@pytest.mark.parametrize(
    ("price", "count", "trade_fee", "net"),
    [
        (550, 100, 8_500, [15_000, 5_000, 15_000]),
        (5_000, 30, 4_100, [10_000, 0, 10_000]),
        (3_301, 3, 500, [10_097, 97, 97]),
    ],
)
def test_documented_rounding_for_a_cent_of_precision(price, count, trade_fee, net):
    accumulator = FeeAccumulator()
    assert [accumulator.charge(-price * count, trade_fee) for _ in range(3)] == net


def test_a_direct_member_pays_no_cents_of_rounding():
    accumulator = FeeAccumulator(DIRECT_PRECISION)
    assert accumulator.charge(-5_200 * 100, taker_fee(5_200, 100)) == 17_500
    assert accumulator.carried == 0


def test_a_sale_is_floored_too():
    assert FeeAccumulator().charge(5_200 * 100, 17_500) == 20_000  # 0.52 - 0.0175 = 0.5025, credited 0.50


def test_maker_fee_is_a_quarter_and_multipliers_scale():
    assert maker_fee(5_000, 10_000) * 4 == taker_fee(5_000, 10_000) == 1_750_000
    assert taker_fee(5_000, 10_000, multiplier=5_000) == 875_000
    assert taker_fee(5_200, 100, step=1) == 17_472


# The terms of series and events


def series(fee_type="quadratic", fee_multiplier=1.0):
    return Series(
        ticker="SE",
        frequency="daily",
        title="t",
        category="c",
        fee_type=fee_type,
        fee_multiplier=fee_multiplier,
    )


def event(**overrides):
    return Event(
        event_ticker="EV", series_ticker="SE", sub_title="s", title="t", mutually_exclusive=False, **overrides
    )


@pytest.mark.parametrize(
    ("fee_type", "maker"),
    [
        ("quadratic", 0),
        ("quadratic_with_maker_fees", 437_500),
        ("quadratic_with_combo_maker_fees", 875_000),
    ],
)
def test_the_maker_pays_by_the_kind_of_the_series(fee_type, maker):
    terms = FeeTerms.of(series(fee_type))
    assert terms.taker(5_000, 10_000) == 1_750_000
    assert terms.maker(5_000, 10_000) == maker


def test_an_override_of_the_event_wins_field_by_field():
    assert FeeTerms.of(series(fee_multiplier=2), event()) == FeeTerms("quadratic", 20_000)
    assert FeeTerms.of(series(), event(fee_multiplier_override=0.5)) == FeeTerms("quadratic", 5_000)
    other = event(fee_type_override="quadratic_with_maker_fees")
    assert FeeTerms.of(series(fee_multiplier=2), other) == FeeTerms("quadratic_with_maker_fees", 20_000)
    assert FeeTerms.of(series(), event(fee_multiplier_override=0)).taker(5_000, 100) == 0


def test_fees_without_a_formula_are_errors_and_not_zero():
    with pytest.raises(NumberError, match="'cubic', which has no formula"):
        FeeTerms.of(series("cubic"))
    flat = FeeTerms.of(series("flat"))
    for charge in (flat.taker, flat.maker):
        with pytest.raises(NumberError, match="no published formula"):
            charge(5_000, 100)


@pytest.mark.parametrize(("number", "multiplier"), [(1, 10_000), (0.035, 350), (1.1, 11_000), (0.0001, 1)])
def test_a_multiplier_is_exactly_what_the_venue_wrote(number, multiplier):
    assert multiplier_from_number(number) == multiplier


@pytest.mark.parametrize("number", [-1, 0.00001, float("nan"), float("inf")])
def test_a_multiplier_that_is_none(number):
    with pytest.raises(NumberError):
        multiplier_from_number(number)
