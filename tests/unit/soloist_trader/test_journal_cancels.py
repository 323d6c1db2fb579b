"""The loop around a journal that fails or stands still: orders wait or never leave, cancels go out at once."""

import asyncio
import contextlib
import errno
import os
import signal

import pytest
from soloist_trader.core import events
from soloist_trader.core.commands import Cancel, Place
from soloist_trader.core.records import Intended
from soloist_trader.core.units import BID
from soloist_trader.journal.disk import Disk
from soloist_trader.journal.reader import Tail, read_journal
from soloist_trader.journal.writer import SEGMENT_BYTES, Commit, Journal
from soloist_trader.shell.clock import now_ms
from soloist_trader.shell.gate import SendGate
from soloist_trader.shell.runtime import Runtime

from tests.unit.soloist_trader.core_world import ENTRY, CoreWorld

SECOND = ENTRY._replace(side=BID, level="second", price=4_000)


class SpoiltDisk(Disk):
    """The real disk until `spoil`; from then on one of its calls fails."""

    def __init__(self):
        self.broken = {}

    def write(self, file, data):
        if "write" in self.broken:
            super().write(file, data[: len(data) // 2])  # a full disk takes a part first
            raise self.broken["write"]
        super().write(file, data)

    def preallocate(self, file, size):
        if "preallocate" in self.broken:
            raise self.broken["preallocate"]
        super().preallocate(file, size)

    def sync(self, file):
        if "sync" in self.broken:
            raise self.broken["sync"]
        super().sync(file)


class Venue:
    """Takes what the gate lets through."""

    def __init__(self):
        self.taken = []

    async def execute(self, command, gate):
        if gate is not None and gate() is not None:
            return [events.OrderNotSent(now_ms(), command.client_order_id, "gate")]
        self.taken.append(command)
        if not isinstance(command, Place):
            return []
        return [
            events.OrderSeen(
                now_ms(), command.client_order_id, f"v{len(self.taken)}", command.market, command.side, command.price,
                command.size, 0, closed=False, source="reply",
            )
        ]  # fmt: skip

    def status(self):
        return {}

    def kinds(self):
        return [type(command) for command in self.taken]


@contextlib.asynccontextmanager
async def trading(directory, commit, segment_bytes=SEGMENT_BYTES):
    """An engine whose first order rests."""
    world, venue, disk = CoreWorld(), Venue(), SpoiltDisk()
    journal = Journal(directory, disk=disk, commit=commit, segment_bytes=segment_bytes)
    journal.open(lambda _record: None)
    gate = SendGate(lambda market: world.engine.markets[market].generation)
    gate.open()
    runtime = Runtime(world.engine, journal, gate, venue)
    if journal.fileno() >= 0:
        asyncio.get_running_loop().add_reader(journal.fileno(), journal.collect)
    try:
        await turn(world, runtime, [ENTRY])
        await until(lambda: venue.kinds() == [Place])
        await idle(runtime)
        yield world, runtime, venue, disk
    finally:
        if journal.fileno() >= 0:
            asyncio.get_running_loop().remove_reader(journal.fileno())
        journal.close()


async def turn(world, runtime, wanted):
    world.wish.wanted = wanted
    world.now_ms = now_ms()
    runtime.dispatch(events.Tick(world.now_ms))
    await asyncio.sleep(0)


async def until(condition):
    async with asyncio.timeout(4):
        while not condition():  # noqa: ASYNC110 the loop's next turn is what is waited for, whatever happens in it
            await asyncio.sleep(0)


async def idle(runtime):
    """Everything that was begun has ended, and what it led to as well."""
    for _ in range(3):
        await asyncio.sleep(0)
        await until(lambda: not runtime.in_flight and not runtime._flush_scheduled)


def intended(directory):
    """As the next start finds them."""
    return {
        record.client_order_id
        for _, _, records in read_journal(directory, Tail())
        for record in records
        if isinstance(record, Intended)
    }


async def nothing_more_leaves(directory, world, runtime, venue):
    """One order was there, its cancel went out, and whatever is wanted, no other order leaves."""
    await until(lambda: venue.kinds() == [Place, Cancel])
    await until(lambda: world.ledger.latches.get("journal", ("",))[0] == "HALTED")
    for _ in range(3):
        await turn(world, runtime, [SECOND])
        await idle(runtime)
    assert venue.kinds() == [Place, Cancel]
    assert {command.client_order_id for command in venue.taken} <= intended(directory)
    assert runtime.journal.failed


FAULTS = {
    "no-room": ("write", errno.ENOSPC),
    "sync-fails": ("sync", errno.EIO),
    "remounted-read-only": ("write", errno.EROFS),
    "no-room-for-the-next-segment": ("preallocate", errno.ENOSPC),
}


@pytest.mark.parametrize("fault", FAULTS)
async def test_when_the_disk_fails_the_orders_of_that_commit_never_leave_and_cancels_do(tmp_path, fault):
    call, number = FAULTS[fault]
    every_batch_its_segment = 1 if call == "preallocate" else SEGMENT_BYTES
    async with trading(tmp_path, Commit.INLINE, every_batch_its_segment) as (world, runtime, venue, disk):
        disk.broken[call] = OSError(number, os.strerror(number))
        await turn(world, runtime, [SECOND])
        await nothing_more_leaves(tmp_path, world, runtime, venue)


async def test_when_the_commit_process_dies_with_a_batch_in_its_hands_its_orders_never_leave_and_cancels_do(
    tmp_path,
):
    async with trading(tmp_path, Commit.PROCESS) as (world, runtime, venue, _):
        process_id = runtime.journal._process.process_id
        os.kill(process_id, signal.SIGSTOP)
        await turn(world, runtime, [SECOND])
        await until(lambda: venue.kinds() == [Place, Cancel])
        assert runtime.journal.uncommitted, "the batch waits in the socket"
        os.kill(process_id, signal.SIGKILL)
        await nothing_more_leaves(tmp_path, world, runtime, venue)


async def test_while_the_commit_process_is_slow_orders_wait_and_cancels_do_not(tmp_path):
    async with trading(tmp_path, Commit.PROCESS) as (world, runtime, venue, _):
        process_id = runtime.journal._process.process_id
        os.kill(process_id, signal.SIGSTOP)
        await turn(world, runtime, [SECOND])
        await until(lambda: venue.kinds() == [Place, Cancel])
        await idle(runtime)
        assert venue.kinds() == [Place, Cancel]
        os.kill(process_id, signal.SIGCONT)
        await until(lambda: venue.kinds() == [Place, Cancel, Place])
        assert venue.taken[-1].client_order_id in intended(tmp_path)
        assert not runtime.journal.failed
