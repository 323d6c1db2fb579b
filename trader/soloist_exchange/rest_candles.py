"""Candlesticks over REST (section 6)."""

from soloist_kalshi import messages

from soloist_exchange import rest_query as query
from soloist_exchange import wire
from soloist_exchange.markets import MarketState
from soloist_exchange.rest_call import Reply, Request, bad_request, call
from soloist_exchange.rest_markets import live_market
from soloist_exchange.store_rows import Candle

__all__ = ["ROUTES", "Stretch", "candles_of", "stretch"]

MINUTE_MS = 60_000
PERIODS = frozenset({1, 60, 1440})  # minutes
MOST_MARKETS = 100
MOST_CANDLES = 5_000
MOST_CANDLES_OF_MARKETS = 10_000
_DECIMALS = 1_000_000

Stretch = tuple[int, int, int]


def stretch(request: Request, markets: int | None = None) -> Stretch:
    """Return start, end and period (milliseconds) of the candles asked for, which are those that end from start to end.

    The limit counts what a stretch could hold, of one market or (`markets`) of several, before anybody looks whether it is there.
    """
    start_ms = query.required_integer(request, "start_ts") * 1000
    end_ms = query.required_integer(request, "end_ts") * 1000
    minutes = query.required_integer(request, "period_interval")
    if minutes not in PERIODS:
        raise query.failed("period_interval", "oneof")
    if end_ms < start_ms:
        raise query.failed("end_ts", "gtefield")
    period_ms = minutes * MINUTE_MS
    millionths = (end_ms - start_ms) * _DECIMALS // period_ms * (markets or 1)
    most = MOST_CANDLES if markets is None else MOST_CANDLES_OF_MARKETS
    if millionths > most * _DECIMALS:
        candles, part = divmod(millionths, _DECIMALS)
        raise bad_request(
            f"requested time range with candlesticks: {candles}.{part:06d}, max candlesticks: {most}"
        )
    return start_ms, end_ms, period_ms


def candles_of(request: Request, state: MarketState, wanted: Stretch) -> list[Candle]:
    """Return a market's candles."""
    return request.exchange.history.candles(state.ticker, *wanted)


def _messages(request: Request, state: MarketState, wanted: Stretch) -> list[messages.Candlestick]:
    """Return the candles as printed, with what was known before them in front where the caller wants it."""
    rows = [wire.candle(item) for item in candles_of(request, state, wanted)]
    if query.boolean(request, "include_latest_before_start"):
        start_ms, _, period_ms = wanted
        latest = request.exchange.history.latest_candle(state.ticker, start_ms, period_ms)
        if latest is not None:
            rows.insert(0, wire.latest_candle(latest, -(-start_ms // period_ms) * period_ms))
    return rows


def list_candlesticks(request: Request) -> Reply:
    """GET /series/{series_ticker}/markets/{ticker}/candlesticks; nobody looks at the series, as at the venue."""
    wanted = stretch(request)
    state = live_market(request, request.match["ticker"])
    return 200, messages.CandlesticksReply(
        ticker=state.ticker, candlesticks=_messages(request, state, wanted)
    )


def list_markets_candlesticks(request: Request) -> Reply:
    """GET /markets/candlesticks, in the order asked for; unknown markets are left out."""
    tickers = query.texts(request, "market_tickers", most=MOST_MARKETS)
    if not tickers:
        raise query.failed("market_tickers", "required")
    wanted = stretch(request, len(tickers))
    markets = request.exchange.venue.markets
    rows = [
        messages.MarketCandlesticks(
            market_ticker=ticker, candlesticks=_messages(request, markets[ticker], wanted)
        )
        for ticker in tickers
        if ticker in markets
    ]
    return 200, messages.MarketsCandlesticksReply(markets=rows)


ROUTES = (
    call("GET", "/markets/candlesticks", "BatchGetMarketCandlesticks", list_markets_candlesticks, scope=None),
    call(
        "GET",
        "/series/{series_ticker}/markets/{ticker}/candlesticks",
        "GetMarketCandlesticks",
        list_candlesticks,
        scope=None,
    ),
)
