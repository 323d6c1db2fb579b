"""The life of a market and the pauses of the exchange (section 6)."""

from __future__ import annotations

import msgspec
import pytest
from soloist_exchange.errors import Refused
from soloist_exchange.lifecycle import CLOSE_CANCEL_MS, DAY_MS
from soloist_exchange.markets import MarketStatus
from soloist_exchange.orders import ASK, BID, Amendment, Status, UpdateReason

from tests.unit.soloist_exchange.bare_venues import START_MS, BareWorld

HOUR_MS = 3_600_000
MILLI_RANGES = [{"start": "0.0000", "end": "1.0000", "step": "0.0050"}]


@pytest.fixture
def world():
    made = BareWorld("M", close_ms=START_MS + HOUR_MS, settlement_timer_ms=60_000)
    made.account(100)
    made.account(101)
    yield made
    made.venue.recount()


@pytest.fixture
def market(world):
    return world.venue.markets["M"]


def told(world):
    return [line.split()[-1] for line in world.tape.lines if line.startswith("market M")]


def trade(world, count, price=5000):
    world.order(101, ASK, price, count)
    world.order(100, BID, price, count)


def cash(world, account_id):
    return world.venue.ledger.accounts[account_id].cash[0, 0]


def test_a_market_opens_silently_at_its_time(world):
    later = world.market("L", open_ms=START_MS + 1000, close_ms=START_MS + HOUR_MS)
    assert later.status == MarketStatus.INITIALIZED
    with pytest.raises(Refused, match="400 MARKET_INACTIVE"):
        world.order(100, BID, 5000, 100, ticker="L")
    world.wait(1000)
    assert later.status == MarketStatus.ACTIVE
    assert world.order(100, BID, 5000, 100, ticker="L").status is Status.RESTING
    assert [line for line in world.tape.lines if line.startswith("market L")] == ["market L created"]


def test_a_paused_market_takes_no_orders_and_loses_its_resting_ones_when_it_comes_back(world, market):
    first, second = world.order(100, BID, 4000, 100), world.order(100, BID, 4000, 100)
    world.venue.deactivate("M")
    for refused in (
        lambda: world.order(100, BID, 4000, 100),
        lambda: world.venue.amend(first, Amendment(3000, 100)),
    ):
        with pytest.raises(Refused, match="MARKET_INACTIVE"):
            refused()
    world.venue.cancel(first)
    world.venue.activate("M")
    assert (second.status, second.reason) == (Status.CANCELED, UpdateReason.HALT_CANCEL)
    assert market.book.best(BID) is None
    assert told(world) == ["created", "deactivated", "activated"]


@pytest.mark.parametrize("status", [400, 409])
def test_after_the_close_everything_is_refused_and_shortly_after_orders_are_cancelled(world, market, status):
    world.venue.switches = msgspec.structs.replace(world.venue.switches, market_inactive_status=status)
    order = world.order(100, BID, 4000, 500)
    world.clock.now_ms += HOUR_MS  # before any tick has seen it
    for refused in (
        lambda: world.order(100, BID, 4000, 100),
        lambda: world.venue.cancel(order),
        lambda: world.venue.amend(order, Amendment(3000, 100)),
        lambda: world.venue.decrease(order, to=100),
    ):
        for _ in range(2):
            with pytest.raises(Refused, match=f"{status} MARKET_INACTIVE"):
                refused()
            world.venue.tick()
    assert (market.status, order.status) == (MarketStatus.CLOSED, Status.RESTING)
    world.venue.cancel_all(100, None)
    assert order.status is Status.RESTING
    world.wait(CLOSE_CANCEL_MS)
    assert (order.status, order.reason) == (Status.CANCELED, UpdateReason.CLOSE_CANCEL)
    assert told(world) == ["created"], "closing is silent"


def test_the_close_time_moves(world, market):
    world.venue.move_close("M", START_MS + 2 * HOUR_MS)
    world.wait(HOUR_MS)
    assert market.status == MarketStatus.ACTIVE
    world.venue.move_close("M", world.clock() + 10)
    world.wait(10)
    assert market.status == MarketStatus.CLOSED
    assert told(world) == ["created", "close_date_updated", "close_date_updated"]
    with pytest.raises(Refused, match="409 conflict"):
        world.venue.move_close("M", START_MS)


def test_closing_early_by_hand(world, market):
    market.can_close_early = False
    with pytest.raises(Refused, match="cannot close early"):
        world.venue.close("M")
    assert market.status == MarketStatus.ACTIVE
    market.can_close_early = True
    world.venue.close("M")
    assert (market.status, market.close_ms) == (MarketStatus.CLOSED, world.clock())
    assert told(world) == ["created", "close_date_updated"]


