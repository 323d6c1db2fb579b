"""Broken builds that the crash test must catch: each is one mistake that engines really make.

| build | the mistake |
|---|---|
| `no-fdatasync` | the journal is written and never synced |
| `intended-is-not-sent` | after a crash an intent without an outcome counts as never sent |
| `fresh-id-on-retry` | what timed out is called failed, and its slot gets a new order under a new id |
| `labels-instead-of-facts` | the newest word about an order replaces what was known: a late reply reopens an executed order |
| `cursor-is-last-fill` | fills come from frames and from a list that begins at the last fill known |
| `sends-although-the-commit-failed` | the disk fails, and the orders of that turn leave all the same |

Each is a class of the core with one method changed; nothing else patches our code.
"""

from __future__ import annotations

from soloist_trader.core import events
from soloist_trader.core.commands import Command, FindFills
from soloist_trader.core.desk import Desk
from soloist_trader.core.engine import Engine
from soloist_trader.core.ledger import Ledger
from soloist_trader.core.records import Observed, Released

from tests.crash.memory_engine import Build


class FreshIdDesk(Desk):
    """What timed out is released, so that its slot takes another order."""

    def on_unknown(self, event: events.OrderUnknown) -> None:
        order = self.ledger.orders.get(event.client_order_id)
        if order is not None and not order.settled:
            self.record(Released(event.now_ms, event.client_order_id, "Failed", event.reason))


class IntendedIsNotSentDesk(Desk):
    """An intent without an outcome is released at the start."""

    def begin(self, now_ms: int) -> None:
        super().begin(now_ms)
        for order in list(self.ledger.unsettled()):
            if not order.exists:
                self.record(Released(now_ms, order.client_order_id, "NotSent", "no outcome in the journal"))


class LastFillEngine(Engine):
    """The cursor is the time of the last fill known; what frames lost, only the list behind the cursor brings."""

    def _on_sweep_ended(self, event: events.SweepEnded) -> None:
        latest_ms = max(self.ledger._fill_ids.values(), default=event.as_of_ms)
        super()._on_sweep_ended(event._replace(as_of_ms=max(latest_ms, self.ledger.cursor_ms)))

    def step(self, event: events.Event) -> list[Command]:
        return [command for command in super().step(event) if not isinstance(command, FindFills)]


class LabelsDesk(Desk):
    """Writes every word about an order, the stale ones too."""

    def on_seen(self, event: events.OrderSeen) -> None:
        order = self.ledger.orders.get(event.client_order_id)
        if order is not None and order.order_id == event.order_id and event.filled < order.booked:
            self.record(
                Observed(
                    event.now_ms,
                    event.client_order_id,
                    event.order_id,
                    event.filled,
                    event.closed,
                    event.source,
                )
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
    Build("intended-is-not-sent", desk=IntendedIsNotSentDesk),
    Build("fresh-id-on-retry", desk=FreshIdDesk),
    Build("labels-instead-of-facts", desk=LabelsDesk, ledger=LabelsLedger),
    Build("cursor-is-last-fill", engine=LastFillEngine, overlap_ms=0),
    Build("sends-although-the-commit-failed", obeys_commits=False),
)
BY_NAME = {build.name: build for build in MUTATIONS}
