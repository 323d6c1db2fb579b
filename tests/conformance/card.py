"""A conformance card: one numbered test that shows one sentence of the contract, on our exchange or at the venue's demo."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeVar

__all__ = ["Card", "card", "card_of"]

Clock = Literal["real", "virtual"]
_Test = TypeVar("_Test", bound=Callable[..., object])
_ATTRIBUTE = "conformance_card"
_NUMBER = re.compile(r"C[0-9]{3}")


@dataclass(frozen=True, slots=True)
class Card:
    """What a card shows. `section` is of the contract, kalshi-api.md; `demo` whether it may run at the venue's demo.

    `clock` is the exchange that it needs: one whose time the card moves by hand is "virtual". `switches` are those whose other
    behaviour it shows.
    """

    number: str
    title: str
    section: str
    demo: bool
    clock: Clock
    switches: tuple[str, ...]


def card(
    number: str,
    *,
    section: str,
    title: str,
    demo: bool = False,
    clock: Clock = "real",
    switches: tuple[str, ...] = (),
) -> Callable[[_Test], _Test]:
    """Make a test a card. Raises ValueError for what can be no card."""
    if _NUMBER.fullmatch(number) is None:
        raise ValueError(f"a card's number is C and three digits, not {number!r}")
    if not title or "|" in title or "\n" in title:
        raise ValueError(f"{number}: the title is one line of a table, without a bar: {title!r}")
    if demo and (clock == "virtual" or switches):
        raise ValueError(f"{number}: the venue's demo has neither our switches nor a clock that we move")
    made = Card(number, title, section, demo, clock, switches)

    def mark(test: _Test) -> _Test:
        setattr(test, _ATTRIBUTE, made)
        return test

    return mark


def card_of(test: object) -> Card | None:
    """Return the card that a test function is, None for another test."""
    found = getattr(test, _ATTRIBUTE, None)
    assert found is None or isinstance(found, Card)
    return found
