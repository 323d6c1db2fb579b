from __future__ import annotations

import pytest
from soloist_exchange.orders import ASK, BID, Amendment, Status, TimeInForce
from soloist_exchange.store import Range
from soloist_exchange.store_past import Versions
from soloist_exchange.switches import Switches

from tests.unit.soloist_exchange.exchange_starts import Starts
from tests.unit.soloist_exchange.exchange_venues import still

ALL = Range(limit=100)
LAG = Switches(read_model_lag_ms=1_000)
IOC = TimeInForce.IMMEDIATE_OR_CANCEL


@pytest.fixture
def starts(tmp_path):
    made = Starts(tmp_path, still("M", "N", levels=5))
    yield made
    made.stop()


@pytest.fixture
def one(starts):
    return starts.account("one", tier="prime", subaccounts=2)


def later(starts, by_ms):
    starts.clock.now_ms += by_ms


def states(exchange, account_id, **wanted):
    found = exchange.orders_view(account_id, Range(**{"limit": 100} | wanted))
    return [(order.order_id, order.status.value, order.remaining) for order in found]


# ---------------------------------------------------------------------- without a lag


def test_reads_show_the_present_also_before_the_commit(starts, one):
    exchange = starts.start()
    two = starts.account("two")
    resting = starts.send(exchange, one, BID, 4000)
    filled = starts.send(exchange, one, BID, 5300, 50, time_in_force=IOC)
    assert exchange.as_of_ms() == starts.clock()
    assert states(exchange, one) == [(filled.order_id, "executed", 0), (resting.order_id, "resting", 100)]
    assert states(exchange, one, status="resting") == [(resting.order_id, "resting", 100)]
    assert states(exchange, one, status="executed") == [(filled.order_id, "executed", 0)]
    assert exchange.order_view(one, resting.order_id) is resting
    assert exchange.order_view(one, filled.order_id).filled == 50
    assert exchange.order_view(two, filled.order_id) is None
    assert exchange.order_view(one, "unknown") is None
    assert [fill.count for fill in exchange.fills_view(one, ALL)] == [50]
    assert exchange.positions_view(one, 0)["M"].count == 50
    assert exchange.balances_view(one, 0) == {0: exchange.account(one).available(0)}
    assert not exchange._writer.past.orders


def test_resting_orders_are_filtered_and_paged_like_all_others(starts, one):
    exchange = starts.start()
    for number in range(6):
        later(starts, 1_000)
        starts.send(exchange, one, BID, 1000, ticker="MN"[number % 2])
    begin_ms = starts.clock() - 5_000
    for wanted in (
        {}, {"limit": 2}, {"before": 4}, {"ticker": "N"}, {"tickers": frozenset({"M"})}, {"subaccount": 0},
        {"subaccount": 1}, {"from_ms": begin_ms + 2_000, "to_ms": begin_ms + 4_000}, {"exchange_index": 1},
    ):  # fmt: skip
        from_memory = exchange.orders_view(one, Range(**{"limit": 100} | wanted, status="resting"))
        exchange.commit()
        from_disk = exchange.store.orders(one, Range(**{"limit": 100} | wanted, status="resting"))
        assert [item.order_id for item in from_memory] == [item.order_id for item in from_disk]


def test_a_subaccount_sees_its_own(starts, one):
    exchange = starts.start()
    exchange.transfer(one, "t", 0, 2, 500_000_000)
    starts.send(exchange, one, BID, 5300, 50, subaccount=2, time_in_force=IOC)
    assert list(exchange.positions_view(one, 2)) == ["M"]
    assert exchange.positions_view(one, 0) == {}
    assert exchange.balance_view(one, 0) == 500_000_000
    assert 0 < exchange.balance_view(one, 2, 0) < 500_000_000
    assert exchange.balance_view(one, 2, 1) == 0
    assert exchange.balance_view(one, 1) == 0


# ---------------------------------------------------------------------- with a lag


def test_a_fresh_order_is_not_there_yet_and_a_cancelled_one_still_rests(starts, one):
    exchange = starts.start(switches=LAG)
    order = starts.send(exchange, one, BID, 4000)
    exchange.commit()
    cash = 1_000_000_000
    assert exchange.as_of_ms() == starts.clock() - 1_000
    assert exchange.order_view(one, order.order_id) is None
    assert states(exchange, one) == []
    assert exchange.balance_view(one, 0) == cash
    later(starts, 999)
    assert exchange.order_view(one, order.order_id) is None
    later(starts, 1)
    assert exchange.order_view(one, order.order_id).remaining == 100
    assert exchange.balance_view(one, 0) == cash - 4000 * 100
    exchange.venue.cancel(order)
    exchange.commit()
    assert states(exchange, one, status="resting") == [(order.order_id, "resting", 100)]
    assert states(exchange, one, status="canceled") == []
    assert exchange.balance_view(one, 0) == cash - 4000 * 100
    later(starts, 1_000)
    assert states(exchange, one, status="resting") == []
    assert states(exchange, one, status="canceled") == [(order.order_id, "canceled", 0)]
    assert exchange.balance_view(one, 0) == cash


