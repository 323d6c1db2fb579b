"""Bytes of the journal. A segment is a header and frames; a frame is one commit batch.

Segment header, 28 bytes: magic `SOLOISTJ`, format version (u16), reserved (u16), segment number (u64), CRC of the frame
before this segment (u32), CRC32C of the header (u32).
Frame, 36 bytes and payload: magic `SLBT`, segment number (u64), sequence (u64), length (u32), CRC of the previous frame
(u32), CRC32C of the payload (u32), CRC32C of the frame header (u32). All little-endian.

Format 1: a segment ends where its file ends. Format 2: zeros may follow the last frame (preallocated), and a segment that
has a successor ends with a seal: a frame of magic `SLND` without payload, outside of the chain. A seal without a
successor shows that the newest segment is gone, which a chain alone cannot show.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Final, NamedTuple

import google_crc32c

FORMAT_VERSION: Final = 2
"""What is written. Every older version is read."""
OLDEST_VERSION: Final = 1
SEGMENT_MAGIC: Final = b"SOLOISTJ"
FRAME_MAGIC: Final = b"SLBT"
SEAL_MAGIC: Final = b"SLND"
_SEGMENT: Final = struct.Struct("<8sHHQI")
_FRAME: Final = struct.Struct("<4sQQIII")
_CRC: Final = struct.Struct("<I")
SEGMENT_HEADER_LENGTH: Final = _SEGMENT.size + _CRC.size
FRAME_HEADER_LENGTH: Final = _FRAME.size + _CRC.size
MAXIMUM_PAYLOAD: Final = 16 * 1024 * 1024


class Frame(NamedTuple):
    """A frame found intact in a segment."""

    segment: int
    sequence: int
    previous_crc: int
    crc: int
    payload: bytes
    end: int
    """Offset of the byte after it."""


class SegmentHeader(NamedTuple):
    """The first bytes of a segment."""

    version: int
    segment: int
    previous_crc: int


crc32c: Final[Callable[[bytes], int]] = google_crc32c.value
"""CRC32C (Castagnoli)."""


def segment_header(segment: int, previous_crc: int) -> bytes:
    """Bytes of a segment header."""
    head = _SEGMENT.pack(SEGMENT_MAGIC, FORMAT_VERSION, 0, segment, previous_crc)
    return head + _CRC.pack(crc32c(head))


def read_segment_header(data: bytes) -> SegmentHeader | None:
    """The header at the begin of `data`, or None if it is damaged or short."""
    if len(data) < SEGMENT_HEADER_LENGTH:
        return None
    head = data[: _SEGMENT.size]
    magic, version, _, segment, previous_crc = _SEGMENT.unpack(head)
    (crc,) = _CRC.unpack_from(data, _SEGMENT.size)
    if magic != SEGMENT_MAGIC or crc != crc32c(head):
        return None
    return SegmentHeader(version, segment, previous_crc)


def frame(segment: int, sequence: int, previous_crc: int, payload: bytes) -> tuple[bytes, int]:
    """Bytes of one frame, and the CRC that the next one names."""
    head = _FRAME.pack(FRAME_MAGIC, segment, sequence, len(payload), previous_crc, crc32c(payload))
    crc = crc32c(head)
    return head + _CRC.pack(crc) + payload, crc


def seal(segment: int, sequence: int, previous_crc: int) -> bytes:
    """The end of a segment: its last sequence and the CRC of its last frame, once more."""
    head = _FRAME.pack(SEAL_MAGIC, segment, sequence, 0, previous_crc, crc32c(b""))
    return head + _CRC.pack(crc32c(head))


def read_seal(data: bytes, offset: int, segment: int, sequence: int, crc: int) -> bool:
    """Whether the seal of this segment, after this frame, is at `offset`."""
    expected = seal(segment, sequence, crc)
    return data[offset : offset + len(expected)] == expected


def only_zeros(data: bytes, offset: int) -> bool:
    """Whether nothing was written from `offset` on: the end of the file, or what was reserved for later."""
    return len(data.rstrip(b"\0")) <= offset


def read_frame(data: bytes, offset: int) -> Frame | None:
    """The frame at `offset`, or None if it is damaged or short. The caller checks chain and numbers."""
    end_of_header = offset + FRAME_HEADER_LENGTH
    if len(data) < end_of_header:
        return None
    head = data[offset : offset + _FRAME.size]
    magic, segment, sequence, length, previous_crc, payload_crc = _FRAME.unpack(head)
    (crc,) = _CRC.unpack_from(data, offset + _FRAME.size)
    if magic != FRAME_MAGIC or crc != crc32c(head) or length > MAXIMUM_PAYLOAD:
        return None
    payload = data[end_of_header : end_of_header + length]
    if len(payload) < length or crc32c(payload) != payload_crc:
        return None
    return Frame(segment, sequence, previous_crc, crc, payload, end_of_header + length)


def find_frame_after(data: bytes, offset: int, segment: int, sequence: int) -> int | None:
    """Offset of an intact frame of this segment with a later sequence, or None.

    This tells a torn last batch (truncate) from damage in the middle (a person decides).
    """
    position = data.find(FRAME_MAGIC, offset + 1)
    while position >= 0:
        found = read_frame(data, position)
        if found is not None and found.segment == segment and found.sequence > sequence:
            return position
        position = data.find(FRAME_MAGIC, position + 1)
    return None
