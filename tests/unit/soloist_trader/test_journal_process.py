"""The commit process and the snapshot process: real processes, real pipes, a real directory."""

import contextlib
import errno
import json
import os
import select
import signal
import socket
import threading

import pytest
from soloist_trader.core.ledger import Ledger
from soloist_trader.core.records import CursorMoved, Latched
from soloist_trader.errors import JournalFailedError, StateError
from soloist_trader.journal import commit_process
from soloist_trader.journal.disk import Disk
from soloist_trader.journal.reader import Tail, read_journal, segment_path
from soloist_trader.journal.segments import SegmentWriter
from soloist_trader.journal.writer import Commit, Journal

FACTS = [CursorMoved(number, number) for number in range(12)]


@contextlib.contextmanager
def opened(directory, **options):
    journal = Journal(directory, commit=Commit.PROCESS, **options)
    journal.open(Ledger())
    try:
        yield journal
    finally:
        journal.close()


def read(directory):
    tail = Tail()
    return [record for _, _, found in read_journal(directory, tail) for record in found], tail


def collect_until(journal, done):
    """What the loop does when the socket is readable."""
    while not done():
        select.select([journal.fileno()], [], [])
        journal.collect()


@pytest.mark.parametrize("segment_bytes", [1, 150, 10**6])
def test_it_writes_the_same_chain_in_the_same_sequence_across_rotations_and_restarts(tmp_path, segment_bytes):
    half = len(FACTS) // 2
    for mode, facts in (
        (Commit.PROCESS, FACTS[:half]),
        (Commit.INLINE, FACTS[half:-1]),
        (Commit.PROCESS, FACTS[-1:]),
    ):
        journal = Journal(tmp_path, segment_bytes=segment_bytes, commit=mode)
        journal.open(Ledger())
        for fact in facts:
            journal.append(fact)
            journal.commit()
        assert (journal.uncommitted, journal.commits) == (0, len(facts))
        journal.close()
    found, tail = read(tmp_path)
    assert (found, tail.batches, tail.damage) == (FACTS, len(FACTS), "")


def test_nobody_is_told_before_his_batch_is_durable_and_everybody_in_his_turn(tmp_path):
    """Batches that wait while one is on its way become one batch: never two at a time, or a crash could tear the first."""
    with opened(tmp_path, segment_bytes=200) as journal:
        heard = []

        def told(number):
            return lambda failed: heard.append((number, failed, FACTS[number] in read(tmp_path)[0]))

        for number, fact in enumerate(FACTS):
            journal.append(fact)
            journal.commit_soon(told(number))
            assert all(durable for _, _, durable in heard)
        collect_until(journal, lambda: len(heard) == len(FACTS))
        assert heard == [(number, "", True) for number in range(len(FACTS))]
        assert journal.commits == 2, "the first alone, all others together"
        assert journal.uncommitted == 0
        p50_us, p99_us = journal.commit_quantiles()
        assert 0 < p50_us <= p99_us
    assert read(tmp_path)[1].batches == 2


def test_a_commit_process_that_dies_fails_the_journal_for_good_and_what_was_promised_is_there(tmp_path):
    with opened(tmp_path) as journal:
        journal.append(FACTS[0])
        journal.commit()
        os.kill(journal._process.process_id, signal.SIGKILL)
        journal.append(FACTS[1])
        heard = []
        with pytest.raises(JournalFailedError, match="the commit process is gone"):
            journal.commit()
        journal.append(FACTS[2])
        journal.commit_soon(heard.append)
        assert heard == [journal.failed]
    assert FACTS[0] in read(tmp_path)[0]
    with opened(tmp_path) as journal:
        journal.append(FACTS[3])
        journal.commit()
    assert read(tmp_path)[0][-1] == FACTS[3]


def test_a_commit_process_that_dies_while_nothing_is_asked_is_noticed_once(tmp_path):
    """The socket stays readable for good then: a loop that watches it must not turn without end."""
    with opened(tmp_path) as journal:
        journal.collect()
        assert journal.failed == "", "nothing was said: nothing is read, and nobody waits"
        os.kill(journal._process.process_id, signal.SIGKILL)
        select.select([journal.fileno()], [], [])
        journal.collect()
        assert "the commit process is gone" in journal.failed
        assert select.select([journal.fileno()], [], [], 0) == ([], [], [])
        journal.collect()


