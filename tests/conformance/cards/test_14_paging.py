"""Pages: cursors, limits, and what a client must not believe (section 3.4)."""

from __future__ import annotations

import pytest

from tests.conformance.cards import card, signed

PATHS = [
    "/portfolio/orders",
    "/portfolio/fills",
    "/portfolio/positions",
    "/portfolio/settlements",
    "/markets",
    "/markets/trades",
]


def ids(page):
    return [row["order_id"] for row in page["orders"]]


@card("C168", section="3.4", title="Orders come newest first, in pages that end with an empty cursor")
async def test_pages_of_orders(desk):
    made = [(await desk.bid(f"0.3{digit}")).order_id for digit in range(7)]
    seen, sizes, cursor = [], [], ""
    while True:
        page = desk.raw("GET", "/portfolio/orders", params={"limit": "3", "cursor": cursor}).json()
        seen += ids(page)
        sizes.append(len(page["orders"]))
        if not (cursor := page["cursor"]):
            break
    assert (seen, sizes, cursor) == (made[::-1], [3, 3, 1], "")


@card(
    "C169",
    section="16",
    title="The last page's cursor is an empty text, or by switch null, or absent; the client takes all three",
    switches=("last_cursor",),
)
async def test_the_last_cursor(exchange, desk):
    await desk.bid("0.40")
    seen = []
    for value in ("empty", "null", "absent"):
        exchange.switch(last_cursor=value)
        seen.append(desk.raw("GET", "/portfolio/orders").json().get("cursor", "absent"))
        assert len(await desk.reads.list_orders(subaccount=0)) == 1
    assert seen == ["", None, "absent"]


@card("C170", section="3.4", title="Pages lose nothing while orders of an earlier page go away")
async def test_pages_lose_nothing(desk):
    made = [(await desk.bid(f"0.3{digit}")).order_id for digit in range(6)]
    resting = {"limit": "3", "status": "resting"}
    first = desk.raw("GET", "/portfolio/orders", params=resting).json()
    for order_id in ids(first):
        await desk.cancel(order_id)
    second = desk.raw("GET", "/portfolio/orders", params=resting | {"cursor": first["cursor"]}).json()
    assert set(ids(first) + ids(second)) == set(made)


@card("C171", section="3.4", title="Pages repeat nothing while new orders arrive")
async def test_pages_repeat_nothing(desk):
    for digit in range(5):
        await desk.bid(f"0.3{digit}")
    first = desk.raw("GET", "/portfolio/orders", params={"limit": "3"}).json()
    await desk.bid("0.40")
    second = desk.raw("GET", "/portfolio/orders", params={"limit": "3", "cursor": first["cursor"]}).json()
    assert not set(ids(first)) & set(ids(second))
    assert len(ids(second)) == 2


@pytest.mark.parametrize("path", PATHS)
@card("C172", section="3.4", title="A garbage cursor is silently taken as page one")
async def test_a_garbage_cursor(desk, path):
    await desk.bid("0.51")
    first = desk.raw("GET", path, params={"limit": "5"})
    assert first.status_code == 200
    for cursor in ("garbage", "-1", "9" * 400, "٣"):
        again = desk.raw("GET", path, params={"limit": "5", "cursor": cursor})
        assert (again.status_code, again.json()) == (200, first.json()), cursor


@pytest.mark.parametrize("path", [*PATHS, "/events"])
@card("C173", section="3.4", title="A limit above the maximum is 400, not clamped", demo=True)
def test_a_limit_above_the_maximum(exchange, account, path):
    limit = "201" if path == "/events" else "1001"
    refused = signed(exchange, account().signer, "GET", path, params={"limit": limit})
    assert refused.status_code == 400
    assert refused.json()["msg"].startswith("Parameter validation failed")


@pytest.mark.parametrize("limit", ["many", "-1", "9" * 5000, "1.5"])
@card("C174", section="3.1", title="A limit that is no number is 400")
def test_a_limit_that_is_none(desk, limit):
    refused = desk.raw("GET", "/markets", params={"limit": limit})
    assert refused.status_code == 400
    assert refused.json()["msg"].startswith("Parameter validation failed")


@card("C175", section="3.4", title="All markets are found page by page, each once, through the client")
async def test_all_markets(exchange):
    async with exchange.rest(None) as reads:
        tickers = [market.ticker async for market in reads.iterate_markets()]
    assert len(tickers) == len(set(tickers)) == exchange.admin("health")["markets"]


@card(
    "C176", section="3.4", title="Markets come a hundred to a page unless a limit says otherwise", demo=True
)
def test_the_default_limit(exchange, account):
    page = signed(exchange, account().signer, "GET", "/markets").json()
    assert len(page["markets"]) == 100
    assert page["cursor"]


@card("C177", section="3.4", title="GET /series is not paged")
def test_series_are_not_paged(exchange, account):
    reply = signed(exchange, account().signer, "GET", "/series", params={"limit": "1"}).json()
    assert len(reply["series"]) > 1
    assert "cursor" not in reply
