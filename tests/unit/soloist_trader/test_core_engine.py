import pytest
from soloist_trader.core import events, risk
from soloist_trader.core.codes import Code
from soloist_trader.core.ledger import Ledger
from soloist_trader.core.records import Booked
from soloist_trader.core.units import ASK, IMMEDIATE_OR_CANCEL

from tests.unit.soloist_trader.core_world import ENTRY, EXIT, LIMITS, CoreWorld, cancels, places


@pytest.mark.parametrize(
    ("limits", "target", "code"),
    [
        (LIMITS._replace(max_order=99), ENTRY, Code.MAX_ORDER),
        (LIMITS._replace(max_position=99), ENTRY, Code.MAX_POSITION),
        (LIMITS._replace(max_exposure=399_999), ENTRY, Code.MAX_EXPOSURE),
        (LIMITS, ENTRY._replace(price=4_050), Code.PRICE_OFF_GRID),
    ],
)
def test_each_row_of_the_table_denies_with_its_code(limits, target, code):
    world = CoreWorld(limits)
    assert places(world.want(target)) == []
    assert world.engine.denials == {code: 1}
    assert places(CoreWorld(LIMITS).want(ENTRY)), "and its limit lets the order pass"


def test_every_limit_has_a_row():
    assert {row.limit for row in risk.TABLE} == set(LIMITS._fields)


def test_unknown_orders_count_in_full_and_are_not_netted():
    world = CoreWorld(LIMITS._replace(max_position=250))
    first = world.place(ENTRY)
    world.step(events.OrderUnknown(world.now_ms, first.client_order_id, "reset"))
    sell = ENTRY._replace(side=ASK, level="sell", price=4_500)
    second = ENTRY._replace(level="second")
    assert len(places(world.want(ENTRY, sell, second))) == 2
    assert places(world.want(ENTRY, sell, second, ENTRY._replace(level="third"))) == []
    assert world.engine.denials[Code.MAX_POSITION] == 1
    assert risk.worst_position(world.ledger, "M", 1) == 200
    assert risk.worst_position(world.ledger, "M", -1) == -100


def test_open_orders_are_limited():
    world = CoreWorld(LIMITS._replace(max_open_orders=2))
    levels = [ENTRY._replace(level=f"l{number}") for number in range(3)]
    assert len(places(world.want(*levels))) == 2
    assert world.engine.denials == {Code.MAX_OPEN_ORDERS: 1}


def test_exits_never_sell_more_than_is_held():
    world = CoreWorld()
    world.hold(100)
    resting = world.place(
        EXIT._replace(level="profit", price=4_800, size=70, time_in_force="good_till_canceled")
    )
    assert resting.size == 70
    world.seen(resting)
    stop = EXIT._replace(level="stop", size=100)
    commands = world.want(
        EXIT._replace(level="profit", price=4_800, size=70, time_in_force="good_till_canceled"), stop
    )
    assert [place.size for place in places(commands)] == [30]
    world.step(events.OrderUnknown(world.now_ms, places(commands)[0].client_order_id, "reset"))
    assert places(world.want(stop._replace(level="third"))) == [], "an exit in doubt may still fill"


def test_of_two_resting_exits_the_one_that_the_position_covers_stays():
    world = CoreWorld()
    levels = [EXIT._replace(level=name, time_in_force="good_till_canceled", price=4_800) for name in "ab"]
    first, second = places(world.want(*levels))
    world.seen(first)
    world.seen(second)
    place = world.place(ENTRY._replace(time_in_force=IMMEDIATE_OR_CANCEL), *levels)
    world.wish.wanted = levels
    world.seen(place, 100, closed=True)
    commands = world.fill(place, 100)
    assert cancels(commands) == [second.client_order_id]
    assert cancels(world.tick()) == []


