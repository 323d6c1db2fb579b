"""The core between crashes and a venue with faults; and broken cores that the same checker catches."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from soloist_trader.core import events
from soloist_trader.core.desk import Desk
from soloist_trader.core.ledger import Ledger
from soloist_trader.core.records import Released, Slot

from tests.property.soloist_trader import venue_model as model


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(seed=st.integers(0, 2**32))
def test_no_order_is_lost_or_doubled_whatever_fails(seed):
    world = model.World(seed, model.real_engine)
    world.run(1_500)
    assert world.check() == []


def test_the_model_really_has_crashes_doubts_and_orders():
    worlds = [model.World(seed, model.real_engine) for seed in range(8)]
    for world in worlds:
        world.run(1_500)
        assert world.check() == []
    assert sum(world.crashes for world in worlds) >= 20
    assert sum(world.doubts for world in worlds) >= 20
    assert sum(world.accepted for world in worlds) >= 200


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


class NeverFetchesFillsDesk(Desk):
    """Mutation: labels instead of facts. A closed order is settled, whatever fills are missing."""

    def chase(self, now_ms: int) -> None:
        super().chase(now_ms)
        self.commands = [command for command in self.commands if type(command).__name__ != "FindFills"]


@pytest.mark.parametrize(
    ("desk", "ledger"),
    [
        (FreshIdDesk, Ledger),
        (IntendedMeansNotSentDesk, Ledger),
        (NoSlotRuleDesk, NoSlotRuleLedger),
        (NeverFetchesFillsDesk, Ledger),
    ],
)
def test_a_broken_core_is_caught(desk, ledger):
    found = []
    for seed in range(40):
        world = model.World(seed, model.engine_with(desk), ledger)
        world.run(1_500)
        found += world.check()
        if found:
            break
    assert found, f"{desk.__name__} passed 40 worlds: the checker does not see this mutation"
