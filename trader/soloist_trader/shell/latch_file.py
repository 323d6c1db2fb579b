"""The watchdog's latch: a file in the state directory that keeps the engine HALTED, also over its restarts.

`watchdog-latch.json` holds `{"version": 1, "reason": "…", "proven": false}`. The watchdog writes and fsyncs it before it
kills a silent engine, and sets `proven` (or removes the file) once a listing showed that nothing of ours rests. The send
gate looks at it for every order: an engine that wakes between the kill and the cancels must not quote again.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Final

FILE_NAME: Final = "watchdog-latch.json"
VERSION: Final = 1
_REASON_LENGTH: Final = 300


class LatchFile:
    """Reads the latch of one state directory. A look costs one `stat`."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / FILE_NAME
        self._name = str(self.path)
        self._seen: tuple[int, int, int] | None = None
        self._reason = ""

    def reason(self) -> str:
        """Why nothing may be sent; empty without a latch, and with one that is proven.

        A latch that cannot be read counts: whoever wrote it did not do so for fun.
        """
        try:
            status = os.stat(self._name)  # noqa: PTH116 - a Path costs twice the call, for every order
        except FileNotFoundError:
            self._seen, self._reason = None, ""
            return ""
        except OSError as error:
            return f"{self.path} cannot be looked at: {error}"
        seen = (status.st_ino, status.st_mtime_ns, status.st_size)
        if seen != self._seen:
            self._seen, self._reason = seen, self._read()
        return self._reason

    def _read(self) -> str:
        try:
            content = json.loads(self.path.read_bytes())
            if content["version"] != VERSION:
                return f"{self.path} has version {content['version']}; this engine reads {VERSION}"
            return "" if content["proven"] is True else f"watchdog: {content['reason']}"
        except (OSError, ValueError, KeyError, TypeError) as error:
            return f"{self.path} cannot be read ({type(error).__name__}: {error}); it counts as a latch until it is removed"


def write_latch(directory: Path, reason: str, *, proven: bool = False) -> None:
    """Write the latch durably: temporary file, fsync, rename, fsync of the directory. Raises OSError."""
    temporary = directory / f".{FILE_NAME}.{os.getpid()}"
    body = json.dumps({"version": VERSION, "reason": reason[:_REASON_LENGTH], "proven": proven})
    with temporary.open("w", encoding="utf-8") as file:
        file.write(body)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(directory / FILE_NAME)
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
