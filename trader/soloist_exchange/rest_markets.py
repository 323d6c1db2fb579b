"""Public market data over REST: markets, order books, trades (section 6)."""

from collections.abc import Callable, Iterable

from soloist_kalshi import messages

from soloist_exchange import rest_query as query
from soloist_exchange import wire
from soloist_exchange.markets import MarketState, MarketStatus
from soloist_exchange.rest_call import Reply, Request, call, invalid, not_found, page
from soloist_exchange.rest_windows import cutoff_ms, live_from, market_is_history

__all__ = ["ROUTES", "STATUS_WORDS", "has_status", "live_market", "market_message"]

DEEPEST_BOOK = 100
MOST_TICKERS = 1000
MOST_BOOKS = 100
STATUS_WORDS = frozenset({"unopened", "open", "paused", "closed", "settled"})
MVE_WORDS = frozenset({"only", "exclude"})
_STATUS_OF_WORD = {
    "unopened": MarketStatus.INITIALIZED,
    "open": MarketStatus.ACTIVE,
    "paused": MarketStatus.INACTIVE,
    "settled": MarketStatus.FINALIZED,
}
# Which status filters go with the timestamp filters (section 6); "" = none.
_STATUS_WITH = {
    "created": frozenset({"", "unopened", "open"}),
    "close": frozenset({"", "closed"}),
    "settled": frozenset({"", "settled"}),
}

Predicate = Callable[[MarketState], bool]


def list_markets(request: Request) -> Reply:
    """GET /markets. The cursor is a place in the list of all markets, from which none ever goes."""
    limit = query.limit(request)
    wanted = _filters(request)
    tickers = frozenset(query.texts(request, "tickers", most=MOST_TICKERS))
    if tickers:
        wanted.append(lambda state: state.ticker in tickers)
    cutoff = cutoff_ms(request.exchange)
    wanted.append(lambda state: not market_is_history(state, cutoff))
    return market_page(request, wanted, limit)


def market_page(request: Request, wanted: Iterable[Predicate], limit: int) -> Reply:
    """Return the page of markets that pass every filter, in the exchange's order."""
    start = query.cursor(request) or 0
    states = list(request.exchange.venue.markets.values())
    rows: list[messages.Market] = []
    for place in range(start, len(states)):
        state = states[place]
        if not all(passes(state) for passes in wanted):
            continue
        if len(rows) == limit:
            return page(request, "markets", rows, place)
        rows.append(market_message(request, state))
    return page(request, "markets", rows, None)


def _filters(request: Request) -> list[Predicate]:
    status = query.choice(request, "status", STATUS_WORDS)
    event, series = query.text(request, "event_ticker"), query.text(request, "series_ticker")
    combos = query.choice(request, "mve_filter", MVE_WORDS)
    if "," in event:
        raise invalid("event_ticker takes one event")
    wanted = _time_filters(request, status)
    if status:
        now_ms = request.exchange.clock_ms()
        wanted.append(lambda state: has_status(state, status, now_ms))
    if event:
        wanted.append(lambda state: state.event_ticker == event)
    if series:
        wanted.append(lambda state: state.series_ticker == series)
    if combos == "only":  # no market of this exchange is a combination
        wanted.append(lambda _: False)
    return wanted


def has_status(state: MarketState, word: str, now_ms: int) -> bool:
    """Whether a market has the status that a filter's word means (section 6, "Status enum")."""
    if word == "closed":
        return state.close_ms <= now_ms and state.status != MarketStatus.FINALIZED
    return state.status == _STATUS_OF_WORD[word]


def _time_filters(request: Request, status: str) -> list[Predicate]:
    """Return the timestamp filters; only one family of them goes at a time, and only with certain status filters."""
    families: dict[str, Callable[[MarketState], int]] = {
        "created": lambda state: state.created_ms or state.open_ms,
        "close": lambda state: state.close_ms,
        "settled": lambda state: state.settled_ms,
        "updated": lambda state: state.updated_ms or state.created_ms or state.open_ms,
    }
    given = [
        (family, query.from_ms(request, f"min_{family}_ts"), query.to_ms(request, f"max_{family}_ts"))
        for family in families
    ]
    given = [item for item in given if item[1:] != (None, None)]
    if not given:
        return []
    if len(given) > 1:
        raise invalid(f"{given[0][0]} and {given[1][0]} timestamp filters exclude each other")
    family, earliest, latest = given[0]
    if family == "updated":
        _check_updated(request)
    elif status not in _STATUS_WITH[family]:
        raise invalid(f"{family} timestamp filters do not go with status {status}")
    time_of = families[family]
    return [
        lambda state: (
            time_of(state) > 0
            and (earliest is None or time_of(state) >= earliest)
            and (latest is None or time_of(state) <= latest)
        )
    ]


