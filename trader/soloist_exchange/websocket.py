"""The server's half of RFC 6455 on a connection that HTTP handed over, and the frames that wait to be sent on it.

Written here because the libraries that are locked own their listening socket (picows) or live behind aiohttp's private modules, while
this server must keep frames back until their turn is committed (see `turns`). permessage-deflate (RFC 7692) is spoken without context
takeover: what is short goes out as it is, because compressing a delta costs more than sending it.
"""

import asyncio
import zlib
from base64 import b64encode
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from hashlib import sha1
from typing import Final, cast

from soloist_exchange.turns import Turn

__all__ = ["GOING_AWAY", "NORMAL", "Outbox", "WebSocket", "accepted", "wants_deflate"]

NORMAL, GOING_AWAY, PROTOCOL_ERROR, UNSUPPORTED = 1000, 1001, 1002, 1003
BAD_TEXT, TOO_BIG = 1007, 1009
_CONTINUATION, _TEXT, _CLOSE, _PING, _PONG = 0x0, 0x1, 0x8, 0x9, 0xA
_FIN, _RSV1, _RSV, _OPCODE, _MASKED, _LENGTH = 0x80, 0x40, 0x70, 0x0F, 0x80, 0x7F
_SHORT, _MEDIUM, _LONG = 125, 126, 127
_GUID: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_TAIL: Final = b"\x00\x00\xff\xff"
_KEY_BYTES: Final = 24
_WINDOW_BITS: Final = 15

HEARTBEAT: Final = b"heartbeat"
PING_S: Final = 10.0
CLOSE_S: Final = 5.0
FRAMES_QUEUED: Final = 20_000
LONGEST_MESSAGE: Final = 64 << 20
DEFLATED_FROM: Final = 2048  # bytes; shorter frames are not worth their compressor
_FORBIDDEN_CODES: Final = frozenset({1004, 1005, 1006, 1015})


def accepted(headers: Mapping[str, str], *, deflate: bool) -> bytes | None:
    """Return the 101 reply to an upgrade, None when it is none that RFC 6455 knows."""
    key = headers.get("sec-websocket-key", "")
    if headers.get("sec-websocket-version") != "13" or len(key) != _KEY_BYTES:
        return None
    answer = b64encode(sha1(key.encode("latin-1") + _GUID).digest())  # noqa: S324 - what the protocol says
    extension = (
        b"Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover; client_no_context_takeover\r\n"
        if deflate
        else b""
    )
    return (
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: %b\r\n%b\r\n" % (answer, extension)
    )


def wants_deflate(headers: Mapping[str, str]) -> bool:
    """Whether a client offers permessage-deflate in a form that is spoken here: with the full window on our side."""
    for offer in headers.get("sec-websocket-extensions", "").split(","):
        name, *parameters = (part.strip() for part in offer.split(";"))
        if name == "permessage-deflate" and not any(
            p.startswith("server_max_window_bits") for p in parameters
        ):
            return True
    return False


def _header(opcode: int, length: int) -> bytes:
    if length <= _SHORT:
        return bytes((_FIN | opcode, length))
    if length < 1 << 16:
        return bytes((_FIN | opcode, _MEDIUM)) + length.to_bytes(2, "big")
    return bytes((_FIN | opcode, _LONG)) + length.to_bytes(8, "big")


# Almost every frame that is sent is shorter than this: its head is looked up.
_HEADS: Final = tuple(_header(_TEXT, length) for length in range(1024))


def _close_frame(code: int) -> bytes:
    return _header(_CLOSE, 2) + code.to_bytes(2, "big")


