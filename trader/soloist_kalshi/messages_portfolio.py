"""REST bodies of the portfolio reads (section 7)."""

from typing import Literal

import msgspec

from soloist_kalshi.messages_base import (
    Body,
    BookSide,
    CountText,
    Cursor,
    DollarText,
    OrderStatus,
    OutcomeSide,
    PriceText,
    SelfTradePrevention,
    WholeBody,
)

__all__ = [
    "Balance",
    "BalanceOfShard",
    "EventPosition",
    "Fill",
    "FillPage",
    "MarketPosition",
    "Order",
    "OrderPage",
    "OrderReply",
    "PositionPage",
    "QueuePosition",
    "QueuePositionList",
    "QueuePositionReply",
    "RestingOrderValue",
    "Settlement",
    "SettlementPage",
]


class BalanceOfShard(Body, frozen=True, kw_only=True):
    """The balance on one shard."""

    exchange_index: int
    balance: int | DollarText


class Balance(Body, frozen=True, kw_only=True):
    """GET /portfolio/balance; `balance` and `portfolio_value` are whole cents, truncated."""

    balance: int
    balance_dollars: DollarText
    portfolio_value: int
    updated_ts: int
    balance_breakdown: list[BalanceOfShard] | None = None


class Order(Body, frozen=True, kw_only=True):
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


class OrderPage(Body, frozen=True, kw_only=True):
    """GET /portfolio/orders."""

    orders: list[Order]
    cursor: Cursor = msgspec.UNSET


class OrderReply(Body, frozen=True, kw_only=True):
    """GET /portfolio/orders/{order_id}."""

    order: Order


class Fill(Body, frozen=True, kw_only=True):
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


class FillPage(Body, frozen=True, kw_only=True):
    """GET /portfolio/fills."""

    fills: list[Fill]
    cursor: Cursor = msgspec.UNSET


class MarketPosition(Body, frozen=True, kw_only=True):
    """Our position in one market; negative `position_fp` is NO."""

    ticker: str
    total_traded_dollars: DollarText
    position_fp: CountText
    market_exposure_dollars: DollarText
    realized_pnl_dollars: DollarText
    fees_paid_dollars: DollarText
    last_updated_ts: str | None = None
    exchange_index: int | None = None


class EventPosition(Body, frozen=True, kw_only=True):
    """Our position over one event."""

    event_ticker: str
    total_cost_dollars: DollarText
    total_cost_shares_fp: CountText
    event_exposure_dollars: DollarText
    realized_pnl_dollars: DollarText
    fees_paid_dollars: DollarText


class PositionPage(Body, frozen=True, kw_only=True):
    """GET /portfolio/positions."""

    market_positions: list[MarketPosition]
    event_positions: list[EventPosition]
    cursor: Cursor = msgspec.UNSET


class Settlement(WholeBody, frozen=True, kw_only=True):
    """What a market paid us. `revenue` is in whole cents, `value` in cents per YES contract and null for yes and no."""

    ticker: str
    event_ticker: str
    market_result: Literal["yes", "no", "scalar", "void"]
    yes_count_fp: CountText
    yes_total_cost_dollars: DollarText
    no_count_fp: CountText
    no_total_cost_dollars: DollarText
    revenue: int
    settled_time: str
    fee_cost: DollarText
    value: int | None = None
    exchange_index: int | None = None


class SettlementPage(Body, frozen=True, kw_only=True):
    """GET /portfolio/settlements."""

    settlements: list[Settlement]
    cursor: Cursor = msgspec.UNSET


class QueuePosition(Body, frozen=True, kw_only=True):
    """Contracts ahead of one resting order; 0 is the front."""

    order_id: str
    market_ticker: str
    queue_position_fp: CountText


class QueuePositionList(Body, frozen=True, kw_only=True):
    """GET /portfolio/orders/queue_positions."""

    queue_positions: list[QueuePosition]


class QueuePositionReply(Body, frozen=True, kw_only=True):
    """GET /portfolio/orders/{order_id}/queue_position."""

    queue_position_fp: CountText


class RestingOrderValue(Body, frozen=True, kw_only=True):
    """GET /portfolio/summary/total_resting_order_value, in whole cents, and in dollars by shard."""

    total_resting_order_value: int
    resting_order_value_breakdown: list[BalanceOfShard] | None = None
