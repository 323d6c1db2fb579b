"""F cards, continued: identity, audit and the measurement at a real exchange."""

from __future__ import annotations

import asyncio
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from soloist_fence.api import Reason, marker_key_nonce, nonce_from, venue_key_name
from soloist_fence.audit import audit
from soloist_fence.commands import IssuedKey
from soloist_fence.driver import boottime_ms, drive
from soloist_fence.errors import FenceError
from soloist_fence.identify import Inquiry, identify
from soloist_fence.takeover import takeover
from soloist_kalshi.signing import Signer

from tests.conformance.fence.fence_cards import Bench
from tests.conformance.fence.test_fence_cards import next_epoch, place_resting_order, refused, take_over
from tests.unit.soloist_fence.fence_world import BOT, CLAIM, CLUSTER_ID


def inquiry(bench, number=0, **changes):
    fixed = {
        "nonce": nonce_from(bytes([number] * 8)),
        "static": False,
        "bound": None,
        "key_id": bench.management_key.key_id,
        "key_type": "ed25519",
        "key_list_lag_ms": 0,
        "deadline_ms": boottime_ms() + 30_000,
    }
    return Inquiry(**(fixed | changes))


async def ask(bench, number=0, **changes):
    return await drive(identify(inquiry(bench, number, **changes)), bench, asyncio.Event())


async def marker_ids(bench):
    return [key.key_id for key in await bench.venue.list_keys() if marker_key_nonce(key.name) is not None]


async def test_f016_a_marker_is_made_once_and_found_ever_after(bench):
    first = await ask(bench)
    assert first.made
    assert await marker_ids(bench) == [first.marker_id]
    second = await ask(bench, 1)
    assert (second.identity, second.made) == (first.identity, False)
    assert (await ask(bench, 2, bound=first.identity)).identity == first.identity


async def test_f017_an_alias_of_the_account_finds_the_same_name(bench):
    """Two management keys of one account, each in a Secret of its own: one claim."""
    async with bench.exchange.client(bench.management_key) as client:
        made = await client.generate_api_key("second management key", "ed25519")
    alias = Bench(bench.exchange, Signer.from_pem(made.api_key_id, made.private_key.encode()), bench.world)
    first = await ask(bench)
    async with alias.venue:
        assert (await ask(alias, 1)).identity == first.identity


async def test_f018_a_key_of_one_subaccount_may_not_look_and_names_the_account_by_itself(bench):
    async with bench.exchange.client(bench.management_key) as client:
        made = await client.generate_api_key("static", "ed25519", scopes=["read", "write"], subaccount=0)
    static = Bench(bench.exchange, Signer.from_pem(made.api_key_id, made.private_key.encode()), bench.world)
    async with static.venue:
        found = await ask(static, static=True, key_id=made.api_key_id)
        assert (found.identity, found.marker_id) == (f"key:{made.api_key_id}", None)
        with pytest.raises(FenceError) as caught:
            await ask(static)
    assert caught.value.reason is Reason.MANAGEMENT_KEY_REJECTED, "a management key never falls back"


async def test_f019_many_at_once_never_arm_under_two_names(bench):
    """Whoever is told a name demands it again in each takeover: of all names that were told, at most one can arm."""
    found = await asyncio.gather(*(ask(bench, n) for n in range(8)), return_exceptions=True)
    failed = [item for item in found if isinstance(item, BaseException)]
    assert all(isinstance(item, FenceError) for item in failed), failed
    listed = await marker_ids(bench)
    can_arm = {item.identity for item in found if item not in failed and [item.marker_id] == listed}
    assert len(can_arm) == 1
    assert len(listed) == 1


async def test_f020_a_second_marker_arms_nothing(bench):
    first = await ask(bench)
    bench.world.claim = replace(bench.world.claim, identity=first.identity)
    await take_over(bench)
    async with bench.exchange.client(bench.management_key) as client:
        await client.generate_api_key("soloist-account/abcdef", "ed25519", scopes=["read"])
    next_epoch(bench)
    error = await refused(bench, takeover(bench.attempt(), BOT))
    assert error.reason is Reason.IDENTITY_AMBIGUOUS
    error = await refused(bench, identify(inquiry(bench, bound=first.identity)))
    assert error.reason is Reason.IDENTITY_AMBIGUOUS


