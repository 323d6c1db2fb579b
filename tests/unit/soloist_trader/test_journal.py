import errno
import os
import struct

import pytest
from soloist_trader.core.records import RECORD_TYPES, CursorMoved, Latched
from soloist_trader.errors import JournalDamagedError, JournalFailedError, StateError
from soloist_trader.journal import quantiles as quantiles_module
from soloist_trader.journal.codec import CodecError, decode_batch, encode_batch, encode_record, join_records
from soloist_trader.journal.disk import Disk
from soloist_trader.journal.frames import FORMAT_VERSION, SEGMENT_HEADER_LENGTH, frame, segment_header
from soloist_trader.journal.quantiles import SLOW_P99_US, Quantiles
from soloist_trader.journal.reader import Tail, read_journal, segment_path
from soloist_trader.journal.writer import BATCH_BYTES, UNCOMMITTED_BYTES, Commit, Journal

ONE, TWO = CursorMoved(1, 2), Latched(3, "test", "HALTED", "because")


def opened(directory, **options):
    journal = Journal(directory, **options)
    records = []
    tail = journal.open(records.append)
    return journal, records, tail


def test_record_numbers_never_change():
    names = [kind.__name__ for kind in RECORD_TYPES]
    assert names == [
        "Started", "Intended", "Doubted", "Tombstoned", "Released", "Observed", "Found", "Booked", "Excluded",
        "PositionAdopted", "Latched", "CursorMoved", "DayBegan", "Stopped", "Contradicted",
        "Amending", "Amended", "GroupMade", "GroupChanged", "Settled", "CashAdjusted", "MarketReleased", "FeesAdjusted",
        "VenueRecovered", "Deployed",
    ]  # fmt: skip


def test_a_payload_of_another_format_is_an_error_and_not_a_guess():
    assert decode_batch(encode_batch([ONE, TWO])) == [ONE, TWO]
    for payload in (b"\x91\x91\x63", b"\x91\x92\x00\x01", b"\xc1", b"\x91\x90"):
        with pytest.raises(CodecError):
            decode_batch(payload)


def test_nothing_is_durable_before_the_commit(tmp_path):
    journal, _, _ = opened(tmp_path)
    journal.append(ONE)
    journal.commit()
    journal.append(TWO)
    journal.close()
    _, records, _ = opened(tmp_path)
    assert records == [ONE]


def test_a_second_engine_is_refused(tmp_path):
    opened(tmp_path)
    with pytest.raises(StateError, match="in use by another engine"):
        opened(tmp_path)


def test_a_directory_that_cannot_be_used_says_so(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StateError, match="needs a directory it may write to"):
        opened(tmp_path / "file")


def test_a_failed_sync_is_final_and_never_tried_again(tmp_path):
    journal, _, _ = opened(tmp_path)
    calls = []

    def failing(_file):
        calls.append(1)
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    journal.disk.sync = failing
    journal.append(ONE)
    with pytest.raises(JournalFailedError, match="not tried again"):
        journal.commit()
    del journal.disk.sync
    journal.append(TWO)
    with pytest.raises(JournalFailedError):
        journal.commit()
    assert len(calls) == 1


def test_a_missing_segment_is_refused_with_file_and_offset(tmp_path):
    journal, _, _ = opened(tmp_path, segment_bytes=1)
    for record in (ONE, TWO, ONE):
        journal.append(record)
        journal.commit()
    journal.close()
    segment_path(tmp_path, 2).unlink()
    with pytest.raises(
        JournalDamagedError, match=r"0000000003\.log is damaged at byte 0: segment 2 is missing"
    ):
        opened(tmp_path)


