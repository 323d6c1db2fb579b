"""What a disk can do to a journal, one fault at a time: the outcome is one of three, and it is always said.

Cut off (only the batch that nobody was promised), refuse (file, offset, what to do), or go on.
"""

import errno

import pytest
from soloist_trader.core.ledger import Ledger
from soloist_trader.core.records import CursorMoved, Intended, Latched, Started
from soloist_trader.errors import JournalDamagedError, JournalFailedError, StateError
from soloist_trader.journal.disk import Disk
from soloist_trader.journal.reader import DamageError, Tail, read_journal, segment_path
from soloist_trader.journal.snapshots import rebuild, take_snapshot
from soloist_trader.journal.writer import Journal

from tests.unit.soloist_trader.journal_disks import DIRECTORY, CrashError, MemoryDisk

SEGMENT = 2_048
BATCHES = [
    [Started(1, "unit00", 0, 1, 7, "Live")],
    [Intended(2, "s1", 1, "t", "M", 1, "entry", 4_000, 100, "good_till_canceled", 0, reduce_only=False), CursorMoved(3, 3)],
    [Latched(4, "person", "HALTED", "looks")],
]  # fmt: skip
FACTS = [record for batch in BATCHES for record in batch]


def opened(disk, segment_bytes=SEGMENT):
    journal = Journal(DIRECTORY, disk=disk, segment_bytes=segment_bytes)
    found = []
    tail = journal.open(found.append)
    return journal, found, tail


def commit(journal, batches):
    for batch in batches:
        for record in batch:
            journal.append(record)
        journal.commit()


def written(batches=BATCHES, segment_bytes=SEGMENT):
    disk = MemoryDisk()
    journal = opened(disk, segment_bytes)[0]
    commit(journal, batches)
    journal.close()
    return disk


def content(disk, segment=1):
    return disk.names[segment_path(DIRECTORY, segment)].content


def read(disk):
    """Records and tail of a journal as a start finds it, without changing it."""
    tail = Tail()
    return [record for _, _, found in read_journal(DIRECTORY, tail, disk=disk) for record in found], tail


def frames(disk):
    return [frame for _, frame, _ in read_journal(DIRECTORY, Tail(), disk=disk)]


@pytest.mark.parametrize("behind", ["nothing", "zeros", "other bytes"])
def test_a_batch_torn_at_any_byte_is_cut_off_and_said(behind):
    whole = written()
    begin, end = frames(whole)[-2].end, frames(whole)[-1].end
    fill = {"nothing": b"", "zeros": bytes(SEGMENT - end), "other bytes": b"\xa5" * (SEGMENT - end)}[behind]
    for cut in range(begin, end):
        disk = whole.copy()
        content(disk)[cut:] = (b"" if behind == "nothing" else bytes(end - cut)) + fill
        found, tail = read(disk)
        assert found == FACTS[:3], cut
        assert bool(tail.damage) == (cut > begin or behind == "other bytes"), cut
        journal, found, _ = opened(disk)
        commit(journal, [[CursorMoved(9, 9)]])
        journal.close()
        assert (read(disk)[0], read(disk)[1].damage) == ([*FACTS[:3], CursorMoved(9, 9)], "")


def test_a_flipped_bit_in_any_record_is_refused_or_cut_off_and_never_passes():
    whole = written()
    last, end = frames(whole)[-2].end, frames(whole)[-1].end
    for offset in range(end):
        for bit in range(8):
            disk = whole.copy()
            content(disk)[offset] ^= 1 << bit
            if offset >= last:
                found, tail = read(disk)
                assert (found, f"unfinished batch at byte {last}" in tail.damage) == (FACTS[:3], True)
                continue
            with pytest.raises(DamageError, match="Nothing was changed") as refused:
                opened(disk)
            assert refused.value.path == segment_path(DIRECTORY, 1)
            assert refused.value.offset <= offset
            assert "soloist-trader journal repair" in str(refused.value)


def test_a_flipped_bit_in_a_sealed_segment_is_refused_or_said_where_nothing_is_lost():
    whole = written(segment_bytes=1)
    seal = frames(whole)[0].end
    for offset in range(len(content(whole))):
        disk = whole.copy()
        content(disk)[offset] ^= 4
        if offset < seal:
            with pytest.raises(JournalDamagedError, match=r"0001\.log"):
                read(disk)
        else:
            found, tail = read(disk)
            assert (found, "belong to no batch; none is lost" in tail.damage) == (FACTS, True)


