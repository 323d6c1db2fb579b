"""The WebSocket half of the wire: every connection is told what it subscribed to, through the faults in force (section 13)."""

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Final, Protocol
from zlib import crc32

from soloist_kalshi import frames
from soloist_kalshi.numbers import count_to_text

from soloist_exchange import feed_commands as commands
from soloist_exchange import wire_frames
from soloist_exchange.faults import Faults, FrameFault
from soloist_exchange.feed_commands import CommandError
from soloist_exchange.feed_desk import Desk, Limits, refuse
from soloist_exchange.feed_sessions import Session, Sessions, Subscription
from soloist_exchange.groups import Group
from soloist_exchange.ledger import Position
from soloist_exchange.listener import Fill, Listener, Settlement
from soloist_exchange.markets import EventState, MarketState
from soloist_exchange.matching import Book, LevelChange
from soloist_exchange.orders import Order
from soloist_exchange.venue import Venue

__all__ = ["Feed", "Limits", "Session"]

HELD_S = 0.2  # how long a frame waits at most for the one that is to overtake it
_TERMINAL: Final[dict[str, int]] = {"overflow": commands.OVERFLOW, "channel_error": commands.CHANNEL_ERROR}


class _Exchange(Protocol):
    """What the feed listens to."""

    @property
    def venue(self) -> Venue:
        """The venue."""


