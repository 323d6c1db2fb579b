"""Reading a tape: entries with the number of the event they belong to, and damage as a value, never as an end."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

from soloist_trader.core.events import Event
from soloist_trader.tape import blocks
from soloist_trader.tape.blocks import Damage
from soloist_trader.tape.codec import EntryDecoder, Mark, TapeGap
from soloist_trader.tape.errors import TapeError
from soloist_trader.tape.files import SUFFIX

_EXCHANGE_TAPE: Final = b'{"soloist_tape":'


class Header(NamedTuple):
    """A file begins: what `writer.describe` said of the engine."""

    path: str
    facts: dict[str, Any]


class Recorded(NamedTuple):
    """One event with its number in the run."""

    event_seq: int
    event: Event


class Missing(NamedTuple):
    """Events `first` to `last` are not there although no gap was recorded: a block was lost or damaged."""

    first: int
    last: int


Item = Header | Recorded | Mark | Damage | Missing


class TapeReader:
    """The items of a tape file, or of all files of a directory in their sequence."""

    def __init__(self, path: Path) -> None:
        """Raises TapeError if there is no tape."""
        self.files = sorted(path.glob(f"*{SUFFIX}")) if path.is_dir() else [path]
        if not self.files:
            raise TapeError(
                f"{path} holds no tape (files that end in {SUFFIX}); give a tape file or its directory"
            )

    def __iter__(self) -> Iterator[Item]:
        """Every item. Raises TapeError for a file that is no tape, or one of another version."""
        run: object = None
        expected = 0
        for path in self.files:
            header, found = self._open(path)
            if header.facts["identity"] != run:
                run, expected = header.facts["identity"], 0
            yield header
            for item in found:
                if not isinstance(item, blocks.Block):
                    yield item
                    continue
                for entry in self._entries(item, header, path, expected):
                    yield entry
                    if isinstance(entry, TapeGap | Missing):
                        expected = max(expected, entry.last + 1)
                expected = item.first + item.events

    def _open(self, path: Path) -> tuple[Header, Iterator[blocks.Block | Damage]]:
        try:
            data = path.read_bytes()
        except OSError as error:
            raise TapeError(f"tape {path} cannot be read: {error}") from error
        if data.startswith(_EXCHANGE_TAPE):
            raise TapeError(
                f"{path} is a tape of soloist-exchange: the orders of its participants, not what a market showed. Serve it "
                "(`tape:` in a scenario), let a bot in mode Shadow with `recording: {tape: true}` watch, and use its tape"
            )
        block, end = blocks.unpack(data, 0)
        if isinstance(block, str) or block.kind != blocks.HEADER:
            why = block if isinstance(block, str) else "it does not begin with a header"
            raise TapeError(f"{path} is not a tape, or its header is damaged: {why}")
        return Header(path.name, blocks.unpack_header(block, str(path))), _blocks(data, end, path.name)

    def _entries(self, block: blocks.Block, header: Header, path: Path, expected: int) -> Iterator[Item]:
        try:
            entries = EntryDecoder(header.facts["events"]).decode(block.payload)
        except TapeError as error:
            raise TapeError(f"{path}: {error}") from error
        event_seq = block.first
        gap = next((entry for entry in entries if isinstance(entry, TapeGap)), None)
        if expected and block.first > expected and (gap is None or gap.first > expected):
            yield Missing(expected, (gap.first if gap else block.first) - 1)
        for entry in entries:
            if isinstance(entry, Mark):
                yield entry
            else:
                yield Recorded(event_seq, entry)
                event_seq += 1
        if event_seq != block.first + block.events:
            yield Missing(event_seq, block.first + block.events - 1)


def _blocks(data: bytes, offset: int, name: str) -> Iterator[blocks.Block | Damage]:
    while offset < len(data):
        block, following = blocks.unpack(data, offset)
        yield Damage(name, offset, block) if isinstance(block, str) else block
        offset = following
