"""An engine and its watchdog as their pod runs them: two processes, one state directory, one directory in shared memory."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import urllib.request
from pathlib import Path
from typing import Any

from soloist_trader.shell.latch_file import FILE_NAME, Latch, read_latch
from soloist_trader.watchdog.pulse import Beat, read_beat

from tests.conformance.engine.engine_processes import BIN, PATIENCE_S, Account, Bot, Exchange
from tests.support import eventually

RESTING = {"entry": "join", "take_profit_dollars": "0.10", "maximum_hold_seconds": 60}
"""A strategy whose orders rest in the book until somebody takes them out."""
GROUPS_PATH = "/portfolio/order_groups"
ORDERS_PATH = "/portfolio/events/orders"
SILENCE_MS = 2_000


class WatchedBot(Bot):
    """A bot with a watchdog. The Secret is a volume as the kubelet shows it; the watchdog copies it."""

    def __init__(self, directory: Path, exchange: Exchange, account: Account, **parameters: Any) -> None:
        self.volume = directory / "secret"
        self.watch = directory / "watch"
        self.publications = 0
        self.watchdog: subprocess.Popen[bytes] | None = None
        self.watchdog_runs = 0
        super().__init__(directory, exchange, account, **parameters)

    def write_secret(self, slots: dict[int, tuple[str, bytes]]) -> None:
        """A new directory, then the link `..data` moved in one step; before there is a watchdog, the init container copies."""
        self.publications += 1
        files = self.volume / f"..{self.publications}"
        files.mkdir(parents=True)
        (files / "epoch").write_text("3")
        (files / "generation").write_text(str(max(slots)))
        for generation, (key_id, pem) in slots.items():
            (files / f"g{generation}.key-id").write_text(key_id)
            (files / f"g{generation}.private-key.pem").write_bytes(pem)
        link = self.volume / "..data_tmp"
        link.symlink_to(files.name)
        link.replace(self.volume / "..data")
        if self.publications == 1:
            subprocess.run(
                [BIN / "soloist-trader", "keys", "--from", self.volume, "--to", self.keys], check=True, timeout=30,
                capture_output=True,
            )  # fmt: skip

    def start(self) -> None:
        self.runs += 1
        command = [
            BIN / "soloist-trader", "run", "--config", self.config, "--keys", self.keys, "--state-dir", self.state,
            "--admin", "127.0.0.1:0", "--watch-dir", self.watch,
        ]  # fmt: skip
        self._spawn_engine(command)

    def _spawn_engine(self, command: list[Any]) -> None:
        with self.log_file.open("wb") as log:
            self.process = subprocess.Popen(
                command, stdout=log, stderr=subprocess.STDOUT, env=_environment(self.directory)
            )

    @property
    def watchdog_log(self) -> Path:
        return self.directory / f"watchdog-{self.watchdog_runs}.log"

    def start_watchdog(self, *options: str, silence_ms: int = SILENCE_MS) -> None:
        self.watchdog_runs += 1
        command = [
            BIN / "soloist-trader", "watchdog", "--from", self.volume, "--to", self.keys, "--config", self.config,
            "--state-dir", self.state, "--watch-dir", self.watch, "--listen", "127.0.0.1:0",
            "--silence-ms", str(silence_ms), *options,
        ]  # fmt: skip
        with self.watchdog_log.open("wb") as log:
            self.watchdog = subprocess.Popen(
                command, stdout=log, stderr=subprocess.STDOUT, env=_environment(self.directory)
            )
        self.watchdog_said("WatchdogServing")

    def watchdog_lines(self) -> list[dict[str, Any]]:
        lines = self.watchdog_log.read_text().splitlines()
        return [json.loads(line) for line in lines if line.startswith("{") and line.endswith("}")]

    def watchdog_said(self, event: str, deadline_s: float = PATIENCE_S) -> dict[str, Any]:
        """The first line of an event in the running watchdog's log."""
        return eventually(
            lambda: next((line for line in self.watchdog_lines() if line["event"] == event), None),
            deadline_s,
            lambda: f"no {event}:\n{self.watchdog_log.read_text()}",
            interval_s=0.02,
        )

    def ask_watchdog(self, path: str) -> bytes:
        port = self.watchdog_said("WatchdogServing")["port"]
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as reply:
            return reply.read()

    def watchdog_status(self) -> dict[str, Any]:
        return json.loads(self.ask_watchdog("/status"))

    def watchdog_when(self, condition: Any, deadline_s: float = PATIENCE_S) -> dict[str, Any]:
        """The watchdog's part of the first status that meets a condition."""

        def seen() -> dict[str, Any] | None:
            shown = self.watchdog_status()["watchdog"]
            return shown if shown and condition(shown) else None

        return eventually(seen, deadline_s, self.watchdog_log.read_text) or {}

    def latch(self) -> Latch | None:
        return read_latch(self.state)

    def wait_latched(self) -> Latch:
        return eventually(
            self.latch,
            PATIENCE_S,
            lambda: f"no {FILE_NAME}\n{self.watchdog_log.read_text()}",
            interval_s=0.01,
        )

    def wait_proven(self, deadline_s: float = PATIENCE_S) -> Latch:
        return eventually(
            lambda: (latch := self.latch()) and latch.proven and latch,
            deadline_s,
            lambda: f"{self.latch()}\n{self.watchdog_log.read_text()}",
            interval_s=0.02,
        )

    def beat(self) -> Beat | None:
        return read_beat(self.watch)

    def freeze(self) -> None:
        """SIGSTOP, and wait until the kernel says that every thread stands still."""
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)
        stat = Path(f"/proc/{self.process.pid}/stat")
        eventually(lambda: stat.read_text().rpartition(")")[2].split()[0] == "T", PATIENCE_S, stat.read_text)

    def thaw(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGCONT)

    def kill_watchdog(self) -> None:
        assert self.watchdog is not None
        self.watchdog.kill()
        self.watchdog.wait(timeout=10)

    def stop_watchdog(self, deadline_s: float = PATIENCE_S) -> int:
        assert self.watchdog is not None
        self.watchdog.terminate()
        return self.watchdog.wait(timeout=deadline_s)

    def close(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
        super().close()
        if self.watchdog is not None and self.watchdog.poll() is None:
            self.kill_watchdog()

    # -- the venue's side

    def venue_groups(self) -> dict[str, bool]:
        """Order groups at the venue: id to whether it is triggered."""
        accounts = self.exchange.admin("oracle")["accounts"]
        found = next(row for row in accounts if row["account"] == self.account.name)
        return {row["order_group_id"]: row["triggered"] for row in found["groups"]}

    def own_resting(self) -> set[str]:
        """Client order ids that rest, by the venue's log."""
        resting: set[str] = set()
        for event in self.exchange.events(self.account.name):
            if event["kind"] == "accepted":
                resting.add(event["client_order_id"])
            elif event["kind"] == "closed":
                resting.discard(event["client_order_id"])
        return resting

    def wait_resting(self, count: int = 3) -> set[str]:
        """Wait until so many orders rest at the venue."""
        return eventually(
            lambda: len(found := self.own_resting()) >= count and found, PATIENCE_S, self.log_file.read_text
        )

    def refuse(self, method: str, path: str) -> dict[str, Any]:
        """A fault: the venue answers these calls of this account with 503 and does nothing."""
        return {
            "kind": "error_before", "account": self.account.name, "method": method, "path": path, "status": 503,
        }  # fmt: skip


def _environment(directory: Path) -> dict[str, str]:
    """As outside of a cluster."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("KUBERNETES", "POD_"))}
    return kept | {"HOME": str(directory)}
