"""The documented and recorded vectors of section 12."""

import pytest
from soloist_kalshi.fees import DIRECT_PRECISION, FeeAccumulator, maker_fee, taker_fee


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
