"""How fast the exchange is: `python -m tests.bench.exchange_orders` prints JSON. By hand only; not a test.

Orders per second of one client over kept-alive TLS with Ed25519 (create and cancel, one at a time, and eight at a time), the time from
start to ready, and the memory, with the demonstration's markets and with 5 000 markets. Accounts are rate limited to ten creates a
second, so the orders are spread over many accounts.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import tempfile
import time
from pathlib import Path

from soloist_kalshi.orders import Accepted, OrderClient

from tests.conformance.cards import DEADLINE_MS, order, place
from tests.conformance.exchange_process import ExchangeProcess

ACCOUNTS = 100
BURST = 8  # creates and cancels of one account that its write bucket of 100 tokens holds


def resident_mb(pid: int) -> float:
    """Memory of a process that is in RAM."""
    pages = int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1])
    return pages * 4096 / 1e6


async def burst(client: OrderClient, ticker: str, took_ms: list[float]) -> None:
    """Create and cancel orders one after the other."""
    for _ in range(BURST):
        started_s = time.perf_counter()
        made = await place(client, order(ticker, "bid", "0.40"))
        took_ms.append((time.perf_counter() - started_s) * 1e3)
        assert isinstance(made, Accepted), made
        started_s = time.perf_counter()
        await client.cancel(made.order_id, market_ticker=ticker, subaccount=0, deadline_ms=DEADLINE_MS)
        took_ms.append((time.perf_counter() - started_s) * 1e3)


async def measure(scenario: str, ticker: str, directory: Path) -> dict[str, object]:
    """Measure one scenario."""
    started_s = time.perf_counter()
    exchange = ExchangeProcess(directory, scenario=scenario)
    ready_s = time.perf_counter() - started_s
    try:
        memory_mb = resident_mb(exchange.pid)
        clients = [exchange.orders(exchange.create_account(f"bench-{n}").signer) for n in range(ACCOUNTS)]
        one: list[float] = []
        started_s = time.perf_counter()
        for client in clients[: ACCOUNTS // 2]:
            await burst(client, ticker, one)
        one_s = time.perf_counter() - started_s
        eight: list[float] = []
        gate = asyncio.Semaphore(8)

        async def limited(client: OrderClient) -> None:
            async with gate:
                await burst(client, ticker, eight)

        started_s = time.perf_counter()
        await asyncio.gather(*(limited(client) for client in clients[ACCOUNTS // 2 :]))
        eight_s = time.perf_counter() - started_s
        for client in clients:
            await client.close()
        return {
            "ready_s": round(ready_s, 2),
            "memory_mb_at_start": round(memory_mb),
            "memory_mb_at_end": round(resident_mb(exchange.pid)),
            "requests": len(one),
            "requests_per_s_one_at_a_time": round(len(one) / one_s),
            "requests_per_s_eight_at_a_time": round(len(eight) / eight_s),
            "latency_ms_median": round(statistics.median(one), 2),
            "latency_ms_p99": round(statistics.quantiles(one, n=100)[98], 2),
        }
    finally:
        exchange.close()


async def main() -> None:
    """Print the table."""
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        many = directory / "many.yaml"
        plans = [{"ticker": f"MANY-{n}", "step_ms": 5000} for n in range(5000)]
        many.write_text(json.dumps({"name": "many", "markets": plans}), encoding="utf-8")
        results = {
            "demo": await measure("demo", "SIM-RAIN", directory / "demo"),
            "5000 markets": await measure(str(many), "MANY-1", directory / "many"),
        }
    print(json.dumps(results, indent=2))


if __name__ == "__main__":
    asyncio.run(main())
