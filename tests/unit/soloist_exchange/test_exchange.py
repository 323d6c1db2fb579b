from __future__ import annotations

import pytest
from soloist_exchange.errors import ConservationError, Refused, StateError
from soloist_exchange.ledger import Account, Ledger
from soloist_exchange.matching import Book
from soloist_exchange.orders import ASK, BID, Amendment, Order, Status, TimeInForce, UpdateReason
from soloist_exchange.store import Range
from soloist_exchange.store_codec import MARKET_FIELDS, ORDER_FIELDS, STATISTICS_FIELDS
from soloist_exchange.switches import Switches

from tests.unit.soloist_exchange.exchange_starts import Starts
from tests.unit.soloist_exchange.exchange_venues import still

ALL = Range(limit=100)
IOC = TimeInForce.IMMEDIATE_OR_CANCEL


@pytest.fixture
def starts(tmp_path):
    made = Starts(tmp_path, still("M", "N", levels=5))
    yield made
    made.stop()


@pytest.fixture
def one(starts):
    return starts.account("one")


@pytest.fixture
def two(starts):
    return starts.account("two")


def values(order: Order):
    return {name: getattr(order, name) for name in ORDER_FIELDS}


def wealth(exchange, account_id):
    account = exchange.account(account_id)
    reserved = {purse: money for purse, money in account.reserved.items() if money}
    return account.deposited, dict(account.cash), reserved, dict(account.positions)


# ---------------------------------------------------------------------- what a restart brings back


def test_an_uncommitted_step_is_gone_after_a_crash_and_a_committed_one_is_there(starts, one):
    exchange = starts.start()
    kept = starts.send(exchange, one, BID, 4000)
    exchange.commit()
    lost = starts.send(exchange, one, BID, 4100)
    exchange = starts.start()
    assert [order.order_id for order in exchange.venue.resting(one)] == [kept.order_id]
    assert exchange.store.order(lost.order_id) is None
    assert not exchange.store.has_client_order_id(one, lost.client_order_id)
    assert wealth(exchange, one)[2] == {(0, 0): 4000 * 100}


def test_one_commit_covers_many_steps(starts, one):
    exchange = starts.start()
    changes = exchange.store.database.total_changes
    orders = [starts.send(exchange, one, BID, 4000) for _ in range(5)]
    exchange.venue.cancel(orders[0])
    assert exchange.store.database.total_changes == changes
    exchange.commit()
    assert not exchange.store.database.in_transaction
    again = starts.start()
    assert [order.order_id for order in again.venue.resting(one)] == [order.order_id for order in orders[1:]]
    assert [row["kind"] for row in again.store.events()] == ["accepted"] * 5 + ["closed"]


def test_money_and_positions_are_the_same_to_the_last_unit(starts, one, two):
    exchange = starts.start()
    starts.send(exchange, one, BID, 5300, 2_345, time_in_force=IOC)
    starts.send(exchange, one, ASK, 4700, 1_111, time_in_force=IOC)
    starts.send(exchange, one, ASK, 9000, 3_000)
    starts.send(exchange, two, ASK, 4500, 333, ticker="N", time_in_force=IOC)
    starts.send(exchange, two, BID, 4800, 77)
    exchange.commit()
    before = wealth(exchange, one), wealth(exchange, two)
    assert before[0][3][0, "M"].volume > 2_345
    for _ in range(2):
        exchange = starts.start()
        assert (wealth(exchange, one), wealth(exchange, two)) == before
        exchange.venue.ledger.recount()


def test_restored_money_is_what_the_fills_add_up_to(starts, one, two):
    exchange = starts.start()
    for number in range(40):
        starts.clock.now_ms += 10
        side = BID if number % 3 else ASK
        starts.send(exchange, (one, two)[number % 2], side, 5000 + 100 * (number % 7 - 3), 11 * number + 1, time_in_force=IOC)  # fmt: skip
        exchange.commit()
    exchange = starts.start()
    counted = Ledger()
    for owner in (one, two):
        counted.open(Account(owner, "", deposited=1_000_000_000))
        for fill in reversed(exchange.store.fills(owner, Range(limit=10_000))):
            counted.fill(
                counted.accounts[owner], fill.subaccount, fill.ticker, fill.side, fill.price, fill.count, fill.fee, fill.time_ms
            )  # fmt: skip
        assert counted.accounts[owner].cash == exchange.account(owner).cash
        assert counted.accounts[owner].positions == exchange.account(owner).positions
    assert sum(held.volume for held in exchange.account(one).positions.values()) > 1_000


