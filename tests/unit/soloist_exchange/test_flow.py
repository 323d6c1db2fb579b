from __future__ import annotations

import hashlib

import pytest
from soloist_exchange.flow import INFORMED_ACCOUNT, LATE_MS, MOVES_PER_STEP, RIVAL_ACCOUNT, Flow
from soloist_exchange.listener import Listener
from soloist_exchange.matching import Book
from soloist_exchange.orders import ASK, BID
from soloist_exchange.scenario import SCENARIOS, Scenario
from soloist_exchange.scenario_grids import STRUCTURES, cent_grid, grid, price_ranges

from tests.unit.soloist_exchange.bare_venues import BareWorld
from tests.unit.soloist_exchange.exchange_venues import World

FAST = {"step_ms": 100, "move_percent": 60, "trade_percent": 50}


def tape(seed, steps=300):
    world = World(SCENARIOS["demo"], seed)
    world.account(100)
    for turn in range(steps):
        world.run(1)
        if turn % 50 == 10:
            world.order(100, BID, 5000, 100, ticker="SIM-WIND")
    return "\n".join(world.tape.lines).encode()


def markets(*plans, **fields):
    return Scenario.model_validate({"name": "x", "markets": list(plans), **fields})


def lively(**fields):
    return World(markets({"ticker": "A", **FAST, **fields}))


def book(world, ticker="A"):
    levels = world.venue.markets[ticker].book.levels
    return levels(BID), levels(ASK)


def volume(world, account_id, ticker="A"):
    account = world.venue.ledger.accounts[account_id]
    held = account.positions.get((0, ticker))
    return held.volume if held else 0


def test_the_same_seed_gives_the_same_tape_byte_for_byte():
    assert tape(7) == tape(7)


def test_another_seed_gives_another_tape():
    assert tape(7) != tape(8)


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    ("name", "digest"),
    [("demo", "aa1d36505a43a402"), ("quiet", "ec2db28bad1584d7"), ("static", "8c5893a6535cd435")],
)
def test_a_seed_means_the_same_markets_as_ever(name, digest):
    """What the books did in 300 seconds of seed 7; other suites and figures were made with these markets."""
    world = World(SCENARIOS[name], 7)
    world.run(3000, 100)
    lines = [line for line in world.tape.lines if line.startswith("book ")]
    assert hashlib.sha256("\n".join(lines).encode()).hexdigest().startswith(digest)


def test_another_market_does_not_change_the_others():
    plans = list(SCENARIOS["demo"].markets)
    alone, together = (World(Scenario(name="x", markets=markets)) for markets in (plans[:1], plans))
    lines = []
    for world in (alone, together):
        world.run(200)
        lines.append([line for line in world.tape.lines if line.startswith("book SIM-RAIN")])
    assert lines[0] == lines[1]


@pytest.mark.timeout(60)
def test_the_demonstration_stays_within_reach_and_is_never_crossed():
    world = World(SCENARIOS["demo"])
    trades = 0
    for _ in range(3_000):
        world.run(1, step_ms=40)
        for market in world.flow._markets.values():
            assert abs(market.middle - market.anchor) <= market.plan.reach_ticks
        trades += sum(line.startswith("trade") for line in world.tape.lines)
        world.tape.lines.clear()
        world.flow._markets["SIM-RAIN"].state.book.check()
    for market in world.flow._markets.values():
        market.state.book.check()
        assert market.state.volume > 0
    assert trades > 300
    world.venue.recount()
    assert world.venue.orders == {}
    assert world.flow.desk.refused == 0


def test_many_markets_do_not_keep_the_loop():
    """A step ends after a bounded number of moves and says that more is due."""
    world = World(
        markets(*[{"ticker": f"M{n}", "step_ms": 100, "levels": 1} for n in range(3 * MOVES_PER_STEP)])
    )
    world.clock.now_ms += 100
    moved = 0
    while (due_ms := world.flow.step()) <= world.clock():
        moved += 1
    assert moved == 3
    assert due_ms > world.clock()


def test_a_long_pause_is_left_out():
    world = World(SCENARIOS["demo"])
    world.run(1)
    world.tape.lines.clear()
    world.clock.now_ms += 3_600_000
    due_ms = world.flow.step()
    assert due_ms > world.clock() - LATE_MS
    assert len(world.tape.lines) < 1_000


def test_a_still_scenario_is_never_due():
    assert World(SCENARIOS["static"]).flow.step() is None


# ---------------------------------------------------------------------- who trades


class Trades(Listener):
    """Every public trade of one participant: the step, the side and the price."""

    def __init__(self, account_id):
        self.account_id = account_id
        self.step = 0
        self.seen = []

    def on_trade(self, market, fill):
        del market
        if fill.order.account_id == self.account_id:
            self.seen.append((self.step, fill.order.side, fill.price))


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_informed_trader_buys_below_and_sells_above_the_price_that_comes(seed):
    ahead = 5
    world = World(markets({"ticker": "A", **FAST, "informed": {"ahead_steps": ahead}}), seed)
    trades = Trades(INFORMED_ACCOUNT)
    world.venue.listeners.append(trades)
    middles = []
    for step in range(1000):
        trades.step = step
        world.run(1)
        middles.append(world.flow._markets["A"].middle)
    edges = [
        side * (cent_grid().ticks[middles[step + ahead]] - price)
        for step, side, price in trades.seen
        if step + ahead < len(middles)
    ]
    assert len(edges) > 20
    assert min(edges) >= 0
    assert sum(edges) > 0


