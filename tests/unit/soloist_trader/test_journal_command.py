"""`soloist-trader journal` on journals that the writer wrote and a test spoiled."""

import json

import pytest
from click.testing import CliRunner
from soloist_trader.cli import main
from soloist_trader.core.ledger import Ledger
from soloist_trader.core.records import CursorMoved, Intended, Latched, Started
from soloist_trader.errors import JournalDamagedError
from soloist_trader.journal.disk import Disk
from soloist_trader.journal.frames import SEGMENT_HEADER_LENGTH
from soloist_trader.journal.reader import Tail, read_journal, segment_path
from soloist_trader.journal.snapshots import take_snapshot
from soloist_trader.journal.writer import Journal

BATCHES = [
    [Started(1, "unit00", 0, 1, 7, "Live")],
    [Intended(2, "s1", 1, "t", "M", 1, "entry", 4_000, 100, "good_till_canceled", 0, reduce_only=False)],
    [Latched(3, "person", "HALTED", "looks"), CursorMoved(4, 4)],
    [Latched(5, "person", "ACTIVE", "done")],
]


@pytest.fixture(params=[1, 10**6], ids=["a segment per batch", "one segment"])
def written(tmp_path, request):
    """A journal of these batches, and its hash."""
    write(tmp_path, BATCHES, request.param)
    return tmp_path


def write(directory, batches, segment_bytes):
    journal = Journal(directory, segment_bytes=segment_bytes)
    journal.open(Ledger())
    for batch in batches:
        for record in batch:
            journal.append(record)
        journal.commit()
    journal.close()


def state(batches):
    ledger = Ledger()
    for batch in batches:
        for record in batch:
            ledger.apply(record)
    return ledger.state_hash()


def run(directory, *words):
    result = CliRunner().invoke(main, ["journal", words[0], "--state-dir", str(directory), *words[1:]])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def lines(result):
    return dict(line.split("\t", 1) for line in result.stdout.splitlines())


def spoil(path, offset):
    content = bytearray(path.read_bytes())
    content[offset] ^= 1
    path.write_bytes(bytes(content))


@pytest.mark.parametrize("command", ["", "verify", "show", "compact", "repair"])
def test_every_command_says_what_it_does(command):
    result = CliRunner().invoke(main, ["journal", *([command] if command else []), "--help"])
    assert result.exit_code == 0
    assert len(result.output.splitlines()) > 8


def test_verify_prints_what_is_there_and_the_state(written):
    result = run(written, "verify")
    assert result.exit_code == 0, result.output
    found = lines(result)
    assert (found["batches"], found["records"], found["tail"], found["orders"]) == ("4", "5", "intact", "1")
    assert found["state"] == state(BATCHES)
    assert json.loads(run(written, "verify", "--json").stdout)["state"] == state(BATCHES)


def test_show_prints_records_by_kind_and_the_last_ones(written):
    shown = run(written, "show", "--kind", "Intended").stdout
    assert shown.count("\n") == 1
    assert "client_order_id='s1'" in shown.split("\t")
    last = [json.loads(line) for line in run(written, "show", "--last", "2", "--json").stdout.splitlines()]
    assert [(row["batch"], row["kind"]) for row in last] == [(3, "CursorMoved"), (4, "Latched")]
    assert last[-1]["fields"] == BATCHES[-1][0]._asdict()
    unknown = run(written, "show", "--kind", "Fills")
    assert (unknown.exit_code, "Fills is no kind of record; there are Started" in unknown.output) == (2, True)


def test_verify_finds_damage_that_a_snapshot_hides_from_a_start(tmp_path):
    write(tmp_path, BATCHES, 1)
    take_snapshot(tmp_path, Disk(), taken_ms=1, remove=False)
    spoil(segment_path(tmp_path, 2), SEGMENT_HEADER_LENGTH + 3)
    Journal(tmp_path).open(Ledger())
    result = run(tmp_path, "verify")
    assert (result.exit_code, "2.log is damaged at byte 28" in result.stderr) == (1, True)


def test_verify_finds_a_snapshot_that_the_records_do_not_give(tmp_path):
    write(tmp_path, BATCHES, 1)
    other = tmp_path / "other"
    write(other, [[Latched(9, "x", "HALTED", "y")], *BATCHES[1:]], 1)
    take_snapshot(other, Disk(), taken_ms=1)
    name = "snapshot-0000000000000004.snap"
    (tmp_path / name).write_bytes((other / name).read_bytes())
    result = run(tmp_path, "verify")
    assert result.exit_code == 1
    assert "the snapshot of segment 4 is of another chain than this journal" in result.stdout
    assert "the snapshot of segment 4 holds another state than the records give" in result.stdout


