"""The send gate: asked synchronously right before the bytes of an order or an amend go to the socket.

It is the last place where an order can be kept, so it looks at what may have changed since the decision: the latch, the
epoch, the deadline, the book, and that as many leave as were intended. Cancels, group triggers and tombstones do not
pass here: they never make a position.
"""

from __future__ import annotations

from collections.abc import Callable

from soloist_trader.core.commands import Amend, Place
from soloist_trader.shell.clock import now_ms

Generation = Callable[[str], int]
"""Book generation of a market right now, negative while the book cannot be trusted."""

Objection = Callable[[Place | Amend], str]
"""What latch, epoch or watchdog say against sending; empty if nothing."""

START = "start"
"""Holds the gate until the engine has agreed with the venue."""


class SendGate:
    """Open only when nothing speaks against sending. `closed` is read by every order, also from other threads."""

    def __init__(self, generation: Generation, objection: Objection = lambda _command: "") -> None:
        self.kept = 0
        self.intents_in = 0
        """Intents that became durable."""
        self.intents_out = 0
        """Intents whose bytes were let go and whose outcome is there; never more than came in."""
        self._generation = generation
        self._objection = objection
        self._holds = {START: "not reconciled yet"}
        self._for_good = ""
        self._admitted: dict[str, Place | Amend] = {}
        self._let_go: set[str] = set()
        self.closed = self._reason_to_be_closed()

    def _reason_to_be_closed(self) -> str:
        return self._for_good or next(iter(self._holds.values()), "")

    def hold(self, actor: str, reason: str) -> None:
        """Keep every order until this actor lets go; actors do not lift each other's holds."""
        self._holds[actor] = reason
        self.closed = self._reason_to_be_closed()

    def release(self, actor: str) -> None:
        """Let go of what this actor held; the gate opens when nobody holds it."""
        self._holds.pop(actor, None)
        self.closed = self._reason_to_be_closed()

    def open(self) -> None:
        """The engine has agreed with the venue."""
        self.release(START)

    def close(self, reason: str) -> None:
        """Keep every order for good: the engine stops. The first reason stays."""
        self._for_good = self._for_good or reason
        self.closed = self._reason_to_be_closed()

    def admit(self, command: Place | Amend) -> None:
        """The intent is durable: exactly this may leave, once."""
        self.intents_in += 1
        self._admitted[command.client_order_id] = command

    def done(self, command: Place | Amend) -> None:
        """There is an outcome; it never passes again."""
        self._admitted.pop(command.client_order_id, None)
        if command.client_order_id in self._let_go:
            self._let_go.discard(command.client_order_id)
            self.intents_out += 1

    def judge(self, command: Place | Amend) -> str | None:
        """None to let it go, or the reason why not."""
        reason = self._reason(command)
        if reason is None:
            self._let_go.add(command.client_order_id)
        else:
            self.kept += 1
        return reason

    def _reason(self, command: Place | Amend) -> str | None:
        if self.closed:
            return self.closed
        if self._admitted.get(command.client_order_id) != command:
            return "its intent is not durable"
        if self.intents_out >= self.intents_in:
            return "more would leave than was intended"
        if now_ms() > command.deadline_ms:
            return "the decision is too old"
        if self._generation(command.market) != command.book_generation:
            return "the book it was decided on is gone"
        return self._objection(command) or None
