import pytest
from soloist_trader.core import events
from soloist_trader.core.commands import Alert, Entomb, FindFills, FindOrder
from soloist_trader.core.ledger import Ledger, SlotOccupiedError
from soloist_trader.core.orders import Label
from soloist_trader.core.records import Intended
from soloist_trader.core.units import ASK

from tests.unit.soloist_trader.core_world import ENTRY, EXIT, TICKS, CoreWorld, cancels, places


def kinds(commands, kind):
    return [command for command in commands if isinstance(command, kind)]


def test_the_order_id_names_claim_epoch_incarnation_and_sequence():
    assert CoreWorld().place(ENTRY).client_order_id == "sunit00-2-7-1"


def test_the_intent_is_recorded_before_the_order_is_sent():
    world = CoreWorld()
    world.wish.wanted = [ENTRY]
    commands = world.engine.step(events.Tick(world.now_ms + 100))
    names = [type(getattr(command, "record", command)).__name__ for command in commands]
    assert names.index("Intended") < names.index("Place")


def test_a_slot_takes_one_order_until_it_is_settled():
    world = CoreWorld()
    place = world.place(ENTRY)
    assert places(world.tick()) == []
    world.seen(place, 60)
    assert places(world.tick()) == []
    world.seen(place, 60, closed=True)
    assert places(world.tick()) == [], "60 are filled at the venue and not booked yet"
    again = places(world.fill(place, 60))
    assert [order.client_order_id for order in again] == ["sunit00-2-7-2"]


def test_an_order_that_is_wanted_otherwise_is_cancelled_first():
    world = CoreWorld()
    place = world.place(ENTRY)
    world.seen(place)
    commands = world.want(ENTRY._replace(price=4_100))
    assert cancels(commands) == [place.client_order_id]
    assert places(commands) == []
    assert cancels(world.tick()) == [], "asked for once, not at every tick"
    world.step(events.CancelEnded(world.now_ms, place.client_order_id, 100, "cancelled"))
    assert world.ledger.orders[place.client_order_id].label is Label.CANCELED


def test_a_404_on_a_cancel_is_no_evidence_and_leads_to_a_look_up():
    world = CoreWorld()
    place = world.place(ENTRY)
    world.seen(place)
    world.want()
    commands = world.step(events.CancelEnded(world.now_ms, place.client_order_id, -1, "not_found"))
    assert [command.client_order_id for command in kinds(commands, FindOrder)] == [place.client_order_id]
    assert world.ledger.orders[place.client_order_id].label is Label.WORKING


def test_an_unknown_order_occupies_its_slot_and_is_burnt_with_its_own_id():
    world = CoreWorld()
    place = world.place(ENTRY)
    world.step(events.OrderUnknown(world.now_ms, place.client_order_id, "reset"))
    commands = world.tick(600)
    assert places(commands) == []
    assert [command.client_order_id for command in kinds(commands, FindOrder)] == [place.client_order_id]
    buried = kinds(world.step(events.OrderAbsent(world.now_ms, place.client_order_id, world.now_ms)), Entomb)
    assert buried == [Entomb(place.client_order_id, "M", place.side, 100, 1)]
    assert places(world.tick()) == []
    commands = world.step(
        events.OrderSeen(world.now_ms, place.client_order_id, "v1", "M", place.side, 100, 1, 0, closed=True, source="tombstone")
    )  # fmt: skip
    assert world.ledger.orders[place.client_order_id].settled
    assert not world.ledger.halts
    assert [order.client_order_id for order in places(commands)] == ["sunit00-2-7-2"]


def test_order_already_exists_means_keep_looking_and_never_again_a_tombstone():
    world = CoreWorld()
    place = world.place(ENTRY)
    world.step(events.OrderUnknown(world.now_ms, place.client_order_id, "reset"))
    world.step(events.OrderExists(world.now_ms, place.client_order_id))
    assert world.step(events.OrderAbsent(world.now_ms, place.client_order_id, world.now_ms)) == []
    world.seen(place, 100, closed=True)
    world.fill(place, 100)
    assert world.ledger.orders[place.client_order_id].label is Label.EXECUTED


