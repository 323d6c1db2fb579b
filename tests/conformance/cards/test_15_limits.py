"""Token buckets: what is allowed, what it costs, and who shares it (section 4)."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest
from soloist_kalshi.errors import VenueForbidden
from soloist_kalshi.orders import Accepted, NotSent, OrderClient, Rejected
from soloist_kalshi.signing import Signer

from tests.conformance.cards import DEADLINE_MS, card, order, place

TIERS = {
    "basic": (200, 100),
    "advanced": (300, 300),
    "expert": (600, 600),
    "premier": (1200, 1200),
    "paragon": (2400, 2400),
    "prime": (4800, 4800),
    "prestige": (12_000, 9600),
}


async def accepted_of(desk, how_many):
    outcomes = [await desk.bid("0.10") for _ in range(how_many)]
    refused = [item for item in outcomes if isinstance(item, Rejected)]
    assert {(item.status, item.code) for item in refused} <= {(429, "too_many_requests")}
    return how_many - len(refused)


@card("C178", section="4", title="The limits of the account are readable, with tier and grants", demo=True)
async def test_the_limits(desk):
    limits = await desk.reads.get_account_limits()
    assert limits.usage_tier in TIERS
    assert limits.read.bucket_capacity >= limits.read.refill_rate > 0
    assert limits.write.bucket_capacity >= limits.write.refill_rate > 0


@pytest.mark.parametrize("tier", TIERS)
@card("C179", section="4", title="Each tier has its documented refill rates, those after 2026-09-24")
async def test_the_tiers(desks, tier):
    limits = await (await desks(tier=tier)).reads.get_account_limits()
    assert (limits.usage_tier, limits.read.refill_rate, limits.write.refill_rate) == (tier, *TIERS[tier])


@card(
    "C180",
    section="16",
    title="Bucket capacity: two seconds for basic and advanced reads and for writes above basic, or by switch 1, 2 or 3 s",
    switches=("bucket_capacity",),
)
async def test_the_capacity(exchange, desks):
    async def capacities(tier):
        limits = await (await desks(tier=tier)).reads.get_account_limits()
        return limits.read.bucket_capacity, limits.write.bucket_capacity

    assert await capacities("basic") == (400, 100)
    assert await capacities("advanced") == (600, 600)
    assert await capacities("expert") == (600, 1200)
    exchange.switch(bucket_capacity="3s")
    assert await capacities("advanced") == (900, 900)
    exchange.switch(bucket_capacity="1s")
    assert await capacities("basic") == (200, 100)


@card("C181", section="4", title="What each call costs is readable", demo=True)
async def test_the_costs(desk):
    costs = await desk.reads.get_endpoint_costs()
    assert costs.default_cost == 10
    listed = {
        (item.method, item.path.rpartition("/trade-api/v2")[2]): item.cost for item in costs.endpoint_costs
    }
    cancels = [
        cost for (method, path), cost in listed.items() if method == "DELETE" and "/events/orders/{" in path
    ]
    assert cancels == [2]


@card(
    "C182",
    section="4",
    title="A write costs 10 tokens, the bucket refills continuously, and a 429 took nothing",
    clock="virtual",
)
async def test_writes_and_refill(exchange, desk):
    assert await accepted_of(desk, 12) == 10
    assert len(await desk.reads.list_orders(subaccount=0)) == 10
    exchange.advance(50)
    assert await accepted_of(desk, 1) == 0
    exchange.advance(50)
    assert await accepted_of(desk, 2) == 1
    exchange.advance(60_000)
    assert await accepted_of(desk, 12) == 10


@card("C183", section="4", title="A cancel costs 2 tokens", clock="virtual")
async def test_cancels_are_cheap(exchange, desk):
    made = await desk.bid("0.10")
    assert await accepted_of(desk, 8) == 8  # 90 of 100 tokens
    outcomes = [await desk.cancel("unknown") for _ in range(5)]
    assert {item.status for item in outcomes} == {404}
    assert (await desk.cancel(made.order_id)).status == 429


@card("C184", section="4", title="Reads and writes have a bucket each", clock="virtual")
async def test_two_buckets(desk):
    assert await accepted_of(desk, 11) == 10
    assert len(await desk.reads.list_orders(subaccount=0)) == 10


@card(
    "C185",
    section="4",
    title="All keys of an account share its buckets; another account has its own",
    clock="virtual",
)
async def test_keys_share_a_bucket(exchange, desks):
    desk, other = await desks(), await desks()
    made = await desk.reads.generate_api_key("second")
    second = Signer.from_pem(made.api_key_id, made.private_key.encode())
    exchange.advance(1_000)
    assert await accepted_of(desk, 10) == 10
    async with exchange.orders(second) as orders:
        refused = await place(orders, order(desk.ticker, "bid", "0.10"))
    assert refused.status == 429
    assert isinstance(await other.bid("0.10"), Accepted)


@card("C186", section="4", title="Reads without a key do not draw", clock="virtual")
async def test_unsigned_reads_are_free(exchange, desk):
    async with exchange.rest(None) as reads:
        for _ in range(60):  # 600 tokens, and the bucket holds 400
            await reads.get_market(desk.ticker)
    assert desk.raw("GET", "/portfolio/balance").status_code == 200


@card("C187", section="4", title="Signed reads cost 10 tokens, a single order 2", clock="virtual")
async def test_what_reads_cost(desk):
    made = await desk.bid("0.10")
    statuses = [desk.raw("GET", f"/portfolio/orders/{made.order_id}").status_code for _ in range(10)]
    statuses += [desk.raw("GET", "/portfolio/balance").status_code for _ in range(39)]
    assert statuses == [200] * 48 + [429]  # 20 + 380 of 400 tokens


@card("C188", section="4", title="The upgrade to advanced needs an order among the last hundred, else 403")
async def test_the_upgrade(desk):
    with pytest.raises(VenueForbidden):
        await desk.reads.upgrade_api_usage_level()
    await desk.bid("0.10")
    await desk.reads.upgrade_api_usage_level()
    assert (await desk.reads.get_account_limits()).usage_tier == "advanced"


@card(
    "C189",
    section="4",
    title="The client sends no order that its account's bucket cannot pay, instead of being refused",
)
async def test_the_client_keeps_to_its_buckets(exchange, desk):
    limits = await desk.reads.get_account_limits()
    async with OrderClient(
        exchange.rest_url, desk.account.signer, ca_file=exchange.ca_file, buckets=desk.reads.buckets
    ) as orders:
        # All at once: the tokens are taken before the first byte goes out, so that no machine is too slow for this.
        outcomes = await asyncio.gather(
            *(
                orders.create(order(desk.ticker, "bid", "0.10"), subaccount=0, deadline_ms=DEADLINE_MS)
                for _ in range(3 * limits.write.bucket_capacity // 10)
            )
        )
    kinds = Counter(type(item) for item in outcomes)
    assert kinds[Rejected] == 0
    assert kinds[Accepted] >= limits.write.bucket_capacity // 10
    assert kinds[NotSent] > 0
