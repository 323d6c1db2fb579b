from __future__ import annotations

import pytest
from soloist_exchange.errors import Refused
from soloist_exchange.orders import ASK, BID, SelfTrade, Status, TimeInForce, UpdateReason
from soloist_kalshi.fees import FeeAccumulator, taker_fee

from tests.unit.soloist_exchange.exchange_venues import World, still


@pytest.fixture
def world():
    made = World(still())
    made.account(100)
    made.account(101)
    return made


def cash(world, account_id=100):
    account = world.venue.ledger.accounts[account_id]
    return account.cash[0], account.reserved.get(0, 0)


def test_a_resting_order_holds_back_its_cost_and_gives_it_back(world):
    order = world.order(100, BID, 4000, 1000)
    assert cash(world) == (1_000_000_000, 4_000_000)
    assert world.venue.resting(100) == [order]
    assert world.venue.cancel(order) == 1000
    assert cash(world) == (1_000_000_000, 0)
    assert (world.venue.orders, world.venue.resting(100)) == ({}, [])


def test_what_is_over_is_forgotten(world):
    """A bot trades for hours: only what rests may stay in memory."""
    for _ in range(50):
        maker = world.order(100, ASK, 5000, 100)
        world.order(101, BID, 5000, 100)
        assert maker.status is Status.EXECUTED
        world.venue.cancel(world.order(100, BID, 3000, 100))
    assert world.venue.orders == {}
    assert world.venue._collateral._orders == {}
    assert world.venue._collateral._reserved == {}


def test_collateral_follows_the_position(world):
    """An order that closes needs nothing, until something else closes the position first."""
    world.order(101, ASK, 5000, 1000)
    world.order(100, BID, 5000, 1000)
    closing = world.order(100, ASK, 6000, 1000)
    assert cash(world)[1] == 0
    world.order(101, BID, 4900, 1000)
    world.order(100, ASK, 4900, 1000)
    assert closing.remaining == 1000
    assert cash(world)[1] == 4_000_000
    world.venue.cancel(closing)
    assert cash(world)[1] == 0


def test_one_position_backs_one_sale():
    world = World(still())
    world.account(100, 6)
    world.account(101)
    world.order(101, ASK, 5000, 1000)
    world.order(100, BID, 5000, 1000)
    world.order(100, ASK, 6000, 1000)
    with pytest.raises(Refused, match="insufficient_balance"):
        world.order(100, ASK, 6100, 1000)


def test_an_account_without_cash_can_still_close():
    world = World(still())
    world.account(100, 5)
    world.account(101)
    world.order(101, ASK, 4900, 950)
    world.order(100, BID, 4900, 950)
    world.order(101, BID, 100, 950)
    made = world.order(100, ASK, 100, 950, time_in_force=TimeInForce.IMMEDIATE_OR_CANCEL)
    assert made.status is Status.EXECUTED
    assert world.venue.ledger.accounts[100].held(0, "M") == 0


def test_an_account_never_trades_with_itself(world):
    world.order(100, ASK, 5000, 100)
    made = world.order(100, BID, 5000, 100)
    assert (made.status, made.reason, made.filled) == (Status.CANCELED, UpdateReason.SELF_TRADE_CANCEL, 0)
    made = world.order(100, BID, 5000, 100, self_trade=SelfTrade.MAKER)
    assert made.status is Status.RESTING
    assert world.venue.resting(100) == [made]


def test_expiry_is_by_the_clock_and_once(world):
    order = world.order(100, BID, 4000, 100, expiration_ms=world.clock() + 1000)
    early = world.order(100, BID, 4000, 100, expiration_ms=world.clock() + 500)
    world.venue.cancel(early)
    world.clock.now_ms += 999
    world.venue.expire()
    assert order.status is Status.RESTING
    world.clock.now_ms += 1
    world.venue.expire()
    assert (order.status, order.reason) == (Status.CANCELED, UpdateReason.EXPIRY_CANCEL)
    assert early.reason is UpdateReason.NONE
    assert world.venue._expiries == []


@pytest.mark.parametrize(("position", "side"), [(0, BID), (300, BID), (-300, ASK)])
def test_reduce_only_without_something_to_reduce(world, position, side):
    if position:
        world.order(101, -1 if position > 0 else 1, 5000, 300)
        world.order(100, 1 if position > 0 else -1, 5000, 300)
    with pytest.raises(Refused, match="no position to reduce"):
        world.order(100, side, 5000, 100, reduce_only=True, time_in_force=TimeInForce.IMMEDIATE_OR_CANCEL)


def test_a_paused_venue(world):
    world.venue.trading_active = False
    with pytest.raises(Refused, match="trading_is_paused"):
        world.order(100, BID, 4000, 100)


def test_a_refusal_changes_nothing(world):
    world.order(101, ASK, 5000, 100)
    before = (list(world.tape.lines), cash(world), world.venue.last_sequence)
    for changes in (
        {"post_only": True},
        {"expiration_ms": 1},
        {"client_order_id": "x" * 65},
        {"reduce_only": True},
    ):
        with pytest.raises(Refused):
            world.order(100, BID, 5000, 100, **changes)
    with pytest.raises(Refused, match="insufficient_balance"):
        world.order(100, BID, 5000, 10_000_000)
    assert (world.tape.lines, cash(world), world.venue.last_sequence) == before


def test_fees_of_a_fill_are_the_venues_per_order(world):
    """Trade fee up to 0.0001, balance in whole cents, rebate from the order's accumulator (section 12)."""
    for price in (5000, 5100, 5200):
        world.order(101, ASK, price, 33)
    made = world.order(100, BID, 5200, 99)
    expected = FeeAccumulator()
    fees = [expected.charge(-price * 33, taker_fee(price, 33)) for price in (5000, 5100, 5200)]
    taken = [fill for fill in world.tape.fills if fill.is_taker]
    assert [fill.fee for fill in taken] == fees
    assert made.fee_carry == expected.carried > 0
    assert made.taker_fees == sum(fees) == world.venue.ledger.accounts[100].position(0, "M").fees
    assert world.venue.ledger.fees == sum(fill.fee for fill in world.tape.fills)


def test_realised_profit_and_cost(world):
    position = world.venue.ledger.accounts[100].position(0, "M")
    world.order(101, ASK, 4000, 1000)
    world.order(100, BID, 4000, 1000)
    world.order(101, BID, 6000, 400)
    world.order(100, ASK, 6000, 400)
    assert (position.count, position.cost, position.realized, position.volume) == (
        600,
        2_400_000,
        800_000,
        1400,
    )
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
    assert cash(world)[1] == 400_000
    order.ticker, order.order_id = "GONE", "another"
    world.venue.restore(order)
    assert (order.status, order.reason) == (Status.CANCELED, UpdateReason.CLOSE_CANCEL)
