"""Placing, cancelling, expiring, and the money behind it (sections 3.3, 8.1, 8.2, 8.6)."""

from __future__ import annotations

import msgspec
import pytest
from soloist_exchange import admission
from soloist_exchange.errors import ConservationError, Refused
from soloist_exchange.orders import ASK, BID, SelfTrade, Status, TimeInForce, UpdateReason

from tests.unit.soloist_exchange.bare_venues import BareWorld

IOC = TimeInForce.IMMEDIATE_OR_CANCEL
FOK = TimeInForce.FILL_OR_KILL


@pytest.fixture
def world():
    made = BareWorld("M", "N")
    made.account(100)
    made.account(101)
    yield made
    made.venue.recount()


def turn(world, **values):
    world.venue.switches = msgspec.structs.replace(world.venue.switches, **values)


def cash(world, account_id=100, purse=(0, 0)):
    account = world.venue.ledger.accounts[account_id]
    return account.cash.get(purse, 0), account.reserved.get(purse, 0)


def hold(world, count, account_id=100):
    """Give an account a position, negative for NO, bought from 101 at 0.50."""
    side = BID if count > 0 else ASK
    world.order(101, -side, 5000, abs(count))
    world.order(account_id, side, 5000, abs(count))


def test_a_resting_order_holds_back_its_cost_and_gives_it_back(world):
    order = world.order(100, BID, 4000, 1000)
    assert cash(world) == (1_000_000_000, 4_000_000)
    assert world.venue.resting(100) == [order]
    assert world.venue.cancel(order) == 1000
    assert cash(world) == (1_000_000_000, 0)
    assert (world.venue.orders, world.venue.resting(100)) == ({}, [])


def test_what_is_over_is_forgotten(world):
    """A bot trades for hours: only what rests may stay in memory."""
    group = world.venue.groups.create(100, 0, 100_000)
    later = world.clock() + 60_000
    turn(world, reduce_only="any")
    for _ in range(50):
        maker = world.order(100, ASK, 5000, 100, expiration_ms=later, group_id=group.group_id)
        world.order(101, BID, 5000, 100)
        assert maker.status is Status.EXECUTED
        world.venue.cancel(world.order(100, BID, 3000, 100, reduce_only=True))
        world.order(101, ASK, 4000, 100)
        world.order(100, BID, 4000, 100)
    venue = world.venue
    kept = (venue.orders, venue._resting, venue._reduce_only, venue._touched, venue._timers._current)
    assert kept == ({}, {}, {}, {}, {})
    assert venue.collateral._holdings == {}
    assert venue.ledger._holders["M"] == {}
    assert group.orders == []


def test_expiries_of_cancelled_orders_do_not_pile_up(world):
    for _ in range(3_000):
        world.venue.cancel(world.order(100, BID, 3000, 100, expiration_ms=world.clock() + 3_600_000))
    assert len(world.venue._timers._expiries) < 1_100


def test_collateral_follows_the_position(world):
    """An order that closes needs nothing, until something else closes the position first."""
    hold(world, 1000)
    closing = world.order(100, ASK, 6000, 1000)
    assert cash(world)[1] == 0
    world.order(101, BID, 4900, 1000)
    world.order(100, ASK, 4900, 1000)
    assert closing.remaining == 1000
    assert cash(world)[1] == 4_000_000
    world.venue.cancel(closing)
    assert cash(world)[1] == 0


def test_one_position_backs_one_sale():
    world = BareWorld("M")
    world.account(100, 6)
    world.account(101)
    hold(world, 1000)
    world.order(100, ASK, 6000, 1000)
    with pytest.raises(Refused, match="insufficient_balance"):
        world.order(100, ASK, 6100, 1000)


def test_an_account_without_cash_can_still_close():
    world = BareWorld("M")
    world.account(100, 5)
    world.account(101)
    world.order(101, ASK, 4900, 950)
    world.order(100, BID, 4900, 950)
    world.order(101, BID, 100, 950)
    made = world.order(100, ASK, 100, 950, time_in_force=IOC)
    assert made.status is Status.EXECUTED
    assert world.venue.ledger.accounts[100].held(0, "M") == 0


def test_an_account_never_trades_with_itself(world):
    rested = world.order(100, ASK, 5000, 100)
    made = world.order(100, BID, 5000, 100)
    assert (made.status, made.reason, made.filled) == (Status.CANCELED, UpdateReason.SELF_TRADE_CANCEL, 0)
    assert rested.status is Status.RESTING
    made = world.order(100, BID, 5000, 100, self_trade=SelfTrade.MAKER)
    assert (made.status, rested.reason) == (Status.RESTING, UpdateReason.SELF_TRADE_CANCEL)
    assert world.venue.resting(100) == [made]


