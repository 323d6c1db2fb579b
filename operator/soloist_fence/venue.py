"""The venue as the fence may use it: keys (list, make, delete), a probe, and looking at orders. It places no order.

Whatever the venue or the network does wrong becomes a FenceError here, with the words a person needs.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Self, TypeVar

from soloist_kalshi.errors import (
    VenueError,
    VenueForbidden,
    VenueKeyError,
    VenueNotFound,
    VenueProtocolError,
    VenueRateLimited,
    VenueRejected,
    VenueUnauthorized,
    VenueUnavailable,
    VenueUnreachable,
)
from soloist_kalshi.rest_keys import KeyClient
from soloist_kalshi.signing import KeyType, Signer

from soloist_fence.api import MANAGEMENT_KEY_FIELD, Reason, VenueKey
from soloist_fence.commands import IssuedKey, OrderSighting
from soloist_fence.errors import FenceError, NoAnswerError, RestrictedKeyRefusedError

RECENT_ORDERS_S = 600
"""How far back orders are looked at for their epoch."""
_WRITE_ATTEMPTS = 4
_Made = TypeVar("_Made")
_BAD_REQUEST = 400

_KEY_TYPES: dict[str, KeyType] = {"ed25519": "ed25519", "rsa": "rsa"}


class Venue:
    """One account at the venue, seen with its management key. Use as `async with`."""

    def __init__(self, rest_url: str, ca_file: str | None, management_key: Signer, subaccount: int) -> None:
        self._rest_url = rest_url
        self._ca_file = ca_file
        self._subaccount = subaccount
        self._client = KeyClient(rest_url, management_key, ca_file=ca_file)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._client.close()

    async def list_keys(self) -> tuple[VenueKey, ...]:
        """Every API key of the account."""
        try:
            rows = await self._client.list_api_keys()
        except VenueError as error:
            raise _explained(error, "listing the API keys") from error
        return tuple(
            VenueKey(row.api_key_id, row.name, frozenset(row.scopes), row.subaccount) for row in rows
        )

    async def list_orders(self) -> tuple[OrderSighting, ...]:
        """The subaccount's resting orders, and every order of the last RECENT_ORDERS_S seconds."""
        try:
            resting = await self._client.list_orders(subaccount=self._subaccount, status="resting")
            since = int(time.time()) - RECENT_ORDERS_S
            recent = await self._client.list_orders(subaccount=self._subaccount, min_ts=since)
        except VenueError as error:
            raise _explained(error, "listing the orders") from error
        by_id = {order.order_id: order for order in (*recent, *resting)}
        return tuple(
            OrderSighting(order.client_order_id, order.status == "resting") for order in by_id.values()
        )

    async def generate_key(
        self, name: str, scopes: tuple[str, ...], subaccount: int | None, key_type: str
    ) -> IssuedKey:
        """Make a key; repeated only when the venue says that it made none.

        Raises RestrictedKeyRefusedError, or NoAnswerError when it may have been made.
        """
        try:
            made = await self._unless_too_many(
                lambda: self._client.generate_api_key(name, _KEY_TYPES[key_type], list(scopes), subaccount)
            )
        except VenueForbidden as error:
            if subaccount is None:
                raise _explained(error, "making an API key") from error
            raise RestrictedKeyRefusedError(
                f"the venue refuses a key bound to subaccount {subaccount}: {error}"
            ) from error
        except VenueRejected as error:
            if subaccount is not None and error.status == _BAD_REQUEST:
                raise RestrictedKeyRefusedError(f"the venue refuses a restricted key: {error}") from error
            raise _explained(error, "making an API key") from error
        except VenueError as error:
            raise _explained(error, "making an API key") from error
        try:
            Signer.from_pem(made.api_key_id, made.private_key.encode())
        except VenueKeyError as error:
            raise NoAnswerError(
                Reason.VENUE_UNREACHABLE, f"the venue made a key that cannot sign: {error}"
            ) from error
        return IssuedKey(made.api_key_id, made.private_key)

    async def _unless_too_many(self, send: Callable[[], Awaitable[_Made]]) -> _Made:
        """Send a write again after a 429: nothing was done, and the client waits for its tokens before the next."""
        for _ in range(_WRITE_ATTEMPTS - 1):
            with contextlib.suppress(VenueRateLimited):
                return await send()
        return await send()

    async def delete_key(self, key_id: str) -> None:
        """Delete a key; one that is unknown is deleted already. Repeated when no answer comes: it cannot hurt twice."""
        for attempts_left in reversed(range(_WRITE_ATTEMPTS)):
            try:
                await self._client.delete_api_key(key_id)
            except VenueNotFound:
                return
            except (VenueUnreachable, VenueUnavailable, VenueRateLimited) as error:
                if attempts_left == 0:
                    raise _explained(error, f"deleting key {key_id}") from error
            except VenueError as error:
                raise _explained(error, f"deleting key {key_id}") from error
            else:
                return

    async def accepts(self, key: IssuedKey) -> bool:
        """Whether the venue still accepts a key: a signed read; 401 is the only no."""
        signer = Signer.from_pem(key.key_id, key.private_key_pem.encode())
        async with KeyClient(
            self._rest_url, signer, ca_file=self._ca_file, clock=self._client.clock
        ) as client:
            try:
                await client.get_balance(subaccount=self._subaccount)
            except VenueUnauthorized:
                return False
            except VenueForbidden:
                return True  # who it is was settled before what it may do
            except VenueError as error:
                raise _explained(error, f"probing key {key.key_id}") from error
        return True


def _explained(error: VenueError, doing: str) -> FenceError:
    """The fence's word for a venue error: no answer, a refusal of the management key, or another refusal."""
    if isinstance(error, VenueUnauthorized | VenueForbidden):
        return FenceError(
            Reason.MANAGEMENT_KEY_REJECTED,
            f"{doing}: the venue refused the management key ({error}). Check that the Secret named by {MANAGEMENT_KEY_FIELD} "
            "holds a key of this venue and environment, with the scopes read and write",
            field=MANAGEMENT_KEY_FIELD,
        )
    if isinstance(error, VenueUnreachable | VenueUnavailable | VenueRateLimited | VenueProtocolError):
        return NoAnswerError(Reason.VENUE_UNREACHABLE, f"{doing}: {error}")
    return FenceError(Reason.VENUE_UNREACHABLE, f"{doing}: {error}")