@pytest.mark.parametrize(("result", "paid"), [("yes", (10_000_000, 0)), ("no", (0, 10_000_000))])
def test_a_dollar_for_every_winning_contract_and_no_fee(world, market, result, paid):
    trade(world, 1000, 4000)
    before = [cash(world, account_id) for account_id in (100, 101)]
    fees = world.venue.ledger.fees
    world.venue.close("M")
    world.venue.determine("M", result)
    assert told(world)[-1] == "determined"
    world.venue.settle("M")
    after = [cash(world, account_id) for account_id in (100, 101)]
    assert tuple(b - a for a, b in zip(before, after, strict=True)) == paid
    assert world.venue.ledger.fees == fees
    assert (market.status, market.open_interest, told(world)[-1]) == (MarketStatus.FINALIZED, 0, "settled")
    yes, no = sorted(world.tape.settlements, key=lambda item: item.account_id)
    assert (yes.yes_count, yes.yes_cost, yes.no_count, yes.revenue) == (1000, 4_000_000, 0, paid[0])
    assert (no.yes_count, no.no_count, no.no_cost, no.revenue) == (0, 1000, 6_000_000, paid[1])
    assert (yes.result, yes.value, yes.time_ms) == (result, 10_000 if result == "yes" else 0, world.clock())
    position = world.venue.ledger.accounts[100].position(0, "M")
    assert (position.count, position.cost, position.realized) == (0, 0, paid[0] - 4_000_000)
    world.venue.recount()


def test_scalar_payouts_are_rounded_to_cents_and_the_rest_is_kept_account_of(world):
    world.market("S", market_type="scalar")
    world.order(101, ASK, 5000, 133, ticker="S")
    world.order(100, BID, 5000, 133, ticker="S")
    world.venue.close("S")
    world.venue.determine("S", "scalar", 3_755)
    world.venue.settle("S")
    paid = {item.account_id: item.revenue for item in world.tape.settlements}
    assert paid == {100: 500_000, 101: 830_000}  # 0.499415 and 0.830585 dollars
    assert world.venue.ledger.rounding == 0
    assert world.tape.settlements[0].value == 3_755
    world.market("T", market_type="scalar")
    world.order(101, ASK, 5000, 1, ticker="T")
    world.order(100, BID, 5000, 1, ticker="T")
    world.venue.close("T")
    world.venue.determine("T", "scalar", 5_000)
    world.venue.settle("T")
    assert [item.revenue for item in world.tape.settlements[2:]] == [10_000, 10_000]
    assert world.venue.ledger.rounding == -10_000


def test_it_settles_by_its_timer_unless_it_is_disputed(world, market):
    trade(world, 100)
    world.venue.close("M")
    world.venue.determine("M", "yes")
    world.wait(59_999)
    world.venue.dispute("M")
    world.wait(120_000)
    assert market.status == MarketStatus.DISPUTED
    world.venue.determine("M", "no")
    assert (market.status, market.result) == (MarketStatus.AMENDED, "no")
    world.wait(59_999)
    assert market.status == MarketStatus.AMENDED
    world.wait(1)
    assert (market.status, market.settled_ms) == (MarketStatus.FINALIZED, world.clock())
    assert {item.result for item in world.tape.settlements} == {"no"}


@pytest.mark.parametrize(
    ("result", "value"), [("scalar", 5_000), ("maybe", None), ("", None), ("yes", 5_000), ("no", 10_000)]
)
def test_results_that_a_binary_market_cannot_have(world, market, result, value):
    world.venue.close("M")
    with pytest.raises(Refused, match="bad_request"):
        world.venue.determine("M", result, value)
    assert market.status == MarketStatus.CLOSED


@pytest.mark.parametrize("value", [None, -1, 10_001])
def test_scalar_values_out_of_range(world, value):
    world.market("S", market_type="scalar")
    world.venue.close("S")
    with pytest.raises(Refused, match="bad_request"):
        world.venue.determine("S", "scalar", value)


@pytest.mark.parametrize("call", ["determine", "settle", "dispute", "activate"])
def test_what_an_active_market_cannot_do_yet(world, market, call):
    with pytest.raises(Refused, match="409 conflict"):
        getattr(world.venue, call)("M", *(["yes"] if call == "determine" else []))
    assert market.status == MarketStatus.ACTIVE


