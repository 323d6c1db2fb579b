"""However frames are lost, repeated and shuffled: after one read of everything the facts are the truth, and nothing ever ran backwards."""

from hypothesis import given
from hypothesis import strategies as st
from soloist_kalshi.account_facts import AccountFacts

from tests.unit.soloist_kalshi.account_story import TrueFill, Truth, balance, position_row


@st.composite
def histories(draw):
    """Some orders, each as the list of its moments, and all their fills."""
    orders, fills = [], []
    for number in range(draw(st.integers(1, 3))):
        moment = Truth(f"o-{number}", side=draw(st.sampled_from(["bid", "ask"])))
        moments = [moment]
        for step in range(draw(st.integers(0, 5))):
            if moment.status != "resting":
                break
            what = draw(st.sampled_from(["fill", "fill", "amend", "cancel"]))
            if what == "fill":
                count = draw(st.integers(1, moment.remaining))
                left = moment.remaining - count
                moment = moment.changed(
                    filled=moment.filled + count, remaining=left, status="resting" if left else "executed"
                )
                fills.append(TrueFill(f"t-{number}-{step}", moment.order_id, moment.side, count))
            elif what == "amend":
                left = draw(st.integers(1, 2_000))
                price = draw(st.integers(1, 9_999))
                moment = moment.changed(price=price, remaining=left, initial=moment.filled + left)
            else:
                moment = moment.changed(remaining=0, status="canceled")
            moments.append(moment)
        orders.append(moments)
    return orders, fills


@given(histories(), st.data())
def test_after_one_read_the_facts_are_the_truth(history, data):
    orders, fills = history
    known = AccountFacts(subaccount=0)
    news = [("order", moment) for moments in orders for moment in moments]
    news += [("read", moment) for moments in orders for moment in moments]
    news += [("fill", fill) for fill in fills] + [("fill read", fill) for fill in fills]
    for kind, item in data.draw(st.lists(st.sampled_from(news), max_size=30)):
        before = dict(known.orders)
        if kind == "order":
            known.order_frame(item.frame())
        elif kind == "read":
            known.orders_read([item.row()])
        elif kind == "fill":
            known.fill_frame(item.frame())
        else:
            known.fills_read([item.row()])
        for order_id, old in before.items():
            new = known.orders[order_id]
            assert new.filled >= old.filled
            assert old.status == "resting" or new.status != "resting"
    truth = [moments[-1] for moments in orders]
    known.orders_read([moment.row() for moment in truth])
    known.fills_read([fill.row() for fill in fills])
    position = sum(fill.count if fill.side == "bid" else -fill.count for fill in fills)
    assert known.positions == ({"SIM-A": position} if position else {})
    known.portfolio_read([position_row(position)], balance(1))
    assert known.is_settled
    for moment in truth:
        order = known.orders[moment.order_id]
        assert (order.status, order.filled, order.remaining, order.price, order.initial) == (
            moment.status,
            moment.filled,
            moment.remaining,
            moment.price,
            moment.initial,
        )
