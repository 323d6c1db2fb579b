"""Own orders and fills at the venue, over its live window and beyond it (`historical`).

The live read comes first, then the cutoff between both, then the history: a row that moves in between is seen twice and
never missed. Settlements and positions of open events do not leave the live reads.
"""

from __future__ import annotations

from collections.abc import Collection

from soloist_kalshi.messages import Fill, Order
from soloist_kalshi.rest import RestClient

from soloist_trader.shell.clock import text_to_ms


class Listings:
    """Listings of one subaccount, complete however long ago. Every method raises VenueError."""

    def __init__(self, rest: RestClient, subaccount: int) -> None:
        self._rest = rest
        self._subaccount = subaccount

    async def resting(self) -> list[Order]:
        """What rests, however old: it never becomes history."""
        return await self._rest.list_orders(subaccount=self._subaccount, status="resting")

    async def orders(
        self, from_ms: int, *, market: str | None = None, wanted: Collection[str] | None = None
    ) -> list[Order]:
        """Orders in all statuses that were created since a time, of one market or all.

        `wanted` are the client order ids that matter: nothing else is returned, and the history is read only if the live
        window does not show all of them.
        """
        from_s = from_ms // 1000
        live = await self._rest.list_orders(subaccount=self._subaccount, ticker=market, min_ts=from_s)
        rows = {order.order_id: order for order in live}
        if wanted is None or set(wanted) - {order.client_order_id for order in live}:
            cutoff = await self._rest.get_historical_cutoff()
            if from_s * 1000 < text_to_ms(cutoff.orders_updated_ts):
                past = await self._rest.list_orders(
                    subaccount=self._subaccount, ticker=market, min_ts=from_s, historical=True
                )
                rows |= {order.order_id: order for order in past}
        return [order for order in rows.values() if wanted is None or order.client_order_id in wanted]

    async def fills(self, from_ms: int) -> list[Fill]:
        """Fills since a time."""
        from_s = from_ms // 1000
        live = await self._rest.list_fills(subaccount=self._subaccount, min_ts=from_s)
        cutoff = await self._rest.get_historical_cutoff()
        if from_s * 1000 >= text_to_ms(cutoff.trades_created_ts):
            return live
        past = await self._rest.list_fills(subaccount=self._subaccount, min_ts=from_s, historical=True)
        return _once(live + past)

    async def fills_of(self, market: str, order_id: str) -> list[Fill]:
        """Every fill of one order. When it began is not known here, so the history is read, too."""
        live = await self._rest.list_fills(subaccount=self._subaccount, ticker=market, order_id=order_id)
        past = await self._rest.list_fills(
            subaccount=self._subaccount, ticker=market, order_id=order_id, historical=True
        )
        return _once(live + past)


def _once(fills: list[Fill]) -> list[Fill]:
    return list({(fill.trade_id, fill.order_id): fill for fill in fills}.values())
