"""The feed against a real WebSocket server that keeps subscriptions as the venue does, and misbehaves on demand."""

import asyncio
import contextlib
from random import Random

import picows
from soloist_kalshi.codec import encode
from soloist_kalshi.frames import (
    ErrorFrame,
    ErrorMessage,
    OrderbookDeltaFrame,
    OrderbookDeltaMessage,
    OrderbookSnapshotFrame,
    OrderbookSnapshotMessage,
    SubscribedFrame,
    SubscribedMessage,
)
from soloist_kalshi.keys import SignerSource
from soloist_kalshi.market_feed import MarketFeed, MarketFeedPolicy
from soloist_kalshi.planner import PlanLimits
from soloist_kalshi.signing import Signer
from soloist_kalshi.websocket import WebSocketPolicy

from tests.unit.soloist_kalshi.kalshi_servers import eventually
from tests.unit.soloist_kalshi.test_websocket import KEYS, Venue

QUICK = WebSocketPolicy(connect_ms=5_000, base_wait_ms=1, cap_wait_ms=5)
PATIENT = MarketFeedPolicy(answer_ms=60_000, refresh_ms=None, tick_ms=10)


class Sid:
    """One subscription of one session."""

    def __init__(self, session, number, tickers):
        self.session, self.number, self.tickers, self.seq = session, number, set(tickers), 0

    def send(self, make, **fields):
        self.seq += 1
        self.session.send_frame(make(sid=self.number, seq=self.seq, **fields))

    def snapshot(self, ticker, yes=(("0.4000", "10.00"),)):
        message = OrderbookSnapshotMessage(market_ticker=ticker, market_id="m", yes_dollars_fp=list(yes))
        self.send(OrderbookSnapshotFrame, msg=message)

    def delta(self, ticker, count="1.00", price="0.4000"):
        message = OrderbookDeltaMessage(
            market_ticker=ticker, market_id="m", price_dollars=price, delta_fp=count, side="yes"
        )
        self.send(OrderbookDeltaFrame, msg=message)


class Session:
    """What one connection has subscribed."""

    def __init__(self, transport):
        self.transport, self.sids, self.by_number = transport, 0, {}

    def send_frame(self, frame):
        self.transport.send(picows.WSMsgType.TEXT, encode(frame) + b"\n")


class FeedVenue(Venue):
    """Answers subscriptions and snapshot requests; `mute` swallows commands."""

    def __init__(self):
        super().__init__()
        self.feeds: list[Session] = []
        self.snapshots_asked: list[list[str]] = []
        self.mute = False
        self.handled = 0

    async def __aenter__(self):
        await super().__aenter__()
        self._answering = asyncio.create_task(self._answer_forever())
        return self

    async def __aexit__(self, *arguments):
        self._answering.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._answering
        await super().__aexit__(*arguments)

    @property
    def sids(self):
        return [sid for feed in self.feeds for sid in feed.by_number.values()]

    def sid_of(self, ticker):
        [found] = [
            sid for sid in self.sids if ticker in sid.tickers and not sid.session.transport.is_disconnected
        ]
        return found

    async def _answer_forever(self):
        while True:
            await asyncio.sleep(0.002)
            while len(self.feeds) < len(self.sessions):
                self.feeds.append(Session(self.sessions[len(self.feeds)]))
            for command in self.commands[self.handled :]:
                self.handled += 1
                if not self.mute:
                    self._answer(command)

    def _answer(self, command):
        # Commands carry no session: with several connections the tests look at what each has, by its tickers.
        params = command["params"]
        if command["cmd"] == "subscribe":
            feed = next(
                feed for feed in self.feeds if not feed.by_number and not feed.transport.is_disconnected
            )
            feed.sids += 1
            sid = feed.by_number[feed.sids] = Sid(feed, feed.sids, params["market_tickers"])
            feed.send_frame(
                SubscribedFrame(
                    id=command["id"], msg=SubscribedMessage(channel="orderbook_delta", sid=sid.number)
                )
            )
            for ticker in params["market_tickers"]:
                sid.snapshot(ticker)
            return
        if command["cmd"] == "unsubscribe":
            return
        tickers = params["market_tickers"]
        [sid] = [
            sid
            for sid in self.sids
            if sid.number == params["sids"][0]
            and not sid.session.transport.is_disconnected
            and (params["action"] == "add_markets" or sid.tickers.issuperset(tickers))
        ]
        if params["action"] == "delete_markets":
            sid.tickers -= set(tickers)
        elif params["action"] == "add_markets":
            sid.tickers |= set(tickers)
            for ticker in tickers:
                sid.snapshot(ticker)
        else:
            self.snapshots_asked.append(tickers)
            for ticker in tickers:
                sid.snapshot(ticker)


