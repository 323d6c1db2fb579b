"""A whole exchange on real sockets in the test's own loop, and a user of it."""

from __future__ import annotations

import asyncio
import json
import ssl
import time
import uuid
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import httpx
from soloist_exchange import certificates
from soloist_exchange.exchange import create_account
from soloist_exchange.scenario import Scenario
from soloist_exchange.server import Listening, Options, serve
from soloist_exchange.store import Store
from soloist_kalshi.signing import WEBSOCKET_PATH, Signer

from tests.unit.soloist_exchange.exchange_sockets import DEADLINE_S, Peer

ORDERS = "/portfolio/events/orders"


class Desk:
    """One exchange and its admin."""

    def __init__(self, listening: Listening, state_dir, http: httpx.AsyncClient) -> None:
        self.listening = listening
        self.state_dir = state_dir
        self.http = http
        url = urlsplit(listening.rest_url)
        self.address = url.hostname, url.port
        self.tls: ssl.SSLContext | None = None
        self.peers: list[Peer] = []

    def user(self, name: str, dollars: int = 10_000) -> User:
        store = Store(self.state_dir)
        _, key_id, pem = create_account(store, name, dollars * 1_000_000, "ed25519", 1_790_000_000_000)
        store.close()
        return User(self, name, Signer.from_pem(key_id, pem))

    async def admin(
        self, method: str, path: str, content: Any = None, *, status: int = 200, **query: str
    ) -> Any:
        reply = await self.http.request(
            method, f"{self.listening.admin_url}/admin/{path}", json=content, params=query or None
        )
        assert reply.status_code == status, reply.text
        return reply.text if path == "metrics" else reply.json()

    async def faults(self, *faults: dict[str, object]) -> None:
        await self.admin("POST", "faults", list(faults))

    async def peer(self) -> Peer:
        self.peers.append(Peer(*await asyncio.open_connection(*self.address)))
        return self.peers[-1]


class User:
    """An account with its key."""

    def __init__(self, desk: Desk, name: str, signer: Signer) -> None:
        self.desk = desk
        self.name = name
        self.signer = signer

    def headers(self, method: str, path: str, off_ms: int = 0) -> dict[str, str]:
        return self.signer.headers(method, path, time.time_ns() // 1_000_000 + off_ms)

    async def call(self, method: str, path: str, content: Any = None, **query: str) -> httpx.Response:
        base = urlsplit(self.desk.listening.rest_url)
        return await self.desk.http.request(
            method,
            f"{self.desk.listening.rest_url}{path}",
            json=content,
            params=query or None,
            headers=self.headers(method, base.path + path),
        )

    async def create(
        self, ticker: str, side: str = "bid", price: str = "0.40", **fields: str
    ) -> httpx.Response:
        return await self.call("POST", ORDERS, order(ticker, side, price) | fields)

    def raw(self, method: str, path: str, content: Any = None) -> bytes:
        """A request as bytes, for a Peer."""
        target = urlsplit(self.desk.listening.rest_url).path + path
        body = b"" if content is None else json.dumps(content).encode()
        head = f"{method} {target} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n"
        head += "".join(f"{name}: {value}\r\n" for name, value in self.headers(method, target).items())
        return head.encode() + b"\r\n" + body

    @asynccontextmanager
    async def websocket(
        self, *channels: str, tickers: list[str] | None = None, tls: ssl.SSLContext | None = None
    ):
        """A connection that is subscribed; yields what aiohttp makes of it."""
        async with (
            aiohttp.ClientSession() as session,
            session.ws_connect(
                self.desk.listening.ws_url, headers=self.headers("GET", WEBSOCKET_PATH), ssl=tls or True
            ) as socket,
        ):
            if channels:
                params: dict[str, Any] = {"channels": list(channels)}
                if tickers:
                    params["market_tickers"] = tickers
                await socket.send_json({"id": 1, "cmd": "subscribe", "params": params})
                for _ in channels:
                    await frame(socket, "subscribed")
            yield socket


def order(ticker: str, side: str = "bid", price: str = "0.40") -> dict[str, str]:
    return {
        "ticker": ticker,
        "side": side,
        "count": "1.00",
        "price": price,
        "time_in_force": "good_till_canceled",
        "self_trade_prevention_type": "taker_at_cross",
        "client_order_id": str(uuid.uuid4()),
    }


async def frame(socket: aiohttp.ClientWebSocketResponse, kind: str) -> dict[str, Any]:
    """The next frame, which must be of a type."""
    found = json.loads(await asyncio.wait_for(socket.receive_str(), DEADLINE_S))
    assert found["type"] == kind, found
    return found


def still_markets(*tickers: str, **more: Any) -> Scenario:
    plans = [
        {"ticker": t, "step_ms": 0, "levels": 3, "spread_ticks": 2, "level_contracts": 10} for t in tickers
    ]
    return Scenario.model_validate({"name": "still", "markets": plans, **more})


@asynccontextmanager
async def exchange(state_dir, scenario: Scenario | None = None, *, tls: bool = False, **options: Any):
    """Serve until the block ends; yields the Desk. Raises what `serve` raises."""
    made = Options(
        "127.0.0.1", 0, "127.0.0.1", 0, state_dir, scenario or still_markets("M", "N"), 1,
        certificates.ensure(state_dir) if tls else None, **options,
    )  # fmt: skip
    stop = asyncio.Event()
    ready: asyncio.Future[Listening] = asyncio.get_running_loop().create_future()
    task = asyncio.create_task(serve(made, ready.set_result, stop))
    await asyncio.wait({task, ready}, return_when=asyncio.FIRST_COMPLETED)
    if task.done():
        await task
    verify = ssl.create_default_context(cafile=str(made.tls.authority)) if tls else False
    async with httpx.AsyncClient(verify=verify, timeout=DEADLINE_S) as http:
        desk = Desk(ready.result(), state_dir, http)
        desk.tls = verify or None
        try:
            yield desk
        finally:
            for peer in desk.peers:
                peer.writer.transport.abort()
            stop.set()
            await task


async def eventually(ask) -> None:
    """Ask again and again until the answer is yes."""
    async with asyncio.timeout(DEADLINE_S):
        while not await ask():
            pass
