"""What the tape raises: TapeError, an EngineError."""

from __future__ import annotations

from soloist_trader.errors import EngineError


class TapeError(EngineError):
    """A tape cannot be used as it is, or a state cannot be put on one. Names file or place, and what is wrong."""
