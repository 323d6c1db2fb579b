"""Cards E1-E12 and E48: one engine process from start to stop, with what can go wrong on the way."""

import json
import random
import re
import subprocess
import time
import urllib.request
from itertools import pairwise

import pytest

from tests.conformance.engine.engine_processes import (
    BIN,
    CLAIM,
    ORDERS_PATH,
    PATIENCE_S,
    TICKERS,
    Bot,
    serving,
)
from tests.support import eventually

pytestmark = pytest.mark.timeout(120)  # a hang, not a budget: each card runs several processes


def wait_orders(bot, count, deadline_s=PATIENCE_S):
    return eventually(
        lambda: len(found := bot.exchange.accepted(bot.account.name)) >= count and found,
        deadline_s,
        lambda: (
            f"{len(bot.exchange.accepted(bot.account.name))} orders accepted\n{bot.log_file.read_text()[-3000:]}"
        ),
    )


def longest_gap_ms(orders):
    return max(after["time_ms"] - before["time_ms"] for before, after in pairwise(orders))


def with_trades(metrics):
    return metrics if "soloist_trades_total{" in metrics else ""


def test_e1_trades_several_times_a_second_and_stops_with_nothing_resting(make_bot):
    bot = make_bot()
    bot.start_and_wait()
    orders = wait_orders(bot, 30)
    assert longest_gap_ms(orders) < 2_000
    assert {order["ticker"] for order in orders} == set(TICKERS)
    pattern = re.compile(rf"s{CLAIM}-3-[0-9a-z]+-[0-9a-z]+")
    assert all(pattern.fullmatch(order["client_order_id"]) for order in orders)
    status = bot.status()
    assert (status["state"], status["ready"], status["mode"], status["epoch"]) == ("ACTIVE", True, "Live", 3)
    assert status["keyId"] == bot.account.key_id
    assert status["fills"]
    assert status["ageMs"] < 1_000
    assert bot.terminate() == 0
    assert bot.logged("Stopped")["proven"] is True
    assert bot.judge() == []
    assert bot.exchange.holdings(bot.account.name)["reserved"] == {}


def test_e2_probes_and_metrics(make_bot):
    bot = make_bot()
    bot.start_and_wait()
    wait_orders(bot, 10)
    for probe in ("/startup", "/health", "/ready"):
        assert b'"ok": true' in bot.get(probe)
    # The snapshot is up to 100 ms old and the scrape a moment later.
    metrics = eventually(lambda: with_trades(bot.get("/metrics").decode()), PATIENCE_S, "no trade counted")
    for name in (
        'soloist_orders_total{outcome="intended"}', "soloist_journal_commit_seconds_bucket", 'soloist_pnl_dollars{kind="net"}',
        "soloist_decision_latency_seconds_count", 'soloist_state{state="ACTIVE"} 1.0', "soloist_epoch 3.0", "soloist_ready 1.0",
    ):  # fmt: skip
        assert name in metrics


@pytest.mark.timeout(180)  # a third of it on an idle machine
def test_e3_ten_kills_never_two_live_orders_in_a_slot_and_money_equal(make_bot):
    bot = make_bot()
    bot.exchange.faults(
        {
            "kind": "reply_lost_after",
            "account": bot.account.name,
            "method": "POST",
            "path": ORDERS_PATH,
            "percent": 8,
        },
        {
            "kind": "reply_lost_before",
            "account": bot.account.name,
            "method": "POST",
            "path": ORDERS_PATH,
            "percent": 4,
        },
        {
            "kind": "error_after",
            "account": bot.account.name,
            "method": "DELETE",
            "path": ORDERS_PATH,
            "percent": 10,
        },
        {"kind": "frame_dropped", "account": bot.account.name, "path": "fill", "percent": 5},
        {"kind": "frame_dropped", "account": bot.account.name, "path": "user_orders", "percent": 5},
    )
    generator = random.Random(7)
    for _ in range(11):
        before = len(bot.exchange.accepted(bot.account.name))
        bot.start_and_wait()
        wait_orders(bot, before + generator.randrange(3, 12), 20)
        time.sleep(generator.random() / 10)  # where in a loop turn the kill falls is the point
        bot.kill()
    bot.exchange.faults()
    bot.start_and_wait()
    wait_orders(bot, len(bot.exchange.accepted(bot.account.name)) + 3)
    assert bot.terminate() == 0
    assert bot.judge() == []
    incarnations = {
        order["client_order_id"].split("-")[2] for order in bot.exchange.accepted(bot.account.name)
    }
    assert len(incarnations) == 12


def test_e4_a_reply_lost_after_the_order_was_taken_makes_no_second_order(make_bot):
    bot = make_bot()
    bot.exchange.faults(
        {
            "kind": "reply_lost_after",
            "account": bot.account.name,
            "method": "POST",
            "path": ORDERS_PATH,
            "times": 3,
        },
        {"kind": "frame_dropped", "account": bot.account.name, "path": "user_orders"},
        {"kind": "frame_dropped", "account": bot.account.name, "path": "fill"},
    )
    bot.start_and_wait()
    eventually(lambda: bot.status()["unsettledOrders"] >= 1, PATIENCE_S, "no order in doubt")
    wait_orders(bot, 12)
    bot.exchange.faults()
    assert bot.terminate() == 0
    assert len([line for line in bot.log() if line["event"] == "OrderUnknown"]) == 3
    assert bot.judge() == []


