"""Structured logs: one JSON object per line on standard output, or a line for people. No line per tick, ever."""

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


class TextFormatter(logging.Formatter):
    """`12:00:00.000  Event  message` for a terminal: the fields are in the JSON lines, and most of them in `/status`."""

    def format(self, record: logging.LogRecord) -> str:
        """One line, and the traceback of an error of the engine."""
        moment = ms_to_text(int(record.created * 1000))[11:23]
        level = "" if record.levelno <= logging.INFO else f"{record.levelname}: "
        line = f"{moment}  {getattr(record, 'event', record.name):<18} {level}{record.getMessage()}"
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


def configure(*, text: bool = False) -> None:
    """Send everything to standard output: as JSON, or as text for a person."""
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(TextFormatter() if text else JsonFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.INFO)
    for noisy in ("httpx", "picows"):
        logging.getLogger(noisy).setLevel(logging.WARNING)


def log(event: str, message: str, *, level: int = logging.INFO, **fields: object) -> None:
    """Write one structured line. `event` is a CamelCase word that alerts can be made of."""
    LOGGER.log(level, message, extra={"event": event, "fields": fields})
