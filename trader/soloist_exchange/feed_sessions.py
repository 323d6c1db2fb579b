"""Connections, their subscriptions, and the index that finds who hears of a market without looking at anybody else (section 13.3)."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final, Literal

from soloist_exchange.auth import Caller

__all__ = ["CHANNELS", "Channel", "Session", "Sessions", "Subscription"]


@dataclass(frozen=True, slots=True)
class Channel:
    """What a channel is like: the type of its frames, whether they carry `seq`, who hears it, and what naming markets does there."""

    name: str
    frame_type: str
    sequenced: bool
    private: bool
    markets: Literal["required", "optional", "ignored"]
    by_id: bool = False


CHANNELS: Final = {
    channel.name: channel
    for channel in (
        Channel("orderbook_delta", "orderbook_delta", sequenced=True, private=False, markets="required"),
        Channel("ticker", "ticker", sequenced=False, private=False, markets="optional", by_id=True),
        Channel("trade", "trade", sequenced=True, private=False, markets="optional"),
        Channel("fill", "fill", sequenced=False, private=True, markets="optional"),
        Channel("market_positions", "market_position", sequenced=False, private=True, markets="optional"),
        Channel("user_orders", "user_order", sequenced=False, private=True, markets="optional"),
        Channel(
            "order_group_updates", "order_group_updates", sequenced=True, private=True, markets="ignored"
        ),
        Channel(
            "market_lifecycle_v2", "market_lifecycle_v2", sequenced=True, private=False, markets="ignored"
        ),
    )
}


@dataclass(slots=True, eq=False)
class Session:
    """One connection. `send` queues a JSON text (the socket ends it with a newline), `close` ends the connection.

    `send` must not write before the step is committed. `authenticated` is lost when the key is deleted and the venue keeps the
    connection (a switch). `held` is a frame that waits for the next one to overtake it.
    """

    caller: Caller
    send: Callable[[bytes], None]
    close: Callable[[], None]
    subscriptions: dict[int, "Subscription"] = field(default_factory=dict)
    last_sid: int = 0
    market_count: int = 0
    authenticated: bool = True
    second: int = 0
    commands: int = 0
    held: list[bytes] = field(default_factory=list)

    def on_channel(self, name: str) -> "Subscription | None":
        """Return the subscription of a channel: there is one at most."""
        return next((item for item in self.subscriptions.values() if item.channel.name == name), None)


@dataclass(slots=True, eq=False)
class Subscription:
    """One channel of one connection. `tickers` None means every market; `seq` counts all frames of the sid that carry it.

    `head` is the beginning of the channel's frames up to their sequence number, or up to their message. `account_id` and `subaccount`
    are the key's: a key that is bound to a subaccount (not None) hears of that one only.
    """

    session: Session
    sid: int
    channel: Channel
    tickers: set[str] | None
    by_id: bool = False
    yes_prices: bool = False
    silent_acks: bool = False
    seq: int = 0
    head: bytes = b""
    send: Callable[[bytes], None] = field(init=False)
    account_id: int = field(init=False)
    subaccount: int | None = field(init=False)

    def __post_init__(self) -> None:
        self.head = b'{"type":"%b","sid":%d,%b' % (
            self.channel.frame_type.encode(),
            self.sid,
            b'"seq":' if self.channel.sequenced else b'"msg":',
        )
        self.send = self.session.send
        self.account_id = self.session.caller.account_id
        self.subaccount = self.session.caller.key.subaccount

    @property
    def alive(self) -> bool:
        """Whether the sid still exists."""
        return self.session.subscriptions.get(self.sid) is self

    def next_seq(self) -> int:
        """Take the next number of the sid."""
        self.seq += 1
        return self.seq

    def wants(self, ticker: str) -> bool:
        """Whether frames about a market belong here."""
        return self.tickers is None or ticker in self.tickers

    def owns(self, account_id: int, subaccount: int) -> bool:
        """Whether the connection's key may see what a subaccount of an account does."""
        return self.account_id == account_id and self.subaccount in {None, subaccount}


Hearers = tuple[Subscription, ...]