def test_e5_a_request_lost_before_it_arrived_is_burnt_by_its_own_id(make_bot):
    bot = make_bot()
    bot.exchange.faults(
        {
            "kind": "reply_lost_before",
            "account": bot.account.name,
            "method": "POST",
            "path": ORDERS_PATH,
            "times": 2,
        }
    )
    bot.start_and_wait()
    wait_orders(bot, 12)
    assert bot.terminate() == 0
    unknown = {
        re.search(r"client_order_id='([^']+)'", line["message"])[1]
        for line in bot.log()
        if line["event"] == "OrderUnknown"
    }
    assert len(unknown) == 2
    events = [event for event in bot.exchange.events(bot.account.name) if event["client_order_id"] in unknown]
    accepted = [event for event in events if event["kind"] == "accepted"]
    assert {event["client_order_id"] for event in accepted} == unknown
    assert {event["count"] for event in accepted} == {1}, "the tombstone: 0.01 contract"
    assert {event["price"] for event in accepted} <= {100, 9_900}, "at the worst price"
    assert not [event for event in events if event["kind"] == "filled"]
    assert bot.judge() == []


async def test_e6_a_revoked_key_stops_the_engine(make_bot):
    bot = make_bot()
    bot.start_and_wait()
    wait_orders(bot, 5)
    async with bot.exchange.client(bot.account) as client:
        await client.delete_api_key(bot.account.key_id)
    revoked_ms = time.time_ns() // 1_000_000
    assert bot.wait_exit(10) == 3
    assert bot.logged("Fatal")["reason"] == "KeyRejected"
    assert all(order["time_ms"] <= revoked_ms for order in bot.exchange.accepted(bot.account.name))


async def test_e7_a_rotation_switches_keys_without_a_pause(make_bot):
    bot = make_bot(maximum_hold_seconds=0.3)  # so busy that only the write budget sets the pace
    bot.start_and_wait()
    wait_orders(bot, 5)
    async with bot.exchange.client(bot.account) as client:
        made = await client.generate_api_key("next", "ed25519")
        slots = {1: (bot.account.key_id, bot.account.pem), 2: (made.api_key_id, made.private_key.encode())}
        bot.write_secret(slots)
        eventually(lambda: bot.status()["keyId"] == made.api_key_id, PATIENCE_S, lambda: str(bot.status()))
        assert bot.status()["generation"] == 2
        bot.write_secret({2: slots[2]})
        eventually(
            lambda: any(
                order["key_id"] == made.api_key_id for order in bot.exchange.accepted(bot.account.name)
            ),
            PATIENCE_S,
            "no order",
        )
        await client.delete_api_key(bot.account.key_id)
    last = len(bot.exchange.accepted(bot.account.name))
    orders = wait_orders(bot, last + 10)
    switched = next(index for index, order in enumerate(orders) if order["key_id"] == made.api_key_id)
    assert {order["key_id"] for order in orders[switched:]} == {made.api_key_id}, (
        "the old key signed after the switch"
    )
    assert longest_gap_ms(orders) <= 1_000
    assert bot.terminate() == 0
    assert bot.judge() == []


def test_e8_a_second_engine_on_the_same_state_is_refused(make_bot):
    bot = make_bot()
    bot.start_and_wait()
    first, bot.process = bot.process, None
    bot.start()
    assert bot.wait_exit() == 2
    assert "is in use by another engine" in bot.logged("StateUnusable")["message"]
    bot.process = first
    assert bot.terminate() == 0


def resting(bot):
    return [order for order in bot.status()["orders"] if order["label"] == "working"]


def test_e9_orders_that_an_earlier_process_left_resting_are_cancelled_before_trading(make_bot):
    bot = make_bot(entry="join", take_profit_dollars="0.10", maximum_hold_seconds=60)
    bot.start_and_wait()
    left = eventually(lambda: resting(bot), PATIENCE_S, "nothing rests")
    bot.kill()
    bot.start_and_wait()
    incarnation = bot.status()["incarnation"]
    assert bot.terminate() == 0
    assert bot.judge() == []
    events = bot.exchange.events(bot.account.name)
    ours = {event["client_order_id"]: event["sequence"] for event in events if event["kind"] == "closed"}
    newest = [
        event["sequence"] for event in events if event["kind"] == "accepted" and _is_of(event, incarnation)
    ]
    assert all(ours[order["clientOrderId"]] < min(newest, default=10**9) for order in left)


def _is_of(event, incarnation):
    return int(event["client_order_id"].split("-")[2], 36) == int(incarnation, 16)


