"""A venue under a clock that the test moves, with markets in which nobody trades by himself: no scenario, no file, no wall clock."""

from __future__ import annotations

import itertools
from typing import Any

from soloist_exchange.ledger import Account
from soloist_exchange.orders import Order
from soloist_exchange.venue import Fill, Listener, MarketState, Settlement, Venue
from soloist_kalshi.numbers import PriceGrid

START_MS = 1_700_000_000_000
YEAR_MS = 365 * 86_400_000
CENT_RANGES = [{"start": "0.0000", "end": "1.0000", "step": "0.0100"}]


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
        self.settlements: list[Settlement] = []

    def on_accepted(self, order: Order) -> None:
        self.lines.append(f"accepted {order.order_id} {order.price} {order.initial}")

    def on_renamed(self, order: Order, previous: str) -> None:
        self.lines.append(f"renamed {order.order_id} {previous} {order.client_order_id}")

    def on_fill(self, fill: Fill) -> None:
        self.fills.append(fill)
        self.lines.append(f"fill {fill.trade_id} {fill.order.order_id} {fill.price} {fill.count} {fill.fee}")

    def on_order(self, order: Order) -> None:
        self.states.append(order)
        self.lines.append(f"order {order.order_id} {order.status} {order.remaining} {order.reason}")

    def on_trade(self, market: MarketState, fill: Fill) -> None:
        self.lines.append(
            f"trade {market.ticker} {fill.trade_id} {fill.price} {fill.count} {fill.order.side}"
        )

    def on_book(self, market: MarketState, changes: Any) -> None:
        self.lines.extend(f"book {market.ticker} {c.side} {c.price} {c.delta}" for c in changes)

    def on_market(self, market: MarketState, event_type: str) -> None:
        self.lines.append(f"market {market.ticker} {event_type}")

    def on_group(self, group: Any, event_type: str) -> None:
        self.lines.append(f"group {group.group_id} {event_type}")

    def on_settlement(self, settlement: Settlement) -> None:
        self.settlements.append(settlement)
        self.lines.append(f"settlement {settlement.account_id} {settlement.ticker} {settlement.revenue}")

    def on_exchange(self) -> None:
        self.lines.append("exchange")


class BareWorld:
    """A venue, its clock and its tape."""

    def __init__(self, *tickers: str, **market_fields: Any) -> None:
        self.clock = Clock()
        numbers = itertools.count(1)
        self.used: set[tuple[int, int, str]] = set()
        self.venue = Venue(self.clock, lambda: f"id-{next(numbers)}", self._is_taken)
        self.tape = Tape()
        self.venue.listeners.append(self.tape)
        for ticker in tickers:
            self.market(ticker, **market_fields)
        self._orders = itertools.count(1)

    def market(self, ticker: str, **fields: Any) -> MarketState:
        times = {"open_ms": START_MS, "close_ms": START_MS + YEAR_MS}
        times |= {name: fields.pop(name) for name in times if name in fields}
        event = fields.pop("event_ticker", f"EVENT-{ticker}")
        grid = PriceGrid.from_ranges(CENT_RANGES)
        self.venue.add_market(MarketState(ticker, event, ticker, grid, CENT_RANGES, **times, **fields))
        return self.venue.markets[ticker]

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

    def wait(self, milliseconds: int) -> None:
        """Let time pass, and the venue notice."""
        self.clock.now_ms += milliseconds
        self.venue.tick()

    def _is_taken(self, account_id: int, subaccount: int | None, client_order_id: str) -> bool:
        return any(
            (who, name) == (account_id, client_order_id) and subaccount in {None, sub}
            for who, sub, name in self.used
        )
