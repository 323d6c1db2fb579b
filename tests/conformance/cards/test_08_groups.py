"""Order groups: the venue's stop for a runaway strategy (section 9)."""

from __future__ import annotations

import pytest
from soloist_kalshi.errors import VenueNotFound
from soloist_kalshi.messages import CreateOrderGroupReply
from soloist_kalshi.orders import Accepted, Rejected, Requested

from tests.conformance.cards import DEADLINE_MS, card, connected

HERE = {"subaccount": 0, "deadline_ms": DEADLINE_MS}
GROUPS = "/portfolio/order_groups"


@pytest.fixture
async def grouped(desk):
    """An account with a group of limit 10 contracts: (desk, group id)."""
    made = await desk.orders.create_group(1000, **HERE)
    assert isinstance(made, CreateOrderGroupReply)
    return desk, made.order_group_id


async def take(desk, group, count):
    """Buy from the makers inside a group."""
    return await desk.bid("0.51", count, order_group_id=group, time_in_force="immediate_or_cancel")


@card(
    "C105", section="9", title="A group is bound to its subaccount: an order of another one cannot be in it"
)
async def test_a_group_of_another_subaccount(desks):
    desk = await desks(tier="advanced")
    sub = await desk.funded_subaccount("100.00")
    group = (await desk.orders.create_group(1000, subaccount=sub, deadline_ms=DEADLINE_MS)).order_group_id
    assert isinstance(await desk.bid("0.40", subaccount=sub, order_group_id=group), Accepted)
    refused = await desk.bid("0.40", order_group_id=group)
    assert 400 <= refused.status < 500
    assert await desk.resting() == set()
    every = desk.raw("GET", GROUPS).json()["order_groups"]
    assert [row["id"] for row in every] == [group]  # without a subaccount: those of all
    assert await desk.reads.list_order_groups(subaccount=0) == []


@card("C106", section="9", title="A group is created, read, listed and deleted", demo=True)
async def test_the_life_of_a_group(desk):
    made = await desk.orders.create_group(1000, **HERE)
    group = made.order_group_id
    shown = await desk.reads.get_order_group(group, subaccount=0)
    assert (shown.contracts_limit_fp, shown.orders) == ("10.00", [])
    assert group in {item.id for item in await desk.reads.list_order_groups(subaccount=0)}
    assert await desk.orders.delete_group(group, **HERE) == Requested(200)
    with pytest.raises(VenueNotFound):
        await desk.reads.get_order_group(group, subaccount=0)


@card("C107", section="9", title="Without any group the list is `{}`")
def test_no_group(desk):
    reply = desk.raw("GET", GROUPS)
    assert (reply.status_code, reply.json()) == (200, {})


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"contracts_limit": 10}, 201),
        ({"contracts_limit_fp": "10.00"}, 201),
        ({"contracts_limit": 10, "contracts_limit_fp": "10.00"}, 201),
        ({"contracts_limit": 10, "contracts_limit_fp": "11.00"}, 400),
        ({"contracts_limit": 0}, 400),
        ({"contracts_limit": 1_000_001}, 400),
        ({}, 400),
    ],
)
@card("C108", section="9", title="The limit is 1 to 1 000 000, as number or text; both must match")
def test_limits_of_a_group(desk, body, status):
    assert desk.raw("POST", f"{GROUPS}/create", json=body).status_code == status


@card("C109", section="9", title="A group lists its resting orders")
async def test_the_orders_of_a_group(grouped):
    desk, group = grouped
    inside = await desk.bid("0.40", order_group_id=group)
    await desk.bid("0.40")
    assert (await desk.reads.get_order_group(group, subaccount=0)).orders == [inside.order_id]
    assert (await desk.order(inside.order_id)).order_group_id == group


@card(
    "C110",
    section="9",
    title="Matched contracts that reach the limit trigger: the rest is canceled, the fill stands",
)
async def test_a_group_triggers(grouped):
    desk, group = grouped
    rests = await desk.bid("0.40", order_group_id=group)
    outside = await desk.bid("0.40")
    assert (await take(desk, group, "9.99")).fill_count == 999
    assert (await desk.order(rests.order_id)).status == "resting"
    assert (await take(desk, group, "5.00")).fill_count == 500
    assert (await desk.order(rests.order_id)).status == "canceled"
    assert await desk.resting() == {outside.order_id}
    assert await desk.position() == "14.99"


@card("C111", section="9", title="Resting orders do not count, only matched contracts")
async def test_resting_orders_do_not_count(grouped):
    desk, group = grouped
    assert isinstance(await desk.bid("0.40", "50.00", order_group_id=group), Accepted)
    assert isinstance(await desk.bid("0.39", "50.00", order_group_id=group), Accepted)
    assert len(await desk.resting()) == 2


@card(
    "C112",
    section="16",
    title="A group triggers when the limit is reached, or by switch only beyond it",
    switches=("group_trigger",),
)
async def test_the_edge_of_the_limit(exchange, grouped):
    desk, group = grouped
    await desk.bid("0.40", order_group_id=group)
    await take(desk, group, "10.00")
    assert await desk.resting() == set()
    exchange.switch(group_trigger="exceeded")
    await desk.orders.reset_group(group, **HERE)
    await desk.bid("0.40", order_group_id=group)
    await take(desk, group, "10.00")
    assert len(await desk.resting()) == 1
    await take(desk, group, "0.01")
    assert await desk.resting() == set()


