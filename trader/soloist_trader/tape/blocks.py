"""Blocks of a tape file: `magic, kind, first event, events, length, CRC` and a zlib payload; the first one is the header.

The CRC covers the head of the block too, so a flipped bit is noticed wherever it is. A reader that lost its place looks
for the next magic.
"""

from __future__ import annotations

import json
import struct
import zlib
from typing import Any, Final, NamedTuple

from soloist_trader.tape.errors import TapeError

VERSION: Final = 2
MAGIC: Final = b"SolTape\x01"
HEADER: Final = 0
ENTRIES: Final = 1
_HEAD: Final = struct.Struct("<8sBQIII")
_LEVEL: Final = 1
"""Fast: a block is compressed in a thread beside the loop."""
MAXIMUM_PAYLOAD: Final = 256 * 1024 * 1024
"""No block is larger when it is unpacked; a larger claim is damage."""


class Block(NamedTuple):
    """One block whose checksum is right. `first` is the number of its first event."""

    kind: int
    first: int
    events: int
    payload: bytes


class Damage(NamedTuple):
    """Bytes that are no block, from `offset` on; reading goes on at the next one."""

    path: str
    offset: int
    what: str


def pack(kind: int, first: int, events: int, payload: bytes) -> bytes:
    """A block as it is on disk."""
    packed = zlib.compress(payload, _LEVEL)
    head = _HEAD.pack(MAGIC, kind, first, events, len(packed), 0)
    crc = zlib.crc32(packed, zlib.crc32(head))
    return _HEAD.pack(MAGIC, kind, first, events, len(packed), crc) + packed


def unpack(data: bytes, offset: int) -> tuple[Block | str, int]:
    """The block at `offset`, or what is wrong with it; and where to go on."""
    following = data.find(MAGIC, offset + 1)
    following = len(data) if following < 0 else following
    if offset + _HEAD.size > len(data):
        return "the file ends inside the head of a block", len(data)
    magic, kind, first, events, length, crc = _HEAD.unpack_from(data, offset)
    if magic != MAGIC:
        return "no block begins here", following
    end = offset + _HEAD.size + length
    if end > len(data):
        return "the file ends inside a block, or its length is damaged", following
    packed = data[offset + _HEAD.size : end]
    if zlib.crc32(packed, zlib.crc32(_HEAD.pack(magic, kind, first, events, length, 0))) != crc:
        return "the checksum of a block is wrong", following
    unpacker = zlib.decompressobj()
    try:
        payload = unpacker.decompress(packed, MAXIMUM_PAYLOAD)
    except zlib.error as error:
        return f"a block does not unpack: {error}", following
    if not unpacker.eof:
        return f"a block is larger than {MAXIMUM_PAYLOAD} bytes", following
    return Block(kind, first, events, payload), end


def pack_header(header: dict[str, Any]) -> bytes:
    """The first block of a file."""
    return pack(HEADER, 0, 0, json.dumps({"version": VERSION, **header}).encode())


def unpack_header(block: Block, path: str) -> dict[str, Any]:
    """The header as it was written. Raises TapeError for another version."""
    header: dict[str, Any] = json.loads(block.payload)
    if header.get("version") != VERSION:
        raise TapeError(
            f"{path} is a tape of version {header.get('version')}; this engine reads {VERSION}; replay it with the image "
            "that recorded it"
        )
    return header
