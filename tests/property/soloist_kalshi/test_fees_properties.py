from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st
from soloist_kalshi.fees import DIRECT_PRECISION, INDIRECT_PRECISION, FeeAccumulator, maker_fee, taker_fee

PRICES = st.integers(1, 9_999)
COUNTS = st.integers(1, 10_000_000)


@given(PRICES, COUNTS, st.integers(0, 30_000), st.sampled_from([1, 100]))
def test_the_trade_fee_is_the_formula_rounded_up(price, count, multiplier, step):
    p, c = Fraction(price, 10_000), Fraction(count, 100)
    for fee, rate in ((taker_fee, Fraction(7, 100)), (maker_fee, Fraction(175, 10_000))):
        exact = rate * c * p * (1 - p) * Fraction(multiplier, 10_000) * 1_000_000
        charged = fee(price, count, multiplier=multiplier, step=step)
        assert charged % step == 0
        assert 0 <= charged - exact < step


@given(
    st.sampled_from([DIRECT_PRECISION, INDIRECT_PRECISION]),
    st.lists(st.tuples(PRICES, st.integers(1, 10_000), st.booleans()), min_size=1, max_size=30),
)
def test_the_accumulator_keeps_the_balance_on_its_grid_and_never_pays_out(precision, fills):
    accumulator = FeeAccumulator(precision)
    fees = net = 0
    for price, count, buys in fills:
        cash = -price * count if buys else price * count
        fee = taker_fee(price, count)
        charged = accumulator.charge(cash, fee)
        assert charged >= 0
        assert (cash - charged) % precision == 0
        fees += fee
        net += charged
    # What was charged beyond the trade fees is exactly what the accumulator still carries.
    assert net - fees == accumulator.carried
