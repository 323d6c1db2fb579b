"""`/status`, `/metrics` and `/health` of the watchdog, by a thread of its own: they answer while the engine is mute."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Final

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from soloist_trader.shell.clock import monotonic_ms
from soloist_trader.shell.http_thread import Answering, HttpThread
from soloist_trader.shell.metrics import render
from soloist_trader.watchdog.pulse import read_snapshot

STUCK_MS: Final = 5_000
"""Without a look for so long, the watchdog itself hangs: its liveness probe ends it, and it goes on after a restart."""


class Face:
    """What the loop shows: one reference that is replaced, never changed."""

    def __init__(self, watch_directory: Path) -> None:
        self.watch_directory = watch_directory
        self.shown: dict[str, Any] = {}
        self.looked_ms = monotonic_ms()

    def show(self, shown: dict[str, Any]) -> None:
        """One look of the loop."""
        self.shown = shown
        self.looked_ms = monotonic_ms()

    def status(self) -> dict[str, Any]:
        """The engine's last status with its age, and the watchdog's own words; `servedBy` tells who answers."""
        found = read_snapshot(self.watch_directory)
        body, age_ms = found if found is not None else ({"version": 1}, None)
        return {**body, "ageMs": age_ms, "servedBy": "watchdog", "watchdog": self.shown}


class _WatchdogCollector(Collector):
    """The watchdog's metrics."""

    def __init__(self, shown: dict[str, Any]) -> None:
        self._shown = shown

    def collect(self) -> Iterable[Metric]:
        """Every metric, none before the first look."""
        shown = self._shown
        if not shown:
            return
        for name, (document, key) in _GAUGES.items():
            value = float(shown[key])
            yield GaugeMetricFamily(f"soloist_watchdog_{name}", document, value=value)
        yield GaugeMetricFamily(
            "soloist_watchdog_silence_seconds",
            "how long the engine has not turned, while the watchdog was awake",
            value=shown["silentMs"] / 1000,
        )
        for name, (label, document, key) in _COUNTERS.items():
            family = CounterMetricFamily(f"soloist_watchdog_{name}", document, labels=[label])
            for word, count in shown[key].items():
                family.add_metric([word], count)
            yield family
        steps = GaugeMetricFamily(
            "soloist_watchdog_step_seconds", "from the decision to a step of the last kill", labels=["step"]
        )
        for step, passed_ms in shown["stepsMs"].items():
            steps.add_metric([step], passed_ms / 1000)
        yield steps


_GAUGES: Final = {
    "armed": ("1 while an engine is watched", "armed"),
    "latched": ("1 while the latch holds", "latched"),
    "key_accepted": ("1 while the venue accepts the watchdog's key", "keyAccepted"),
}
_COUNTERS: Final = {
    "kills": ("cause", "engines ended", "kills"),
    "audits": ("outcome", "audits of the account's orders", "audits"),
    "orders_found": ("kind", "orders that should not be", "found"),
}


class StatusServer(HttpThread):
    """Serves a face on HOST:PORT; port 0 takes a free one. Raises ConfigurationError when it cannot be had."""

    def __init__(self, address: str, face: Face) -> None:
        super().__init__(
            address, type("Handler", (_Handler,), {"face": face}), name="status", option="--listen"
        )


class _Handler(Answering):
    """Read-only: a kill goes over the Unix socket."""

    face: Face

    def answer(self, path: str) -> None:
        """Route by path."""
        answers: dict[str, Callable[[], tuple[int, str, bytes]]] = {
            "/status": lambda: (200, "application/json", json.dumps(self.face.status()).encode()),
            "/metrics": lambda: (
                200,
                "text/plain; version=0.0.4; charset=utf-8",
                render(_WatchdogCollector(self.face.shown)),
            ),
            "/health": self._health,
        }
        found = answers.get(path)
        self.send(*(found() if found else (404, "text/plain", b"/status /metrics /health\n")))

    def _health(self) -> tuple[int, str, bytes]:
        age_ms = monotonic_ms() - self.face.looked_ms
        good = age_ms < STUCK_MS
        return 200 if good else 503, "application/json", json.dumps({"ok": good, "lookedMs": age_ms}).encode()
