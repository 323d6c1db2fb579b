"""How many attempts a client may waste, over restarts of its process (section 4: the venue's edge answers a storm with a block).

Back-off lives in memory: a process that crashes and is started again forgets it, and a crash loop hammers the venue at full speed.
This budget is a bucket of attempts whose level is kept in a small file. Every failed attempt takes one, every start of a process takes
`START_COST`, and time gives them back. A healthy client writes the file once, at its start.
"""

import contextlib
import logging
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec

__all__ = ["AttemptBudget"]

_log = logging.getLogger(__name__)
_MILLI: Final = 1_000


class _State(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The file: the level in 1/1 000 attempt at a wall-clock time in Unix ms."""

    level_milli: int
    at_ms: int


def _wall_ms() -> int:
    return time.time_ns() // 1_000_000


class AttemptBudget:
    """A bucket of `capacity` attempts that gains `refill_per_minute`. With a path it outlives the process, without one it does not.

    A file that cannot be read, or that comes from a clock ahead of ours, counts as an empty bucket: whoever damaged it may have been the
    crash loop itself. No file is a full one. A file that cannot be written is logged once, and the budget then holds for this process.
    """

    START_COST: Final = 5

    def __init__(
        self,
        path: Path | None = None,
        *,
        capacity: int = 60,
        refill_per_minute: int = 30,
        wall_ms: Callable[[], int] = _wall_ms,
    ) -> None:
        assert capacity >= self.START_COST
        assert refill_per_minute > 0
        self.capacity = capacity
        self.refill_per_minute = refill_per_minute
        self.wasted = 0
        self._path = path
        self._wall_ms = wall_ms
        self._write_failed = False
        self._at_ms = wall_ms()
        self._level_milli = self._load()
        if path is not None:
            self._take(self.START_COST)

    @property
    def attempts(self) -> int:
        """Whole attempts that are left. Exported as a metric."""
        self._refill()
        return self._level_milli // _MILLI

    def wait_ms(self) -> int:
        """Return how long to wait before the next attempt: 0 while at least one is left."""
        self._refill()
        missing_milli = _MILLI - self._level_milli
        return max(0, -(-missing_milli * 60 // self.refill_per_minute))

    def failed(self) -> None:
        """Take one attempt for a failure and keep the level in the file."""
        self.wasted += 1
        self._take(1)

    def _take(self, attempts: int) -> None:
        self._refill()
        # Never below zero: a crash loop whose every start ran into debt would keep itself out for good.
        self._level_milli = max(0, self._level_milli - attempts * _MILLI)
        self._store()

    def _refill(self) -> None:
        now_ms = self._wall_ms()
        # A wall clock, because the file is read by another process; set back, it gives nothing until it has caught up.
        gained_milli = max(0, now_ms - self._at_ms) * self.refill_per_minute // 60
        if gained_milli > 0:
            self._level_milli = min(self.capacity * _MILLI, self._level_milli + gained_milli)
            self._at_ms = now_ms

    def _load(self) -> int:
        """Return the level of the file as of now."""
        if self._path is None:
            return self.capacity * _MILLI
        try:
            state = msgspec.json.decode(self._path.read_bytes(), type=_State)
        except FileNotFoundError:
            return self.capacity * _MILLI
        except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
            _log.warning(
                "%s cannot be read (%s): the attempt budget begins empty and refills with time",
                self._path,
                error,
            )
            return 0
        if state.at_ms > self._at_ms:
            _log.warning("%s is from the future: the attempt budget begins empty", self._path)
            return 0
        gained_milli = (self._at_ms - state.at_ms) * self.refill_per_minute // 60
        return min(self.capacity * _MILLI, max(0, state.level_milli) + gained_milli)

    def _store(self) -> None:
        """Write a new file and rename it over the old one: a crash leaves one of the two, never half of one.

        It is not flushed to the disk: after a crash of the machine an older level does no harm.
        """
        if self._path is None:
            return
        state = _State(level_milli=self._level_milli, at_ms=self._at_ms)
        temporary = self._path.with_name(f".{self._path.name}.{os.getpid()}")
        try:
            temporary.write_bytes(msgspec.json.encode(state))
            temporary.replace(self._path)
        except OSError as error:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
            if not self._write_failed:
                _log.warning(
                    "%s cannot be written (%s): the attempt budget will not outlive this process",
                    self._path,
                    error,
                )
            self._write_failed = True
