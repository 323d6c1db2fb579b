"""`threshold` (origin S3): enter where probability, liquidity, volume and spread fit; leave by profit, loss or time.

It enters one side of a market at a time, never adds to a position, and never flips through zero. The take-profit rests
on the book with an expiry; a stop or a timeout moves that same order to the best bid or ask by amend where the edge
amends, and elsewhere first cancels it, then sells what is left immediately-or-cancel.
"""

from __future__ import annotations

from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from soloist_trader.core.strategy import MarketView, Target, price_at_or_above, price_at_or_below
from soloist_trader.core.units import ASK, BID, GOOD_TILL_CANCELED, IMMEDIATE_OR_CANCEL
from soloist_trader.strategies.base import Contracts, Dollars, Parameters, StrategyPlugin

ENTRY = "entry"
EXIT = "exit"


class ThresholdParameters(Parameters):
    """Parameters of `threshold`. Probabilities and prices are dollars of a contract that pays one dollar."""

    side: Literal["yes", "no"] = Field("yes", description="which outcome to buy")
    entry: Literal["cross", "join"] = Field(
        "cross", description="take the other side's best price at once, or rest at the own side's best price"
    )
    minimum_probability: Dollars = Field(1_000, description="lowest middle price of YES at which to enter")
    maximum_probability: Dollars = Field(9_000, description="highest middle price of YES at which to enter")
    maximum_spread_dollars: Dollars = Field(500, description="widest spread at which to enter")
    minimum_liquidity_contracts: Contracts = Field(
        100, description="smallest count at the price that is taken"
    )
    minimum_volume_contracts: Contracts = Field(0, description="smallest volume of the market")
    minimum_seconds_to_close: int = Field(60, ge=0, description="do not enter closer to the market's close")
    order_contracts: Contracts = Field(100, description="size of an entry")
    take_profit_dollars: Dollars | None = Field(200, description="rest an exit this far above the entry")
    stop_loss_dollars: Dollars | None = Field(300, description="leave this far below the entry")
    maximum_hold_seconds: float = Field(60.0, gt=0, description="leave after this time, whatever the price")
    cooldown_seconds: float = Field(1.0, ge=0, description="pause of a market after an entry was sent")

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.minimum_probability > self.maximum_probability:
            raise ValueError("minimum_probability is above maximum_probability: no price can be between them")
        if self.order_contracts == 0:
            raise ValueError('order_contracts is 0: nothing would ever be bought; write at least "0.01"')
        return self


class Threshold(StrategyPlugin[ThresholdParameters]):
    """The strategy. Its working state is the time of the last entry of each market."""

    name: ClassVar[str] = "threshold"
    parameters_model: ClassVar[type[Parameters]] = ThresholdParameters

    def __init__(self, parameters: ThresholdParameters) -> None:
        super().__init__(parameters)
        self._side = BID if parameters.side == "yes" else ASK
        self._hold_ms = int(parameters.maximum_hold_seconds * 1000)
        self._cooldown_ms = int(parameters.cooldown_seconds * 1000)
        self._entered_ms: dict[str, int] = {}

    def entered(self, market: str, now_ms: int) -> None:
        """Start the cool-down."""
        self._entered_ms[market] = now_ms

    def targets(self, view: MarketView) -> list[Target]:
        """An exit while something is held, an entry while nothing is."""
        if view.position:
            return self._exit(view)
        return self._entry(view)

    def _exit(self, view: MarketView) -> list[Target]:
        parameters = self.parameters
        sign = 1 if view.position > 0 else -1
        side, size = -sign, abs(view.position)
        best = view.bid_price if sign > 0 else view.ask_price
        stop = parameters.stop_loss_dollars
        lost = best > 0 and stop is not None and (view.average_price - best) * sign >= stop
        if lost or view.now_ms - view.opened_ms >= self._hold_ms:
            return [Target(side, EXIT, best, size, IMMEDIATE_OR_CANCEL)] if best else []
        if parameters.take_profit_dollars is None:
            return []
        wanted = view.average_price + sign * parameters.take_profit_dollars
        price = price_at_or_above(view.ticks, wanted) if sign > 0 else price_at_or_below(view.ticks, wanted)
        return [Target(side, EXIT, price, size, GOOD_TILL_CANCELED)]

    def _entry(self, view: MarketView) -> list[Target]:
        parameters = self.parameters
        bid, ask = view.bid_price, view.ask_price
        if not bid or not ask or ask - bid > parameters.maximum_spread_dollars:
            return []
        if not parameters.minimum_probability * 2 <= bid + ask <= parameters.maximum_probability * 2:
            return []
        if view.volume < parameters.minimum_volume_contracts:
            return []
        if 0 < view.close_time_ms < view.now_ms + parameters.minimum_seconds_to_close * 1000:
            return []
        side = self._side
        taken_size = view.ask_count if side == BID else view.bid_count
        if taken_size < parameters.minimum_liquidity_contracts:
            return []
        resting = view.unsettled_bids if side == BID else view.unsettled_asks
        if not resting and view.now_ms - self._entered_ms.get(view.market, 0) < self._cooldown_ms:
            return []
        if parameters.entry == "cross":
            price = ask if side == BID else bid
            return [Target(side, ENTRY, price, parameters.order_contracts, IMMEDIATE_OR_CANCEL)]
        price = bid if side == BID else ask
        return [Target(side, ENTRY, price, parameters.order_contracts, GOOD_TILL_CANCELED)]
