"""The account beside the ledger: adoption, settlements, fees, cash, halted markets, and what keeps journal and memory small."""

import msgspec
import pytest
from soloist_trader.core import events
from soloist_trader.core.account import MISMATCH_STRIKES
from soloist_trader.core.codes import AlertCode, Code, Contradiction
from soloist_trader.core.commands import Alert, FindFills
from soloist_trader.core.engine import Settings
from soloist_trader.core.ledger import Ledger
from soloist_trader.core.positions import Position, PositionFill
from soloist_trader.core.records import (
    RECORD_TYPES,
    CashAdjusted,
    Excluded,
    FeesAdjusted,
    Intended,
    MarketReleased,
)
from soloist_trader.core.units import ASK, BID, GOOD_TILL_CANCELED, IMMEDIATE_OR_CANCEL, REDUCING
from soloist_trader.journal.codec import decode_batch

from tests.unit.soloist_trader.core_world import ENTRY, EXIT, LIMITS, CoreWorld, cancels, places


def alerts(commands):
    return [command.code for command in commands if isinstance(command, Alert)]


# -- adoption


def found(world, filled, *, closed=False):
    return world.step(
        events.OrderSeen(
            world.now_ms, "sunit00-1-4-9", "v9", "M", BID, 4_000, 100, filled, closed, source="listing"
        )
    )


def fill_seen(world, fill_id, size, fill_time_ms, *, client_order_id=""):
    return world.step(
        events.FillSeen(
            world.now_ms, fill_id, "v9", client_order_id, "M", BID, 4_000, size, 700, False, fill_time_ms  # noqa: FBT003
        )
    )  # fmt: skip


def adopt(world, count, fills):
    world.step(events.PositionsSeen(world.now_ms, world.now_ms, (("M", count, count * 4_000),), fills))
    world.step(events.SweepEnded(world.now_ms, world.now_ms))


@pytest.mark.parametrize("listed", [True, False], ids=["recent fill", "fill older than the listing"])
def test_a_fresh_journal_settles_an_own_partly_filled_order_and_books_nothing_twice(listed):
    world = CoreWorld(ready=False)
    begun_ms = world.now_ms
    found(world, 30)
    fill_seen(world, "f1", 30, begun_ms - 500)
    adopt(world, 30, (("f1", begun_ms - 500),) if listed else ())
    assert cancels(world.tick()) == ["sunit00-1-4-9"]
    world.step(events.CancelEnded(world.now_ms, "sunit00-1-4-9", 70, "cancelled"))
    order = world.ledger.orders["sunit00-1-4-9"]
    assert (order.evidence, order.booked, order.settled) == (30, 0, False)
    assert any(isinstance(command, FindFills) for command in world.tick(600))
    fill_seen(world, "f1", 30, begun_ms - 500, client_order_id="sunit00-1-4-9")
    fill_seen(world, "f1", 30, begun_ms - 500, client_order_id="sunit00-1-4-9")
    assert (order.booked, order.settled) == (30, True), "counts for the order"
    assert (world.ledger.position("M").count, world.ledger.position("M").fees) == (30, 0), "and not again"
    assert sum(isinstance(record, Excluded) and bool(record.size) for record in world.records) == 1


def test_a_fill_after_the_adoption_is_booked():
    world = CoreWorld(ready=False)
    begun_ms = world.now_ms
    found(world, 30)
    adopt(world, 30, (("f1", begun_ms - 500),))
    world.now_ms += 1_000
    found(world, 50, closed=True)
    fill_seen(world, "f1", 30, begun_ms - 500)
    fill_seen(world, "f2", 20, begun_ms + 500)
    order = world.ledger.orders["sunit00-1-4-9"]
    assert (order.booked, order.settled, world.ledger.position("M").count) == (50, True, 50)


def test_an_adoption_that_a_crash_cut_short_begins_again():
    world = CoreWorld(ready=False)
    world.step(events.PositionsSeen(world.now_ms, world.now_ms, (("M", 30, 120_000), ("N", 10, 40_000)), ()))
    after = CoreWorld(ready=False, ledger=world.ledger)
    adopt(after, 20, ())
    assert {name: held.count for name, held in after.ledger.positions.items()} == {"M": 20, "N": 0}


