"""A server with a toy application, and a client that sends bytes: what HTTP and WebSocket do is tested on real sockets, without an exchange."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager

from soloist_exchange.errors import StateError
from soloist_exchange.http import Connection, Connections, HttpRequest, Limits, Slot
from soloist_exchange.turns import Turn
from soloist_exchange.websocket import Outbox, WebSocket, accepted, wants_deflate

DEADLINE_S = 20.0


class Toy:
    """Answers every request with its own method, path and body; what waits in `held` is answered when a test says so."""

    def __init__(self) -> None:
        self.commits = 0
        self.fails = False
        self.requests: list[HttpRequest] = []
        self.held: list[Slot] = []
        self.texts: list[str] = []
        self.connections = Connections()
        self.opened_ever: list[Connection] = []
        self.outboxes: list[Outbox] = []
        self.websockets: list[WebSocket] = []
        self.websockets_lost = 0
        self.pings_when_busy = True
        self.turn = Turn(self.commit)

    def commit(self) -> None:
        self.commits += 1
        if self.fails:
            raise StateError("no room on the disk")

    def opened(self, connection: Connection) -> None:
        self.connections.add(connection)
        self.opened_ever.append(connection)

    def lost(self, connection: Connection) -> None:
        self.connections.discard(connection)

    def replied(self, slot: Slot) -> None:
        pass

    def request(self, request: HttpRequest, slot: Slot) -> None:
        self.requests.append(request)
        if request.path == "/held":
            self.held.append(slot)
        elif request.path == "/short":
            slot.reply(200, b"0123456789", sent=5)
        elif request.path == "/mute":
            slot.connection.mute()
        elif request.path == "/nothing":
            slot.reply(204)
        else:
            slot.reply(200, f"{request.method} {request.path} ".encode() + request.body, "text/plain")

    def upgrade(self, request: HttpRequest, slot: Slot) -> None:
        deflate = wants_deflate(request.headers)
        head = accepted(request.headers, deflate=deflate)
        if head is None:
            slot.reply(400, b"no handshake", "text/plain")
            return
        websocket = WebSocket(
            self.turn,
            deflate=deflate,
            on_open=self.outboxes.append,
            on_text=self.hear,
            on_lost=self.end,
            ping_when_busy=lambda: self.pings_when_busy,
        )
        self.websockets.append(websocket)
        slot.connection.hand_over(head, websocket)

    def hear(self, text: str) -> None:
        self.texts.append(text)
        self.outboxes[-1].put(f"heard {text}".encode())

    def end(self) -> None:
        self.websockets_lost += 1


class Peer:
    """One client connection, byte by byte."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    def send(self, data: bytes | str) -> None:
        self.writer.write(data.encode() if isinstance(data, str) else data)

    async def until(self, end: bytes) -> bytes:
        return await asyncio.wait_for(self.reader.readuntil(end), DEADLINE_S)

    async def exactly(self, count: int) -> bytes:
        return await asyncio.wait_for(self.reader.readexactly(count), DEADLINE_S)

    async def rest(self) -> bytes:
        """Everything until the server ends the connection."""
        return await asyncio.wait_for(self.reader.read(), DEADLINE_S)

    async def reply(self, *, to_head: bool = False) -> tuple[int, dict[str, str], bytes]:
        """Read one reply: status, headers, body."""
        head = (await self.until(b"\r\n\r\n")).decode().split("\r\n")
        headers = dict(line.lower().split(": ", 1) for line in head[1:] if line)
        length = 0 if to_head else int(headers.get("content-length", "0"))
        return int(head[0].split()[1]), headers, await self.exactly(length)


@asynccontextmanager
async def serving(limits: Limits = Limits()):  # noqa: B008 - frozen
    """Serve a Toy; yields it and `connect()`, which opens one more Peer."""
    toy = Toy()
    server = await asyncio.get_running_loop().create_server(
        lambda: Connection(toy, toy.turn, limits), "127.0.0.1", 0
    )
    host, port = server.sockets[0].getsockname()[:2]
    peers: list[Peer] = []

    async def connect() -> Peer:
        peers.append(Peer(*await asyncio.open_connection(host, port)))
        return peers[-1]

    try:
        yield toy, connect
    finally:
        for websocket in toy.websockets:
            websocket.abort()
        await toy.connections.stop(0)
        for peer in peers:
            peer.writer.transport.abort()
        server.close()
        await server.wait_closed()


async def eventually(condition) -> None:
    """Let the loop run until something is so."""
    async with asyncio.timeout(DEADLINE_S):
        while not condition():  # noqa: ASYNC110 - the conditions are of objects that know nothing of tests
            await asyncio.sleep(0)
