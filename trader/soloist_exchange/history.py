"""What everybody may know of the past: public trades, one-minute candles, and how far back they reach.

Prices are in 1/10 000 dollar, counts in 1/100 contract. Trades are written with the step that made them. The running minute of a market
is written with its trades; while only its quotes move it is written once a second, and that second is what a kill can lose of it.
"""

from collections.abc import Callable, Iterable

from soloist_exchange.ledger import DOLLAR
from soloist_exchange.listener import Fill
from soloist_exchange.markets import MarketState
from soloist_exchange.orders import ASK, BID
from soloist_exchange.store import Store
from soloist_exchange.store_codec import decode, encode
from soloist_exchange.store_rows import Candle, PublicTrade, Span

__all__ = ["CANDLES_KEPT", "MINUTE_MS", "TRADES_KEPT", "History"]

MINUTE_MS = 60_000
DAY_MS = 24 * 60 * MINUTE_MS
TRADES_KEPT = 100_000
CANDLES_KEPT = 1_000_000
# Old rows go in portions: no step pays for many, and a little more than promised is kept.
PORTION = 1_000
QUOTES_WRITTEN_MS = 1_000


class _Minute:
    """The running candle of one market. `total` is the market's whole volume at its end, `weighted` the sum of price times count."""

    __slots__ = (
        "ask",
        "bid",
        "open_interest",
        "previous",
        "price",
        "start_ms",
        "total",
        "volume",
        "weighted",
    )

    def __init__(self, start_ms: int, bid: int, ask: int, previous: int, total: int, interest: int) -> None:
        self.start_ms = start_ms
        self.bid = [bid] * 4
        self.ask = [ask] * 4
        self.price: list[int] | None = None
        self.previous = previous
        self.volume = 0
        self.weighted = 0
        self.total = total
        self.open_interest = interest

    def quote(self, bid: int, ask: int) -> None:
        _extend(self.bid, bid)
        _extend(self.ask, ask)

    def trade(self, price: int, count: int) -> None:
        if self.price is None:
            self.price = [price] * 4
        else:
            _extend(self.price, price)
        self.volume += count
        self.weighted += price * count

    def encoded(self) -> bytes:
        return encode(
            (
                self.bid,
                self.ask,
                self.price,
                self.previous,
                self.volume,
                self.weighted,
                self.total,
                self.open_interest,
            )
        )

    @classmethod
    def decoded(cls, start_ms: int, encoded: bytes) -> "_Minute":
        made = cls.__new__(cls)
        made.start_ms = start_ms
        (
            made.bid,
            made.ask,
            made.price,
            made.previous,
            made.volume,
            made.weighted,
            made.total,
            made.open_interest,
        ) = decode(encoded)
        return made


