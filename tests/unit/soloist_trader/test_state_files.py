"""What outlives the process in the state directory: the watchdog's latch, the crash guard, and the directory itself."""

import logging

import pytest
from soloist_trader.errors import StateError
from soloist_trader.shell import retry as retry_module
from soloist_trader.shell import state_directory
from soloist_trader.shell.crash_guard import FORGET_AFTER_MS, LONGEST_WAIT_MS, CrashGuard
from soloist_trader.shell.latch_file import FILE_NAME, LatchFile, write_latch
from soloist_trader.shell.retry import Retry
from soloist_trader.shell.state_directory import Mount, judge, read_mounts, require_lasting


class Clock:
    now_ms = 1_000_000

    def __call__(self):
        return self.now_ms


# -- the watchdog's latch


def test_no_latch_file_says_nothing(tmp_path):
    assert LatchFile(tmp_path).reason() == ""


def test_a_latch_holds_until_it_is_proven_or_gone(tmp_path):
    latch = LatchFile(tmp_path)
    write_latch(tmp_path, "silent for 5 s")
    assert latch.reason() == "watchdog: silent for 5 s"
    write_latch(tmp_path, "silent for 5 s", proven=True)
    assert latch.reason() == ""
    write_latch(tmp_path, "again")
    assert latch.reason() == "watchdog: again"
    latch.path.unlink()
    assert latch.reason() == ""
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "content", ["", "{", "[]", '{"version": 1}', '{"version": 1, "proven": "yes", "reason": "x"}', "null"]
)
def test_a_latch_that_cannot_be_read_counts(tmp_path, content):
    (tmp_path / FILE_NAME).write_text(content)
    assert LatchFile(tmp_path).reason() != ""


def test_a_latch_of_another_version_counts_and_says_so(tmp_path):
    (tmp_path / FILE_NAME).write_text('{"version": 2, "proven": true, "reason": "x"}')
    assert "has version 2; this engine reads 1" in LatchFile(tmp_path).reason()


def test_a_latch_file_that_is_a_directory_counts(tmp_path):
    (tmp_path / FILE_NAME).mkdir()
    assert "cannot be read" in LatchFile(tmp_path).reason()


# -- crash guard


def starts(directory, clock, count, epoch=1):
    return [CrashGuard(directory, epoch, clock).begin() for _ in range(count)]


def test_bad_starts_wait_ever_longer_and_the_wait_outlives_the_process(tmp_path):
    assert starts(tmp_path, Clock(), 11) == [
        0, 0, 0, 1_000, 2_000, 4_000, 8_000, 16_000, 32_000, LONGEST_WAIT_MS, LONGEST_WAIT_MS,
    ]  # fmt: skip


def test_time_that_passed_is_not_waited_again_and_old_failures_are_forgotten(tmp_path):
    clock = Clock()
    starts(tmp_path, clock, 4)
    clock.now_ms += 700
    assert starts(tmp_path, clock, 1) == [1_300]
    clock.now_ms += FORGET_AFTER_MS + 1
    assert starts(tmp_path, clock, 1) == [0]


def test_a_clock_that_was_set_back_waits_no_longer_than_the_longest(tmp_path):
    clock = Clock()
    starts(tmp_path, clock, 4)
    clock.now_ms -= 900_000
    assert starts(tmp_path, clock, 1) == [2_000]


def test_a_good_start_ends_it_and_a_crash_after_it_counts(tmp_path):
    clock = Clock()
    starts(tmp_path, clock, 5)
    guard = CrashGuard(tmp_path, 1, clock)
    guard.begin()
    guard.good()
    assert starts(tmp_path, clock, 3) == [0, 0, 0]
    for _ in range(3):
        guard = CrashGuard(tmp_path, 1, clock)
        guard.begin()
        guard.crashed()
    assert CrashGuard(tmp_path, 1, clock).begin() > 0


def test_another_epoch_begins_anew(tmp_path):
    clock = Clock()
    starts(tmp_path, clock, 9)
    assert starts(tmp_path, clock, 1, epoch=2) == [0]


@pytest.mark.parametrize("content", ["", "{}", '{"epoch": 1, "failures": "x", "at_ms": 1}', "[1]"])
def test_a_damaged_count_is_a_failure(tmp_path, content):
    (tmp_path / "starts.json").write_text(content)
    assert starts(tmp_path, Clock(), 1) == [1_000]


def test_a_directory_that_cannot_be_written_costs_only_the_memory(tmp_path):
    assert starts(tmp_path / "gone", Clock(), 5) == [0, 0, 0, 0, 0]


# -- retry


def test_the_same_reason_is_said_ever_more_rarely_and_a_new_one_at_once(monkeypatch, caplog):
    clock = Clock()
    monkeypatch.setattr(retry_module, "monotonic_ms", clock)
    caplog.set_level(logging.WARNING)
    retry = Retry("VenueUnreachable")
    waits = []
    for _ in range(400):
        waits.append(retry.failed("refused"))
        clock.now_ms += int(waits[-1] * 1000)
    assert waits[0] == 0.5
    assert max(waits) == waits[-1] == 5.0
    said = len(caplog.records)
    assert 5 <= said <= 15, "half an hour of silence"
    retry.failed("another reason")
    assert caplog.records[-1].getMessage() == "another reason"
    assert len(caplog.records) == said + 1


# -- state directory


MOUNTINFO = """\
22 1 0:20 / / rw - overlay overlay rw
23 22 0:21 / /tmp rw - tmpfs tmpfs rw
24 22 8:1 /volumes/a /var/lib/soloist rw shared:1 - ext4 /dev/sda1 rw
25 22 8:2 / /mnt/with\\040space rw - xfs /dev/sdb1 rw
27 22 0:23 /volumes /nodes/overlay rw - overlay overlay rw
26 24 0:22 / /var/lib/soloist/memory rw - tmpfs tmpfs rw
"""


def test_mounts_are_read_with_their_escapes():
    assert read_mounts(MOUNTINFO)[3] == Mount(state_directory.Path("/mnt/with space"), "xfs")


@pytest.mark.parametrize(
    ("directory", "problem"),
    [
        ("/var/lib/soloist", ""),
        ("/var/lib/soloist/state", ""),
        ("/mnt/with space/x", ""),
        ("/nodes/overlay", ""),
        ("/tmp/state", "is on tmpfs"),
        ("/var/lib/soloist/memory", "is on tmpfs"),
        ("/var/lib/soloist-2", "no mounted volume"),
    ],
)
def test_a_state_directory_has_to_outlive_the_pod(directory, problem):
    said = judge(state_directory.Path(directory), read_mounts(MOUNTINFO))
    assert problem in said
    assert bool(said) == bool(problem)


def test_the_root_of_a_container_is_no_volume_whatever_it_is_made_of():
    mounts = [Mount(state_directory.Path("/"), "ext4")]
    assert "no mounted volume" in judge(state_directory.Path("/var/lib/soloist"), mounts)


def test_a_directory_that_does_not_last_is_refused_with_the_way_out(tmp_path, monkeypatch):
    mountinfo = tmp_path / "mountinfo"
    mountinfo.write_text("22 1 0:20 / / rw - tmpfs tmpfs rw\n")
    monkeypatch.setattr(state_directory, "MOUNTS", mountinfo)
    with pytest.raises(StateError, match=r"gone with the pod.*--any-state-dir"):
        require_lasting(tmp_path)
    mountinfo.write_text("nothing")
    with pytest.raises(StateError, match="cannot be told"):
        require_lasting(tmp_path)
