"""The Live edge: the venue over `soloist_kalshi`, one WebSocket for data and private channels, REST for the rest."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from soloist_kalshi import frames
from soloist_kalshi.attempt_budget import AttemptBudget
from soloist_kalshi.clock import ServerClock
from soloist_kalshi.errors import VenueError, VenueForbidden, VenueProtocolError, VenueUnauthorized
from soloist_kalshi.keys import SignerSource
from soloist_kalshi.messages import Market
from soloist_kalshi.numbers import NumberError, count_from_text, money_from_dollars
from soloist_kalshi.orders import OrderClient
from soloist_kalshi.rest import ReadPolicy, RestClient
from soloist_kalshi.websocket import WebSocketClient

from soloist_trader.config import Configuration
from soloist_trader.core import events
from soloist_trader.core.commands import (
    Amend,
    Cancel,
    Entomb,
    FindFills,
    FindOrder,
    Place,
    ResetGroup,
    TriggerGroup,
)
from soloist_trader.core.identifiers import is_ours
from soloist_trader.core.intake import LISTING_MARGIN_MS
from soloist_trader.shell import convert
from soloist_trader.shell.clock import now_ms, text_to_ms
from soloist_trader.shell.fee_terms import FeeTable
from soloist_trader.shell.listings import Listings
from soloist_trader.shell.logs import log
from soloist_trader.shell.market_choice import MarketChoice
from soloist_trader.shell.market_frames import MarketFrames
from soloist_trader.shell.market_subscription import MarketSubscription
from soloist_trader.shell.venue import Gate, Reading, Sink, VenueCommand
from soloist_trader.shell.venue_recovery import Evidence, OwnOrder
from soloist_trader.shell.writes import Writes
from soloist_trader.tape import Tape

MARKET_POLL_S: Final = 15.0
FRESH_READ_MS: Final = 100
"""An order leaves right after the frame that led to it, unless the read is older: then what came behind that frame is looked at first."""
WARM_CONNECTIONS: Final = 4
"""So many orders at once find an open connection: two sides, two levels. Looked after with every poll of the markets."""
_EXPIRED: Final = "header_timestamp_expired"
_PRIVATE: Final = ["fill", "user_orders", "order_group_updates"]
_READS: Final = ReadPolicy(attempts=3, request_ms=4_000, deadline_ms=10_000)


class LiveEdge:
    """One account at the venue. `on_key_refused(why)` is told about every 401 and 403; `on_reopened` after reconnects."""

    def __init__(
        self,
        configuration: Configuration,
        source: SignerSource,
        on_key_refused: Callable[[str], None],
        on_reopened: Callable[[], None],
        budget: AttemptBudget,
        choice: MarketChoice | None = None,
    ) -> None:
        assert configuration.account is not None
        venue = configuration.venue
        self._account = configuration.account
        self._choice = choice or MarketChoice(configuration.markets)
        self._source = source
        self._on_key_refused = on_key_refused
        self._on_reopened = on_reopened
        ca_file = str(venue.ca_file) if venue.ca_file else None
        self.clock = ServerClock()
        self._rest = RestClient(
            venue.rest_url, source, ca_file=ca_file, clock=self.clock, policy=_READS, budget=budget
        )
        orders = OrderClient(venue.rest_url, source, ca_file=ca_file, clock=self.clock)
        self._listings = Listings(self._rest, self._account.subaccount)
        self._writes = Writes(orders, self._account.subaccount, on_key_refused)
        self._socket = WebSocketClient(
            venue.websocket_url,
            source,
            on_frame=self._on_frame,
            on_opened=self._on_opened,
            on_closed=self._on_closed,
            on_read_end=self._on_read_end,
            ca_file=ca_file,
            clock=self.clock,
            budget=budget,
        )
        self.after_frame: Callable[[], None] = _nothing
        """Called when everything that a frame says was delivered: what it led to leaves now, not after the next frames."""
        self.port = MarketFrames()
        self.books = self.port.books
        self.tape: Tape | None = None
        """Takes the raw frames, before what is made of them is stepped; None where nothing is recorded."""
        self.frames: dict[str, int] = {}
        self._subscription = MarketSubscription(self._socket)
        self.fees = FeeTable()
        self._sink: Sink = _nowhere
        self._tickers: list[str] = []
        self._unknown: list[str] = []
        self._found: list[Market] = []
        self._leaving: list[str] = []
        """Left the choice; their last frames may still be on the way."""
        self._groups: dict[str, str] = {}
        self._resyncing: set[str] = set()
        self._subscribed: set[str] = set()
        self._private_open = asyncio.Event()
        self.tasks: list[asyncio.Task[None]] = []

    # -- starting

    async def start(self, sink: Sink) -> list[str]:
        """Look markets up, subscribe to everything, and wait for the private channels. Raises VenueError."""
        self._sink = sink
        limits = await self._rest.get_account_limits()
        self._rest.buckets.resize(limits)
        sink(events.BudgetSeen(now_ms(), limits.write.refill_rate, limits.write.bucket_capacity))
        self._tickers = await self._look_up()
        self.tasks = [
            asyncio.create_task(self._socket.run(), name="websocket"),
            asyncio.create_task(self._poll_markets(), name="markets"),
        ]
        waiting = asyncio.create_task(self._private_open.wait())
        await asyncio.wait({waiting, *self.tasks}, return_when=asyncio.FIRST_COMPLETED)
        if not waiting.done():
            waiting.cancel()
            for task in self.tasks:
                if task.done():
                    task.result()
        return self._tickers

    async def _look_up(self) -> list[str]:
        await self._choose()
        await self._refresh_markets(self._tickers)
        return self._tickers

    async def _choose(self) -> None:
        """Follow what the choice says; a market that left keeps its last book until the next round, then that is lost."""
        change = await self._choice.look(self._rest)
        self._tickers = self._choice.tickers
        self._leaving += change.gone
        for market in change.closed:
            self._sink(convert.market_seen(now_ms(), market))
        self._subscription.change(change, self._tickers)

    def _let_go(self) -> None:
        leaving, self._leaving = self._leaving, []
        for ticker in leaving:
            if ticker not in self._choice:
                self._sink(events.BookLost(now_ms(), ticker, "it left the markets that are followed"))

    async def _refresh_markets(self, tickers: list[str]) -> None:
        found = await self._rest.get_markets(tickers=tickers) if tickers else []
        self._unknown = sorted(set(tickers) - {market.ticker for market in found})
        moment = now_ms()
        for market in found:
            self._sink(convert.market_seen(moment, market))
        self._found = found

    async def _learn_fees(self) -> None:
        """For the alarm only: nothing waits for it."""
        try:
            await self.fees.look_up(self._rest, self._found)
        except (VenueError, NumberError, ValueError) as error:
            self._note_error("FeesUnreadable", error)

    async def _poll_markets(self) -> None:
        """Status, volume and grid change rarely, and some transitions are silent on the WebSocket."""
        while True:
            self._writes.warm(WARM_CONNECTIONS)
            await self._learn_fees()
            await self._choice.pause(MARKET_POLL_S)
            self._let_go()
            try:
                if self._choice.is_due:
                    await self._choose()
                await self._refresh_markets(self._tickers)
            except (VenueError, NumberError, ValueError) as error:
                self._note_error("MarketsUnreadable", error)

    def _note_error(self, event: str, error: Exception) -> None:
        log(event, str(error))
        if isinstance(error, VenueUnauthorized | VenueForbidden) and error.code != _EXPIRED:
            self._on_key_refused(str(error))

    # -- frames

    def _on_opened(self) -> None:
        self._resyncing.clear()
        self._subscribed.clear()
        self._socket.subscribe(_PRIVATE)
        self._subscription.open(self._tickers)

    def _on_closed(self, error: VenueError) -> None:
        self._private_open.clear()
        log("WebSocketClosed", str(error))
        moment, why = now_ms(), "the connection ended"
        if self.tape is not None:
            self.tape.write_feed_end(moment, why)
        for lost in self.port.reset(moment, why):
            self._sink(lost)
        if isinstance(error, VenueUnauthorized | VenueForbidden) and error.code != _EXPIRED:
            self._on_key_refused(str(error))

    def _on_frame(self, payload: bytes) -> None:
        moment = now_ms()
        if self.tape is not None:
            self.tape.write_frame(moment, payload)
        frame, seen = self.port.take(moment, payload)
        kind = type(frame)
        name = kind.__name__
        self.frames[name] = self.frames.get(name, 0) + 1
        lost = False
        for event in seen:  # every one of them, before anything that can end the connection
            self._sink(event)
            lost = lost or type(event) is events.BookLost
        if lost:
            self._resync()
        if kind is not frames.OrderbookDeltaFrame and kind is not frames.TradeFrame:
            try:
                self._on_other(moment, frame)
            except (NumberError, KeyError, IndexError) as error:
                raise VenueProtocolError(f"{name} with an impossible number: {error}", payload) from error
        if self._socket.read_age_ms() <= FRESH_READ_MS:
            self.after_frame()

    def _on_read_end(self) -> None:
        if self.tape is not None:
            self.tape.end_frames()

    def _on_other(self, moment: int, frame: frames.Frame | frames.UnknownFrame) -> None:
        if isinstance(frame, frames.OrderbookSnapshotFrame):
            self._resyncing.discard(frame.msg.market_ticker)
            self._resync()
        elif isinstance(frame, frames.FillFrame):
            if self._is_own(frame.msg.subaccount, frame.msg.client_order_id or ""):
                self._sink(convert.user_fill_seen(moment, frame.msg))
        elif isinstance(frame, frames.UserOrderFrame):
            if self._is_own(frame.msg.subaccount_number, frame.msg.client_order_id):
                self._sink(convert.user_order_seen(moment, frame.msg))
        elif isinstance(frame, frames.OrderGroupUpdateFrame):
            self._on_group(moment, frame.msg)
        elif isinstance(frame, frames.SubscribedFrame):
            self._on_subscribed(frame.msg)
        elif isinstance(frame, frames.OkFrame | frames.UnsubscribedFrame | frames.ErrorFrame):
            self._on_control(frame)

    def _is_own(self, said: int | None, client_order_id: str) -> bool:
        """Whether a private frame is of this subaccount. The venue leaves empty fields out, and the primary's number is one.

        On a numbered subaccount a frame that says none may be anybody's, so only an id of ours proves it.
        """
        if said is None and self._account.subaccount:
            return is_ours(client_order_id, self._account.claim_hash)
        return said in {None, self._account.subaccount}

    def _on_group(self, moment: int, message: frames.OrderGroupUpdateMessage) -> None:
        role = next(
            (role for role, group_id in self._groups.items() if group_id == message.order_group_id), ""
        )
        if role and message.event_type in {"triggered", "reset"}:
            self._sink(
                events.GroupSeen(moment, role, message.order_group_id, message.event_type == "triggered")
            )

    def _on_subscribed(self, message: frames.SubscribedMessage) -> None:
        self._subscribed.add(message.channel)
        self._subscription.on_subscribed(message)
        if self._subscribed.issuperset(_PRIVATE) and not self._private_open.is_set():
            self._private_open.set()
            self._on_reopened()

    def _on_control(self, frame: frames.OkFrame | frames.UnsubscribedFrame | frames.ErrorFrame) -> None:
        if isinstance(frame, frames.ErrorFrame):
            log("ChannelError", f"code {frame.msg.code}: {frame.msg.msg}")
            self._socket.disconnect()  # every error of ours or of a channel: begin again with a clean connection

    def _resync(self) -> None:
        """Ask for snapshots of every market that needs one, once."""
        suspects = [
            market
            for market in self.books.suspect_markets
            if market not in self._resyncing and market in self._choice
        ]
        if suspects and self.port.book_sid and self._socket.is_open:
            self._resyncing.update(suspects)
            self._socket.get_snapshot(self.port.book_sid, suspects)

    def reconnect(self) -> None:
        """Begin a new WebSocket session: what the present one says is no longer believed."""
        self._socket.disconnect()

    def change_key(self) -> None:
        """Change over to a WebSocket session with the key of this moment, once that is open."""
        self._socket.renew()

    # -- commands

    async def execute(self, command: VenueCommand, gate: Gate | None) -> list[events.Event]:
        """Carry out one command; its outcome as events. Reads that fail say nothing: they are asked for again."""
        if isinstance(command, Place | Entomb):
            return [await self._writes.create(command, gate)]
        if isinstance(command, Amend):
            return [await self._writes.amend(command, gate)]
        if isinstance(command, Cancel):
            return [await self._writes.cancel(command)]
        try:
            if isinstance(command, TriggerGroup | ResetGroup):
                return await self._change_group(command)
            if isinstance(command, FindOrder):
                return [await self._find_order(command)]
            return await self._find_fills(command)
        except (VenueError, NumberError, ValueError) as error:
            self._note_error("LookUpFailed", error)
            return []

    async def _find_order(self, command: FindOrder) -> events.Event:
        as_of_ms = await self.as_of_ms()
        found = await self._listings.orders(
            command.from_ms, market=command.market, wanted={command.client_order_id}
        )
        moment = now_ms()
        if not found:
            return events.OrderAbsent(moment, command.client_order_id, as_of_ms)
        return convert.order_seen(moment, found[0], "listing", as_of_ms)

    async def _find_fills(self, command: FindFills) -> list[events.Event]:
        listed = await self._listings.fills_of(command.market, command.order_id)
        moment = now_ms()
        return [
            convert.fill_seen(moment, fill)._replace(client_order_id=command.client_order_id)
            for fill in listed
        ]

    # -- reading

    async def as_of_ms(self) -> int:
        """How fresh the portfolio reads are."""
        return text_to_ms((await self._rest.get_user_data_timestamp()).as_of_time)

    def venue_ms(self, moment_ms: int) -> int:
        """The latest time that the venue's clock may have shown at a moment of ours, as far as its replies tell."""
        skew_ms, uncertainty_ms = self.clock.skew_ms, self.clock.uncertainty_ms
        if skew_ms is None or uncertainty_ms is None:
            return moment_ms
        return moment_ms - skew_ms + uncertainty_ms

    async def read(self, from_ms: int, wanted: dict[str, tuple[str, int]]) -> Reading:
        """One pass over the account. Raises VenueError."""
        subaccount = self._account.subaccount
        reading = Reading(as_of_ms=await self.as_of_ms())
        orders = await self._listings.resting()
        seen = {order.client_order_id for order in orders}
        since: dict[str, int] = {}
        missing: dict[str, set[str]] = {}
        for client_order_id, (market, intended_ms) in wanted.items():
            if client_order_id not in seen:
                since[market] = min(since.get(market, intended_ms), intended_ms)
                missing.setdefault(market, set()).add(client_order_id)
        for market, names in missing.items():
            orders += await self._listings.orders(
                since[market] - LISTING_MARGIN_MS, market=market, wanted=names
            )
        fills = await self._listings.fills(from_ms)
        settlements = await self._rest.list_settlements(subaccount=subaccount, min_ts=from_ms // 1000)
        groups = await self._read_groups()
        positions = await self._rest.list_positions(subaccount=subaccount)
        balance = await self._rest.get_balance(subaccount=subaccount)
        moment = now_ms()
        reading.orders = [convert.order_seen(moment, order, "listing", reading.as_of_ms) for order in orders]
        reading.fills = [convert.fill_seen(moment, fill) for fill in fills]
        reading.settlements = [convert.settlement_seen(moment, row) for row in settlements]
        reading.groups = groups
        reading.positions = tuple(convert.position_seen(position) for position in positions)
        reading.balance = money_from_dollars(balance.balance_dollars)
        return reading

    async def look_at_top(self, market: str) -> tuple[int, int]:
        """Best bid and ask of a market by a read, 0 for an empty side. Raises VenueError."""
        book = await self._rest.get_orderbook(market, depth=1)
        bids = convert.levels(book.yes_dollars)
        asks = convert.levels(book.no_dollars, of_no=True)
        return max((price for price, _ in bids), default=0), min((price for price, _ in asks), default=0)

    async def own_resting(self) -> list[events.OrderSeen]:
        """Own orders that rest. Raises VenueError."""
        listed = await self._listings.resting()
        moment = now_ms()
        own = [order for order in listed if is_ours(order.client_order_id, self._account.claim_hash)]
        return [convert.order_seen(moment, order, "listing") for order in own]

    async def evidence(self, from_ms: int) -> Evidence:
        """Own orders in all statuses, fills and settlements since a time, for a start without a journal. Raises VenueError.

        What still rests is among them however old it is.
        """
        by_id = {order.order_id: order for order in await self._listings.resting()}  # however old
        by_id |= {order.order_id: order for order in await self._listings.orders(from_ms)}
        orders = by_id.values()
        fills = await self._listings.fills(from_ms)
        settlements = await self._rest.list_settlements(
            subaccount=self._account.subaccount, min_ts=from_ms // 1000
        )
        moment = now_ms()
        return Evidence(
            [
                OwnOrder(
                    order.client_order_id,
                    order.order_id,
                    order.ticker,
                    order.status == "resting",
                    text_to_ms(order.created_time) if order.created_time else 0,
                )
                for order in orders
                if is_ours(order.client_order_id, self._account.claim_hash)
            ],
            [convert.fill_seen(moment, fill) for fill in fills],
            [convert.settlement_seen(moment, row) for row in settlements],
        )

    # -- order groups

    async def make_groups(self, limits: dict[str, int], earlier: list[str]) -> list[events.GroupSeen]:
        """Make the order groups of this start, role to limit, and remove earlier ones of ours.

        An order of an earlier process that is still on its way names a group that is gone, and is refused. Raises
        VenueError when it is not certain that both were made.
        """
        for group_id in earlier:
            await self._writes.remove_group(group_id)
        made = []
        for role, limit in limits.items():
            group_id = await self._writes.make_group(role, limit)
            if not group_id:
                raise VenueProtocolError(f"order group {role!r} could not be made", b"")
            self._groups[role] = group_id
            made.append(events.GroupSeen(now_ms(), role, group_id, triggered=False, limit=limit))
        return made

    async def _change_group(self, command: TriggerGroup | ResetGroup) -> list[events.Event]:
        """Trigger or reset a group, and look whether it is so: a triggered one has no order left."""
        if not await self._writes.change_group(command):
            return []
        wanted = isinstance(command, TriggerGroup)
        shown = await self._rest.get_order_group(command.group_id, subaccount=self._account.subaccount)
        if wanted and shown.orders:
            return []
        limit = count_from_text(shown.contracts_limit_fp)
        return [events.GroupSeen(now_ms(), command.role, command.group_id, wanted, limit)]

    async def _read_groups(self) -> list[events.GroupSeen]:
        """Groups of ours that the venue shows as triggered. What it shows for an armed one proves nothing (section 9)."""
        if not self._groups:
            return []
        listed = await self._rest.list_order_groups(subaccount=self._account.subaccount)
        roles = {group_id: role for role, group_id in self._groups.items()}
        moment = now_ms()
        return [
            events.GroupSeen(
                moment, roles[row.id], row.id, triggered=True, limit=count_from_text(row.contracts_limit_fp)
            )
            for row in listed
            if row.id in roles and not row.is_auto_cancel_enabled
        ]

    def status(self) -> dict[str, object]:
        """Connections and key, for `/status`."""
        return {
            "connected": self._socket.is_open,
            "connections": self._socket.connections,
            "keyId": self._source.current.key_id,
            "generation": self._source.generation,
            "clockSkewMs": self.clock.skew_ms,
            "bookGaps": self.books.gaps,
            "unknownMarkets": ", ".join(self._unknown),
        }

    async def close(self) -> None:
        """Close sockets and end tasks."""
        await self._socket.close()
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        await self._writes.close()
        await self._rest.close()


def _nothing() -> None:
    """Nobody wants to know."""


def _nowhere(_event: events.Event) -> None:
    """Before `start` nobody listens."""
