"""What calls cost, who pays, and what an account may spend (section 4)."""

from collections.abc import Callable
from weakref import WeakKeyDictionary

from soloist_kalshi import messages
from soloist_kalshi.limits import AccountBuckets, TokenBucket

from soloist_exchange import rest_query as query
from soloist_exchange.errors import Refused
from soloist_exchange.exchange import Exchange
from soloist_exchange.rest_call import Reply, Request, call
from soloist_exchange.store_rows import Range

__all__ = ["ROUTES", "too_many", "write_cost"]

UPGRADE_COST = 30
ORDERS_LOOKED_AT = 100

# The shards' own Write buckets, by account; they go with the account's other buckets.
_shards: "WeakKeyDictionary[AccountBuckets, dict[int, TokenBucket]]" = WeakKeyDictionary()


def too_many() -> Refused:
    """Return the refusal of a request that its bucket cannot pay."""
    return Refused(429, "too many requests", shape="text")


def write_cost(tokens: int, shard_of: Callable[[Request], int | None]) -> Callable[[Request], int]:
    """Return the cost function of a single order write: what the unscoped Write bucket pays.

    A write that names a shard above 0 is paid by that shard's own bucket instead, which is as large (raises Refused 429 when it is
    empty). `shard_of` returns None for what is routed by ticker: that is unscoped, and by switch bills every shard as well.
    """

    def cost(request: Request) -> int:
        shard = shard_of(request)
        if shard == 0:
            return tokens
        if shard is not None:
            if not _bucket(request, shard).try_take(tokens):
                raise too_many()
            return 0
        if request.exchange.venue.switches.auto_routed_bills_all_shards:
            _bill_all_shards(request, tokens)
        return tokens

    return cost


def _bill_all_shards(request: Request, tokens: int) -> None:
    """Take from every shard's bucket, or, when one of them or the unscoped one cannot pay, from none. Raises Refused 429."""
    venue = request.exchange.venue
    shards = {state.exchange_index for state in venue.markets.values()} - {0}
    buckets = [_bucket(request, shard) for shard in shards]
    unscoped = request.exchange.buckets(request.sender.account_id).write
    if any(bucket.tokens < tokens for bucket in (unscoped, *buckets)):
        raise too_many()
    for bucket in buckets:
        bucket.try_take(tokens)


def _bucket(request: Request, shard: int) -> TokenBucket:
    """Return a shard's Write bucket of the caller, of the size that the unscoped one has now."""
    own = request.exchange.buckets(request.sender.account_id)
    by_shard = _shards.setdefault(own, {})
    size = messages.BucketLimits(refill_rate=own.write.refill_rate, bucket_capacity=own.write.capacity)
    bucket = by_shard.get(shard)
    if bucket is None:
        clock_ms = request.exchange.clock_ms
        bucket = by_shard[shard] = TokenBucket(
            refill_rate=size.refill_rate, capacity=size.bucket_capacity, clock_us=lambda: clock_ms() * 1000
        )
    elif (bucket.refill_rate, bucket.capacity) != (size.refill_rate, size.bucket_capacity):
        bucket.resize(size)
    return bucket


# ---------------------------------------------------------------------- calls


def account_limits(request: Request) -> Reply:
    """GET /account/limits; an account above basic has a grant that says why."""
    return 200, _limits(request.exchange, request.sender.account_id)


def _limits(exchange: Exchange, account_id: int) -> messages.AccountLimits:
    tier, buckets = exchange.tier(account_id), exchange.buckets(account_id)
    grants = []
    if tier != "basic":
        grants = [messages.LimitGrant(exchange_instance="event_contract", level=tier, source="manual")]
    return messages.AccountLimits(
        usage_tier=tier,
        read=messages.BucketLimits(
            refill_rate=buckets.read.refill_rate, bucket_capacity=buckets.read.capacity
        ),
        write=messages.BucketLimits(
            refill_rate=buckets.write.refill_rate, bucket_capacity=buckets.write.capacity
        ),
        grants=grants,
    )


def upgrade(request: Request) -> Reply:
    """POST /account/api_usage_level/upgrade: advanced for whoever has an order among the last hundred, which all come by API here."""
    query.require_unrestricted(request)
    exchange, account_id = request.exchange, request.sender.account_id
    if not exchange.orders_view(account_id, Range(limit=ORDERS_LOOKED_AT)):
        raise Refused(403, "forbidden", "none of the last 100 orders was created through the API")
    if exchange.tier(account_id) == "basic":
        exchange.set_tier(account_id, "advanced")
    return 201, None


ROUTES = (
    call("GET", "/account/limits", "GetAccountApiLimits", account_limits),
    call(
        "POST",
        "/account/api_usage_level/upgrade",
        "UpgradeAccountApiUsageLevel",
        upgrade,
        scope="write",
        cost=UPGRADE_COST,
    ),
)
