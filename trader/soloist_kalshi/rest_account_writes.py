"""Writes of an account that are neither orders nor the rotation of keys: tier, own keys, subaccounts, transfers (sections 4, 10, 11).

Each is sent once: VenueNotSent says that it did not happen. After VenueOutcomeUnknown or VenueUnavailable (5xx) whoever calls finds
out what became of it.
"""

from soloist_kalshi.codec import decode, encode
from soloist_kalshi.endpoint import check_subaccount
from soloist_kalshi.messages import (
    CreateApiKey,
    CreatedApiKey,
    CreateSubaccountReply,
    ShardTransfer,
    ShardTransferReply,
    SubaccountNetting,
    SubaccountTransfer,
)
from soloist_kalshi.rest_transport import RestTransport

__all__ = ["AccountWrites"]


class AccountWrites(RestTransport):
    """What changes an account or moves its money."""

    async def upgrade_api_usage_level(self) -> None:
        """Ask for the advanced tier; VenueForbidden when too few of the last orders came through the API. Sent once."""
        await self._write("POST", "/account/api_usage_level/upgrade", None)

    async def create_api_key(
        self,
        name: str,
        public_key: str,
        scopes: list[str] | None = None,
        subaccount: int | None = None,
    ) -> str:
        """Register a public key (PEM) and return its id. Sent once. VenueForbidden when the account's tier does not allow it."""
        if subaccount is not None:
            check_subaccount(subaccount)
        request = CreateApiKey(name=name, public_key=public_key, scopes=scopes, subaccount=subaccount)
        body = await self._write("POST", "/api_keys", encode(request))
        return decode(body, CreatedApiKey, self.unknown_fields).api_key_id

    async def create_subaccount(self) -> int:
        """Open the next subaccount and return its number. Sent once; after an unknown outcome look at the balances."""
        body = await self._write("POST", "/portfolio/subaccounts", b"{}")
        return decode(body, CreateSubaccountReply, self.unknown_fields).subaccount_number

    async def transfer(self, transfer: SubaccountTransfer) -> None:
        """Move money between subaccounts. Sent once.

        The same `client_transfer_id` never moves money twice: after an unknown outcome the same transfer may be sent again, and
        VenueConflict then says that it had happened.
        """
        check_subaccount(transfer.from_subaccount)
        check_subaccount(transfer.to_subaccount)
        await self._write("POST", "/portfolio/subaccounts/transfer", encode(transfer))

    async def transfer_between_shards(self, transfer: ShardTransfer) -> str:
        """Move money between shards and return the venue's id of the transfer. Sent once.

        It carries no id of ours: after an unknown outcome look at `list_shard_transfers` before anything is sent again.
        """
        for subaccount in (transfer.source_subaccount, transfer.destination_subaccount):
            check_subaccount(subaccount or 0)
        body = await self._write("POST", "/portfolio/intra_exchange_instance_transfer", encode(transfer))
        return decode(body, ShardTransferReply, self.unknown_fields).transfer_id

    async def set_subaccount_netting(self, *, subaccount: int, enabled: bool) -> None:
        """Say whether a subaccount nets opposite positions. Sent once, and repeatable by the caller without harm."""
        request = SubaccountNetting(subaccount_number=check_subaccount(subaccount), enabled=enabled)
        await self._write("PUT", "/portfolio/subaccounts/netting", encode(request))
