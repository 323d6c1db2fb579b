"""All reads of the venue's REST interface, and the two writes that a rotation of keys needs.

The fence imports this and nothing else of the interface: with it nobody can place an order, move money or change an account.
"""

from soloist_kalshi.codec import decode, encode
from soloist_kalshi.endpoint import check_subaccount, path_segment
from soloist_kalshi.errors import VenueProtocolError
from soloist_kalshi.messages import GenerateApiKey, GeneratedApiKey
from soloist_kalshi.rest_account import AccountReads
from soloist_kalshi.rest_market import MarketReads
from soloist_kalshi.rest_portfolio import PortfolioReads
from soloist_kalshi.signing import KeyType

__all__ = ["KeyClient"]


class KeyClient(MarketReads, PortfolioReads, AccountReads):
    """Everything that can be read, and the two writes that a rotation of keys needs. Use as `async with`.

    Errors are those of `errors`: VenueUnreachable and VenueUnavailable after the budget, VenueRejected and below at once,
    VenueProtocolError for a reply that is not the contract, VenueClockSkew before sending. Writes say which VenueUnreachable it
    was: VenueNotSent, or VenueOutcomeUnknown.
    """

    async def generate_api_key(
        self,
        name: str,
        key_type: KeyType = "ed25519",
        scopes: list[str] | None = None,
        subaccount: int | None = None,
    ) -> GeneratedApiKey:
        """Make a key and return it with its private part, which the venue shows once. Sent once.

        After VenueOutcomeUnknown or VenueUnavailable the key may exist: find it by `name` in `list_api_keys` and delete it.
        `subaccount` binds the key to one; None leaves it unbound.
        """
        if subaccount is not None:
            check_subaccount(subaccount)
        request = GenerateApiKey(name=name, key_type=key_type, scopes=scopes, subaccount=subaccount)
        body = await self._write("POST", "/api_keys/generate", encode(request))
        try:
            return decode(body, GeneratedApiKey)
        except VenueProtocolError as error:
            # The raw reply may hold a private key: it goes into no exception and so into no log.
            raise VenueProtocolError(error.what, b"(withheld: may hold a private key)") from None

    async def delete_api_key(self, key_id: str) -> None:
        """Delete a key. VenueNotFound when it is unknown. Sent once."""
        await self._write("DELETE", f"/api_keys/{path_segment(key_id)}", None, template="/api_keys/{api_key}")
