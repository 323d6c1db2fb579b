"""Structured logs: one JSON object per line on standard output. No line per tick, ever."""

from __future__ import annotations

import logging
import sys
from typing import Any

import msgspec

from soloist_trader.shell.clock import ms_to_text

LOGGER = logging.getLogger("soloist")


class JsonFormatter(logging.Formatter):
    """`{"time","level","event","message",…}`; fields given as `extra={"fields": {...}}` are merged in."""

    def format(self, record: logging.LogRecord) -> str:
        """One line."""
        line: dict[str, Any] = {
            "time": ms_to_text(int(record.created * 1000)),
            "level": record.levelname.lower(),
            "event": getattr(record, "event", record.name),
            "message": record.getMessage(),
        }
        line.update(getattr(record, "fields", {}))
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return msgspec.json.encode(line).decode()


def configure() -> None:
    """Send everything as JSON to standard output."""
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(JsonFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.INFO)
    for noisy in ("httpx", "picows"):
        logging.getLogger(noisy).setLevel(logging.WARNING)


def log(event: str, message: str, *, level: int = logging.INFO, **fields: object) -> None:
    """Write one structured line. `event` is a CamelCase word that alerts can be made of."""
    LOGGER.log(level, message, extra={"event": event, "fields": fields})
