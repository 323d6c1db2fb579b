"""Replay: a tape through the same core, compared decision by decision with what was decided then.

Between two anchors everything must be equal bit for bit, the state at the second anchor included. Where the tape holds raw
frames, the book port runs again, too (`frame_replay`). After a gap, damage or a difference nothing can be compared until the
next anchor; the result says how much that was.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any, Final

from soloist_trader import strategies
from soloist_trader.core.commands import Command, Persist
from soloist_trader.core.engine import Engine, Settings
from soloist_trader.core.intake import Identity
from soloist_trader.core.ledger import Ledger
from soloist_trader.core.records import Record, Stopped
from soloist_trader.core.risk import Limits
from soloist_trader.core.strategy import Strategy
from soloist_trader.modes.frame_replay import FrameReplay, FrameResult
from soloist_trader.tape.blocks import Damage
from soloist_trader.tape.codec import (
    Anchor,
    Decided,
    FeedEnded,
    Frames,
    Noted,
    TapeGap,
    command_row,
    record_of,
)
from soloist_trader.tape.errors import TapeError
from soloist_trader.tape.reader import Header, Item, Missing, Recorded
from soloist_trader.tape.state import freeze, thaw

CONTEXT: Final = 5
"""Events before a difference that are shown with it."""
SHOWN: Final = 500
"""Characters of each; a listing of an account can be very long."""
_OWN_PACKAGES: Final = ("soloist_trader.", "soloist_kalshi.")

MakeStrategy = Callable[[dict[str, Any]], Strategy]
"""A strategy from the header's `{name, parameters}`."""


@dataclass(frozen=True, slots=True)
class Difference:
    """The first thing that is not as it was, and the events that led to it."""

    event_seq: int
    what: str
    recorded: str
    replayed: str
    context: tuple[str, ...]


@dataclass(slots=True)
class Result:
    """What a replay found. `records` are those of each stretch between interruptions, for the journal."""

    events: int = 0
    compared: int = 0
    decisions: int = 0
    anchors: int = 0
    notes_of_edge: int = 0
    """Records that the edge put into the ledger itself."""
    frames: FrameResult = field(default_factory=FrameResult)
    differences: int = 0
    first: Difference | None = None
    gaps: list[TapeGap] = field(default_factory=list)
    missing: list[Missing] = field(default_factory=list)
    damage: list[Damage] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    """What could not be compared, in words."""
    records: list[list[Record]] = field(default_factory=list)

    @property
    def identical(self) -> bool:
        """Nothing differs and nothing is lost beside the gaps that the tape itself tells of."""
        return not (self.differences or self.missing or self.damage)


