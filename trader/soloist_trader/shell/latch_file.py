"""The watchdog's latch: a file in the state directory that keeps the engine HALTED, also over its restarts.

`watchdog-latch.json` holds `{"version": 1, "reason": "…", "proven": false}` and what the watchdog needs to go on after a
restart of its own (docs/interfaces.md "State directory"). The watchdog writes and fsyncs it before it kills a silent
engine, and sets `proven` (or removes the file) once a listing showed that nothing of ours rests. A latch that
`waitsForPerson` (a person's kill, a foreign order) holds until it is released, too. The send gate looks at it for every
order: an engine that wakes between the kill and the cancels must not quote again.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

FILE_NAME: Final = "watchdog-latch.json"
VERSION: Final = 1
_REASON_LENGTH: Final = 300


@dataclass(frozen=True, slots=True)
class Latch:
    """One latch. Times are Unix milliseconds, 0 where it did not happen yet."""

    reason: str
    proven: bool = False
    """A listing later than the kill showed that no order of this claim rests."""
    waits_for_person: bool = False
    """Proof is not enough: a person lets go."""
    incarnation: str = ""
    """Of the engine that was killed, in hex; empty when none was."""
    groups: tuple[str, ...] = ()
    """Order group ids that are to be triggered."""
    latched_ms: int = 0
    proven_ms: int = 0
    released_ms: int = 0

    @property
    def holds(self) -> bool:
        """Whether nothing may be sent."""
        return not self.proven or self.waits_for_person

    def as_json(self) -> dict[str, Any]:
        """As the file has it."""
        return {
            "version": VERSION,
            "reason": self.reason[:_REASON_LENGTH],
            "proven": self.proven,
            "waitsForPerson": self.waits_for_person,
            "incarnation": self.incarnation,
            "groups": list(self.groups),
            "latchedMs": self.latched_ms,
            "provenMs": self.proven_ms,
            "releasedMs": self.released_ms,
        }


class LatchFile:
    """Reads the latch of one state directory. A look costs one `stat`."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / FILE_NAME
        self._name = str(self.path)
        self._seen: tuple[int, int, int] | None = None
        self._reason = ""

    def reason(self) -> str:
        """Why nothing may be sent; empty without a latch, and with one that is proven and waits for nobody.

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
            latch = _parse(self.path.read_bytes())
        except (OSError, ValueError, KeyError, TypeError) as error:
            return f"{self.path} cannot be read ({type(error).__name__}: {error}); it counts as a latch until it is removed"
        return f"watchdog: {latch.reason}" if latch.holds else ""


def _parse(text: bytes) -> Latch:
    """Raises ValueError, KeyError or TypeError for anything that is not a latch of this version."""
    content = json.loads(text)
    if content["version"] != VERSION:
        raise ValueError(f"it has version {content['version']}; this engine reads {VERSION}")
    return Latch(
        str(content["reason"]),
        content["proven"] is True,
        content.get("waitsForPerson", False) is not False,
        str(content.get("incarnation", "")),
        tuple(str(group) for group in content.get("groups", ())),
        int(content.get("latchedMs", 0)),
        int(content.get("provenMs", 0)),
        int(content.get("releasedMs", 0)),
    )


def read_latch(directory: Path) -> Latch | None:
    """The latch, or None without one. One that cannot be read has no proof, and a person has to look."""
    try:
        return _parse((directory / FILE_NAME).read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        why = f"{FILE_NAME} could not be read: {type(error).__name__}: {error}"
        return Latch(why, waits_for_person=True)


def store_latch(directory: Path, latch: Latch) -> None:
    """Write the latch durably: temporary file, fsync, rename, fsync of the directory. Raises OSError."""
    temporary = directory / f".{FILE_NAME}.{os.getpid()}"
    with temporary.open("w", encoding="utf-8") as file:
        file.write(json.dumps(latch.as_json()))
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(directory / FILE_NAME)
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_latch(directory: Path, reason: str, *, proven: bool = False) -> None:
    """Write a latch that names no process. Raises OSError."""
    store_latch(directory, Latch(reason, proven))