def test_a_tombstone_waits_for_the_grid_for_at_its_own_price_it_could_fill():
    world = CoreWorld()
    place = world.place(ENTRY)
    restarted = CoreWorld(ledger=world.ledger, ready=False, grid=False)
    absent = events.OrderAbsent(restarted.now_ms, place.client_order_id, restarted.now_ms)
    assert kinds(restarted.step(absent), Entomb) == []
    assert not restarted.ledger.orders[place.client_order_id].tombstoned
    restarted.step(events.MarketSeen(restarted.now_ms, "M", True, 0, TICKS, 0))  # noqa: FBT003 a tuple's field
    (buried,) = kinds(restarted.step(absent), Entomb)
    assert (buried.price, buried.size) == (TICKS[0], 1)


def test_a_tombstone_works_while_halted():
    world = CoreWorld()
    place = world.place(ENTRY)
    world.step(events.OrderUnknown(world.now_ms, place.client_order_id, "reset"))
    world.verb("operator", "HALTED")
    assert kinds(world.step(events.OrderAbsent(world.now_ms, place.client_order_id, world.now_ms)), Entomb)


def test_a_refused_tombstone_proves_nothing_until_the_acceptance_window_is_over():
    world = CoreWorld()
    place = world.place(ENTRY)
    world.step(events.OrderUnknown(world.now_ms, place.client_order_id, "reset"))
    world.step(events.OrderAbsent(world.now_ms, place.client_order_id, world.now_ms))
    refused = world.step(
        events.OrderRefused(world.now_ms, place.client_order_id, "MARKET_INACTIVE", "closed")
    )
    assert kinds(refused, Alert)
    assert world.ledger.orders[place.client_order_id].label is Label.UNKNOWN
    world.now_ms += 61_000
    world.step(events.OrderAbsent(world.now_ms, place.client_order_id, world.now_ms))
    assert world.ledger.orders[place.client_order_id].label is Label.RELEASED


@pytest.mark.parametrize(
    ("size", "closed", "halts"), [(1, True, {}), (100, False, {"M": "ReleasedButOnBook"})]
)
def test_a_late_tombstone_is_no_contradiction_and_a_late_original_is(size, closed, halts):
    """Found by the model, seed 2077: absence was proven while a tombstone, signed later, was on its way."""
    world = CoreWorld()
    place = world.place(ENTRY)
    world.step(events.OrderUnknown(world.now_ms, place.client_order_id, "reset"))
    world.step(events.OrderAbsent(world.now_ms, place.client_order_id, world.now_ms))
    world.now_ms += 61_000
    world.step(events.OrderAbsent(world.now_ms, place.client_order_id, world.now_ms))
    assert world.ledger.orders[place.client_order_id].label is Label.RELEASED
    world.seen(place, closed=closed, size=size, price=100 if size == 1 else 4_000)
    assert world.ledger.halts == halts


def test_not_sent_and_refused_release_the_slot():
    world = CoreWorld()
    first = world.place(ENTRY)
    world.step(events.OrderNotSent(world.now_ms, first.client_order_id, "gate"))
    second = places(world.tick())[0]
    world.step(events.OrderRefused(world.now_ms, second.client_order_id, "insufficient_balance", ""))
    assert len(places(world.tick(300))) == 1
    assert world.engine.desk.outcomes == {"intended": 3, "not_sent": 1, "released": 2, "rejected": 1}


def test_a_lost_fill_frame_shows_as_evidence_above_booked_and_is_fetched():
    world = CoreWorld()
    place = world.place(ENTRY)
    world.seen(place, 100, closed=True)
    assert kinds(world.tick(600), FindFills)
    world.fill(place, 100)
    assert world.ledger.orders[place.client_order_id].settled


def test_a_lost_fill_frame_of_a_resting_order_is_fetched_too():
    world = CoreWorld()
    place = world.place(ENTRY)
    world.seen(place, 40)
    assert not kinds(world.tick(400), FindFills), "the frame may be on its way"
    assert kinds(world.tick(200), FindFills)
    world.fill(place, 40)
    assert not kinds(world.tick(600), FindFills)


def test_fills_may_come_before_the_reply_and_again_after_it():
    world = CoreWorld()
    place = world.place(ENTRY)
    world.fill(place, 100)
    assert world.ledger.orders[place.client_order_id].label is Label.EXECUTED
    world.seen(place)
    world.seen(place, 100, closed=True)
    assert world.ledger.position("M").count == 100
    assert world.ledger.orders[place.client_order_id].label is Label.EXECUTED


