"""Batches of orders: one answer per item, in order, and one HTTP status for all of them (section 8.5)."""

import msgspec
from soloist_kalshi import messages
from soloist_kalshi.limits import BATCH_PATH, CANCEL_COST

from soloist_exchange.errors import Refused
from soloist_exchange.rest_call import DEFAULT_COST, Reply, Request, bad_request, call, decode, message_of
from soloist_exchange.rest_orders import NewOrder, cancelled, created, own_order, place, subaccount_of

__all__ = ["ROUTES"]


class _Create(msgspec.Struct):
    orders: list[NewOrder]


class _Items(msgspec.Struct):
    """Only how many there are."""

    orders: list[msgspec.Raw] = msgspec.field(default_factory=list)


def batch_create(request: Request) -> Reply:
    """POST /portfolio/events/orders/batched. One item of a foreign subaccount refuses the whole batch of a restricted key."""
    wanted = decode(request.body, _Create).orders
    _require_some(wanted)
    places = [_subaccount_or_refusal(request, item.subaccount) for item in wanted]
    items = []
    for item, found in zip(wanted, places, strict=True):
        try:
            if isinstance(found, Refused):
                raise found
            made = created(place(request, item, found))
        except Refused as refusal:
            items.append(
                messages.BatchCreateItem(client_order_id=item.client_order_id, error=_error(refusal))
            )
        else:
            items.append(
                messages.BatchCreateItem(
                    order_id=made.order_id,
                    client_order_id=made.client_order_id,
                    fill_count=made.fill_count,
                    remaining_count=made.remaining_count,
                    average_fill_price=made.average_fill_price,
                    average_fee_paid=made.average_fee_paid,
                    ts_ms=made.ts_ms,
                )
            )
    return 201, messages.BatchCreateReply(orders=items)


def batch_cancel(request: Request) -> Reply:
    """DELETE /portfolio/events/orders/batched, with the same rule for restricted keys."""
    wanted = decode(request.body, messages.BatchCancel).orders
    _require_some(wanted)
    places = [_subaccount_or_refusal(request, item.subaccount) for item in wanted]
    items = []
    for item, found in zip(wanted, places, strict=True):
        try:
            if isinstance(found, Refused):
                raise found
            order = own_order(request, item.order_id, found, item.exchange_index, item.market_ticker)
            gone = cancelled(request, order)
        except Refused as refusal:
            items.append(
                messages.BatchCancelItem(order_id=item.order_id, reduced_by="0.00", error=_error(refusal))
            )
        else:
            items.append(
                messages.BatchCancelItem(
                    order_id=gone.order_id,
                    client_order_id=gone.client_order_id,
                    reduced_by=gone.reduced_by,
                    ts_ms=gone.ts_ms,
                )
            )
    return 200, messages.BatchCancelReply(orders=items)


def _require_some(items: list[NewOrder] | list[messages.BatchCancelOrder]) -> None:
    if not items:
        raise bad_request("orders is empty")


def _subaccount_or_refusal(request: Request, named: int | None) -> int | Refused:
    """Return an item's subaccount, or why that item alone is refused. Raises Refused (403) for the whole batch."""
    try:
        return subaccount_of(request, named)
    except Refused as refusal:
        if refusal.status == 403:  # noqa: PLR2004 - forbidden
            raise
        return refusal


def _error(refusal: Refused) -> messages.ItemError:
    return messages.ItemError(code=refusal.code, message=message_of(refusal), details=refusal.details)


def _items(request: Request) -> int:
    """Return how many items pay; a body that cannot be read pays for one."""
    try:
        return max(1, len(_decoder.decode(request.body).orders))
    except (msgspec.DecodeError, UnicodeDecodeError):
        return 1


_decoder = msgspec.json.Decoder(_Items)

ROUTES = (
    call(
        "POST",
        BATCH_PATH,
        "BatchCreateOrdersV2",
        batch_create,
        scope="write::trade",
        write=True,
        cost=lambda request: DEFAULT_COST * _items(request),
        listed_cost=DEFAULT_COST,
    ),
    call(
        "DELETE",
        BATCH_PATH,
        "BatchCancelOrdersV2",
        batch_cancel,
        scope="write::trade",
        write=True,
        cost=lambda request: CANCEL_COST * _items(request),
        listed_cost=CANCEL_COST,
    ),
)
