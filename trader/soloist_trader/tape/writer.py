"""Writing the tape beside a running engine: never in its way, never larger than allowed, never silently incomplete.

`Tape` collects entries into blocks in the loop's thread; `FileSink` compresses and writes them in a thread of its own. A
block that the sink does not take (the disk is slower than the feed) is dropped; the tape then says so in a `TapeGap`
and begins again with an anchor, the whole state of the core. Every file begins with an anchor, so that the oldest files
can be removed.
"""

from __future__ import annotations

from importlib.metadata import version
from typing import Any, Final, NamedTuple, Protocol

from soloist_trader.core.commands import Command
from soloist_trader.core.engine import Engine
from soloist_trader.core.events import Event
from soloist_trader.strategies.base import StrategyPlugin
from soloist_trader.tape.codec import Anchor, Frames, TapeGap, encode_entry, encode_rows, join_entries, schema
from soloist_trader.tape.errors import TapeError
from soloist_trader.tape.state import freeze

BLOCK_BYTES: Final = 64 * 1024
"""Entries of one block before compression."""
SEAL_AFTER_MS: Final = 1_000
"""A block is given to the sink after this time by the events' clock; a killed process loses no more of its tape."""

RETRY_MS: Final = 1_000
"""After a drop the next anchor waits so long: the whole state costs time that a slow disk would ask for again and again."""


class Chunk(NamedTuple):
    """A finished block before compression. `header` is not empty if a new file begins with it."""

    first: int
    events: int
    payload: bytes
    header: dict[str, Any]


class Sink(Protocol):
    """Takes finished blocks."""

    @property
    def wants_file(self) -> bool:
        """True once the file is large enough: the tape begins a new one with an anchor."""

    @property
    def failed(self) -> str:
        """Why nothing can be written any more, empty while all is well."""

    def offer(self, chunk: Chunk) -> bool:
        """Take a block, or say false to have it dropped."""

    def close(self) -> None:
        """Write what was taken and let go."""


class Tape:
    """The inputs of one engine. Methods run in the loop's thread and never raise for what a disk may do."""

    def __init__(self, engine: Engine, sink: Sink, *, block_bytes: int = BLOCK_BYTES) -> None:
        self.event_seq = 0
        """Number of the last event; what it led to follows it on the tape."""
        self.gaps = 0
        self.failed = ""
        """Why the tape ended, empty while it goes on. Trading does not depend on it."""
        self._engine = engine
        self._sink = sink
        self._block_bytes = block_bytes
        self._entries: list[bytes] = []
        self._size = 0
        self._first = 1
        self._began_ms = 0
        self._last_ms = 0
        self._retry_ms = 0
        self._dropped_from = 0
        self._header: dict[str, Any] = {}
        self._needs_anchor = True

    # -- what the runtime calls

    def write_event(self, event: Event) -> None:
        """Put an event on the tape, before the core is stepped with it."""
        if self.failed:
            return
        if self._sink.failed:
            self.failed = self._sink.failed
            return
        now_ms = event.now_ms
        if self._size >= self._block_bytes or (self._entries and now_ms - self._began_ms >= SEAL_AFTER_MS):
            self.seal()
        if self._dropped_from and self._needs_anchor and now_ms < self._retry_ms:
            self.event_seq += 1
            self._first = self.event_seq + 1
            return
        try:
            if self._needs_anchor or self._sink.wants_file:
                self.anchor()
            encoded = encode_entry(event)
        except TapeError as error:
            self.failed = str(error)
            return
        if not self._entries or self.event_seq < self._first:
            self._began_ms = now_ms
        self._last_ms = now_ms
        self.event_seq += 1
        self._add(encoded)

    def write_commands(self, commands: list[Command]) -> None:
        """Put on the tape what the event before led to."""
        if not self.failed and not self._needs_anchor:
            self._add(encode_rows(commands))

    def write_frames(self, now_ms: int, frames: tuple[bytes, ...]) -> None:
        """Put the raw frames of one read of the socket on the tape, before the events that are made of them."""
        if not self.failed and not self._needs_anchor:
            self._add(encode_entry(Frames(now_ms, frames)))

    def anchor(self) -> None:
        """Begin a file with the whole state of the core. Raises TapeError for a state that cannot be put on a tape."""
        self.seal()
        self._header = describe(self._engine)
        if self._dropped_from:
            self._add(
                encode_entry(TapeGap(self._dropped_from, self.event_seq, "the disk was slower than the feed"))
            )
        self._add(encode_entry(Anchor(freeze(self._engine), self._engine.ledger.state_hash())))
        self._needs_anchor = False

    def seal(self) -> None:
        """Give what is there to the sink; what it does not take becomes a gap."""
        if not self._entries:
            return
        chunk = Chunk(
            self._first, self.event_seq - self._first + 1, join_entries(self._entries), self._header
        )
        if self._sink.offer(chunk):
            self._dropped_from = 0  # the chunk that tells of the gap is taken
        else:
            self.gaps += 1
            self._dropped_from = self._dropped_from or self._first
            self._retry_ms = self._last_ms + RETRY_MS
            self._needs_anchor = True
        self._entries, self._size, self._header = [], 0, {}
        self._first = self.event_seq + 1

    def close(self) -> None:
        """Write what is there."""
        self.seal()
        self._sink.close()
        self.failed = self._sink.failed or "closed"

    def status(self) -> dict[str, object]:
        """For `/status`."""
        return {"events": self.event_seq, "gaps": self.gaps, "failed": self.failed}

    def _add(self, encoded: bytes) -> None:
        self._entries.append(encoded)
        self._size += len(encoded)


def describe(engine: Engine) -> dict[str, Any]:
    """What a replay needs to make the same engine again, beside its state."""
    strategy, settings = engine.strategy, engine.settings
    model = settings.fee_model
    parameters = strategy.parameters.model_dump(mode="json") if isinstance(strategy, StrategyPlugin) else None
    return {
        "engine": version("soloist"),
        "identity": list(engine.desk.identity),
        "strategy": {"name": strategy.name, "parameters": parameters},
        "limits": dict(engine.limits._asdict()),
        "settings": {**settings._asdict(), "fee_model": model and f"{model.__module__}:{model.__qualname__}"},
        "events": schema(),
    }