def test_a_position_is_closed_once_in_the_exposure():
    world = CoreWorld()
    levels = [EXIT._replace(level=name, time_in_force="good_till_canceled", price=4_000) for name in "ab"]
    for place in places(world.want(*levels)):
        world.seen(place)
    assert risk.exposure(world.ledger) == 2 * 600_000
    world.ledger.apply(
        Booked(1, "f", "by hand", "v", "M", 1, 4_000, 100, 0, is_taker=True, fill_time_ms=world.now_ms)
    )
    assert risk.exposure(world.ledger) == 400_000 + 600_000


def test_a_position_never_flips_through_zero_by_an_exit():
    world = CoreWorld()
    world.hold(100)
    assert world.place(EXIT._replace(size=500)).size == 100


def test_reducing_lets_exits_pass_and_takes_entries_away():
    world = CoreWorld()
    world.hold(100)
    entry = world.place(ENTRY)
    world.seen(entry)
    commands = world.verb("operator", "REDUCING")
    assert cancels(commands) == [entry.client_order_id]
    assert [place.side for place in places(world.want(ENTRY._replace(level="more"), EXIT))] == [ASK]
    assert world.engine.denials[Code.STATE_REDUCING] >= 1


def test_halted_sends_nothing_and_cancels_everything():
    world = CoreWorld()
    world.hold(100)
    exit_order = world.place(EXIT._replace(time_in_force="good_till_canceled", price=4_800))
    world.seen(exit_order)
    assert cancels(world.verb("operator", "HALTED")) == [exit_order.client_order_id]
    assert places(world.want(EXIT._replace(level="other"))) == []


def test_the_strictest_latch_counts_and_each_actor_lets_go_of_its_own():
    world = CoreWorld()
    world.verb("operator", "HALTED")
    world.verb("lease", "REDUCING")
    assert world.ledger.state == "HALTED"
    world.verb("operator", "ACTIVE")
    assert world.ledger.state == "REDUCING"
    before = len(world.records)
    world.verb("lease", "REDUCING")
    assert len(world.records) == before, "the same word again is no news"
    rebuilt = Ledger()
    for record in world.records:
        rebuilt.apply(record)
    assert rebuilt.latches == {"lease": ("REDUCING", "test")}, "latches survive a restart"
    world.verb("lease", "ACTIVE")
    assert world.ledger.state == "ACTIVE"


def test_the_daily_loss_latches_reducing_until_a_new_day():
    world = CoreWorld(LIMITS._replace(daily_loss=50_000))
    world.hold(200)
    world.top(bid=3_700, ask=3_800)
    world.tick()
    assert world.engine.day_profit() == -60_000
    assert world.ledger.latches["risk"][0] == "REDUCING"
    world.tick(86_400_000)
    assert "risk" not in world.ledger.latches


def test_a_lost_book_stops_decisions_and_after_a_while_takes_orders_away():
    world = CoreWorld()
    entry = world.place(ENTRY)
    world.seen(entry)
    world.step(events.BookLost(world.now_ms, "M", "gap"))
    assert world.want(ENTRY._replace(level="second")) == []
    assert cancels(world.tick(6_000)) == [entry.client_order_id]
    world.seen(entry, closed=True)
    assert places(world.top())


def test_a_closed_market_gets_no_orders():
    world = CoreWorld()
    world.step(events.MarketSeen(world.now_ms, "M", False, 0, (100,), 0))  # noqa: FBT003 a tuple's field
    assert world.want(ENTRY) == []


def test_a_stop_cancels_and_sends_nothing_more():
    world = CoreWorld()
    entry = world.place(ENTRY)
    world.seen(entry)
    assert cancels(world.step(events.StopAsked(world.now_ms, "test"))) == [entry.client_order_id]
    assert cancels(world.tick(1_100)) == [entry.client_order_id], "again, if nothing was heard"
    assert places(world.want(ENTRY._replace(level="second"))) == []