def test_e11_with_the_journal_gone_it_adopts_the_position_and_cancels_its_own_orders(make_bot):
    bot = make_bot(take_profit_dollars="0.10", maximum_hold_seconds=60)
    bot.start_and_wait()
    eventually(lambda: len(resting(bot)) >= 3, PATIENCE_S, lambda: str(bot.status()["orders"]))
    bot.kill()
    for path in bot.state.iterdir():
        path.unlink()
    held = {row["ticker"]: row["count"] for row in bot.exchange.holdings(bot.account.name)["positions"]}
    before = len(bot.exchange.accepted(bot.account.name))
    bot.start_and_wait()
    status = bot.status()
    assert (status["recovery"], status["state"]) == ("VenueRecovered", "REDUCING"), (
        "nobody vouches for what it did"
    )
    report = json.loads((bot.state / "recovery-report.json").read_text())
    assert (report["trusted"], len(report["resting"]) >= 3) == (False, True)
    assert "no safety record" in report["reason"]
    assert len([line for line in bot.log() if line["event"] == "OwnOrderFound"]) >= 3
    # How much may differ by now: its old orders filled until they were cancelled, and exits go on while REDUCING.
    positions = {row["market"] for row in status["positions"]}
    assert positions >= {ticker for ticker, count in held.items() if count != "0.00"}
    bot.ctl("resume", "--reason", "read the report")
    assert bot.status_when(lambda now: now["state"] == "ACTIVE")
    wait_orders(bot, before + 3)
    assert bot.terminate() == 0
    assert bot.exchange.holdings(bot.account.name)["reserved"] == {}
    ledger, _ = bot.ledger()
    after = {row["ticker"]: row["count"] for row in bot.exchange.holdings(bot.account.name)["positions"]}
    assert {name: f"{ledger.position(name).count / 100:.2f}" for name in after} == after


def test_e10_paper_trades_without_a_key_and_sends_nothing(make_bot):
    bot = make_bot()
    bot.write_config({}, mode="Paper")
    bot.start_and_wait()
    eventually(lambda: len(bot.status()["fills"]) >= 4, PATIENCE_S, bot.log_file.read_text)
    assert bot.status()["keyId"] == ""
    assert bot.exchange.events(bot.account.name) == []
    bot.kill()
    bot.start_and_wait()
    assert bot.terminate() == 0
    ledger, _ = bot.ledger()
    assert ledger.unsettled_count() == 0


def test_e48_shadow_decides_and_records_and_the_venue_sees_no_order(tmp_path):
    with serving(tmp_path) as exchange:
        bot = Bot(tmp_path, exchange, exchange.account("shadow"))
        try:
            bot.write_config({}, mode="Shadow")
            bot.start_and_wait()
            decided = bot.status_when(lambda status: len(status["orders"]) >= 4)
            assert (decided["mode"], decided["keyId"], decided["fills"]) == ("Shadow", "", [])
            assert bot.terminate() == 0
            assert exchange.events(bot.account.name) == []
            with urllib.request.urlopen(f"{exchange.admin_url}/admin/metrics", timeout=10) as reply:
                asked = re.findall(r'requests_total\{endpoint="([^"]*)"', reply.read().decode())
            assert asked, "it looks at the markets"
            assert not [endpoint for endpoint in asked if "portfolio" in endpoint], (
                "neither orders nor an account"
            )
            ledger, slots = bot.ledger()
            assert len(slots) >= 4, "what it decided is in the journal"
            assert ledger.unsettled_count() == 0
            assert {order.release_code for order in ledger.orders.values()} == {"NotSent"}
        finally:
            bot.close()


def test_e12_the_watchdog_keeps_the_keys_equal_to_the_secret(tmp_path):
    volume, keys = tmp_path / "secret", tmp_path / "keys"

    def publish(version, *generations):
        """As the kubelet does: a new directory, then the link `..data` moved in one step."""
        files = volume / f"..{version}"
        files.mkdir(parents=True)
        for generation in generations:
            (files / f"g{generation}.key-id").write_text(f"key-{generation}")
            (files / f"g{generation}.private-key.pem").write_text("pem")
        link = volume / "..data_tmp"
        link.symlink_to(files.name)
        link.replace(volume / "..data")

    def copied():
        current = keys / "current"
        return (
            sorted(path.name for path in current.iterdir() if "key-id" in path.name)
            if current.exists()
            else []
        )

    publish("1", 1)
    process = subprocess.Popen(
        [BIN / "soloist-trader", "watchdog", "--from", volume, "--to", keys], stdout=subprocess.DEVNULL
    )
    try:
        eventually(lambda: copied() == ["g1.key-id"], PATIENCE_S, lambda: str(copied()))
        publish("2", 1, 2)
        eventually(lambda: copied() == ["g1.key-id", "g2.key-id"], PATIENCE_S, lambda: str(copied()))
        publish("3")
        publish("4", 2)
        eventually(lambda: copied() == ["g2.key-id"], PATIENCE_S, lambda: str(copied()))
        assert {path.stat().st_mode & 0o777 for path in (keys / "current").iterdir()} == {0o400}
    finally:
        process.terminate()
        assert process.wait(timeout=10) == 0
