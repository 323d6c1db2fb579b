"""What an account reads about itself agrees to the last unit (section 7)."""

from __future__ import annotations

import pytest
from soloist_kalshi.numbers import count_from_text, money_from_dollars, price_from_dollars

from tests.conformance.cards import card, signed

IOC = {"time_in_force": "immediate_or_cancel"}


@card(
    "C156", section="7", title="Fills, fees, position and balance agree over several levels and through zero"
)
async def test_fills_fees_position_and_balance_agree(exchange, desk):
    await desk.bid("0.53", "1500.00", **IOC)
    await desk.ask("0.49", "0.37", **IOC)
    await desk.ask("0.45", "2000.00", **IOC)
    fills = await desk.reads.list_fills(subaccount=0)
    assert len({fill.yes_price_dollars for fill in fills}) > 2
    cash, position, fees = money_from_dollars("10000.00"), 0, 0
    for fill in reversed(fills):
        sign = 1 if fill.book_side == "bid" else -1
        count, price = count_from_text(fill.count_fp), price_from_dollars(fill.yes_price_dollars)
        cash -= sign * price * count + money_from_dollars(fill.fee_cost)
        position += sign * count
        fees += money_from_dollars(fill.fee_cost)
    assert position < 0
    cash += 10_000 * position  # a short position holds a dollar for every contract
    (shown,) = await desk.reads.list_positions(subaccount=0)
    assert count_from_text(shown.position_fp) == position
    assert money_from_dollars(shown.fees_paid_dollars) == fees
    assert money_from_dollars(await desk.balance()) == cash
    orders = await desk.reads.list_orders(subaccount=0)
    assert sum(money_from_dollars(item.taker_fees_dollars or "0") for item in orders) == fees
    assert sum(money_from_dollars(item.maker_fees_dollars or "0") for item in orders) == 0
    # Realised profit and what is held explain the cash: deposit + realised - cost of what is held - fees.
    realized = money_from_dollars(shown.realized_pnl_dollars)
    held = money_from_dollars(shown.market_exposure_dollars)
    assert money_from_dollars("10000.00") + realized - held - fees == cash
    assert exchange.admin("conservation") == {"difference": 0, "unpaired": {}}


@card("C157", section="8.1", title="The reply of an order agrees with its fills")
async def test_the_reply_agrees_with_the_fills(desk):
    made = await desk.ask("0.47", "1500.00", **IOC)
    fills = await desk.reads.list_fills(subaccount=0, order_id=made.order_id)
    count = sum(count_from_text(fill.count_fp) for fill in fills)
    paid = sum(count_from_text(fill.count_fp) * price_from_dollars(fill.yes_price_dollars) for fill in fills)
    fees = sum(money_from_dollars(fill.fee_cost) for fill in fills)
    assert len(fills) > 1
    assert made.fill_count == count
    assert abs(made.average_fill_price - paid * 100 / count) <= 1
    assert abs(made.average_fee_paid - fees * 100 / count) <= 1


@card("C158", section="7", title="Maker and taker of one trade share its trade id with the public trade")
async def test_maker_and_taker(desks):
    maker, taker = await desks(), await desks()
    rests = await maker.ask("0.50", "4.00")
    await taker.bid("0.50", "3.00")
    (made,) = await maker.reads.list_fills(subaccount=0)
    (taken,) = await taker.reads.list_fills(subaccount=0)
    assert (made.trade_id, made.is_taker, made.outcome_side, made.book_side) == (
        taken.trade_id, False, "no", "ask",
    )  # fmt: skip
    assert (taken.is_taker, taken.outcome_side, taken.book_side) == (True, "yes", "bid")
    assert (made.yes_price_dollars, made.no_price_dollars) == ("0.5000", "0.5000")
    still = await maker.order(rests.order_id)
    assert (still.status, still.fill_count_fp, still.remaining_count_fp) == ("resting", "3.00", "1.00")
    assert await maker.balance() == "9998.000000"
    trades = [trade async for trade in taker.reads.iterate_trades(ticker=taker.ticker)]
    (trade,) = [row for row in trades if row.trade_id == made.trade_id]
    assert (trade.taker_book_side, trade.taker_outcome_side, trade.count_fp, trade.yes_price_dollars) == (
        "bid", "yes", "3.00", "0.5000",
    )  # fmt: skip
    assert trade.is_block_trade is False


