"""The clocks of the edge. The core gets times inside events."""

from __future__ import annotations

import time
from datetime import UTC, datetime


def now_ms() -> int:
    """Wall clock in Unix milliseconds."""
    return time.time_ns() // 1_000_000  # noqa: TID251 this is the place


def monotonic_ms() -> int:
    """A clock that never goes back, in milliseconds."""
    return time.monotonic_ns() // 1_000_000


def text_to_ms(text: str) -> int:
    """Unix milliseconds of an RFC 3339 time as the venue writes it. Raises ValueError."""
    return int(datetime.fromisoformat(text).timestamp() * 1000)


def ms_to_text(milliseconds: int) -> str:
    """RFC 3339 in UTC with milliseconds."""
    moment = datetime.fromtimestamp(milliseconds / 1000, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
