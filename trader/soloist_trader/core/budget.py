"""The account's write budget as an integer token bucket, fed by event times only.

Source: the venue's `/account/limits` (reference kalshi-api.md section 4): continuous refill, orders cost 10 tokens, cancels 2.
"""

from __future__ import annotations

from typing import Final

ORDER_COST: Final = 10
CANCEL_COST: Final = 2
EXIT_RESERVE: Final = 20
"""The write reserve: tokens that every order leaves, for cancels and triggers, and for the fence, whose key calls draw on
the same account's bucket."""
RESERVE: Final = EXIT_RESERVE + ORDER_COST
"""Tokens that opening orders leave: one exit more."""
RENEW_RESERVE: Final = RESERVE + ORDER_COST
"""Tokens that renewals of expiries leave: they have the lowest priority."""
_MILLI: Final = 1000


class WriteBudget:
    """Tokens in thousandths, so that a refill per millisecond stays an integer."""

    __slots__ = ("_capacity", "_milli_tokens", "_refill_per_s", "_updated_ms")

    def __init__(self, refill_per_s: int = 100, capacity: int = 100) -> None:
        self._refill_per_s = refill_per_s
        self._capacity = capacity * _MILLI
        self._milli_tokens = self._capacity
        self._updated_ms = 0

    def configure(self, refill_per_s: int, capacity: int) -> None:
        """Take over what the venue says. What was already spent stays spent."""
        self._refill_per_s = refill_per_s
        self._capacity = capacity * _MILLI
        self._milli_tokens = min(self._milli_tokens, self._capacity)

    def _refill(self, now_ms: int) -> None:
        if now_ms > self._updated_ms:
            grown = self._milli_tokens + (now_ms - self._updated_ms) * self._refill_per_s
            self._milli_tokens = min(grown, self._capacity)
            self._updated_ms = now_ms

    def take(self, now_ms: int, cost: int, reserve: int = 0) -> bool:
        """Spend `cost` tokens if at least `reserve` remain afterwards."""
        self._refill(now_ms)
        if self._milli_tokens - cost * _MILLI < reserve * _MILLI:
            return False
        self._milli_tokens -= cost * _MILLI
        return True

    def force(self, now_ms: int, cost: int) -> None:
        """Spend without asking: a cancel at a stop is sent even if the venue may answer 429."""
        self._refill(now_ms)
        self._milli_tokens = max(self._milli_tokens - cost * _MILLI, 0)

    def exhaust(self, now_ms: int) -> None:
        """The venue said 429: somebody else draws on the account's bucket, too."""
        self._refill(now_ms)
        self._milli_tokens = 0

    @property
    def tokens(self) -> int:
        """Whole tokens left at the last use."""
        return self._milli_tokens // _MILLI
