import pytest
from soloist_kalshi.account_facts import AccountFacts, time_to_ms
from soloist_kalshi.orders_outcomes import Accepted, Amended, Cancelled, NotSent, Rejected, Unknown

from tests.unit.soloist_kalshi.account_story import (
    START_MS,
    TrueFill,
    Truth,
    balance,
    position_frame,
    position_row,
    rfc3339,
)

NEW = Truth("o-1")
PART = NEW.changed(filled=400, remaining=600)
DONE = PART.changed(filled=1_000, remaining=0, status="executed")
GONE = PART.changed(remaining=0, status="canceled")
FILL = TrueFill("t-1", "o-1", "bid", 400)
REST = TrueFill("t-2", "o-1", "bid", 600)


def facts():
    return AccountFacts(subaccount=0)


def accepted(filled, remaining):
    return Accepted("o-1", "c-o-1", filled, remaining, None, None, START_MS)


def state(known):
    order = known.orders["o-1"]
    return order.status, order.filled, order.remaining


def test_times_are_integers():
    assert time_to_ms(rfc3339(START_MS + 1_234)) == START_MS + 1_234
    assert time_to_ms("2027-01-15T08:00:00.123999Z") == START_MS + 123
    assert time_to_ms(None) == 0


@pytest.mark.parametrize("end", [DONE, GONE])
@pytest.mark.parametrize("late", [NEW, PART])
def test_a_late_frame_never_reopens_an_order(end, late):
    known = facts()
    for moment in (NEW, PART, end):
        known.order_frame(moment.frame())
    known.order_frame(late.frame())
    assert state(known) == (end.status, end.filled, 0)
    assert known.late_orders == 1


def test_a_late_frame_with_a_newer_time_does_not_reopen_either():
    """A clock of the venue that jumps must not bring an order back to life."""
    known = facts()
    known.order_frame(GONE.frame())
    known.order_frame(PART.frame(last_update_ts_ms=GONE.at_ms + 1_000))
    assert state(known) == ("canceled", 400, 0)


def test_a_late_frame_of_a_resting_order_changes_nothing():
    known = facts()
    amended = PART.changed(price=4_000, initial=2_000, remaining=1_600)
    for moment in (NEW, amended, PART):
        known.order_frame(moment.frame())
    order = known.orders["o-1"]
    assert (order.price, order.initial, order.filled, order.remaining) == (4_000, 2_000, 400, 1_600)


def test_a_stale_read_does_not_overwrite_a_newer_frame():
    known = facts()
    known.order_frame(PART.frame())
    known.orders_read([NEW.row()])
    assert state(known) == ("resting", 400, 600)


def test_a_read_wins_over_a_frame_of_the_same_moment():
    known = facts()
    known.order_frame(NEW.frame())
    known.orders_read([Truth("o-1", price=4_000).row()])
    assert known.orders["o-1"].price == 4_000


def test_a_fill_counts_once_whoever_tells_of_it():
    known = facts()
    known.fill_frame(FILL.frame())
    known.fill_frame(FILL.frame())
    known.fills_read([FILL.row()])
    assert known.positions == {"SIM-A": 400}
    assert (len(known.fills), known.repeated_fills) == (1, 1)


def test_a_trade_with_oneself_is_two_fills():
    known = facts()
    known.fill_frame(FILL.frame())
    known.fill_frame(TrueFill("t-1", "o-2", "ask", 400).frame())
    assert len(known.fills) == 2
    assert known.positions == {}


def test_frames_that_name_no_subaccount_may_be_the_primary_ones():
    """Empty fields are left out (section 7): a numbered subaccount believes them of its own orders, and has REST decide about others."""
    known = AccountFacts(subaccount=3)
    known.order_frame(NEW.frame())
    known.fill_frame(FILL.frame())
    known.position_frame(position_frame(5))
    assert (known.orders, known.fills, known.positions) == ({}, {}, {})
    assert not known.is_settled
    known.intend(NEW.order(), START_MS)
    known.order_frame(NEW.frame())
    known.fill_frame(FILL.frame())
    assert (state(known)[0], known.positions) == ("resting", {"SIM-A": 400})


