"""Who trades in one market: makers that quote around a wandering middle price, takers, a trader who knows what comes, and news.

Positions on the price grid are indexes of its ticks, so that grids with finer steps near the edges need no care. The order of the
draws is part of the behaviour: a seed means the same market as long as nobody reorders them.
"""

import random
from collections import deque
from typing import NamedTuple

from soloist_kalshi.numbers import price_from_dollars

from soloist_exchange.flow_desk import INFORMED_ACCOUNT, MAKER_ACCOUNT, RIVAL_ACCOUNT, TAKER_ACCOUNT, Desk
from soloist_exchange.markets import MarketState, MarketStatus
from soloist_exchange.orders import ASK, BID, Order, Status, TimeInForce, opposite
from soloist_exchange.scenario_plan import MarketPlan

__all__ = ["CONTRACT", "MarketFlow"]

CONTRACT = 100

_REST = TimeInForce.GOOD_TILL_CANCELED
_AT_ONCE = TimeInForce.IMMEDIATE_OR_CANCEL
_QUOTED = {"both": (BID, ASK), "bids": (BID,), "asks": (ASK,), "none": ()}


class _Coming(NamedTuple):
    """A middle price that is decided, and whether it comes as news."""

    middle: int
    is_news: bool


class MarketFlow:
    """The participants of one market. `middle` and `anchor`, where it started, are indexes of the grid's ticks."""

    __slots__ = (
        "_ahead_ms",
        "_best",
        "_coming",
        "_desk",
        "_grid",
        "_news_ms",
        "_strays",
        "anchor",
        "away_until_ms",
        "middle",
        "plan",
        "quotes",
        "random",
        "state",
    )

    def __init__(self, desk: Desk, plan: MarketPlan, state: MarketState, seed: int, start_ms: int) -> None:
        self._desk = desk
        self.plan = plan
        self.state = state
        # A generator per market: adding a market does not change the others.
        self.random = random.Random(f"{seed}/{plan.ticker}")  # noqa: S311 - a scenario, not a secret
        self._grid = state.grid
        # The nearest one: a market that is older than this process may have another grid by now.
        start = state.grid.round_down(price_from_dollars(plan.start_dollars))
        self.anchor = self.middle = 0 if start is None else state.grid.ticks.index(start)
        # Resting orders of the makers by side times price.
        self.quotes: dict[int, Order] = {}
        # The best bid's index that the quotes are for; None when they must be compared one by one.
        self._best: int | None = None
        self._strays: list[Order] = []
        self.away_until_ms = 0
        # Times of news that are still to come, the latest first.
        self._news_ms = (
            sorted((start_ms + at_ms for at_ms in plan.news.at_ms), reverse=True) if plan.news else []
        )
        self._coming: deque[_Coming] = deque()
        self._ahead_ms = 0
        if plan.informed is not None:
            self._ahead_ms = plan.informed.ahead_steps * plan.step_ms
            for step in range(plan.informed.ahead_steps):
                self._coming.append(self._walk(start_ms + step * plan.step_ms))

    # ------------------------------------------------------------------ what happens

    def move(self, now_ms: int) -> None:
        """Let one step pass. Nothing happens while the market does not trade."""
        if not self._trades(now_ms):
            return
        if self.state.grid is not self._grid:
            self._change_grid()
        known = self._walk(now_ms + self._ahead_ms)
        if self.plan.informed is not None:
            self._coming.append(known)
            known = self._coming.popleft()
        self.middle = known.middle
        if known.is_news and self.plan.news is not None:
            self.pull(now_ms + self.plan.news.pull_ms)
        if now_ms < self.away_until_ms:
            return
        self.quote()
        self._end_strays()
        self._take()
        if self.plan.informed is not None:
            self._take_ahead()
        if self.plan.cross_percent and self.random.randrange(100) < self.plan.cross_percent:
            self._cross()

    def news(self, ticks: int, until_ms: int) -> None:
        """Let the middle price jump, and everything that is known of its future with it; makers come back at a time."""
        self.anchor = self._inside(self.anchor + ticks)
        self.middle = self._inside(self.middle + ticks)
        self._coming = deque(item._replace(middle=self._inside(item.middle + ticks)) for item in self._coming)
        self.pull(until_ms)

    def pull(self, until_ms: int) -> None:
        """Take every quote away until a time."""
        self.away_until_ms = max(self.away_until_ms, until_ms)
        for order in self.quotes.values():
            self._desk.cancel(order)
        # What the venue does not let go now, in a pause of the exchange, is taken away when it trades again.
        self.quotes = {place: order for place, order in self.quotes.items() if order.status is Status.RESTING}
        self._best = None

    def come_back(self, now_ms: int) -> None:
        """Quote if the market trades and makers are not away: after a pull, and for markets that never move by themselves."""
        if self._trades(now_ms) and now_ms >= self.away_until_ms:
            if self.state.grid is not self._grid:
                self._change_grid()
            self.quote()

    def quote(self) -> None:
        """Rest the wanted levels, take away what is not wanted any more, top up what was traded."""
        plan, quotes = self.plan, self.quotes
        full = plan.level_contracts * CONTRACT
        bid = self.middle - plan.spread_ticks // 2
        ask = bid + plan.spread_ticks
        wanted = None if bid == self._best else self._wanted(bid, ask)
        enough = full // 2
        gone = [
            place
            for place, order in quotes.items()
            if order.remaining < enough or (wanted is not None and place not in wanted)
        ]
        if wanted is None:
            if not gone:
                return
            wanted = self._wanted(bid, ask)
        for place in gone:
            self._desk.cancel(quotes.pop(place))
        for place in wanted:
            if place not in quotes:
                size = enough + CONTRACT * self.random.randrange(plan.level_contracts)
                side = BID if place > 0 else ASK
                order = self._desk.place(plan.ticker, MAKER_ACCOUNT, side, abs(place), size, _REST)
                if order is not None and order.status is Status.RESTING:
                    quotes[place] = order
        self._best = bid if len(quotes) == len(wanted) else None

    def order(self, side: int, price: int, contracts: int, life: TimeInForce) -> None:
        """Send an order of a taker."""
        self._desk.place(self.plan.ticker, TAKER_ACCOUNT, side, price, contracts * CONTRACT, life)

    def _trades(self, now_ms: int) -> bool:
        """Whether the venue takes orders now. At its close time a market is over, even if nobody has said so yet."""
        return self.state.status == MarketStatus.ACTIVE and now_ms < self.state.close_ms

    # ------------------------------------------------------------------ the middle price

    def _walk(self, at_ms: int) -> _Coming:
        """Decide the middle price after the last one that is known; it is for a time."""
        plan, generator = self.plan, self.random
        middle = self._coming[-1].middle if self._coming else self.middle
        if generator.randrange(100) < plan.move_percent:
            # It is drawn back the more, the farther it has strayed.
            strayed = middle - self.anchor
            up = generator.randrange(2 * plan.reach_ticks + 1) >= plan.reach_ticks + strayed
            moved = middle + (1 if up else -1)
            if abs(moved - self.anchor) <= plan.reach_ticks:
                middle = self._inside(moved)
        news = plan.news
        if news is None:
            return _Coming(middle, is_news=False)
        is_news = bool(news.per_mille) and generator.randrange(1000) < news.per_mille
        while self._news_ms and self._news_ms[-1] <= at_ms:
            self._news_ms.pop()
            is_news = True
        if is_news:
            jump = news.ticks if generator.randrange(2) else -news.ticks
            self.anchor = self._inside(self.anchor + jump)
            middle = self._inside(middle + jump)
        return _Coming(middle, is_news)

    def _inside(self, index: int) -> int:
        return min(max(index, 0), len(self._grid.ticks) - 1)

    def _change_grid(self) -> None:
        """Find the place of every price on a new grid. Quotes off it go, as a maker would do; the venue itself keeps them."""
        old, new = self._grid.ticks, self.state.grid
        places = {price: index for index, price in enumerate(new.ticks)}

        def moved(index: int) -> int:
            price = new.round_down(old[index])
            return places[new.ticks[0] if price is None else price]

        self.anchor, self.middle = moved(self.anchor), moved(self.middle)
        self._coming = deque(item._replace(middle=moved(item.middle)) for item in self._coming)
        self._grid = new
        self.pull(0)

    # ------------------------------------------------------------------ orders

    def _wanted(self, bid: int, ask: int) -> dict[int, None]:
        """Return the places (side times price) at which quotes belong, best first, the sides in turn."""
        ticks, sides = self._grid.ticks, _QUOTED[self.plan.sides]
        found: dict[int, None] = {}
        for level in range(self.plan.levels):
            for side, index in ((BID, bid - level), (ASK, ask + level)):
                if side in sides and 0 <= index < len(ticks):
                    found[side * ticks[index]] = None
        return found

    def _take(self) -> None:
        generator = self.random
        if generator.randrange(100) >= self.plan.trade_percent:
            return
        side = BID if generator.randrange(2) else ASK
        count = CONTRACT * generator.randint(1, self.plan.trade_contracts)
        ticks = self._grid.ticks
        price = ticks[-1] if side == BID else ticks[0]
        self._desk.place(self.plan.ticker, TAKER_ACCOUNT, side, price, count, _AT_ONCE)

    def _take_ahead(self) -> None:
        """Trade where the coming middle price is beyond the best price, up to that middle price."""
        informed = self.plan.informed
        assert informed is not None
        value = self._grid.ticks[self._coming[-1].middle]
        book = self.state.book
        for side in (BID, ASK):
            best = book.best(opposite(side))
            if best is None or side * (value - best) <= 0:
                continue
            if self.random.randrange(100) < informed.percent:
                count = informed.contracts * CONTRACT
                self._desk.place(self.plan.ticker, INFORMED_ACCOUNT, side, value, count, _AT_ONCE)

    def _cross(self) -> None:
        """Send an order that takes the whole best level of the other side and rests with what is left.

        A crossed book cannot be seen at this venue: when a bid for YES and a bid for NO add up to a dollar or more, they trade. So
        this is what a crossed moment looks like: the level trades away, and in its place stands the other side.
        """
        side = BID if self.random.randrange(2) else ASK
        book = self.state.book
        best = book.best(opposite(side))
        if best is None:
            return
        count = book.level_total(opposite(side), best) + self.plan.level_contracts * CONTRACT // 2
        order = self._desk.place(self.plan.ticker, RIVAL_ACCOUNT, side, best, count, _REST)
        if order is not None:
            self._strays.append(order)

    def _end_strays(self) -> None:
        for order in self._strays:
            self._desk.cancel(order)
        self._strays.clear()
