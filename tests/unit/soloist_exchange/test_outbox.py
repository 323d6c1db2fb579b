from __future__ import annotations

import asyncio

import pytest
from soloist_exchange import websocket
from soloist_exchange.turns import Turn
from soloist_exchange.websocket import Outbox


class Transport:
    """Remembers what was written and whether it was cut off."""

    def __init__(self) -> None:
        self.aborted = False
        self.written = b""

    def write(self, data: bytes) -> None:
        self.written += data

    def abort(self) -> None:
        self.aborted = True


@pytest.fixture
def turn():
    return Turn(lambda: None)


async def test_a_reader_that_is_too_slow_loses_its_connection_and_no_memory_is_kept(monkeypatch, turn):
    monkeypatch.setattr(websocket, "FRAMES_QUEUED", 3)
    transport = Transport()
    outbox = Outbox(transport, turn)
    outbox.pause()
    for number in range(10):
        outbox.put(b"%d" % number)
        turn.end()
    assert transport.aborted
    assert len(outbox) == 3
    assert transport.written == b""


async def test_a_reader_that_catches_up_gets_everything_in_order(turn):
    transport = Transport()
    outbox = Outbox(transport, turn)
    outbox.put(b"1")
    turn.end()
    outbox.pause()
    outbox.put(b"2")
    turn.end()
    outbox.put(b"3")
    outbox.resume()
    assert transport.written == b"\x81\x021\n", "what is not committed yet is not sent"
    outbox.put(b"4")
    turn.end()
    assert transport.written == b"\x81\x021\n\x81\x022\n\x81\x023\n\x81\x024\n"
    assert not len(outbox)


async def test_nothing_follows_a_close(monkeypatch, turn):
    monkeypatch.setattr(websocket, "CLOSE_S", 0)
    transport = Transport()
    outbox = Outbox(transport, turn)
    outbox.put(b"before")
    outbox.close()
    outbox.put(b"after")
    outbox.close()
    turn.end()
    assert transport.written == b"\x81\x07before\n\x88\x02\x03\xe8"
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert transport.aborted


async def test_a_close_waits_for_a_reader_that_does_not_read(turn):
    transport = Transport()
    outbox = Outbox(transport, turn)
    outbox.pause()
    outbox.put(b"before")
    outbox.close()
    turn.end()
    assert transport.written == b""
    outbox.resume()
    turn.end()
    assert transport.written.endswith(b"\x88\x02\x03\xe8")
    outbox.done()


async def test_a_connection_that_ended_is_not_cut_off_later(monkeypatch, turn):
    monkeypatch.setattr(websocket, "CLOSE_S", 0)
    transport = Transport()
    outbox = Outbox(transport, turn)
    outbox.close()
    outbox.done()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert not transport.aborted


async def test_frames_of_a_turn_that_was_not_committed_are_not_sent(turn):
    transport = Transport()
    outbox = Outbox(transport, turn)
    outbox.put(b"unheard")
    outbox.flush(committed=False)
    assert (transport.aborted, transport.written) == (True, b"")
