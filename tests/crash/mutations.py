"""Broken builds that the crash test must catch: each is one mistake that engines really make.

| build | the mistake |
|---|---|
| `no-fdatasync` | the journal is written and never synced |
| `intended-is-not-sent` | after a crash an intent without an outcome counts as never sent |
| `fresh-id-on-retry` | what timed out is called failed, and its slot gets a new order under a new id |
| `labels-instead-of-facts` | the newest word about an order replaces what was known: a late reply reopens an executed order |
| `cursor-is-last-fill` | fills come from frames and from a list that begins at the last fill known |

Most classes are those that the core's own property tests break the core with.
"""

from __future__ import annotations

from soloist_trader.core import events
from soloist_trader.core.desk import Desk
from soloist_trader.core.ledger import Ledger
from soloist_trader.core.records import Observed

from tests.crash.memory_engine import Build
from tests.property.soloist_trader.test_crashes import (
    FreshIdDesk,
    IntendedMeansNotSentDesk,
    LastFillCursorEngine,
    NeverFetchesFillsDesk,
)


class LabelsDesk(Desk):
    """Writes every word about an order, the stale ones too."""

    def on_seen(self, event: events.OrderSeen) -> None:
        order = self.ledger.orders.get(event.client_order_id)
        if order is not None and order.order_id == event.order_id and event.filled < order.booked:
            self.record(
                Observed(event.now_ms, event.client_order_id, event.order_id, event.filled, event.closed, event.source)
            )
        super().on_seen(event)


class LabelsLedger(Ledger):
    """The newest word holds: resting or executed, how much is filled, and so how much is booked."""

    def _apply_observed(self, record: Observed) -> None:
        super()._apply_observed(record)
        order = self.orders.get(record.client_order_id)
        if order is not None and order.exists:
            order.filled, order.closed = record.filled, record.closed
            order.booked = min(order.booked, record.filled)
            self._touch(order, record.time_ms)


MUTATIONS = (
    Build("no-fdatasync", syncs=False),
    Build("intended-is-not-sent", desk=IntendedMeansNotSentDesk),
    Build("fresh-id-on-retry", desk=FreshIdDesk),
    Build("labels-instead-of-facts", desk=LabelsDesk, ledger=LabelsLedger),
    Build("cursor-is-last-fill", desk=NeverFetchesFillsDesk, engine=LastFillCursorEngine, overlap_ms=0),
)
BY_NAME = {build.name: build for build in MUTATIONS}
