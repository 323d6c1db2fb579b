"""Records as msgpack: `[number of the record type, field, ...]`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

import msgspec

from soloist_trader.core.records import RECORD_TYPES, Record

_NUMBER: Final = {kind: number for number, kind in enumerate(RECORD_TYPES)}
_ENCODER: Final = msgspec.msgpack.Encoder()
_SHORT_ARRAY: Final = 15
_MEDIUM_ARRAY: Final = 0xFFFF
"""msgpack writes the length of an array in 4 bits, 16 bits or 32 bits."""
_DECODER: Final = msgspec.msgpack.Decoder(list[list[Any]])


class CodecError(ValueError):
    """A payload whose checksum is right but whose content is not of this format version."""


def encode_batch(records: Iterable[Record]) -> bytes:
    """One payload from records, in their sequence."""
    return _ENCODER.encode([(_NUMBER[type(record)], *record) for record in records])


def encode_record(record: Record) -> bytes:
    """One record as it stands in a payload."""
    return _ENCODER.encode((_NUMBER[type(record)], *record))


def join_records(encoded: Sequence[bytes]) -> bytes:
    """One payload from encoded records; the same bytes as `encode_batch` of the records."""
    count = len(encoded)
    if count <= _SHORT_ARRAY:
        head = bytes([0x90 | count])
    elif count <= _MEDIUM_ARRAY:
        head = b"\xdc" + count.to_bytes(2, "big")
    else:
        head = b"\xdd" + count.to_bytes(4, "big")
    return head + b"".join(encoded)


def decode_batch(payload: bytes) -> list[Record]:
    """The records of one payload. Raises CodecError."""
    convert = msgspec.convert
    try:
        return [convert(row[1:], RECORD_TYPES[row[0]]) for row in _DECODER.decode(payload)]
    except (msgspec.MsgspecError, IndexError, TypeError) as error:
        raise CodecError(f"a batch does not decode: {error}") from error
