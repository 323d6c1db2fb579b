"""The venue's REST interface, except orders: market data, portfolio reads and API keys (sections 3, 6, 7 and 10).

No call in this module places, changes or cancels an order: those are in `orders`, which the fence may not import. Reads are repeated
with full jitter within a budget; writes (API keys) are sent once, and whoever called finds out what an unknown outcome was.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Hashable, Mapping
from dataclasses import dataclass
from random import Random
from types import TracebackType
from typing import Any, Self, TypeVar

import httpx
import msgspec

from soloist_kalshi.clock import ServerClock
from soloist_kalshi.codec import UnknownFields, decode, encode
from soloist_kalshi.endpoint import (
    Backoff,
    Endpoint,
    check_subaccount,
    current_signer,
    path_segment,
    tls_context,
    why_unreachable,
)
from soloist_kalshi.errors import (
    VenueError,
    VenueProtocolError,
    VenueRateLimited,
    VenueUnavailable,
    VenueUnreachable,
    parse_error_body,
)
from soloist_kalshi.keys import SignerSource
from soloist_kalshi.limits import DEFAULT_COST, AccountBuckets, CostTable, TokenBucket
from soloist_kalshi.messages import (
    AccountLimits,
    ApiKey,
    ApiKeyList,
    Balance,
    EndpointCosts,
    ExchangeStatus,
    Fill,
    FillPage,
    GenerateApiKey,
    GeneratedApiKey,
    Market,
    MarketPage,
    MarketPosition,
    MarketReply,
    Order,
    OrderBook,
    OrderBookReply,
    OrderPage,
    OrderReply,
    OrderStatus,
    PositionPage,
    UserDataTimestamp,
)
from soloist_kalshi.signing import KeyType, Signer

__all__ = ["ReadPolicy", "RestClient"]

_Body = TypeVar("_Body", bound=msgspec.Struct)
_Result = TypeVar("_Result")
_Row = TypeVar("_Row")
_PAGE_LIMIT = 1_000
_MAX_PAGES = 1_000
_TICKERS_PER_CALL = 100
_OK_END = 300


@dataclass(frozen=True, slots=True)
class ReadPolicy:
    """Limits of one read: `attempts` requests of at most `request_ms` each, all within `deadline_ms`."""

    attempts: int = 4
    request_ms: int = 5_000
    deadline_ms: int = 15_000
    base_wait_ms: int = 100
    cap_wait_ms: int = 2_000


class RestClient:
    """One account's view of the REST interface over kept-alive connections. Use as `async with`.

    `signer` may be None for market data only, one key, or a source whose key changes in flight. Errors are those of `errors`:
    VenueUnreachable and VenueUnavailable after the budget, VenueRejected and below at once, VenueProtocolError for a reply that is not
    the contract, VenueClockSkew before sending.
    """

    def __init__(
        self,
        base_url: str,
        signer: Signer | SignerSource | None,
        *,
        ca_file: str | None = None,
        clock: ServerClock | None = None,
        policy: ReadPolicy | None = None,
        random: Random | None = None,
    ) -> None:
        self.clock = clock if clock is not None else ServerClock()
        self.unknown_fields = UnknownFields()
        self.buckets = AccountBuckets(_now_us)
        self.costs = CostTable.documented()
        self._endpoint = Endpoint.parse(base_url)
        self._signer = signer
        self._policy = policy if policy is not None else ReadPolicy()
        self._random = random if random is not None else Random()  # noqa: S311 - jitter, not a secret
        self._http = httpx.AsyncClient(
            verify=tls_context(ca_file) if self._endpoint.secure else False,
            timeout=None,  # noqa: S113 - the deadline is around the whole request, see _once
            follow_redirects=False,
            trust_env=False,
            headers={"User-Agent": "soloist"},
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close every connection."""
        await self._http.aclose()

    # Exchange and market data

    async def get_exchange_status(self) -> ExchangeStatus:
        """Return whether exchange and trading are active. The venue answers the same body with 500, 503 and 504."""

        async def once() -> ExchangeStatus:
            status, body = await self._once("GET", "/exchange/status", signed=False)
            try:
                return decode(body, ExchangeStatus, self.unknown_fields)
            except VenueProtocolError:
                if status < _OK_END:
                    raise
                raise parse_error_body(status, body) from None

        return await self._repeated(once)

    async def get_user_data_timestamp(self) -> UserDataTimestamp:
        """Return how fresh the portfolio reads are."""
        return await self._read("/exchange/user_data_timestamp", UserDataTimestamp, signed=False)

    async def get_market(self, ticker: str) -> Market:
        """Return one market; VenueNotFound when it is unknown (also briefly after its creation)."""
        reply = await self._read(f"/markets/{path_segment(ticker)}", MarketReply, signed=False)
        return reply.market

    async def iterate_markets(
        self,
        *,
        status: str | None = None,
        tickers: list[str] | None = None,
        series_ticker: str | None = None,
        event_ticker: str | None = None,
    ) -> AsyncIterator[Market]:
        """Iterate over markets page by page. `status` is the filter's word: open means active.

        Long lists of tickers are asked for in parts, because they stand in the URL.
        """
        parts = (
            [tickers[at : at + _TICKERS_PER_CALL] for at in range(0, len(tickers), _TICKERS_PER_CALL)]
            if tickers
            else [[]]
        )
        for part in parts:
            query = {
                "status": status,
                "tickers": ",".join(part) or None,
                "series_ticker": series_ticker,
                "event_ticker": event_ticker,
            }
            async for market in self._rows("/markets", query, MarketPage, _markets, signed=False):
                yield market

    async def get_markets(
        self,
        *,
        status: str | None = None,
        tickers: list[str] | None = None,
        series_ticker: str | None = None,
        event_ticker: str | None = None,
    ) -> list[Market]:
        """Return all markets that the filter lets through."""
        rows = self.iterate_markets(
            status=status, tickers=tickers, series_ticker=series_ticker, event_ticker=event_ticker
        )
        return [market async for market in rows]

    async def get_orderbook(self, ticker: str, *, depth: int = 0) -> OrderBook:
        """Return the bids of both sides, best last; `depth` 0 is all. Signed when there is a key (sources disagree)."""
        path = f"/markets/{path_segment(ticker)}/orderbook"
        signed = self._signer is not None
        reply = await self._read(path, OrderBookReply, {"depth": depth or None}, signed=signed)
        return reply.orderbook_fp or reply.orderbook or OrderBook()

    # Portfolio

    async def get_balance(self, *, subaccount: int) -> Balance:
        """Return cash and portfolio value."""
        query = {"subaccount": check_subaccount(subaccount)}
        return await self._read("/portfolio/balance", Balance, query)

    async def get_order(self, order_id: str) -> Order:
        """Return one order. VenueNotFound does not prove that a fresh order is unknown (section 3.5): use the list."""
        path = f"/portfolio/orders/{path_segment(order_id)}"
        reply = await self._read(
            path, OrderReply, cost=self.costs.cost("GET", "/portfolio/orders/{order_id}")
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
    ) -> list[Order]:
        """Return all orders that match; `min_ts` and `max_ts` are Unix seconds of creation."""
        query = {
            "subaccount": check_subaccount(subaccount),
            "ticker": ticker,
            "status": status,
            "min_ts": min_ts,
            "max_ts": max_ts,
        }
        return [row async for row in self._rows("/portfolio/orders", query, OrderPage, _orders)]

    async def list_fills(
        self,
        *,
        subaccount: int,
        ticker: str | None = None,
        order_id: str | None = None,
        min_ts: int | None = None,
        max_ts: int | None = None,
    ) -> list[Fill]:
        """Return all fills that match; `min_ts` and `max_ts` are Unix seconds."""
        query = {
            "subaccount": check_subaccount(subaccount),
            "ticker": ticker,
            "order_id": order_id,
            "min_ts": min_ts,
            "max_ts": max_ts,
        }
        return [row async for row in self._rows("/portfolio/fills", query, FillPage, _fills)]

    async def list_positions(self, *, subaccount: int, ticker: str | None = None) -> list[MarketPosition]:
        """Return all market positions, negative for NO."""
        query = {"subaccount": check_subaccount(subaccount), "ticker": ticker}
        return [row async for row in self._rows("/portfolio/positions", query, PositionPage, _positions)]

    # Account and API keys

    async def get_account_limits(self) -> AccountLimits:
        """Return the account's token buckets, and wait by them from now on."""
        limits = await self._read("/account/limits", AccountLimits)
        self.buckets.resize(limits)
        return limits

    async def get_endpoint_costs(self) -> EndpointCosts:
        """Return what each call costs, and count by it from now on."""
        costs = await self._read("/account/endpoint_costs", EndpointCosts)
        self.costs = CostTable.from_reply(costs)
        return costs

    async def list_api_keys(self) -> list[ApiKey]:
        """Return the keys of the account, without secrets."""
        reply = await self._read("/api_keys", ApiKeyList)
        return reply.api_keys

    async def generate_api_key(
        self,
        name: str,
        key_type: KeyType = "ed25519",
        scopes: list[str] | None = None,
        subaccount: int | None = None,
    ) -> GeneratedApiKey:
        """Make a key and return it with its private part, which the venue shows once. Sent once.

        After VenueUnreachable or VenueUnavailable the key may exist: find it by `name` in `list_api_keys` and delete it.
        `subaccount` binds the key to one; None leaves it unbound.
        """
        if subaccount is not None:
            check_subaccount(subaccount)
        request = GenerateApiKey(name=name, key_type=key_type, scopes=scopes, subaccount=subaccount)
        body = await self._write("POST", "/api_keys/generate", encode(request))
        try:
            return decode(body, GeneratedApiKey)
        except VenueProtocolError as error:
            # The raw reply may hold a private key: it goes into no exception and so into no log.
            raise VenueProtocolError(error.what, b"(withheld: may hold a private key)") from None

    async def delete_api_key(self, key_id: str) -> None:
        """Delete a key. VenueNotFound when it is unknown. Sent once."""
        await self._write("DELETE", f"/api_keys/{path_segment(key_id)}", None)

    # Machinery

    async def _read(
        self,
        path: str,
        kind: type[_Body],
        query: Mapping[str, str | int | None] | None = None,
        *,
        signed: bool = True,
        cost: int = DEFAULT_COST,
    ) -> _Body:
        """GET a body, repeated within the budget."""

        async def once() -> _Body:
            if signed:
                await _wait_for(self.buckets.read, cost)
            status, body = await self._once("GET", path, query=query, signed=signed)
            if not _is_success(status):
                raise parse_error_body(status, body)
            return decode(body, kind, self.unknown_fields)

        return await self._repeated(once)

    async def _write(self, method: str, path: str, content: bytes | None) -> bytes:
        """Send a write exactly once and return the body of its success."""
        await _wait_for(self.buckets.write, self.costs.cost(method, path))
        status, body = await self._once(method, path, content=content, signed=True)
        if not _is_success(status):
            refusal = parse_error_body(status, body)
            if isinstance(refusal, VenueRateLimited):
                self.buckets.write.drain()  # the caller's next write waits for its tokens
            raise refusal
        return body

    async def _repeated(self, once: Callable[[], Awaitable[_Result]]) -> _Result:
        """Run a read until it succeeds, is refused for good, or attempts or time are used up."""
        policy = self._policy
        deadline_ms = self.clock.monotonic_ms() + policy.deadline_ms
        backoff = Backoff(self._random, policy.base_wait_ms, policy.cap_wait_ms)
        while True:
            try:
                return await once()
            except (VenueUnreachable, VenueUnavailable, VenueRateLimited) as error:
                if isinstance(error, VenueRateLimited):
                    self.buckets.read.drain()
                wait_ms = backoff.next_wait_ms()
                if backoff.failures >= policy.attempts or self.clock.monotonic_ms() + wait_ms >= deadline_ms:
                    raise
                await asyncio.sleep(wait_ms / 1_000)

    async def _once(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str | int | None] | None = None,
        content: bytes | None = None,
        signed: bool,
    ) -> tuple[int, bytes]:
        """Send one request and return status and body; raises VenueUnreachable and VenueClockSkew."""
        full_path = self._endpoint.base_path + path
        headers = {"Content-Type": "application/json"} if content is not None else {}
        if signed:
            headers |= self._require_signer().headers(method, full_path, self.clock.timestamp_ms())
        params = {name: value for name, value in (query or {}).items() if value is not None}
        sent_ms = self.clock.monotonic_ms()
        try:
            async with asyncio.timeout(self._policy.request_ms / 1_000):
                reply = await self._http.request(
                    method, self._endpoint.origin + full_path, params=params, content=content, headers=headers
                )
        except (httpx.HTTPError, TimeoutError) as error:
            raise VenueUnreachable(
                f"{method} {path}: {why_unreachable(error, self._endpoint.origin)}"
            ) from error
        self.clock.observe(reply.headers.get("date"), sent_ms)
        return reply.status_code, reply.content

    def _require_signer(self) -> Signer:
        signer = current_signer(self._signer)
        if signer is None:
            raise VenueError("this call needs a key, and the client was made without one")
        return signer

    async def _rows(
        self,
        path: str,
        query: Mapping[str, str | int | None],
        kind: type[_Body],
        rows_of: "Callable[[Any], list[tuple[Hashable, _Row]]]",
        *,
        signed: bool = True,
    ) -> AsyncIterator[_Row]:
        """Iterate over the rows of all pages, each once.

        A garbage or expired cursor is answered with page one (section 3.4), which would loop or lose rows without a word: a page that
        holds the very first row again, or a cursor that comes again, is a VenueProtocolError.
        """
        cursor: str | None = None
        seen: set[Hashable] = set()
        cursors: set[str] = set()
        first: Hashable = None
        for _ in range(_MAX_PAGES):
            page = await self._read(
                path, kind, {**query, "limit": _PAGE_LIMIT, "cursor": cursor}, signed=signed
            )
            rows = rows_of(page)
            if cursors and any(key == first for key, _ in rows):
                raise VenueProtocolError(f"{path}: a later page begins again at page one", encode(page))
            if not seen and rows:
                first = rows[0][0]
            for key, row in rows:
                if key not in seen:
                    seen.add(key)
                    yield row
            cursor = getattr(page, "cursor", None) or None
            if cursor is None:
                return
            if cursor in cursors:
                raise VenueProtocolError(f"{path}: the venue repeats a cursor", encode(page))
            cursors.add(cursor)
        raise VenueProtocolError(f"{path}: more than {_MAX_PAGES} pages", b"")


def _markets(page: MarketPage) -> list[tuple[Hashable, Market]]:
    return [(row.ticker, row) for row in page.markets]


def _orders(page: OrderPage) -> list[tuple[Hashable, Order]]:
    return [(row.order_id, row) for row in page.orders]


def _fills(page: FillPage) -> list[tuple[Hashable, Fill]]:
    # A trade between two orders of one account is two fills with one id.
    return [((row.fill_id, row.order_id), row) for row in page.fills]


def _positions(page: PositionPage) -> list[tuple[Hashable, MarketPosition]]:
    return [((row.ticker, row.exchange_index), row) for row in page.market_positions]


async def _wait_for(bucket: TokenBucket, cost: int) -> None:
    while not bucket.try_take(cost):
        wait_us = bucket.wait_us(cost)
        if wait_us is None:
            raise VenueError(f"a call of {cost} tokens never fits a bucket of {bucket.capacity}")
        await asyncio.sleep(wait_us / 1_000_000)


def _is_success(status: int) -> bool:
    return 200 <= status < _OK_END  # noqa: PLR2004 - the 2xx class


def _now_us() -> int:
    return time.monotonic_ns() // 1_000