class Sessions:
    """All connections. `of` and `owned` cost what they return: tuples, so whoever walks one may end subscriptions meanwhile."""

    def __init__(self) -> None:
        self._sessions: dict[Session, None] = {}
        self._by_market: dict[str, dict[str, Hearers]] = {name: {} for name in CHANNELS}
        self._of_all: dict[str, Hearers] = dict.fromkeys(CHANNELS, ())
        self._by_account: dict[tuple[str, int], Hearers] = {}

    def __iter__(self) -> Iterator[Session]:
        return iter(tuple(self._sessions))

    def __len__(self) -> int:
        return len(self._sessions)

    def __contains__(self, session: object) -> bool:
        return session in self._sessions

    def append(self, session: Session) -> None:
        """Take a new connection."""
        self._sessions[session] = None

    def remove(self, session: Session) -> None:
        """Forget a connection with everything it subscribed to."""
        del self._sessions[session]
        for found in list(session.subscriptions.values()):
            self.end(found)

    # ---------------------------------------------------------------- subscriptions

    def begin(self, found: Subscription) -> None:
        """Add a subscription with the markets that it names."""
        found.session.subscriptions[found.sid] = found
        if found.channel.private:
            key = found.channel.name, found.account_id
            self._by_account[key] = (*self._by_account.get(key, ()), found)
        elif found.tickers is None:
            self._of_all[found.channel.name] = (*self._of_all[found.channel.name], found)
        else:
            self._enter(found, found.tickers)
        found.session.market_count += len(found.tickers or ())

    def end(self, found: Subscription) -> None:
        """Forget a subscription."""
        del found.session.subscriptions[found.sid]
        if found.channel.private:
            key = found.channel.name, found.account_id
            self._by_account[key] = _without(self._by_account[key], found)
            if not self._by_account[key]:
                del self._by_account[key]
        elif found.tickers is None:
            self._of_all[found.channel.name] = _without(self._of_all[found.channel.name], found)
        else:
            self._leave(found, found.tickers)
        found.session.market_count -= len(found.tickers or ())

    def add(self, found: Subscription, tickers: Iterable[str]) -> None:
        """Add markets that the subscription does not have yet; it names its markets."""
        assert found.tickers is not None
        new = set(tickers) - found.tickers
        found.tickers |= new
        found.session.market_count += len(new)
        if not found.channel.private:
            self._enter(found, new)

    def take(self, found: Subscription, tickers: Iterable[str]) -> None:
        """Take markets away; it names its markets."""
        assert found.tickers is not None
        gone = set(tickers) & found.tickers
        found.tickers -= gone
        found.session.market_count -= len(gone)
        if not found.channel.private:
            self._leave(found, gone)

    def _enter(self, found: Subscription, tickers: Iterable[str]) -> None:
        markets = self._by_market[found.channel.name]
        for ticker in tickers:
            markets[ticker] = (*markets.get(ticker, ()), found)

    def _leave(self, found: Subscription, tickers: Iterable[str]) -> None:
        markets = self._by_market[found.channel.name]
        for ticker in tickers:
            left = markets[ticker] = _without(markets[ticker], found)
            if not left:
                del markets[ticker]

    # ---------------------------------------------------------------- who hears of it

    def of(self, channel: str, ticker: str) -> Hearers:
        """Return the subscriptions of a public channel that hear of a market."""
        named = self._by_market[channel].get(ticker)
        everybody = self._of_all[channel]
        if named is None:
            return everybody
        return named + everybody if everybody else named

    def of_all(self, channel: str) -> Hearers:
        """Return the subscriptions of a public channel that name no markets."""
        return self._of_all[channel]

    def owned(self, channel: str, account_id: int, subaccount: int, ticker: str | None) -> list[Subscription]:
        """Return the subscriptions of a private channel that hear of what a subaccount did in a market (None = in no market)."""
        return [
            found
            for found in self._by_account.get((channel, account_id), ())
            if found.subaccount in {None, subaccount} and (ticker is None or found.wants(ticker))
        ]


def _without(hearers: Hearers, gone: Subscription) -> Hearers:
    return tuple(found for found in hearers if found is not gone)
