"""The venue as the fence may use it: keys (list, make, delete), a probe, orders looked at and taken back. It places none.

Whatever the venue or the network does wrong becomes a FenceError here, with the words a person needs.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import datetime
from types import TracebackType
from typing import Self, TypeVar

from soloist_kalshi.custody import CustodyClient
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
from soloist_kalshi.signing import KeyType, Signer
from soloist_kalshi.tombstones import is_tombstone

from soloist_fence.api import MANAGEMENT_KEY_FIELD, Reason, VenueKey
from soloist_fence.commands import IssuedKey, OrderListing, OrderSighting
from soloist_fence.errors import (
    FenceError,
    NoAnswerError,
    NoConnectionError,
    NotPermittedError,
    RestrictedKeyRefusedError,
)

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
        self._client = CustodyClient(rest_url, management_key, ca_file=ca_file)

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

    def time_ms(self) -> int:
        """The venue's clock, Unix ms, as well as the replies so far tell (about half a second)."""
        return self._client.clock.venue_ms()

    async def list_orders(self, look_back_s: int) -> OrderListing:
        """The subaccount's resting orders, and every order of the last `look_back_s` seconds, by the venue's clock.

        What the venue says of its read model is asked first, so that the listing is at least that fresh.
        """
        try:
            as_of = (await self._client.get_user_data_timestamp()).as_of_time
            resting = await self._client.list_orders(subaccount=self._subaccount, status="resting")
            since_s = self.time_ms() // 1000 - look_back_s
            recent = await self._client.list_orders(subaccount=self._subaccount, min_ts=since_s)
        except VenueError as error:
            raise _explained(error, "listing the orders") from error
        by_id = {order.order_id: order for order in (*recent, *resting)}
        return OrderListing(
            unix_ms(as_of),
            tuple(
                OrderSighting(
                    order.client_order_id,
                    order.status == "resting",
                    order.order_id,
                    order.ticker,
                    None if order.created_time is None else unix_ms(order.created_time),
                    tombstone=is_tombstone(order),
                )
                for order in by_id.values()
            ),
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
        await self._take_back(f"deleting key {key_id}", lambda: self._client.delete_api_key(key_id))

    async def cancel_order(self, order_id: str, ticker: str) -> None:
        """Cancel one order of the subaccount; one that no longer rests is as good."""
        await self._take_back(
            f"cancelling order {order_id}",
            lambda: self._client.cancel_order(order_id, market_ticker=ticker, subaccount=self._subaccount),
        )

    async def delete_order_group(self, group_id: str) -> None:
        """Delete an order group of the subaccount; one that is gone is as good."""
        await self._take_back(
            f"deleting order group {group_id}",
            lambda: self._client.delete_order_group(group_id, subaccount=self._subaccount),
        )

    async def _take_back(self, doing: str, send: Callable[[], Awaitable[None]]) -> None:
        """Send a delete until there is an answer; "unknown" is one, because then nothing is left to delete."""
        for attempts_left in reversed(range(_WRITE_ATTEMPTS)):
            try:
                await send()
            except VenueNotFound:
                return
            except (VenueUnreachable, VenueUnavailable, VenueRateLimited) as error:
                if attempts_left == 0:
                    raise _explained(error, doing) from error
            except VenueError as error:
                raise _explained(error, doing) from error
            else:
                return

    async def accepts(self, key: IssuedKey) -> bool:
        """Whether the venue still accepts a key: a signed read over a new connection; 401 is the only no."""
        async with self.kept(key) as accepts:
            return await accepts()

    @contextlib.asynccontextmanager
    async def kept(self, key: IssuedKey) -> AsyncIterator[Callable[[], Awaitable[bool]]]:
        """A probe as `accepts`, over one connection that stays open while the context lasts."""
        signer = Signer.from_pem(key.key_id, key.private_key_pem.encode())
        async with CustodyClient(
            self._rest_url, signer, ca_file=self._ca_file, clock=self._client.clock
        ) as client:

            async def probe() -> bool:
                try:
                    await client.get_balance(subaccount=self._subaccount)
                except VenueUnauthorized:
                    return False
                except VenueForbidden:
                    return True  # who it is was settled before what it may do
                except VenueError as error:
                    raise _explained(error, f"probing key {key.key_id}") from error
                return True

            yield probe


def unix_ms(text: str) -> int:
    """Unix ms of an RFC 3339 time, rounded down. Raises ValueError."""
    moment = datetime.fromisoformat(text)
    return int(moment.timestamp()) * 1_000 + moment.microsecond // 1_000


def _explained(error: VenueError, doing: str) -> FenceError:
    """The fence's word for a venue error: no answer, a refusal of the management key, or another refusal."""
    if isinstance(error, VenueUnauthorized | VenueForbidden):
        message = (
            f"{doing}: the venue refused the management key ({error}). Check that the Secret named by {MANAGEMENT_KEY_FIELD} "
            "holds a key of this venue and environment, with the scopes read and write"
        )
        if isinstance(error, VenueForbidden):
            return NotPermittedError(message, field=MANAGEMENT_KEY_FIELD)
        return FenceError(Reason.MANAGEMENT_KEY_REJECTED, message, field=MANAGEMENT_KEY_FIELD)
    if isinstance(error, VenueUnreachable):
        return NoConnectionError(Reason.VENUE_UNREACHABLE, f"{doing}: {error}")
    if isinstance(error, VenueUnavailable | VenueRateLimited | VenueProtocolError):
        return NoAnswerError(Reason.VENUE_UNREACHABLE, f"{doing}: {error}")
    return FenceError(Reason.VENUE_UNREACHABLE, f"{doing}: {error}")
