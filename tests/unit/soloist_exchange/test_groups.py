"""Order groups on a clock that the test moves (section 9)."""

from __future__ import annotations

import msgspec
import pytest
from soloist_exchange import groups
from soloist_exchange.errors import Refused
from soloist_exchange.orders import ASK, BID, Status, UpdateReason

from tests.unit.soloist_exchange.bare_venues import BareWorld

LIMIT = 1_000


@pytest.fixture
def world():
    made = BareWorld("M", "N")
    made.account(100)
    made.account(101)
    yield made
    made.venue.recount()


@pytest.fixture
def group(world):
    return world.venue.groups.create(100, 0, LIMIT)


def turn(world, **values):
    world.venue.switches = msgspec.structs.replace(world.venue.switches, **values)


def match(world, group, count, *, ticker="M"):
    """Have an order of the group matched by `count`, as the maker."""
    order = world.order(100, ASK, 5000, count, group_id=group.group_id, ticker=ticker)
    world.order(101, BID, 5000, count, ticker=ticker)
    return order


def test_matches_count_on_both_sides_in_all_markets_and_resting_ones_do_not(world, group):
    resting = world.order(100, BID, 100, 5_000, group_id=group.group_id)
    match(world, group, 300)
    match(world, group, 300, ticker="N")
    world.order(101, ASK, 4000, 200)
    world.order(100, BID, 4000, 200, group_id=group.group_id)
    assert (group.matched, group.triggered, group.orders) == (800, False, [resting])


@pytest.mark.parametrize(("choice", "at_limit"), [("reached", True), ("exceeded", False)])
def test_the_edge_of_the_limit_is_a_switch(world, group, choice, at_limit):
    turn(world, group_trigger=choice)
    match(world, group, LIMIT - 1)
    assert not group.triggered
    match(world, group, 1)
    assert group.triggered is at_limit
    if not at_limit:
        match(world, group, 1)
        assert group.triggered


def test_a_trigger_cancels_what_rests_and_blocks_until_reset(world, group):
    own = [
        world.order(100, BID, price, 100, group_id=group.group_id, ticker=t)
        for price, t in ((100, "M"), (200, "N"))
    ]
    other = world.order(100, BID, 100, 100)
    filled = world.order(100, ASK, 5000, 5_000, group_id=group.group_id)
    world.order(101, BID, 5000, 1_500)
    assert filled.filled == 1_500, "the fill that crosses the limit is not undone"
    assert {order.status for order in (*own, filled)} == {Status.CANCELED}
    assert {order.reason for order in (*own, filled)} == {UpdateReason.ORDER_GROUP_CANCEL}
    assert other.status is Status.RESTING
    assert world.tape.lines[-1].startswith("book"), "the other market's book is told, too"
    world.wait(groups.WINDOW_MS * 2)
    assert group.matched == 0
    with pytest.raises(Refused, match="EXCEEDED_ORDER_GROUP_RISK_LIMIT"):
        world.order(100, BID, 100, 100, group_id=group.group_id)
    world.venue.reset_group(group)
    assert world.order(100, BID, 100, 100, group_id=group.group_id).status is Status.RESTING
    events = [line.split()[-1] for line in world.tape.lines if line.startswith("group")]
    assert events == ["created", "triggered", "reset"]


def test_a_taker_stops_at_the_fill_that_triggers_its_group(world, group):
    for price in (5000, 5100, 5200):
        world.order(101, ASK, price, 600)
    taker = world.order(100, BID, 5200, 5_000, group_id=group.group_id)
    assert (taker.filled, taker.status) == (1_200, Status.CANCELED)
    assert taker.reason is UpdateReason.ORDER_GROUP_CANCEL
    assert world.venue.markets["M"].book.levels(ASK) == [(5200, 600)]


def test_an_order_that_ends_exactly_at_the_trigger_is_executed(world, group):
    world.order(101, ASK, 5000, LIMIT)
    taker = world.order(100, BID, 5000, LIMIT, group_id=group.group_id)
    assert (taker.filled, group.triggered, group.orders) == (LIMIT, True, [])
    assert (taker.status, taker.reason) == (Status.EXECUTED, UpdateReason.TRADE)


