"""C050-C059: what an account reads about itself agrees to the last unit (section 7), and pages lose nothing (section 3.4)."""

from __future__ import annotations

import pytest
from soloist_kalshi.fees import taker_fee
from soloist_kalshi.numbers import count_from_text, money_from_dollars, price_from_dollars

from tests.conformance.cards import DEADLINE_MS, order, place, signed


@pytest.fixture
async def desk(exchange, account):
    """An account with both of its clients: (account, orders, reads)."""
    demo = account()
    async with exchange.orders(demo.signer) as orders, exchange.rest(demo.signer) as reads:
        yield demo, orders, reads


async def test_c050_fills_fees_position_and_balance_agree(exchange, desk, ticker):
    """Buy over two levels, sell a part, go through zero: money, counts and fees are the sums of the fills."""
    demo, orders, reads = desk
    await place(orders, order(ticker, "bid", "0.53", "1500.00", time_in_force="immediate_or_cancel"))
    await place(orders, order(ticker, "ask", "0.49", "0.37", time_in_force="immediate_or_cancel"))
    await place(orders, order(ticker, "ask", "0.45", "2000.00", time_in_force="immediate_or_cancel"))
    fills = await reads.list_fills(subaccount=0)
    assert len({fill.yes_price_dollars for fill in fills}) > 2
    cash, position, fees = money_from_dollars("10000.00"), 0, 0
    for fill in reversed(fills):
        sign = 1 if fill.book_side == "bid" else -1
        count, price = count_from_text(fill.count_fp), price_from_dollars(fill.yes_price_dollars)
        fee = money_from_dollars(fill.fee_cost)
        assert 0 <= taker_fee(price, count) - fee <= 10_000 or 0 <= fee - taker_fee(price, count) < 10_000
        cash -= sign * price * count + fee
        position += sign * count
        fees += fee
    if position < 0:  # a short position holds a dollar for every contract
        cash += 10_000 * position
    assert position < 0
    (shown,) = await reads.list_positions(subaccount=0)
    balance = await reads.get_balance(subaccount=0)
    assert count_from_text(shown.position_fp) == position
    assert money_from_dollars(shown.fees_paid_dollars) == fees
    assert money_from_dollars(balance.balance_dollars) == cash
    assert cash % 10_000 == 0, "balances move in whole cents"
    totals = await reads.list_orders(subaccount=0)
    assert sum(money_from_dollars(item.taker_fees_dollars) for item in totals) == fees
    assert sum(money_from_dollars(item.maker_fees_dollars) for item in totals) == 0
    # Realised P&L and what is held explain the cash: deposit + realised - cost of what is held - fees.
    realized, cost = (
        money_from_dollars(text) for text in (shown.realized_pnl_dollars, shown.market_exposure_dollars)
    )
    assert money_from_dollars("10000.00") + realized - cost - fees == cash
    (own,) = exchange.account(demo.name)["positions"]
    assert (own["count"], own["fees"]) == (shown.position_fp, shown.fees_paid_dollars)
    assert exchange.admin("conservation") == {"difference": 0, "unpaired": {}}


async def test_c051_the_reply_of_an_order_agrees_with_its_fills(desk, ticker):
    _, orders, reads = desk
    made = await place(orders, order(ticker, "ask", "0.47", "1500.00", time_in_force="immediate_or_cancel"))
    fills = await reads.list_fills(subaccount=0, order_id=made.order_id)
    count = sum(count_from_text(fill.count_fp) for fill in fills)
    paid = sum(count_from_text(fill.count_fp) * price_from_dollars(fill.yes_price_dollars) for fill in fills)
    fees = sum(money_from_dollars(fill.fee_cost) for fill in fills)
    assert len(fills) > 1
    assert made.fill_count == count
    assert abs(made.average_fill_price - paid * 100 / count) <= 1
    assert abs(made.average_fee_paid - fees * 100 / count) <= 1


async def test_c052_maker_and_taker_of_one_trade(exchange, account, ticker):
    maker, taker = account(), account()
    async with exchange.orders(maker.signer) as quotes, exchange.orders(taker.signer) as takes:
        rests = await place(quotes, order(ticker, "ask", "0.50", "4.00"))
        await place(takes, order(ticker, "bid", "0.50", "3.00"))
    async with exchange.rest(maker.signer) as one, exchange.rest(taker.signer) as two:
        (made,), (taken,) = await one.list_fills(subaccount=0), await two.list_fills(subaccount=0)
        assert (made.trade_id, made.is_taker, made.outcome_side, made.fee_cost) == (
            taken.trade_id, False, "no", "0.000000",
        )  # fmt: skip
        assert (taken.is_taker, taken.outcome_side, money_from_dollars(taken.fee_cost)) == (
            True,
            "yes",
            60_000,
        )
        still = await one.get_order(rests.order_id)
        assert (still.status, still.fill_count_fp, still.remaining_count_fp) == ("resting", "3.00", "1.00")
        assert (await one.get_balance(subaccount=0)).balance_dollars == "9998.000000"
        (trade,) = [
            row
            for row in signed(
                exchange, taker.signer, "GET", "/markets/trades", params={"ticker": ticker}
            ).json()["trades"]
            if row["trade_id"] == made.trade_id
        ]
        assert (trade["taker_book_side"], trade["count_fp"], trade["yes_price_dollars"]) == (
            "bid",
            "3.00",
            "0.5000",
        )


