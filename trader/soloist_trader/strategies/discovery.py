"""Which markets of a series to trade: a pure judgement over what the venue listed, with the reason of each."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from datetime import datetime
from typing import Literal, NamedTuple, Protocol, Self

from pydantic import Field, model_validator
from soloist_kalshi.numbers import (
    PRICE_PER_DOLLAR,
    count_from_text,
    count_to_text,
    price_from_dollars,
    price_to_dollars,
)

from soloist_trader.strategies.base import Contracts, Dollars, Parameters


class Listed(Protocol):
    """What discovery reads of a listed market; `soloist_kalshi.messages.Market` is one. Texts are decimals."""

    @property
    def ticker(self) -> str:
        """The market's name."""

    @property
    def volume_fp(self) -> str:
        """Contracts traded so far."""

    @property
    def close_time(self) -> str:
        """When it closes, as a text of RFC 3339."""

    @property
    def yes_bid_dollars(self) -> str:
        """Best price somebody pays for YES, 0 if nobody does."""

    @property
    def yes_ask_dollars(self) -> str:
        """Best price at which somebody sells YES, 0 or a dollar if nobody does."""

    @property
    def yes_bid_size_fp(self) -> str:
        """Contracts at the best bid."""

    @property
    def yes_ask_size_fp(self) -> str:
        """Contracts at the best ask."""


class MarketFilters(Parameters):
    """`markets.filters`: which markets of the series are chosen. Every condition has to hold when a market is chosen.

    A market that is followed stays until it closes: filters judge who comes in, never who goes.
    """

    status: Literal["active", "initialized", "inactive"] = Field(
        default="active", description="active takes orders; initialized opens later; inactive is paused"
    )
    min_volume: Contracts = Field(default=0, description="contracts traded so far, at least")
    max_spread: Dollars | None = Field(default=None, description="best ask less best bid in dollars, at most")
    min_liquidity: Contracts = Field(
        default=0, description="contracts at the best bid, and at the best ask, at least"
    )
    min_seconds_to_close: int = Field(default=0, ge=0, description="closes no earlier than this from now")
    max_seconds_to_close: int | None = Field(
        default=None, ge=1, description="closes no later than this from now"
    )
    max_markets: int = Field(
        default=100,
        ge=1,
        le=500,
        description="at most so many of all series together, those with most volume first",
    )

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        latest = self.max_seconds_to_close
        if latest is not None and latest < self.min_seconds_to_close:
            raise ValueError(
                f"maxSecondsToClose {latest} is below minSecondsToClose {self.min_seconds_to_close}: "
                "no market can close between; raise the first or lower the second"
            )
        return self


class Verdict(NamedTuple):
    """What became of one listed market. `rule` is empty if it is chosen, else the filter that left it out."""

    ticker: str
    rule: str
    why: str


def judge(
    listed: Iterable[Listed], filters: MarketFilters, following: Collection[str], now_ms: int
) -> list[Verdict]:
    """Judge every listed market: those that are followed first, then by volume, then by ticker.

    `listed` already has the status that is wanted: the venue filters by it. Pure: the same listing gives the same
    verdicts in the same sequence, however the venue sorted it. Raises ValueError for a number or time that is none.
    """
    ordered = sorted(
        listed,
        key=lambda market: (
            market.ticker not in following,
            -count_from_text(market.volume_fp),
            market.ticker,
        ),
    )
    places = max(filters.max_markets - len(following), 0)
    verdicts = []
    for market in ordered:
        if market.ticker in following:
            verdict = Verdict(market.ticker, "", "followed already")
        else:
            verdict = _judge_new(market, filters, now_ms)
            if not verdict.rule and not places:
                verdict = Verdict(
                    market.ticker, "maxMarkets", f"{filters.max_markets} markets come before it"
                )
            places -= not verdict.rule
        verdicts.append(verdict)
    return verdicts


def _judge_new(market: Listed, filters: MarketFilters, now_ms: int) -> Verdict:
    left_s = int(datetime.fromisoformat(market.close_time).timestamp()) - now_ms // 1000
    volume = count_from_text(market.volume_fp)
    bid, ask = price_from_dollars(market.yes_bid_dollars), price_from_dollars(market.yes_ask_dollars)
    one_sided = not bid or ask in {0, PRICE_PER_DOLLAR}
    thinnest = min(count_from_text(market.yes_bid_size_fp), count_from_text(market.yes_ask_size_fp))
    rule = why = ""
    if volume < filters.min_volume:
        rule, why = (
            "minVolume",
            f"volume {market.volume_fp} is below {count_to_text(filters.min_volume)}",
        )
    elif left_s < filters.min_seconds_to_close:
        rule, why = "minSecondsToClose", f"closes in {left_s} s, before {filters.min_seconds_to_close} s"
    elif filters.max_seconds_to_close is not None and left_s > filters.max_seconds_to_close:
        rule, why = "maxSecondsToClose", f"closes in {left_s} s, after {filters.max_seconds_to_close} s"
    elif filters.max_spread is not None and one_sided:
        rule, why = "maxSpread", "one side of its book is empty"
    elif filters.max_spread is not None and ask - bid > filters.max_spread:
        rule, why = (
            "maxSpread",
            f"spread {price_to_dollars(ask - bid)} is above {price_to_dollars(filters.max_spread)}",
        )
    elif thinnest < filters.min_liquidity:
        rule, why = (
            "minLiquidity",
            f"{count_to_text(thinnest)} contracts at the best price of a side, below {count_to_text(filters.min_liquidity)}",
        )
    else:
        why = f"volume {market.volume_fp}, bid {market.yes_bid_dollars}, ask {market.yes_ask_dollars}, closes in {left_s} s"
    return Verdict(market.ticker, rule, why)