def test_fills_before_the_own_order_stand(world):
    world.order(101, ASK, 4900, 100)
    world.order(100, ASK, 5000, 100)
    made = world.order(100, BID, 5000, 300)
    assert (made.status, made.reason, made.filled) == (Status.CANCELED, UpdateReason.SELF_TRADE_CANCEL, 100)


def test_expiry_is_by_the_clock_and_once(world):
    order = world.order(100, BID, 4000, 100, expiration_ms=world.clock() + 1000)
    early = world.order(100, BID, 4000, 100, expiration_ms=world.clock() + 500)
    world.venue.cancel(early)
    assert world.venue.tick() == order.expiration_ms
    world.wait(999)
    assert order.status is Status.RESTING
    world.wait(1)
    assert (order.status, order.reason) == (Status.CANCELED, UpdateReason.EXPIRY_CANCEL)
    assert early.reason is UpdateReason.NONE
    assert world.venue._timers._expiries == []


def test_fill_or_kill(world):
    world.order(101, ASK, 5000, 100)
    made = world.order(100, BID, 5000, 101, time_in_force=FOK)
    assert (made.status, made.filled, made.reason) == (Status.CANCELED, 0, UpdateReason.NONE)
    turn(world, fill_or_kill="reject")
    with pytest.raises(Refused, match="FOK_INSUFFICIENT_VOLUME"):
        world.order(100, BID, 5000, 101, time_in_force=FOK)
    assert world.order(100, BID, 5000, 100, time_in_force=FOK).status is Status.EXECUTED


@pytest.mark.parametrize("choice", ["cancel", "reject"])
def test_a_fill_or_kill_order_that_meets_its_own_is_immediate_or_cancel(world, choice):
    turn(world, fill_or_kill=choice)
    world.order(101, ASK, 4900, 100)
    world.order(100, ASK, 5000, 100)
    made = world.order(100, BID, 5000, 200, time_in_force=FOK)
    assert (made.filled, made.status) == (100, Status.CANCELED)


def test_post_only_is_refused_or_accepted_and_cancelled(world):
    world.order(101, ASK, 5000, 100)
    with pytest.raises(Refused, match="post only cross"):
        world.order(100, BID, 5000, 100, post_only=True)
    turn(world, post_only_cross="cancel")
    made = world.order(100, BID, 5000, 100, post_only=True)
    assert (made.status, made.filled) == (Status.CANCELED, 0)
    assert made.reason is UpdateReason.POST_ONLY_CROSS_CANCEL
    assert world.order(100, BID, 4900, 100, post_only=True).status is Status.RESTING


@pytest.mark.parametrize(("position", "side"), [(0, BID), (300, BID), (-300, ASK)])
def test_reduce_only_without_something_to_reduce(world, position, side):
    if position:
        hold(world, position)
    with pytest.raises(Refused, match="no position to reduce"):
        world.order(100, side, 5000, 100, reduce_only=True, time_in_force=IOC)


def test_reduce_only_is_capped_and_goes_with_immediate_or_cancel_alone(world):
    hold(world, 300)
    world.order(101, BID, 4000, 1000)
    with pytest.raises(Refused, match="immediate_or_cancel only"):
        world.order(100, ASK, 4000, 1000, reduce_only=True)
    made = world.order(100, ASK, 4000, 1000, reduce_only=True, time_in_force=IOC)
    assert (made.initial, made.filled, made.status) == (300, 300, Status.EXECUTED)


def test_resting_reduce_only_orders_never_turn_a_position_around(world):
    """By switch they may rest: then one fill shrinks the others, and the last cancels them, also in the middle of a sweep."""
    turn(world, reduce_only="any")
    hold(world, 500)
    first, second, third = (
        world.order(100, ASK, price, 500, reduce_only=True) for price in (5100, 5200, 5300)
    )
    world.order(101, BID, 5100, 200)
    assert [order.remaining for order in (first, second, third)] == [300, 300, 300]
    assert second.reason is UpdateReason.DECREASE
    sweep = world.order(101, BID, 5300, 2000)
    assert sweep.filled == 300
    assert world.venue.ledger.accounts[100].held(0, "M") == 0
    assert first.status is Status.EXECUTED
    assert {second.reason, third.reason} == {UpdateReason.REDUCE_ONLY_CANCEL}
    assert {second.status, third.status} == {Status.CANCELED}


