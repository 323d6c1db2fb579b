"""What the Live edge makes of frames, beside what the book port says of them."""

import pytest
from soloist_kalshi.errors import VenueUnreachable
from soloist_trader.core import events

from tests.unit.soloist_trader.feed_world import FeedWorld
from tests.unit.soloist_trader.tape_world import ListSink


class OpenTransport:
    """A connection that takes what is sent."""

    is_disconnected = False

    def __init__(self):
        self.sent = []

    def send(self, kind, payload):  # noqa: ARG002 as picows has it
        self.sent.append(payload)


@pytest.fixture
def world(monkeypatch):
    made = FeedWorld(ListSink(), monkeypatch)
    made.edge._socket._transport = OpenTransport()
    return made


def lost(world):
    return [event.market for event in world.steps if isinstance(event, events.BookLost)]


def test_every_lost_book_is_told_before_anything_can_end_the_connection(world):
    """The venue does not read our commands: asking for snapshots ends the session, and no book may stay alive for that."""
    world.edge._socket.writing_paused(paused=True)
    world.lose()
    with pytest.raises(VenueUnreachable):
        world.edge._on_frame(world.delta("A"))
    assert lost(world) == ["A", "B"]


def test_a_gap_asks_for_the_snapshots_of_all_books_once(world):
    world.lose()
    world.read(world.delta("A"), world.delta("B"))
    (asked,) = world.edge._socket._transport.sent
    assert b"get_snapshot" in asked
    assert b'["A","B"]' in asked
    world.read(world.snapshot("A"), world.snapshot("B"))
    assert world.edge.books.suspect_markets == []


@pytest.mark.parametrize(("age_ms", "told"), [(0, ["A"]), (100, ["A"]), (101, [])])
def test_orders_leave_after_a_frame_unless_newer_ones_have_waited_behind_it(world, monkeypatch, age_ms, told):
    """What a stalled process reads at once is old: the first of its frames is no ground for an order, the last one is."""
    heard = []
    world.edge.after_frame = lambda: heard.append("A")
    monkeypatch.setattr(world.edge._socket, "read_age_ms", lambda: age_ms)
    world.edge._on_frame(world.delta("A"))
    assert heard == told
