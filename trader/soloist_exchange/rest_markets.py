"""Public REST calls: exchange and market data (section 6)."""

from soloist_kalshi import messages

from soloist_exchange import wire
from soloist_exchange.rest_call import Reply, Request, Route, invalid, not_found, page
from soloist_exchange.venue import MarketState

__all__ = ["ROUTES"]

DEEPEST_BOOK = 100
STATUS_FILTER = {
    "open": "active",
    "unopened": "initialized",
    "paused": "inactive",
    "closed": "closed",
    "settled": "finalized",
}


def exchange_status(request: Request) -> Reply:
    """GET /exchange/status."""
    active = request.exchange.venue.trading_active
    return 200, messages.ExchangeStatus(exchange_active=True, trading_active=active)


def user_data_timestamp(request: Request) -> Reply:
    """GET /exchange/user_data_timestamp: the read model does not lag in this version."""
    return 200, messages.UserDataTimestamp(as_of_time=wire.rfc3339(request.exchange.clock_ms()))


def list_markets(request: Request) -> Reply:
    """GET /markets with the filters tickers, event_ticker, series_ticker and status. The cursor is an offset: markets never go."""
    status = request.choice("status", frozenset(STATUS_FILTER))
    series, event = request.query.get("series_ticker", ""), request.query.get("event_ticker", "")
    found = [
        state
        for state in _named_markets(request)
        if event in {"", state.event_ticker}
        and (not series or state.ticker == series or state.ticker.startswith(f"{series}-"))
        and (not status or state.status == STATUS_FILTER[status])
    ]
    start = request.cursor() or 0
    end = start + request.limit()
    rows = [wire.market(state) for state in found[start:end]]
    return page("markets", rows, end if end < len(found) else None)


def _named_markets(request: Request) -> list[MarketState]:
    """Return the markets of the parameter `tickers` in the exchange's order, all without it."""
    markets = request.exchange.venue.markets
    wanted = {name for name in request.query.get("tickers", "").split(",") if name}
    return [state for ticker, state in markets.items() if not wanted or ticker in wanted]


def get_market(request: Request) -> Reply:
    """GET /markets/{ticker}."""
    return 200, messages.MarketReply(market=wire.market(_market(request)))


def get_orderbook(request: Request) -> Reply:
    """GET /markets/{ticker}/orderbook; `depth` keeps the best levels, 0 = all."""
    depth = request.integer("depth") or 0
    if depth > DEEPEST_BOOK:
        raise invalid(f"depth above {DEEPEST_BOOK}")
    yes, no = wire.book_levels(_market(request).book)
    book = messages.OrderBook(yes_dollars=(yes or [])[-depth:], no_dollars=(no or [])[-depth:])
    return 200, messages.OrderBookReply(orderbook_fp=book)


def list_trades(request: Request) -> Reply:
    """GET /markets/trades, newest first, of the trades that are kept. The cursor is the number of the page's oldest trade."""
    ticker, limit, before = request.query.get("ticker", ""), request.limit(), request.cursor()
    rows: list[messages.Trade] = []
    cursor: int | None = None
    last = 0
    for trade in reversed(request.exchange.trades):
        if (before is not None and trade.number >= before) or ticker not in {"", trade.market.ticker}:
            continue
        if len(rows) == limit:
            cursor = last
            break
        rows.append(wire.trade(trade.market, trade.fill))
        last = trade.number
    return page("trades", rows, cursor)


def _market(request: Request) -> MarketState:
    state = request.exchange.venue.markets.get(request.match["ticker"])
    if state is None:
        raise not_found()
    return state


ROUTES = (
    Route("GET", "/exchange/status", exchange_status, scope=None),
    Route("GET", "/exchange/user_data_timestamp", user_data_timestamp, scope=None),
    Route("GET", "/markets", list_markets, scope=None),
    Route("GET", "/markets/trades", list_trades, scope=None),
    Route("GET", "/markets/{ticker}", get_market, scope=None),
    Route("GET", "/markets/{ticker}/orderbook", get_orderbook, scope=None),
)
