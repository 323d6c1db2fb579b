"""The frames are made and read here by hand, and by aiohttp, which knows nothing of ours."""

from __future__ import annotations

import asyncio
import struct
import zlib

import aiohttp
import pytest
from soloist_exchange import websocket
from soloist_exchange.http import Limits
from soloist_exchange.websocket import wants_deflate

from tests.unit.soloist_exchange.exchange_sockets import Peer, eventually, serving

HANDSHAKE = (
    "GET /ws HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
)
TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10


MASK = b"\x17\x2a\xf1\x60"


def frame(opcode: int, body: bytes, *, fin: bool = True, rsv: int = 0, masked: bool = True) -> bytes:
    """A client's frame."""
    first = (0x80 if fin else 0) | rsv | opcode
    bit = 0x80 if masked else 0
    if len(body) < 126:
        head = bytes((first, bit | len(body)))
    elif len(body) < 1 << 16:
        head = bytes((first, bit | 126)) + struct.pack(">H", len(body))
    else:
        head = bytes((first, bit | 127)) + struct.pack(">Q", len(body))
    if not masked:
        return head + body
    return head + MASK + bytes(byte ^ MASK[i % 4] for i, byte in enumerate(body))


async def read(peer: Peer) -> tuple[int, bytes]:
    """One frame of the server: opcode with its high bits, and body."""
    first, length = await peer.exactly(2)
    assert not length & 0x80, "a server does not mask"
    if length == 126:
        length = struct.unpack(">H", await peer.exactly(2))[0]
    elif length == 127:
        length = struct.unpack(">Q", await peer.exactly(8))[0]
    return first & 0x7F, await peer.exactly(length)


async def upgraded(connect, more: str = "", data: bytes = b"") -> Peer:
    peer = await connect()
    peer.send(HANDSHAKE.encode() + more.encode() + b"\r\n" + data)
    head = await peer.until(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 101 ")
    assert b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" in head  # the example of RFC 6455, 1.3
    return peer


async def code_of(peer: Peer) -> int:
    """Read until the close frame and return its code."""
    while True:
        opcode, body = await read(peer)
        if opcode == CLOSE:
            return int.from_bytes(body[:2], "big")


async def test_a_message_is_heard_and_answered_with_a_newline_at_its_end():
    async with serving() as (toy, connect):
        peer = await upgraded(connect)
        peer.send(frame(TEXT, b"hello"))
        assert await read(peer) == (TEXT, b"heard hello\n")
        assert toy.texts == ["hello"]


async def test_what_comes_with_the_handshake_is_not_lost():
    async with serving() as (toy, connect):
        peer = await upgraded(connect, data=frame(TEXT, b"early"))
        assert await read(peer) == (TEXT, b"heard early\n")
        assert not len(toy.connections)


@pytest.mark.parametrize("length", [0, 1, 125, 126, 65_535, 65_536])
async def test_every_length_goes_both_ways(length):
    async with serving() as (_, connect):
        peer = await upgraded(connect)
        peer.send(frame(TEXT, b"x" * length))
        opcode, body = await read(peer)
        assert (opcode, len(body)) == (TEXT, len("heard ") + length + 1)


async def test_one_byte_at_a_time_is_as_good_as_all_at_once():
    async with serving() as (_, connect):
        peer = await upgraded(connect)
        for byte in frame(TEXT, b"x" * 130):
            peer.send(bytes([byte]))
            await asyncio.sleep(0)
        assert (await read(peer))[1] == b"heard " + b"x" * 130 + b"\n"


async def test_fragments_are_put_together_with_a_ping_between_them():
    async with serving() as (toy, connect):
        peer = await upgraded(connect)
        peer.send(frame(TEXT, "gr\u00fc".encode()[:3], fin=False) + frame(PING, b"now"))
        assert await read(peer) == (PONG, b"now")
        peer.send(frame(0, "gr\u00fc".encode()[3:], fin=False) + frame(0, b"n"))
        assert (await read(peer))[1] == "heard gr\u00fcn\n".encode()
        assert toy.texts == ["gr\u00fcn"]


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (frame(TEXT, b"x", masked=False), 1002),
        (frame(TEXT, b"x", rsv=0x10), 1002),
        (frame(TEXT, b"x", rsv=0x40), 1002),  # deflate was not agreed on
        (frame(3, b"x"), 1002),
        (frame(11, b"x"), 1002),
        (frame(0, b"x"), 1002),  # continues nothing
        (frame(TEXT, b"x", fin=False) + frame(TEXT, b"x"), 1002),
        (frame(PING, b"x" * 126), 1002),
        (frame(PING, b"x", fin=False), 1002),
        (frame(CLOSE, b"x"), 1002),
        (frame(CLOSE, struct.pack(">H", 1005)), 1002),
        (frame(BINARY, b"x"), 1003),
        (frame(TEXT, b"\xff"), 1007),
        (frame(TEXT, b"x" * 33), 1009),
        (frame(TEXT, b"x" * 20, fin=False) + frame(0, b"x" * 20), 1009),
    ],
)
async def test_what_breaks_the_protocol_ends_the_connection_with_its_code(monkeypatch, data, code):
    monkeypatch.setattr(websocket, "LONGEST_MESSAGE", 32)
    async with serving() as (toy, connect):
        peer = await upgraded(connect)
        if code != 1009:
            monkeypatch.setattr(websocket, "LONGEST_MESSAGE", 1 << 20)
        peer.send(data)
        assert await code_of(peer) == code
        assert not toy.texts


