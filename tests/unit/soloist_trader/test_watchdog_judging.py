"""What the watchdog knows and concludes: heartbeat, silence, process, audit. No venue."""

import json
import os
import signal
import subprocess
import sys

import pytest
from soloist_kalshi.messages import Order
from soloist_trader.core.identifiers import order_id
from soloist_trader.shell.latch_file import FILE_NAME, Latch, LatchFile, read_latch, store_latch
from soloist_trader.shell.thaw import STOOD_STILL_MS, ThawGuard
from soloist_trader.watchdog import audit, process
from soloist_trader.watchdog.process import CannotKillError, ProcessId, is_gone, kill, own_process
from soloist_trader.watchdog.pulse import (
    HEARTBEAT,
    WORD,
    WORD_LASTS_MS,
    Beat,
    Pulse,
    read_beat,
    read_snapshot,
    write_word,
)
from soloist_trader.watchdog.silence import LOOK_MS, Silence, Verdict, judge

SOMEBODY = ProcessId(4_000_000, 1, 1)


def beat(turn=1, incarnation="a", phase="running"):
    return Beat(incarnation, turn, phase, SOMEBODY, ("g-open", "g-reduce"))


# -- heartbeat


def test_a_turn_of_the_loop_is_read_with_all_that_ends_the_engine(tmp_path):
    pulse = Pulse(tmp_path / "watch", "ab12")
    pulse.beat(("g1", "g2"), lambda: {"state": "ACTIVE"})
    pulse.beat(("g1",), lambda: {"state": "HALTED"})
    assert read_beat(tmp_path / "watch") == Beat("ab12", 2, "running", own_process(), ("g1",))
    body, age_ms = read_snapshot(tmp_path / "watch")
    assert body == {"state": "ACTIVE"}, "the snapshot follows once a second, not with every turn"
    assert age_ms >= 0


def test_nothing_turns_any_more_after_the_stop_mark(tmp_path):
    pulse = Pulse(tmp_path, "ab12")
    pulse.beat((), dict)
    pulse.stopped(())
    pulse.beat((), dict)  # the loop goes round until the process ends
    assert not read_beat(tmp_path).is_running


def test_without_a_directory_nothing_is_written():
    pulse = Pulse(None, "ab12")
    pulse.beat((), dict)
    pulse.stopped(())
    assert pulse.word() is None


@pytest.mark.parametrize("damage", [b"", b"zz", b"00000000 {}", b"\0" * 100])
def test_a_heartbeat_that_is_none_is_no_heartbeat(tmp_path, damage):
    (tmp_path / HEARTBEAT).write_bytes(damage)
    assert read_beat(tmp_path) is None


def test_a_torn_heartbeat_is_no_heartbeat(tmp_path):
    pulse = Pulse(tmp_path, "ab12")
    pulse.beat(("g1",), dict)
    whole = (tmp_path / HEARTBEAT).read_bytes()
    (tmp_path / HEARTBEAT).write_bytes(whole.replace(b'"turn":1', b'"turn":7'))
    assert read_beat(tmp_path) is None


def test_the_watchdogs_word_goes_stale(tmp_path):
    pulse = Pulse(tmp_path, "ab12")
    assert pulse.word() == {}, "a watchdog that never spoke vouches for no key"
    write_word(tmp_path, {"keyId": "k"})
    assert pulse.word() == {"keyId": "k"}
    content = json.loads((tmp_path / WORD).read_text())
    content["writtenMs"] -= WORD_LASTS_MS
    (tmp_path / WORD).write_text(json.dumps(content))
    assert pulse.word() == {}, "and neither does one that died"


# -- silence


def look_on(silence, beats, step_ms=LOOK_MS, start_ms=1_000):
    return [silence.look(start_ms + step_ms * index, seen) for index, seen in enumerate(beats)]


def test_a_loop_that_turns_is_never_silent():
    assert look_on(Silence(), [beat(turn) for turn in range(9)]) == [0] * 9


