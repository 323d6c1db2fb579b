"""The tape and its replay: the same run is identical, anything else is noticed."""

import json

import pytest
import yaml
from click.testing import CliRunner
from soloist_exchange.tape import Tape as ExchangeTape
from soloist_exchange.tape import TapeWriter
from soloist_trader.cli import main
from soloist_trader.core import events
from soloist_trader.core.engine import Engine
from soloist_trader.core.intake import Identity
from soloist_trader.core.ledger import Ledger
from soloist_trader.journal.writer import Journal
from soloist_trader.modes.replay import Replay, compare_with_journal
from soloist_trader.tape import FileSink, TapeError, TapeReader, blocks
from soloist_trader.tape.codec import EVENT_TYPES, EntryDecoder, encode_entry, join_entries, schema
from soloist_trader.tape.reader import Recorded
from soloist_trader.tape.state import freeze, thaw

from tests.support import eventually
from tests.unit.soloist_trader.core_world import LIMITS, CoreWorld, Wish
from tests.unit.soloist_trader.tape_world import ListSink, TapedWorld


@pytest.fixture
def recorded(tmp_path):
    """A run of 30 s in a directory."""
    world = TapedWorld(FileSink(tmp_path / "tape", 1))
    world.trade(30)
    world.tape.close()
    assert world.places > 20
    return tmp_path / "tape", world


def replayed(path, make=None):
    return Replay(make).run(TapeReader(path))


def written(sink):
    eventually(lambda: not sink.waiting_bytes, 4, "the disk takes nothing", interval_s=0.002)


def file_of(path):
    (file,) = path.iterdir()
    return file


def blocks_of(data):
    offset, found = 0, []
    while offset < len(data):
        block, end = blocks.unpack(data, offset)
        assert not isinstance(block, str), block
        found.append((offset, end, block))
        offset = end
    return found


def test_a_run_replays_identically(recorded):
    path, world = recorded
    result = replayed(path)
    assert result.identical
    assert world.tape.gaps == 0
    assert result.events == result.compared == world.tape.event_seq
    assert result.decisions > 3 * world.places
    assert [record for stretch in result.records for record in stretch] == world.records


def test_another_parameter_is_noticed_with_its_context(recorded, tmp_path):
    path, _ = recorded
    other = tmp_path / "other.yaml"
    other.write_text(yaml.safe_dump({"maximum_hold_seconds": 2.5}))
    outcome = CliRunner().invoke(main, ["replay", str(path), "--parameters", str(other), "--json"])
    facts = json.loads(outcome.stdout)
    assert outcome.exit_code == 1
    assert not facts["identical"]
    first = facts["firstDifference"]
    assert "nothing" in {first["recorded"], first["replayed"]}
    assert first["context"][-1].startswith(f"{first['eventSeq']}  ")


def test_a_dropped_block_is_noticed(recorded):
    path, _ = recorded
    file = file_of(path)
    data = file.read_bytes()
    begin, end, block = blocks_of(data)[3]
    file.write_bytes(data[:begin] + data[end:])
    result = replayed(path)
    assert not result.identical
    assert result.missing == [(block.first, block.first + block.events - 1)]
    assert result.compared < result.events


def test_a_dropped_event_is_noticed_even_if_every_checksum_is_right(recorded):
    path, _ = recorded
    file = file_of(path)
    data = file.read_bytes()
    begin, end, block = blocks_of(data)[3]
    decoder = EntryDecoder(schema())
    entries = decoder.decode(block.payload)
    victim = next(n for n, entry in enumerate(entries) if isinstance(entry, events.TopChanged))
    payload = join_entries([encode_entry(entry) for entry in entries[:victim] + entries[victim + 1 :]])
    forged = blocks.pack(block.kind, block.first, block.events, payload)
    file.write_bytes(data[:begin] + forged + data[end:])
    assert not replayed(path).identical


def test_a_changed_event_is_noticed_by_what_it_leads_to(recorded):
    path, _ = recorded
    items = list(TapeReader(path))
    place = next(
        n
        for n, item in enumerate(items)
        if isinstance(item, Recorded) and isinstance(item.event, events.FillSeen)
    )
    fill = items[place].event
    items[place] = items[place]._replace(event=fill._replace(fee=fill.fee + 1))
    result = Replay().run(items)
    assert result.differences == 1
    assert result.first.event_seq == items[place].event_seq
    assert "Booked" in result.first.recorded