def test_he_trades_ahead_of_news_that_has_a_time():
    news = {"ticks": 20, "at_ms": [2000], "pull_ms": 300}
    still = {"step_ms": 100, "move_percent": 0, "trade_percent": 0}
    world = World(
        markets({"ticker": "A", **still, "news": news, "informed": {"ahead_steps": 5, "percent": 100}})
    )
    middle = world.flow._markets["A"].middle
    world.run(14)
    assert volume(world, INFORMED_ACCOUNT) == 0
    world.run(5)
    assert volume(world, INFORMED_ACCOUNT) > 0
    assert world.flow._markets["A"].middle == middle
    world.run(2)
    assert abs(world.flow._markets["A"].middle - middle) == 20


def test_makers_are_away_after_news_and_come_back_at_another_price():
    world = lively(move_percent=0, trade_percent=0, news={"ticks": 10, "at_ms": [1000], "pull_ms": 500})
    world.run(9)
    before = book(world)
    world.run(2)
    assert book(world) == ([], [])
    world.run(10)
    (bid, _), *_ = book(world)[0]
    assert abs(bid - before[0][0][0]) == 1000


def test_news_by_chance_comes_now_and_then():
    world = lively(news={"ticks": 10, "per_mille": 20, "pull_ms": 200})
    empty = 0
    for _ in range(2000):
        world.run(1)
        empty += book(world) == ([], [])
    assert 20 < empty < 400


@pytest.mark.parametrize(
    ("sides", "bids", "asks"), [("both", 5, 5), ("bids", 5, 0), ("asks", 0, 5), ("none", 0, 0)]
)
def test_one_sided_and_empty_books(sides, bids, asks):
    world = World(markets({"ticker": "A", "step_ms": 0, "sides": sides}))
    assert tuple(map(len, book(world))) == (bids, asks)


def test_a_crossing_moment_trades_a_level_away_and_is_never_seen_as_a_crossed_book():
    """Bids for YES and NO that add up to a dollar trade: the book that everybody sees is never crossed."""
    world = lively(cross_percent=50, trade_percent=0, move_percent=0)
    moments = 0
    for _ in range(300):
        world.run(1)
        bids, asks = book(world)
        assert not bids or not asks or bids[0][0] < asks[0][0]
        world.venue.markets["A"].book.check()
        moments += any(
            order.account_id == RIVAL_ACCOUNT for order in world.venue.markets["A"].book.orders(BID)
        )
    assert volume(world, RIVAL_ACCOUNT) > 0
    assert moments > 10
    world.venue.recount()


# ---------------------------------------------------------------------- what the venue says


def test_a_paused_market_is_left_alone_and_quoted_again_when_it_is_active():
    world = lively()
    world.run(5)
    sent = world.flow.desk.orders
    world.venue.deactivate("A")
    world.run(20)
    assert world.flow.desk.orders == sent
    world.venue.activate("A")
    assert book(world) == ([], [])
    world.run(1)
    assert len(book(world)[0]) == 5
    assert world.flow.desk.refused == 0


def test_a_still_market_is_quoted_again_too():
    world = World(markets({"ticker": "A", "step_ms": 0}))
    before = [price for price, _ in book(world)[0]]
    world.venue.deactivate("A")
    world.venue.activate("A")
    world.flow.step()
    assert [price for price, _ in book(world)[0]] == before


@pytest.mark.parametrize("kind", ["trading", "exchange"])
def test_nobody_trades_while_the_venue_is_paused(kind):
    world = lively()
    getattr(world.venue, f"pause_{kind}")()
    sent = world.flow.desk.orders
    world.run(20)
    assert (world.flow.desk.orders, world.flow.desk.refused) == (sent, 0)
    getattr(world.venue, f"resume_{kind}")()
    world.run(20)
    assert world.flow.desk.orders > sent
    assert world.flow.desk.refused == 0


def test_a_closed_market_is_not_quoted():
    world = lively()
    world.venue.close("A")
    world.clock.now_ms += 1000
    world.venue.tick()
    world.run(20)
    assert book(world) == ([], [])
    assert world.flow.desk.refused == 0


@pytest.mark.parametrize("label", ["deci_cent", "tapered_deci_cent", "center_deci_edge_centi_cent"])
def test_a_new_grid_is_used_at_once(label):
    world = World(
        markets({"ticker": "A", "step_ms": 0, "start_dollars": "0.11", "levels": 6, "spread_ticks": 2})
    )
    world.venue.set_price_ranges("A", price_ranges(label), label)
    world.flow.step()
    bids, asks = book(world)
    ticks = grid(label).ticks
    best = ticks.index(bids[0][0])
    assert [price for price, _ in bids] == list(ticks[best - 5 : best + 1])[::-1]
    assert asks[0][0] == ticks[best + 2]


