"""WebSocket frames and commands of the venue as typed structs (section 13). The exchange encodes with the same structs.

A frame is `{type, sid, seq?, msg}`; `Frame` is the union of all known ones, told apart by `type`. `decode_frame` never fails on a
type that is new to us: it returns `UnknownFrame`.
"""

from typing import Annotated, Literal

import msgspec

from soloist_kalshi.messages import (
    BookSide,
    CountText,
    DollarText,
    LevelText,
    OrderStatus,
    OutcomeSide,
    PriceRange,
    PriceText,
)

__all__ = [
    "Channel",
    "Command",
    "CommandId",
    "ErrorFrame",
    "ErrorMessage",
    "FillFrame",
    "FillMessage",
    "Frame",
    "ListSubscriptionsCommand",
    "MarketLifecycleFrame",
    "MarketLifecycleMessage",
    "MarketPositionFrame",
    "MarketPositionMessage",
    "OkFrame",
    "OkMessage",
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
CommandId = Annotated[int, msgspec.Meta(ge=1)]


class _Message(msgspec.Struct, frozen=True, omit_defaults=True):
    """A struct whose None fields are left out."""


class OrderbookSnapshotMessage(_Message, frozen=True, kw_only=True):
    """The whole book of a market: bids only; an empty side is absent. NO levels are in NO prices."""

    market_ticker: str
    market_id: str
    yes_dollars_fp: list[LevelText] | None = None
    no_dollars_fp: list[LevelText] | None = None


class OrderbookSnapshotFrame(_Message, frozen=True, kw_only=True, tag="orderbook_snapshot"):
    """`id` is present on the answer to get_snapshot."""

    sid: int
    seq: Sequence
    msg: OrderbookSnapshotMessage
    id: int | None = None


class OrderbookDeltaMessage(_Message, frozen=True, kw_only=True):
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


class OrderbookDeltaFrame(_Message, frozen=True, kw_only=True, tag="orderbook_delta"):
    """One changed level."""

    sid: int
    seq: Sequence
    msg: OrderbookDeltaMessage


class TickerMessage(_Message, frozen=True, kw_only=True):
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


class TickerFrame(_Message, frozen=True, kw_only=True, tag="ticker"):
    """No sequence number: gaps cannot be seen."""

    sid: int
    msg: TickerMessage


class TradeMessage(_Message, frozen=True, kw_only=True):
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


class TradeFrame(_Message, frozen=True, kw_only=True, tag="trade"):
    """A public trade."""

    sid: int
    seq: Sequence
    msg: TradeMessage


class FillMessage(_Message, frozen=True, kw_only=True):
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
    client_order_id: str | None = None
    exchange_index: int | None = None
    side: OutcomeSide | None = None
    purchased_side: OutcomeSide | None = None
    action: Literal["buy", "sell"] | None = None
    ts: int | None = None
    subaccount: int | None = None


class FillFrame(_Message, frozen=True, kw_only=True, tag="fill"):
    """No sequence number: reconcile through REST after every reconnect."""

    sid: int
    msg: FillMessage


class UserOrderMessage(_Message, frozen=True, kw_only=True):
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
    user_id: str | None = None
    exchange_index: int | None = None
    side: OutcomeSide | None = None
    is_yes: bool | None = None
    taker_fill_cost_dollars: DollarText | None = None
    maker_fill_cost_dollars: DollarText | None = None
    taker_fees_dollars: DollarText | None = None
    maker_fees_dollars: DollarText | None = None
    order_group_id: str | None = None
    self_trade_prevention_type: str | None = None
    created_time: str | None = None
    created_ts_ms: int | None = None
    last_update_time: str | None = None
    last_update_ts_ms: int | None = None
    expiration_time: str | None = None
    expiration_ts_ms: int | None = None
    last_update_reason: str | None = None
    subaccount_number: int | None = None


class UserOrderFrame(_Message, frozen=True, kw_only=True, tag="user_order"):
    """No sequence number: reconcile through REST after every reconnect."""

    sid: int
    msg: UserOrderMessage


class MarketPositionMessage(_Message, frozen=True, kw_only=True):
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


class MarketPositionFrame(_Message, frozen=True, kw_only=True, tag="market_position"):
    """No sequence number: reconcile through REST after every reconnect."""

    sid: int
    msg: MarketPositionMessage


class MarketLifecycleMessage(_Message, frozen=True, kw_only=True):
    """A market changed its state; which optional fields are there depends on `event_type`."""

    market_ticker: str
    event_type: str
    open_ts: int | None = None
    close_ts: int | None = None
    result: str | None = None
    settlement_value: DollarText | None = None
    determination_ts: int | None = None
    settled_ts: int | None = None
    price_ranges: list[PriceRange] | None = None


class MarketLifecycleFrame(_Message, frozen=True, kw_only=True, tag="market_lifecycle_v2"):
    """A market changed its state."""

    sid: int
    seq: Sequence
    msg: MarketLifecycleMessage


class SubscribedMessage(_Message, frozen=True, kw_only=True):
    """The channel and its subscription id."""

    channel: str
    sid: int


class SubscribedFrame(_Message, frozen=True, kw_only=True, tag="subscribed"):
    """One per channel of a subscribe command, all with the command's id."""

    id: int
    msg: SubscribedMessage


class SubscriptionInfo(_Message, frozen=True, kw_only=True):
    """One entry of the answer to list_subscriptions."""

    channel: str
    sid: int
    market_tickers: list[str] | None = None


class OkMessage(_Message, frozen=True, kw_only=True):
    """All markets of the subscription after the change."""

    market_tickers: list[str] | None = None


class OkFrame(_Message, frozen=True, kw_only=True, tag="ok"):
    """A command was carried out; it consumes a number of the sid's sequence (section 13.3)."""

    id: int
    msg: OkMessage | list[SubscriptionInfo] = OkMessage()
    sid: int | None = None
    seq: Sequence | None = None


class UnsubscribedFrame(_Message, frozen=True, kw_only=True, tag="unsubscribed"):
    """The subscription is over; it consumes a number of the sid's sequence."""

    id: int
    sid: int
    seq: Sequence | None = None


class ErrorMessage(_Message, frozen=True, kw_only=True):
    """A refused command or a broken channel."""

    code: int
    msg: str
    market_ticker: str | None = None


class ErrorFrame(_Message, frozen=True, kw_only=True, tag="error"):
    """Codes 10 and 25 are terminal: the sid is dead and must be subscribed again."""

    msg: ErrorMessage
    id: int | None = None
    sid: int | None = None
    seq: Sequence | None = None


Frame = (
    OrderbookSnapshotFrame
    | OrderbookDeltaFrame
    | TickerFrame
    | TradeFrame
    | FillFrame
    | UserOrderFrame
    | MarketPositionFrame
    | MarketLifecycleFrame
    | SubscribedFrame
    | OkFrame
    | UnsubscribedFrame
    | ErrorFrame
)


class UnknownFrame(_Message, frozen=True, kw_only=True):
    """A frame of a type that this version does not know; `raw` is kept whole."""

    type: str
    raw: bytes
    sid: int | None = None
    seq: Sequence | None = None


class SubscribeParams(_Message, frozen=True, kw_only=True):
    """Params of subscribe."""

    channels: list[str]
    market_ticker: str | None = None
    market_tickers: list[str] | None = None
    send_initial_snapshot: bool | None = None
    skip_ticker_ack: bool | None = None
    use_yes_price: bool | None = None


class UnsubscribeParams(_Message, frozen=True, kw_only=True):
    """Params of unsubscribe."""

    sids: list[int]


class UpdateSubscriptionParams(_Message, frozen=True, kw_only=True):
    """Params of update_subscription: exactly one sid, as `sid` or in `sids`."""

    action: Literal["add_markets", "delete_markets", "get_snapshot"]
    sid: int | None = None
    sids: list[int] | None = None
    market_ticker: str | None = None
    market_tickers: list[str] | None = None


class SubscribeCommand(_Message, frozen=True, kw_only=True, tag_field="cmd", tag="subscribe"):
    """Subscribe to channels; each channel answers with its own `subscribed`."""

    id: CommandId
    params: SubscribeParams


class UnsubscribeCommand(_Message, frozen=True, kw_only=True, tag_field="cmd", tag="unsubscribe"):
    """End subscriptions."""

    id: CommandId
    params: UnsubscribeParams


class UpdateSubscriptionCommand(
    _Message, frozen=True, kw_only=True, tag_field="cmd", tag="update_subscription"
):
    """Add or delete markets of a subscription, or ask for snapshots."""

    id: CommandId
    params: UpdateSubscriptionParams


class ListSubscriptionsCommand(
    _Message, frozen=True, kw_only=True, tag_field="cmd", tag="list_subscriptions"
):
    """List the subscriptions of the connection."""

    id: CommandId


Command = SubscribeCommand | UnsubscribeCommand | UpdateSubscriptionCommand | ListSubscriptionsCommand
