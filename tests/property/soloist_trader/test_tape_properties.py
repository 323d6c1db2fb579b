"""Whatever the feed, the disk and the connection do, a tape replays to what was recorded and says what it lacks."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from soloist_trader.core import events
from soloist_trader.modes.frame_replay import MARKET_EVENTS
from soloist_trader.modes.replay import Replay
from soloist_trader.tape import TapeReader, blocks
from soloist_trader.tape.reader import Recorded

from tests.unit.soloist_trader.feed_world import FeedWorld
from tests.unit.soloist_trader.tape_world import ListSink

MARKETS = st.sampled_from("AB")
PRICES = st.sampled_from(["0.1000", "0.3900", "0.4000", "0.4100", "0.4600"])
COUNTS = st.sampled_from(["1.00", "3.00", "-3.00", "-10.00", "-12.00"])
FRAMES = st.one_of(
    st.tuples(st.just("delta"), MARKETS, PRICES, COUNTS, st.sampled_from(["yes", "no"])),
    st.tuples(st.just("snapshot"), MARKETS, PRICES),
    st.tuples(st.just("trade"), MARKETS),
    st.tuples(st.just("lost")),
    st.tuples(st.just("broken"), MARKETS),
)
TURNS = st.lists(
    st.one_of(
        st.tuples(st.just("read"), st.lists(FRAMES, max_size=6)),
        st.tuples(st.just("close")),
        st.tuples(st.just("tick"), st.integers(1, 1_500)),
        st.tuples(st.just("disk"), st.booleans()),
        st.tuples(st.just("file")),
        st.tuples(st.just("let go"), MARKETS),
    ),
    max_size=25,
)


def payloads(world, rows):
    made = []
    for number, row in enumerate(rows):
        if row[0] == "delta":
            made.append(world.delta(row[1], row[2], row[3], row[4]))
        elif row[0] == "snapshot":
            made.append(world.snapshot(row[1], bid=row[2]))
        elif row[0] == "trade":
            made.append(world.trade(row[1], number + 1))
        elif row[0] == "broken":
            made.append(world.delta(row[1], price="1.7000"))
        else:
            world.lose()
    return made


def play(world, turns):
    for turn in turns:
        if turn[0] == "read" and turn[1]:
            if world.read(*payloads(world, turn[1])):
                world.open()
        elif turn[0] == "close":
            world.close()
            world.open()
        elif turn[0] == "tick":
            world.now_ms += turn[1]
            world.step(events.Tick(world.now_ms))
        elif turn[0] == "disk":
            world.tape._sink.refuses = turn[1]
        elif turn[0] == "file":
            world.tape._sink.wants_file = True
        elif turn[0] == "let go":
            world.step(events.BookLost(world.now_ms, turn[1], "it left the markets that are followed"))


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    """Written anew by each example."""
    return tmp_path_factory.mktemp("tape") / "one.tape"


@settings(deadline=None)
@given(turns=TURNS, block_bytes=st.sampled_from([200, 2_000, 60_000]))
def test_a_tape_replays_to_what_was_recorded_and_says_what_it_lacks(turns, block_bytes, file):
    with pytest.MonkeyPatch.context() as monkeypatch:
        world = FeedWorld(ListSink(), monkeypatch, block_bytes=block_bytes)
        play(world, turns)
        world.tape._sink.refuses = False
        world.now_ms += 2_000
        world.step(events.Tick(world.now_ms))
        world.tape.close()
    chunks = world.tape._sink.chunks
    data = blocks.pack_header(chunks[0].header)
    file.write_bytes(data + b"".join(blocks.pack(blocks.ENTRIES, *chunk[:3]) for chunk in chunks))
    result = Replay().run(TapeReader(file))
    recorded = [item for item in TapeReader(file) if isinstance(item, Recorded)]
    assert result.identical, result.first
    assert result.compared == result.events == len(recorded)
    assert [item.event for item in recorded] == [
        event
        for number, event in enumerate(world.steps, 1)
        if not any(gap.first <= number <= gap.last for gap in result.gaps)
    ]
    assert result.events + sum(gap.last - gap.first + 1 for gap in result.gaps) == world.tape.event_seq
    assert result.frames.frames + sum(gap.frames for gap in result.gaps) == world.tape.frames
    of_market = sum(type(item.event) in MARKET_EVENTS for item in recorded)
    assert result.frames.compared + result.frames.of_edge == of_market
    assert (result.frames.not_compared, result.frames.notes) == (0, [])
