"""Records as msgpack: `[number of the record type, field, ...]`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

import msgspec

from soloist_trader.core.records import RECORD_TYPES, Record

_NUMBER: Final = {kind: number for number, kind in enumerate(RECORD_TYPES)}
_ENCODER: Final = msgspec.msgpack.Encoder()
_DECODER: Final = msgspec.msgpack.Decoder(list[list[Any]])


class CodecError(ValueError):
    """A payload whose checksum is right but whose content is not of this format version."""


def encode_batch(records: Iterable[Record]) -> bytes:
    """One payload from records, in their sequence."""
    return _ENCODER.encode([(_NUMBER[type(record)], *record) for record in records])


def decode_batch(payload: bytes) -> Sequence[Record]:
    """The records of one payload. Raises CodecError."""
    try:
        return [_record(row) for row in _DECODER.decode(payload)]
    except (msgspec.MsgspecError, IndexError, TypeError) as error:
        raise CodecError(f"a batch does not decode: {error}") from error


def _record(row: list[Any]) -> Record:
    kind = RECORD_TYPES[row[0]]
    record: Record = msgspec.convert(row[1:], kind)
    return record
