"""A tape: everything that the exchange's own participants sent, in order, so that the same market can be played again.

Text lines of JSON, version 1:

    {"soloist_tape":1,"seed":7,"minutes":10,"tickers":[...],"scenario":{...}}
    ["p",200,0,1,1,4900,20000,"g","c0de"]    an order is placed: milliseconds since the record before, market (index of tickers), account
                                             of the participant, side (1 bid, -1 ask), price (1/10 000 dollar), count (1/100 contract),
                                             life (g good till cancelled, i immediate or cancel, f fill or kill)
    ["x",0,1,"beef"]                         the first order that was placed is cancelled
    ["end",2,600000,"0123abcd"]              number of records, milliseconds of the whole tape

The last text of a line is the end of the CRC-32 over everything before it, so the first damaged record is found, and a tape
without its last line was cut off. Equal orders make equal bytes: nothing in a tape depends on when or where it was recorded.
"""

import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any, NamedTuple

import msgspec

from soloist_exchange.errors import ScenarioError
from soloist_exchange.orders import ASK, BID, TimeInForce

__all__ = [
    "VERSION",
    "Cancelled",
    "Placed",
    "Summary",
    "Tape",
    "TapeError",
    "TapeWriter",
    "read_header",
    "records",
    "verify",
]

VERSION = 1
LARGEST_COUNT = 10**12
HIGHEST_PRICE = 9_999
LONGEST_LINE = 1 << 24
PROGRESS_RECORDS = 200_000

_LIVES = {
    "g": TimeInForce.GOOD_TILL_CANCELED,
    "i": TimeInForce.IMMEDIATE_OR_CANCEL,
    "f": TimeInForce.FILL_OR_KILL,
}
_LETTERS = {life: letter for letter, life in _LIVES.items()}


class TapeError(ScenarioError):
    """A tape that cannot be replayed; the message is `file: record: what is wrong; what to do`."""


class Tape(msgspec.Struct, frozen=True):
    """A tape's first line. `scenario` is what its markets were, as a scenario file would say it, without name and description."""

    soloist_tape: int
    seed: int
    minutes: int
    tickers: list[str]
    scenario: dict[str, Any]


class _Version(msgspec.Struct):
    soloist_tape: int


class Placed(NamedTuple):
    """An order of a participant; `offset_ms` after the start, `market` an index of the tape's tickers."""

    offset_ms: int
    market: int
    account_id: int
    side: int
    price: int
    size: int
    life: TimeInForce


class Cancelled(NamedTuple):
    """The cancel of the order that was placed as the `number`-th, from 1."""

    offset_ms: int
    number: int


class Summary(NamedTuple):
    """What a whole tape has."""

    records: int
    duration_ms: int
    placed: int


class TapeWriter:
    """Writes a tape. Offsets are milliseconds after the start and never go back; `close` makes the tape whole."""

    def __init__(self, file: IO[bytes], header: Tape) -> None:
        self._file = file
        self._check = 0
        self._last_ms = 0
        self.records = 0
        self._put(msgspec.json.encode(header))
        self._file.write(b"\n")

    def placed(self, record: Placed) -> None:
        """Write an order."""
        wait_ms = self._wait_ms(record.offset_ms)
        self._write(
            f'["p",{wait_ms},{record.market},{record.account_id},{record.side},{record.price},{record.size},'
            f'"{_LETTERS[record.life]}"'
        )

    def cancelled(self, record: Cancelled) -> None:
        """Write a cancel."""
        self._write(f'["x",{self._wait_ms(record.offset_ms)},{record.number}')

    def close(self, duration_ms: int) -> None:
        """Write the last line; the file stays open."""
        self._put(f'["end",{self.records},{duration_ms}'.encode())
        self._file.write(f',"{self._check:08x}"]\n'.encode())

    def _wait_ms(self, offset_ms: int) -> int:
        wait_ms = offset_ms - self._last_ms
        assert wait_ms >= 0, "a tape does not go back in time"
        self._last_ms = offset_ms
        return wait_ms

    def _write(self, text: str) -> None:
        self.records += 1
        self._put(text.encode())
        self._file.write(f',"{self._check & 0xFFFF:04x}"]\n'.encode())

    def _put(self, content: bytes) -> None:
        self._check = zlib.crc32(content, self._check)
        self._file.write(content)


