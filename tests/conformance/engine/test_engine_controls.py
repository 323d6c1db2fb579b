"""Cards E13-E22: a person's word, order groups, the watchdog's latch, the difference table, settlements, dead readers."""

import asyncio
import json
import subprocess
import time
import urllib.request
from pathlib import Path

import pytest
import yaml
from soloist_kalshi.messages import CreateOrder
from soloist_kalshi.orders import Accepted, OrderClient
from soloist_trader import config
from soloist_trader.core.evidence import TOMBSTONE_COUNT
from soloist_trader.core.ledger import Ledger
from soloist_trader.core.records import Amended, CashAdjusted, GroupMade, Settled
from soloist_trader.journal.reader import Tail, read_journal
from soloist_trader.shell.latch_file import write_latch
from soloist_trader.shell.service import Options, Service

from tests.conformance.engine.engine_processes import BIN, PATIENCE_S, Bot, serving
from tests.conformance.engine.test_engine_life import resting, wait_orders
from tests.support import eventually

pytestmark = pytest.mark.timeout(120)  # a hang, not a budget: each card runs several processes


def groups(bot):
    """The order groups of the account at the venue: id to whether it is triggered."""
    state = bot.exchange.admin("oracle")
    found = next(row for row in state["accounts"] if row["account"] == bot.account.name)
    return {row["order_group_id"]: row["triggered"] for row in found["groups"]}


def records(bot, kind):
    return [
        record
        for _, _, found in read_journal(bot.state, Tail())
        for record in found
        if isinstance(record, kind)
    ]


