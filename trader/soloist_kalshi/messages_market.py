"""REST bodies of exchange, markets, events, series and history (section 6)."""

from typing import Any, Literal

import msgspec

from soloist_kalshi.messages_base import (
    Body,
    BookSide,
    CountText,
    Cursor,
    DollarText,
    LevelText,
    MarketStatus,
    OutcomeSide,
    PriceText,
    WholeBody,
)
from soloist_kalshi.numbers import PriceGrid

__all__ = [
    "CandlePrice",
    "CandleSide",
    "Candlestick",
    "CandlesticksReply",
    "ComboLeg",
    "DailyHours",
    "Event",
    "EventFeeChange",
    "EventFeeChangePage",
    "EventPage",
    "EventReply",
    "ExchangeStatus",
    "HistoricalCutoff",
    "MaintenanceWindow",
    "Market",
    "MarketCandlesticks",
    "MarketPage",
    "MarketReply",
    "MarketsCandlesticksReply",
    "OrderBook",
    "OrderBookOfMarket",
    "OrderBookReply",
    "OrderBooksReply",
    "PriceRange",
    "Schedule",
    "ScheduleReply",
    "Series",
    "SeriesFeeChange",
    "SeriesFeeChanges",
    "SeriesList",
    "SeriesReply",
    "SettlementSource",
    "ShardStatus",
    "StandardHours",
    "Trade",
    "TradePage",
    "UserDataTimestamp",
]


class ShardStatus(Body, frozen=True, kw_only=True):
    """One shard in the exchange status."""

    exchange_index: int
    exchange_active: bool
    trading_active: bool
    description: str | None = None
    intra_exchange_transfers_active: bool | None = None


class ExchangeStatus(Body, frozen=True, kw_only=True):
    """GET /exchange/status."""

    exchange_active: bool
    trading_active: bool
    intra_exchange_transfers_active: bool | None = None
    exchange_estimated_resume_time: str | None = None
    exchange_index_statuses: list[ShardStatus] | None = None


class UserDataTimestamp(Body, frozen=True, kw_only=True):
    """GET /exchange/user_data_timestamp: how fresh balance, orders, fills and positions are (RFC 3339)."""

    as_of_time: str


class DailyHours(Body, frozen=True, kw_only=True):
    """One stretch of opening hours, `HH:MM` in Eastern time."""

    open_time: str
    close_time: str


class StandardHours(Body, frozen=True, kw_only=True):
    """The weekly hours that hold from `start_time` to `end_time` (RFC 3339)."""

    start_time: str
    end_time: str
    monday: list[DailyHours]
    tuesday: list[DailyHours]
    wednesday: list[DailyHours]
    thursday: list[DailyHours]
    friday: list[DailyHours]
    saturday: list[DailyHours]
    sunday: list[DailyHours]


class MaintenanceWindow(Body, frozen=True, kw_only=True):
    """When the exchange will be down (RFC 3339)."""

    start_datetime: str
    end_datetime: str


class Schedule(Body, frozen=True, kw_only=True):
    """Hours and maintenance of the exchange."""

    standard_hours: list[StandardHours]
    maintenance_windows: list[MaintenanceWindow]


class ScheduleReply(Body, frozen=True, kw_only=True):
    """GET /exchange/schedule."""

    schedule: Schedule


class PriceRange(Body, frozen=True, kw_only=True):
    """One stretch of a market's price grid, dollar texts."""

    start: PriceText
    end: PriceText
    step: PriceText


class ComboLeg(Body, frozen=True, kw_only=True):
    """One leg of a combination market."""

    event_ticker: str
    market_ticker: str
    side: OutcomeSide
    yes_settlement_value_dollars: DollarText | None = None


