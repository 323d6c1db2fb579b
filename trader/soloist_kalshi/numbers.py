"""The venue's decimal strings as integers, and back, without floats.

Three units, everywhere in Soloist (reference: "Number formats", section 5):

* price: 1/10 000 dollar, so 0.5600 is 5 600 and one dollar is 10 000;
* count: 1/100 contract, so 10.00 contracts is 1 000;
* money: 1/1 000 000 dollar, so 98.018600 dollars is 98 018 600.

A price times a count is money without any rounding: that is why the units are these.
"""

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache

__all__ = [
    "COUNT_PER_CONTRACT",
    "MONEY_PER_DOLLAR",
    "PRICE_PER_DOLLAR",
    "NumberError",
    "PriceGrid",
    "count_from_text",
    "count_to_text",
    "money_from_dollars",
    "money_to_dollars",
    "notional",
    "price_from_dollars",
    "price_to_dollars",
]

PRICE_PER_DOLLAR = 10_000
COUNT_PER_CONTRACT = 100
MONEY_PER_DOLLAR = 1_000_000

_PRICE_DECIMALS = 4
_COUNT_DECIMALS = 2
_MONEY_DECIMALS = 6

# Twelve integer digits are a thousand times more than the venue could hold; a longer text is garbage, not money.
# \Z and ASCII: "1\n" and Arabic digits are not numbers of this contract.
_DECIMAL = re.compile(r"(-?)([0-9]{1,12})(?:\.([0-9]{1,6}))?\Z", re.ASCII)


class NumberError(ValueError):
    """A text that is not a number of this contract, or not representable in its unit."""


def _parse(text: str, decimals: int, unit: str) -> int:
    """Parse a decimal text into an integer of 10**-decimals; digits past `decimals` must be zeros."""
    if not isinstance(text, str):
        raise NumberError(f"{unit}: expected a decimal text, got {type(text).__name__} {text!r}")
    match = _DECIMAL.match(text)
    if match is None:
        raise NumberError(f"{unit}: {text[:40]!r} is not a decimal number such as 0.5600")
    sign, whole, fraction = match[1], match[2], match[3] or ""
    if fraction[decimals:].strip("0"):
        raise NumberError(f"{unit}: {text!r} has more than {decimals} decimals")
    scale: int = 10**decimals
    value = int(whole) * scale + int(fraction[:decimals].ljust(decimals, "0"))
    return -value if sign else value


def _format(value: int, decimals: int) -> str:
    whole, fraction = divmod(abs(value), 10**decimals)
    return f"{'-' if value < 0 else ''}{whole}.{fraction:0{decimals}d}"


def price_from_dollars(text: str) -> int:
    """Return the price of a dollar text ("0.56", "0.5600", "0.560000") in 1/10 000 dollar.

    Raises NumberError for a negative price, a bad syntax, or a digit below 1/10 000 dollar.
    """
    value = _parse(text, _PRICE_DECIMALS, "price")
    if text.startswith("-"):  # "-0.0000" too: no price has a sign
        raise NumberError(f"price: {text!r} is negative")
    return value


def price_to_dollars(price: int) -> str:
    """Return a price (1/10 000 dollar) as the dollar text with 4 decimals that the venue prints."""
    return _format(price, _PRICE_DECIMALS)


def count_from_text(text: str) -> int:
    """Return a contract count text in 1/100 contract; positions and deltas may be negative."""
    return _parse(text, _COUNT_DECIMALS, "count")


def count_to_text(count: int) -> str:
    """Return a count (1/100 contract) as the text with 2 decimals that the venue prints."""
    return _format(count, _COUNT_DECIMALS)


def money_from_dollars(text: str) -> int:
    """Return a dollar amount with at most 6 decimals in 1/1 000 000 dollar; it may be negative."""
    return _parse(text, _MONEY_DECIMALS, "money")


def money_to_dollars(money: int) -> str:
    """Return money (1/1 000 000 dollar) as the dollar text with 6 decimals that the venue prints."""
    return _format(money, _MONEY_DECIMALS)


def notional(price: int, count: int) -> int:
    """Return price (1/10 000 dollar) times count (1/100 contract) as money (1/1 000 000 dollar), exactly."""
    return price * count


@dataclass(frozen=True, slots=True)
class PriceGrid:
    """The prices at which a market accepts orders, ascending, in 1/10 000 dollar.

    `price_ranges` of the market is the only truth (section 5); 0 and 1 dollar are never valid.
    """

    ticks: tuple[int, ...]

    @classmethod
    def from_ranges(cls, ranges: Iterable[Mapping[str, str]]) -> "PriceGrid":
        """Build the grid from the venue's `[{start, end, step}]` (dollar texts, ascending, not overlapping)."""
        steps = tuple(
            (
                price_from_dollars(item["start"]),
                price_from_dollars(item["end"]),
                price_from_dollars(item["step"]),
            )
            for item in ranges
        )
        return _grid(steps)

    def contains(self, price: int) -> bool:
        """Whether an order at this price is on the grid."""
        index = bisect_left(self.ticks, price)
        return index < len(self.ticks) and self.ticks[index] == price

    def round_down(self, price: int) -> int | None:
        """Return the highest grid price at or below `price`, or None when there is none."""
        index = bisect_right(self.ticks, price)
        return self.ticks[index - 1] if index else None

    def round_up(self, price: int) -> int | None:
        """Return the lowest grid price at or above `price`, or None when there is none."""
        index = bisect_left(self.ticks, price)
        return self.ticks[index] if index < len(self.ticks) else None


# Thousands of markets share a handful of grids; the cache makes them share the tuples as well.
@lru_cache(maxsize=64)
def _grid(ranges: tuple[tuple[int, int, int], ...]) -> PriceGrid:
    if not ranges:
        raise NumberError("price_ranges is empty: the market has no price grid")
    ticks: set[int] = set()
    previous_end = 0
    for start, end, step in ranges:
        fits = previous_end <= start < end <= PRICE_PER_DOLLAR and step > 0
        if not fits or (end - start) % step:
            shown = ", ".join(price_to_dollars(number) for number in (start, end, step))
            raise NumberError(
                f"price_ranges: (start, end, step) = ({shown}) is not an ascending grid in 0..1"
            )
        ticks.update(range(start, end + 1, step))
        previous_end = end
    return PriceGrid(tuple(sorted(ticks - {0, PRICE_PER_DOLLAR})))
