"""Amend and decrease: what changes, what keeps its place, what is refused (sections 8.3 and 8.4)."""

from __future__ import annotations

import msgspec
import pytest
from soloist_exchange.errors import Refused
from soloist_exchange.orders import ASK, BID, Amendment, SelfTrade, Status, TimeInForce, UpdateReason

from tests.unit.soloist_exchange.bare_venues import BareWorld


@pytest.fixture
def world():
    made = BareWorld("M")
    for account_id in (100, 101, 102):
        made.account(account_id)
    yield made
    made.venue.recount()


@pytest.fixture
def queue(world):
    """Three bids at one price; the second is 100's."""
    return [world.order(account_id, BID, 4000, 500) for account_id in (101, 100, 102)]


def turn(world, **values):
    world.venue.switches = msgspec.structs.replace(world.venue.switches, **values)


def reserved(world):
    return world.venue.ledger.accounts[100].reserved.get((0, 0), 0)


@pytest.mark.parametrize(
    ("wanted", "ahead"),
    [
        (Amendment(4000, 300), 500),
        (Amendment(count=499), 500),
        (Amendment(4000, 500, expiration_ms=1_800_000_000_000), 500),
        (Amendment(4000, 500), 500),
        (Amendment(4000, 501), 1000),
        (Amendment(3900, 500), 0),
        (Amendment(3900, 300), 0),
    ],
)
def test_the_place_is_kept_for_a_decrease_and_for_the_expiration_only(world, queue, wanted, ahead):
    order = queue[1]
    world.venue.amend(order, wanted)
    assert world.venue.queue_ahead(order) == ahead
    price, count = wanted.price or 4000, wanted.count or 500
    assert (order.price, order.remaining, order.initial) == (price, count, count)
    assert order.reason is UpdateReason.AMEND
    assert reserved(world) == price * count


def test_going_away_and_back_loses_the_place(world, queue):
    world.venue.amend(queue[1], Amendment(3900, 500))
    world.venue.amend(queue[1], Amendment(4000, 500))
    assert world.venue.queue_ahead(queue[1]) == 1000


def test_an_amend_counts_what_is_filled(world, queue):
    world.order(
        101, ASK, 4000, 600, self_trade=SelfTrade.MAKER
    )  # takes its own away, fills 500 of 100's and 100 of 102's
    order = world.order(100, BID, 3000, 500)
    world.order(101, ASK, 3000, 800)
    assert order.filled == 400
    world.venue.amend(order, Amendment(3000, 450))
    assert (order.filled, order.remaining, order.initial) == (400, 50, 450)
    for count in (400, 399):
        with pytest.raises(Refused, match="INVALID_AMEND_QTY_FOR_ORDER"):
            world.venue.amend(order, Amendment(3000, count))


def test_an_amend_may_cross_and_fill(world, queue):
    world.order(101, ASK, 5000, 200)
    order = queue[1]
    world.venue.amend(order, Amendment(5000, 500))
    assert (order.filled, order.remaining, order.price) == (200, 300, 5000)
    assert world.tape.fills[0].is_taker
    assert world.tape.fills[0].fee > 0
    assert world.venue.queue_ahead(order) == 0
    world.order(101, ASK, 5000, 300)
    assert order.status is Status.EXECUTED


def test_an_amend_that_meets_its_own_order_is_cancelled(world, queue):
    world.order(100, ASK, 5000, 200)
    world.venue.amend(queue[1], Amendment(5000, 500))
    assert (queue[1].status, queue[1].reason) == (Status.CANCELED, UpdateReason.SELF_TRADE_CANCEL)
    assert len(world.venue.resting(100)) == 1


def test_an_amend_that_would_cross_post_only(world):
    world.order(101, ASK, 5000, 200)
    order = world.order(100, BID, 4000, 500, post_only=True)
    with pytest.raises(Refused, match="post only cross"):
        world.venue.amend(order, Amendment(5000, 500))
    turn(world, post_only_cross="cancel")
    world.venue.amend(order, Amendment(5000, 500))
    assert (order.status, order.reason) == (Status.CANCELED, UpdateReason.POST_ONLY_CROSS_CANCEL)


