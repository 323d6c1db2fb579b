"""Our client as a whole, while the exchange does what venues do: afterwards its view is the oracle's (sections 3.5 and 13.5)."""

from __future__ import annotations

import asyncio
import contextlib

import pytest
from soloist_kalshi.account_view import AccountView, AccountViewPolicy
from soloist_kalshi.errors import VenueUnreachable
from soloist_kalshi.market_feed import MarketFeed, MarketFeedPolicy
from soloist_kalshi.numbers import count_from_text, money_from_dollars, price_from_dollars
from soloist_kalshi.orders import Accepted
from soloist_kalshi.planner import PlanLimits
from soloist_kalshi.websocket import WebSocketPolicy

from tests.conformance.cards import card, order
from tests.conformance.kit import DEADLINE_MS, LOOK_S, Socket

WITHIN_S = 20.0


async def eventually(condition, what):
    """Wait for a condition of the client, whose callbacks nobody waits for."""
    try:
        async with asyncio.timeout(WITHIN_S):
            while not (found := condition()):  # noqa: ASYNC110 - nobody sets an event for a test
                await asyncio.sleep(LOOK_S)
    except TimeoutError:
        raise AssertionError(what if isinstance(what, str) else what()) from None
    return found


@contextlib.asynccontextmanager
async def running(service):
    task = asyncio.create_task(service.run())
    try:
        yield service
    finally:
        await service.close()
        await task


def levels(rows):
    return {price_from_dollars(price): count_from_text(count) for price, count in rows or []}


@pytest.mark.parametrize(
    "faults",
    [
        [{"kind": "frame_dropped", "percent": 30, "times": 6}],
        [
            {"kind": "frame_reordered", "percent": 30, "times": 3},
            {"kind": "frame_duplicated", "percent": 30, "times": 3},
        ],
        [{"kind": "overflow", "percent": 30, "times": 1}],
        [
            {"kind": "close_without_frame", "percent": 30, "times": 1},
            {"kind": "websocket_refused", "times": 2},
        ],
    ],
    ids=["dropped", "reordered", "overflow", "closed"],
)
@card(
    "C326",
    section="13.5",
    title="Books of many markets over several connections are the venue's after gaps, overflow and reconnects",
)
async def test_a_market_feed_survives(exchange, desks, new_ticker, faults):
    desk = await desks(tier="expert")
    tickers = [new_ticker() for _ in range(8)]
    feed = MarketFeed(
        exchange.ws_url,
        desk.account.signer,
        on_book=lambda _: None,
        limits=PlanLimits(markets_per_sid=3, connections=6),
        policy=MarketFeedPolicy(answer_ms=1_000, refresh_ms=None, tick_ms=100),
        websocket_policy=WebSocketPolicy(base_wait_ms=20, cap_wait_ms=200),
        ca_file=exchange.ca_file,
    )
    feed.watch(tickers)
    async with running(feed):
        await eventually(
            lambda: all(book.is_tradable for book in feed.books.values()), "no books at the start"
        )
        assert feed.connected >= 3
        exchange.faults(*({"account": desk.account.name, **fault} for fault in faults))
        for price in ("0.30", "0.31"):
            for ticker in tickers:
                assert isinstance(await desk.bid(price, ticker=ticker), Accepted)
        assert sum(row["hits"] for row in exchange.admin("faults")["faults"]) > 0
        exchange.faults()
        for ticker in tickers:  # the loss of a last frame shows with the next one
            await desk.bid("0.32", ticker=ticker)
        served = await desk.reads.get_orderbooks(tickers)

        def agrees():
            return all(
                feed.books[ticker].is_tradable
                and (feed.books[ticker].yes, feed.books[ticker].no)
                == (levels(book.yes_dollars), levels(book.no_dollars))
                for ticker, book in served.items()
            )

        await eventually(agrees, lambda: f"books differ: {[(b.ticker, b.why) for b in feed.books.values()]}")
    assert feed.unknown_fields.counts == {}