@pytest.mark.parametrize(("body", "code"), [(struct.pack(">H", 1001) + b"bye", 1001), (b"", 1000)])
async def test_a_close_is_answered_and_the_connection_ends(body, code):
    async with serving() as (toy, connect):
        peer = await upgraded(connect)
        peer.send(frame(CLOSE, body))
        assert await code_of(peer) == code
        assert await peer.rest() == b""
        assert toy.websockets_lost == 1


async def test_our_close_comes_after_the_frames_that_were_queued_and_ends_when_it_is_answered():
    async with serving() as (toy, connect):
        peer = await upgraded(connect)
        outbox = toy.outboxes[0]
        outbox.put(b"last")
        outbox.close(1001)
        outbox.put(b"never")
        assert await read(peer) == (TEXT, b"last\n")
        assert await code_of(peer) == 1001
        peer.send(frame(CLOSE, struct.pack(">H", 1001)))
        assert await peer.rest() == b""
        assert toy.websockets_lost == 1


async def test_a_peer_that_does_not_answer_our_close_is_cut_off(monkeypatch):
    monkeypatch.setattr(websocket, "CLOSE_S", 0)
    async with serving() as (toy, connect):
        peer = await upgraded(connect)
        toy.outboxes[0].close()
        await eventually(lambda: toy.websockets_lost == 1)
        await peer.rest()


async def test_an_abort_sends_no_close_frame():
    async with serving() as (toy, connect):
        peer = await upgraded(connect)
        toy.outboxes[0].put(b"never")
        toy.websockets[0].abort()
        assert await peer.rest() == b""
        assert toy.websockets_lost == 1


async def test_frames_wait_for_the_commit_of_their_turn_and_none_is_sent_without_it():
    async with serving() as (toy, connect):
        peer = await upgraded(connect)
        toy.fails = True
        toy.outboxes[0].put(b"what a restart would forget")
        assert await peer.rest() == b""


async def test_pings_have_a_body_and_skip_the_busy_only_by_switch(monkeypatch):
    monkeypatch.setattr(websocket, "PING_S", 0.01)
    async with serving() as (toy, connect):
        peer = await upgraded(connect)
        assert await read(peer) == (PING, b"heartbeat")
        toy.pings_when_busy = False
        socket, outbox = toy.websockets[0], toy.outboxes[0]
        sent: list[int] = []
        monkeypatch.setattr(outbox, "control", lambda opcode, _: sent.append(opcode))
        outbox.put(b"busy")
        outbox.flush(committed=True)
        socket._ping.cancel()
        socket._heartbeat()
        assert sent == []
        socket._ping.cancel()
        socket._heartbeat()
        assert sent == [PING]


