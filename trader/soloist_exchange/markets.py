"""Series, events and markets: what is traded, until when, at which prices, and for which fees."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, Literal

from soloist_kalshi.fees import maker_fee, taker_fee
from soloist_kalshi.numbers import PriceGrid

from soloist_exchange.matching import Book

__all__ = [
    "ONE",
    "EventState",
    "FeeKind",
    "FeeTerms",
    "MarketState",
    "MarketStatus",
    "MarketType",
    "Result",
    "SeriesState",
]

# A fee multiplier of one, in 1/100.
ONE: Final = 100
# `soloist_kalshi.fees` counts multipliers in 1/10 000.
_FINER: Final = 100
_FLAT_PER_CONTRACT: Final = 10_000  # money: one cent
_COUNT_PER_CONTRACT: Final = 100
# A combo's maker pays half of the taker's rate; every other maker fee is a quarter.
_COMBO_OF_QUARTER: Final = 2

MarketType = Literal["binary", "scalar"]
FeeKind = Literal["quadratic", "quadratic_with_maker_fees", "quadratic_with_combo_maker_fees", "flat"]
Result = Literal["yes", "no", "scalar", ""]


class MarketStatus(StrEnum):
    """The life of a market (section 6)."""

    INITIALIZED = "initialized"
    INACTIVE = "inactive"
    ACTIVE = "active"
    CLOSED = "closed"
    DETERMINED = "determined"
    DISPUTED = "disputed"
    AMENDED = "amended"
    FINALIZED = "finalized"


@dataclass(frozen=True, slots=True)
class FeeTerms:
    """`fee_type` of a series and its multiplier in 1/100 (section 12)."""

    kind: FeeKind = "quadratic"
    multiplier: int = ONE

    def trade_fee(self, price: int, count: int, step: int, *, is_taker: bool) -> int:
        """Return the trade fee of a fill, rounded up to `step` (money).

        `flat` is not described by the sources; here it is one cent per contract and multiplier for the taker, whatever the price.
        """
        multiplier = self.multiplier * _FINER
        if self.kind == "flat":
            if not is_taker:
                return 0
            exact = _FLAT_PER_CONTRACT * count * self.multiplier
            return -(-exact // (_COUNT_PER_CONTRACT * ONE * step)) * step
        if is_taker:
            return taker_fee(price, count, multiplier=multiplier, step=step)
        if self.kind == "quadratic":
            return 0
        if self.kind == "quadratic_with_combo_maker_fees":
            multiplier *= _COMBO_OF_QUARTER
        return maker_fee(price, count, multiplier=multiplier, step=step)


@dataclass(slots=True)
class SeriesState:
    """A series of events of one kind. `fee` is what is shown; a market is charged by its own `MarketState.fee`."""

    ticker: str
    title: str = ""
    category: str = ""
    tags: tuple[str, ...] = ()
    frequency: str = "custom"
    fee: FeeTerms = field(default_factory=FeeTerms)


@dataclass(slots=True)
class EventState:
    """An event: one question, one market or several."""

    ticker: str
    series_ticker: str
    title: str = ""
    mutually_exclusive: bool = False
    exchange_index: int = 0


@dataclass(slots=True)
class MarketState:
    """A market with its book and its statistics.

    Prices in 1/10 000 dollar, times in Unix milliseconds (0 = not yet), counts in 1/100 contract. `previous_*` are the last trade and
    the best quotes when the last UTC day began, 0 when there were none. `settlement_timer_ms` after `determined_ms` it settles.
    """

    ticker: str
    event_ticker: str
    title: str
    grid: PriceGrid
    ranges: list[dict[str, str]]
    open_ms: int
    close_ms: int
    status: str = MarketStatus.ACTIVE
    series_ticker: str = ""
    market_type: MarketType = "binary"
    label: str = "linear_cent"
    exchange_index: int = 0
    fee: FeeTerms = field(default_factory=FeeTerms)
    fee_waiver_until_ms: int = 0
    can_close_early: bool = True
    settlement_timer_ms: int = 3_600_000
    created_ms: int = 0
    updated_ms: int = 0
    result: Result = ""
    settlement_value: int | None = None
    determined_ms: int = 0
    settled_ms: int = 0
    book: Book = field(default_factory=Book)
    last_price: int = 0
    last_count: int = 0
    volume: int = 0
    dollar_volume: int = 0
    open_interest: int = 0
    previous_price: int = 0
    previous_bid: int = 0
    previous_ask: int = 0

    def is_cancelable(self, now_ms: int) -> bool:
        """Whether its resting orders may still be cancelled: while it is active or paused, until its close time (section 3.3)."""
        return self.status in {MarketStatus.ACTIVE, MarketStatus.INACTIVE} and now_ms < self.close_ms

    def set_ranges(self, ranges: list[dict[str, str]], label: str) -> None:
        """Replace the price grid; raises NumberError when the ranges are none."""
        shown: list[Mapping[str, str]] = list(ranges)
        self.grid = PriceGrid.from_ranges(shown)
        self.ranges = ranges
        self.label = label
