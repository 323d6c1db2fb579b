"""What can become of a write to the venue, and how a reply is read (sections 3 and 8).

NotSent    nothing of it reached the socket
Rejected   the venue refused, for certain
Unknown    it may have reached the venue, and what became of it is not known
Accepted / Cancelled / Amended / Decreased / Requested
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, TypeVar

import msgspec

from soloist_kalshi.codec import UnknownFields, decode
from soloist_kalshi.errors import VenueProtocolError, VenueRejected, parse_error_body
from soloist_kalshi.messages import (
    AmendOrderReply,
    BatchCancelItem,
    BatchCreateItem,
    CancelOrderReply,
    CreateOrderReply,
    DecreaseOrderReply,
    ItemError,
)
from soloist_kalshi.numbers import count_from_text, money_from_dollars

__all__ = [
    "Accepted",
    "AmendOutcome",
    "Amended",
    "CancelOutcome",
    "Cancelled",
    "CreateOutcome",
    "DecreaseOutcome",
    "Decreased",
    "Failure",
    "NotSent",
    "Rejected",
    "Reply",
    "RequestOutcome",
    "Requested",
    "Unknown",
]

# 408 is a proxy that gave up waiting: the venue may have the request.
_REQUEST_TIMEOUT: Final = 408
# Words for "we do not know ourselves" (section 3.3: EXCHANGE_UNAVAILABLE is an unknown outcome). Compared in lower case.
_INDEFINITE_CODES: Final = frozenset(
    {
        "",
        "exchange_unavailable",
        "internal",
        "internal_error",
        "internal_server_error",
        "service_unavailable",
        "timeout",
        "unavailable",
        "unknown",
    }
)
_NOT_THE_VENUE: Final = frozenset({"html", "not_json", "empty"})
_Item = TypeVar("_Item")
_Body = TypeVar("_Body", bound=msgspec.Struct)


@dataclass(frozen=True, slots=True)
class Accepted:
    """The venue took the order. Counts in 1/100 contract, averages per contract in 1/1 000 000 dollar (None without a fill)."""

    order_id: str
    client_order_id: str | None
    fill_count: int
    remaining_count: int
    average_fill_price: int | None
    average_fee_paid: int | None
    ts_ms: int


@dataclass(frozen=True, slots=True)
class Cancelled:
    """The venue took `reduced_by` (1/100 contract) out of the book."""

    order_id: str
    client_order_id: str | None
    reduced_by: int
    ts_ms: int


@dataclass(frozen=True, slots=True)
class Amended:
    """The venue changed the order, which may have filled. What did not change may be None. Units as in Accepted."""

    order_id: str
    client_order_id: str | None
    fill_count: int | None
    remaining_count: int | None
    average_fill_price: int | None
    average_fee_paid: int | None
    ts_ms: int


@dataclass(frozen=True, slots=True)
class Decreased:
    """The venue left `remaining_count` (1/100 contract) of the order in the book."""

    order_id: str
    client_order_id: str | None
    remaining_count: int
    ts_ms: int


@dataclass(frozen=True, slots=True)
class Requested:
    """The venue took a request that it carries out later, such as cancel-all: verify with the list of resting orders."""

    status: int


@dataclass(frozen=True, slots=True)
class Rejected:
    """The venue refused. Code `order_already_exists` means that the order exists; 404 on a cancel does not say why.

    `status` is the HTTP status; an item of a batch has the batch's, which is a 2xx.
    """

    status: int
    code: str
    message: str


@dataclass(frozen=True, slots=True)
class Unknown:
    """The request may have reached the venue. Find out from the order list; never send it again under a new id."""

    why: str


@dataclass(frozen=True, slots=True)
class NotSent:
    """Nothing of the request reached the socket."""

    reason: str


Failure = Rejected | Unknown | NotSent
CreateOutcome = Accepted | Failure
CancelOutcome = Cancelled | Failure
AmendOutcome = Amended | Failure
DecreaseOutcome = Decreased | Failure
RequestOutcome = Requested | Failure


@dataclass(frozen=True, slots=True)
class Reply:
    """Status and body of an HTTP reply."""

    status: int
    body: bytes = field(repr=False)


def judge(reply: Reply) -> Reply | Rejected | Unknown:
    """Return a 2xx as it is. Rejected is a 4xx whose body is the venue's; anything that an edge or proxy may have said is Unknown."""
    if 200 <= reply.status < 300:  # noqa: PLR2004 - the 2xx class
        return reply
    error = parse_error_body(reply.status, reply.body)
    definite = 400 <= reply.status < 500 and reply.status != _REQUEST_TIMEOUT  # noqa: PLR2004 - the 4xx class
    if definite and error.code.lower() not in _NOT_THE_VENUE | _INDEFINITE_CODES:
        return Rejected(error.status, error.code, _words(error))
    return Unknown(str(error))


