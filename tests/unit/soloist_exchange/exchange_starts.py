"""An exchange that can be dropped and started again on one state directory, under a clock that the test moves."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

from soloist_exchange.exchange import Exchange, create_account
from soloist_exchange.orders import Order
from soloist_exchange.scenario import Scenario
from soloist_exchange.store import Store

from tests.unit.soloist_exchange.exchange_venues import Clock, still


class Starts:
    """One state directory; `start` drops the exchange that runs, without a farewell, and starts another."""

    def __init__(self, directory: Path, scenario: Scenario | None = None) -> None:
        self.directory = directory
        self.clock = Clock()
        self.scenario = scenario or still(levels=5)
        self._running: Exchange | None = None
        self._numbers = itertools.count(1)

    def start(self, **options: Any) -> Exchange:
        self.stop()
        self._running = Exchange(
            self.directory, self.scenario, 1, self.clock, lambda: self.clock() * 1000, **options
        )
        return self._running

    def stop(self) -> None:
        if self._running is not None:
            self._running.close()
            self._running = None

    def account(self, name: str, dollars: int = 1_000, **options: Any) -> int:
        """Create an account as the command line does: with a connection of its own."""
        store = Store(self.directory)
        row, _, _ = create_account(store, name, dollars * 1_000_000, "ed25519", self.clock(), **options)
        store.close()
        return row.account_id

    def send(
        self, exchange: Exchange, account_id: int, side: int, price: int, count: int = 100, **fields: Any
    ) -> Order:
        """Send an order to market M, or to `ticker`; nothing is committed."""
        number = next(self._numbers)
        exchange.account(account_id)
        fields = {
            "ticker": "M",
            "client_order_id": f"c{number}",
            "order_id": f"o{number}",
            "key_id": "k",
        } | fields
        return exchange.venue.create(
            Order(account_id=account_id, side=side, price=price, count=count, created_ms=exchange.clock_ms(), **fields)
        )  # fmt: skip