def test_a_grid_that_changes_while_makers_are_away_is_used_when_they_come_back():
    world = lively(trade_percent=0, news={"ticks": 5, "at_ms": [1000], "pull_ms": 1000})
    world.run(15)
    assert book(world) == ([], [])
    world.venue.set_price_ranges("A", price_ranges("deci_cent"), "deci_cent")
    world.run(20)
    bids, _ = book(world)
    assert [bids[0][0] - price for price, _ in bids] == [0, 10, 20, 30, 40]
    assert world.flow.desk.refused == 0


@pytest.mark.parametrize("label", list(STRUCTURES))
def test_every_grid_is_traded_on(label):
    ticker = f"GRID-{label.upper().replace('_', '-')}"
    plan = next(item for item in SCENARIOS["grids"].plans if item.ticker == ticker)
    world = World(Scenario(name="x", markets=[plan]))
    world.run(600)
    assert world.flow.desk.refused == 0
    assert world.venue.markets[ticker].volume > 0


def test_near_the_edge_the_middle_stays_on_the_grid():
    world = lively(start_dollars="0.98", reach_ticks=45)
    for _ in range(500):
        world.run(1)
        assert 0 <= world.flow._markets["A"].middle < 99
    assert world.flow.desk.refused == 0


# ---------------------------------------------------------------------- markets


def test_a_market_of_the_plan_has_its_event_series_fees_and_times():
    world = World(markets(
        {"ticker": "S-E-1", "event": "S-E", "exchange_index": 2, "close_at_ms": 60_000, "fee_waiver_until_ms": 1000,
         "settlement_timer_ms": 5000, "market_type": "scalar", "can_close_early": False},
        series=[{"ticker": "S", "title": "Sun", "category": "Weather", "tags": ["sky"],
                 "fee": {"kind": "quadratic_with_maker_fees", "multiplier_percent": 50}}],
        events=[{"ticker": "S-E", "title": "Sun today", "mutually_exclusive": True}],
    ))  # fmt: skip
    market = world.venue.markets["S-E-1"]
    start_ms = world.flow.start_ms
    assert (market.series_ticker, market.event_ticker, market.market_type) == ("S", "S-E", "scalar")
    assert (market.fee.kind, market.fee.multiplier) == ("quadratic_with_maker_fees", 50)
    assert (market.open_ms, market.close_ms) == (start_ms, start_ms + 60_000)
    assert (market.fee_waiver_until_ms, market.settlement_timer_ms) == (start_ms + 1000, 5000)
    assert (market.exchange_index, market.can_close_early) == (2, False)
    assert world.venue.series["S"].tags == ("sky",)
    assert world.venue.events["S-E"].mutually_exclusive


@pytest.mark.timeout(60)
def test_a_life_in_a_few_minutes():
    """Markets of the scenario `life` appear, open, pause, change their grid, close, are determined and settle."""
    world = World(SCENARIOS["life"])
    seen = {}
    end_ms = world.clock() + 6 * 60_000
    while world.clock() < end_ms:
        world.flow.step()
        world.venue.tick()
        for ticker, market in world.venue.markets.items():
            states = seen.setdefault(ticker, [])
            if not states or states[-1] != market.status:
                states.append(str(market.status))
        world.clock.now_ms += 200
    whole = ["initialized", "active", "inactive", "active", "closed", "determined", "finalized"]
    assert seen["LIFE-1"] == whole
    assert seen["LIFE-2"] == ["initialized", "active", "closed", "determined", "finalized"]
    assert world.venue.markets["LIFE-SCALAR-1"].settlement_value == 3700
    assert world.venue.markets["LIFE-1"].label == "tapered_deci_cent"
    assert "LIFE-12" in seen
    assert "LIFE-14" not in seen
    assert world.flow.script.refused == 0
    world.venue.recount()


def test_a_market_from_before_a_restart_is_taken_as_it_is():
    """The state file brings markets back first, perhaps on another grid and in another state; the plan's participants go on in them."""
    before = World(markets({"ticker": "A", "start_dollars": "0.55"}, {"ticker": "B"}))
    coarse = [{"start": "0.0000", "end": "1.0000", "step": "0.1000"}]
    before.venue.set_price_ranges("A", coarse, "ten_cents")
    before.venue.deactivate("B")
    after = BareWorld()
    for market in before.venue.markets.values():
        market.book = Book()
        after.venue.add_market(market)
    flow = Flow(after.venue, markets({"ticker": "A", "start_dollars": "0.55"}, {"ticker": "B"}), 1)
    flow.begin()
    assert [price for price, _ in after.venue.markets["A"].book.levels(BID)] == [5000, 4000, 3000, 2000, 1000]
    assert after.venue.markets["B"].book.levels(BID) == []
    assert flow.desk.refused == 0
