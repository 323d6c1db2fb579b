"""From the plan of a market to its state at the venue, with its event and its series."""

from soloist_exchange.markets import EventState, FeeTerms, MarketState, SeriesState
from soloist_exchange.scenario_grids import grid, price_ranges
from soloist_exchange.scenario_plan import FeePlan, MarketPlan, Scenario
from soloist_exchange.venue import Venue

__all__ = ["YEAR_MS", "Opener"]

YEAR_MS = 365 * 24 * 3600 * 1000


class Opener:
    """Brings the markets of a scenario into a venue. What the venue has already, from before a restart, stays as it is."""

    def __init__(self, venue: Venue, scenario: Scenario, start_ms: int) -> None:
        self._venue = venue
        self._start_ms = start_ms
        self._fees = {plan.ticker: _terms(plan.fee) for plan in scenario.series}
        self._series_of = {plan.ticker: plan.series for plan in scenario.events}
        for series in scenario.series:
            venue.series.setdefault(
                series.ticker,
                SeriesState(
                    series.ticker,
                    series.title or series.ticker,
                    series.category,
                    tuple(series.tags),
                    series.frequency,
                    self._fees[series.ticker],
                ),
            )
        for event in scenario.events:
            venue.events.setdefault(
                event.ticker,
                EventState(
                    event.ticker,
                    event.series or _series_name(event.ticker),
                    event.title or event.ticker,
                    event.mutually_exclusive,
                    event.exchange_index,
                ),
            )

    def open(self, plan: MarketPlan) -> MarketState:
        """Return the market of a plan, brought in unless it is there."""
        if (found := self._venue.markets.get(plan.ticker)) is not None:
            return found
        now_ms = self._venue.clock_ms()
        event = plan.event or plan.ticker
        series = plan.series or self._series_of.get(event) or _series_name(event)
        fee = _terms(plan.fee) if plan.fee else self._fees.get(series, FeeTerms())
        open_at_ms = plan.create_at_ms if plan.open_at_ms is None else plan.open_at_ms
        market = MarketState(
            plan.ticker,
            event,
            plan.title or plan.ticker,
            grid(plan.price_level_structure),
            price_ranges(plan.price_level_structure),
            self._start_ms + open_at_ms,
            self._start_ms + (YEAR_MS if plan.close_at_ms is None else plan.close_at_ms),
            status=plan.status,
            series_ticker=series,
            market_type=plan.market_type,
            label=plan.price_level_structure,
            exchange_index=plan.exchange_index,
            fee=fee,
            can_close_early=plan.can_close_early,
            created_ms=now_ms,
            updated_ms=now_ms,
        )
        if plan.fee_waiver_until_ms is not None:
            market.fee_waiver_until_ms = self._start_ms + plan.fee_waiver_until_ms
        if plan.settlement_timer_ms is not None:
            market.settlement_timer_ms = plan.settlement_timer_ms
        self._venue.add_market(market)
        return market


def _terms(plan: FeePlan) -> FeeTerms:
    return FeeTerms(plan.kind, plan.multiplier_percent)


def _series_name(event_ticker: str) -> str:
    """Return the series of an event that says nothing about it, as tickers are made at the venue."""
    return event_ticker.split("-", 1)[0]
