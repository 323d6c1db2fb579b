"""Crash after crash: bots in memory against one exchange in memory, judged by the exchange each time they are quiet."""

from __future__ import annotations

import errno
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from soloist_exchange.faults import Fault
from soloist_exchange.listener import Fill, Listener
from soloist_exchange.orders import Order, Status
from soloist_trader.config import Configuration
from soloist_trader.core.records import Slot
from soloist_trader.core.units import REDUCING
from soloist_trader.shell import recovery
from soloist_trader.shell.venue_recovery import SafetyRecord

from tests.conformance.engine.engine_processes import BUSY
from tests.crash.memory_engine import OURS, RECOVERY, Build, CrashDisk, Crashed, EngineProcess, make_signer
from tests.crash.memory_venue import ACCOUNT, DEPOSIT, SCENARIO, TICKERS, MemoryVenue
from tests.crash.virtual import VirtualLoop, virtual_time

LONGEST_RECOVERY_S = 100
LONGEST_LIFE_S = 20
PERSON_S = 0.5
"""How long a person takes to read a recovery report."""
SWEEP_S = 0.7
"""Lives are short: sweeps come as often as sends do."""
BOUNDARIES = 240
"""The walk begins again after so many boundaries of one life."""
FAIL_EVERY = 6
"""Of the lives, one has a disk that fails for good; orders stop then, and the life ends as all do."""
FAIL_WITHIN = 12
"""Before the disk's so-manieth call of that kind after the engine has agreed with the venue."""
DISK_FAULTS = (("sync", errno.EIO), ("write", errno.ENOSPC), ("write", errno.EROFS))
STRATEGIES = (
    ("threshold", BUSY),
    ("threshold", {**BUSY, "entry": "join", "maximum_hold_seconds": 3}),
    (
        "threshold",
        {**BUSY, "order_contracts": "2.50", "stop_loss_dollars": "0.01", "take_profit_dollars": "0.01"},
    ),
)
ORDERS = "/portfolio/events/orders"
HANDS = frozenset({"amend", "decrease", "cancel"})


def faults(random: Random) -> list[Fault]:
    """What the issue names: each kind often enough to be met many times in a run."""
    return [
        Fault("reply_lost_after", method="POST", path=ORDERS, percent=6),
        Fault("reply_lost_before", method="POST", path=ORDERS, percent=3),
        Fault("error_after", method="POST", path=ORDERS, percent=4),
        Fault("error_before", method="POST", path=ORDERS, percent=2),
        Fault("truncated", method="POST", path=ORDERS, percent=2),
        Fault("half_open", method="POST", path=ORDERS, percent=1, when="after"),
        Fault("reply_lost_after", method="DELETE", path=ORDERS, percent=8),
        Fault("error_after", method="DELETE", path=ORDERS, percent=4),
        Fault("fill_before_reply", method="POST", path=ORDERS, percent=15, delay_ms=30),
        Fault("slow", method="POST", path=ORDERS, percent=12, delay_ms=random.choice((150, 600))),
        Fault("error_before", method="GET", path="/portfolio", percent=3),
        Fault("reply_lost_before", method="GET", path="/portfolio", percent=2),
        Fault("frame_dropped", path="fill", percent=15),
        Fault("frame_dropped", path="user_orders", percent=15),
        Fault("duplicate_fill", percent=10),
        Fault("late_fill_after_cancel", percent=10, delay_ms=700),
        Fault("frame_delayed", path="user_orders", percent=10, delay_ms=900),
        Fault("frame_reordered", path="fill", percent=8),
        Fault("frame_reordered", path="user_orders", percent=8),
        Fault("frame_duplicated", path="user_orders", percent=8),
        Fault("close_without_frame", path="orderbook_delta", percent=1),
        Fault("websocket_refused", percent=10),
    ]


