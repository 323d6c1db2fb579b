"""What is live and what is history: what settled or ended leaves the live reads after three months (section 6, historical).

Every cutoff is the same point here: the start of the UTC day that lies `live_window_ms` (a switch) back.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

from soloist_exchange.exchange import Exchange
from soloist_exchange.markets import MarketState
from soloist_exchange.orders import Order, Status
from soloist_exchange.store_rows import Range

__all__ = ["DAY_MS", "collect", "cutoff_ms", "live_from", "market_is_history", "order_is_history"]

DAY_MS = 86_400_000

Row = TypeVar("Row")


def cutoff_ms(exchange: Exchange) -> int:
    """Return the time before which things are history (Unix milliseconds)."""
    window_ms = exchange.venue.switches.live_window_ms
    step_ms = min(
        DAY_MS, max(1, window_ms)
    )  # a window that is shorter than a day moves in steps of its own length
    return max(0, (exchange.clock_ms() - window_ms) // step_ms * step_ms)


def live_from(exchange: Exchange, from_ms: int | None) -> int:
    """Return where a live read starts: where it is asked to, but not before the cutoff."""
    return max(from_ms or 0, cutoff_ms(exchange))


def market_is_history(state: MarketState, cutoff: int) -> bool:
    """Whether a market settled before the cutoff."""
    return 0 < state.settled_ms < cutoff


def order_is_history(order: Order, cutoff: int) -> bool:
    """Whether an order ended before the cutoff; what rests is always live."""
    return order.status is not Status.RESTING and order.updated_ms < cutoff


def collect(
    fetch: Callable[[Range], list[Row]],
    wanted: Range,
    number_of: Callable[[Row], int],
    keep: Callable[[Row], bool] = lambda _: True,
) -> tuple[list[Row], int | None]:
    """Return one page of the rows that `keep` lets pass, and the next page's cursor (None: this is the last page).

    The cursor is the number of the page's last row: no row is lost or told twice while others come and go.
    """
    size = wanted.limit
    wanted = replace(wanted, limit=size + 1)
    rows: list[Row] = []
    while True:
        found = fetch(wanted)
        rows.extend(row for row in found if keep(row))
        if len(rows) > size:
            return rows[:size], number_of(rows[size - 1])
        if len(found) < wanted.limit:
            return rows, None
        wanted = replace(wanted, before=number_of(found[-1]))
