"""The WebSocket half of the wire: commands, subscriptions, sequence numbers and frames (section 13)."""

from collections.abc import Callable
from dataclasses import dataclass, field

import msgspec
from soloist_kalshi import frames
from soloist_kalshi.numbers import count_to_text, price_to_dollars

from soloist_exchange import wire
from soloist_exchange.auth import Caller
from soloist_exchange.exchange import Exchange
from soloist_exchange.faults import Faults
from soloist_exchange.ledger import DOLLAR
from soloist_exchange.matching import LevelChange
from soloist_exchange.orders import BID, Order
from soloist_exchange.venue import Fill, Listener, MarketState

__all__ = ["Feed", "Session"]

CHANNELS = frozenset({"orderbook_delta", "ticker", "trade", "fill", "market_positions", "user_orders"})
NEEDS_MARKETS = frozenset({"orderbook_delta"})
COMMANDS = ("subscribe", "unsubscribe", "update_subscription", "list_subscriptions")
ACTIONS = ("add_markets", "delete_markets", "get_snapshot")

PARAMS_REQUIRED, CHANNELS_REQUIRED, UNKNOWN_COMMAND, UNKNOWN_SID = 2, 3, 5, 7
UNKNOWN_CHANNEL, INVALID_PARAMETER, ONE_SID, UNSUPPORTED_ACTION, MARKETS_REQUIRED = 8, 11, 12, 13, 14
SIDS_REQUIRED, ACTION_REQUIRED = 4, 15


@dataclass(slots=True)
class _Subscription:
    """One channel of one connection. `tickers` None = every market; `seq` counts snapshots, deltas and control frames alike."""

    sid: int
    channel: str
    tickers: set[str] | None
    yes_prices: bool = False
    seq: int = 0

    def next_seq(self) -> int:
        self.seq += 1
        return self.seq

    def wants(self, ticker: str) -> bool:
        return self.tickers is None or ticker in self.tickers


@dataclass(slots=True)
class Session:
    """One connection; `send` queues an encoded frame."""

    caller: Caller
    send: Callable[[bytes], None]
    close: Callable[[], None]
    subscriptions: dict[int, _Subscription] = field(default_factory=dict)
    last_sid: int = 0


