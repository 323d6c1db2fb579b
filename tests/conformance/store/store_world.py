"""Journals made by the engine's core: what it decides and sees is what the store reads."""

from __future__ import annotations

import random
from pathlib import Path

from soloist_trader.core import events
from soloist_trader.core.commands import Cancel, Place
from soloist_trader.core.ledger import Ledger
from soloist_trader.core.records import Record
from soloist_trader.core.risk import Limits
from soloist_trader.core.strategy import Target
from soloist_trader.core.units import ACTIVE, ASK, BID, GOOD_TILL_CANCELED, IMMEDIATE_OR_CANCEL, REDUCING
from soloist_trader.journal.writer import Journal
from soloist_trader.store.database import Database

from tests.unit.soloist_trader.core_world import CoreWorld

LIMITS = Limits(
    max_order=2_000,
    max_position=10_000,
    max_exposure=500_000_000,
    max_open_orders=50,
    daily_loss=500_000_000,
)
DAY_MS = 86_400_000


class Trader(CoreWorld):
    """A core whose records go into a journal; the venue's part is played by the test."""

    def __init__(self, directory: Path, *, segment_bytes: int = 8 * 1024 * 1024) -> None:
        self.journal = Journal(directory, segment_bytes=segment_bytes)
        ledger = Ledger()
        self.journal.open(ledger)
        self.fills = 0
        self._written = 0
        super().__init__(LIMITS, ledger)
        self.commit()

    def commit(self) -> None:
        """One batch of everything since the last."""
        new: list[Record] = self.records[self._written :]
        for record in new:
            self.journal.append(record)
        self._written += len(new)
        self.journal.commit()

    def buy(self, price: int, size: int, fee: int = 0) -> None:
        self.trade(Target(BID, "entry", price, size, IMMEDIATE_OR_CANCEL), fee)

    def sell(self, price: int, size: int, fee: int = 0) -> None:
        self.trade(Target(ASK, "exit", price, size, IMMEDIATE_OR_CANCEL), fee)

    def trade(
        self, target: Target, fee: int = 0, *, late_ms: int = 0, parts: int = 1, fees: int = -1
    ) -> None:
        """An order that fills at its price. `late_ms` lets the fill be older than what is known already."""
        self.wish.wanted = []
        self.tick(60_000)  # behind any back-off
        places = [command for command in self.want(target) if isinstance(command, Place)]
        self.wish.wanted = []
        if not places:
            return
        place, left = places[0], places[0].size
        for part in range(parts, 0, -1):
            size = left if part == 1 else left // part
            left -= size
            if size:
                self.book(place, size, fee, late_ms)
        self.step(
            events.OrderSeen(
                self.now_ms, place.client_order_id, f"v-{place.client_order_id}", place.market, place.side,
                place.price, place.size, place.size, True, "reply", fees=fees,  # noqa: FBT003 a tuple's field
            )
        )  # fmt: skip
        self.commit()

    def book(self, place: Place, size: int, fee: int, late_ms: int = 0) -> None:
        self.fills += 1
        self.step(
            events.FillSeen(
                self.now_ms, f"f{self.fills}", f"v-{place.client_order_id}", place.client_order_id, place.market,
                place.side, place.price, size, fee, True, self.now_ms - late_ms,  # noqa: FBT003 a tuple's field
            )
        )  # fmt: skip

    def sweep(self) -> None:
        """A comparison with the venue ended: the cursor moves."""
        self.step(events.SweepEnded(self.now_ms, self.now_ms))
        self.commit()

    def settle(self, value: int, residue: int = 0) -> None:
        count = self.ledger.position("M").count
        yes, no = max(count, 0), max(-count, 0)
        revenue = value * yes + (10_000 - value) * no + residue
        self.tick()
        self.step(
            events.SettlementSeen(
                self.now_ms, "M", "yes" if value else "no", self.now_ms, revenue, yes, no, 0, value
            )
        )
        self.commit()

    def refuse(self) -> None:
        self.tick(60_000)
        places = [
            command
            for command in self.want(Target(BID, "entry", 4_000, 100, GOOD_TILL_CANCELED))
            if isinstance(command, Place)
        ]
        self.wish.wanted = []
        for place in places:
            self.step(
                events.OrderRefused(self.now_ms, place.client_order_id, "insufficient_balance", "no\tmoney")
            )
        self.commit()

    def rest(self) -> None:
        """An order that stays on the book until the strategy no longer wants it."""
        self.tick(60_000)
        target = Target(BID, "entry", 3_000, 100, GOOD_TILL_CANCELED)
        places = [command for command in self.want(target) if isinstance(command, Place)]
        for place in places:
            self.seen(place)
        self.wish.wanted = []
        for command in self.tick(1_000):
            if isinstance(command, Cancel):
                self.step(events.CancelEnded(self.now_ms, command.client_order_id, 100, "cancelled"))
        self.commit()

    def doubt(self) -> None:
        self.tick(60_000)
        target = Target(BID, "entry", 2_000, 100, GOOD_TILL_CANCELED)
        places = [command for command in self.want(target) if isinstance(command, Place)]
        self.wish.wanted = []
        for place in places:
            self.step(events.OrderUnknown(self.now_ms, place.client_order_id, "timeout"))
            for _ in range(3):  # entombed by the first listing that says so, released by a later one
                self.tick(3_600_000)
                self.step(events.OrderAbsent(self.now_ms, place.client_order_id, self.now_ms))
        self.commit()

    def close(self) -> None:
        self.journal.close()


