"""The venue's public demo as a place for cards: its addresses, the one account of whoever runs it, and a market of its own choice.

It takes SOLOIST_DEMO_KEY_ID and SOLOIST_DEMO_KEY_FILE (PEM). Cards that run there read, or place post-only orders of one contract
at one cent and cancel them; nothing there trades.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

import httpx
from soloist_kalshi.numbers import price_from_dollars
from soloist_kalshi.orders import OrderClient
from soloist_kalshi.rest import RestClient
from soloist_kalshi.signing import Signer

from tests.conformance.exchange_process import Account

__all__ = ["KEY_FILE", "KEY_ID", "DemoVenue", "missing_settings"]

# Two settings, as at the venue: never derive one from the other (section 1).
REST_URL = "https://external-api.demo.kalshi.co/trade-api/v2"
WS_URL = "wss://external-api-ws.demo.kalshi.co/trade-api/ws/v2"
KEY_ID, KEY_FILE = "SOLOIST_DEMO_KEY_ID", "SOLOIST_DEMO_KEY_FILE"
# Tier basic refills its whole Write bucket in a second, and no demo-safe card takes more than that (section 4).
_CARD_S = 1.0
# A market is good for cards when one cent is far below its best bid.
_LOWEST_BID = price_from_dollars("0.10")


def missing_settings() -> str:
    """Return what is missing to run at the demo, in one sentence; empty when nothing is."""
    absent = [name for name in (KEY_ID, KEY_FILE) if not os.environ.get(name)]
    if absent:
        return (
            f"VENUE=demo needs an API key of a demo account: set {KEY_ID} to its id and {KEY_FILE} to the "
            f"file with its private key (PEM); missing: {', '.join(absent)}"
        )
    path = Path(os.environ[KEY_FILE])
    return "" if path.is_file() else f"{KEY_FILE} names {path}, which is not a file"


class DemoVenue:
    """The same surface as `ExchangeProcess` as far as a demo-safe card needs it."""

    rest_url = REST_URL
    ws_url = WS_URL
    ca_file = None

    def __init__(self) -> None:
        self._tickers: list[str] = []
        self._next_card_s = 0.0

    def rest(self, signer: Signer | None) -> RestClient:
        """Reads and API keys; use as `async with`."""
        return RestClient(self.rest_url, signer)

    def orders(self, signer: Signer) -> OrderClient:
        """The order path; use as `async with`."""
        return OrderClient(self.rest_url, signer)

    def account(self) -> Account:
        """Return the one account, whose money and history nobody knows; no sooner than its buckets can be full again."""
        time.sleep(max(0.0, self._next_card_s - time.monotonic()))
        self._next_card_s = time.monotonic() + _CARD_S
        pem = Path(os.environ[KEY_FILE]).read_bytes()
        key_id = os.environ[KEY_ID]
        return Account("demo", key_id, pem, Signer.from_pem(key_id, pem))

    def ticker(self) -> str:
        """Return an open market with whole cents and a bid far above one cent; another one each time, while there are some."""
        if not self._tickers:
            query = {"status": "open", "limit": "1000", "mve_filter": "exclude"}
            markets = httpx.get(f"{self.rest_url}/markets", params=query, timeout=10).json()["markets"]
            self._tickers = [
                market["ticker"]
                for market in markets
                if market["price_level_structure"] == "linear_cent"
                and price_from_dollars(market["yes_bid_dollars"]) >= _LOWEST_BID
            ]
            assert self._tickers, "the demo has no open market with whole cents and a bid of 0.10 or more"
        return self._tickers.pop()
