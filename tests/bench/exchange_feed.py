"""How fast the exchange's feed is: `python -m tests.bench.exchange_feed` prints JSON. By hand only; not a test.

`encoding`: microseconds per delivered delta, one body for all hearers against one struct for each of them, which is how it was.
`sockets`: a child process is the exchange with its real sockets and its real venue, in which participants place and cancel orders as fast
as ten of our own WebSocket clients (in this process) read; each client hears of every market. Every frame is read and its sequence
checked. `deliveries_per_s` is by the wall clock of a machine that may do other things; `deliveries_per_cpu_s` is by the child's processor
time, which is what one core could do; `us_per_delivery` is its reciprocal, with the venue's work included.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import sys
import tempfile
import time
import timeit
from collections import deque
from pathlib import Path

import uvloop
from soloist_exchange import certificates
from soloist_exchange.accounts import create_account
from soloist_exchange.exchange import Exchange
from soloist_exchange.faults import Faults
from soloist_exchange.feed import Feed
from soloist_exchange.flow import MAKER_ACCOUNT
from soloist_exchange.gateway import Wire
from soloist_exchange.listener import Listener
from soloist_exchange.matching import LevelChange
from soloist_exchange.orders import ASK, BID, Order
from soloist_exchange.scenario import Scenario
from soloist_exchange.server import Options, _listen, _tls
from soloist_exchange.store import Store
from soloist_exchange.turns import Turn
from soloist_exchange.wire_frames import Delta, market_id, timestamp
from soloist_kalshi import frames
from soloist_kalshi.codec import encode
from soloist_kalshi.numbers import count_to_text, price_to_dollars
from soloist_kalshi.signing import Signer
from soloist_kalshi.websocket import WebSocketClient

CLIENTS = 10
SECONDS = 5.0
STEPS_PER_TURN = 25
MOST_WAITING = 8_000  # frames of one connection; beyond it the orders wait for the readers
NOW_MS = 1_700_000_000_000


# ---------------------------------------------------------------------- encoding


def encoding() -> dict[str, float]:
    """Return microseconds per delivery of a delta to ten hearers."""
    order = Order(
        order_id="o", account_id=5, ticker="SIM-RAIN", side=ASK, price=6_000, count=100, created_ms=0
    )
    changes = [LevelChange(ASK, 100 * price, 100 * price, order) for price in range(1, 100)]
    heads = [b'{"type":"orderbook_delta","sid":%d,"seq":' % sid for sid in range(1, CLIENTS + 1)]
    out: list[bytes] = []

    def struct_for_each() -> None:
        for change in changes:
            for sid in range(1, CLIENTS + 1):
                message = frames.OrderbookDeltaMessage(
                    market_ticker=order.ticker,
                    market_id=market_id(order.ticker),
                    price_dollars=price_to_dollars(10_000 - change.price),
                    delta_fp=count_to_text(change.delta),
                    side="no",
                    ts=timestamp(NOW_MS),
                    ts_ms=NOW_MS,
                )
                out.append(encode(frames.OrderbookDeltaFrame(sid=sid, seq=12_345, msg=message)))
        out.clear()

    def body_for_all() -> None:
        moment = Delta.moment(NOW_MS)
        for change in changes:
            body = Delta(order.ticker, change, moment).body(yes_prices=False, own=False)
            for head in heads:
                out.append(b'%b%d,"msg":%b}' % (head, 12_345, body))  # noqa: PERF401 - as the feed does it
        out.clear()

    deliveries = len(changes) * CLIENTS
    return {
        "before_us": round(min(timeit.repeat(struct_for_each, number=5, repeat=5)) / 5 / deliveries * 1e6, 3),
        "after_us": round(min(timeit.repeat(body_for_all, number=5, repeat=5)) / 5 / deliveries * 1e6, 3),
    }


# ---------------------------------------------------------------------- the exchange (child process)


class Changes(Listener):
    """Counts what is told about books."""

    def __init__(self) -> None:
        self.count = 0

    def on_book(self, market: object, changes: list[LevelChange]) -> None:
        """Count."""
        del market
        self.count += len(changes)


async def exchange_process(directory: Path, markets: int, *, plain: bool) -> None:
    """Serve, say where, wait for a line, trade for a while, wait for the readers, and say what it cost."""
    signers = {}
    store = Store(directory)
    for number in range(CLIENTS):
        _, key_id, pem = create_account(
            store, f"bench-{number}", 10**12, "ed25519", time.time_ns() // 1_000_000
        )
        signers[key_id] = pem.decode()
    store.close()
    plans = [{"ticker": f"BENCH-{number}", "step_ms": 0, "levels": 0} for number in range(markets)]
    scenario = Scenario.model_validate({"name": "bench", "markets": plans})
    exchange = Exchange(
        directory,
        scenario,
        1,
        clock_ms=lambda: time.time_ns() // 1_000_000,
        clock_us=lambda: time.monotonic_ns() // 1000,
    )
    tls = None if plain else certificates.ensure(directory)
    options = Options("127.0.0.1", 0, "127.0.0.1", 0, directory, scenario, 1, tls)
    turn, faults = Turn(exchange.commit), Faults(1)
    feed = Feed(exchange, faults)
    wire = Wire(exchange, feed, faults, turn)
    told = Changes()
    async with _listen(wire, turn, options.host, 0, _tls(options)) as port:
        said = {
            "url": f"ws{'' if plain else 's'}://127.0.0.1:{port}/trade-api/ws/v2",
            "ca_file": str(tls.authority) if tls else None,
            "signers": signers,
        }
        print(json.dumps(said), flush=True)
        await asyncio.to_thread(sys.stdin.readline)
        exchange.venue.listeners.append(told)
        started_s, started_cpu_s = time.perf_counter(), time.process_time()
        await _trade(exchange, wire, started_s + SECONDS)
        while _waiting(wire):  # noqa: ASYNC110 - sockets drain without telling
            await asyncio.sleep(0.001)
        wall_s, cpu_s = time.perf_counter() - started_s, time.process_time() - started_cpu_s
        print(json.dumps({"changes": told.count, "wall_s": wall_s, "cpu_s": cpu_s}), flush=True)
        await asyncio.to_thread(sys.stdin.readline)
    exchange.close()


async def _trade(exchange: Exchange, wire: Wire, until_s: float) -> None:
    """Place and cancel orders of the exchange's own participants: each step changes one level of one book."""
    venue = exchange.venue
    tickers = itertools.cycle(venue.markets)
    resting: deque[Order] = deque()
    numbers = itertools.count()
    while time.perf_counter() < until_s:
        for _ in range(STEPS_PER_TURN):
            if len(resting) > len(venue.markets) + 100:
                venue.cancel(resting.popleft())
                continue
            number = next(numbers)
            side = BID if number % 2 else ASK
            order = Order(
                order_id=f"bench-{number}",
                account_id=MAKER_ACCOUNT,
                ticker=next(tickers),
                side=side,
                price=5_000 - side * 100 * (1 + number % 40),
                count=100 + number % 900,
                created_ms=venue.clock_ms(),
            )
            resting.append(venue.create(order))
        await asyncio.sleep(0)
        while _waiting(wire) > MOST_WAITING:  # noqa: ASYNC110 - as above
            await asyncio.sleep(0.0005)


