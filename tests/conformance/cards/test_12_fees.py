"""Fees to the last unit, with the vectors of the documentation and of the wire (section 12)."""

from __future__ import annotations

import pytest
from soloist_kalshi.fees import FeeTerms, multiplier_from_number, taker_fee
from soloist_kalshi.numbers import count_from_text, money_from_dollars, price_from_dollars

from tests.conformance.cards import card


async def trade(desks, ticker, price, counts):
    """Let one account take several resting asks with one order: (maker, taker, the taker's fills in their order)."""
    maker, taker = await desks(), await desks()
    maker.ticker = taker.ticker = ticker
    for count in counts:
        await maker.ask(price, count)
    total = sum(count_from_text(count) for count in counts)
    made = await taker.bid(price, f"{total / 100:.2f}")
    assert made.fill_count == total
    fills = await taker.reads.list_fills(subaccount=0)
    return maker, taker, fills[::-1]


def spent(balance):
    return money_from_dollars("10000.00") - money_from_dollars(balance)


@pytest.mark.parametrize(("price", "fee"), [("0.52", "0.017500"), ("0.99", "0.000700")])
@card("C148", section="12", title="Seen on the wire: 1 @ 0.52 cost 0.0175, 1 @ 0.99 cost 0.0007")
async def test_fees_of_the_wire(desks, new_ticker, price, fee):
    _, taker, (fill,) = await trade(desks, new_ticker("empty"), price, ["1.00"])
    assert (fill.fee_cost, fill.is_taker) == (fee, True)
    assert spent(await taker.balance()) == money_from_dollars(price) + money_from_dollars(fee)


@pytest.mark.parametrize(
    ("kind", "price", "count", "net"),
    [
        ("vectora", "0.055", "1.00", ["0.015000", "0.005000", "0.015000"]),
        ("vectorb", "0.50", "0.30", ["0.010000", "0.000000", "0.010000"]),
        ("centi", "0.3301", "0.03", ["0.010097", "0.000097", "0.000097"]),
    ],
)
@card(
    "C149",
    section="12",
    title="The documented vectors: three equal fills of one order in steps of 0.01, with rebates from the accumulator",
    switches=("fee_precision",),
)
async def test_the_documented_vectors(exchange, desks, new_ticker, kind, price, count, net):
    exchange.switch(fee_precision="indirect")
    _, taker, fills = await trade(desks, new_ticker(kind), price, [count] * 3)
    assert [fill.fee_cost for fill in fills] == net
    cost = sum(price_from_dollars(price) * count_from_text(count) for _ in range(3))
    fees = sum(money_from_dollars(text) for text in net)
    assert spent(await taker.balance()) == cost + fees
    assert spent(await taker.balance()) % 10_000 == 0


@card(
    "C150",
    section="12",
    title="The accumulator is an order's own: three orders of one lot get no rebate of each other",
)
async def test_the_accumulator_is_per_order(exchange, desks, new_ticker):
    exchange.switch(fee_precision="indirect")
    ticker = new_ticker("vectora")
    maker, taker = await desks(), await desks()
    maker.ticker = taker.ticker = ticker
    await maker.ask("0.055", "3.00")
    for _ in range(3):
        await taker.bid("0.055", "1.00")
    assert [fill.fee_cost for fill in await taker.reads.list_fills(subaccount=0)] == ["0.015000"] * 3


@card("C151", section="12", title="A direct member's balance moves in steps of 0.0001")
async def test_a_direct_member(desks, new_ticker):
    _, taker, fills = await trade(desks, new_ticker("centi"), "0.3301", ["0.03"] * 3)
    assert spent(await taker.balance()) % 100 == 0
    assert [fill.fee_cost for fill in fills] == ["0.000597"] * 3


@card(
    "C152",
    section="16",
    title="A trade fee is rounded up to 0.0001, or by switch to 0.000001",
    switches=("fee_step",),
)
async def test_the_step_of_a_fee(exchange, desks, new_ticker):
    _, _, (fill,) = await trade(desks, new_ticker("centi"), "0.3301", ["0.01"])
    # 0.003301 + 0.0002 is paid as 0.0036
    assert fill.fee_cost == "0.000299"
    exchange.switch(fee_step="0.000001")
    _, _, (fill,) = await trade(desks, new_ticker("centi"), "0.3301", ["0.01"])
    # 0.003301 + 0.000155 is paid as 0.0035
    assert fill.fee_cost == "0.000199"


@pytest.mark.parametrize(
    ("kind", "taker_pays", "maker_pays"),
    [
        ("empty", "0.017500", "0.000000"),
        ("makerfee", "0.017500", "0.004400"),
        ("combofee", "0.017500", "0.008800"),
        ("halffee", "0.008800", "0.000000"),
        ("nofee", "0.000000", "0.000000"),
    ],
)
@card("C153", section="12", title="Maker fees by fee type, the multiplier, and a fee waiver")
async def test_fee_types(desks, new_ticker, kind, taker_pays, maker_pays):
    maker, _, (taken,) = await trade(desks, new_ticker(kind), "0.50", ["1.00"])
    (made,) = await maker.reads.list_fills(subaccount=0)
    assert (taken.fee_cost, made.fee_cost, made.is_taker) == (taker_pays, maker_pays, False)
    (listed,) = await maker.reads.list_orders(subaccount=0)
    assert listed.maker_fees_dollars in {maker_pays, None}


@card(
    "C154",
    section="12",
    title="The client's own fee model agrees with the venue's, and with the reply's average",
)
async def test_the_clients_fee_model(desk):
    made = await desk.bid("0.53", "1500.00", time_in_force="immediate_or_cancel")
    fills = await desk.reads.list_fills(subaccount=0, order_id=made.order_id)
    assert len(fills) > 1
    fees = 0
    for fill in fills:
        fee = money_from_dollars(fill.fee_cost)
        assert fee == taker_fee(price_from_dollars(fill.yes_price_dollars), count_from_text(fill.count_fp))
        fees += fee
    assert abs(made.average_fee_paid - fees * 100 / made.fill_count) <= 1


@card(
    "C155", section="6", title="A series tells its fee type and multiplier as the client's model needs them"
)
async def test_the_fee_terms_of_a_series(desk, new_ticker):
    for kind, fee_type, multiplier in (
        ("makerfee", "quadratic_with_maker_fees", 1),
        ("halffee", "quadratic", 0.5),
    ):
        market = await desk.reads.get_market(new_ticker(kind))
        event, _ = await desk.reads.get_event(market.event_ticker)
        series = await desk.reads.get_series(event.series_ticker)
        terms = FeeTerms.of(series, event)
        assert (terms.kind, terms.multiplier) == (fee_type, multiplier_from_number(multiplier))
