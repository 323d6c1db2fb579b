"""Candles of equal length, built from trades; the closes of the last ones and their mean and deviation as integers."""

from __future__ import annotations

from collections import deque
from math import isqrt
from typing import NamedTuple


class Bands(NamedTuple):
    """Mean of the closes and distance of the bands from it, as prices."""

    mean: int
    distance: int


class Candles:
    """Closes of the last complete candles of one market. An interval without a trade repeats the close before it.

    `length_ms` is the length of a candle, `periods` how many closes are kept. All arithmetic is on integers, so that a
    replay on another machine sees the same bands.
    """

    __slots__ = ("_close", "_closes", "_interval", "_length_ms", "_periods")

    def __init__(self, length_ms: int, periods: int) -> None:
        assert length_ms > 0
        assert periods > 1
        self._length_ms = length_ms
        self._periods = periods
        self._closes: deque[int] = deque(maxlen=periods)
        self._interval = 0
        self._close = 0
        """Last price of the interval that runs; 0 before the first trade."""

    def advance(self, now_ms: int) -> None:
        """Close every interval that ended before `now_ms`. Time that goes backwards closes nothing."""
        interval = now_ms // self._length_ms
        if not self._close:
            return
        ended = min(interval - self._interval, self._periods)
        for _ in range(ended):
            self._closes.append(self._close)
        self._interval = max(self._interval, interval)

    def trade(self, now_ms: int, price: int) -> None:
        """Take in one trade; those of one interval leave their last price as its close."""
        self.advance(now_ms)
        if not self._close:
            self._interval = now_ms // self._length_ms
        self._close = price

    @property
    def closes(self) -> tuple[int, ...]:
        """Closes of complete candles, oldest first."""
        return tuple(self._closes)

    def bands(self, hundredths: int) -> Bands | None:
        """Bands at `hundredths` / 100 population standard deviations; None until every period has a close."""
        count = len(self._closes)
        if count < self._periods:
            return None
        total = sum(self._closes)
        # deviation = sqrt(n * sum(x^2) - sum(x)^2) / n, and the root is taken of what is already multiplied out.
        spread = count * sum(close * close for close in self._closes) - total * total
        return Bands(total // count, isqrt(spread * hundredths * hundredths) // (100 * count))
