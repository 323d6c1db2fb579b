"""The venue's REST interface, except order entry: market data, portfolio reads, API keys and subaccounts (sections 3, 4, 6, 7, 9 to 11).

No call of this client places, changes or cancels an order: those are in `orders`, which the fence may not import.
"""

from soloist_kalshi.rest_account import AccountCalls
from soloist_kalshi.rest_market import MarketReads
from soloist_kalshi.rest_portfolio import PortfolioReads
from soloist_kalshi.rest_transport import ReadPolicy

__all__ = ["ReadPolicy", "RestClient"]


class RestClient(MarketReads, PortfolioReads, AccountCalls):
    """One account's view of the REST interface over kept-alive connections. Use as `async with`.

    Errors are those of `errors`: VenueUnreachable and VenueUnavailable after the budget, VenueRejected and below at once,
    VenueProtocolError for a reply that is not the contract, VenueClockSkew before sending.
    """