def live(trader: Trader, draw: random.Random, steps: int) -> None:
    """A life with everything that makes rows: trades of all kinds, late fills, fees, refusals, latches, days."""
    for _ in range(steps):
        held = trader.ledger.position("M").count
        match draw.randrange(12):
            case 0 | 1 | 2 | 3:
                size, price = draw.randrange(1, 900), draw.randrange(1, 99) * 100
                side = draw.choice((BID, ASK))
                fee = draw.randrange(0, 50_000)
                total = fee if draw.random() < 0.5 else fee + draw.randrange(-300, 300)
                late_ms = draw.choice((0, 0, 0, 90_000, 400_000, 5_000_000))
                target = Target(side, "entry" if side == BID else "exit", price, size, IMMEDIATE_OR_CANCEL)
                # What is older is in what was adopted, or forgotten.
                known_ms = trader.now_ms - max(trader.ledger.adopted_ms, trader.ledger.horizon_ms)
                trader.trade(target, fee, late_ms=min(late_ms, known_ms), fees=total)
            case 4 | 5 if held:
                target = Target(
                    ASK if held > 0 else BID, "flat", 5_000, min(abs(held), 2_000), IMMEDIATE_OR_CANCEL
                )
                trader.trade(target, draw.randrange(0, 9_999), parts=draw.randrange(1, 4))
            case 6:
                trader.sweep()
            case 7:
                trader.refuse()
            case 8:
                trader.rest()
            case 9 if draw.random() < 0.3:
                trader.settle(draw.choice((0, 10_000, 3_333)), draw.randrange(-5_000, 5_000))
            case 10:
                trader.verb("operator", REDUCING)
                trader.verb("operator", ACTIVE)
                trader.commit()
            case _ if draw.random() < 0.2:
                trader.now_ms += DAY_MS
                trader.tick()
                trader.top()
                trader.commit()
            case _:
                trader.doubt()


class Crash(BaseException):
    """The process ends here."""


class CrashingDatabase:
    """A real database whose user dies before statement number `crash_at` reaches it."""

    def __init__(self, database: Database, crash_at: int) -> None:
        self._database = database
        self.left = crash_at

    def __getattr__(self, name: str) -> object:
        found = getattr(self._database, name)
        if name not in {"execute", "execute_many", "rows", "transaction"}:
            return found

        def call(*words: object) -> object:
            self.left -= 1
            if self.left < 0:
                raise Crash
            return found(*words)

        return call


def dump(database: Database, tables: list[str]) -> dict[str, list[tuple[object, ...]]]:
    """Everything in the tables, in an order of Python's."""
    return {
        table: sorted(
            (
                tuple(bytes(value) if isinstance(value, memoryview) else value for value in row)
                for row in database.rows(f"SELECT * FROM {table}")
            ),
            key=repr,
        )
        for table in tables
    }