def old_segment(number, previous_crc, batches):
    """A segment as format 1 wrote it: no zeros behind the last batch, no seal. Returns its bytes and the last CRC."""
    from soloist_trader.journal.frames import crc32c

    head = struct.pack("<8sHHQI", b"SOLOISTJ", 1, 0, number, previous_crc)
    content, crc = head + struct.pack("<I", crc32c(head)), previous_crc
    for sequence, records in batches:
        framed, crc = frame(number, sequence, crc, encode_batch(records))
        content += framed
    return content, crc


def test_a_journal_of_format_1_is_read_and_goes_on_in_the_present_one(tmp_path):
    first, crc = old_segment(1, 0, [(1, [ONE]), (2, [TWO, ONE])])
    second, _ = old_segment(2, crc, [(3, [TWO])])
    segment_path(tmp_path, 1).write_bytes(first)
    segment_path(tmp_path, 2).write_bytes(second)
    journal, records, tail = opened(tmp_path)
    assert (records, tail.damage) == ([ONE, TWO, ONE, TWO], "")
    journal.append(ONE)
    journal.commit()
    journal.close()
    assert opened(tmp_path)[1] == [ONE, TWO, ONE, TWO, ONE]
    assert segment_path(tmp_path, 1).read_bytes() == first, "what is sealed is never written again"
    assert segment_path(tmp_path, 2).read_bytes()[8] == FORMAT_VERSION


def test_a_segment_that_format_1_tore_while_it_was_begun_is_begun_again(tmp_path):
    first, crc = old_segment(1, 0, [(1, [ONE])])
    segment_path(tmp_path, 1).write_bytes(first)
    segment_path(tmp_path, 2).write_bytes(old_segment(2, crc, [])[0][: SEGMENT_HEADER_LENGTH - 3])
    journal, records, tail = opened(tmp_path)
    assert (records, "torn" in tail.damage) == ([ONE], True)
    journal.append(TWO)
    journal.commit()
    journal.close()
    assert not segment_path(tmp_path, 2).exists()
    assert opened(tmp_path)[1] == [ONE, TWO]


def test_a_sealed_segment_whose_successor_is_torn_is_refused(tmp_path):
    """The successor was durable before the seal was written: whatever it held is gone, and a person decides."""
    journal, _, _ = opened(tmp_path, segment_bytes=1)
    journal.append(ONE)
    journal.commit()
    journal.close()
    path = segment_path(tmp_path, 2)
    for length in (0, SEGMENT_HEADER_LENGTH - 3):
        path.write_bytes(path.read_bytes()[:length])
        with pytest.raises(JournalDamagedError, match=r"2\.log is damaged at byte 0: the segment header"):
            opened(tmp_path)
    path.unlink()
    with pytest.raises(
        JournalDamagedError, match=r"2\.log is damaged at byte 0: the file is missing: segment 1"
    ):
        opened(tmp_path)


def test_an_unknown_format_version_names_what_to_do(tmp_path):
    journal, _, _ = opened(tmp_path)
    journal.append(ONE)
    journal.commit()
    journal.close()
    path = segment_path(tmp_path, 1)
    content = bytearray(path.read_bytes())
    content[8] = 9
    from soloist_trader.journal.frames import crc32c

    content[24:28] = crc32c(bytes(content[:24])).to_bytes(4, "little")
    path.write_bytes(bytes(content))
    with pytest.raises(JournalDamagedError, match=r"format version 9.*Run the engine version that wrote it"):
        opened(tmp_path)


def test_a_batch_of_any_length_has_the_bytes_of_one_message():
    for count in (0, 1, 15, 16, 70_000):
        records = [ONE] * count
        assert join_records([encode_record(record) for record in records]) == encode_batch(records)


def test_too_much_that_waits_is_told_until_it_is_durable(tmp_path):
    journal, _, _ = opened(tmp_path)
    large = Latched(1, "test", "HALTED", "x" * 100_000)
    while not journal.full:
        journal.append(large)
    assert UNCOMMITTED_BYTES < journal.uncommitted_bytes <= UNCOMMITTED_BYTES + 100_100
    assert journal.uncommitted == 11
    journal.commit()
    assert (journal.full, journal.uncommitted, journal.uncommitted_bytes) == (False, 0, 0)