def test_a_found_order_follows_the_terms_that_the_venue_shows():
    world = CoreWorld(ready=False)
    found(world, 0)
    world.step(
        events.OrderSeen(
            world.now_ms, "sunit00-1-4-9", "v9", "M", BID, 4_100, 200, 0, closed=False, source="user_orders"
        )
    )
    order = world.ledger.orders["sunit00-1-4-9"]
    assert (order.price, order.size, world.ledger.halts) == (4_100, 200, {})


# -- exits that cannot go as they are


def test_an_exit_larger_than_a_lowered_limit_is_cut_and_not_denied():
    world = CoreWorld()
    world.hold(300)
    after = CoreWorld(LIMITS._replace(max_order=120), ledger=world.ledger)
    assert after.place(EXIT._replace(size=300)).size == 120
    assert after.engine.denials == {}


@pytest.mark.parametrize("kind", ["refused", "not sent", "nothing to take"])
def test_exits_that_come_to_nothing_back_off_and_the_journal_stays_small(kind):
    world = CoreWorld()
    world.hold(100)
    world.wish.wanted = [EXIT]
    before, tried = len(world.records), 0
    for _ in range(3_000):
        sent = places(world.tick())
        while sent:
            tried += 1
            place = sent.pop()
            if kind == "refused":
                commands = world.step(events.OrderRefused(world.now_ms, place.client_order_id, "closed", ""))
            elif kind == "not sent":
                commands = world.step(events.OrderNotSent(world.now_ms, place.client_order_id, "gate"))
            else:
                commands = world.seen(place, 0, closed=True)
            sent = places(commands)
    assert 10 <= tried <= 30, "five minutes"
    assert len(world.records) - before <= 3 * tried
    assert world.engine.denials[Code.BACKING_OFF] > 1_000


def test_a_fill_ends_the_back_off():
    world = CoreWorld()
    world.hold(100)
    for _ in range(4):
        place = world.place(EXIT)
        world.step(events.OrderRefused(world.now_ms, place.client_order_id, "x", ""))
        world.wish.wanted = []
        world.tick(2_000)
    place = world.place(EXIT)
    world.seen(place, 40, closed=True)
    world.wish.wanted = []
    world.fill(place, 40)
    assert world.place(EXIT).size == 60


@pytest.mark.parametrize(("code", "outcome"), [("trading_is_paused", "paused"), ("bad", "rejected")])
def test_refusals_in_a_pause_are_a_class_of_their_own(code, outcome):
    world = CoreWorld()
    place = world.place(ENTRY)
    world.step(events.OrderRefused(world.now_ms, place.client_order_id, code, ""))
    assert world.engine.desk.outcomes[outcome] == 1


def test_a_full_journal_denies_new_orders_and_says_so_once():
    world = CoreWorld()
    assert alerts(world.step(events.JournalFull(world.now_ms, full=True))) == ["JournalFull"]
    assert world.step(events.JournalFull(world.now_ms, full=True)) == []
    assert places(world.want(ENTRY)) == []
    assert world.engine.denials == {Code.JOURNAL_FULL: 1}
    world.step(events.JournalFull(world.now_ms, full=False))
    assert places(world.tick())
    assert alerts(world.step(events.CommitSlow(world.now_ms, 2_500))) == ["CommitSlow"]
    assert world.engine.commit_p99_us == 2_500


# -- halted markets


def test_a_halted_market_has_a_way_out_and_halts_again_for_something_new():
    world = CoreWorld()
    place = world.place(ENTRY)
    world.seen(place, price=4_100)
    assert world.ledger.halts == {"M": Contradiction.FIELDS_DIFFER}
    world.seen(place, 0, closed=True)
    assert world.step(events.MarketReleaseAsked(world.now_ms, "N", "alice", "typo")) == []
    commands = world.step(events.MarketReleaseAsked(world.now_ms, "M", "alice", "looked at it"))
    assert world.ledger.halts == {}
    assert alerts(commands) == ["MarketReleased"]
    assert MarketReleased(world.now_ms, "M", "alice", "looked at it") in world.records
    assert places(commands), "it trades at once"
    world.seen(place, 40, closed=True)
    assert world.ledger.halts == {}, "the same contradiction is known"
    world.seen(place, 400, closed=True)
    assert world.ledger.halts == {"M": Contradiction.FILLED_ABOVE_SIZE}
    rebuilt = Ledger()
    for record in world.records:
        rebuilt.apply(record)
    assert (rebuilt.halts, rebuilt.state_hash()) == (world.ledger.halts, world.ledger.state_hash())


