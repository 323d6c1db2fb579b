"""What the edge can do, and what the account allows: how one core serves every mode without an `if` for it."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from soloist_trader.core.units import ONE_DOLLAR


class Settings(NamedTuple):
    """What the edge can do, and what the account allows. The defaults are an edge that only creates and cancels."""

    amends: bool = False
    """Exits are moved by amend, and expiries renewed. The edge carries out `Amend` and answers `AmendEnded`."""
    groups: bool = False
    """Every order has to name an order group: nothing is sent before `GroupSeen` of both roles."""
    rate_share_percent: int = 100
    """This bot's part of the account's write bucket."""
    cash_limit: int = 100 * ONE_DOLLAR
    """Unexplained cash above this latches REDUCING."""
    fee_model: Callable[[int, int, bool], int] | None = None
    """(price, count, is taker) to the fee that we expect; a fill that differs by more than a cent is said."""