def test_repair_has_nothing_to_do_for_a_journal_that_opens(written):
    result = run(written, "repair", "--yes")
    assert (result.exit_code, result.stdout) == (0, "damage\tnone that keeps an engine from starting\n")


@pytest.mark.parametrize("spoiled", [1, 2])
def test_repair_says_what_is_lost_and_cuts_only_when_told(written, spoiled):
    """A bit of batch `spoiled` (from 0) is wrong: what comes after it reads, but may not be relied upon."""
    files = sorted(written.glob("journal-*.log"))
    if len(files) > 1:
        spoil(files[spoiled], SEGMENT_HEADER_LENGTH + 3)
    else:
        frames = [frame for _, frame, _ in read_journal(written, Tail())]
        spoil(files[0], frames[spoiled - 1].end + 3)
    before = {path.name: path.read_bytes() for path in written.iterdir()}
    refused = run(written, "repair")
    assert refused.exit_code == 1
    assert "Nothing was changed" in refused.stderr
    assert {path.name: path.read_bytes() for path in written.iterdir()} == before
    told = json.loads(run(written, "repair", "--json").stdout)
    lost = [record for batch in BATCHES[spoiled + 1 :] for record in batch]
    assert len(told["lost"]) == len(lost)
    assert all(str(record) in row for record, row in zip(lost, told["lost"], strict=True))
    assert lines(refused)["kept"] == f"until batch {spoiled}, state {state(BATCHES[:spoiled])}"
    done = run(written, "repair", "--yes")
    assert done.exit_code == 0, done.output
    copies = written / "cut-1"
    assert all(before[path.name] == path.read_bytes() for path in copies.glob("journal-*"))
    assert (copies / "lost.tsv").read_text().count("\n") == len(lost)
    assert lines(run(written, "verify"))["state"] == state(BATCHES[:spoiled])
    write(written, [[CursorMoved(9, 9)]], 10**6)
    assert lines(run(written, "verify"))["state"] == state([*BATCHES[:spoiled], [CursorMoved(9, 9)]])


@pytest.mark.parametrize("missing", [1, 2, 4, 5])
def test_repair_of_a_journal_with_a_missing_segment(tmp_path, missing):
    write(tmp_path, BATCHES, 1)
    segment_path(tmp_path, missing).unlink()
    with pytest.raises(JournalDamagedError, match="missing"):
        Journal(tmp_path).open(Ledger())
    assert run(tmp_path, "repair", "--yes").exit_code == 0
    found = Ledger()
    Journal(tmp_path).open(found)
    assert found.state_hash() == state(BATCHES[: missing - 1])


def test_repair_is_refused_beside_an_engine(tmp_path):
    write(tmp_path, BATCHES, 1)
    segment_path(tmp_path, 2).unlink()
    lock = Disk().lock(tmp_path / "lock")
    result = run(tmp_path, "repair", "--yes")
    assert (result.exit_code, "in use by an engine" in result.stderr) == (1, True)
    Disk().close(lock)


def test_compact_takes_a_snapshot_and_keeps_what_the_last_two_need(tmp_path):
    for number in range(3):
        write(tmp_path, [[CursorMoved(number, number)]], 1)
        assert lines(run(tmp_path, "compact"))["snapshot"] == f"segment {number + 1}"
    assert [path.name[-6:] for path in sorted(tmp_path.glob("snapshot-*"))] == ["2.snap", "3.snap"]
    assert [path.name[-6:] for path in sorted(tmp_path.glob("journal-*"))] == ["03.log", "04.log"]
    assert lines(run(tmp_path, "compact"))["snapshot"] == "nothing new is sealed"
    assert lines(run(tmp_path, "verify"))["from"] == "snapshot-0000000000000002.snap"
    assert run(tmp_path, "show").stdout.count("\n") == 1
    write(tmp_path, [[CursorMoved(9, 9)], [CursorMoved(9, 9)]], 1)
    assert run(tmp_path, "compact", "--dry-run").stdout == ""
    take_snapshot(tmp_path, Disk(), taken_ms=1, remove=False)
    would = run(tmp_path, "compact", "--dry-run").stdout
    assert would.splitlines() == [
        "would remove\tsnapshot-0000000000000002.snap", "would remove\tjournal-0000000000000003.log"
    ]  # fmt: skip