class Replay:
    """Feeds the items of a tape to engines that its anchors describe.

    `make_strategy` replaces the recorded strategy (other parameters, say); its working state then begins empty.
    """

    def __init__(self, make_strategy: MakeStrategy | None = None) -> None:
        self.result = Result()
        self._make_strategy = make_strategy
        self._facts: dict[str, Any] = {}
        self._engine: Engine | None = None
        self._pending: tuple[Recorded, list[Command]] | None = None
        self._context: deque[Recorded] = deque(maxlen=CONTEXT)
        self._frames = FrameReplay(self._note_difference)
        self.result.frames = self._frames.result

    def run(self, items: Iterable[Item]) -> Result:
        """The whole tape. Raises TapeError for anchors that this version cannot take over."""
        for item in items:
            self._take(item)
        self._judge(())
        self._frames.end()
        return self.result

    def _take(self, item: Item) -> None:
        if isinstance(item, Decided):
            self._judge(item.rows)
            return
        self._judge(())
        if isinstance(item, Recorded):
            self._step(item)
        elif isinstance(item, Anchor):
            self._anchor(item)
        elif isinstance(item, Header):
            self._facts = item.facts
        elif isinstance(item, Frames):
            self._frames.batch(item)
        elif isinstance(item, FeedEnded):
            self._frames.feed_ended(item)
        elif isinstance(item, Noted):
            self._note(item)
        else:
            self._interrupted(item)

    def _interrupted(self, item: TapeGap | Missing | Damage) -> None:
        result = self.result
        if isinstance(item, TapeGap):
            result.gaps.append(item)
        elif isinstance(item, Missing):
            result.missing.append(item)
        else:
            result.damage.append(item)
        self._engine = None
        self._frames.interrupted()

    def _note(self, item: Noted) -> None:
        """A fact that did not come through the core: into the ledger, as the edge did it."""
        self.result.notes_of_edge += 1
        if self._engine is not None:
            record = record_of(item.row)
            self._engine.ledger.apply(record)
            self.result.records[-1].append(record)

    def _step(self, item: Recorded) -> None:
        self.result.events += 1
        self._context.append(item)
        self._frames.event(item)
        if self._engine is None:
            return
        try:
            commands = self._engine.step(item.event)
        except Exception as error:  # noqa: BLE001 whatever the core raises now is the finding
            self._differ(item.event_seq, "the replayed core raised", "", f"{type(error).__name__}: {error}")
            return
        self._pending = (item, commands)

    def _judge(self, rows: Sequence[Any]) -> None:
        """Compare what the last event led to with what it led to then."""
        if self._pending is None:
            return
        (item, commands), self._pending = self._pending, None
        result = self.result
        result.compared += 1
        result.decisions += len(commands)
        result.records[-1].extend(command.record for command in commands if isinstance(command, Persist))
        if not commands and not rows:
            return
        recorded, replayed = [_plain(row) for row in rows], [_plain(command_row(one)) for one in commands]
        if recorded == replayed:
            return
        place = next(
            (n for n, (a, b) in enumerate(zip(recorded, replayed, strict=False)) if a != b),
            min(len(recorded), len(replayed)),
        )
        self._differ(
            item.event_seq,
            f"command {place + 1} of event {item.event_seq}",
            str(recorded[place]) if place < len(recorded) else "nothing",
            str(replayed[place]) if place < len(replayed) else "nothing",
        )

    def _differ(self, event_seq: int, what: str, recorded: str, replayed: str) -> None:
        """Note a difference of the core; what follows it follows from it: nothing is compared until the next anchor."""
        self._engine = None
        self._note_difference(event_seq, what, recorded, replayed)

    def _note_difference(self, event_seq: int, what: str, recorded: str, replayed: str) -> None:
        self.result.differences += 1
        if self.result.first is None:
            shown = tuple(f"{item.event_seq}  {item.event}"[:SHOWN] for item in self._context)
            self.result.first = Difference(event_seq, what, recorded, replayed, shown)

    def _anchor(self, anchor: Anchor) -> None:
        """Compare the state that was reached, then go on from the recorded one."""
        result = self.result
        result.anchors += 1
        self._frames.anchor(anchor.feed)
        if self._engine is not None and self._make_strategy is None:
            reached = _plain(freeze(self._engine))
            reached[2] = anchor.state[2]  # the engine may have been of a subclass
            if reached != anchor.state:
                seq = self._context[-1].event_seq if self._context else 0
                self._differ(seq, "the state at an anchor", *_first_difference(anchor.state, reached))
        interrupted = self._engine is None
        self._engine = self._make(anchor)
        if interrupted or not result.records:
            result.records.append([])

    def _make(self, anchor: Anchor) -> Engine:
        facts = self._facts
        model, lost = _fee_model(facts["settings"]["fee_model"])
        if lost and lost not in self.result.notes:
            self.result.notes.append(lost)
        make = self._make_strategy or _recorded_strategy
        strategy = make(facts["strategy"])
        engine = Engine(
            Ledger(),
            Identity(*facts["identity"]),
            strategy,
            Limits(**facts["limits"]),
            (),
            Settings(**{**facts["settings"], "fee_model": model}),
        )
        without = frozenset({"strategy"}) if self._make_strategy is not None else frozenset()
        thaw(anchor.state, engine, frozenset({type(strategy).__module__}), without)
        found = engine.ledger.state_hash()
        if found != anchor.state_hash:
            raise TapeError(
                f"an anchor's durable state has the hash {found}, the engine that wrote it said {anchor.state_hash}: "
                "replay it with the image that recorded it"
            )
        return engine


