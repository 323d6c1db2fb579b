from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st
from soloist_kalshi.limits import TokenBucket


@given(
    rate=st.integers(1, 12_000),
    capacity=st.integers(1, 30_000),
    steps=st.lists(st.tuples(st.integers(0, 3_000_000), st.integers(0, 500)), max_size=60),
)
def test_the_bucket_agrees_with_exact_fractions(rate, capacity, steps):
    now = 0
    bucket = TokenBucket(refill_rate=rate, capacity=capacity, clock_us=lambda: now)
    level = Fraction(capacity)
    for elapsed_us, cost in steps:
        now += elapsed_us
        level = min(Fraction(capacity), level + Fraction(elapsed_us * rate, 1_000_000))
        took = bucket.try_take(cost)
        assert took == (level >= cost)
        if took:
            level -= cost


@given(rate=st.integers(1, 12_000), capacity=st.integers(1, 30_000), cost=st.integers(0, 40_000))
def test_after_the_wait_the_cost_is_there_and_not_a_microsecond_earlier(rate, capacity, cost):
    now = 0
    bucket = TokenBucket(refill_rate=rate, capacity=capacity, clock_us=lambda: now)
    bucket.drain()
    wait_us = bucket.wait_us(cost)
    if cost > capacity:
        assert wait_us is None
        return
    now = wait_us - 1
    if wait_us > 0:
        assert not bucket.try_take(cost)
    now = wait_us
    assert bucket.try_take(cost)
