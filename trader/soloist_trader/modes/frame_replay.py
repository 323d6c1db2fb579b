"""The book port again from a tape's raw frames: what they lead to must be what the core was stepped with.

Between two anchors every change of a top and every trade of the Live edge comes from a frame, and every loss of a book from
a frame, the end of a connection, or the edge's own will, which is counted. Frames of the private channels are on the tape,
too; what is made of them is compared as events of the core only, because recovery may hold it back.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from soloist_kalshi.errors import VenueProtocolError

from soloist_trader.core import events
from soloist_trader.shell.market_frames import MarketEvent, MarketFrames
from soloist_trader.tape.codec import FeedEnded, Frames
from soloist_trader.tape.reader import Recorded

MARKET_EVENTS: Final = frozenset({events.TopChanged, events.Traded, events.BookLost})
LISTED_GAPS: Final = 100

Differ = Callable[[int, str, str, str], None]
"""Number of the event, what differs, as recorded, as replayed."""


@dataclass(slots=True)
class FrameResult:
    """What the frames led to. `batches` are reads of the socket."""

    frames: int = 0
    batches: int = 0
    compared: int = 0
    """Market events that a frame or the end of a connection led to, equal to the recorded ones."""
    not_compared: int = 0
    """Market events without the book port's state: between an interruption and the next anchor, or of a tape without frames."""
    of_edge: int = 0
    """Books that the edge let go by itself: of markets that it stopped following."""
    connections_ended: int = 0
    gaps: int = 0
    listed_gaps: list[str] = field(default_factory=list)
    """Frames that the venue sent and that never came, as the sequence numbers tell; the first hundred of them."""
    notes: list[str] = field(default_factory=list)


class FrameReplay:
    """Feeds frames to a book port that the anchors describe, and takes the recorded market events for comparison."""

    def __init__(self, differ: Differ) -> None:
        self.result = FrameResult()
        self._differ = differ
        self._port: MarketFrames | None = None
        self._due: deque[MarketEvent] = deque()
        self._seq = 0

    def anchor(self, feed: list[Any] | None) -> None:
        """Compare the books that were reached, and go on from the recorded ones."""
        self._nothing_due()
        if self._port is not None and feed is not None and self._port.state() != feed:
            self._differ(self._seq, "the books at an anchor", str(feed)[:500], str(self._port.state())[:500])
        self._port = None
        if feed is not None:
            self._port = MarketFrames()
            self._port.restore(feed)

    def interrupted(self) -> None:
        """Something is missing: nothing can be compared until the next anchor."""
        self._port = None
        self._due.clear()

    def batch(self, batch: Frames) -> None:
        """The frames of one read."""
        result = self.result
        result.batches += 1
        result.frames += len(batch.frames)
        self._nothing_due()
        for number, (now_ms, payload) in enumerate(batch.frames):
            if self._port is None:
                return
            gaps = self._port.books.gaps
            try:
                _, seen = self._port.take(now_ms, payload)
            except VenueProtocolError as error:
                if number + 1 < len(batch.frames):
                    self._lose("a frame cannot be read that could be read then", "", str(error))
                return
            self._due.extend(seen)
            if self._port.books.gaps != gaps:
                self._note_gap(now_ms, seen)

    def feed_ended(self, end: FeedEnded) -> None:
        """The connection ended."""
        self.result.connections_ended += 1
        self._nothing_due()
        if self._port is not None:
            self._due.extend(self._port.reset(end.now_ms, end.reason))

    def event(self, item: Recorded) -> None:
        """An event that the core was stepped with."""
        self._seq = item.event_seq
        if type(item.event) not in MARKET_EVENTS:
            return
        if self._port is None:
            self.result.not_compared += 1
            return
        if not self._due and type(item.event) is events.BookLost:
            self.result.of_edge += 1
            return
        made = self._due.popleft() if self._due else None
        if made != item.event or type(made) is not type(item.event):
            self._lose("a market event and the raw frames", str(item.event), str(made or "nothing"))
            return
        self.result.compared += 1

    def end(self) -> None:
        """The tape ends; a process that died in the middle of a batch leaves frames without their events."""
        if self._due:
            self.result.notes.append(
                f"{len(self._due)} market events of the last frames: the run ended before they were stepped"
            )

    def _nothing_due(self) -> None:
        if self._due:
            self._lose("what raw frames lead to was not stepped", "nothing", str(self._due[0]))

    def _lose(self, what: str, recorded: str, replayed: str) -> None:
        self._differ(self._seq, what, recorded, replayed)
        self.interrupted()

    def _note_gap(self, now_ms: int, seen: Sequence[MarketEvent]) -> None:
        result = self.result
        result.gaps += 1
        lost = [event for event in seen if type(event) is events.BookLost]
        if len(result.listed_gaps) < LISTED_GAPS:
            why = lost[0].reason if lost else "no book was valid then"
            result.listed_gaps.append(
                f"after event {self._seq}, at {now_ms} ms: {why} ({len(lost)} books lost)"
            )
