"""Events, series and their fee changes over REST (section 6)."""

from collections.abc import Iterable

import msgspec
from soloist_kalshi import messages

from soloist_exchange import rest_query as query
from soloist_exchange import wire
from soloist_exchange.markets import EventState, MarketState, SeriesState
from soloist_exchange.rest_call import Reply, Request, call, not_found, page
from soloist_exchange.rest_markets import STATUS_WORDS, has_status, market_message
from soloist_exchange.rest_windows import cutoff_ms, market_is_history

__all__ = ["ROUTES"]

EVENTS = 200
MOST_TICKERS = 200
EVENT_STATUS_WORDS = STATUS_WORDS - {"paused"}


def list_events(request: Request) -> Reply:
    """GET /events, at most 200 a page. The cursor is a place in the list of all events."""
    limit = query.limit(request, most=EVENTS, default=EVENTS)
    status = query.choice(request, "status", EVENT_STATUS_WORDS)
    series = query.text(request, "series_ticker")
    tickers = query.texts(request, "tickers", most=MOST_TICKERS)
    close_ms, updated_ms = query.from_ms(request, "min_close_ts"), query.from_ms(request, "min_updated_ts")
    nested = query.boolean(request, "with_nested_markets") is True
    others: dict[str, object] = {}
    if query.boolean(request, "with_milestones"):
        others["milestones"] = []  # no event of this exchange has one
    now_ms = request.exchange.clock_ms()
    children = _children(request)
    events = list(request.exchange.venue.events.values())
    rows: list[messages.Event] = []
    for place in range(query.cursor(request) or 0, len(events)):
        state = events[place]
        own = children.get(state.ticker, [])
        if (
            (tickers and state.ticker not in tickers)
            or series not in {"", state.series_ticker}
            or (status and not any(has_status(market, status, now_ms) for market in own))
            or (close_ms is not None and not any(market.close_ms > close_ms for market in own))
            or (updated_ms is not None and _updated_ms(own) <= updated_ms)
        ):
            continue
        if len(rows) == limit:
            return page(request, "events", rows, place, **others)
        rows.append(_event(request, state, own, nested=nested))
    return page(request, "events", rows, None, **others)


def get_event(request: Request) -> Reply:
    """GET /events/{event_ticker}; its markets stand beside it, or in it with `with_nested_markets`."""
    state = request.exchange.venue.events.get(request.match["event_ticker"])
    if state is None:
        raise not_found()
    nested = query.boolean(request, "with_nested_markets") is True
    own = _children(request).get(state.ticker, [])
    beside = [] if nested else _live_messages(request, own)
    return 200, messages.EventReply(event=_event(request, state, own, nested=nested), markets=beside)


def _event(request: Request, state: EventState, own: list[MarketState], *, nested: bool) -> messages.Event:
    series = request.exchange.venue.series.get(state.series_ticker)
    markets = _live_messages(request, own) if nested else None
    return wire.event(state, series, _updated_ms(own), markets)


def _live_messages(request: Request, own: list[MarketState]) -> list[messages.Market]:
    """Return an event's markets without those that are history: the event itself never leaves."""
    cutoff = cutoff_ms(request.exchange)
    return [market_message(request, market) for market in own if not market_is_history(market, cutoff)]


def _children(request: Request) -> dict[str, list[MarketState]]:
    """Return the markets of every event, in the exchange's order."""
    found: dict[str, list[MarketState]] = {}
    for state in request.exchange.venue.markets.values():
        found.setdefault(state.event_ticker, []).append(state)
    return found


def _updated_ms(markets: Iterable[MarketState]) -> int:
    return max((state.updated_ms or state.created_ms or state.open_ms for state in markets), default=0)


def list_series(request: Request) -> Reply:
    """GET /series, which has no pages."""
    category, tags = query.text(request, "category"), set(query.texts(request, "tags", most=MOST_TICKERS))
    updated_ms = query.from_ms(request, "min_updated_ts")
    with_volume = query.boolean(request, "include_volume") is True
    query.boolean(request, "include_product_metadata")  # checked; no series of this exchange has any
    own = _markets_of_series(request)
    rows = [
        _series(state, own.get(state.ticker, []), with_volume=with_volume)
        for state in request.exchange.venue.series.values()
        if category in {"", state.category}
        and (not tags or tags & set(state.tags))
        and (updated_ms is None or _updated_ms(own.get(state.ticker, [])) > updated_ms)
    ]
    return 200, messages.SeriesList(series=rows)


def get_series(request: Request) -> Reply:
    """GET /series/{series_ticker}."""
    state = request.exchange.venue.series.get(request.match["series_ticker"])
    if state is None:
        raise not_found()
    own = _markets_of_series(request).get(state.ticker, [])
    with_volume = query.boolean(request, "include_volume") is True
    return 200, messages.SeriesReply(series=_series(state, own, with_volume=with_volume))


def _series(state: SeriesState, own: list[MarketState], *, with_volume: bool) -> messages.Series:
    return wire.series(
        state,
        exchange_index=own[0].exchange_index if own else 0,
        updated_ms=_updated_ms(own),
        volume=sum(market.volume for market in own) if with_volume else None,
    )


def _markets_of_series(request: Request) -> dict[str, list[MarketState]]:
    found: dict[str, list[MarketState]] = {}
    for state in request.exchange.venue.markets.values():
        found.setdefault(state.series_ticker, []).append(state)
    return found


def series_fee_changes(request: Request) -> Reply:
    """GET /series/fee_changes: fees of this exchange are the scenario's from beginning to end, so none is scheduled."""
    query.boolean(request, "show_historical")
    return 200, messages.SeriesFeeChanges(series_fee_change_arr=[])


def event_fee_changes(request: Request) -> Reply:
    """GET /events/fee_changes: as for series."""
    query.limit(request)
    none: list[msgspec.Struct] = []
    return page(request, "event_fee_changes", none, None)


ROUTES = (
    call("GET", "/events", "GetEvents", list_events, scope=None),
    call("GET", "/events/fee_changes", "GetEventFeeChanges", event_fee_changes, scope=None),
    call("GET", "/events/{event_ticker}", "GetEvent", get_event, scope=None),
    call("GET", "/series", "GetSeriesList", list_series, scope=None),
    call("GET", "/series/fee_changes", "GetSeriesFeeChanges", series_fee_changes, scope=None),
    call("GET", "/series/{series_ticker}", "GetSeries", get_series, scope=None),
)
