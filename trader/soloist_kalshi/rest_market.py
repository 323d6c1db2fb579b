"""Reads of the exchange, markets, events, series and history (section 6). None needs a key; the order book is signed when there is one."""

from collections.abc import AsyncIterator, Hashable
from typing import Final, Literal

from soloist_kalshi.codec import decode
from soloist_kalshi.endpoint import path_segment
from soloist_kalshi.errors import VenueProtocolError, parse_error_body
from soloist_kalshi.messages import (
    Candlestick,
    CandlesticksReply,
    Event,
    EventFeeChange,
    EventFeeChangePage,
    EventPage,
    EventReply,
    ExchangeStatus,
    HistoricalCutoff,
    Market,
    MarketPage,
    MarketReply,
    MarketsCandlesticksReply,
    OrderBook,
    OrderBookReply,
    OrderBooksReply,
    Schedule,
    ScheduleReply,
    Series,
    SeriesFeeChange,
    SeriesFeeChanges,
    SeriesList,
    SeriesReply,
    Trade,
    TradePage,
    UserDataTimestamp,
)
from soloist_kalshi.rest_transport import Query, RestTransport

__all__ = ["CandlePeriod", "MarketReads"]

CandlePeriod = Literal[1, 60, 1440]

_TICKERS_PER_CALL: Final = 100
_EVENTS_PER_PAGE: Final = 200
_OK_END: Final = 300


