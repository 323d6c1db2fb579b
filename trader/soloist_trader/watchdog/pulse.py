"""What engine and watchdog tell each other through a directory in shared memory, which outlives both in their pod.

`heartbeat` is written by a turn of the engine's loop, so a loop that hangs cannot write it: incarnation, a counter, the
process, and what is needed to end it (order groups). `snapshot.json` is its last `/status`. `watchdog.json` is the
watchdog's word for the engine's Lease.
"""

from __future__ import annotations

import contextlib
import json
import os
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from soloist_trader.shell.clock import monotonic_ms
from soloist_trader.watchdog.process import ProcessId, own_process

HEARTBEAT: Final = "heartbeat"
SNAPSHOT: Final = "snapshot.json"
WORD: Final = "watchdog.json"
FIRST_WATCH: Final = "first-watch"
RUNNING: Final = "running"
STOPPED: Final = "stopped"
VERSION: Final = 1
SNAPSHOT_MS: Final = 1_000
WORD_LASTS_MS: Final = 5_000
"""A watchdog that did not write for so long vouches for nothing. It writes once a second."""
_SIZE: Final = 1_024


@dataclass(frozen=True, slots=True)
class Beat:
    """One heartbeat. `turn` counts the loop's turns within an incarnation (hex)."""

    incarnation: str
    turn: int
    phase: str
    process: ProcessId
    groups: tuple[str, ...]

    @property
    def is_running(self) -> bool:
        """False once the engine stopped in order: nothing of it is left to end."""
        return self.phase == RUNNING


class Pulse:
    """The engine's side. Without a directory it does nothing: an engine outside a pod has no watchdog."""

    def __init__(self, directory: Path | None, incarnation: str) -> None:
        self._directory = directory
        self._incarnation = incarnation
        self._turn = 0
        self._file = -1
        self._snapshot_ms = -SNAPSHOT_MS
        self._process: ProcessId | None = None
        self._has_stopped = False

    def beat(self, groups: tuple[str, ...], snapshot: Callable[[], dict[str, Any]]) -> None:
        """One turn of the loop: the counter goes up, and once a second the snapshot follows. Raises OSError."""
        if self._directory is None or self._has_stopped:
            return
        self._write(RUNNING, groups)
        now = monotonic_ms()
        if now - self._snapshot_ms >= SNAPSHOT_MS:
            self._snapshot_ms = now
            _place(self._directory / SNAPSHOT, {"writtenMs": now, "body": snapshot()})

    def stopped(self, groups: tuple[str, ...]) -> None:
        """The mark of an orderly stop: the watchdog has nothing to end. Raises OSError."""
        self._has_stopped = True
        if self._directory is not None:
            self._write(STOPPED, groups)

    def _write(self, phase: str, groups: tuple[str, ...]) -> None:
        assert self._directory is not None
        if self._process is None:
            self._directory.mkdir(parents=True, exist_ok=True)
            self._process = own_process()
            self._file = os.open(self._directory / HEARTBEAT, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._turn += 1
        body = {
            "version": VERSION,
            "incarnation": self._incarnation,
            "turn": self._turn,
            "phase": phase,
            "process": list(self._process),
            "groups": list(groups),
        }
        text = json.dumps(body, separators=(",", ":")).encode()
        assert len(text) < _SIZE - 16, text
        # One write of one size: no reader sees the end of an older, longer one; the checksum tells a torn one.
        os.pwrite(self._file, (b"%08x " % zlib.crc32(text) + text).ljust(_SIZE), 0)

    def word(self) -> dict[str, Any] | None:
        """The watchdog's word for the Lease; None where there is no watchdog, empty when it is silent."""
        if self._directory is None:
            return None
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            content = json.loads((self._directory / WORD).read_bytes())
            if monotonic_ms() - int(content["writtenMs"]) < WORD_LASTS_MS:
                return dict(content["word"])
        return {}


def read_beat(directory: Path) -> Beat | None:
    """The last heartbeat; None without one, and for one that was read while it was written."""
    try:
        text = (directory / HEARTBEAT).read_bytes()
        checksum, _, body = text.rstrip(b" ").partition(b" ")
        if int(checksum, 16) != zlib.crc32(body):
            return None
        content = json.loads(body)
        if content["version"] != VERSION:
            return None
        pid, start_ticks, namespace = content["process"]
        return Beat(
            str(content["incarnation"]),
            int(content["turn"]),
            str(content["phase"]),
            ProcessId(int(pid), int(start_ticks), int(namespace)),
            tuple(str(group) for group in content["groups"]),
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None


def read_snapshot(directory: Path) -> tuple[dict[str, Any], int] | None:
    """The engine's last `/status` and its age in ms, or None."""
    try:
        content = json.loads((directory / SNAPSHOT).read_bytes())
        return dict(content["body"]), monotonic_ms() - int(content["writtenMs"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def first_watch_ms(directory: Path) -> int:
    """When the first watchdog of this pod started, Unix milliseconds; earlier orders were the fence's to judge. Raises OSError."""
    directory.mkdir(parents=True, exist_ok=True)
    mark = directory / FIRST_WATCH
    if not mark.exists():
        mark.touch()
    return mark.stat().st_mtime_ns // 1_000_000


def write_word(directory: Path, word: dict[str, Any]) -> None:
    """The watchdog's word, with the moment by the clock that both processes share. Raises OSError."""
    directory.mkdir(parents=True, exist_ok=True)
    _place(directory / WORD, {"writtenMs": monotonic_ms(), "word": word})


def _place(path: Path, content: dict[str, Any]) -> None:
    """Readers see the old or the new file."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(json.dumps(content, separators=(",", ":")), encoding="utf-8")
    temporary.replace(path)
