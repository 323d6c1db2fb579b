"""What a strategy is to the core: it is shown a market and answers with the orders it wants there."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from typing import NamedTuple, Protocol

from soloist_trader.core.units import GOOD_TILL_CANCELED


def price_at_or_above(ticks: tuple[int, ...], price: int) -> int:
    """The lowest valid price that is not below `price`; the highest valid one if there is none."""
    return ticks[min(bisect_left(ticks, price), len(ticks) - 1)]


def price_at_or_below(ticks: tuple[int, ...], price: int) -> int:
    """The highest valid price that is not above `price`; the lowest valid one if there is none."""
    return ticks[max(bisect_right(ticks, price) - 1, 0)]


class Target(NamedTuple):
    """One slot wanted: at most one order of this side and level. An order that differs is cancelled first.

    `keep` leaves an order that already rests in the slot as it is, whatever its price and count.
    """

    side: int
    level: str
    price: int
    size: int
    time_in_force: str = GOOD_TILL_CANCELED
    keep: bool = False


class MarketView:
    """One market as a strategy may see it. The same object is filled again for each wake-up: do not keep it."""

    __slots__ = (
        "ask_count",
        "ask_price",
        "average_price",
        "bid_count",
        "bid_price",
        "close_time_ms",
        "last_price",
        "market",
        "now_ms",
        "opened_ms",
        "position",
        "ticks",
        "unsettled_asks",
        "unsettled_bids",
        "volume",
    )

    def __init__(self, market: str) -> None:
        self.market = market
        self.now_ms = 0
        self.bid_price = 0
        """Best prices in 1/10 000 dollar, 0 if the side is empty; counts in 1/100 contract."""
        self.bid_count = 0
        self.ask_price = 0
        self.ask_count = 0
        self.last_price = 0
        self.volume = 0
        self.ticks: tuple[int, ...] = ()
        """Valid prices, ascending."""
        self.close_time_ms = 0
        self.position = 0
        """Signed count from booked fills; `average_price` and `opened_ms` are of the open part."""
        self.average_price = 0
        self.opened_ms = 0
        self.unsettled_bids = 0
        """How much of the orders of this side may still fill, unknown ones in full."""
        self.unsettled_asks = 0


class Strategy(Protocol):
    """Decides what is wanted, never sends. It is woken by tops, trades, timers, fills and settled orders."""

    @property
    def name(self) -> str:
        """Part of every slot of this strategy."""

    def targets(self, view: MarketView) -> list[Target]:
        """Every order wanted in this market now; what rests and is not among them is cancelled."""

    def entered(self, market: str, now_ms: int) -> None:
        """An order of this strategy was intended in a market (cool-downs start here)."""
