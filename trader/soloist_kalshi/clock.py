"""How far this machine's clock is from the venue's, measured from the HTTP `Date` header of every reply.

A `Date` has whole seconds: the venue's clock was somewhere in [date, date + 1 s) at some moment between send and receive. Each reply
so gives an interval for (venue time - monotonic time), and the intersection of many of them is far narrower than a second.
The monotonic clock is the base, so a step of the local wall clock shows at once, without a new reply.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime

from soloist_kalshi.errors import VenueClockSkew

__all__ = ["DEFAULT_WINDOW_MS", "ClockReading", "ServerClock"]

# The venue documents no number; 20 s is the middle of what was seen (section 2), so the limit below is 5 s.
DEFAULT_WINDOW_MS = 20_000
_DATE_RESOLUTION_MS = 1_000
# Crystal drift between two machines: 200 parts per million, generous.
_DRIFT_PER_MILLION = 200
_MICROSECONDS = 1_000


def _wall_ms() -> int:
    return time.time_ns() // 1_000_000


def _monotonic_ms() -> int:
    return time.monotonic_ns() // 1_000_000


@dataclass(slots=True)
class _Interval:
    """Bounds of (venue time - monotonic time) in microseconds, as of a monotonic time in ms."""

    low_us: int
    high_us: int
    at_ms: int


@dataclass(frozen=True, slots=True)
class ClockReading:
    """What is known about the clocks now, for metrics; None before the first reply. All in ms but `samples`."""

    skew_ms: int | None
    uncertainty_ms: int | None
    limit_ms: int
    samples: int

    @property
    def refuses(self) -> bool:
        """Whether nothing is signed now."""
        return self.skew_ms is not None and abs(self.skew_ms) > self.limit_ms


class ServerClock:
    """The wall clock for timestamps, guarded by the measured offset to the venue.

    Until the first reply nothing is known and nothing is refused: the first signed request is then the measurement.

    Timestamps are the local clock's, not corrected by the measured offset. Corrected ones would let a machine with a wrong clock go on
    trading while everything else that reads that clock - order expirations, leases, journals - is wrong; and one edge page with a bad
    `Date` would spoil good signatures. The measurement therefore only decides whether we sign, and the operator sees and mends the clock.
    """

    def __init__(
        self,
        *,
        window_ms: int = DEFAULT_WINDOW_MS,
        wall_ms: Callable[[], int] = _wall_ms,
        monotonic_ms: Callable[[], int] = _monotonic_ms,
    ) -> None:
        assert window_ms > 0
        self.limit_ms = window_ms // 4
        self.samples = 0
        self._wall_ms = wall_ms
        self._monotonic_ms = monotonic_ms
        self._interval: _Interval | None = None

    def monotonic_ms(self) -> int:
        """Return the monotonic time in ms: take it before sending, for `observe`."""
        return self._monotonic_ms()

    def observe(self, date_header: str | None, sent_ms: int) -> None:
        """Learn from a reply that arrived now; `sent_ms` is the monotonic time before its request was sent.

        A missing or unreadable header is ignored: an edge page may have none.
        """
        date_ms = _parse_date_ms(date_header)
        if date_ms is None:
            return
        now_ms = self._monotonic_ms()
        low_us = (date_ms - now_ms) * _MICROSECONDS
        high_us = (date_ms + _DATE_RESOLUTION_MS - sent_ms) * _MICROSECONDS
        known = self._interval
        if known is not None:
            drift_us = (now_ms - known.at_ms) * _DRIFT_PER_MILLION // _MICROSECONDS
            narrowed = (max(low_us, known.low_us - drift_us), min(high_us, known.high_us + drift_us))
            # An empty intersection means that one of the clocks was set: the newest reply is believed.
            if narrowed[0] <= narrowed[1]:
                low_us, high_us = narrowed
        self._interval = _Interval(low_us, high_us, now_ms)
        self.samples += 1

    @property
    def skew_ms(self) -> int | None:
        """Local wall clock minus the venue's, in ms; None before the first reply. Exported as a metric."""
        if self._interval is None:
            return None
        return self._wall_ms() - self.venue_ms()

    @property
    def uncertainty_ms(self) -> int | None:
        """Half the width of the measured interval, in ms; None before the first reply."""
        if self._interval is None:
            return None
        return (self._interval.high_us - self._interval.low_us) // (2 * _MICROSECONDS)

    def reading(self) -> ClockReading:
        """Return the measurement as one snapshot."""
        return ClockReading(self.skew_ms, self.uncertainty_ms, self.limit_ms, self.samples)

    def venue_ms(self) -> int:
        """Return the venue's time in Unix ms as well as it is known; the local wall clock's before the first reply.

        For comparing with timestamps that the venue wrote. Never for signing: see above.
        """
        if self._interval is None:
            return self._wall_ms()
        middle_us = (self._interval.low_us + self._interval.high_us) // 2
        return self._monotonic_ms() + middle_us // _MICROSECONDS

    def timestamp_ms(self) -> int:
        """Return the Unix time in ms to sign with; raises VenueClockSkew when the skew is above a quarter of the window."""
        skew_ms = self.skew_ms
        if skew_ms is not None and abs(skew_ms) > self.limit_ms:
            raise VenueClockSkew(skew_ms, self.limit_ms)
        return self._wall_ms()


def _parse_date_ms(header: str | None) -> int | None:
    if header is None:
        return None
    try:
        moment = parsedate_to_datetime(header)
    except (TypeError, ValueError, OverflowError):
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return int(moment.timestamp()) * 1_000
