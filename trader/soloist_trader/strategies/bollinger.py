"""`bollinger` (origin S1): candles from trades, bands around their mean; enter outside of the bands, leave at the mean.

A price below the lower band is expected to come back, so YES is bought at the ask; above the upper band NO is bought
(YES is sold at the bid). It leaves at the mean, by a stop loss or after its hold time. Candles are working state: after
a restart it waits until the periods are full again.
"""

from __future__ import annotations

from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from soloist_trader.core.strategy import MarketView, Target
from soloist_trader.core.units import ASK, BID, IMMEDIATE_OR_CANCEL
from soloist_trader.strategies.base import Contracts, Dollars, Parameters, StrategyPlugin
from soloist_trader.strategies.candles import Bands, Candles

ENTRY = "entry"
EXIT = "exit"


class BollingerParameters(Parameters):
    """Parameters of `bollinger`. Prices are dollars of a contract that pays one dollar."""

    sides: Literal["yes", "no", "both"] = Field("both", description="which outcomes to buy")
    candle_seconds: float = Field(60.0, ge=0.1, description="length of a candle")
    periods: int = Field(20, ge=2, le=1_000, description="complete candles that the bands are made of")
    deviations: float = Field(
        2.0, ge=0.01, le=10, description="standard deviations from the mean to a band, to two decimals"
    )
    minimum_band_dollars: Dollars = Field(
        100, description="smallest distance of a band from the mean at which to enter"
    )
    maximum_spread_dollars: Dollars = Field(500, description="widest spread at which to enter")
    minimum_liquidity_contracts: Contracts = Field(
        100, description="smallest count at the price that is taken"
    )
    minimum_seconds_to_close: int = Field(60, ge=0, description="do not enter closer to the market's close")
    order_contracts: Contracts = Field(100, description="size of an entry")
    stop_loss_dollars: Dollars | None = Field(
        500, description="leave this far on the wrong side of the entry"
    )
    maximum_hold_seconds: float = Field(600.0, gt=0, description="leave after this time, whatever the price")
    cooldown_seconds: float = Field(1.0, ge=0, description="pause of a market after an entry was sent")

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if self.order_contracts == 0:
            raise ValueError('order_contracts is 0: nothing would ever be bought; write at least "0.01"')
        return self


class _Market:
    """Working state of one market."""

    __slots__ = ("candles", "entered_ms", "volume")

    def __init__(self, candles: Candles) -> None:
        self.candles = candles
        self.entered_ms = 0
        self.volume = -1
        """The market's volume at the last look; a trade shows as more of it. -1 before the first look."""


class Bollinger(StrategyPlugin[BollingerParameters]):
    """Buys outside of Bollinger bands made of trade candles, leaves at their mean."""

    name: ClassVar[str] = "bollinger"
    parameters_model: ClassVar[type[Parameters]] = BollingerParameters

    def __init__(self, parameters: BollingerParameters) -> None:
        super().__init__(parameters)
        self._length_ms = int(parameters.candle_seconds * 1000)
        self._hundredths = round(parameters.deviations * 100)
        self._hold_ms = int(parameters.maximum_hold_seconds * 1000)
        self._cooldown_ms = int(parameters.cooldown_seconds * 1000)
        self._markets: dict[str, _Market] = {}

    def _market(self, market: str) -> _Market:
        found = self._markets.get(market)
        if found is None:
            found = self._markets[market] = _Market(Candles(self._length_ms, self.parameters.periods))
        return found

    def entered(self, market: str, now_ms: int) -> None:
        """Start the cool-down."""
        self._market(market).entered_ms = now_ms

    def targets(self, view: MarketView) -> list[Target]:
        """An exit while something is held and due, an entry while nothing is."""
        market = self._market(view.market)
        bands = self._bands(view, market)
        if view.position:
            return self._exit(view, bands)
        return self._entry(view, market, bands) if bands is not None else []

    def _bands(self, view: MarketView, market: _Market) -> Bands | None:
        """Take in what was traded since the last look. The volume is the market's own, so none is counted twice."""
        if 0 <= market.volume < view.volume and view.last_price:
            market.candles.trade(view.now_ms, view.last_price)
        else:
            market.candles.advance(view.now_ms)
        market.volume = view.volume
        return market.candles.bands(self._hundredths)

    def _exit(self, view: MarketView, bands: Bands | None) -> list[Target]:
        sign = 1 if view.position > 0 else -1
        best = view.bid_price if sign > 0 else view.ask_price
        if not best:
            return []
        stop = self.parameters.stop_loss_dollars
        lost = stop is not None and (view.average_price - best) * sign >= stop
        back = bands is not None and (best - bands.mean) * sign >= 0
        if lost or back or view.now_ms - view.opened_ms >= self._hold_ms:
            return [Target(-sign, EXIT, best, abs(view.position), IMMEDIATE_OR_CANCEL)]
        return []

    def _entry(self, view: MarketView, market: _Market, bands: Bands) -> list[Target]:
        parameters = self.parameters
        bid, ask = view.bid_price, view.ask_price
        if not bid or not ask or ask - bid > parameters.maximum_spread_dollars:
            return []
        if bands.distance < parameters.minimum_band_dollars:
            return []
        if 0 < view.close_time_ms < view.now_ms + parameters.minimum_seconds_to_close * 1000:
            return []
        if view.now_ms - market.entered_ms < self._cooldown_ms:
            return []
        if parameters.sides != "no" and ask <= bands.mean - bands.distance:
            side, price, shown = BID, ask, view.ask_count
        elif parameters.sides != "yes" and bid >= bands.mean + bands.distance:
            side, price, shown = ASK, bid, view.bid_count
        else:
            return []
        if shown < parameters.minimum_liquidity_contracts:
            return []
        return [Target(side, ENTRY, price, parameters.order_contracts, IMMEDIATE_OR_CANCEL)]
