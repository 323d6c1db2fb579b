"""Reads of limits, API keys and subaccounts (sections 4, 10 and 11)."""

from collections.abc import Hashable
from typing import Final

from soloist_kalshi.endpoint import path_segment
from soloist_kalshi.limits import CostTable
from soloist_kalshi.messages import (
    AccountLimits,
    ApiKey,
    ApiKeyList,
    EndpointCosts,
    ShardTransferPage,
    ShardTransferRecord,
    ShardTransferRecordReply,
    SubaccountBalance,
    SubaccountBalances,
    SubaccountNetting,
    SubaccountNettingList,
    TransferPage,
    TransferRecord,
)
from soloist_kalshi.rest_transport import RestTransport

__all__ = ["AccountReads"]

_SHARD_TRANSFERS_PER_PAGE: Final = 500


class AccountReads(RestTransport):
    """What an account may do, with which keys, and where its money is."""

    async def get_account_limits(self) -> AccountLimits:
        """Return the account's token buckets, and wait by them from now on."""
        limits = await self._read("/account/limits", AccountLimits)
        self.buckets.resize(limits)
        return limits

    async def get_endpoint_costs(self) -> EndpointCosts:
        """Return what each call costs, and count by it from now on."""
        costs = await self._read("/account/endpoint_costs", EndpointCosts)
        self.costs = CostTable.from_reply(costs)
        return costs

    async def list_api_keys(self) -> list[ApiKey]:
        """Return the keys of the account, without secrets."""
        reply = await self._read("/api_keys", ApiKeyList)
        return reply.api_keys

    async def get_api_key_list(self) -> ApiKeyList:
        """Return the keys and when the account's location attestation lapses."""
        return await self._read("/api_keys", ApiKeyList)

    async def list_subaccount_balances(self) -> list[SubaccountBalance]:
        """Return the cash of every subaccount."""
        reply = await self._read("/portfolio/subaccounts/balances", SubaccountBalances)
        return reply.subaccount_balances

    async def list_transfers(self) -> list[TransferRecord]:
        """Return the transfers between subaccounts, newest first."""
        rows = self._rows("/portfolio/subaccounts/transfers", {}, TransferPage, _transfers)
        return [row async for row in rows]

    async def list_shard_transfers(self) -> list[ShardTransferRecord]:
        """Return the transfers between shards, newest first."""
        rows = self._rows(
            "/portfolio/intra_exchange_instance_transfers",
            {},
            ShardTransferPage,
            _shard_transfers,
            page_limit=_SHARD_TRANSFERS_PER_PAGE,
        )
        return [row async for row in rows]

    async def get_shard_transfer(self, transfer_id: str) -> ShardTransferRecord:
        """Return one transfer between shards; VenueNotFound when it is unknown."""
        path = f"/portfolio/intra_exchange_instance_transfers/{path_segment(transfer_id)}"
        template = "/portfolio/intra_exchange_instance_transfers/{transfer_id}"
        return (await self._read(path, ShardTransferRecordReply, template=template)).transfer

    async def list_subaccount_netting(self) -> list[SubaccountNetting]:
        """Return which subaccounts net opposite positions."""
        reply = await self._read("/portfolio/subaccounts/netting", SubaccountNettingList)
        return reply.netting_configs


def _transfers(page: TransferPage) -> list[tuple[Hashable, TransferRecord]]:
    return [(row.transfer_id, row) for row in page.transfers]


def _shard_transfers(page: ShardTransferPage) -> list[tuple[Hashable, ShardTransferRecord]]:
    return [(row.transfer_id, row) for row in page.transfers]
