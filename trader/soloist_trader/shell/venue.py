"""What an edge offers to the runtime. Live, Paper and Shadow are different edges around the same core."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from soloist_trader.core import events
from soloist_trader.core.commands import (
    Amend,
    Cancel,
    Entomb,
    FindFills,
    FindOrder,
    Place,
    ResetGroup,
    TriggerGroup,
)

Gate = Callable[[], str | None]
"""None to let the bytes go, or the reason why not."""

Sink = Callable[[events.Event], None]
"""Where an edge delivers what it sees, in the loop's thread."""

VenueCommand = Place | Entomb | Amend | Cancel | TriggerGroup | ResetGroup | FindOrder | FindFills


@dataclass(slots=True)
class Reading:
    """One pass over the account. `as_of_ms` was read before everything else."""

    as_of_ms: int
    orders: list[events.OrderSeen] = field(default_factory=list)
    fills: list[events.FillSeen] = field(default_factory=list)
    positions: tuple[tuple[str, int, int], ...] = ()
    balance: int = -1
    """Cash as money, -1 where the edge has no account."""
    settlements: list[events.SettlementSeen] = field(default_factory=list)
    groups: list[events.GroupSeen] = field(default_factory=list)

    @property
    def has_resting(self) -> bool:
        """True if anybody's order rests on this subaccount: it holds cash back, so that the balance says nothing."""
        return any(not order.closed for order in self.orders)

    def fingerprint(self) -> tuple[object, ...]:
        """What two passes must have in common to be believed."""
        orders = sorted((order.order_id, order.filled, order.closed) for order in self.orders)
        return (
            tuple(orders),
            tuple(sorted(fill.fill_id for fill in self.fills)),
            tuple(sorted(self.positions)),
            tuple(sorted((row.market, row.settled_time_ms) for row in self.settlements)),
        )


@runtime_checkable
class SpotChecked(Protocol):
    """An edge whose books come by deltas, and can be compared with a whole one."""

    async def look_at_top(self, market: str) -> tuple[int, int]:
        """Best bid and ask price by a fresh read, 0 for an empty side. Raises VenueError."""

    def reconnect(self) -> None:
        """Begin again with fresh snapshots."""


@runtime_checkable
class VenueTimed(Protocol):
    """An edge whose venue has a clock of its own: `as_of_ms` is on that one."""

    def venue_ms(self, moment_ms: int) -> int:
        """The latest time that the venue's clock may have shown at a moment of ours."""


class Edge(Protocol):
    """The venue as one mode sees it. `tasks` run from `start` to `close`; one that fails leaves stale books behind."""

    tasks: list[asyncio.Task[None]]

    async def start(self, sink: Sink) -> list[str]:
        """Connect, subscribe, and deliver from here on. Returns the markets, series resolved."""

    async def execute(self, command: VenueCommand, gate: Gate | None) -> list[events.Event]:
        """Carry out one command; the events are its outcome. Never raises for what a venue may do.

        Orders, amends and cancels begin outside of a task: what can leave at once leaves before this first waits.
        """

    async def as_of_ms(self) -> int:
        """How fresh the account reads are, as Unix milliseconds of the venue."""

    async def read(self, from_ms: int, wanted: dict[str, tuple[str, int]]) -> Reading:
        """One pass: resting orders, those in `wanted` (id to market and time) in all statuses, fills since `from_ms`."""

    async def own_resting(self) -> list[events.OrderSeen]:
        """Own orders that rest, from a listing read after the venue's read model caught up."""

    def status(self) -> dict[str, object]:
        """For `/status`: connections, key id, generation."""

    async def close(self) -> None:
        """Give everything back."""
