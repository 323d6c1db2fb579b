"""What memory costs the exchange: `python -m tests.bench.exchange_store` prints JSON. By hand only; not a test.

Microseconds per order of creating (orders that rest, orders that fill at once against the makers) and cancelling in one process, without
a socket: with the commit after each order and with one commit for eight, as one turn of the event loop makes it; and the same work on
a venue that nobody writes down, which is what remains when the store costs nothing. Medians of several rounds; n is the orders of one.
`wall` is what a request waits, `cpu` what the process (with its worker) used: on a machine that does other things only that compares.
"""

from __future__ import annotations

import itertools
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from soloist_exchange.exchange import Exchange, create_account
from soloist_exchange.flow import Flow
from soloist_exchange.ledger import Account
from soloist_exchange.orders import BID, Order, TimeInForce
from soloist_exchange.scenario import Scenario
from soloist_exchange.venue import Venue

ACCOUNTS = 20
ORDERS = 2_000
ROUNDS = 5
DEPOSIT = 10**15
RICH = {"ticker": "M", "step_ms": 0, "levels": 5, "spread_ticks": 2, "level_contracts": 100_000}
STILL = Scenario.model_validate({"name": "still", "markets": [RICH]})

Commit = Callable[[], None]
Took = tuple[float, float]  # wall, CPU


def wall_ms() -> int:
    """The exchange's clock."""
    return time.time_ns() // 1_000_000


class Desk:
    """Sends orders of many accounts to a venue."""

    def __init__(self, venue: Venue, account_ids: list[int], commit: Commit) -> None:
        self._venue = venue
        self._accounts = itertools.cycle(account_ids)
        self._commit = commit
        self._numbers = itertools.count(1)

    def create(self, life: TimeInForce, price: int, together: int) -> tuple[Took, list[Order]]:
        """Send ORDERS orders, `together` per commit; return microseconds per order, and the orders."""
        sent = []
        started = _now()
        for number in range(1, ORDERS + 1):
            order = Order(
                order_id=self._venue.new_id(), account_id=next(self._accounts), ticker="M", side=BID, price=price,
                count=100, created_ms=wall_ms(), key_id="6f1e2a38-0c3f-4a5e-9a3e-2f6f0c9a7b11", time_in_force=life,
                client_order_id=f"{next(self._numbers) * 0x9E3779B97F4A7C15 % 2**64:036x}",
            )  # fmt: skip
            sent.append(self._venue.create(order))
            if number % together == 0:
                self._commit()
        self._commit()
        return _since(started), sent

    def cancel(self, orders: list[Order], together: int) -> Took:
        """Cancel orders, `together` per commit; return microseconds per order."""
        started = _now()
        for number, order in enumerate(orders, 1):
            self._venue.cancel(order)
            if number % together == 0:
                self._commit()
        self._commit()
        return _since(started)


def _now() -> Took:
    return time.perf_counter(), time.process_time()


def _since(started: Took) -> Took:
    """Return microseconds per order: wall, CPU."""
    wall_s, cpu_s = _now()
    return (wall_s - started[0]) / ORDERS * 1e6, (cpu_s - started[1]) / ORDERS * 1e6


def measure(desk: Desk, together: int) -> dict[str, dict[str, float]]:
    """Return medians of microseconds per order."""
    took: dict[str, list[Took]] = {"create_resting": [], "cancel": [], "create_filled": []}
    for _ in range(ROUNDS):
        created, orders = desk.create(TimeInForce.GOOD_TILL_CANCELED, 4000, together)
        took["create_resting"].append(created)
        took["cancel"].append(desk.cancel(orders, together))
        took["create_filled"].append(desk.create(TimeInForce.IMMEDIATE_OR_CANCEL, 6000, together)[0])
    return {
        name: {
            "wall": round(statistics.median(wall for wall, _ in values), 1),
            "cpu": round(statistics.median(cpu for _, cpu in values), 1),
        }
        for name, values in took.items()
    }


def forgetful() -> Desk:
    """A venue without a store."""
    numbers = itertools.count(1)
    venue = Venue(wall_ms, lambda: f"id-{next(numbers)}", lambda *_: False)
    flow = Flow(venue, STILL, 1)
    flow.begin()
    accounts = [
        venue.ledger.open(Account(number, f"bench-{number}", deposited=DEPOSIT))
        for number in range(100, 100 + ACCOUNTS)
    ]
    return Desk(venue, [account.account_id for account in accounts], lambda: None)


def main() -> None:
    """Print the table."""
    results: dict[str, object] = {"n": ORDERS, "rounds": ROUNDS, "venue_alone_us": measure(forgetful(), 8)}
    for together in (1, 8):
        with tempfile.TemporaryDirectory() as name:
            exchange = Exchange(Path(name), STILL, 1, wall_ms, lambda: time.monotonic_ns() // 1000)
            ids = [
                create_account(exchange.store, f"bench-{number}", DEPOSIT, "ed25519", 1)[0].account_id
                for number in range(ACCOUNTS)
            ]
            for account_id in ids:
                exchange.account(account_id)
            desk = Desk(exchange.venue, ids, exchange.commit)
            results[f"with_store_{together}_per_commit_us"] = measure(desk, together)
            exchange.close()
            size = (Path(name) / "exchange.sqlite").stat().st_size
            results[f"bytes_per_order_{together}_per_commit"] = size // (2 * ORDERS * ROUNDS)
    print(json.dumps(results, indent=2))


if __name__ == "__main__":
    main()