@pytest.mark.parametrize(
    ("scope", "refused"), [("account", "order_already_exists"), ("subaccount", "insufficient_balance")]
)
def test_a_client_order_id_is_used_once(world, scope, refused):
    turn(world, client_order_id_scope=scope)
    world.venue.cancel(world.order(100, BID, 4000, 100, client_order_id="x"))
    with pytest.raises(Refused, match="order_already_exists"):
        world.order(100, BID, 4000, 100, client_order_id="x")
    with pytest.raises(Refused, match=refused):
        world.order(100, BID, 4000, 100, client_order_id="x", subaccount=1)


@pytest.mark.parametrize(("uses", "life"), [(True, IOC), (False, IOC), (False, FOK)])
def test_whether_an_order_without_a_fill_uses_its_client_order_id(world, uses, life):
    turn(world, zero_fill_ioc_uses_id=uses)
    world.order(100, BID, 4000, 100, client_order_id="x", time_in_force=life)
    if uses:
        with pytest.raises(Refused, match="order_already_exists"):
            world.order(100, BID, 4000, 100, client_order_id="x", time_in_force=life)
    else:
        world.order(101, ASK, 4000, 100)
        world.order(100, BID, 4000, 100, client_order_id="x", time_in_force=life)
        with pytest.raises(Refused, match="order_already_exists"):
            world.order(100, BID, 4000, 100, client_order_id="x", time_in_force=life)


def test_open_orders_are_limited(world, monkeypatch):
    monkeypatch.setattr(admission, "OPEN_ORDERS_PER_ACCOUNT", 3)
    orders = [world.order(100, BID, 100, 100) for _ in range(3)]
    with pytest.raises(Refused, match="open orders"):
        world.order(100, BID, 100, 100)
    assert world.order(101, BID, 100, 100).status is Status.RESTING
    world.venue.cancel(orders[0])
    assert world.order(100, BID, 100, 100).status is Status.RESTING
    assert admission.OPEN_ORDERS_PER_ACCOUNT == 3


def test_a_refusal_changes_nothing(world):
    world.order(101, ASK, 5000, 100)
    world.order(100, BID, 4000, 100, client_order_id="taken")
    before = (list(world.tape.lines), cash(world), world.venue.last_sequence, world.venue.steps)
    refusals = {
        "post only": {"post_only": True},
        "must be in the future": {"expiration_ms": 1},
        "good_till_canceled only": {"expiration_ms": world.clock() + 1, "time_in_force": IOC},
        "client_order_id has more": {"client_order_id": "x" * 65},
        "order_already_exists": {"client_order_id": "taken"},
        "reduce_only": {"reduce_only": True},
        "order_group_not_found": {"group_id": "unknown"},
        "404 not_found": {"ticker": "UNKNOWN"},
        "year 10000": {"expiration_ms": 10**15},
    }
    for match, changes in refusals.items():
        with pytest.raises(Refused, match=match):
            world.order(100, BID, 5000, 100, **changes)
    for match, price, count in (
        ("insufficient_balance", 5000, 10_000_000),
        ("invalid_price", 5001, 100),
        ("invalid_order_size", 5000, 0),
    ):
        with pytest.raises(Refused, match=match):
            world.order(100, BID, price, count)
    assert (world.tape.lines, cash(world), world.venue.last_sequence, world.venue.steps) == before


def test_cancel_all_takes_one_account_and_where_asked_one_subaccount(world):
    world.venue.transfer(100, 0, 1, 0, 0, 100_000_000)
    kept = world.order(101, BID, 100, 100)
    primary, numbered = world.order(100, BID, 100, 100), world.order(100, BID, 100, 100, subaccount=1)
    world.venue.cancel_all(100, 1)
    assert (primary.status, numbered.status) == (Status.RESTING, Status.CANCELED)
    world.venue.cancel_all(100, None)
    assert primary.status is Status.CANCELED
    assert world.venue.resting(101) == [kept]


def test_a_cancel_all_may_be_late_and_have_a_tail(world):
    turn(world, cancel_all_lag_ms=1000, cancel_all_tail_ms=60_000)
    before = world.order(100, BID, 100, 100)
    world.venue.cancel_all(100, None)
    world.wait(999)
    assert before.status is Status.RESTING
    world.wait(1)
    assert before.status is Status.CANCELED
    in_tail, other = world.order(100, BID, 100, 100), world.order(101, BID, 100, 100)
    assert in_tail.status is Status.RESTING
    world.wait(1)
    assert (in_tail.status, other.status) == (Status.CANCELED, Status.RESTING)
    world.wait(60_000)
    after = world.order(100, BID, 100, 100)
    world.wait(1)
    assert after.status is Status.RESTING


