"""The Paper and Shadow edges: real public market data, no key, no order leaves.

Paper simulates an account honestly: an order takes only what the public book shows at the moment it arrives, after a
delay, and pays the venue's fee; a resting order fills only when the other side's best price reaches it, because the queue
ahead of it cannot be seen. What it took from a level is not offered to it again until that level changes.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Final

from soloist_kalshi.errors import VenueError
from soloist_kalshi.fees import FeeAccumulator, taker_fee
from soloist_kalshi.numbers import NumberError
from soloist_kalshi.rest import ReadPolicy, RestClient

from soloist_trader.config import Configuration
from soloist_trader.core import events
from soloist_trader.core.book import Book
from soloist_trader.core.commands import Cancel, Entomb, FindFills, FindOrder, Place
from soloist_trader.core.ledger import FORGET_AFTER_MS, Ledger
from soloist_trader.core.units import ASK, BID, GOOD_TILL_CANCELED, ONE_DOLLAR_PRICE
from soloist_trader.shell import convert
from soloist_trader.shell.clock import now_ms
from soloist_trader.shell.logs import log
from soloist_trader.shell.venue import Gate, Reading, Sink, VenueCommand

POLL_S: Final = 0.5
"""Between two looks at a book. Unsigned reads draw no tokens, and politeness is free."""
ARRIVAL_S: Final = 0.02
"""An order takes this long to arrive; the book may have moved by then."""
MARKET_POLL_S: Final = 15.0
FORGET_ABOVE: Final = 1_000
_READS: Final = ReadPolicy(attempts=2, request_ms=4_000, deadline_ms=6_000)


@dataclass(slots=True)
class PaperOrder:
    """One simulated order."""

    place: Place
    order_id: str
    fees: FeeAccumulator
    filled: int = 0
    closed: bool = False

    @property
    def remaining(self) -> int:
        """Not filled yet, in 1/100 contract."""
        return 0 if self.closed else self.place.size - self.filled


class PaperEdge:
    """Public books and a simulated account; `shadow` decides and sends nothing, not even to the simulation."""

    def __init__(self, configuration: Configuration, ledger: Ledger, *, shadow: bool) -> None:
        venue = configuration.venue
        ca_file = str(venue.ca_file) if venue.ca_file else None
        self._rest = RestClient(venue.rest_url, None, ca_file=ca_file, policy=_READS)
        self._configuration = configuration
        self._shadow = shadow
        self._sink: Sink = lambda _event: None
        self._tickers: list[str] = []
        self._unknown: list[str] = []
        self._books: dict[str, Book] = {}
        self._shown: dict[str, tuple[object, object]] = {}
        self._taken: dict[tuple[str, int, int], int] = {}
        self._orders: dict[str, PaperOrder] = {}
        self._fills: list[events.FillSeen] = []
        self._ledger = ledger
        self._number = now_ms()
        self.tasks: list[asyncio.Task[None]] = []
        self.polls = 0
        self.failures = 0

    async def start(self, sink: Sink) -> list[str]:
        """Look markets up and begin to poll. Raises VenueError."""
        self._sink = sink
        markets = self._configuration.markets
        tickers = list(markets.tickers)
        for series in markets.series:
            found = await self._rest.get_markets(status="open", series_ticker=series)
            tickers += [market.ticker for market in found if market.ticker not in tickers]
        self._tickers = tickers
        await self._refresh_markets()
        self.tasks = [
            asyncio.create_task(self._poll_books(), name="books"),
            asyncio.create_task(self._poll_markets(), name="markets"),
        ]
        return tickers

    async def _refresh_markets(self) -> None:
        found = await self._rest.get_markets(tickers=self._tickers) if self._tickers else []
        self._unknown = sorted(set(self._tickers) - {market.ticker for market in found})
        moment = now_ms()
        for market in found:
            self._sink(convert.market_seen(moment, market))

    async def _poll_markets(self) -> None:
        while True:
            await asyncio.sleep(MARKET_POLL_S)
            try:
                await self._refresh_markets()
            except (VenueError, NumberError, ValueError) as error:
                log("MarketsUnreadable", str(error))

    async def _poll_books(self) -> None:
        while True:
            for ticker in self._tickers:
                try:
                    await self._poll_book(ticker)
                except (VenueError, NumberError, ValueError, IndexError) as error:
                    self.failures += 1
                    self._shown.pop(ticker, None)
                    self._sink(events.BookLost(now_ms(), ticker, str(error)))
            await asyncio.sleep(POLL_S)

    async def _poll_book(self, ticker: str) -> None:
        shown = await self._rest.get_orderbook(ticker)
        self.polls += 1
        bids = convert.levels(shown.yes_dollars)
        asks = convert.levels(shown.no_dollars, of_no=True)
        content = (bids, asks)
        if self._shown.get(ticker) == content:
            return
        self._shown[ticker] = content
        book = self._books.setdefault(ticker, Book())
        before = {(BID, price): size for price, size in book.levels(BID)}
        before |= {(ASK, price): size for price, size in book.levels(ASK)}
        generation = book.generation
        book.load(bids, asks)
        book.generation = max(generation, 1)  # a poll is an update, not a loss of the book
        after = {(BID, price): size for price, size in bids} | {(ASK, price): size for price, size in asks}
        for side, price in before.keys() | after.keys():
            if before.get((side, price)) != after.get((side, price)):
                self._taken.pop((ticker, side, price), None)
        moment = now_ms()
        if not book.valid:
            self._sink(events.BookLost(moment, ticker, "the venue shows a crossed book"))
            return
        self._sink(book.top(moment, ticker))
        for order in list(self._orders.values()):
            if order.place.market == ticker and order.remaining:
                self._match(order, maker=True)

    # -- the simulated account

    def _match(self, order: PaperOrder, *, maker: bool) -> None:
        """Fill what the book shows at the order's limit or better."""
        place = order.place
        book = self._books.get(place.market)
        if book is None or not book.valid:
            return
        for price, size in book.levels(-place.side):
            if (price - place.price) * place.side > 0 or not order.remaining:
                break
            taken = self._taken.get((place.market, -place.side, price), 0)
            count = min(order.remaining, size - taken)
            if count <= 0:
                continue
            self._taken[place.market, -place.side, price] = taken + count
            self._fill(order, place.price if maker else price, count, maker=maker)

    def _fill(self, order: PaperOrder, price: int, count: int, *, maker: bool) -> None:
        place = order.place
        self._number += 1
        order.filled += count
        trade_fee = 0 if maker else taker_fee(price, count)
        own_price = price if place.side == BID else ONE_DOLLAR_PRICE - price
        fee = order.fees.charge(-own_price * count, trade_fee)
        moment = now_ms()
        fill = events.FillSeen(
            moment,
            f"paper-{self._number}",
            order.order_id,
            place.client_order_id,
            place.market,
            place.side,
            price,
            count,
            fee,
            not maker,
            moment,
        )
        self._fills.append(fill)
        self._forget(moment)
        if order.filled >= place.size:
            order.closed = True
        self._sink(fill)
        if maker:
            self._sink(self._seen(order))

    def _forget(self, moment: int) -> None:
        """What the ledger has long settled is not needed by any later reading."""
        if len(self._fills) > FORGET_ABOVE:
            self._fills = [fill for fill in self._fills if fill.fill_time_ms > moment - FORGET_AFTER_MS]
            self._orders = {
                name: order
                for name, order in self._orders.items()
                if order.remaining or order.place.decided_ms > moment - FORGET_AFTER_MS
            }

    def _seen(self, order: PaperOrder) -> events.OrderSeen:
        place = order.place
        return events.OrderSeen(
            now_ms(),
            place.client_order_id,
            order.order_id,
            place.market,
            place.side,
            place.price,
            place.size,
            order.filled,
            order.closed,
            "paper",
        )

    async def execute(self, command: VenueCommand, gate: Gate | None) -> list[events.Event]:
        """Carry out one command in the simulation."""
        if isinstance(command, Place):
            return [await self._place(command, gate)]
        if isinstance(command, Entomb):
            # An order of an earlier process never left it: the simulation ended with that process.
            order_id = f"paper-burnt-{command.client_order_id}"
            return [
                events.OrderSeen(
                    now_ms(),
                    command.client_order_id,
                    order_id,
                    command.market,
                    command.side,
                    command.price,
                    command.size,
                    0,
                    closed=True,
                    source="tombstone",
                )
            ]
        if isinstance(command, Cancel):
            return [self._cancel(command)]
        if isinstance(command, FindOrder):
            return [self._find(command)]
        return self._find_fills(command)

    async def _place(self, place: Place, gate: Gate | None) -> events.Event:
        if self._shadow:
            return events.OrderNotSent(now_ms(), place.client_order_id, "mode Shadow sends nothing")
        await asyncio.sleep(ARRIVAL_S)
        reason = gate() if gate is not None else None
        if reason is not None:
            return events.OrderNotSent(now_ms(), place.client_order_id, reason)
        self._number += 1
        order = PaperOrder(place, f"paper-order-{self._number}", FeeAccumulator())
        self._orders[place.client_order_id] = order
        self._match(order, maker=False)
        if place.time_in_force != GOOD_TILL_CANCELED:
            order.closed = True
        elif not order.closed and place.expiration_s:
            delay_s = max(place.expiration_s - now_ms() / 1000, 0)
            asyncio.get_running_loop().call_later(delay_s, self._expire, order)
        return self._seen(order)

    def _expire(self, order: PaperOrder) -> None:
        if not order.closed:
            order.closed = True
            self._sink(self._seen(order))

    def _cancel(self, command: Cancel) -> events.Event:
        order = self._orders.get(command.client_order_id)
        reduced = order.remaining if order is not None else 0
        if order is None or order.closed:
            return events.CancelEnded(now_ms(), command.client_order_id, -1, "not_found")
        order.closed = True
        return events.CancelEnded(now_ms(), command.client_order_id, reduced, "cancelled")

    def _find(self, command: FindOrder) -> events.Event:
        order = self._orders.get(command.client_order_id)
        if order is not None:
            return self._seen(order)
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

    def _find_fills(self, command: FindFills) -> list[events.Event]:
        return [fill for fill in self._fills if fill.client_order_id == command.client_order_id]

    # -- reading

    async def as_of_ms(self) -> int:
        """The simulation is always fresh."""
        return now_ms()

    async def read(self, from_ms: int, wanted: dict[str, tuple[str, int]]) -> Reading:
        """The simulated account. Positions of earlier processes are the ledger's own."""
        orders = [self._seen(order) for order in self._orders.values() if order.remaining]
        for client_order_id in wanted:
            if client_order_id not in self._orders:
                seen = self._vanished(client_order_id)
                orders += [seen] if seen else []
        fills = [fill for fill in self._fills if fill.fill_time_ms >= from_ms]
        positions = tuple(
            (market, position.count, position.basis) for market, position in self._ledger.positions.items()
        )
        return Reading(now_ms(), orders, fills, positions)

    async def own_resting(self) -> list[events.OrderSeen]:
        """Simulated orders that rest."""
        return [self._seen(order) for order in self._orders.values() if order.remaining]

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
