"""Subaccounts and shards: money that is apart, transfers, and where an order goes (sections 7, 8.2 and 11)."""

from __future__ import annotations

import uuid

import pytest
from soloist_kalshi.errors import VenueConflict, VenueRejected
from soloist_kalshi.messages import SubaccountTransfer
from soloist_kalshi.orders import Accepted, Cancelled

from tests.conformance.cards import DEADLINE_MS, card
from tests.conformance.kit import ORDERS, raw_order


@pytest.fixture
async def rich(desks):
    """An account of tier advanced with a subaccount that holds 100 dollars: (desk, number)."""
    desk = await desks(tier="advanced")
    return desk, await desk.funded_subaccount("100.00")


def transfer(number, cents, **changes):
    fields = {
        "client_transfer_id": str(uuid.uuid4()),
        "from_subaccount": 0,
        "to_subaccount": number,
        "amount_cents": cents,
    }
    return SubaccountTransfer(**(fields | changes))


@card("C190", section="11", title="There are 63 numbered subaccounts and no more")
async def test_the_last_subaccount(desks):
    desk = await desks(tier="prestige")
    await desk.reads.get_account_limits()  # so that the client does not wait as at tier basic
    assert [await desk.reads.create_subaccount() for _ in range(63)] == list(range(1, 64))
    with pytest.raises(VenueRejected) as refused:
        await desk.reads.create_subaccount()
    assert 400 <= refused.value.status < 500


@card("C191", section="11", title="Subaccounts are numbered from 1")
async def test_subaccounts_are_numbered(desks):
    desk = await desks(tier="advanced")
    assert [await desk.reads.create_subaccount() for _ in range(3)] == [1, 2, 3]
    numbers = {row.subaccount_number for row in await desk.reads.list_subaccount_balances()}
    assert numbers == {0, 1, 2, 3}


@card("C192", section="11", title="A transfer moves money between subaccounts, and is listed")
async def test_a_transfer(rich):
    desk, number = rich
    assert (await desk.balance(), await desk.balance(number)) == ("9900.000000", "100.000000")
    (row,) = await desk.reads.list_transfers()
    assert (row.from_subaccount, row.to_subaccount, row.amount_cents) == (0, number, 10_000)
    shown = {
        item.subaccount_number: float(item.balance) for item in await desk.reads.list_subaccount_balances()
    }
    assert shown == {0: 9900, number: 100}


@card(
    "C193", section="11", title="A client transfer id may be used once: the second is 409 and moves nothing"
)
async def test_a_transfer_id_is_used_up(rich):
    desk, number = rich
    wanted = transfer(number, 500)
    await desk.reads.transfer(wanted)
    with pytest.raises(VenueConflict):
        await desk.reads.transfer(wanted)
    assert await desk.balance(number) == "105.000000"


@card(
    "C194",
    section="11",
    title="A transfer of more than there is, or to nowhere, is refused and moves nothing",
)
async def test_transfers_that_cannot_be(rich):
    desk, number = rich
    for wanted in (transfer(number, 10_000_000), transfer(number + 1, 100), transfer(63, 100)):
        with pytest.raises(VenueRejected) as refused:
            await desk.reads.transfer(wanted)
        assert refused.value.status in {400, 404}
    assert await desk.balance(number) == "100.000000"


@card("C195", section="11", title="An order is paid by its subaccount, and filled into its position")
async def test_an_order_of_a_subaccount(rich):
    desk, number = rich
    made = await desk.bid("0.51", "10.00", subaccount=number)
    assert (made.fill_count, await desk.balance()) == (1000, "9900.000000")
    assert await desk.position(number) == "10.00"
    assert await desk.position() == "0.00"
    refused = await desk.bid("0.51", "1000.00", subaccount=number)
    assert (refused.status, refused.code) == (400, "insufficient_balance")
    (row,) = await desk.reads.list_fills(subaccount=number)
    assert row.subaccount_number == number


@card("C196", section="8.2", title="A cancel that names another subaccount is 404, and the order stays")
async def test_a_cancel_with_another_subaccount(rich):
    desk, number = rich
    made = await desk.bid("0.40", subaccount=number)
    assert (await desk.cancel(made.order_id)).status == 404
    assert isinstance(await desk.cancel(made.order_id, subaccount=number), Cancelled)


@card(
    "C197",
    section="7",
    title="Without a subaccount: orders, fills and settlements of all, positions and balance of 0",
)
async def test_what_an_omitted_subaccount_means(exchange, rich):
    desk, number = rich
    await desk.bid("0.51", "1.00", subaccount=number)
    await desk.bid("0.51", "2.00")

    def rows(path, key):
        return desk.raw("GET", f"/portfolio/{path}").json()[key]

    assert len(rows("orders", "orders")) == 2
    assert len(rows("fills", "fills")) == 2
    assert [row["position_fp"] for row in rows("positions", "market_positions")] == ["2.00"]
    assert float(rows("balance", "balance_dollars")) < 9900
    exchange.market(desk.ticker, "determine", result="yes")
    exchange.market(desk.ticker, "settle")
    assert len(rows("settlements", "settlements")) == 2


