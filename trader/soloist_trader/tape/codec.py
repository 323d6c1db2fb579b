"""Entries of the tape as msgpack: events, commands, facts of the edge, anchors, gaps and raw frames.

Types go by number and fields by place; the header of each file holds both as names, and an engine whose names differ
says so instead of reading one field as another. Fields that were added since, at the end and with a default, are fine.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import UnionType
from typing import Any, Final, NamedTuple, get_args

import msgspec

from soloist_trader.core import events as core_events
from soloist_trader.core.commands import Command, Persist
from soloist_trader.core.events import Event
from soloist_trader.core.records import Record
from soloist_trader.tape.errors import TapeError


class Anchor(NamedTuple):
    """The whole state of an engine before the next event; `state_hash` is of the durable part.

    `feed` is the state of the book port before the next frame, None where the edge has no frames.
    """

    state: Any
    state_hash: str
    feed: Any


class TapeGap(NamedTuple):
    """Events `first` to `last` and so many raw frames were dropped: they came faster than the disk took them."""

    first: int
    last: int
    frames: int
    reason: str


class Frames(NamedTuple):
    """Raw frames of one batch, each with its time: those of one read of the socket. What is made of them follows."""

    frames: tuple[tuple[int, bytes], ...]


class FeedEnded(NamedTuple):
    """The connection of the frames ended; what the book port makes of that follows."""

    now_ms: int
    reason: str


class Noted(NamedTuple):
    """A record that the edge put into the ledger itself, as a row: its name, then its fields."""

    row: tuple[Any, ...]


class Decided(NamedTuple):
    """What the event before it led to, as plain rows: name of the command, then its fields."""

    rows: tuple[Any, ...]


Mark = Decided | Anchor | TapeGap | Frames | FeedEnded | Noted
Entry = Event | Mark


def _types(union: UnionType) -> tuple[type, ...]:
    return get_args(union)


EVENT_TYPES: Final = _types(core_events.Event)
_RECORDS: Final[dict[str, Any]] = {kind.__name__: kind for kind in _types(Record)}
_MARKS: Final = get_args(Mark)
_NUMBER: Final = {kind: number for number, kind in enumerate((*_MARKS, *EVENT_TYPES))}
_ENCODER: Final = msgspec.msgpack.Encoder()
_DECODER: Final = msgspec.msgpack.Decoder(list[list[Any]])


def schema() -> dict[str, list[str]]:
    """Names of the event types with their fields, in the sequence of their numbers."""
    return {kind.__name__: list(kind.__dict__["_fields"]) for kind in EVENT_TYPES}


def command_row(command: Command) -> tuple[Any, ...]:
    """A command as scalars: its name, for a record the record's name too, and the fields."""
    if type(command) is Persist:
        return ("Persist", type(command.record).__name__, *command.record)
    return (type(command).__name__, *command)


def record_row(record: Record) -> tuple[Any, ...]:
    """A record of the edge as scalars: its name and the fields."""
    return (type(record).__name__, *record)


def record_of(row: Sequence[Any]) -> Record:
    """The record that a row says. Raises TapeError."""
    kind = _RECORDS.get(row[0])
    if kind is None:
        raise TapeError(f"the tape holds a record {row[0]!r}, which this version does not know")
    try:
        found: Record = msgspec.convert(list(row[1:]), kind)
    except msgspec.MsgspecError as error:
        raise TapeError(f"the tape's record {row[0]} is not this version's: {error}") from error
    return found


def encode_rows(commands: Sequence[Command]) -> bytes:
    """What an event led to; equal bytes are equal decisions."""
    return _ENCODER.encode((0, [command_row(command) for command in commands]))


def encode_entry(entry: Entry) -> bytes:
    """One entry. Raises TapeError for what msgpack cannot hold."""
    try:
        return _ENCODER.encode((_NUMBER[type(entry)], *entry))
    except (TypeError, OverflowError, msgspec.MsgspecError) as error:
        raise TapeError(f"a {type(entry).__name__} cannot be put on the tape: {error}") from error


def join_entries(entries: Sequence[bytes]) -> bytes:
    """One payload from encoded entries: a msgpack array with a length of 32 bits."""
    return b"\xdd" + len(entries).to_bytes(4, "big") + b"".join(entries)


class EntryDecoder:
    """Decodes the payloads of one file by the schema of its header."""

    def __init__(self, recorded: dict[str, list[str]]) -> None:
        """Raises TapeError if the file's types cannot be this version's."""
        known = {kind.__name__: kind for kind in EVENT_TYPES}
        self._types: list[Any] = list(_MARKS)
        for name, fields in recorded.items():
            kind = known.get(name)
            if kind is None or list(kind.__dict__["_fields"])[: len(fields)] != fields:
                raise TapeError(
                    f"the tape's event {name}({', '.join(fields)}) is not this version's; replay it with the image that "
                    "recorded it (its version is in the tape's header)"
                )
            self._types.append(kind)

    def decode(self, payload: bytes) -> list[Entry]:
        """The entries of one payload. Raises TapeError."""
        try:
            return [msgspec.convert(row[1:], self._types[row[0]]) for row in _DECODER.decode(payload)]
        except (msgspec.MsgspecError, IndexError, TypeError) as error:
            raise TapeError(f"a block does not decode: {error}") from error
