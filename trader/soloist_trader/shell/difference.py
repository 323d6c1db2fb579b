"""The difference table: one ledger beside one reading of the account, line by line. Pure; it changes nothing."""

from __future__ import annotations

from typing import Final, NamedTuple

from soloist_kalshi.numbers import count_to_text, money_to_dollars

from soloist_trader.core import events
from soloist_trader.core.identifiers import is_ours
from soloist_trader.core.ledger import Ledger
from soloist_trader.core.orders import Order
from soloist_trader.shell.venue import Reading

EQUAL: Final = "equal"
DIFFERS: Final = "differs"
PENDING: Final = "pending"
"""The engine knows that it does not know: an order in doubt, or closed with fills to come."""
FOREIGN: Final = "foreign"
"""Not of this bot; it is left alone."""


class Row(NamedTuple):
    """One comparison. `ours` and `venue` are texts for people, `-` where there is nothing."""

    kind: str
    subject: str
    ours: str
    venue: str
    verdict: str


def differences(ledger: Ledger, reading: Reading, claim_hash: str) -> list[Row]:
    """Every comparison that can be made: orders, fills, settlements, positions, cash."""
    return [
        *_orders(ledger, reading, claim_hash),
        *_fills(ledger, reading),
        *_settlements(ledger, reading),
        *_positions(ledger, reading),
        *_cash(ledger, reading),
    ]


def _ours(order: Order) -> str:
    return f"{order.label} {count_to_text(order.evidence)} of {count_to_text(order.size)}"


def _theirs(order: events.OrderSeen) -> str:
    word = "closed" if order.closed else "resting"
    return f"{word} {count_to_text(order.filled)} of {count_to_text(order.size)}"


def _orders(ledger: Ledger, reading: Reading, claim_hash: str) -> list[Row]:
    rows, seen = [], set()
    for theirs in reading.orders:
        if not is_ours(theirs.client_order_id, claim_hash):
            rows.append(
                Row("order", theirs.client_order_id or theirs.order_id, "-", _theirs(theirs), FOREIGN)
            )
            continue
        seen.add(theirs.client_order_id)
        order = ledger.orders.get(theirs.client_order_id)
        if order is None:
            verdict, ours = (DIFFERS if not theirs.closed else EQUAL), "-"
        else:
            same = order.evidence == theirs.filled and order.resting != theirs.closed
            verdict = EQUAL if same else PENDING if not order.settled else DIFFERS
            ours = _ours(order)
        rows.append(Row("order", theirs.client_order_id, ours, _theirs(theirs), verdict))
    rows += [
        Row("order", order.client_order_id, _ours(order), "-", PENDING if order.unknown else DIFFERS)
        for order in ledger.unsettled()
        if order.client_order_id not in seen
    ]
    return rows


def _fills(ledger: Ledger, reading: Reading) -> list[Row]:
    rows = []
    for fill in reading.fills:
        if ledger.has_fill(fill.fill_id) or ledger.is_adopted(fill.fill_id, fill.fill_time_ms):
            verdict = EQUAL
        elif fill.fill_time_ms < ledger.horizon_ms:
            continue  # settled and forgotten
        else:
            verdict = DIFFERS if ledger.order_by_id(fill.order_id) is not None else FOREIGN
        text = f"{fill.market} {count_to_text(fill.size)}"
        rows.append(Row("fill", fill.fill_id, text if verdict == EQUAL else "-", text, verdict))
    return rows


def _settlements(ledger: Ledger, reading: Reading) -> list[Row]:
    rows = []
    for row in reading.settlements:
        known = ledger.has_settlement(row.market, row.settled_time_ms)
        text = f"{row.result} {money_to_dollars(row.revenue)}"
        rows.append(Row("settlement", row.market, text if known else "-", text, EQUAL if known else DIFFERS))
    return rows


def _positions(ledger: Ledger, reading: Reading) -> list[Row]:
    theirs = {market: count for market, count, _ in reading.positions}
    rows = []
    for market in sorted(theirs.keys() | ledger.positions.keys()):
        ours, venue = ledger.position(market).count, theirs.get(market, 0)
        settling = any(order.evidence > order.booked for order in ledger.unsettled(market))
        verdict = EQUAL if ours == venue else PENDING if settling else DIFFERS
        rows.append(Row("position", market, count_to_text(ours), count_to_text(venue), verdict))
    return rows


def _cash(ledger: Ledger, reading: Reading) -> list[Row]:
    """Cash is compared only while nothing rests: a resting order holds some of it back."""
    venue = money_to_dollars(reading.balance)
    if not ledger.cash_known:
        return [Row("cash", "account", "-", venue, PENDING)]
    ours = ledger.expected_cash()
    if reading.has_resting or ledger.unsettled_count():
        verdict = PENDING
    else:
        verdict = EQUAL if ours == reading.balance else DIFFERS
    return [Row("cash", "account", money_to_dollars(ours), venue, verdict)]
