"""The paper account: what the public book shows, less what was already taken, with the venue's fees."""

import asyncio

import pytest
from soloist_kalshi.fees import taker_fee
from soloist_trader import config
from soloist_trader.core import events
from soloist_trader.core.book import Book
from soloist_trader.core.commands import Cancel, Entomb, FindOrder, Place
from soloist_trader.core.ledger import Ledger
from soloist_trader.core.units import ASK, BID, GOOD_TILL_CANCELED, IMMEDIATE_OR_CANCEL
from soloist_trader.shell.paper import PaperEdge

from tests.unit.soloist_trader.test_config import write


@pytest.fixture
async def make_edge(tmp_path):
    edges = []

    def make(*, shadow=False):
        loaded = config.load(write(tmp_path, {"mode": "Shadow" if shadow else "Paper", "account": None}))
        edge = PaperEdge(loaded, Ledger(), shadow=shadow)
        edge.seen = []
        edge._sink = edge.seen.append
        edges.append(edge)
        show(edge, bids=[(4_800, 300)], asks=[(5_000, 200), (5_100, 400)])
        return edge

    yield make
    for edge in edges:
        await edge.close()


def show(edge, bids, asks):
    """What a poll of the public book does, without the network."""
    book = edge._books.setdefault("M", Book())
    book.load(bids, asks)
    book.generation = 1


def place(name, side, price, size, time_in_force=IMMEDIATE_OR_CANCEL, expiration_s=0):
    return Place(name, "M", side, price, size, time_in_force, expiration_s, False, 0, 1, 0)  # noqa: FBT003


def fills(edge):
    return [
        (event.price, event.size, event.fee, event.is_taker)
        for event in edge.seen
        if isinstance(event, events.FillSeen)
    ]


async def test_a_taker_gets_what_is_shown_level_by_level_and_pays_the_fee(make_edge):
    edge = make_edge()
    (seen,) = await edge.execute(place("a", BID, 5_100, 1_000), None)
    assert (seen.filled, seen.closed) == (600, True), "the book had no more"
    assert [(price, size) for price, size, _, _ in fills(edge)] == [(5_000, 200), (5_100, 400)]
    first = fills(edge)[0]
    assert first[2] >= taker_fee(5_000, 200)
    assert first[3] is True


async def test_what_was_taken_is_not_offered_again_until_the_level_changes(make_edge):
    edge = make_edge()
    await edge.execute(place("a", BID, 5_000, 150), None)
    (second,) = await edge.execute(place("b", BID, 5_000, 150), None)
    assert second.filled == 50


async def test_a_resting_order_fills_only_when_the_other_side_comes_to_it(make_edge):
    edge = make_edge()
    (seen,) = await edge.execute(place("a", ASK, 5_200, 100, GOOD_TILL_CANCELED), None)
    assert (seen.filled, seen.closed) == (0, False)
    show(edge, bids=[(5_150, 300)], asks=[(5_250, 200)])
    order = edge._orders["a"]
    edge._match(order, maker=True)
    assert fills(edge) == []
    show(edge, bids=[(5_300, 60)], asks=[(5_400, 200)])
    edge._match(order, maker=True)
    assert fills(edge) == [(5_200, 60, 2_000, False)], "as a maker; 0.288 dollars are rounded to cents"


async def test_cancel_look_up_and_expiry(make_edge):
    edge = make_edge()
    await edge.execute(place("a", BID, 4_000, 100, GOOD_TILL_CANCELED), None)
    assert [order.client_order_id for order in await edge.own_resting()] == ["a"]
    (ended,) = await edge.execute(Cancel("a", "x", "M"), None)
    assert ended.reduced_by == 100
    assert (await edge.execute(Cancel("a", "x", "M"), None))[0].reduced_by == -1
    assert (await edge.execute(FindOrder("a", "M", 0), None))[0].closed is True
    assert isinstance((await edge.execute(FindOrder("never", "M", 0), None))[0], events.OrderAbsent)
    assert (await edge.execute(Entomb("never", "M", BID, 100, 1), None))[0].closed is True
    await edge.execute(place("b", BID, 4_000, 100, GOOD_TILL_CANCELED, expiration_s=1), None)
    async with asyncio.timeout(4):
        while not edge._orders["b"].closed:  # noqa: ASYNC110 the loop's own timer closes it
            await asyncio.sleep(0.001)


async def test_shadow_decides_and_sends_nothing(make_edge):
    edge = make_edge(shadow=True)
    (outcome,) = await edge.execute(place("a", BID, 5_000, 100), None)
    assert isinstance(outcome, events.OrderNotSent)
    assert not edge._orders


async def test_the_gate_is_asked_when_the_order_arrives(make_edge):
    edge = make_edge()
    (outcome,) = await edge.execute(place("a", BID, 5_000, 100), lambda: "stopping")
    assert outcome.reason == "stopping"