class Watcher:
    def __init__(self, venue, **changes):
        self.told: list[tuple[str, bool]] = []
        arguments = {
            "limits": PlanLimits(markets_per_sid=100),
            "policy": PATIENT,
            "websocket_policy": QUICK,
            "random": Random(1),
            **changes,
        }
        source = SignerSource(Signer.from_pem("key-1", KEYS.private_pem))
        self.feed = MarketFeed(venue.url, source, on_book=self._on_book, **arguments)

    def _on_book(self, book):
        self.told.append((book.ticker, book.is_tradable))

    async def __aenter__(self):
        self._task = asyncio.create_task(self.feed.run())
        return self

    async def __aexit__(self, *_):
        await self.feed.close()
        await asyncio.wait_for(self._task, 10)

    async def until(self, condition):
        await eventually(condition, lambda: (self.feed.counts, self.feed.last_error, self.told[-5:]), 20_000)

    async def until_tradable(self, *tickers):
        await self.until(
            lambda: (
                sorted(self.feed.books) == sorted(tickers)
                and all(book.is_tradable for book in self.feed.books.values())
            )
        )


async def test_books_follow_snapshots_and_deltas():
    async with FeedVenue() as venue, Watcher(venue) as watcher:
        watcher.feed.watch(["A", "B"])
        await watcher.until_tradable("A", "B")
        venue.sid_of("A").delta("A", "5.50")
        await watcher.until(lambda: watcher.feed.books["A"].yes == {4_000: 1_550})
        assert watcher.feed.books["B"].yes == {4_000: 1_000}
        assert watcher.feed.staleness.of("A") is not None


async def test_a_gap_makes_every_book_of_its_sid_untradable_until_its_snapshot():
    async with FeedVenue() as venue, Watcher(venue) as watcher:
        watcher.feed.watch(["A", "B"])
        await watcher.until_tradable("A", "B")
        watcher.told.clear()
        sid = venue.sid_of("A")
        sid.seq += 1  # a frame that never comes
        sid.delta("A")
        await watcher.until(lambda: venue.snapshots_asked)
        assert venue.snapshots_asked == [["A", "B"]]
        assert watcher.told[:2] in ([("A", False), ("B", False)], [("B", False), ("A", False)])
        await watcher.until_tradable("A", "B")
        assert watcher.feed.books["A"].yes == {4_000: 1_000}


async def test_a_delta_below_zero_asks_for_that_book_only():
    async with FeedVenue() as venue, Watcher(venue) as watcher:
        watcher.feed.watch(["A", "B"])
        await watcher.until_tradable("A", "B")
        venue.sid_of("A").delta("A", "-99.00")
        await watcher.until(lambda: venue.snapshots_asked == [["A"]])
        await watcher.until_tradable("A", "B")
        assert ("B", False) not in watcher.told[2:]


async def test_after_a_reconnect_everything_is_subscribed_again():
    async with FeedVenue() as venue, Watcher(venue) as watcher:
        watcher.feed.watch(["A", "B"])
        await watcher.until_tradable("A", "B")
        watcher.told.clear()
        venue.sessions[-1].disconnect(graceful=False)
        await watcher.until(lambda: ("A", False) in watcher.told)
        await watcher.until_tradable("A", "B")
        assert watcher.feed.counts["opened"] == 2


