"""A scripted market: prices that swing, and somebody who trades at them."""

from soloist_trader.core import events
from soloist_trader.core.units import ASK, BID

TICKS = tuple(range(100, 10_000, 100))
BEGIN_MS = 1_800_000_000_000
SWING = (0, 1, 2, 3, 4, 3, 2, 1, 0, -1, -2, -3, -4, -3, -2, -1)


def swinging(seconds, *, every_ms=500, step=100, market="M"):
    """The middle goes from 0.46 to 0.54 and back; a trade at the price that is left each time."""
    found = [events.MarketSeen(BEGIN_MS, market, True, 0, TICKS, 0)]  # noqa: FBT003 a tuple's field
    for number in range(seconds * 1_000 // every_ms):
        now_ms = BEGIN_MS + 1 + number * every_ms
        middle = 5_000 + step * SWING[number % len(SWING)]
        rises = SWING[number % len(SWING)] < SWING[(number + 1) % len(SWING)]
        found.append(events.TopChanged(now_ms, market, middle - 100, 500, middle + 100, 500, 1))
        price, side = (middle + 100, BID) if rises else (middle - 100, ASK)
        found.append(events.Traded(now_ms + every_ms // 2, market, price, 900, side))
    return found
