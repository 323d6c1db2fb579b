"""A venue in a few lines, driven by a seed, around the real core: lost replies, late arrivals, lost and repeated frames,
crashes that lose what was not committed. It is the oracle: what it accepted is what happened.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

from soloist_trader.core import events
from soloist_trader.core.commands import Alert, Cancel, Entomb, FindFills, FindOrder, Persist, Place
from soloist_trader.core.desk import Desk, Identity
from soloist_trader.core.engine import Engine
from soloist_trader.core.ledger import Ledger
from soloist_trader.core.records import Intended, Record, Slot
from soloist_trader.core.risk import Limits
from soloist_trader.core.units import GOOD_TILL_CANCELED
from soloist_trader.journal.codec import decode_batch, encode_batch
from soloist_trader.strategies.threshold import Threshold, ThresholdParameters

MARKETS = ("A", "B")
TICKS = tuple(range(100, 10_000, 100))
LIMITS = Limits(1_000, 2_000, 1_000_000_000, 50, 1_000_000_000)
CLAIM = "claim0"


@dataclass
class VenueOrder:
    """An order that the venue accepted."""

    order_id: str
    command: Place | Entomb
    filled: int = 0
    closed: bool = False

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
        for client_order_id, order in list(self.orders.items()):
            if order.live or client_order_id in self.ledger.orders:
                self.step(self.seen(client_order_id, "listing"))
        if self.ledger.cursor_ms:
            for fill in list(self.fills):
                self.step(fill._replace(client_order_id=""))
        self.step(events.PositionsSeen(self.now_ms, self.now_ms, self.positions(), ()))
        self.step(events.SweepEnded(self.now_ms, self.now_ms))
        if not self.ledger.unsettled_count():
            self.step(events.Readied(self.now_ms))
            self.recovered = True

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
        outbox = []
        for command in self.engine.step(event):
            if isinstance(command, Persist):
                self.pending.append(command.record)
                if isinstance(command.record, Intended):
                    record = command.record
                    slot = Slot(record.strategy, record.market, record.side, record.level)
                    self.slots[record.client_order_id] = slot
            elif not isinstance(command, Alert):
                outbox.append(command)
        if any(isinstance(command, Place | Entomb) for command in outbox):
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

    def send(self, command: Place | Entomb | Cancel | FindOrder | FindFills) -> None:
        incarnation = self.incarnation
        self.in_flight.append(lambda: self.arrive(command, incarnation))

    def answer(self, incarnation: int, event: events.Event) -> None:
        if incarnation == self.incarnation:
            self.to_engine.append((incarnation, event))

    def arrive(self, command: Place | Entomb | Cancel | FindOrder | FindFills, incarnation: int) -> None:
        if isinstance(command, Place | Entomb):
            self.create(command, incarnation)
        elif isinstance(command, Cancel):
            order = self.orders[command.client_order_id]
            if order.closed:
                self.answer(
                    incarnation, events.CancelEnded(self.now_ms, command.client_order_id, -1, "not_found")
                )
                return
            order.closed = True
            reduced = order.command.size - order.filled
            if not self.chance(0.2):
                self.answer(
                    incarnation,
                    events.CancelEnded(self.now_ms, command.client_order_id, reduced, "cancelled"),
                )
            self.frame(self.seen(command.client_order_id, "user_orders"))
        elif isinstance(command, FindOrder):
            if self.chance(0.2):
                return  # the read failed; it is asked for again
            if command.client_order_id in self.orders:
                self.answer(incarnation, self.seen(command.client_order_id, "listing"))
            else:
                self.answer(
                    incarnation, events.OrderAbsent(self.now_ms, command.client_order_id, self.now_ms)
                )
        else:
            for fill in self.fills:
                if fill.order_id == command.order_id:
                    self.answer(incarnation, fill)

    def create(self, command: Place | Entomb, incarnation: int) -> None:
        client_order_id = command.client_order_id
        if self.chance(0.05):
            if incarnation == self.incarnation:
                self.answer(incarnation, events.OrderUnknown(self.now_ms, client_order_id, "reset"))
                self.doubts += 1
            if self.chance(0.5):
                return  # it never arrives
            self.in_flight.append(lambda: self.accept(command))  # it arrives later, after the client gave up
            return
        reply = self.accept(command)
        if self.chance(0.1):
            self.doubts += 1
            reply = events.OrderUnknown(self.now_ms, client_order_id, "reply lost after commit")
        self.answer(incarnation, reply)

    def accept(self, command: Place | Entomb) -> events.Event:
        client_order_id = command.client_order_id
        if client_order_id in self.orders:
            return events.OrderExists(self.now_ms, client_order_id)
        if self.chance(0.03):
            return events.OrderRefused(self.now_ms, client_order_id, "insufficient_balance", "no money")
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
        size = min(size, order.command.size - order.filled)
        if size <= 0 or order.closed:
            return
        order.filled += size
        order.closed = order.filled >= order.command.size
        fill = events.FillSeen(
            self.now_ms, f"f{len(self.fills):06}", order.order_id, client_order_id, order.command.market,
            order.command.side, order.command.price, size, size * 7, True, self.now_ms,  # noqa: FBT003 a tuple's field
        )  # fmt: skip
        self.fills.append(fill)
        self.frame(fill)
        self.frame(self.seen(client_order_id, "user_orders"))

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
            self.now_ms, client_order_id, order.order_id, command.market, command.side, command.price,
            command.size, order.filled, order.closed, source,
        )  # fmt: skip

    def positions(self) -> tuple[tuple[str, int, int], ...]:
        return tuple(
            (market, sum(f.side * f.size for f in self.fills if f.market == market), 0) for market in MARKETS
        )

    # -- driving

    def run(self, steps: int) -> None:
        """Random life, then a stop with the faults off."""
        for _ in range(steps):
            self.turn()
        self.faults = False
        for _ in range(400):
            self.turn()
            if self.recovered and not self.engine.stopping:
                self.step(events.StopAsked(self.now_ms, "test"))
        self.now_ms += 10

    def turn(self) -> None:
        self.now_ms += self.random.choice((1, 5, 50, 300))
        choice = self.random.random()
        if self.chance(0.004):
            self.crash()
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
        for market, count, _ in self.positions():
            position = ledger.position(market)
            fees = sum(fill.fee for fill in self.fills if fill.market == market)
            cash = -sum(fill.side * fill.price * fill.size for fill in self.fills if fill.market == market)
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
        return found


def strategy() -> Threshold:
    return Threshold(
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


def real_engine(ledger: Ledger, identity: Identity) -> Engine:
    return Engine(ledger, identity, strategy(), LIMITS, MARKETS)


def engine_with(desk: type[Desk]) -> Callable[[Ledger, Identity], Engine]:
    """An engine with another desk, to show that a broken one is noticed."""

    class Built(Engine):
        def _make_desk(self, ledger: Ledger, identity: Identity) -> Desk:
            return desk(ledger, identity, self.budget)

    return lambda ledger, identity: Built(ledger, identity, strategy(), LIMITS, MARKETS)
