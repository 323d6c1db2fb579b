"""REST bodies of the venue as typed structs (sections 6-8 and 10). The exchange encodes with the same structs.

Field names are the venue's, and numbers stay the venue's decimal texts: `numbers` turns them into integers. Their syntax is
checked while decoding, so a text that arrives here converts. Optional fields are None when absent, and absent when None.
"""

from typing import Annotated, Literal

import msgspec

from soloist_kalshi.numbers import PriceGrid

__all__ = [
    "AccountLimits",
    "ApiKey",
    "ApiKeyList",
    "Balance",
    "BalanceOfShard",
    "BookSide",
    "BucketLimits",
    "CancelOrderReply",
    "ComboLeg",
    "CountText",
    "CreateOrder",
    "CreateOrderReply",
    "DollarText",
    "EndpointCost",
    "EndpointCosts",
    "EventPosition",
    "ExchangeStatus",
    "Fill",
    "FillPage",
    "GenerateApiKey",
    "GeneratedApiKey",
    "LevelText",
    "LimitGrant",
    "Market",
    "MarketPage",
    "MarketPosition",
    "MarketReply",
    "MarketStatus",
    "Order",
    "OrderBook",
    "OrderBookReply",
    "OrderPage",
    "OrderReply",
    "OrderStatus",
    "OutcomeSide",
    "PositionPage",
    "PriceRange",
    "PriceText",
    "SelfTradePrevention",
    "ShardStatus",
    "TimeInForce",
    "Trade",
    "TradePage",
    "UserDataTimestamp",
]

# \Z, because $ also matches before a final newline. A price has no digit below 1/10 000 dollar, a count none below 1/100.
DollarText = Annotated[str, msgspec.Meta(pattern=r"^-?[0-9]{1,12}(\.[0-9]{1,6})?\Z")]
PriceText = Annotated[str, msgspec.Meta(pattern=r"^[0-9]{1,12}(\.[0-9]{1,4}0{0,2})?\Z")]
CountText = Annotated[str, msgspec.Meta(pattern=r"^-?[0-9]{1,12}(\.[0-9]{1,2}0{0,4})?\Z")]
LevelText = tuple[PriceText, CountText]

BookSide = Literal["bid", "ask"]
OutcomeSide = Literal["yes", "no"]
OrderStatus = Literal["resting", "canceled", "executed"]
TimeInForce = Literal["good_till_canceled", "immediate_or_cancel", "fill_or_kill"]
SelfTradePrevention = Literal["taker_at_cross", "maker"]
MarketStatus = Literal[
    "initialized", "inactive", "active", "closed", "determined", "disputed", "amended", "finalized"
]


class _Body(msgspec.Struct, frozen=True, omit_defaults=True):
    """A struct whose None fields are left out."""


class ShardStatus(_Body, frozen=True, kw_only=True):
    """One shard in the exchange status."""

    exchange_index: int
    exchange_active: bool
    trading_active: bool
    description: str | None = None
    intra_exchange_transfers_active: bool | None = None


class ExchangeStatus(_Body, frozen=True, kw_only=True):
    """GET /exchange/status."""

    exchange_active: bool
    trading_active: bool
    intra_exchange_transfers_active: bool | None = None
    exchange_estimated_resume_time: str | None = None
    exchange_index_statuses: list[ShardStatus] | None = None


class UserDataTimestamp(_Body, frozen=True, kw_only=True):
    """GET /exchange/user_data_timestamp: how fresh balance, orders, fills and positions are (RFC 3339)."""

    as_of_time: str


class PriceRange(_Body, frozen=True, kw_only=True):
    """One stretch of a market's price grid, dollar texts."""

    start: PriceText
    end: PriceText
    step: PriceText


class ComboLeg(_Body, frozen=True, kw_only=True):
    """One leg of a combination market."""

    event_ticker: str
    market_ticker: str
    side: OutcomeSide
    yes_settlement_value_dollars: DollarText | None = None


class Market(_Body, frozen=True, kw_only=True):
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


