"""What cards share: orders in one line, raw signed requests, and a WebSocket that remembers its frames."""

from __future__ import annotations

import asyncio
import contextlib
import time
import uuid
from collections.abc import AsyncIterator, Callable
from typing import Any, Protocol, Self

import httpx
import msgspec
import picows
from soloist_kalshi.codec import FrameDecoder
from soloist_kalshi.endpoint import tls_context
from soloist_kalshi.errors import VenueError
from soloist_kalshi.frames import Frame
from soloist_kalshi.messages import AmendOrder, CreateOrder, Order, ShardTransfer, SubaccountTransfer
from soloist_kalshi.numbers import money_from_dollars, money_to_dollars
from soloist_kalshi.orders import CreateOutcome, OrderClient
from soloist_kalshi.rest import RestClient
from soloist_kalshi.signing import Signer
from soloist_kalshi.websocket import Gap, WebSocketClient, WebSocketPolicy

BASE_PATH = "/trade-api/v2"
ORDERS = "/portfolio/events/orders"
DEADLINE_MS = 10_000
DEADLINE_S = 10.0
LOOK_S = 0.1
CLIENT_ORDER_ID_PREFIX = "soloist-card-"


class Venue(Protocol):
    """Where a card runs: an exchange of ours or the venue's demo."""

    rest_url: str
    ws_url: str
    ca_file: str | None


def wall_ms() -> int:
    """Return this machine's time in Unix ms, which requests are signed with (also towards an exchange with a virtual clock)."""
    return time.time_ns() // 1_000_000


def new_client_order_id() -> str:
    """Return an id that nobody has, by which a card's orders can be told from everybody else's."""
    return f"{CLIENT_ORDER_ID_PREFIX}{uuid.uuid4()}"


def order(ticker: str, side: str, price: str, count: str = "1.00", **fields: Any) -> CreateOrder:
    """A good-till-canceled order with a client order id that nobody has, unless `fields` say otherwise."""
    wanted = {
        "client_order_id": new_client_order_id(),
        "time_in_force": "good_till_canceled",
        "self_trade_prevention_type": "taker_at_cross",
    } | fields
    return CreateOrder(ticker=ticker, side=side, price=price, count=count, **wanted)


def raw_order(ticker: str, /, **changes: Any) -> dict[str, Any]:
    """The body of a post-only bid of one contract at one cent; `changes` of None take a field away."""
    body = {
        "ticker": ticker,
        "side": "bid",
        "count": "1.00",
        "price": "0.01",
        "time_in_force": "good_till_canceled",
        "self_trade_prevention_type": "maker",
        "client_order_id": new_client_order_id(),
        "post_only": True,
    } | changes
    return {name: value for name, value in body.items() if value is not None}


async def place(client: OrderClient, wanted: CreateOrder) -> CreateOutcome:
    """Send an order for the primary subaccount."""
    return await client.create(wanted, subaccount=0, deadline_ms=DEADLINE_MS)


def signed(exchange: Venue, signer: Signer, method: str, path: str, **options: Any) -> httpx.Response:
    """Send one signed request as bytes on the wire; `path` is after /trade-api/v2, `headers` replace the signed ones."""
    timestamp_ms = options.pop("timestamp_ms", None) or wall_ms()
    headers = signer.headers(method, BASE_PATH + path, timestamp_ms)
    headers |= options.pop("headers", {})
    for name in options.pop("without", ()):
        del headers[name]
    return httpx.request(
        method,
        exchange.rest_url + path,
        headers=headers,
        verify=tls_context(exchange.ca_file),
        timeout=10,
        **options,
    )


