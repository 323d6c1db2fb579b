"""The simulated account: queue position, what was taken, trades through, fees, amends, expiry."""

import pytest
from soloist_kalshi.fees import FeeTerms, maker_fee, taker_fee
from soloist_trader.core import events
from soloist_trader.core.commands import Amend, Cancel, Place
from soloist_trader.core.units import ASK, BID, GOOD_TILL_CANCELED, IMMEDIATE_OR_CANCEL
from soloist_trader.modes.matcher import Matcher

BIDS = [(4_800, 300), (4_700, 500)]
ASKS = [(5_000, 200), (5_100, 400)]


def venue(bids=BIDS, asks=ASKS, *, whole=True, **options):
    made = Matcher(**options)
    made.show(1, "M", bids, asks, whole=whole)
    return made


def order(name, side, price, size, time_in_force=GOOD_TILL_CANCELED, expiration_s=0):
    return Place(name, "M", side, price, size, time_in_force, expiration_s, False, 0, 1, 0)  # noqa: FBT003 a tuple


def fills(told):
    return [(event.price, event.size, event.is_taker) for event in told if isinstance(event, events.FillSeen)]


def test_an_arriving_order_takes_level_by_level_and_what_is_left_is_closed():
    told = venue().place(2, order("a", BID, 5_100, 1_000, IMMEDIATE_OR_CANCEL))
    assert fills(told) == [(5_000, 200, True), (5_100, 400, True)]
    assert (told[-1].filled, told[-1].closed) == (600, True)
    assert told[0].fee >= taker_fee(5_000, 200)
    assert told[-1].fees == sum(event.fee for event in told[:-1])


def test_what_was_taken_is_not_offered_again_until_the_level_changes():
    made = venue()
    made.place(2, order("a", BID, 5_000, 150, IMMEDIATE_OR_CANCEL))
    assert made.place(3, order("b", BID, 5_000, 150, IMMEDIATE_OR_CANCEL))[-1].filled == 50
    made.show(4, "M", BIDS, [(5_000, 200)], whole=True)
    assert made.place(5, order("c", BID, 5_000, 150, IMMEDIATE_OR_CANCEL))[-1].filled == 0
    made.show(6, "M", BIDS, [(5_000, 201)], whole=True)
    assert made.place(7, order("d", BID, 5_000, 150, IMMEDIATE_OR_CANCEL))[-1].filled == 150


def test_a_resting_order_waits_for_those_ahead_of_it():
    made = venue()
    made.place(2, order("a", BID, 4_800, 100))
    assert fills(made.traded(3, "M", 4_800, 250, ASK)) == []
    assert fills(made.traded(4, "M", 4_800, 90, ASK)) == [(4_800, 40, False)], "50 of them were ahead"
    assert fills(made.traded(5, "M", 4_800, 100, BID)) == [], "a buyer takes no bid"
    assert fills(made.traded(6, "M", 4_800, 500, ASK)) == [(4_800, 60, False)]
    assert made.orders["a"].closed


def test_cancels_ahead_count_only_as_far_as_the_level_shrinks():
    made = venue()
    made.place(2, order("a", BID, 4_800, 100))
    made.show(3, "M", [(4_800, 900)], ASKS, whole=True)
    assert made.orders["a"].ahead == 300, "who came later stands behind"
    made.show(4, "M", [(4_800, 120)], ASKS, whole=True)
    assert made.orders["a"].ahead == 120
    made.show(5, "M", [(4_700, 500)], ASKS, whole=True)
    assert made.orders["a"].ahead == 0


def test_a_better_price_stands_first_and_a_trade_through_it_fills_it():
    made = venue()
    made.place(2, order("a", BID, 4_900, 100))
    assert made.orders["a"].ahead == 0
    assert fills(made.traded(3, "M", 4_800, 30, ASK)) == [(4_900, 30, False)]


def test_the_other_side_reaching_it_fills_it_at_its_own_price():
    made = venue()
    made.place(2, order("a", ASK, 5_200, 100))
    assert fills(made.show(3, "M", [(5_150, 300)], [(5_250, 200)], whole=True)) == []
    assert fills(made.show(4, "M", [(5_300, 60)], [(5_400, 200)], whole=True)) == [(5_200, 60, False)]


