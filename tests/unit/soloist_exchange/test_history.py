from __future__ import annotations

import pytest
from soloist_exchange import history
from soloist_exchange.orders import ASK, BID, TimeInForce
from soloist_exchange.store_rows import Span

from tests.unit.soloist_exchange.exchange_starts import Starts
from tests.unit.soloist_exchange.exchange_venues import START_MS, still

MINUTE = 60_000
HOUR = 60 * MINUTE
DAY = 24 * HOUR
FIRST = START_MS // MINUTE * MINUTE + MINUTE


@pytest.fixture
def starts(tmp_path):
    """Two markets without participants; the test's two accounts trade with each other."""
    made = Starts(tmp_path, still("M", "N"))
    yield made
    made.stop()


@pytest.fixture
def trade(starts):
    """Return a function that trades at a price, at a time after FIRST."""
    buyer, seller = starts.account("buyer"), starts.account("seller")

    def trade(exchange, after_ms, price, count=100, ticker="M", side=BID):
        starts.clock.now_ms = FIRST + after_ms
        maker, taker = (seller, buyer) if side == BID else (buyer, seller)
        starts.send(exchange, maker, -side, price, count, ticker=ticker)
        starts.send(exchange, taker, side, price, count, ticker=ticker, time_in_force=TimeInForce.IMMEDIATE_OR_CANCEL)  # fmt: skip
        exchange.commit()

    return trade


def told(trades):
    return [(row.ticker, row.price, row.count, row.taker_side, row.time_ms - FIRST) for row in trades]


# ---------------------------------------------------------------------- trades


def test_trades_are_told_newest_first_by_market_time_and_page(starts, trade):
    exchange = starts.start()
    trade(exchange, 20_000, 4000, 100)
    trade(exchange, 30_000, 4100, 200, ticker="N", side=ASK)
    trade(exchange, 40_000, 4200, 300)
    for _ in range(2):
        trades = exchange.history.trades
        assert told(trades()) == [
            ("M", 4200, 300, BID, 40_000), ("N", 4100, 200, ASK, 30_000), ("M", 4000, 100, BID, 20_000)
        ]  # fmt: skip
        assert [row.number for row in trades()] == [3, 2, 1]
        assert [row.number for row in trades("M")] == [3, 1]
        assert [row.number for row in trades("M", before=3)] == [1]
        assert [row.number for row in trades(limit=2)] == [3, 2]
        assert [row.number for row in trades(from_ms=FIRST + 30_000, to_ms=FIRST + 30_000)] == [2]
        exchange = starts.start()
    trade(exchange, 50_000, 4300)
    assert [row.number for row in exchange.history.trades()] == [4, 3, 2, 1]


def test_a_trade_is_told_before_it_is_committed_and_gone_when_it_never_was(starts, trade):
    exchange = starts.start()
    trade(exchange, 0, 4000)
    buyer = exchange.account_id("buyer")
    starts.send(exchange, buyer, BID, 4000)
    starts.send(exchange, exchange.account_id("seller"), ASK, 4000)
    assert [row.number for row in exchange.history.trades()] == [2, 1]
    assert [row.number for row in starts.start().history.trades()] == [1]


def test_only_the_newest_trades_are_kept(starts, trade, monkeypatch):
    monkeypatch.setattr(history, "TRADES_KEPT", 20)
    monkeypatch.setattr(history, "PORTION", 10)
    exchange = starts.start()
    for number in range(55):
        trade(exchange, number, 4000)
    numbers = [row.number for row in exchange.history.trades(limit=1000)]
    assert numbers[0] == 55
    assert 20 <= len(numbers) <= 30
    assert numbers == sorted(numbers, reverse=True)
    assert starts.start().history.trades(limit=1)[0].number == 55


# ---------------------------------------------------------------------- candles


def test_a_candle_holds_quotes_trades_and_what_was_before(starts, trade):
    exchange = starts.start()
    buyer, seller = starts.account("b"), starts.account("s")
    trade(exchange, 20_000, 4000, 100)
    trade(exchange, MINUTE + 1_000, 4400, 100)
    trade(exchange, MINUTE + 2_000, 4100, 300)
    starts.send(exchange, buyer, BID, 3000)
    starts.send(exchange, seller, ASK, 8000)
    trade(exchange, MINUTE + 3_000, 4300, 100)
    one, two = exchange.history.candles("M", FIRST, FIRST + 2 * MINUTE, MINUTE)
    assert (one.start_ms, one.end_ms, one.volume, one.previous) == (FIRST, FIRST + MINUTE, 100, None)
    assert (two.start_ms, two.end_ms, two.volume, two.previous) == (
        FIRST + MINUTE,
        FIRST + 2 * MINUTE,
        500,
        4000,
    )
    assert one.price == Span(4000, 4000, 4000, 4000)
    assert two.price == Span(4400, 4100, 4400, 4300)
    assert two.mean == (4400 * 100 + 4100 * 300 + 4300 * 100) // 500
    assert (two.bid.close, two.ask.close) == (3000, 8000)
    assert two.bid.low == 0
    assert (one.open_interest, two.open_interest) == (100, 600)


