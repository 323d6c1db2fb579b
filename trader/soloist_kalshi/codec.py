"""Bytes to structs and back, strictly, with an eye on fields that the contract does not know yet.

A missing or wrongly typed field is a VenueProtocolError that keeps the raw bytes: never a silent zero. A field that is new to us is
counted and logged once: the venue adds fields without notice and a client must not fall over.
"""

import logging
import types
import typing
from collections import Counter
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any, TypeVar

import msgspec

from soloist_kalshi.errors import VenueProtocolError
from soloist_kalshi.frames import Frame, UnknownFrame

__all__ = ["FrameDecoder", "UnknownFields", "decode", "encode"]

_log = logging.getLogger(__name__)
_Body = TypeVar("_Body", bound=msgspec.Struct)

encode: Callable[[object], bytes] = msgspec.json.Encoder().encode


class UnknownFields:
    """How often each field appeared that our structs do not have. Names only, never values."""

    LIMIT = 1_000

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()

    def note(self, name: str) -> None:
        """Count one appearance of `Struct.field`, and log the first."""
        if name in self.counts or len(self.counts) < self.LIMIT:
            self.counts[name] += 1
            if self.counts[name] == 1:
                _log.warning("the venue sends %s, which this version does not know; it is ignored", name)

    def look(self, raw: bytes, kind: Any) -> None:
        """Compare the keys of a decoded body with the struct it was decoded as."""
        for name in _surplus(msgspec.json.decode(raw), kind):
            self.note(name)


def decode(raw: bytes, kind: type[_Body], unknown: UnknownFields | None = None) -> _Body:
    """Return the body as a struct; raises VenueProtocolError with the raw bytes."""
    try:
        body = _decoder(kind).decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        if raw.lstrip().startswith(b"<"):
            raise VenueProtocolError(
                f"an HTML page instead of {kind.__name__}: check the base URL", raw
            ) from error
        raise VenueProtocolError(f"not a valid {kind.__name__}: {error}", raw) from error
    if unknown is not None:
        unknown.look(raw, kind)
    return typing.cast("_Body", body)


@lru_cache(maxsize=256)
def _decoder(kind: Any) -> "msgspec.json.Decoder[Any]":
    return msgspec.json.Decoder(kind)


class _Header(msgspec.Struct):
    type: str
    sid: int | None = None
    seq: int | None = None


class FrameDecoder:
    """Decodes WebSocket frames. `unknown_types` counts frames of types new to us.

    Looking for unknown fields decodes the frame a second time, so it is done for the first frames of each type and then for one
    in `SAMPLE_EVERY`: a new field is found soon, and the hot path pays nothing.
    """

    SAMPLE_FIRST = 8
    SAMPLE_EVERY = 512

    def __init__(self, unknown: UnknownFields | None = None) -> None:
        self.unknown = unknown if unknown is not None else UnknownFields()
        self.unknown_types: Counter[str] = Counter()
        self._seen: Counter[type] = Counter()
        self._decoder: msgspec.json.Decoder[Any] = msgspec.json.Decoder(Frame)
        self._header: msgspec.json.Decoder[_Header] = msgspec.json.Decoder(_Header)

    def decode(self, raw: bytes) -> Frame | UnknownFrame:
        """Return the frame; raises VenueProtocolError when a known type has missing or wrong fields."""
        try:
            frame = self._decoder.decode(raw)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            return self._unknown(raw, error)
        kind = type(frame)
        seen = self._seen[kind] = self._seen[kind] + 1
        if seen <= self.SAMPLE_FIRST or seen % self.SAMPLE_EVERY == 0:
            self.unknown.look(raw, kind)
        return typing.cast("Frame", frame)

    def _unknown(self, raw: bytes, error: Exception) -> UnknownFrame:
        try:
            header = self._header.decode(raw)
        except (msgspec.DecodeError, UnicodeDecodeError):
            raise VenueProtocolError(f"not a valid frame: {error}", raw) from error
        if header.type in _known_types():
            raise VenueProtocolError(f"not a valid {header.type} frame: {error}", raw) from error
        self.unknown_types[header.type] += 1
        if self.unknown_types[header.type] == 1:
            _log.warning(
                "the venue sends frames of type %.40r, which this version does not know", header.type
            )
        return UnknownFrame(type=header.type, raw=raw, sid=header.sid, seq=header.seq)


@lru_cache(maxsize=1)
def _known_types() -> frozenset[str]:
    return frozenset(str(kind.__struct_config__.tag) for kind in typing.get_args(Frame))


def _surplus(value: Any, kind: Any) -> Iterator[str]:
    """Yield `Struct.field` for every key in the plain value that its struct does not have."""
    if typing.get_origin(kind) in {typing.Union, types.UnionType}:
        for choice in typing.get_args(kind):
            yield from _surplus(value, choice)
    elif isinstance(value, list) and typing.get_origin(kind) is list:
        for item in value:
            yield from _surplus(item, typing.get_args(kind)[0])
    elif isinstance(value, dict) and isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        hints = _fields(kind)
        for name, item in value.items():
            if name in hints:
                yield from _surplus(item, hints[name])
            elif name != kind.__struct_config__.tag_field:
                yield f"{kind.__name__}.{name}"


@lru_cache(maxsize=256)
def _fields(kind: type[msgspec.Struct]) -> dict[str, Any]:
    return {field.encode_name: field.type for field in msgspec.structs.fields(kind)}