@card(
    "C159",
    section="7",
    title="A fill carries no client order id and a time in seconds; both ticker fields agree",
)
async def test_the_fields_of_a_fill(exchange, desk):
    await desk.bid("0.51")
    (fill,) = desk.raw("GET", "/portfolio/fills").json()["fills"]
    assert "client_order_id" not in fill
    assert fill["fill_id"] == fill["trade_id"]
    assert fill["ticker"] == fill["market_ticker"] == desk.ticker
    assert abs(fill["ts"] - exchange.now_ms() // 1000) < 60
    assert fill["subaccount_number"] == 0


@card("C160", section="7", title="Optional fields of an order are left out when they are empty")
async def test_optional_fields_are_left_out(desk):
    await desk.bid("0.40")
    (row,) = desk.raw("GET", "/portfolio/orders").json()["orders"]
    assert not {"expiration_time", "order_group_id"} & set(row)
    assert row["type"] == "limit"


@card(
    "C161",
    section="7",
    title="Orders are filtered by status, market and time; fills by market, order and time",
)
async def test_filters(desk):
    rests = await desk.bid("0.40")
    filled = await desk.bid("0.51")
    orders = desk.reads.list_orders
    assert [row.order_id for row in await orders(subaccount=0, status="executed")] == [filled.order_id]
    assert [row.order_id for row in await orders(subaccount=0, status="resting")] == [rests.order_id]
    assert await orders(subaccount=0, ticker="OTHER") == []
    second = filled.ts_ms // 1000
    assert len(await orders(subaccount=0, min_ts=second - 5, max_ts=second + 5)) == 2
    assert await orders(subaccount=0, min_ts=second + 60) == []
    fills = desk.reads.list_fills
    assert await fills(subaccount=0, max_ts=second - 60) == []
    assert len(await fills(subaccount=0, ticker=desk.ticker, order_id=filled.order_id)) == 1


@card("C162", section="7", title="Orders and fills of an event are found by its ticker")
async def test_filter_by_event(desk, new_ticker):
    desk.ticker = new_ticker("sibling")
    await desk.bid("0.51")
    for path in ("/portfolio/orders", "/portfolio/positions"):
        for event, how_many in (("SIBLINGS", 1), ("NO-SUCH-EVENT", 0)):
            reply = desk.raw("GET", path, params={"event_ticker": event})
            rows = reply.json().get("orders", reply.json().get("market_positions"))
            assert len(rows) == how_many, (path, event)


@card(
    "C163",
    section="7",
    title="Positions are told per market and per event, and can be limited to what is held",
)
async def test_positions(desk):
    await desk.bid("0.51", "2.00")
    await desk.ask("0.49", "2.00")
    every = desk.raw("GET", "/portfolio/positions").json()
    (market,), (event,) = every["market_positions"], every["event_positions"]
    assert (market["ticker"], market["position_fp"]) == (desk.ticker, "0.00")
    assert money_from_dollars(market["realized_pnl_dollars"]) == -40_000
    assert money_from_dollars(event["realized_pnl_dollars"]) == -40_000
    held = desk.raw("GET", "/portfolio/positions", params={"count_filter": "position"}).json()
    assert held["market_positions"] == []
    traded = desk.raw("GET", "/portfolio/positions", params={"count_filter": "total_traded"}).json()
    assert len(traded["market_positions"]) == 1


@card(
    "C164",
    section="7",
    title="balance is the dollars in whole cents, truncated; portfolio_value what is held",
)
async def test_balance_and_portfolio_value(desk):
    await desk.bid("0.51", "0.37")
    shown = await desk.reads.get_balance(subaccount=0)
    assert shown.balance == money_from_dollars(shown.balance_dollars) // 10_000
    assert isinstance(shown.portfolio_value, int)
    assert shown.portfolio_value > 0


@card("C165", section="7", title="The collateral of all resting orders is one sum")
async def test_total_resting_order_value(desk):
    assert await desk.reads.get_total_resting_order_value() == 0
    await desk.bid("0.40", "10.00")
    await desk.ask("0.70", "10.00")
    assert await desk.reads.get_total_resting_order_value() == 400 + 300


@card("C166", section="7", title="Queue positions of several orders come in one call")
async def test_queue_positions_of_several(desk):
    first = await desk.bid("0.40")
    second = await desk.bid("0.40", "2.00")
    rows = await desk.reads.list_queue_positions(subaccount=0, tickers=[desk.ticker])
    assert {row.order_id: row.queue_position_fp for row in rows} == {
        first.order_id: "0.00",
        second.order_id: "1.00",
    }


@pytest.mark.parametrize(
    "path", ["/portfolio/balance", "/portfolio/orders", "/portfolio/fills", "/portfolio/positions"]
)
@card("C167", section="2", title="Portfolio reads need a key", demo=True)
def test_portfolio_reads_need_a_key(exchange, account, path):
    names = ["KALSHI-ACCESS-KEY", "KALSHI-ACCESS-TIMESTAMP", "KALSHI-ACCESS-SIGNATURE"]
    assert signed(exchange, account().signer, "GET", path, without=names).status_code == 401
