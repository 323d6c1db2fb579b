import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from soloist_trader.core.ledger import Ledger
from soloist_trader.core.records import CursorMoved, Latched, Observed
from soloist_trader.errors import JournalDamagedError
from soloist_trader.journal.reader import Tail, read_journal, segment_path
from soloist_trader.journal.snapshots import rebuild, take_snapshot
from soloist_trader.journal.writer import Journal

from tests.unit.soloist_trader.journal_disks import DIRECTORY, CrashError, MemoryDisk

SEGMENT = 4_096
texts = st.text(max_size=20)
records = st.one_of(
    st.builds(CursorMoved, st.integers(0, 2**50), st.integers(0, 2**50)),
    st.builds(
        Latched, st.integers(0, 2**50), texts, st.sampled_from(["ACTIVE", "REDUCING", "HALTED"]), texts
    ),
    st.builds(
        Observed,
        st.integers(0, 2**50),
        texts,
        texts,
        st.integers(0, 10**9),
        st.booleans(),
        texts,
        st.integers(-1, 10**9),
    ),
)
batches = st.lists(st.lists(records, min_size=1, max_size=4), min_size=1, max_size=5)
slow = settings(deadline=None, max_examples=100)


def flat(content):
    return [record for batch in content for record in batch]


def write(disk, content, segment_bytes=SEGMENT):
    journal = Journal(DIRECTORY, disk=disk, segment_bytes=segment_bytes)
    found = []
    journal.open(found.append)
    for batch in content:
        for record in batch:
            journal.append(record)
        journal.commit()
    journal.close()
    return found


def read(disk):
    tail = Tail()
    return flat(found for _, _, found in read_journal(DIRECTORY, tail, disk=disk)), tail


def with_last_batch(content):
    """A disk with these batches in one segment, and where the last batch begins and ends in its file."""
    disk = MemoryDisk()
    write(disk, content[:-1])
    begin = len(read(disk)[1].intact)
    write(disk, content[-1:])
    return disk, bytes(disk.names[segment_path(DIRECTORY, 1)].content), begin, len(read(disk)[1].intact)


def put(disk, content, segment=1):
    disk.names[segment_path(DIRECTORY, segment)].content[:] = content


@slow
@given(content=batches, more=batches, segment_bytes=st.sampled_from([1, 200, SEGMENT]))
def test_what_was_committed_is_read_back_across_restarts_and_rotations(content, more, segment_bytes):
    disk = MemoryDisk()
    write(disk, content, segment_bytes)
    assert write(disk, more, segment_bytes) == flat(content)
    found, tail = read(disk)
    assert found == flat(content) + flat(more)
    assert tail.damage == ""


@slow
@given(content=batches, data=st.data(), zeros=st.booleans())
def test_a_torn_last_batch_is_cut_off_at_every_byte(content, data, zeros):
    disk, whole, before, end = with_last_batch(content)
    cut = data.draw(st.integers(before, end - 1))
    put(disk, whole[:cut] + bytes(len(whole) - cut if zeros else 0))
    kept = flat(content[:-1])
    found, tail = read(disk)
    if cut > before and not (zeros and whole[cut:end].strip(b"\0") == b""):  # zeros at its end are not missed
        assert found == kept
        assert f"unfinished batch at byte {before}" in tail.damage
    assert write(disk, [[CursorMoved(1, 2)]]) == found, "writing goes on behind the last intact batch"
    assert read(disk)[0] == [*found, CursorMoved(1, 2)]
    assert read(disk)[1].damage == ""


