"""The loop around the core with a journal on disk and an edge that notes what it is asked to do."""

import asyncio
import errno

import pytest
from soloist_trader.core import events
from soloist_trader.core.commands import Cancel, Place, TriggerGroup
from soloist_trader.core.units import BID
from soloist_trader.journal.reader import Tail, read_journal
from soloist_trader.journal.writer import Journal
from soloist_trader.shell.clock import now_ms
from soloist_trader.shell.gate import SendGate
from soloist_trader.shell.runtime import Runtime

from tests.unit.soloist_trader.core_world import ENTRY, EXIT, CoreWorld


class NotingEdge:
    """An edge that asks the gate, notes the commands and what was in the journal then, and answers what it is told."""

    def __init__(self, directory):
        self.directory = directory
        self.commands = []
        self.durable = []
        self.reasons = []
        self.done = asyncio.Event()

    async def execute(self, command, gate):
        self.commands.append(command)
        self.durable.append(
            [r.client_order_id for _, _, found in read_journal(self.directory, Tail()) for r in found if type(r).__name__ == "Intended"]
        )  # fmt: skip
        await asyncio.sleep(0)  # a connection is opened
        reason = gate() if gate else None
        self.reasons.append(reason)
        self.done.set()
        if isinstance(command, Place):
            if reason:
                return [events.OrderNotSent(now_ms(), command.client_order_id, reason)]
            return [
                events.OrderSeen(
                    now_ms(), command.client_order_id, "v1", command.market, command.side, command.price, command.size, 0,
                    closed=False, source="reply",
                )
            ]  # fmt: skip
        return []

    def status(self):
        return {}


@pytest.fixture
async def parts(tmp_path):
    world = CoreWorld()
    world.now_ms = now_ms()
    journal = Journal(tmp_path)
    journal.open(lambda _record: None)
    gate = SendGate(lambda market: world.engine.markets[market].generation)
    gate.open()
    edge = NotingEdge(tmp_path)
    runtime = Runtime(world.engine, journal, gate, edge)
    failures = []
    runtime.on_failure(failures.append)
    yield world, runtime, edge
    assert failures == []


async def turn(runtime, world, edge=None):
    world.now_ms = now_ms()
    runtime.dispatch(events.Tick(world.now_ms))
    if edge is not None:
        async with asyncio.timeout(4):
            await edge.done.wait()
        edge.done.clear()
    await asyncio.sleep(0)
    await asyncio.sleep(0)


async def test_an_intent_is_on_disk_before_the_edge_hears_of_it(parts):
    world, runtime, edge = parts
    world.wish.wanted = [ENTRY]
    await turn(runtime, world, edge)
    (place,) = edge.commands
    assert edge.durable == [[place.client_order_id]]
    assert edge.reasons == [None]
    assert world.ledger.orders[place.client_order_id].resting


async def test_one_commit_holds_every_intent_of_a_turn(parts):
    world, runtime, edge = parts
    world.wish.wanted = [ENTRY._replace(level=f"l{number}") for number in range(4)]
    before = runtime.journal.commits
    await turn(runtime, world, edge)
    assert len(edge.commands) == 4
    assert runtime.journal.commits == before + 1


async def test_a_failed_journal_halts_new_orders_while_cancels_go_on(parts):
    world, runtime, edge = parts
    world.wish.wanted = [ENTRY]
    await turn(runtime, world, edge)

    def failing(_file):
        raise OSError(errno.EIO, "test")

    runtime.journal.disk.sync = failing
    world.wish.wanted = [ENTRY, EXIT._replace(side=BID, level="second", price=4_000)]
    await turn(runtime, world, edge)
    assert world.ledger.latches["journal"][0] == "HALTED"
    assert [type(command) for command in edge.commands] == [Place, Cancel]
    assert {order.label for order in world.ledger.orders.values()} == {"working", "released"}
    await turn(runtime, world)
    assert len(edge.commands) == 2, "nothing is sent any more"


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda _, runtime: runtime.gate.close("stopping"), "stopping"),
        (lambda world, _: setattr(world.engine.markets["M"], "generation", 9), "the book it was decided on is gone"),
        (lambda _, runtime: runtime.gate._admitted.clear(), "its intent is not durable"),
    ],
)  # fmt: skip
async def test_the_gate_keeps_what_changed_after_the_decision(parts, spoil, reason):
    world, runtime, edge = parts
    world.wish.wanted = [ENTRY]
    world.now_ms = now_ms()
    runtime.dispatch(events.Tick(world.now_ms))
    world.wish.wanted = []
    runtime._flush()
    spoil(world, runtime)
    async with asyncio.timeout(4):
        await edge.done.wait()
    await asyncio.sleep(0)
    assert edge.reasons == [reason]
    (order,) = world.ledger.orders.values()
    assert (order.label, order.release_code) == ("released", "NotSent")
    assert runtime.gate.kept == 1


