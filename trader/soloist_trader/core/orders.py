"""An order as a set of monotone facts. Labels are derived for people; nothing decides by a label."""

from __future__ import annotations

from enum import StrEnum

from soloist_trader.core.records import Slot


class Label(StrEnum):
    """What a person is told about an order."""

    INTENDED = "intended"
    UNKNOWN = "unknown"
    WORKING = "working"
    CLOSING = "closing"
    EXECUTED = "executed"
    CANCELED = "canceled"
    RELEASED = "released"


class Contradiction(StrEnum):
    """Evidence that cannot be true together. It halts the market until a person looks."""

    FILLED_ABOVE_SIZE = "FilledAboveSize"
    ORDER_ID_CHANGED = "OrderIdChanged"
    RELEASED_BUT_ON_BOOK = "ReleasedButOnBook"
    FIELDS_DIFFER = "FieldsDiffer"


class Order:
    """One order of ours. Every field after the first block only ever grows, so evidence may come in any order."""

    __slots__ = (
        "booked",
        "client_order_id",
        "closed",
        "contradiction",
        "doubted",
        "expiration_s",
        "filled",
        "intended_ms",
        "order_id",
        "price",
        "reduce_only",
        "release_code",
        "sequence",
        "size",
        "slot",
        "time_in_force",
        "tombstoned",
        "updated_ms",
    )

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
        self.order_id = ""
        self.filled = 0
        self.booked = 0
        self.closed = False
        self.doubted = False
        self.tombstoned = False
        self.release_code = ""
        self.contradiction = ""
        self.updated_ms = intended_ms

    @property
    def evidence(self) -> int:
        """Filled by any evidence, in 1/100 contract: what risk counts."""
        return max(self.filled, self.booked)

    @property
    def exists(self) -> bool:
        """True once the venue has shown it."""
        return bool(self.order_id)

    @property
    def settled(self) -> bool:
        """Nothing more can come of it: never on the book, or closed with every fill booked."""
        if self.release_code and not self.exists:
            return True
        closed = self.closed or self.evidence >= self.size
        return closed and self.exists and self.booked >= self.filled

    @property
    def unknown(self) -> bool:
        """In doubt: may have arrived, may still arrive."""
        return self.doubted and not self.exists and not self.release_code

    @property
    def resting(self) -> bool:
        """On the book as far as is known, so that a cancel has an address."""
        return self.exists and not self.closed and self.evidence < self.size

    @property
    def unbooked(self) -> int:
        """How much of it may still change the position, in 1/100 contract. Zero once settled."""
        if self.settled:
            return 0
        if self.closed and self.exists:
            return self.evidence - self.booked
        return max(self.size - self.booked, 0)

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
        return Label.WORKING if self.resting else Label.CLOSING

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
        )
