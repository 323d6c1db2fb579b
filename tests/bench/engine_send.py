"""How long a durable send takes in the whole engine: `python -m tests.bench.engine_send` prints a table. By hand only; not a test.

One process is the real exchange over TLS, whose own participants place and cancel orders as fast as the engine reads: frames always wait
for it, and it is never idle. The other is the real engine (`soloist-trader run`, journal on the disk of --directory) with a strategy that
trades all the time. Per order, in microseconds:

`decide`   from the event that the core steps on to its decision
`wait`     from there until it is carried out: the rest of its frame is handled first
`commit`   from there to the intent being durable (fdatasync)
`send`     from there until the request, signed, is the kernel's
`total`    `wait`, `commit` and `send`: what the target of 600 us (p50) means
`core`     how much of `total` the engine's thread was ready to run and had no core: the machine's part, not the engine's

p50 and p99 are given from 300 orders on, else only how many there were. The engine is not changed: its methods are wrapped to take the time.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import os
import sys
import tempfile
import time
from collections import deque
from pathlib import Path
from subprocess import PIPE, Popen
from typing import Any

import uvloop
import yaml
from soloist_exchange import certificates
from soloist_exchange.accounts import create_account
from soloist_exchange.exchange import Exchange
from soloist_exchange.faults import Faults
from soloist_exchange.feed import Feed
from soloist_exchange.flow import MAKER_ACCOUNT
from soloist_exchange.gateway import Wire
from soloist_exchange.orders import ASK, BID, Order, Status
from soloist_exchange.scenario import Scenario
from soloist_exchange.server import Options, _listen, _tls
from soloist_exchange.store import Store
from soloist_exchange.turns import Turn
from soloist_trader.journal.quantiles import core_wait_us, now_us

from tests.bench.exchange_feed import STEPS_PER_TURN, Changes, _waiting
from tests.conformance.engine import engine_processes
from tests.conformance.engine.engine_processes import Account, Bot

ENOUGH = 300
"""Fewer say nothing about a p99."""
SETTLE_S = 2.0
"""The first orders open connections and warm caches; they are not counted."""
STAGES = ("decide", "wait", "commit", "send", "total", "core")
MARKETS = 11
"""Odd, so that the flow, which changes sides with every order, gives each market both."""
RESTING_PER_MARKET = 20
MOST_WAITING = 1_000
"""Frames of one connection: enough that the engine always has some, and few enough that its books are of this moment."""
FAST = {
    "entry": "cross",
    "cooldown_seconds": 0.3,
    "maximum_spread_dollars": "0.90",
    "take_profit_dollars": "0.01",
    "stop_loss_dollars": "0.01",
}
"""In and out again, at any price: it is about time, not money."""


# ---------------------------------------------------------------------- the exchange (child process)


async def exchange_process(directory: Path, markets: int) -> None:
    """Serve, say where, wait for a line, trade until the next one, and say how much that was."""
    store = Store(directory)
    _, key_id, pem = create_account(
        store, "bench", 10**12, "ed25519", time.time_ns() // 1_000_000, tier="prestige"
    )
    store.close()
    plans = [{"ticker": f"BENCH-{number}", "step_ms": 0, "levels": 0} for number in range(markets)]
    scenario = Scenario.model_validate({"name": "bench", "markets": plans})
    exchange = Exchange(
        directory, scenario, 1, clock_ms=lambda: time.time_ns() // 1_000_000, clock_us=lambda: time.monotonic_ns() // 1000
    )  # fmt: skip
    tls = certificates.ensure(directory)
    options = Options("127.0.0.1", 0, "127.0.0.1", 0, directory, scenario, 1, tls)
    turn, faults, told = Turn(exchange.commit), Faults(1), Changes()
    wire = Wire(exchange, Feed(exchange, faults), faults, turn)
    async with _listen(wire, turn, options.host, 0, _tls(options)) as port:
        print(
            json.dumps({"port": port, "ca_file": str(tls.authority), "key_id": key_id, "pem": pem.decode()}),
            flush=True,
        )
        seconds = float(await asyncio.to_thread(sys.stdin.readline))
        exchange.venue.listeners.append(told)
        await _trade(exchange, wire, time.perf_counter() + seconds)
        print(json.dumps({"frames": told.count}), flush=True)
        await asyncio.to_thread(sys.stdin.readline)
    exchange.close()


async def _trade(exchange: Exchange, wire: Wire, until_s: float) -> None:
    """As the bench of the feed does it; but here somebody else trades, too, and may have taken what is to be cancelled."""
    venue = exchange.venue
    tickers = itertools.cycle(venue.markets)
    resting: deque[Order] = deque()
    numbers = itertools.count()
    while time.perf_counter() < until_s:
        for _ in range(STEPS_PER_TURN):
            if len(resting) > RESTING_PER_MARKET * len(venue.markets):
                oldest = resting.popleft()
                if oldest.status is Status.RESTING:
                    venue.cancel(oldest)
                continue
            number = next(numbers)
            side = BID if number % 2 else ASK
            order = Order(
                order_id=f"bench-{number}", account_id=MAKER_ACCOUNT, ticker=next(tickers), side=side,
                price=5_000 - side * 100 * (1 + number % 40), count=100 + number % 900, created_ms=venue.clock_ms(),
            )  # fmt: skip
            resting.append(venue.create(order))
        await asyncio.sleep(0)
        while _waiting(wire) > MOST_WAITING:  # noqa: ASYNC110 sockets drain without telling
            await asyncio.sleep(0.0005)


# ---------------------------------------------------------------------- the engine (child process)


class Times:
    """When each order was decided, durable and handed over."""

    def __init__(self) -> None:
        self.began: dict[str, tuple[int, int, int]] = {}
        self.flushed: dict[str, int] = {}
        self.durable: dict[str, int] = {}
        self.handed: list[tuple[int, int, bytes]] = []

    def rows(self) -> list[dict[str, int]]:
        """Orders that left, in microseconds."""
        rows = []
        for handed_us, core_us, body in self.handed:
            name = json.loads(body).get("client_order_id") if body else None
            if name in self.durable:
                event_us, decided_us, core_before_us = self.began[name]
                flushed_us, durable_us = self.flushed[name], self.durable[name]
                rows.append({
                    "at": decided_us, "decide": decided_us - event_us, "wait": flushed_us - decided_us,
                    "commit": durable_us - flushed_us, "send": handed_us - durable_us, "total": handed_us - decided_us,
                    "core": core_us - core_before_us,
                })  # fmt: skip
        return rows


def watch(times: Times) -> None:
    """Take the time where an order passes."""
    from soloist_kalshi.orders_connection import Connection
    from soloist_trader.core.commands import Place
    from soloist_trader.shell.runtime import Runtime

    take, flush, send, dispatch = Runtime._take, Runtime._flush, Runtime._send, Runtime.dispatch
    write = Connection._write
    event_us = 0

    def timed_dispatch(self: Any, event: Any) -> None:
        nonlocal event_us
        event_us = now_us()
        dispatch(self, event)

    def timed_take(self: Any, command: Any) -> None:
        if type(command) is Place:
            core_us = core_wait_us()
            times.began[command.client_order_id] = (event_us, now_us(), core_us)
        take(self, command)

    def timed_flush(self: Any) -> None:
        flushed_us = now_us()
        times.flushed |= {c.client_order_id: flushed_us for c in self._outbox if type(c) is Place}
        flush(self)

    def timed_send(self: Any, intents: Any, why_not: str) -> None:
        durable_us = now_us()
        if not why_not:
            times.durable |= {command.client_order_id: durable_us for command in intents}
        send(self, intents, why_not)

    def timed_write(self: Any, request: bytes, **options: bool) -> None:
        write(self, request, **options)
        times.handed.append((now_us(), core_wait_us(), request.partition(b"\r\n\r\n")[2]))

    Runtime.dispatch, Runtime._take = timed_dispatch, timed_take  # type: ignore[method-assign]
    Runtime._flush, Runtime._send = timed_flush, timed_send  # type: ignore[method-assign]
    Connection._write = timed_write  # type: ignore[method-assign]


def engine_process(out: Path, arguments: list[str]) -> None:
    """`soloist-trader` with the clock in hand."""
    from soloist_trader.cli import main as trader

    times = Times()
    watch(times)
    try:
        trader(arguments)
    finally:
        out.write_text(json.dumps(times.rows()))


class MeasuredBot(Bot):
    """Started by this module instead of by the installed command."""

    def start(self) -> None:
        self.runs += 1
        self.out = self.directory / "times.json"
        command = [
            sys.executable, "-m", "tests.bench.engine_send", "--engine", self.out, "run", "--config", self.config,
            "--keys", self.keys, "--state-dir", self.state, "--admin", "127.0.0.1:0",
        ]  # fmt: skip
        with self.log_file.open("wb") as log:
            self.process = Popen(command, stdout=log, stderr=log)

    def cpu_s(self) -> float:
        """Processor time so far."""
        assert self.process is not None
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


# ---------------------------------------------------------------------- both


def measure(directory: Path, seconds: float, markets: int) -> dict[str, Any]:
    """One run."""
    command = [
        sys.executable,
        "-m",
        "tests.bench.engine_send",
        "--exchange",
        str(directory / "exchange"),
        "--markets",
        str(markets),
    ]
    child = Popen(command, stdin=PIPE, stdout=PIPE, text=True)
    assert child.stdin is not None
    assert child.stdout is not None
    said = json.loads(child.stdout.readline())
    at = f"127.0.0.1:{said['port']}/trade-api"
    exchange = engine_processes.Exchange(
        directory / "exchange", f"https://{at}/v2", f"wss://{at}/ws/v2", said["ca_file"], ""
    )
    bot = MeasuredBot(directory, exchange, Account("bench", said["key_id"], said["pem"].encode()), **FAST)
    document = yaml.safe_load(bot.config.read_text())
    document["markets"]["tickers"] = [f"BENCH-{number}" for number in range(markets)]
    document["risk"]["daily_loss_dollars"] = "1000000.00"
    document["recording"] = {"tape": False}
    bot.config.write_text(yaml.safe_dump(document))
    try:
        bot.start()
        bot.wait_logged("Ready", 60)
        opened = bot.logged("JournalOpened") or {}
        began_s, cpu_s = time.monotonic(), bot.cpu_s()
        child.stdin.write(f"{seconds + SETTLE_S}\n")
        child.stdin.flush()
        counted_us = now_us() + int(SETTLE_S * 1e6)
        frames = json.loads(child.stdout.readline())["frames"]
        took_s, cpu_s = time.monotonic() - began_s, bot.cpu_s() - cpu_s
        bot.terminate(60)
    finally:
        bot.close()
        child.stdin.close()
        child.wait(20)
    rows = [row for row in json.loads(bot.out.read_text()) if row["at"] >= counted_us]
    result: dict[str, Any] = {
        "orders": len(rows), "seconds": round(took_s, 1), "frames_per_s": round(frames / took_s),
        "engine_cpu_share": round(cpu_s / took_s, 2), "commit_mode": opened.get("commitMode", ""),
        "load": os.getloadavg()[0], "cores": os.cpu_count(), "markets": markets,
    }  # fmt: skip
    if len(rows) >= ENOUGH:
        for stage in STAGES:
            ordered = sorted(row[stage] for row in rows)
            result[stage] = {
                "p50_us": ordered[len(ordered) // 2],
                "p99_us": ordered[len(ordered) * 99 // 100],
            }
        own = sorted(row["total"] - row["core"] for row in rows)
        result["total less core"] = {"p50_us": own[len(own) // 2], "p99_us": own[len(own) * 99 // 100]}
    return result


def table(result: dict[str, Any]) -> None:
    """For people."""
    for name, value in result.items():
        if not isinstance(value, dict):
            print(f"{name}\t{value}")
    if "total" not in result:
        print(f"p50, p99\tnot given: fewer than {ENOUGH} orders")
        return
    print("stage\tp50 us\tp99 us")
    for name, value in result.items():
        if isinstance(value, dict):
            print(f"{name}\t{value['p50_us']}\t{value['p99_us']}")


def main() -> None:
    """Parse, run, print."""
    if sys.argv[1:2] == ["--engine"]:
        engine_process(Path(sys.argv[2]), sys.argv[3:])
        return
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench.engine_send",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--seconds", type=float, default=20.0, help="how long orders are counted (default 20)"
    )
    parser.add_argument(
        "--markets",
        type=int,
        default=MARKETS,
        help="markets, all of them subscribed and traded (default 11; odd)",
    )
    parser.add_argument(
        "--directory",
        type=Path,
        help="parent of a directory that is made and removed, on the disk to measure",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    parser.add_argument("--exchange", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.exchange is not None:
        uvloop.run(exchange_process(options.exchange, options.markets))
        return
    with tempfile.TemporaryDirectory(prefix="engine-send-", dir=options.directory) as name:
        result = measure(Path(name), options.seconds, options.markets)
    if options.json:
        print(json.dumps(result, indent=1))
    else:
        table(result)


if __name__ == "__main__":
    main()