async def test_c053_subaccounts_are_apart(desk, ticker):
    _, orders, reads = desk
    refused = await orders.create(order(ticker, "bid", "0.40"), subaccount=3, deadline_ms=DEADLINE_MS)
    assert refused.code == "insufficient_balance"
    assert await reads.list_orders(subaccount=3) == []
    assert (await reads.get_balance(subaccount=3)).balance_dollars == "0.000000"


async def test_c054_orders_come_newest_first_and_in_pages(exchange, desk, ticker):
    demo, orders, _ = desk
    ids = [(await place(orders, order(ticker, "bid", f"0.3{digit}"))).order_id for digit in range(7)]
    seen, cursor, sizes = [], "", []
    while True:
        page = signed(
            exchange, demo.signer, "GET", "/portfolio/orders", params={"limit": "3", "cursor": cursor}
        ).json()
        seen += [row["order_id"] for row in page["orders"]]
        sizes.append(len(page["orders"]))
        cursor = page["cursor"]
        if not cursor:
            break
    assert (seen, sizes, cursor) == (ids[::-1], [3, 3, 1], "")


async def test_c055_pages_lose_nothing_while_orders_go(exchange, desk, ticker):
    """Orders of the first page are cancelled before the second is read: a cursor that counts rows would skip some."""
    demo, orders, _ = desk
    ids = [(await place(orders, order(ticker, "bid", f"0.3{digit}"))).order_id for digit in range(6)]
    resting = {"limit": "3", "status": "resting"}
    first = signed(exchange, demo.signer, "GET", "/portfolio/orders", params=resting).json()
    for row in first["orders"]:
        await orders.cancel(row["order_id"], market_ticker=ticker, subaccount=0, deadline_ms=DEADLINE_MS)
    second = signed(
        exchange, demo.signer, "GET", "/portfolio/orders", params=resting | {"cursor": first["cursor"]}
    ).json()
    assert {row["order_id"] for row in first["orders"] + second["orders"]} == set(ids)


@pytest.mark.parametrize(
    "path", ["/portfolio/orders", "/portfolio/fills", "/portfolio/positions", "/markets", "/markets/trades"]
)
async def test_c056_a_garbage_cursor_is_page_one_and_a_limit_above_the_maximum_is_refused(
    exchange, desk, ticker, path
):
    demo, orders, _ = desk
    await place(orders, order(ticker, "bid", "0.51"))
    first = signed(exchange, demo.signer, "GET", path, params={"limit": "5"})
    for cursor in ("garbage", "-1", "9" * 400, "٣"):
        again = signed(exchange, demo.signer, "GET", path, params={"limit": "5", "cursor": cursor})
        assert (again.status_code, again.json()) == (200, first.json()), cursor
    for limit in ("1001", "many", "-1", "9" * 5000):
        refused = signed(exchange, demo.signer, "GET", path, params={"limit": limit})
        assert refused.status_code == 400
        assert refused.json()["msg"].startswith("Parameter validation failed")


async def test_c057_filters(desk, ticker):
    _, orders, reads = desk
    rests = await place(orders, order(ticker, "bid", "0.40"))
    filled = await place(orders, order(ticker, "bid", "0.51"))
    assert [row.order_id for row in await reads.list_orders(subaccount=0, status="executed")] == [
        filled.order_id
    ]
    assert [row.order_id for row in await reads.list_orders(subaccount=0, status="resting")] == [
        rests.order_id
    ]
    assert await reads.list_orders(subaccount=0, ticker="OTHER") == []
    second = filled.ts_ms // 1000
    assert len(await reads.list_orders(subaccount=0, min_ts=second - 5, max_ts=second + 5)) == 2
    assert await reads.list_orders(subaccount=0, min_ts=second + 60) == []
    assert await reads.list_fills(subaccount=0, max_ts=second - 60) == []
    assert len(await reads.list_fills(subaccount=0, ticker=ticker, order_id=filled.order_id)) == 1


async def test_c058_a_refused_order_leaves_no_trace_in_the_portfolio(desk, ticker):
    _, orders, reads = desk
    assert (await place(orders, order(ticker, "bid", "0.40", "999999.00"))).code == "insufficient_balance"
    assert await reads.list_orders(subaccount=0) == []
    assert await reads.list_positions(subaccount=0) == []


async def test_c059_markets(exchange, desk, ticker):
    _, _, reads = desk
    market = await reads.get_market(ticker)
    assert (market.status, market.yes_bid_dollars, market.yes_ask_dollars) == ("active", "0.4900", "0.5100")
    assert (market.no_bid_dollars, market.no_ask_dollars) == ("0.4900", "0.5100")
    assert market.price_grid().contains(4900)
    assert not market.price_grid().contains(4950)
    assert [row.ticker for row in await reads.get_markets(tickers=[ticker], status="open")] == [ticker]
    assert await reads.get_markets(tickers=[ticker], status="settled") == []
    assert ticker in {row.ticker for row in await reads.get_markets(series_ticker="CARD")}
    assert await reads.get_markets(series_ticker="CAR") == []
    book = await reads.get_orderbook(ticker)
    assert [price for price, _ in book.yes_dollars] == ["0.4500", "0.4600", "0.4700", "0.4800", "0.4900"]
    assert [price for price, _ in book.no_dollars] == ["0.4500", "0.4600", "0.4700", "0.4800", "0.4900"]
    best = await reads.get_orderbook(ticker, depth=1)
    assert [price for price, _ in best.yes_dollars] == ["0.4900"]
