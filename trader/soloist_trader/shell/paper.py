"""The Paper and Shadow edges: real public market data, no key, no order leaves.

Paper gives the bot the simulated account of `modes.matcher`: queue position from the books and trades that are polled, a
delay on the way, and the fees of the market's series. Shadow decides, records (journal and tape) and sends nothing, not
even to the simulation.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import Final

from soloist_kalshi.errors import VenueError
from soloist_kalshi.messages import Trade
from soloist_kalshi.numbers import NumberError, count_from_text, price_from_dollars
from soloist_kalshi.rest import ReadPolicy, RestClient

from soloist_trader.config import Configuration
from soloist_trader.core import events
from soloist_trader.core.book import Book
from soloist_trader.core.commands import Amend, Cancel, Entomb, FindFills, FindOrder, Place
from soloist_trader.core.ledger import FORGET_AFTER_MS, Ledger
from soloist_trader.modes.matcher import STANDARD_FEES, Matcher
from soloist_trader.shell import convert
from soloist_trader.shell.clock import now_ms, text_to_ms
from soloist_trader.shell.fee_terms import FeeTable
from soloist_trader.shell.logs import log
from soloist_trader.shell.market_choice import MarketChoice
from soloist_trader.shell.venue import Gate, Reading, Sink, VenueCommand

POLL_S: Final = 0.5
"""Between two looks at the books. Unsigned reads draw no tokens, and politeness is free."""
ARRIVAL_S: Final = 0.02
"""An order takes this long to arrive; the book may have moved by then."""
MARKET_POLL_S: Final = 15.0
FORGET_ABOVE: Final = 1_000
TRADES_PER_POLL: Final = 200
"""More trades of one market between two looks are left out: their orders fill later than they would have."""
_READS: Final = ReadPolicy(attempts=2, request_ms=4_000, deadline_ms=6_000)


class PaperEdge:
    """Public books and a simulated account; `shadow` decides and sends nothing, not even to the simulation."""

    def __init__(
        self,
        configuration: Configuration,
        ledger: Ledger,
        *,
        shadow: bool,
        choice: MarketChoice | None = None,
    ) -> None:
        venue = configuration.venue
        ca_file = str(venue.ca_file) if venue.ca_file else None
        self._rest = RestClient(venue.rest_url, None, ca_file=ca_file, policy=_READS)
        self._choice = choice or MarketChoice(configuration.markets)
        self._shadow = shadow
        self._sink: Sink = lambda _event: None
        self._tickers: list[str] = []
        self._unknown: list[str] = []
        self._books: dict[str, Book] = {}
        self._shown: dict[str, tuple[object, object]] = {}
        self._traded: dict[str, tuple[int, frozenset[str]]] = {}
        """Of each market: time of the last trade seen, and the ids of the trades of that millisecond."""
        self._fees = FeeTable()
        self.matcher = Matcher(lambda market: self._fees.terms.get(market, STANDARD_FEES), now_ms())
        self._ledger = ledger
        self.tasks: list[asyncio.Task[None]] = []
        self.polls = 0
        self.failures = 0

    async def start(self, sink: Sink) -> list[str]:
        """Look markets up and begin to poll. Raises VenueError."""
        self._sink = sink
        await self._choose()
        await self._refresh_markets()
        self.tasks = [
            asyncio.create_task(self._poll_books(), name="books"),
            asyncio.create_task(self._poll_markets(), name="markets"),
        ]
        return self._tickers

    async def _choose(self) -> None:
        """Follow what the choice says; the book of a market that left is not to be trusted any more."""
        change = await self._choice.look(self._rest)
        self._tickers = self._choice.tickers
        for market in change.closed:
            self._sink(convert.market_seen(now_ms(), market))
        for ticker in change.gone:
            self._shown.pop(ticker, None)
            self._books.pop(ticker, None)
            self._traded.pop(ticker, None)
            self.matcher.hide(ticker)
            self._sink(events.BookLost(now_ms(), ticker, "it left the markets that are followed"))

    async def _refresh_markets(self) -> None:
        found = await self._rest.get_markets(tickers=self._tickers) if self._tickers else []
        self._note_unknown(sorted(set(self._tickers) - {market.ticker for market in found}))
        await self._fees.look_up(self._rest, found)
        moment = now_ms()
        for market in found:
            self._sink(convert.market_seen(moment, market))

    def _note_unknown(self, unknown: list[str]) -> None:
        """Say it once, and again only when it changes."""
        if unknown != self._unknown:
            self._unknown = unknown
            if unknown:
                log(
                    "UnknownMarkets",
                    f"the venue does not know {', '.join(unknown)}; correct spec.markets.tickers",
                    level=logging.WARNING,
                )

    async def _poll_markets(self) -> None:
        while True:
            await self._choice.pause(MARKET_POLL_S)
            try:
                if self._choice.is_due:
                    await self._choose()
                await self._refresh_markets()
            except (VenueError, NumberError, ValueError) as error:
                log("MarketsUnreadable", str(error))

    async def _poll_books(self) -> None:
        while True:
            for ticker in self._tickers:
                if ticker in self._unknown or ticker not in self._choice:
                    continue  # the choice may change while this waits for the venue
                try:
                    await self._poll_trades(ticker)
                    await self._poll_book(ticker)
                except (VenueError, NumberError, ValueError, IndexError) as error:
                    self.failures += 1
                    self._shown.pop(ticker, None)
                    self.matcher.hide(ticker)
                    self._sink(events.BookLost(now_ms(), ticker, str(error)))
            self._tell(self.matcher.expire(now_ms()))
            await asyncio.sleep(POLL_S)

    async def _poll_trades(self, ticker: str) -> None:
        last_ms, _ = self._traded.get(ticker, (0, frozenset()))
        await self.take_trades(
            ticker, self._rest.iterate_trades(ticker=ticker, min_ts=last_ms // 1000 or None)
        )

    async def take_trades(self, ticker: str, newest_first: AsyncIterator[Trade]) -> None:
        """Take in every trade since the last look, oldest first; what the first look shows is history and fills nothing."""
        last_ms, last_ids = self._traded.get(ticker, (0, frozenset()))
        fresh: list[tuple[int, Trade]] = []
        async for trade in newest_first:
            time_ms = text_to_ms(trade.created_time)
            if time_ms < last_ms or len(fresh) >= TRADES_PER_POLL:
                break
            if trade.trade_id not in last_ids:
                fresh.append((time_ms, trade))
            if not last_ms:
                break
        if fresh:
            newest_ms = fresh[0][0]
            ids = frozenset(trade.trade_id for time_ms, trade in fresh if time_ms == newest_ms)
            self._traded[ticker] = (newest_ms, ids | last_ids if newest_ms == last_ms else ids)
        elif not last_ms:
            self._traded[ticker] = (now_ms(), frozenset())
        if not last_ms:
            return
        for time_ms, trade in reversed(fresh):
            if trade.is_block_trade:
                continue  # negotiated beside the book: it fills nobody's resting order
            price, size = price_from_dollars(trade.yes_price_dollars), count_from_text(trade.count_fp)
            side = convert.SIDES[trade.taker_book_side]
            moment = now_ms()
            self._sink(events.Traded(moment, ticker, price, size, side))
            self._tell(self.matcher.traded(moment, ticker, price, size, side, traded_ms=time_ms))

    async def _poll_book(self, ticker: str) -> None:
        shown = await self._rest.get_orderbook(ticker)
        self.polls += 1
        if ticker not in self._choice:
            return  # it left while its book was on its way
        self.show(ticker, convert.levels(shown.yes_dollars), convert.levels(shown.no_dollars, of_no=True))

    def show(self, ticker: str, bids: list[tuple[int, int]], asks: list[tuple[int, int]]) -> None:
        """Take in a whole book; resting orders that it reaches fill."""
        content = (bids, asks)
        if self._shown.get(ticker) == content:
            return
        self._shown[ticker] = content
        book = self._books.setdefault(ticker, Book())
        generation = book.generation
        book.load(bids, asks)
        book.generation = max(generation, 1)  # a poll is an update, not a loss of the book
        moment = now_ms()
        if not book.valid:
            self.matcher.hide(ticker)
            self._sink(events.BookLost(moment, ticker, "the venue shows a crossed book"))
            return
        self._sink(book.top(moment, ticker))
        self._tell(self.matcher.show(moment, ticker, bids, asks, whole=True))

    def _tell(self, told: list[events.Event]) -> None:
        for event in told:
            self._sink(event)
        if len(self.matcher.fills) > FORGET_ABOVE:
            self.matcher.forget(now_ms() - FORGET_AFTER_MS)

    # -- the simulated account

    async def execute(self, command: VenueCommand, gate: Gate | None) -> list[events.Event]:
        """Carry out one command in the simulation."""
        if isinstance(command, Place):
            return await self._place(command, gate)
        if isinstance(command, Entomb):
            # An order of an earlier process never left it: the simulation ended with that process.
            return [_burnt(command)]
        if isinstance(command, Cancel):
            await asyncio.sleep(ARRIVAL_S)
            return [self.matcher.cancel(now_ms(), command)]
        if isinstance(command, Amend):
            return await self._amend(command, gate)
        if isinstance(command, FindOrder):
            return [self._find(command)]
        if isinstance(command, FindFills):
            name = command.client_order_id
            return [fill for fill in self.matcher.fills if fill.client_order_id == name]
        return []  # order groups: the simulation makes none

    async def _place(self, place: Place, gate: Gate | None) -> list[events.Event]:
        if self._shadow:
            return [events.OrderNotSent(now_ms(), place.client_order_id, "mode Shadow sends nothing")]
        await asyncio.sleep(ARRIVAL_S)
        reason = gate() if gate is not None else None
        if reason is not None:
            return [events.OrderNotSent(now_ms(), place.client_order_id, reason)]
        # Fills come by their channel, the reply by itself, as at the venue.
        *fills, reply = self.matcher.place(now_ms(), place)
        self._tell(fills)
        return [reply]

    async def _amend(self, amend: Amend, gate: Gate | None) -> list[events.Event]:
        await asyncio.sleep(ARRIVAL_S)
        reason = gate() if gate is not None else None
        if reason is not None:
            terms = (amend.price, amend.size, amend.expiration_s)
            return [events.AmendEnded(now_ms(), amend.client_order_id, "not_sent", *terms)]
        *fills, reply = self.matcher.amend(now_ms(), amend)
        self._tell(fills)
        return [reply]

    def _find(self, command: FindOrder) -> events.Event:
        order = self.matcher.orders.get(command.client_order_id)
        if order is not None:
            return self.matcher.seen(now_ms(), order)
        return self._vanished(command.client_order_id) or events.OrderAbsent(
            now_ms(), command.client_order_id, now_ms()
        )

    def _vanished(self, client_order_id: str) -> events.OrderSeen | None:
        """A resting order of an earlier process: the simulation forgot it, so it counts as cancelled."""
        order = self._ledger.orders.get(client_order_id)
        if order is None or not order.exists:
            return None
        return events.OrderSeen(
            now_ms(),
            client_order_id,
            order.order_id,
            order.slot.market,
            order.slot.side,
            order.price,
            order.size,
            order.booked,
            closed=True,
            source="paper",
        )

    # -- reading

    async def as_of_ms(self) -> int:
        """The simulation is always fresh."""
        return now_ms()

    async def read(self, from_ms: int, wanted: dict[str, tuple[str, int]]) -> Reading:
        """The simulated account. Positions of earlier processes are the ledger's own."""
        orders = await self.own_resting()
        for client_order_id in wanted:
            if client_order_id not in self.matcher.orders:
                seen = self._vanished(client_order_id)
                orders += [seen] if seen else []
        fills = [fill for fill in self.matcher.fills if fill.fill_time_ms >= from_ms]
        positions = tuple(
            (market, position.count, position.basis) for market, position in self._ledger.positions.items()
        )
        return Reading(now_ms(), orders, fills, positions)

    async def own_resting(self) -> list[events.OrderSeen]:
        """Simulated orders that rest."""
        moment = now_ms()
        return [self.matcher.seen(moment, order) for order in self.matcher.orders.values() if order.remaining]

    def status(self) -> dict[str, object]:
        """Polling, for `/status`."""
        return {
            "connected": bool(self._shown),
            "polls": self.polls,
            "failures": self.failures,
            "unknownMarkets": ", ".join(self._unknown),
        }

    async def close(self) -> None:
        """End the polling."""
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        await self._rest.close()


def _burnt(command: Entomb) -> events.OrderSeen:
    return events.OrderSeen(
        now_ms(),
        command.client_order_id,
        f"paper-burnt-{command.client_order_id}",
        command.market,
        command.side,
        command.price,
        command.size,
        0,
        closed=True,
        source="tombstone",
    )