def test_the_write_budget_holds_entries_back_before_exits_and_never_cancels():
    world = CoreWorld(LIMITS._replace(max_open_orders=100, max_position=10**6))
    world.step(events.BudgetSeen(world.now_ms, 1, 100))
    world.hold(100)
    levels = [ENTRY._replace(level=f"l{number}") for number in range(20)]
    entries = places(world.want(*levels))
    assert len(entries) == 5, "capacity 100, 10 for what the clocks differ, 10 spent, 30 kept"
    exits = [EXIT._replace(level=f"x{number}", size=10) for number in range(5)]
    assert len(places(world.want(*levels[:5], *exits))) == 1
    assert world.engine.denials[Code.WRITE_BUDGET] > 0
    world.seen(entries[0])
    assert cancels(world.want(*levels[1:5])) == [entries[0].client_order_id]


def positions(world, count, as_of_ms=None):
    return world.step(
        events.PositionsSeen(
            world.now_ms, as_of_ms or world.now_ms, (("M", count, count * 4_000),), (("f-old", 5),)
        )
    )


def test_a_position_that_differs_twice_latches_reducing_and_a_clean_look_lets_go():
    world = CoreWorld()
    world.hold(100)
    world.now_ms += 1_000
    positions(world, 200)
    assert world.engine.differences == {"M": (100, 200)}
    assert world.ledger.state == "ACTIVE", "once may be a race"
    positions(world, 200)
    assert world.ledger.latches["reconcile"][0] == "REDUCING"
    positions(world, 100)
    assert world.ledger.state == "ACTIVE"


def test_a_listing_older_than_the_last_fill_is_not_compared():
    world = CoreWorld()
    world.hold(100)
    positions(world, 0, as_of_ms=world.now_ms - 1)
    positions(world, 0, as_of_ms=world.now_ms - 1)
    assert (world.engine.compared, world.ledger.state) == (0, "ACTIVE")


def test_a_fill_that_is_read_again_does_not_put_the_comparison_off():
    world = CoreWorld()
    world.hold(100)
    world.now_ms += 1_000
    again = events.FillSeen(world.now_ms, "f0", "v", "", "M", 1, 4_000, 100, 0, True, world.now_ms)  # noqa: FBT003
    world.step(again)
    positions(world, 100)
    assert (world.engine.compared, world.engine.differences) == (1, {})


def test_a_fresh_journal_adopts_what_the_venue_holds_and_excludes_its_fills():
    world = CoreWorld(ready=False)
    positions(world, -300)
    held = world.ledger.position("M")
    assert (held.count, held.fees) == (-300, 0)
    assert world.ledger.has_fill("f-old")
    assert world.engine.differences == {}


def test_the_journal_rebuilds_the_state_without_a_strategy():
    world = CoreWorld()
    world.hold(300, price=3_900)
    exit_order = world.place(EXIT._replace(size=200))
    world.seen(exit_order, 150, closed=True)
    world.fill(exit_order, 150, price=4_500, fee=20_000)
    world.verb("operator", "REDUCING")
    rebuilt = Ledger()
    for record in world.records:
        rebuilt.apply(record)
    assert rebuilt.state_hash() == world.ledger.state_hash()
    position = rebuilt.position("M")
    assert (position.count, position.realised, position.fees) == (150, 150 * 600, 20_000)
    assert position.average_price == 3_900


def test_old_orders_and_fills_are_forgotten_behind_the_cursor():
    world = CoreWorld()
    world.hold(100)
    assert world.ledger.orders
    world.step(events.SweepEnded(world.now_ms, world.now_ms + 700_000))
    assert not world.ledger.orders
    assert world.ledger.position("M").count == 100
    late = events.FillSeen(world.now_ms, "f0", "v", "sunit00-2-7-1", "M", 1, 4_000, 100, 0, True, 1_000)  # noqa: FBT003
    world.step(late)
    assert world.ledger.position("M").count == 100, "a fill from before the horizon is booked already"


def test_an_ioc_entry_that_is_gone_is_tried_again():
    world = CoreWorld()
    place = world.place(ENTRY._replace(time_in_force=IMMEDIATE_OR_CANCEL))
    assert len(places(world.seen(place, 0, closed=True))) == 1
    assert world.wish.entries == 2
