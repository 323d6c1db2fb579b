"""What the exchange's core costs without sockets and disk: `python -m tests.bench.exchange_core` prints JSON. By hand only; not a test.

`create_and_match`: a resting order and the one that takes it, both of connected accounts, in microseconds per pair.
`create_and_cancel`: likewise. The same with 200 and 2 000 orders of the owner resting in the market, because a bot quotes many levels:
the time must not follow their number. `check` is the conservation check of a step; `recount` the full one, in milliseconds.
"""

from __future__ import annotations

import itertools
import json
import timeit
from collections.abc import Callable

from soloist_exchange.ledger import Account
from soloist_exchange.markets import MarketState
from soloist_exchange.orders import ASK, BID, Order
from soloist_exchange.venue import Venue
from soloist_kalshi.numbers import PriceGrid

RANGES = [{"start": "0.0000", "end": "1.0000", "step": "0.0100"}]
REPEATS = 5
TURNS = 2_000


class Core:
    """A venue with one market and two connected accounts."""

    def __init__(self, resting: int) -> None:
        self._numbers = itertools.count()
        self.venue = Venue(lambda: 0, lambda: f"id-{next(self._numbers)}", lambda *_: False)
        grid = PriceGrid.from_ranges(RANGES)
        self.venue.add_market(MarketState("M", "E-1", "M", grid, RANGES, 0, 10**14))
        for account_id in (100, 101):
            self.venue.ledger.open(Account(account_id, str(account_id), deposited=10**15))
        for number in range(resting):
            self.send(100, BID, 100 + number % 40 * 100, 100)

    def send(self, account_id: int, side: int, price: int, count: int) -> Order:
        """Create an order."""
        name = f"order-{next(self._numbers)}"
        return self.venue.create(
            Order(
                order_id=name,
                client_order_id=name,
                account_id=account_id,
                ticker="M",
                side=side,
                price=price,
                count=count,
                created_ms=0,
            )
        )

    def match(self) -> None:
        """Rest an order, take it, and the other way round, so that positions come back."""
        self.send(100, BID, 5000, 100)
        self.send(101, ASK, 5000, 100)
        self.send(101, BID, 5000, 100)
        self.send(100, ASK, 5000, 100)

    def cancel(self) -> None:
        """Rest an order and take it away."""
        self.venue.cancel(self.send(100, BID, 4500, 100))


def microseconds(work: Callable[[], object], turns: int = TURNS) -> float:
    """Return the best time of a call, as timeit advises."""
    return min(timeit.repeat(work, number=turns, repeat=REPEATS)) / turns * 1e6


def main() -> None:
    """Print the table."""
    table: dict[str, float] = {}
    for resting in (0, 200, 2_000):
        core = Core(resting)
        table[f"create_and_match_us_{resting}_resting"] = round(microseconds(core.match) / 2, 1)
        table[f"create_and_cancel_us_{resting}_resting"] = round(microseconds(core.cancel), 1)
        table["check_us"] = round(microseconds(core.venue.ledger.check), 2)
        table["recount_ms"] = round(microseconds(core.venue.recount, 20) / 1e3, 2)
    print(json.dumps(table, indent=2))


if __name__ == "__main__":
    main()
