"""F cards: what the fence does at a real exchange, with replies lost and refused as the network and the venue do it."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace

import pytest
from soloist_fence import quiesce as quiesce_module
from soloist_fence import rotation as rotation_module
from soloist_fence.api import Reason, claim_hash, venue_key_name
from soloist_fence.commands import DeleteKey, GenerateKey, IssuedKey, OrderGroup, PatchSecret
from soloist_fence.driver import drive
from soloist_fence.errors import FenceError
from soloist_fence.release import release
from soloist_fence.rotation import rotate
from soloist_fence.takeover import takeover
from soloist_fence.venue import Venue
from soloist_kalshi.errors import VenueForbidden, VenueUnauthorized
from soloist_kalshi.messages import CreateOrder
from soloist_kalshi.orders import OrderClient
from soloist_kalshi.signing import Signer, generate_private_key

from tests.conformance.fence.fence_cards import Bench
from tests.unit.soloist_fence.fence_world import BOT, CLAIM, CLUSTER_ID, armed, opened


async def take_over(bench, **changes):
    attempt = bench.attempt(**changes)
    published = await drive(takeover(attempt, BOT), bench, asyncio.Event())
    armed(bench.world, attempt, published.key_id)
    return published


async def refused(bench, machine):
    with pytest.raises(FenceError) as caught:
        await drive(machine, bench, asyncio.Event())
    return caught.value


def next_epoch(bench):
    bench.world.claim = opened(bench.world.claim)
    bench.performed.clear()


async def test_f001_first_arm_publishes_a_key_that_may_trade_and_nothing_more(bench):
    published = await take_over(bench)
    (key,) = [key for key in await bench.venue.list_keys() if key.key_id == published.key_id]
    assert key.name == venue_key_name(CLUSTER_ID, CLAIM, 1, 1, "nonce0001")
    assert (key.scopes, key.subaccount) == ({"read", "write::trade"}, 0)
    async with bench.exchange.client(bench.signer(published.key_id)) as client:
        await client.get_balance(subaccount=0)
        with pytest.raises(VenueForbidden):
            await client.list_api_keys()
        with pytest.raises(VenueForbidden):
            await client.generate_api_key("mine")


async def test_f002_takeover_ends_the_old_key(bench):
    old = await take_over(bench)
    signer = bench.signer(old.key_id)
    next_epoch(bench)
    new = await take_over(bench)
    assert await bench.accepted() == bench.world.published() == {new.key_id}
    async with bench.exchange.client(signer) as client:
        with pytest.raises(VenueUnauthorized):
            await client.get_balance(subaccount=0)


@pytest.mark.parametrize("key_type", ["ed25519", "rsa"])
async def test_f003_both_key_types_sign(bench, key_type):
    published = await take_over(bench, key_type=key_type)
    signer = bench.signer(published.key_id)
    assert signer.key_type == key_type
    assert await bench.venue.accepts(IssuedKey(published.key_id, secret_pem(bench, published.key_id)))


def secret_pem(bench, key_id):
    return next(
        slot.private_key_pem
        for secret in bench.world.secrets.values()
        for slot in secret.slots
        if slot.key_id == key_id
    )


async def test_f004_a_foreign_key_is_a_conflict_until_it_is_acknowledged(bench):
    async with bench.exchange.client(bench.management_key) as client:
        foreign = (await client.generate_api_key("my laptop")).api_key_id
    error = await refused(bench, takeover(bench.attempt(), BOT))
    assert error.reason is Reason.CONFLICT
    assert foreign in error.message
    assert await bench.accepted() == {foreign}
    next_epoch(bench)
    published = await take_over(bench, acknowledged_key_ids=frozenset({foreign}))
    assert await bench.accepted() == {foreign, published.key_id}


async def test_f005_a_read_key_and_a_key_of_another_subaccount_are_no_threat(bench):
    async with bench.exchange.client(bench.management_key) as client:
        reader = (await client.generate_api_key("reader", scopes=["read"])).api_key_id
        other = (await client.generate_api_key("other", subaccount=7)).api_key_id
    published = await take_over(bench)
    assert await bench.accepted() == {reader, other, published.key_id}


LOST = ["reply_lost_before", "reply_lost_after", "error_before", "error_after"]


@pytest.mark.parametrize("kind", LOST)
async def test_f006_whatever_became_of_create_the_next_epoch_ends_with_one_key(bench, kind):
    bench.exchange.faults({"kind": kind, "method": "POST", "path": "/api_keys/generate", "times": 1})
    error = await refused(bench, takeover(bench.attempt(), BOT))
    assert error.reason is Reason.VENUE_UNREACHABLE
    assert await bench.accepted() == set(), "a key that was made behind a lost reply is found by its name"
    next_epoch(bench)
    published = await take_over(bench)
    assert await bench.accepted() == bench.world.published() == {published.key_id}


@pytest.mark.parametrize("kind", LOST)
async def test_f007_a_delete_without_an_answer_is_repeated(bench, kind):
    await take_over(bench)
    next_epoch(bench)
    bench.exchange.faults({"kind": kind, "method": "DELETE", "path": "/api_keys", "times": 2})
    published = await take_over(bench)
    assert await bench.accepted() == {published.key_id}


async def test_f008_a_venue_that_fails_after_create_leaves_no_key_of_ours_published(bench):
    attempt = bench.attempt()
    machine = takeover(attempt, BOT)

    class FailsAfterCreate(Bench):
        async def perform(self, command):
            reply = await super().perform(command)
            if isinstance(command, GenerateKey):
                self.exchange.faults(
                    {"kind": "error_before", "method": "GET", "path": "/api_keys", "times": 8}
                )
            return reply

    failing = FailsAfterCreate(bench.exchange, bench.management_key, bench.world)
    async with failing.venue:
        error = await refused(failing, machine)
    assert error.reason is Reason.VENUE_UNREACHABLE
    assert bench.world.secrets == {}
    bench.exchange.faults()
    assert await bench.accepted() == set()


@pytest.mark.parametrize("verb", [takeover, release])
async def test_f009_a_key_that_the_venue_does_not_know_is_a_rejected_management_key(bench, verb):
    stranger = Signer.from_pem(
        "00000000-0000-4000-8000-000000000000", generate_private_key("ed25519").private_pem
    )
    bench.venue = Venue(bench.exchange.rest_url, bench.exchange.ca_file, stranger, 0)
    async with bench.venue:
        error = await refused(bench, verb(bench.attempt(), BOT))
    assert error.reason is Reason.MANAGEMENT_KEY_REJECTED
    assert error.field == "spec.account.managementKeySecretRef"


async def test_f010_a_management_key_without_write_is_rejected(bench):
    async with bench.exchange.client(bench.management_key) as client:
        reader = await client.generate_api_key("reader", "ed25519", scopes=["read"])
    signer = Signer.from_pem(reader.api_key_id, reader.private_key.encode())
    weak = Bench(bench.exchange, signer, bench.world)
    async with weak.venue:
        attempt = weak.attempt(acknowledged_key_ids=frozenset({bench.management_key.key_id}))
        error = await refused(weak, takeover(attempt, BOT))
    assert error.reason is Reason.MANAGEMENT_KEY_REJECTED
    assert await bench.accepted() == {reader.api_key_id}


async def test_f011_an_exchange_that_is_not_there_is_unreachable(bench):
    bench.venue = Venue("https://127.0.0.1:9/trade-api/v2", bench.exchange.ca_file, bench.management_key, 0)
    async with bench.venue:
        error = await refused(bench, takeover(bench.attempt(), BOT))
    assert error.reason is Reason.VENUE_UNREACHABLE
    assert "connection refused" in error.message


@pytest.mark.parametrize("minutes", [-10, 10])
async def test_a_fence_whose_clock_is_wrong_makes_nothing_and_names_the_clock(bench, monkeypatch, minutes):
    """Scenario 20 for the fence: it would sign, and look back, by a clock that is not the venue's."""
    real = time.time_ns
    before = await bench.accepted()
    with monkeypatch.context() as stepped:
        stepped.setattr("soloist_kalshi.clock.time.time_ns", lambda: real() + minutes * 60 * 1_000_000_000)
        error = await refused(bench, takeover(bench.attempt(), BOT))
    assert error.reason is Reason.VENUE_UNREACHABLE
    assert "clock" in error.message
    assert await bench.accepted() == before