def _check_updated(request: Request) -> None:
    for name in ("status", "event_ticker", "tickers"):
        if query.text(request, name):
            raise invalid(f"updated timestamp filters do not go with {name}")
    combos = query.text(request, "mve_filter")
    if combos == "only" or (query.text(request, "series_ticker") and combos != "exclude"):
        raise invalid(
            "updated timestamp filters go with mve_filter=exclude, and with series_ticker only beside it"
        )


def market_message(request: Request, state: MarketState) -> messages.Market:
    """Return a market as it is printed."""
    exchange = request.exchange
    return wire.market(state, exchange.history.volume_24h(state.ticker))


def get_market(request: Request) -> Reply:
    """GET /markets/{ticker}."""
    state = live_market(request, request.match["ticker"])
    return 200, messages.MarketReply(market=market_message(request, state))


def live_market(request: Request, ticker: str) -> MarketState:
    """Return a market that live reads still have. Raises Refused 404."""
    state = request.exchange.venue.markets.get(ticker)
    if state is None or market_is_history(state, cutoff_ms(request.exchange)):
        raise not_found()
    return state


def get_orderbook(request: Request) -> Reply:
    """GET /markets/{ticker}/orderbook; `depth` keeps the best levels, 0 = all."""
    depth = query.integer(request, "depth", most=DEEPEST_BOOK) or 0
    book = wire.order_book(live_market(request, request.match["ticker"]).book, depth)
    if not book.yes_dollars and not book.no_dollars and _empty_key(request) == "orderbook":
        return 200, messages.OrderBookReply(orderbook=messages.OrderBook())
    return 200, messages.OrderBookReply(orderbook_fp=book)


def _empty_key(request: Request) -> str:
    return request.exchange.venue.switches.empty_book_key


def list_orderbooks(request: Request) -> Reply:
    """GET /markets/orderbooks, in the order asked for; unknown markets are left out."""
    tickers = query.texts(request, "tickers", most=MOST_BOOKS, repeated=True)
    if not tickers:
        raise query.failed("tickers", "required")
    markets = request.exchange.venue.markets
    books = [
        messages.OrderBookOfMarket(ticker=ticker, orderbook_fp=wire.order_book(markets[ticker].book, 0))
        for ticker in tickers
        if ticker in markets
    ]
    return 200, messages.OrderBooksReply(orderbooks=books)


def list_trades(request: Request) -> Reply:
    """GET /markets/trades, newest first. The cursor is the number of the page's oldest trade."""
    earliest = live_from(request.exchange, query.from_ms(request, "min_ts"))
    return trade_page(request, earliest, query.to_ms(request, "max_ts"))


def trade_page(request: Request, from_ms: int | None, to_ms: int | None) -> Reply:
    """Return a page of public trades; no trade of this exchange is a block trade."""
    limit = query.limit(request)
    blocks_only = query.boolean(request, "is_block_trade") is True
    found = (
        []
        if blocks_only
        else request.exchange.history.trades(
            query.text(request, "ticker"), query.cursor(request), from_ms, to_ms, limit + 1
        )
    )
    kept = found[:limit]
    rows = [wire.trade(item) for item in kept]
    return page(request, "trades", rows, kept[-1].number if len(found) > limit else None)


ROUTES = (
    call("GET", "/markets", "GetMarkets", list_markets, scope=None),
    call("GET", "/markets/trades", "GetTrades", list_trades, scope=None),
    call(
        "GET", "/markets/orderbooks", "GetMarketOrderbooks", list_orderbooks, scope=None, is_order_book=True
    ),
    call("GET", "/markets/{ticker}", "GetMarket", get_market, scope=None),
    call(
        "GET",
        "/markets/{ticker}/orderbook",
        "GetMarketOrderbook",
        get_orderbook,
        scope=None,
        is_order_book=True,
    ),
)