@card("C198", section="11", title="Netting is a setting of each subaccount")
async def test_netting(rich):
    desk, number = rich
    before = {row.subaccount_number: row.enabled for row in await desk.reads.list_subaccount_netting()}
    assert set(before) == {0, number}
    await desk.reads.set_subaccount_netting(subaccount=number, enabled=not before[number])
    after = {row.subaccount_number: row.enabled for row in await desk.reads.list_subaccount_netting()}
    assert after == before | {number: not before[number]}


@card(
    "C199",
    section="11",
    title="Collateral is per shard: an order on a shard without money is refused until money is moved",
)
async def test_collateral_is_per_shard(desks, new_ticker):
    desk = await desks()
    desk.ticker = new_ticker("shard1")
    assert (await desk.reads.get_market(desk.ticker)).exchange_index == 1
    refused = await desk.bid("0.40", "10.00")
    assert (refused.status, refused.code) == (400, "insufficient_balance")
    await desk.move_to_shard(1, "100.00")
    made = await desk.bid("0.40", "10.00")
    assert isinstance(made, Accepted)
    shown = await desk.reads.get_balance(subaccount=0)
    shards = {row.exchange_index: float(row.balance) for row in shown.balance_breakdown or []}
    assert set(shards) >= {0, 1}
    on_shard = await desk.reads.get_balance(subaccount=0, exchange_index=1)
    assert float(on_shard.balance_dollars) == 96
    assert (await desk.order(made.order_id)).exchange_index == 1


@card(
    "C200",
    section="8.1",
    title="exchange_index: left out or -1 routes by ticker, the right shard is taken, a wrong one refused",
)
async def test_routing(desks, new_ticker):
    desk = await desks()
    desk.ticker = new_ticker("shard1")
    await desk.move_to_shard(1, "100.00")
    for index in (None, -1, 1):
        reply = desk.raw("POST", ORDERS, json=raw_order(desk.ticker, exchange_index=index))
        assert reply.status_code == 201, index
    for index in (0, 2):
        reply = desk.raw("POST", ORDERS, json=raw_order(desk.ticker, exchange_index=index))
        assert reply.status_code in {400, 404}, index


@card(
    "C201",
    section="8.2",
    title="A cancel that names neither market nor shard looks on shard 0: 404, or by switch it is routed",
    switches=("wrong_shard_cancel",),
)
async def test_a_cancel_on_the_wrong_shard(exchange, desks, new_ticker):
    desk = await desks()
    desk.ticker = new_ticker("shard2")
    await desk.move_to_shard(2, "100.00")
    first, second = await desk.bid("0.40"), await desk.bid("0.40")
    assert desk.raw("DELETE", f"{ORDERS}/{first.order_id}").status_code == 404
    assert isinstance(await desk.cancel(first.order_id), Cancelled)
    exchange.switch(wrong_shard_cancel="route")
    assert desk.raw("DELETE", f"{ORDERS}/{second.order_id}").status_code == 200


@card("C202", section="9", title="A group is bound to its shard: an order on another shard cannot be in it")
async def test_a_group_of_another_shard(desks, new_ticker):
    desk = await desks()
    group = (await desk.orders.create_group(1000, subaccount=0, deadline_ms=DEADLINE_MS)).order_group_id
    desk.ticker = new_ticker("shard1")
    await desk.move_to_shard(1, "100.00")
    refused = await desk.bid("0.40", order_group_id=group)
    assert 400 <= refused.status < 500


@card(
    "C203",
    section="4",
    title="A write to a shard above 0 draws from that shard's bucket; an auto-routed one by switch from all",
    clock="virtual",
    switches=("auto_routed_bills_all_shards",),
)
async def test_the_buckets_of_shards(exchange, desks, new_ticker):
    desk = await desks()
    shard_ticker = new_ticker("shard1")
    await desk.move_to_shard(1, "100.00")
    exchange.advance(5_000)

    def statuses(how_many, **changes):
        bodies = [raw_order(shard_ticker, **changes) for _ in range(how_many)]
        return [desk.raw("POST", ORDERS, json=body).status_code for body in bodies]

    assert statuses(11, exchange_index=1) == [201] * 10 + [429]
    assert statuses(11) == [201] * 10 + [429]  # auto-routed: the unscoped bucket, still full
    exchange.advance(5_000)
    exchange.switch(auto_routed_bills_all_shards=True)
    assert statuses(5) == [201] * 5
    assert statuses(6, exchange_index=1) == [201] * 5 + [429]