@pytest.mark.parametrize(
    "header",
    ["Sec-WebSocket-Version: 8\r\n", "Sec-WebSocket-Key: short\r\n"],
)
async def test_a_bad_handshake_is_refused(header):
    async with serving() as (_, connect):
        peer = await connect()
        name = header.partition(":")[0]
        lines = [line for line in HANDSHAKE.split("\r\n") if line and not line.startswith(name)]
        peer.send("\r\n".join(lines) + "\r\n" + header + "\r\n")
        assert (await peer.reply())[0] == 400
        assert await peer.rest() == b""


async def test_an_upgrade_behind_an_unanswered_request_is_refused():
    async with serving(Limits()) as (toy, connect):
        peer = await connect()
        peer.send("GET /held HTTP/1.1\r\nHost: x\r\n\r\n" + HANDSHAKE + "\r\n")
        await eventually(lambda: toy.held)
        toy.held[0].reply(200, b"first")
        assert [(await peer.reply())[0] for _ in range(2)] == [200, 400]
        assert await peer.rest() == b""


async def test_deflate_is_agreed_on_and_used_for_what_is_long():
    async with serving() as (toy, connect):
        peer = await upgraded(
            connect, "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n"
        )
        packer = zlib.compressobj(9, zlib.DEFLATED, -15)
        packed = packer.compress(b"deflated") + packer.flush(zlib.Z_SYNC_FLUSH)
        peer.send(frame(TEXT, packed[:-4][:3], fin=False, rsv=0x40) + frame(0, packed[:-4][3:]))
        assert await read(peer) == (TEXT, b"heard deflated\n")
        toy.outboxes[0].put(b"y" * 5000)
        opcode, body = await read(peer)
        assert opcode == TEXT | 0x40
        assert len(body) < 100
        assert zlib.decompressobj(-15).decompress(body + b"\0\0\xff\xff") == b"y" * 5000 + b"\n"


async def test_a_small_frame_that_unpacks_to_a_huge_one_ends_the_connection(monkeypatch):
    monkeypatch.setattr(websocket, "LONGEST_MESSAGE", 1000)
    async with serving() as (_, connect):
        peer = await upgraded(connect, "Sec-WebSocket-Extensions: permessage-deflate\r\n")
        packer = zlib.compressobj(9, zlib.DEFLATED, -15)
        packed = packer.compress(b"x" * 100_000) + packer.flush(zlib.Z_SYNC_FLUSH)
        peer.send(frame(TEXT, packed[:-4], rsv=0x40))
        assert await code_of(peer) == 1009


@pytest.mark.parametrize(
    ("offer", "taken"),
    [
        ("", False),
        ("x-webkit-deflate-frame", False),
        ("permessage-deflate", True),
        ("permessage-deflate; client_max_window_bits", True),
        ("permessage-deflate; server_max_window_bits=10", False),
        ("permessage-deflate; server_max_window_bits=10, permessage-deflate", True),
    ],
)
def test_which_offers_of_deflate_are_taken(offer, taken):
    assert wants_deflate({"sec-websocket-extensions": offer}) is taken


@pytest.mark.parametrize("compress", [0, 15])
async def test_a_client_that_is_not_ours_understands_it(compress):
    async with serving() as (toy, connect):
        await connect()
        await eventually(lambda: toy.opened_ever)
        port = toy.opened_ever[0].transport.get_extra_info("sockname")[1]
        async with (
            aiohttp.ClientSession() as session,
            session.ws_connect(f"http://127.0.0.1:{port}/ws", compress=compress) as socket,
        ):
            assert bool(socket.compress) == bool(compress)
            for text in ("a", "b" * 5000):
                await socket.send_str(text)
                assert await socket.receive_str() == f"heard {text}\n"
            toy.outboxes[0].close(1001)
            message = await socket.receive()
            assert (message.type, message.data) == (aiohttp.WSMsgType.CLOSE, 1001)
        await eventually(lambda: toy.websockets_lost == 1)
