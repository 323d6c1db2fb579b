"""What a market pays when it is decided: binary and scalar (sections 6, 7 and 12)."""

from __future__ import annotations

import pytest

from tests.conformance.cards import card, connected


@pytest.fixture
async def pair(desks):
    """Two accounts that traded 10 contracts with each other at 0.50: (who holds YES, who holds NO)."""
    yes, no = await desks(), await desks()
    await no.ask("0.50", "10.00")
    assert (await yes.bid("0.50", "10.00")).fill_count == 1000
    return yes, no


async def cents(desk):
    return (await desk.reads.get_balance(subaccount=0)).balance


def decide(exchange, ticker, result, **fields):
    exchange.market(ticker, "determine", result=result, **fields)
    exchange.market(ticker, "settle")


@pytest.mark.parametrize(("result", "yes_gets", "no_gets"), [("yes", 1000, 0), ("no", 0, 1000)])
@card("C139", section="12", title="Binary: one dollar per winning contract, nothing per losing one, no fee")
async def test_a_binary_settlement(exchange, pair, result, yes_gets, no_gets):
    yes, no = pair
    before = [await cents(yes), await cents(no)]
    decide(exchange, yes.ticker, result)
    after = [await cents(yes), await cents(no)]
    assert [now - then for now, then in zip(after, before, strict=True)] == [yes_gets, no_gets]
    assert exchange.admin("conservation")["difference"] == 0


@card(
    "C140",
    section="7",
    title="A settlement is listed with counts, costs, result and revenue in cents",
)
async def test_the_list_of_settlements(exchange, pair):
    yes, no = pair
    decide(exchange, yes.ticker, "yes")
    (won,) = await yes.reads.list_settlements(subaccount=0)
    assert (won.ticker, won.market_result, won.revenue) == (yes.ticker, "yes", 1000)
    assert won.value in {100, None}  # cents per YES, or null: the sources do not say which for yes and no
    assert (won.yes_count_fp, won.yes_total_cost_dollars) == ("10.00", "5.000000")
    assert (won.no_count_fp, won.no_total_cost_dollars) == ("0.00", "0.000000")
    (lost,) = await no.reads.list_settlements(subaccount=0)
    assert (lost.market_result, lost.revenue, lost.no_count_fp) == ("yes", 0, "10.00")
    assert lost.no_total_cost_dollars == "5.000000"
    assert won.event_ticker == lost.event_ticker


@card("C141", section="12", title="Scalar: YES gets the value, NO the rest of the dollar, in whole cents")
async def test_a_scalar_settlement(exchange, desks, new_ticker):
    yes, no = await desks(), await desks()
    yes.ticker = no.ticker = new_ticker("scalar")
    await no.ask("0.50", "10.00")
    await yes.bid("0.50", "10.00")
    before = [await cents(yes), await cents(no)]
    decide(exchange, yes.ticker, "scalar", settlement_dollars="0.37")
    after = [await cents(yes), await cents(no)]
    assert [now - then for now, then in zip(after, before, strict=True)] == [370, 630]
    (row,) = await yes.reads.list_settlements(subaccount=0)
    assert (row.market_result, row.revenue, row.value) == ("scalar", 370, 37)
    market = await yes.reads.get_market(yes.ticker)
    assert (market.result, market.status) == ("scalar", "finalized")
    assert market.settlement_value_dollars is not None
    assert float(market.settlement_value_dollars) == 0.37


@card(
    "C142",
    section="12",
    title="Scalar payouts of fractions are rounded to cents, and nothing appears or vanishes",
)
async def test_a_scalar_settlement_of_fractions(exchange, desks, new_ticker):
    yes, no = await desks(), await desks()
    yes.ticker = no.ticker = new_ticker("scalar")
    await no.ask("0.50", "0.33")
    await yes.bid("0.50", "0.33")
    before = [await yes.balance(), await no.balance()]
    decide(exchange, yes.ticker, "scalar", settlement_dollars="0.37")
    after = [await yes.balance(), await no.balance()]
    gains = [round((float(now) - float(then)) * 1_000_000) for now, then in zip(after, before, strict=True)]
    assert all(gain % 10_000 == 0 for gain in gains)
    assert gains[0] == 120_000
    assert exchange.admin("conservation")["difference"] == 0


