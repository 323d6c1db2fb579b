"""Plans carry every market exactly once, keep the limits, and move only what must move."""

import math

from hypothesis import assume, given
from hypothesis import strategies as st
from soloist_kalshi.planner import FeedPlan, FeedPlanError, PlanLimits, changes, overflowed, plan

LIMITS = st.builds(
    PlanLimits,
    markets_per_sid=st.integers(1, 6),
    sids_per_connection=st.integers(1, 3),
    connections=st.integers(1, 4),
)
TICKERS = st.lists(st.integers(0, 40).map(lambda number: f"M-{number}"), unique=True, max_size=30)


def check(made, wanted):
    carried = [ticker for tickers in made.tickers.values() for ticker in tickers]
    assert sorted(carried) == sorted(wanted)
    for slot, tickers in made.tickers.items():
        assert 0 < len(tickers) <= made.capacity(slot) <= made.limits.markets_per_sid
        assert 0 <= slot.connection < made.limits.connections
        assert 0 <= slot.index < made.limits.sids_per_connection


def place_of(made):
    return {ticker: slot for slot, tickers in made.tickers.items() for ticker in tickers}


def fits(limits, wanted):
    return len(wanted) <= limits.slots * limits.markets_per_sid


@given(LIMITS, TICKERS)
def test_a_first_plan_uses_as_few_connections_as_possible(limits, wanted):
    if not fits(limits, wanted):
        try:
            plan(FeedPlan.empty(limits), wanted)
        except FeedPlanError:
            return
        raise AssertionError("more markets than the limits allow were planned")
    made = plan(FeedPlan.empty(limits), wanted)
    check(made, wanted)
    per_connection = limits.markets_per_sid * limits.sids_per_connection
    assert len(made.connections) == math.ceil(len(wanted) / per_connection)


@given(LIMITS, st.lists(TICKERS, min_size=2, max_size=5))
def test_a_market_that_stays_never_moves(limits, steps):
    assume(all(fits(limits, wanted) for wanted in steps))
    made = FeedPlan.empty(limits)
    for wanted in steps:
        before, old = place_of(made), made
        made = plan(made, wanted)
        check(made, wanted)
        after = place_of(made)
        for ticker in wanted:
            assert before.get(ticker, after[ticker]) == after[ticker]
        if made.tickers.keys() - old.tickers.keys():  # one more only when those that there were have no room
            assert all(made.room(slot) == 0 for slot in old.tickers)
        moved = sum(len(change.add) for change in changes(old, made))
        assert moved == len(set(wanted) - set(before))


@given(LIMITS, TICKERS, st.data())
def test_an_overflow_halves_one_subscription_and_moves_no_other_market(limits, wanted, data):
    assume(wanted and fits(limits, wanted))
    made = plan(FeedPlan.empty(limits), wanted)
    slot = data.draw(st.sampled_from(sorted(made.tickers)))
    carried = len(made.tickers[slot])
    room = sum(made.room(each) for each in made.tickers if each != slot)
    room += (limits.slots - len(made.tickers)) * limits.markets_per_sid
    try:
        relieved = overflowed(made, slot)
    except FeedPlanError:
        assert carried == 1 or carried - carried // 2 > room
        return
    check(relieved, wanted)
    assert len(relieved.tickers[slot]) == relieved.capacity(slot) == carried // 2
    before, after = place_of(made), place_of(relieved)
    assert all(before[ticker] == after[ticker] for ticker in wanted if before[ticker] != slot)
    # The limit stays: the markets do not come back with the next change.
    check(plan(relieved, wanted), wanted)
    assert plan(relieved, wanted) == relieved


@given(LIMITS, TICKERS, TICKERS)
def test_changes_lead_from_one_plan_to_the_other(limits, first, second):
    assume(fits(limits, first) and fits(limits, second))
    old = plan(FeedPlan.empty(limits), first)
    new = plan(old, second)
    held = {slot: set(tickers) for slot, tickers in old.tickers.items()}
    for change in changes(old, new):
        slot = held.setdefault(change.slot, set())
        assert slot.issuperset(change.remove)
        assert slot.isdisjoint(change.add)
        slot -= set(change.remove)
        slot |= set(change.add)
    assert {slot: tickers for slot, tickers in held.items() if tickers} == {
        slot: set(tickers) for slot, tickers in new.tickers.items()
    }