class Outbox:
    """Frames on their way to one connection; they leave together after the commit of their turn.

    A reader that is too slow loses its connection, as at the venue, never the exchange its memory. Nothing is queued after `close`.
    """

    def __init__(self, transport: asyncio.WriteTransport, turn: Turn, *, deflate: bool = False) -> None:
        self.closed = False
        self.sent = 0
        self._transport = transport
        self._turn = turn
        self._deflate = deflate
        self._frames: list[bytes] = []
        self._noted = False
        self._paused = False
        self._code: int | None = None
        self._hangs_up = False
        self._abort: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        """How many frames wait."""
        return len(self._frames)

    def put(self, frame: bytes) -> None:
        """Queue a JSON text; on the wire each ends with a newline (section 13.1)."""
        if self.closed:
            return
        if len(self._frames) >= FRAMES_QUEUED:
            self._end()
            return
        self._frames.append(frame)
        self._note()

    def _note(self) -> None:
        if not self._noted:
            self._noted = True
            self._turn.frames(self)

    def flush(self, *, committed: bool) -> None:
        """Send what waits, unless the reader must catch up first (see turns.Teller)."""
        self._noted = False
        if not committed:
            self._end()
            return
        if self._paused or (self.closed and self._code is None):
            return
        if self._frames:
            frames, self._frames = self._frames, []
            self.sent += len(frames)
            parts: list[bytes] = []
            for frame in frames:
                length = len(frame) + 1
                if length < DEFLATED_FROM or not self._deflate:
                    head = _HEADS[length] if length < len(_HEADS) else _header(_TEXT, length)
                    parts += (head, frame, b"\n")
                else:
                    packer = zlib.compressobj(1, zlib.DEFLATED, -_WINDOW_BITS)
                    packed = packer.compress(frame + b"\n") + packer.flush(zlib.Z_SYNC_FLUSH)[: -len(_TAIL)]
                    parts += (_header(_TEXT | _RSV1, len(packed)), packed)
            self._transport.write(b"".join(parts))
        if self._code is not None:
            self._transport.write(_close_frame(self._code))
            self._code = None
            if self._hangs_up:
                self._transport.close()

    def control(self, opcode: int, body: bytes) -> None:
        """Send a control frame past the queue, unless the reader does not read."""
        if not self.closed and not self._paused:
            self._transport.write(_header(opcode, len(body)) + body)

    def pause(self) -> None:
        """Keep frames back: the reader does not read."""
        self._paused = True

    def resume(self) -> None:
        """Send them, with this turn's."""
        self._paused = False
        if self._frames or self._code is not None:
            self._note()

    def close(self, code: int = NORMAL) -> None:
        """End the connection with a close frame after the frames that are queued; a peer that does not take them is cut off."""
        if self.closed:
            return
        self.closed = True
        self._code = code
        self._abort = asyncio.get_running_loop().call_later(CLOSE_S, self._end)
        self._note()

    def hang_up(self, code: int) -> None:
        """Answer the peer's close frame and end the connection; at once, when it was the answer to ours."""
        if self.closed and self._code is None:
            self._transport.close()
        else:
            self._hangs_up = True
            self.close(code)

    def done(self) -> None:
        """Forget the deadline: the connection has ended."""
        self.closed = True
        self._code = None
        self._frames.clear()
        if self._abort is not None:
            self._abort.cancel()

    def _end(self) -> None:
        self.closed = True
        self._code = None
        self._transport.abort()


@dataclass(slots=True)
class _Frame:
    fin: bool
    rsv: int
    opcode: int
    body: bytes


class _ProtocolError(Exception):
    """What a peer did that ends its connection with a code."""

    def __init__(self, code: int) -> None:
        super().__init__(f"close code {code}")
        self.code = code