def test_a_market_settles_once(world, market):
    trade(world, 100)
    world.venue.close("M")
    world.venue.determine("M", "yes")
    world.venue.settle("M")
    before = cash(world, 100)
    for again in (world.venue.settle, world.venue.close, world.venue.activate, world.venue.deactivate):
        with pytest.raises(Refused, match="409 conflict"):
            again("M")
    world.wait(DAY_MS)
    assert cash(world, 100) == before
    assert len(world.tape.settlements) == 2


@pytest.mark.parametrize("choice", ["kept", "removed"])
def test_settled_positions_stay_or_go(world, choice):
    world.venue.switches = msgspec.structs.replace(world.venue.switches, settled_positions=choice)
    trade(world, 100)
    world.venue.close("M")
    world.venue.determine("M", "yes")
    world.venue.settle("M")
    assert ((0, "M") in world.venue.ledger.accounts[100].positions) == (choice == "kept")


def test_resting_orders_outlive_another_price_grid(world, market):
    order = world.order(100, BID, 4100, 500)
    other = world.order(101, BID, 4100, 500)
    coarse = [{"start": "0.0000", "end": "1.0000", "step": "0.0500"}]
    world.venue.set_price_ranges("M", coarse, "five_cent")
    assert (order.status, market.label, told(world)[-1]) == (
        Status.RESTING, "five_cent", "price_level_structure_updated",
    )  # fmt: skip
    with pytest.raises(Refused, match="invalid_price"):
        world.order(100, BID, 4100, 100)
    world.venue.amend(order, Amendment(4100, 400))
    with pytest.raises(Refused, match="invalid_price"):
        world.venue.amend(order, Amendment(4200, 400))
    assert world.venue.queue_ahead(other) == 400
    world.venue.set_price_ranges("M", MILLI_RANGES, "half_cent")
    assert world.order(100, BID, 4150, 100).status is Status.RESTING


def test_a_trading_pause_lets_cancels_through(world):
    stays, goes = world.order(100, BID, 4000, 500), world.order(100, BID, 4000, 500, cancel_on_pause=True)
    world.venue.pause_trading()
    assert (stays.status, goes.status, goes.reason) == (
        Status.RESTING, Status.CANCELED, UpdateReason.HALT_CANCEL,
    )  # fmt: skip
    with pytest.raises(Refused, match="409 trading_is_paused"):
        world.order(100, BID, 4000, 100)
    with pytest.raises(Refused, match="409 trading_is_paused"):
        world.venue.amend(stays, Amendment(3000, 500))
    world.venue.decrease(stays, to=400)
    assert world.venue.cancel(stays) == 400
    world.venue.resume_trading()
    assert world.order(100, BID, 4000, 100).status is Status.RESTING
    assert world.tape.lines.count("exchange") == 2


def test_an_exchange_pause_lets_nothing_through(world):
    group = world.venue.groups.create(100, 0, 100)
    order = world.order(100, BID, 4000, 500)
    world.venue.pause_exchange()
    venue = world.venue
    for refused in (
        lambda: world.order(100, BID, 4000, 100),
        lambda: venue.cancel(order),
        lambda: venue.amend(order, Amendment(3000, 500)),
        lambda: venue.decrease(order, to=100),
        lambda: venue.cancel_all(100, None),
        lambda: venue.transfer(100, 0, 1, 0, 0, 1),
        lambda: venue.groups.create(100, 0, 100),
        lambda: venue.trigger_group(group),
        lambda: venue.reset_group(group),
        lambda: venue.limit_group(group, 200),
        lambda: venue.delete_group(group),
    ):
        with pytest.raises(Refused, match="409 exchange_is_paused"):
            refused()
    assert (order.status, venue.trading_active, venue.exchange_active) == (Status.RESTING, True, False)
    venue.resume_exchange()
    assert venue.cancel(order) == 500


def test_a_day_begins_with_the_prices_of_the_last(world, market):
    trade(world, 100, 4700)
    world.order(100, BID, 4600, 100)
    assert (market.previous_price, market.previous_bid, market.previous_ask) == (0, 0, 0)
    world.venue.move_close("M", START_MS + 10 * DAY_MS)
    world.wait(DAY_MS)
    assert (market.previous_price, market.previous_bid, market.previous_ask) == (4700, 4600, 0)


def test_a_market_brings_its_event_and_series(world):
    world.market("KX-1-A", event_ticker="KX-1")
    assert world.venue.events["KX-1"].series_ticker == "KX"
    assert world.venue.series["KX"].ticker == "KX"
    with pytest.raises(Refused, match="404"):
        world.venue.settle("UNKNOWN")
