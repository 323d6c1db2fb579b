"""Public history, and the cutoff that divides it from what is live (section 6, historical)."""

from dataclasses import replace

import msgspec
from soloist_kalshi import messages
from soloist_kalshi.numbers import count_to_text, price_to_dollars

from soloist_exchange import rest_query as query
from soloist_exchange import wire
from soloist_exchange.markets import MarketState
from soloist_exchange.rest_call import Reply, Request, call, invalid, not_found
from soloist_exchange.rest_candles import candles_of, stretch
from soloist_exchange.rest_markets import MOST_TICKERS, market_message, market_page, trade_page
from soloist_exchange.rest_portfolio import fill_page, portfolio_range
from soloist_exchange.rest_windows import cutoff_ms, market_is_history
from soloist_exchange.store_rows import Candle, Span

__all__ = ["ROUTES"]

_COMBOS = frozenset({"exclude"})


class _Prices(msgspec.Struct):
    """As live candles, without the suffix that the live fields have."""

    open: str | None
    low: str | None
    high: str | None
    close: str | None


class _TradedPrices(_Prices):
    mean: str | None
    previous: str | None


class _Candle(msgspec.Struct):
    end_period_ts: int
    yes_bid: _Prices
    yes_ask: _Prices
    price: _TradedPrices
    volume: str
    open_interest: str


class _Candles(msgspec.Struct):
    """GET /historical/markets/{ticker}/candlesticks."""

    ticker: str
    candlesticks: list[_Candle]


def cutoff(request: Request) -> Reply:
    """GET /historical/cutoff: one point in time for everything, three months back."""
    time = wire.rfc3339(cutoff_ms(request.exchange))
    return 200, messages.HistoricalCutoff(
        market_settled_ts=time,
        trades_created_ts=time,
        orders_updated_ts=time,
        market_positions_last_updated_ts=time,
    )


def list_markets(request: Request) -> Reply:
    """GET /historical/markets; its filters exclude each other."""
    limit = query.limit(request)
    query.choice(request, "mve_filter", _COMBOS)
    tickers = frozenset(query.texts(request, "tickers", most=MOST_TICKERS))
    event, series = query.text(request, "event_ticker"), query.text(request, "series_ticker")
    if bool(tickers) + bool(event) + bool(series) > 1:
        raise invalid("tickers, event_ticker and series_ticker exclude each other")
    edge_ms = cutoff_ms(request.exchange)

    def wanted(state: MarketState) -> bool:
        return (
            market_is_history(state, edge_ms)
            and (not tickers or state.ticker in tickers)
            and event in {"", state.event_ticker}
            and series in {"", state.series_ticker}
        )

    return market_page(request, [wanted], limit)


def get_market(request: Request) -> Reply:
    """GET /historical/markets/{ticker}."""
    return 200, messages.MarketReply(market=market_message(request, _past_market(request)))


def _past_market(request: Request) -> MarketState:
    state = request.exchange.venue.markets.get(request.match["ticker"])
    if state is None or not market_is_history(state, cutoff_ms(request.exchange)):
        raise not_found()
    return state


def list_candlesticks(request: Request) -> Reply:
    """GET /historical/markets/{ticker}/candlesticks."""
    wanted = stretch(request)
    state = _past_market(request)
    rows = [_candle(item) for item in candles_of(request, state, wanted)]
    return 200, _Candles(ticker=state.ticker, candlesticks=rows)


def _candle(item: Candle) -> _Candle:
    price = _prices(item.price)
    return _Candle(
        end_period_ts=item.end_ms // 1000,
        yes_bid=_prices(item.bid),
        yes_ask=_prices(item.ask),
        price=_TradedPrices(
            open=price.open,
            low=price.low,
            high=price.high,
            close=price.close,
            mean=None if item.mean is None else price_to_dollars(item.mean),
            previous=None if item.previous is None else price_to_dollars(item.previous),
        ),
        volume=count_to_text(item.volume),
        open_interest=count_to_text(item.open_interest),
    )


def _prices(span: Span | None) -> _Prices:
    if span is None:
        return _Prices(None, None, None, None)
    return _Prices(
        price_to_dollars(span.open),
        price_to_dollars(span.low),
        price_to_dollars(span.high),
        price_to_dollars(span.close),
    )


def list_trades(request: Request) -> Reply:
    """GET /historical/trades, newest first."""
    return trade_page(request, query.from_ms(request, "min_ts"), _before_cutoff(request))


def list_fills(request: Request) -> Reply:
    """GET /historical/fills, newest first."""
    wanted = portfolio_range(request, from_ms=query.from_ms(request, "min_ts"))
    return fill_page(request, replace(wanted, to_ms=_before_cutoff(request)))


def _before_cutoff(request: Request) -> int:
    latest = query.to_ms(request, "max_ts")
    edge_ms = cutoff_ms(request.exchange) - 1
    return edge_ms if latest is None else min(latest, edge_ms)


ROUTES = (
    call("GET", "/historical/cutoff", "GetHistoricalCutoff", cutoff, scope=None),
    call("GET", "/historical/markets", "GetHistoricalMarkets", list_markets, scope=None),
    call("GET", "/historical/markets/{ticker}", "GetHistoricalMarket", get_market, scope=None),
    call(
        "GET",
        "/historical/markets/{ticker}/candlesticks",
        "GetMarketCandlesticksHistorical",
        list_candlesticks,
        scope=None,
    ),
    call("GET", "/historical/trades", "GetTradesHistorical", list_trades, scope=None),
    call("GET", "/historical/fills", "GetFillsHistorical", list_fills),
)