@pytest.mark.parametrize(
    ("change", "contradiction"),
    [
        ({"price": 4_100}, "FieldsDiffer"),
        ({"size": 200}, "FieldsDiffer"),
        ({"filled": 300}, "FilledAboveSize"),
    ],
)
def test_a_contradiction_halts_its_market(change, contradiction):
    world = CoreWorld()
    place = world.place(ENTRY)
    seen = events.OrderSeen(
        world.now_ms, place.client_order_id, "v", "M", place.side, 4_000, 100, 0, closed=False, source="x"
    )
    commands = world.step(seen._replace(**change))
    assert contradiction in str(kinds(commands, Alert)[0])
    assert world.ledger.halts == {"M": contradiction}
    assert places(world.tick()) == []


def test_a_reduce_only_order_may_be_cut_by_the_venue():
    world = CoreWorld()
    world.hold(100)
    place = world.place(EXIT)
    assert place.reduce_only
    world.step(
        events.OrderSeen(world.now_ms, place.client_order_id, "v", "M", ASK, place.price, 40, 0, closed=True, source="listing")
    )  # fmt: skip
    assert not world.ledger.halts
    assert world.ledger.orders[place.client_order_id].settled


def test_another_claims_order_is_left_alone():
    world = CoreWorld()
    seen = events.OrderSeen(
        world.now_ms, "sother0-2-7-1", "v", "M", 1, 4_000, 100, 0, closed=False, source="listing"
    )
    assert world.step(seen) == []
    assert world.step(seen._replace(client_order_id="by hand")) == []
    assert not world.ledger.orders


def test_an_own_order_that_the_journal_lost_is_found_and_cancelled():
    world = CoreWorld()
    seen = events.OrderSeen(
        world.now_ms, "sunit00-1-4-9", "v", "M", 1, 4_000, 100, 0, closed=False, source="listing"
    )
    assert kinds(world.step(seen), Alert)
    assert cancels(world.tick()) == ["sunit00-1-4-9"]


def test_after_a_crash_an_intent_without_outcome_is_unknown_and_leftovers_are_cancelled_before_trading():
    world = CoreWorld()
    working, silent = world.place(ENTRY), None
    world.seen(working)
    silent = world.place(ENTRY, ENTRY._replace(level="second", price=3_900))
    after = CoreWorld(ledger=world.ledger, ready=False)
    assert after.ledger.orders[silent.client_order_id].label is Label.UNKNOWN
    assert after.wish.view is None, "no strategy runs before the engine agrees with the venue"
    assert cancels(after.tick()) == [working.client_order_id]


def test_the_far_side_of_the_slot_rule_refuses_too():
    ledger = Ledger()
    intended = Intended(
        1, "s1", 1, "t", "M", 1, "entry", 4_000, 100, "good_till_canceled", 0, reduce_only=False
    )
    ledger.apply(intended)
    with pytest.raises(SlotOccupiedError, match="holds unsettled order s1"):
        ledger.apply(intended._replace(client_order_id="s2"))


def test_late_evidence_takes_the_slot_when_its_holder_settles_and_a_snapshot_agrees():
    world = CoreWorld()
    first = world.place(ENTRY)
    (second,) = places(world.seen(first, closed=True))
    world.seen(second)
    world.seen(first, 40, closed=True)
    world.wish.wanted = []
    world.seen(second, closed=True)
    slot = world.ledger.orders[first.client_order_id].slot
    assert world.ledger.in_slot(slot).client_order_id == first.client_order_id, "its fills are not booked"
    assert places(world.want(ENTRY)) == []
    restored = Ledger.restore(world.ledger.export())
    assert restored.in_slot(slot).client_order_id == first.client_order_id
    assert len(places(world.fill(first, 40))) == 1


def test_what_can_rest_expires_and_what_cannot_does_not():
    world = CoreWorld()
    resting = world.place(ENTRY)
    assert 120 <= resting.expiration_s - world.now_ms // 1000 <= 150
    world.step(events.OrderNotSent(world.now_ms, resting.client_order_id, "test"))
    world.wish.wanted = []
    world.hold(100)
    assert world.place(EXIT).expiration_s == 0
