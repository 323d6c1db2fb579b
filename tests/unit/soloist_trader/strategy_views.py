"""A market as a test shows it to a strategy."""

from soloist_trader.core.strategy import MarketView

TICKS = tuple(range(100, 10_000, 100))
NOW_MS = 1_000_000


def view(**fields):
    shown = MarketView("M")
    shown.now_ms, shown.ticks, shown.volume = NOW_MS, TICKS, 100_000
    shown.bid_price, shown.bid_count, shown.ask_price, shown.ask_count = 4_900, 500, 5_100, 500
    for name, value in fields.items():
        setattr(shown, name, value)
    return shown
