from hypothesis import given
from hypothesis import strategies as st
from soloist_trader.core.book import Book, LadderBookPort
from soloist_trader.core.events import BookLost, TopChanged
from soloist_trader.core.units import ASK, BID

changes = st.lists(
    st.tuples(st.sampled_from([BID, ASK]), st.integers(1, 9_999), st.integers(-300, 300).filter(bool)),
    max_size=60,
)


def best(levels, side):
    prices = [price for price, count in levels.items() if count > 0]
    if not prices:
        return 0
    return max(prices) if side == BID else min(prices)


@given(changes)
def test_the_ladder_agrees_with_a_dictionary(rows):
    book = Book()
    book.load([], [])
    model = {BID: {}, ASK: {}}
    for side, price, change in rows:
        price = min(price, 4_999) if side == BID else max(price, 5_000)  # noqa: PLW2901 never crossed
        change = max(change, -model[side].get(price, 0))  # noqa: PLW2901 never below zero
        before = book.top(0, "M")
        changed = book.change(side, price, change)
        model[side][price] = model[side].get(price, 0) + change
        top = book.top(0, "M")
        bid, ask = best(model[BID], BID), best(model[ASK], ASK)
        assert (top.bid_price, top.ask_price) == (bid, ask)
        assert (top.bid_count, top.ask_count) == (model[BID].get(bid, 0), model[ASK].get(ask, 0))
        assert book.valid
        assert changed or top == before
    for side in (BID, ASK):
        shown = dict(book.levels(side))
        assert shown == {price: count for price, count in model[side].items() if count > 0}


@given(changes, st.integers(0, 59))
def test_a_missing_frame_makes_every_book_suspect_until_its_snapshot(rows, missing):
    port = LadderBookPort()
    for sequence, market in ((1, "A"), (2, "B")):
        port.snapshot(0, sequence, market, [(4_000, 100)], [(6_000, 100)])
    events = []
    for index, (side, price, change) in enumerate(rows):
        if index != missing:
            events += port.delta(0, 3 + index, "A", side, price, change)
    jumped = 0 <= missing < len(rows) - 1
    if jumped:
        assert {event.market for event in events if isinstance(event, BookLost)} >= {"B"}
        assert port.suspect_markets == ["A", "B"]
        assert isinstance(
            port.snapshot(0, 3 + len(rows), "B", [(4_000, 100)], [(6_000, 100)])[-1], TopChanged
        )
        assert port.suspect_markets == ["A"]


steps = st.lists(
    st.one_of(
        st.tuples(
            st.just("snapshot"), st.sampled_from("AB"), st.integers(1, 6_000), st.integers(4_000, 9_999)
        ),
        st.tuples(st.just("delta"), st.sampled_from("AB"), changes.map(lambda rows: rows[:3])),
        st.tuples(st.just("lose")),
        st.tuples(st.just("reset")),
    ),
    max_size=30,
)


def play(port, rows, sequence):
    """The events that the steps lead to, and the sequence after them."""
    events = []
    for row in rows:
        if row[0] == "snapshot":
            sequence += 1
            events += port.snapshot(0, sequence, row[1], [(row[2], 100)], [(row[3], 100)])
        elif row[0] == "delta":
            for side, price, change in row[2]:
                sequence += 1
                events += port.delta(0, sequence, row[1], side, price, change)
        elif row[0] == "lose":
            sequence += 1
        else:
            events += port.reset(0, "gone")
            sequence = 0
    return events, sequence


@given(steps, steps)
def test_a_port_goes_on_from_the_state_of_another_as_that_one_does(before, after):
    port = LadderBookPort()
    _, sequence = play(port, before, 0)
    other = LadderBookPort()
    other.restore(port.state())
    assert other.state() == port.state()
    assert play(other, after, sequence) == play(port, after, sequence)
    assert other.state() == port.state()
