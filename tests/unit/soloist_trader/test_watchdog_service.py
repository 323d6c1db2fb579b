"""The watchdog's loop where a real process cannot be made to go: a disk that hangs, words at the wrong moment."""

import threading

import pytest
from soloist_trader import config
from soloist_trader.shell.control import Request, RequestError
from soloist_trader.shell.latch_file import Latch, store_latch
from soloist_trader.watchdog import service
from soloist_trader.watchdog.pulse import Pulse
from soloist_trader.watchdog.service import Options, Watchdog
from soloist_trader.watchdog.silence import Verdict

from tests.unit.soloist_trader.test_config import write


@pytest.fixture
def watchdog(tmp_path):
    configuration = config.load(write(tmp_path, {"account.epoch": 3}))
    (tmp_path / "state").mkdir()
    return Watchdog(
        Options(
            configuration, tmp_path / "secret", tmp_path / "keys", tmp_path / "state", tmp_path / "watch", "127.0.0.1:0", 5_000
        )
    )  # fmt: skip


async def test_a_disk_that_hangs_does_not_blind_the_watchdog(watchdog, monkeypatch):
    mended = threading.Event()
    reads = []

    def read_latch(directory):
        reads.append(directory)
        return Latch("late", proven=mended.wait(60))

    monkeypatch.setattr(service, "read_latch", read_latch)
    Pulse(watchdog.options.watch_directory, "ab12").beat((), dict)
    try:
        for _ in range(3):
            await watchdog._read_latch()
            watchdog._look()
        assert watchdog._verdict is Verdict.WATCHING
        assert len(reads) == 1, "one reader waits, not one for each look"
    finally:
        mended.set()
    await watchdog._reading
    await watchdog._read_latch()
    assert watchdog._latch == Latch("late", proven=True)


async def test_resume_needs_a_latch_that_holds_and_its_proof(watchdog):
    resume = Request("resume", "me", "seen", latch="watchdog")
    with pytest.raises(RequestError, match="no latch"):
        await watchdog._carry(resume)
    for latch, said in (
        (Latch("x", waits_for_person=True), "not proven yet"),
        (Latch("x", proven=True), "no latch"),
    ):
        store_latch(watchdog.options.state_directory, latch)
        await watchdog._read_latch()
        with pytest.raises(RequestError, match=said):
            await watchdog._carry(resume)


async def test_what_waits_for_a_person_goes_on_waiting_after_a_silence(watchdog):
    Pulse(watchdog.options.watch_directory, "ab12").beat(("g1",), dict)
    watchdog._look_at_beat()
    before = Latch("killed by me", waits_for_person=True, groups=("g0",), released_ms=7)
    latch = watchdog._new_latch("silent for 5000 ms", before)
    assert (latch.waits_for_person, latch.groups, latch.released_ms) == (True, ("g0", "g1"), 7)
    assert latch.incarnation == "ab12"
