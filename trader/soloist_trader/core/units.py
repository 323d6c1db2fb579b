"""Units and words that every part of the core shares."""

from __future__ import annotations

from typing import Final

ONE_DOLLAR_PRICE: Final = 10_000
"""A price of one dollar (prices are integers of 1/10 000 dollar)."""

ONE_CONTRACT: Final = 100
"""A count of one contract (counts are integers of 1/100 contract)."""

ONE_DOLLAR: Final = 1_000_000
"""Money of one dollar; price times count is money without any conversion."""

BID: Final = 1
"""Buys YES (or sells NO). Sides are signs, so that a position is a sum."""

ASK: Final = -1
"""Sells YES (or buys NO)."""

SIDE_NAMES: Final = {BID: "bid", ASK: "ask"}

GOOD_TILL_CANCELED: Final = "good_till_canceled"
IMMEDIATE_OR_CANCEL: Final = "immediate_or_cancel"

ACTIVE: Final = "ACTIVE"
REDUCING: Final = "REDUCING"
HALTED: Final = "HALTED"
STATE_RANK: Final = {ACTIVE: 0, REDUCING: 1, HALTED: 2}
"""How strict a state is. The engine's state is the strictest of its latches."""

OPEN_GROUP: Final = "open"
REDUCE_GROUP: Final = "reduce"
GROUP_ROLES: Final = (OPEN_GROUP, REDUCE_GROUP)
"""Every order names the order group of its role: what may make a position larger, and what may not."""

ARMED: Final = "armed"
TRIGGERED: Final = "triggered"
