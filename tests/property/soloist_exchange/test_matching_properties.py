from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from soloist_exchange.matching import Book
from soloist_exchange.orders import ASK, BID, Order

ACTIONS = st.lists(
    st.tuples(
        st.sampled_from(["place", "place", "place", "cancel", "shrink"]),
        st.sampled_from([BID, ASK]),
        st.integers(1, 12),
        st.integers(1, 40),
        st.integers(1, 3),
        st.booleans(),
    ),
    max_size=60,
)


def played(actions):
    """Yield the book after each action; a taker that meets its own order takes it away or ends, whichever was drawn."""
    book, resting = Book(), []
    for number, (action, side, price, count, account, takes_own_away) in enumerate(actions):
        resting = [order for order in resting if order.level is not None]
        if action == "place":
            order = Order(
                order_id=str(number), account_id=account, ticker="M", side=side, price=price * 100, count=count,
                created_ms=number,
            )  # fmt: skip
            ended = False
            for match in book.match(order):
                if not match.count:
                    assert match.maker.account_id == account
                    ended = not takes_own_away
                    if ended:
                        break
                    book.remove(match.maker)
            if order.remaining and not ended:
                book.add(order)
                resting.append(order)
        elif resting and action == "cancel":
            book.remove(resting[price % len(resting)])
        elif resting:
            order = resting[price % len(resting)]
            book.shrink(order, min(count, order.remaining))
        yield book


@given(ACTIONS)
def test_the_book_keeps_its_invariants_and_its_deltas_give_the_levels(actions):
    levels = {}
    for book in played(actions):
        book.check()
        for change in book.drain_changes():
            place = change.side, change.price
            levels[place] = levels.get(place, 0) + change.delta
            assert levels[place] >= 0
        shown = {(side, price): total for side in (BID, ASK) for price, total in book.levels(side)}
        assert {place: count for place, count in levels.items() if count} == shown
        for (side, price), total in shown.items():
            assert book.level_total(side, price) == total
            queue = [order for order in book.orders(side) if order.price == price]
            assert [book.queue_ahead(order) for order in queue] == [
                sum(other.remaining for other in queue[:place]) for place in range(len(queue))
            ]
