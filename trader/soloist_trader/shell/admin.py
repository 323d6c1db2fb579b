"""`/startup /health /ready /metrics /status`, answered by a thread of its own.

The thread reads one immutable snapshot that the loop publishes every 100 ms, and shows its age: it answers while the
loop is stuck, and it can never make the loop wait. No probe depends on the venue or on the trading state.
"""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final

from soloist_trader.errors import ConfigurationError
from soloist_trader.shell.clock import monotonic_ms

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


class AdminServer:
    """Serves the board. `address` is HOST:PORT; port 0 takes a free one. Raises ConfigurationError when it cannot be had."""

    def __init__(self, address: str, board: Board) -> None:
        host, _, port = address.rpartition(":")
        handler = type("Handler", (_Handler,), {"board": board})
        try:
            self._server = ThreadingHTTPServer((host.strip("[]") or "0.0.0.0", int(port)), handler)  # noqa: S104 probes
        except (OSError, OverflowError, ValueError) as error:
            raise ConfigurationError(
                [
                    (
                        "--admin",
                        f"cannot listen on {address!r}: {error}; give a free HOST:PORT, as 127.0.0.1:8081",
                    )
                ]
            ) from error
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, name="admin", daemon=True)

    @property
    def port(self) -> int:
        """The port that is listened on."""
        return int(self._server.server_address[1])

    def start(self) -> None:
        """Begin to answer."""
        self._thread.start()

    def stop(self) -> None:
        """Stop answering."""
        self._server.shutdown()
        self._server.server_close()


class _Handler(BaseHTTPRequestHandler):
    """Answers from the board alone."""

    board: Board
    protocol_version = "HTTP/1.1"
    timeout = 10

    def do_GET(self) -> None:
        """Route by path."""
        board = self.board
        match self.path.partition("?")[0]:
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
                self._send(200, "application/json", json.dumps(body).encode())
            case "/metrics":
                self._metrics()
            case _:
                self._send(404, "text/plain", b"/startup /health /ready /metrics /status\n")

    def _metrics(self) -> None:
        from soloist_trader.shell.metrics import SnapshotCollector, render  # noqa: PLC0415 not needed to start

        board = self.board
        body = render(SnapshotCollector(lambda: board.snapshot, lambda: board.age_ms / 1000))
        self._send(200, "text/plain; version=0.0.4; charset=utf-8", body)

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
        self._send(200 if good else 503, "application/json", json.dumps(body).encode())

    def _send(self, status: int, kind: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 the name is http.server's
        """Probes are not logged."""