def test_silence_grows_until_the_loop_turns_or_a_new_engine_beats():
    silence = Silence()
    assert look_on(silence, [beat(1), beat(1), None, beat(1)]) == [0, 250, 500, 750]
    assert silence.look(2_000, beat(2)) == 0
    assert silence.look(2_250, beat(2)) == 250
    assert silence.look(2_500, beat(2, incarnation="b")) == 0


def test_time_in_which_the_watchdog_itself_stood_still_is_no_silence():
    silence = Silence()
    silence.look(1_000, beat(1))
    assert silence.look(3_601_000, beat(1)) == 2 * LOOK_MS


LATCHED = Latch("silent", incarnation="a")
PROVEN = Latch("silent", proven=True, incarnation="a")
WAITING = Latch("foreign order", proven=True, waits_for_person=True)


@pytest.mark.parametrize(
    ("seen", "latch", "silent_ms", "verdict"),
    [
        (None, None, 60_000, Verdict.UNARMED),
        (beat(), None, 4_999, Verdict.WATCHING),
        (beat(), None, 5_000, Verdict.END),
        (beat(phase="stopped"), None, 60_000, Verdict.DISARMED),
        (beat(), LATCHED, 0, Verdict.RESUME),
        (None, LATCHED, 0, Verdict.RESUME),
        (beat(phase="stopped"), LATCHED, 0, Verdict.RESUME),
        (beat(), PROVEN, 60_000, Verdict.HANDLED),
        (beat(incarnation="b"), PROVEN, 0, Verdict.WATCHING),
        (beat(incarnation="b"), PROVEN, 5_000, Verdict.END),
        (beat(), WAITING, 0, Verdict.WATCHING),
        (beat(), WAITING, 5_000, Verdict.END),
    ],
)
def test_what_follows_from_heartbeat_latch_and_silence(seen, latch, silent_ms, verdict):
    assert judge(seen, latch, silent_ms, 5_000) is verdict


# -- the process


@pytest.fixture
def sleeper():
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    yield child
    child.kill()
    child.wait()
    child.stdin.close()


def identity(child):
    return own_process()._replace(pid=child.pid, start_ticks=process._start_ticks(child.pid))


def test_a_stopped_process_is_killed_and_seen_gone(sleeper):
    target = identity(sleeper)
    sleeper.send_signal(signal.SIGSTOP)
    assert not is_gone(target)
    assert kill(target)
    assert sleeper.wait(timeout=5) == -signal.SIGKILL
    assert is_gone(target)
    assert not kill(target), "and once more changes nothing"


def test_a_process_that_ended_and_waits_for_its_parent_is_gone(sleeper):
    target = identity(sleeper)
    os.kill(sleeper.pid, signal.SIGKILL)
    os.waitid(os.P_PID, sleeper.pid, os.WEXITED | os.WNOWAIT)  # a zombie until the fixture reaps it
    assert is_gone(target)
    assert not kill(target)


def test_a_number_that_somebody_else_has_now_is_left_alone(sleeper):
    recycled = identity(sleeper)._replace(start_ticks=1)
    assert not kill(recycled)
    assert is_gone(recycled)
    assert sleeper.poll() is None


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"pid": 1}, "first process"),
        ({"pid": os.getpid()}, "neither is ever killed"),
        ({"pid": 0}, "neither is ever killed"),
        ({"pid": -1}, "neither is ever killed"),
        ({"namespace": 1}, "shareProcessNamespace"),
    ],
)
def test_what_is_never_killed(change, said):
    with pytest.raises(CannotKillError, match=said):
        kill(own_process()._replace(**change))


# -- the latch


def test_a_latch_that_waits_for_a_person_holds_after_its_proof(tmp_path):
    latch = LatchFile(tmp_path)
    store_latch(tmp_path, Latch("killed by me", proven=True, waits_for_person=True))
    assert latch.reason() == "watchdog: killed by me"
    store_latch(tmp_path, Latch("killed by me", proven=True))
    assert latch.reason() == ""


