from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from soloist_exchange.collateral import Collateral, required
from soloist_exchange.ledger import Account
from soloist_exchange.orders import ASK, BID, Order

HELD = st.integers(-500, 500)
ORDERS = st.lists(st.tuples(st.sampled_from([BID, ASK]), st.integers(1, 99), st.integers(1, 300)), max_size=8)


def made(orders):
    return [
        Order(
            order_id=str(number), account_id=100, ticker="M", side=side, price=cents * 100, count=count, created_ms=0
        )
        for number, (side, cents, count) in enumerate(orders)
    ]  # fmt: skip


@given(HELD, ORDERS)
def test_collateral_covers_every_order_in_which_the_orders_can_fill(held, orders):
    """Fill best price first on either side, the sides in both orders: the cash never goes below what was held back."""
    own = made(orders)
    need = required(own, held)
    for first in (BID, ASK):
        position, cash = held, 0
        sequence = sorted(own, key=lambda order: (order.side != first, -order.side * order.price))
        for order in sequence:
            closing = min(order.remaining, max(0, -order.side * position))
            opening = order.remaining - closing
            price = order.price if order.side == BID else 10_000 - order.price
            cash += (10_000 - price) * closing - price * opening
            position += order.side * order.remaining
            assert need + cash >= 0


@given(HELD, ORDERS, st.lists(st.tuples(st.integers(0, 7), st.integers(0, 300)), max_size=12), HELD)
def test_what_is_carried_along_is_what_the_definition_says(held, orders, changes, later):
    """Orders come, shrink and go, and the position moves: the sum per price is the sum over the orders."""
    account, collateral, own = Account(100, "a"), Collateral(), made(orders)
    account.position(0, "M").count = held

    def agrees():
        resting = [order for order in own if order.backed]
        assert account.reserved.get((0, 0), 0) == required(resting, account.held(0, "M"))

    for order in own:
        before = account.reserved.get((0, 0), 0)
        needed = collateral.needed_by(account, order, order.price, order.remaining)
        collateral.back(account, order, order.remaining)
        assert account.reserved.get((0, 0), 0) == before + needed
        agrees()
    for number, count in changes:
        if own and (order := own[number % len(own)]).remaining >= count:
            order.remaining = count
            collateral.back(account, order, count)
            agrees()
    account.position(0, "M").count = later
    if own:
        collateral.refresh(account, own[0])
        agrees()
    for order in own:
        collateral.back(account, order, 0)
    assert account.reserved.get((0, 0), 0) == 0
    assert collateral._holdings == {}
