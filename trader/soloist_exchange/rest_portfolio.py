"""Reads of an account's money: balance, positions, fills, settlements (section 7). All of them show the read model's point in time."""

from collections.abc import Iterable

from soloist_kalshi import messages
from soloist_kalshi.numbers import count_to_text, money_to_dollars, notional

from soloist_exchange import rest_query as query
from soloist_exchange import wire
from soloist_exchange.ledger import CENT, DOLLAR, Position
from soloist_exchange.markets import MarketState, MarketStatus
from soloist_exchange.orders import ASK, BID
from soloist_exchange.rest_call import Reply, Request, call, page
from soloist_exchange.rest_windows import collect, cutoff_ms, live_from, market_is_history
from soloist_exchange.store_rows import Range
from soloist_exchange.wire import dollars

__all__ = ["ROUTES", "event_tickers", "portfolio_range", "position_page"]

COUNT_FILTERS = frozenset({"position", "total_traded"})
MOST_EVENTS = 10

Held = tuple[MarketState, Position]


# ---------------------------------------------------------------------- balance


def get_balance(request: Request) -> Reply:
    """GET /portfolio/balance, over all shards unless one is named; positions are worth what the best bid for them pays."""
    exchange, account_id = request.exchange, request.sender.account_id
    subaccount = query.subaccount(request, 0) or 0
    index = query.exchange_index(request)
    by_shard = exchange.balances_view(account_id, subaccount)
    if index is not None:
        by_shard = {index: by_shard.get(index, 0)}
    cash = sum(by_shard.values())
    worth = sum(
        _worth(state, held)
        for state, held in _holdings(request, subaccount)
        if index is None or state.exchange_index == index
    )
    return 200, messages.Balance(
        balance=cash // CENT,
        balance_dollars=dollars(cash),
        portfolio_value=worth // CENT,
        updated_ts=exchange.as_of_ms() // 1000,
        balance_breakdown=[
            messages.BalanceOfShard(exchange_index=shard, balance=dollars(money))
            for shard, money in sorted(by_shard.items())
        ],
    )


def _worth(state: MarketState, held: Position) -> int:
    """Return what a position would sell for at the best bid for it (money)."""
    best = state.book.best(BID if held.count > 0 else ASK) if held.count else None
    if best is None:
        return 0
    return notional(best if held.count > 0 else DOLLAR - best, abs(held.count))


def total_resting_order_value(request: Request) -> Reply:
    """GET /portfolio/summary/total_resting_order_value: what all resting orders hold back."""
    query.require_unrestricted(request)
    by_shard: dict[int, int] = {}
    for (_, shard), money in request.exchange.account(request.sender.account_id).reserved.items():
        by_shard[shard] = by_shard.get(shard, 0) + money
    return 200, messages.RestingOrderValue(
        total_resting_order_value=sum(by_shard.values()) // CENT,
        resting_order_value_breakdown=[
            messages.BalanceOfShard(exchange_index=shard, balance=dollars(money))
            for shard, money in sorted(by_shard.items())
        ],
    )


# ---------------------------------------------------------------------- positions


def list_positions(request: Request) -> Reply:
    """GET /portfolio/positions, by ticker."""
    subaccount = query.subaccount(request, 0) or 0
    holdings = _holdings(request, subaccount)
    archived = archived_events(request, holdings)
    keeps_settled = request.exchange.venue.switches.settled_positions == "kept"
    found = [
        (state, held)
        for state, held in holdings
        if state.event_ticker not in archived and (keeps_settled or state.status != MarketStatus.FINALIZED)
    ]
    return position_page(request, found)


def position_page(request: Request, holdings: Iterable[Held]) -> Reply:
    """Return the page of positions that pass the query's filters, and the sums of their events. The cursor is an offset."""
    limit, start = query.limit(request), query.cursor(request) or 0
    ticker, event = query.text(request, "ticker"), query.text(request, "event_ticker")
    index = query.exchange_index(request)
    filters = query.texts(request, "count_filter", most=len(COUNT_FILTERS))
    if not COUNT_FILTERS.issuperset(filters):
        raise query.failed("count_filter", "oneof")
    found = [
        (state, held)
        for state, held in holdings
        if ticker in {"", state.ticker}
        and event in {"", state.event_ticker}
        and index in {None, state.exchange_index}
        and ("position" not in filters or held.count)
        and ("total_traded" not in filters or held.traded)
    ]
    end = start + limit
    shown = found[start:end]
    events = {state.event_ticker for state, _ in shown}
    return page(
        request,
        "market_positions",
        [wire.position(state.ticker, held, state.exchange_index) for state, held in shown],
        end if end < len(found) else None,
        event_positions=_event_positions(item for item in found if item[0].event_ticker in events),
    )


