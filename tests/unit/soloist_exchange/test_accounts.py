from __future__ import annotations

import asyncio
import threading

import pytest
from soloist_exchange import accounts
from soloist_exchange.accounts import TIERS, check_scopes, tier_limits
from soloist_exchange.errors import Refused, StateError
from soloist_exchange.orders import BID
from soloist_exchange.store import Range, Store
from soloist_exchange.switches import Switches
from soloist_kalshi.errors import VenueKeyError
from soloist_kalshi.signing import Signer, generate_private_key

from tests.unit.soloist_exchange.exchange_starts import Starts

ALL = Range(limit=100)


@pytest.fixture
def starts(tmp_path):
    made = Starts(tmp_path)
    yield made
    made.stop()


@pytest.fixture
def one(starts):
    return starts.account("one")


# ---------------------------------------------------------------------- accounts


def test_an_account_that_the_command_line_made_while_serving_is_known_at_once(starts, one):
    exchange = starts.start()
    assert exchange.account(one).available(0) == 1_000_000_000
    two = starts.account("two", dollars=5, tier="expert", subaccounts=3)
    assert exchange.account_id("two") == two
    assert exchange.account(two).available(0) == 5_000_000
    assert (exchange.tier(two), exchange.subaccounts(two)) == ("expert", 3)
    with pytest.raises(
        StateError, match="no account 'three'; create it with: soloist-exchange account create three"
    ):
        exchange.account_id("three")


def test_a_deposit_outlives_the_process(starts, one):
    exchange = starts.start()
    exchange.deposit(one, 7_000_000)
    exchange.commit()
    exchange.deposit(one, 1)
    exchange = starts.start()
    assert exchange.account(one).available(0) == 1_007_000_000
    assert exchange.account(one).deposited == 1_007_000_000
    exchange.venue.ledger.recount()


# ---------------------------------------------------------------------- tiers and limits


@pytest.mark.parametrize(
    ("tier", "read", "write"),
    [
        ("basic", (200, 400), (100, 100)),
        ("advanced", (300, 600), (300, 600)),
        ("expert", (600, 600), (600, 1_200)),
        ("premier", (1_200, 1_200), (1_200, 2_400)),
        ("paragon", (2_400, 2_400), (2_400, 4_800)),
        ("prime", (4_800, 4_800), (4_800, 9_600)),
        ("prestige", (12_000, 12_000), (9_600, 19_200)),
    ],
)
def test_the_budgets_of_section_4(tier, read, write):
    limits = tier_limits(tier)
    assert limits.usage_tier == tier
    assert (limits.read.refill_rate, limits.read.bucket_capacity) == read
    assert (limits.write.refill_rate, limits.write.bucket_capacity) == write
    for seconds in (1, 2, 3):
        limits = tier_limits(tier, f"{seconds}s")
        assert (limits.read.bucket_capacity, limits.write.bucket_capacity) == (
            read[0] * seconds,
            write[0] * seconds,
        )
    assert set(TIERS) == {"basic", "advanced", "expert", "premier", "paragon", "prime", "prestige"}


def test_a_tier_and_the_capacity_switch_hold_at_once_and_a_tier_for_good(starts, one):
    exchange = starts.start()
    assert exchange.buckets(one).write.capacity == 100
    exchange.set_tier(one, "expert")
    assert exchange.buckets(one).write.capacity == 1_200
    exchange.venue.switches = Switches(bucket_capacity="3s")
    assert exchange.buckets(one).write.capacity == 1_800
    assert exchange.limits(one).read.bucket_capacity == 1_800
    exchange.commit()
    assert starts.start().tier(one) == "expert"
    with pytest.raises(StateError, match="no tier 'gold'; the tiers are basic, advanced"):
        exchange.set_tier(one, "gold")


def test_shards_have_write_buckets_of_their_own_and_share_the_read_bucket(starts, one):
    exchange = starts.start()
    zero, two = exchange.buckets(one), exchange.buckets(one, 2)
    assert zero.read is two.read
    assert two.write.try_take(100)
    assert not two.write.try_take(1)
    assert zero.write.tokens == 100
    assert exchange.buckets(one, 2) is two