@card("C113", section="9", title="A triggered group refuses new orders until it is reset")
async def test_a_triggered_group_refuses(grouped):
    desk, group = grouped
    assert await desk.orders.trigger_group(group, **HERE) == Requested(200)
    refused = await desk.bid("0.40", order_group_id=group)
    assert isinstance(refused, Rejected)
    assert 400 <= refused.status < 500
    assert isinstance(await desk.bid("0.40"), Accepted)
    assert await desk.orders.reset_group(group, **HERE) == Requested(200)
    assert isinstance(await desk.bid("0.40", order_group_id=group), Accepted)


@card(
    "C114",
    section="9",
    title="Trigger cancels every order of the group, and no other: `cancel this strategy`",
)
async def test_trigger_is_one_call(grouped):
    desk, group = grouped
    for price in ("0.38", "0.39", "0.40"):
        await desk.bid(price, order_group_id=group)
    other = await desk.bid("0.40")
    await desk.orders.trigger_group(group, **HERE)
    assert await desk.resting() == {other.order_id}


@card(
    "C115",
    section="16",
    title="is_auto_cancel_enabled of a triggered group, as the switch says",
    switches=("group_auto_cancel_when_triggered",),
)
async def test_the_flag_of_a_triggered_group(exchange, grouped):
    desk, group = grouped

    async def flag():
        return (await desk.reads.get_order_group(group, subaccount=0)).is_auto_cancel_enabled

    await desk.orders.trigger_group(group, **HERE)
    assert await flag() is True
    exchange.switch(group_auto_cancel_when_triggered=False)
    assert await flag() is False


@card(
    "C116",
    section="9",
    title="The window rolls: what was matched 15 seconds ago no longer counts",
    clock="virtual",
)
async def test_the_window_rolls(exchange, grouped):
    desk, group = grouped
    await take(desk, group, "6.00")
    exchange.advance(14_000)
    await take(desk, group, "3.00")
    exchange.advance(1_500)  # the six have left the window, the three have not
    await desk.bid("0.40", order_group_id=group)
    await take(desk, group, "6.00")
    assert len(await desk.resting()) == 1
    await take(desk, group, "1.00")
    assert await desk.resting() == set()


@card(
    "C117",
    section="9",
    title="A trigger stays when the window has rolled off: there is no reset by itself",
    clock="virtual",
)
async def test_no_reset_by_itself(exchange, grouped):
    desk, group = grouped
    await take(desk, group, "10.00")
    exchange.advance(60_000)
    assert isinstance(await desk.bid("0.40", order_group_id=group), Rejected)


@card("C118", section="9", title="A reset clears the counter, too")
async def test_a_reset_clears_the_counter(grouped):
    desk, group = grouped
    await take(desk, group, "9.00")
    await desk.orders.reset_group(group, **HERE)
    await desk.bid("0.40", order_group_id=group)
    await take(desk, group, "9.00")
    assert len(await desk.resting()) == 1


@card("C119", section="9", title="A limit lowered below the rolling total triggers at once")
async def test_a_lower_limit(grouped):
    desk, group = grouped
    await desk.bid("0.40", order_group_id=group)
    await take(desk, group, "5.00")
    assert await desk.orders.limit_group(group, 800, **HERE) == Requested(200)
    assert len(await desk.resting()) == 1
    await desk.orders.limit_group(group, 400, **HERE)
    assert await desk.resting() == set()


@card("C120", section="9", title="Deleting a group cancels its orders; the group is gone")
async def test_deleting_a_group(grouped):
    desk, group = grouped
    await desk.bid("0.40", order_group_id=group)
    await desk.orders.delete_group(group, **HERE)
    assert await desk.resting() == set()
    assert (await desk.bid("0.40", order_group_id=group)).status in {400, 404}
    assert (await desk.orders.reset_group(group, **HERE)).status == 404


@card("C121", section="9", title="An unknown or foreign group is 404 for every call")
async def test_an_unknown_group(desks):
    desk, other = await desks(), await desks()
    foreign = (await other.orders.create_group(1000, **HERE)).order_group_id
    for group in ("unknown", foreign):
        with pytest.raises(VenueNotFound):
            await desk.reads.get_order_group(group, subaccount=0)
        for call in (desk.orders.reset_group, desk.orders.trigger_group, desk.orders.delete_group):
            assert (await call(group, **HERE)).status == 404
        assert (await desk.orders.limit_group(group, 500, **HERE)).status == 404


@card(
    "C122",
    section="13.4",
    title="order_group_updates: created, limit_updated, triggered, reset, deleted, with seq",
)
async def test_group_updates(exchange, desk):
    async with connected(exchange, desk.account.signer) as socket:
        sid = await socket.sid(socket.client.subscribe(["order_group_updates"]), "order_group_updates")
        group = (await desk.orders.create_group(1000, **HERE)).order_group_id
        await desk.orders.limit_group(group, 2000, **HERE)
        await desk.orders.trigger_group(group, **HERE)
        await desk.orders.reset_group(group, **HERE)
        await desk.orders.delete_group(group, **HERE)
        seen = await socket.until(
            lambda: (
                (rows := [raw for raw in socket.raw if raw["type"] == "order_group_updates"])[4:] and rows
            ),
            "five group updates",
        )
    assert [(raw["sid"], raw["seq"]) for raw in seen] == [(sid, number) for number in range(1, 6)]
    assert [(raw["msg"]["event_type"], raw["msg"].get("contracts_limit_fp")) for raw in seen] == [
        ("created", "10.00"),
        ("limit_updated", "20.00"),
        ("triggered", None),
        ("reset", None),
        ("deleted", None),
    ]
    assert {raw["msg"]["order_group_id"] for raw in seen} == {group}
    assert all(isinstance(raw["msg"]["ts_ms"], int) for raw in seen)
