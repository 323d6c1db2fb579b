"""Sending reads and cold writes over kept-alive connections: signing, deadlines, token buckets, back-off and pages (sections 2 to 4).

Reads are repeated with full jitter within a budget of attempts and time. Writes are sent once: httpx repeats nothing by itself, and
neither does this module.
"""

import asyncio
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Hashable, Mapping
from dataclasses import dataclass
from random import Random
from types import TracebackType
from typing import Any, ClassVar, Self, TypeVar

import httpx
import msgspec

from soloist_kalshi.attempt_budget import AttemptBudget
from soloist_kalshi.clock import ServerClock
from soloist_kalshi.codec import UnknownFields, decode, encode
from soloist_kalshi.endpoint import Backoff, Endpoint, current_signer, tls_context, why_unreachable
from soloist_kalshi.errors import (
    VenueClockSkew,
    VenueError,
    VenueNotFound,
    VenueNotSent,
    VenueOutcomeUnknown,
    VenueProtocolError,
    VenueRateLimited,
    VenueRejected,
    VenueUnauthorized,
    VenueUnavailable,
    VenueUnreachable,
    parse_error_body,
)
from soloist_kalshi.keys import SignerSource
from soloist_kalshi.limits import AccountBuckets, CostTable, TokenBucket
from soloist_kalshi.signing import Signer

__all__ = ["Query", "ReadPolicy", "RestTransport"]

Query = Mapping[str, str | int | bool | list[str] | None]  # a list repeats its name

_Body = TypeVar("_Body", bound=msgspec.Struct)
_Result = TypeVar("_Result")
_Row = TypeVar("_Row")
_NAMES_NOTHING = re.compile(r"(/[a-z_]+)+\Z")
_PAGE_LIMIT = 1_000
_MAX_PAGES = 1_000
_OK_END = 300
_BEFORE_SENDING = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)
"""What the HTTP library raises before a byte of the request is written."""


@dataclass(frozen=True, slots=True)
class ReadPolicy:
    """Limits of one read: `attempts` requests of at most `request_ms` each, all within `deadline_ms`, waiting included."""

    attempts: int = 4
    request_ms: int = 5_000
    deadline_ms: int = 15_000
    base_wait_ms: int = 100
    cap_wait_ms: int = 2_000


