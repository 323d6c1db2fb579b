"""Raw frames on the tape: the book port runs again from them, and what was lost anywhere is named."""

import threading

import pytest
from click.testing import CliRunner
from soloist_trader.cli import main
from soloist_trader.core import events
from soloist_trader.core.records import DayBegan
from soloist_trader.modes.replay import Replay
from soloist_trader.tape import FileSink, TapeReader, blocks
from soloist_trader.tape.codec import Anchor, Frames
from soloist_trader.tape.reader import Recorded
from soloist_trader.tape.writer import BLOCK_BYTES

from tests.support import eventually
from tests.unit.soloist_trader.feed_world import FeedWorld
from tests.unit.soloist_trader.tape_world import ListSink

MARKET_EVENTS = (events.TopChanged, events.Traded, events.BookLost)


def written(sink, path):
    """The chunks of a list as one tape file."""
    data = blocks.pack_header(sink.chunks[0].header)
    data += b"".join(blocks.pack(blocks.ENTRIES, *chunk[:3]) for chunk in sink.chunks)
    path.mkdir(exist_ok=True)
    (path / "one.tape").write_bytes(data)
    return path


@pytest.fixture
def world(monkeypatch):
    return FeedWorld(ListSink(), monkeypatch, block_bytes=4_000)


@pytest.fixture
def items(world, tmp_path):
    """Forty reads and everything on the tape of them."""
    world.quote(40)
    world.tape.close()
    return list(TapeReader(written(world.tape._sink, tmp_path / "tape")))


def market_events(world):
    return [event for event in world.steps if isinstance(event, MARKET_EVENTS)]


def test_the_books_are_made_again_from_the_frames_of_each_read(world, items, tmp_path):
    result = Replay().run(items)
    assert result.identical, result.first
    assert (result.frames.frames, result.frames.batches) == (world.tape.frames, 41) == (3 + 3 * 40, 41)
    assert result.frames.compared == len(market_events(world)) > 80
    assert (result.frames.gaps, result.frames.not_compared, result.frames.notes) == (0, 0, [])
    shown = CliRunner().invoke(main, ["replay", str(tmp_path / "tape")]).output
    assert "123 in 41 reads, 0 connections ended" in shown
    assert "feed gaps  none" in shown


def test_the_first_thing_on_a_tape_is_the_whole_state_and_then_the_beginning(items):
    kinds = [type(item).__name__ for item in items[:3]]
    assert kinds == ["Header", "Anchor", "Recorded"]
    assert items[2] == Recorded(1, events.Began(1_000_000))


def test_frames_stand_before_what_is_made_of_them(items):
    place = next(n for n, item in enumerate(items) if isinstance(item, Frames))
    assert isinstance(items[place + 1].event, events.TopChanged)
    assert items[place].frames[0][1][:21] == b'{"type": "subscribed"'


def test_a_frame_that_is_lost_from_the_tape_is_a_difference(items):
    place = [n for n, item in enumerate(items) if isinstance(item, Frames)][20]
    for victim in range(2):
        kept = tuple(one for n, one in enumerate(items[place].frames) if n != victim)
        result = Replay().run([*items[:place], Frames(kept), *items[place + 1 :]])
        assert not result.identical
        assert result.first.what == "a market event and the raw frames"
        assert "came where" in result.first.replayed, "the book port sees the hole in the sequence"


def test_a_read_that_is_lost_from_the_tape_is_a_difference(items):
    place = [n for n, item in enumerate(items) if isinstance(item, Frames)][20]
    result = Replay().run(items[:place] + items[place + 1 :])
    assert result.first.what == "a market event and the raw frames"
    assert result.first.replayed == "nothing"


def test_a_changed_event_is_noticed_even_if_nothing_was_decided_on_it(items):
    place = [n for n, item in enumerate(items) if isinstance(item, Recorded)][30]
    assert isinstance(items[place].event, MARKET_EVENTS)
    market = "B" if items[place].event.market == "A" else "A"
    items[place] = items[place]._replace(event=items[place].event._replace(market=market))
    result = Replay().run(items)
    assert result.first.what == "a market event and the raw frames"
    assert result.first.event_seq == items[place].event_seq


def test_an_event_that_is_lost_from_the_tape_is_a_difference(items):
    place = [n for n, item in enumerate(items) if isinstance(item, Recorded)][-1]
    result = Replay().run(items[:place])
    assert "the run ended before they were stepped" in result.frames.notes[0]
    place = [n for n, item in enumerate(items) if isinstance(item, Recorded)][30]
    assert not Replay().run(items[:place] + items[place + 1 :]).identical


def test_what_the_venue_lost_is_a_gap_with_its_place_and_no_difference(world, tmp_path):
    world.quote(3)
    world.lose()
    world.quote(1)
    world.read(world.snapshot("A"), world.snapshot("B"))
    world.quote(3)
    world.tape.close()
    path = written(world.tape._sink, tmp_path / "tape")
    result = Replay().run(TapeReader(path))
    assert result.identical, result.first
    assert result.frames.gaps == 1
    (gap,) = result.frames.listed_gaps
    assert "sequence 10 came where 9 was due (2 books lost)" in gap
    assert gap in CliRunner().invoke(main, ["replay", str(path)]).output


def test_a_connection_that_ends_and_a_broken_frame_replay_as_they_were(world, tmp_path):
    world.quote(4)
    world.close()
    world.open()
    world.quote(4)
    world.read(world.delta("A"), world.delta("A", price="1.7000"), world.delta("A"))
    world.open()
    world.quote(4)
    world.tape.close()
    result = Replay().run(TapeReader(written(world.tape._sink, tmp_path / "tape")))
    assert result.identical, result.first
    assert result.frames.connections_ended == 2
    assert result.frames.compared == len(market_events(world))
    assert sum(isinstance(event, events.BookLost) for event in world.steps) == 4


