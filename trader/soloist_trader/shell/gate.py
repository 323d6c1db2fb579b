"""The send gate: asked synchronously right before the bytes of an order go to the socket.

It is the last place where an order can be kept, so it looks at what may have changed since the decision: the latch, the
epoch, the deadline, the book. Cancels and tombstones do not pass here: they never make a position.
"""

from __future__ import annotations

from collections.abc import Callable

from soloist_trader.core.commands import Place
from soloist_trader.shell.clock import now_ms

Generation = Callable[[str], int]
"""Book generation of a market right now, negative while the book cannot be trusted."""


class SendGate:
    """Open only when nothing speaks against sending. `closed` is read by every order, also from other threads."""

    def __init__(self, generation: Generation) -> None:
        self.closed = "not reconciled yet"
        self.kept = 0
        self._generation = generation
        self._admitted: set[str] = set()

    def open(self) -> None:
        """Let orders pass from here on, unless it was closed for good."""
        if not self.closed.startswith("!"):
            self.closed = ""

    def close(self, reason: str, *, for_good: bool = False) -> None:
        """Keep every order from here on. For good: no later `open` has an effect."""
        if not self.closed.startswith("!"):
            self.closed = f"!{reason}" if for_good else reason

    def admit(self, client_order_id: str) -> None:
        """The intent is durable: its order may leave, once."""
        self._admitted.add(client_order_id)

    def done(self, client_order_id: str) -> None:
        """The order has an outcome; its id never passes again."""
        self._admitted.discard(client_order_id)

    def judge(self, place: Place) -> str | None:
        """None to let the order go, or the reason why not."""
        reason = self._reason(place)
        if reason is not None:
            self.kept += 1
        return reason

    def _reason(self, place: Place) -> str | None:
        if self.closed:
            return self.closed.removeprefix("!")
        if place.client_order_id not in self._admitted:
            return "its intent is not durable"
        if now_ms() > place.deadline_ms:
            return "the decision is too old"
        if self._generation(place.market) != place.book_generation:
            return "the book it was decided on is gone"
        return None
