import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from soloist_trader.core.records import CursorMoved, Latched, Observed
from soloist_trader.errors import JournalDamagedError
from soloist_trader.journal.reader import Tail, read_journal, segment_path
from soloist_trader.journal.writer import Journal

texts = st.text(max_size=20)
records = st.one_of(
    st.builds(CursorMoved, st.integers(0, 2**50), st.integers(0, 2**50)),
    st.builds(Latched, st.integers(0, 2**50), texts, texts, texts),
    st.builds(Observed, st.integers(0, 2**50), texts, texts, st.integers(0, 10**9), st.booleans(), texts),
)
batches = st.lists(st.lists(records, min_size=1, max_size=4), min_size=1, max_size=5)
slow = settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])


def write(directory, content, segment_bytes=10**6):
    journal = Journal(directory, segment_bytes=segment_bytes)
    found = []
    journal.open(found.append)
    for batch in content:
        for record in batch:
            journal.append(record)
        journal.commit()
    journal.close()
    return found


def read(directory):
    tail = Tail()
    return [record for _, _, found in read_journal(directory, tail) for record in found], tail


@slow
@given(content=batches, more=batches, segment_bytes=st.sampled_from([1, 200, 10**6]))
def test_what_was_committed_is_read_back_across_restarts_and_rotations(
    tmp_path_factory, content, more, segment_bytes
):
    directory = tmp_path_factory.mktemp("journal")
    write(directory, content, segment_bytes)
    first = [record for batch in content for record in batch]
    assert write(directory, more, segment_bytes) == first
    assert read(directory)[0] == first + [record for batch in more for record in batch]


@slow
@given(content=batches, data=st.data())
def test_a_torn_last_batch_is_cut_off_at_every_byte(tmp_path_factory, content, data):
    directory = tmp_path_factory.mktemp("journal")
    write(directory, content[:-1])
    path = segment_path(directory, 1)
    before = path.stat().st_size
    write(directory, content[-1:])
    whole = path.read_bytes()
    cut = data.draw(st.integers(before, len(whole) - 1))
    path.write_bytes(whole[:cut])
    kept = [record for batch in content[:-1] for record in batch]
    found, tail = read(directory)
    assert found == kept
    assert bool(tail.damage) == (cut > before)
    assert write(directory, [[CursorMoved(1, 2)]]) == kept, "writing goes on behind the last intact batch"
    assert read(directory)[0] == [*kept, CursorMoved(1, 2)]


@slow
@given(content=batches.filter(lambda found: len(found) > 1), data=st.data())
def test_a_flipped_bit_is_never_silent(tmp_path_factory, content, data):
    directory = tmp_path_factory.mktemp("journal")
    write(directory, content[:-1])
    path = segment_path(directory, 1)
    last_batch = path.stat().st_size
    write(directory, content[-1:])
    whole = bytearray(path.read_bytes())
    bit = data.draw(st.integers(0, len(whole) * 8 - 1))
    whole[bit // 8] ^= 1 << bit % 8
    path.write_bytes(bytes(whole))
    everything = [record for batch in content for record in batch]
    if bit // 8 >= last_batch:
        found, tail = read(directory)
        assert found == everything[: len(found)]
        assert len(found) == len(everything) - len(content[-1])
        assert tail.damage
    else:
        with pytest.raises(JournalDamagedError, match=path.name):
            read(directory)
        with pytest.raises(JournalDamagedError, match="Nothing was changed"):
            write(directory, [])
        assert path.read_bytes() == bytes(whole)
