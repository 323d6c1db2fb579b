"""Judging what the venue shows of an order: pure classifiers, each answer a table row in the tests."""

from __future__ import annotations

from typing import Final

from soloist_trader.core.events import OrderSeen
from soloist_trader.core.orders import Order
from soloist_trader.core.units import BID

TOMBSTONE_COUNT: Final = 1
"""The smallest count the venue takes: 0.01 contract."""
ACCEPTANCE_WINDOW_MS: Final = 60_000
"""The venue refuses a signed timestamp older than this (no source names more than 60 s)."""


def matches(order: Order, event: OrderSeen) -> bool:
    """False if the order shown cannot be the one that was asked for, whatever arrived and in whatever order."""
    if order.slot.market != event.market or order.slot.side != event.side:
        return False
    if order.tombstoned and event.size == TOMBSTONE_COUNT:
        return True
    if order.was_asked_for(event.price, event.size):
        return True
    # The venue cuts a reduce-only order to the position that it finds.
    return order.reduce_only and event.price == order.price and event.size < order.size


def is_news(order: Order, event: OrderSeen) -> bool:
    """False for stale or repeated evidence: it costs no journal record."""
    if order.order_id != event.order_id or event.filled > order.filled or (event.closed and not order.closed):
        return True
    return (event.filled, event.fees) > (order.fees_filled, order.fees_total) and event.fees >= 0


def amend_verdict(order: Order, event: OrderSeen) -> bool | None:
    """Whether the amend in doubt was taken (True), can never be (False), or is still in doubt (None).

    Terms that the order never had before prove the amend. Terms that it had prove nothing, because a frame may be late,
    until a listing is complete to a moment at which the venue would have refused the amend's timestamp. What is closed
    takes no amend any more.
    """
    if order.amending is None:
        return None
    shown = (event.price, event.size)
    asked = order.amending[:2]
    if event.closed:
        return shown == asked
    if shown == asked and not order.had(*shown):
        return True
    if event.as_of_ms > order.amending_ms + ACCEPTANCE_WINDOW_MS:
        # An expiration is not shown: the earlier one is assumed, so that it is renewed rather too soon.
        return shown == asked and asked != (order.price, order.size)
    return None


def worst_price(side: int, ticks: tuple[int, ...]) -> int:
    """The price of a grid at which an order of this side is the least likely to fill."""
    return ticks[0] if side == BID else ticks[-1]