def test_the_window_rolls(world, group):
    match(world, group, 600)
    world.clock.now_ms += groups.WINDOW_MS - 1
    assert group.matched == 600
    world.clock.now_ms += 1
    assert group.matched == 0
    match(world, group, 600)
    assert (group.matched, group.triggered) == (600, False)


def test_another_limit_triggers_at_once(world, group):
    resting = world.order(100, BID, 100, 100, group_id=group.group_id)
    match(world, group, 600)
    world.venue.limit_group(group, 601)
    assert not group.triggered
    world.venue.limit_group(group, 500)
    assert (group.triggered, resting.status) == (True, Status.CANCELED)


def test_a_group_ends_with_its_orders(world, group):
    resting = world.order(100, BID, 100, 100, group_id=group.group_id)
    world.venue.delete_group(group)
    assert resting.reason is UpdateReason.ORDER_GROUP_CANCEL
    assert world.venue.groups.of(100) == []
    with pytest.raises(Refused, match="404 order_group_not_found"):
        world.venue.groups.find(100, group.group_id)
    with pytest.raises(Refused, match="404 order_group_not_found"):
        world.order(100, BID, 100, 100, group_id=group.group_id)


def test_triggering_by_hand_and_what_is_said_of_a_triggered_group(world, group):
    resting = world.order(100, BID, 100, 100, group_id=group.group_id)
    assert world.venue.groups.is_auto_cancel_enabled(group)
    world.venue.trigger_group(group)
    world.venue.trigger_group(group)
    assert (resting.status, group.triggered) == (Status.CANCELED, True)
    assert world.venue.groups.is_auto_cancel_enabled(group)
    turn(world, group_auto_cancel_when_triggered=False)
    assert not world.venue.groups.is_auto_cancel_enabled(group)
    assert [line for line in world.tape.lines if line.endswith("triggered")] == ["group id-1 triggered"]


def test_a_group_is_of_one_account_subaccount_and_shard(world, group):
    world.market("S", exchange_index=2)
    world.venue.transfer(100, 0, 0, 0, 2, 1_000_000)
    world.venue.transfer(100, 0, 1, 0, 0, 1_000_000)
    for account_id, fields in ((101, {}), (100, {"subaccount": 1}), (100, {"ticker": "S"})):
        with pytest.raises(Refused, match="404 order_group_not_found"):
            world.order(account_id, BID, 100, 100, group_id=group.group_id, **fields)
    on_shard = world.venue.groups.create(100, 1, LIMIT, 2)
    assert world.venue.groups.of(100) == [group, on_shard]
    assert world.venue.groups.of(100, 1) == [on_shard]
    assert world.venue.groups.of(101) == []


@pytest.mark.parametrize("limit", [99, 100_000_001, 0, -1])
def test_limits_outside_of_their_bounds(world, group, limit):
    with pytest.raises(Refused, match="contracts_limit"):
        world.venue.groups.create(100, 0, limit)
    with pytest.raises(Refused, match="contracts_limit"):
        world.venue.limit_group(group, limit)
    assert group.limit == LIMIT


def test_groups_are_limited_per_account(world, group, monkeypatch):
    monkeypatch.setattr(groups, "GROUPS_PER_ACCOUNT", 2)
    world.venue.groups.create(100, 0, LIMIT)
    with pytest.raises(Refused, match="order groups"):
        world.venue.groups.create(100, 0, LIMIT)
    assert world.venue.groups.create(101, 0, LIMIT).account_id == 101


def test_a_restored_group_goes_on_where_it_was(world, group):
    match(world, group, 600)
    other = BareWorld("M")
    other.account(100)
    other.account(101)
    again = other.venue.groups.restore(
        group.group_id, 100, 0, 0, group.limit, triggered=group.triggered, window=group.window
    )
    assert again.matched == 600
    match(other, again, 400)
    assert again.triggered
    other.venue.recount()


def test_an_amended_order_stays_in_its_group(world, group):
    from soloist_exchange.orders import Amendment

    order = world.order(100, BID, 100, 2_000, group_id=group.group_id)
    world.order(101, ASK, 5000, 1_500)
    world.venue.amend(order, Amendment(5000, 2_000))
    assert (order.filled, order.status, group.triggered) == (1_500, Status.CANCELED, True)
    assert world.venue.orders == {}