class Feed(Listener):
    """All connections, and what each is told."""

    def __init__(self, exchange: Exchange, faults: Faults) -> None:
        self._exchange = exchange
        self._faults = faults
        self.sessions: list[Session] = []
        exchange.venue.listeners.append(self)

    def key_deleted(self, key_id: str) -> None:
        """End the connections of a key that was deleted (a switch of the venue's issue; closing is the default)."""
        for session in list(self.sessions):
            if session.caller.key.key_id == key_id:
                session.close()

    def disconnect(self, account: str) -> int:
        """End the connections of an account ("" = all) and return how many."""
        ended = [s for s in self.sessions if account in {"", s.caller.account}]
        for session in ended:
            session.close()
        return len(ended)

    # ------------------------------------------------------------------ commands

    def command(self, session: Session, raw: str) -> None:
        """Carry out one command frame, or answer with the error of section 13.2."""
        try:
            command = msgspec.json.decode(raw, type=frames.Command)
        except msgspec.DecodeError:
            self._refuse(session, *_diagnosis(raw))
            return
        if isinstance(command, frames.SubscribeCommand):
            self._subscribe(session, command)
        elif isinstance(command, frames.UnsubscribeCommand):
            self._unsubscribe(session, command)
        elif isinstance(command, frames.UpdateSubscriptionCommand):
            self._update(session, command)
        else:
            listed = [_info(item) for item in session.subscriptions.values()]
            self._send(session, frames.OkFrame(id=command.id, msg=listed))

    def _subscribe(self, session: Session, command: frames.SubscribeCommand) -> None:
        wanted = command.params
        tickers = set(wanted.market_tickers or ([wanted.market_ticker] if wanted.market_ticker else []))
        if not wanted.channels:
            self._refuse(session, command.id, CHANNELS_REQUIRED, "channels required")
            return
        for channel in wanted.channels:
            if channel not in CHANNELS:
                self._refuse(session, command.id, UNKNOWN_CHANNEL, f"unknown channel {channel}")
            elif channel in NEEDS_MARKETS and not tickers:
                self._refuse(session, command.id, MARKETS_REQUIRED, "market ticker required")
            else:
                self._open(session, command, channel, tickers)

    def _open(
        self, session: Session, command: frames.SubscribeCommand, channel: str, tickers: set[str]
    ) -> None:
        """Open a channel. One that is open already keeps its sid and gets the markets that are new to it (section 13.2)."""
        found = next((item for item in session.subscriptions.values() if item.channel == channel), None)
        if found is None:
            session.last_sid += 1
            found = _Subscription(
                session.last_sid, channel, tickers or None, yes_prices=bool(command.params.use_yes_price)
            )
            session.subscriptions[found.sid] = found
            new = tickers
        else:
            new = tickers - (found.tickers or set())
            found.tickers = found.tickers | tickers if found.tickers and tickers else None
        told = frames.SubscribedMessage(channel=channel, sid=found.sid)
        self._send(session, frames.SubscribedFrame(id=command.id, msg=told))
        if channel == "orderbook_delta":
            self._snapshots(session, found, sorted(new))
        elif channel == "ticker" and command.params.send_initial_snapshot:
            self._tops(session, found)

    def _tops(self, session: Session, found: _Subscription) -> None:
        now_ms = self._exchange.clock_ms()
        for market in self._exchange.venue.markets.values():
            if found.wants(market.ticker):
                told = wire.ticker_message(market, now_ms)
                self._send(session, frames.TickerFrame(sid=found.sid, msg=told))

    def _unsubscribe(self, session: Session, command: frames.UnsubscribeCommand) -> None:
        for sid in command.params.sids:
            ended = session.subscriptions.pop(sid, None)
            if ended is None:
                self._refuse(session, command.id, UNKNOWN_SID, f"unknown subscription id {sid}")
            else:
                self._send(session, frames.UnsubscribedFrame(id=command.id, sid=sid, seq=ended.next_seq()))

    def _update(self, session: Session, command: frames.UpdateSubscriptionCommand) -> None:
        wanted = command.params
        sids = wanted.sids or ([wanted.sid] if wanted.sid else [])
        tickers = wanted.market_tickers or ([wanted.market_ticker] if wanted.market_ticker else [])
        if len(sids) != 1:
            self._refuse(session, command.id, ONE_SID, "exactly one subscription id")
            return
        found = session.subscriptions.get(sids[0])
        if found is None:
            self._refuse(session, command.id, UNKNOWN_SID, f"unknown subscription id {sids[0]}")
            return
        if not tickers:
            self._refuse(session, command.id, MARKETS_REQUIRED, "market ticker required")
            return
        if wanted.action == "get_snapshot":
            self._snapshots(session, found, tickers, command.id)
            return
        held = found.tickers or set()
        new = [ticker for ticker in tickers if ticker not in held]
        found.tickers = held | set(tickers) if wanted.action == "add_markets" else held - set(tickers)
        told = frames.OkMessage(market_tickers=sorted(found.tickers))
        self._send(session, frames.OkFrame(id=command.id, sid=found.sid, seq=found.next_seq(), msg=told))
        if wanted.action == "add_markets" and found.channel == "orderbook_delta":
            self._snapshots(session, found, new)

    def _snapshots(
        self, session: Session, found: _Subscription, tickers: list[str], command_id: int | None = None
    ) -> None:
        for ticker in tickers:
            state = self._exchange.venue.markets.get(ticker)
            if state is None:
                self._refuse(session, command_id, INVALID_PARAMETER, "unknown market", ticker)
                continue
            yes, no = wire.book_levels(state.book, yes_prices=found.yes_prices)
            message = frames.OrderbookSnapshotMessage(
                market_ticker=ticker, market_id=ticker, yes_dollars_fp=yes, no_dollars_fp=no
            )
            frame = frames.OrderbookSnapshotFrame(
                sid=found.sid, seq=found.next_seq(), msg=message, id=command_id
            )
            self._send(session, frame)

    def _refuse(
        self, session: Session, command_id: int | None, code: int, text: str, ticker: str | None = None
    ) -> None:
        message = frames.ErrorMessage(code=code, msg=text, market_ticker=ticker)
        self._send(session, frames.ErrorFrame(id=command_id, msg=message))

    # ------------------------------------------------------------------ what the venue tells (see venue.Listener)

    def on_accepted(self, order: Order) -> None:
        """The reply and the order's next state tell its owner."""

    def on_book(self, market: MarketState, changes: list[LevelChange]) -> None:
        """Send deltas and tops of a changed book."""
        now_ms = self._exchange.clock_ms()
        touched = [
            (session, found)
            for session in self.sessions
            for found in session.subscriptions.values()
            if found.channel in {"orderbook_delta", "ticker"} and found.wants(market.ticker)
        ]
        for session, found in touched:
            if found.channel == "ticker":
                told = wire.ticker_message(market, now_ms)
                self._channel(session, found, frames.TickerFrame(sid=found.sid, msg=told))
                continue
            for change in changes:
                self._delta(session, found, market, change, now_ms)

    def _delta(
        self, session: Session, found: _Subscription, market: MarketState, change: LevelChange, now_ms: int
    ) -> None:
        own = change.order.account_id == session.caller.account_id
        message = frames.OrderbookDeltaMessage(
            market_ticker=market.ticker,
            market_id=market.ticker,
            price_dollars=price_to_dollars(
                change.price if change.side == BID or found.yes_prices else DOLLAR - change.price
            ),
            delta_fp=count_to_text(change.delta),
            side=wire.outcome(change.side),
            ts=wire.rfc3339(now_ms),
            ts_ms=now_ms,
            client_order_id=change.order.client_order_id if own else None,
            subaccount=change.order.subaccount if own else None,
        )
        frame = frames.OrderbookDeltaFrame(sid=found.sid, seq=found.next_seq(), msg=message)
        self._channel(session, found, frame)

    def on_trade(self, market: MarketState, fill: Fill) -> None:
        """Send a public trade."""
        for session in self.sessions:
            for found in session.subscriptions.values():
                if found.channel == "trade" and found.wants(market.ticker):
                    message = wire.trade_message(market, fill)
                    self._channel(
                        session, found, frames.TradeFrame(sid=found.sid, seq=found.next_seq(), msg=message)
                    )

    def on_fill(self, fill: Fill) -> None:
        """Send a fill, and the position after it, to its owner."""
        for session, found in self._private(fill.order, "fill"):
            self._channel(session, found, frames.FillFrame(sid=found.sid, msg=wire.fill_message(fill)))
        order = fill.order
        for session, found in self._private(order, "market_positions"):
            held = self._exchange.account(order.account_id).position(order.subaccount, order.ticker)
            message = wire.position_message(order.account_id, order.subaccount, order.ticker, held)
            self._channel(session, found, frames.MarketPositionFrame(sid=found.sid, msg=message))

    def on_order(self, order: Order) -> None:
        """Send an order's new state to its owner."""
        for session, found in self._private(order, "user_orders"):
            self._channel(
                session, found, frames.UserOrderFrame(sid=found.sid, msg=wire.user_order_message(order))
            )

    def _private(self, order: Order, channel: str) -> list[tuple[Session, _Subscription]]:
        """Return the owner's subscriptions of a private channel; a restricted key hears of its subaccount only."""
        return [
            (session, found)
            for session in self.sessions
            if session.caller.account_id == order.account_id
            and session.caller.key.subaccount in {None, order.subaccount}
            for found in session.subscriptions.values()
            if found.channel == channel and found.wants(order.ticker)
        ]

    def _channel(self, session: Session, found: _Subscription, frame: frames.Frame) -> None:
        if not self._faults.drops_frame(session.caller.account, found.channel):
            self._send(session, frame)

    def _send(self, session: Session, frame: frames.Frame) -> None:
        session.send(msgspec.json.encode(frame))