class Market(Body, frozen=True, kw_only=True):
    """A market. `status` "active" is what the list filter calls "open"."""

    ticker: str
    event_ticker: str
    market_type: str
    yes_sub_title: str
    no_sub_title: str
    created_time: str
    updated_time: str
    open_time: str
    close_time: str
    latest_expiration_time: str
    settlement_timer_seconds: int
    status: MarketStatus
    yes_bid_dollars: PriceText
    yes_bid_size_fp: CountText
    yes_ask_dollars: PriceText
    yes_ask_size_fp: CountText
    no_bid_dollars: PriceText
    no_ask_dollars: PriceText
    last_price_dollars: PriceText
    volume_fp: CountText
    volume_24h_fp: CountText
    result: Literal["yes", "no", "scalar", ""]
    can_close_early: bool
    open_interest_fp: CountText
    notional_value_dollars: DollarText
    previous_yes_bid_dollars: PriceText
    previous_yes_ask_dollars: PriceText
    previous_price_dollars: PriceText
    expiration_value: str
    rules_primary: str
    rules_secondary: str
    price_level_structure: str
    price_ranges: list[PriceRange]
    title: str | None = None
    subtitle: str | None = None
    expected_expiration_time: str | None = None
    expiration_time: str | None = None
    liquidity_dollars: DollarText | None = None
    settlement_value_dollars: DollarText | None = None
    settlement_ts: str | None = None
    occurrence_datetime: str | None = None
    fee_waiver_expiration_time: str | None = None
    early_close_condition: str | None = None
    strike_type: str | None = None
    floor_strike: float | None = None  # strikes are labels, never money: the venue sends JSON numbers
    cap_strike: float | None = None
    functional_strike: str | None = None
    custom_strike: dict[str, str] | None = None
    mve_selected_legs: list[ComboLeg] | None = None
    mve_collection_ticker: str | None = None
    primary_participant_key: str | None = None
    is_provisional: bool | None = None
    exchange_index: int | None = None

    def price_grid(self) -> PriceGrid:
        """Return the prices that orders may have; raises NumberError when the ranges are no grid."""
        return PriceGrid.from_ranges(
            {"start": item.start, "end": item.end, "step": item.step} for item in self.price_ranges
        )


class MarketPage(Body, frozen=True, kw_only=True):
    """GET /markets."""

    markets: list[Market]
    cursor: Cursor = msgspec.UNSET


class MarketReply(Body, frozen=True, kw_only=True):
    """GET /markets/{ticker}."""

    market: Market


class OrderBook(Body, frozen=True, kw_only=True):
    """Bids only, ascending, best level last; the NO side in NO prices. A side may be absent."""

    yes_dollars: list[LevelText] | None = None
    no_dollars: list[LevelText] | None = None


class OrderBookReply(Body, frozen=True, kw_only=True):
    """GET /markets/{ticker}/orderbook; an empty book came as `{"orderbook": {}}` from the 2026-06 demo."""

    orderbook_fp: OrderBook | None = None
    orderbook: OrderBook | None = None


class OrderBookOfMarket(Body, frozen=True, kw_only=True):
    """One book of the answer for several."""

    ticker: str
    orderbook_fp: OrderBook


class OrderBooksReply(Body, frozen=True, kw_only=True):
    """GET /markets/orderbooks."""

    orderbooks: list[OrderBookOfMarket]


class Trade(Body, frozen=True, kw_only=True):
    """A public trade."""

    trade_id: str
    ticker: str
    count_fp: CountText
    yes_price_dollars: PriceText
    no_price_dollars: PriceText
    taker_outcome_side: OutcomeSide
    taker_book_side: BookSide
    created_time: str
    is_block_trade: bool
    taker_side: OutcomeSide | None = None


class TradePage(Body, frozen=True, kw_only=True):
    """GET /markets/trades, newest first."""

    trades: list[Trade]
    cursor: Cursor = msgspec.UNSET


class CandleSide(WholeBody, frozen=True, kw_only=True):
    """Best price of one side of the YES book over a period."""

    open_dollars: PriceText | None = None
    low_dollars: PriceText | None = None
    high_dollars: PriceText | None = None
    close_dollars: PriceText | None = None


class CandlePrice(WholeBody, frozen=True, kw_only=True):
    """Traded prices over a period, null without a trade; `previous_dollars` is the last price before it.

    The mean is a quotient and so has up to six decimals.
    """

    open_dollars: PriceText | None = None
    low_dollars: PriceText | None = None
    high_dollars: PriceText | None = None
    close_dollars: PriceText | None = None
    mean_dollars: DollarText | None = None
    previous_dollars: PriceText | None = None