def test_an_upgrade_needs_an_order_through_the_api_among_the_last_hundred(starts, one):
    exchange = starts.start()
    with pytest.raises(Refused, match="among the last 100 orders") as refused:
        exchange.upgrade(one)
    assert refused.value.status == 403
    starts.send(exchange, one, BID, 100, 1)
    for _ in range(100):
        starts.send(exchange, one, BID, 100, 1, key_id="")
    with pytest.raises(Refused, match="among the last 100 orders"):
        exchange.upgrade(one)
    starts.send(exchange, one, BID, 100, 1)
    exchange.upgrade(one)
    assert exchange.tier(one) == "advanced"
    exchange.set_tier(one, "prime")
    exchange.upgrade(one)
    assert exchange.tier(one) == "prime"


# ---------------------------------------------------------------------- keys


def test_scopes():
    for scopes in (("read", "write"), ("read", "write::trade"), ("read::portfolio_balance",), ("read",)):
        check_scopes(scopes)
    with pytest.raises(Refused, match="write scopes need read"):
        check_scopes(("write::trade", "read::portfolio_balance"))
    with pytest.raises(Refused, match=r"unknown scopes \['admin'\]"):
        check_scopes(("read", "admin"))


@pytest.mark.parametrize("key_type", ["ed25519", "rsa"])
async def test_a_key_is_made_beside_the_loop_and_only_its_public_part_is_kept(
    starts, one, key_type, monkeypatch
):
    threads = []

    def generate(kind):
        threads.append(threading.current_thread())
        return generate_private_key(kind)

    monkeypatch.setattr(accounts, "generate_private_key", generate)
    exchange = starts.start()
    key_id, pem = await exchange.generate_key_async(
        one, name="bot", key_type=key_type, scopes=("read", "write::trade"), subaccount=3
    )
    assert threads != [threading.current_thread()]
    assert exchange.key(key_id).name == "bot"
    exchange.commit()
    exchange = starts.start()
    key = exchange.key(key_id)
    assert (key.account_id, key.scopes, key.subaccount, key.key_type) == (
        one,
        ("read", "write::trade"),
        3,
        key_type,
    )
    assert key.verifier.verify(b"text", Signer.from_pem(key_id, pem).sign(b"text"))
    assert pem not in (starts.directory / "exchange.sqlite").read_bytes()


async def test_the_loop_turns_while_a_key_is_made(starts, one, monkeypatch):
    go_on = threading.Event()

    def generate(kind):
        assert go_on.wait(30)
        return generate_private_key(kind)

    monkeypatch.setattr(accounts, "generate_private_key", generate)
    exchange = starts.start()
    making = asyncio.create_task(exchange.generate_key_async(one, name="slow", key_type="ed25519"))
    await asyncio.sleep(0)
    order = starts.send(exchange, one, BID, 100, 1)
    exchange.commit()
    assert not making.done()
    go_on.set()
    await making
    assert exchange.order_view(one, order.order_id) is order


async def test_a_key_with_bad_scopes_is_not_made(starts, one):
    exchange = starts.start()
    with pytest.raises(Refused, match="write scopes need read"):
        await exchange.generate_key_async(one, name="bot", key_type="ed25519", scopes=("write",))
    assert len(exchange.keys_view(one)) == 1


def test_only_high_tiers_upload_keys(starts, one):
    exchange = starts.start()
    pair = generate_private_key("ed25519")
    for tier in TIERS:
        exchange.set_tier(one, tier)
        if tier in {"premier", "paragon", "prime", "prestige"}:
            key_id = exchange.upload_key(one, name=tier, public_pem=pair.public_pem, scopes=("read",))
            assert exchange.key(key_id).scopes == ("read",)
        else:
            with pytest.raises(Refused) as refused:
                exchange.upload_key(one, name=tier, public_pem=pair.public_pem)
            assert refused.value.status == 403
    with pytest.raises(VenueKeyError):
        exchange.upload_key(one, name="x", public_pem=b"no key")
    with pytest.raises(Refused, match="write scopes need read"):
        exchange.upload_key(one, name="x", public_pem=pair.public_pem, scopes=("write",))
    assert len(exchange.keys_view(one)) == 5


def test_a_deleted_key_is_dead_at_once_and_stays_dead(starts, one):
    exchange = starts.start()
    (key,) = exchange.keys_view(one)
    assert exchange.key(key.key_id) is not None
    assert exchange.key("unknown") is None
    two = starts.account("two")
    assert not exchange.delete_key(two, key.key_id)
    assert not exchange.delete_key(one, "unknown")
    assert exchange.delete_key(one, key.key_id)
    assert exchange.key(key.key_id) is None
    assert exchange.keys_view(one) == []
    assert not exchange.delete_key(one, key.key_id)
    exchange.commit()
    assert starts.start().key(key.key_id) is None