@pytest.mark.parametrize(
    "faults",
    [
        [{"kind": "frame_dropped", "percent": 60, "path": "fill"}],
        [
            {"kind": "frame_dropped", "percent": 60, "path": "user_orders"},
            {"kind": "duplicate_fill", "percent": 50},
        ],
        [
            {"kind": "close_without_frame", "percent": 40, "times": 2},
            {"kind": "reply_lost_after", "method": "POST", "percent": 30},
        ],
        [
            {"kind": "reply_lost_before", "method": "POST", "percent": 40},
            {"kind": "error_after", "method": "POST", "percent": 30},
        ],
    ],
    ids=["fills", "orders", "closed", "unknown"],
)
@card(
    "C327",
    section="3.5",
    title="Orders, fills, position and balance are the oracle's after lost frames and replies; no order was sent twice",
)
async def test_an_account_view_survives(exchange, desks, faults):
    desk, other = await desks(tier="expert"), await desks(tier="expert")
    view = AccountView(
        desk.reads,
        exchange.ws_url,
        desk.account.signer,
        subaccount=0,
        ca_file=exchange.ca_file,
        policy=AccountViewPolicy(period_ms=500, retry_ms=100, spacing_ms=50, absent_after_ms=1_000),
        websocket_policy=WebSocketPolicy(base_wait_ms=20, cap_wait_ms=200),
    )
    async with running(view):
        await eventually(lambda: view.is_current, "no view at the start")
        exchange.faults(*({"account": desk.account.name, **fault} for fault in faults))
        sent = []
        for turn in range(12):
            side, price = ("bid", "0.50") if turn % 2 else ("ask", "0.52")
            wanted = order(desk.ticker, side, price, "2.00", self_trade_prevention_type="maker")
            view.facts.intend(wanted, exchange.now_ms())
            sent.append(wanted.client_order_id)
            outcome = await desk.orders.create(wanted, subaccount=0, deadline_ms=DEADLINE_MS)
            view.facts.created(wanted.client_order_id, outcome, exchange.now_ms())
            if turn % 4 == 3:
                await other.ask("0.50", "1.00")
        exchange.faults()
        view.read_soon()
        name = desk.account.name
        own = next(row for row in exchange.admin("oracle")["accounts"] if row["account"] == name)
        resting = {row["order_id"]: count_from_text(row["remaining"]) for row in own["orders"]}
        position = sum(count_from_text(row["count"]) for row in own["positions"])
        (money,) = own["money"]
        cash = money_from_dollars(money["cash"]) - money_from_dollars(money["reserved"])

        def agrees():
            return (
                view.is_current
                and {row.order_id: row.remaining for row in view.facts.resting} == resting
                and view.facts.positions.get(desk.ticker, 0) == position
                and view.facts.balance == cash
            )

        await eventually(agrees, lambda: f"{view.facts} is not {own}")
        fills = await desk.reads.list_fills(subaccount=0)
        assert {key[0] for key in view.facts.fills} == {fill.trade_id for fill in fills}
    accepted = [row["client_order_id"] for row in exchange.admin("accepted-orders", account=name)["orders"]]
    assert len(accepted) == len(set(accepted))
    assert set(accepted) <= set(sent)


@card(
    "C328",
    section="15",
    title="An upgrade that is never answered: the client gives up at its limit and connects again",
)
async def test_a_half_open_upgrade(exchange, desk):
    exchange.faults({"kind": "half_open", "account": desk.account.name, "path": "/ws/v2", "times": 1})
    socket = Socket(exchange, desk.account.signer, reconnects=True, policy=WebSocketPolicy(connect_ms=2_000))
    async with running(socket.client):
        await socket.until(socket.opened.is_set, "a second, answered upgrade")
    assert [type(error) for error in socket.closed] == [VenueUnreachable]
