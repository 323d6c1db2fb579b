from email.utils import formatdate

import pytest
from soloist_kalshi.clock import ServerClock
from soloist_kalshi.errors import VenueClockSkew

START_MS = 1_800_000_000_000


class World:
    """A monotonic clock, and a wall clock `offset_ms` ahead of the venue's."""

    def __init__(self, offset_ms=0):
        self.now_ms = 0
        self.offset_ms = offset_ms
        self.clock = ServerClock(
            wall_ms=lambda: START_MS + self.now_ms + self.offset_ms, monotonic_ms=lambda: self.now_ms
        )

    def exchange(self, out_ms=10, back_ms=10):
        sent_ms = self.now_ms
        self.now_ms += out_ms
        date = formatdate((START_MS + self.now_ms) // 1_000, usegmt=True)
        self.now_ms += back_ms
        self.clock.observe(date, sent_ms)


def test_nothing_is_known_and_nothing_refused_before_the_first_reply():
    clock = World(60_000).clock
    assert (clock.skew_ms, clock.uncertainty_ms) == (None, None)
    assert clock.timestamp_ms() == START_MS + 60_000


def test_many_replies_find_the_offset_far_below_the_second_of_the_header():
    world = World(1_234)
    for _ in range(50):
        world.now_ms += 137
        world.exchange()
    assert world.clock.uncertainty_ms < 60
    assert abs(world.clock.skew_ms - 1_234) <= world.clock.uncertainty_ms + 1


@pytest.mark.parametrize("offset_ms", [6_000, -6_000])
def test_beyond_a_quarter_of_the_window_nothing_is_signed(offset_ms):
    world = World(offset_ms)
    world.exchange()
    with pytest.raises(VenueClockSkew, match="ahead of" if offset_ms > 0 else "behind"):
        world.clock.timestamp_ms()


def test_a_step_of_the_wall_clock_shows_without_a_new_reply():
    world = World()
    world.exchange()
    assert world.clock.timestamp_ms() == START_MS + world.now_ms
    world.offset_ms = 30_000
    with pytest.raises(VenueClockSkew):
        world.clock.timestamp_ms()
    world.offset_ms = 0
    world.clock.timestamp_ms()


def test_a_venue_that_sets_its_clock_is_believed():
    world = World()
    world.exchange()
    world.clock.observe(formatdate((START_MS - 100_000) // 1_000, usegmt=True), world.now_ms)
    assert 99_000 < world.clock.skew_ms < 101_000


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "yesterday",
        "Mon, 99 Foo 2026 00:00:00 GMT",
        "Thu, 01 Jan 99999999999999999999 00:00:00 GMT",
    ],
)
def test_a_header_that_is_no_date_is_ignored(header):
    world = World()
    world.clock.observe(header, 0)
    assert world.clock.samples == 0


def test_the_reading_is_one_snapshot_for_metrics():
    world = World(6_000)
    before = world.clock.reading()
    assert (before.skew_ms, before.uncertainty_ms, before.samples, before.refuses) == (None, None, 0, False)
    for _ in range(20):
        world.now_ms += 137
        world.exchange()
    reading = world.clock.reading()
    assert reading.refuses
    assert (reading.samples, reading.limit_ms) == (20, 5_000)
    assert abs(reading.skew_ms - 6_000) <= reading.uncertainty_ms + 1


def test_the_venues_time_is_known_and_the_timestamp_is_still_our_own():
    world = World(2_000)
    assert world.clock.venue_ms() == START_MS + 2_000  # nothing measured: the local clock
    for _ in range(20):
        world.now_ms += 137
        world.exchange()
    assert abs(world.clock.venue_ms() - (START_MS + world.now_ms)) <= world.clock.uncertainty_ms + 1
    assert world.clock.timestamp_ms() == START_MS + world.now_ms + 2_000