class MarketReads(RestTransport):
    """Everything that is public. Times in queries are Unix seconds."""

    async def get_exchange_status(self) -> ExchangeStatus:
        """Return whether exchange and trading are active. The venue answers the same body with 500, 503 and 504."""

        async def once(_: int) -> ExchangeStatus:
            status, body = await self._once("GET", "/exchange/status", signed=False)
            try:
                return decode(body, ExchangeStatus, self.unknown_fields)
            except VenueProtocolError:
                if status < _OK_END:
                    raise
                raise parse_error_body(status, body) from None

        return await self._repeated(once)

    async def get_schedule(self) -> Schedule:
        """Return opening hours (Eastern time) and maintenance windows."""
        return (await self._read("/exchange/schedule", ScheduleReply, signed=False)).schedule

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
        historical: bool = False,
    ) -> AsyncIterator[Market]:
        """Iterate over markets page by page. `status` is the filter's word: open means active.

        Long lists of tickers are asked for in parts, because they stand in the URL. `historical` reads what is older than the cutoff.
        """
        path = "/historical/markets" if historical else "/markets"
        for part in _parts(tickers) if tickers else [[]]:
            query = {
                "status": status,
                "tickers": ",".join(part) or None,
                "series_ticker": series_ticker,
                "event_ticker": event_ticker,
            }
            async for market in self._rows(path, query, MarketPage, _markets, signed=False):
                yield market

    async def get_markets(
        self,
        *,
        status: str | None = None,
        tickers: list[str] | None = None,
        series_ticker: str | None = None,
        event_ticker: str | None = None,
        historical: bool = False,
    ) -> list[Market]:
        """Return all markets that the filter lets through."""
        rows = self.iterate_markets(
            status=status,
            tickers=tickers,
            series_ticker=series_ticker,
            event_ticker=event_ticker,
            historical=historical,
        )
        return [market async for market in rows]

    async def get_orderbook(self, ticker: str, *, depth: int = 0) -> OrderBook:
        """Return the bids of both sides, best last; `depth` 0 is all. Signed when there is a key (sources disagree)."""
        path = f"/markets/{path_segment(ticker)}/orderbook"
        signed = self._signer is not None
        reply = await self._read(
            path,
            OrderBookReply,
            {"depth": depth or None},
            signed=signed,
            template="/markets/{ticker}/orderbook",
        )
        return reply.orderbook_fp or reply.orderbook or OrderBook()

    async def get_orderbooks(self, tickers: list[str]) -> dict[str, OrderBook]:
        """Return several books by ticker, in calls of 100."""
        books: dict[str, OrderBook] = {}
        signed = self._signer is not None
        for part in _parts(tickers):
            reply = await self._read("/markets/orderbooks", OrderBooksReply, {"tickers": part}, signed=signed)
            books |= {item.ticker: item.orderbook_fp for item in reply.orderbooks}
        return books

    async def iterate_trades(
        self,
        *,
        ticker: str | None = None,
        min_ts: int | None = None,
        max_ts: int | None = None,
        is_block_trade: bool | None = None,
        historical: bool = False,
    ) -> AsyncIterator[Trade]:
        """Iterate over public trades, newest first."""
        path = "/historical/trades" if historical else "/markets/trades"
        query: Query = {
            "ticker": ticker,
            "min_ts": min_ts,
            "max_ts": max_ts,
            "is_block_trade": is_block_trade,
        }
        async for trade in self._rows(path, query, TradePage, _trades, signed=False):
            yield trade

    async def get_candlesticks(
        self,
        series_ticker: str,
        ticker: str,
        *,
        start_ts: int,
        end_ts: int,
        period_minutes: CandlePeriod,
        include_latest_before_start: bool | None = None,
    ) -> list[Candlestick]:
        """Return the candles of one market whose periods end within the range."""
        path = f"/series/{path_segment(series_ticker)}/markets/{path_segment(ticker)}/candlesticks"
        query: Query = {
            "start_ts": start_ts,
            "end_ts": end_ts,
            "period_interval": period_minutes,
            "include_latest_before_start": include_latest_before_start,
        }
        return (await self._read(path, CandlesticksReply, query, signed=False)).candlesticks

    async def get_markets_candlesticks(
        self, tickers: list[str], *, start_ts: int, end_ts: int, period_minutes: CandlePeriod
    ) -> dict[str, list[Candlestick]]:
        """Return the candles of several markets by ticker, in calls of 100; the venue gives at most 10 000 candles a call."""
        candles: dict[str, list[Candlestick]] = {}
        for part in _parts(tickers):
            query: Query = {
                "market_tickers": ",".join(part),
                "start_ts": start_ts,
                "end_ts": end_ts,
                "period_interval": period_minutes,
            }
            reply = await self._read("/markets/candlesticks", MarketsCandlesticksReply, query, signed=False)
            candles |= {item.market_ticker: item.candlesticks for item in reply.markets}
        return candles

    async def iterate_events(
        self,
        *,
        status: str | None = None,
        series_ticker: str | None = None,
        tickers: list[str] | None = None,
        with_nested_markets: bool | None = None,
        min_close_ts: int | None = None,
    ) -> AsyncIterator[Event]:
        """Iterate over events; the status filter matches an event if any of its markets matches."""
        for part in _parts(tickers) if tickers else [[]]:
            query: Query = {
                "status": status,
                "series_ticker": series_ticker,
                "tickers": ",".join(part) or None,
                "with_nested_markets": with_nested_markets,
                "min_close_ts": min_close_ts,
            }
            rows = self._rows("/events", query, EventPage, _events, signed=False, page_limit=_EVENTS_PER_PAGE)
            async for event in rows:
                yield event

    async def get_event(self, event_ticker: str) -> tuple[Event, list[Market]]:
        """Return an event and its markets."""
        reply = await self._read(f"/events/{path_segment(event_ticker)}", EventReply, signed=False)
        return reply.event, reply.markets or reply.event.markets or []

    async def get_all_series(self, *, category: str | None = None, tags: str | None = None) -> list[Series]:
        """Return all series; this call has no pages."""
        query = {"category": category, "tags": tags}
        return (await self._read("/series", SeriesList, query, signed=False)).series

    async def get_series(self, series_ticker: str) -> Series:
        """Return one series; its `fee_terms` tell what trading costs."""
        return (await self._read(f"/series/{path_segment(series_ticker)}", SeriesReply, signed=False)).series

    async def get_series_fee_changes(self) -> list[SeriesFeeChange]:
        """Return the scheduled changes of series' fees."""
        reply = await self._read("/series/fee_changes", SeriesFeeChanges, signed=False)
        return reply.series_fee_change_arr

    async def get_event_fee_changes(self) -> list[EventFeeChange]:
        """Return the scheduled changes of events' fee overrides."""
        rows = self._rows("/events/fee_changes", {}, EventFeeChangePage, _fee_changes, signed=False)
        return [row async for row in rows]

    async def get_historical_cutoff(self) -> HistoricalCutoff:
        """Return the times before which rows are found with `historical` only."""
        return await self._read("/historical/cutoff", HistoricalCutoff, signed=False)


def _parts(tickers: list[str]) -> list[list[str]]:
    return [tickers[at : at + _TICKERS_PER_CALL] for at in range(0, len(tickers), _TICKERS_PER_CALL)]


def _markets(page: MarketPage) -> list[tuple[Hashable, Market]]:
    return [(row.ticker, row) for row in page.markets]


def _trades(page: TradePage) -> list[tuple[Hashable, Trade]]:
    return [(row.trade_id, row) for row in page.trades]


def _events(page: EventPage) -> list[tuple[Hashable, Event]]:
    return [(row.event_ticker, row) for row in page.events]


def _fee_changes(page: EventFeeChangePage) -> list[tuple[Hashable, EventFeeChange]]:
    return [(row.id, row) for row in page.event_fee_changes]
