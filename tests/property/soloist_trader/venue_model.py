"""A venue in a few lines, driven by a seed, around the real core: lost replies, late arrivals, lost and repeated frames,
crashes that lose what was not committed. It is the oracle: what it accepted is what happened.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

from soloist_trader.core import events
from soloist_trader.core.commands import (
    Alert,
    Amend,
    Cancel,
    Command,
    Entomb,
    FindFills,
    FindOrder,
    Persist,
    Place,
    ResetGroup,
    TriggerGroup,
)
from soloist_trader.core.desk import Desk, Identity
from soloist_trader.core.engine import Engine, Settings
from soloist_trader.core.evidence import ACCEPTANCE_WINDOW_MS
from soloist_trader.core.ledger import Ledger
from soloist_trader.core.records import Intended, Record, Slot
from soloist_trader.core.risk import Limits
from soloist_trader.core.strategy import MarketView, Target
from soloist_trader.core.units import (
    ACTIVE,
    GOOD_TILL_CANCELED,
    GROUP_ROLES,
    HALTED,
    ONE_DOLLAR_PRICE,
    REDUCING,
)
from soloist_trader.journal.codec import decode_batch, encode_batch
from soloist_trader.strategies.threshold import Threshold, ThresholdParameters

MARKETS = ("A", "B")
TICKS = tuple(range(100, 10_000, 100))
LIMITS = Limits(1_000, 2_000, 1_000_000_000, 50, 1_000_000_000)
CLAIM = "claim0"
SETTINGS = Settings(amends=True, groups=True)
FEE = 7
OVERLAP_MS = 500
"""Sweeps read fills from the cursor less this: short, so that a cursor which runs ahead is noticed."""
_INTENTS = Place | Entomb | Amend


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
class World:
    """One engine after the other, one venue, one clock. `violations` is the invariant checker's list."""

    seed: int
    make_engine: Callable[[Ledger, Identity], Engine]
    make_ledger: Callable[[], Ledger] = Ledger
    faults: bool = True
    now_ms: int = 1_000_000
    incarnation: int = 0
    journal: list[bytes] = field(default_factory=list)
    pending: list[Record] = field(default_factory=list)
    orders: dict[str, VenueOrder] = field(default_factory=dict)
    fills: list[events.FillSeen] = field(default_factory=list)
    in_flight: list[Callable[[], None]] = field(default_factory=list)
    to_engine: list[tuple[int, events.Event]] = field(default_factory=list)
    slots: dict[str, Slot] = field(default_factory=dict)
    violations: list[str] = field(default_factory=list)
    settlements: list[events.SettlementSeen] = field(default_factory=list)
    heard_ms: dict[str, int] = field(default_factory=dict)
    """Market to when the engine last heard of a settlement."""
    groups: dict[str, bool] = field(default_factory=dict)
    """Order group id to whether it is triggered."""
    crash_at: int = 0
    """Crash once, right behind this many records of the whole life; `torn` loses what was not committed before."""
    torn: bool = False
    records: int = 0
    as_of_ms: int = 0
    amends: int = 0
    amend_doubts: int = 0
    triggers: int = 0
    crashes: int = 0
    accepted: int = 0
    doubts: int = 0

    def __post_init__(self) -> None:
        self.random = Random(self.seed)
        self.mid = dict.fromkeys(MARKETS, 5_000)
        self.start()

    def chance(self, probability: float) -> bool:
        return self.faults and self.random.random() < probability

    # -- process

    def start(self) -> None:
        """A process begins: replay, then agree with the venue, as recovery does."""
        self.incarnation += 1
        self.to_engine.clear()
        self.pending.clear()
        self.ledger = self.make_ledger()
        for payload in self.journal:
            for record in decode_batch(payload):
                self.ledger.apply(record)
        identity = Identity(CLAIM, 0, 1, self.incarnation, "Live")
        self.engine = self.make_engine(self.ledger, identity)
        self.step(events.Began(self.now_ms))
        self.commit()
        for market in MARKETS:
            self.step(events.MarketSeen(self.now_ms, market, True, 10**9, TICKS, 0))  # noqa: FBT003 a tuple's field
        self.recovered = False

    def recover(self) -> None:
        """What a complete listing shows, then ready once nothing of the past is unsettled."""
        incarnation = self.incarnation
        self.as_of_ms = self.now_ms
        for client_order_id, order in list(self.orders.items()):
            if order.live or client_order_id in self.ledger.orders:
                self.step(self.seen(client_order_id, "listing"))
        self.read_account()
        if incarnation != self.incarnation:
            return
        if not self.ledger.unsettled_count():
            for role in GROUP_ROLES:
                self.groups.setdefault(f"{role}-{self.incarnation}", False)
                self.step(self.group_seen(role, f"{role}-{self.incarnation}"))
            self.step(events.Readied(self.now_ms))
            self.recovered = True

    def read_account(self) -> None:
        """Fills and settlements from the cursor on, then positions, all as old as the read model is."""
        as_of_ms, incarnation = self.as_of_ms, self.incarnation
        for order in list(self.ledger.unsettled()):
            if order.client_order_id in self.orders and incarnation == self.incarnation:
                seen = self.seen(order.client_order_id, "listing")
                self.step(seen._replace(as_of_ms=as_of_ms))
        from_ms = self.ledger.cursor_ms - OVERLAP_MS if self.ledger.cursor_ms else 0
        listed = [fill for fill in self.fills if from_ms <= fill.fill_time_ms <= as_of_ms]
        found: list[events.Event] = [fill._replace(client_order_id="") for fill in listed]
        found += [paid for paid in self.settlements if from_ms <= paid.settled_time_ms <= as_of_ms]
        if not self.ledger.cursor_ms:
            found.clear()
        contained = () if self.ledger.cursor_ms else tuple((f.fill_id, f.fill_time_ms) for f in listed)
        positions = self.positions(as_of_ms)
        found.append(events.PositionsSeen(self.now_ms, as_of_ms, positions, contained))
        found.append(events.SweepEnded(self.now_ms, as_of_ms))
        for event in found:
            if incarnation == self.incarnation:
                self.step(event._replace(now_ms=self.now_ms))

    def sweep(self) -> None:
        """A pass while trading; the read model is late, but never goes back."""
        lag_ms = self.random.choice((0, 500, 6_000)) if self.faults else 0
        self.as_of_ms = max(self.as_of_ms, self.now_ms - lag_ms)
        self.read_account()

    def crash(self) -> None:
        """The process dies: what was not committed is gone, what is on its way still arrives."""
        self.crashes += 1
        self.start()

    def commit(self) -> None:
        if self.pending:
            self.journal.append(encode_batch(self.pending))
            self.pending.clear()

    def step(self, event: events.Event) -> None:
        """One loop turn: step, commit if there are intents, hand out."""
        outbox: list[Command] = []
        if isinstance(event, events.SettlementSeen):
            self.heard_ms[event.market] = self.now_ms
        for command in self.engine.step(event):
            if not isinstance(command, Persist):
                if not isinstance(command, Alert):
                    outbox.append(command)
                continue
            record = command.record
            self.pending.append(record)
            self.records += 1
            if isinstance(record, Intended):
                slot = Slot(record.strategy, record.market, record.side, record.level)
                self.slots[record.client_order_id] = slot
            if self.records == self.crash_at:
                if not self.torn:
                    self.commit()
                self.crash()
                return
        if any(isinstance(command, _INTENTS) for command in outbox):
            if self.chance(0.02):
                self.crash()  # before the commit: nothing of this turn was ever sent
                return
            self.commit()
            if self.chance(0.02):
                self.crash()  # after the commit, before the send: intents without any bytes
                return
        for command in outbox:
            self.send(command)

    # -- venue

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

    # -- driving

    def run(self, steps: int) -> None:
        """Random life, then a stop with the faults off."""
        for _ in range(steps):
            self.turn()
        self.faults = False
        self.step(events.Verb(self.now_ms, "person", ACTIVE, "the test ends"))
        crashes = -1
        while crashes != self.crashes:  # a crash in the quiet part is recovered from, too
            crashes = self.crashes
            self.quieten()
            self.sweep()
            self.now_ms += 10

    def quieten(self) -> None:
        for number in range(700):
            self.turn()
            if self.recovered and number % 50 == 0:
                self.sweep()
            if self.recovered and number == 300 and not self.engine.stopping:
                self.know_what_is_held()
            if self.recovered and number > 300 and not self.engine.stopping:
                self.step(events.StopAsked(self.now_ms, "test"))

    def know_what_is_held(self) -> None:
        """At any moment: behind a sweep that is up to date, every position is the venue's, whatever frames were lost."""
        crashes, self.as_of_ms = self.crashes, self.now_ms
        self.read_account()
        for market, count, _ in self.positions(self.now_ms):
            ours = self.ledger.position(market).count
            if ours != count and crashes == self.crashes:
                self.violations.append(
                    f"{market}: {ours} held by the ledger after a sweep, {count} at the venue"
                )

    def turn(self) -> None:
        self.now_ms += self.random.choice((1, 5, 50, 300))
        self.expire()
        choice = self.random.random()
        if self.chance(0.004):
            self.crash()
        elif self.chance(0.05):
            self.turn_of_others()
        elif choice < 0.2:
            market = self.random.choice(MARKETS)
            self.mid[market] = min(
                max(self.mid[market] + self.random.choice((-200, -100, 100, 200)), 1_000), 9_000
            )
            mid = self.mid[market]
            self.step(events.TopChanged(self.now_ms, market, mid - 100, 500, mid + 100, 500, 1))
        elif choice < 0.45 and self.in_flight:
            self.in_flight.pop(self.random.randrange(len(self.in_flight)) if self.faults else 0)()
        elif choice < 0.75 and self.to_engine:
            index = self.random.randrange(len(self.to_engine)) if self.faults else 0
            incarnation, event = self.to_engine.pop(index)
            if incarnation == self.incarnation:
                self.step(event)
        elif choice < 0.8 and self.faults:
            live = [name for name, order in self.orders.items() if order.live]
            if live:
                self.fill(self.random.choice(live), self.random.choice((50, 100)))
        elif choice < 0.83 and not self.recovered:
            self.recover()
        else:
            self.step(events.Tick(self.now_ms))

    def turn_of_others(self) -> None:
        """What neither the market nor the engine does: settlements, a person, sweeps."""
        choice = self.random.random()
        if choice < 0.06:
            self.settle(self.random.choice(MARKETS))
        elif choice < 0.26:
            state = self.random.choice((REDUCING, HALTED, ACTIVE, ACTIVE))
            self.step(events.Verb(self.now_ms, "person", state, "test"))
        elif self.recovered and choice < 0.86:
            self.sweep()
        elif self.recovered:
            self.know_what_is_held()

    def check(self) -> list[str]:
        """What is wrong at the end, when everything is quiet."""
        found = list(self.violations)
        ledger = self.ledger
        if ledger.halts:
            found.append(f"contradictions {ledger.halts}")
        if ledger.unsettled_count():
            found.append(
                f"unsettled at the end: {[(o.client_order_id, o.label) for o in ledger.unsettled()]}"
            )
        live = [name for name, order in self.orders.items() if order.live]
        if live:
            found.append(f"resting at the end: {live}")
        if "reconcile" in ledger.latches:
            found.append(f"a comparison failed: {ledger.latches['reconcile']}")
        for market, count, _ in self.positions(self.now_ms):
            position = ledger.position(market)
            fees = sum(fill.fee for fill in self.fills if fill.market == market)
            cash = self.cash(market)
            if (position.count, position.fees, position.cash) != (count, fees, cash):
                found.append(
                    f"{market}: ours {position.count}, {position.fees}, {position.cash}; venue {count}, {fees}, {cash}"
                )
        rebuilt = self.make_ledger()
        self.commit()
        for payload in self.journal:
            for record in decode_batch(payload):
                rebuilt.apply(record)
        if rebuilt.state_hash() != ledger.state_hash():
            found.append("replay of the journal gives another state")
        if rebuilt.export() != ledger.export() or Ledger.restore(ledger.export()).export() != ledger.export():
            found.append("an export, or an export restored, differs from the replayed ledger")
        return found


