"""One engine after the other at the modelled venue: crashes that lose what was not committed, a random life, and the judgement.

The venue is the oracle.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass, field

from soloist_trader.core import events
from soloist_trader.core.commands import Alert, Amend, Command, Entomb, Persist, Place
from soloist_trader.core.desk import Identity
from soloist_trader.core.engine import Engine
from soloist_trader.core.ledger import Ledger
from soloist_trader.core.records import Intended, Record, Slot
from soloist_trader.core.units import ACTIVE, GROUP_ROLES, HALTED, REDUCING
from soloist_trader.journal.codec import decode_batch, encode_batch

from tests.property.soloist_trader.venue_model import MARKETS, Venue

TICKS = tuple(range(100, 10_000, 100))
CLAIM = "claim0"
OVERLAP_MS = 500
"""Sweeps read fills from the cursor less this: short, so that a cursor which runs ahead is noticed."""
_INTENTS = Place | Entomb | Amend


@dataclass
class World(Venue):
    """A venue, its market, and the engines that trade there, each from its start to its crash."""

    make_engine: Callable[[Ledger, Identity], Engine]
    make_ledger: Callable[[], Ledger] = Ledger
    _: KW_ONLY
    journal: list[bytes] = field(default_factory=list)
    pending: list[Record] = field(default_factory=list)
    crash_at: int = 0
    """Crash once, right behind this many records of the whole life; `torn` loses what was not committed before."""
    torn: bool = False
    records: int = 0
    as_of_ms: int = 0
    crashes: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        self.mid = dict.fromkeys(MARKETS, 5_000)
        self.start()

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