def _event_positions(holdings: Iterable[Held]) -> list[messages.EventPosition]:
    by_event: dict[str, list[Position]] = {}
    for state, held in holdings:
        by_event.setdefault(state.event_ticker, []).append(held)
    return [
        messages.EventPosition(
            event_ticker=ticker,
            total_cost_dollars=money_to_dollars(sum(held.traded for held in own)),
            total_cost_shares_fp=count_to_text(sum(held.volume for held in own)),
            event_exposure_dollars=money_to_dollars(sum(held.cost for held in own)),
            realized_pnl_dollars=money_to_dollars(sum(held.realized for held in own)),
            fees_paid_dollars=money_to_dollars(sum(held.fees for held in own)),
        )
        for ticker, own in by_event.items()
    ]


def _holdings(request: Request, subaccount: int) -> list[Held]:
    """Return what a subaccount holds or held, by ticker."""
    markets = request.exchange.venue.markets
    found = request.exchange.positions_view(request.sender.account_id, subaccount)
    return [(markets[ticker], held) for ticker, held in sorted(found.items()) if ticker in markets]


def archived_events(request: Request, holdings: list[Held]) -> frozenset[str]:
    """Return the events of holdings whose markets all settled before the cutoff: their positions are history, together."""
    cutoff = cutoff_ms(request.exchange)
    archived = {state.event_ticker for state, _ in holdings if market_is_history(state, cutoff)}
    if not archived:
        return frozenset()
    return frozenset(archived) - {
        state.event_ticker
        for state in request.exchange.venue.markets.values()
        if not market_is_history(state, cutoff)
    }


def historical_positions(request: Request) -> Reply:
    """GET /historical/positions: those of events that settled, whole, before the cutoff."""
    subaccount = query.subaccount(request, 0) or 0
    holdings = _holdings(request, subaccount)
    archived = archived_events(request, holdings)
    return position_page(request, [item for item in holdings if item[0].event_ticker in archived])


# ---------------------------------------------------------------------- fills and settlements


def portfolio_range(request: Request, *, from_ms: int | None = None, status: str = "") -> Range:
    """Return which rows of the caller's history a read wants, of all subaccounts unless one is named (section 7)."""
    return Range(
        limit=query.limit(request),
        before=query.cursor(request),
        subaccount=query.subaccount(request, None),
        ticker=query.text(request, "ticker"),
        order_id=query.text(request, "order_id"),
        status=status,
        from_ms=from_ms,
        to_ms=query.to_ms(request, "max_ts"),
        tickers=event_tickers(request),
        exchange_index=query.exchange_index(request),
    )


def event_tickers(request: Request) -> frozenset[str] | None:
    """Return the markets of the events that the query names, None when it names none."""
    events = query.texts(request, "event_ticker", most=MOST_EVENTS)
    if not events:
        return None
    markets = request.exchange.venue.markets.values()
    return frozenset(state.ticker for state in markets if state.event_ticker in events)


def list_fills(request: Request) -> Reply:
    """GET /portfolio/fills, newest first."""
    earliest = live_from(request.exchange, query.from_ms(request, "min_ts"))
    return fill_page(request, portfolio_range(request, from_ms=earliest))


def fill_page(request: Request, wanted: Range) -> Reply:
    """Return a page of fills, newest first."""
    exchange, account_id = request.exchange, request.sender.account_id
    rows, cursor = collect(
        lambda asked: exchange.fills_view(account_id, asked), wanted, lambda fill: fill.number
    )
    return page(request, "fills", [wire.rest_fill(fill) for fill in rows], cursor)


def list_settlements(request: Request) -> Reply:
    """GET /portfolio/settlements, newest first."""
    exchange, account_id = request.exchange, request.sender.account_id
    wanted = portfolio_range(request, from_ms=query.from_ms(request, "min_ts"))
    rows, cursor = collect(
        lambda asked: exchange.settlements_view(account_id, asked), wanted, lambda row: row.number
    )
    return page(request, "settlements", [wire.settlement(row) for row in rows], cursor)


ROUTES = (
    call("GET", "/portfolio/balance", "GetBalance", get_balance, scope="read::portfolio_balance"),
    call("GET", "/portfolio/positions", "GetPositions", list_positions),
    call("GET", "/portfolio/fills", "GetFills", list_fills),
    call("GET", "/portfolio/settlements", "GetSettlements", list_settlements),
    call(
        "GET",
        "/portfolio/summary/total_resting_order_value",
        "GetPortfolioRestingOrderTotalValue",
        total_resting_order_value,
    ),
    call("GET", "/historical/positions", "GetHistoricalPositions", historical_positions),
)
