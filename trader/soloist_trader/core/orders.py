"""An order as a set of monotone facts. Labels are derived for people; nothing decides by a label."""

from __future__ import annotations

from enum import StrEnum
from typing import Any, Final, NamedTuple

from soloist_trader.core.codes import Contradiction
from soloist_trader.core.records import Slot

__all__ = ["Contradiction", "Label", "Order", "Terms"]


class Label(StrEnum):
    """What a person is told about an order."""

    INTENDED = "intended"
    UNKNOWN = "unknown"
    WORKING = "working"
    AMENDING = "amending"
    CLOSING = "closing"
    EXECUTED = "executed"
    CANCELED = "canceled"
    RELEASED = "released"


class Terms(NamedTuple):
    """What an amend changes. `size` is filled and desired resting together."""

    price: int
    size: int
    expiration_s: int


_PLAIN: Final = (
    "client_order_id", "price", "size", "expiration_s", "intended_ms", "time_in_force", "reduce_only", "sequence", "group",
    "order_id", "filled", "booked", "closed", "doubted", "tombstoned", "release_code", "contradiction", "acknowledged",
    "amending_ms", "fees", "fees_filled", "fees_total", "updated_ms",
)  # fmt: skip


class Order:
    """One order of ours. What is known of it only ever grows, so evidence may come in any order.

    `price`, `size` and `expiration_s` are the terms that hold for certain; `amending` are terms that may hold as well.
    `former` are the (price, size) pairs that held before: the venue may still show them in a frame that was overtaken.
    `credited` are fills that an adopted position contains: booked for the order, not for the position.
    """

    __slots__ = (*_PLAIN, "amending", "credited", "former", "slot")

    def __init__(self, client_order_id: str, slot: Slot, price: int, size: int, intended_ms: int) -> None:
        self.client_order_id = client_order_id
        self.slot = slot
        self.price = price
        self.size = size
        self.intended_ms = intended_ms
        self.time_in_force = ""
        self.expiration_s = 0
        self.reduce_only = False
        self.sequence = 0
        self.group = ""
        self.order_id = ""
        self.filled = 0
        self.booked = 0
        self.closed = False
        self.doubted = False
        self.tombstoned = False
        self.release_code = ""
        self.contradiction = ""
        self.acknowledged = ""
        """The contradiction that a person has looked at; another one halts the market again."""
        self.amending: Terms | None = None
        self.amending_ms = 0
        self.former: tuple[tuple[int, int], ...] = ()
        self.fees = 0
        """Fees of its fills, adjustments included."""
        self.fees_filled = -1
        self.fees_total = -1
        """The order's own fee total by the evidence of the most filled, -1 if none says it."""
        self.credited: set[str] = set()
        self.updated_ms = intended_ms

    @property
    def evidence(self) -> int:
        """Filled by any evidence, in 1/100 contract: what risk counts."""
        return max(self.filled, self.booked)

    @property
    def size_max(self) -> int:
        """The most that it can ever fill: an amend that may have arrived counts beside the terms before it."""
        return max(self.size, self.amending.size) if self.amending else self.size

    @property
    def exists(self) -> bool:
        """True once the venue has shown it."""
        return bool(self.order_id)

    @property
    def settled(self) -> bool:
        """Nothing more can come of it: never on the book, or closed with every fill booked."""
        if not self.order_id:
            return bool(self.release_code)
        if self.booked < self.filled:
            return False
        return self.closed or self.booked >= self.size_max

    @property
    def unknown(self) -> bool:
        """In doubt: may have arrived, may still arrive."""
        return self.doubted and not self.exists and not self.release_code

    @property
    def resting(self) -> bool:
        """On the book as far as is known, so that a cancel has an address."""
        return self.exists and not self.closed and self.evidence < self.size_max

    @property
    def unbooked(self) -> int:
        """How much of it may still change the position, in 1/100 contract. Zero once settled."""
        if self.settled:
            return 0
        if self.closed and self.exists:
            return self.evidence - self.booked
        return max(self.size_max - self.booked, 0)

    @property
    def pending_ops(self) -> tuple[str, ...]:
        """What may still change it at the venue without our knowledge: a create, an amend, or both."""
        if self.settled or self.closed:
            return ()
        create = ("create",) if not self.exists else ()
        return (*create, "amend") if self.amending else create

    def variants(self) -> tuple[tuple[int, int], ...]:
        """(price, count that may still fill) of each form in which it may be on the book."""
        if self.settled:
            return ()
        if self.closed and self.exists:
            return ((self.price, self.unbooked),)
        known = (self.price, max(self.size - self.booked, 0))
        if self.amending is None:
            return (known,)
        return (known, (self.amending.price, max(self.amending.size - self.booked, 0)))

    def had(self, price: int, size: int) -> bool:
        """True if the order has, or once had, this price and size for certain."""
        pair = (price, size)
        return pair == (self.price, self.size) or pair in self.former

    def was_asked_for(self, price: int, size: int) -> bool:
        """True if the order ever was meant to have this price and size, an amend in doubt included."""
        return self.had(price, size) or (self.amending is not None and (price, size) == self.amending[:2])

    def take(self, terms: Terms) -> None:
        """The amend holds for certain: the terms before it become history."""
        pair = (self.price, self.size)
        if pair != terms[:2] and pair not in self.former:
            self.former = (*self.former, pair)
        self.price, self.size, self.expiration_s = terms

    def contradict(self, contradiction: str) -> None:
        """Keep the first contradiction until a person acknowledges it."""
        if not self.contradiction or self.contradiction == self.acknowledged:
            self.contradiction = str(contradiction)  # a plain text hashes the same after a restore

    @property
    def halting(self) -> bool:
        """True while a contradiction is not acknowledged."""
        return bool(self.contradiction) and self.contradiction != self.acknowledged

    @property
    def label(self) -> Label:
        """The derived word for people."""
        if self.settled:
            if self.release_code and not self.exists:
                return Label.RELEASED
            return Label.EXECUTED if self.evidence >= self.size else Label.CANCELED
        if self.unknown:
            return Label.UNKNOWN
        if not self.exists:
            return Label.INTENDED
        if not self.resting:
            return Label.CLOSING
        return Label.AMENDING if self.amending else Label.WORKING

    def facts(self) -> tuple[object, ...]:
        """What the state hash covers. `updated_ms` is for people and pruning, and left out."""
        return (
            self.client_order_id,
            tuple(self.slot),
            self.price,
            self.size,
            self.order_id,
            self.evidence,
            self.booked,
            self.closed,
            self.doubted,
            self.tombstoned,
            self.release_code,
            self.contradiction,
            self.acknowledged,
            tuple(self.amending or ()),
            self.former,
            self.fees,
            self.fees_filled,
            self.fees_total,
            tuple(sorted(self.credited)),
        )

    def export(self) -> tuple[Any, ...]:
        """Every field as plain values, for snapshots."""
        return (
            *(getattr(self, name) for name in _PLAIN),
            tuple(self.slot),
            tuple(self.amending or ()),
            self.former,
            tuple(sorted(self.credited)),
        )

    @classmethod
    def restore(cls, exported: tuple[Any, ...]) -> Order:
        """The order of an export."""
        *plain, slot, amending, former, credited = exported
        order = cls("", Slot(*slot), 0, 0, 0)
        for name, value in zip(_PLAIN, plain, strict=True):
            setattr(order, name, value)
        order.amending = Terms(*amending) if amending else None
        order.former = tuple((price, size) for price, size in former)
        order.credited = set(credited)
        return order
