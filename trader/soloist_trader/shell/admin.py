"""`/startup /health /ready /metrics /status`, answered by a thread of its own.

The thread reads one immutable snapshot that the loop publishes every 100 ms, and shows its age: it answers while the
loop is stuck, and it can never make the loop wait. No probe depends on the venue or on the trading state.
"""

from __future__ import annotations

import json
from typing import Any, Final

from soloist_trader.shell.clock import monotonic_ms
from soloist_trader.shell.http_thread import Answering, HttpThread

LOOP_STUCK_MS: Final = 10_000
"""Liveness fails when the loop published nothing for so long: longer than any pause of a busy node, short of a minute."""


class Board:
    """Where the loop pins the snapshot. Replacing one reference is atomic under the interpreter's lock."""

    def __init__(self) -> None:
        self.snapshot: dict[str, Any] = {}
        self.published_ms = monotonic_ms()
        self.started = False
        """True once journal, key and this server are ready: the startup probe."""

    def publish(self, snapshot: dict[str, Any]) -> None:
        """Pin a new snapshot; the caller never changes it again."""
        self.snapshot = snapshot
        self.published_ms = monotonic_ms()

    def status(self) -> dict[str, Any]:
        """What `/status` shows: the snapshot without what only metrics are made of."""
        return {name: part for name, part in self.snapshot.items() if name not in {"histograms", "counters"}}

    @property
    def age_ms(self) -> int:
        """Time since the last publication: how long ago the loop turned."""
        return monotonic_ms() - self.published_ms


class AdminServer(HttpThread):
    """Serves the board. `address` is HOST:PORT; port 0 takes a free one. Raises ConfigurationError when it cannot be had."""

    def __init__(self, address: str, board: Board) -> None:
        handler = type("Handler", (_Handler,), {"board": board})
        super().__init__(address, handler, name="admin", option="--admin")


class _Handler(Answering):
    """Answers from the board alone."""

    board: Board

    def answer(self, path: str) -> None:
        """Route by path."""
        board = self.board
        match path:
            case "/startup":
                self._probe(board.started, "started", "journal and key are not ready yet")
            case "/health":
                turning = board.age_ms < LOOP_STUCK_MS
                self._probe(turning, "the loop turns", f"the loop has not turned for {board.age_ms} ms")
            case "/ready":
                alive = board.started and board.age_ms < LOOP_STUCK_MS
                self._probe(alive, "can serve", "starting, or the loop is stuck")
            case "/status":
                body = {**board.status(), "ageMs": board.age_ms}
                self.send(200, "application/json", json.dumps(body).encode())
            case "/metrics":
                self._metrics()
            case _:
                self.send(404, "text/plain", b"/startup /health /ready /metrics /status\n")

    def _metrics(self) -> None:
        from soloist_trader.shell.metrics import SnapshotCollector, render  # noqa: PLC0415 not needed to start

        board = self.board
        body = render(SnapshotCollector(lambda: board.snapshot, lambda: board.age_ms / 1000))
        self.send(200, "text/plain; version=0.0.4; charset=utf-8", body)

    def _probe(self, good: bool, yes: str, no: str) -> None:
        snapshot = self.board.snapshot
        journal = snapshot.get("journal", {})
        body = {
            "ok": good,
            "reason": yes if good else no,
            "ageMs": self.board.age_ms,
            "state": snapshot.get("state"),
            "reconciled": snapshot.get("ready", False),
            "durability": journal.get("durability", ""),
            "commitMode": journal.get("commitMode", ""),
            "commits": journal.get("commitWords", ""),
        }
        self.send(200 if good else 503, "application/json", json.dumps(body).encode())