def test_every_flipped_bit_is_noticed(recorded):
    """One bit per byte, in the head and the payload of a block and in the header of the file."""
    path, _ = recorded
    file = file_of(path)
    data = file.read_bytes()
    begin, end, _ = blocks_of(data)[2]
    for place in [*range(begin, begin + 32), *range(begin + 32, end, 197)]:
        damaged = bytearray(data)
        damaged[place] ^= 1 << (place % 8)
        file.write_bytes(damaged)
        reader_saw = [item for item in TapeReader(path) if type(item).__name__ in {"Damage", "Missing"}]
        assert reader_saw, place
    damaged = bytearray(data)
    damaged[40] ^= 1
    file.write_bytes(damaged)
    with pytest.raises(TapeError, match="its header is damaged"):
        list(TapeReader(path))


def test_a_torn_end_is_damage_and_the_rest_is_compared(recorded):
    path, _ = recorded
    file = file_of(path)
    data = file.read_bytes()
    file.write_bytes(data[:-5])
    result = replayed(path)
    assert len(result.damage) == 1
    assert result.compared > 0
    assert result.differences == 0


def test_what_the_disk_does_not_take_becomes_a_gap_and_the_tape_begins_anew(tmp_path):
    sink = ListSink()
    world = TapedWorld(sink)
    world.trade(5)
    sink.refuses = True
    world.trade(5)
    sink.refuses = False
    world.trade(5)
    assert world.tape.word().startswith(f"{world.tape.gaps} times the disk was slower")
    world.tape.close()
    data = b"".join(
        (blocks.pack_header(chunk.header) if chunk.header and not number else b"")
        + blocks.pack(blocks.ENTRIES, chunk.first, chunk.events, chunk.payload)
        for number, chunk in enumerate(sink.chunks)
    )
    (tmp_path / "one.tape").write_bytes(data)
    result = replayed(tmp_path)
    assert 2 <= world.tape.gaps <= 6, "it tries once a second"
    assert len(result.gaps) == 1
    (gap,) = result.gaps
    assert result.events == result.compared == world.tape.event_seq - (gap.last - gap.first + 1)
    assert result.identical, "a gap that the tape tells of is no difference"
    assert len(result.records) == 2


def test_a_new_file_begins_with_an_anchor_that_the_replay_reaches(tmp_path):
    sink = FileSink(tmp_path, 1, file_bytes=3_000)
    world = TapedWorld(sink)
    for _ in range(4):
        world.trade(3)
        written(sink)
    world.tape.close()
    assert len(list(tmp_path.iterdir())) > 2
    result = replayed(tmp_path)
    assert result.identical
    assert result.anchors == len(list(tmp_path.iterdir()))
    assert len(result.records) == 1, "nothing interrupted it"


def test_the_oldest_files_make_room(tmp_path):
    sink = FileSink(tmp_path, 1, file_bytes=3_000, maximum_bytes=9_000)
    world = TapedWorld(sink)
    for _ in range(6):
        world.trade(4)
        written(sink)
    world.tape.close()
    assert sum(file.stat().st_size for file in tmp_path.iterdir()) < 9_000 + 3_000
    assert not (tmp_path / f"{1:014d}-{1:06d}.tape").exists()
    assert replayed(tmp_path).identical


def test_a_disk_error_ends_the_tape_and_not_the_engine(tmp_path):
    sink = FileSink(tmp_path / "tape", 1)
    (tmp_path / "tape" / f"{1:014d}-{1:06d}.tape").touch()  # it refuses to write over a file
    world = TapedWorld(sink)
    world.trade(2)
    world.tape.seal()
    eventually(lambda: sink.failed, 4, "the disk error was not noticed", interval_s=0.002)
    world.trade(2)
    assert "cannot be written" in world.tape.status()["failed"]
    assert world.tape.word().startswith("the tape ended: the tape in ")
    assert world.places > 2
    world.tape.close()