class RestTransport:
    """What all calls share. `signer` may be None for market data only, one key, or a source whose key changes in flight.

    `budget` bounds the attempts that are wasted over restarts of the process; without one they are bounded in this process only.
    """

    user_agent: ClassVar[str] = "soloist"
    """How its requests name their sender."""

    def __init__(
        self,
        base_url: str,
        signer: Signer | SignerSource | None,
        *,
        ca_file: str | None = None,
        clock: ServerClock | None = None,
        policy: ReadPolicy | None = None,
        random: Random | None = None,
        budget: AttemptBudget | None = None,
    ) -> None:
        self.clock = clock if clock is not None else ServerClock()
        self.unknown_fields = UnknownFields()
        self.buckets = AccountBuckets(_now_us)
        self.costs = CostTable.documented()
        self.budget = budget if budget is not None else AttemptBudget()
        self.retries = 0
        self._endpoint = Endpoint.parse(base_url)
        self._signer = signer
        self._policy = policy if policy is not None else ReadPolicy()
        self._random = random if random is not None else Random()  # noqa: S311 - jitter, not a secret
        self._http = httpx.AsyncClient(
            verify=tls_context(ca_file) if self._endpoint.secure else False,
            timeout=None,  # noqa: S113 - the deadline is around the whole request, see _once
            follow_redirects=False,
            trust_env=False,
            headers={"User-Agent": self.user_agent},
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

    async def _read(
        self,
        path: str,
        kind: type[_Body],
        query: Query | None = None,
        *,
        signed: bool = True,
        template: str | None = None,
    ) -> _Body:
        """GET a body, repeated within the budget. `template` is the path as the table of costs has it."""

        async def once(deadline_ms: int) -> _Body:
            if signed:
                await self._wait_for(
                    self.buckets.read, self.costs.cost("GET", template or path), path, deadline_ms
                )
            status, body = await self._once("GET", path, query=query, signed=signed)
            if not _is_success(status):
                raise self._refusal(status, body, path)
            return decode(body, kind, self.unknown_fields)

        return await self._repeated(once)

    async def _write(
        self,
        method: str,
        path: str,
        content: bytes | None,
        *,
        query: Query | None = None,
        template: str | None = None,
    ) -> bytes:
        """Send a write exactly once and return the body of its success.

        Raises VenueNotSent when nothing left, VenueOutcomeUnknown and VenueUnavailable when nobody knows whether it happened. It draws from the Read bucket: the venue bills only orders and their groups to Write (section 4).
        """
        deadline_ms = self.clock.monotonic_ms() + self._policy.deadline_ms
        await self._wait_for(self.buckets.read, self.costs.cost(method, template or path), path, deadline_ms)
        status, body = await self._once(method, path, query=query, content=content, signed=True)
        if not _is_success(status):
            refusal = self._refusal(status, body, path)
            if isinstance(refusal, VenueRateLimited):
                self.buckets.read.drain()  # the caller's next write waits for its tokens
            raise refusal
        return body

    async def _repeated(self, once: Callable[[int], Awaitable[_Result]]) -> _Result:
        """Run a read until it succeeds, is refused for good, or attempts or time are used up."""
        policy = self._policy
        deadline_ms = self.clock.monotonic_ms() + policy.deadline_ms
        backoff = Backoff(self._random, policy.base_wait_ms, policy.cap_wait_ms)
        await self._wait_for_budget(deadline_ms)
        while True:
            try:
                return await once(deadline_ms)
            except (VenueUnreachable, VenueUnavailable, VenueRateLimited) as error:
                self.budget.failed()
                if isinstance(error, VenueRateLimited):
                    self.buckets.read.drain()
                wait_ms = max(backoff.next_wait_ms(), self.budget.wait_ms())
                if backoff.failures >= policy.attempts or self.clock.monotonic_ms() + wait_ms >= deadline_ms:
                    raise
                self.retries += 1
                await asyncio.sleep(wait_ms / 1_000)

    async def _wait_for_budget(self, deadline_ms: int) -> None:
        """Wait for an attempt; raises VenueNotSent at once when none comes in time."""
        wait_ms = self.budget.wait_ms()
        if self.clock.monotonic_ms() + wait_ms >= deadline_ms:
            raise VenueNotSent(
                f"{self._endpoint.origin}: not asked: earlier failures and restarts used up the attempt budget, "
                f"the next attempt is due in {wait_ms} ms"
            )
        await asyncio.sleep(wait_ms / 1_000)

    async def _wait_for(self, bucket: TokenBucket, cost: int, path: str, deadline_ms: int) -> None:
        while not bucket.try_take(cost):
            wait_us = bucket.wait_us(cost)
            if wait_us is None:
                raise VenueError(f"a call of {cost} tokens never fits a bucket of {bucket.capacity}")
            if self.clock.monotonic_ms() + wait_us // 1_000 >= deadline_ms:
                raise VenueNotSent(
                    f"{path}: not sent: the account's token bucket has no {cost} tokens before the deadline"
                )
            await asyncio.sleep(wait_us / 1_000_000)

    async def _once(
        self,
        method: str,
        path: str,
        *,
        query: Query | None = None,
        content: bytes | None = None,
        signed: bool,
    ) -> tuple[int, bytes]:
        """Send one request and return status and body; raises VenueUnreachable (of a write: which one) and VenueClockSkew."""
        full_path = self._endpoint.base_path + path
        headers = {"Content-Type": "application/json"} if content is not None else {}
        if signed:
            headers |= self._require_signer().headers(method, full_path, self.clock.timestamp_ms())
        params = {name: _query_text(value) for name, value in (query or {}).items() if value is not None}
        sent_ms = self.clock.monotonic_ms()
        try:
            async with asyncio.timeout(self._policy.request_ms / 1_000):
                reply = await self._http.request(
                    method, self._endpoint.origin + full_path, params=params, content=content, headers=headers
                )
        except (httpx.HTTPError, TimeoutError) as error:
            kind = VenueUnreachable if method == "GET" else VenueOutcomeUnknown
            if isinstance(error, _BEFORE_SENDING):
                kind = VenueNotSent
            raise kind(f"{method} {path}: {why_unreachable(error, self._endpoint.origin)}") from error
        self.clock.observe(reply.headers.get("date"), sent_ms)
        return reply.status_code, reply.content

    def _refusal(self, status: int, body: bytes, path: str) -> VenueRejected:
        """Return the error of a refusal; a stale timestamp that our clock explains is a VenueClockSkew, raised."""
        refusal = parse_error_body(status, body)
        if isinstance(refusal, VenueNotFound) and _NAMES_NOTHING.match(path) is not None:
            # A path without an id or ticker is always there: the base URL leads elsewhere.
            message = (
                f"there is no {path} at {self._endpoint.origin}{self._endpoint.base_path}: check the base URL"
            )
            return VenueNotFound(refusal.status, refusal.code, message, refusal.details)
        skew_ms = self.clock.skew_ms
        if (
            isinstance(refusal, VenueUnauthorized)
            and refusal.code == "header_timestamp_expired"
            and skew_ms is not None
            and abs(skew_ms) > self.clock.limit_ms
        ):
            raise VenueClockSkew(skew_ms, self.clock.limit_ms) from refusal
        return refusal

    def _require_signer(self) -> Signer:
        signer = current_signer(self._signer)
        if signer is None:
            raise VenueError("this call needs a key, and the client was made without one")
        return signer

    async def _rows(
        self,
        path: str,
        query: Query,
        kind: type[_Body],
        rows_of: "Callable[[Any], list[tuple[Hashable, _Row]]]",
        *,
        signed: bool = True,
        page_limit: int = _PAGE_LIMIT,
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
                path, kind, {**query, "limit": page_limit, "cursor": cursor}, signed=signed
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


def _query_text(value: str | int | bool | list[str]) -> str | list[str]:
    if isinstance(value, bool):
        return "true" if value else "false"
    return value if isinstance(value, list) else str(value)


def _is_success(status: int) -> bool:
    return 200 <= status < _OK_END  # noqa: PLR2004 - the 2xx class


def _now_us() -> int:
    return time.monotonic_ns() // 1_000