def test_a_partly_filled_order_rests_with_what_it_had_left(starts, one, two):
    exchange = starts.start()
    order = starts.send(exchange, one, BID, 5000, 1_000)
    starts.send(exchange, two, ASK, 5000, 333)
    exchange.commit()
    assert (order.filled, order.remaining) == (333, 667)
    (restored,) = starts.start().venue.resting(one)
    assert values(restored) == values(order)


def test_an_amended_order_keeps_its_state_and_both_its_client_ids(starts, one):
    exchange = starts.start()
    order = starts.send(exchange, one, BID, 4000, 500, client_order_id="first")
    exchange.venue.amend(order, Amendment(price=4100, count=300, client_order_id="second"))
    exchange.commit()
    exchange = starts.start()
    (restored,) = exchange.venue.resting(one)
    assert (restored.price, restored.remaining, restored.client_order_id) == (4100, 300, "second")
    for taken in ("first", "second"):
        with pytest.raises(Refused, match="order_already_exists"):
            starts.send(exchange, one, BID, 4000, client_order_id=taken)


def test_a_client_order_id_is_taken_before_the_commit_and_after_a_restart(starts, one, two):
    exchange = starts.start()
    order = starts.send(exchange, one, BID, 4000, client_order_id="x")
    exchange.venue.cancel(order)
    for _ in range(2):
        with pytest.raises(Refused, match="order_already_exists"):
            starts.send(exchange, one, BID, 4000, client_order_id="x")
        exchange.commit()
        exchange = starts.start()
    starts.send(exchange, two, BID, 4000, client_order_id="x")


def test_by_switch_an_id_is_taken_per_subaccount_and_an_unfilled_ioc_gives_it_back(starts, one):
    switches = Switches(client_order_id_scope="subaccount", zero_fill_ioc_uses_id=False)
    exchange = starts.start(switches=switches)
    exchange.account(one).cash[1, 0] = (
        10**9
    )  # money for the other subaccount; this test books nothing with it
    starts.send(exchange, one, BID, 4000, client_order_id="x")
    starts.send(exchange, one, BID, 4000, client_order_id="x", subaccount=1)
    for _ in range(2):
        starts.send(exchange, one, BID, 1000, client_order_id="ioc", time_in_force=IOC)
        exchange.commit()
    assert exchange.store.has_client_order_id(one, "x", 0)
    assert exchange.store.has_client_order_id(one, "x", 1)
    assert not exchange.store.has_client_order_id(one, "ioc")
    with pytest.raises(Refused, match="order_already_exists"):
        starts.send(exchange, one, BID, 4000, client_order_id="x", subaccount=1)


def test_orders_queue_in_the_same_order_also_those_that_an_amend_sent_to_the_end(starts, one, two):
    exchange = starts.start()
    orders = [starts.send(exchange, owner, BID, 4000) for owner in (two, one, two, one, two, one)]
    moved, raised, lowered, away = orders[:4]
    amend = exchange.venue.amend
    amend(raised, Amendment(count=300))
    amend(moved, Amendment(price=4100))
    exchange.commit()
    amend(moved, Amendment(price=4000))
    amend(lowered, Amendment(count=50))
    amend(away, Amendment(price=3900))
    amend(raised, Amendment(count=200))
    exchange.commit()
    wanted = [lowered, *orders[4:], raised, moved]
    for _ in range(2):
        exchange = starts.start()
        book: Book = exchange.venue.markets["M"].book
        queued = [order.order_id for order in book.orders(BID) if order.price == 4000]
        assert queued == [order.order_id for order in wanted]
        wanted.append(starts.send(exchange, one, BID, 4000))
        exchange.commit()


