"""Backing off: a slot whose orders come to nothing waits longer each time, so that no refusal repeats at tick rate."""

from __future__ import annotations

from typing import Final

from soloist_trader.core.records import Slot

FIRST_WAIT_MS: Final = 200
LONGEST_WAIT_MS: Final = 30_000


class Patience:
    """Misses of slots. The first one costs nothing, the second 200 ms, and so on twice as long, 30 s at most."""

    __slots__ = ("_misses",)

    def __init__(self) -> None:
        self._misses: dict[Slot, tuple[int, int]] = {}

    def missed(self, now_ms: int, slot: Slot) -> None:
        """An order of the slot was refused, kept, or found nothing to take."""
        count = self._misses.get(slot, (0, 0))[0]
        wait_ms = min(FIRST_WAIT_MS << min(count - 1, 20), LONGEST_WAIT_MS) if count else 0
        self._misses[slot] = (count + 1, now_ms + wait_ms)

    def met(self, slot: Slot) -> None:
        """An order of the slot rests or filled."""
        self._misses.pop(slot, None)

    def waits(self, now_ms: int, slot: Slot) -> bool:
        """True while the slot has to wait."""
        return now_ms < self._misses.get(slot, (0, 0))[1]
