from email.utils import formatdate

from hypothesis import given
from hypothesis import strategies as st
from soloist_kalshi.clock import ServerClock


@given(
    offset_ms=st.integers(-60_000, 60_000),
    replies=st.lists(
        st.tuples(st.integers(0, 5_000), st.integers(0, 400), st.integers(0, 400)), min_size=1, max_size=40
    ),
)
def test_the_true_skew_is_always_inside_the_measured_interval(offset_ms, replies):
    """Whatever the delays on both ways are, the estimate is off by no more than its stated uncertainty."""
    start_ms = 1_800_000_000_000
    now = 0
    clock = ServerClock(wall_ms=lambda: start_ms + now, monotonic_ms=lambda: now)
    for pause_ms, out_ms, back_ms in replies:
        now += pause_ms
        sent_ms = now
        now += out_ms
        venue_ms = start_ms + now - offset_ms
        now += back_ms
        clock.observe(formatdate(venue_ms // 1000, usegmt=True), sent_ms)
    assert abs(clock.skew_ms - offset_ms) <= clock.uncertainty_ms + 1
    assert clock.uncertainty_ms <= 900
