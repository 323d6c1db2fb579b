"""A venue under a clock that the test moves, for unit and property tests: no socket, no file, no wall clock."""

from __future__ import annotations

import itertools
from typing import Any

from soloist_exchange.flow import Flow
from soloist_exchange.ledger import Account
from soloist_exchange.orders import Order
from soloist_exchange.scenario import Scenario
from soloist_exchange.venue import Fill, Listener, Venue

START_MS = 1_700_000_000_000
CENTS = 10_000  # money


class Clock:
    """Milliseconds that stand still until they are told to move."""

    def __init__(self) -> None:
        self.now_ms = START_MS

    def __call__(self) -> int:
        return self.now_ms


class Tape(Listener):
    """Everything that a venue tells, as lines."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.fills: list[Fill] = []
        self.states: list[Order] = []

    def on_accepted(self, order: Order) -> None:
        self.lines.append(f"accepted {order.order_id} {order.price} {order.initial}")

    def on_fill(self, fill: Fill) -> None:
        self.fills.append(fill)
        self.lines.append(f"fill {fill.trade_id} {fill.order.order_id} {fill.price} {fill.count} {fill.fee}")

    def on_order(self, order: Order) -> None:
        self.states.append(order)
        self.lines.append(f"order {order.order_id} {order.status} {order.remaining} {order.reason}")

    def on_trade(self, market: Any, fill: Fill) -> None:
        self.lines.append(
            f"trade {market.ticker} {fill.trade_id} {fill.price} {fill.count} {fill.order.side}"
        )

    def on_book(self, market: Any, changes: Any) -> None:
        self.lines.extend(f"book {market.ticker} {c.side} {c.price} {c.delta}" for c in changes)


class World:
    """A venue with a scenario's markets, its clock and its tape."""

    def __init__(self, scenario: Scenario, seed: int = 1) -> None:
        self.clock = Clock()
        numbers = itertools.count(1)
        self.used: set[tuple[int, int, str]] = set()
        self.venue = Venue(self.clock, lambda: f"id-{next(numbers)}", self._is_taken)
        self.tape = Tape()
        self.venue.listeners.append(self.tape)
        self.flow = Flow(self.venue, scenario, seed)
        self.flow.begin()
        self._orders = itertools.count(1)

    def account(self, account_id: int, dollars: int = 1_000) -> Account:
        account = Account(account_id, f"account-{account_id}", deposited=dollars * 1_000_000)
        return self.venue.ledger.open(account)

    def order(self, account_id: int, side: int, price: int, count: int, **fields: Any) -> Order:
        """Send an order to the first market, or to `ticker`."""
        ticker = fields.pop("ticker", next(iter(self.venue.markets)))
        order_id = f"order-{next(self._orders)}"
        order = Order(
            order_id=order_id, account_id=account_id, ticker=ticker, side=side, price=price, count=count,
            created_ms=self.clock(), client_order_id=fields.pop("client_order_id", order_id), **fields,
        )  # fmt: skip
        made = self.venue.create(order)
        if not made.releases_id:
            self.used.add((account_id, made.subaccount, made.client_order_id))
        return made

    def _is_taken(self, account_id: int, subaccount: int | None, client_order_id: str) -> bool:
        return any(
            (who, name) == (account_id, client_order_id) and subaccount in {None, sub}
            for who, sub, name in self.used
        )

    def run(self, steps: int, step_ms: int = 100) -> None:
        for _ in range(steps):
            self.clock.now_ms += step_ms
            self.flow.step()


def still(*tickers: str, levels: int = 0) -> Scenario:
    """Markets in which nobody trades by himself."""
    markets = [
        {"ticker": t, "step_ms": 0, "levels": levels, "spread_ticks": 2, "level_contracts": 10}
        for t in tickers or ("M",)
    ]
    return Scenario.model_validate({"name": "still", "markets": markets})
