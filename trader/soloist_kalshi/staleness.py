"""How old the newest news of each market is, by the venue's own timestamps.

A socket that lives says nothing about one market on it: its frames may be queued at the venue, or its subscription may be dead. The
venue stamps frames with its time, so two delays can be told apart: how late a frame arrived (`lag_ms`), and how long nothing came.
Silence alone is no fault in a quiet market; a lag is.
"""

from collections.abc import Callable
from dataclasses import dataclass

__all__ = ["MarketFreshness", "Staleness"]


@dataclass(slots=True)
class MarketFreshness:
    """The newest news of one market: the venue's time of it (Unix ms), when it came (monotonic ms), and how late it was."""

    venue_ms: int
    seen_ms: int
    lag_ms: int


class Staleness:
    """The freshness of many markets. `venue_now_ms` returns the venue's time as well as we know it (see ServerClock.venue_ms)."""

    def __init__(self, *, venue_now_ms: Callable[[], int], monotonic_ms: Callable[[], int]) -> None:
        self._venue_now_ms = venue_now_ms
        self._monotonic_ms = monotonic_ms
        self._markets: dict[str, MarketFreshness] = {}

    def note(self, ticker: str, venue_ms: int | None) -> None:
        """Take the timestamp of a frame; None when it has none (a snapshot), which counts as of now.

        A frame that is older than one that was seen does not make the market older, and its lag counts all the same.
        """
        now_ms = self._venue_now_ms()
        stamp_ms = now_ms if venue_ms is None else venue_ms
        lag_ms = max(0, now_ms - stamp_ms)
        known = self._markets.get(ticker)
        if known is None:
            self._markets[ticker] = MarketFreshness(stamp_ms, self._monotonic_ms(), lag_ms)
            return
        known.venue_ms = max(known.venue_ms, stamp_ms)
        known.seen_ms = self._monotonic_ms()
        known.lag_ms = lag_ms

    def forget(self, ticker: str) -> None:
        """Drop a market that is not watched any more, or whose connection ended."""
        self._markets.pop(ticker, None)

    def of(self, ticker: str) -> MarketFreshness | None:
        """Return what is known of a market; None when nothing was seen."""
        return self._markets.get(ticker)

    def is_stale(self, ticker: str, *, lag_ms: int, silence_ms: int) -> bool:
        """Whether the last frame came later than `lag_ms`, or nothing came for `silence_ms`, or nothing ever."""
        known = self._markets.get(ticker)
        return known is None or known.lag_ms > lag_ms or self._monotonic_ms() - known.seen_ms > silence_ms

    def stale(self, *, lag_ms: int, silence_ms: int) -> list[str]:
        """Return the stale ones of the watched markets, sorted."""
        return sorted(
            ticker for ticker in self._markets if self.is_stale(ticker, lag_ms=lag_ms, silence_ms=silence_ms)
        )

    def worst_lag_ms(self) -> int:
        """Return the largest lag of all markets, for metrics."""
        return max((known.lag_ms for known in self._markets.values()), default=0)
