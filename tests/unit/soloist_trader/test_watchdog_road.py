"""The kill's steps and their sequence, against a venue in memory and a real process; and against being killed anywhere."""

import asyncio
import signal
import subprocess
import sys

import pytest
from soloist_kalshi.errors import VenueUnauthorized, VenueUnreachable
from soloist_trader.shell.latch_file import FILE_NAME, Latch, read_latch
from soloist_trader.watchdog import process, road
from soloist_trader.watchdog.process import own_process
from soloist_trader.watchdog.pulse import Beat
from soloist_trader.watchdog.road import FLIGHT_MS, STEPS, Road
from soloist_trader.watchdog.venue import Done, Resting

LATCH = Latch("silent for 5000 ms", incarnation="ab12", groups=("g-open", "g-reduce"))


class Crashed(BaseException):
    """The watchdog is killed here."""


class MemoryVenue:
    """An account with resting orders, whose lists are `lag_ms` old. `crash_at` counts calls."""

    def __init__(self, engine, directory, resting=3, lag_ms=0):
        self.engine = engine
        self.directory = directory
        self.resting = {f"o{number}": Resting(f"o{number}", f"c{number}", "T") for number in range(resting)}
        self.gone_ms = {}
        self.triggered = []
        self.calls = []
        self.ms = 1_000_000
        self.lag_ms = lag_ms
        self.crash_at = None
        self.errors = []

    def _call(self, name):
        self.ms += 50
        self.calls.append((name, self.engine.poll() is None, read_latch(self.directory) is not None))
        if self.crash_at is not None and len(self.calls) == self.crash_at:
            raise Crashed
        if self.errors and name == "list":
            raise self.errors.pop(0)

    def at_most_ms(self):
        return self.ms

    async def as_of_ms(self):
        self._call("as_of")
        return self.ms - self.lag_ms

    async def trigger(self, group_id):
        self._call("trigger")
        self.triggered.append(group_id)
        return Done.YES

    async def own_resting(self):
        self._call("list")
        return [
            order
            for order in self.resting.values()
            if self.gone_ms.get(order.order_id, self.ms) > self.ms - self.lag_ms - 1
        ]

    async def cancel(self, order):
        self._call("cancel")
        self.gone_ms.setdefault(order.order_id, self.ms)
        return Done.YES


@pytest.fixture
def engine():
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    child.send_signal(signal.SIGSTOP)
    yield child
    child.kill()
    child.wait()
    child.stdin.close()


@pytest.fixture
def make_road(tmp_path, engine, monkeypatch):
    monkeypatch.setattr(road, "LOOK_AGAIN_S", 0)
    started = process._start_ticks(engine.pid)
    identity = own_process()._replace(pid=engine.pid, start_ticks=started)

    def make(venue, incarnation="ab12"):
        doubts = []

        async def found():
            return venue

        async def doubt():
            doubts.append(1)

        made = Road(tmp_path, lambda: Beat(incarnation, 7, "running", identity, LATCH.groups), found, doubt)
        made.doubts = doubts
        return made

    return make


async def test_latch_kill_trigger_cancel_verify_proof_in_that_sequence(make_road, engine, tmp_path):
    venue = MemoryVenue(engine, tmp_path)
    road = make_road(venue)
    proven = await road.walk(LATCH)
    assert tuple(road.progress.steps_ms) == STEPS
    assert proven.proven
    assert read_latch(tmp_path) == proven
    names = [name for name, _, _ in venue.calls]
    assert not any(alive for _, alive, _ in venue.calls), "the venue was touched while the engine lived"
    assert all(latched for _, _, latched in venue.calls), "the venue was touched without a latch"
    assert names.index("trigger") < names.index("list") < names.index("cancel")
    assert sorted(venue.triggered) == ["g-open", "g-reduce"]
    assert engine.wait(timeout=5) == -signal.SIGKILL


async def test_no_proof_before_the_lists_are_later_than_the_last_change_and_what_was_in_flight(
    make_road, engine, tmp_path
):
    venue = MemoryVenue(engine, tmp_path, lag_ms=3_000)
    await make_road(venue).walk(LATCH)
    last_cancel = max(index for index, (name, _, _) in enumerate(venue.calls) if name == "cancel")
    looks = [name for name, _, _ in venue.calls[last_cancel:] if name == "as_of"]
    assert len(looks) * 100 >= 3_000 + FLIGHT_MS


async def test_a_successor_is_never_killed(make_road, engine, tmp_path):
    await make_road(MemoryVenue(engine, tmp_path), incarnation="cd34").walk(LATCH)
    assert engine.poll() is None
    assert read_latch(tmp_path).proven


async def test_no_proof_while_the_process_cannot_be_ended(make_road, engine, tmp_path, monkeypatch):
    venue = MemoryVenue(engine, tmp_path)
    road = make_road(venue)
    monkeypatch.setattr(road, "_beat", lambda: Beat("ab12", 7, "running", own_process(), ()))
    walking = asyncio.create_task(road.walk(LATCH))
    while not (len(venue.gone_ms) == 3 and "ever killed" in road.progress.missing):  # noqa: ASYNC110 no event
        await asyncio.sleep(0)
    assert "killed" not in road.progress.steps_ms
    walking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await walking
    assert read_latch(tmp_path).proven is False


async def test_a_disk_that_takes_no_latch_does_not_keep_a_silent_engine_alive(make_road, engine, tmp_path):
    (tmp_path / FILE_NAME).mkdir()
    venue = MemoryVenue(engine, tmp_path)
    road = make_road(venue)
    walking = asyncio.create_task(road.walk(LATCH))
    await asyncio.to_thread(engine.wait, 5)
    while len(venue.gone_ms) < 3:  # noqa: ASYNC110 no event
        await asyncio.sleep(0)
    (tmp_path / FILE_NAME).rmdir()
    proven = await walking
    assert "latched" not in road.progress.steps_ms
    assert read_latch(tmp_path) == proven


async def test_a_venue_that_cannot_be_read_proves_nothing_and_a_refused_key_is_checked(
    make_road, engine, tmp_path, monkeypatch
):
    monkeypatch.setattr("soloist_trader.shell.retry.FIRST_S", 0)
    venue = MemoryVenue(engine, tmp_path, resting=0)
    venue.errors = [VenueUnreachable("down"), VenueUnauthorized(401, "unauthorized", "no", None)]
    road = make_road(venue)
    await road.walk(LATCH)
    assert venue.errors == []
    assert road.doubts == [1]


@pytest.mark.parametrize("crash_at", range(1, 12))
async def test_killed_at_any_call_it_reaches_the_same_end_after_a_restart(
    make_road, engine, tmp_path, crash_at
):
    venue = MemoryVenue(engine, tmp_path, lag_ms=200)
    venue.crash_at = crash_at
    walking = make_road(venue).walk(LATCH)
    with pytest.raises(Crashed):
        await walking
    left = read_latch(tmp_path)
    assert left.proven is False
    venue.crash_at = None
    await make_road(venue).walk(left)
    assert read_latch(tmp_path).proven
    assert len(venue.gone_ms) == 3
    assert set(venue.triggered) == set(LATCH.groups)
