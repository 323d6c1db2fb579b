"""What all bodies of the wire share: texts of numbers, words, and the two ways of writing down nothing (sections 3.4 and 5)."""

from typing import Annotated, Literal

import msgspec

__all__ = [
    "Body",
    "BookSide",
    "CountText",
    "Cursor",
    "DollarText",
    "Empty",
    "LevelText",
    "MarketStatus",
    "OrderStatus",
    "OutcomeSide",
    "PriceText",
    "SelfTradePrevention",
    "TimeInForce",
    "WholeBody",
]

# \Z, because $ also matches before a final newline. A price has no digit below 1/10 000 dollar, a count none below 1/100.
DollarText = Annotated[str, msgspec.Meta(pattern=r"^-?[0-9]{1,12}(\.[0-9]{1,6})?\Z")]
PriceText = Annotated[str, msgspec.Meta(pattern=r"^[0-9]{1,12}(\.[0-9]{1,4}0{0,2})?\Z")]
CountText = Annotated[str, msgspec.Meta(pattern=r"^-?[0-9]{1,12}(\.[0-9]{1,2}0{0,4})?\Z")]
LevelText = tuple[PriceText, CountText]

# What a page says about the next one: a text, "" or null on the last, or nothing at all (section 3.4). UNSET is left out of the encoding,
# so each of the three ends that a venue may send can be written down.
Cursor = str | None | msgspec.UnsetType

BookSide = Literal["bid", "ask"]
OutcomeSide = Literal["yes", "no"]
OrderStatus = Literal["resting", "canceled", "executed"]
TimeInForce = Literal["good_till_canceled", "immediate_or_cancel", "fill_or_kill"]
SelfTradePrevention = Literal["taker_at_cross", "maker"]
MarketStatus = Literal[
    "initialized", "inactive", "active", "closed", "determined", "disputed", "amended", "finalized"
]


class Body(msgspec.Struct, frozen=True, omit_defaults=True):
    """A struct whose None and UNSET fields are left out: the wire leaves optional fields out when they are empty."""


class WholeBody(msgspec.Struct, frozen=True):
    """A struct whose None fields are written as null, where the wire does so."""


class Empty(Body, frozen=True, kw_only=True):
    """`{}`: the success of a call that has nothing to tell."""