def test_a_book_that_the_edge_lets_go_is_counted_as_its_own(world, tmp_path):
    world.quote(4)
    world.step(events.BookLost(world.now_ms, "A", "it left the markets that are followed"))
    world.quote(4)
    world.tape.close()
    result = Replay().run(TapeReader(written(world.tape._sink, tmp_path / "tape")))
    assert (result.identical, result.frames.of_edge) == (True, 1)


def test_books_stand_on_every_anchor(world, tmp_path):
    for _ in range(4):
        world.quote(10)
        world.tape._sink.wants_file = True
    world.tape.close()
    items = list(TapeReader(written(world.tape._sink, tmp_path / "tape")))
    result = Replay().run(items)
    assert (result.identical, result.anchors) == (True, 4)
    places = [n for n, item in enumerate(items) if isinstance(item, Anchor)]
    anchor = items[places[2]]
    assert isinstance(items[places[2] + 1], Frames), "no anchor stands between a frame and what is made of it"
    begun_there = Replay().run([items[0], *items[places[2] :]])
    assert begun_there.identical, "books come from the anchor alone"
    assert begun_there.frames.compared > 20
    feed = [anchor.feed[0], [anchor.feed[1][0] + 1, anchor.feed[1][1]]]
    result = Replay().run([*items[: places[2]], anchor._replace(feed=feed), *items[places[2] + 1 :]])
    assert result.first.what == "the books at an anchor"


def test_no_anchor_is_taken_amid_the_events_of_one_frame(world, tmp_path):
    """The book port is ahead of the core there: a replay from such an anchor would miss what follows."""

    def step(event):
        world.tape._sink.wants_file = True
        world.step(event)

    world.edge._sink = step
    world.quote(2)
    world.lose()
    world.read(world.delta("A"))
    assert [event.market for event in world.steps if isinstance(event, events.BookLost)] == ["A", "B"]
    world.quote(2)
    world.tape.close()
    result = Replay().run(TapeReader(written(world.tape._sink, tmp_path / "tape")))
    assert result.identical, result.first
    assert result.anchors > 1


def test_frames_that_the_disk_does_not_take_are_counted_in_the_gap_and_books_go_on_after_it(world, tmp_path):
    sink = world.tape._sink
    world.quote(40)
    sink.refuses = True
    before = world.tape.frames
    world.quote(60)
    sink.refuses = False
    world.quote(100)
    world.tape.close()
    path = written(sink, tmp_path / "tape")
    result = Replay().run(TapeReader(path))
    assert result.identical, result.first
    (gap,) = result.gaps
    assert result.frames.frames + gap.frames == world.tape.frames > before
    assert gap.frames >= 60
    assert result.events + gap.last - gap.first + 1 == world.tape.event_seq
    assert result.frames.compared == sum(
        isinstance(item, Recorded) and isinstance(item.event, MARKET_EVENTS) for item in TapeReader(path)
    )
    assert f"{gap.frames} raw frames" in CliRunner().invoke(main, ["replay", str(path)]).output


def test_a_batch_is_cut_where_no_end_of_a_read_comes(monkeypatch):
    world = FeedWorld(ListSink(), monkeypatch, block_bytes=4_000)
    monkeypatch.setattr(world.edge, "_on_read_end", lambda: None)
    world.quote(200)
    assert len(world.tape._sink.chunks) > 10
    assert world.tape._size < 9_000, "a block, and a read as large"


def test_what_the_edge_puts_into_the_ledger_itself_is_on_the_tape(world, tmp_path):
    world.quote(4)
    record = DayBegan(world.now_ms, 20_000, 5_000_000)
    world.tape.write_record(record)
    world.engine.ledger.apply(record)
    world.quote(4)
    world.tape._sink.wants_file = True
    world.quote(4)
    world.tape.close()
    items = list(TapeReader(written(world.tape._sink, tmp_path / "tape")))
    result = Replay().run(items)
    assert (result.identical, result.anchors, result.notes_of_edge) == (True, 2, 1)
    assert record in result.records[0]
    without = Replay().run([item for item in items if type(item).__name__ != "Noted"])
    assert without.first.what == "the state at an anchor"


class SlowDisk(FileSink):
    """Its thread waits at each new file until the test lets it go on."""

    def __init__(self, *arguments, **options):
        self.goes_on = threading.Event()
        super().__init__(*arguments, **options)

    def _open(self):
        self.goes_on.wait()
        return super()._open()


def test_a_saturated_feed_on_a_disk_that_stands_still_stays_within_its_bounds(tmp_path, monkeypatch):
    """Memory by the queue's bound, disk by the directory's, and a gap that says what is missing."""
    bound, disk = 3 * BLOCK_BYTES, 80_000
    sink = SlowDisk(tmp_path / "tape", 1, maximum_bytes=disk, queue_bytes=bound)
    world = FeedWorld(sink, monkeypatch)
    held = 0
    for _ in range(20):
        world.quote(50)
        held = max(held, sink.waiting_bytes + world.tape._size)
    assert world.tape.gaps > 2
    assert bound / 2 < held < bound + 2 * BLOCK_BYTES
    sink.goes_on.set()
    for _ in range(20):
        world.quote(60)
        eventually(lambda: not sink.waiting_bytes, 4, "the disk takes nothing", interval_s=0.002)
    world.tape.close()
    files = list((tmp_path / "tape").iterdir())
    assert len(files) > 2, "the oldest are removed, and never all"
    assert sum(file.stat().st_size for file in files) < disk + bound
    result = Replay().run(TapeReader(tmp_path / "tape"))
    assert result.identical, result.first
    assert result.frames.compared > 100
    assert not result.missing, "what was removed lies before the first file"
