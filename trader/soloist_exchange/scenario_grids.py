"""The price grids of section 5 by their label. A market's `price_ranges` are the truth; the label only names them."""

from itertools import product
from typing import TypeAlias

from soloist_kalshi.numbers import PRICE_PER_DOLLAR, PriceGrid, price_to_dollars

__all__ = ["CENT_RANGES", "DEFAULT_STRUCTURE", "STRUCTURES", "cent_grid", "grid", "price_ranges"]

Ranges: TypeAlias = list[dict[str, str]]

DEFAULT_STRUCTURE = "linear_cent"

# Steps in 1/10 000 dollar, by the words that the labels use.
_STEPS = {"whole": 100, "half": 50, "quint": 20, "deci": 10, "centi": 1}
# Where the edge begins, from 0 and from 1 dollar. Section 5 gives 0.10 for the tapered grid and 0.01 for combos, whose edge has
# steps of a hundredth of a cent; for the other labels nothing is documented and the tapered grid's border is taken.
_WIDE_EDGE = 1000
_NARROW_EDGE = 100


def _ranges(*parts: tuple[int, int, int]) -> Ranges:
    return [
        {
            "start": price_to_dollars(start),
            "end": price_to_dollars(end),
            "step": price_to_dollars(step),
        }
        for start, end, step in parts
    ]


def _edged(center: int, edge: int) -> Ranges:
    """Return a grid that is finer towards 0 and 1 dollar."""
    border = _NARROW_EDGE if edge == _STEPS["centi"] else _WIDE_EDGE
    far = PRICE_PER_DOLLAR - border
    return _ranges((0, border, edge), (border, far, center), (far, PRICE_PER_DOLLAR, edge))


def _structures() -> dict[str, Ranges]:
    found = {
        "linear_cent": _ranges((0, PRICE_PER_DOLLAR, 100)),
        "deci_cent": _ranges((0, PRICE_PER_DOLLAR, 10)),
        "tapered_deci_cent": _edged(100, 10),
    }
    for (center, inner), (edge, outer) in product(_STEPS.items(), _STEPS.items()):
        if edge != "whole" and outer <= inner:
            found[f"center_{center}_edge_{edge}_cent"] = _edged(inner, outer)
    return found


# One list of ranges per label: thousands of markets share it, nobody changes it.
STRUCTURES: dict[str, Ranges] = _structures()
CENT_RANGES = STRUCTURES[DEFAULT_STRUCTURE]


def price_ranges(label: str) -> Ranges:
    """Return the `price_ranges` of a label (dollar texts, ascending). Raises KeyError for a label that section 5 does not have."""
    return STRUCTURES[label]


def grid(label: str) -> PriceGrid:
    """Return the prices of a label; the same object for every market that has it."""
    return PriceGrid.from_ranges(STRUCTURES[label])


def cent_grid() -> PriceGrid:
    """Return the grid of whole cents."""
    return grid(DEFAULT_STRUCTURE)