def test_frames_of_another_subaccount_are_not_ours():
    known = facts()
    known.order_frame(NEW.frame(subaccount_number=3))
    known.fill_frame(FILL.frame(subaccount=3))
    known.position_frame(position_frame(5, subaccount=3))
    assert (known.orders, known.fills, known.doubts) == ({}, {}, 0)


def test_a_lost_fill_frame_shows_in_the_order_and_is_asked_for():
    known = facts()
    known.order_frame(NEW.frame())
    known.order_frame(DONE.frame())
    known.fill_frame(REST.frame())
    assert known.incomplete == ["o-1"]
    known.fills_read([FILL.row(), REST.row()])
    assert known.incomplete == []


def test_positions_and_balance_settle_with_a_read():
    known = facts()
    known.order_frame(PART.frame())
    known.fill_frame(FILL.frame())
    assert not known.is_settled
    known.portfolio_read([position_row(400)], balance(7_000_000))
    assert known.is_settled
    assert (known.positions, known.balance) == ({"SIM-A": 400}, 7_000_000)
    known.position_frame(position_frame(400))
    assert known.is_settled
    known.position_frame(position_frame(0))  # settled at the venue: no fill tells of it
    assert not known.is_settled


# Intents


def test_an_accepted_intent_is_an_order_and_its_frame_changes_nothing_backwards():
    known = facts()
    known.intend(NEW.order(), START_MS)
    known.created("c-o-1", accepted(400, 600), START_MS)
    assert known.intents == {}
    known.order_frame(NEW.frame())  # the frame of the acceptance, before the fill
    assert state(known) == ("resting", 400, 600)


@pytest.mark.parametrize(
    ("filled", "remaining", "status"),
    [(1_000, 0, "executed"), (400, 0, "canceled"), (0, 0, "canceled"), (0, 1_000, "resting")],
)
def test_the_status_of_a_reply_is_derived(filled, remaining, status):
    known = facts()
    known.intend(NEW.order(), START_MS)
    known.created("c-o-1", accepted(filled, remaining), START_MS)
    assert state(known) == (status, filled, remaining)


@pytest.mark.parametrize("outcome", [Unknown("lost"), Rejected(409, "order_already_exists", "exists")])
def test_an_unknown_intent_stays_open_until_the_order_shows(outcome):
    known = facts()
    known.intend(NEW.order(), START_MS)
    known.created("c-o-1", outcome, START_MS + 5)
    assert known.intents["c-o-1"].sent_ms == START_MS + 5
    assert not known.is_settled
    known.orders_read([NEW.row()])
    assert known.intents == {}


@pytest.mark.parametrize("outcome", [NotSent("halted"), Rejected(400, "invalid_price", "x")])
def test_a_certain_failure_closes_the_intent(outcome):
    known = facts()
    known.intend(NEW.order(), START_MS)
    known.created("c-o-1", outcome, START_MS)
    assert (known.intents, known.orders) == ({}, {})


def test_a_frame_before_the_reply_closes_the_intent_and_the_reply_adds_nothing():
    known = facts()
    known.intend(NEW.order(), START_MS)
    known.order_frame(DONE.frame())
    known.created("c-o-1", accepted(0, 1_000), START_MS)
    assert state(known) == ("executed", 1_000, 0)


def test_an_intent_is_sent_once():
    known = facts()
    known.intend(NEW.order(), START_MS)
    with pytest.raises(ValueError, match="used before"):
        known.intend(NEW.order(), START_MS)
    known.created("c-o-1", accepted(0, 1_000), START_MS)
    with pytest.raises(ValueError, match="used before"):
        known.intend(NEW.order(), START_MS)


