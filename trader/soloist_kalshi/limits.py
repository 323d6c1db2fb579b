"""Token buckets with continuous refill, in integers (section 4). The client waits by them, the exchange refuses by them."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final

from soloist_kalshi.messages import AccountLimits, BucketLimits, EndpointCosts

__all__ = [
    "BASIC_LIMITS",
    "BATCH_PATH",
    "CANCEL_COST",
    "DEFAULT_COST",
    "AccountBuckets",
    "CostTable",
    "TokenBucket",
]

DEFAULT_COST: Final = 10
CANCEL_COST: Final = 2
# Its costs are per item: a batch must fit into the bucket as a whole.
BATCH_PATH: Final = "/portfolio/events/orders/batched"
# What an account has at signup; believed only until /account/limits was read.
BASIC_LIMITS: Final = AccountLimits(
    usage_tier="basic",
    read=BucketLimits(refill_rate=200, bucket_capacity=200),
    write=BucketLimits(refill_rate=100, bucket_capacity=100),
)
_MICRO = 1_000_000


class TokenBucket:
    """Tokens refill at `refill_rate` per second up to `capacity`; it starts full.

    Inside, the level is in micro-tokens: one microsecond adds `refill_rate` of them, so nothing is rounded.
    """

    __slots__ = ("_clock_us", "_level", "_updated_us", "capacity", "refill_rate")

    def __init__(self, *, refill_rate: int, capacity: int, clock_us: Callable[[], int]) -> None:
        assert refill_rate > 0
        assert capacity > 0
        self.refill_rate = refill_rate
        self.capacity = capacity
        self._clock_us = clock_us
        self._level = capacity * _MICRO
        self._updated_us = clock_us()

    @property
    def tokens(self) -> int:
        """Whole tokens that are there now."""
        self._refill()
        return self._level // _MICRO

    def try_take(self, cost: int) -> bool:
        """Take `cost` tokens if all are there; nothing is taken otherwise."""
        assert cost >= 0
        self._refill()
        if self._level < cost * _MICRO:
            return False
        self._level -= cost * _MICRO
        return True

    def wait_us(self, cost: int) -> int | None:
        """Return the microseconds until `cost` tokens are there (0: now), or None when they never fit."""
        if cost > self.capacity:
            return None
        self._refill()
        missing = cost * _MICRO - self._level
        return max(0, -(-missing // self.refill_rate))

    def drain(self) -> None:
        """Empty the bucket: the venue said 429, so it knows of requests that this process does not."""
        self._refill()
        self._level = 0

    def resize(self, limits: BucketLimits) -> None:
        """Take over rate and capacity of the account; the level is kept, cut to the new capacity."""
        self._refill()
        self.refill_rate = limits.refill_rate
        self.capacity = limits.bucket_capacity
        self._level = min(self._level, self.capacity * _MICRO)

    def _refill(self) -> None:
        now_us = self._clock_us()
        elapsed_us = now_us - self._updated_us
        if elapsed_us > 0:  # an injected clock may stand still, and a clock that goes back adds nothing
            self._level = min(self.capacity * _MICRO, self._level + elapsed_us * self.refill_rate)
            self._updated_us = now_us


class AccountBuckets:
    """The Read and the Write bucket of one account; all its keys share them."""

    def __init__(self, clock_us: Callable[[], int], limits: AccountLimits = BASIC_LIMITS) -> None:
        self.read = TokenBucket(
            refill_rate=limits.read.refill_rate, capacity=limits.read.bucket_capacity, clock_us=clock_us
        )
        self.write = TokenBucket(
            refill_rate=limits.write.refill_rate, capacity=limits.write.bucket_capacity, clock_us=clock_us
        )

    def resize(self, limits: AccountLimits) -> None:
        """Take over what /account/limits says."""
        self.read.resize(limits.read)
        self.write.resize(limits.write)


@dataclass(frozen=True, slots=True)
class CostTable:
    """What a call takes, from /account/endpoint_costs; paths are templates such as `/portfolio/orders/{order_id}`."""

    default_cost: int
    costs: dict[tuple[str, str], int]
    _by_shape: dict[tuple[str, str], int] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        shapes = {(method, _shape(path)): cost for (method, path), cost in self.costs.items()}
        object.__setattr__(self, "_by_shape", shapes)

    @classmethod
    def documented(cls) -> "CostTable":
        """Return the costs of section 4, for exchange and client alike until the venue says otherwise."""
        return cls(
            DEFAULT_COST,
            {
                ("DELETE", "/portfolio/events/orders/{order_id}"): CANCEL_COST,
                ("DELETE", "/portfolio/events/orders"): CANCEL_COST,
                ("DELETE", BATCH_PATH): CANCEL_COST,
                ("GET", "/portfolio/orders/{order_id}"): 2,
                ("POST", "/account/api_usage_level/upgrade"): 30,
            },
        )

    @classmethod
    def from_reply(cls, reply: EndpointCosts) -> "CostTable":
        """Return the table of a venue's answer."""
        return cls(
            reply.default_cost, {(item.method.upper(), item.path): item.cost for item in reply.endpoint_costs}
        )

    def cost(self, method: str, path_template: str) -> int:
        """Return the tokens for a call, or for one item of a batch."""
        return self._by_shape.get((method, _shape(path_template)), self.default_cost)


@lru_cache(maxsize=512)
def _shape(path_template: str) -> str:
    """Return a template without what may differ between two spellings of it: the base path and the names of the parameters."""
    return re.sub(r"\{[^}]*\}", "{}", path_template.removeprefix("/trade-api/v2"))
