"""Signed reads of balance, orders, fills, positions, settlements and order groups (sections 7 and 9).

Every call names its subaccount, because an omitted one means all of them for some reads and the primary one for others.
"""

from collections.abc import Hashable

from soloist_kalshi.endpoint import check_subaccount, path_segment
from soloist_kalshi.messages import (
    Balance,
    Fill,
    FillPage,
    MarketPosition,
    Order,
    OrderGroup,
    OrderGroupList,
    OrderGroupReply,
    OrderPage,
    OrderReply,
    OrderStatus,
    PositionPage,
    QueuePosition,
    QueuePositionList,
    QueuePositionReply,
    RestingOrderValue,
    Settlement,
    SettlementPage,
)
from soloist_kalshi.numbers import count_from_text
from soloist_kalshi.rest_transport import RestTransport

__all__ = ["PortfolioReads"]


class PortfolioReads(RestTransport):
    """What the account has. Times in queries are Unix seconds; `historical` reads what is older than the venue's cutoff."""

    async def get_balance(self, *, subaccount: int, exchange_index: int | None = None) -> Balance:
        """Return cash and portfolio value, of one shard or of all."""
        query = {"subaccount": check_subaccount(subaccount), "exchange_index": exchange_index}
        return await self._read("/portfolio/balance", Balance, query)

    async def get_order(self, order_id: str) -> Order:
        """Return one order. VenueNotFound does not prove that a fresh order is unknown (section 3.5): use the list."""
        reply = await self._read(
            f"/portfolio/orders/{path_segment(order_id)}",
            OrderReply,
            template="/portfolio/orders/{order_id}",
        )
        return reply.order

    async def list_orders(
        self,
        *,
        subaccount: int,
        ticker: str | None = None,
        status: OrderStatus | None = None,
        min_ts: int | None = None,
        max_ts: int | None = None,
        historical: bool = False,
    ) -> list[Order]:
        """Return all orders that match; `min_ts` and `max_ts` are Unix seconds of creation."""
        query = {
            "subaccount": check_subaccount(subaccount),
            "ticker": ticker,
            "status": status,
            "min_ts": min_ts,
            "max_ts": max_ts,
        }
        path = "/historical/orders" if historical else "/portfolio/orders"
        return [row async for row in self._rows(path, query, OrderPage, _orders)]

    async def list_fills(
        self,
        *,
        subaccount: int,
        ticker: str | None = None,
        order_id: str | None = None,
        min_ts: int | None = None,
        max_ts: int | None = None,
        historical: bool = False,
    ) -> list[Fill]:
        """Return all fills that match; `min_ts` and `max_ts` are Unix seconds."""
        query = {
            "subaccount": check_subaccount(subaccount),
            "ticker": ticker,
            "order_id": order_id,
            "min_ts": min_ts,
            "max_ts": max_ts,
        }
        path = "/historical/fills" if historical else "/portfolio/fills"
        return [row async for row in self._rows(path, query, FillPage, _fills)]

    async def list_positions(
        self, *, subaccount: int, ticker: str | None = None, historical: bool = False
    ) -> list[MarketPosition]:
        """Return all market positions, negative for NO."""
        query = {"subaccount": check_subaccount(subaccount), "ticker": ticker}
        path = "/historical/positions" if historical else "/portfolio/positions"
        return [row async for row in self._rows(path, query, PositionPage, _positions)]

    async def list_settlements(
        self,
        *,
        subaccount: int,
        ticker: str | None = None,
        event_ticker: str | None = None,
        min_ts: int | None = None,
        max_ts: int | None = None,
    ) -> list[Settlement]:
        """Return what settled markets paid, newest first."""
        query = {
            "subaccount": check_subaccount(subaccount),
            "ticker": ticker,
            "event_ticker": event_ticker,
            "min_ts": min_ts,
            "max_ts": max_ts,
        }
        return [
            row async for row in self._rows("/portfolio/settlements", query, SettlementPage, _settlements)
        ]

    async def list_queue_positions(
        self, *, subaccount: int, tickers: list[str] | None = None, event_ticker: str | None = None
    ) -> list[QueuePosition]:
        """Return how many contracts are ahead of each resting order of some markets; raises ValueError for no market at all."""
        if not tickers and event_ticker is None:
            raise ValueError("queue positions are asked for by market tickers or by an event ticker")
        query = {
            "subaccount": check_subaccount(subaccount),
            "market_tickers": ",".join(tickers or []) or None,
            "event_ticker": event_ticker,
        }
        reply = await self._read("/portfolio/orders/queue_positions", QueuePositionList, query)
        return reply.queue_positions

    async def get_queue_position(self, order_id: str) -> int:
        """Return how much (1/100 contract) is ahead of an order; 0 is the front."""
        reply = await self._read(
            f"/portfolio/orders/{path_segment(order_id)}/queue_position",
            QueuePositionReply,
            template="/portfolio/orders/{order_id}/queue_position",
        )
        return count_from_text(reply.queue_position_fp)

    async def get_total_resting_order_value(self) -> int:
        """Return the collateral in resting orders, in whole cents."""
        reply = await self._read("/portfolio/summary/total_resting_order_value", RestingOrderValue)
        return reply.total_resting_order_value

    async def list_order_groups(self, *, subaccount: int) -> list[OrderGroup]:
        """Return the order groups of a subaccount."""
        query = {"subaccount": check_subaccount(subaccount)}
        reply = await self._read("/portfolio/order_groups", OrderGroupList, query)
        return reply.order_groups or []

    async def get_order_group(self, order_group_id: str, *, subaccount: int) -> OrderGroupReply:
        """Return one order group with the ids of its resting orders; VenueNotFound when it is unknown."""
        return await self._read(
            f"/portfolio/order_groups/{path_segment(order_group_id)}",
            OrderGroupReply,
            {"subaccount": check_subaccount(subaccount)},
            template="/portfolio/order_groups/{order_group_id}",
        )


def _orders(page: OrderPage) -> list[tuple[Hashable, Order]]:
    return [(row.order_id, row) for row in page.orders]


def _fills(page: FillPage) -> list[tuple[Hashable, Fill]]:
    # A trade between two orders of one account is two fills with one id.
    return [((row.fill_id, row.order_id), row) for row in page.fills]


def _positions(page: PositionPage) -> list[tuple[Hashable, MarketPosition]]:
    return [((row.ticker, row.exchange_index), row) for row in page.market_positions]


def _settlements(page: SettlementPage) -> list[tuple[Hashable, Settlement]]:
    return [((row.ticker, row.exchange_index, row.settled_time), row) for row in page.settlements]
