"""The paper and shadow edges: public books and trades in, the simulated account's answers out."""

import asyncio
import json

import pytest
from soloist_kalshi.messages import Trade
from soloist_trader import config
from soloist_trader.core import events
from soloist_trader.core.commands import Amend, Cancel, Entomb, FindFills, FindOrder, Place, TriggerGroup
from soloist_trader.core.ledger import Ledger
from soloist_trader.core.units import ASK, BID, GOOD_TILL_CANCELED, IMMEDIATE_OR_CANCEL
from soloist_trader.shell import logs
from soloist_trader.shell.clock import ms_to_text, now_ms
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
        edge.show("M", [(4_800, 300)], [(5_000, 200), (5_100, 400)])
        return edge

    yield make
    for edge in edges:
        await edge.close()


def place(name, side, price, size, time_in_force=IMMEDIATE_OR_CANCEL, expiration_s=0):
    return Place(name, "M", side, price, size, time_in_force, expiration_s, False, 0, 1, 0)  # noqa: FBT003


def fills(edge):
    return [
        (event.price, event.size, event.is_taker) for event in edge.seen if isinstance(event, events.FillSeen)
    ]


async def test_an_order_is_answered_once_and_its_fills_come_by_the_channel(make_edge):
    edge = make_edge()
    (reply,) = await edge.execute(place("a", BID, 5_100, 1_000), None)
    assert (reply.filled, reply.closed) == (600, True), "the book had no more"
    assert fills(edge) == [(5_000, 200, True), (5_100, 400, True)]
    found = await edge.execute(FindFills("a", reply.order_id, "M"), None)
    assert sum(fill.size for fill in found) == 600
    reading = await edge.read(0, {})
    assert [fill.fill_id for fill in reading.fills] == [fill.fill_id for fill in found]


async def test_a_book_that_reaches_a_resting_order_fills_it(make_edge):
    edge = make_edge()
    await edge.execute(place("a", ASK, 5_200, 100, GOOD_TILL_CANCELED), None)
    edge.show("M", [(5_300, 60)], [(5_400, 200)])
    assert fills(edge) == [(5_200, 60, False)]
    assert [order.filled for order in await edge.own_resting()] == [60]


class Trades:
    """The public trades of a market, newest first, as the REST client iterates over them."""

    def __init__(self):
        self.rows = []

    def add(self, number, time_ms, price, size, side="ask", *, block=False):
        self.rows.insert(
            0,
            Trade(
                trade_id=f"t{number}", ticker="M", count_fp=f"{size / 100:.2f}", yes_price_dollars=f"{price / 10_000:.4f}",
                no_price_dollars=f"{1 - price / 10_000:.4f}", taker_outcome_side="no", taker_book_side=side,
                created_time=ms_to_text(time_ms), is_block_trade=block,
            ),
        )  # fmt: skip

    async def newest_first(self):
        for row in self.rows:
            yield row


async def test_trades_use_up_the_queue_and_each_counts_once(make_edge):
    edge, trades = make_edge(), Trades()
    trades.add(0, now_ms() - 60_000, 4_800, 900)
    await edge.execute(place("a", BID, 4_800, 100, GOOD_TILL_CANCELED), None)
    await edge.take_trades("M", trades.newest_first())
    assert fills(edge) == [], "what was traded before the first look is history"
    moment = now_ms()
    trades.add(1, moment, 4_800, 300)
    await edge.take_trades("M", trades.newest_first())
    await edge.take_trades("M", trades.newest_first())
    assert fills(edge) == []
    trades.add(2, moment, 4_800, 1_000, block=True)
    trades.add(3, moment, 4_800, 40)
    await edge.take_trades("M", trades.newest_first())
    await edge.take_trades("M", trades.newest_first())
    assert fills(edge) == [(4_800, 40, False)], "300 were ahead, and a block trade fills nobody's order"
    traded = [event.size for event in edge.seen if isinstance(event, events.Traded)]
    assert traded == [300, 40]


async def test_unknown_tickers_are_said_once(make_edge, capsys):
    logs.configure()
    edge = make_edge()
    for unknown in (["X"], ["X"], [], ["X", "Y"]):
        edge._note_unknown(unknown)
    printed = capsys.readouterr()
    said = [json.loads(line) for line in (printed.out + printed.err).splitlines()]
    assert [line["event"] for line in said] == ["UnknownMarkets", "UnknownMarkets"]
    assert edge.status()["unknownMarkets"] == "X, Y"


async def test_cancel_amend_look_up_and_expiry(make_edge):
    edge = make_edge()
    await edge.execute(place("a", BID, 4_000, 100, GOOD_TILL_CANCELED), None)
    (ended,) = await edge.execute(Amend("a", "x", "M", BID, 5_000, 150, 0, 0, 1, 0), None)
    assert (ended.outcome, ended.filled, fills(edge)) == ("amended", 150, [(5_000, 150, True)])
    (kept,) = await edge.execute(Amend("a", "x", "M", BID, 5_000, 150, 0, 0, 1, 0), lambda: "stopping")
    assert kept.outcome == "not_sent"
    await edge.execute(place("b", BID, 4_000, 100, GOOD_TILL_CANCELED), None)
    (ended,) = await edge.execute(Cancel("b", "x", "M"), None)
    assert ended.reduced_by == 100
    assert (await edge.execute(FindOrder("b", "M", 0), None))[0].closed is True
    assert isinstance((await edge.execute(FindOrder("never", "M", 0), None))[0], events.OrderAbsent)
    assert (await edge.execute(Entomb("never", "M", BID, 100, 1), None))[0].closed is True
    assert await edge.execute(TriggerGroup("open", ""), None) == []
    await edge.execute(place("c", BID, 4_000, 100, GOOD_TILL_CANCELED, expiration_s=1), None)
    edge._tell(edge.matcher.expire(now_ms()))
    assert await edge.own_resting() == []


async def test_a_book_that_cannot_be_true_is_lost(make_edge):
    edge = make_edge()
    edge.show("M", [(5_100, 300)], [(5_000, 200)])
    assert isinstance(edge.seen[-1], events.BookLost)
    (reply,) = await edge.execute(place("a", BID, 5_100, 100), None)
    assert reply.filled == 0


async def test_shadow_decides_and_sends_nothing(make_edge):
    edge = make_edge(shadow=True)
    (outcome,) = await edge.execute(place("a", BID, 5_000, 100), None)
    assert isinstance(outcome, events.OrderNotSent)
    assert not edge.matcher.orders


async def test_the_gate_is_asked_when_the_order_arrives(make_edge):
    edge = make_edge()
    asked = asyncio.Event()

    def gate():
        asked.set()
        return "stopping"

    (outcome,) = await edge.execute(place("a", BID, 5_000, 100), gate)
    assert asked.is_set()
    assert outcome.reason == "stopping"
