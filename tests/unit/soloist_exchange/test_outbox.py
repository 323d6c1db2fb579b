from __future__ import annotations

import asyncio

from soloist_exchange import server
from soloist_exchange.server import _Outbox


class Transport:
    """Remembers that it was cut off."""

    aborted = False

    def abort(self) -> None:
        self.aborted = True


async def test_a_reader_that_is_too_slow_loses_its_connection_and_no_memory_is_kept(monkeypatch):
    monkeypatch.setattr(server, "FRAMES_QUEUED", 3)
    transport = Transport()
    outbox = _Outbox(transport)
    for number in range(10):
        outbox.put(b"%d" % number)
    assert transport.aborted
    assert outbox.frames.qsize() == 3


async def test_nothing_follows_a_close(monkeypatch):
    monkeypatch.setattr(server, "CLOSE_S", 0)
    transport = Transport()
    outbox = _Outbox(transport)
    outbox.put(b"before")
    outbox.close()
    outbox.put(b"after")
    outbox.close()
    assert [outbox.frames.get_nowait() for _ in range(outbox.frames.qsize())] == [b"before", None]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert transport.aborted


async def test_a_connection_that_ended_is_not_cut_off_later(monkeypatch):
    monkeypatch.setattr(server, "CLOSE_S", 0)
    transport = Transport()
    outbox = _Outbox(transport)
    outbox.close()
    outbox.done()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert not transport.aborted