class Restless(Threshold):
    """Takes another part of the position off the table every few seconds: amends of size and price."""

    def targets(self, view: MarketView) -> list[Target]:
        wanted = super().targets(view)
        if not view.position or view.now_ms // 2_500 % 2:
            return wanted
        return [target._replace(size=max(target.size // 2, 1)) for target in wanted]


def strategy() -> Threshold:
    return Restless(
        ThresholdParameters.model_validate(
            {
                "entry": "join",
                "order_contracts": "2.00",
                "maximum_hold_seconds": 2,
                "cooldown_seconds": 0.1,
                "minimum_seconds_to_close": 0,
            }
        )
    )


def made(kind: type[Engine], ledger: Ledger, identity: Identity) -> Engine:
    """An engine of this kind on the model's markets."""
    return kind(ledger, identity, strategy(), LIMITS, MARKETS, SETTINGS)


def real_engine(ledger: Ledger, identity: Identity) -> Engine:
    return made(Engine, ledger, identity)


def engine_with(desk: type[Desk]) -> Callable[[Ledger, Identity], Engine]:
    """An engine with another desk, to show that a broken one is noticed."""

    class Built(Engine):
        def _make_desk(self, ledger: Ledger, identity: Identity) -> Desk:
            return desk(ledger, identity, self.budget, self._ticks_of)

    return lambda ledger, identity: made(Built, ledger, identity)