@contextlib.contextmanager
def stopped(journal):
    """While the commit process stands still."""
    process_id = journal._process.process_id
    os.kill(process_id, signal.SIGSTOP)
    try:
        yield process_id
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process_id, signal.SIGCONT)


def test_a_process_that_stands_still_holds_nobody_up_however_much_waits_for_it(tmp_path):
    """More than the socket takes at once: handing it over in the loop would wait until somebody reads."""
    facts = [Latched(number, "test", "HALTED", "x" * 1_000) for number in range(2_000)]
    with opened(tmp_path) as journal:
        heard = []
        with stopped(journal):
            for fact in facts:
                journal.append(fact)
            assert journal.full
            journal.commit_soon(heard.append)
            journal.collect()
            assert heard == []
        collect_until(journal, lambda: heard)
        assert heard == [""]
        assert (journal.uncommitted, journal.full) == (0, False)
    assert read(tmp_path)[0] == facts


def test_a_process_that_dies_with_a_batch_in_its_hands_promises_nothing_and_leaves_the_chain_whole(tmp_path):
    with opened(tmp_path) as journal:
        journal.append(FACTS[0])
        journal.commit()
        heard = []
        with stopped(journal) as process_id:
            journal.append(FACTS[1])
            journal.commit_soon(heard.append)
            os.kill(process_id, signal.SIGKILL)
            collect_until(journal, lambda: heard)
        assert "the commit process is gone" in heard[0]
    found, tail = read(tmp_path)
    assert (found, tail.damage) == (FACTS[:1], "")
    with opened(tmp_path) as journal:
        journal.append(FACTS[2])
        journal.commit()
    assert read(tmp_path)[0] == [FACTS[0], FACTS[2]]


def test_a_question_that_comes_byte_by_byte_is_one_question_and_a_half_one_is_none(tmp_path):
    writer = SegmentWriter(Disk(), tmp_path, 1_000)
    writer.begin(1, b"x")
    ours, theirs = socket.socketpair()
    thread = threading.Thread(target=commit_process.serve, args=(theirs, writer))
    thread.start()
    asked = commit_process._QUESTION.pack(commit_process.APPEND, 0, 0, 0, 2) + b"ab"
    for byte in asked:
        ours.sendall(bytes([byte]))
    answer = commit_process._ANSWER
    assert answer.unpack(commit_process._receive(ours, answer.size)) == (commit_process.DONE, 3, 0)
    ours.sendall(asked[:-1])  # the engine dies here
    ours.close()
    thread.join()
    theirs.close()
    writer.close()
    assert segment_path(tmp_path, 1).read_bytes().rstrip(b"\0") == b"xab"


def test_an_answer_that_ends_in_its_middle_is_a_failure(tmp_path):
    """The process died while it answered: nobody knows whether the batch is durable, so nobody is told that it is."""
    with opened(tmp_path) as journal:
        process = journal._process
        with stopped(journal) as process_id:
            journal.append(FACTS[0])
            heard = []
            journal.commit_soon(heard.append)
            ours, theirs = socket.socketpair()
            theirs.sendall(commit_process._ANSWER.pack(commit_process.DONE, 99, 0)[:-1])
            theirs.close()
            os.dup2(ours.fileno(), process.fileno(), inheritable=False)
            ours.close()
            os.kill(process_id, signal.SIGKILL)
        journal.collect()
        assert "the commit process is gone" in heard[0]


def test_no_other_engine_begins_while_the_commit_process_of_a_killed_one_still_writes(tmp_path):
    with opened(tmp_path) as journal:
        engine_lock, journal._lock = journal._lock, -1
        os.close(engine_lock)  # what a SIGKILL of the engine does; its process has not seen the end yet
        with pytest.raises(StateError, match="in use by another engine"):
            Journal(tmp_path).open(Ledger())
    with opened(tmp_path):
        pass


