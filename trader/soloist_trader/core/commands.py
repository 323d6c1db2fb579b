"""What the engine wants done. `Persist` comes first and is durable before a later `Place` of the same step is sent."""

from __future__ import annotations

from typing import NamedTuple

from soloist_trader.core.records import Record


class Persist(NamedTuple):
    """Append a record to the journal."""

    record: Record


class Place(NamedTuple):
    """Send an order. `expiration_s` 0 means none; `deadline_ms` is the last moment at which sending makes sense."""

    client_order_id: str
    market: str
    side: int
    price: int
    size: int
    time_in_force: str
    expiration_s: int
    reduce_only: bool
    deadline_ms: int
    book_generation: int
    decided_ms: int
    group_id: str = ""
    """The venue's id of the order group that the order names, empty where the edge has no groups."""


class Amend(NamedTuple):
    """Change a resting order; it keeps its id and may fill. Its `Amending` is durable before the bytes leave.

    `size` is filled and desired resting together, `expiration_s` 0 takes the expiration away. The outcome is `AmendEnded`.
    """

    client_order_id: str
    order_id: str
    market: str
    side: int
    price: int
    size: int
    expiration_s: int
    deadline_ms: int
    book_generation: int
    decided_ms: int


class TriggerGroup(NamedTuple):
    """Trigger an order group: its orders are cancelled and new ones refused. Passes every latch, waits for no journal."""

    role: str
    group_id: str


class ResetGroup(NamedTuple):
    """Arm an order group again, because an actor let go of the latch that triggered it."""

    role: str
    group_id: str


class Entomb(NamedTuple):
    """Send the tombstone of an order in doubt: the same id as an order that cannot fill. Passes every latch."""

    client_order_id: str
    market: str
    side: int
    price: int
    size: int


class Cancel(NamedTuple):
    """Cancel an order by the venue's id. Passes every latch and never waits for the journal."""

    client_order_id: str
    order_id: str
    market: str


class FindOrder(NamedTuple):
    """List orders of a market from a time on, in all statuses, and look for one id."""

    client_order_id: str
    market: str
    from_ms: int


class FindFills(NamedTuple):
    """Fetch the fills of one order: its evidence is above what is booked."""

    client_order_id: str
    order_id: str
    market: str


class Alert(NamedTuple):
    """Something a person should read. `code` is a CamelCase word."""

    code: str
    message: str


Command = (
    Persist | Place | Entomb | Amend | Cancel | TriggerGroup | ResetGroup | FindOrder | FindFills | Alert
)