# -- settlements


def settled(world, value, yes, no, *, revenue=None, fee=0, market="M", at_ms=None):
    exact = value * yes + (10_000 - value) * no
    return world.step(
        events.SettlementSeen(
            world.now_ms, market, "x", at_ms or world.now_ms, exact if revenue is None else revenue, yes, no, fee, value
        )
    )  # fmt: skip


@pytest.mark.parametrize(("value", "profit"), [(10_000, 600_000), (0, -400_000), (5_000, 100_000)])
def test_a_settlement_closes_a_long_position_once(value, profit):
    world = CoreWorld()
    world.hold(100)
    world.now_ms += 1_000
    assert alerts(settled(world, value, 100, 0)) == []
    settled(world, value, 100, 0)
    position = world.ledger.position("M")
    assert (position.count, position.basis, position.realised) == (0, 0, profit)
    assert position.cash_at_venue() == profit


@pytest.mark.parametrize(("value", "profit"), [(10_000, -550_000), (0, 450_000)])
def test_a_settlement_closes_a_short_position(value, profit):
    world = CoreWorld()
    place = world.place(ENTRY._replace(side=ASK, price=4_500, time_in_force=IMMEDIATE_OR_CANCEL))
    world.wish.wanted = []
    world.seen(place, 100, closed=True)
    world.fill(place, 100)
    assert world.ledger.position("M").cash_at_venue() == -550_000, "bought NO at 0.55"
    world.now_ms += 1_000
    settled(world, value, 0, 100)
    assert (world.ledger.position("M").realised, world.ledger.position("M").cash_at_venue()) == (
        profit,
        profit,
    )


def test_two_settlements_of_a_market_at_different_times_are_two():
    world = CoreWorld()
    world.hold(100)
    world.now_ms += 1_000
    settled(world, 10_000, 100, 0)
    world.now_ms += 1_000
    world.hold(100)
    world.now_ms += 1_000
    settled(world, 0, 100, 0)
    assert world.ledger.position("M").realised == 600_000 - 400_000


def test_a_fill_that_becomes_known_behind_its_settlement_is_put_before_it():
    straight, crooked = Position(), Position()
    fills = [PositionFill(1_000, "a", BID, 4_000, 100), PositionFill(2_000, "b", BID, 6_000, 50)]
    for fill in fills:
        straight.book(fill, 0)
    straight.settle(2_000, 3_333, 17)
    crooked.book(fills[0], 0)
    crooked.settle(2_000, 3_333, 17)
    crooked.book(fills[1], 0)
    assert straight.facts() == crooked.facts()
    assert (straight.count, straight.realised, straight.cash) == (0, -200_033, -200_033)


def test_the_venues_rounding_to_cents_is_kept():
    world = CoreWorld()
    world.hold(1)
    world.now_ms += 1_000
    settled(world, 3_333, 1, 0, revenue=0)
    assert world.ledger.position("M").realised == -4_000


def test_a_settlement_of_another_count_or_other_fees_is_said():
    world = CoreWorld()
    world.hold(100)
    world.now_ms += 1_000
    assert alerts(settled(world, 0, 100, 0, fee=5)) == ["FeesDiffer"]
    world.now_ms += 1_000
    world.hold(100)
    world.now_ms += 1_000
    assert alerts(settled(world, 0, 70, 0)) == ["SettlementDiffers"]


def test_a_settlement_from_before_the_adoption_is_in_the_adopted_position():
    world = CoreWorld(ready=False)
    adopt(world, 30, ())
    assert settled(world, 0, 80, 0, at_ms=world.now_ms - 5) == []
    assert world.ledger.position("M").count == 30


