"""Orders that should not be: of somebody else in our subaccount, or of our claim in another epoch. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple

from soloist_kalshi.messages import Order
from soloist_kalshi.tombstones import is_tombstone

from soloist_trader.core.identifiers import parse_order_id
from soloist_trader.shell.clock import text_to_ms

EVERY_S: Final = 15.0
OVERLAP_MS: Final = 60_000
"""Each audit looks back over the one before: the venue's lists and clock are not ours."""
LONGEST_LOOK_MS: Final = 600_000
FOREIGN: Final = "foreign"
OTHER_EPOCH: Final = "otherEpoch"


class Finding(NamedTuple):
    """An order that should not be, and why."""

    kind: str
    order_id: str
    client_order_id: str
    market: str


def findings(orders: Iterable[Order], claim_hash: str, epoch: int, since_ms: int) -> list[Finding]:
    """Judge the orders of our subaccount that the venue accepted since a moment (Unix ms by the venue).

    An order without a time counts: nobody can say that it is old.
    """
    found = []
    for order in orders:
        if order.created_time and text_to_ms(order.created_time) < since_ms:
            continue
        parts = parse_order_id(order.client_order_id)
        if parts is None or parts.claim_hash != claim_hash:
            kind = FOREIGN
        elif parts.epoch != epoch and not is_tombstone(order):
            kind = OTHER_EPOCH
        else:
            continue
        found.append(Finding(kind, order.order_id, order.client_order_id, order.ticker))
    return found