@dataclass
class Result:
    """What a run did and found."""

    crashes: int = 0
    orders: int = 0
    fills: int = 0
    doubles: int = 0
    lost: int = 0
    checks: int = 0
    worst_recovery_ms: int = 0
    deleted: int = 0
    disks_failed: int = 0
    where: Counter[str] = field(default_factory=Counter)
    findings: list[str] = field(default_factory=list)

    def add(self, other: Result) -> None:
        for name in ("crashes", "orders", "fills", "doubles", "lost", "checks", "deleted", "disks_failed"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.worst_recovery_ms = max(self.worst_recovery_ms, other.worst_recovery_ms)
        self.where += other.where
        self.findings += other.findings


class Bot:
    """One bot over all its processes."""

    def __init__(self, world: World, number: int, start_at: int) -> None:
        self.world = world
        self.number = number
        self.claim = f"crash{number}"
        self.random = Random(f"{world.seed}-{number}")
        self.disk = CrashDisk()
        self.signer = make_signer()
        self.key_id = world.venue.keys[number]
        self.intents: dict[str, tuple[Slot, int]] = {}
        self.unchecked: list[Order] = []
        self.live: dict[Slot, Order] = {}
        self.walk = start_at
        self.lives = 0
        self.deleted = False
        self.was_deleted = False
        self.safety: SafetyRecord | None = None
        """What the Lease remembers: written when the bot is quiet, so what came later is often not in it."""
        self.last_accepted_ms = 0
        self.earlier_groups: set[str] = set()
        self.forgotten: set[str] = set()
        """Intended in a journal that was deleted: the position tells of them, and nothing else can."""
        self.bases: dict[str, tuple[int, int]] = {}
        """Market to (cash, fees) that the exchange knew before the journal began."""
        name, parameters = STRATEGIES[(world.seed + number) % len(STRATEGIES)]
        self.configuration = Configuration.model_validate({
            "version": 1,
            "bot": {"namespace": "crash", "name": self.claim},
            "mode": "Live",
            "venue": {
                "name": "memory", "rest_url": "http://127.0.0.1:1/trade-api/v2",
                "websocket_url": "ws://127.0.0.1:1/trade-api/ws/v2",
            },
            "account": {"subaccount": number, "claim_hash": self.claim, "epoch": 1},
            "markets": {"tickers": list(TICKERS), "series": []},
            "strategy": {"name": name, "parameters": parameters},
            "risk": {
                "max_order_contracts": "5.00", "max_position_contracts": "20.00", "max_exposure_dollars": "100.00",
                "max_open_orders": 20, "daily_loss_dollars": "2000.00",
            },
        })  # fmt: skip

    # -- lives

    def start(self) -> None:
        world = self.world
        self.process = EngineProcess(
            world.venue, self.key_id, self.signer, self.configuration, self.disk, self.random, world.build, self.intents,
            self._on_quiet, self._on_error, world.directory, self.safety,
        )  # fmt: skip
        self.lives += 1
        if self.lives % 4 == 0:  # a crash while it recovers from a crash
            self.process.boundary.arm(self._next())
        self.process.start()
        process = self.process
        world.venue.later(LONGEST_RECOVERY_S, lambda: self._too_late(process))

    def _next(self) -> int:
        self.walk = self.walk % BOUNDARIES + 1
        return self.walk

    def _too_late(self, process: EngineProcess) -> None:
        if process.dead or process.ready:
            return
        ledger = process.ledger
        left = [f"{order.client_order_id} {order.label}" for order in ledger.unsettled()]
        self.world.find(
            self, f"not ready after {LONGEST_RECOVERY_S} s: {process.reconciler.phase} {left} {ledger.halts}"
        )
        self.world.venue.loop.stop()

    def _on_quiet(self, process: EngineProcess) -> None:
        """Agreed with the venue, and nothing decided since: the moment at which everything must be right."""
        process.ready = True
        world = self.world
        loop = world.venue.loop
        world.result.worst_recovery_ms = max(
            world.result.worst_recovery_ms, (loop.now_us - process.started_us) // 1_000
        )
        world.result.checks += 1
        self._check(process)
        self.safety = process.safety_record()
        if RECOVERY in process.ledger.latches:
            world.venue.later(PERSON_S, process.resume)
        if not process.boundary.armed:
            process.boundary.arm(self._next())
        if self.lives % FAIL_EVERY == 0:
            call, number = self.random.choice(DISK_FAULTS)
            self.disk.fail_soon(call, number, self.random.randrange(1, FAIL_WITHIN))
        world.venue.later(LONGEST_LIFE_S, lambda: self._enough(process))
        if world.is_done():
            loop.stop()

    def _enough(self, process: EngineProcess) -> None:
        """It never came to the boundary: it ends here."""
        if not process.dead:
            process.dead = True
            raise Crashed(process, "after a quiet time")

    def crash(self, error: Crashed) -> None:
        world = self.world
        world.result.crashes += 1
        world.result.where[error.where] += 1
        world.result.disks_failed += bool(self.disk.faults)
        self.process.end()
        disk = self.disk.after_crash(self.random.getrandbits(32))
        self.disk = CrashDisk()
        self.disk.names, self.disk.durable_names = disk.names, disk.durable_names
        if world.delete_every and self.lives % world.delete_every == 0:
            self.deleted = self.was_deleted = True
            world.result.deleted += 1
            self.disk = CrashDisk()
            self.forgotten.update(self.intents)
        self.start()

    def _on_error(self, process: EngineProcess, why: str) -> None:
        if not process.dead:
            self.world.find(self, why)
            self.world.venue.loop.stop()

    # -- judging

    def _check(self, process: EngineProcess) -> None:
        world, ledger = self.world, process.ledger
        account = world.venue.exchange.venue.ledger.accounts[world.venue.account_id]
        for order in world.venue.exchange.venue.resting(account.account_id, self.number):
            world.find(self, f"{order.client_order_id} rests")
        for order in ledger.unsettled():
            world.find(self, f"{order.client_order_id} is {order.label}")
        for market, why in ledger.halts.items():
            world.find(self, f"{market} halted: {why}")
        self._check_latches(process)
        self._check_groups(process)
        self._check_orders(process)
        for market in TICKERS:
            held = account.positions.get((self.number, market))
            theirs = (held.count, held.fees) if held else (0, 0)
            position = ledger.position(market)
            if self.deleted:
                self.bases[market] = (0, theirs[1] - position.fees)
            ours = (position.count, position.fees + self.bases.get(market, (0, 0))[1])
            if ours != theirs:
                world.find(self, f"{market}: position and fees {ours}, the exchange says {theirs}")
        theirs_cash = sum(
            money for (subaccount, _), money in account.cash.items() if subaccount == self.number
        )
        cash = DEPOSIT + sum(position.cash - position.fees for position in ledger.positions.values())
        if self.deleted:
            self.bases[""] = (theirs_cash - cash, 0)
            self.deleted = False
        cash += self.bases.get("", (0, 0))[0]
        if cash != theirs_cash:
            world.find(self, f"money {cash}, the exchange says {theirs_cash}")

    def _check_latches(self, process: EngineProcess) -> None:
        """None but that of a lost journal, and that one if and only if somebody has to look."""
        latches = process.ledger.latches
        held = RECOVERY in latches
        if self.deleted:
            record = self.safety
            needed = self.last_accepted_ms > 0 and (
                record is None or RECOVERY in record.latches or self.last_accepted_ms > record.as_of_ms
            )
            if held != needed:
                self.world.find(self, f"journal deleted: a person has to look {needed}, latched {held}")
        for actor, (state, why) in latches.items():
            if (actor, state) != (RECOVERY, REDUCING) or not self.was_deleted:
                self.world.find(self, f"latched {state} by {actor}: {why}")

    def _check_groups(self, process: EngineProcess) -> None:
        """Those of this start are at the exchange; those of an earlier one that traded are gone, and with them what names them."""
        venue = self.world.venue
        theirs = {group.group_id for group in venue.exchange.venue.groups.of(venue.account_id, self.number)}
        ours = {group.group_id for group in process.ledger.groups.values()}
        if not ours <= theirs:
            self.world.find(self, f"order groups {ours - theirs} are not at the exchange")
        if left := theirs & self.earlier_groups - ours:
            self.world.find(self, f"order groups {left} of an earlier start were left")
        self.earlier_groups |= ours

    def _check_orders(self, process: EngineProcess) -> None:
        world = self.world
        for order in self.unchecked:
            name = order.client_order_id
            if name in self.forgotten:
                continue
            known = process.ledger.orders.get(name)
            if name not in process.survived:
                world.result.lost += 1
                world.find(self, f"{name} was accepted, and the journal does not know it")
            elif known is not None and (known.evidence, known.booked) != (order.filled, order.filled):
                world.result.lost += 1
                world.find(
                    self,
                    f"{name} filled {order.filled}, the ledger says {known.evidence}, booked {known.booked}",
                )
        self.unchecked.clear()

    def on_accepted(self, order: Order) -> None:
        world = self.world
        found = self.intents.get(order.client_order_id)
        if found is None:
            world.result.doubles += 1
            world.find(self, f"{order.client_order_id} was accepted and never intended")
            return
        slot, size = found
        holder = self.live.get(slot)
        if holder is not None and holder.status is Status.RESTING:
            world.result.doubles += 1
            world.find(self, f"{holder.client_order_id} and {order.client_order_id} are live in {slot}")
        if order.initial > size:
            world.find(self, f"{order.client_order_id} was accepted with {order.initial}, intended {size}")
        self.live[slot] = order
        self.unchecked.append(order)
        self.last_accepted_ms = order.created_ms
        world.result.orders += 1


class _Oracle(Listener):
    """Hears from the exchange what happened."""

    def __init__(self, world: World) -> None:
        self._world = world

    def on_accepted(self, order: Order) -> None:
        if order.account_id != self._world.venue.account_id:
            return
        bot = self._world.bots[order.subaccount]
        if not order.client_order_id.startswith(f"s{bot.claim}-"):
            self._world.find(bot, f"{order.client_order_id} came to its subaccount")
        bot.on_accepted(order)

    def on_fill(self, fill: Fill) -> None:
        if fill.order.account_id == self._world.venue.account_id:
            self._world.result.fills += 1


class World:
    """One seed: one exchange, its bots, so many crashes."""

    scenario = SCENARIO

    def __init__(
        self, seed: int, crashes: int, *, build: Build = OURS, bots: int = 1, delete_every: int = 0
    ) -> None:
        self.seed = seed
        self.crashes = crashes
        self.build = build
        self.delete_every = delete_every
        self.result = Result()
        self.bots: list[Bot] = []
        self._count = bots
        self.venue: MemoryVenue
        self.directory: Path

    def find(self, bot: Bot, what: str) -> None:
        self.result.findings.append(
            f"seed {self.seed}, bot {bot.number}, life {bot.lives}, crash {self.result.crashes}: {what}"
        )

    def is_done(self) -> bool:
        return self.result.crashes >= self.crashes

    def run(self) -> Result:
        """Until the crashes are through and everybody has recovered from the last one, or something was found."""
        self.directory = Path(tempfile.mkdtemp(prefix="soloist-crash-"))
        usual = recovery.OVERLAP_MS, recovery.SWEEP_S
        recovery.OVERLAP_MS, recovery.SWEEP_S = self.build.overlap_ms, SWEEP_S
        try:
            with virtual_time() as loop:
                self._run(loop)
        finally:
            recovery.OVERLAP_MS, recovery.SWEEP_S = usual
            shutil.rmtree(self.directory)
        return self.result

    def _run(self, loop: VirtualLoop) -> None:
        self._open(loop)
        self._live(loop)
        self._end(loop)
        self._check_hands()
        self.venue.close()

    def _open(self, loop: VirtualLoop) -> None:
        self.venue = MemoryVenue(self.directory, loop, self.seed, self._count, self.scenario)
        loop.set_exception_handler(self._on_loop_error)
        self.venue.exchange.venue.listeners.append(_Oracle(self))
        random = Random(self.seed)
        loop.call_soon(self.venue.open, self._count)
        loop.call_soon(loop.stop)
        loop.run_forever()
        assert not self.result.findings, self.result.findings
        self.venue.set_faults(faults(random), 3)
        self.bots = [Bot(self, number, random.randrange(BOUNDARIES)) for number in range(self._count)]
        for bot in self.bots:
            bot.start()

    def _live(self, loop: VirtualLoop) -> None:
        """Crash after crash."""
        while not self.result.findings and not (
            self.is_done() and all(bot.process.ready for bot in self.bots)
        ):
            self._turn_and_restart(loop)

    def _turn_and_restart(self, loop: VirtualLoop) -> None:
        error = _turn(loop)
        for bot in self.bots:
            if error is not None and bot.process is error.process:
                bot.crash(error)

    def _end(self, loop: VirtualLoop) -> None:
        """Every process ends for good, and what its tasks still say is heard."""
        for bot in self.bots:
            bot.process.end()
        self._wait(loop, 0.01)

    def _wait(self, loop: VirtualLoop, seconds: float) -> None:
        """Time passes at the exchange; nobody is alive but it."""
        loop.call_later(seconds, loop.stop)
        while _turn(loop) is not None:
            pass

    def _check_hands(self) -> None:
        exchange = self.venue.exchange
        exchange.commit()
        keys = {bot.key_id: bot for bot in self.bots}
        for event in strange_hands(exchange.store.events(ACCOUNT, "", 0)):
            self.find(keys[event["key_id"]], f"touched what is not its own: {event}")

    def _on_loop_error(self, _loop: object, context: dict[str, object]) -> None:
        error = context.get("exception")
        if isinstance(error, Crashed):
            return
        self.result.findings.append(f"seed {self.seed}: the loop caught {context.get('message')}: {error!r}")


def strange_hands(log: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """What the exchange's log of one account shows of keys that touched orders which another key sent, or all at once."""
    owners: dict[str, str] = {}
    found = []
    for event in log:
        kind = event["kind"]
        if kind == "accepted":
            owners[event["order_id"]] = event["key_id"]
        elif kind == "cancel_all" or (kind in HANDS and owners.get(event["order_id"]) != event["key_id"]):
            found.append(event)
    return found


def _turn(loop: VirtualLoop) -> Crashed | None:
    """Run until somebody stops the loop or a process ends. A task that waited for a dead process may say so once more."""
    try:
        loop.run_forever()
    except Crashed as error:
        return error
    return None