def reconcile(bot, *arguments):
    done = subprocess.run(
        [BIN / "soloist-trader", "reconcile", "--config", bot.config, "--keys", bot.keys, "--state-dir", bot.state, *arguments],
        check=False, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    return done.returncode, done.stdout, done.stderr


def test_e13_reduce_triggers_the_open_group_halt_both_and_resume_arms_them(make_bot):
    bot = make_bot(entry="join", take_profit_dollars="0.10", maximum_hold_seconds=60)
    bot.start_and_wait()
    eventually(lambda: resting(bot), PATIENCE_S, "nothing rests")
    ids = {role: group["id"] for role, group in bot.status()["orderGroups"].items()}
    assert groups(bot) == dict.fromkeys(ids.values(), False)

    assert bot.ctl("reduce", "--reason", "look")["latches"] == {"person": ["REDUCING", "tester: look"]}
    eventually(lambda: groups(bot)[ids["open"]], PATIENCE_S, "the open group was not triggered")
    assert groups(bot)[ids["reduce"]] is False, "exits still go"

    assert bot.ctl("halt", "--reason", "enough")["state"] == "HALTED"
    eventually(lambda: all(groups(bot).values()), PATIENCE_S, "the reduce group was not triggered")
    bot.status_when(lambda status: not status["unsettledOrders"])
    assert bot.exchange.holdings(bot.account.name)["reserved"] == {}
    before = len(bot.exchange.accepted(bot.account.name))

    assert bot.ctl("resume", "--reason", "fine")["state"] == "ACTIVE"
    wait_orders(bot, before + 1)
    assert not any(groups(bot).values())
    refused = bot.ctl("resume", "--latch", "risk", "--reason", "x", refused=True)
    assert "nothing holds latch 'risk'" in refused["message"]
    assert "state_hash" in bot.ctl("snapshot", "--reason", "before the upgrade")["snapshot"]

    bot.kill()
    bot.start_and_wait()
    made = {role: group["id"] for role, group in bot.status()["orderGroups"].items()}
    assert set(groups(bot)) == set(made.values()), (
        "the groups of the process before are gone, and two are new"
    )
    assert not set(made.values()) & set(ids.values())
    assert bot.terminate() == 0
    assert [record.group_id for record in records(bot, GroupMade)] == [*ids.values(), *made.values()]
    assert bot.judge() == []


def amended(bot):
    """Amends that the venue took, as the metrics count them."""
    return [line for line in bot.get("/metrics").decode().splitlines() if 'outcome="amended"' in line]


def test_e14_exits_move_by_amend(make_bot):
    bot = make_bot()
    bot.start_and_wait()
    eventually(lambda: amended(bot), PATIENCE_S, "no exit was amended")
    assert bot.terminate() == 0
    assert any(record.taken for record in records(bot, Amended))
    assert bot.judge() == []


def incarnations(bot):
    """Who had orders accepted. What a kill left in doubt is burnt under its own id, also while HALTED, by a tombstone that fills nothing."""
    events = bot.exchange.events(bot.account.name)
    accepted = [event for event in events if event["kind"] == "accepted"]
    burnt = {event["client_order_id"] for event in accepted if event["count"] == TOMBSTONE_COUNT}
    assert not [event for event in events if event["kind"] == "filled" and event["client_order_id"] in burnt]
    return {event["client_order_id"].split("-")[2] for event in accepted}


def test_e15_the_watchdogs_latch_keeps_a_restarted_engine_halted_until_it_is_proven(make_bot):
    bot = make_bot()
    bot.start_and_wait()
    wait_orders(bot, 3)
    bot.kill()
    write_latch(bot.state, "silent for 5 s")
    before = incarnations(bot)
    bot.start_and_wait()
    status = bot.status_when(lambda status: status["state"] == "HALTED")
    assert status["latches"]["watchdog"]["reason"] == "watchdog: silent for 5 s"
    assert (
        "watchdog has proven"
        in bot.ctl("resume", "--latch", "watchdog", "--reason", "x", refused=True)["message"]
    )
    assert incarnations(bot) == before
    write_latch(bot.state, "silent for 5 s", proven=True)
    bot.status_when(lambda status: status["state"] == "ACTIVE")


async def test_e16_the_difference_table_shows_what_a_hand_did_and_changes_nothing(make_bot):
    bot = make_bot()
    bot.start_and_wait()
    wait_orders(bot, 5)
    assert bot.terminate() == 0
    code, table, said = await asyncio.to_thread(reconcile, bot)
    assert (code, table) == (0, ""), said
    async with OrderClient(bot.exchange.rest_url, bot.account.signer, ca_file=bot.exchange.ca_file) as orders:
        by_hand = CreateOrder(
            ticker="SIM-RAIN", side="bid", count="1.00", price="0.9900", time_in_force="immediate_or_cancel",
            self_trade_prevention_type="taker_at_cross", client_order_id="by-hand",
        )  # fmt: skip
        outcome = await orders.create(by_hand, subaccount=0, deadline_ms=5_000)
    assert isinstance(outcome, Accepted)
    assert outcome.fill_count == 100
    before = sorted((path.name, path.stat().st_size) for path in bot.state.iterdir())

    def shown():
        return next(iter([found] if (found := reconcile(bot))[0] == 1 else []), None)

    code, table, said = await asyncio.to_thread(eventually, shown, 10, lambda: str(reconcile(bot)))
    rows = [line.split("\t") for line in table.splitlines()]
    assert ["position", "SIM-RAIN"] in [row[:2] for row in rows if row[-1] == "differs"]
    assert "fill" in [row[0] for row in rows if row[-1] == "foreign"]
    assert "differ" in said
    as_json = json.loads((await asyncio.to_thread(reconcile, bot, "--json", "--all"))[1])
    assert {"kind", "subject", "ours", "venue", "verdict"} == set(as_json[0])
    assert before == sorted((path.name, path.stat().st_size) for path in bot.state.iterdir())


def test_e17_a_settlement_is_booked_and_the_cash_agrees(tmp_path):
    with serving(tmp_path) as exchange:
        bot = Bot(
            tmp_path,
            exchange,
            exchange.account("settled"),
            take_profit_dollars="0.10",
            maximum_hold_seconds=60,
        )
        try:
            bot.start_and_wait()
            held = eventually(
                lambda: next(
                    (row for row in bot.status()["positions"] if row["count"] not in {"0", "0.00"}), None
                ),
                PATIENCE_S,
                bot.log_file.read_text,
            )
            exchange.admin(f"markets/{held['market']}/determine", {"result": "yes"})
            exchange.admin(f"markets/{held['market']}/settle", {})

            def settled():
                bot.ctl("reconcile", "--reason", "a market paid out")
                return records(bot, Settled)

            (record,) = eventually(
                settled, PATIENCE_S, lambda: json.dumps(bot.status(), indent=1), interval_s=0.5
            )
            assert (record.market, record.result, record.value) == (held["market"], "yes", 10_000)
            assert bot.terminate() == 0
            code, table, said = reconcile(bot)
            assert code == 0, table + said
            assert {adjusted.reason for adjusted in records(bot, CashAdjusted)} <= {"OpeningBalance"}
        finally:
            bot.close()


@pytest.mark.parametrize("defect", ["fails", "returns"])
async def test_e18_a_dead_websocket_task_ends_the_engine(make_bot, defect):
    bot = make_bot()
    service = Service(Options(config.load(bot.config), bot.keys, bot.state, "127.0.0.1:0", None, ""))
    running = asyncio.create_task(service.run())
    async with asyncio.timeout(20):
        while not service.gate.intents_in:  # noqa: ASYNC110 the gate tells no event
            await asyncio.sleep(0.05)
        (reader,) = [task for task in service.edge.tasks if task.get_name() == "websocket"]
        if defect == "fails":
            service.edge.port._decoder = None  # a bug of ours in the middle of a frame
        else:
            await service.edge._socket.close()
        with pytest.raises((AttributeError, RuntimeError)):
            await running
    assert reader.done()
    assert service.gate.closed
    assert service.board.snapshot["state"] == "ACTIVE", "it did not end by a latch"


def test_e19_orders_left_on_purpose_are_not_called_proven(make_bot):
    bot = make_bot(entry="join", take_profit_dollars="0.10", maximum_hold_seconds=60)
    document = bot.config.read_text()
    bot.config.write_text(document + "trading: {cancel_on_stop: false}\n")
    bot.start_and_wait()
    eventually(lambda: resting(bot), PATIENCE_S, "nothing rests")
    assert bot.terminate() == 4
    stopped = bot.logged("Stopped")
    assert stopped["proven"] is False
    assert "trading.cancelOnStop is false" in stopped["message"]
    ledger = Ledger()
    for _, _, found in read_journal(bot.state, Tail()):
        for record in found:
            ledger.apply(record)
    left = {order.client_order_id for order in ledger.unsettled()}
    ended = [event for event in bot.exchange.events(bot.account.name) if event["kind"] == "closed"]
    cancelled = {event["client_order_id"] for event in ended if event["status"] == "canceled"}
    assert left
    assert not left & cancelled, "they rest, or filled meanwhile; the stop cancelled none"
    bot.config.write_text(document)
    bot.start_and_wait()
    assert bot.terminate() == 0
    assert bot.judge() == []


def test_e20_the_example_trades_on_a_laptop_without_a_key(engine_exchange, tmp_path):
    """`soloist-exchange serve` and `soloist-trader run --config examples/trader/local.yaml`, on this test's ports."""
    example = Path(__file__).parents[3] / "examples" / "trader" / "local.yaml"
    document = yaml.safe_load(example.read_text())
    document["venue"] |= {
        "rest_url": engine_exchange.rest_url,
        "websocket_url": engine_exchange.websocket_url,
        "ca_file": engine_exchange.ca_file,
    }
    (tmp_path / "local.yaml").write_text(yaml.safe_dump(document))
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(
            [BIN / "soloist-trader", "run", "--config", tmp_path / "local.yaml", "--admin", "127.0.0.1:0"],
            stdout=log, stderr=subprocess.STDOUT,
            env={"HOME": str(tmp_path), "PATH": ""},
        )  # fmt: skip
    log_file = tmp_path / "log"

    def logged(event):
        lines = [json.loads(line) for line in log_file.read_text().splitlines() if line.endswith("}")]
        return next((line for line in lines if line["event"] == event), None)

    def fills():
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/status", timeout=5) as reply:
            return json.load(reply)["fills"]

    try:
        eventually(lambda: logged("Ready"), PATIENCE_S, log_file.read_text)
        port = logged("Serving")["port"]
        traded = eventually(fills, PATIENCE_S, lambda: f"it did not trade:\n{log_file.read_text()[-3000:]}")
        assert traded[0]["market"] in document["markets"]["tickers"]
    finally:
        process.terminate()
    assert process.wait(timeout=20) == 0
    assert (tmp_path / ".local/state/soloist/local").is_dir()


def requests_of(exchange):
    """Requests that an exchange answered, by the venue's road, since it began."""
    with urllib.request.urlopen(f"{exchange.admin_url}/admin/metrics", timeout=10) as reply:
        lines = reply.read().decode().splitlines()
    return sum(int(line.split()[-1]) for line in lines if line.startswith("soloist_exchange_requests_total"))


def test_e21_a_broken_configuration_names_file_field_and_fix_before_anything_connects(tmp_path):
    with serving(tmp_path) as exchange:
        bot = Bot(tmp_path, exchange, exchange.account("broken"))
        try:
            good = bot.config.read_text()
            bot.config.write_text(good.replace("max_open_orders: 20", "max_open_orders: none"))
            bot.start()
            assert bot.wait_exit() == 2
            invalid = bot.logged("ConfigurationInvalid")
            assert [field for field, _ in invalid["problems"]] == ["spec.risk.maxOpenOrders"]
            assert str(bot.config) in invalid["message"]
            assert not bot.state.exists()
            assert requests_of(exchange) == 0
            bot.config.write_text(good)
            bot.start_and_wait()
            assert requests_of(exchange) > 0, "the count would show it"
        finally:
            bot.close()


def test_e22_a_crash_loop_waits_before_it_asks_the_venue_and_can_be_stopped_meanwhile(make_bot):
    bot = make_bot()
    bot.state.mkdir()
    bad = {"epoch": 3, "failures": 9, "at_ms": time.time_ns() // 1_000_000}
    (bot.state / "starts.json").write_text(json.dumps(bad))
    bot.start()
    said = bot.wait_logged("CrashLoopBackOff")
    assert "9 starts in a row ended badly" in said["message"]
    bot.status_when(lambda status: status.get("reason") == "CrashLoopBackOff")
    assert bot.terminate() == 4
    assert "sent nothing and looked at nothing" in bot.logged("Stopped")["message"]
    assert json.loads((bot.state / "starts.json").read_text())["failures"] == 0, "an orderly stop is no crash"
    bot.start_and_wait()
