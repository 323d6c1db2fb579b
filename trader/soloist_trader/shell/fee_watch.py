"""The fees that were booked against what our model says, order by order: an alarm, and never part of a decision.

Fills are compared as a whole order, once it is settled: the venue rounds each balance change and gives the rounding back
over an order, so that only the order's sum can be expected to agree.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from soloist_kalshi.numbers import NumberError, money_to_dollars

from soloist_trader.core.ledger import Ledger
from soloist_trader.core.records import Booked, FeesAdjusted, Observed, Record
from soloist_trader.shell.fee_terms import FeeTable

TOLERANCE: Final = 20_000
"""Two cents per order, as money: each fill's rounding is below a cent, and what exceeds a cent over an order is given back."""
MAXIMUM_ORDERS: Final = 10_000
"""Orders with fills that are not settled yet; the oldest is forgotten beyond."""


@dataclass(slots=True)
class _Expected:
    size: int = 0
    fees: int = 0
    has_formula: bool = True


class FeeWatch:
    """Takes every record that is journaled; says what a person should read."""

    def __init__(self, ledger: Ledger, table: FeeTable) -> None:
        self._ledger = ledger
        self._table = table
        self._orders: dict[str, _Expected] = {}
        self.checks = {"agree": 0, "differ": 0, "not_compared": 0}
        self.difference = 0
        """Booked less expected over all orders that were compared, as money."""

    def take(self, record: Record) -> str:
        """Take a record that the ledger has applied; what to alert, or ""."""
        kind = type(record)
        if kind is Booked:
            self._expect(record)  # type: ignore[arg-type]  # narrowed by `kind is`: every record passes here
        elif kind is not Observed and kind is not FeesAdjusted:
            return ""
        name: str = record.client_order_id  # type: ignore[union-attr]  # all three have it
        return self._judge(name) if name in self._orders else ""

    def _expect(self, fill: Booked) -> None:
        expected = self._orders.get(fill.client_order_id)
        if expected is None:
            if len(self._orders) >= MAXIMUM_ORDERS:
                del self._orders[next(iter(self._orders))]
            expected = self._orders[fill.client_order_id] = _Expected()
        expected.size += fill.size
        try:
            expected.fees += self._table.fee(
                fill.market, fill.price, fill.size, fill.fill_time_ms, is_taker=fill.is_taker
            )
        except (KeyError, NumberError):
            expected.has_formula = False

    def _judge(self, name: str) -> str:
        order = self._ledger.orders.get(name)
        if order is not None and not order.settled:
            return ""
        expected = self._orders.pop(name)
        if order is None or not expected.has_formula or expected.size != order.booked:
            self.checks["not_compared"] += 1  # no formula, or fills that an earlier process booked
            return ""
        difference = order.fees - expected.fees
        self.difference += difference
        if abs(difference) <= TOLERANCE:
            self.checks["agree"] += 1
            return ""
        self.checks["differ"] += 1
        return (
            f"{name} in {order.slot.market}: {money_to_dollars(order.fees)} dollars of fees are booked, our model says "
            f"{money_to_dollars(expected.fees)}; the venue's fees count, compare them with its schedule"
        )