def read_reply(
    reply: Reply | Failure,
    kind: type[_Body],
    make: Callable[[_Body], _Item],
    unknown_fields: UnknownFields,
) -> _Item | Failure:
    """Return what `make` makes of a 2xx body; a body that is not the contract leaves the outcome Unknown."""
    if not isinstance(reply, Reply):
        return reply
    try:
        return make(decode(reply.body, kind, unknown_fields))
    except VenueProtocolError as error:
        return Unknown(f"HTTP {reply.status}: {error}")


def accepted(made: CreateOrderReply) -> Accepted:
    """Return the outcome of a create's reply."""
    return Accepted(
        order_id=made.order_id,
        client_order_id=made.client_order_id,
        fill_count=count_from_text(made.fill_count),
        remaining_count=count_from_text(made.remaining_count),
        average_fill_price=_money(made.average_fill_price),
        average_fee_paid=_money(made.average_fee_paid),
        ts_ms=made.ts_ms,
    )


def cancelled(gone: CancelOrderReply) -> Cancelled:
    """Return the outcome of a cancel's reply."""
    return Cancelled(gone.order_id, gone.client_order_id, count_from_text(gone.reduced_by), gone.ts_ms)


def amended(changed: AmendOrderReply) -> Amended:
    """Return the outcome of an amend's reply."""
    return Amended(
        order_id=changed.order_id,
        client_order_id=changed.client_order_id,
        fill_count=_count(changed.fill_count),
        remaining_count=_count(changed.remaining_count),
        average_fill_price=_money(changed.average_fill_price),
        average_fee_paid=_money(changed.average_fee_paid),
        ts_ms=changed.ts_ms,
    )


def decreased(changed: DecreaseOrderReply) -> Decreased:
    """Return the outcome of a decrease's reply."""
    return Decreased(
        changed.order_id, changed.client_order_id, count_from_text(changed.remaining_count), changed.ts_ms
    )


def created_item(item: BatchCreateItem, client_order_id: str, status: int) -> CreateOutcome:
    """Return what became of one order of a batch. An item that is not clearly this order's is Unknown."""
    if item.client_order_id not in {None, client_order_id}:
        return Unknown(f"the item of {client_order_id} names {item.client_order_id}")
    if item.error is not None:
        return _refused_item(item.error, status)
    if item.order_id is None or item.fill_count is None or item.remaining_count is None or item.ts_ms is None:
        return Unknown(f"the item of {client_order_id} has neither an error nor an order")
    return Accepted(
        order_id=item.order_id,
        client_order_id=item.client_order_id,
        fill_count=count_from_text(item.fill_count),
        remaining_count=count_from_text(item.remaining_count),
        average_fill_price=_money(item.average_fill_price),
        average_fee_paid=_money(item.average_fee_paid),
        ts_ms=item.ts_ms,
    )


def cancelled_item(item: BatchCancelItem, order_id: str, status: int) -> CancelOutcome:
    """Return what became of one cancel of a batch. An item that is not clearly this order's is Unknown."""
    if item.order_id not in {None, order_id}:
        return Unknown(f"the item of {order_id} names {item.order_id}")
    if item.error is not None:
        return _refused_item(item.error, status)
    if item.order_id is None or item.reduced_by is None or item.ts_ms is None:
        return Unknown(f"the item of {order_id} has neither an error nor a reduction")
    return Cancelled(item.order_id, item.client_order_id, count_from_text(item.reduced_by), item.ts_ms)


def _refused_item(error: ItemError, status: int) -> Rejected | Unknown:
    words = f"{error.message} ({error.details})" if error.details else error.message
    if error.code.lower() in _INDEFINITE_CODES:
        return Unknown(f"{error.code or 'an error without a code'}: {words}")
    return Rejected(status, error.code, words)


def _words(error: VenueRejected) -> str:
    return f"{error.message} ({error.details})" if error.details else error.message


def _money(text: str | None) -> int | None:
    return None if text is None else money_from_dollars(text)


def _count(text: str | None) -> int | None:
    return None if text is None else count_from_text(text)
