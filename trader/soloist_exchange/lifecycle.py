"""The life of a market: opened, paused, closed, determined, disputed, settled (section 6). Each transition is one step of the venue."""

from typing import TYPE_CHECKING, Final

from soloist_exchange.errors import Refused
from soloist_exchange.ledger import DOLLAR
from soloist_exchange.listener import Settlement
from soloist_exchange.markets import EventState, MarketState, MarketStatus, Result, SeriesState
from soloist_exchange.orders import ASK, BID, UpdateReason

if TYPE_CHECKING:
    from soloist_exchange.venue import Venue

__all__ = ["CLOSE_CANCEL_MS", "Lifecycle"]

# "Resting orders are cancelled shortly after close": how shortly is not said.
CLOSE_CANCEL_MS: Final = 500
DAY_MS: Final = 86_400_000
_TRADABLE: Final = frozenset({MarketStatus.ACTIVE, MarketStatus.INACTIVE})
_OPEN: Final = _TRADABLE | {MarketStatus.INITIALIZED}
_JUDGED: Final = frozenset({MarketStatus.DETERMINED, MarketStatus.DISPUTED, MarketStatus.AMENDED})


class Lifecycle:
    """Moves the markets of a venue through their states, on request and when their times come."""

    def __init__(self, venue: "Venue") -> None:
        self._venue = venue

    def add(self, market: MarketState) -> None:
        """Bring a market in, in whatever state it is; its series and event are made when they are missing."""
        venue = self._venue
        now_ms = venue.clock_ms()
        assert market.ticker not in venue.markets, f"market {market.ticker} is there already"
        market.series_ticker = market.series_ticker or market.event_ticker.split("-", 1)[0]
        venue.series.setdefault(
            market.series_ticker, SeriesState(market.series_ticker, market.series_ticker, fee=market.fee)
        )
        venue.events.setdefault(
            market.event_ticker,
            EventState(
                market.event_ticker,
                market.series_ticker,
                market.title,
                exchange_index=market.exchange_index,
            ),
        )
        market.created_ms = market.created_ms or now_ms
        market.updated_ms = market.updated_ms or now_ms
        if market.status == MarketStatus.ACTIVE and market.open_ms > now_ms:
            market.status = MarketStatus.INITIALIZED
        venue.markets[market.ticker] = market
        if market.exchange_index:
            venue.ledger.shards[market.ticker] = market.exchange_index
        self._schedule(market, now_ms)
        self._tell(market, "created")

    def activate(self, market: MarketState) -> None:
        """Open a market, silently the first time; one that was paused loses its resting orders."""
        self._require(market, MarketStatus.INITIALIZED, MarketStatus.INACTIVE)
        was_paused = market.status == MarketStatus.INACTIVE
        if was_paused:
            self._cancel_resting(market, UpdateReason.HALT_CANCEL)
        self._enter(market, MarketStatus.ACTIVE, "activated" if was_paused else "")

    def deactivate(self, market: MarketState) -> None:
        """Pause a market: nothing is placed or amended, what rests may be cancelled."""
        self._require(market, MarketStatus.ACTIVE)
        self._enter(market, MarketStatus.INACTIVE, "deactivated")

    def move_close(self, market: MarketState, close_ms: int) -> None:
        """Set another close time; one that has come already closes at the next tick."""
        self._require(market, *_OPEN)
        if close_ms < market.close_ms and not market.can_close_early:
            raise Refused(409, "conflict", details=f"market {market.ticker} cannot close early")
        market.close_ms = close_ms
        market.updated_ms = self._venue.now_ms
        self._venue.at(close_ms, lambda: self._close_when_due(market))
        self._tell(market, "close_date_updated")

    def close(self, market: MarketState) -> None:
        """Close now; the close time moves when it is early. What rests is cancelled shortly after."""
        self._require(market, *_OPEN)
        if market.close_ms > self._venue.now_ms:
            self.move_close(market, self._venue.now_ms)
        self._closed(market)

    def determine(self, market: MarketState, result: Result, value: int | None = None) -> None:
        """Say how it ended; `value` (1/10 000 dollar for YES) is for scalar results. A determined or disputed result is amended."""
        self._require(market, MarketStatus.CLOSED, *_JUDGED)
        market.settlement_value = _settlement_value(market, result, value)
        market.result = result
        market.determined_ms = self._venue.now_ms
        self._cancel_resting(market, UpdateReason.CLOSE_CANCEL)
        amended = market.status in _JUDGED
        self._venue.at(
            market.determined_ms + market.settlement_timer_ms, lambda: self._settle_when_due(market)
        )
        self._enter(market, MarketStatus.AMENDED if amended else MarketStatus.DETERMINED, "determined")

    def dispute(self, market: MarketState) -> None:
        """Hold the settlement until the result is determined again; silent."""
        self._require(market, MarketStatus.DETERMINED, MarketStatus.AMENDED)
        self._enter(market, MarketStatus.DISPUTED, "")

    def settle(self, market: MarketState) -> None:
        """Pay every position: a dollar per winning contract, or the scalar value; no fee."""
        venue = self._venue
        self._require(market, MarketStatus.DETERMINED, MarketStatus.AMENDED)
        assert market.settlement_value is not None
        market.settled_ms = venue.now_ms
        payouts = venue.ledger.settle(market.ticker, market.settlement_value, venue.now_ms)
        market.open_interest = 0
        self._enter(market, MarketStatus.FINALIZED, "settled")
        for account, subaccount, count, cost, revenue, fees in payouts:
            if venue.switches.settled_positions == "removed":
                del account.positions[subaccount, market.ticker]
            if account.internal:
                continue
            settlement = Settlement(
                account_id=account.account_id,
                subaccount=subaccount,
                ticker=market.ticker,
                result=market.result,
                yes_count=max(0, count),
                yes_cost=cost if count > 0 else 0,
                no_count=max(0, -count),
                no_cost=cost if count < 0 else 0,
                revenue=revenue,
                value=market.settlement_value,
                fee=fees,
                time_ms=venue.now_ms,
            )
            for listener in venue.listeners:
                listener.on_settlement(settlement)

    def set_price_ranges(self, market: MarketState, ranges: list[dict[str, str]], label: str) -> None:
        """Change the price grid of a live market; what rests stays, also off the new grid. Raises NumberError."""
        market.set_ranges(ranges, label)
        market.updated_ms = self._venue.now_ms
        self._tell(market, "price_level_structure_updated")

    def set_title(self, market: MarketState, title: str) -> None:
        """Change the metadata that a market has here."""
        market.title = title
        market.updated_ms = self._venue.now_ms
        self._tell(market, "metadata_updated")

    def start_day(self) -> None:
        """Note the prices with which a UTC day begins, and come back at the next one."""
        for market in self._venue.markets.values():
            market.previous_price = market.last_price
            market.previous_bid = market.book.best(BID) or 0
            market.previous_ask = market.book.best(ASK) or 0
        now_ms = self._venue.clock_ms()
        self._venue.at(now_ms - now_ms % DAY_MS + DAY_MS, self.start_day)

    # ------------------------------------------------------------------ when their time comes

    def _schedule(self, market: MarketState, now_ms: int) -> None:
        at = self._venue.at
        if market.status == MarketStatus.INITIALIZED:
            at(market.open_ms, lambda: self._open_when_due(market))
        if market.status in _OPEN:
            at(market.close_ms, lambda: self._close_when_due(market))
        elif market.status == MarketStatus.CLOSED:
            at(now_ms, lambda: self._cancel_resting(market, UpdateReason.CLOSE_CANCEL))
        elif market.status in _JUDGED:
            at(market.determined_ms + market.settlement_timer_ms, lambda: self._settle_when_due(market))

    def _open_when_due(self, market: MarketState) -> None:
        if market.status == MarketStatus.INITIALIZED and market.open_ms <= self._venue.now_ms:
            self._enter(market, MarketStatus.ACTIVE, "")

    def _close_when_due(self, market: MarketState) -> None:
        if market.status in _OPEN and market.close_ms <= self._venue.now_ms:
            self._closed(market)

    def _settle_when_due(self, market: MarketState) -> None:
        due_ms = market.determined_ms + market.settlement_timer_ms
        waits = market.status in {MarketStatus.DETERMINED, MarketStatus.AMENDED}
        if waits and due_ms <= self._venue.now_ms:
            self.settle(market)

    def _closed(self, market: MarketState) -> None:
        self._venue.at(
            self._venue.now_ms + CLOSE_CANCEL_MS,
            lambda: self._cancel_resting(market, UpdateReason.CLOSE_CANCEL),
        )
        self._enter(market, MarketStatus.CLOSED, "")

    def _cancel_resting(self, market: MarketState, reason: UpdateReason) -> None:
        for side in (BID, ASK):
            for order in list(market.book.orders(side)):
                self._venue.withdraw(order, reason)

    def _require(self, market: MarketState, *statuses: str) -> None:
        if market.status not in statuses:
            raise Refused(
                409,
                "conflict",
                details=f"market {market.ticker} is {market.status}; this takes {' or '.join(sorted(statuses))}",
            )

    def _enter(self, market: MarketState, status: MarketStatus, event_type: str) -> None:
        market.status = status
        market.updated_ms = self._venue.now_ms
        self._tell(market, event_type)

    def _tell(self, market: MarketState, event_type: str) -> None:
        for listener in self._venue.listeners:
            listener.on_market_state(market)
            if event_type:
                listener.on_market(market, event_type)


def _settlement_value(market: MarketState, result: Result, value: int | None) -> int:
    """Return what one YES is worth. Raises Refused for a result that the market cannot have."""
    if result == "scalar":
        if market.market_type != "scalar" or value is None or not 0 <= value <= DOLLAR:
            raise Refused(
                400, "bad_request", details="scalar takes a scalar market and a value from 0 to 1 dollar"
            )
        return value
    if result not in {"yes", "no"} or value not in {None, DOLLAR if result == "yes" else 0}:
        raise Refused(400, "bad_request", details=f"result {result!r} with value {value} is no result")
    return DOLLAR if result == "yes" else 0