def test_every_state_is_shown_for_as_long_as_it_lasted(starts, one):
    exchange = starts.start(switches=LAG)
    order = starts.send(exchange, one, BID, 4000, 500)
    exchange.commit()
    for count in (400, 300):
        later(starts, 100)
        exchange.venue.amend(order, Amendment(count=count))
        exchange.commit()
    later(starts, 100)
    exchange.venue.cancel(order)
    shown = []
    for _ in range(6):
        found = exchange.order_view(one, order.order_id)
        shown.append(None if found is None else (found.status.value, found.remaining))
        later(starts, 100)
        if len(shown) == 1:
            later(starts, 600)
    assert shown == [
        None,
        ("resting", 500),
        ("resting", 400),
        ("resting", 300),
        ("canceled", 0),
        ("canceled", 0),
    ]


def test_fills_positions_and_money_lag_together(starts, one):
    exchange = starts.start(switches=LAG)
    starts.send(exchange, one, BID, 5300, 50, time_in_force=IOC)
    exchange.commit()
    after_one = exchange.account(one).available(0)
    later(starts, 600)
    starts.send(exchange, one, BID, 5300, 30, time_in_force=IOC)
    exchange.commit()

    def shown():
        held = exchange.positions_view(one, 0)
        count = held["M"].count if held else None
        return [fill.count for fill in exchange.fills_view(one, ALL)], count, exchange.balance_view(one, 0)

    assert shown() == ([], None, 1_000_000_000)
    later(starts, 400)
    assert shown() == ([50], 50, after_one)
    later(starts, 600)
    assert shown() == ([30, 50], 80, exchange.account(one).available(0))
    assert len(exchange.fills_view(one, Range(limit=10, to_ms=starts.clock() - 1_200))) == 1


def test_settlements_lag(starts, one):
    exchange = starts.start(switches=LAG)
    starts.send(exchange, one, BID, 5300, 50, time_in_force=IOC)
    exchange.commit()
    later(starts, 1_000)
    paid = exchange.balance_view(one, 0)
    exchange.venue.close("M")
    exchange.venue.determine("M", "yes")
    exchange.venue.settle("M")
    exchange.commit()
    assert exchange.settlements_view(one, ALL) == []
    assert exchange.positions_view(one, 0)["M"].count == 50
    assert exchange.balance_view(one, 0) == paid
    later(starts, 1_000)
    assert [row.revenue for row in exchange.settlements_view(one, ALL)] == [500_000]
    assert exchange.positions_view(one, 0)["M"].count == 0
    assert exchange.balance_view(one, 0) == paid + 500_000


def test_pages_are_whole_while_some_orders_show_their_past(starts, one):
    exchange = starts.start(switches=LAG)
    orders = [starts.send(exchange, one, BID, 1000 + 100 * number) for number in range(8)]
    exchange.commit()
    later(starts, 1_000)
    for order in orders[2:6]:
        exchange.venue.cancel(order)
    new = starts.send(exchange, one, BID, 1000)
    exchange.commit()
    wanted = [order.order_id for order in reversed(orders)]
    shown = [order_id for order_id, _, _ in states(exchange, one, status="resting")]
    assert shown == wanted
    first = exchange.orders_view(one, Range(limit=3, status="resting"))
    second = exchange.orders_view(one, Range(limit=5, status="resting", before=first[-1].sequence))
    assert [order.order_id for order in (*first, *second)] == wanted
    later(starts, 1_000)
    left = [new, *reversed(orders[6:]), *reversed(orders[:2])]
    assert [row[0] for row in states(exchange, one, status="resting")] == [order.order_id for order in left]


def test_the_lag_may_be_turned_while_serving(starts, one):
    exchange = starts.start()
    old = starts.send(exchange, one, BID, 4000)
    exchange.commit()
    exchange.venue.switches = LAG
    exchange.venue.cancel(old)
    new = starts.send(exchange, one, BID, 4100)
    exchange.commit()
    assert states(exchange, one) == [(old.order_id, "resting", 100)]
    assert exchange.balance_view(one, 0) == 1_000_000_000 - 4000 * 100
    exchange.venue.switches = Switches()
    assert states(exchange, one) == [(new.order_id, "resting", 100), (old.order_id, "canceled", 0)]
    exchange.venue.cancel(new)
    exchange.commit()
    exchange.venue.switches = LAG
    assert exchange.order_view(one, new.order_id).status is Status.CANCELED


def test_only_the_lag_is_remembered(starts, one):
    exchange = starts.start(switches=LAG)
    for number in range(20):
        starts.send(exchange, one, ASK if number % 2 else BID, 4000 + 5000 * (number % 2), 10)
        exchange.commit()
        later(starts, 200)
    assert len(exchange._writer.past.orders) <= 6
    later(starts, 2_000)
    assert states(exchange, one, limit=1)
    assert len(exchange._writer.past.orders) == 0


def test_versions():
    versions: Versions[str, int] = Versions()
    versions.note("a", 10, lambda: None, 1)
    versions.note("a", 20, lambda: 99, 2)
    versions.note("b", 20, lambda: 7, None)
    assert versions.changed(5) == {"a": None, "b": 7}
    assert versions.changed(10) == {"a": 1, "b": 7}
    assert versions.changed(20) == {}
    assert len(versions) == 0