async def test_markets_come_and_go_without_touching_the_others():
    async with FeedVenue() as venue, Watcher(venue) as watcher:
        watcher.feed.watch(["A", "B"])
        await watcher.until_tradable("A", "B")
        watcher.told.clear()
        watcher.feed.watch(["B", "C"])
        await watcher.until_tradable("B", "C")
        assert {ticker for ticker, _ in watcher.told} == {"C"}
        await watcher.until(lambda: venue.sid_of("B").tickers == {"B", "C"})
        assert len(venue.sessions) == 1


async def test_many_markets_spread_over_connections_and_idle_ones_are_closed():
    async with FeedVenue() as venue, Watcher(venue, limits=PlanLimits(markets_per_sid=2)) as watcher:
        watcher.feed.watch([f"M-{number}" for number in range(5)])
        await watcher.until_tradable(*(f"M-{number}" for number in range(5)))
        assert watcher.feed.connected == 3
        watcher.feed.watch(["M-0"])
        await watcher.until(lambda: sum(not session.is_disconnected for session in venue.sessions) == 1)
        assert watcher.feed.books["M-0"].is_tradable


async def test_an_overflow_halves_the_subscription():
    async with FeedVenue() as venue, Watcher(venue) as watcher:
        tickers = ["A", "B", "C", "D"]
        watcher.feed.watch(tickers)
        await watcher.until_tradable(*tickers)
        sid = venue.sid_of("A")
        sid.session.by_number.clear()  # error 25 is terminal: the sid is dead
        sid.session.send_frame(
            ErrorFrame(sid=sid.number, msg=ErrorMessage(code=25, msg="subscription buffer overflow"))
        )
        await watcher.until(lambda: watcher.feed.counts["error 25"] == 1)
        await watcher.until_tradable(*tickers)
        assert sorted(len(each) for each in watcher.feed.plan.tickers.values()) == [2, 2]
        assert watcher.feed.connected == 2


async def test_a_subscription_without_an_answer_is_made_on_a_new_connection():
    policy = MarketFeedPolicy(answer_ms=50, refresh_ms=None, tick_ms=10)
    async with FeedVenue() as venue, Watcher(venue, policy=policy) as watcher:
        venue.mute = True
        watcher.feed.watch(["A"])
        await watcher.until(lambda: watcher.feed.counts["unanswered"] >= 1)
        venue.mute = False
        await watcher.until_tradable("A")


async def test_a_snapshot_that_never_came_is_asked_for_again():
    policy = MarketFeedPolicy(answer_ms=50, refresh_ms=None, tick_ms=10)
    async with FeedVenue() as venue, Watcher(venue, policy=policy) as watcher:
        watcher.feed.watch(["A"])
        await watcher.until_tradable("A")
        venue.mute = True
        sid = venue.sid_of("A")
        sid.seq += 1
        sid.delta("A")
        await watcher.until(lambda: watcher.feed.counts["snapshots asked"] >= 2)
        venue.mute = False
        await watcher.until_tradable("A")


async def test_the_loss_of_a_last_frame_is_found_by_the_refresh():
    policy = MarketFeedPolicy(answer_ms=60_000, refresh_ms=50, tick_ms=10)
    async with FeedVenue() as venue, Watcher(venue, policy=policy) as watcher:
        watcher.feed.watch(["A"])
        await watcher.until_tradable("A")
        watcher.feed.books["A"].yes[4_000] = 7  # as if the last delta had been lost
        await watcher.until(lambda: watcher.feed.books["A"].yes == {4_000: 1_000})


async def test_watching_before_run_subscribes_at_the_start():
    async with FeedVenue() as venue:
        watcher = Watcher(venue)
        watcher.feed.watch(["A"])
        async with watcher:
            await watcher.until_tradable("A")