def test_groups_come_back_with_limit_window_trigger_and_members(starts, one, two):
    exchange = starts.start()
    exchange.account(one)
    groups = exchange.venue.groups
    counted = groups.create(one, 0, 1_000)
    triggered = groups.create(one, 0, 100)
    deleted = groups.create(one, 0, 700)
    exchange.venue.limit_group(counted, 900)
    exchange.venue.trigger_group(triggered)
    exchange.venue.delete_group(deleted)
    member = starts.send(exchange, one, BID, 5000, 500, group_id=counted.group_id)
    exchange.commit()
    starts.send(exchange, two, ASK, 5000, 200)
    exchange.commit()
    starts.clock.now_ms += 5_000
    exchange = starts.start()
    back = exchange.venue.groups.find(one, counted.group_id)
    assert (back.limit, back.matched, back.triggered) == (900, 200, False)
    assert [order.order_id for order in back.orders] == [member.order_id]
    assert exchange.venue.groups.find(one, triggered.group_id).triggered
    assert [group.group_id for group in exchange.venue.groups.of(one)] == [
        counted.group_id,
        triggered.group_id,
    ]
    starts.clock.now_ms += 10_001
    assert back.matched == 0


def test_markets_come_back_as_they_were(starts, one):
    exchange = starts.start()
    venue = exchange.venue
    starts.send(exchange, one, BID, 5300, 700, time_in_force=IOC)
    venue.move_close("M", starts.clock() + 60_000)
    venue.deactivate("N")
    venue.set_price_ranges("N", [{"start": "0.0000", "end": "1.0000", "step": "0.0010"}], "deci_cent")
    exchange.commit()

    def told(venue):
        return {
            ticker: [getattr(market, name) for name in (*MARKET_FIELDS, *STATISTICS_FIELDS)]
            for ticker, market in venue.markets.items()
        }

    before = told(venue)
    starts.clock.now_ms += 1_000
    venue = starts.start().venue
    assert told(venue) == before
    assert list(venue.markets) == ["M", "N"]
    assert venue.markets["N"].grid.contains(10)
    assert venue.markets["M"].open_interest >= 700
    starts.clock.now_ms += 60_000
    venue.tick()
    assert venue.markets["M"].status == "closed"


def test_the_prices_of_the_day_before_come_back(starts, one):
    exchange = starts.start()
    starts.send(exchange, one, BID, 5300, 100, time_in_force=IOC)
    exchange.commit()
    last = exchange.venue.markets["M"].last_price
    assert last > 0
    starts.clock.now_ms += 24 * 3600 * 1000
    exchange.venue.tick()
    assert exchange.venue.markets["M"].previous_price == last
    starts.send(exchange, one, BID, 1000, ticker="N")
    exchange.commit()
    market = starts.start().venue.markets["M"]
    assert (market.previous_price, market.last_price) == (last, last)
    assert market.previous_bid > 0


def test_the_end_of_a_market_is_remembered_with_what_it_paid(starts, one, two):
    exchange = starts.start()
    venue = exchange.venue
    starts.send(exchange, one, BID, 5300, 700, time_in_force=IOC)
    starts.send(exchange, two, ASK, 4700, 300, time_in_force=IOC)
    resting = starts.send(exchange, two, BID, 1000)
    venue.close("M")
    venue.determine("M", "yes")
    exchange.commit()
    venue.settle("M")
    exchange.commit()
    before = wealth(exchange, one), wealth(exchange, two)
    exchange = starts.start()
    market = exchange.venue.markets["M"]
    assert (market.status, market.result, market.settlement_value) == ("finalized", "yes", 10_000)
    assert (market.settled_ms, market.open_interest) == (starts.clock(), 0)
    assert (wealth(exchange, one), wealth(exchange, two)) == before
    (won,), (lost,) = exchange.store.settlements(one, ALL), exchange.store.settlements(two, ALL)
    assert (won.result, won.yes_count, won.no_count, won.revenue, won.event_ticker) == (
        "yes",
        700,
        0,
        7_000_000,
        "M",
    )
    assert (lost.yes_count, lost.no_count, lost.revenue) == (0, 300, 0)
    assert exchange.store.order(resting.order_id).reason is UpdateReason.CLOSE_CANCEL


