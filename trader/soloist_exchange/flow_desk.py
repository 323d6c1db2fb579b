"""How the exchange's own participants reach the venue: every order and every cancel of theirs passes here, and can be recorded."""

from typing import Protocol

from soloist_exchange.errors import Refused
from soloist_exchange.ledger import Account
from soloist_exchange.orders import Order, Status, TimeInForce
from soloist_exchange.venue import Venue

__all__ = ["INFORMED_ACCOUNT", "MAKER_ACCOUNT", "RIVAL_ACCOUNT", "TAKER_ACCOUNT", "Desk", "Recorder"]

MAKER_ACCOUNT = 1
TAKER_ACCOUNT = 2
INFORMED_ACCOUNT = 3
RIVAL_ACCOUNT = 4
_NAMES = {
    MAKER_ACCOUNT: "(makers)",
    TAKER_ACCOUNT: "(takers)",
    INFORMED_ACCOUNT: "(informed)",
    RIVAL_ACCOUNT: "(rivals)",
}
DEPOSIT = 10**15


class Recorder(Protocol):
    """Told of everything that the participants send, before the venue is."""

    def placed(
        self, time_ms: int, ticker: str, account_id: int, side: int, price: int, count: int, life: TimeInForce
    ) -> None:
        """An order is sent; orders are numbered from 1 in this order."""

    def cancelled(self, time_ms: int, number: int) -> None:
        """The order with this number is cancelled."""


class Desk:
    """Sends orders for the participants. `orders` counts what was sent, `refused` what the venue did not take."""

    def __init__(self, venue: Venue) -> None:
        self.venue = venue
        self.orders = 0
        self.refused = 0
        self.recorder: Recorder | None = None
        for account_id, name in _NAMES.items():
            venue.ledger.open(Account(account_id, name, internal=True, deposited=DEPOSIT))

    def place(
        self, ticker: str, account_id: int, side: int, price: int, count: int, life: TimeInForce
    ) -> Order | None:
        """Send an order; None when it was refused: a participant goes without it."""
        self.orders += 1
        now_ms = self.venue.clock_ms()
        if self.recorder is not None:
            self.recorder.placed(now_ms, ticker, account_id, side, price, count, life)
        order = Order(
            order_id=f"flow-{self.orders}",
            account_id=account_id,
            ticker=ticker,
            side=side,
            price=price,
            count=count,
            created_ms=now_ms,
            time_in_force=life,
        )
        try:
            self.venue.create(order)
        except Refused:
            self.refused += 1
            return None
        return order

    def cancel(self, order: Order) -> None:
        """Cancel an order if it rests and the venue lets go of orders now; otherwise nothing happens."""
        now_ms = self.venue.clock_ms()
        market = self.venue.markets[order.ticker]
        lets_go = self.venue.exchange_active and market.is_cancelable(now_ms)
        if order.status is not Status.RESTING or not lets_go:
            return
        if self.recorder is not None:
            self.recorder.cancelled(now_ms, int(order.order_id.removeprefix("flow-")))
        self.venue.cancel(order)
