"""C100-C104: what the exchange said before SIGKILL is still true after it."""

from __future__ import annotations

import asyncio
import json

import httpx
from soloist_kalshi.endpoint import tls_context
from soloist_kalshi.orders import Accepted, NotSent, Rejected, Unknown

from tests.conformance.cards import DEADLINE_MS, order, place
from tests.support import eventually

TICKER = "SIM-STATIC-1"


async def test_c100_kill_in_the_middle_of_a_burst(start_exchange):
    """Four accounts trade at once with each other and the makers; the exchange is killed while requests are under way.

    Every reply that was given holds: order and position are there, an id is used up. What got no reply happened once or not at all.
    """
    exchange = start_exchange()
    accounts = [exchange.create_account(f"burst-{number}") for number in range(4)]
    outcomes: list[tuple[int, object, object]] = []
    enough = asyncio.Event()

    async def trade(number, demo):
        async with exchange.orders(demo.signer) as client:
            for turn in range(10):
                side, price = [("bid", "0.50"), ("ask", "0.50"), ("bid", "0.51"), ("ask", "0.49")][
                    (turn + number) % 4
                ]
                wanted = order(TICKER, side, price, "2.00", self_trade_prevention_type="maker")
                outcomes.append((number, wanted, await place(client, wanted)))
                if len(outcomes) >= 15:
                    enough.set()

    async def kill():
        await enough.wait()
        exchange.kill()

    await asyncio.gather(kill(), *(trade(number, demo) for number, demo in enumerate(accounts)))
    assert any(isinstance(outcome, Unknown | NotSent) for _, _, outcome in outcomes), "it was killed too late"
    before = {number: {} for number in range(4)}
    for number, wanted, outcome in outcomes:
        if isinstance(outcome, Accepted):
            before[number][wanted.client_order_id] = outcome
    exchange.restart()
    assert exchange.admin("conservation") == {"difference": 0, "unpaired": {}}
    sent = {
        number: {w.client_order_id for n, w, o in outcomes if n == number and not isinstance(o, NotSent)}
        for number in before
    }
    for number, demo in enumerate(accounts):
        async with exchange.rest(demo.signer) as reads, exchange.orders(demo.signer) as orders:
            listed = {row.client_order_id: row for row in await reads.list_orders(subaccount=0)}
            assert set(before[number]) <= set(listed) <= sent[number]
            fills = await reads.list_fills(subaccount=0)
            for client_order_id, outcome in before[number].items():
                row = listed[client_order_id]
                assert row.order_id == outcome.order_id
                assert int(float(row.fill_count_fp) * 100) >= outcome.fill_count
                filled = sum(float(fill.count_fp) for fill in fills if fill.order_id == row.order_id)
                assert f"{filled:.2f}" == row.fill_count_fp
            net = sum(float(f.count_fp) * (1 if f.book_side == "bid" else -1) for f in fills)
            positions = await reads.list_positions(subaccount=0)
            assert f"{net:.2f}" == (positions[0].position_fp if positions else "0.00")
            for client_order_id in list(listed)[:1]:
                again = await place(orders, order(TICKER, "bid", "0.30", client_order_id=client_order_id))
                assert isinstance(again, Rejected)
                assert again.code == "order_already_exists"


async def test_c101_everything_about_an_account_survives(start_exchange):
    exchange = start_exchange()
    demo = exchange.create_account("demo")
    async with exchange.rest(demo.signer) as reads, exchange.orders(demo.signer) as orders:
        kept = await reads.generate_api_key("kept")
        gone = await reads.generate_api_key("gone")
        await reads.delete_api_key(gone.api_key_id)
        await place(orders, order(TICKER, "bid", "0.51", "10.37"))
        rests = await place(orders, order(TICKER, "ask", "0.60", "20.00"))
        away = await place(orders, order(TICKER, "bid", "0.30"))
        await orders.cancel(away.order_id, market_ticker=TICKER, subaccount=0, deadline_ms=DEADLINE_MS)

        async def everything():
            return [
                (await reads.get_balance(subaccount=0)).balance_dollars,
                await reads.list_orders(subaccount=0),
                await reads.list_fills(subaccount=0),
                await reads.list_positions(subaccount=0),
                [(key.api_key_id, key.name) for key in await reads.list_api_keys()],
            ]

        before = await everything()
        assert (kept.api_key_id, "kept") in before[4]
        assert "gone" not in {name for _, name in before[4]}
        exchange.restart()
        assert await everything() == before
        events = [row["kind"] for row in exchange.admin("events", account="demo")["events"]]
        assert events == ["accepted", "filled", "closed", "accepted", "accepted", "closed"]
        cancelled = await orders.cancel(
            rests.order_id, market_ticker=TICKER, subaccount=0, deadline_ms=DEADLINE_MS
        )
        assert cancelled.reduced_by == 2000
        assert exchange.admin("conservation") == {"difference": 0, "unpaired": {}}


async def test_c102_a_resting_order_fills_after_a_restart(start_exchange):
    exchange = start_exchange()
    maker, taker = exchange.create_account("maker"), exchange.create_account("taker")
    async with exchange.orders(maker.signer) as client:
        made = await place(client, order(TICKER, "ask", "0.50", "2.00"))
    exchange.restart()
    async with exchange.orders(taker.signer) as client, exchange.rest(maker.signer) as reads:
        assert (await place(client, order(TICKER, "bid", "0.50", "2.00"))).fill_count == 200
        assert (await reads.get_order(made.order_id)).status == "executed"
    assert exchange.admin("conservation") == {"difference": 0, "unpaired": {}}


async def test_c103_an_order_whose_market_is_gone_is_closed(start_exchange, tmp_path):
    scenario = tmp_path / "markets.yaml"
    two, one = (
        {"name": "m", "markets": [{"ticker": t, "step_ms": 0} for t in names]} for names in ("AB", "A")
    )
    scenario.write_text(json.dumps(two))
    exchange = start_exchange(scenario=str(scenario))
    demo = exchange.create_account("demo")
    async with exchange.orders(demo.signer) as orders, exchange.rest(demo.signer) as reads:
        held = await place(orders, order("B", "bid", "0.60"))
        assert held.fill_count == 100
        made = await place(orders, order("B", "bid", "0.30"))
        scenario.write_text(json.dumps(one))
        exchange.restart()
        assert (await reads.get_order(made.order_id)).status == "canceled"
        gone = await orders.cancel(made.order_id, market_ticker="B", subaccount=0, deadline_ms=DEADLINE_MS)
        assert gone.status == 404
        (position,) = await reads.list_positions(subaccount=0)
        assert (position.ticker, position.position_fp) == ("B", "1.00")
        assert (await reads.get_balance(subaccount=0)).portfolio_value == 0


def test_c104_a_moving_market_conserves_and_writes_nothing_by_itself(start_exchange):
    """The demonstration runs: trades happen, nothing is made or lost, and without users nothing is written."""
    exchange = start_exchange(scenario="demo")
    context = tls_context(exchange.ca_file)

    def trades():
        return len(httpx.get(f"{exchange.rest_url}/markets/trades", verify=context).json()["trades"])

    eventually(lambda: trades() > 5, 10, "five trades")
    assert exchange.admin("conservation") == {"difference": 0, "unpaired": {}}
    assert exchange.admin("events") == {"events": []}
    log = exchange.state_dir / "exchange.sqlite-wal"
    size, seen = log.stat().st_size, trades()
    eventually(lambda: trades() > seen + 3, 10, "three more trades")
    assert log.stat().st_size == size
