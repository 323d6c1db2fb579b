"""Which markets to trade, by rules instead of tickers: a pure judgement over what the venue listed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Literal, Protocol, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator
from soloist_kalshi.numbers import count_from_text

from soloist_trader.strategies.base import Contracts


class Listed(Protocol):
    """What discovery reads of a listed market; `soloist_kalshi.messages.Market` is one."""

    @property
    def ticker(self) -> str:
        """The market's name."""

    @property
    def event_ticker(self) -> str:
        """Its event: the series, a hyphen, and what the event is about."""

    @property
    def status(self) -> str:
        """`active` while orders are taken."""

    @property
    def volume_fp(self) -> str:
        """Contracts traded so far, as a decimal text."""

    @property
    def close_time(self) -> str:
        """When it closes, as a text of RFC 3339."""


class DiscoverRule(BaseModel):
    """One rule of `markets.discover`. A market is found when every condition of one rule holds."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    series: str = Field(min_length=1, description="ticker of the series whose markets are looked at")
    status: Literal["active", "initialized", "inactive"] = Field(
        "active", description="the venue's status of the market; only active ones take orders"
    )
    minimum_volume_contracts: Contracts = Field(0, description="smallest volume so far")
    minimum_seconds_to_close: int = Field(0, ge=0, description="closes no earlier than this from now")
    maximum_seconds_to_close: int | None = Field(None, ge=1, description="closes no later than this from now")
    maximum_markets: int = Field(
        10, ge=1, le=1_000, description="at most so many, those with most volume first"
    )

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        latest = self.maximum_seconds_to_close
        if latest is not None and latest < self.minimum_seconds_to_close:
            raise ValueError(
                "maximum_seconds_to_close is below minimum_seconds_to_close: nothing can close between"
            )
        return self


def discover(markets: Iterable[Listed], rules: Sequence[DiscoverRule], now_ms: int) -> tuple[str, ...]:
    """Tickers that the rules find among `markets`, rule by rule, each once; within a rule by volume, then by ticker.

    Pure: the same listing gives the same tickers in the same sequence, however the venue sorted it.
    """
    listed = list(markets)
    found: dict[str, None] = {}
    for rule in rules:
        fitting = [
            (-count_from_text(market.volume_fp), market.ticker)
            for market in listed
            if _fits(market, rule, now_ms)
        ]
        for _, ticker in sorted(fitting)[: rule.maximum_markets]:
            found[ticker] = None
    return tuple(found)


def _fits(market: Listed, rule: DiscoverRule, now_ms: int) -> bool:
    if market.event_ticker != rule.series and not market.event_ticker.startswith(f"{rule.series}-"):
        return False
    if market.status != rule.status:
        return False
    if count_from_text(market.volume_fp) < rule.minimum_volume_contracts:
        return False
    left_ms = int(datetime.fromisoformat(market.close_time).timestamp() * 1000) - now_ms
    if left_ms < rule.minimum_seconds_to_close * 1000:
        return False
    latest = rule.maximum_seconds_to_close
    return latest is None or left_ms <= latest * 1000
