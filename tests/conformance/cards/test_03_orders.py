"""Creating and cancelling orders: what is accepted, what is refused, and who is filled first (sections 8.1, 8.2 and 3.3)."""

from __future__ import annotations

import msgspec
import pytest
from soloist_kalshi.numbers import money_from_dollars
from soloist_kalshi.orders import Accepted, Cancelled

from tests.conformance.cards import card, order, place
from tests.conformance.kit import ORDERS, raw_order

IOC = {"time_in_force": "immediate_or_cancel"}


@card(
    "C030", section="8.1", title="An order far from the market rests, is listed, and is cancelled", demo=True
)
async def test_an_order_rests_is_listed_and_cancelled(desk):
    made = await desk.bid("0.01", "2.00", post_only=True)
    assert isinstance(made, Accepted)
    assert (made.fill_count, made.remaining_count) == (0, 200)
    assert (made.average_fill_price, made.average_fee_paid) == (None, None)
    listed = {row.order_id: row for row in await desk.reads.list_orders(subaccount=0, status="resting")}
    shown = listed[made.order_id]
    assert (shown.ticker, shown.book_side, shown.outcome_side) == (desk.ticker, "bid", "yes")
    assert (shown.yes_price_dollars, shown.no_price_dollars) == ("0.0100", "0.9900")
    assert (shown.initial_count_fp, shown.remaining_count_fp, shown.fill_count_fp) == ("2.00", "2.00", "0.00")
    assert shown.client_order_id == made.client_order_id
    gone = await desk.cancel(made.order_id)
    assert isinstance(gone, Cancelled)
    assert (gone.order_id, gone.reduced_by) == (made.order_id, 200)


@card("C031", section="8.8", title="A cancelled order keeps its counts and gives its money back")
async def test_a_cancelled_order(desk):
    made = await desk.bid("0.40", "2.50")
    assert await desk.balance() == "9999.000000"
    await desk.cancel(made.order_id)
    shown = await desk.order(made.order_id)
    assert (shown.status, shown.remaining_count_fp, shown.initial_count_fp) == ("canceled", "0.00", "2.50")
    assert await desk.reads.list_orders(subaccount=0, status="resting") == []
    assert await desk.balance() == "10000.000000"


@card(
    "C032", section="3.3", title="A client order id is used up for ever, also by a cancelled order", demo=True
)
async def test_a_client_order_id_is_used_up(desk):
    wanted = order(desk.ticker, "bid", "0.01", post_only=True)
    made = await place(desk.orders, wanted)
    again = await place(desk.orders, wanted)
    await desk.cancel(made.order_id)
    after = await place(desk.orders, wanted)
    assert [(item.status, item.code) for item in (again, after)] == [(409, "order_already_exists")] * 2


@card("C033", section="3.3", title="The 409 of a used id does not return the first order")
async def test_the_conflict_says_nothing_of_the_first_order(desk):
    body = raw_order(desk.ticker)
    first = desk.raw("POST", ORDERS, json=body)
    again = desk.raw("POST", ORDERS, json=body)
    assert (first.status_code, again.status_code) == (201, 409)
    assert first.json()["order_id"] not in again.text


@card("C034", section="8.1", title="An executed order's id is used up, too")
async def test_an_executed_id_is_used_up(desk):
    wanted = order(desk.ticker, "bid", "0.51")
    assert (await place(desk.orders, wanted)).fill_count == 100
    assert (await place(desk.orders, wanted)).code == "order_already_exists"


@card("C035", section="8.1", title="A refused order does not use up its id")
async def test_a_refused_order_keeps_its_id(desk):
    wanted = order(desk.ticker, "bid", "0.4050")
    assert (await place(desk.orders, wanted)).code == "invalid_price"
    assert isinstance(await place(desk.orders, msgspec.structs.replace(wanted, price="0.40")), Accepted)


@card(
    "C036",
    section="16",
    title="An IOC order without a fill uses up its id, or by switch does not",
    switches=("zero_fill_ioc_uses_id",),
)
async def test_the_id_of_an_unfilled_ioc(exchange, desk):
    wanted = order(desk.ticker, "bid", "0.40", **IOC)
    assert isinstance(await place(desk.orders, wanted), Accepted)
    assert (await place(desk.orders, wanted)).code == "order_already_exists"
    exchange.switch(zero_fill_ioc_uses_id=False)
    wanted = order(desk.ticker, "bid", "0.40", **IOC)
    assert isinstance(await place(desk.orders, wanted), Accepted)
    assert isinstance(await place(desk.orders, wanted), Accepted)


