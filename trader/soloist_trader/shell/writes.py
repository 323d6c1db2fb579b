"""What the Live edge writes: orders, amends, cancels, order groups. Each is sent at most once; its outcome is events.

Nothing here is ever repeated, by us or by the HTTP library: whoever does not know what became of a write asks the venue.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from soloist_kalshi.messages import AmendOrder, CreateOrder, CreateOrderGroupReply
from soloist_kalshi.numbers import count_to_text, price_to_dollars
from soloist_kalshi.orders import (
    Accepted,
    Amended,
    Cancelled,
    Failure,
    NotSent,
    OrderClient,
    Rejected,
    Requested,
    Unknown,
)

from soloist_trader.core import events
from soloist_trader.core.commands import Amend, Cancel, Entomb, Place, ResetGroup, TriggerGroup
from soloist_trader.core.units import BID, IMMEDIATE_OR_CANCEL
from soloist_trader.shell.clock import now_ms
from soloist_trader.shell.logs import log
from soloist_trader.shell.venue import Gate

ORDER_DEADLINE_MS: Final = 5_000
"""One write, connecting included. Longer means unknown."""
_RATE_LIMITED: Final = 429
_NOT_FOUND: Final = 404
_EXPIRED: Final = "header_timestamp_expired"


class Writes:
    """The writes of one subaccount. `on_key_refused(why)` is told about every 401 and 403."""

    def __init__(self, orders: OrderClient, subaccount: int, on_key_refused: Callable[[str], None]) -> None:
        self._orders = orders
        self._subaccount = subaccount
        self._on_key_refused = on_key_refused

    async def close(self) -> None:
        """Close every connection."""
        await self._orders.close()

    def warm(self, connections: int) -> None:
        """Have so many connections open before they are needed."""
        self._orders.warm(connections)

    async def create(self, command: Place | Entomb, gate: Gate | None) -> events.Event:
        """Send an order, or the tombstone of one."""
        place = command if isinstance(command, Place) else None
        order = CreateOrder(
            ticker=command.market,
            side="bid" if command.side == BID else "ask",
            count=count_to_text(command.size),
            price=price_to_dollars(command.price),
            time_in_force=place.time_in_force if place else IMMEDIATE_OR_CANCEL,  # type: ignore[arg-type]  # the core has the venue's two words
            self_trade_prevention_type="taker_at_cross",
            client_order_id=command.client_order_id,
            expiration_time=(place.expiration_s or None) if place else None,
            reduce_only=(place.reduce_only or None) if place else None,
            order_group_id=(place.group_id or None) if place else None,
        )
        outcome = await self._orders.create(
            order, subaccount=self._subaccount, deadline_ms=ORDER_DEADLINE_MS, gate=gate
        )
        moment, client_order_id = now_ms(), command.client_order_id
        if isinstance(outcome, Accepted):
            return events.OrderSeen(
                moment,
                client_order_id,
                outcome.order_id,
                command.market,
                command.side,
                command.price,
                command.size,
                outcome.fill_count,
                outcome.remaining_count == 0,
                "reply" if place else "tombstone",
            )
        if isinstance(outcome, Unknown):
            return events.OrderUnknown(moment, client_order_id, outcome.why)
        if isinstance(outcome, NotSent):
            return events.OrderNotSent(moment, client_order_id, outcome.reason)
        self._look_at_refusal(outcome)
        if outcome.code == "order_already_exists":
            return events.OrderExists(moment, client_order_id)
        return events.OrderRefused(moment, client_order_id, _code(outcome), outcome.message)

    async def amend(self, command: Amend, gate: Gate | None) -> events.Event:
        """Change a resting order. The reply's fill count is of this amend only, so what rests is what tells the fills."""
        change = AmendOrder(
            ticker=command.market,
            side="bid" if command.side == BID else "ask",
            price=price_to_dollars(command.price),
            count=count_to_text(command.size),
            client_order_id=command.client_order_id,
            expiration_time=command.expiration_s,
        )
        outcome = await self._orders.amend(
            command.order_id,
            change,
            subaccount=self._subaccount,
            deadline_ms=ORDER_DEADLINE_MS,
            gate=gate,
        )
        remaining = -1
        if isinstance(outcome, Amended):
            word = "amended"
            remaining = -1 if outcome.remaining_count is None else outcome.remaining_count
        elif isinstance(outcome, NotSent):
            word = "not_sent"
        elif isinstance(outcome, Rejected):
            self._look_at_refusal(outcome)
            word = _code(outcome)
        else:
            word = "unknown"
        return events.AmendEnded(
            now_ms(),
            command.client_order_id,
            word,
            command.price,
            command.size,
            command.expiration_s,
            remaining=remaining,
        )

    async def cancel(self, command: Cancel) -> events.Event:
        """Cancel one order by the venue's id."""
        outcome = await self._orders.cancel(
            command.order_id,
            market_ticker=command.market,
            subaccount=self._subaccount,
            deadline_ms=ORDER_DEADLINE_MS,
        )
        moment = now_ms()
        if isinstance(outcome, Cancelled):
            return events.CancelEnded(moment, command.client_order_id, outcome.reduced_by, "cancelled")
        if isinstance(outcome, NotSent):
            return events.CancelEnded(moment, command.client_order_id, -1, "not_sent")
        if isinstance(outcome, Rejected):
            self._look_at_refusal(outcome)
            return events.CancelEnded(moment, command.client_order_id, -1, outcome.code)
        return events.CancelEnded(moment, command.client_order_id, -1, "unknown")

    # -- order groups

    async def change_group(self, command: TriggerGroup | ResetGroup) -> bool:
        """Trigger or reset; true if the venue took it. Otherwise the core asks again in a second."""
        verb = self._orders.trigger_group if isinstance(command, TriggerGroup) else self._orders.reset_group
        outcome = await verb(command.group_id, subaccount=self._subaccount, deadline_ms=ORDER_DEADLINE_MS)
        if isinstance(outcome, Requested):
            return True
        self._say("OrderGroupUnchanged", command.role, outcome)
        return False

    async def make_group(self, role: str, limit: int) -> str:
        """Make the order group of a role; its id, or empty if it is not certain that there is one.

        A group whose reply was lost stays at the venue, empty and unused: it does no harm.
        """
        outcome = await self._orders.create_group(
            limit, subaccount=self._subaccount, deadline_ms=ORDER_DEADLINE_MS
        )
        if isinstance(outcome, CreateOrderGroupReply):
            return outcome.order_group_id
        self._say("OrderGroupNotMade", role, outcome)
        return ""

    async def remove_group(self, group_id: str) -> bool:
        """Remove a group: its orders are cancelled, and whatever still names it is refused. True if it is gone."""
        outcome = await self._orders.delete_group(
            group_id, subaccount=self._subaccount, deadline_ms=ORDER_DEADLINE_MS
        )
        if isinstance(outcome, Requested) or (isinstance(outcome, Rejected) and outcome.status == _NOT_FOUND):
            return True
        self._say("OrderGroupNotRemoved", group_id, outcome)
        return False

    def _say(self, event: str, which: str, outcome: Failure) -> None:
        if isinstance(outcome, Rejected):
            self._look_at_refusal(outcome)
        log(event, f"{which}: {outcome}")

    def _look_at_refusal(self, outcome: Rejected) -> None:
        if outcome.status in {401, 403} and outcome.code != _EXPIRED:
            self._on_key_refused(f"{outcome.code}: {outcome.message}")


def _code(outcome: Rejected) -> str:
    return "too_many_requests" if outcome.status == _RATE_LIMITED else outcome.code
