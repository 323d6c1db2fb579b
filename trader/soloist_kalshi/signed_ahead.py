"""Signatures that are made before they are wanted: with an RSA key one takes as long as all the rest of a send.

That is possible because the venue has neither body nor query signed (section 2): the access headers of every new order differ only in
their time, and the venue takes a time that is seconds old.
"""

import asyncio
from collections import deque
from typing import Final, NamedTuple

from soloist_kalshi.clock import ServerClock
from soloist_kalshi.endpoint import current_signer
from soloist_kalshi.errors import VenueClockSkew
from soloist_kalshi.keys import SignerSource
from soloist_kalshi.signing import Signer

__all__ = ["FRESH_MS", "SignedAhead"]

FRESH_MS: Final = 1_000
"""How old a signature may be when it is used, less what our clock is off: the venue was seen to take five seconds to both sides."""
_READY: Final = 4
"""Two sides, two levels at once."""
_LOOK_S: Final = FRESH_MS / _READY / 1_000


class _Signed(NamedTuple):
    signer: Signer
    timestamp_ms: int
    lines: str


class SignedAhead:
    """Access headers of one method and path, each given out once: those made ahead while they are fresh, else made on the spot.

    One of another key than the current one, or older than `FRESH_MS` (the process stood still), is thrown away.
    """

    def __init__(
        self, signer_source: SignerSource | Signer, clock: ServerClock, method: str, path: str
    ) -> None:
        self.method = method
        self.path = path
        self.used = 0
        """How many were given out that had been made ahead."""
        self._source = signer_source
        self._clock = clock
        self._ready: deque[_Signed] = deque()
        self._timer: asyncio.TimerHandle | None = None

    def begin(self) -> None:
        """Make some from now on, a few at a time, until `end`."""
        if self._timer is None:
            self._look()

    def end(self) -> None:
        """Make no more, and forget those that are ready."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._ready.clear()

    def take(self) -> str:
        """Return the three access headers as they stand in a request. Raises VenueClockSkew."""
        now_ms = self._clock.timestamp_ms()
        signer = current_signer(self._source)
        assert signer is not None
        if self._timer is not None:
            asyncio.get_running_loop().call_soon(self._make)
        limit_ms = FRESH_MS - abs(self._clock.skew_ms or 0)
        while self._ready:
            signed = self._ready.popleft()
            if signed.signer is signer and 0 <= now_ms - signed.timestamp_ms <= limit_ms:
                self.used += 1
                return signed.lines
        return signer.header_lines(self.method, self.path, now_ms)

    def _look(self) -> None:
        """Replace what would be too old at the next look; one signature at a time, because the loop waits for it."""
        self._timer = asyncio.get_running_loop().call_later(_LOOK_S, self._look)
        if len(self._ready) == _READY:
            self._ready.popleft()
        self._make()

    def _make(self) -> None:
        if self._timer is None or len(self._ready) == _READY:
            return
        signer = current_signer(self._source)
        assert signer is not None
        try:
            now_ms = self._clock.timestamp_ms()
        except VenueClockSkew:
            return  # nothing is sent now, and whoever tries hears why
        self._ready.append(_Signed(signer, now_ms, signer.header_lines(self.method, self.path, now_ms)))
