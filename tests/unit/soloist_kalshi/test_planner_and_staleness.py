import pytest
from soloist_kalshi.book import Book
from soloist_kalshi.planner import FeedPlan, FeedPlanError, PlanLimits, Slot, overflowed, plan
from soloist_kalshi.staleness import Staleness


def test_limits_below_one_are_no_limits():
    with pytest.raises(FeedPlanError, match="at least 1"):
        PlanLimits(markets_per_sid=0)


def test_what_does_not_fit_says_how_much():
    with pytest.raises(FeedPlanError, match="1 of the markets do not fit into 2 subscriptions"):
        plan(FeedPlan.empty(PlanLimits(2, 1, 2)), ["A", "B", "C", "D", "E"])


def test_one_market_that_overflows_alone_is_our_slowness():
    made = plan(FeedPlan.empty(PlanLimits()), ["A"])
    with pytest.raises(FeedPlanError, match="A alone overflows"):
        overflowed(made, Slot(0, 0))


def test_an_overflow_of_a_slot_without_markets_changes_nothing():
    made = plan(FeedPlan.empty(PlanLimits()), ["A"])
    assert overflowed(made, Slot(7, 0)) is made


class Clocks:
    def __init__(self):
        self.venue_ms = 1_000_000
        self.here_ms = 0
        self.staleness = Staleness(venue_now_ms=lambda: self.venue_ms, monotonic_ms=lambda: self.here_ms)

    def passes(self, ms):
        self.venue_ms += ms
        self.here_ms += ms


def test_a_late_frame_makes_a_market_stale_and_a_timely_one_fresh():
    clocks = Clocks()
    clocks.staleness.note("A", clocks.venue_ms - 700)
    assert clocks.staleness.is_stale("A", lag_ms=500, silence_ms=60_000)
    assert clocks.staleness.worst_lag_ms() == 700
    clocks.staleness.note("A", clocks.venue_ms - 20)
    assert not clocks.staleness.is_stale("A", lag_ms=500, silence_ms=60_000)


def test_silence_counts_from_the_last_frame():
    clocks = Clocks()
    clocks.staleness.note("A", None)
    clocks.passes(30_000)
    clocks.staleness.note("B", None)
    clocks.passes(31_000)
    assert clocks.staleness.stale(lag_ms=500, silence_ms=60_000) == ["A"]


def test_an_old_frame_does_not_make_the_newest_news_older():
    clocks = Clocks()
    clocks.staleness.note("A", 999_900)
    clocks.staleness.note("A", 999_000)
    assert clocks.staleness.of("A").venue_ms == 999_900
    assert clocks.staleness.of("A").lag_ms == 1_000


def test_a_market_of_which_nothing_was_seen_is_stale():
    staleness = Clocks().staleness
    assert staleness.is_stale("A", lag_ms=1, silence_ms=1)
    staleness.note("A", None)
    staleness.forget("A")
    assert staleness.is_stale("A", lag_ms=1, silence_ms=1)


def test_a_book_is_what_the_snapshot_and_the_deltas_say():
    book = Book("A")
    assert book.why == "no snapshot yet"
    assert not book.delta(on_yes=True, price=5_000, count=100, seq=1)
    book.snapshot([(4_000, 100), (5_000, 200)], [(3_000, 50)], 1)
    assert book.delta(on_yes=True, price=5_000, count=-200, seq=2)
    assert book.delta(on_yes=False, price=3_500, count=70, seq=3)
    assert (book.yes, book.no, book.best_yes, book.best_no) == (
        {4_000: 100},
        {3_000: 50, 3_500: 70},
        4_000,
        3_500,
    )
    assert (book.is_tradable, book.seq) == (True, 3)


def test_a_negative_level_makes_a_book_untradable_until_its_next_snapshot():
    book = Book("A")
    book.snapshot([(4_000, 100)], [], 1)
    assert not book.delta(on_yes=True, price=4_000, count=-101, seq=2)
    assert "-1" in book.why
    assert not book.delta(on_yes=True, price=4_000, count=100, seq=3)
    book.snapshot([], [], 4)
    assert book.is_tradable


def test_a_crossed_book_is_not_traded_on_and_heals_by_deltas():
    book = Book("A")
    book.snapshot([(6_000, 100)], [(4_000, 100)], 1)
    assert (book.is_crossed, book.is_tradable, book.why) == (True, False, "")
    assert book.delta(on_yes=False, price=4_000, count=-100, seq=2)
    assert book.is_tradable


def test_a_snapshot_with_an_empty_level_is_no_book():
    book = Book("A")
    book.snapshot([(6_000, 0)], [], 1)
    assert not book.is_tradable