@pytest.mark.parametrize(
    ("code", "wanted"),
    [
        ("order_side_mismatch", Amendment(4000, 500, side=ASK)),
        ("order_ticker_mismatch", Amendment(4000, 500, ticker="N")),
        ("order_id_and_client_order_id_mismatch", Amendment(4000, 500, expected_client_order_id="no")),
        ("invalid_price", Amendment(4050, 500)),
        ("insufficient_balance", Amendment(4000, 10_000_000)),
        ("order_already_exists", Amendment(4000, 500, client_order_id="order-1")),
        ("must be in the future", Amendment(4000, 500, expiration_ms=1)),
    ],
)
def test_a_refused_amend_changes_nothing(world, code, wanted):
    world.order(100, BID, 100, 100)
    order = world.order(100, BID, 4000, 500)
    world.order(101, BID, 4000, 500)
    lines, held_back = len(world.tape.lines), reserved(world)
    with pytest.raises(Refused, match=code):
        world.venue.amend(order, wanted)
    assert (len(world.tape.lines), reserved(world), world.venue.queue_ahead(order)) == (lines, held_back, 0)
    assert (order.price, order.remaining, order.reason) == (4000, 500, UpdateReason.NONE)


def test_an_amend_needs_only_what_it_adds(world):
    """The order's own reservation counts: an account with all its cash in one order can still move it down."""
    order = world.order(100, BID, 9000, 105_000)
    world.venue.amend(order, Amendment(8000, 110_000))
    assert reserved(world) == 880_000_000


def test_an_amend_renames_and_the_old_name_stays_taken(world):
    order = world.order(100, BID, 4000, 500, client_order_id="old")
    world.venue.amend(order, Amendment(4000, 500, client_order_id="new", expected_client_order_id="old"))
    assert order.client_order_id == "new"
    assert "renamed order-1 old new" in world.tape.lines
    with pytest.raises(Refused, match="order_already_exists"):
        world.order(100, BID, 4000, 500, client_order_id="old")


def test_an_amend_moves_or_removes_the_expiration(world):
    order = world.order(100, BID, 4000, 500, expiration_ms=world.clock() + 1000)
    world.venue.amend(order, Amendment(expiration_ms=world.clock() + 3000))
    world.wait(2000)
    assert order.status is Status.RESTING
    world.venue.amend(order, Amendment(expiration_ms=0))
    world.wait(5000)
    assert (order.status, order.expiration_ms) == (Status.RESTING, 0)
    world.venue.amend(order, Amendment(expiration_ms=world.clock() + 1))
    world.wait(1)
    assert order.reason is UpdateReason.EXPIRY_CANCEL


def test_a_reduce_only_order_stays_capped_when_it_is_amended(world):
    turn(world, reduce_only="any")
    world.order(101, ASK, 5000, 300)
    world.order(100, BID, 5000, 300)
    order = world.order(100, ASK, 6000, 100, reduce_only=True)
    world.venue.amend(order, Amendment(6000, 1000))
    assert (order.remaining, order.initial) == (300, 300)
    world.order(101, BID, 5500, 1000)
    world.venue.amend(order, Amendment(5500, 300))
    assert (order.status, order.reason, order.filled) == (Status.EXECUTED, UpdateReason.TRADE, 300)


def test_a_decrease_keeps_the_place_and_frees_the_cash(world, queue):
    order = queue[1]
    world.venue.decrease(order, to=200)
    assert (order.remaining, order.initial, order.reason) == (200, 500, UpdateReason.DECREASE)
    assert (world.venue.queue_ahead(order), reserved(world)) == (500, 800_000)
    world.venue.decrease(order, to=200)
    for to in (-1, 201):
        with pytest.raises(Refused, match="invalid_order_size"):
            world.venue.decrease(order, to=to)
    assert order.remaining == 200


def test_a_decrease_to_zero_cancels_or_is_refused(world, queue):
    turn(world, reduce_to_zero="reject")
    with pytest.raises(Refused, match="invalid_order_size"):
        world.venue.decrease(queue[1], to=0)
    turn(world, reduce_to_zero="cancel")
    world.venue.decrease(queue[1], to=0)
    assert (queue[1].status, queue[1].reason) == (Status.CANCELED, UpdateReason.DECREASE)
    assert world.venue.queue_ahead(queue[2]) == 500


def test_what_is_over_is_neither_amended_nor_decreased(world):
    order = world.order(100, BID, 4000, 500, time_in_force=TimeInForce.IMMEDIATE_OR_CANCEL)
    with pytest.raises(Refused, match="404 not_found"):
        world.venue.amend(order, Amendment(4000, 400))
    with pytest.raises(Refused, match="404 not_found"):
        world.venue.decrease(order, to=100)