class Feed(Listener):
    """All connections, and what each is told.

    `later(delay_s, call)` runs a call later, on the event loop unless a test says otherwise; `monotonic_s` counts commands per second.
    """

    def __init__(
        self,
        exchange: _Exchange,
        faults: Faults,
        *,
        later: Callable[[float, Callable[[], None]], object] | None = None,
        monotonic_s: Callable[[], float] = time.monotonic,
        limits: Limits | None = None,
    ) -> None:
        self._venue = exchange.venue
        self._faults = faults
        self._later = later if later is not None else _on_the_loop
        self.sessions = Sessions()
        self._desk = Desk(self._venue, self.sessions, monotonic_s=monotonic_s, limits=limits)
        self._events = {market.event_ticker for market in self._venue.markets.values()}
        self._fills: list[tuple[Sequence[Subscription], bytes]] = []
        self._venue.listeners.append(self)

    # ------------------------------------------------------------------ connections

    def key_deleted(self, key_id: str) -> None:
        """End the connections of a deleted key once it works no more, or only what it may ask for (two switches)."""
        delay_ms = self._venue.switches.revocation_delay_ms
        if delay_ms:
            self._venue.at(self._venue.clock_ms() + delay_ms, lambda: self._revoke(key_id))
        else:
            self._revoke(key_id)

    def _revoke(self, key_id: str) -> None:
        for session in self.sessions:
            if session.caller.key.key_id == key_id:
                session.authenticated = False
                if self._venue.switches.deleted_key_ends_websocket:
                    session.close()

    def command(self, session: Session, raw: str | bytes) -> None:
        """Carry out one command, or answer with the error of section 13.2."""
        self._desk.command(session, raw)

    # ------------------------------------------------------------------ what the venue tells (see listener.Listener)

    def on_book(self, market: MarketState, changes: list[LevelChange]) -> None:
        """Send the deltas of a changed book, and a tick when its top changed."""
        hearers = self.sessions.of("orderbook_delta", market.ticker)
        if hearers:
            moment = wire_frames.Delta.moment(self._venue.now_ms)
            faulty = self._faults.hits_frames
            for change in changes:
                self._send_delta(hearers, market, change, moment, faulty=faulty)
        watchers = self.sessions.of("ticker", market.ticker)
        if watchers and any(_touches_top(market.book, change) for change in changes):
            self._tell(watchers, wire_frames.ticker(market, self._venue.now_ms))

    def _send_delta(
        self,
        hearers: Sequence[Subscription],
        market: MarketState,
        change: LevelChange,
        moment: bytes,
        *,
        faulty: bool,
    ) -> None:
        """Send one change. This is the hot path: a body is made once, and only its head for each connection."""
        delta = wire_frames.Delta(market.ticker, change, moment)
        owner, subaccount = change.order.account_id, change.order.subaccount
        usual = delta.body(yes_prices=False, own=False)
        for found in hearers:
            own = found.account_id == owner and found.subaccount in {None, subaccount}
            yes_prices = found.yes_prices
            body = delta.body(yes_prices=yes_prices, own=own) if own or yes_prices else usual
            found.seq = seq = found.seq + 1
            frame = b'%b%d,"msg":%b}' % (found.head, seq, body)
            if faulty:
                self._deliver(found, frame)
            else:
                found.send(frame)

    def on_fill(self, fill: Fill) -> None:
        """Prepare a fill, and the position after it, for its owner; they leave with their trade."""
        order = fill.order
        if hearers := self._owned("fill", order):
            self._fills.append((hearers, wire_frames.fill(fill)))
        self._fills.append(self._position(order.account_id, order.subaccount, order.ticker))

    def on_trade(self, market: MarketState, fill: Fill) -> None:
        """Send a public trade and the fills that are its two sides, in an order that depends on the trade: none is defined."""
        fills, self._fills = self._fills, []
        hearers = self.sessions.of("trade", market.ticker)
        told: list[tuple[Sequence[Subscription], bytes]] = (
            [(hearers, wire_frames.trade(fill))] if hearers else []
        )
        trade_first = crc32(fill.trade_id.encode()) & 1
        for heard_by, body in told + fills if trade_first else fills + told:
            self._tell(heard_by, body)

    def on_settlement(self, settlement: Settlement) -> None:
        """Send the position that is over."""
        self._tell(*self._position(settlement.account_id, settlement.subaccount, settlement.ticker))

    def _position(
        self, account_id: int, subaccount: int, ticker: str
    ) -> tuple[Sequence[Subscription], bytes]:
        """Return who hears of a position, and what."""
        hearers = self.sessions.owned("market_positions", account_id, subaccount, ticker)
        if not hearers:
            return hearers, b""
        held = self._venue.ledger.accounts[account_id].positions.get((subaccount, ticker), Position())
        return hearers, wire_frames.position(account_id, subaccount, ticker, held)

    def on_order(self, order: Order) -> None:
        """Send an order's new state to its owner."""
        if hearers := self._owned("user_orders", order):
            self._tell(hearers, wire_frames.user_order(order))

    def on_group(self, group: Group, event_type: str) -> None:
        """Send an order group's change to its owner."""
        if hearers := self.sessions.owned("order_group_updates", group.account_id, group.subaccount, None):
            limit = count_to_text(group.limit) if event_type in {"created", "limit_updated"} else None
            message = frames.OrderGroupUpdateMessage(
                event_type=event_type,
                order_group_id=group.group_id,
                ts_ms=self._venue.clock_ms(),  # a group changes in between the steps, too
                contracts_limit_fp=limit,
            )
            self._tell(hearers, wire_frames.encode(message))

    def on_market(self, market: MarketState, event_type: str) -> None:
        """Send a market's change, after the event that is new with it."""
        hearers = self.sessions.of_all("market_lifecycle_v2")
        if event_type == "created" and market.event_ticker not in self._events:
            self._events.add(market.event_ticker)
            event = self._venue.events[market.event_ticker]
            self._tell(hearers, wire_frames.event_lifecycle(event), "event_lifecycle")
        self._tell(hearers, wire_frames.lifecycle(market, event_type))
        if event_type == "settled" and (watchers := self.sessions.of("ticker", market.ticker)):
            self._tell(watchers, wire_frames.ticker(market, self._venue.now_ms))  # its open interest is gone

    def event_fee_changed(self, event: EventState, kind: str | None, multiplier: float | None) -> None:
        """Send that an event has fees of its own now, or (None, None) its series' again; the multiplier is 1 for the usual fees."""
        message = frames.EventFeeUpdateMessage(
            event_ticker=event.ticker, fee_type_override=kind, fee_multiplier_override=multiplier
        )
        hearers = self.sessions.of_all("market_lifecycle_v2")
        self._tell(hearers, wire_frames.encode(message), "event_fee_update")

    def _owned(self, channel: str, order: Order) -> list[Subscription]:
        return self.sessions.owned(channel, order.account_id, order.subaccount, order.ticker)

    # ------------------------------------------------------------------ delivery

    def _tell(self, hearers: Sequence[Subscription], body: bytes, frame_type: str = "") -> None:
        """Send one message to many, of the channel's type unless another is named."""
        faulty = self._faults.hits_frames
        for found in hearers:
            if frame_type:
                frame = b'{"type":"%b","sid":%d,"seq":%d,"msg":%b}' % (
                    frame_type.encode(),
                    found.sid,
                    found.next_seq(),
                    body,
                )
            elif found.channel.sequenced:
                frame = b'%b%d,"msg":%b}' % (found.head, found.next_seq(), body)
            else:
                frame = b"%b%b}" % (found.head, body)
            if faulty:
                self._deliver(found, frame)
            else:
                found.send(frame)

    def _deliver(self, found: Subscription, frame: bytes) -> None:
        """Send a frame through the faults: lost, twice, late, after the next one, or as the end of its subscription."""
        session = found.session
        if not found.alive:
            return
        fault = self._faults.frame(session.caller.account, found.channel.name)
        if fault is None:
            session.send(frame)
        elif (code := _TERMINAL.get(fault.kind)) is not None:
            self.end_channel(found, code)
        elif fault.kind == "frame_reordered":
            session.held.append(frame)
            self._later(HELD_S, lambda: self._release(session))
            return
        else:
            self._twist(session, frame, fault)
        if session.held:
            self._release(session)

    def _twist(self, session: Session, frame: bytes, fault: FrameFault) -> None:
        if fault.kind == "frame_duplicated":
            session.send(frame)
            session.send(frame)
        elif fault.kind == "frame_delayed":
            self._later(fault.delay_ms / 1000, lambda: self._send_late(session, frame))

    def _send_late(self, session: Session, frame: bytes) -> None:
        if session in self.sessions:
            session.send(frame)

    def _release(self, session: Session) -> None:
        """Send what waited to be overtaken."""
        held, session.held = session.held, []
        for frame in held:
            self._send_late(session, frame)

    def end_channel(self, found: Subscription, code: int) -> None:
        """End a subscription with a terminal error, 10 or 25: its reader must subscribe again."""
        assert code in _TERMINAL.values(), f"error {code} ends no subscription"
        self.sessions.end(found)
        refuse(found.session, None, CommandError(code), found)


def _touches_top(book: Book, change: LevelChange) -> bool:
    """Whether a tick shows a change that was made: it was at the best price of its side, or better than what is the best now."""
    best = book.best(change.side)
    return best is None or change.price * change.side >= best * change.side


def _on_the_loop(delay_s: float, call: Callable[[], None]) -> object:
    return asyncio.get_running_loop().call_later(delay_s, call)