@card(
    "C143",
    section="6",
    title="determined: the result is known, nothing is paid; settled: it is paid, the market is finalized",
)
async def test_determined_then_settled(exchange, pair):
    yes, _ = pair
    before = await cents(yes)
    exchange.market(yes.ticker, "determine", result="yes")
    market = await yes.reads.get_market(yes.ticker)
    assert (market.status, market.result) == ("determined", "yes")
    assert await cents(yes) == before
    exchange.market(yes.ticker, "settle")
    market = await yes.reads.get_market(yes.ticker)
    assert (market.status, market.result) == ("finalized", "yes")
    assert market.settlement_ts is not None
    (found,) = await yes.reads.get_markets(tickers=[yes.ticker], status="settled")
    assert found.ticker == yes.ticker


@card("C144", section="13.4", title="determined tells result and value, settled the time")
async def test_the_events_of_a_settlement(exchange, pair):
    yes, _ = pair
    async with connected(exchange, yes.account.signer) as socket:
        await socket.sid(socket.client.subscribe(["market_lifecycle_v2"]), "market_lifecycle_v2")
        decide(exchange, yes.ticker, "yes")
        seen = await socket.until(
            lambda: (
                (
                    rows := {
                        raw["msg"]["event_type"]: raw["msg"]
                        for raw in socket.raw
                        if raw["type"] == "market_lifecycle_v2"
                    }
                ).keys()
                >= {"determined", "settled"}
                and rows
            ),
            "determined and settled",
        )
    assert seen["determined"]["result"] == "yes"
    assert float(seen["determined"]["settlement_value"]) == 1
    assert isinstance(seen["determined"]["determination_ts"], int)
    assert isinstance(seen["settled"]["settled_ts"], int)


@card("C145", section="6", title="Resting orders end before the payment, and their money comes back")
async def test_resting_orders_before_a_settlement(exchange, desk):
    await desk.bid("0.40", "10.00")
    assert await desk.balance() == "9996.000000"
    decide(exchange, desk.ticker, "no")
    assert await desk.resting() == set()
    assert await desk.balance() == "10000.000000"
    assert await desk.reads.list_settlements(subaccount=0) == []


@card("C146", section="7", title="Settlements are filtered by market, event and time")
async def test_filters_of_settlements(exchange, pair):
    yes, _ = pair
    decide(exchange, yes.ticker, "yes")
    (row,) = await yes.reads.list_settlements(subaccount=0)
    assert await yes.reads.list_settlements(subaccount=0, ticker=yes.ticker) == [row]
    assert await yes.reads.list_settlements(subaccount=0, event_ticker=row.event_ticker) == [row]
    assert await yes.reads.list_settlements(subaccount=0, ticker="OTHER") == []
    hour_ago = exchange.now_ms() // 1000 - 3600
    assert await yes.reads.list_settlements(subaccount=0, max_ts=hour_ago) == []
    assert await yes.reads.list_settlements(subaccount=0, min_ts=hour_ago) == [row]


@card(
    "C147",
    section="16",
    title="A settled position stays in the list with its profit, or by switch leaves it",
    switches=("settled_positions",),
)
async def test_a_settled_position(exchange, pair):
    yes, _ = pair
    decide(exchange, yes.ticker, "yes")
    (held,) = await yes.reads.list_positions(subaccount=0, ticker=yes.ticker)
    assert held.position_fp == "0.00"
    assert float(held.realized_pnl_dollars) == 5
    exchange.switch(settled_positions="removed")
    assert await yes.reads.list_positions(subaccount=0, ticker=yes.ticker) == []
