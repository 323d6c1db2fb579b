"""The real engine on the real exchange, faults on, on a virtual clock; its tape replays bit for bit, from raw frames on."""

import asyncio
import os
from random import Random
from time import monotonic

import pytest
from soloist_exchange.faults import Fault
from soloist_trader.core.engine import Engine
from soloist_trader.journal.reader import Tail, read_journal
from soloist_trader.modes.frame_replay import LISTED_GAPS
from soloist_trader.modes.replay import Replay, compare_with_journal
from soloist_trader.tape import FileSink, Tape, TapeReader

from tests.crash.memory_engine import Build, CrashDisk, EngineProcess, make_signer
from tests.crash.memory_venue import MemoryVenue
from tests.crash.virtual import virtual_time
from tests.crash.world import Bot, faults
from tests.unit.soloist_trader.journal_disks import DIRECTORY

SECONDS = int(os.environ.get("SOLOIST_RECORDED_SECONDS", "40"))
"""Virtual time. 3600 is the hour of the issue: `SOLOIST_RECORDED_SECONDS=3600 pytest -s` and this file."""
LIMIT_S = max(60, 4 * SECONDS)
"""Of real time, a hang and no budget: the hour takes a few minutes."""
FILE_BYTES = 60_000 if SECONDS < 600 else 2_000_000


FEED_FAULTS = [
    Fault("frame_dropped", path="orderbook_delta", percent=1),
    Fault("frame_duplicated", path="orderbook_delta", percent=1),
    Fault("frame_reordered", path="orderbook_delta", percent=1),
    Fault("frame_dropped", path="trade", percent=2),
    Fault("close_without_frame", path="trade", percent=1),
]
"""A connection ends now and then; the crash test's own fault ends one a second, and an hour would be all reconnects."""


class _World:
    """What `tests.crash.world.Bot` asks of its world to make a configuration."""

    seed = 0


def record(directory, seconds):
    """Run one engine for so many virtual seconds; its tape, its journal's disk, and what the harness complained about."""
    tapes = []

    class TapedEngine(Engine):
        """Puts what it is stepped with on a tape, as the runtime does."""

        def step(self, event):
            if not tapes:
                sink = FileSink(directory / "tape", 1, file_bytes=FILE_BYTES)
                tapes.append(Tape(self, sink, process.edge.port))
                process.edge.tape = tapes[0]
            tapes[0].write_event(event)
            commands = super().step(event)
            if commands:
                tapes[0].write_commands(commands)
            return commands

    disk, complaints = CrashDisk(), []
    with virtual_time() as loop:
        venue = MemoryVenue(directory, loop, 7, 1)
        loop.call_soon(venue.open, 1)
        loop.call_soon(loop.stop)
        loop.run_forever()
        venue.set_faults(
            FEED_FAULTS + [fault for fault in faults(Random(7)) if fault.kind != "close_without_frame"], 3
        )
        world = _World()
        world.venue = venue
        configuration = Bot(world, 0, 0).configuration
        process = EngineProcess(
            venue, venue.keys[0], make_signer(), configuration, disk, Random(7), Build(engine=TapedEngine), {},
            lambda _process: None, lambda _process, why: complaints.append(why), directory, None,
        )  # fmt: skip
        process.start()
        loop.call_later(seconds, loop.stop)
        loop.run_forever()
        process.runtime.flush_journal()
        process.end()
        for task in asyncio.all_tasks(loop):
            task.cancel()
        loop.call_later(0.01, loop.stop)
        loop.run_forever()
        tapes[0].close()
        venue.close()
    assert complaints == []
    return tapes[0], disk


@pytest.mark.timeout(LIMIT_S)
def test_a_recorded_run_replays_bit_for_bit_between_anchors(tmp_path):
    began_s = monotonic()
    tape, disk = record(tmp_path, SECONDS)
    assert tape.gaps == 0
    recorded_s = monotonic() - began_s
    result = Replay().run(TapeReader(tmp_path / "tape"))
    frames = result.frames
    size = sum(file.stat().st_size for file in (tmp_path / "tape").iterdir())
    print(
        f"{SECONDS} s recorded in {recorded_s:.0f} s: {result.events} events, {result.decisions} decisions, "
        f"{result.anchors} anchors, {size} bytes; {frames.frames} frames in {frames.batches} reads, {frames.compared} market "
        f"events made of them again, {frames.connections_ended} connections ended, {frames.gaps} gaps of the feed; "
        f"replayed in {monotonic() - began_s - recorded_s:.0f} s"
    )
    assert result.identical, result.first
    assert result.events == result.compared == tape.event_seq
    assert frames.frames == tape.frames > 100
    assert (frames.not_compared, frames.notes) == (0, [])
    assert frames.compared > 100
    assert min(frames.gaps, LISTED_GAPS) == len(frames.listed_gaps) > 0, "the faults lose frames"
    assert result.anchors > 1
    journal = [
        record
        for _, _, records in read_journal(DIRECTORY, Tail(), disk=disk, partial=True)
        for record in records
    ]
    comparison = compare_with_journal(result.records, journal)
    assert (comparison.difference, comparison.not_on_tape) == ("", 0)
    assert comparison.compared > 100