@card(
    "C037",
    section="16",
    title="A client order id is unique per account, or by switch per subaccount",
    switches=("client_order_id_scope",),
)
async def test_the_scope_of_a_client_order_id(exchange, desks):
    desk = await desks(tier="advanced")
    sub = await desk.funded_subaccount("100.00")
    first = await desk.bid("0.40", client_order_id="mine")
    assert isinstance(first, Accepted)
    assert (await desk.bid("0.40", client_order_id="mine", subaccount=sub)).code == "order_already_exists"
    exchange.switch(client_order_id_scope="subaccount")
    assert isinstance(await desk.bid("0.40", client_order_id="mine", subaccount=sub), Accepted)
    assert (await desk.bid("0.40", client_order_id="mine", subaccount=sub)).code == "order_already_exists"


@pytest.mark.parametrize("price", ["0.0150", "0.0000", "1.0000", "1.0100", "0.0001"])
@card("C038", section="5", title="A price off the grid, 0 and 1 included, is invalid_price", demo=True)
async def test_a_price_off_the_grid(desk, price):
    refused = await desk.bid(price, post_only=True)
    assert (refused.status, refused.code) == (400, "invalid_price")


@pytest.mark.parametrize("count", ["0.00", "-1.00"])
@card("C039", section="3.3", title="A count of nothing or less is invalid_order_size")
async def test_a_size_that_is_none(desk, count):
    refused = await desk.bid("0.40", count)
    assert (refused.status, refused.code) == (400, "invalid_order_size")


@card("C040", section="5", title="Counts go down to a hundredth of a contract")
async def test_fractions_of_a_contract(desk):
    made = await desk.bid("0.51", "0.01")
    assert (made.fill_count, made.remaining_count) == (1, 0)
    assert await desk.position() == "0.01"
    finer = desk.raw("POST", ORDERS, json=raw_order(desk.ticker, count="0.001"))
    assert finer.status_code == 400


@card("C041", section="3.3", title="Insufficient balance counts what other orders hold back")
async def test_insufficient_balance(desks):
    desk = await desks("10.00")
    assert isinstance(await desk.bid("0.40", "20.00"), Accepted)
    refused = await desk.bid("0.40", "5.00")
    assert (refused.status, refused.code) == (400, "insufficient_balance")
    assert isinstance(await desk.bid("0.10", "5.00"), Accepted)


@card("C042", section="8.1", title="An ask holds back a dollar less its price per contract")
async def test_the_collateral_of_an_ask(desk):
    await desk.ask("0.70", "10.00")
    assert await desk.balance() == "9997.000000"


@card("C043", section="8.1", title="An ask that reduces a YES position needs no money")
async def test_an_ask_against_a_position(desks):
    desk = await desks("6.00")
    assert (await desk.bid("0.51", "10.00")).fill_count == 1000
    before = await desk.balance()
    assert isinstance(await desk.ask("0.60", "10.00"), Accepted)
    assert await desk.balance() == before


@card("C044", section="8.1", title="One position cannot back two sales")
async def test_one_position_cannot_back_two_sales(desks):
    desk = await desks("6.00")
    await desk.bid("0.51", "10.00")
    assert isinstance(await desk.ask("0.60", "10.00"), Accepted)
    refused = await desk.ask("0.61", "10.00")
    assert (refused.status, refused.code) == (400, "insufficient_balance")


@card("C045", section="3.3", title="A refused order leaves no trace in the portfolio")
async def test_a_refused_order_leaves_no_trace(desk):
    assert (await desk.bid("0.40", "999999.00")).code == "insufficient_balance"
    assert await desk.reads.list_orders(subaccount=0) == []
    assert await desk.reads.list_positions(subaccount=0) == []
    assert await desk.balance() == "10000.000000"


@card("C046", section="8.1", title="An order for an unknown market is 404", demo=True)
async def test_an_order_for_an_unknown_market(desk):
    refused = await desk.bid("0.01", ticker="NO-SUCH-MARKET", post_only=True)
    assert (refused.status, refused.code) == (404, "not_found")


@pytest.mark.parametrize(
    "changes",
    [
        {"client_order_id": "x" * 65},
        {"subaccount": 64},
        {"exchange_index": 9},
        {"order_group_id": "no-such-group"},
    ],
)
@card("C047", section="8.1", title="Instructions that name what cannot be are refused")
async def test_instructions_that_cannot_be(desk, changes):
    reply = desk.raw("POST", ORDERS, json=raw_order(desk.ticker, **changes))
    assert reply.status_code in {400, 404}
    assert await desk.reads.list_orders(subaccount=0) == []


@card("C048", section="8.1", title="A client order id may be left out, and has 64 characters at most")
async def test_a_client_order_id_is_optional(desk):
    without = desk.raw("POST", ORDERS, json=raw_order(desk.ticker, client_order_id=None))
    longest = desk.raw("POST", ORDERS, json=raw_order(desk.ticker, client_order_id="x" * 64))
    assert (without.status_code, longest.status_code) == (201, 201)