class MarketPage(_Body, frozen=True, kw_only=True):
    """GET /markets."""

    markets: list[Market]
    cursor: str | None = ""


class MarketReply(_Body, frozen=True, kw_only=True):
    """GET /markets/{ticker}."""

    market: Market


class OrderBook(_Body, frozen=True, kw_only=True):
    """Bids only, ascending, best level last; the NO side in NO prices. A side may be absent."""

    yes_dollars: list[LevelText] | None = None
    no_dollars: list[LevelText] | None = None


class OrderBookReply(_Body, frozen=True, kw_only=True):
    """GET /markets/{ticker}/orderbook; an empty book came as `{"orderbook": {}}` from the 2026-06 demo."""

    orderbook_fp: OrderBook | None = None
    orderbook: OrderBook | None = None


class Trade(_Body, frozen=True, kw_only=True):
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


class TradePage(_Body, frozen=True, kw_only=True):
    """GET /markets/trades, newest first."""

    trades: list[Trade]
    cursor: str | None = ""


class BalanceOfShard(_Body, frozen=True, kw_only=True):
    """The balance on one shard."""

    exchange_index: int
    balance: int | DollarText


class Balance(_Body, frozen=True, kw_only=True):
    """GET /portfolio/balance; `balance` and `portfolio_value` are whole cents, truncated."""

    balance: int
    balance_dollars: DollarText
    portfolio_value: int
    updated_ts: int
    balance_breakdown: list[BalanceOfShard] | None = None


class Order(_Body, frozen=True, kw_only=True):
    """An order as the portfolio reads show it; prices are on the YES book."""

    order_id: str
    client_order_id: str
    ticker: str
    outcome_side: OutcomeSide
    book_side: BookSide
    status: OrderStatus
    yes_price_dollars: PriceText
    no_price_dollars: PriceText
    fill_count_fp: CountText
    remaining_count_fp: CountText
    initial_count_fp: CountText
    user_id: str | None = None
    side: OutcomeSide | None = None
    action: Literal["buy", "sell"] | None = None
    type: Literal["limit", "market"] | None = None
    taker_fill_cost_dollars: DollarText | None = None
    maker_fill_cost_dollars: DollarText | None = None
    taker_fees_dollars: DollarText | None = None
    maker_fees_dollars: DollarText | None = None
    expiration_time: str | None = None
    created_time: str | None = None
    last_update_time: str | None = None
    self_trade_prevention_type: SelfTradePrevention | None = None
    order_group_id: str | None = None
    cancel_order_on_pause: bool | None = None
    subaccount_number: int | None = None
    exchange_index: int | None = None


class OrderPage(_Body, frozen=True, kw_only=True):
    """GET /portfolio/orders."""

    orders: list[Order]
    cursor: str | None = ""


class OrderReply(_Body, frozen=True, kw_only=True):
    """GET /portfolio/orders/{order_id}."""

    order: Order


class Fill(_Body, frozen=True, kw_only=True):
    """One of our fills. It has no client order id: join through `order_id`. `ts` is in seconds."""

    fill_id: str
    trade_id: str
    order_id: str
    ticker: str
    outcome_side: OutcomeSide
    book_side: BookSide
    count_fp: CountText
    yes_price_dollars: PriceText
    no_price_dollars: PriceText
    is_taker: bool
    fee_cost: DollarText
    market_ticker: str | None = None
    side: OutcomeSide | None = None
    action: Literal["buy", "sell"] | None = None
    created_time: str | None = None
    subaccount_number: int | None = None
    ts: int | None = None
    exchange_index: int | None = None


class FillPage(_Body, frozen=True, kw_only=True):
    """GET /portfolio/fills."""

    fills: list[Fill]
    cursor: str | None = ""


class MarketPosition(_Body, frozen=True, kw_only=True):
    """Our position in one market; negative `position_fp` is NO."""

    ticker: str
    total_traded_dollars: DollarText
    position_fp: CountText
    market_exposure_dollars: DollarText
    realized_pnl_dollars: DollarText
    fees_paid_dollars: DollarText
    last_updated_ts: str | None = None
    exchange_index: int | None = None