def _info(item: _Subscription) -> frames.SubscriptionInfo:
    tickers = sorted(item.tickers) if item.tickers is not None else None
    return frames.SubscriptionInfo(channel=item.channel, sid=item.sid, market_tickers=tickers)


def _diagnosis(raw: str) -> tuple[int | None, int, str]:
    """Say what is wrong with a command that could not be read: its id where there is one, code and text."""
    try:
        fields = msgspec.json.decode(raw)
    except msgspec.DecodeError:
        return None, 1, "unable to process message"
    if not isinstance(fields, dict):
        return None, 1, "unable to process message"
    found = fields.get("id")
    command_id = found if isinstance(found, int) and found >= 1 else None
    if fields.get("cmd") not in COMMANDS:
        return command_id, UNKNOWN_COMMAND, "unknown command"
    params = fields.get("params")
    if not isinstance(params, dict):
        return command_id, PARAMS_REQUIRED, "params required"
    return command_id, *_parameter_diagnosis(fields["cmd"], params)


def _parameter_diagnosis(name: str, params: dict[str, object]) -> tuple[int, str]:
    if name == "subscribe" and "channels" not in params:
        return CHANNELS_REQUIRED, "channels required"
    if name == "unsubscribe" and "sids" not in params:
        return SIDS_REQUIRED, "subscription ids required"
    if name == "update_subscription" and "action" not in params:
        return ACTION_REQUIRED, "action required"
    if name == "update_subscription" and params["action"] not in ACTIONS:
        return UNSUPPORTED_ACTION, "unsupported action"
    return INVALID_PARAMETER, "invalid parameter"
