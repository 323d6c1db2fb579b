"""What the fence may do at the venue: look, make and delete keys, and take orders back. It cannot place or change an order.

Of its writes one makes something, a key; all others are DELETE.
"""

from typing import ClassVar

from soloist_kalshi.endpoint import check_subaccount, path_segment
from soloist_kalshi.rest_keys import KeyClient
from soloist_kalshi.rest_transport import Query

__all__ = ["CustodyClient"]


class CustodyClient(KeyClient):
    """A KeyClient that also takes orders back by their ids, and order groups. Use as `async with`; errors as in KeyClient."""

    user_agent: ClassVar[str] = "soloist-fence"
    """Not an engine's: when a deleted key is tried to see it refused, the venue's log can tell who tried."""

    async def cancel_order(self, order_id: str, *, market_ticker: str, subaccount: int) -> None:
        """Cancel one order. VenueNotFound when it no longer rests. Sent once.

        `market_ticker` routes it to the order's shard (section 8.2).
        """
        path = f"/portfolio/events/orders/{path_segment(order_id)}"
        query: Query = {"subaccount": check_subaccount(subaccount), "market_ticker": market_ticker}
        await self._write("DELETE", path, None, query=query, template="/portfolio/events/orders/{order_id}")

    async def delete_order_group(self, group_id: str, *, subaccount: int) -> None:
        """Cancel a group's orders and remove it. VenueNotFound when it is unknown. Sent once."""
        path = f"/portfolio/order_groups/{path_segment(group_id)}"
        query: Query = {"subaccount": check_subaccount(subaccount)}
        await self._write(
            "DELETE", path, None, query=query, template="/portfolio/order_groups/{order_group_id}"
        )
