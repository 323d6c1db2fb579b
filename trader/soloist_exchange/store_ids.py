"""Ids of orders, trades and groups: UUIDs of version 7, which ascend, so that their index grows at its end only."""

from collections.abc import Callable

from soloist_exchange.store import Store

__all__ = ["Ids"]

STARTS = "starts"  # the note that counts the starts of an exchange on its state directory


class Ids:
    """Makes ids from the exchange's time, a running number, the number of this start and the seed.

    No two starts on a state directory make the same id, and a run under a virtual clock can be repeated id for id.
    """

    def __init__(self, store: Store, clock_ms: Callable[[], int], seed: int) -> None:
        starts = int(store.note(STARTS) or 0) + 1
        with store.transaction():
            store.save_note(STARTS, starts)
        # 16 bits of each, below the running number; the two bits of the UUID's variant stand above it.
        self._tail = 0b10 << 62 | (starts & 0xFFFF) << 16 | seed & 0xFFFF
        self._clock_ms = clock_ms
        self._number = 0

    def __call__(self) -> str:
        """Return the next id."""
        self._number = number = self._number + 1
        # The version's nibble, then 12 bits and, behind the variant, 30 bits of the running number.
        value = (
            self._clock_ms() << 80
            | 0x7 << 76
            | (number >> 30 & 0xFFF) << 64
            | (number & 0x3FFFFFFF) << 32
            | self._tail
        )
        text = f"{value:032x}"
        return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"
