"""What the engine's edges raise.

EngineError
+-- ConfigurationError   the configuration cannot be used; carries every problem, not the first
+-- NotApprovedError     what would run is not what was approved
+-- KeysError            key files are missing, unreadable or readable by others
+-- StateError           the state directory cannot be used (damaged, locked, of another bot)
|   +-- JournalDamagedError   damage before a later valid batch; a person has to decide
|   +-- JournalFailedError  a write or fsync failed; it is never retried
+-- FatalError           the engine may not trade on: it stops sending first, then exits
"""

from __future__ import annotations


class EngineError(Exception):
    """Root of everything this package raises on purpose."""


class ConfigurationError(EngineError):
    """The configuration cannot be used. `problems` are (field as the user wrote it, message) pairs."""

    def __init__(self, problems: list[tuple[str, str]]) -> None:
        self.problems = problems
        super().__init__("; ".join(f"{field}: {message}" for field, message in problems))


class NotApprovedError(EngineError):
    """The configuration or the strategy is another one than was approved; names both hashes and the fix."""


class KeysError(EngineError):
    """Key files are missing, malformed, or readable by more than their owner."""


class StateError(EngineError):
    """The state directory cannot be used as it is."""


class JournalDamagedError(StateError):
    """Damage that truncation would turn into lost orders: names file, offset and what to do."""


class JournalFailedError(StateError):
    """A write or fsync failed. The page cache may lie from here on, so nothing is tried again."""


class FatalError(EngineError):
    """The engine may not send another order. `reason` is a CamelCase word for Lease and logs."""

    def __init__(self, reason: str, message: str) -> None:
        self.reason = reason
        super().__init__(message)
