"""Fees booked against our model: one line per order that differs, and never a word about one that was not understood."""

import pytest
from soloist_kalshi.fees import FeeTerms, taker_fee
from soloist_trader.core.ledger import Ledger
from soloist_trader.core.records import Booked, FeesAdjusted, Intended, Observed
from soloist_trader.core.units import BID, GOOD_TILL_CANCELED
from soloist_trader.shell.fee_terms import FeeTable
from soloist_trader.shell.fee_watch import TOLERANCE, FeeWatch

PRICE, SIZE = 4_000, 10_000
FEE = taker_fee(PRICE, SIZE)


@pytest.fixture
def world():
    class World:
        def __init__(self):
            self.ledger = Ledger()
            self.table = FeeTable()
            self.table.terms["M"] = FeeTerms("quadratic")
            self.watch = FeeWatch(self.ledger, self.table)

        def take(self, *records):
            for record in records:
                self.ledger.apply(record)
            return [said for said in map(self.watch.take, records) if said]

        def order(self, name="a", market="M", size=SIZE):
            return self.take(
                Intended(
                    1,
                    name,
                    1,
                    "s",
                    market,
                    BID,
                    "entry",
                    PRICE,
                    size,
                    GOOD_TILL_CANCELED,
                    0,
                    reduce_only=False,
                    group="",
                ),
                Observed(2, name, f"order-{name}", 0, closed=False, source="reply"),
            )

        def fill(self, number, fee, *, name="a", market="M", size=SIZE, is_taker=True):
            return self.take(
                Booked(3, f"f{number}", name, f"order-{name}", market, BID, PRICE, size, fee, is_taker, 3)
            )

    return World()


def test_an_order_agrees_up_to_the_tolerance_and_says_one_line_beyond_it(world):
    world.order()
    assert world.fill(1, FEE + TOLERANCE) == []
    assert world.watch.checks == {"agree": 1, "differ": 0, "not_compared": 0}
    world.order("b")
    (said,) = world.fill(2, FEE + TOLERANCE + 1, name="b")
    assert said.startswith("b in M: 1.700001 dollars of fees are booked, our model says 1.680000")
    assert world.watch.difference == 2 * TOLERANCE + 1


def test_an_order_is_judged_once_it_is_settled_and_with_its_own_total(world):
    world.order()
    half = taker_fee(PRICE, SIZE // 2)
    assert world.fill(1, 5 * half, size=SIZE // 2) == [], "more may come, and the order's total"
    assert world.take(
        FeesAdjusted(4, "a", "M", -4 * half),
        Observed(5, "a", "order-a", SIZE // 2, closed=True, source="user_order"),
    ) == []  # fmt: skip
    assert world.watch.checks["agree"] == 1


def test_a_maker_pays_nothing_here_and_a_waiver_is_honoured(world):
    world.order()
    assert world.fill(1, FEE, is_taker=False), "the taker's fee was charged to a maker"
    world.table._waived_until_ms["M"] = 4
    world.order("b")
    assert world.fill(2, 0, name="b") == []


def test_what_cannot_be_compared_is_counted_and_not_said(world):
    world.order(market="NO-TERMS")
    world.fill(1, 999_999, market="NO-TERMS")
    world.order("b")
    world.ledger.apply(Booked(3, "earlier", "b", "order-b", "M", BID, PRICE, SIZE // 2, 0, True, 3))  # noqa: FBT003
    assert world.fill(2, 999_999, name="b", size=SIZE // 2) == []
    assert world.watch.checks == {"agree": 0, "differ": 0, "not_compared": 2}
