"""How many orders the exchange takes: `python -m tests.bench.exchange_orders` prints JSON. By hand only; not a test.

One exchange process on one core, clients on another; kept-alive TLS, every create signed by one of many accounts and checked. Signatures
and bodies are made before the clock starts. `per_core_s` is what the process did per second of CPU time that it got: on a machine that is
shared it says more than `per_s`. `cpu_share` tells where that time went, measured in a second run, because measuring costs time itself.

`--unsigned` reads a public call instead: the exchange has no way to trade without a signature, so this is the wire without auth and venue.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import ssl
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import uvloop
from soloist_exchange.exchange import create_account
from soloist_exchange.store import Store
from soloist_kalshi.numbers import money_from_dollars
from soloist_kalshi.signing import Signer

BASE = "/trade-api/v2"
ORDERS = f"{BASE}/portfolio/events/orders"
PUBLIC = f"{BASE}/exchange/status"
ACCOUNTS = 24
MARKETS = 20
SIGNED_FOR_S = 10  # a signature is used this long: half of the venue's window
READY_S = 60


class Server:
    """The exchange on its core."""

    def __init__(self, directory: Path, core: str, *, measured: bool, plain: bool, markets: int) -> None:
        self.state = directory / "state"
        self.report = directory / "stages.json"
        scenario = directory / "still.yaml"
        plans = [{"ticker": f"BENCH-{n}", "step_ms": 0, "levels": 5} for n in range(markets)]
        directory.mkdir()
        scenario.write_text(json.dumps({"name": "still", "markets": plans}), encoding="utf-8")
        report = str(self.report) if measured else "-"
        words = ["serve", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--state-dir", str(self.state)]
        words += ["--scenario", str(scenario), *(["--plain"] if plain else [])]
        started_s = time.perf_counter()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.bench.exchange_server", report, core, *words],
            stdout=subprocess.PIPE,
            stderr=(directory / "log").open("wb"),
        )
        line = self.process.stdout.readline()
        assert line, (directory / "log").read_text()[-2000:]
        self.ready_s = time.perf_counter() - started_s
        self.said = json.loads(line)

    def accounts(self, key_type: str) -> list[Signer]:
        """Make accounts of the largest tier."""
        store = Store(self.state)
        signers = []
        for number in range(ACCOUNTS):
            name = f"bench-{number}"
            dollars = money_from_dollars("10000000.00")
            _, key_id, pem = create_account(store, name, dollars, key_type, time.time_ns() // 1_000_000)
            signers.append(Signer.from_pem(key_id, pem))
        store.close()
        for number in range(ACCOUNTS):
            path = f"{self.said['admin_url']}/admin/accounts/bench-{number}/tier"
            httpx.post(path, json={"tier": "prestige"}).raise_for_status()
        return signers

    def cpu_s(self) -> float:
        """CPU time of the process so far."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def memory_mb(self) -> float:
        """Memory that is in RAM."""
        pages = int(Path(f"/proc/{self.process.pid}/statm").read_text(encoding="ascii").split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 1e6

    def stop(self) -> dict[str, float]:
        """End it and return the CPU seconds of its stages."""
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(READY_S)
        return json.loads(self.report.read_text()) if self.report.exists() else {}


class Client(asyncio.Protocol):
    """One connection that sends its next request when the last one was answered."""

    def __init__(self, head: bytes, bodies: list[bytes], wanted: bytes) -> None:
        self.took_s: list[float] = []
        self.refused: list[bytes] = []
        self.on = True
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._head = head
        self._bodies = iter(bodies)
        self._wanted = wanted
        self._buffer = b""
        self._sent_s = 0.0

    def connection_made(self, transport) -> None:
        self._transport = transport

    def connection_lost(self, exc) -> None:
        if not self.done.done():
            self.done.set_exception(exc or ConnectionError("the exchange ended the connection"))

    def send(self) -> None:
        body = next(self._bodies, None) if self.on else None
        if body is None:
            if not self.done.done():
                self.done.set_result(None)
            return
        self._sent_s = time.perf_counter()
        self._transport.write(self._head + body)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, found, body = self._buffer.partition(b"\r\n\r\n")
        if not found:
            return
        length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
        if len(body) < length:
            return
        self.took_s.append(time.perf_counter() - self._sent_s)
        if not head.startswith(self._wanted):
            self.refused.append(self._buffer)
        self._buffer = b""
        self.send()


def made(signer: Signer | None, number: int, count: int) -> tuple[bytes, list[bytes], bytes]:
    """The head of a connection's requests, what follows in each of them, and how a good reply begins."""
    if signer is None:
        return f"GET {PUBLIC} HTTP/1.1\r\nHost: x\r\n".encode(), [b"\r\n"] * count, b"HTTP/1.1 200"
    signed = signer.headers("POST", ORDERS, time.time_ns() // 1_000_000)
    head = f"POST {ORDERS} HTTP/1.1\r\nHost: x\r\nAccept: */*\r\nContent-Type: application/json\r\n"
    head += "".join(f"{name}: {value}\r\n" for name, value in signed.items())
    bodies = []
    for index in range(count):
        body = json.dumps(
            {
                "ticker": f"BENCH-{(number + index) % MARKETS}",
                "side": "bid",
                "count": "1.00",
                "price": f"0.{1 + index % 9:02d}",
                "time_in_force": "good_till_canceled",
                "self_trade_prevention_type": "taker_at_cross",
                "client_order_id": str(uuid.uuid4()),
            }
        ).encode()
        bodies.append(b"Content-Length: %d\r\n\r\n%b" % (len(body), body))
    return head.encode(), bodies, b"HTTP/1.1 201"


async def load(server: Server, signers: list[Signer | None], args: argparse.Namespace) -> dict[str, object]:
    """Keep every connection busy for a while."""
    url = urlsplit(server.said["rest_url"])
    context = None if args.plain else ssl.create_default_context(cafile=server.said["ca_file"])
    loop = asyncio.get_running_loop()
    each = int(args.most_per_s * args.seconds / args.connections) + 1
    clients: list[Client] = []
    for number in range(args.connections):
        parts = made(signers[number % len(signers)], number, each)
        _, client = await loop.create_connection(
            factory(parts), url.hostname, url.port, ssl=context, server_hostname=context and url.hostname
        )
        clients.append(client)
    cpu_s, started_s = server.cpu_s(), time.perf_counter()
    for client in clients:
        client.send()
    await asyncio.sleep(args.seconds)
    for client in clients:
        client.on = False
    await asyncio.gather(*(client.done for client in clients))
    wall_s, used_s = time.perf_counter() - started_s, server.cpu_s() - cpu_s
    took_ms = [took * 1e3 for client in clients for took in client.took_s]
    refused = [reply for client in clients for reply in client.refused]
    assert not refused, f"{len(refused)} refused: {refused[0].decode()[-300:]}"
    cuts = statistics.quantiles(took_ms, n=1000)
    return {
        "requests": len(took_ms),
        "per_s": round(len(took_ms) / wall_s),
        "per_core_s": round(len(took_ms) / used_s),
        "core_busy_percent": round(100 * used_s / wall_s),
        "cpu_us_each": round(used_s / len(took_ms) * 1e6),
        "latency_ms": {name: round(cuts[at], 2) for name, at in (("p50", 499), ("p99", 989), ("p99.9", 998))},
        "_used_s": used_s,
    }


def factory(parts: tuple[bytes, list[bytes], bytes]):
    """A factory for one connection's protocol."""
    return lambda: Client(*parts)


def measure(directory: Path, args: argparse.Namespace, *, measured: bool) -> dict[str, object]:
    """Start an exchange, load it, stop it."""
    server = Server(directory, args.core, measured=measured, plain=args.plain, markets=MARKETS)
    try:
        signers = [None] if args.unsigned else server.accounts(args.key_type)
        result = uvloop.run(load(server, signers, args))
        result["memory_mb"] = round(server.memory_mb())
    finally:
        stages = server.stop()
    used_s = result.pop("_used_s")
    if measured:
        loop_s = used_s - sum(stages.values())
        shares = {"loop, sockets, TLS in": loop_s, **stages}
        return {"cpu_us_each": {k: round(v / result["requests"] * 1e6, 1) for k, v in shares.items()},
                "cpu_share": {k: round(v / used_s, 3) for k, v in shares.items()}}  # fmt: skip
    return result


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=8.0)
    parser.add_argument("--connections", type=int, default=48)
    parser.add_argument("--key-type", choices=["ed25519", "rsa"], default="ed25519")
    parser.add_argument("--unsigned", action="store_true")
    parser.add_argument("--plain", action="store_true", help="no TLS")
    parser.add_argument("--core", default="0", help="the exchange's core, or any")
    parser.add_argument("--client-core", default="1", help="the clients' core, or any")
    parser.add_argument(
        "--most-per-s", type=int, default=12_000, help="requests that are made in advance, per second"
    )
    args = parser.parse_args()
    assert args.seconds <= SIGNED_FOR_S, f"at most {SIGNED_FOR_S} s: signatures are made in advance"
    if args.client_core != "any":
        os.sched_setaffinity(0, {int(args.client_core)})
    with tempfile.TemporaryDirectory() as name:
        result = {"key_type": "none" if args.unsigned else args.key_type, "tls": not args.plain,
                  "load_average_at_start": os.getloadavg()[0],
                  **measure(Path(name) / "plain", args, measured=False),
                  "stages": measure(Path(name) / "stages", args, measured=True)}  # fmt: skip
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
