"""The order path: create, amend, decrease, cancel, batches, cancel-all and order groups, each sent at most once (sections 8 and 9).

Every call names its subaccount and its deadline, and ends in one of the outcomes of `orders_outcomes`; batches end in one per item.
"""

from collections.abc import Sequence
from types import TracebackType
from typing import Final, Self
from urllib.parse import quote

import msgspec

from soloist_kalshi.clock import ServerClock
from soloist_kalshi.codec import UnknownFields, decode, encode
from soloist_kalshi.endpoint import check_subaccount, path_segment
from soloist_kalshi.errors import VenueProtocolError
from soloist_kalshi.keys import SignerSource
from soloist_kalshi.limits import BATCH_PATH, AccountBuckets, CostTable
from soloist_kalshi.messages import (
    AmendOrder,
    AmendOrderReply,
    BatchCancel,
    BatchCancelOrder,
    BatchCancelReply,
    BatchCreate,
    BatchCreateReply,
    CancelOrderReply,
    CreateOrder,
    CreateOrderGroup,
    CreateOrderGroupReply,
    CreateOrderReply,
    DecreaseOrder,
    DecreaseOrderReply,
    LimitOrderGroup,
)
from soloist_kalshi.numbers import count_to_text
from soloist_kalshi.orders_outcomes import (
    Accepted,
    Amended,
    AmendOutcome,
    Cancelled,
    CancelOutcome,
    CreateOutcome,
    Decreased,
    DecreaseOutcome,
    Failure,
    NotSent,
    Rejected,
    Reply,
    Requested,
    RequestOutcome,
    Unknown,
    accepted,
    amended,
    cancelled,
    cancelled_item,
    created_item,
    decreased,
    read_reply,
)
from soloist_kalshi.orders_transport import ConnectionPool, Gate, WriteTransport
from soloist_kalshi.signing import Signer

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
    "Gate",
    "NotSent",
    "OrderClient",
    "Rejected",
    "RequestOutcome",
    "Requested",
    "Unknown",
    "WriteTransport",
]

_ORDERS_PATH: Final = "/portfolio/events/orders"
_ORDER_TEMPLATE: Final = f"{_ORDERS_PATH}/{{order_id}}"
_GROUPS_PATH: Final = "/portfolio/order_groups"
_GROUP_TEMPLATE: Final = f"{_GROUPS_PATH}/{{order_group_id}}"
_MAX_CLIENT_ORDER_ID: Final = 64


