"""Listings over the venue's live window and beyond it: complete, each row once, and no more reads than needed."""

from urllib.parse import parse_qs, urlsplit

import msgspec
import pytest
from soloist_kalshi.attempt_budget import AttemptBudget
from soloist_kalshi.keys import SignerSource
from soloist_kalshi.messages import Fill, FillPage, HistoricalCutoff, Order, OrderPage, SettlementPage
from soloist_kalshi.rest import RestClient
from soloist_kalshi.signing import Signer, generate_private_key
from soloist_trader import config
from soloist_trader.shell.listings import Listings
from soloist_trader.shell.live import LiveEdge

from tests.unit.soloist_kalshi.kalshi_servers import ScriptedServer, reply
from tests.unit.soloist_trader.test_config import write

SIGNER = SignerSource(Signer.from_pem("key-1", generate_private_key("ed25519").private_pem))
CUTOFF_MS = 1_800_000_000_000
CUTOFF = "2027-01-15T08:00:00Z"
ORDERS, FILLS = "/portfolio/orders", "/portfolio/fills"
PAST_ORDERS, PAST_FILLS, EDGE = "/historical/orders", "/historical/fills", "/historical/cutoff"


def order(name, status="executed"):
    return Order(
        order_id=f"o-{name}", client_order_id=name, ticker="M", outcome_side="yes", book_side="bid", status=status,
        yes_price_dollars="0.40", no_price_dollars="0.60", fill_count_fp="1.00", remaining_count_fp="0.00",
        initial_count_fp="1.00",
    )  # fmt: skip


def fill(name, order_id="o-a"):
    return Fill(
        fill_id=name, trade_id=name, order_id=order_id, ticker="M", outcome_side="yes", book_side="bid", count_fp="1.00",
        yes_price_dollars="0.40", no_price_dollars="0.60", is_taker=True, fee_cost="0.01",
    )  # fmt: skip


class Shelves:
    """What each path lists, and what was asked for, in order."""

    def __init__(self, **listed):
        self.listed = listed
        self.asked = []

    async def answer(self, request):
        url = urlsplit(request.target)
        path = url.path.removeprefix("/trade-api/v2")
        self.asked.append(path)
        query = parse_qs(url.query)
        if path == EDGE:
            times = dict.fromkeys(("market_settled_ts", "trades_created_ts", "orders_updated_ts"), CUTOFF)
            return reply(200, msgspec.json.encode(HistoricalCutoff(**times)))
        assert query["subaccount"] == ["3"]
        rows = self.listed.get(path.strip("/").replace("/", "_"), [])
        page = OrderPage(orders=rows) if path.endswith("orders") else FillPage(fills=rows)
        return reply(200, msgspec.json.encode(page))


async def listed(shelves, read):
    async with ScriptedServer(shelves.answer) as server, RestClient(server.base_url, SIGNER) as client:
        return await read(Listings(client, 3))


BEFORE, AFTER = CUTOFF_MS - 1_000, CUTOFF_MS


@pytest.mark.parametrize(
    ("from_ms", "asked"),
    [(BEFORE, [ORDERS, EDGE, PAST_ORDERS]), (AFTER, [ORDERS, EDGE])],
    ids=["beyond the window", "within it"],
)
async def test_an_order_that_the_live_window_does_not_show_is_looked_for_beyond_it(from_ms, asked):
    shelves = Shelves(portfolio_orders=[order("a")], historical_orders=[order("b"), order("c")])
    found = await listed(shelves, lambda own: own.orders(from_ms, market="M", wanted={"a", "b"}))
    assert shelves.asked == asked, "live first: a row that moves meanwhile is seen twice rather than missed"
    assert [row.client_order_id for row in found] == (["a", "b"] if from_ms == BEFORE else ["a"])


async def test_what_the_live_window_shows_needs_no_second_read():
    shelves = Shelves(portfolio_orders=[order("a"), order("b")])
    found = await listed(shelves, lambda own: own.orders(BEFORE, market="M", wanted={"a"}))
    assert ([row.client_order_id for row in found], shelves.asked) == (["a"], [ORDERS])


async def test_an_order_that_moved_between_the_reads_is_there_once_as_it_ended():
    shelves = Shelves(portfolio_orders=[order("a", "resting")], historical_orders=[order("a")])
    found = await listed(shelves, lambda own: own.orders(BEFORE))
    assert [(row.client_order_id, row.status) for row in found] == [("a", "executed")]


@pytest.mark.parametrize(
    ("from_ms", "asked", "names"),
    [
        (BEFORE, [FILLS, EDGE, PAST_FILLS], ["new", "moved", "old"]),
        (AFTER, [FILLS, EDGE], ["new", "moved"]),
    ],
    ids=["beyond the window", "within it"],
)
async def test_fills_of_both_are_there_once(from_ms, asked, names):
    shelves = Shelves(
        portfolio_fills=[fill("new"), fill("moved")], historical_fills=[fill("moved"), fill("old")]
    )
    found = await listed(shelves, lambda own: own.fills(from_ms))
    assert ([row.fill_id for row in found], shelves.asked) == (names, asked)


async def test_the_fills_of_one_order_are_read_in_both():
    shelves = Shelves(portfolio_fills=[fill("new")], historical_fills=[fill("old")])
    found = await listed(shelves, lambda own: own.fills_of("M", "o-a"))
    assert ([row.fill_id for row in found], shelves.asked) == (["new", "old"], [FILLS, PAST_FILLS])


async def test_the_evidence_of_a_start_without_a_journal_names_what_rests_however_old_it_is(tmp_path):
    """A live edge asks for the orders of a day; one that rests for longer is at the venue all the same."""
    rests, ended = order("s1a2b3c-1-1-1", "resting"), order("s1a2b3c-1-1-2")

    async def answer(request):
        path = urlsplit(request.target)
        if path.path.endswith("/portfolio/orders"):
            of_the_day = "min_ts" in path.query
            return reply(200, msgspec.json.encode(OrderPage(orders=[ended if of_the_day else rests])))
        if path.path.endswith("settlements"):
            return reply(200, msgspec.json.encode(SettlementPage(settlements=[])))
        return await Shelves().answer(request)

    async with ScriptedServer(answer) as server:
        configuration = config.load(
            write(tmp_path, {"venue.rest_url": server.base_url, "account.subaccount": 3})
        )
        edge = LiveEdge(configuration, SIGNER, lambda _why: None, lambda: None, AttemptBudget())
        found = await edge.evidence(AFTER)
        await edge.close()
    assert [(row.client_order_id, row.is_resting) for row in found.orders] == [
        ("s1a2b3c-1-1-1", True),
        ("s1a2b3c-1-1-2", False),
    ]
