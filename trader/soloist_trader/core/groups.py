"""Order groups: the venue's own handle on everything that may still fill, by role (`open`, `reduce`).

A latch that a person or the operator has to lift triggers them: REDUCING the `open` group, so that exits still go, HALTED
and a stop both. A latch that lifts by itself (SELF_RELEASING) does not: a reset is never automatic, so a moment without
the API server would end trading until a person comes; what rests is cancelled by id instead.
"""

from __future__ import annotations

from typing import Final

from soloist_trader.core import events
from soloist_trader.core.codes import AlertCode, Code
from soloist_trader.core.commands import ResetGroup, TriggerGroup
from soloist_trader.core.desk import Desk
from soloist_trader.core.records import GroupChanged, GroupMade, Latched
from soloist_trader.core.units import (
    ARMED,
    GROUP_ROLES,
    HALTED,
    OPEN_GROUP,
    REDUCING,
    STATE_RANK,
    TRIGGERED,
)

ASK_AGAIN_MS: Final = 1000
RUNAWAY: Final = "runaway"
SELF_RELEASING: Final = frozenset({"lease", "reconcile", "risk"})
"""Actors whose latch goes without a person: the API server answers, a comparison is clean, a day begins."""


class Groups:
    """Brings the order groups to what the latches want. Asks again every second until the venue shows it."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._ledger = desk.ledger
        self._asked_ms: dict[str, int] = {}
        self._released: set[str] = set()
        self._triggering: set[str] = set()
        """Roles whose trigger was asked for and has not been shown yet: the latch may be gone when it is."""
        self.stopping = False

    def denial(self, role: str, *, required: bool) -> Code | None:
        """Why an order of this role may not go, as far as its group says so."""
        group = self._ledger.groups.get(role)
        if group is None:
            return Code.GROUP_UNKNOWN if required else None
        return Code.GROUP_TRIGGERED if group.state == TRIGGERED else None

    def _wants_triggered(self, role: str) -> bool:
        least = STATE_RANK[REDUCING if role == OPEN_GROUP else HALTED]
        return self.stopping or any(
            STATE_RANK[state] >= least
            for actor, (state, _) in self._ledger.latches.items()
            if actor not in SELF_RELEASING
        )

    def on_seen(self, event: events.GroupSeen) -> None:
        """The venue showed a group. One that triggered without our asking stands for a runaway, and latches."""
        desk, ledger = self._desk, self._ledger
        known = ledger.groups.get(event.role)
        if known is None or known.group_id != event.group_id:
            desk.record(GroupMade(event.now_ms, event.role, event.group_id, event.limit))
        state = TRIGGERED if event.triggered else ARMED
        if ledger.groups[event.role].state != state:
            desk.record(GroupChanged(event.now_ms, event.role, state))
            desk.changed_markets.update(order.slot.market for order in ledger.unsettled())
        self._asked_ms.pop(event.role, None)
        if not event.triggered:
            self._released.discard(event.role)
            self._triggering.discard(event.role)
        elif event.role in self._triggering:
            self._triggering.discard(event.role)
        elif not self._wants_triggered(event.role):
            latch = REDUCING if event.role == OPEN_GROUP else HALTED
            reason = f"the venue triggered order group {event.role}: it matched more than its limit in 15 s"
            desk.record(Latched(event.now_ms, RUNAWAY, latch, reason))
            desk.alert(AlertCode.GROUP_TRIGGERED, reason)
        self.step(event.now_ms)

    def on_released(self, now_ms: int, actor: str) -> None:
        """An actor let go of its latch with a reason: that is the word which arms what was triggered."""
        if actor not in SELF_RELEASING:
            self._released.update(GROUP_ROLES)
            self.step(now_ms)

    def step(self, now_ms: int) -> None:
        """Ask for what is wanted and not shown yet."""
        for role in GROUP_ROLES:
            group = self._ledger.groups.get(role)
            if group is None or now_ms - self._asked_ms.get(role, -ASK_AGAIN_MS) < ASK_AGAIN_MS:
                continue
            wanted = self._wants_triggered(role)
            if wanted and group.state == ARMED:
                self._asked_ms[role] = now_ms
                self._triggering.add(role)
                self._desk.commands.append(TriggerGroup(role, group.group_id))
            elif not wanted and group.state == TRIGGERED and role in self._released:
                self._asked_ms[role] = now_ms
                self._desk.commands.append(ResetGroup(role, group.group_id))