# Cancels, amends and decreases


def test_a_cancel_that_agrees_needs_no_look():
    known = facts()
    known.order_frame(PART.frame())
    known.fill_frame(FILL.frame())
    known.changed("o-1", Cancelled("o-1", None, 600, START_MS))
    assert state(known) == ("canceled", 400, 0)
    assert not known.suspects


def test_a_cancel_that_reduced_less_than_we_thought_is_looked_at():
    known = facts()
    known.order_frame(NEW.frame())
    known.changed("o-1", Cancelled("o-1", None, 600, START_MS))
    assert set(known.suspects) == {"o-1"}
    known.orders_read([GONE.row()])
    assert state(known) == ("canceled", 400, 0)
    assert not known.suspects


@pytest.mark.parametrize(
    "outcome",
    [
        Unknown("lost"),
        Rejected(404, "not_found", "not found"),
        Amended("o-1", None, None, None, None, None, 1),
    ],
)
def test_what_does_not_say_everything_makes_the_order_suspect(outcome):
    known = facts()
    known.order_frame(NEW.frame())
    known.changed("o-1", outcome)
    assert set(known.suspects) == {"o-1"}
    assert state(known) == ("resting", 0, 1_000)


def test_what_was_not_sent_changes_nothing():
    known = facts()
    known.order_frame(NEW.frame())
    known.changed("o-1", NotSent("halted"))
    assert not known.suspects


class Venue:
    now_ms = START_MS

    def __call__(self):
        return self.now_ms


def test_a_read_of_a_moment_before_the_question_does_not_answer_it():
    """Seed 677: the list was read while an amend was on its way; its old row made the view believe that nothing was open."""
    venue = Venue()
    known = AccountFacts(0, venue)
    known.order_frame(NEW.frame())
    known.changed("o-1", Amended("o-1", None, None, None, None, None, 1))
    known.orders_read([NEW.row()], START_MS)
    assert set(known.suspects) == {"o-1"}
    known.orders_read([NEW.changed(price=4_000).row()], START_MS + 1)
    assert not known.suspects
    assert known.orders["o-1"].price == 4_000


def test_positions_of_a_read_model_that_lags_are_not_taken():
    venue = Venue()
    known = AccountFacts(0, venue)
    known.fill_frame(FILL.frame())
    assert not known.portfolio_read([position_row(0)], balance(1), START_MS)
    assert (known.positions, known.balance) == ({"SIM-A": 400}, None)
    assert known.portfolio_read([position_row(400)], balance(2), START_MS + 1)
    assert known.is_settled


def test_a_status_that_nobody_knows_is_looked_at():
    known = facts()
    known.order_frame(NEW.frame())
    known.order_frame(NEW.frame(status="unknown"))
    assert set(known.suspects) == {"o-1"}
    assert state(known) == ("resting", 0, 1_000)


# Forgetting


def test_what_ended_long_ago_is_forgotten_and_positions_stay():
    known = facts()
    for moment in (DONE, Truth("o-2"), Truth("o-3", status="canceled", remaining=0, at_ms=START_MS + 9_000)):
        known.order_frame(moment.frame())
    known.fills_read([FILL.row(), REST.row()])
    known.portfolio_read([position_row(1_000)], balance(1))
    assert known.forget(START_MS + 5_000) == 1
    assert (sorted(known.orders), known.fills, known.positions) == (["o-2", "o-3"], {}, {"SIM-A": 1_000})
    assert known.is_settled
    assert known.forget(START_MS + 5_000) == 0


def test_an_order_with_an_open_question_is_not_forgotten():
    known = facts()
    known.order_frame(DONE.frame())  # its fills are missing
    known.order_frame(Truth("o-2", status="canceled", remaining=0).frame())
    known.changed("o-2", Unknown("lost"))
    assert known.forget(START_MS + 10**9) == 0
