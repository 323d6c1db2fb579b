"""The venue's REST interface, except order entry: market data, portfolio and account, API keys and subaccounts.

No call in here places, changes or cancels an order: those are in `orders`.
"""

from soloist_kalshi.rest_account_writes import AccountWrites
from soloist_kalshi.rest_keys import KeyClient
from soloist_kalshi.rest_transport import ReadPolicy

__all__ = ["KeyClient", "ReadPolicy", "RestClient"]


class RestClient(KeyClient, AccountWrites):
    """One account's whole REST interface over kept-alive connections, but for orders. Use as `async with`; errors as in KeyClient."""