def test_one_trade_fills_no_more_than_its_size_over_all_own_orders():
    made = venue()
    made.place(2, order("a", BID, 4_900, 100))
    made.place(2, order("b", BID, 4_850, 100))
    assert fills(made.traded(3, "M", 4_800, 150, ASK)) == [(4_900, 100, False), (4_850, 50, False)]


def test_a_trade_that_is_told_late_reaches_no_order_that_came_after_it():
    made = venue()
    made.place(10, order("a", BID, 4_900, 100))
    assert fills(made.traded(20, "M", 4_800, 100, ASK, traded_ms=9)) == []
    assert fills(made.traded(20, "M", 4_800, 100, ASK, traded_ms=10)) == [(4_900, 100, False)]


def test_where_only_the_best_level_is_known_a_deeper_order_waits_until_it_comes_into_view():
    made = venue([(4_800, 300)], [(5_000, 200)], whole=False)
    made.place(2, order("a", BID, 4_600, 100))
    assert fills(made.traded(3, "M", 4_600, 1_000, ASK)) == [], "who is ahead is not known"
    made.show(4, "M", [(4_600, 70)], [(5_000, 200)], whole=False)
    assert fills(made.traded(5, "M", 4_600, 100, ASK)) == [(4_600, 30, False)]


def test_a_book_that_is_lost_fills_nothing_that_arrives():
    made = venue()
    made.hide("M")
    assert made.place(2, order("a", BID, 5_100, 100, IMMEDIATE_OR_CANCEL))[-1].filled == 0


def test_fees_follow_the_markets_terms():
    terms = FeeTerms("quadratic_with_maker_fees", 20_000)
    made = venue(fee_terms=lambda _market: terms)
    taken = made.place(2, order("a", BID, 5_000, 100, IMMEDIATE_OR_CANCEL))
    assert taken[0].fee >= taker_fee(5_000, 100, multiplier=20_000)
    made.place(3, order("b", BID, 4_900, 100))
    (fill, _) = made.traded(4, "M", 4_900, 100, ASK)
    assert fill.fee >= maker_fee(4_900, 100, multiplier=20_000)
    assert 0 < fill.fee < taken[0].fee


@pytest.mark.parametrize(
    ("price", "size", "ahead"), [(4_800, 50, 300), (4_800, 150, 450), (4_700, 50, 500), (4_900, 50, 0)]
)
def test_an_amend_keeps_its_place_only_with_less_at_the_same_price(price, size, ahead):
    made = venue()
    made.place(2, order("a", BID, 4_800, 100))
    made.show(3, "M", [(4_800, 450), (4_700, 500)], ASKS, whole=True)
    (ended,) = made.amend(4, Amend("a", "x", "M", BID, price, size, 0, 0, 1, 0))
    assert (ended.outcome, ended.filled, ended.remaining) == ("amended", 0, size)
    assert made.orders["a"].ahead == ahead


def test_an_amend_may_cross():
    made = venue()
    made.place(2, order("a", BID, 4_800, 100))
    told = made.amend(3, Amend("a", "x", "M", BID, 5_000, 100, 0, 0, 1, 0))
    assert fills(told) == [(5_000, 100, True)]
    assert (told[-1].filled, told[-1].remaining) == (100, 0)
    assert made.amend(4, Amend("a", "x", "M", BID, 5_000, 100, 0, 0, 1, 0))[0].outcome == "not_found"


def test_cancel_expiry_and_forgetting():
    made = venue()
    made.place(2, order("a", BID, 4_000, 100))
    assert made.cancel(3, Cancel("a", "x", "M")).reduced_by == 100
    assert made.cancel(4, Cancel("a", "x", "M")).reduced_by == -1
    made.place(5, order("b", BID, 4_000, 100, expiration_s=1))
    assert made.expire(999) == []
    (gone,) = made.expire(1_000)
    assert (gone.client_order_id, gone.closed) == ("b", True)
    made.place(6, order("c", BID, 4_000, 100))
    made.forget(10)
    assert list(made.orders) == ["c"]
