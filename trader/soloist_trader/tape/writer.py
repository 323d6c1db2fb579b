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
from soloist_trader.core.records import Record
from soloist_trader.strategies.base import StrategyPlugin
from soloist_trader.tape.codec import (
    Anchor,
    Entry,
    FeedEnded,
    Frames,
    Noted,
    TapeGap,
    encode_entry,
    encode_rows,
    join_entries,
    record_row,
    schema,
)
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


class Feed(Protocol):
    """The book port as the tape sees it."""

    def state(self) -> Any:
        """What later frames build on, as lists and scalars."""


class Tape:
    """The inputs of one engine. Methods run in the loop's thread and never raise for what a disk may do.

    `feed` is the book port whose frames `write_frame` brings; None where the edge has none.
    """

    def __init__(
        self, engine: Engine, sink: Sink, feed: Feed | None = None, *, block_bytes: int = BLOCK_BYTES
    ) -> None:
        self.event_seq = 0
        """Number of the last event; what it led to follows it on the tape."""
        self.frames = 0
        self.gaps = 0
        self.failed = ""
        """Why the tape ended, empty while it goes on. Trading does not depend on it."""
        self._engine = engine
        self._sink = sink
        self._feed = feed
        self._block_bytes = block_bytes
        self._entries: list[bytes] = []
        self._size = 0
        self._first = 1
        self._began_ms = 0
        self._last_ms = 0
        self._retry_ms = 0
        self._dropped_from = 0
        self._block_frames = 0
        self._dropped_frames = 0
        self._header: dict[str, Any] = {}
        self._needs_anchor = True
        self._batch: list[tuple[int, bytes]] = []
        """Frames of the read that goes on; the place of their entry, before what is made of them, is `_batch_place`."""
        self._batch_place = self._batch_began = 0

    # -- what the runtime and the edge call

    def write_event(self, event: Event) -> None:
        """Put an event on the tape, before the core is stepped with it."""
        # Amid the events of one frame the book port is ahead of the core: no anchor can be taken there.
        if not self._goes_on(event.now_ms, may_anchor=not self._batch):
            return
        self.event_seq += 1
        if self._needs_anchor:
            self._first = self.event_seq + 1
            return
        self._put(event)

    def write_commands(self, commands: list[Command]) -> None:
        """Put on the tape what the event before led to."""
        if not self.failed and not self._needs_anchor:
            self._add(encode_rows(commands))

    def write_record(self, record: Record) -> None:
        """Put on the tape what the edge itself put into the ledger."""
        if not self.failed and not self._needs_anchor:
            self._put(Noted(record_row(record)))

    def write_frame(self, now_ms: int, frame: bytes) -> None:
        """Put one raw frame on the tape, before the book port takes it."""
        if self._batch and self._size - self._batch_began >= self._block_bytes:
            self.end_frames()  # a read that alone fills a block, or whose end is never told
        if not self._batch:
            if not self._goes_on(now_ms, may_anchor=True):
                return
            if self._needs_anchor:
                self.frames += 1
                self._dropped_frames += 1
                return
            self._batch_place, self._batch_began = len(self._entries), self._size
            self._entries.append(b"")
        self.frames += 1
        self._batch.append((now_ms, frame))
        self._size += len(frame)

    def end_frames(self) -> None:
        """One read of the socket ended: its frames are a batch."""
        if self._batch:
            batch, self._batch = tuple(self._batch), []
            self._block_frames += len(batch)
            self._entries[self._batch_place] = encode_entry(Frames(batch))

    def write_feed_end(self, now_ms: int, reason: str) -> None:
        """The connection ended, before the book port hears of it."""
        self.end_frames()
        if self._goes_on(now_ms, may_anchor=True) and not self._needs_anchor:
            self._put(FeedEnded(now_ms, reason))

    def seal(self) -> None:
        """Give what is there to the sink; what it does not take becomes a gap."""
        self.end_frames()
        if not self._entries:
            return
        chunk = Chunk(
            self._first, self.event_seq - self._first + 1, join_entries(self._entries), self._header
        )
        if self._sink.offer(chunk):
            self._dropped_from = self._dropped_frames = 0  # the chunk that tells of the gap is taken
        else:
            self.gaps += 1
            self._dropped_from = self._dropped_from or self._first
            self._dropped_frames += self._block_frames
            self._retry_ms = self._last_ms + RETRY_MS
            self._needs_anchor = True
        self._entries, self._size, self._block_frames, self._header = [], 0, 0, {}
        self._first = self.event_seq + 1

    def close(self) -> None:
        """Write what is there."""
        self.seal()
        self._sink.close()
        self.failed = self._sink.failed or "closed"

    def word(self) -> str:
        """What is wrong with it, for people; empty while it holds everything."""
        if self.failed:
            return f"the tape ended: {self.failed}"
        return (
            f"{self.gaps} times the disk was slower than the feed; the tape says what is missing"
            if self.gaps
            else ""
        )

    def status(self) -> dict[str, object]:
        """For `/status`."""
        return {"events": self.event_seq, "frames": self.frames, "gaps": self.gaps, "failed": self.failed}

    # -- blocks and anchors

    def _goes_on(self, now_ms: int, *, may_anchor: bool) -> bool:
        """Seal what is due and anchor where one is needed; false once the tape ended."""
        if self.failed or self._sink.failed:
            self._fail(self.failed or self._sink.failed)
            return False
        self._last_ms = now_ms
        if not may_anchor:
            return True
        if self._entries and (self._size >= self._block_bytes or now_ms - self._began_ms >= SEAL_AFTER_MS):
            self.seal()
        if not self._entries:
            self._began_ms = now_ms
        try:
            if self._needs_anchor:
                if now_ms >= self._retry_ms:
                    self._anchor()
            elif self._sink.wants_file and not self._header:  # with one, this block begins a file already
                self._anchor()
        except TapeError as error:
            self._fail(str(error))
            return False
        return True

    def _anchor(self) -> None:
        """Begin a file with the whole state. Raises TapeError for a state that cannot be put on a tape."""
        self.seal()
        self._header = describe(self._engine)
        if self._dropped_from:
            gap = TapeGap(
                self._dropped_from, self.event_seq, self._dropped_frames, "the disk was slower than the feed"
            )
            self._add(encode_entry(gap))
        feed = self._feed.state() if self._feed is not None else None
        self._add(encode_entry(Anchor(freeze(self._engine), self._engine.ledger.state_hash(), feed)))
        self._needs_anchor = False

    def _fail(self, why: str) -> None:
        """Trading does not depend on the tape; nothing is held for it any more."""
        self.failed = why
        self._entries, self._batch, self._size = [], [], 0

    def _put(self, entry: Entry) -> None:
        try:
            self._add(encode_entry(entry))
        except TapeError as error:
            self._fail(str(error))

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
