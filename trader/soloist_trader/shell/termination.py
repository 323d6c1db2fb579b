"""The container's termination message: what the operator reads when the engine ends."""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path
from typing import Any, Final

TERMINATION_LOG: Final = Path("/dev/termination-log")
_LIMIT: Final = 4000


def write_termination(reason: str, message: str, problems: list[tuple[str, str]] | None = None) -> None:
    """Leave a message where there is a place for it; outside a container there is none, and that is fine.

    `problems` are (field, message) pairs of a configuration; without them, reason and message.
    """
    body: dict[str, Any] = {"version": 1, "outcome": "Failed"}
    if problems is None:
        body |= {"reason": reason, "message": message[:1500]}
    else:
        body["problems"] = [{"field": field, "message": text[:800]} for field, text in problems[:4]]
    with contextlib.suppress(OSError):
        if TERMINATION_LOG.exists() and os.access(TERMINATION_LOG, os.W_OK):
            TERMINATION_LOG.write_text(json.dumps(body)[:_LIMIT], encoding="utf-8")
