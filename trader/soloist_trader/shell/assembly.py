"""Parts of one engine made from its configuration."""

from __future__ import annotations

from pathlib import Path

from soloist_trader.config import Configuration
from soloist_trader.core.engine import Engine, Settings
from soloist_trader.errors import StateError
from soloist_trader.tape import FileSink, Tape, TapeError


def settings(configuration: Configuration) -> Settings:
    """What the edge of this mode can do, and what the account allows."""
    live = configuration.mode == "Live"
    return Settings(
        amends=live,
        groups=live,
        rate_share_percent=configuration.trading.rate_share_percent,
        cash_limit=configuration.trading.unexplained_cash_dollars,
    )


def make_tape(configuration: Configuration, engine: Engine, state_directory: Path, started_ms: int) -> Tape:
    """The tape of this start. Raises StateError if its directory cannot be made."""
    try:
        sink = FileSink(
            state_directory / "tape",
            started_ms,
            maximum_bytes=configuration.recording.tape_megabytes << 20,
        )
    except TapeError as error:
        raise StateError(str(error)) from error
    return Tape(engine, sink)