def test_the_gate_has_a_deadline_and_never_opens_again_once_closed_for_good():
    gate = SendGate(lambda _market: 1)
    place = Place(
        "s1",
        "M",
        1,
        1,
        1,
        "x",
        0,
        reduce_only=False,
        deadline_ms=now_ms() - 1,
        book_generation=1,
        decided_ms=0,
    )
    assert gate.judge(place) == "not reconciled yet"
    gate.open()
    gate.admit(place)
    assert gate.judge(place) == "the decision is too old"
    gate.done(place)
    timely = place._replace(deadline_ms=now_ms() + 10_000)
    gate.admit(timely)
    assert gate.judge(timely._replace(size=2)) == "its intent is not durable", "not what was journaled"
    assert gate.judge(timely) is None
    gate.done(timely)
    assert gate.judge(timely) == "its intent is not durable"
    gate.close("revoked")
    gate.open()
    gate.close("softer")
    assert gate.closed == "revoked"


def test_who_holds_the_gate_lets_go_and_nobody_else():
    gate = SendGate(lambda _market: 1)
    gate.hold("key", "key in doubt")
    gate.open()  # recovery ends while the key is still in doubt
    assert gate.closed == "key in doubt"
    gate.release("key")
    assert gate.closed == ""


def test_the_gate_never_lets_more_out_than_came_in_and_asks_the_objection_last():
    objections = []
    gate = SendGate(lambda _market: 1, lambda _command: "HALTED" if objections else "")
    gate.open()
    place = Place("s1", "M", 1, 1, 1, "x", 0, reduce_only=False, deadline_ms=now_ms() + 10_000, book_generation=1, decided_ms=0)  # fmt: skip
    gate.admit(place)
    objections.append("later")
    assert gate.judge(place) == "HALTED"
    objections.clear()
    assert gate.judge(place) is None
    gate.done(place)
    assert (gate.intents_in, gate.intents_out) == (1, 1)
    gate._admitted["s1"] = place  # a bug that would send it again
    assert gate.judge(place) == "more would leave than was intended"


async def test_own_events_wait_while_recovery_reads(parts):
    world, runtime, _ = parts
    runtime.hold_own_events()
    seen = events.OrderSeen(
        now_ms(), "sunit00-1-1-1", "v9", "M", 1, 4_000, 100, 0, closed=False, source="user_orders"
    )
    runtime.sink(seen)
    assert not world.ledger.orders
    assert runtime.own_events == 1
    runtime.release_own_events()
    assert list(world.ledger.orders) == ["sunit00-1-1-1"]


class ImmediateEdge(NotingEdge):
    """A connection is free: the gate is asked in the call itself."""

    async def execute(self, command, gate):
        self.commands.append(command)
        self.reasons.append(gate() if gate else None)
        await asyncio.Event().wait()


@pytest.mark.parametrize("held", [False, True])
async def test_after_a_frame_its_orders_leave_before_anything_else_runs(parts, held):
    world, runtime, _ = parts
    runtime.edge = edge = ImmediateEdge(None)
    world.wish.wanted = [ENTRY]
    world.now_ms = now_ms()
    if held:
        runtime.gate.hold("test", "held")
    runtime.dispatch(events.Tick(world.now_ms))
    assert edge.commands == []
    commits = runtime.journal.commits
    runtime.after_frame()  # no await since the decision
    assert len(edge.commands) == 1
    assert runtime.journal.commits == commits + 1
    assert edge.reasons == ["held" if held else None]
    runtime.after_frame()
    assert len(edge.commands) == 1


async def test_an_order_that_is_refused_and_wanted_again_and_again_does_not_keep_the_loop(parts):
    world, runtime, _ = parts

    class Refusing(NotingEdge):
        async def execute(self, command, gate):  # noqa: ARG002
            self.commands.append(command)
            return [events.OrderNotSent(now_ms(), command.client_order_id, "test")]

    runtime.edge = edge = Refusing(None)
    real = runtime.dispatch

    def wanted_again(event):
        real(event)
        if type(event) is events.OrderNotSent:
            real(events.Tick(now_ms()))

    runtime.dispatch = wanted_again
    world.wish.wanted = [ENTRY]
    world.now_ms = now_ms()
    runtime.dispatch(events.Tick(world.now_ms))
    runtime.flush()
    assert len(edge.commands) == 1
    for _ in range(3):
        await asyncio.sleep(0)
    world.wish.wanted = []
    assert len(edge.commands) > 1, "the next ones came in turns of the loop"


async def test_a_trigger_keeps_its_place_before_the_cancels_of_its_turn(parts):
    """It stops what is still on its way; behind a queue of cancels it would come late."""
    _, runtime, _ = parts
    runtime.edge = edge = ImmediateEdge(None)
    trigger, cancel = TriggerGroup("open", "group-1"), Cancel("a-1", "order-1", "M")
    runtime._schedule()
    runtime._outbox += [trigger, cancel]
    runtime.flush()  # no await: both are with the edge
    assert edge.commands == [trigger, cancel]
