from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st
from soloist_trader.core.ledger import Ledger
from soloist_trader.core.orders import Label
from soloist_trader.core.positions import Position, PositionFill
from soloist_trader.core.records import Booked, Intended, Observed
from soloist_trader.core.units import ASK, BID


@dataclass(frozen=True)
class Life:
    """One order at the venue: fills of some sizes, then maybe a cancel."""

    fills: tuple[int, ...]
    cancelled: bool


lives = st.builds(Life, st.lists(st.integers(1, 40), max_size=4).map(tuple), st.booleans())


def intended(number, side):
    return Intended(
        number,
        f"s{number}",
        number,
        "t",
        f"M{number % 2}",
        side,
        f"l{number}",
        4_000 + number,
        200,
        "gtc",
        0,
        reduce_only=False,
    )


def evidence(number, life, side):
    """Everything that the venue could ever say about the order, by every road."""
    said = [Observed(100, f"s{number}", f"v{number}", 0, closed=False, source="reply")]
    filled = 0
    for index, size in enumerate(life.fills):
        filled += size
        said.append(
            Booked(
                100, f"f{number}-{index}", f"s{number}", f"v{number}", f"M{number % 2}", side,
                4_000 + number, size, size * 3, is_taker=True, fill_time_ms=1_000 * number + index,
            )
        )  # fmt: skip
        said.append(
            Observed(100, f"s{number}", f"v{number}", filled, filled >= 200, "user_orders", filled * 3)
        )
    if life.cancelled:
        said.append(Observed(100, f"s{number}", f"v{number}", filled, closed=True, source="cancel"))
    return said


@given(st.data(), st.lists(st.tuples(lives, st.sampled_from([BID, ASK])), min_size=1, max_size=4))
def test_evidence_in_any_order_any_number_of_times_gives_one_state(data, orders):
    said = [fact for number, (life, side) in enumerate(orders) for fact in evidence(number, life, side)]
    shuffled = data.draw(st.permutations(said + data.draw(st.lists(st.sampled_from(said), max_size=8))))
    straight, crooked = Ledger(), Ledger()
    for ledger, facts in ((straight, said), (crooked, shuffled)):
        for number, (_, side) in enumerate(orders):
            ledger.apply(intended(number, side))
        for fact in facts:
            ledger.apply(fact)
    assert straight.state_hash() == crooked.state_hash()
    for number, (life, _) in enumerate(orders):
        order = crooked.orders[f"s{number}"]
        filled = sum(life.fills)
        assert (order.evidence, order.booked) == (filled, filled)
        assert order.settled == (life.cancelled or filled >= 200)
        assert order.label in ({Label.CANCELED, Label.EXECUTED} if order.settled else {Label.WORKING})


@given(
    st.lists(
        st.tuples(st.sampled_from([BID, ASK]), st.integers(1, 9_999), st.integers(1, 500)),
        min_size=1,
        max_size=12,
    ),
    st.randoms(use_true_random=False),
    st.integers(0, 12),
    st.one_of(st.none(), st.tuples(st.integers(0, 12), st.integers(0, 10_000), st.integers(-5_000, 5_000))),
)
def test_a_position_does_not_depend_on_the_order_in_which_fills_become_known(rows, random, fold_at, paid):
    """A settlement among them closes whatever was open at its own time, whenever it is heard of."""
    fills = [PositionFill(1_000 + index // 2, f"f{index}", *row) for index, row in enumerate(rows)]
    straight, crooked = Position(), Position()
    steps = [lambda position, fill=fill: position.book(fill, 1) for fill in fills]
    if paid is not None:
        at, value, residue = paid
        steps.append(lambda position: position.settle(1_000 + at // 2, value, residue))
    for step in steps:
        step(straight)
    mixed = steps[:]
    random.shuffle(mixed)
    for step in mixed:
        step(crooked)
    assert Position.restore(crooked.export()).facts() == crooked.facts()
    assert straight.facts() == crooked.facts()
    held = [fill for fill in fills if paid is None or fill.time_ms > 1_000 + paid[0] // 2]
    assert straight.count == sum(fill.side * fill.size for fill in held)
    # Realised profit and the basis of what is open are the cash flow, told apart: nothing is lost to rounding.
    open_value = straight.basis if straight.count > 0 else -straight.basis
    assert straight.realised == straight.cash + open_value
    crooked.fold(1_000 + fold_at)
    assert (crooked.count, crooked.basis, crooked.realised, crooked.opened_ms) == (
        straight.count, straight.basis, straight.realised, straight.opened_ms,
    )  # fmt: skip
    assert Position.restore(crooked.export()).facts() == crooked.facts(), "what is kept gives what holds"
