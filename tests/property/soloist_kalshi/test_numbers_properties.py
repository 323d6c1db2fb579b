import re
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st
from soloist_kalshi import numbers
from soloist_kalshi.messages import CountText, PriceText
from soloist_kalshi.numbers import NumberError, PriceGrid

LARGE = 10**12 - 1


@given(st.integers(0, LARGE))
def test_a_price_survives_text(price):
    text = numbers.price_to_dollars(price)
    assert re.fullmatch(r"\d+\.\d{4}", text)
    assert numbers.price_from_dollars(text) == price


@given(st.integers(-LARGE, LARGE))
def test_a_count_survives_text(count):
    text = numbers.count_to_text(count)
    assert re.fullmatch(r"-?\d+\.\d\d", text)
    assert numbers.count_from_text(text) == count


@given(st.integers(-LARGE, LARGE))
def test_money_survives_text(money):
    text = numbers.money_to_dollars(money)
    assert re.fullmatch(r"-?\d+\.\d{6}", text)
    assert numbers.money_from_dollars(text) == money


@given(st.integers(0, 10_000), st.integers(2, 6))
def test_a_price_text_means_the_same_with_more_or_fewer_zeros(price, decimals):
    whole, fraction = divmod(price, 10_000)
    digits = f"{fraction:04d}00"[:decimals]
    if int(f"{fraction:04d}"[decimals:] or 0) == 0:
        assert numbers.price_from_dollars(f"{whole}.{digits}") == price


@given(st.text(max_size=30) | st.from_regex(r"[-+]?[0-9._,eE ]{1,12}", fullmatch=True))
def test_any_text_is_a_number_or_a_number_error(text):
    for parse, print_ in (
        (numbers.price_from_dollars, numbers.price_to_dollars),
        (numbers.count_from_text, numbers.count_to_text),
        (numbers.money_from_dollars, numbers.money_to_dollars),
    ):
        try:
            value = parse(text)
        except NumberError:
            continue
        # What was accepted denotes exactly this number: printing and parsing again changes nothing.
        assert parse(print_(value)) == value
        assert re.fullmatch(r"-?[0-9]+(\.[0-9]+)?", text)


@given(st.from_regex(r"-?[0-9]{1,14}(\.[0-9]{1,7})?\n?", fullmatch=True))
def test_what_the_messages_let_through_converts(text):
    for annotation, parse in ((PriceText, numbers.price_from_dollars), (CountText, numbers.count_from_text)):
        pattern = annotation.__metadata__[0].pattern
        if re.search(pattern, text):
            parse(text)
        else:
            try:
                parse(text)
            except NumberError:
                continue
            raise AssertionError(f"{text!r} converts, but the message refuses it")


@st.composite
def ranges(draw):
    cuts = sorted(draw(st.sets(st.integers(0, 100), min_size=2, max_size=5)))
    result = []
    for start, end in pairwise(cuts):
        step = draw(
            st.sampled_from([step for step in (1, 5, 10, 20, 50, 100) if (end - start) * 100 % step == 0])
        )
        result.append((start * 100, end * 100, step))
    return result


STRUCTURES = {
    "linear_cent": [(0, 10_000, 100)],
    "deci_cent": [(0, 10_000, 10)],
    "tapered_deci_cent": [(0, 1_000, 10), (1_000, 9_000, 100), (9_000, 10_000, 10)],
    "center_deci_edge_centi_cent": [(0, 100, 1), (100, 9_900, 10), (9_900, 10_000, 1)],
    "center_half_edge_deci_cent": [(0, 1_000, 10), (1_000, 9_000, 50), (9_000, 10_000, 10)],
    "center_quint_edge_centi_cent": [(0, 500, 1), (500, 9_500, 20), (9_500, 10_000, 1)],
}


def grid_of(pieces):
    return PriceGrid.from_ranges(
        dict(zip(("start", "end", "step"), map(numbers.price_to_dollars, piece), strict=True))
        for piece in pieces
    )


@given(st.sampled_from(sorted(STRUCTURES)), st.integers(-10, 10_010))
def test_every_structure_of_the_venue_below_a_cent_and_tapered(label, price):
    """Inside each stretch exactly the multiples of its step are prices; 0 and 1 dollar never are."""
    pieces = STRUCTURES[label]
    grid = grid_of(pieces)
    steps = [step for start, end, step in pieces if start <= price <= end]
    assert grid.contains(price) == (0 < price < 10_000 and any(price % step == 0 for step in steps))
    below, above = grid.round_down(price), grid.round_up(price)
    assert below is None or (grid.contains(below) and below <= price)
    assert above is None or (grid.contains(above) and above >= price)
    assert (below == above) == grid.contains(price) or below is None or above is None


@given(st.sampled_from(sorted(STRUCTURES)), st.data())
def test_a_grid_price_survives_the_wire(label, data):
    grid = grid_of(STRUCTURES[label])
    price = data.draw(st.sampled_from(grid.ticks))
    assert grid.contains(numbers.price_from_dollars(numbers.price_to_dollars(price)))


@given(ranges(), st.integers(-10, 10_010))
def test_rounding_finds_the_nearest_grid_price_on_its_side(pieces, price):
    texts = [
        dict(zip(("start", "end", "step"), map(numbers.price_to_dollars, piece), strict=True))
        for piece in pieces
    ]
    grid = PriceGrid.from_ranges(texts)
    # The slow definition: every price that some range reaches by whole steps, without 0 and 1 dollar.
    valid = [p for p in range(1, 10_000) if any(s <= p <= e and (p - s) % step == 0 for s, e, step in pieces)]
    assert grid.contains(price) == (price in valid)
    assert grid.round_down(price) == max((p for p in valid if p <= price), default=None)
    assert grid.round_up(price) == min((p for p in valid if p >= price), default=None)