def test_what_no_frame_can_hold_becomes_several(tmp_path):
    journal, _, _ = opened(tmp_path)
    large = Latched(1, "test", "HALTED", "x" * (BATCH_BYTES // 4))
    for _ in range(11):
        journal.append(large)
    journal.commit()
    journal.close()
    _, records, tail = opened(tmp_path)
    assert (len(records), tail.batches) == (11, 3)


def test_an_inline_commit_calls_back_before_it_returns(tmp_path):
    journal, _, _ = opened(tmp_path)
    heard = []
    journal.append(ONE)
    journal.commit_soon(heard.append)
    assert (heard, journal.uncommitted, journal.fileno()) == ([""], 0, -1)
    journal.commit_soon(heard.append)
    assert heard == ["", ""], "nothing waits: durable at once"
    assert journal.commits == 1


def test_quantiles_are_of_the_commits(tmp_path):
    quantiles = Quantiles()
    assert quantiles.read() == (0, 0)
    for duration_us in range(100):
        quantiles.observe(duration_us)
    assert quantiles.read() == (50, 99)
    journal, _, _ = opened(tmp_path)
    journal.measured = (7, 8)
    assert journal.commit_quantiles() == (7, 8)
    journal.append(ONE)
    journal.commit()
    assert journal.commit_quantiles() != (7, 8)


@pytest.mark.parametrize(
    ("sync_us", "core_us", "mode"),
    [
        (SLOW_P99_US - 1, 0, Commit.INLINE),
        (SLOW_P99_US + 1, 0, Commit.PROCESS),
        (SLOW_P99_US - 1, 10**6, Commit.INLINE),
        (SLOW_P99_US + 1, 10**6, Commit.PROCESS),
    ],
)
def test_a_slow_disk_is_measured_at_start_and_gets_a_process(tmp_path, monkeypatch, sync_us, core_us, mode):
    """The clocks are numbers that every sync of this disk moves: the machine's own speed does not matter.

    A node without a free core (`core_us`) is no slow disk.
    """
    clock, core = [0], [0]

    class Slow(Disk):
        def sync(self, file):
            super().sync(file)
            clock[0] += sync_us + core_us
            core[0] += core_us

    monkeypatch.setattr(quantiles_module, "MEASURE_AT_MOST_US", 10**12)
    monkeypatch.setattr(quantiles_module, "core_wait_us", lambda: core[0])
    monkeypatch.setattr(quantiles_module, "now_us", lambda: clock[0])
    journal = Journal(tmp_path, disk=Slow(), commit=Commit.AUTO)
    journal.open(lambda _record: None)
    assert journal.measured == (sync_us, sync_us)
    assert (journal.mode, journal.fileno() >= 0) == (mode, mode is Commit.PROCESS)
    assert not list(tmp_path.glob("*.tmp"))
    words = journal.describe_commits()
    assert f"p99 {sync_us} us" in words
    assert ("a slow disk" in words, "by a process of its own" in words) == (mode is Commit.PROCESS,) * 2
    journal.close()


def test_reading_back_grows_with_the_journal_and_not_with_its_square(tmp_path):
    """Hours of trading are tens of thousands of batches; a quadratic reader took longer than the start-up budget for them."""
    payload, content, crc = encode_batch([ONE]), bytearray(segment_header(1, 0)), 0
    for sequence in range(1, 40_001):
        framed, crc = frame(1, sequence, crc, payload)
        content += framed
    segment_path(tmp_path, 1).write_bytes(content)
    tail = Tail()
    # The quadratic reader copied 40 GB here, far beyond the time limit of a unit test.
    assert sum(len(records) for _, _, records in read_journal(tmp_path, tail)) == 40_000
    assert tail.intact == content
    assert tail.damage == ""
