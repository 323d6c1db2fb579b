"""A feed over a venue whose clock the test moves, and connections whose socket is a list."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import msgspec
from soloist_exchange.auth import Caller
from soloist_exchange.faults import Fault, Faults
from soloist_exchange.feed import Feed, Limits, Session
from soloist_exchange.store import KeyRow
from soloist_exchange.switches import Switches
from soloist_kalshi.codec import FrameDecoder
from soloist_kalshi.signing import Verifier, generate_private_key

from tests.unit.soloist_exchange.bare_venues import BareWorld

VERIFIER = Verifier.from_public_pem(generate_private_key("ed25519").public_pem)
OWNER, OTHER = 1, 2


class Later:
    """A loop's timers that fire when the test says so, in the order of their times."""

    def __init__(self) -> None:
        self.waiting: list[tuple[float, int, Callable[[], None]]] = []
        self._count = 0

    def __call__(self, delay_s: float, call: Callable[[], None]) -> None:
        self._count += 1
        self.waiting.append((delay_s, self._count, call))

    def run(self) -> None:
        due, self.waiting = sorted(self.waiting, key=lambda item: item[:2]), []
        for _, _, call in due:
            call()


class Client:
    """One connection: what it was sent, in order, as bytes and as plain values. Every frame is checked against the contract."""

    def __init__(self, feed: Feed, account_id: int, subaccount: int | None, key_id: str) -> None:
        key = KeyRow(key_id, account_id, "key", "ed25519", ("read", "write"), subaccount, VERIFIER)
        self.raw: list[bytes] = []
        self.ends: list[str] = []
        self.session = Session(
            Caller(key, f"account-{account_id}"),
            self.raw.append,
            lambda: self.ends.append("closed"),
        )
        self.feed = feed
        self._command_id = 0
        feed.sessions.append(self.session)

    def say(self, cmd: str, **params: Any) -> list[dict[str, Any]]:
        """Send a command with the next id, and return the frames that answer it."""
        self._command_id += 1
        return self.send({"id": self._command_id, "cmd": cmd, "params": params})

    def send(self, command: object) -> list[dict[str, Any]]:
        """Send any JSON value, or a text, and return the frames that answer it."""
        before = len(self.raw)
        self.feed.command(self.session, command if isinstance(command, str) else json.dumps(command))
        return self.frames[before:]

    def subscribe(self, *channels: str, **params: Any) -> list[dict[str, Any]]:
        return self.say("subscribe", channels=list(channels), **params)

    @property
    def frames(self) -> list[dict[str, Any]]:
        decoder = FrameDecoder()
        for raw in self.raw:
            decoder.decode(raw)
        assert decoder.unknown.counts == {}, "fields that the contract does not have"
        assert decoder.unknown_types == {}, "frames that the contract does not have"
        return [msgspec.json.decode(raw) for raw in self.raw]

    def of(self, frame_type: str) -> list[dict[str, Any]]:
        return [frame for frame in self.frames if frame["type"] == frame_type]

    def clear(self) -> None:
        self.raw.clear()


class Hall:
    """A world with a feed, and its clients."""

    def __init__(
        self,
        *tickers: str,
        switches: dict[str, Any] | None = None,
        limits: Limits | None = None,
        **market_fields: Any,
    ) -> None:
        self.world = BareWorld(*tickers, **market_fields)
        self.venue = self.world.venue
        if switches:
            self.venue.switches = msgspec.convert(switches, Switches)
        for account_id in (OWNER, OTHER):
            self.world.account(account_id, 100_000)
        self.later = Later()
        self.faults = Faults(1)
        self.second = 0.0
        self.feed = Feed(
            self.world, self.faults, later=self.later, monotonic_s=lambda: self.second, limits=limits
        )

    def client(
        self, account_id: int = OWNER, *, subaccount: int | None = None, key_id: str = "key"
    ) -> Client:
        return Client(self.feed, account_id, subaccount, key_id)

    def fault(self, kind: str, **fields: Any) -> None:
        self.faults.set([Fault(kind=kind, **fields)])  # type: ignore[arg-type]