class WebSocket(asyncio.Protocol):
    """One WebSocket connection. `on_open` gets where frames are put, `on_text` hears each message, `on_lost` its end, once.

    `ping_when_busy` tells whether a connection that was sent frames since the last ping is pinged, too (section 16, question 21).
    """

    def __init__(
        self,
        turn: Turn,
        *,
        deflate: bool,
        on_open: Callable[[Outbox], None],
        on_text: Callable[[str], None],
        on_lost: Callable[[], None],
        ping_when_busy: Callable[[], bool] = lambda: True,
    ) -> None:
        self._turn = turn
        self._deflate = deflate
        self._on_open = on_open
        self._on_text = on_text
        self._on_lost = on_lost
        self._ping_when_busy = ping_when_busy
        self._buffer = bytearray()
        self._parts: list[bytes] = []
        self._message_bytes = 0
        self._deflated = False
        self._open = False
        self._sent_at_ping = 0
        self._ping: asyncio.TimerHandle | None = None
        self._transport: asyncio.Transport | None = None
        self._outbox: Outbox | None = None

    @property
    def outbox(self) -> Outbox:
        """Where frames are put; there once the connection was handed over."""
        assert self._outbox is not None
        return self._outbox

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin, and ping every ten seconds."""
        self._transport = cast("asyncio.Transport", transport)
        self._outbox = Outbox(self._transport, self._turn, deflate=self._deflate)
        self._ping = asyncio.get_running_loop().call_later(PING_S, self._heartbeat)
        self._on_open(self._outbox)

    def connection_lost(self, exc: Exception | None) -> None:
        """End."""
        del exc
        if self._ping is not None:
            self._ping.cancel()
        self.outbox.done()
        self._on_lost()

    def pause_writing(self) -> None:
        """Keep frames back."""
        self.outbox.pause()

    def resume_writing(self) -> None:
        """Send them."""
        self.outbox.resume()

    def abort(self) -> None:
        """End without a close frame."""
        self.outbox.done()
        if self._transport is not None:
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        """Read frames."""
        self._buffer += data
        try:
            while (frame := self._next_frame()) is not None:
                self._take(frame)
        except _ProtocolError as error:
            self._buffer.clear()
            self.outbox.close(error.code)

    def _next_frame(self) -> _Frame | None:
        """Cut one frame off the buffer; None until it is whole."""
        buffer = self._buffer
        if len(buffer) < 2:  # noqa: PLR2004 - the shortest head
            return None
        first, length = buffer[0], buffer[1] & _LENGTH
        if not buffer[1] & _MASKED:
            raise _ProtocolError(PROTOCOL_ERROR)
        at = 2
        if length >= _MEDIUM:
            at += 2 if length == _MEDIUM else 8
            if len(buffer) < at:
                return None
            length = int.from_bytes(buffer[2:at], "big")
        if length > LONGEST_MESSAGE:
            raise _ProtocolError(TOO_BIG)
        if first & _CLOSE and (length > _SHORT or not first & _FIN):
            raise _ProtocolError(PROTOCOL_ERROR)
        end = at + 4 + length
        if len(buffer) < end:
            return None
        mask, body = bytes(buffer[at : at + 4]), bytes(buffer[at + 4 : end])
        del buffer[:end]
        if body:
            key = (mask * (length // 4 + 1))[:length]
            body = (int.from_bytes(body, "big") ^ int.from_bytes(key, "big")).to_bytes(length, "big")
        return _Frame(bool(first & _FIN), first & _RSV, first & _OPCODE, body)

    def _take(self, frame: _Frame) -> None:
        if frame.opcode in {_TEXT, _CONTINUATION}:
            self._take_part(frame)
        elif frame.rsv:
            raise _ProtocolError(PROTOCOL_ERROR)
        elif frame.opcode == _PING:
            self.outbox.control(_PONG, frame.body)
        elif frame.opcode == _CLOSE:
            self._take_close(frame.body)
        elif frame.opcode != _PONG:
            raise _ProtocolError(UNSUPPORTED if frame.opcode == _TEXT + 1 else PROTOCOL_ERROR)

    def _take_part(self, frame: _Frame) -> None:
        begins = frame.opcode == _TEXT
        if begins == self._open or frame.rsv & ~_RSV1:
            raise _ProtocolError(PROTOCOL_ERROR)
        if begins:
            self._deflated = bool(frame.rsv)
        if frame.rsv and not (begins and self._deflate):
            raise _ProtocolError(PROTOCOL_ERROR)
        self._open = not frame.fin
        self._parts.append(frame.body)
        self._message_bytes += len(frame.body)
        if self._message_bytes > LONGEST_MESSAGE:
            raise _ProtocolError(TOO_BIG)
        if not frame.fin:
            return
        whole = b"".join(self._parts)
        self._parts.clear()
        self._message_bytes = 0
        if self._deflated:
            whole = _inflated(whole)
        try:
            text = whole.decode()
        except UnicodeDecodeError:
            raise _ProtocolError(BAD_TEXT) from None
        if not self.outbox.closed:
            self._on_text(text)

    def _take_close(self, body: bytes) -> None:
        """Answer a close frame with one, or take it as the answer to ours; the connection ends either way."""
        code = int.from_bytes(body[:2], "big") if body else NORMAL
        valid = len(body) != 1 and 1000 <= code <= 4999 and code not in _FORBIDDEN_CODES  # noqa: PLR2004 - RFC 6455, 7.4
        self.outbox.hang_up(code if valid else PROTOCOL_ERROR)

    def _heartbeat(self) -> None:
        if self._ping_when_busy() or self.outbox.sent == self._sent_at_ping:
            self.outbox.control(_PING, HEARTBEAT)
        self._sent_at_ping = self.outbox.sent
        self._ping = asyncio.get_running_loop().call_later(PING_S, self._heartbeat)


def _inflated(packed: bytes) -> bytes:
    unpacker = zlib.decompressobj(-_WINDOW_BITS)
    try:
        whole = unpacker.decompress(packed + _TAIL, LONGEST_MESSAGE)
    except zlib.error:
        raise _ProtocolError(BAD_TEXT) from None
    if unpacker.unconsumed_tail:
        raise _ProtocolError(TOO_BIG)
    return whole
