"""Cards W1-W12: a silent engine is ended and its orders are gone; the venue's log judges."""

import asyncio
import signal
import time

import pytest
from soloist_kalshi.messages import CreateOrder
from soloist_kalshi.orders import Accepted, OrderClient
from soloist_trader.core.identifiers import order_id
from soloist_trader.shell.clock import text_to_ms
from soloist_trader.shell.latch_file import FILE_NAME, Latch, store_latch, write_latch

from tests.conformance.engine.engine_processes import CLAIM, PATIENCE_S
from tests.conformance.engine.test_engine_life import wait_orders
from tests.conformance.engine.watchdog_processes import GROUPS_PATH, ORDERS_PATH, RESTING, WatchedBot
from tests.support import eventually

pytestmark = pytest.mark.timeout(120)  # a hang, not a budget: each card runs several processes
TOMBSTONE_COUNT = 1
NUMBERS = iter(range(1, 1_000))


@pytest.fixture
def make_watched(engine_exchange, tmp_path):
    """Bots with a watchdog each; whatever still runs at the end is killed."""
    bots = []

    def make(**parameters):
        account = engine_exchange.account(f"watched-{next(NUMBERS)}")
        directory = tmp_path / account.name
        directory.mkdir()
        bots.append(WatchedBot(directory, engine_exchange, account, **parameters))
        return bots[-1]

    yield make
    engine_exchange.faults()
    for bot in bots:
        bot.close()


def accepted_after(bot, moment_ms):
    """Orders accepted after a moment. The tombstone of an order in doubt is none: it cannot fill, and it may go while HALTED."""
    orders = bot.exchange.accepted(bot.account.name)
    return [
        o["client_order_id"] for o in orders if o["time_ms"] > moment_ms and o["count"] != TOMBSTONE_COUNT
    ]


def closed_ms(bot, names):
    events = bot.exchange.events(bot.account.name)
    return [e["time_ms"] for e in events if e["kind"] == "closed" and e["client_order_id"] in names]


def far_order(client_order_id):
    """An order that rests: nobody sells at this price."""
    return CreateOrder(
        ticker="SIM-RAIN", side="bid", count="1.00", price="0.0100", time_in_force="good_till_canceled",
        self_trade_prevention_type="taker_at_cross", client_order_id=client_order_id,
    )  # fmt: skip


def rest_far_away(bot):
    """An order of the bot's own that nobody takes: those of its strategy may all fill before the watchdog comes."""

    async def place():
        async with OrderClient(
            bot.exchange.rest_url, bot.account.signer, ca_file=bot.exchange.ca_file
        ) as orders:
            outcome = await orders.create(
                far_order(order_id(CLAIM, 3, 1, 1)), subaccount=0, deadline_ms=5_000
            )
            assert isinstance(outcome, Accepted)

    asyncio.run(place())


def wait_metrics(bot, *lines):
    """What is shown is a look old."""
    wanted = [f"soloist_watchdog_{line}" for line in lines]

    def shown():
        text = bot.ask_watchdog("/metrics").decode()
        return all(line in text for line in wanted)

    eventually(shown, PATIENCE_S, lambda: bot.ask_watchdog("/metrics").decode())


def now_ms():
    return time.time_ns() // 1_000_000


def test_w1_a_hung_engine_is_killed_its_groups_triggered_its_orders_cancelled_and_the_proof_written(
    make_watched,
):
    bot = make_watched(**RESTING)
    bot.start_watchdog()
    bot.start_and_wait()
    bot.wait_resting()
    groups = bot.venue_groups()
    bot.freeze()
    frozen_ms, left = now_ms(), bot.own_resting()
    latch = bot.wait_proven()
    bot.watchdog_said("WatchdogProven")
    assert bot.process.wait(timeout=10) == -signal.SIGKILL
    assert "silent for" in latch.reason
    assert bot.own_resting() == set()
    assert bot.venue_groups() == dict.fromkeys(groups, True)
    assert not accepted_after(bot, latch.latched_ms)
    steps = [line["message"] for line in bot.watchdog_lines() if line["event"] == "WatchdogStep"]
    assert steps == ["latched", "killed", "triggered", "cancelled", "proven"]
    gone_ms = max(closed_ms(bot, left))
    print(
        f"figure W1: silent to none resting {gone_ms - frozen_ms} ms, to the proof {latch.proven_ms - frozen_ms} ms"
    )
    wait_metrics(bot, 'kills_total{cause="silence"} 1.0', 'step_seconds{step="proven"}')


