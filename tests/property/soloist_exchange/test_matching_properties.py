from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from soloist_exchange.matching import Book
from soloist_exchange.orders import ASK, BID, Order, SelfTrade

ACTIONS = st.lists(
    st.tuples(
        st.sampled_from(["place", "place", "place", "cancel"]),
        st.sampled_from([BID, ASK]),
        st.integers(1, 12),
        st.integers(1, 40),
        st.integers(1, 3),
        st.sampled_from(list(SelfTrade)),
    ),
    max_size=60,
)


def played(actions):
    """Yield (book, taker or None, result or None) after each action; what is left of a taker rests unless it met itself."""
    book, resting = Book(), []
    for number, (action, side, price, count, account, mode) in enumerate(actions):
        if action == "cancel":
            resting = [order for order in resting if order.remaining]
            if resting:
                book.remove(resting.pop(price % len(resting)))
            yield book, None, None
            continue
        order = Order(
            order_id=str(number), account_id=account, ticker="M", side=side, price=price * 100, count=count,
            created_ms=number, self_trade=mode,
        )  # fmt: skip
        before = {o: list(book.orders(o)) for o in (BID, ASK)}
        result = book.match(order)
        resting = [item for item in resting if item not in result.cancelled_makers]
        if order.remaining and not result.self_cross:
            book.add(order)
            resting.append(order)
        yield book, (order, before), result


@given(ACTIONS)
def test_the_book_keeps_its_invariants_and_its_deltas_give_the_levels(actions):
    levels = {}
    for book, _, _ in played(actions):
        book.check()
        for change in book.drain_changes():
            place = change.side, change.price
            levels[place] = levels.get(place, 0) + change.delta
            assert levels[place] >= 0
        shown = {(side, price): total for side in (BID, ASK) for price, total in book.levels(side)}
        assert {place: count for place, count in levels.items() if count} == shown


@given(ACTIONS)
def test_price_then_time_and_never_with_oneself(actions):
    for _, taken, result in played(actions):
        if taken is None:
            continue
        taker, before = taken
        queue = before[-taker.side]
        ranked = sorted(queue, key=lambda order: (order.price * -order.side, queue.index(order)))
        touched = [match.maker for match in result.matches]
        reached = [order for order in ranked if order in touched or order in result.cancelled_makers]
        assert reached == ranked[: len(reached)], "somebody was passed over"
        assert touched == [order for order in reached if order in touched]
        for match in result.matches:
            assert match.maker.account_id != taker.account_id
            assert match.price == match.maker.price
            assert (taker.price - match.price) * taker.side >= 0
        assert sum(match.count for match in result.matches) == taker.filled
        for maker in touched[:-1]:
            assert maker.remaining == 0
