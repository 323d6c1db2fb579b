"""WebSocket frames of the venue as typed structs (section 13), and its commands under the same name. The exchange encodes with them.

A frame is `{type, sid, seq?, msg}`; `Frame` is the union of all known ones, told apart by `type`. Fields that the contract marks as
optional or deprecated may be absent; every other one is required. `codec.FrameDecoder` decodes, and never fails on a type that is new
to us: it returns `UnknownFrame`.
"""

from typing import Annotated, Any, Literal

import msgspec

from soloist_kalshi.frames_commands import (
    Command,
    CommandId,
    ListSubscriptionsCommand,
    SubscribeCommand,
    SubscribeParams,
    UnsubscribeCommand,
    UnsubscribeParams,
    UpdateAction,
    UpdateSubscriptionCommand,
    UpdateSubscriptionParams,
)
from soloist_kalshi.messages_base import (
    Body,
    BookSide,
    CountText,
    DollarText,
    LevelText,
    OrderStatus,
    OutcomeSide,
    PriceText,
    WholeBody,
)
from soloist_kalshi.messages_market import PriceRange

__all__ = [
    "Channel",
    "Command",
    "CommandId",
    "ErrorFrame",
    "ErrorMessage",
    "EventFeeUpdateFrame",
    "EventFeeUpdateMessage",
    "EventLifecycleFrame",
    "EventLifecycleMessage",
    "FillFrame",
    "FillMessage",
    "Frame",
    "LifecycleMetadata",
    "ListSubscriptionsCommand",
    "MarketLifecycleFrame",
    "MarketLifecycleMessage",
    "MarketPositionFrame",
    "MarketPositionMessage",
    "OkFrame",
    "OkMessage",
    "OrderGroupUpdateFrame",
    "OrderGroupUpdateMessage",
    "OrderbookDeltaFrame",
    "OrderbookDeltaMessage",
    "OrderbookSnapshotFrame",
    "OrderbookSnapshotMessage",
    "SubscribeCommand",
    "SubscribeParams",
    "SubscribedFrame",
    "SubscribedMessage",
    "SubscriptionInfo",
    "TickerFrame",
    "TickerMessage",
    "TradeFrame",
    "TradeMessage",
    "UnknownFrame",
    "UnsubscribeCommand",
    "UnsubscribeParams",
    "UnsubscribedFrame",
    "UpdateAction",
    "UpdateSubscriptionCommand",
    "UpdateSubscriptionParams",
    "UserOrderFrame",
    "UserOrderMessage",
]

Channel = Literal[
    "orderbook_delta",
    "ticker",
    "trade",
    "fill",
    "market_positions",
    "user_orders",
    "order_group_updates",
    "market_lifecycle_v2",
]
Sequence = Annotated[int, msgspec.Meta(ge=1)]


class OrderbookSnapshotMessage(Body, frozen=True, kw_only=True):
    """The whole book of a market: bids only; an empty side is absent. NO levels are in NO prices."""

    market_ticker: str
    market_id: str
    yes_dollars_fp: list[LevelText] | None = None
    no_dollars_fp: list[LevelText] | None = None


class OrderbookSnapshotFrame(Body, frozen=True, kw_only=True, tag="orderbook_snapshot"):
    """`id` is present on the answer to get_snapshot."""

    id: int | None = None
    sid: int
    seq: Sequence
    msg: OrderbookSnapshotMessage


class OrderbookDeltaMessage(Body, frozen=True, kw_only=True):
    """Add the signed `delta_fp` to the level; own orders also carry client_order_id and subaccount."""

    market_ticker: str
    market_id: str
    price_dollars: PriceText
    delta_fp: CountText
    side: OutcomeSide
    ts: str | None = None
    ts_ms: int | None = None
    client_order_id: str | None = None
    subaccount: int | None = None


class OrderbookDeltaFrame(Body, frozen=True, kw_only=True, tag="orderbook_delta"):
    """One changed level."""

    sid: int
    seq: Sequence
    msg: OrderbookDeltaMessage


class TickerMessage(Body, frozen=True, kw_only=True):
    """The top of a market."""

    market_id: str
    market_ticker: str
    price_dollars: PriceText
    yes_bid_dollars: PriceText
    yes_ask_dollars: PriceText
    volume_fp: CountText
    open_interest_fp: CountText
    dollar_volume: int
    dollar_open_interest: int
    yes_bid_size_fp: CountText
    yes_ask_size_fp: CountText
    last_trade_size_fp: CountText
    ts: int
    ts_ms: int | None = None
    time: str | None = None


