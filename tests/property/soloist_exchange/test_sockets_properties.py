"""However bytes are cut and whatever they are, HTTP and WebSocket read what was sent, answer in order, and never raise."""

from __future__ import annotations

import asyncio
import itertools
import json

from hypothesis import given, settings
from hypothesis import strategies as st
from soloist_exchange.http import Connection, Limits
from soloist_exchange.websocket import WebSocket

from tests.unit.soloist_exchange.exchange_sockets import Toy

RUNS = 300
ANYTHING = st.one_of(
    st.binary(max_size=200),
    st.sampled_from(
        [
            b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
            b"POST ",
            b"HTTP/1.1\r\n",
            b"Content-Length: ",
            b"\r\n\r\n",
            b"0",
        ]
    ),
)
PATH = st.text("abcxyz/", max_size=12)
BODY = st.binary(max_size=300)


class Transport(asyncio.Transport):
    """Keeps what was written, and whether it was closed."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.ended = False

    def write(self, data: bytes) -> None:
        assert not self.ended, "written after the end"
        self.written += data

    def close(self) -> None:
        self.ended = True

    abort = close

    def can_write_eof(self) -> bool:
        return False

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass


def cut(data: bytes, places: list[int]) -> list[bytes]:
    """Cut bytes at places, which are taken modulo their length."""
    at = sorted({place % (len(data) + 1) for place in places} | {0, len(data)})
    return [data[start:end] for start, end in itertools.pairwise(at)]


def replies(data: bytes) -> list[tuple[int, bytes]]:
    """Status and body of each reply in a stream."""
    found = []
    while data:
        head, _, data = data.partition(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
        found.append((int(head.split()[1]), data[:length]))
        data = data[length:]
    return found


async def fed(parts: list[bytes]) -> tuple[Toy, Transport]:
    """Give parts to a connection, a turn of the loop each."""
    toy, transport = Toy(), Transport()
    connection = Connection(toy, toy.turn, Limits(head_bytes=2000, body_bytes=1000))
    connection.connection_made(transport)
    for part in parts:
        if part and not transport.ended:
            connection.data_received(part)
            toy.turn.end()
    await asyncio.sleep(0)
    return toy, transport


def chunked(body: bytes, places: list[int]) -> bytes:
    return b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in cut(body, places) if part) + b"0\r\n\r\n"


@settings(max_examples=RUNS, deadline=None)
@given(
    st.lists(
        st.tuples(PATH, BODY, st.one_of(st.none(), st.lists(st.integers(0, 300), max_size=4))), max_size=6
    ),
    st.lists(st.integers(0, 5000), max_size=12),
)
def test_requests_are_read_whole_and_answered_in_order_however_they_are_cut(wanted, places):
    stream = b""
    for path, body, chunks in wanted:
        head = f"POST /x{path} HTTP/1.1\r\nHost: x\r\n".encode()
        if chunks is None:
            stream += head + b"Content-Length: %d\r\n\r\n%b" % (len(body), body)
        else:
            stream += head + b"Transfer-Encoding: chunked\r\n\r\n" + chunked(body, chunks)
    toy, transport = asyncio.run(fed(cut(stream, places)))
    assert [(request.path, request.body) for request in toy.requests] == [
        ("/x" + path, body) for path, body, _ in wanted
    ]
    assert replies(transport.written) == [
        (200, f"POST /x{path} ".encode() + body) for path, body, _ in wanted
    ]
    assert not transport.ended


@settings(max_examples=RUNS, deadline=None)
@given(st.lists(ANYTHING, max_size=12))
def test_anything_at_all_is_answered_or_waited_for(parts):
    toy, transport = asyncio.run(fed(parts))
    found = replies(transport.written.replace(b"HTTP/1.1 100 Continue\r\n\r\n", b""))
    good = sum(status == 200 for status, _ in found)
    # What is refused is refused once, at the end, and is no request of the application's.
    assert [status for status, _ in found[good:]] in ([], [400], [413], [431])
    assert good == len(toy.requests)


class World:
    """A WebSocket on a transport of ours."""

    def __init__(self) -> None:
        self.toy, self.transport = Toy(), Transport()
        self.texts: list[str] = []
        self.socket = WebSocket(
            self.toy.turn,
            deflate=True,
            on_open=lambda _: None,
            on_text=self.texts.append,
            on_lost=lambda: None,
        )
        self.socket.connection_made(self.transport)

    async def feed(self, parts: list[bytes]) -> World:
        for part in parts:
            if not self.transport.ended:
                self.socket.data_received(part)
                self.toy.turn.end()
        self.socket.connection_lost(None)
        return self


def masked(opcode: int, body: bytes, mask: bytes, *, fin: bool) -> bytes:
    """A client's frame with a body below 64 KiB."""
    head = bytes(((0x80 if fin else 0) | opcode,))
    head += bytes((0x80 | len(body),)) if len(body) < 126 else b"\xfe" + len(body).to_bytes(2, "big")
    return head + mask + bytes(byte ^ mask[i % 4] for i, byte in enumerate(body))


@settings(max_examples=RUNS, deadline=None)
@given(
    st.lists(
        st.tuples(st.text(max_size=200), st.lists(st.integers(0, 600), max_size=3), st.booleans()), max_size=5
    ),
    st.binary(min_size=4, max_size=4),
    st.lists(st.integers(0, 3000), max_size=12),
)
def test_messages_are_heard_however_they_are_cut_and_fragmented(messages, mask, places):
    stream, pings = b"", 0
    for text, fragments, pinged in messages:
        parts = cut(text.encode(), fragments) or [b""]
        for index, part in enumerate(parts):
            stream += masked(0 if index else 1, part, mask, fin=index == len(parts) - 1)
            if pinged:
                pings += 1
                stream += masked(9, b"%d" % index, mask, fin=True)

    async def run() -> World:
        return await World().feed(cut(stream, places))

    world = asyncio.run(run())
    assert world.texts == [text for text, _, _ in messages]
    assert world.transport.written.count(b"\x8a") >= pings
    assert not world.transport.ended


@settings(max_examples=RUNS, deadline=None)
@given(
    st.lists(
        st.one_of(st.binary(max_size=60), st.just(masked(1, json.dumps({}).encode(), b"abcd", fin=True))),
        max_size=10,
    )
)
def test_no_frame_breaks_the_server(parts):
    async def run() -> World:
        return await World().feed(parts)

    world = asyncio.run(run())
    if world.transport.written.startswith(b"\x88"):
        code = int.from_bytes(world.transport.written[2:4], "big")
        assert 1000 <= code <= 4999
