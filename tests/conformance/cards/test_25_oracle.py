"""The oracle: what the exchange says about itself must be what the wire says (section 15)."""

from __future__ import annotations

import httpx
from soloist_kalshi.numbers import count_from_text, money_from_dollars
from soloist_kalshi.signing import Signer

from tests.conformance.cards import DEADLINE_MS, card, connected

IOC = {"time_in_force": "immediate_or_cancel"}


def told(exchange, name):
    return next(row for row in exchange.admin("oracle")["accounts"] if row["account"] == name)


@card(
    "C319",
    section="15",
    title="Books, money, positions, orders and groups of the oracle are those of the wire",
)
async def test_the_oracle(exchange, desk):
    group = (await desk.orders.create_group(5000, subaccount=0, deadline_ms=DEADLINE_MS)).order_group_id
    await desk.bid("0.53", "1500.00", **IOC)
    rests = await desk.bid("0.40", "3.00", order_group_id=group)
    own = told(exchange, desk.account.name)
    (money,) = own["money"]
    free = money_from_dollars(money["cash"]) - money_from_dollars(money["reserved"])
    assert free == money_from_dollars(await desk.balance())
    (position,) = own["positions"]
    assert count_from_text(position["count"]) == count_from_text(await desk.position())
    assert [row["order_id"] for row in own["orders"]] == [rests.order_id]
    assert [(row["order_group_id"], row["orders"]) for row in own["groups"]] == [(group, [rests.order_id])]
    book = await desk.reads.get_orderbook(desk.ticker)
    shown = next(row for row in exchange.admin("oracle")["markets"] if row["ticker"] == desk.ticker)
    assert [tuple(level) for level in shown["yes_dollars"]] == book.yes_dollars
    assert [tuple(level) for level in shown["no_dollars"]] == book.no_dollars


@card(
    "C320",
    section="15",
    title="The log tells time, account, key, client order id, order id and outcome of each order",
)
async def test_the_log(exchange, desk):
    before_ms = exchange.now_ms()
    made = await desk.bid("0.40")
    refused = await desk.bid("0.4050")
    (row,) = exchange.admin("accepted-orders", account=desk.account.name)["orders"]
    assert (row["account"], row["key_id"]) == (desk.account.name, desk.account.key_id)
    assert (row["client_order_id"], row["order_id"], row["outcome"]) == (
        made.client_order_id, made.order_id, "accepted",
    )  # fmt: skip
    assert before_ms - 60_000 < row["time_ms"] < before_ms + 60_000
    kinds = [item["kind"] for item in exchange.admin("events", account=desk.account.name)["events"]]
    assert kinds == ["accepted", "rejected"]
    assert refused.code == "invalid_price"


@card("C321", section="15", title="Concurrent keys and connections of an account are counted")
async def test_concurrent_keys_and_connections(exchange, desk):
    made = await desk.reads.generate_api_key("second")
    second = Signer.from_pem(made.api_key_id, made.private_key.encode())
    async with connected(exchange, desk.account.signer), connected(exchange, second):
        assert set(told(exchange, desk.account.name)["connections"]) == {desk.account.key_id, second.key_id}
    assert set(told(exchange, desk.account.name)["keys"]) == {desk.account.key_id, second.key_id}


@card("C322", section="15", title="Conservation of money and contracts is a metric, and holds")
def test_conservation_is_a_metric(exchange):
    text = httpx.get(f"{exchange.admin_url}/admin/metrics", verify=False).text
    lines = text.splitlines()
    named = {line.split()[2] for line in lines if line.startswith("# HELP")}
    typed = {line.split()[2] for line in lines if line.startswith("# TYPE")}
    assert named == typed
    values = {
        line.split("{")[0].split()[0]: float(line.rsplit(maxsplit=1)[1])
        for line in lines
        if "conservation" in line and not line.startswith("#")
    }
    assert values
    assert set(values.values()) == {0.0}