class EventPosition(_Body, frozen=True, kw_only=True):
    """Our position over one event."""

    event_ticker: str
    total_cost_dollars: DollarText
    total_cost_shares_fp: CountText
    event_exposure_dollars: DollarText
    realized_pnl_dollars: DollarText
    fees_paid_dollars: DollarText


class PositionPage(_Body, frozen=True, kw_only=True):
    """GET /portfolio/positions."""

    market_positions: list[MarketPosition]
    event_positions: list[EventPosition]
    cursor: str | None = ""


class BucketLimits(_Body, frozen=True, kw_only=True):
    """One token bucket: tokens per second and tokens at most."""

    refill_rate: Annotated[int, msgspec.Meta(ge=1)]
    bucket_capacity: Annotated[int, msgspec.Meta(ge=1)]


class LimitGrant(_Body, frozen=True, kw_only=True):
    """Why an account has its tier."""

    exchange_instance: str
    level: str
    source: str
    expires_ts: int | None = None


class AccountLimits(_Body, frozen=True, kw_only=True):
    """GET /account/limits."""

    usage_tier: str
    read: BucketLimits
    write: BucketLimits
    grants: list[LimitGrant] | None = None


class EndpointCost(_Body, frozen=True, kw_only=True):
    """What one call takes from its bucket."""

    method: str
    path: str
    cost: int


class EndpointCosts(_Body, frozen=True, kw_only=True):
    """GET /account/endpoint_costs."""

    default_cost: int
    endpoint_costs: list[EndpointCost]


class ApiKey(_Body, frozen=True, kw_only=True):
    """One API key of the account, without its secret."""

    api_key_id: str
    name: str
    scopes: list[str]
    subaccount: int | None = None
    key_type: Literal["rsa", "ed25519"] | None = None


class ApiKeyList(_Body, frozen=True, kw_only=True):
    """GET /api_keys."""

    api_keys: list[ApiKey]
    api_key_region_expiration_ts: int | None = None


class GenerateApiKey(_Body, frozen=True, kw_only=True):
    """Body of POST /api_keys/generate; no scopes means read and write."""

    name: str
    key_type: Literal["rsa", "ed25519"] | None = None
    scopes: list[str] | None = None
    subaccount: int | None = None


class GeneratedApiKey(_Body, frozen=True, kw_only=True):
    """The only reply that ever carries the private key (PEM)."""

    api_key_id: str
    private_key: str
    key_type: Literal["rsa", "ed25519"] | None = None
    warning: str | None = None

    def __repr__(self) -> str:
        return f"GeneratedApiKey(api_key_id={self.api_key_id!r})"


class CreateOrder(_Body, frozen=True, kw_only=True):
    """Body of POST /portfolio/events/orders; side and price are on the YES book, numbers are decimal texts.

    `expiration_time` is Unix seconds and goes with good_till_canceled only.
    """

    ticker: str
    side: BookSide
    count: CountText
    price: PriceText
    time_in_force: TimeInForce
    self_trade_prevention_type: SelfTradePrevention
    client_order_id: str | None = None
    expiration_time: int | None = None
    post_only: bool | None = None
    reduce_only: bool | None = None
    cancel_order_on_pause: bool | None = None
    subaccount: int | None = None
    order_group_id: str | None = None
    exchange_index: int | None = None


class CreateOrderReply(_Body, frozen=True, kw_only=True):
    """201 of POST /portfolio/events/orders; it carries no status, averages only after a fill."""

    order_id: str
    fill_count: CountText
    remaining_count: CountText
    ts_ms: int
    client_order_id: str | None = None
    average_fill_price: DollarText | None = None
    average_fee_paid: DollarText | None = None


class CancelOrderReply(_Body, frozen=True, kw_only=True):
    """200 of DELETE /portfolio/events/orders/{order_id}; the 2026-06 demo left client_order_id out."""

    order_id: str
    reduced_by: CountText
    ts_ms: int
    client_order_id: str | None = None
