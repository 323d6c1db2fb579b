import pytest
from soloist_kalshi.errors import VenueKeyError
from soloist_kalshi.keys import KeySlot, SignerSource
from soloist_kalshi.limits import AccountBuckets, CostTable, TokenBucket
from soloist_kalshi.messages import AccountLimits, BucketLimits, EndpointCost, EndpointCosts
from soloist_kalshi.signing import Signer, generate_private_key

PEM = generate_private_key("ed25519").private_pem


def slot(generation):
    return KeySlot(generation, Signer.from_pem(f"key-{generation}", PEM))


def test_a_candidate_signs_only_after_promotion():
    source = SignerSource(slot(1).signer, 1)
    assert source.load([slot(2), slot(1)]) == (source.slots[1],)
    assert (source.current.key_id, source.generation) == ("key-1", 1)
    source.promote(2)
    assert (source.current.key_id, source.generation) == ("key-2", 2)
    assert source.load([slot(2), slot(1)]) == ()


def test_a_removed_key_signs_until_its_successor_is_promoted():
    source = SignerSource(slot(1).signer, 1)
    [candidate] = source.load([slot(2)])
    assert source.current.key_id == "key-1"
    source.promote(candidate.generation)
    assert source.current.key_id == "key-2"


@pytest.mark.parametrize("generations", [[], [1, 1], [1, 2, 3]])
def test_slots_that_cannot_be(generations):
    source = SignerSource(slot(1).signer, 1)
    with pytest.raises(VenueKeyError):
        source.load([slot(number) for number in generations])
    assert [item.generation for item in source.slots] == [1]


def test_only_a_loaded_generation_is_promoted():
    with pytest.raises(VenueKeyError, match="generation 2"):
        SignerSource(slot(1).signer, 1).promote(2)


def test_a_bucket_refills_continuously_and_a_batch_fits_whole_or_not_at_all():
    now = 0
    bucket = TokenBucket(refill_rate=100, capacity=100, clock_us=lambda: now)
    assert bucket.try_take(100)
    assert not bucket.try_take(1)
    assert bucket.wait_us(10) == 100_000
    now = 99_999
    assert not bucket.try_take(10)
    now = 100_000
    assert bucket.try_take(10)
    assert bucket.wait_us(101) is None
    now = 50_000  # a clock that goes back adds nothing and takes nothing
    assert bucket.tokens == 0
    now = 10_000_000
    assert bucket.tokens == 100


def test_account_limits_resize_without_a_gift():
    buckets = AccountBuckets(lambda: 0)
    buckets.write.try_take(50)
    limits = BucketLimits(refill_rate=300, bucket_capacity=600)
    buckets.resize(AccountLimits(usage_tier="advanced", read=limits, write=limits))
    assert (buckets.write.tokens, buckets.write.capacity) == (50, 600)
    buckets.resize(
        AccountLimits(usage_tier="basic", read=limits, write=BucketLimits(refill_rate=10, bucket_capacity=20))
    )
    assert buckets.write.tokens == 20


def test_costs_of_the_contract_and_of_the_venue():
    documented = CostTable.documented()
    assert documented.cost("POST", "/portfolio/events/orders") == 10
    assert documented.cost("DELETE", "/portfolio/events/orders/{order_id}") == 2
    reply = EndpointCosts(default_cost=7, endpoint_costs=[EndpointCost(method="get", path="/x", cost=3)])
    table = CostTable.from_reply(reply)
    assert (table.cost("GET", "/x"), table.cost("GET", "/y")) == (3, 7)