@pytest.mark.parametrize("missing", [1, 2, 3, 4])
def test_any_missing_segment_is_refused_also_the_newest(missing):
    disk = written(segment_bytes=1)
    del disk.names[segment_path(DIRECTORY, missing)]
    with pytest.raises(DamageError, match="missing") as refused:
        opened(disk)
    at = min(missing + 1, 4)
    assert (refused.value.path, refused.value.offset) == (segment_path(DIRECTORY, at), 0)


def test_two_segments_whose_files_were_exchanged_are_refused():
    disk = written(segment_bytes=1)
    one, two = segment_path(DIRECTORY, 1), segment_path(DIRECTORY, 2)
    disk.names[one], disk.names[two] = disk.names[two], disk.names[one]
    with pytest.raises(DamageError, match="it holds segment 2; the file was renamed"):
        opened(disk)


@pytest.mark.parametrize(
    ("call", "number"), [("write", errno.ENOSPC), ("sync", errno.EIO), ("write", errno.EROFS)]
)
@pytest.mark.parametrize("segment_bytes", [1, SEGMENT])
def test_a_disk_that_fails_ends_the_writing_for_good_and_a_start_goes_on_from_what_was_durable(
    call, number, segment_bytes
):
    disk = MemoryDisk()
    journal = opened(disk, segment_bytes)[0]
    commit(journal, BATCHES[:2])
    disk.faults[call] = number
    with pytest.raises(JournalFailedError, match=r"not tried again\. Free the disk or replace the volume"):
        commit(journal, BATCHES[2:])
    disk.faults.clear()
    before = disk.calls
    for attempt in ([], [[CursorMoved(9, 9)]]):
        with pytest.raises(JournalFailedError):
            commit(journal, attempt or [[]])
    heard = []
    journal.commit_soon(heard.append)
    assert heard == [journal.failed]
    assert disk.calls == before, "nothing was tried again, though the disk is well"
    for seed in range(20):
        after = disk.after_crash(seed)
        found, _ = read(after)
        assert found in (FACTS[:3], FACTS)
        journal, again, _ = opened(after, segment_bytes)
        commit(journal, [[CursorMoved(9, 9)]])
        assert read(after)[0] == [*again, CursorMoved(9, 9)]


def test_after_a_failed_sync_a_start_writes_the_tail_anew_and_does_not_trust_clean_pages():
    """The batch is in the page cache, but never reached the disk: the next process must write and sync it again."""
    disk = MemoryDisk()
    journal = opened(disk)[0]
    commit(journal, BATCHES[:2])
    disk.faults["sync"] = errno.EIO
    with pytest.raises(JournalFailedError):
        commit(journal, BATCHES[2:])
    journal.close()
    disk.faults.clear()
    assert opened(disk)[1] == FACTS
    for seed in range(20):
        assert read(disk.after_crash(seed))[0] == FACTS, "what a start has applied, the next one finds, too"


@pytest.mark.parametrize(
    ("call", "number"), [("open", errno.EROFS), ("preallocate", errno.ENOSPC), ("rename", errno.EIO)]
)
def test_a_directory_that_cannot_be_written_is_refused_at_start_with_what_to_do(call, number):
    disk = written()
    disk.faults[call] = number
    with pytest.raises(StateError, match=r"needs a directory it may write to, with \d+ MiB free"):
        opened(disk)
    disk.faults.clear()
    assert opened(disk)[1] == FACTS


def life(disk, promised):
    """Every step that a journal has: begin, commits, rotations, snapshots with compaction, restart."""
    for batches in (BATCHES[:2], BATCHES[2:]):
        journal = Journal(DIRECTORY, disk=disk, segment_bytes=100)
        journal.open(Ledger())
        for batch in batches:
            commit(journal, [batch])
            promised += batch
            journal.seal()
            take_snapshot(DIRECTORY, disk, taken_ms=1)
        journal.close()


def state(facts):
    ledger = Ledger()
    for record in facts:
        ledger.apply(record)
    return ledger.state_hash()


