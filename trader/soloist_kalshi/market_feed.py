"""Books of many markets over as many connections as the plan says, each connection one task (section 13).

Books are kept by snapshot and deltas. A gap in a subscription makes all its books untradable and asks for their snapshots; an overflow
halves what the subscription carries; after a reconnect everything is subscribed again from `on_opened`, without waiting for anything.
Callbacks are synchronous and run in the read loop. The watchdog asks again for what never came.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from random import Random

from soloist_kalshi import frames
from soloist_kalshi.attempt_budget import AttemptBudget
from soloist_kalshi.book import Book
from soloist_kalshi.clock import ServerClock
from soloist_kalshi.codec import FrameDecoder, UnknownFields
from soloist_kalshi.errors import VenueError, VenueProtocolError, VenueUnreachable
from soloist_kalshi.keys import SignerSource
from soloist_kalshi.messages import LevelText
from soloist_kalshi.numbers import NumberError, count_from_text, price_from_dollars
from soloist_kalshi.planner import FeedPlan, FeedPlanError, PlanLimits, Slot, overflowed, plan
from soloist_kalshi.signing import Signer
from soloist_kalshi.staleness import Staleness
from soloist_kalshi.websocket import Gap, WebSocketClient, WebSocketPolicy

__all__ = ["MarketFeed", "MarketFeedPolicy"]

_log = logging.getLogger(__name__)
_BOOKS = "orderbook_delta"
_OVERFLOWS = frozenset({25, 26})
_TERMINAL = frozenset({10, 25})


@dataclass(frozen=True, slots=True)
class MarketFeedPolicy:
    """`answer_ms` is how long a subscription or snapshot may take before it is asked for again.

    Every `refresh_ms` one subscription's snapshots are asked for in turn, because the loss of the last frame before a silence shows in
    no sequence number; None never does.
    """

    answer_ms: int = 5_000
    refresh_ms: int | None = 60_000
    tick_ms: int = 500


@dataclass(slots=True)
class _Subscription:
    """What a slot should carry, and what the venue was told."""

    slot: Slot
    wanted: set[str] = field(default_factory=set)
    told: set[str] = field(default_factory=set)
    sid: int | None = None
    asked_ms: int | None = None


@dataclass(slots=True, eq=False)
class _Connection:
    number: int
    client: WebSocketClient
    by_command: dict[int, _Subscription] = field(default_factory=dict)
    by_sid: dict[int, _Subscription] = field(default_factory=dict)


class MarketFeed:
    """Watches markets. `on_book(book)` is called after every change of a book or of its tradability, `on_trade` for public trades.

    `watch` may be called at any time; run `run` as a task and end it with `close`.
    """

    def __init__(
        self,
        ws_url: str,
        signer_source: SignerSource | Signer,
        *,
        on_book: Callable[[Book], None],
        on_trade: Callable[[frames.TradeMessage], None] | None = None,
        limits: PlanLimits | None = None,
        policy: MarketFeedPolicy | None = None,
        websocket_policy: WebSocketPolicy | None = None,
        ca_file: str | None = None,
        clock: ServerClock | None = None,
        random: Random | None = None,
        budget: AttemptBudget | None = None,
    ) -> None:
        self.clock = clock if clock is not None else ServerClock()
        self.books: dict[str, Book] = {}
        self.plan = FeedPlan.empty(limits if limits is not None else PlanLimits())
        self.policy = policy if policy is not None else MarketFeedPolicy()
        self.staleness = Staleness(venue_now_ms=self.clock.venue_ms, monotonic_ms=self.clock.monotonic_ms)
        self.unknown_fields = UnknownFields()
        self.counts: Counter[str] = Counter()
        self.last_error: VenueError | None = None
        self._decoder = FrameDecoder(self.unknown_fields)
        self._url = ws_url
        self._signer = signer_source
        self._on_book = on_book
        self._channels = [_BOOKS] if on_trade is None else [_BOOKS, "trade"]
        self._on_trade = on_trade
        self._websocket_policy = websocket_policy
        self._ca_file = ca_file
        self._random = random
        self._budget = budget
        self._subscriptions: dict[Slot, _Subscription] = {}
        self._connections: dict[int, _Connection] = {}
        self._suspect_since_ms: dict[str, int] = {}
        self._refreshed_ms = self.clock.monotonic_ms()
        self._group: asyncio.TaskGroup | None = None
        self._closing = asyncio.Event()

    def watch(self, tickers: Iterable[str]) -> None:
        """Watch exactly these markets from now on; raises FeedPlanError when they do not fit, and changes nothing then."""
        self._follow(plan(self.plan, tickers))

    async def run(self) -> None:
        """Keep all connections until `close`. An error of our own code in a callback ends it and comes out."""
        async with asyncio.TaskGroup() as group:
            self._group = group
            self._follow(self.plan)
            watchdog = group.create_task(self._watch_over(), name="feed watchdog")
            await self._closing.wait()
            watchdog.cancel()
            await asyncio.gather(*(connection.client.close() for connection in self._connections.values()))
        self._group = None

    async def close(self) -> None:
        """End every connection; `run` returns."""
        self._closing.set()

    @property
    def connected(self) -> int:
        """How many connections are open now."""
        return sum(connection.client.is_open for connection in self._connections.values())

    # The plan

    def _follow(self, new: FeedPlan) -> None:
        self.plan = new
        for slot in {*self._subscriptions, *new.tickers}:
            subscription = self._subscriptions.setdefault(slot, _Subscription(slot))
            subscription.wanted = set(new.tickers.get(slot, ()))
        watched = {ticker for tickers in new.tickers.values() for ticker in tickers}
        for ticker in self.books.keys() - watched:
            self._drop_book(ticker)
        for ticker in watched - self.books.keys():
            self.books[ticker] = Book(ticker)
        if self._group is None or self._closing.is_set():
            return
        for number in new.connections - self._connections.keys():
            self._connect(number, self._group)
        for number in self._connections.keys() - new.connections:
            self._disconnect(number, self._group)
        for subscription in self._subscriptions.values():
            self._tell(subscription)

    def _connect(self, number: int, group: asyncio.TaskGroup) -> None:
        # A connection that the plan gave up may still deliver: its callbacks look themselves up first.
        def current() -> _Connection | None:
            connection = self._connections.get(number)
            return connection if connection is not None and connection.client is client else None

        def on_frame(raw: bytes) -> None:
            if (connection := current()) is not None:
                self._on_frame(connection, raw)

        def on_opened() -> None:
            if (connection := current()) is not None:
                self._on_opened(connection)

        def on_closed(error: VenueError) -> None:
            if (connection := current()) is not None:
                self._on_closed(connection, error)

        def on_gap(gap: Gap) -> None:
            if (connection := current()) is not None:
                self._on_gap(connection, gap)

        client = WebSocketClient(
            self._url,
            self._signer,
            on_frame=on_frame,
            on_opened=on_opened,
            on_closed=on_closed,
            on_gap=on_gap,
            ca_file=self._ca_file,
            clock=self.clock,
            policy=self._websocket_policy,
            random=self._random,
            budget=self._budget,
        )
        self._connections[number] = _Connection(number, client)
        group.create_task(client.run(), name=f"feed connection {number}")

    def _disconnect(self, number: int, group: asyncio.TaskGroup) -> None:
        connection = self._connections.pop(number)
        for slot in [slot for slot in self._subscriptions if slot.connection == number]:
            del self._subscriptions[slot]
        group.create_task(connection.client.close(), name=f"end of feed connection {number}")

    def _tell(self, subscription: _Subscription) -> None:
        """Send what brings a subscription to what is wanted; nothing while an answer is awaited or there is no connection."""
        connection = self._connections.get(subscription.slot.connection)
        if connection is None or not connection.client.is_open or subscription.asked_ms is not None:
            return
        try:
            self._tell_open(connection, subscription)
        except VenueUnreachable as error:  # the venue does not read: the watchdog comes back
            self.last_error = error

    def _tell_open(self, connection: _Connection, subscription: _Subscription) -> None:
        client = connection.client
        if subscription.sid is None:
            if subscription.wanted:
                command = client.subscribe(self._channels, sorted(subscription.wanted))
                connection.by_command[command] = subscription
                subscription.told = set(subscription.wanted)
                subscription.asked_ms = self.clock.monotonic_ms()
            return
        if not subscription.wanted:
            client.unsubscribe([of for of, what in connection.by_sid.items() if what is subscription])
            self._forget(connection, subscription)
            return
        gone, new = subscription.told - subscription.wanted, subscription.wanted - subscription.told
        for each in [number for number, what in connection.by_sid.items() if what is subscription]:
            if new:
                client.update_subscription(each, "add_markets", sorted(new))
            if gone:
                client.update_subscription(each, "delete_markets", sorted(gone))
        subscription.told = set(subscription.wanted)
        for ticker in new:
            self._suspect(ticker, "no snapshot yet")

    def _forget(self, connection: _Connection, subscription: _Subscription) -> None:
        """The venue holds nothing of this subscription any more."""
        for sid in [sid for sid, what in connection.by_sid.items() if what is subscription]:
            del connection.by_sid[sid]
            connection.client.sequence.forget(sid)
        connection.by_command = {
            number: what for number, what in connection.by_command.items() if what is not subscription
        }
        subscription.sid = subscription.asked_ms = None
        subscription.told = set()

    # Books

    def _suspect(self, ticker: str, why: str) -> None:
        book = self.books.get(ticker)
        if book is None:
            return
        self._suspect_since_ms.setdefault(ticker, self.clock.monotonic_ms())
        was = book.why
        book.suspect(why)
        if not was:
            self._on_book(book)

    def _drop_book(self, ticker: str) -> None:
        book = self.books.pop(ticker)
        self._suspect_since_ms.pop(ticker, None)
        self.staleness.forget(ticker)
        book.suspect("not watched any more")

    def _ask_snapshots(self, subscription: _Subscription, tickers: Iterable[str]) -> None:
        connection = self._connections.get(subscription.slot.connection)
        wanted = sorted(subscription.told.intersection(tickers))
        if connection is None or subscription.sid is None or not wanted or not connection.client.is_open:
            return
        try:
            connection.client.get_snapshot(subscription.sid, wanted)
        except VenueUnreachable as error:
            self.last_error = error
            return
        self.counts["snapshots asked"] += 1
        now_ms = self.clock.monotonic_ms()
        for ticker in wanted:
            if ticker in self._suspect_since_ms:
                self._suspect_since_ms[ticker] = now_ms

    # Callbacks of connections

    def _on_opened(self, connection: _Connection) -> None:
        self.counts["opened"] += 1
        connection.by_sid.clear()
        connection.by_command.clear()
        for subscription in self._of(connection):
            subscription.sid = subscription.asked_ms = None
            subscription.told = set()
            self._tell(subscription)

    def _on_closed(self, connection: _Connection, error: VenueError) -> None:
        self.last_error = error
        self.counts["closed"] += 1
        for subscription in self._of(connection):
            subscription.sid = subscription.asked_ms = None
            for ticker in subscription.wanted:
                self.staleness.forget(ticker)
                self._suspect(ticker, "the connection ended")

    def _on_gap(self, connection: _Connection, gap: Gap) -> None:
        self.counts["gaps"] += 1
        subscription = connection.by_sid.get(gap.sid)
        if subscription is None or subscription.sid != gap.sid:
            return  # trades have no state that a gap could spoil
        for ticker in subscription.told:
            self._suspect(
                ticker, f"frames {gap.expected} to {gap.received - 1} of its subscription are missing"
            )
        self._ask_snapshots(subscription, subscription.told)

    def _on_frame(self, connection: _Connection, raw: bytes) -> None:
        frame = self._decoder.decode(raw)
        try:
            if isinstance(frame, frames.OrderbookDeltaFrame):
                self._on_delta(connection, frame)
            elif isinstance(frame, frames.OrderbookSnapshotFrame):
                self._on_snapshot(frame)
            elif isinstance(frame, frames.TradeFrame):
                self.staleness.note(frame.msg.market_ticker, frame.msg.ts_ms)
                if self._on_trade is not None:
                    self._on_trade(frame.msg)
            elif isinstance(frame, frames.SubscribedFrame):
                self._on_subscribed(connection, frame)
            elif isinstance(frame, frames.ErrorFrame):
                self._on_error(connection, frame)
        except NumberError as error:
            raise VenueProtocolError(
                f"{type(frame).__name__} with an impossible number: {error}", raw
            ) from error

    def _on_delta(self, connection: _Connection, frame: frames.OrderbookDeltaFrame) -> None:
        message = frame.msg
        book = self.books.get(message.market_ticker)
        if book is None:
            return  # on its way when the market was dropped
        self.staleness.note(message.market_ticker, message.ts_ms)
        was = book.why
        taken = book.delta(
            on_yes=message.side == "yes",
            price=price_from_dollars(message.price_dollars),
            count=count_from_text(message.delta_fp),
            seq=frame.seq,
        )
        if taken:
            self._on_book(book)
        elif not was:
            self.counts["impossible levels"] += 1
            self._suspect_since_ms.setdefault(book.ticker, self.clock.monotonic_ms())
            self._on_book(book)
            subscription = connection.by_sid.get(frame.sid)
            if subscription is not None:
                self._ask_snapshots(subscription, [book.ticker])

    def _on_snapshot(self, frame: frames.OrderbookSnapshotFrame) -> None:
        message = frame.msg
        book = self.books.get(message.market_ticker)
        if book is None:
            return
        self.staleness.note(message.market_ticker, None)
        book.snapshot(_levels(message.yes_dollars_fp), _levels(message.no_dollars_fp), frame.seq)
        if not book.why:
            self._suspect_since_ms.pop(book.ticker, None)
        self._on_book(book)

    def _on_subscribed(self, connection: _Connection, frame: frames.SubscribedFrame) -> None:
        subscription = connection.by_command.get(frame.id) if frame.id is not None else None
        if subscription is None:
            return
        connection.by_sid[frame.msg.sid] = subscription
        if frame.msg.channel == _BOOKS:
            subscription.sid = frame.msg.sid
            subscription.asked_ms = None
            for ticker in subscription.told:
                self._suspect(ticker, "no snapshot yet")
            self._tell(subscription)  # what was wanted since

    def _on_error(self, connection: _Connection, frame: frames.ErrorFrame) -> None:
        code = frame.msg.code
        self.counts[f"error {code}"] += 1
        _log.warning("connection %d: the venue answered error %d: %s", connection.number, code, frame.msg.msg)
        subscription = connection.by_sid.get(frame.sid) if frame.sid is not None else None
        if subscription is None and frame.id is not None:
            subscription = connection.by_command.get(frame.id)
        if subscription is None or code not in _OVERFLOWS | _TERMINAL:
            # We do not know what the venue made of our commands: begin again with a clean connection.
            connection.client.disconnect()
            return
        for ticker in subscription.told:
            self._suspect(ticker, f"the venue ended its subscription with error {code}")
        self._forget(connection, subscription)
        if code not in _OVERFLOWS:
            self._tell(subscription)
            return
        try:
            self._follow(overflowed(self.plan, subscription.slot))
        except FeedPlanError as error:
            _log.error("%s", error)
            connection.client.disconnect()  # the back-off of connections slows this down

    # The watchdog

    async def _watch_over(self) -> None:
        while True:
            await asyncio.sleep(self.policy.tick_ms / 1_000)
            self.tick()

    def tick(self) -> None:
        """Ask again for what did not come in time, and refresh one subscription when that is due."""
        now_ms = self.clock.monotonic_ms()
        for subscription in self._subscriptions.values():
            connection = self._connections.get(subscription.slot.connection)
            if connection is None or not connection.client.is_open:
                continue
            if subscription.asked_ms is not None and now_ms - subscription.asked_ms > self.policy.answer_ms:
                self.counts["unanswered"] += 1
                connection.client.disconnect()
                continue
            self._tell(subscription)
            overdue = [
                ticker
                for ticker in subscription.told
                if now_ms - self._suspect_since_ms.get(ticker, now_ms) > self.policy.answer_ms
            ]
            self._ask_snapshots(subscription, overdue)
        if self.policy.refresh_ms is not None and now_ms - self._refreshed_ms >= self.policy.refresh_ms:
            self._refreshed_ms = now_ms
            self._refresh_next()

    def _refresh_next(self) -> None:
        live = [item for _, item in sorted(self._subscriptions.items()) if item.sid is not None]
        if live:
            subscription = live[self.counts["refreshed"] % len(live)]
            self.counts["refreshed"] += 1
            self._ask_snapshots(subscription, subscription.told)

    def _of(self, connection: _Connection) -> list[_Subscription]:
        return [item for slot, item in self._subscriptions.items() if slot.connection == connection.number]


def _levels(levels: list[LevelText] | None) -> Iterable[tuple[int, int]]:
    return ((price_from_dollars(price), count_from_text(count)) for price, count in levels or ())
