"""What a state machine of this package may ask of the world, and what it is told in reply.

The machines (identify, takeover, rotation, release, audit) are generators: they yield one command and are sent its reply,
or a `FenceError` is thrown into them. They never wait, read a clock or open a socket themselves. The list of commands is
the whole power of the fence: keys, Secrets of its own epochs, taking orders back, and looking. There is no command that
places or changes an order.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from soloist_fence.api import EpochSecret, Slot, VenueKey

Reply = TypeVar("Reply")
T = TypeVar("T")


class Command(Generic[Reply]):
    """One request to the world; `Reply` is the type of the answer."""

    def ask(self) -> Generator[Command[Any], Any, Reply]:
        """Yield this command and return its reply, typed: `keys = yield from ListKeys().ask()`."""
        reply: Reply = yield self
        return reply


Machine = Generator[Command[Any], Any, T]
"""A protocol in progress; it returns a `T` when it has finished, or raises FenceError."""


# ---------------------------------------------------------------------------------------------- replies


@dataclass(frozen=True)
class IssuedKey:
    """A key that the venue just made. The private half exists here and nowhere else; it never appears in a repr."""

    key_id: str
    private_key_pem: str = field(repr=False)


@dataclass(frozen=True)
class OrderSighting:
    """One order of the account as the fence sees it: whose it is, and whether it still rests.

    `created_ms` is the venue's time of its acceptance (Unix ms), None when the venue did not say.
    """

    client_order_id: str
    resting: bool
    order_id: str
    ticker: str
    created_ms: int | None = None
    tombstone: bool = False
    """It only used up the id of an older epoch's order (soloist_kalshi.tombstones)."""


@dataclass(frozen=True)
class OrderListing:
    """The resting and the recent orders, complete up to `as_of_ms`: the venue's own word, in its time (Unix ms)."""

    as_of_ms: int
    orders: tuple[OrderSighting, ...]


@dataclass(frozen=True)
class OrderGroup:
    """An order group that an engine of the claim reported, and the epoch in which it did."""

    epoch: int
    group_id: str


@dataclass(frozen=True)
class ClaimView:
    """The AccountClaim, as far as the fence reads it."""

    epoch: int
    nonce: str
    nonces: frozenset[str]
    """Every nonce this claim ever issued, the current one included."""
    phase: str
    key_id: str | None = None
    """The key that became Active last, if the claim records one."""
    secret_name: str | None = None
    """The Secret of that key."""
    holder_uid: str | None = None
    """uid of the TradingBot, for the owner reference of the epoch Secret."""
    identity: str | None = None
    """The account that the claim is bound to, as `identify` named it."""
    since_ms: int | None = None
    """When the claim came into its phase, by the operator's clock (Unix ms)."""
    order_groups: tuple[OrderGroup, ...] = ()
    acknowledged_key_ids: frozenset[str] = frozenset()
    revoke_key_ids: frozenset[str] = frozenset()
    """Foreign keys that a person wants deleted, by their exact ids."""


@dataclass(frozen=True)
class LeaseView:
    """The engine's Lease: who was admitted, who renews, and which key it uses."""

    renewed_at: str
    """`spec.renewTime` as text; only ever compared for being different, so no two clocks have to agree."""
    admitted_pod_uid: str
    epoch: int
    pod_uid: str
    key_id: str


# ---------------------------------------------------------------------------------------------- looking


@dataclass(frozen=True)
class Now(Command[int]):
    """Milliseconds of CLOCK_BOOTTIME: it goes on while the machine is suspended."""


@dataclass(frozen=True)
class Sleep(Command[None]):
    """Let time pass."""

    duration_ms: int


@dataclass(frozen=True)
class ListKeys(Command[tuple[VenueKey, ...]]):
    """Every API key of the account."""


@dataclass(frozen=True)
class ProbeKey(Command[bool]):
    """A signed read with a key that we hold; True when the venue still accepts it, False on 401."""

    key: IssuedKey


@dataclass(frozen=True)
class VenueTime(Command[int]):
    """The venue's clock as well as it is known, Unix ms."""


@dataclass(frozen=True)
class ListOrders(Command[OrderListing]):
    """The resting orders of the claim's subaccount, and all of the last `look_back_s` seconds."""

    look_back_s: int = 600


@dataclass(frozen=True)
class ReadClaim(Command[ClaimView]):
    """The AccountClaim, read live."""


@dataclass(frozen=True)
class ReadLease(Command[LeaseView | None]):
    """The engine's Lease; None when it does not exist or no engine has ever written it."""


# ---------------------------------------------------------------------------------------------- changing


@dataclass(frozen=True)
class GenerateKey(Command[IssuedKey]):
    """Make a key at the venue. Failures: RestrictedKeyRefusedError (nothing made), NoAnswerError (perhaps made)."""

    name: str
    scopes: tuple[str, ...]
    subaccount: int | None
    key_type: str


@dataclass(frozen=True)
class DeleteKey(Command[None]):
    """Delete a key at the venue; a key that is already gone is as good."""

    key_id: str


@dataclass(frozen=True)
class CancelOrder(Command[None]):
    """Take one order back, by the venue's id; one that no longer rests is as good."""

    order_id: str
    ticker: str


@dataclass(frozen=True)
class DeleteOrderGroup(Command[None]):
    """Delete an order group, which cancels its orders; one that is already gone is as good."""

    group_id: str


@dataclass(frozen=True)
class CreateSecret(Command[None]):
    """Publish an epoch Secret under a name that must be new. FenceError: SecretExists."""

    name: str
    content: EpochSecret
    holder_uid: str | None


@dataclass(frozen=True)
class PatchSecret(Command[None]):
    """Change an epoch Secret if its `generation` still is `expected_generation`. FenceError: SecretMoved.

    Sets `generation` to `new_generation`, adds the slot `add` and removes the slot of generation `remove`.
    """

    name: str
    expected_generation: int
    new_generation: int
    add: Slot | None = None
    remove: int | None = None


@dataclass(frozen=True)
class DeleteSecret(Command[bool]):
    """Delete an epoch Secret; True when it was there."""

    name: str
