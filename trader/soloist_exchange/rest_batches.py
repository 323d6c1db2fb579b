"""Batches of orders: one answer per item, in order, and one HTTP status for all of them (section 8.5)."""

from collections.abc import Callable
from typing import TypeVar

import msgspec
from soloist_kalshi import messages
from soloist_kalshi.limits import BATCH_PATH, CANCEL_COST

from soloist_exchange.errors import Refused
from soloist_exchange.rest_call import DEFAULT_COST, Reply, Request, bad_request, call, decode, message_of
from soloist_exchange.rest_orders import NewOrder, cancelled, created, own_order, place, subaccount_of

__all__ = ["ROUTES"]

_Item = TypeVar("_Item", NewOrder, messages.BatchCancelOrder)
_Done = TypeVar("_Done")


class _Create(msgspec.Struct):
    orders: list[NewOrder]


class _Items(msgspec.Struct):
    """Only how many there are."""

    orders: list[msgspec.Raw] = msgspec.field(default_factory=list)


def batch_create(request: Request) -> Reply:
    """POST /portfolio/events/orders/batched. One item of a foreign subaccount refuses the whole batch of a restricted key."""
    wanted = decode(request.body, _Create).orders
    outcomes = _each(request, wanted, lambda item, subaccount: created(place(request, item, subaccount)))
    items = [
        messages.BatchCreateItem(client_order_id=item.client_order_id, error=_error(made))
        if isinstance(made, Refused)
        else messages.BatchCreateItem(
            order_id=made.order_id,
            client_order_id=made.client_order_id,
            fill_count=made.fill_count,
            remaining_count=made.remaining_count,
            average_fill_price=made.average_fill_price,
            average_fee_paid=made.average_fee_paid,
            ts_ms=made.ts_ms,
        )
        for item, made in outcomes
    ]
    return 201, messages.BatchCreateReply(orders=items)


def batch_cancel(request: Request) -> Reply:
    """DELETE /portfolio/events/orders/batched, with the same rule for restricted keys."""

    def cancel(item: messages.BatchCancelOrder, subaccount: int) -> messages.CancelOrderReply:
        order = own_order(request, item.order_id, subaccount, item.exchange_index, item.market_ticker)
        return cancelled(request, order)

    outcomes = _each(request, decode(request.body, messages.BatchCancel).orders, cancel)
    items = [
        messages.BatchCancelItem(order_id=item.order_id, reduced_by="0.00", error=_error(gone))
        if isinstance(gone, Refused)
        else messages.BatchCancelItem(
            order_id=gone.order_id,
            client_order_id=gone.client_order_id,
            reduced_by=gone.reduced_by,
            ts_ms=gone.ts_ms,
        )
        for item, gone in outcomes
    ]
    return 200, messages.BatchCancelReply(orders=items)


def _each(
    request: Request, items: list[_Item], act: Callable[[_Item, int], _Done]
) -> list[tuple[_Item, _Done | Refused]]:
    """Do one thing to every item, in order; what an item is refused for is its own. Raises Refused for the whole batch."""
    if not items:
        raise bad_request("orders is empty")
    places = [_subaccount_or_refusal(request, item.subaccount) for item in items]
    outcomes: list[tuple[_Item, _Done | Refused]] = []
    for item, found in zip(items, places, strict=True):
        try:
            if isinstance(found, Refused):
                raise found
            outcomes.append((item, act(item, found)))
        except Refused as refusal:
            outcomes.append((item, refusal))
    return outcomes


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