async def place_resting_order(bench, key_id, client_order_id, group_id=None):
    signer = bench.signer(key_id)
    order = CreateOrder(
        ticker="SIM-STATIC-1",
        side="bid",
        count="1.00",
        price="0.0100",
        client_order_id=client_order_id,
        time_in_force="good_till_canceled",
        self_trade_prevention_type="taker_at_cross",
        subaccount=0,
        order_group_id=group_id,
    )
    async with OrderClient(bench.exchange.rest_url, signer, ca_file=bench.exchange.ca_file) as client:
        return await client.create(order, subaccount=0, deadline_ms=5_000)


async def test_f012_orders_and_groups_of_the_old_epoch_go_and_a_later_epoch_is_found_out(trading_bench):
    bench = trading_bench
    published = await take_over(bench)
    ours = claim_hash(CLAIM)
    async with OrderClient(
        bench.exchange.rest_url, bench.signer(published.key_id), ca_file=bench.exchange.ca_file
    ) as client:
        group = await client.create_group(100_00, subaccount=0, deadline_ms=5_000)
    await place_resting_order(bench, published.key_id, f"s{ours}-1-1f-1")
    await place_resting_order(bench, published.key_id, f"s{ours}-1-1f-2", group.order_group_id)
    await place_resting_order(bench, published.key_id, "by-hand")
    bench.world.claim = replace(bench.world.claim, order_groups=(OrderGroup(1, group.order_group_id),))
    next_epoch(bench)
    second = await take_over(bench)
    assert (second.counts["ordersCancelled"], second.counts["groupsDeleted"]) == (1, 1)
    async with bench.exchange.client(bench.management_key) as client:
        resting = await client.list_orders(subaccount=0, status="resting")
        assert [order.client_order_id for order in resting] == ["by-hand"]
        assert await client.list_order_groups(subaccount=0) == []
    await place_resting_order(bench, second.key_id, f"s{claim_hash(CLAIM)}-9-1f-2")
    next_epoch(bench)
    error = await refused(bench, takeover(bench.attempt(), BOT))
    assert error.reason is Reason.HIGHER_EPOCH
    assert error.counts == {"highestEpoch": 9}