class OrderClient:
    """Sends orders over kept-alive connections. Use as `async with`.

    The whole of a call, connecting included, takes no longer than its deadline. The optional gate is asked before a connection is taken
    and, for good, right before the bytes go to the socket. Whoever cancels the task of a call must take its outcome as unknown.
    With `buckets` (those of a RestClient that read /account/limits) a write that has no tokens is NotSent instead of a 429: an order
    that waited is not the order that was wanted. `transport` replaces our own connections.
    """

    def __init__(
        self,
        base_url: str,
        signer_source: SignerSource | Signer,
        *,
        ca_file: str | None = None,
        clock: ServerClock | None = None,
        connections: int = 32,
        buckets: AccountBuckets | None = None,
        costs: CostTable | None = None,
        transport: WriteTransport | None = None,
    ) -> None:
        self.clock = clock if clock is not None else ServerClock()
        self.unknown_fields = UnknownFields()
        self.buckets = buckets
        self.costs = costs if costs is not None else CostTable.documented()
        self._transport: WriteTransport = (
            transport
            if transport is not None
            else ConnectionPool(
                base_url,
                signer_source,
                ca_file=ca_file,
                clock=self.clock,
                connections=connections,
                hottest=("POST", _ORDERS_PATH),
            )
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close every connection."""
        await self._transport.close()

    def warm(self, connections: int) -> None:
        """Have so many connections open before they are needed, as far as the venue can be reached; call it again now and then."""
        self._transport.warm(connections)

    # One order

    async def create(
        self, order: CreateOrder, *, subaccount: int, deadline_ms: int, gate: Gate | None = None
    ) -> CreateOutcome:
        """Send an order once.

        Raises ValueError for an order that must not be sent: without client order id, or for another subaccount.
        """
        body = encode(_for_subaccount(order, check_subaccount(subaccount)))
        reply = await self._send(
            "POST", _ORDERS_PATH, "", body, self.costs.cost("POST", _ORDERS_PATH), deadline_ms, gate
        )
        return read_reply(reply, CreateOrderReply, accepted, self.unknown_fields)

    async def cancel(
        self,
        order_id: str,
        *,
        market_ticker: str,
        subaccount: int,
        deadline_ms: int,
        gate: Gate | None = None,
    ) -> CancelOutcome:
        """Send a cancel once. `market_ticker` routes it to the order's shard (section 8.2)."""
        path = f"{_ORDERS_PATH}/{path_segment(order_id)}"
        query = f"?subaccount={check_subaccount(subaccount)}&market_ticker={quote(market_ticker, safe='')}"
        cost = self.costs.cost("DELETE", _ORDER_TEMPLATE)
        reply = await self._send("DELETE", path, query, None, cost, deadline_ms, gate)
        return read_reply(reply, CancelOrderReply, cancelled, self.unknown_fields)

    async def amend(
        self,
        order_id: str,
        change: AmendOrder,
        *,
        subaccount: int,
        deadline_ms: int,
        gate: Gate | None = None,
    ) -> AmendOutcome:
        """Send an amend once; `change.count` is filled plus desired resting. The order keeps its id and may fill."""
        path = f"{_ORDERS_PATH}/{path_segment(order_id)}/amend"
        cost = self.costs.cost("POST", f"{_ORDER_TEMPLATE}/amend")
        query = f"?subaccount={check_subaccount(subaccount)}"
        reply = await self._send("POST", path, query, encode(change), cost, deadline_ms, gate)
        return read_reply(reply, AmendOrderReply, amended, self.unknown_fields)

    async def decrease(
        self,
        order_id: str,
        *,
        market_ticker: str,
        subaccount: int,
        deadline_ms: int,
        by: int | None = None,
        to: int | None = None,
        gate: Gate | None = None,
    ) -> DecreaseOutcome:
        """Send a decrease once, `by` an amount or `to` a remaining amount (1/100 contract). Raises ValueError for both or none."""
        if (by is None) == (to is None):
            raise ValueError("a decrease is either by an amount or to an amount")
        change = DecreaseOrder(
            reduce_by=None if by is None else count_to_text(by),
            reduce_to=None if to is None else count_to_text(to),
            market_ticker=market_ticker,
        )
        path = f"{_ORDERS_PATH}/{path_segment(order_id)}/decrease"
        cost = self.costs.cost("POST", f"{_ORDER_TEMPLATE}/decrease")
        query = f"?subaccount={check_subaccount(subaccount)}"
        reply = await self._send("POST", path, query, encode(change), cost, deadline_ms, gate)
        return read_reply(reply, DecreaseOrderReply, decreased, self.unknown_fields)

    # Many orders

    async def create_batch(
        self,
        orders: Sequence[CreateOrder],
        *,
        subaccount: int,
        deadline_ms: int,
        gate: Gate | None = None,
    ) -> list[CreateOutcome]:
        """Send several orders in one request, once; the outcomes are in the order of the orders.

        Raises ValueError as `create`, and for two orders with one client order id.
        """
        check_subaccount(subaccount)
        ids = [order.client_order_id for order in orders]
        if not orders or len(set(ids)) != len(ids):
            raise ValueError("a batch has at least one order, each with its own client order id")
        body = encode(BatchCreate(orders=[_for_subaccount(order, subaccount) for order in orders]))
        cost = self.costs.cost("POST", BATCH_PATH) * len(orders)
        reply = await self._send("POST", BATCH_PATH, "", body, cost, deadline_ms, gate)
        if not isinstance(reply, Reply):
            return [reply for _ in orders]
        try:
            items = decode(reply.body, BatchCreateReply, self.unknown_fields).orders
        except VenueProtocolError as error:
            return [Unknown(f"HTTP {reply.status}: {error}") for _ in orders]
        if len(items) != len(orders):
            return [Unknown(f"{len(orders)} orders were answered with {len(items)} items") for _ in orders]
        return [
            created_item(item, order.client_order_id or "", reply.status)
            for item, order in zip(items, orders, strict=True)
        ]

    async def cancel_batch(
        self,
        cancels: Sequence[tuple[str, str]],
        *,
        subaccount: int,
        deadline_ms: int,
        gate: Gate | None = None,
    ) -> list[CancelOutcome]:
        """Send several cancels, (order id, market ticker), in one request, once; the outcomes are in their order.

        Raises ValueError for none, and for an order named twice.
        """
        check_subaccount(subaccount)
        if not cancels or len({order_id for order_id, _ in cancels}) != len(cancels):
            raise ValueError("a batch of cancels names at least one order, and each once")
        body = encode(
            BatchCancel(
                orders=[
                    BatchCancelOrder(order_id=order_id, subaccount=subaccount, market_ticker=ticker)
                    for order_id, ticker in cancels
                ]
            )
        )
        cost = self.costs.cost("DELETE", BATCH_PATH) * len(cancels)
        reply = await self._send("DELETE", BATCH_PATH, "", body, cost, deadline_ms, gate)
        if not isinstance(reply, Reply):
            return [reply for _ in cancels]
        try:
            items = decode(reply.body, BatchCancelReply, self.unknown_fields).orders
        except VenueProtocolError as error:
            return [Unknown(f"HTTP {reply.status}: {error}") for _ in cancels]
        if len(items) != len(cancels):
            return [Unknown(f"{len(cancels)} cancels were answered with {len(items)} items") for _ in cancels]
        return [
            cancelled_item(item, order_id, reply.status)
            for item, (order_id, _) in zip(items, cancels, strict=True)
        ]

    async def cancel_all(
        self, *, subaccount: int, deadline_ms: int, gate: Gate | None = None
    ) -> RequestOutcome:
        """Ask for the cancel of every order of a subaccount, once.

        It happens later: verify with the list of resting orders. Orders placed within a minute after it may be cancelled, too.
        """
        query = f"?subaccount={check_subaccount(subaccount)}"
        cost = self.costs.cost("DELETE", _ORDERS_PATH)
        return _requested(await self._send("DELETE", _ORDERS_PATH, query, None, cost, deadline_ms, gate))

    # Order groups: a stop at the venue for a runaway strategy (section 9)

    async def create_group(
        self, limit: int, *, subaccount: int, deadline_ms: int, gate: Gate | None = None
    ) -> CreateOrderGroupReply | Failure:
        """Make a group that stops when `limit` (1/100 contract) was matched within 15 seconds. Sent once."""
        request = CreateOrderGroup(
            contracts_limit_fp=count_to_text(limit), subaccount=check_subaccount(subaccount)
        )
        path = f"{_GROUPS_PATH}/create"
        cost = self.costs.cost("POST", path)
        reply = await self._send("POST", path, "", encode(request), cost, deadline_ms, gate)
        return read_reply(reply, CreateOrderGroupReply, _same, self.unknown_fields)

    async def reset_group(
        self, group_id: str, *, subaccount: int, deadline_ms: int, gate: Gate | None = None
    ) -> RequestOutcome:
        """Clear a group's counter and trigger. Sent once."""
        return await self._group("PUT", group_id, "/reset", b"{}", subaccount, deadline_ms, gate)

    async def trigger_group(
        self, group_id: str, *, subaccount: int, deadline_ms: int, gate: Gate | None = None
    ) -> RequestOutcome:
        """Cancel all orders of a group and block new ones until it is reset. Sent once."""
        return await self._group("PUT", group_id, "/trigger", b"{}", subaccount, deadline_ms, gate)

    async def limit_group(
        self, group_id: str, limit: int, *, subaccount: int, deadline_ms: int, gate: Gate | None = None
    ) -> RequestOutcome:
        """Set a group's limit (1/100 contract); below what was just matched it triggers at once. Sent once."""
        body = encode(LimitOrderGroup(contracts_limit_fp=count_to_text(limit)))
        return await self._group("PUT", group_id, "/limit", body, subaccount, deadline_ms, gate)

    async def delete_group(
        self, group_id: str, *, subaccount: int, deadline_ms: int, gate: Gate | None = None
    ) -> RequestOutcome:
        """Cancel a group's orders and remove it. Sent once."""
        return await self._group("DELETE", group_id, "", None, subaccount, deadline_ms, gate)

    async def _group(
        self,
        method: str,
        group_id: str,
        verb: str,
        body: bytes | None,
        subaccount: int,
        deadline_ms: int,
        gate: Gate | None,
    ) -> RequestOutcome:
        path = f"{_GROUPS_PATH}/{path_segment(group_id)}{verb}"
        query = f"?subaccount={check_subaccount(subaccount)}"
        cost = self.costs.cost(method, _GROUP_TEMPLATE + verb)
        return _requested(await self._send(method, path, query, body, cost, deadline_ms, gate))

    async def _send(
        self,
        method: str,
        path: str,
        query: str,
        body: bytes | None,
        cost: int,
        deadline_ms: int,
        gate: Gate | None,
    ) -> Reply | Failure:
        """Take the tokens and send; a Reply is a 2xx."""
        if self.buckets is not None and not self.buckets.write.try_take(cost):
            return NotSent(f"the account's Write bucket has no {cost} tokens now")
        outcome = await self._transport.send(method, path, query, body, deadline_ms=deadline_ms, gate=gate)
        if self.buckets is not None and isinstance(outcome, Rejected) and outcome.status == 429:  # noqa: PLR2004 - too many requests
            self.buckets.write.drain()  # the venue knows of requests that this process does not
        return outcome


def _for_subaccount(order: CreateOrder, subaccount: int) -> CreateOrder:
    """Return the order with its subaccount written out; raises ValueError for one that must not be sent."""
    if order.subaccount not in {None, subaccount}:
        raise ValueError(f"the order names subaccount {order.subaccount}, the call {subaccount}")
    if not order.client_order_id or len(order.client_order_id) > _MAX_CLIENT_ORDER_ID:
        raise ValueError(f"an order needs a client order id of 1 to {_MAX_CLIENT_ORDER_ID} characters")
    return msgspec.structs.replace(order, subaccount=subaccount)


def _requested(reply: Reply | Failure) -> RequestOutcome:
    return Requested(reply.status) if isinstance(reply, Reply) else reply


def _same(reply: CreateOrderGroupReply) -> CreateOrderGroupReply:
    return reply
