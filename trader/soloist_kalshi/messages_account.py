"""REST bodies of limits, API keys and subaccounts (sections 4, 10 and 11)."""

from typing import Annotated, Literal

import msgspec

from soloist_kalshi.messages_base import Body, Cursor, DollarText

__all__ = [
    "AccountLimits",
    "ApiKey",
    "ApiKeyList",
    "BucketLimits",
    "CreateApiKey",
    "CreateSubaccountReply",
    "CreatedApiKey",
    "EndpointCost",
    "EndpointCosts",
    "GenerateApiKey",
    "GeneratedApiKey",
    "LimitGrant",
    "ShardTransfer",
    "ShardTransferPage",
    "ShardTransferRecord",
    "ShardTransferRecordReply",
    "ShardTransferReply",
    "SubaccountBalance",
    "SubaccountBalances",
    "SubaccountNetting",
    "SubaccountNettingList",
    "SubaccountTransfer",
    "TransferPage",
    "TransferRecord",
]


class BucketLimits(Body, frozen=True, kw_only=True):
    """One token bucket: tokens per second and tokens at most."""

    refill_rate: Annotated[int, msgspec.Meta(ge=1)]
    bucket_capacity: Annotated[int, msgspec.Meta(ge=1)]


class LimitGrant(Body, frozen=True, kw_only=True):
    """Why an account has its tier."""

    exchange_instance: str
    level: str
    source: str
    expires_ts: int | None = None


class AccountLimits(Body, frozen=True, kw_only=True):
    """GET /account/limits."""

    usage_tier: str
    read: BucketLimits
    write: BucketLimits
    grants: list[LimitGrant] | None = None


class EndpointCost(Body, frozen=True, kw_only=True):
    """What one call takes from its bucket."""

    method: str
    path: str
    cost: int


class EndpointCosts(Body, frozen=True, kw_only=True):
    """GET /account/endpoint_costs."""

    default_cost: int
    endpoint_costs: list[EndpointCost]


class ApiKey(Body, frozen=True, kw_only=True):
    """One API key of the account, without its secret."""

    api_key_id: str
    name: str
    scopes: list[str]
    subaccount: int | None = None
    key_type: Literal["rsa", "ed25519"] | None = None


class ApiKeyList(Body, frozen=True, kw_only=True):
    """GET /api_keys."""

    api_keys: list[ApiKey]
    api_key_region_expiration_ts: int | None = None


class CreateApiKey(Body, frozen=True, kw_only=True):
    """Body of POST /api_keys: a key whose private part never leaves us; no scopes means read and write."""

    name: str
    public_key: str
    scopes: list[str] | None = None
    subaccount: int | None = None


class CreatedApiKey(Body, frozen=True, kw_only=True):
    """201 of POST /api_keys."""

    api_key_id: str


class GenerateApiKey(Body, frozen=True, kw_only=True):
    """Body of POST /api_keys/generate; no scopes means read and write."""

    name: str
    key_type: Literal["rsa", "ed25519"] | None = None
    scopes: list[str] | None = None
    subaccount: int | None = None


class GeneratedApiKey(Body, frozen=True, kw_only=True):
    """The only reply that ever carries the private key (PEM)."""

    api_key_id: str
    private_key: str
    key_type: Literal["rsa", "ed25519"] | None = None
    warning: str | None = None

    def __repr__(self) -> str:
        return f"GeneratedApiKey(api_key_id={self.api_key_id!r})"


class CreateSubaccountReply(Body, frozen=True, kw_only=True):
    """201 of POST /portfolio/subaccounts."""

    subaccount_number: int


class SubaccountBalance(Body, frozen=True, kw_only=True):
    """Cash of one subaccount; `updated_ts` is in Unix seconds."""

    subaccount_number: int
    balance: DollarText
    updated_ts: int
    exchange_index: int | None = None


class SubaccountBalances(Body, frozen=True, kw_only=True):
    """GET /portfolio/subaccounts/balances."""

    subaccount_balances: list[SubaccountBalance]


class SubaccountTransfer(Body, frozen=True, kw_only=True):
    """Body of POST /portfolio/subaccounts/transfer, on one shard; `client_transfer_id` may be used once, for good."""

    client_transfer_id: str
    from_subaccount: int
    to_subaccount: int
    amount_cents: Annotated[int, msgspec.Meta(ge=1)]
    exchange_index: int | None = None


class TransferRecord(Body, frozen=True, kw_only=True):
    """One transfer that happened; `created_ts` is in Unix seconds."""

    transfer_id: str
    from_subaccount: int
    to_subaccount: int
    amount_cents: int
    created_ts: int
    exchange_index: int | None = None


class TransferPage(Body, frozen=True, kw_only=True):
    """GET /portfolio/subaccounts/transfers, newest first."""

    transfers: list[TransferRecord]
    cursor: Cursor = msgspec.UNSET


class SubaccountNetting(Body, frozen=True, kw_only=True):
    """Whether opposite positions of one subaccount net; also the body of PUT /portfolio/subaccounts/netting."""

    subaccount_number: int
    enabled: bool
    exchange_index: int | None = None


class SubaccountNettingList(Body, frozen=True, kw_only=True):
    """GET /portfolio/subaccounts/netting."""

    netting_configs: list[SubaccountNetting]


class ShardTransfer(Body, frozen=True, kw_only=True):
    """Body of POST /portfolio/intra_exchange_instance_transfer; `amount` is in 1/10 000 dollar. It has no id of ours.

    Source and destination are `event_contract`; the venue's other instance is not part of this contract.
    """

    source: str
    destination: str
    amount: Annotated[int, msgspec.Meta(ge=1)]
    source_exchange_shard: int
    destination_exchange_shard: int
    source_subaccount: int | None = None
    destination_subaccount: int | None = None


class ShardTransferReply(Body, frozen=True, kw_only=True):
    """200 of a transfer between shards."""

    transfer_id: str


class ShardTransferRecord(Body, frozen=True, kw_only=True):
    """One transfer between shards; `created_ts` is in Unix seconds."""

    transfer_id: str
    source: str
    destination: str
    source_exchange_shard: int
    destination_exchange_shard: int
    amount: DollarText
    status: str
    created_ts: int


class ShardTransferPage(Body, frozen=True, kw_only=True):
    """GET /portfolio/intra_exchange_instance_transfers, newest first."""

    transfers: list[ShardTransferRecord]
    cursor: Cursor = msgspec.UNSET


class ShardTransferRecordReply(Body, frozen=True, kw_only=True):
    """GET /portfolio/intra_exchange_instance_transfers/{transfer_id}."""

    transfer: ShardTransferRecord