def test_money_moves_between_subaccounts_and_shards_but_not_what_is_reserved(world):
    world.market("S", exchange_index=2)
    with pytest.raises(Refused, match="insufficient_balance"):
        world.order(100, BID, 5000, 100, ticker="S")
    world.venue.transfer(100, 0, 0, 0, 2, 900_000_000)
    order = world.order(100, BID, 5000, 100_000, ticker="S")
    assert order.exchange_index == 2
    assert (cash(world), cash(world, purse=(0, 2))) == ((100_000_000, 0), (900_000_000, 500_000_000))
    with pytest.raises(Refused, match="insufficient_balance"):
        world.venue.transfer(100, 0, 0, 2, 0, 400_000_001)
    for money, target in ((0, 0), (-1, 0), (1, 2)):
        with pytest.raises(Refused, match="bad_request"):
            world.venue.transfer(100, 0, 0, 2, target, money)
    world.venue.transfer(100, 0, 0, 2, 0, 400_000_000)
    assert cash(world) == (500_000_000, 0)


def test_realised_profit_and_cost(world):
    position = world.venue.ledger.accounts[100].position(0, "M")
    world.order(101, ASK, 4000, 1000)
    world.order(100, BID, 4000, 1000)
    world.order(101, BID, 6000, 400)
    world.order(100, ASK, 6000, 400)
    assert (position.count, position.cost, position.realized) == (600, 2_400_000, 800_000)
    assert position.volume == 1400
    world.order(101, BID, 3000, 1000)
    world.order(100, ASK, 3000, 1000)
    assert (position.count, position.cost, position.realized) == (-400, 2_800_000, 800_000 - 600_000)


def test_a_restored_order_goes_to_the_end_of_its_queue(world):
    order = world.order(100, BID, 4000, 100)
    world.venue.cancel(order)
    other = world.order(101, BID, 4000, 100)
    order.status, order.remaining = Status.RESTING, 100
    world.venue.restore(order)
    assert list(world.venue.markets["M"].book.orders(BID)) == [other, order]
    assert world.venue.queue_ahead(order) == 100
    assert cash(world)[1] == 400_000
    world.venue.cancel(order)
    order.status, order.remaining, order.ticker = Status.RESTING, 100, "GONE"
    world.venue.restore(order)
    assert (order.status, order.reason) == (Status.CANCELED, UpdateReason.CLOSE_CANCEL)


def test_the_queue_position_of_what_does_not_rest_is_not_found(world):
    order = world.order(100, BID, 4000, 100)
    world.venue.cancel(order)
    with pytest.raises(Refused, match="404"):
        world.venue.queue_ahead(order)
    with pytest.raises(Refused, match="404"):
        world.venue.cancel(order)


def test_a_long_queue_is_not_walked_by_those_who_come_and_go(world):
    """A dict of the level's orders once made every match skip all the places that earlier matches had left empty."""
    book = world.venue.markets["M"].book
    first, *_, last = [world.order(101, BID, 100, 1) for _ in range(2_000)]
    assert next(book.orders(BID)) is first
    assert world.venue.queue_ahead(last) == 1_999
    world.venue.cancel(first)
    world.order(100, ASK, 100, 1_000)
    assert world.venue.queue_ahead(last) == 998


def test_money_that_appears_stops_the_venue(world):
    """The check after a step sees what was booked, the recount also what was not."""
    ledger = world.venue.ledger
    ledger.fill(ledger.accounts[100], 0, "M", BID, 5000, 100, 0, 1)
    assert ledger.unpaired() == {"M": 100}
    with pytest.raises(ConservationError, match="off by 500000"):
        world.order(101, BID, 100, 100)
    ledger.fees -= 500_000
    with pytest.raises(ConservationError, match="contracts do not pair up"):
        world.order(101, BID, 100, 100)
    ledger.fees += 500_000
    ledger.fill(ledger.accounts[101], 0, "M", ASK, 5000, 100, 0, 1)
    steps = world.venue.steps
    world.order(101, BID, 100, 100)
    assert world.venue.steps == steps + 1
    ledger.fees += 1
    with pytest.raises(ConservationError, match="off by 1"):
        world.order(101, BID, 100, 100)
    ledger.fees -= 1
    ledger.accounts[100].cash[0, 0] += 1
    with pytest.raises(ConservationError, match="cash: carried along"):
        world.venue.recount()
    ledger.accounts[100].cash[0, 0] -= 1
    ledger.accounts[101].reserved[0, 0] += 1
    with pytest.raises(ConservationError, match="its orders need"):
        world.venue.recount()
    ledger.accounts[101].reserved[0, 0] -= 1