@slow
@given(content=batches.filter(lambda found: len(found) > 1), data=st.data())
def test_a_flipped_bit_is_never_silent(content, data):
    disk, whole, last_batch, end = with_last_batch(content)
    bit = data.draw(st.integers(0, len(whole) * 8 - 1))
    flipped = bytearray(whole)
    flipped[bit // 8] ^= 1 << bit % 8
    put(disk, flipped)
    if bit // 8 >= last_batch:
        found, tail = read(disk)
        whole_again = bit // 8 >= end  # the bit was among the zeros behind it
        assert found == flat(content if whole_again else content[:-1])
        assert tail.damage
    else:
        with pytest.raises(JournalDamagedError, match=segment_path(DIRECTORY, 1).name):
            read(disk)
        with pytest.raises(JournalDamagedError, match="Nothing was changed"):
            write(disk, [])
        assert bytes(disk.names[segment_path(DIRECTORY, 1)].content) == bytes(flipped)


@slow
@given(content=batches, data=st.data())
def test_blocks_of_the_last_batch_in_any_order_never_bring_a_part_of_it(content, data):
    disk, whole, before, end = with_last_batch([*content, [Latched(1, "x" * 600, "HALTED", "y" * 900)]])
    kept = bytearray(whole)
    lost = data.draw(st.sets(st.integers(before // 512, (end - 1) // 512), min_size=1))
    for block in lost:
        begin = max(block * 512, before)
        kept[begin : min(block * 512 + 512, end)] = bytes(min(block * 512 + 512, end) - begin)
    put(disk, kept)
    found, tail = read(disk)
    assert found == flat(content)
    assert bool(tail.damage) == (bytes(kept[before:end]).strip(b"\0") != b"")


@slow
@given(
    steps=st.lists(st.one_of(records, st.sampled_from(["commit", "snapshot", "restart"])), max_size=40),
    segment_bytes=st.sampled_from([1, 200, SEGMENT]),
)
def test_a_snapshot_and_its_tail_equal_a_replay_from_zero(steps, segment_bytes):
    disk, facts = MemoryDisk(), []
    journal = Journal(DIRECTORY, disk=disk, segment_bytes=segment_bytes)
    journal.open(Ledger())
    for step in steps:
        if step == "commit":
            journal.commit()
        elif step == "snapshot":
            journal.seal()
            take_snapshot(DIRECTORY, disk, taken_ms=1)
        elif step == "restart":
            journal.commit()
            journal.close()
            journal = Journal(DIRECTORY, disk=disk, segment_bytes=segment_bytes)
            journal.open(Ledger())
        else:
            journal.append(step)
            facts.append(step)
    journal.commit()
    from_zero = Ledger()
    for record in facts:
        from_zero.apply(record)
    found = Ledger()
    rebuild(DIRECTORY, disk, found, Tail())
    assert found.state_hash() == from_zero.state_hash()
    assert found.export() == from_zero.export()


@slow
@given(content=batches, seed=st.integers(0, 2**32), data=st.data())
def test_a_crash_before_any_call_of_the_disk_loses_nothing_that_was_promised(content, seed, data):
    """Commits, rotations and snapshots; the machine stops before a call, and any part of what was not synced is there."""
    disk, durable, asked = MemoryDisk(), [], []
    rehearsal = MemoryDisk()
    live(rehearsal, content, [], [])
    disk.crash_at = data.draw(st.integers(1, rehearsal.calls))
    with pytest.raises(CrashError):
        live(disk, content, durable, asked)
    found = []
    after = disk.after_crash(seed)
    Journal(DIRECTORY, disk=after, segment_bytes=200).open(found.append)
    assert found == asked[: len(found)], "nothing is there that was never asked for"
    assert len(found) >= len(durable), f"lost {durable[len(found) :]}"
    state, expected = Ledger(), Ledger()
    after.locked.clear()
    Journal(DIRECTORY, disk=after, segment_bytes=200).open(state)
    for record in found:
        expected.apply(record)
    assert state.state_hash() == expected.state_hash()


def live(disk, content, durable, asked):
    """A life with a snapshot behind every second batch; `durable` grows with what the journal promised."""
    journal = Journal(DIRECTORY, disk=disk, segment_bytes=200)
    journal.open(Ledger())
    for number, batch in enumerate(content):
        asked += batch
        for record in batch:
            journal.append(record)
        journal.commit()
        durable += batch
        if number % 2:
            journal.seal()
            take_snapshot(DIRECTORY, disk, taken_ms=1, remove=False)
