"""`market_maker` (origin S4): quote both sides around a fair value, lean against the inventory, several levels deep.

Its own quotes are part of the book it looks at. A fair value made from them would chase itself (lean down, see a lower
middle, lean down again), so a side whose best level is nothing but its own orders tells it nothing: the other side and
the last foreign width stand in for it, and with both sides its own the fair value stays where it was.
"""

from __future__ import annotations

from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from soloist_trader.core.strategy import MarketView, Target, price_at_or_above, price_at_or_below
from soloist_trader.core.units import ASK, BID, GOOD_TILL_CANCELED
from soloist_trader.strategies.base import Contracts, Dollars, Parameters, StrategyPlugin


class MarketMakerParameters(Parameters):
    """Parameters of `market_maker`. Prices are dollars of a contract that pays one dollar."""

    fair_value: Literal["middle", "weighted"] = Field(
        "middle", description="middle of the best prices, or weighted by what stands on the other side"
    )
    half_spread_dollars: Dollars = Field(200, description="distance of the first quote from the fair value")
    levels: int = Field(1, ge=1, le=10, description="quotes on each side")
    level_step_dollars: Dollars = Field(100, description="distance from one quote to the next")
    level_contracts: Contracts = Field(100, description="size of each quote")
    maximum_inventory_contracts: Contracts = Field(
        1_000, description="position at which it quotes only the side that makes it smaller"
    )
    skew_dollars: Dollars = Field(
        200, description="how far the fair value is shifted against a full inventory"
    )
    requote_dollars: Dollars = Field(
        100, description="move the quotes once the fair value moved this far; less costs write budget"
    )
    minimum_probability: Dollars = Field(1_000, description="below this fair value it only reduces")
    maximum_probability: Dollars = Field(9_000, description="above this fair value it only reduces")
    maximum_spread_dollars: Dollars = Field(2_000, description="a wider book has no fair value")
    minimum_seconds_to_close: int = Field(60, ge=0, description="closer to the close it only reduces")

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if self.minimum_probability > self.maximum_probability:
            raise ValueError(
                "minimum_probability is above maximum_probability: no fair value can be between them"
            )
        if self.level_contracts == 0:
            raise ValueError('level_contracts is 0: nothing would ever be quoted; write at least "0.01"')
        if self.maximum_inventory_contracts < self.level_contracts:
            raise ValueError("maximum_inventory_contracts is below level_contracts: one fill would pass it")
        if self.levels > 1 and self.level_step_dollars == 0:
            raise ValueError("level_step_dollars is 0: every level would have the same price")
        if self.half_spread_dollars == 0:
            raise ValueError("half_spread_dollars is 0: bid and ask would trade with each other")
        return self


class _Quotes:
    """What is remembered of one market."""

    __slots__ = ("asks", "bids", "fair", "quoted_fair", "width")

    def __init__(self) -> None:
        self.fair = 0
        """Twice the fair value, so that the middle of two prices is an integer; 0 until there is one."""
        self.quoted_fair = 0
        """The skewed fair value (twice it) that the quotes were last made from."""
        self.width = 0
        """Ask less bid of the last book whose both sides were foreign."""
        self.bids: frozenset[int] = frozenset()
        self.asks: frozenset[int] = frozenset()


class MarketMaker(StrategyPlugin[MarketMakerParameters]):
    """Quotes around a fair value with inventory skew, on several levels."""

    name: ClassVar[str] = "market_maker"
    parameters_model: ClassVar[type[Parameters]] = MarketMakerParameters

    def __init__(self, parameters: MarketMakerParameters) -> None:
        super().__init__(parameters)
        self._markets: dict[str, _Quotes] = {}

    def entered(self, market: str, now_ms: int) -> None:
        """Quotes have no cool-down: the slots and the requote distance limit how often they move."""

    def targets(self, view: MarketView) -> list[Target]:
        """Every quote wanted now; none while there is no fair value."""
        parameters = self.parameters
        bid, ask = view.bid_price, view.ask_price
        if not bid or not ask or ask - bid > parameters.maximum_spread_dollars:
            return []
        quotes = self._markets.setdefault(view.market, _Quotes())
        self._see(view, quotes)
        skewed = quotes.fair - 2 * self._skew(view.position)
        if not quotes.quoted_fair or abs(skewed - quotes.quoted_fair) >= 2 * parameters.requote_dollars:
            quotes.quoted_fair = skewed
        reduces_only = (
            not 2 * parameters.minimum_probability <= quotes.fair <= 2 * parameters.maximum_probability
        )
        if 0 < view.close_time_ms < view.now_ms + parameters.minimum_seconds_to_close * 1000:
            reduces_only = True
        bids = self._side(view, BID, quotes.quoted_fair, reduces_only=reduces_only)
        asks = self._side(view, ASK, quotes.quoted_fair, reduces_only=reduces_only)
        quotes.bids = frozenset(target.price for target in bids)
        quotes.asks = frozenset(target.price for target in asks)
        return bids + asks

    def _see(self, view: MarketView, quotes: _Quotes) -> None:
        """Bring the fair value up to date from what is not our own."""
        bid, ask = view.bid_price, view.ask_price
        own_bid = bid in quotes.bids and view.bid_count <= view.unsettled_bids
        own_ask = ask in quotes.asks and view.ask_count <= view.unsettled_asks
        if not own_bid and not own_ask:
            quotes.width = ask - bid
            quotes.fair = bid + ask
            both = view.bid_count + view.ask_count
            if self.parameters.fair_value == "weighted" and both:
                quotes.fair = 2 * (bid * view.ask_count + ask * view.bid_count) // both
        elif not quotes.fair:
            quotes.fair, quotes.width = bid + ask, ask - bid
        elif not own_ask:
            quotes.fair = 2 * ask - quotes.width
        elif not own_bid:
            quotes.fair = 2 * bid + quotes.width

    def _skew(self, position: int) -> int:
        parameters = self.parameters
        held = min(abs(position), parameters.maximum_inventory_contracts)
        shift = parameters.skew_dollars * held // parameters.maximum_inventory_contracts
        return shift if position > 0 else -shift

    def _side(self, view: MarketView, side: int, fair: int, *, reduces_only: bool) -> list[Target]:
        """Quotes of one side, the nearest first, within the inventory and never at or through the other side."""
        parameters = self.parameters
        ticks = view.ticks
        if not ticks:
            return []
        held = view.position * side
        reduces = held < 0
        if reduces_only and not reduces:
            return []
        # What reduces is cut to the position by the engine: no quote flips through zero.
        room = -held if reduces else parameters.maximum_inventory_contracts - held
        found: list[Target] = []
        last = 0
        for level in range(parameters.levels):
            distance = 2 * (parameters.half_spread_dollars + level * parameters.level_step_dollars)
            price = self._price(view, side, fair - side * distance)
            size = min(parameters.level_contracts, room)
            if not price or size <= 0:
                break
            if price == last:
                continue  # the grid is coarser than the step
            last = price
            room -= size
            found.append(Target(side, f"quote{level + 1}", price, size, GOOD_TILL_CANCELED))
        return found

    def _price(self, view: MarketView, side: int, doubled: int) -> int:
        """The valid price at or behind half of `doubled` that does not cross; 0 if there is none."""
        ticks = view.ticks
        if side == BID:
            wanted = min(doubled // 2, view.ask_price - 1)
            return price_at_or_below(ticks, wanted) if wanted >= ticks[0] else 0
        wanted = max(-(-doubled // 2), view.bid_price + 1)
        return price_at_or_above(ticks, wanted) if wanted <= ticks[-1] else 0