class _Reader:
    """Reads a tape line by line and refuses it at the first record that is not as it was written."""

    def __init__(self, path: Path, file: IO[bytes]) -> None:
        self._path = path
        self._file = file
        self._check = 0
        self._offset_ms = 0
        self.number = 0
        self.placed = 0
        self.header = self._header()

    def records(self) -> Iterator[Placed | Cancelled]:
        """Yield every record; raises TapeError. Ends at the tape's last line."""
        while True:
            self.number += 1
            line = self._file.readline(LONGEST_LINE)
            if not line:
                raise self.wrong("the tape ends here without its last line: it was cut off")
            fields = self._fields(line)
            if fields[0] == "end":
                self._end(fields)
                return
            yield self._record(fields)

    def wrong(self, what: str) -> TapeError:
        """Return the error that names file and record."""
        where = f"record {self.number}" if self.number else "first line"
        return TapeError(
            f"{self._path}: {where}: {what}; copy the tape again from where it is whole,"
            " or record it again with `soloist-exchange tape record`"
        )

    def _header(self) -> Tape:
        line = self._file.readline(LONGEST_LINE)
        try:
            version = msgspec.json.decode(line, type=_Version).soloist_tape
            if version != VERSION:
                raise self.wrong(f"version {version}, and this program reads version {VERSION}")
            header = msgspec.json.decode(line, type=Tape)
        except msgspec.DecodeError:
            raise self.wrong("this is not a tape of soloist-exchange") from None
        self._check = zlib.crc32(line.rstrip(b"\n"))
        return header

    def _fields(self, line: bytes) -> list[Any]:
        content, comma, tail = line.rpartition(b',"')
        self._check = zlib.crc32(content, self._check)
        short = f'{self._check & 0xFFFF:04x}"]\n'.encode()
        whole = f'{self._check:08x}"]\n'.encode()
        is_end = content.startswith(b'["end"')
        if not comma or tail != (whole if is_end else short):
            cut = "" if line.endswith(b"\n") else ": the line was cut off"
            raise self.wrong(f"damaged{cut}")
        try:
            fields: list[Any] = msgspec.json.decode(content + b"]", type=list[Any])
        except msgspec.DecodeError:
            raise self.wrong("damaged: not JSON") from None
        return fields

    def _record(self, fields: list[Any]) -> Placed | Cancelled:
        match fields:
            case ["p", int(wait_ms), int(market), int(account), int(side), int(price), int(size), str(life)]:
                is_right = (
                    wait_ms >= 0
                    and 0 <= market < len(self.header.tickers)
                    and side in {BID, ASK}
                    and 0 < price <= HIGHEST_PRICE
                    and 0 < size <= LARGEST_COUNT
                    and life in _LIVES
                    and account > 0
                )
                if is_right:
                    self.placed += 1
                    self._offset_ms += wait_ms
                    return Placed(self._offset_ms, market, account, side, price, size, _LIVES[life])
            case ["x", int(wait_ms), int(number)] if wait_ms >= 0 and 0 < number <= self.placed:
                self._offset_ms += wait_ms
                return Cancelled(self._offset_ms, number)
        raise self.wrong(f"not a record of version {VERSION}: {fields}")

    def _end(self, fields: list[Any]) -> None:
        match fields:
            case ["end", int(records), int(duration_ms)] if records == self.number - 1 and (
                duration_ms >= self._offset_ms
            ):
                self._offset_ms = duration_ms
            case _:
                raise self.wrong(f"the last line does not fit what is before it: {fields}")
        if self._file.readline(1):
            raise self.wrong("something follows the last line")

    def summary(self) -> Summary:
        """Return what was read; right once `records` is exhausted."""
        return Summary(self.number - 1, self._offset_ms, self.placed)


def read_header(path: Path) -> Tape:
    """Return a tape's first line. Raises TapeError, also when there is no such file."""
    try:
        with path.open("rb") as file:
            return _Reader(path, file).header
    except OSError as error:
        raise TapeError(
            f"{path}: {error.strerror}; `tape:` names a file of `soloist-exchange tape record`"
        ) from None


def records(path: Path) -> Iterator[Placed | Cancelled]:
    """Yield the records of a tape, reading as it goes. Raises TapeError."""
    with path.open("rb") as file:
        yield from _Reader(path, file).records()


def verify(path: Path, progress: Callable[[int], None] = lambda _: None) -> Summary:
    """Read a whole tape and return what it has; `progress` is told the number of records now and then. Raises TapeError."""
    read_header(path)
    with path.open("rb") as file:
        reader = _Reader(path, file)
        for _ in reader.records():
            if reader.number % PROGRESS_RECORDS == 0:
                progress(reader.number)
        return reader.summary()