class Desk:
    """One account at one market: its order client, its reads, and each order verb in one line. Use as `async with`."""

    def __init__(self, exchange: Any, account: Any, ticker: str) -> None:
        self.exchange = exchange
        self.account = account
        self.ticker = ticker
        self.orders: OrderClient = exchange.orders(account.signer)
        self.reads: RestClient = exchange.rest(account.signer)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.orders.close()
        await self.reads.close()

    async def bid(self, price: str, count: str = "1.00", *, subaccount: int = 0, **fields: Any) -> Any:
        """Send a bid and return its outcome."""
        return await self._create("bid", price, count, subaccount, fields)

    async def ask(self, price: str, count: str = "1.00", *, subaccount: int = 0, **fields: Any) -> Any:
        """Send an ask and return its outcome."""
        return await self._create("ask", price, count, subaccount, fields)

    async def _create(
        self, side: str, price: str, count: str, subaccount: int, fields: dict[str, Any]
    ) -> Any:
        wanted = order(fields.pop("ticker", self.ticker), side, price, count, **fields)
        return await self.orders.create(wanted, subaccount=subaccount, deadline_ms=DEADLINE_MS)

    async def cancel(self, order_id: str, *, subaccount: int = 0) -> Any:
        """Send a cancel and return its outcome."""
        return await self.orders.cancel(
            order_id, market_ticker=self.ticker, subaccount=subaccount, deadline_ms=DEADLINE_MS
        )

    async def amend(
        self, order_id: str, side: str, price: str, count: str, *, subaccount: int = 0, **fields: Any
    ) -> Any:
        """Send an amend and return its outcome; `count` is filled plus desired resting."""
        change = AmendOrder(
            ticker=fields.pop("ticker", self.ticker), side=side, price=price, count=count, **fields
        )
        return await self.orders.amend(order_id, change, subaccount=subaccount, deadline_ms=DEADLINE_MS)

    async def decrease(self, order_id: str, *, by: int | None = None, to: int | None = None) -> Any:
        """Send a decrease and return its outcome; counts in 1/100 contract."""
        return await self.orders.decrease(
            order_id, market_ticker=self.ticker, subaccount=0, deadline_ms=DEADLINE_MS, by=by, to=to
        )

    async def ahead(self, order_id: str) -> int:
        """Read how much, in 1/100 contract, is ahead of an order."""
        return await self.reads.get_queue_position(order_id)

    async def resting(self) -> set[str]:
        """Read the ids of all resting orders of the primary subaccount."""
        return {row.order_id for row in await self.reads.list_orders(subaccount=0, status="resting")}

    async def order(self, order_id: str) -> Order:
        """Read one order."""
        return await self.reads.get_order(order_id)

    async def balance(self, subaccount: int = 0) -> str:
        """Read the balance in dollars, with six decimals however many the venue prints."""
        shown = await self.reads.get_balance(subaccount=subaccount)
        return money_to_dollars(money_from_dollars(shown.balance_dollars))

    async def position(self, subaccount: int = 0) -> str:
        """Read the position in this market, "0.00" without one."""
        held = await self.reads.list_positions(subaccount=subaccount, ticker=self.ticker)
        return held[0].position_fp if held else "0.00"

    async def funded_subaccount(self, dollars: str) -> int:
        """Open one more subaccount, move money there and return its number; needs tier advanced."""
        number = await self.reads.create_subaccount()
        await self.reads.transfer(
            SubaccountTransfer(
                client_transfer_id=str(uuid.uuid4()),
                from_subaccount=0,
                to_subaccount=number,
                amount_cents=money_from_dollars(dollars) // 10_000,
            )
        )
        return number

    async def clean_up(self) -> None:
        """Cancel what cards left behind, of this account's primary subaccount."""
        for row in await self.reads.list_orders(subaccount=0, status="resting"):
            if row.client_order_id.startswith(CLIENT_ORDER_ID_PREFIX):
                await self.orders.cancel(
                    row.order_id, market_ticker=row.ticker, subaccount=0, deadline_ms=DEADLINE_MS
                )

    async def move_to_shard(self, shard: int, dollars: str) -> None:
        """Move money of the primary subaccount from shard 0 to another one (section 11)."""
        await self.reads.transfer_between_shards(
            ShardTransfer(
                source="event_contract",
                destination="event_contract",
                amount=money_from_dollars(dollars) // 100,
                source_exchange_shard=0,
                destination_exchange_shard=shard,
            )
        )

    def raw(self, method: str, path: str, **options: Any) -> httpx.Response:
        """Send one signed request as bytes on the wire, see `signed`."""
        return signed(self.exchange, self.account.signer, method, path, **options)


class Socket:
    """A connection of the venue client: `frames` are all decoded frames so far, `closed` why connections ended."""

    def __init__(
        self,
        exchange: Venue,
        signer: Signer,
        *,
        reconnects: bool = False,
        policy: WebSocketPolicy | None = None,
    ) -> None:
        self._reconnects = reconnects
        self.frames: list[Frame] = []
        self.raw: list[dict[str, Any]] = []
        self.closed: list[VenueError] = []
        self.gaps: list[Gap] = []
        self.opened = asyncio.Event()
        self._changed = asyncio.Event()
        self._decoder = FrameDecoder()
        self.client = WebSocketClient(
            exchange.ws_url,
            signer,
            on_frame=self._on_frame,
            on_closed=self._on_closed,
            on_opened=self.opened.set,
            on_gap=self.gaps.append,
            ca_file=exchange.ca_file,
            policy=policy,
        )

    def _on_frame(self, raw: bytes) -> None:
        self.frames.append(self._decoder.decode(raw))
        self.raw.append(msgspec.json.decode(raw))
        self._changed.set()

    def _on_closed(self, error: VenueError) -> None:
        self.closed.append(error)
        self._changed.set()
        if not self._reconnects:
            self.client._closing.set()  # before it tries again: nothing is cut off in the middle of a handshake

    def say(self, text: str) -> None:
        """Send a text that the venue client would never send."""
        assert self.client._transport is not None
        self.client._transport.send(picows.WSMsgType.TEXT, text.encode())

    def of(self, kind: type) -> list[Any]:
        """Frames of one type, in order."""
        return [frame for frame in self.frames if isinstance(frame, kind)]

    async def until(self, condition: Callable[[], Any], what: str) -> Any:
        """Wait until a condition on what arrived is true and return it."""
        try:
            async with asyncio.timeout(DEADLINE_S):
                while not (result := condition()):
                    self._changed.clear()
                    # A frame wakes it; what is only counted, such as a duplicate, is seen at the next look.
                    with contextlib.suppress(TimeoutError):
                        await asyncio.wait_for(self._changed.wait(), LOOK_S)
        except TimeoutError:
            raise AssertionError(
                f"{what} did not happen; received {self.raw}, closed {self.closed}"
            ) from None
        return result

    async def sid(self, command_id: int, channel: str) -> int:
        """Wait for the `subscribed` of a channel and return its sid."""
        return await self.until(
            lambda: next(
                (
                    raw["msg"]["sid"]
                    for raw in self.raw
                    if raw["type"] == "subscribed"
                    and raw["id"] == command_id
                    and raw["msg"]["channel"] == channel
                ),
                None,
            ),
            f"subscribed to {channel}",
        )


@contextlib.asynccontextmanager
async def connected(exchange: Venue, signer: Signer, *, reconnects: bool = False) -> AsyncIterator[Socket]:
    """A connection that is open; it stays closed once it ends, unless it `reconnects`."""
    socket = Socket(exchange, signer, reconnects=reconnects)
    running = asyncio.create_task(socket.client.run())
    try:
        async with asyncio.timeout(DEADLINE_S):
            await socket.opened.wait()
        yield socket
    finally:
        await socket.client.close()
        await running
