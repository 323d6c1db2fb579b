"""What the exchange said before SIGKILL is still true after it. These cards start exchanges of their own."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from soloist_kalshi.endpoint import tls_context
from soloist_kalshi.numbers import count_from_text
from soloist_kalshi.orders import Accepted, NotSent, Rejected, Unknown
from soloist_kalshi.signing import Signer

from tests.conformance.cards import card, order, place
from tests.conformance.kit import Desk
from tests.support import eventually

TICKER = "SIM-STATIC-1"


def is_running(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def conserves(exchange):
    return exchange.admin("conservation")["difference"] == 0


@card("C293", section="15", title="An exchange starts, dies, and comes back where it was, with its accounts")
async def test_an_exchange_comes_back(start_exchange):
    exchange = start_exchange()
    demo = exchange.create_account("demo", "123.45")
    before = (exchange.rest_url, exchange.ws_url, exchange.admin_url, exchange.ca_file)
    first = exchange.pid
    exchange.kill()
    assert not is_running(first)
    exchange.restart()
    assert (exchange.rest_url, exchange.ws_url, exchange.admin_url, exchange.ca_file) == before
    async with Desk(exchange, demo, TICKER) as desk:
        assert await desk.balance() == "123.450000"
    second = exchange.pid
    assert exchange.stop() == 0
    assert not is_running(second)


@card(
    "C294",
    section="15",
    title="An exchange that cannot start says why; a second one on one state directory is refused",
)
def test_an_exchange_that_cannot_start(start_exchange):
    with pytest.raises(AssertionError, match="no-such-scenario"):
        start_exchange(scenario="no-such-scenario")
    exchange = start_exchange()
    program = Path(sys.executable).with_name("soloist-exchange")
    addresses = ("--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0")
    second = subprocess.run(
        [program, "serve", *addresses, "--state-dir", exchange.state_dir],
        capture_output=True,
        text=True,
        check=False,
        timeout=20,
    )
    assert second.returncode == 1
    assert "another exchange serves it" in second.stderr
    assert is_running(exchange.pid)


@card("C295", section="15", title="An account made by the command line while it serves can trade at once")
async def test_an_account_by_hand(exchange):
    code, printed, _ = exchange.create_account_by_hand("by-hand", "12.34")
    assert code == 0
    async with exchange.rest(Signer.from_pem(printed["key_id"], printed["private_key"].encode())) as client:
        assert (await client.get_balance(subaccount=0)).balance == 1234
    code, _, complaint = exchange.create_account_by_hand("by-hand", "12.34")
    assert code == 1
    assert "account 'by-hand' exists already" in complaint


@card(
    "C296",
    section="15",
    title="Killed in the middle of a burst: every reply holds, what got none happened once or not at all",
)
async def test_a_kill_in_a_burst(start_exchange):
    """Four accounts trade at once with each other and the makers; the exchange is killed while requests are under way."""
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
    exchange.restart()
    assert conserves(exchange)
    for number, demo in enumerate(accounts):
        mine = [(wanted, outcome) for by, wanted, outcome in outcomes if by == number]
        answered = {
            wanted.client_order_id: outcome for wanted, outcome in mine if isinstance(outcome, Accepted)
        }
        sent = {wanted.client_order_id for wanted, outcome in mine if not isinstance(outcome, NotSent)}
        async with Desk(exchange, demo, TICKER) as desk:
            listed = {row.client_order_id: row for row in await desk.reads.list_orders(subaccount=0)}
            assert set(answered) <= set(listed) <= sent
            fills = await desk.reads.list_fills(subaccount=0)
            for name, row in listed.items():
                filled = sum(
                    count_from_text(fill.count_fp) for fill in fills if fill.order_id == row.order_id
                )
                assert filled == count_from_text(row.fill_count_fp)
                if name in answered:
                    assert row.order_id == answered[name].order_id
                    assert filled >= answered[name].fill_count
            net = sum(count_from_text(f.count_fp) * (1 if f.book_side == "bid" else -1) for f in fills)
            assert net == count_from_text(await desk.position())
            for name in list(listed)[:1]:
                again = await desk.bid("0.30", client_order_id=name)
                assert isinstance(again, Rejected)
                assert again.code == "order_already_exists"


@card(
    "C297",
    section="15",
    title="Money, orders, fills, positions, groups and keys survive SIGKILL to the last unit",
)
async def test_everything_survives(start_exchange):
    exchange = start_exchange()
    async with Desk(exchange, exchange.create_account("demo"), TICKER) as desk:
        kept = await desk.reads.generate_api_key("kept")
        gone = await desk.reads.generate_api_key("gone")
        await desk.reads.delete_api_key(gone.api_key_id)
        group = (await desk.orders.create_group(5000, subaccount=0, deadline_ms=10_000)).order_group_id
        await desk.bid("0.51", "10.37")
        rests = await desk.ask("0.60", "20.00", order_group_id=group)
        away = await desk.bid("0.30")
        await desk.cancel(away.order_id)

        async def everything():
            return [
                await desk.balance(),
                await desk.reads.list_orders(subaccount=0),
                await desk.reads.list_fills(subaccount=0),
                await desk.reads.list_positions(subaccount=0),
                await desk.reads.list_order_groups(subaccount=0),
                [(key.api_key_id, key.name) for key in await desk.reads.list_api_keys()],
            ]

        before = await everything()
        assert (kept.api_key_id, "kept") in before[-1]
        assert "gone" not in {name for _, name in before[-1]}
        exchange.restart()
        assert await everything() == before
        assert (await desk.reads.get_order_group(group, subaccount=0)).orders == [rests.order_id]
        assert (await desk.cancel(rests.order_id)).reduced_by == 2000
        assert conserves(exchange)


@card("C298", section="15", title="The log of accepted orders survives, in order")
async def test_the_log_survives(start_exchange):
    exchange = start_exchange()
    async with Desk(exchange, exchange.create_account("demo"), TICKER) as desk:
        made = [await desk.bid("0.30") for _ in range(3)]
        await desk.cancel(made[0].order_id)
        exchange.restart()
        rows = exchange.admin("accepted-orders", account="demo")["orders"]
        assert [row["client_order_id"] for row in rows] == [item.client_order_id for item in made]
        assert {row["outcome"] for row in rows} == {"accepted"}
        assert {row["key_id"] for row in rows} == {desk.account.key_id}
        kinds = [row["kind"] for row in exchange.admin("events", account="demo")["events"]]
        assert kinds[:3] == ["accepted"] * 3
        assert "closed" in kinds[3:]


@card("C299", section="15", title="A resting order keeps its place over a restart, and fills after it")
async def test_a_resting_order_fills_after_a_restart(start_exchange):
    exchange = start_exchange()
    maker, taker = exchange.create_account("maker"), exchange.create_account("taker")
    async with Desk(exchange, maker, TICKER) as makes, Desk(exchange, taker, TICKER) as takes:
        first = await makes.ask("0.50", "2.00")
        second = await makes.ask("0.50", "2.00")
        exchange.restart()
        assert (await makes.ahead(first.order_id), await makes.ahead(second.order_id)) == (0, 200)
        assert (await takes.bid("0.50", "3.00")).fill_count == 300
        assert (await makes.order(first.order_id)).status == "executed"
        assert (await makes.order(second.order_id)).remaining_count_fp == "1.00"
    assert conserves(exchange)


@card(
    "C300",
    section="15",
    title="A scenario without a market that is held: position, money and oracle stay whole",
)
async def test_a_market_that_the_scenario_forgets(start_exchange, tmp_path):
    scenario = tmp_path / "markets.yaml"
    two, one = (
        {"name": "m", "markets": [{"ticker": t, "step_ms": 0} for t in names]} for names in ("AB", "A")
    )
    scenario.write_text(json.dumps(two))
    exchange = start_exchange(scenario=str(scenario))
    async with Desk(exchange, exchange.create_account("demo"), "B") as desk:
        assert (await desk.bid("0.60")).fill_count == 100
        await desk.bid("0.30")
        before = await desk.balance()
        scenario.write_text(json.dumps(one))
        exchange.restart()
        assert await desk.position() == "1.00"
        held = len(await desk.resting())
        assert await desk.balance() == (before if held else f"{float(before) + 0.3:.6f}")
        assert conserves(exchange)


@card("C301", section="15", title="A lively market trades by itself and conserves money and contracts")
def test_a_lively_market(start_exchange):
    exchange = start_exchange(scenario="demo")

    def trades():
        reply = httpx.get(f"{exchange.rest_url}/markets/trades", verify=tls_context(exchange.ca_file))
        return reply.json()["trades"]

    eventually(lambda: len(trades()) > 5, 15, "five trades")
    assert conserves(exchange)
    assert exchange.admin("accepted-orders") == {"orders": []}