def test_a_period_counts_when_its_end_is_asked_for(starts, trade):
    exchange = starts.start()
    for minute in (0, 1, 3):
        trade(exchange, minute * MINUTE + 5_000, 4000 + 100 * minute)

    def ends(start_ms, end_ms):
        candles = exchange.history.candles("M", FIRST + start_ms, FIRST + end_ms, MINUTE)
        return [(candle.end_ms - FIRST) // MINUTE for candle in candles]

    assert ends(0, 4 * MINUTE) == [1, 2, 4]
    assert ends(MINUTE, 2 * MINUTE) == [1, 2]
    assert ends(MINUTE + 1, 4 * MINUTE - 1) == [2]
    assert ends(2 * MINUTE + 1, 3 * MINUTE) == []
    assert exchange.history.candles("N", FIRST, FIRST + DAY, MINUTE) == []


def test_long_periods_are_made_of_minutes(starts, trade):
    exchange = starts.start()
    begin = -(-FIRST // HOUR) * HOUR - FIRST
    for minute, price in ((0, 4000), (59, 3000), (60, 5000), (119, 6000)):
        trade(exchange, begin + minute * MINUTE, price)
    one, two = exchange.history.candles("M", FIRST + begin + 1, FIRST + begin + 2 * HOUR, HOUR)
    assert (one.price, two.price) == (Span(4000, 3000, 4000, 3000), Span(5000, 5000, 6000, 6000))
    assert (one.volume, two.volume, two.previous) == (200, 200, 3000)
    assert two.start_ms == FIRST + begin + HOUR


def test_the_latest_candle_before_a_time(starts, trade):
    exchange = starts.start()
    trade(exchange, 5_000, 4000)
    trade(exchange, 3 * MINUTE + 5_000, 4300)
    latest = exchange.history.latest_candle
    assert latest("M", FIRST + MINUTE, MINUTE) is None
    for start_ms in (MINUTE + 1, 2 * MINUTE, 4 * MINUTE):
        assert latest("M", FIRST + start_ms, MINUTE).price.close == 4000
    assert latest("M", FIRST + 9 * MINUTE, MINUTE).price.close == 4300
    assert latest("N", FIRST + 9 * MINUTE, MINUTE) is None


def test_candles_go_on_after_a_restart_in_the_same_minute_and_in_a_later_one(starts, trade):
    exchange = starts.start()
    trade(exchange, 1_000, 4000)
    trade(exchange, 2_000, 4200)
    exchange = starts.start()
    trade(exchange, 3_000, 3900)
    exchange = starts.start()
    trade(exchange, 2 * MINUTE, 4500)
    exchange = starts.start()
    one, two = exchange.history.candles("M", FIRST, FIRST + 3 * MINUTE, MINUTE)
    assert (one.price, one.volume) == (Span(4000, 3900, 4200, 3900), 300)
    assert (two.price, two.volume, two.previous) == (Span(4500, 4500, 4500, 4500), 100, 3900)


def test_quotes_alone_are_written_once_a_second(starts):
    exchange = starts.start()
    buyer = starts.account("buyer")
    starts.clock.now_ms = FIRST
    for number in range(5):
        starts.send(exchange, buyer, BID, 1000 + 100 * number)
        exchange.commit()
    starts.clock.now_ms += 1_000
    exchange.commit()
    (candle,) = starts.start().history.candles("M", FIRST, FIRST + MINUTE, MINUTE)
    assert (candle.bid, candle.price, candle.mean) == (Span(1000, 1000, 1400, 1400), None, None)


def test_only_the_newest_candles_are_kept(starts, trade, monkeypatch):
    monkeypatch.setattr(history, "CANDLES_KEPT", 20)
    monkeypatch.setattr(history, "PORTION", 5)
    exchange = starts.start()
    for minute in range(60):
        trade(exchange, minute * MINUTE, 4000)
    kept = exchange.history.candles("M", FIRST, FIRST + DAY, MINUTE)
    assert 20 <= len(kept) <= 26
    assert kept[-1].start_ms == FIRST + 59 * MINUTE


def test_the_volume_of_a_day_forgets_what_is_older(starts, trade):
    exchange = starts.start()
    trade(exchange, 0, 4000, 100)
    trade(exchange, HOUR, 4000, 30)
    trade(exchange, DAY - MINUTE, 4000, 5)
    day = exchange.history.volume_24h
    assert day("M") == 135
    starts.clock.now_ms = FIRST + DAY + 30 * MINUTE
    assert day("M") == 35
    day = starts.start().history.volume_24h
    assert day("M") == 35
    starts.clock.now_ms = FIRST + 2 * DAY + MINUTE
    assert (day("M"), day("N")) == (0, 0)