# -- fees


def test_the_orders_own_fee_total_wins_over_its_fills():
    world = CoreWorld()
    place = world.place(ENTRY)
    world.fill(place, 60, fee=100)
    assert alerts(world.seen(place, 100, closed=True, fees=190)) == []
    commands = world.fill(place, 40, fee=100)
    assert alerts(commands) == ["FeesDiffer"]
    assert FeesAdjusted(world.now_ms, place.client_order_id, "M", -10) in world.records
    assert (world.ledger.position("M").fees, world.ledger.profit()) == (190, -190)
    world.seen(place, 100, closed=True, fees=190)
    assert sum(isinstance(record, FeesAdjusted) for record in world.records) == 1


def test_fee_totals_of_a_part_adjust_nothing():
    world = CoreWorld()
    place = world.place(ENTRY)
    world.seen(place, 60, fees=95)
    world.fill(place, 60, fee=100)
    world.fill(place, 40, fee=100)
    assert world.ledger.orders[place.client_order_id].settled
    assert world.ledger.position("M").fees == 200


def test_a_fee_that_our_model_does_not_expect_is_said():
    world = CoreWorld(settings=Settings(fee_model=lambda price, count, _taker: price * count // 100))
    place = world.place(ENTRY)
    assert alerts(world.fill(place, 50, fee=2_000)) == []
    assert alerts(world.fill(place, 50, fee=14_000)) == ["FeesDiffer"]
    assert world.ledger.position("M").fees == 16_000, "booked is what the venue says"


# -- cash


def balance(world, cash):
    world.now_ms += 1_000
    return world.step(events.BalanceSeen(world.now_ms, cash, world.now_ms))


def test_cash_is_compared_from_the_first_balance_on_and_trading_explains_it():
    world = CoreWorld()
    assert alerts(balance(world, 50_000_000)) == []
    world.hold(100)
    assert alerts(balance(world, 49_600_000)) == alerts(balance(world, 49_600_000)) == []
    settled(world, 10_000, 100, 0)
    assert alerts(balance(world, 50_600_000)) == alerts(balance(world, 50_600_000)) == []
    assert [record.reason for record in world.records if isinstance(record, CashAdjusted)] == [
        "OpeningBalance"
    ]


@pytest.mark.parametrize(("amount", "state"), [(5_000_000, "ACTIVE"), (100_000_001, "REDUCING")])
def test_unexplained_cash_is_said_and_reduces_above_a_limit_only(amount, state):
    world = CoreWorld()
    balance(world, 500_000_000)
    assert alerts(balance(world, 500_000_000 - amount)) == [], "once may be a race"
    assert AlertCode.CASH_UNEXPLAINED in alerts(balance(world, 500_000_000 - amount))
    assert world.ledger.state == state
    assert alerts(balance(world, 500_000_000 - amount)) == [], "it is explained from here on"
    assert (world.ledger.profit(), world.engine.day_profit()) == (0, 0), "outside profit and loss"


def test_cash_is_not_compared_while_an_order_may_hold_it_back():
    world = CoreWorld()
    balance(world, 50_000_000)
    world.seen(world.place(ENTRY))
    for _ in range(3):
        assert alerts(balance(world, 49_600_000)) == []


# -- recovery from the venue


@pytest.mark.parametrize(("trusted", "state"), [(True, "ACTIVE"), (False, "REDUCING")])
def test_a_recovery_that_cannot_be_trusted_reduces_until_a_person_resumes(trusted, state):
    world = CoreWorld()
    commands = world.step(events.RecoveryReported(world.now_ms, "record 20 s older than the fence", trusted))
    assert AlertCode.RECOVERED_FROM_VENUE in alerts(commands)
    assert world.ledger.state == state
    world.verb("recovery", "ACTIVE")
    assert world.ledger.state == "ACTIVE"


# -- small for ever


def test_memory_stays_bounded_behind_the_cursor():
    world = CoreWorld(LIMITS._replace(max_exposure=10**12))
    sizes = []
    for _ in range(60):
        for side, price in ((BID, 4_000), (ASK, 4_400)):
            place = world.place(ENTRY._replace(side=side, price=price, time_in_force=IMMEDIATE_OR_CANCEL))
            world.wish.wanted = []
            world.seen(place, 100, closed=True)
            world.fill(place, 100)
        world.tick(60_000)
        settled(world, 0, 0, 0)
        world.step(events.SweepEnded(world.now_ms, world.now_ms))
        sizes.append(len(repr(world.ledger.export())))
    assert max(sizes[30:]) <= max(sizes[10:20]) * 1.1
    assert world.ledger.position("M").realised == 60 * 40_000
    desk = world.engine.desk
    assert not desk._chased_ms and not desk._cancelled_ms and not desk._known_to_exist  # noqa: PT018 one fact
    rebuilt = Ledger()
    for record in world.records:
        rebuilt.apply(record)
    assert rebuilt.export() == world.ledger.export()


def test_a_released_contradiction_is_forgotten_and_an_open_one_is_kept():
    world = CoreWorld()
    place = world.place(ENTRY)
    world.seen(place, closed=True, price=4_100)
    world.step(events.SweepEnded(world.now_ms, world.now_ms + 700_000))
    assert world.ledger.orders
    world.step(events.MarketReleaseAsked(world.now_ms, "M", "alice", "fine"))
    world.step(events.SweepEnded(world.now_ms, world.now_ms + 1_400_000))
    assert place.client_order_id not in world.ledger.orders


def test_an_export_is_plain_and_of_a_version():
    world = CoreWorld()
    world.hold(100)
    world.seen(world.place(ENTRY._replace(time_in_force=GOOD_TILL_CANCELED)))

    def plain(value):
        return isinstance(value, int | str) if not isinstance(value, tuple) else all(map(plain, value))

    exported = world.ledger.export()
    assert plain(exported)
    restored = Ledger.restore(exported)
    assert (restored.export(), restored.state_hash()) == (exported, world.ledger.state_hash())
    with pytest.raises(ValueError, match="version"):
        Ledger.restore((99, *exported[1:]))


def test_a_contradiction_that_the_ledger_found_itself_hashes_the_same_after_a_restore():
    world = CoreWorld()
    world.seen(world.place(ENTRY), filled=200)
    assert world.ledger.halts == {"M": "FilledAboveSize"}

    def written_and_read(value):
        return (
            tuple(map(written_and_read, value))
            if isinstance(value, tuple)
            else msgspec.json.decode(msgspec.json.encode(value))
        )

    restored = Ledger.restore(written_and_read(world.ledger.export()))
    assert restored.state_hash() == world.ledger.state_hash()


def test_records_of_older_engines_are_read_without_the_fields_that_came_later():
    old = (1, "s1", 1, "t", "M", 1, "entry", 4_000, 100, "good_till_canceled", 0, False)
    payload = msgspec.msgpack.encode([(RECORD_TYPES.index(Intended), *old)])
    assert list(decode_batch(payload)) == [Intended(*old)]
    assert Intended(*old).group == ""


def positions(world, *rows, as_of_ms=10**12):
    world.step(events.PositionsSeen(world.now_ms, as_of_ms, rows, ()))


def test_a_difference_in_a_market_that_leaves_the_list_is_over():
    """Nothing of ours was ever there, so only the venue's list names it: flat is what is not listed."""
    world = CoreWorld()
    for _ in range(MISMATCH_STRIKES):
        positions(world, ("N", 300, 1_200_000))
    assert world.ledger.latches["reconcile"][0] == REDUCING
    positions(world)
    assert "reconcile" not in world.ledger.latches


def test_a_comparison_that_leaves_a_market_out_is_not_clean():
    world = CoreWorld()
    world.step(events.Verb(world.now_ms, "reconcile", REDUCING, "not compared yet"))
    world.engine.account.note_fill(2_000_000, "M")
    positions(world, ("M", 0, 0), ("N", 0, 0), as_of_ms=1_999_999)
    assert "reconcile" in world.ledger.latches
    positions(world, ("M", 0, 0), ("N", 0, 0), as_of_ms=2_000_001)
    assert "reconcile" not in world.ledger.latches
