"""What resting orders hold back of their owner's cash, so that every one of them could fill.

An order that closes a position needs nothing; but two orders cannot close the same contracts. So the sum is taken over all orders of
an owner in a market, and taken anew whenever one of them or the position changes.
"""

from collections.abc import Iterable

from soloist_kalshi.numbers import notional

from soloist_exchange.ledger import DOLLAR, Account
from soloist_exchange.orders import ASK, BID, Order

__all__ = ["Collateral", "required"]

Place = tuple[int, int, str]


def required(orders: Iterable[Order], held: int) -> int:
    """Return the money that orders of one owner in one market need while `held` contracts are owned.

    Per side the orders that fill first close the position; what remains opens one and costs its whole price. The sides are added up
    because both may fill.
    """
    total = 0
    sides: dict[int, list[Order]] = {BID: [], ASK: []}
    for order in orders:
        sides[order.side].append(order)
    for side, own in sides.items():
        closable = max(0, -side * held)
        for order in sorted(own, key=lambda order: -order.side * order.price):
            closing = min(closable, order.remaining)
            closable -= closing
            price = order.price if side == BID else DOLLAR - order.price
            total += notional(price, order.remaining - closing)
    return total


class Collateral:
    """The resting orders of connected accounts by owner and market, and what each group holds back (`Account.reserved`)."""

    def __init__(self) -> None:
        self._orders: dict[Place, dict[str, Order]] = {}
        self._reserved: dict[Place, int] = {}

    def needed_by(self, account: Account, order: Order) -> int:
        """Return what a new order would hold back in addition to those that rest (money; negative frees)."""
        place = _place(order)
        others = self._orders.get(place, {}).values()
        held = account.held(order.subaccount, order.ticker)
        return required((*others, order), held) - self._reserved.get(place, 0)

    def rests(self, account: Account, order: Order) -> None:
        """Take in an order that went into the book."""
        self._orders.setdefault(_place(order), {})[order.order_id] = order
        self.refresh(account, order)

    def left(self, account: Account, order: Order) -> None:
        """Let go of an order; one that never rested is fine."""
        place = _place(order)
        group = self._orders.get(place)
        if group is not None and group.pop(order.order_id, None) is not None:
            if not group:
                del self._orders[place]
            self.refresh(account, order)

    def refresh(self, account: Account, order: Order) -> None:
        """Take the sum of an order's group anew, after a fill."""
        place = _place(order)
        before = self._reserved.pop(place, 0)
        wanted = required(self._orders.get(place, {}).values(), account.held(order.subaccount, order.ticker))
        if wanted:
            self._reserved[place] = wanted
        account.reserved[order.subaccount] = account.reserved.get(order.subaccount, 0) + wanted - before


def _place(order: Order) -> Place:
    return order.account_id, order.subaccount, order.ticker