class TickerFrame(Body, frozen=True, kw_only=True, tag="ticker"):
    """No sequence number: gaps cannot be seen."""

    sid: int
    msg: TickerMessage


class TradeMessage(Body, frozen=True, kw_only=True):
    """A public trade; `ts` in seconds."""

    trade_id: str
    market_ticker: str
    yes_price_dollars: PriceText
    no_price_dollars: PriceText
    count_fp: CountText
    taker_outcome_side: OutcomeSide
    taker_book_side: BookSide
    ts: int
    ts_ms: int
    taker_side: OutcomeSide | None = None
    is_block_trade: bool | None = None


class TradeFrame(Body, frozen=True, kw_only=True, tag="trade"):
    """A public trade."""

    sid: int
    seq: Sequence
    msg: TradeMessage


class FillMessage(Body, frozen=True, kw_only=True):
    """One of our fills; the same trade_id as the public trade, in no defined order to it."""

    trade_id: str
    order_id: str
    market_ticker: str
    is_taker: bool
    yes_price_dollars: PriceText
    count_fp: CountText
    fee_cost: DollarText
    ts_ms: int
    post_position_fp: CountText
    outcome_side: OutcomeSide
    book_side: BookSide
    exchange_index: int
    client_order_id: str | None = None
    side: OutcomeSide | None = None
    purchased_side: OutcomeSide | None = None
    action: str | None = None  # deprecated, and its words vary: buy, sell, sell_partial, or an empty text
    ts: int | None = None
    subaccount: int | None = None


class FillFrame(Body, frozen=True, kw_only=True, tag="fill"):
    """No sequence number: reconcile through REST after every reconnect."""

    sid: int
    msg: FillMessage


class UserOrderMessage(Body, frozen=True, kw_only=True):
    """The state of one of our orders; "unknown" is a status that only this stream may carry."""

    order_id: str
    ticker: str
    status: OrderStatus | Literal["unknown"]
    outcome_side: OutcomeSide
    book_side: BookSide
    yes_price_dollars: PriceText
    fill_count_fp: CountText
    remaining_count_fp: CountText
    initial_count_fp: CountText
    client_order_id: str
    user_id: str
    exchange_index: int
    taker_fill_cost_dollars: DollarText
    maker_fill_cost_dollars: DollarText
    taker_fees_dollars: DollarText
    maker_fees_dollars: DollarText
    side: OutcomeSide | None = None
    is_yes: bool | None = None
    order_group_id: str | None = None
    self_trade_prevention_type: str | None = None
    created_time: str | None = None
    created_ts_ms: int | None = None
    last_update_time: str | None = None
    last_update_ts_ms: int | None = None
    last_updated_ts_ms: int | None = None  # the same, as the venue's own specification spells it
    expiration_time: str | None = None
    expiration_ts_ms: int | None = None
    last_update_reason: str | None = None
    subaccount_number: int | None = None


class UserOrderFrame(Body, frozen=True, kw_only=True, tag="user_order"):
    """No sequence number: reconcile through REST after every reconnect."""

    sid: int
    msg: UserOrderMessage


class MarketPositionMessage(Body, frozen=True, kw_only=True):
    """Our position in one market after a change."""

    user_id: str
    market_ticker: str
    position_fp: CountText
    position_cost_dollars: DollarText
    realized_pnl_dollars: DollarText
    fees_paid_dollars: DollarText
    position_fee_cost_dollars: DollarText
    volume_fp: CountText
    subaccount: int | None = None


class MarketPositionFrame(Body, frozen=True, kw_only=True, tag="market_position"):
    """No sequence number: reconcile through REST after every reconnect."""

    sid: int
    msg: MarketPositionMessage


class LifecycleMetadata(Body, frozen=True, kw_only=True):
    """What a new market is about."""

    name: str
    title: str
    yes_sub_title: str
    no_sub_title: str
    rules_primary: str
    rules_secondary: str
    can_close_early: bool
    event_ticker: str
    expected_expiration_ts: int
    strike_type: str | None = None
    floor_strike: float | None = None  # a label, never money: the venue sends a JSON number
    cap_strike: float | None = None
    custom_strike: dict[str, Any] | None = None


class MarketLifecycleMessage(Body, frozen=True, kw_only=True):
    """A market changed its state; which optional fields are there depends on `event_type`. Times in seconds."""

    market_ticker: str
    event_type: str
    exchange_index: int | None = None
    open_ts: int | None = None
    close_ts: int | None = None
    result: str | None = None
    settlement_value: DollarText | None = None
    determination_ts: int | None = None
    settled_ts: int | None = None
    is_deactivated: bool | None = None
    additional_metadata: LifecycleMetadata | None = None
    price_level_structure: str | None = None
    price_ranges: list[PriceRange] | None = None
    yes_sub_title: str | None = None
    strike_type: str | None = None
    floor_strike: float | None = None
    cap_strike: float | None = None
    custom_strike: dict[str, Any] | None = None


