"""A venue in a few lines, driven by a seed: lost replies, late arrivals, lost and repeated frames. What it accepted is what happened."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass, field
from random import Random

from soloist_trader.core import events
from soloist_trader.core.commands import (
    Amend,
    Cancel,
    Command,
    Entomb,
    FindFills,
    FindOrder,
    Place,
    ResetGroup,
    TriggerGroup,
)
from soloist_trader.core.evidence import ACCEPTANCE_WINDOW_MS
from soloist_trader.core.ledger import Ledger
from soloist_trader.core.records import Slot
from soloist_trader.core.units import GOOD_TILL_CANCELED, ONE_DOLLAR_PRICE

MARKETS = ("A", "B")
FEE = 7


@dataclass
class VenueOrder:
    """An order that the venue accepted."""

    order_id: str
    command: Place | Entomb
    filled: int = 0
    closed: bool = False
    price: int = 0
    size: int = 0
    expiration_s: int = 0

    def __post_init__(self) -> None:
        self.price, self.size = self.command.price, self.command.size
        self.expiration_s = self.command.expiration_s if isinstance(self.command, Place) else 0

    @property
    def group_id(self) -> str:
        return self.command.group_id if isinstance(self.command, Place) else ""

    @property
    def live(self) -> bool:
        return not self.closed


@dataclass
class Venue:
    """The exchange, the way to it and back, and what it finds wrong (`violations`) with what the engine sends.

    `ledger`, `slots` and `heard_ms` are what the engine of the moment knows and meant: the judge looks at both sides.
    """

    seed: int
    _: KW_ONLY
    faults: bool = True
    now_ms: int = 1_000_000
    incarnation: int = 0
    """The engine of the moment; an answer to an earlier one goes nowhere."""
    orders: dict[str, VenueOrder] = field(default_factory=dict)
    fills: list[events.FillSeen] = field(default_factory=list)
    settlements: list[events.SettlementSeen] = field(default_factory=list)
    groups: dict[str, bool] = field(default_factory=dict)
    """Order group id to whether it is triggered."""
    in_flight: list[Callable[[], None]] = field(default_factory=list)
    to_engine: list[tuple[int, events.Event]] = field(default_factory=list)
    ledger: Ledger = field(default_factory=Ledger)
    slots: dict[str, Slot] = field(default_factory=dict)
    heard_ms: dict[str, int] = field(default_factory=dict)
    """Market to when the engine last heard of a settlement."""
    violations: list[str] = field(default_factory=list)
    amends: int = 0
    amend_doubts: int = 0
    triggers: int = 0
    accepted: int = 0
    doubts: int = 0

    def __post_init__(self) -> None:
        self.random = Random(self.seed)

    def chance(self, probability: float) -> bool:
        return self.faults and self.random.random() < probability

    # -- calls

    def send(self, command: Command) -> None:
        incarnation, sent_ms = self.incarnation, self.now_ms
        self.in_flight.append(lambda: self.arrive(command, incarnation, sent_ms))

    def answer(self, incarnation: int, event: events.Event) -> None:
        if incarnation == self.incarnation:
            self.to_engine.append((incarnation, event))

    def arrive(self, command: Command, incarnation: int, sent_ms: int) -> None:
        if isinstance(command, Place | Entomb):
            self.create(command, incarnation, sent_ms)
        elif isinstance(command, Amend):
            self.amend(command, incarnation, sent_ms)
        elif isinstance(command, TriggerGroup | ResetGroup):
            self.change_group(command, incarnation)
        elif isinstance(command, Cancel):
            self.cancel(command, incarnation)
        else:
            self.look_up(command, incarnation)

    def cancel(self, command: Cancel, incarnation: int) -> None:
        order = self.orders[command.client_order_id]
        ended = events.CancelEnded(self.now_ms, command.client_order_id, -1, "not_found")
        if order.closed:
            self.answer(incarnation, ended)
            return
        order.closed = True
        if not self.chance(0.2):
            reduced = order.size - order.filled
            self.answer(incarnation, ended._replace(reduced_by=reduced, outcome="cancelled"))
        self.frame(self.seen(command.client_order_id, "user_orders"))

    def look_up(self, command: Command, incarnation: int) -> None:
        if isinstance(command, FindOrder):
            if self.chance(0.2):
                return  # the read failed; it is asked for again
            if command.client_order_id in self.orders:
                self.answer(incarnation, self.seen(command.client_order_id, "listing"))
            else:
                self.answer(
                    incarnation, events.OrderAbsent(self.now_ms, command.client_order_id, self.now_ms)
                )
        elif isinstance(command, FindFills):
            for fill in self.fills:
                if fill.order_id == command.order_id:
                    self.answer(incarnation, fill)

    def late(self, sent_ms: int, arrive: Callable[[], object]) -> None:
        """It arrives after the client gave up; the venue takes no timestamp that is too old."""
        self.in_flight.append(lambda: arrive() if self.now_ms - sent_ms < ACCEPTANCE_WINDOW_MS else None)

    def create(self, command: Place | Entomb, incarnation: int, sent_ms: int) -> None:
        client_order_id = command.client_order_id
        if self.chance(0.05):
            if incarnation == self.incarnation:
                self.answer(incarnation, events.OrderUnknown(self.now_ms, client_order_id, "reset"))
                self.doubts += 1
            if not self.chance(0.5):
                self.late(sent_ms, lambda: self.accept(command))
            return
        reply = self.accept(command)
        if self.chance(0.1):
            self.doubts += 1
            reply = events.OrderUnknown(self.now_ms, client_order_id, "reply lost after commit")
        self.answer(incarnation, reply)

    def amend(self, command: Amend, incarnation: int, sent_ms: int) -> None:
        terms = (command.price, command.size, command.expiration_s)
        unknown = events.AmendEnded(self.now_ms, command.client_order_id, "unknown", *terms)
        if self.chance(0.15):
            self.amend_doubts += 1
            self.answer(incarnation, unknown)
            if not self.chance(0.3):
                self.late(sent_ms, lambda: self.change(command))
            return
        reply = self.change(command)
        if self.chance(0.15):
            self.amend_doubts += 1
            reply = unknown
        self.answer(incarnation, reply)

    def change(self, command: Amend) -> events.AmendEnded:
        """The venue takes an amend, or refuses it; price, size and fills are its own from here on."""
        order = self.orders[command.client_order_id]
        ended = events.AmendEnded(
            self.now_ms, command.client_order_id, "amended", command.price, command.size, command.expiration_s
        )
        if order.closed:
            return ended._replace(outcome="not_found")
        if command.size <= order.filled:
            return ended._replace(outcome="invalid_amend_qty_for_order")
        self.amends += 1
        order.price, order.size, order.expiration_s = command.price, command.size, command.expiration_s
        if self.chance(0.5):
            remaining = order.size - order.filled
            self.fill(command.client_order_id, self.random.choice((remaining // 2, remaining)))
        self.frame(self.seen(command.client_order_id, "user_orders"))
        return ended._replace(remaining=order.size - order.filled)

    def change_group(self, command: TriggerGroup | ResetGroup, incarnation: int) -> None:
        if self.chance(0.2):
            return  # nothing is known of it; the engine asks again
        self.groups[command.group_id] = isinstance(command, TriggerGroup)
        if isinstance(command, TriggerGroup):
            self.triggers += 1
            for client_order_id, order in self.orders.items():
                if order.live and order.group_id == command.group_id:
                    order.closed = True
                    self.frame(self.seen(client_order_id, "user_orders"))
        self.answer(incarnation, self.group_seen(command.role, command.group_id))

    def group_seen(self, role: str, group_id: str) -> events.GroupSeen:
        return events.GroupSeen(self.now_ms, role, group_id, self.groups[group_id])

    def accept(self, command: Place | Entomb) -> events.Event:
        client_order_id = command.client_order_id
        if client_order_id in self.orders:
            return events.OrderExists(self.now_ms, client_order_id)
        if self.chance(0.03):
            return events.OrderRefused(self.now_ms, client_order_id, "insufficient_balance", "no money")
        if isinstance(command, Place) and not command.group_id:
            self.violations.append(f"{client_order_id} names no order group")
        if isinstance(command, Place) and self.groups.get(command.group_id):
            return events.OrderRefused(
                self.now_ms, client_order_id, "exceeded_order_group_risk_limit", "triggered"
            )
        slot = self.slots[client_order_id]
        for other_id, other in self.orders.items():
            if other.live and self.slots[other_id] == slot:
                self.violations.append(f"two live orders in {slot}: {other_id} and {client_order_id}")
        self.accepted += 1
        order = self.orders[client_order_id] = VenueOrder(f"v{len(self.orders)}", command)
        if isinstance(command, Place):
            self.fill(client_order_id, self.random.choice((0, command.size // 2, command.size)))
        if isinstance(command, Entomb) or command.time_in_force != GOOD_TILL_CANCELED:
            order.closed = True
        self.frame(self.seen(client_order_id, "user_orders"))
        return self.seen(client_order_id, "reply")

    def fill(self, client_order_id: str, size: int) -> None:
        order = self.orders[client_order_id]
        size = min(size, order.size - order.filled)
        if size <= 0 or order.closed:
            return
        self.check_exit(order, client_order_id, size)
        order.filled += size
        order.closed = order.filled >= order.size
        fill = events.FillSeen(
            self.now_ms, f"f{len(self.fills):06}", order.order_id, client_order_id, order.command.market,
            order.command.side, order.price, size, size * FEE, True, self.now_ms,  # noqa: FBT003 a tuple's field
        )  # fmt: skip
        self.fills.append(fill)
        self.frame(fill)
        self.frame(self.seen(client_order_id, "user_orders"))

    def check_exit(self, order: VenueOrder, client_order_id: str, size: int) -> None:
        """An exit never fills beyond what is held, unless it was decided before the engine heard of a settlement."""
        command, slot = order.command, self.slots[client_order_id]
        if not isinstance(command, Place) or slot.level != "exit":
            return
        settled = [paid.settled_time_ms for paid in self.settlements if paid.market == slot.market]
        unheard = any(not self.ledger.has_settlement(slot.market, moment) for moment in settled)
        held = self.count(slot.market, self.now_ms)
        if (
            -held * slot.side < size
            and not unheard
            and command.decided_ms > self.heard_ms.get(slot.market, 0)
        ):
            self.violations.append(f"exit {client_order_id} sold {size} of {held} in {slot.market}")

    # -- what it shows

    def frame(self, event: events.Event) -> None:
        """A private frame: lost, repeated, or on its way."""
        if self.chance(0.1):
            return
        for _ in range(2 if self.chance(0.1) else 1):
            self.to_engine.append((self.incarnation, event))

    def seen(self, client_order_id: str, source: str) -> events.OrderSeen:
        order = self.orders[client_order_id]
        command = order.command
        return events.OrderSeen(
            self.now_ms, client_order_id, order.order_id, command.market, command.side, order.price,
            order.size, order.filled, order.closed, source, order.filled * FEE, self.now_ms * (source == "listing"),
        )  # fmt: skip

    def positions(self, until_ms: int) -> tuple[tuple[str, int, int], ...]:
        """What the fills up to a moment make, less what was settled until then."""
        return tuple((market, self.count(market, until_ms), 0) for market in MARKETS)

    def count(self, market: str, until_ms: int) -> int:
        filled = sum(f.side * f.size for f in self.fills if f.market == market and f.fill_time_ms <= until_ms)
        paid = (s for s in self.settlements if s.market == market and s.settled_time_ms <= until_ms)
        return filled - sum(settled.count_yes - settled.count_no for settled in paid)

    # -- what happens by itself

    def expire(self) -> None:
        for client_order_id, order in self.orders.items():
            if order.live and 0 < order.expiration_s * 1000 <= self.now_ms:
                order.closed = True
                self.frame(self.seen(client_order_id, "user_orders"))

    def settle(self, market: str) -> None:
        """The market pays out, to the cent, and begins again: what rested is gone."""
        for client_order_id, order in self.orders.items():
            if order.live and order.command.market == market:
                order.closed = True
                self.frame(self.seen(client_order_id, "user_orders"))
        value, count = self.random.choice((0, 10_000, 3_333)), self.count(market, self.now_ms)
        yes, no = max(count, 0), max(-count, 0)
        exact = value * yes + (ONE_DOLLAR_PRICE - value) * no
        revenue = (exact + 5_000) // 10_000 * 10_000
        result = {0: "no", 10_000: "yes"}.get(value, "scalar")
        settlement = events.SettlementSeen(
            self.now_ms, market, result, self.now_ms, revenue, yes, no, 0, value
        )
        self.settlements.append(settlement)
        self.frame(settlement)

    def cash(self, market: str) -> int:
        """What fills and settlements of a market brought and cost; short YES counts as sold."""
        traded = -sum(fill.side * fill.price * fill.size for fill in self.fills if fill.market == market)
        paid = (settled for settled in self.settlements if settled.market == market)
        return traded + sum(settled.revenue - ONE_DOLLAR_PRICE * settled.count_no for settled in paid)
