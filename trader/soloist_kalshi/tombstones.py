"""Tombstones: what an engine sends under an older order id, to use the id up before anybody else can.

One hundredth of a contract that the venue accepts and that cannot fill; whoever judges accepted orders by their epoch has
to know them, because the id keeps the epoch of the order that it buries.
"""

from __future__ import annotations

from typing import Final

from soloist_kalshi.messages_portfolio import Order
from soloist_kalshi.numbers import count_from_text

TOMBSTONE_COUNT: Final = 1
"""Hundredths of a contract."""


def is_tombstone(order: Order) -> bool:
    """Whether an order is one: of that size, without a fill, and over."""
    return (
        count_from_text(order.initial_count_fp) == TOMBSTONE_COUNT
        and count_from_text(order.fill_count_fp) == 0
        and order.status != "resting"
    )