def test_in_the_process_a_failure_is_final_too(tmp_path):
    """The process's own loop, in a thread, on a disk whose second sync fails: every later answer is that failure."""

    class Failing(Disk):
        syncs = 0

        def sync(self, file):
            self.syncs += 1
            if self.syncs == 3:  # the first one is of the new segment
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            super().sync(file)

    disk = Failing()
    writer = SegmentWriter(disk, tmp_path, 1_000)
    writer.begin(1, b"x")
    ours, theirs = socket.socketpair()
    thread = threading.Thread(target=commit_process.serve, args=(theirs, writer))
    thread.start()
    answers = []
    question, answer = commit_process._QUESTION, commit_process._ANSWER
    for _ in range(4):
        ours.sendall(question.pack(commit_process.APPEND, 0, 0, 0, 2) + b"ab")
        kind, _, length = answer.unpack(commit_process._receive(ours, answer.size))
        answers.append((kind, commit_process._receive(ours, length)))
    ours.close()
    thread.join()
    theirs.close()
    writer.close()
    failed = (commit_process.FAILED, b"[Errno 5] Input/output error")
    assert answers == [(commit_process.DONE, b""), failed, failed, failed]
    assert disk.syncs == 3


def finish(journal):
    journal._snapshot.wait()
    assert journal.poll_snapshot()


@pytest.mark.parametrize("commit", [Commit.INLINE, Commit.PROCESS])
def test_a_snapshot_is_taken_beside_the_engine_and_a_start_uses_it(tmp_path, commit):
    ledger, facts = Ledger(), iter(FACTS)
    journal = Journal(tmp_path, commit=commit)
    journal.open(Ledger())

    def write(count):
        for _ in range(count):
            fact = next(facts)
            ledger.apply(fact)
            journal.append(fact)
            journal.commit()

    assert not journal.snapshot(), "nothing is sealed"
    for _ in range(2):
        write(3)
        journal.seal()
        assert journal.snapshot_due
        assert journal.snapshot()
        assert not journal.snapshot(), "one at a time"
        write(1)
        finish(journal)
        assert not journal.snapshot_due
    told = json.loads(journal.snapshot_result)
    assert (told["segment"], told["records"]) == (2, 7)
    assert told["removed"] == ["journal-0000000000000001.log"]
    write(1)
    journal.close()
    found = Ledger()
    tail = Journal(tmp_path).open(found)
    assert (tail.records, found.state_hash()) == (2, ledger.state_hash())


def test_a_start_that_read_more_than_the_last_segment_asks_for_a_snapshot_at_once(tmp_path):
    """So the tail that a start reads stays short: it grows only while every snapshot fails."""
    journal = Journal(tmp_path, segment_bytes=1)
    journal.open(Ledger())
    for fact in FACTS:
        journal.append(fact)
        journal.commit()
    journal.close()
    journal = Journal(tmp_path, segment_bytes=1)
    assert journal.open(Ledger()).records == len(FACTS)
    assert journal.snapshot_due
    assert journal.snapshot()
    finish(journal)
    journal.close()
    journal = Journal(tmp_path, segment_bytes=1)
    assert journal.open(Ledger()).records == 0
    assert not journal.snapshot_due
    journal.close()


def test_a_snapshot_that_fails_is_told_and_harms_nothing(tmp_path):
    journal = Journal(tmp_path)
    journal.open(Ledger())
    journal.append(FACTS[0])
    journal.seal()
    lock = Disk().lock(tmp_path / "snapshot.lock")
    assert journal.snapshot()
    finish(journal)
    os.close(lock)
    assert journal.snapshot_result.startswith("failed: ")
    assert not journal.snapshot_due, "not again at once"
    journal.append(FACTS[1])
    journal.seal()
    assert journal.snapshot_due
    assert journal.snapshot()
    finish(journal)
    assert json.loads(journal.snapshot_result)["segment"] == 2
    assert journal.snapshots_ended == 2, "the failed one, too: whoever waited for it is told"
    assert journal.poll_snapshot()
    assert json.loads(journal.snapshot_result)["segment"] == 2, (
        "a second look takes nothing from whoever waits"
    )
    journal.close()


def test_a_snapshot_process_that_cannot_start_or_is_ended_with_the_engine_harms_nothing(
    tmp_path, monkeypatch
):
    journal = Journal(tmp_path)
    journal.open(Ledger())
    journal.append(FACTS[0])
    journal.seal()
    with monkeypatch.context() as patched:
        patched.setattr("sys.executable", str(tmp_path / "no-interpreter"))
        assert not journal.snapshot()
    assert "failed: no process could be started" in journal.snapshot_result
    assert journal.snapshots_ended == 1
    assert journal.poll_snapshot()
    assert not journal.snapshot_due, "not again at once"
    assert journal.snapshot()
    journal.close()
    found = []
    Journal(tmp_path).open(found.append)
    assert found == FACTS[:1]
