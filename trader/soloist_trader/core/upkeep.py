"""Orders that rest: how long they live, when one may be moved, and which expiry is renewed next."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from soloist_trader.core.desk import Desk
from soloist_trader.core.orders import Order
from soloist_trader.core.risk import Limits

LEAST_REST_S: Final = 120
"""Every order that can rest expires (dead man): no engine, no order. Never sooner than this."""
REST_JITTER_S: Final = 30
AMEND_EVERY_MS: Final = 250
"""An exit follows the market no faster than this."""
MAXIMUM_AMENDS: Final = 32
"""An order that had more (price, size) pairs is replaced: what a late frame may still show is kept for each order."""


class Upkeep:
    """Keeps what rests alive, and no longer than somebody looks after it (dead man)."""

    def __init__(self, desk: Desk, limits: Limits) -> None:
        self._desk = desk
        self._limits = limits
        self.write_rate = 100
        """Tokens per second of this bot's share."""

    def rest_s(self) -> int:
        """How long a resting order lives, so that renewing all of them costs a quarter of the write rate at most."""
        return max(LEAST_REST_S, -(-20 * self._limits.max_open_orders * 4 // self.write_rate))

    def expiration_s(self, now_ms: int, sequence: int) -> int:
        """When an order of now expires, Unix seconds; the jitter keeps renewals apart."""
        return now_ms // 1000 + self.rest_s() + sequence % REST_JITTER_S

    def may_move(self, now_ms: int, order: Order) -> bool:
        """False while a cancel or a reply is under way, right after an amend, and while the slot backs off."""
        if self._desk.is_cancelling(order) or self._desk.awaits_reply(order):
            return False
        if self._desk.patience.waits(now_ms, order.slot):
            return False
        return now_ms - order.amending_ms >= AMEND_EVERY_MS

    def next_renewal(self, now_ms: int, is_tradable: Callable[[str], bool]) -> Order | None:
        """The order whose expiry comes next, once half of its life is over."""
        limit_s = now_ms // 1000 + self.rest_s() // 2
        due = (
            order
            for order in self._desk.ledger.unsettled()
            if 0 < order.expiration_s <= limit_s
            and order.resting
            and order.amending is None
            and self.may_move(now_ms, order)
            and is_tradable(order.slot.market)
        )
        return min(due, key=lambda order: (order.expiration_s, order.sequence), default=None)
