"""What is due when: actions of the venue, and the expiries of orders."""

import heapq
import itertools
from collections.abc import Callable
from typing import Final

from soloist_exchange.orders import Order

__all__ = ["Timers"]

# Expiries of orders that are over are swept when they are more than this, and more than half of all.
_STALE_ALLOWED: Final = 1_000


class Timers:
    """Two heaps by time in Unix milliseconds; equal times come in the order in which they were set."""

    def __init__(self) -> None:
        self._actions: list[tuple[int, int, Callable[[], None]]] = []
        self._expiries: list[tuple[int, int, str]] = []
        self._current: dict[str, int] = {}
        self._numbers = itertools.count()

    def at(self, due_ms: int, action: Callable[[], None]) -> None:
        """Have an action done at a time."""
        heapq.heappush(self._actions, (due_ms, next(self._numbers), action))

    def expire_order(self, order: Order) -> None:
        """Note an order's expiration as it is now; 0 forgets it."""
        if not order.expiration_ms:
            self.forget_order(order)
            return
        self._current[order.order_id] = order.expiration_ms
        heapq.heappush(self._expiries, (order.expiration_ms, next(self._numbers), order.order_id))
        self._sweep()

    def forget_order(self, order: Order) -> None:
        """Drop an order's expiration."""
        self._current.pop(order.order_id, None)
        self._sweep()

    def due_action(self, now_ms: int) -> Callable[[], None] | None:
        """Take the next action that is due, None when there is none."""
        if self._actions and self._actions[0][0] <= now_ms:
            return heapq.heappop(self._actions)[2]
        return None

    def due_order(self, now_ms: int) -> str | None:
        """Take the next order that has expired, None when there is none."""
        while self._expiries and self._expiries[0][0] <= now_ms:
            due_ms, _, order_id = heapq.heappop(self._expiries)
            if self._current.get(order_id) == due_ms:
                del self._current[order_id]
                return order_id
        return None

    def next_ms(self) -> int | None:
        """Return when something is due next, None when never."""
        while self._expiries and self._current.get(self._expiries[0][2]) != self._expiries[0][0]:
            heapq.heappop(self._expiries)
        times = [heap[0][0] for heap in (self._actions, self._expiries) if heap]
        return min(times) if times else None

    def _sweep(self) -> None:
        stale = len(self._expiries) - len(self._current)
        if stale > _STALE_ALLOWED and stale > len(self._current):
            self._expiries = [item for item in self._expiries if self._current.get(item[2]) == item[0]]
            heapq.heapify(self._expiries)
