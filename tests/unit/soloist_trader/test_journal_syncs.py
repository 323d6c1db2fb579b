"""The real disk syncs: the calls that reach the operating system are counted, whatever a fake disk would promise."""

import os
import socket
import stat
import threading

import pytest
from soloist_trader.core.ledger import Ledger
from soloist_trader.core.records import CursorMoved
from soloist_trader.journal import commit_process
from soloist_trader.journal.commit_process import Answer
from soloist_trader.journal.disk import Disk
from soloist_trader.journal.reader import segment_path
from soloist_trader.journal.segments import SegmentWriter
from soloist_trader.journal.snapshots import take_snapshot
from soloist_trader.journal.writer import Journal

FILE, DIRECTORY = "file", "directory"
BEGUN = [FILE, "rename", DIRECTORY]
"""A file that is put in place: its bytes, its name, and only then the name's durability."""


@pytest.fixture
def calls(monkeypatch):
    """What the operating system was asked for since the last `clear`: syncs by what they sync, and renames."""
    asked = []

    def watch(name):
        real = getattr(os, name)

        def watched(file):
            asked.append(DIRECTORY if stat.S_ISDIR(os.fstat(file).st_mode) else FILE)
            real(file)

        monkeypatch.setattr(os, name, watched)

    watch("fdatasync")
    watch("fsync")
    rename = Disk.rename

    def renamed(disk, source, target):
        asked.append("rename")
        rename(disk, source, target)

    monkeypatch.setattr(Disk, "rename", renamed)
    return asked


def committed(journal, number):
    journal.append(CursorMoved(number, number))
    journal.commit()


def test_a_commit_a_rotation_and_a_snapshot_are_synced_by_the_operating_system(tmp_path, calls):
    journal = Journal(tmp_path, segment_bytes=250)
    journal.open(Ledger())
    assert calls == BEGUN, "the tail is rewritten before anything is appended"
    calls.clear()
    committed(journal, 1)
    assert calls == [FILE]
    calls.clear()
    number = 1
    while not segment_path(tmp_path, 2).exists():
        calls.clear()
        committed(journal, number := number + 1)
    assert calls == [FILE, *BEGUN, FILE], "the batch, the successor, the seal of what it follows"
    calls.clear()
    take_snapshot(tmp_path, Disk(), taken_ms=1, until=1)
    assert calls[:3] == BEGUN
    journal.close()


def test_the_commit_process_answers_after_the_operating_system_synced(tmp_path, calls):
    writer = SegmentWriter(Disk(), tmp_path, 1024)
    writer.begin(1, b"begun")
    ours, theirs = socket.socketpair()
    serving = threading.Thread(target=commit_process.serve, args=(theirs, writer))
    serving.start()
    with ours, theirs:
        process = commit_process.CommitProcess.__new__(commit_process.CommitProcess)
        process._socket = ours
        for ask, expected in (
            (lambda: process.append(b"batch"), [FILE]),
            (lambda: process.rotate(1, 1, 1), [*BEGUN, FILE]),
        ):
            calls.clear()
            ask()
            answer = process.answer()
            assert calls == expected
            assert answer == Answer(writer.size, "")
        ours.shutdown(socket.SHUT_WR)
        serving.join()
    writer.close()
