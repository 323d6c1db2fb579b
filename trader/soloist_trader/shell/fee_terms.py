"""What trading costs in each market, as the venue publishes it: the simulation charges by it, and the engine alarms."""

from __future__ import annotations

import logging
from collections.abc import Iterable

from soloist_kalshi.fees import FeeTerms
from soloist_kalshi.messages import Market
from soloist_kalshi.numbers import NumberError
from soloist_kalshi.rest import RestClient

from soloist_trader.shell.clock import text_to_ms
from soloist_trader.shell.logs import log


class FeeTable:
    """Fee terms by market: those of its event, else of its series. A market whose fees have no formula is in `without`."""

    def __init__(self) -> None:
        self.terms: dict[str, FeeTerms] = {}
        self.without: set[str] = set()
        self._waived_until_ms: dict[str, int] = {}

    def fee(self, market: str, price: int, size: int, fill_time_ms: int, *, is_taker: bool) -> int:
        """The fee of one fill as money, before the venue's rounding. Raises KeyError for a market without known terms."""
        terms = self.terms[market]
        if fill_time_ms < self._waived_until_ms.get(market, 0):
            return 0
        return terms.taker(price, size) if is_taker else terms.maker(price, size)

    async def look_up(self, rest: RestClient, markets: Iterable[Market]) -> None:
        """Ask for what is not known yet. Raises VenueError and ValueError; what was learnt until then stays."""
        unknown = [
            market
            for market in markets
            if market.ticker not in self.terms and market.ticker not in self.without
        ]
        for market in unknown:
            if market.fee_waiver_expiration_time:
                self._waived_until_ms[market.ticker] = text_to_ms(market.fee_waiver_expiration_time)
        for event_ticker in sorted({market.event_ticker for market in unknown}):
            tickers = [market.ticker for market in unknown if market.event_ticker == event_ticker]
            event, _ = await rest.get_event(event_ticker)
            series = await rest.get_series(event.series_ticker)
            try:
                terms = FeeTerms.of(series, event)
                terms.taker(1, 1)
            except NumberError as error:
                self.without.update(tickers)
                log("FeesUnknown", f"{event_ticker}: {error}", level=logging.WARNING, markets=tickers)
            else:
                self.terms |= dict.fromkeys(tickers, terms)