def test_w2_a_restarted_engine_stays_halted_until_the_proof_mark_and_then_trades(make_watched):
    bot = make_watched(**RESTING)
    bot.start_watchdog()
    bot.start_and_wait()
    bot.wait_resting()
    bot.exchange.faults(bot.refuse("GET", "/portfolio/orders"))
    bot.freeze()
    latch = bot.wait_latched()
    bot.wait_exit()
    bot.start()  # as the kubelet does, before anything is proven
    bot.status_when(lambda status: "watchdog" in status.get("latches", {}))
    shown = bot.watchdog_when(lambda shown: "503" in shown["missing"])
    assert shown["latch"]["proven"] is False
    assert bot.status()["state"] == "HALTED"
    bot.exchange.faults()
    proven = bot.wait_proven()
    orders = eventually(lambda: accepted_after(bot, latch.latched_ms), PATIENCE_S, bot.log_file.read_text)
    times = [o["time_ms"] for o in bot.exchange.accepted(bot.account.name) if o["client_order_id"] in orders]
    assert min(times) >= proven.proven_ms - 50, "an order was accepted between the latch and its proof"
    assert bot.status_when(lambda status: status["state"] == "ACTIVE")
    assert bot.terminate() == 0
    assert bot.judge() == []


def test_w3_an_engine_that_stops_in_order_is_left_alone(make_watched):
    bot = make_watched(**RESTING)
    bot.start_watchdog(silence_ms=1_000)
    bot.start_and_wait()
    bot.wait_resting()
    assert bot.watchdog_when(lambda shown: shown["armed"])
    assert bot.terminate() == 0
    bot.watchdog_when(lambda shown: shown["verdict"] == "Disarmed" and shown["silentMs"] > 2_000)
    assert not (bot.state / FILE_NAME).exists()
    assert bot.stop_watchdog() == 0
    assert not [line for line in bot.watchdog_lines() if line["event"] == "WatchdogKill"]


def test_w4_an_engine_that_died_and_does_not_come_back_leaves_nothing_resting(make_watched):
    bot = make_watched(**RESTING)
    bot.start_watchdog()
    bot.start_and_wait()
    bot.wait_resting()
    bot.kill()
    bot.wait_proven()
    assert bot.own_resting() == set()
    bot.watchdog_when(lambda shown: shown["verdict"] == "Handled")


async def test_w5_a_pod_that_ends_with_a_dead_engine_is_swept_of_its_own_orders_and_of_no_others(
    make_watched,
):
    bot = make_watched(**RESTING)
    await asyncio.to_thread(bot.start_watchdog, silence_ms=60_000)
    await asyncio.to_thread(bot.start_and_wait)
    left = await asyncio.to_thread(bot.wait_resting)
    bot.kill()
    others = {"by-hand", order_id(CLAIM, 4, 1, 1), order_id("zzzzzz", 3, 1, 1)}
    async with OrderClient(bot.exchange.rest_url, bot.account.signer, ca_file=bot.exchange.ca_file) as orders:
        for name in others:
            outcome = await orders.create(far_order(name), subaccount=0, deadline_ms=5_000)
            assert isinstance(outcome, Accepted)
    assert await asyncio.to_thread(bot.stop_watchdog) == 0
    assert bot.latch().proven
    assert left
    assert bot.own_resting() == others


def test_w6_a_watchdog_killed_between_kill_and_cancel_goes_on_after_its_restart(make_watched):
    bot = make_watched(**RESTING)
    bot.start_watchdog()
    bot.start_and_wait()
    bot.wait_resting()
    bot.exchange.faults(
        bot.refuse("PUT", GROUPS_PATH),
        bot.refuse("DELETE", ORDERS_PATH),
        bot.refuse("GET", "/portfolio/orders"),
    )
    bot.freeze()
    bot.wait_exit()
    bot.watchdog_said("WatchdogSweepFailed")
    bot.kill_watchdog()
    assert bot.latch().proven is False
    assert not any(bot.venue_groups().values()), "nothing was swept yet"
    bot.exchange.faults()
    bot.start_watchdog()
    bot.wait_proven()
    assert bot.own_resting() == set()
    assert all(bot.venue_groups().values())
    assert bot.watchdog_said("WatchdogKill")["cause"] == "resumed"