class MarketLifecycleFrame(Body, frozen=True, kw_only=True, tag="market_lifecycle_v2"):
    """A market changed its state."""

    sid: int
    seq: Sequence
    msg: MarketLifecycleMessage


class EventLifecycleMessage(Body, frozen=True, kw_only=True):
    """A new event; it comes before the first of its markets."""

    event_ticker: str
    exchange_index: int
    title: str
    subtitle: str
    collateral_return_type: str
    series_ticker: str
    strike_date: int | None = None
    strike_period: str | None = None


class EventLifecycleFrame(Body, frozen=True, kw_only=True, tag="event_lifecycle"):
    """A new event, on the channel market_lifecycle_v2."""

    sid: int
    seq: Sequence
    msg: EventLifecycleMessage


class EventFeeUpdateMessage(WholeBody, frozen=True, kw_only=True):
    """An event's fees differ from its series' now, or no longer (null). The multiplier is a JSON number, not money."""

    event_ticker: str
    fee_type_override: str | None
    fee_multiplier_override: float | None


class EventFeeUpdateFrame(Body, frozen=True, kw_only=True, tag="event_fee_update"):
    """An event's fees changed, on the channel market_lifecycle_v2."""

    sid: int
    seq: Sequence
    msg: EventFeeUpdateMessage


class OrderGroupUpdateMessage(Body, frozen=True, kw_only=True):
    """One of our order groups changed; the limit is there when it was created and when its limit changed."""

    event_type: str
    order_group_id: str
    ts_ms: int
    contracts_limit_fp: CountText | None = None


class OrderGroupUpdateFrame(Body, frozen=True, kw_only=True, tag="order_group_updates"):
    """One of our order groups changed."""

    sid: int
    seq: Sequence
    msg: OrderGroupUpdateMessage


class SubscribedMessage(Body, frozen=True, kw_only=True):
    """The channel and its subscription id."""

    channel: str
    sid: int


class SubscribedFrame(Body, frozen=True, kw_only=True, tag="subscribed"):
    """One per channel of a subscribe command, all with the command's id; absent when the command had none."""

    id: int | None = None
    msg: SubscribedMessage


class SubscriptionInfo(Body, frozen=True, kw_only=True):
    """One entry of the answer to list_subscriptions."""

    channel: str
    sid: int
    market_tickers: list[str] | None = None
    market_ids: list[str] | None = None


class OkMessage(Body, frozen=True, kw_only=True):
    """All markets of the subscription after the change; empty when there is none, or when the list was not wanted."""

    market_tickers: list[str] | None = None
    market_ids: list[str] | None = None


class OkFrame(Body, frozen=True, kw_only=True, tag="ok"):
    """A command was carried out; it consumes a number of the sid's sequence (section 13.3)."""

    id: int | None = None
    sid: int | None = None
    seq: Sequence | None = None
    msg: OkMessage | list[SubscriptionInfo] = msgspec.field(default_factory=OkMessage)


class UnsubscribedFrame(Body, frozen=True, kw_only=True, tag="unsubscribed"):
    """The subscription is over; it consumes a number of the sid's sequence."""

    id: int | None = None
    sid: int
    seq: Sequence | None = None


class ErrorMessage(Body, frozen=True, kw_only=True):
    """A refused command or a broken channel."""

    code: int
    msg: str
    market_ticker: str | None = None
    market_tickers: list[str] | None = None


class ErrorFrame(Body, frozen=True, kw_only=True, tag="error"):
    """Codes 10 and 25 are terminal: the sid is dead and must be subscribed again."""

    id: int | None = None
    sid: int | None = None
    seq: Sequence | None = None
    msg: ErrorMessage


Frame = (
    OrderbookSnapshotFrame
    | OrderbookDeltaFrame
    | TickerFrame
    | TradeFrame
    | FillFrame
    | UserOrderFrame
    | MarketPositionFrame
    | MarketLifecycleFrame
    | EventLifecycleFrame
    | EventFeeUpdateFrame
    | OrderGroupUpdateFrame
    | SubscribedFrame
    | OkFrame
    | UnsubscribedFrame
    | ErrorFrame
)


class UnknownFrame(Body, frozen=True, kw_only=True):
    """A frame of a type that this version does not know; `raw` is kept whole."""

    type: str
    raw: bytes
    sid: int | None = None
    seq: Sequence | None = None