def _plain(value: Any) -> Any:
    """Tuples as lists, as msgpack gives them back; texts of enumerations as texts."""
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, str) else value


def _first_difference(recorded: Any, replayed: Any) -> tuple[str, str]:
    """The smallest parts of two states that differ."""
    while isinstance(recorded, list) and isinstance(replayed, list) and len(recorded) == len(replayed):
        pairs = ((a, b) for a, b in zip(recorded, replayed, strict=True) if a != b)
        inner = next(pairs)
        if not (isinstance(inner[0], list) and isinstance(inner[1], list)):
            return str(recorded)[:SHOWN], str(replayed)[:SHOWN]
        recorded, replayed = inner
    return str(recorded)[:SHOWN], str(replayed)[:SHOWN]


def _recorded_strategy(facts: dict[str, Any]) -> Strategy:
    name, parameters = facts["name"], facts["parameters"]
    try:
        return strategies.load(name).from_mapping(parameters or {})
    except KeyError as error:
        raise TapeError(f"the tape's strategy cannot be made: {error.args[0]}") from error


def _fee_model(name: str | None) -> tuple[Callable[[int, int, bool], int] | None, str]:
    """The function that the settings named, and what cannot be compared without it."""
    if name is None:
        return None, ""
    module, _, qualified = name.partition(":")
    if module.startswith(_OWN_PACKAGES):
        found = getattr(import_module(module), qualified, None)
        if callable(found):
            return found, ""
    return None, f"alerts of the fee model {name}: it is not a function of this version's packages"


@dataclass(frozen=True, slots=True)
class JournalComparison:
    """Records of the replay against a journal. What only one of the two holds cannot be compared."""

    compared: int
    not_on_tape: int
    not_in_journal: int
    """Replayed records from before the journal's first one: their segments were covered by a snapshot and removed."""
    difference: str


def compare_with_journal(
    stretches: Sequence[Sequence[Record]], journal: Sequence[Record]
) -> JournalComparison:
    """Whether the journal holds what the replay decided, stretch by stretch, in the same sequence.

    `Stopped` is written by the shell, not decided by the core, and left out on both sides.
    """
    held = [record for record in journal if not isinstance(record, Stopped)]
    cursor = compared = older = 0
    for stretch in stretches:
        begin, skipped = _align(held, stretch, cursor)
        older += skipped
        for offset, record in enumerate(stretch[skipped:]):
            found = held[begin + offset] if begin + offset < len(held) else None
            if found != record:
                what = f"replayed {record}, the journal holds {found or 'nothing more'}"
                return JournalComparison(compared, len(held) - compared, older, what)
            compared += 1
        cursor = begin + len(stretch) - skipped
    return JournalComparison(compared, len(held) - compared, older, "")


def _align(held: Sequence[Record], stretch: Sequence[Record], cursor: int) -> tuple[int, int]:
    """Where in the journal a stretch begins, and how many of its records are older than the whole journal."""
    if not stretch:
        return cursor, 0
    begin = _find(held, stretch[0], cursor)
    if begin >= 0:
        return begin, 0
    skipped = _find(stretch, held[0], 0) if held and not cursor else -1
    return (0, skipped) if skipped >= 0 else (len(held), 0)


def _find(records: Sequence[Record], wanted: Record, cursor: int) -> int:
    for place in range(cursor, len(records)):
        if type(records[place]) is type(wanted) and records[place] == wanted:
            return place
    return -1