class Candlestick(Body, frozen=True, kw_only=True):
    """One period of a market, which ends at `end_period_ts` (Unix seconds, inclusive)."""

    end_period_ts: int
    yes_bid: CandleSide
    yes_ask: CandleSide
    price: CandlePrice
    volume_fp: CountText
    open_interest_fp: CountText


class CandlesticksReply(Body, frozen=True, kw_only=True):
    """GET /series/{series_ticker}/markets/{ticker}/candlesticks."""

    ticker: str
    candlesticks: list[Candlestick]


class MarketCandlesticks(Body, frozen=True, kw_only=True):
    """The candles of one market in the answer for several."""

    market_ticker: str
    candlesticks: list[Candlestick]


class MarketsCandlesticksReply(Body, frozen=True, kw_only=True):
    """GET /markets/candlesticks."""

    markets: list[MarketCandlesticks]


class SettlementSource(Body, frozen=True, kw_only=True):
    """Where the outcome is read."""

    name: str | None = None
    url: str | None = None


class Event(Body, frozen=True, kw_only=True):
    """An event: markets that share a question. The fee fields override its series'.

    `fee_multiplier_override` is a JSON number on the wire; `fees.multiplier_from_number` makes the integer of it.
    """

    event_ticker: str
    series_ticker: str
    sub_title: str
    title: str
    mutually_exclusive: bool
    collateral_return_type: str | None = None
    category: str | None = None
    strike_date: str | None = None
    strike_period: str | None = None
    markets: list[Market] | None = None
    product_metadata: dict[str, Any] | None = None
    settlement_sources: list[SettlementSource] | None = None
    last_updated_ts: str | None = None
    fee_type_override: str | None = None
    fee_multiplier_override: float | None = None
    exchange_index: int | None = None
    available_on_brokers: bool | None = None


class EventPage(Body, frozen=True, kw_only=True):
    """GET /events; at most 200 a page."""

    events: list[Event]
    cursor: Cursor = msgspec.UNSET


class EventReply(Body, frozen=True, kw_only=True):
    """GET /events/{event_ticker}; the markets are here, or in the event with `with_nested_markets`."""

    event: Event
    markets: list[Market] | None = None


class Series(Body, frozen=True, kw_only=True):
    """A series: events that recur. `fee_multiplier` is a JSON number on the wire: see `fees.multiplier_from_number`."""

    ticker: str
    frequency: str
    title: str
    category: str
    fee_type: str
    fee_multiplier: float
    tags: list[str] | None = None
    categories: list[str] | None = None
    settlement_sources: list[SettlementSource] | None = None
    contract_url: str | None = None
    contract_terms_url: str | None = None
    product_metadata: dict[str, Any] | None = None
    additional_prohibitions: list[str] | None = None
    volume_fp: CountText | None = None
    last_updated_ts: str | None = None
    exchange_index: int | None = None


class SeriesList(Body, frozen=True, kw_only=True):
    """GET /series, which is not paged."""

    series: list[Series]


class SeriesReply(Body, frozen=True, kw_only=True):
    """GET /series/{series_ticker}."""

    series: Series


class SeriesFeeChange(Body, frozen=True, kw_only=True):
    """The fee terms of a series from `scheduled_ts` (RFC 3339) on."""

    id: str
    series_ticker: str
    fee_type: str
    fee_multiplier: float
    scheduled_ts: str


class SeriesFeeChanges(Body, frozen=True, kw_only=True):
    """GET /series/fee_changes."""

    series_fee_change_arr: list[SeriesFeeChange]


class EventFeeChange(Body, frozen=True, kw_only=True):
    """The fee override of an event from `scheduled_ts` (RFC 3339) on; null ends the override."""

    id: str
    event_ticker: str
    scheduled_ts: str
    fee_type_override: str | None = None
    fee_multiplier_override: float | None = None


class EventFeeChangePage(Body, frozen=True, kw_only=True):
    """GET /events/fee_changes, which unlike that of series has pages."""

    event_fee_changes: list[EventFeeChange]
    cursor: Cursor = msgspec.UNSET


class HistoricalCutoff(Body, frozen=True, kw_only=True):
    """GET /historical/cutoff: what is older is read under /historical (RFC 3339)."""

    market_settled_ts: str
    trades_created_ts: str
    orders_updated_ts: str
    market_positions_last_updated_ts: str | None = None
