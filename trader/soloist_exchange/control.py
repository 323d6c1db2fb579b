"""What moves the exchange from outside the wire: its clock, its switches, its faults, and the admin's hands on markets and money."""

import asyncio
from typing import Final

from soloist_exchange.clocks import Clock, VirtualClock
from soloist_exchange.errors import Refused
from soloist_exchange.exchange import Exchange
from soloist_exchange.faults import Faults
from soloist_exchange.turns import Turn

__all__ = ["Control"]

LONGEST_ADVANCE_MS: Final = 31 * 24 * 3600 * 1000
STEPS_BETWEEN_TURNS: Final = 20


class Control:
    """One exchange with its faults, its clock and its turns."""

    def __init__(self, exchange: Exchange, faults: Faults, turn: Turn, clock: Clock) -> None:
        self.exchange = exchange
        self.faults = faults
        self._turn = turn
        self._clock = clock
        self._advancing = asyncio.Lock()

    def step(self) -> int | None:
        """Carry out what is due, tell of it, and return when something is due next (Unix milliseconds), None for never."""
        due = [self.exchange.flow.step(), self.exchange.venue.tick()]
        self._turn.end()
        return min((item for item in due if item is not None), default=None)

    def wait_s(self, due_ms: int | None, longest_s: float) -> float:
        """Return how long to wait for what is due at a time; a clock that stands still does not bring it nearer."""
        if due_ms is None:
            return longest_s
        ahead_ms = due_ms - self._clock.now_ms()
        if ahead_ms <= 0:
            return 0.0
        return longest_s if isinstance(self._clock, VirtualClock) else min(longest_s, ahead_ms / 1000)

    async def advance(self, by_ms: int) -> int:
        """Move a virtual clock; everything that becomes due happens at its own time, in order. Return the new time.

        Raises Refused when the clock is the real one, or the way is too long.
        """
        clock = self._clock
        if not isinstance(clock, VirtualClock):
            raise Refused(409, "real_clock", "the clock is real; serve with --clock virtual")
        if not 0 <= by_ms <= LONGEST_ADVANCE_MS:
            raise Refused(400, "bad_request", f"advance_ms must be 0 to {LONGEST_ADVANCE_MS}")
        async with self._advancing:
            until_ms = clock.now_ms() + by_ms
            clock.keep(until_ms)
            steps = 0
            while (due_ms := self.step()) is not None and due_ms <= until_ms:
                if due_ms > clock.now_ms():
                    clock.move_to(due_ms)
                steps += 1
                if steps % STEPS_BETWEEN_TURNS == 0:
                    await asyncio.sleep(0)  # requests go on, at the time that it is now
            clock.move_to(until_ms)
            self.step()
            return until_ms