def _waiting(wire: Wire) -> int:
    """Return how many frames wait for the slowest reader."""
    return max(
        (
            len(item.websocket.outbox)
            + (item.websocket._transport.get_write_buffer_size() if item.websocket._transport else 0) // 256
            for item in wire._websockets.values()
        ),
        default=0,
    )


# ---------------------------------------------------------------------- the readers (this process)


class Reader:
    """One client: counts frames, and lets its WebSocketClient check their sequence."""

    def __init__(self, url: str, signer: Signer, ca_file: str | None) -> None:
        self.frames = 0
        self.opened = asyncio.Event()
        self.client = WebSocketClient(
            url,
            signer,
            on_frame=self._on_frame,
            on_closed=self._on_closed,
            on_opened=self.opened.set,
            ca_file=ca_file,
        )
        self.task = asyncio.create_task(self.client.run())

    def _on_frame(self, raw: bytes) -> None:
        del raw
        self.frames += 1

    def _on_closed(self, error: Exception) -> None:
        raise error

    async def until(self, count: int) -> None:
        """Wait until so many frames were read."""
        async with asyncio.timeout(60):
            while self.frames < count and not self.task.done():  # noqa: ASYNC110 - a flag per frame would be measured, too
                await asyncio.sleep(0.005)
        assert self.frames == count, f"{self.frames} frames instead of {count}"


async def sockets(channels: list[str], markets: int, *, plain: bool) -> dict[str, object]:
    """Measure one set of channels."""
    with tempfile.TemporaryDirectory() as name:
        child = await asyncio.create_subprocess_exec(
            sys.executable, "-m", __spec__.name, "--serve", name, str(markets), "plain" if plain else "tls",
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        assert child.stdin is not None
        assert child.stdout is not None
        said = json.loads(await child.stdout.readline())
        readers = [
            Reader(said["url"], Signer.from_pem(key_id, pem.encode()), said["ca_file"])
            for key_id, pem in said["signers"].items()
        ]
        tickers = [f"BENCH-{number}" for number in range(markets)]
        subscribed_s = time.perf_counter()
        for reader in readers:
            await reader.opened.wait()
            reader.client.subscribe(channels, tickers)
        before = len(channels) + (markets if "orderbook_delta" in channels else 0)
        for reader in readers:
            await reader.until(before)
        subscribed_s = time.perf_counter() - subscribed_s
        cpu_s = time.process_time()
        child.stdin.write(b"go\n")
        done = json.loads(await child.stdout.readline())
        if channels == ["orderbook_delta"]:
            for reader in readers:
                await reader.until(before + done["changes"])
        cpu_s = time.process_time() - cpu_s
        await asyncio.sleep(0.2)
        deliveries = sum(reader.frames - before for reader in readers)
        gaps = sum(reader.client.sequence.gaps for reader in readers)
        for reader in readers:
            await reader.client.close()
            await reader.task
        child.stdin.write(b"end\n")
        await child.wait()
    return {
        "channels": channels,
        "markets": markets,
        "transport": "plain" if plain else "tls",
        "subscribe_s": round(subscribed_s, 2),
        "book_changes": done["changes"],
        "deliveries": deliveries,
        "gaps": gaps,
        "deliveries_per_s": round(deliveries / done["wall_s"]),
        "deliveries_per_cpu_s": round(deliveries / done["cpu_s"]),
        "us_per_delivery": round(done["cpu_s"] / deliveries * 1e6, 3),
        "exchange_cpu_share": round(done["cpu_s"] / done["wall_s"], 2),
        "readers_cpu_share": round(cpu_s / done["wall_s"], 2),
    }


async def main() -> None:
    """Print the table."""
    book = ["orderbook_delta"]
    results = {
        "encoding": encoding(),
        "sockets": [
            await sockets(book, 100, plain=True),
            await sockets(book, 100, plain=False),
            await sockets([*book, "ticker"], 100, plain=False),
            await sockets(book, 5_000, plain=False),
        ],
        "load_average": os.getloadavg()[0],
    }
    print(json.dumps(results, indent=2))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--serve"]:
        uvloop.run(exchange_process(Path(sys.argv[2]), int(sys.argv[3]), plain=sys.argv[4] == "plain"))
    else:
        uvloop.run(main())