def test_the_journal_holds_what_the_replay_decides(recorded, tmp_path):
    path, world = recorded
    state = tmp_path / "state"
    journal = Journal(state)
    journal.open(Ledger())
    for record in world.records:
        journal.append(record)
    journal.commit()
    journal.close()
    outcome = CliRunner().invoke(main, ["replay", str(path), "--compare", str(state)])
    assert outcome.exit_code == 0, outcome.output
    assert f"{len(world.records)} records equal, 0 not on the tape" in outcome.output
    short = compare_with_journal([world.records], world.records[:-1])
    assert "nothing more" in short.difference
    changed = [*world.records[:5], world.records[5]._replace(time_ms=0), *world.records[6:]]
    assert compare_with_journal([world.records], changed).compared == 5
    assert "nothing more" in compare_with_journal([world.records[3:]], world.records[:3]).difference
    compacted = compare_with_journal([world.records], world.records[4:])
    assert (compacted.difference, compacted.not_in_journal) == ("", 4)
    assert compacted.compared == len(world.records) - 4


def test_a_state_survives_freezing_in_the_middle_of_everything():
    world = CoreWorld()
    world.hold(200)
    world.verb("operator", "REDUCING")
    fresh = Engine(Ledger(), Identity("unit00", 0, 2, 7, "Live"), Wish(), LIMITS, [])
    frozen = freeze(world.engine)
    thaw(frozen, fresh, frozenset({Wish.__module__}))
    assert freeze(fresh) == frozen
    assert fresh.desk.ledger is fresh.ledger
    assert fresh.ledger.state_hash() == world.ledger.state_hash()
    event = events.TopChanged(world.now_ms, "M", 4_400, 10, 4_500, 10, 1)
    assert fresh.step(event) == world.engine.step(event)


@pytest.mark.parametrize("name", ["subprocess:Popen", "os:system", "soloist_trader.core.engine:DAY_MS"])
def test_an_anchor_names_no_class_that_is_not_the_engines(name):
    fresh = Engine(Ledger(), Identity("unit00", 0, 2, 7, "Live"), Wish(), LIMITS, [])
    with pytest.raises(TapeError, match="an anchor names the class"):
        thaw(["object", 0, "soloist_trader.core.engine:Engine", [["x", ["named", name, "true"]]]], fresh)


def test_what_cannot_be_frozen_is_named_with_its_place_and_ends_the_tape_only():
    world = TapedWorld(ListSink())
    world.engine.desk.outcomes["odd"] = 1j
    with pytest.raises(TapeError, match=r"Engine\.desk Desk\.outcomes is a complex"):
        freeze(world.engine)
    world.tape._needs_anchor = True
    world.trade(10)
    assert "Desk.outcomes" in world.tape.status()["failed"]
    assert world.places > 2


def test_every_event_goes_through_the_codec():
    for kind in EVENT_TYPES:
        samples = {"int": 7, "str": "x", "bool": True}
        fields = {
            name: samples.get(
                str(annotation if isinstance(annotation, str) else annotation.__forward_arg__), ()
            )
            for name, annotation in kind.__annotations__.items()
        }
        event = kind(**fields)
        (decoded,) = EntryDecoder(schema()).decode(join_entries([encode_entry(event)]))
        assert decoded == event
        assert type(decoded) is kind


def test_a_tape_of_other_fields_is_refused():
    recorded = schema()
    recorded["Tick"] = ["moment_ms"]
    with pytest.raises(TapeError, match="Tick\\(moment_ms\\) is not this version's"):
        EntryDecoder(recorded)


@pytest.mark.parametrize(
    "command", [["replay"], ["backtest", "--strategy", "threshold", "--report", "out.html", "--data"]]
)
def test_a_tape_of_the_exchange_is_told_apart_and_says_what_to_do(tmp_path, command):
    path = tmp_path / "rain.tape"
    with path.open("wb") as file:
        TapeWriter(file, ExchangeTape(1, 7, 10, ["RAIN"], {})).close(600_000)
    outcome = CliRunner().invoke(main, [*command, str(path)])
    assert outcome.exit_code == 2
    assert "a tape of soloist-exchange" in outcome.output
    assert "mode Shadow" in outcome.output


def test_what_is_no_tape_is_refused(tmp_path):
    (tmp_path / "a.tape").write_bytes(b"x" * 100)
    outcome = CliRunner().invoke(main, ["replay", str(tmp_path)])
    assert outcome.exit_code == 2
    assert "not a tape" in outcome.output
    (tmp_path / "empty").mkdir()
    assert "holds no tape" in CliRunner().invoke(main, ["replay", str(tmp_path / "empty")]).output