class History:
    """See the module. `on_trade` and `on_book` are told by the exchange; `write` puts into the store what they noted."""

    def __init__(self, store: Store, clock_ms: Callable[[], int]) -> None:
        self._store = store
        self._clock_ms = clock_ms
        self._number = store.last_trade()
        self._trades: list[tuple[int, str, str, int, int, int, int]] = []
        self._minutes: dict[str, _Minute] = {}
        self._traded: set[str] = set()
        self._quoted: set[str] = set()
        self._ended: list[tuple[str, int, bytes]] = []
        self._quotes_due_ms = 0
        self._candles_written = 0

    # ------------------------------------------------------------------ what the venue tells

    def on_trade(self, market: MarketState, fill: Fill) -> None:
        """Note a public trade."""
        self._number += 1
        self._trades.append(
            (
                self._number,
                fill.trade_id,
                market.ticker,
                fill.price,
                fill.count,
                fill.order.side,
                fill.time_ms,
            )
        )
        minute = self._minute(market, fill.time_ms, fill.count)
        minute.trade(fill.price, fill.count)
        minute.total = market.volume
        minute.open_interest = market.open_interest
        self._traded.add(market.ticker)

    def on_book(self, market: MarketState) -> None:
        """Note the best quotes of a book that changed."""
        minute = self._minute(market, self._clock_ms(), 0)
        bid, ask = _best(market)
        if bid != minute.bid[3] or ask != minute.ask[3]:
            minute.quote(bid, ask)
            self._quoted.add(market.ticker)

    def _minute(self, market: MarketState, now_ms: int, traded: int) -> _Minute:
        """Return the running minute; one that is over is noted for writing. `traded` is in the market's statistics already."""
        ticker = market.ticker
        minute = self._minutes.get(ticker)
        if minute is None:
            minute = self._recalled(market, now_ms, traded)
        elif now_ms >= minute.start_ms + MINUTE_MS:
            self._ended.append((ticker, minute.start_ms, minute.encoded()))
            last = minute.price[3] if minute.price else minute.previous
            minute = _Minute(
                _floor(now_ms),
                minute.bid[3],
                minute.ask[3],
                last,
                market.volume - traded,
                market.open_interest,
            )
        else:
            return minute
        self._minutes[ticker] = minute
        self._quoted.add(ticker)
        return minute

    def _recalled(self, market: MarketState, now_ms: int, traded: int) -> _Minute:
        """Return the minute that a restart interrupted, or the first one of a market."""
        stored = self._store.candle_before(market.ticker, now_ms + 1)
        bid, ask = _best(market)
        if stored is None:
            return _Minute(_floor(now_ms), bid, ask, 0, market.volume - traded, market.open_interest)
        before = _Minute.decoded(stored[1], stored[2])
        if before.start_ms == _floor(now_ms):
            return before
        last = before.price[3] if before.price else before.previous
        return _Minute(_floor(now_ms), bid, ask, last, market.volume - traded, market.open_interest)

    # ------------------------------------------------------------------ writing

    @property
    def has_news(self) -> bool:
        """Whether there is something that belongs into this step's commit."""
        return bool(self._trades or self._ended) or (
            bool(self._quoted) and self._clock_ms() >= self._quotes_due_ms
        )

    def write(self) -> None:
        """Put what was noted into the store's transaction."""
        if self._trades:
            self._store.save_trades(self._trades)
            if self._number // PORTION != (self._number - len(self._trades)) // PORTION:
                self._store.drop_trades(self._number - TRADES_KEPT)
            self._trades = []
        now_ms = self._clock_ms()
        due = self._traded
        if now_ms >= self._quotes_due_ms:
            due |= self._quoted
            self._quotes_due_ms = now_ms + QUOTES_WRITTEN_MS
            self._quoted = set()
        else:
            self._quoted -= due
        rows = self._ended + [
            (ticker, self._minutes[ticker].start_ms, self._minutes[ticker].encoded()) for ticker in due
        ]
        self._ended, self._traded = [], set()
        if rows:
            self._store.save_candles(rows)
            self._candles_written += len(rows)
            if self._candles_written >= PORTION:
                self._store.drop_candles(CANDLES_KEPT)
                self._candles_written = 0

    # ------------------------------------------------------------------ reads

    def trades(
        self,
        ticker: str = "",
        before: int | None = None,
        from_ms: int | None = None,
        to_ms: int | None = None,
        limit: int = 100,
    ) -> list[PublicTrade]:
        """Return public trades, newest first: below the number `before`, from `from_ms` to `to_ms` (both included)."""
        if self._trades:
            self._flush()
        return self._store.trades(ticker, before, from_ms, to_ms, limit)

    def candles(self, ticker: str, start_ms: int, end_ms: int, period_ms: int) -> list[Candle]:
        """Return a market's candles whose periods end from `start_ms` to `end_ms` (both included), oldest first.

        `period_ms` is whole minutes; periods begin at its multiples since 1970, in UTC. Periods in which nothing happened are left out.
        """
        assert period_ms % MINUTE_MS == 0
        first_ms = -(-start_ms // period_ms) * period_ms - period_ms
        return _merged(ticker, self._between(ticker, first_ms, end_ms // period_ms * period_ms), period_ms)

    def latest_candle(self, ticker: str, start_ms: int, period_ms: int) -> Candle | None:
        """Return the last candle before those that `candles` returns for `start_ms`, None when nothing happened before."""
        end_ms = -(-start_ms // period_ms) * period_ms - period_ms
        last = self._before(ticker, end_ms)
        if last is None:
            return None
        begin_ms = last.start_ms // period_ms * period_ms
        return _merged(ticker, self._between(ticker, begin_ms, end_ms), period_ms)[-1]

    def volume_24h(self, ticker: str) -> int:
        """Return what was traded in a market in the last 24 hours, to the minute and as far back as candles are kept (1/100 contract)."""
        now_ms = self._clock_ms()
        last = self._before(ticker, now_ms + 1)
        if last is None:
            return 0
        before = self._before(ticker, _floor(now_ms - DAY_MS))
        return last.total - (before.total if before else 0)

    def _before(self, ticker: str, start_ms: int) -> _Minute | None:
        running = self._minutes.get(ticker)
        if running is not None and running.start_ms < start_ms:
            return running
        if self._ended:
            self._flush()
        row = self._store.candle_before(ticker, start_ms)
        return None if row is None else _Minute.decoded(row[1], row[2])

    def _between(self, ticker: str, start_ms: int, end_ms: int) -> list[_Minute]:
        if self._ended:
            self._flush()
        running = self._minutes.get(ticker)
        found = [
            _Minute.decoded(begin_ms, encoded)
            for _, begin_ms, encoded in self._store.candles(ticker, start_ms, end_ms)
            if running is None or begin_ms != running.start_ms
        ]
        if running is not None and start_ms <= running.start_ms < end_ms:
            found.append(running)
        return found

    def _flush(self) -> None:
        self._store.begin()
        self.write()


def _best(market: MarketState) -> tuple[int, int]:
    bid, ask = market.book.best(BID), market.book.best(ASK)
    return 0 if bid is None else bid, DOLLAR if ask is None else ask


def _floor(time_ms: int) -> int:
    return time_ms // MINUTE_MS * MINUTE_MS


def _extend(span: list[int], value: int) -> None:
    """Take a value into open, low, high, close."""
    if value < span[1]:
        span[1] = value
    elif value > span[2]:
        span[2] = value
    span[3] = value


def _merged(ticker: str, minutes: Iterable[_Minute], period_ms: int) -> list[Candle]:
    periods: dict[int, list[_Minute]] = {}
    for minute in minutes:
        periods.setdefault(minute.start_ms // period_ms * period_ms, []).append(minute)
    return [_candle(ticker, start_ms, period_ms, group) for start_ms, group in periods.items()]


def _candle(ticker: str, start_ms: int, period_ms: int, minutes: list[_Minute]) -> Candle:
    traded = [minute for minute in minutes if minute.price is not None]
    volume = sum(minute.volume for minute in traded)
    return Candle(
        ticker=ticker,
        start_ms=start_ms,
        end_ms=start_ms + period_ms,
        bid=_span([minute.bid for minute in minutes]),
        ask=_span([minute.ask for minute in minutes]),
        price=_span([minute.price for minute in traded if minute.price]) if traded else None,
        mean=sum(minute.weighted for minute in traded) // volume if volume else None,
        previous=minutes[0].previous or None,
        volume=volume,
        open_interest=minutes[-1].open_interest,
    )


def _span(parts: list[list[int]]) -> Span:
    return Span(parts[0][0], min(part[1] for part in parts), max(part[2] for part in parts), parts[-1][3])
