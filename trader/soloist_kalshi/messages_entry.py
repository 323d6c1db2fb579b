"""REST bodies of order entry and order groups (sections 8 and 9)."""

from soloist_kalshi.messages_base import (
    Body,
    BookSide,
    CountText,
    DollarText,
    PriceText,
    SelfTradePrevention,
    TimeInForce,
)

__all__ = [
    "AmendOrder",
    "AmendOrderReply",
    "BatchCancel",
    "BatchCancelItem",
    "BatchCancelOrder",
    "BatchCancelReply",
    "BatchCreate",
    "BatchCreateItem",
    "BatchCreateReply",
    "CancelOrderReply",
    "CreateOrder",
    "CreateOrderGroup",
    "CreateOrderGroupReply",
    "CreateOrderReply",
    "DecreaseOrder",
    "DecreaseOrderReply",
    "ItemError",
    "LimitOrderGroup",
    "OrderGroup",
    "OrderGroupList",
    "OrderGroupReply",
]


class CreateOrder(Body, frozen=True, kw_only=True):
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


class CreateOrderReply(Body, frozen=True, kw_only=True):
    """201 of POST /portfolio/events/orders; it carries no status, averages only after a fill."""

    order_id: str
    fill_count: CountText
    remaining_count: CountText
    ts_ms: int
    client_order_id: str | None = None
    average_fill_price: DollarText | None = None
    average_fee_paid: DollarText | None = None


class CancelOrderReply(Body, frozen=True, kw_only=True):
    """200 of DELETE /portfolio/events/orders/{order_id}; the 2026-06 demo left client_order_id out."""

    order_id: str
    reduced_by: CountText
    ts_ms: int
    client_order_id: str | None = None


class AmendOrder(Body, frozen=True, kw_only=True):
    """Body of POST /portfolio/events/orders/{order_id}/amend; `count` is filled plus desired resting.

    Without `expiration_time` it is kept, 0 removes it (Unix seconds).
    """

    ticker: str
    side: BookSide
    price: PriceText
    count: CountText
    client_order_id: str | None = None
    updated_client_order_id: str | None = None
    expiration_time: int | None = None
    exchange_index: int | None = None


class AmendOrderReply(Body, frozen=True, kw_only=True):
    """200 of an amend; counts and averages are present only when they changed or it filled."""

    order_id: str
    ts_ms: int
    client_order_id: str | None = None
    remaining_count: CountText | None = None
    fill_count: CountText | None = None
    average_fill_price: DollarText | None = None
    average_fee_paid: DollarText | None = None


class DecreaseOrder(Body, frozen=True, kw_only=True):
    """Body of POST /portfolio/events/orders/{order_id}/decrease; exactly one of `reduce_by` and `reduce_to`."""

    reduce_by: CountText | None = None
    reduce_to: CountText | None = None
    market_ticker: str | None = None
    exchange_index: int | None = None


class DecreaseOrderReply(Body, frozen=True, kw_only=True):
    """200 of a decrease."""

    order_id: str
    remaining_count: CountText
    ts_ms: int
    client_order_id: str | None = None


class ItemError(Body, frozen=True, kw_only=True):
    """Why one item of a batch was refused; the HTTP status of the batch stays 2xx."""

    code: str = ""
    message: str = ""
    details: str = ""
    service: str | None = None


class BatchCreate(Body, frozen=True, kw_only=True):
    """Body of POST /portfolio/events/orders/batched."""

    orders: list[CreateOrder]


class BatchCreateItem(Body, frozen=True, kw_only=True):
    """What became of one order of a batch: `error`, or the fields of a create's reply."""

    order_id: str | None = None
    client_order_id: str | None = None
    fill_count: CountText | None = None
    remaining_count: CountText | None = None
    average_fill_price: DollarText | None = None
    average_fee_paid: DollarText | None = None
    ts_ms: int | None = None
    error: ItemError | None = None


class BatchCreateReply(Body, frozen=True, kw_only=True):
    """201 of a batch create: one item per order, in order."""

    orders: list[BatchCreateItem]


class BatchCancelOrder(Body, frozen=True, kw_only=True):
    """One order to cancel."""

    order_id: str
    subaccount: int | None = None
    exchange_index: int | None = None
    market_ticker: str | None = None


class BatchCancel(Body, frozen=True, kw_only=True):
    """Body of DELETE /portfolio/events/orders/batched."""

    orders: list[BatchCancelOrder]


class BatchCancelItem(Body, frozen=True, kw_only=True):
    """What became of one cancel of a batch: `error`, or the fields of a cancel's reply."""

    order_id: str | None = None
    client_order_id: str | None = None
    reduced_by: CountText | None = None
    ts_ms: int | None = None
    error: ItemError | None = None


class BatchCancelReply(Body, frozen=True, kw_only=True):
    """200 of a batch cancel: one item per order, in order."""

    orders: list[BatchCancelItem]


class OrderGroup(Body, frozen=True, kw_only=True):
    """One group of the list; `contracts_limit_fp` is matched contracts in a rolling 15 seconds."""

    id: str
    contracts_limit_fp: CountText
    is_auto_cancel_enabled: bool
    exchange_index: int | None = None


class OrderGroupList(Body, frozen=True, kw_only=True):
    """GET /portfolio/order_groups; `{}` when there is none."""

    order_groups: list[OrderGroup] | None = None


class CreateOrderGroup(Body, frozen=True, kw_only=True):
    """Body of POST /portfolio/order_groups/create: whole contracts, or the text; both must match."""

    contracts_limit: int | None = None
    contracts_limit_fp: CountText | None = None
    subaccount: int | None = None
    exchange_index: int | None = None


class CreateOrderGroupReply(Body, frozen=True, kw_only=True):
    """201 of the creation of a group."""

    order_group_id: str
    subaccount: int | None = None
    exchange_index: int | None = None


class OrderGroupReply(Body, frozen=True, kw_only=True):
    """GET /portfolio/order_groups/{order_group_id}; `orders` are the ids of its resting orders."""

    is_auto_cancel_enabled: bool
    contracts_limit_fp: CountText
    orders: list[str]
    exchange_index: int | None = None


class LimitOrderGroup(Body, frozen=True, kw_only=True):
    """Body of PUT /portfolio/order_groups/{order_group_id}/limit."""

    contracts_limit: int | None = None
    contracts_limit_fp: CountText | None = None