async def test_f013_rotation_leaves_the_new_key_and_proves_401(bench, monkeypatch):
    monkeypatch.setattr(rotation_module, "POLL_MS", 50)
    old = await take_over(bench)
    old_pem = secret_pem(bench, old.key_id)
    bench.world.engine.propagation_ms = 0
    bench.world.engine.key_id = old.key_id

    class FastForward(Bench):
        async def perform(self, command):
            bench.world.now_ms += 5_000  # the engine's clock: each look of the rotation meets a new renewal
            return await super().perform(command)

    rotating = FastForward(bench.exchange, bench.management_key, bench.world)
    async with rotating.venue:
        secret = bench.world.secrets[bench.attempt().secret_name]
        rotated = await drive(rotate(bench.attempt(), secret), rotating, asyncio.Event())
    assert await bench.accepted() == bench.world.published() == {rotated.key_id}
    assert not await bench.venue.accepts(IssuedKey(old.key_id, old_pem))
    changes = [type(c) for c in rotating.performed if isinstance(c, GenerateKey | PatchSecret | DeleteKey)]
    assert changes == [GenerateKey, PatchSecret, PatchSecret, DeleteKey]


async def test_f014_release_leaves_nothing(bench):
    await take_over(bench)
    released = await drive(release(bench.attempt(), BOT), bench, asyncio.Event())
    assert await bench.accepted() == set()
    assert bench.world.secrets == {}
    assert released.counts["keysDeleted"] == 1


@pytest.mark.timeout(120)
@pytest.mark.parametrize("done", [False, True], ids=["not done", "done"])
async def test_f015_a_fence_killed_at_any_venue_call_is_repaired_by_the_next_epoch(bench, done, monkeypatch):
    monkeypatch.setattr(
        quiesce_module, "FLIGHT_MS", 0
    )  # nobody trades here, and it would be waited forty times
    monkeypatch.setattr(quiesce_module, "LOOK_PAUSE_MS", 20)
    await take_over(bench)
    crashes = 0
    while True:
        next_epoch(bench)
        machine = takeover(bench.attempt(), BOT)
        finished = await run_until_venue_call(bench, machine, crashes, done=done)
        next_epoch(bench)
        published = await take_over(bench)
        assert await bench.accepted() == bench.world.published() == {published.key_id}
        if finished:
            break
        crashes += 1
    assert crashes >= 6


async def run_until_venue_call(bench, machine, number, *, done):
    """Run a machine and kill it at its n-th call of the venue; True when it ended before that."""
    calls = 0
    command = next(machine)
    try:
        while True:
            if type(command).__name__ in {"ListKeys", "ListOrders", "GenerateKey", "DeleteKey"}:
                if calls == number:
                    if done:
                        await bench.perform(command)
                    machine.close()
                    return False
                calls += 1
            command = machine.send(await bench.perform(command))
    except StopIteration:
        return True