@card("C049", section="7", title="Buying NO at 0.30 is an ask at 0.70, and the position is negative")
async def test_buying_no(desks):
    maker, taker = await desks(), await desks()
    await maker.bid("0.50", "4.00")
    made = await taker.ask("0.50", "4.00")
    assert (made.fill_count, made.average_fill_price) == (400, 500_000)
    shown = await taker.order(made.order_id)
    assert (shown.outcome_side, shown.book_side, shown.no_price_dollars) == ("no", "ask", "0.5000")
    assert await taker.position() == "-4.00"


@card("C050", section="8.1", title="The better price fills first; at one price the older order does")
async def test_price_then_time(desks):
    early, late, better, taker = [await desks() for _ in range(4)]
    await early.ask("0.50", "1.00")
    await late.ask("0.50", "1.00")
    assert (await taker.bid("0.50", "1.50")).fill_count == 150
    assert [await one.position() for one in (early, late)] == ["-1.00", "-0.50"]
    await taker.bid("0.50", "0.50")
    await early.bid("0.48", "1.00")
    await better.bid("0.50", "1.00")
    assert (await taker.ask("0.48", "0.50")).average_fill_price == 500_000
    assert await better.position() == "0.50"


@card(
    "C051",
    section="8.1",
    title="A taker pays the maker's price, and its reply tells the average per contract",
)
async def test_price_improvement(desks):
    maker, taker = await desks(), await desks()
    await maker.ask("0.50", "1.00")
    made = await taker.bid("0.52", "2.00")
    assert (made.fill_count, made.remaining_count) == (200, 0)
    assert made.average_fill_price == money_from_dollars("0.505")


@card("C052", section="8.8", title="A part-filled order rests with fills; cancelled, it keeps them")
async def test_a_part_filled_order(desks):
    maker, taker = await desks(), await desks()
    made = await maker.ask("0.50", "4.00")
    await taker.bid("0.50", "3.00")
    shown = await maker.order(made.order_id)
    assert (shown.status, shown.fill_count_fp, shown.remaining_count_fp) == ("resting", "3.00", "1.00")
    gone = await maker.cancel(made.order_id)
    assert gone.reduced_by == 100
    shown = await maker.order(made.order_id)
    assert (shown.status, shown.fill_count_fp, shown.remaining_count_fp) == ("canceled", "3.00", "0.00")


@card(
    "C053",
    section="3.3",
    title="Cancelling a canceled, executed, foreign or unknown order: four equal 404 bodies",
)
async def test_dead_orders_give_the_same_bytes(desks):
    desk, other = await desks(), await desks()
    cancelled = await desk.bid("0.40")
    await desk.cancel(cancelled.order_id)
    executed = await desk.bid("0.51")
    foreign = await other.bid("0.40")
    replies = {
        (reply.status_code, reply.content.rstrip(), reply.headers["content-type"])
        for order_id in (cancelled.order_id, executed.order_id, foreign.order_id, "unknown")
        for reply in [desk.raw("DELETE", f"{ORDERS}/{order_id}")]
    }
    assert replies == {(404, b'{"error":{"code":"not_found","message":"not found"}}', "application/json")}


@card("C054", section="3.5", title="A second cancel of one order is 404", demo=True)
async def test_a_second_cancel(desk):
    made = await desk.bid("0.01", post_only=True)
    assert isinstance(await desk.cancel(made.order_id), Cancelled)
    again = await desk.cancel(made.order_id)
    assert (again.status, again.code) == (404, "not_found")


@card(
    "C055",
    section="8.2",
    title="The reply to a cancel carries client_order_id, or by switch does not",
    switches=("cancel_reply_client_order_id",),
)
async def test_the_reply_to_a_cancel(exchange, desk):
    for shown in (True, False):
        exchange.switch(cancel_reply_client_order_id=shown)
        made = await desk.bid("0.40")
        gone = await desk.cancel(made.order_id)
        assert gone.client_order_id == (made.client_order_id if shown else None)


@card("C056", section="8.1", title="Two accounts never see each other's orders, fills or positions")
async def test_two_accounts_are_apart(desks):
    one, two = await desks(), await desks()
    rests = await one.bid("0.40")
    assert (await one.bid("0.51")).fill_count == 100
    assert (await two.cancel(rests.order_id)).status == 404
    assert await two.reads.list_orders(subaccount=0) == []
    assert await two.reads.list_fills(subaccount=0) == []
    assert await two.reads.list_positions(subaccount=0) == []
    assert len(await one.reads.list_orders(subaccount=0)) == 2
