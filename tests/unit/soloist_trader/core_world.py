"""A core with one market and a strategy that wants what the test says."""

from __future__ import annotations

from typing import Any

from soloist_trader.core import events
from soloist_trader.core.commands import Cancel, Command, Persist, Place
from soloist_trader.core.desk import Identity
from soloist_trader.core.engine import Engine, Settings
from soloist_trader.core.ledger import Ledger
from soloist_trader.core.records import Record
from soloist_trader.core.risk import Limits
from soloist_trader.core.strategy import MarketView, Target
from soloist_trader.core.units import ASK, BID, GOOD_TILL_CANCELED, IMMEDIATE_OR_CANCEL

TICKS = tuple(range(100, 10_000, 100))
LIMITS = Limits(
    max_order=1_000, max_position=2_000, max_exposure=50_000_000, max_open_orders=5, daily_loss=10_000_000
)
DEFAULTS = Settings()
ENTRY = Target(BID, "entry", 4_000, 100, GOOD_TILL_CANCELED)
EXIT = Target(ASK, "exit", 4_500, 100, IMMEDIATE_OR_CANCEL)


class Wish:
    """A strategy whose targets the test sets; it keeps the last view it was shown."""

    name = "wish"

    def __init__(self) -> None:
        self.wanted: list[Target] = []
        self.view: MarketView | None = None
        self.entries = 0

    def targets(self, view: MarketView) -> list[Target]:
        self.view = view
        return list(self.wanted)

    def entered(self, market: str, now_ms: int) -> None:  # noqa: ARG002
        self.entries += 1


class CoreWorld:
    """Steps an engine and sorts what it wants. Time moves only when a test says so."""

    def __init__(
        self,
        limits: Limits = LIMITS,
        ledger: Ledger | None = None,
        *,
        ready: bool = True,
        grid: bool = True,
        settings: Settings = DEFAULTS,
    ) -> None:
        self.now_ms = 1_000_000
        self.wish = Wish()
        self.ledger = ledger or Ledger()
        self.engine = Engine(
            self.ledger, Identity("unit00", 0, 2, 7, "Live"), self.wish, limits, ["M"], settings
        )
        self.records: list[Record] = []
        self.step(events.Began(self.now_ms))
        if grid:
            self.step(events.MarketSeen(self.now_ms, "M", True, 0, TICKS, 0))  # noqa: FBT003 a tuple's field
            self.top()
        if ready:
            self.step(events.SweepEnded(self.now_ms, self.now_ms))
            self.step(events.Readied(self.now_ms))

    def step(self, event: events.Event) -> list[Command]:
        commands = self.engine.step(event)
        self.records += [command.record for command in commands if isinstance(command, Persist)]
        return [command for command in commands if not isinstance(command, Persist)]

    def top(self, bid: int = 4_400, ask: int = 4_500) -> list[Command]:
        return self.step(events.TopChanged(self.now_ms, "M", bid, 1_000, ask, 1_000, 1))

    def tick(self, ms: int = 100) -> list[Command]:
        self.now_ms += ms
        return self.step(events.Tick(self.now_ms))

    def want(self, *targets: Target) -> list[Command]:
        self.wish.wanted = list(targets)
        return self.tick()

    def place(self, *targets: Target) -> Place:
        """Want something that leads to exactly one order."""
        places = [command for command in self.want(*targets) if isinstance(command, Place)]
        assert len(places) == 1, places
        return places[0]

    def seen(self, place: Place, filled: int = 0, *, closed: bool = False, **changes: Any) -> list[Command]:
        seen = events.OrderSeen(
            self.now_ms, place.client_order_id, f"v-{place.client_order_id}", place.market, place.side,
            place.price, place.size, filled, closed, "reply",
        )  # fmt: skip
        return self.step(seen._replace(**changes))

    def fill(self, place: Place, size: int, price: int | None = None, fee: int = 0) -> list[Command]:
        number = sum(position.fills for position in self.ledger.positions.values())
        return self.step(
            events.FillSeen(
                self.now_ms, f"f{number}", f"v-{place.client_order_id}", place.client_order_id, place.market, place.side,
                price or place.price, size, fee, True, self.now_ms,  # noqa: FBT003 a tuple's field
            )
        )  # fmt: skip

    def hold(self, size: int, price: int = 4_000) -> None:
        """Buy a position at once."""
        place = self.place(ENTRY._replace(price=price, size=size, time_in_force=IMMEDIATE_OR_CANCEL))
        self.wish.wanted = []
        self.seen(place, size, closed=True)
        self.fill(place, size)
        assert self.ledger.position("M").count == size
        assert not self.ledger.unsettled_count()

    def verb(self, actor: str, state: str) -> list[Command]:
        return self.step(events.Verb(self.now_ms, actor, state, "test"))


def cancels(commands: list[Command]) -> list[str]:
    return [command.client_order_id for command in commands if isinstance(command, Cancel)]


def places(commands: list[Command]) -> list[Place]:
    return [command for command in commands if isinstance(command, Place)]