def test_a_revocation_is_late_by_the_switch_also_after_a_restart(starts, one):
    switches = Switches(revocation_delay_ms=5_000)
    exchange = starts.start(switches=switches)
    (key,) = exchange.keys_view(one)
    assert exchange.delete_key(one, key.key_id)
    exchange.commit()
    assert exchange.keys_view(one) == []
    starts.clock.now_ms += 2_000
    assert exchange.key(key.key_id) is not None
    exchange = starts.start(switches=switches)
    starts.clock.now_ms += 2_999
    assert exchange.key(key.key_id) is not None
    starts.clock.now_ms += 1
    assert exchange.key(key.key_id) is None


def test_the_list_of_keys_shows_the_past_by_the_switch(starts, one):
    switches = Switches(key_list_lag_ms=1_000)
    starts.clock.now_ms += 10_000
    exchange = starts.start(switches=switches)
    exchange.set_tier(one, "prime")
    (old,) = exchange.keys_view(one)
    new = exchange.upload_key(one, name="new", public_pem=generate_private_key("ed25519").public_pem)
    exchange.delete_key(one, old.key_id)
    exchange.commit()
    exchange = starts.start(switches=switches)
    assert exchange.key(new) is not None
    assert exchange.key(old.key_id) is None
    starts.clock.now_ms += 999
    assert [key.key_id for key in exchange.keys_view(one)] == [old.key_id]
    starts.clock.now_ms += 1
    assert [key.key_id for key in exchange.keys_view(one)] == [new]


# ---------------------------------------------------------------------- subaccounts and transfers


def test_subaccounts_are_numbered_to_63(starts, one):
    exchange = starts.start()
    assert exchange.subaccounts(one) == 0
    assert [exchange.open_subaccount(one) for _ in range(63)] == list(range(1, 64))
    with pytest.raises(Refused, match="more than 63 subaccounts"):
        exchange.open_subaccount(one)
    exchange.set_netting(one, 5, enabled=True)
    exchange.set_netting(one, 0, enabled=True)
    exchange.set_netting(one, 5, enabled=False)
    exchange.commit()
    exchange = starts.start()
    assert (exchange.subaccounts(one), exchange.netting(one)) == (63, {0})


def test_money_that_moved_is_where_it_went(starts, one):
    exchange = starts.start()
    exchange.open_subaccount(one)
    first = exchange.transfer(one, "t1", 0, 1, 300)
    second = exchange.transfer(one, "t2", 0, 0, 50, exchange_index_to=2)
    exchange.commit()
    for _ in range(2):
        account = exchange.account(one)
        assert account.cash == {(0, 0): 1_000_000_000 - 350, (1, 0): 300, (0, 2): 50}
        assert account.deposited == 1_000_000_000
        assert exchange.store.transfers(one, ALL) == [second, first]
        exchange.venue.ledger.recount()
        exchange = starts.start()


def test_a_transfer_happens_once_for_ever_and_only_with_money_between_open_subaccounts(starts, one):
    exchange = starts.start()
    exchange.open_subaccount(one)
    exchange.transfer(one, "t1", 0, 1, 300)
    exchange.commit()
    exchange = starts.start()
    with pytest.raises(Refused) as refused:
        exchange.transfer(one, "t1", 0, 1, 300)
    assert (refused.value.status, refused.value.code) == (409, "transfer_already_exists")
    for source, target in ((0, 2), (2, 0), (0, -1), (64, 0)):
        with pytest.raises(Refused) as refused:
            exchange.transfer(one, "t2", source, target, 1)
        assert refused.value.status == 404
    with pytest.raises(Refused, match="insufficient_balance"):
        exchange.transfer(one, "t2", 1, 0, 301)
    assert exchange.account(one).cash[1, 0] == 300
    assert exchange.transfer(one, "t2", 1, 0, 300).number == 2


def test_a_transfer_that_was_not_committed_never_was(starts, one):
    exchange = starts.start()
    exchange.open_subaccount(one)
    exchange.commit()
    exchange.transfer(one, "t1", 0, 1, 300)
    exchange = starts.start()
    assert exchange.account(one).cash == {(0, 0): 1_000_000_000}
    exchange.transfer(one, "t1", 0, 1, 300)


def test_the_command_line_writes_beside_the_exchange(starts, one):
    exchange = starts.start()
    starts.send(exchange, one, BID, 100, 1)
    exchange.commit()
    store = Store(starts.directory)
    assert [order.ticker for order in store.orders(one, ALL)] == ["M"]
    store.close()
