"""Carrying out WebSocket commands (section 13.2): opening, changing and ending subscriptions, and their snapshots."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from soloist_kalshi import frames
from soloist_kalshi.frames import SubscribeParams, UnsubscribeParams, UpdateSubscriptionParams

from soloist_exchange import feed_commands as commands
from soloist_exchange import wire_frames
from soloist_exchange.feed_commands import Asked, CommandError
from soloist_exchange.feed_sessions import CHANNELS, Channel, Session, Sessions, Subscription
from soloist_exchange.venue import Venue

__all__ = ["Desk", "Limits", "refuse"]


@dataclass(frozen=True, slots=True)
class Limits:
    """What one connection may ask for (section 13.1); beyond it are the errors 26 and 27."""

    markets: int = 500_000
    commands_per_s: int = 10_000


class Desk:
    """Takes the commands of all connections; `monotonic_s` counts them per second."""

    def __init__(
        self,
        venue: Venue,
        sessions: Sessions,
        *,
        monotonic_s: Callable[[], float] = time.monotonic,
        limits: Limits | None = None,
    ) -> None:
        self._venue = venue
        self._sessions = sessions
        self._monotonic_s = monotonic_s
        self._limits = limits if limits is not None else Limits()

    def command(self, session: Session, raw: str | bytes) -> None:
        """Carry out one command, or answer with the error of section 13.2."""
        asked = Asked()
        try:
            try:
                commands.read(raw, asked)
            finally:
                self._count(session)  # what cannot be read counts, too
            params = asked.params
            if isinstance(params, SubscribeParams):
                self._subscribe(session, asked.id, params)
            elif isinstance(params, UnsubscribeParams):
                self._unsubscribe(session, asked.id, params)
            elif isinstance(params, UpdateSubscriptionParams):
                self._update(session, asked.id, params)
            else:
                listed = [_info(found) for found in session.subscriptions.values()]
                _reply(session, frames.OkFrame(id=asked.id, msg=listed))
        except CommandError as error:
            refuse(session, asked.id, error)

    def _count(self, session: Session) -> None:
        second = int(self._monotonic_s())
        if second != session.second:
            session.second, session.commands = second, 0
        session.commands += 1
        if session.commands > self._limits.commands_per_s:
            raise CommandError(commands.COMMAND_RATE)

    def _subscribe(self, session: Session, command_id: int | None, wanted: SubscribeParams) -> None:
        for name in wanted.channels:
            try:
                self._open(session, command_id, _channel(session, name), wanted)
            except CommandError as error:
                refuse(session, command_id, error)

    def _open(
        self, session: Session, command_id: int | None, channel: Channel, wanted: SubscribeParams
    ) -> None:
        """Open a channel. One that is open already keeps its sid and gets the markets that are new to it, or is error 6 (a switch)."""
        named: list[str] | None = None
        unknown: list[str] = []
        if channel.markets != "ignored":
            named, unknown = self._named(channel, wanted)
        if named is None and channel.markets == "required":
            raise CommandError(commands.MARKET_REQUIRED)
        found = session.on_channel(channel.name)
        if found is not None and self._venue.switches.repeat_subscribe == "error_6":
            raise CommandError(commands.ALREADY_SUBSCRIBED)
        self._check_room(session, found, named)
        new: Sequence[str] | None = named
        if found is None:
            session.last_sid += 1
            found = Subscription(
                session,
                session.last_sid,
                channel,
                None if named is None else set(named),
                by_id=bool(wanted.market_id or wanted.market_ids),
                yes_prices=bool(wanted.use_yes_price),
                silent_acks=bool(wanted.skip_ticker_ack),
            )
            self._sessions.begin(found)
        else:
            new = self._widen(found, named)
        told = frames.SubscribedMessage(channel=channel.name, sid=found.sid)
        _reply(session, frames.SubscribedFrame(id=command_id, msg=told))
        _refuse_unknown(found, command_id, unknown)
        if channel.name == "orderbook_delta":
            self._snapshots(found, new or ())
        elif channel.name == "ticker" and wanted.send_initial_snapshot:
            self._send_tops(found, new)

    def _widen(self, found: Subscription, named: list[str] | None) -> list[str] | None:
        """Give a subscription more markets, None for all of them, and return those that are new to it (None = all)."""
        if found.tickers is None:
            return []
        if named is None:
            self._sessions.end(found)
            found.tickers = None
            self._sessions.begin(found)
            return None
        new = _new(found, named)
        self._sessions.add(found, new)
        return new

    def _check_room(self, session: Session, found: Subscription | None, named: list[str] | None) -> None:
        if not named or (found is not None and found.tickers is None):
            return
        new = named if found is None else _new(found, named)
        if session.market_count + len(new) > self._limits.markets:
            raise CommandError(commands.MARKET_LIMIT)

    def _named(
        self, channel: Channel, wanted: SubscribeParams | UpdateSubscriptionParams
    ) -> tuple[list[str] | None, list[str]]:
        """Return the tickers that a command names (None = it names none), and what it names and nobody knows.

        Only the book's channel needs a market to exist: the others filter by what they are told.
        """
        tickers = wanted.market_tickers or ([wanted.market_ticker] if wanted.market_ticker else [])
        ids = wanted.market_ids or ([wanted.market_id] if wanted.market_id else [])
        if ids and not channel.by_id:
            if channel.markets == "required":
                raise CommandError(commands.MARKET_REQUIRED)
            raise CommandError(commands.INVALID_PARAMETER, f"{channel.name} takes no market_id")
        if not tickers and not ids:
            return None, []
        markets = self._venue.markets
        if ids:
            tickers_by_id = {wire_frames.market_id(ticker): ticker for ticker in markets}
            known = [tickers_by_id[name] for name in dict.fromkeys(ids) if name in tickers_by_id]
            return known, [name for name in dict.fromkeys(ids) if name not in tickers_by_id]
        unique = list(dict.fromkeys(tickers))
        if channel.markets != "required":
            return unique, []
        known = [ticker for ticker in unique if ticker in markets]
        return known, [ticker for ticker in unique if ticker not in markets]

    def _unsubscribe(self, session: Session, command_id: int | None, wanted: UnsubscribeParams) -> None:
        for sid in wanted.sids:
            found = session.subscriptions.get(sid)
            if found is None:
                refuse(session, command_id, CommandError(commands.UNKNOWN_SID))
                continue
            self._sessions.end(found)
            _reply(session, frames.UnsubscribedFrame(id=command_id, sid=sid, seq=found.next_seq()))

    def _update(self, session: Session, command_id: int | None, wanted: UpdateSubscriptionParams) -> None:
        sid = wanted.sid if wanted.sid is not None else (wanted.sids or [0])[0]
        found = session.subscriptions.get(sid)
        if found is None:
            raise CommandError(commands.UNKNOWN_SID)
        try:
            self._change(found, command_id, wanted)
        except CommandError as error:
            refuse(session, command_id, error, found)

    def _change(self, found: Subscription, command_id: int | None, wanted: UpdateSubscriptionParams) -> None:
        is_book = found.channel.name == "orderbook_delta"
        if found.channel.markets == "ignored" or (wanted.action == "get_snapshot" and not is_book):
            raise CommandError(commands.UNSUPPORTED_ACTION)
        named, unknown = self._named(found.channel, wanted)
        if named is None:
            raise CommandError(commands.MARKET_REQUIRED)
        tickers = named
        if wanted.action == "get_snapshot":
            _refuse_unknown(found, command_id, unknown)
            self._snapshots(found, tickers, command_id)
            return
        new: list[str] = []
        if wanted.action == "delete_markets":
            if found.tickers is None:
                raise CommandError(commands.INVALID_PARAMETER, "the subscription is of all markets")
            # A market that is over may leave, too.
            self._sessions.take(found, [*tickers, *unknown])
            unknown = []
        elif found.tickers is not None:
            self._check_room(found.session, found, tickers)
            new = _new(found, tickers)
            self._sessions.add(found, new)
        told = _ok(found)
        _reply(found.session, frames.OkFrame(id=command_id, sid=found.sid, seq=found.next_seq(), msg=told))
        _refuse_unknown(found, command_id, unknown)
        if is_book:
            self._snapshots(found, new)
        elif wanted.send_initial_snapshot and found.channel.name == "ticker":
            self._send_tops(found, new)

    def _snapshots(self, found: Subscription, tickers: Sequence[str], command_id: int | None = None) -> None:
        asked = b"" if command_id is None else b',"id":%d' % command_id
        for ticker in tickers:
            body = wire_frames.snapshot(self._venue.markets[ticker], yes_prices=found.yes_prices)
            found.send(
                b'{"type":"orderbook_snapshot"%b,"sid":%d,"seq":%d,"msg":%b}'
                % (asked, found.sid, found.next_seq(), body)
            )

    def _send_tops(self, found: Subscription, tickers: Sequence[str] | None) -> None:
        now_ms = self._venue.clock_ms()
        markets = self._venue.markets
        for ticker in markets if tickers is None else tickers:
            market = markets.get(ticker)
            if market is not None:
                found.send(b"%b%b}" % (found.head, wire_frames.ticker(market, now_ms)))


def refuse(
    session: Session, command_id: int | None, error: CommandError, found: Subscription | None = None
) -> None:
    """Answer with an error; one about a subscription has its sid, and a number where the channel counts."""
    message = frames.ErrorMessage(code=error.code, msg=str(error), market_ticker=error.ticker)
    sid = None if found is None else found.sid
    seq = found.next_seq() if found is not None and found.channel.sequenced else None
    _reply(session, frames.ErrorFrame(id=command_id, sid=sid, seq=seq, msg=message))


def _refuse_unknown(found: Subscription, command_id: int | None, unknown: list[str]) -> None:
    for name in unknown:
        error = CommandError(commands.INVALID_PARAMETER, "unknown market", ticker=name)
        refuse(found.session, command_id, error, found)


def _reply(session: Session, frame: frames.Frame) -> None:
    session.send(wire_frames.encode(frame))


def _channel(session: Session, name: str) -> Channel:
    channel = CHANNELS.get(name)
    if channel is None:
        raise CommandError(commands.UNKNOWN_CHANNEL)
    if channel.private and not session.authenticated:
        raise CommandError(commands.AUTHENTICATION_REQUIRED)
    return channel


def _new(found: Subscription, tickers: list[str]) -> list[str]:
    held = found.tickers or set()
    return [ticker for ticker in tickers if ticker not in held]


def _markets(found: Subscription) -> dict[str, list[str]]:
    """Return the markets of a subscription as its frames name them; {} for all, and for none (recorded: `msg` {})."""
    if not found.tickers:
        return {}
    tickers = sorted(found.tickers)
    if found.by_id:
        return {"market_ids": [wire_frames.market_id(ticker) for ticker in tickers]}
    return {"market_tickers": tickers}


def _ok(found: Subscription) -> frames.OkMessage:
    named = {} if found.silent_acks else _markets(found)
    return frames.OkMessage(market_tickers=named.get("market_tickers"), market_ids=named.get("market_ids"))


def _info(found: Subscription) -> frames.SubscriptionInfo:
    named = _markets(found)
    return frames.SubscriptionInfo(
        channel=found.channel.name,
        sid=found.sid,
        market_tickers=named.get("market_tickers"),
        market_ids=named.get("market_ids"),
    )