def test_a_latch_is_read_as_it_was_written(tmp_path):
    written = Latch(
        "r", proven=True, waits_for_person=True, incarnation="ab", groups=("g1", "g2"), latched_ms=1
    )
    store_latch(tmp_path, written)
    assert read_latch(tmp_path) == written
    assert read_latch(tmp_path / "none") is None


def test_a_latch_that_cannot_be_read_has_no_proof_and_waits_for_a_person(tmp_path):
    (tmp_path / FILE_NAME).write_text("{")
    latch = read_latch(tmp_path)
    assert (latch.proven, latch.waits_for_person) == (False, True)


# -- the thaw


class Clock:
    ms = 1_000_000

    def __call__(self):
        return self.ms


@pytest.mark.parametrize(
    ("boot", "wall", "stood_still"),
    [
        (100, 100, 0),
        (STOOD_STILL_MS - 1, STOOD_STILL_MS - 1, 0),
        (STOOD_STILL_MS, STOOD_STILL_MS, STOOD_STILL_MS),
        (3_600_000, 100, 3_600_000),  # suspended, and the wall clock was set back
        (100, 9_000, 9_000),  # set forward
        (100, -9_000, 9_000),
    ],
)
def test_either_clock_shows_a_standstill(boot, wall, stood_still):
    boots, walls = Clock(), Clock()
    guard = ThawGuard(boots, walls)
    assert guard.stood_still_ms() == 0, "before the first turn nothing stood still"
    assert guard.turn() == 0
    boots.ms += boot
    walls.ms += wall
    assert guard.stood_still_ms() == stood_still
    assert guard.stood_still_ms() == stood_still, "a look forgets nothing"
    assert guard.turn() == stood_still
    assert guard.stood_still_ms() == 0


# -- audits


def order(client_order_id, at="2026-11-21T12:00:00Z", size="5.00", filled="0.00", status="resting"):
    return Order(
        order_id=f"id-{client_order_id}", client_order_id=client_order_id, ticker="T", outcome_side="yes", book_side="bid",
        status=status, yes_price_dollars="0.50", no_price_dollars="0.50", fill_count_fp=filled, remaining_count_fp=size,
        initial_count_fp=size, created_time=at,
    )  # fmt: skip


SINCE_MS = 1_795_262_400_000  # 2026-11-21T12:00:00Z
OURS = order_id("abc123", 3, 77, 1)
EARLIER_EPOCH = order_id("abc123", 2, 77, 1)


@pytest.mark.parametrize(
    ("seen", "kinds"),
    [
        (order(OURS), []),
        (order("by-hand"), ["foreign"]),
        (order(""), ["foreign"]),
        (order("by-hand", status="canceled"), ["foreign"]),
        (order(order_id("zzz999", 3, 77, 1)), ["foreign"]),
        (order("by-hand", at="2026-11-21T11:59:59Z"), []),
        (order("by-hand", at=None), ["foreign"]),
        (order(EARLIER_EPOCH), ["otherEpoch"]),
        (order(order_id("abc123", 4, 77, 1)), ["otherEpoch"]),
        (order(EARLIER_EPOCH, at="2026-11-21T11:00:00Z"), []),
        # The engine burns an old id by sending it again as an order that cannot fill.
        (order(EARLIER_EPOCH, size="0.01", status="canceled"), []),
        (order(EARLIER_EPOCH, size="0.01", filled="0.01", status="executed"), ["otherEpoch"]),
        (order(EARLIER_EPOCH, size="0.01"), ["otherEpoch"]),
    ],
)
def test_orders_that_should_not_be(seen, kinds):
    found = audit.findings([seen], "abc123", 3, SINCE_MS)
    assert [finding.kind for finding in found] == kinds
