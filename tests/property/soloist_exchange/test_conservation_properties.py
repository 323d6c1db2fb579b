from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from soloist_exchange.collateral import required
from soloist_exchange.errors import Refused
from soloist_exchange.orders import ASK, BID, SelfTrade, Status, TimeInForce

from tests.unit.soloist_exchange.exchange_venues import World, still

ACCOUNTS = (100, 101, 102)
ACTIONS = st.lists(
    st.tuples(
        st.sampled_from(["order", "order", "order", "cancel", "expire"]),
        st.sampled_from(ACCOUNTS),
        st.sampled_from([BID, ASK]),
        st.integers(1, 99),
        st.integers(1, 3_000),
        st.sampled_from(list(TimeInForce)),
        st.sampled_from(list(SelfTrade)),
        st.booleans(),
        st.sampled_from(["A", "B"]),
    ),
    max_size=50,
)


@settings(deadline=None)
@given(ACTIONS)
def test_whatever_happens_money_and_contracts_are_conserved(actions):
    """After every step: nothing made or lost, no account below what it owes, and the reservation is what its orders need."""
    world = World(still("A", "B", levels=3))
    for account_id in ACCOUNTS:
        world.account(account_id, 20)
    for what, account_id, side, cents, count, life, mode, reduce_only, ticker in actions:
        own = world.venue.resting(account_id)
        if what == "order":
            try:
                world.order(
                    account_id, side, cents * 100, count, ticker=ticker, time_in_force=life, self_trade=mode,
                    reduce_only=reduce_only,
                    expiration_ms=world.clock() + 5_000 if life is TimeInForce.GOOD_TILL_CANCELED and count % 2 else 0,
                )  # fmt: skip
            except Refused:
                continue
        elif what == "cancel" and own:
            world.venue.cancel(own[cents % len(own)])
        else:
            world.clock.now_ms += 1_000
            world.venue.expire()
        world.venue.ledger.check()
        for market in world.venue.markets.values():
            market.book.check()
        for other in ACCOUNTS:
            account = world.venue.ledger.accounts[other]
            resting = world.venue.resting(other)
            assert all(order.status is Status.RESTING for order in resting)
            wanted = sum(
                required([order for order in resting if order.ticker == name], account.held(0, name))
                for name in "AB"
            )
            assert account.reserved.get(0, 0) == wanted
            # A fee may be rounded up by a cent per fill; beyond that nobody can lose more than he has.
            assert account.available(0) >= -10_000 * len(world.tape.fills)


@given(
    st.integers(-500, 500),
    st.lists(st.tuples(st.sampled_from([BID, ASK]), st.integers(1, 99), st.integers(1, 300)), max_size=8),
)
def test_collateral_covers_every_order_in_which_the_orders_can_fill(held, orders):
    """Fill best price first on either side, the sides in both orders: the cash never goes below what was held back."""
    world = World(still())
    world.account(100, 1_000_000)
    account = world.venue.ledger.accounts[100]
    account.position(0, "M").count = held
    made = [_order(number, side, cents * 100, count) for number, (side, cents, count) in enumerate(orders)]
    need = required(made, held)
    for first in (BID, ASK):
        position, cash = held, 0
        sequence = sorted(made, key=lambda order: (order.side != first, -order.side * order.price))
        for order in sequence:
            closing = min(order.remaining, max(0, -order.side * position))
            opening = order.remaining - closing
            price = order.price if order.side == BID else 10_000 - order.price
            cash += (10_000 - price) * closing - price * opening
            position += order.side * order.remaining
            assert need + cash >= 0


def _order(number, side, price, count):
    from soloist_exchange.orders import Order

    return Order(
        order_id=str(number), account_id=100, ticker="M", side=side, price=price, count=count, created_ms=0
    )
