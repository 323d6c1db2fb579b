"""The market channels of one WebSocket session: which markets they are of, and how that changes while they are open."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from soloist_kalshi import frames
from soloist_kalshi.websocket import WebSocketClient

from soloist_trader.shell.market_choice import Change

CHANNELS: Final = ["orderbook_delta", "trade"]


class MarketSubscription:
    """Subscribes a session to its markets, and moves single markets in and out without touching the others."""

    def __init__(self, socket: WebSocketClient) -> None:
        self._socket = socket
        self._sids: dict[str, int] = {}
        self._asked = False

    def open(self, tickers: Sequence[str]) -> None:
        """A new session: subscribe to all."""
        self._sids.clear()
        self._asked = bool(tickers)
        if tickers:
            self._socket.subscribe(CHANNELS, list(tickers))

    def on_subscribed(self, message: frames.SubscribedMessage) -> None:
        """The venue named a subscription."""
        if message.channel in CHANNELS:
            self._sids[message.channel] = message.sid

    def change(self, change: Change, tickers: Sequence[str]) -> None:
        """Follow a change of the choice; `tickers` are all that are followed now. Without a session there is nothing to do."""
        if not (change.added or change.gone) or not self._socket.is_open:
            return
        if not self._asked:
            self.open(tickers)
        elif len(self._sids) < len(CHANNELS) or not tickers:
            self._socket.disconnect()  # amid subscribing, or with nothing left: a new session has the right markets
        else:
            for sid in self._sids.values():
                if change.added:
                    self._socket.update_subscription(sid, "add_markets", change.added)
                if change.gone:
                    self._socket.update_subscription(sid, "delete_markets", change.gone)
