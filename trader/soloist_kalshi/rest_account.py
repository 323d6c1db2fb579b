"""Limits, API keys and subaccounts (sections 4, 10 and 11).

The writes in here are sent once; whoever calls finds out what an unknown outcome was.
"""

from collections.abc import Hashable

from soloist_kalshi.codec import decode, encode
from soloist_kalshi.endpoint import check_subaccount, path_segment
from soloist_kalshi.errors import VenueProtocolError
from soloist_kalshi.limits import CostTable
from soloist_kalshi.messages import (
    AccountLimits,
    ApiKey,
    ApiKeyList,
    CreateApiKey,
    CreatedApiKey,
    CreateSubaccountReply,
    EndpointCosts,
    GenerateApiKey,
    GeneratedApiKey,
    SubaccountBalance,
    SubaccountBalances,
    SubaccountNetting,
    SubaccountNettingList,
    SubaccountTransfer,
    TransferPage,
    TransferRecord,
)
from soloist_kalshi.rest_transport import RestTransport
from soloist_kalshi.signing import KeyType

__all__ = ["AccountCalls"]


class AccountCalls(RestTransport):
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

    async def upgrade_api_usage_level(self) -> None:
        """Ask for the advanced tier; VenueForbidden when too few of the last orders came through the API. Sent once."""
        await self._write("POST", "/account/api_usage_level/upgrade", None)

    async def list_api_keys(self) -> list[ApiKey]:
        """Return the keys of the account, without secrets."""
        reply = await self._read("/api_keys", ApiKeyList)
        return reply.api_keys

    async def get_api_key_list(self) -> ApiKeyList:
        """Return the keys and when the account's location attestation lapses."""
        return await self._read("/api_keys", ApiKeyList)

    async def create_api_key(
        self,
        name: str,
        public_key: str,
        scopes: list[str] | None = None,
        subaccount: int | None = None,
    ) -> str:
        """Register a public key (PEM) and return its id. Sent once. VenueForbidden when the account's tier does not allow it."""
        request = CreateApiKey(
            name=name, public_key=public_key, scopes=scopes, subaccount=_bound_to(subaccount)
        )
        body = await self._write("POST", "/api_keys", encode(request))
        return decode(body, CreatedApiKey, self.unknown_fields).api_key_id

    async def generate_api_key(
        self,
        name: str,
        key_type: KeyType = "ed25519",
        scopes: list[str] | None = None,
        subaccount: int | None = None,
    ) -> GeneratedApiKey:
        """Make a key and return it with its private part, which the venue shows once. Sent once.

        After VenueUnreachable or VenueUnavailable the key may exist: find it by `name` in `list_api_keys` and delete it.
        `subaccount` binds the key to one; None leaves it unbound.
        """
        request = GenerateApiKey(
            name=name, key_type=key_type, scopes=scopes, subaccount=_bound_to(subaccount)
        )
        body = await self._write("POST", "/api_keys/generate", encode(request))
        try:
            return decode(body, GeneratedApiKey)
        except VenueProtocolError as error:
            # The raw reply may hold a private key: it goes into no exception and so into no log.
            raise VenueProtocolError(error.what, b"(withheld: may hold a private key)") from None

    async def delete_api_key(self, key_id: str) -> None:
        """Delete a key. VenueNotFound when it is unknown. Sent once."""
        await self._write("DELETE", f"/api_keys/{path_segment(key_id)}", None, template="/api_keys/{api_key}")

    async def create_subaccount(self) -> int:
        """Open the next subaccount and return its number. Sent once; after an unknown outcome look at the balances."""
        body = await self._write("POST", "/portfolio/subaccounts", b"{}")
        return decode(body, CreateSubaccountReply, self.unknown_fields).subaccount_number

    async def list_subaccount_balances(self) -> list[SubaccountBalance]:
        """Return the cash of every subaccount."""
        reply = await self._read("/portfolio/subaccounts/balances", SubaccountBalances)
        return reply.subaccount_balances

    async def transfer(self, transfer: SubaccountTransfer) -> None:
        """Move money between subaccounts or shards. Sent once.

        The same `client_transfer_id` never moves money twice: after an unknown outcome the same transfer may be sent again, and
        VenueConflict then says that it had happened.
        """
        check_subaccount(transfer.from_subaccount)
        check_subaccount(transfer.to_subaccount)
        await self._write("POST", "/portfolio/subaccounts/transfer", encode(transfer))

    async def list_transfers(self) -> list[TransferRecord]:
        """Return the transfers between subaccounts, newest first."""
        rows = self._rows("/portfolio/subaccounts/transfers", {}, TransferPage, _transfers)
        return [row async for row in rows]

    async def list_subaccount_netting(self) -> list[SubaccountNetting]:
        """Return which subaccounts net opposite positions."""
        reply = await self._read("/portfolio/subaccounts/netting", SubaccountNettingList)
        return reply.netting_configs

    async def set_subaccount_netting(self, *, subaccount: int, enabled: bool) -> None:
        """Say whether a subaccount nets opposite positions. Sent once, and repeatable by the caller without harm."""
        request = SubaccountNetting(subaccount_number=check_subaccount(subaccount), enabled=enabled)
        await self._write("PUT", "/portfolio/subaccounts/netting", encode(request))


def _bound_to(subaccount: int | None) -> int | None:
    return None if subaccount is None else check_subaccount(subaccount)


def _transfers(page: TransferPage) -> list[tuple[Hashable, TransferRecord]]:
    return [(row.transfer_id, row) for row in page.transfers]