@pytest.mark.parametrize("kind", ["reply_lost_before", "reply_lost_after", "error_before", "error_after"])
async def test_f021_a_marker_behind_a_lost_reply_is_not_left_behind(bench, kind):
    bench.exchange.faults({"kind": kind, "method": "POST", "path": "/api_keys/generate", "times": 1})
    error = await refused(bench, identify(inquiry(bench)))
    assert error.reason is Reason.VENUE_UNREACHABLE
    assert await marker_ids(bench) == []


async def test_f022_a_list_that_is_behind_gets_its_time(bench):
    bench.exchange.switches(key_list_lag_ms=700)
    first = await ask(bench, key_list_lag_ms=1_000)
    assert await marker_ids(bench) == [first.marker_id]
    published = await take_over(bench, key_list_lag_ms=1_000)
    assert bench.world.published() == {published.key_id}


async def test_f023_audit_finds_what_does_not_belong_and_reaps_only_what_is_stale(trading_bench):
    bench = trading_bench
    await take_over(bench)
    next_epoch(bench)
    first = await take_over(bench)
    async with bench.exchange.client(bench.management_key) as client:
        late = await client.generate_api_key(
            venue_key_name(CLUSTER_ID, CLAIM, 1, 1, "nonce0001"),
            scopes=["read", "write::trade"],
            subaccount=0,
        )
    found = await drive(audit(bench.attempt(), reap=False), bench, asyncio.Event())
    assert (found.reason, found.key_ids) == (Reason.STALE_KEYS, (late.api_key_id,))
    reaped = await drive(audit(bench.attempt(), reap=True), bench, asyncio.Event())
    assert (reaped.reason, reaped.counts["keysReaped"]) == (Reason.DONE, 1)
    assert await bench.accepted() == {first.key_id}
    clean = await drive(audit(bench.attempt(), reap=False), bench, asyncio.Event())
    assert clean.reason is Reason.DONE
    bench.world.claim = replace(bench.world.claim, since_ms=bench.venue.time_ms() - 5_000)
    await place_resting_order(bench, first.key_id, "by-hand")
    found = await drive(audit(bench.attempt(), reap=False), bench, asyncio.Event())
    assert (found.reason, found.counts["foreignOrders"]) == (Reason.FOREIGN_ORDERS, 1)


def key_directory(tmp_path, signer_pem, key_id):
    (tmp_path / "key-id").write_text(key_id)
    (tmp_path / "private-key.pem").write_text(signer_pem)
    return tmp_path


async def measured(bench, tmp_path):
    async with bench.exchange.client(bench.management_key) as client:
        made = await client.generate_api_key("to measure with", "ed25519")
    directory = key_directory(tmp_path, made.private_key, made.api_key_id)
    words = [
        str(Path(sys.executable).with_name("soloist-fence")), "measure-revocation", "--samples=2", f"--rest-url={bench.exchange.rest_url}",
        f"--websocket-url={bench.exchange.websocket_url}", f"--ca-file={bench.exchange.ca_file}",
        f"--management-key-dir={directory}",
    ]  # fmt: skip
    process = await asyncio.create_subprocess_exec(*words, stdout=asyncio.subprocess.PIPE)
    printed, _ = await process.communicate()
    return process.returncode, printed.decode()


async def test_f024_the_measurement_sees_a_late_revocation_and_leaves_no_key(bench, tmp_path):
    bench.exchange.switches(revocation_delay_ms=600)
    exit_code, printed = await measured(bench, tmp_path)
    assert exit_code == 0
    rows = [line.split("\t") for line in printed.splitlines()]
    assert rows[0] == ["way", "n", "median_ms", "maximum_ms"]
    assert [row[0] for row in rows[1:]] == [
        "rest, new connection",
        "rest, open connection",
        "websocket handshake",
    ]
    assert all(int(row[1]) == 2 and 600 <= int(row[2]) <= int(row[3]) for row in rows[1:])
    assert not [key for key in await bench.venue.list_keys() if key.name.startswith("soloist-measure/")]


async def test_f025_a_known_old_key_is_proven_refused(bench):
    old = await take_over(bench)
    pem = next(slot.private_key_pem for secret in bench.world.secrets.values() for slot in secret.slots)
    bench.exchange.switches(revocation_delay_ms=2_000)
    next_epoch(bench)
    second = await take_over(bench, old_keys=(IssuedKey(old.key_id, pem),))
    assert second.counts["oldKeysProven"] == 1
    assert not await bench.venue.accepts(IssuedKey(old.key_id, pem))
