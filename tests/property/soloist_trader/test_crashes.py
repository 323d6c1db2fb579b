"""The core between crashes and a venue with faults; and broken cores that the same checker catches."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from soloist_trader.core import events
from soloist_trader.core.desk import Desk
from soloist_trader.core.engine import Engine
from soloist_trader.core.ledger import Ledger
from soloist_trader.core.orders import Order
from soloist_trader.core.records import Observed, Released, Slot
from soloist_trader.journal.codec import decode_batch

from tests.property.soloist_trader.crash_world import World
from tests.property.soloist_trader.model_engines import engine_with, made, real_engine


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(seed=st.integers(0, 2**32))
def test_no_order_is_lost_or_doubled_whatever_fails(seed):
    world = World(seed, real_engine)
    world.run(1_500)
    assert world.check() == []


@pytest.mark.parametrize("torn", [False, True], ids=["committed", "torn"])
def test_a_crash_behind_every_record_loses_nothing(torn):
    """The journal ends behind the n-th record (or at the commit before it), for every n of one life."""
    crash_at = 1
    while True:
        world = World(2, real_engine, crash_at=crash_at, torn=torn)
        world.run(250)
        assert world.check() == [], f"crash_at={crash_at}"
        if world.records < crash_at:
            break
        crash_at += 1
    assert crash_at > 50, "the life was long enough to mean something"


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(seed=st.integers(0, 2**32), at=st.floats(0, 1))
def test_an_export_and_the_rest_of_the_journal_are_the_whole_journal(seed, at):
    world = World(seed, real_engine)
    world.run(400)
    world.commit()
    records = [record for payload in world.journal for record in decode_batch(payload)]
    cut = int(at * len(records))
    whole, part = Ledger(), Ledger()
    for record in records:
        whole.apply(record)
    for record in records[:cut]:
        part.apply(record)
    restored = Ledger.restore(part.export())
    assert restored.state_hash() == part.state_hash()
    for record in records[cut:]:
        restored.apply(record)
    assert restored.export() == whole.export()
    assert restored.state_hash() == whole.state_hash() == world.ledger.state_hash()


def test_the_model_really_has_crashes_doubts_and_orders():
    worlds = [World(seed, real_engine) for seed in range(8)]
    for world in worlds:
        world.run(1_500)
        assert world.check() == []
    assert sum(world.crashes for world in worlds) >= 20
    assert sum(world.doubts for world in worlds) >= 20
    assert sum(world.accepted for world in worlds) >= 200
    assert sum(world.amends for world in worlds) >= 20
    assert sum(world.amend_doubts for world in worlds) >= 5
    assert sum(world.triggers for world in worlds) >= 20
    assert sum(len(world.settlements) for world in worlds) >= 10


class FreshIdDesk(Desk):
    """Mutation: what timed out is called failed, and the slot gets a new order under a new id."""

    def on_unknown(self, event: events.OrderUnknown) -> None:
        order = self.ledger.orders.get(event.client_order_id)
        if order is not None and not order.settled:
            self.record(Released(event.now_ms, event.client_order_id, "Failed", event.reason))


class IntendedMeansNotSentDesk(Desk):
    """Mutation: after a crash, an intent without outcome is taken for never sent."""

    def begin(self, now_ms: int) -> None:
        super().begin(now_ms)
        for order in list(self.ledger.unsettled()):
            if not order.exists:
                self.record(Released(now_ms, order.client_order_id, "NotSent", "no outcome in the journal"))


class NoSlotRuleDesk(Desk):
    """Mutation: the slot rule is off."""

    def slot_is_free(self, slot: Slot) -> bool:  # noqa: ARG002
        return True


class NoSlotRuleLedger(Ledger):
    """The far side of the slot rule, off as well."""

    def _check_slot(self, slot: Slot, client_order_id: str) -> None:
        pass


class LabelLedger(Ledger):
    """Mutation: labels instead of facts. The last evidence is the truth, so a late reply reopens an executed order."""

    def _apply_observed(self, record: Observed) -> None:
        order = self.orders.get(record.client_order_id)
        if order is not None:
            order.filled, order.closed = record.filled, record.closed
        super()._apply_observed(record)


class LabelDesk(Desk):
    """The near side of the same: nothing is stale."""

    def on_seen(self, event: events.OrderSeen) -> None:
        order = self.ledger.orders.get(event.client_order_id)
        if order is not None and order.order_id == event.order_id:
            order.filled, order.closed = event.filled, event.closed
        super().on_seen(event)


class NewTermsDesk(Desk):
    """Mutation: an amend whose outcome is not known is taken for done."""

    def on_amend_ended(self, event: events.AmendEnded) -> None:
        super().on_amend_ended(event._replace(outcome="amended"))


class OldTermsDesk(Desk):
    """Mutation: an amend whose outcome is not known is taken for refused."""

    def on_amend_ended(self, event: events.AmendEnded) -> None:
        outcome = "timeout" if event.outcome == "unknown" else event.outcome
        super().on_amend_ended(event._replace(outcome=outcome))


def caught(make_engine, make_ledger=Ledger):
    """What the checker says of a broken build within 120 worlds."""
    for seed in range(120):
        world = World(seed, make_engine, make_ledger)
        try:
            world.run(1_500)
        except AssertionError as error:
            return [f"the core stopped itself: {error}"]
        if found := world.check():
            return found
    return []


@pytest.mark.parametrize(
    ("desk", "ledger"),
    [
        (FreshIdDesk, Ledger),
        (IntendedMeansNotSentDesk, Ledger),
        (NoSlotRuleDesk, NoSlotRuleLedger),
        (LabelDesk, LabelLedger),
        (NewTermsDesk, Ledger),
        (OldTermsDesk, Ledger),
    ],
)
def test_a_broken_core_is_caught(desk, ledger):
    assert caught(engine_with(desk), ledger), f"{desk.__name__} passed: the checker does not see it"


def test_an_amend_in_doubt_that_counts_once_is_caught(monkeypatch):
    monkeypatch.setattr(Order, "size_max", property(lambda order: order.size))
    assert caught(real_engine)


def test_a_closed_order_that_counts_as_settled_without_its_fills_is_caught(monkeypatch):
    def settled(order):
        return (
            order.closed or order.evidence >= order.size_max or bool(order.release_code and not order.exists)
        )

    monkeypatch.setattr(Order, "settled", property(settled))
    assert caught(real_engine)


class LastFillCursorEngine(Engine):
    """Mutation: the cursor is the time of the last fill known, not the as-of time read before the fetch."""

    def _on_sweep_ended(self, event: events.SweepEnded) -> None:
        latest = max(self.ledger._fill_ids.values(), default=event.as_of_ms)
        super()._on_sweep_ended(event._replace(as_of_ms=max(latest, self.ledger.cursor_ms)))


def test_a_cursor_at_the_last_fill_is_caught():
    def build(ledger, identity):
        return made(LastFillCursorEngine, ledger, identity)

    assert caught(build)