def test_w7_a_watchdog_killed_right_after_the_latch_kills_after_its_restart(make_watched):
    bot = make_watched(**RESTING)
    bot.start_and_wait()
    bot.wait_resting()
    bot.freeze()
    beat = bot.beat()
    # All that a watchdog leaves which dies between the latch and SIGKILL.
    store_latch(bot.state, Latch("silent for 2000 ms", incarnation=beat.incarnation, groups=beat.groups))
    bot.start_watchdog(silence_ms=60_000)
    bot.wait_proven()
    assert bot.wait_exit() == -signal.SIGKILL
    assert bot.own_resting() == set()


@pytest.mark.parametrize("mute", [False, True])
def test_w8_a_persons_kill_works_on_a_mute_engine_and_waits_for_a_person(make_watched, mute):
    bot = make_watched(**RESTING)
    bot.start_watchdog(silence_ms=60_000)
    bot.start_and_wait()
    bot.wait_resting()
    if mute:
        bot.freeze()
        shown = bot.watchdog_status()
        assert (shown["servedBy"], shown["mode"]) == ("watchdog", "Live")
        assert shown["incarnation"] == bot.beat().incarnation
        assert eventually(lambda: bot.watchdog_status()["ageMs"] > 500, PATIENCE_S, "the age does not grow")
    answer = bot.ctl("kill", "--reason", "enough")
    assert answer["proven"] is True, bot.watchdog_log.read_text()
    killed_ms = bot.latch().latched_ms
    assert bot.wait_exit() == -signal.SIGKILL
    assert bot.own_resting() == set()
    bot.start_and_wait()
    status = bot.status_when(lambda status: status["state"] == "HALTED")
    assert status["latches"]["watchdog"]["reason"] == "watchdog: killed by tester: enough"
    assert accepted_after(bot, killed_ms) == []
    bot.ctl("resume", "--latch", "watchdog", "--reason", "understood")
    bot.status_when(lambda status: status["state"] == "ACTIVE")
    eventually(lambda: accepted_after(bot, killed_ms), PATIENCE_S, bot.log_file.read_text)
    assert "no latch" in bot.ctl("resume", "--latch", "watchdog", "--reason", "x", refused=True)["message"]


def test_w9_an_engine_that_thaws_after_the_latch_sends_nothing(make_watched):
    """No watchdog acts here: what is left is the engine's own look at the latch, after a freeze that no clock shows."""
    bot = make_watched()
    bot.start_and_wait()
    for _ in range(5):
        seen = len(bot.exchange.accepted(bot.account.name))
        wait_orders(bot, seen + 3)
        bot.freeze()
        quiet_after_ms = _settled(bot)
        write_latch(bot.state, "silent for 5 s")
        bot.thaw()
        bot.status_when(
            lambda status, since_ms=quiet_after_ms: (
                accepted_after(bot, since_ms)
                or (status["state"] == "HALTED" and not status["unsettledOrders"])
            )
        )
        assert accepted_after(bot, quiet_after_ms) == []
        # A trigger that is seen after the latch went counts as the venue's own, and would wait for a person.
        bot.status_when(
            lambda status: {group["state"] for group in status["orderGroups"].values()} == {"triggered"}
        )
        (bot.state / FILE_NAME).unlink()
        bot.status_when(lambda status: status["state"] == "ACTIVE")


def _settled(bot):
    """The moment from which nothing may be accepted: what was sent before the freeze lies before these calls, and is done."""
    for _ in range(3):
        bot.exchange.admin("health")
    return now_ms()


