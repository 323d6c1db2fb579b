"""The orders of a tape, sent again at their times."""

from pathlib import Path

from soloist_exchange import tape
from soloist_exchange.flow_desk import Desk
from soloist_exchange.orders import Order, Status
from soloist_exchange.tape import Placed

__all__ = ["Replay"]

# Orders that are over are forgotten when so many are remembered.
_REMEMBERED = 20_000


class Replay:
    """Plays a tape from `start_ms` on. What the venue refuses now, because connected accounts traded too, is left out."""

    def __init__(self, path: Path, desk: Desk, start_ms: int) -> None:
        self._desk = desk
        self._start_ms = start_ms
        self._tickers = tape.read_header(path).tickers
        self._records = tape.records(path)
        self._next = next(self._records, None)
        self._orders: dict[int, Order] = {}
        self._forget_at = _REMEMBERED

    def due_ms(self) -> int | None:
        """Return the time of the next record, None at the end."""
        return None if self._next is None else self._start_ms + self._next.offset_ms

    def run_next(self) -> None:
        """Send what is next."""
        record = self._next
        assert record is not None
        self._next = next(self._records, None)
        if not isinstance(record, Placed):
            if (order := self._orders.pop(record.number, None)) is not None:
                self._desk.cancel(order)
            return
        placed = self._desk.place(
            self._tickers[record.market],
            record.account_id,
            record.side,
            record.price,
            record.size,
            record.life,
        )
        if placed is not None and placed.status is Status.RESTING:
            self._orders[self._desk.orders] = placed
            if len(self._orders) >= self._forget_at:
                self._orders = {
                    number: order for number, order in self._orders.items() if order.status is Status.RESTING
                }
                self._forget_at = max(_REMEMBERED, 2 * len(self._orders))