def test_by_switch_a_settled_position_is_gone_for_good(starts, one):
    exchange = starts.start(switches=Switches(settled_positions="removed"))
    starts.send(exchange, one, BID, 5300, 700, time_in_force=IOC)
    exchange.commit()
    exchange.venue.close("M")
    exchange.venue.determine("M", "no")
    exchange.venue.settle("M")
    exchange.commit()
    assert wealth(exchange, one)[3] == {}
    assert wealth(starts.start(), one)[3] == {}


def test_a_pause_outlives_the_process(starts, one):
    exchange = starts.start()
    kept = starts.send(exchange, one, BID, 4000)
    starts.send(exchange, one, BID, 4000, cancel_on_pause=True)
    exchange.venue.pause_trading()
    exchange.commit()
    exchange = starts.start()
    assert (exchange.venue.trading_active, exchange.venue.exchange_active) == (False, True)
    assert [order.order_id for order in exchange.venue.resting(one)] == [kept.order_id]
    exchange.venue.resume_trading()
    exchange.commit()
    assert starts.start().venue.trading_active


def test_an_order_whose_market_closed_meanwhile_is_closed_by_the_restart(starts, one):
    exchange = starts.start()
    order = starts.send(exchange, one, BID, 4000)
    exchange.venue.close("M")
    exchange.commit()
    starts.start()
    exchange = starts.start()
    assert exchange.venue.resting(one) == []
    assert exchange.store.order(order.order_id).status is Status.CANCELED
    assert wealth(exchange, one)[2] == {}


def test_an_order_that_expired_meanwhile_is_over_before_the_makers_come_back(starts, one):
    starts.scenario = still("M")
    exchange = starts.start()
    order = starts.send(exchange, one, BID, 6000, expiration_ms=starts.clock() + 5_000)
    exchange.commit()
    starts.clock.now_ms += 5_000
    starts.scenario = still("M", levels=5)  # makers sell at 0.51
    ended = starts.start().store.order(order.order_id)
    assert (ended.status, ended.reason, ended.filled) == (Status.CANCELED, UpdateReason.EXPIRY_CANCEL, 0)


def test_a_market_that_the_scenario_has_no_more_is_there_as_long_as_the_state(starts, one):
    exchange = starts.start()
    starts.send(exchange, one, BID, 5300, 700, ticker="N", time_in_force=IOC)
    exchange.commit()
    starts.scenario = still("M", levels=5)
    exchange = starts.start()
    assert list(exchange.venue.markets) == ["M", "N"]
    assert exchange.account(one).held(0, "N") == 700


def test_the_makers_take_the_other_side_and_open_interest_stays(starts, one):
    starts.scenario = still("M", levels=5)
    exchange = starts.start()
    starts.send(exchange, one, BID, 5300, 700, time_in_force=IOC)
    takers = next(account for account in exchange.venue.ledger.accounts.values() if account.account_id == 2)
    exchange.venue.create(Order(
        order_id="taker", account_id=takers.account_id, ticker="M", side=ASK, price=4700, count=250, created_ms=1,
        time_in_force=IOC,
    ))  # fmt: skip
    exchange.commit()
    interest = exchange.venue.ledger.open_interest["M"]
    assert interest == 700
    again = starts.start().venue.ledger
    assert again.open_interest["M"] == interest
    assert again.accounts[takers.account_id].held(0, "M") == -250
    assert (again.difference(), again.unpaired()) == (0, {})


# ---------------------------------------------------------------------- the log


def test_the_log_tells_what_was_accepted_filled_closed_and_rejected(starts, one):
    exchange = starts.start()
    order = starts.send(exchange, one, BID, 5300, 100, time_in_force=IOC, key_id="key-1")
    exchange.log(one, "rejected", client_order_id="r", code="invalid_price")
    exchange.log(0, "unauthorized", key_id="?")
    exchange.commit()
    events = starts.start().store.events()
    assert [(row["account"], row["kind"]) for row in events] == [
        ("one", "accepted"), ("one", "filled"), ("one", "closed"), ("one", "rejected"), ("", "unauthorized")
    ]  # fmt: skip
    accepted, filled, closed, rejected, _ = events
    assert accepted["key_id"] == "key-1"
    assert {row["order_id"] for row in (accepted, filled, closed)} == {order.order_id}
    assert (accepted["client_order_id"], rejected["client_order_id"]) == (order.client_order_id, "r")
    assert (closed["status"], closed["filled"]) == ("executed", 100)
    assert {row["time_ms"] for row in events} == {starts.clock()}


