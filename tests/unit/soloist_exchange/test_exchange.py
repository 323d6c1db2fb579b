from __future__ import annotations

import itertools

import pytest
from soloist_exchange.errors import StateError
from soloist_exchange.exchange import Exchange, create_account
from soloist_exchange.orders import ASK, BID, Order, Status, TimeInForce
from soloist_exchange.store import Range, Store

from tests.unit.soloist_exchange.exchange_venues import Clock, still

numbers = itertools.count(1)
ALL = Range(limit=100)


@pytest.fixture
def start(tmp_path):
    """Return a function that starts an exchange on one state directory, after the last one was dropped without a farewell."""
    running: list[Exchange] = []

    def start():
        for exchange in running:
            exchange.store.close()
        running[:] = [Exchange(tmp_path, still(levels=5), 1, Clock(), lambda: 0)]
        return running[0]

    yield start
    for exchange in running:
        exchange.store.close()


@pytest.fixture
def account_id(tmp_path):
    store = Store(tmp_path)
    row, _, _ = create_account(store, "demo", 1_000_000_000, "ed25519", 1)
    store.close()
    return row.account_id


def send(exchange, account_id, side, price, count=100, **fields):
    number = next(numbers)
    return exchange.venue.create(Order(
        order_id=f"o{number}", account_id=account_id, ticker="M", side=side, price=price, count=count,
        created_ms=exchange.clock_ms(), client_order_id=f"c{number}", **fields,
    ))  # fmt: skip


def test_an_uncommitted_step_is_gone_after_a_crash_and_a_committed_one_is_there(start, account_id):
    exchange = start()
    kept = send(exchange, account_id, BID, 4000)
    exchange.commit()
    lost = send(exchange, account_id, BID, 4100)
    exchange = start()
    assert [order.order_id for order in exchange.venue.resting(account_id)] == [kept.order_id]
    assert exchange.store.order(lost.order_id) is None
    assert exchange.account(account_id).reserved == {(0, 0): 4000 * 100}


def test_a_restart_gives_the_same_money_positions_and_reservations(start, account_id):
    exchange = start()
    send(exchange, account_id, BID, 5300, 2_345, time_in_force=TimeInForce.IMMEDIATE_OR_CANCEL)
    send(exchange, account_id, ASK, 4700, 1_111, time_in_force=TimeInForce.IMMEDIATE_OR_CANCEL)
    send(exchange, account_id, ASK, 9000, 3_000)
    exchange.commit()
    before = exchange.account(account_id)
    after = start().account(account_id)
    assert (after.cash, after.reserved, after.positions) == (before.cash, before.reserved, before.positions)
    assert after.positions[0, "M"].volume > 2_345


def test_a_partly_filled_order_rests_with_what_it_had_left(start, account_id):
    exchange = start()
    other, _, _ = create_account(exchange.store, "other", 1_000_000_000, "ed25519", 1)
    exchange.account(other.account_id)
    order = send(exchange, account_id, BID, 5000, 1_000)
    send(exchange, other.account_id, ASK, 5000, 333)
    exchange.commit()
    assert (order.filled, order.remaining) == (333, 667)
    (restored,) = start().venue.resting(account_id)
    fields = set(Order.__slots__) - {"level", "ahead", "behind"}  # its place in the other book
    assert {name: getattr(restored, name) for name in fields} == {
        name: getattr(order, name) for name in fields
    }


def test_a_step_without_users_writes_nothing(start):
    exchange = start()
    exchange.venue.expire()
    assert not exchange.store._database.in_transaction
    changes = exchange.store._database.total_changes
    exchange.commit()
    assert exchange.store._database.total_changes == changes


def test_a_full_disk_ends_the_exchange_before_it_promises_anything(start, account_id):
    exchange = start()
    pages = exchange.store._database.execute("PRAGMA page_count").fetchone()[0]
    exchange.store._database.execute(f"PRAGMA max_page_count = {pages}")

    def until_it_is_full():
        for _ in range(500):
            send(exchange, account_id, BID, 100, 1)
            exchange.commit()

    with pytest.raises(StateError, match=r"full; make room and start again"):
        until_it_is_full()
    assert exchange.broken is not None


def test_a_trade_between_two_users_is_in_both_histories(start, account_id):
    exchange = start()
    other, _, _ = create_account(exchange.store, "other", 1_000_000_000, "ed25519", 1)
    exchange.account(other.account_id)
    maker = send(exchange, account_id, BID, 5000)
    taker = send(exchange, other.account_id, ASK, 5000)
    exchange.commit()
    assert (maker.status, taker.status) == (Status.EXECUTED, Status.EXECUTED)
    (one,), (two,) = exchange.store.fills(account_id, ALL), exchange.store.fills(other.account_id, ALL)
    assert (one.trade_id, one.is_taker, two.is_taker) == (two.trade_id, False, True)
    assert [trade.fill.trade_id for trade in exchange.trades] == [one.trade_id]
    again = start()
    assert (again.venue.ledger.difference(), again.venue.ledger.unpaired()) == (0, {})
