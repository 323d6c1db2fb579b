"""What a fill costs at the venue: terms of the market, switches, and the vectors of section 12."""

from __future__ import annotations

import msgspec
import pytest
from soloist_exchange.markets import FeeTerms
from soloist_exchange.orders import ASK, BID, Amendment
from soloist_kalshi.fees import DIRECT_PRECISION, INDIRECT_PRECISION, FeeAccumulator, taker_fee

from tests.unit.soloist_exchange.bare_venues import START_MS, BareWorld

FINE = [{"start": "0.0000", "end": "1.0000", "step": "0.0001"}]


def world_with(fee=None, **switches):
    world = BareWorld("M", fee=fee or FeeTerms())
    world.venue.set_price_ranges("M", FINE, "any")
    world.venue.switches = msgspec.structs.replace(world.venue.switches, **switches)
    for account_id in (100, 101):
        world.account(account_id)
    return world


def fees(world, *, is_taker=True):
    return [fill.fee for fill in world.tape.fills if fill.is_taker is is_taker]


def lift(world, price, *counts):
    """Have one order of account 100 filled by several resting ones."""
    for count in counts:
        world.order(101, ASK, price, count)
    return world.order(100, BID, price, sum(counts))


def test_the_recorded_fill_and_the_recorded_balance():
    """1 @ 0.52 cost 0.0175 on the wire (section 12); only a direct member's precision shows that."""
    world = world_with()
    lift(world, 5200, 100)
    assert fees(world) == [17_500]
    assert world.venue.ledger.accounts[100].cash[0, 0] == 1_000_000_000 - 520_000 - 17_500
    world = world_with(fee_precision="indirect")
    lift(world, 5200, 100)
    assert fees(world) == [20_000]


@pytest.mark.parametrize(
    ("price", "count", "multiplier", "trade_fee", "net"),
    [
        (550, 100, 233, 8_500, [15_000, 5_000, 15_000]),
        (5000, 30, 77, 4_100, [10_000, 0, 10_000]),
        (3301, 3, 100, 500, [10_097, 97, 97]),
    ],
)
def test_the_documentations_vectors(price, count, multiplier, trade_fee, net):
    """Whole cents. The multipliers are those at which the rate of 0.07 gives the trade fees that the documentation starts from."""
    terms = FeeTerms(multiplier=multiplier)
    assert terms.trade_fee(price, count, 100, is_taker=True) == trade_fee
    world = world_with(terms, fee_precision="indirect")
    made = lift(world, price, count, count, count)
    assert fees(world) == net
    assert made.taker_fees == sum(net) == world.venue.ledger.accounts[100].position(0, "M").fees
    world.venue.recount()


@pytest.mark.parametrize(
    ("choice", "precision"), [("direct", DIRECT_PRECISION), ("indirect", INDIRECT_PRECISION)]
)
def test_fees_of_a_fill_are_the_venues_per_order(choice, precision):
    """The accumulator goes along with the order, from fill to fill."""
    world = world_with(fee_precision=choice)
    prices = (5010, 5100, 5231)
    for price in prices:
        world.order(101, ASK, price, 33)
    made = world.order(100, BID, 5300, 99)
    expected = FeeAccumulator(precision)
    assert fees(world) == [expected.charge(-price * 33, taker_fee(price, 33)) for price in prices]
    assert made.fee_carry == expected.carried > 0
    assert world.venue.ledger.fees == sum(fill.fee for fill in world.tape.fills)


def test_the_accumulator_carries_from_the_taker_to_the_maker_part():
    world = world_with(FeeTerms("quadratic_with_maker_fees"), fee_precision="indirect")
    world.order(101, ASK, 5010, 33)
    order = world.order(100, BID, 5010, 66)
    carried = order.fee_carry
    assert carried > 0
    world.order(101, ASK, 5010, 33)
    expected = FeeAccumulator(INDIRECT_PRECISION, carried)
    maker_trade_fee = -(-175 * 33 * 5010 * 4990 * 10_000 // (10**12 * 100)) * 100
    assert order.maker_fees == expected.charge(-5010 * 33, maker_trade_fee)
    assert order.fee_carry == expected.carried


@pytest.mark.parametrize(
    ("terms", "taker", "maker"),
    [
        (FeeTerms(), 1_750_000, 0),
        (FeeTerms(multiplier=50), 875_000, 0),
        (FeeTerms(multiplier=0), 0, 0),
        (FeeTerms("quadratic_with_maker_fees"), 1_750_000, 437_500),
        (FeeTerms("quadratic_with_maker_fees", 200), 3_500_000, 875_000),
        (FeeTerms("quadratic_with_combo_maker_fees"), 1_750_000, 875_000),
        (FeeTerms("flat"), 1_000_000, 0),
        (FeeTerms("flat", 200), 2_000_000, 0),
    ],
)
def test_the_terms_of_the_market(terms, taker, maker):
    world = world_with(terms)
    lift(world, 5000, 10_000)
    assert (fees(world), fees(world, is_taker=False)) == ([taker], [maker])


def test_the_step_of_a_trade_fee():
    assert FeeTerms().trade_fee(5200, 100, 1, is_taker=True) == 17_472
    assert FeeTerms().trade_fee(5200, 100, 100, is_taker=True) == 17_500
    assert FeeTerms().trade_fee(9900, 100, 100, is_taker=True) == 700
    assert FeeTerms("flat", 33).trade_fee(9900, 1, 100, is_taker=True) == 100
    # 0.000001 shows only where the balance may be that fine: the rounding to 0.0001 comes after it.
    world = world_with(fee_step="0.000001")
    lift(world, 5200, 100)
    assert fees(world) == [17_500]


def test_a_waiver_ends_by_the_clock():
    world = world_with()
    world.venue.markets["M"].fee_waiver_until_ms = START_MS + 1000
    lift(world, 5000, 100)
    world.clock.now_ms += 1000
    lift(world, 5000, 100)
    assert fees(world) == [0, 17_500]


def test_an_amend_that_crosses_pays_as_a_taker():
    world = world_with()
    world.order(101, ASK, 5000, 100)
    order = world.order(100, BID, 4000, 100)
    world.venue.amend(order, Amendment(5000, 100))
    assert (order.taker_fees, order.maker_fees, fees(world)) == (17_500, 0, [17_500])


def test_closing_pays_the_fee_of_a_trade_like_opening():
    world = world_with()
    lift(world, 5200, 100)
    world.order(101, BID, 5200, 100)
    world.order(100, ASK, 5200, 100)
    assert fees(world) == [17_500, 17_500]
    assert world.venue.ledger.accounts[100].cash[0, 0] == 1_000_000_000 - 35_000
    world.venue.recount()
