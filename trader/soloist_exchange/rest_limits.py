"""What calls cost, who pays, and what an account may spend (section 4)."""

from collections.abc import Callable

import msgspec
from soloist_kalshi import messages
from soloist_kalshi.limits import TokenBucket

from soloist_exchange import rest_query as query
from soloist_exchange.errors import Refused
from soloist_exchange.rest_call import Reply, Request, call

__all__ = ["ROUTES", "too_many", "write_cost"]

UPGRADE_COST = 30


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
    """Return a shard's own Write bucket of the caller."""
    return request.exchange.buckets(request.sender.account_id, shard).write


# ---------------------------------------------------------------------- calls


def account_limits(request: Request) -> Reply:
    """GET /account/limits; an account above basic has a grant that says why."""
    limits = request.exchange.limits(request.sender.account_id)
    grants = []
    if limits.usage_tier != "basic":
        level = limits.usage_tier
        grants = [messages.LimitGrant(exchange_instance="event_contract", level=level, source="manual")]
    return 200, msgspec.structs.replace(limits, grants=grants)


def upgrade(request: Request) -> Reply:
    """POST /account/api_usage_level/upgrade: from basic to advanced; without an order through the API it is refused (403)."""
    query.require_unrestricted(request)
    request.exchange.upgrade(request.sender.account_id)
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