def test_a_crash_between_any_two_steps_is_survived():
    """Of commit, rotation, snapshot (temporary file, sync, rename, directory) and compaction, with any loss of the rest."""
    rehearsal, steps = MemoryDisk(), []
    life(rehearsal, steps)
    assert steps == FACTS
    assert {"preallocate", "write", "sync", "cut", "rename", "sync_directory", "unlink"} <= set(rehearsal.log)
    for crash_at in range(1, rehearsal.calls + 1):
        disk, promised = MemoryDisk(), []
        disk.crash_at = crash_at
        with pytest.raises(CrashError):
            life(disk, promised)
        possible = {state(FACTS[:count]) for count in range(len(promised), len(FACTS) + 1)}
        for seed in range(4):
            after, ledger = disk.after_crash(seed), Ledger()
            journal = Journal(DIRECTORY, disk=after, segment_bytes=100)
            tail = journal.open(ledger)
            assert ledger.state_hash() in possible, (crash_at, seed, disk.log[-3:], tail.damage)
            commit(journal, [[CursorMoved(9, 9)]])
            journal.close()
            assert not after.list(DIRECTORY, "journal-*.tmp")


def with_two_snapshots():
    disk = written(segment_bytes=1)
    for until in (2, 3):
        take_snapshot(DIRECTORY, disk, taken_ms=1, until=until, remove=False)
    return disk


def started(disk):
    ledger, tail = Ledger(), Tail()
    rebuild(DIRECTORY, disk, ledger, tail)
    return ledger, tail


def test_a_flipped_bit_anywhere_in_a_snapshot_makes_a_start_use_the_one_before_and_says_so():
    whole = with_two_snapshots()
    newest, older = whole.list(DIRECTORY, "snapshot-*")[::-1]
    ledger, tail = started(whole)
    assert (tail.snapshot, tail.records, tail.damage) == (newest, 0, "")
    for offset in range(len(whole.names[newest].content)):
        disk = whole.copy()
        disk.names[newest].content[offset] ^= 1
        ledger, tail = started(disk)
        assert (tail.snapshot, ledger.state_hash()) == (older, state(FACTS)), offset
        assert f"{newest.name} is not used" in tail.damage


@pytest.mark.parametrize("compacted", [False, True])
def test_without_a_valid_snapshot_a_start_replays_all_or_refuses_if_it_cannot(compacted):
    disk = with_two_snapshots()
    if compacted:
        take_snapshot(DIRECTORY, disk, taken_ms=1)
        assert segment_path(DIRECTORY, 2) not in disk.names
    for path in disk.list(DIRECTORY, "snapshot-*"):
        del disk.names[path].content[-1:]
    if not compacted:
        ledger, tail = started(disk)
        assert (ledger.state_hash(), tail.damage.count("is not used")) == (state(FACTS), 2)
        return
    with pytest.raises(
        DamageError, match="segments 1 to 2 before it are missing, and no valid snapshot covers them"
    ):
        started(disk)


def test_a_snapshot_with_another_state_than_it_says_is_not_used():
    disk = with_two_snapshots()
    newest, older = disk.list(DIRECTORY, "snapshot-*")[::-1]
    from soloist_trader.journal.snapshots import decode_snapshot, encode_snapshot

    honest = decode_snapshot(bytes(disk.names[newest].content))
    disk.names[newest].content[:] = encode_snapshot(honest._replace(state_hash="00" * 32))
    _, tail = started(disk)
    assert (tail.snapshot, "its state has hash" in tail.damage) == (older, True)
    disk.names[newest].content[:] = encode_snapshot(honest._replace(exported=(10**6, *honest.exported[1:])))
    _, tail = started(disk)
    assert (tail.snapshot, "this engine cannot read its state" in tail.damage) == (older, True)


def test_no_snapshot_is_taken_of_a_segment_that_may_be_written_again():
    """Format 1 could leave a torn successor, which a start removes to write on in the segment before."""
    disk = written(BATCHES[:1], segment_bytes=1)
    del content(disk, 2)[20:]
    taken = take_snapshot(DIRECTORY, disk, taken_ms=1)
    assert (taken.segment, "segment 1 may still be written" in taken.said) == (0, True)
    assert disk.list(DIRECTORY, "snapshot-*") == []


def test_a_read_only_directory_is_refused_by_the_real_disk(tmp_path):
    """A read-only remount answers EROFS to every open for writing. Reading goes on, and nothing is lost."""
    disk = Disk()
    journal = Journal(tmp_path / "state", disk=disk)
    journal.open(Ledger())
    journal.append(CursorMoved(1, 1))
    journal.commit()
    journal.close()

    def read_only(path):
        raise OSError(errno.EROFS, "Read-only file system", str(path))

    disk.open = read_only
    with pytest.raises(StateError, match=r"Read-only file system.*may write to"):
        Journal(tmp_path / "state", disk=disk).open(Ledger())
    found = []
    Journal(tmp_path / "state").open(found.append)
    assert found == [CursorMoved(1, 1)]
