"""Does the watch still deliver? A list that shows a change which no event brought means that the watch is deaf.

kopf reconnects silent watches by itself; this is the belt: the process restarts when it hears nothing for too long.
"""

from __future__ import annotations

from soloist_operator.queue import Key

DEAF_AFTER_S = 210.0
"""Three times kopf's inactivity time-out."""


class Freshness:
    """Compares what events brought with what lists show. Times are monotonic seconds."""

    def __init__(self) -> None:
        self._heard: dict[Key, str] = {}
        self._unheard: dict[Key, tuple[str, float]] = {}

    def heard(self, key: Key, version: str) -> None:
        """An event delivered this resourceVersion of a TradingBot."""
        self._heard[key] = version
        self._unheard.pop(key, None)

    def listed(self, found: dict[Key, str], now_s: float) -> None:
        """A list shows these resourceVersions; what no event brought is remembered with the time."""
        for key in [known for known in self._heard if known not in found]:
            del self._heard[key]
        self._unheard = {
            key: self._unheard[key] if self._unheard.get(key, ("", 0.0))[0] == version else (version, now_s)
            for key, version in found.items()
            if self._heard.get(key) != version
        }

    def silence_s(self, now_s: float) -> float:
        """How long the oldest undelivered change has been waiting, 0 when everything was delivered."""
        return max((now_s - since_s for _, since_s in self._unheard.values()), default=0.0)
