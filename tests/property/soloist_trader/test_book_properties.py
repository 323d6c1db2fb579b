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