def test_w10_after_a_long_freeze_the_books_begin_anew_before_anything_is_sent(make_watched):
    bot = make_watched()
    bot.start_and_wait()
    wait_orders(bot, 3)
    connections = bot.status()["venue"]["connections"]
    bot.freeze()
    frozen = time.monotonic()
    eventually(lambda: time.monotonic() - frozen > 2.5, PATIENCE_S, "time stands still")
    thawed_ms = now_ms()
    bot.thaw()
    thawed = bot.wait_logged("Thawed")
    assert "stood still for" in thawed["message"]
    bot.status_when(
        lambda status: status["venue"]["connections"] > connections and not status["gate"]["closed"]
    )
    closed_at_ms = text_to_ms(bot.wait_logged("WebSocketClosed")["time"])
    eventually(lambda: accepted_after(bot, thawed_ms), PATIENCE_S, bot.log_file.read_text)
    stale = set(accepted_after(bot, thawed_ms)) - set(accepted_after(bot, closed_at_ms - 1))
    # One may have passed the gate when the freeze came, its bytes not yet the kernel's: no process can look and send in one instant.
    assert len(stale) <= 1, f"sent on what was decided before the freeze\n{bot.log_file.read_text()}"
    assert bot.terminate() == 0
    assert bot.judge() == []


def test_w11_an_engine_that_wakes_when_its_orders_are_gone_quotes_no_more(make_watched):
    """The venue refuses the triggers, so only the sequence of the steps protects: it is dead before anything is cancelled."""
    bot = make_watched(**RESTING)
    bot.start_watchdog()
    bot.start_and_wait()
    bot.wait_resting()
    bot.exchange.faults(bot.refuse("PUT", GROUPS_PATH))
    bot.freeze()
    rest_far_away(
        bot
    )  # not before: an engine that runs cancels what is ours and not in its journal, within 2 ms
    left = bot.own_resting()
    bot.watchdog_said("WatchdogCancelled")
    bot.thaw()
    eventually(lambda: not bot.own_resting() & left, PATIENCE_S, bot.watchdog_log.read_text)
    gone_ms = max(closed_ms(bot, left))
    bot.watchdog_when(lambda shown: "could not be triggered" in shown["missing"])
    bot.exchange.faults()
    bot.wait_proven()
    assert accepted_after(bot, gone_ms) == []


async def test_w12_an_accepted_order_of_somebody_else_halts_the_engine_until_a_person_has_looked(
    make_watched,
):
    bot = make_watched()
    await asyncio.to_thread(bot.start_watchdog)
    await asyncio.to_thread(bot.start_and_wait)
    await asyncio.to_thread(wait_orders, bot, 3)
    async with OrderClient(bot.exchange.rest_url, bot.account.signer, ca_file=bot.exchange.ca_file) as orders:
        outcome = await orders.create(far_order("by-hand"), subaccount=0, deadline_ms=5_000)
        assert isinstance(outcome, Accepted)

    def rest():
        found = bot.watchdog_said("AuditFound")
        assert (found["kind"], "by-hand" in found["message"]) == ("foreign", True)
        status = bot.status_when(lambda status: status["state"] == "HALTED")
        assert "somebody else" in status["latches"]["watchdog"]["reason"]
        assert bot.process.poll() is None, "an engine that lives is not killed for it"
        wait_metrics(bot, 'orders_found_total{kind="foreign"} 1.0', 'audits_total{outcome="found"} 1.0')
        bot.ctl("resume", "--latch", "watchdog", "--reason", "it was me")
        bot.status_when(lambda status: status["state"] == "ACTIVE")

    await asyncio.to_thread(rest)
    async with bot.exchange.client(bot.account) as client:
        resting = await client.list_orders(subaccount=0, status="resting")
    assert "by-hand" in {order.client_order_id for order in resting}, "it is left alone"


async def test_w13_the_watchdog_signs_with_a_rotated_key_and_says_so(make_watched):
    bot = make_watched(**RESTING)
    await asyncio.to_thread(bot.start_watchdog)
    await asyncio.to_thread(bot.start_and_wait)
    await asyncio.to_thread(bot.wait_resting)
    async with bot.exchange.client(bot.account) as client:
        made = await client.generate_api_key("next", "ed25519")
        slots = {1: (bot.account.key_id, bot.account.pem), 2: (made.api_key_id, made.private_key.encode())}
        bot.write_secret(slots)

        def switched():
            bot.watchdog_when(lambda shown: shown["keyId"] == made.api_key_id)
            bot.status_when(lambda status: status["keyId"] == made.api_key_id)
            bot.write_secret({2: slots[2]})

        await asyncio.to_thread(switched)
        await client.delete_api_key(bot.account.key_id)
    bot.freeze()
    await asyncio.to_thread(bot.wait_proven)
    assert bot.own_resting() == set()
