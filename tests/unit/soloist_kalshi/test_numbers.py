import pytest
from soloist_kalshi import numbers
from soloist_kalshi.numbers import NumberError, PriceGrid

TAPERED = [
    {"start": "0.0000", "end": "0.1000", "step": "0.0010"},
    {"start": "0.1000", "end": "0.9000", "step": "0.0100"},
    {"start": "0.9000", "end": "1.0000", "step": "0.0010"},
]
LINEAR = [{"start": "0.0000", "end": "1.0000", "step": "0.0100"}]


def test_the_units():
    assert numbers.price_from_dollars("0.56") == 5_600
    assert numbers.price_from_dollars("0.560000") == 5_600
    assert numbers.price_from_dollars("1") == 10_000
    assert numbers.count_from_text("-10.5") == -1_050
    assert numbers.money_from_dollars("98.0186") == 98_018_600
    assert numbers.notional(5_600, 1_000) == numbers.money_from_dollars("5.60")


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "1.",
        ".5",
        "+1",
        "1e3",
        "0x1",
        "1,0",
        "1 ",
        " 1",
        "1\n",
        "--1",
        "NaN",
        "inf",
        "\u0661",
        "9" * 13,
    ],
)
def test_what_is_no_number(text):
    for parse in (numbers.price_from_dollars, numbers.count_from_text, numbers.money_from_dollars):
        with pytest.raises(NumberError):
            parse(text)


@pytest.mark.parametrize("value", [1, 1.0, None, b"1", True])
def test_only_texts_are_parsed(value):
    with pytest.raises(NumberError, match="expected a decimal text"):
        numbers.price_from_dollars(value)


@pytest.mark.parametrize(
    ("parse", "text"),
    [
        (numbers.price_from_dollars, "0.12345"),
        (numbers.price_from_dollars, "-0.5"),
        (numbers.count_from_text, "1.001"),
        (numbers.money_from_dollars, "1.0000001"),
    ],
)
def test_nothing_is_rounded_away(parse, text):
    with pytest.raises(NumberError):
        parse(text)


def test_a_tapered_grid():
    grid = PriceGrid.from_ranges(TAPERED)
    assert [
        price
        for price in (0, 10, 15, 990, 1_000, 1_010, 1_100, 9_000, 9_010, 9_990, 10_000)
        if grid.contains(price)
    ] == [
        10,
        990,
        1_000,
        1_100,
        9_000,
        9_010,
        9_990,
    ]
    assert (grid.round_down(1_099), grid.round_up(1_001)) == (1_000, 1_100)
    assert (grid.round_down(9), grid.round_up(9_991)) == (None, None)


def test_equal_grids_are_one_object():
    assert PriceGrid.from_ranges(LINEAR) is PriceGrid.from_ranges(LINEAR)


@pytest.mark.parametrize(
    "ranges",
    [
        [],
        [{"start": "0.0", "end": "1.0", "step": "0.0"}],
        [{"start": "0.5", "end": "0.5", "step": "0.01"}],
        [{"start": "0.0", "end": "1.1", "step": "0.01"}],
        [{"start": "0.0", "end": "1.0", "step": "0.03"}],
        [{"start": "0.5", "end": "1.0", "step": "0.01"}, {"start": "0.0", "end": "0.5", "step": "0.01"}],
        [{"start": "0.0", "end": "x", "step": "0.01"}],
    ],
)
def test_ranges_that_are_no_grid(ranges):
    with pytest.raises(NumberError):
        PriceGrid.from_ranges(ranges)
