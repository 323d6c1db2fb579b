"""The account as the watchdog may touch it: trigger groups, cancel by id, look. It places nothing.

Orders count as ours by claim and epoch: a successor of a later epoch is never touched.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Final

from soloist_kalshi.clock import ServerClock
from soloist_kalshi.keys import SignerSource
from soloist_kalshi.messages import Order
from soloist_kalshi.orders import Cancelled, OrderClient, Rejected, Requested
from soloist_kalshi.rest import ReadPolicy, RestClient

from soloist_trader.config import AccountBlock, VenueBlock
from soloist_trader.core.identifiers import parse_order_id
from soloist_trader.shell.clock import text_to_ms

WRITE_MS: Final = 4_000
_READS: Final = ReadPolicy(attempts=2, request_ms=3_000, deadline_ms=7_000)
_NOT_FOUND: Final = 404
_KEY_REFUSED: Final = frozenset({401, 403})
_EXPIRED: Final = "header_timestamp_expired"


class Done(enum.Enum):
    """What became of a write."""

    YES = "yes"
    NO = "no"
    KEY_REFUSED = "key refused"


@dataclass(frozen=True, slots=True)
class Resting:
    """An order of ours that rests."""

    order_id: str
    client_order_id: str
    market: str


class VenueDesk:
    """One subaccount at the venue, for one claim and epoch. The key is what `source` says at each call."""

    def __init__(self, venue: VenueBlock, account: AccountBlock, source: SignerSource) -> None:
        self._account = account
        self._clock = ServerClock()
        ca_file = str(venue.ca_file) if venue.ca_file else None
        self._rest = RestClient(venue.rest_url, source, ca_file=ca_file, clock=self._clock, policy=_READS)
        self._orders = OrderClient(venue.rest_url, source, ca_file=ca_file, clock=self._clock)

    async def close(self) -> None:
        """Close every connection."""
        await self._orders.close()
        await self._rest.close()

    def at_most_ms(self) -> int:
        """The venue's time now in Unix ms, at its latest: what it shows as of a later moment has seen all of today's past."""
        return self._clock.venue_ms() + (self._clock.uncertainty_ms or 0)

    async def as_of_ms(self) -> int:
        """How fresh the order lists are, Unix ms by the venue. Raises VenueError, ValueError."""
        return text_to_ms((await self._rest.get_user_data_timestamp()).as_of_time)

    async def trigger(self, group_id: str) -> Done:
        """Cancel a group's orders and block new ones; a group that is gone blocks them, too."""
        outcome = await self._orders.trigger_group(
            group_id, subaccount=self._account.subaccount, deadline_ms=WRITE_MS
        )
        if isinstance(outcome, Requested):
            return Done.YES
        if isinstance(outcome, Rejected):
            return Done.YES if outcome.status == _NOT_FOUND else _refusal(outcome)
        return Done.NO

    async def cancel(self, order: Resting) -> Done:
        """Cancel one order by the venue's id. A 404 is no evidence: the next listing tells."""
        outcome = await self._orders.cancel(
            order.order_id,
            market_ticker=order.market,
            subaccount=self._account.subaccount,
            deadline_ms=WRITE_MS,
        )
        if isinstance(outcome, Cancelled):
            return Done.YES
        return _refusal(outcome) if isinstance(outcome, Rejected) else Done.NO

    async def own_resting(self) -> list[Resting]:
        """Orders of this claim that rest, of this epoch and those before. Raises VenueError."""
        listed = await self._rest.list_orders(subaccount=self._account.subaccount, status="resting")
        return [
            Resting(order.order_id, order.client_order_id, order.ticker)
            for order in listed
            if self._is_ours(order.client_order_id)
        ]

    def _is_ours(self, client_order_id: str) -> bool:
        parts = parse_order_id(client_order_id)
        return (
            parts is not None
            and parts.claim_hash == self._account.claim_hash
            and parts.epoch <= self._account.epoch
        )

    async def orders_since(self, moment_ms: int) -> list[Order]:
        """Every order of the subaccount made since a moment, whoever sent it. Raises VenueError."""
        return await self._rest.list_orders(
            subaccount=self._account.subaccount, min_ts=max(moment_ms // 1000, 0)
        )


def _refusal(outcome: Rejected) -> Done:
    refused = outcome.status in _KEY_REFUSED and outcome.code != _EXPIRED
    return Done.KEY_REFUSED if refused else Done.NO