def test_the_log_tells_what_became_of_requests_about_orders(starts, one):
    exchange = starts.start()
    order = starts.send(exchange, one, BID, 4000, 500)
    with exchange.asked(one, "key-2", "decrease", order_id=order.order_id):
        exchange.venue.decrease(order, to=300)
    with pytest.raises(Refused), exchange.asked(one, "key-2", "amend", order_id=order.order_id, price=5050):
        exchange.venue.amend(order, Amendment(price=5050))
    with exchange.asked(one, "key-3", "cancel_all"):
        exchange.venue.cancel_all(one)
    exchange.commit()
    _, decreased, amended, closed, cancelled = starts.start().store.events("one")
    assert (decreased["kind"], decreased["outcome"], decreased["key_id"]) == ("decrease", "accepted", "key-2")
    assert (amended["kind"], amended["outcome"], amended["code"]) == ("amend", "rejected", "invalid_price")
    assert amended["order_id"] == decreased["order_id"] == closed["order_id"] == order.order_id
    assert (cancelled["kind"], cancelled["outcome"], cancelled["key_id"]) == (
        "cancel_all",
        "accepted",
        "key-3",
    )


# ---------------------------------------------------------------------- the disk


def test_a_step_in_which_nothing_happened_writes_nothing(starts):
    exchange = starts.start()
    starts.clock.now_ms += 5_000
    exchange.venue.tick()
    changes = exchange.store.database.total_changes
    exchange.commit()
    assert not exchange.store.database.in_transaction
    assert exchange.store.database.total_changes == changes


def test_a_full_disk_ends_the_exchange_before_it_promises_anything(starts, one):
    exchange = starts.start()
    pages = exchange.store.database.execute("PRAGMA page_count").fetchone()[0]
    exchange.store.database.execute(f"PRAGMA max_page_count = {pages}")
    promised = []

    def until_it_is_full():
        for _ in range(500):
            order = starts.send(exchange, one, BID, 100, 1)
            exchange.commit()
            promised.append(order.order_id)

    with pytest.raises(StateError, match=r"full; make room and start again"):
        until_it_is_full()
    assert exchange.broken is not None
    with pytest.raises(StateError, match=r"full; make room and start again"):
        exchange.commit()
    assert [order.order_id for order in starts.start().venue.resting(one)] == promised


def test_a_state_that_became_read_only_ends_the_exchange(starts, one):
    exchange = starts.start()
    exchange.store.database.execute("PRAGMA query_only = ON")
    starts.send(exchange, one, BID, 100, 1)
    with pytest.raises(StateError, match="readonly database; give a writable --state-dir"):
        exchange.commit()
    assert exchange.broken is not None
    assert starts.start().venue.resting(one) == []


def test_what_is_wrong_with_the_exchange_itself_is_told_as_it_is(starts):
    exchange = starts.start()
    error = ConservationError("money is off by 1")
    assert exchange.fail(error) is error
    with pytest.raises(ConservationError, match=r"^money is off by 1$"):
        exchange.commit()


def test_a_trade_between_two_users_is_in_both_histories(starts, one, two):
    exchange = starts.start()
    maker = starts.send(exchange, one, BID, 5000)
    taker = starts.send(exchange, two, ASK, 5000)
    exchange.commit()
    assert (maker.status, taker.status) == (Status.EXECUTED, Status.EXECUTED)
    (mine,), (theirs,) = exchange.store.fills(one, ALL), exchange.store.fills(two, ALL)
    assert (mine.trade_id, mine.is_taker, theirs.is_taker) == (theirs.trade_id, False, True)
    assert [trade.trade_id for trade in exchange.history.trades()] == [mine.trade_id]
    again = starts.start()
    assert (again.venue.ledger.difference(), again.venue.ledger.unpaired()) == (0, {})
