from __future__ import annotations

import sqlite3

import pytest
from soloist_exchange.errors import StateError
from soloist_exchange.exchange import create_account
from soloist_exchange.orders import ASK, BID, Order, SelfTrade, Status, TimeInForce, UpdateReason
from soloist_exchange.store import Range, Store, StoredFill

ALL = Range(limit=100)


@pytest.fixture
def store(tmp_path):
    made = Store(tmp_path)
    yield made
    made.close()


def order(sequence, **changes):
    made = Order(
        order_id=f"o{sequence}", account_id=100, ticker="M", side=ASK, price=4200, count=1234, created_ms=sequence * 1000,
        client_order_id=f"c{sequence}", key_id="k", time_in_force=TimeInForce.GOOD_TILL_CANCELED,
        self_trade=SelfTrade.MAKER, expiration_ms=99, post_only=True, cancel_on_pause=True,
    )  # fmt: skip
    made.sequence, made.fee_carry, made.filled, made.remaining, made.maker_cost = sequence, 7, 34, 1200, 55
    made.reason = UpdateReason.TRADE
    for name, value in changes.items():
        setattr(made, name, value)
    return made


def fields(item):
    return {name: getattr(item, name) for name in Order.__slots__}


def test_an_order_comes_back_as_it_was(store):
    saved = order(1)
    store.save_order(saved)
    assert fields(store.order("o1")) == fields(saved)
    saved.status, saved.remaining = Status.CANCELED, 0
    store.save_order(saved)
    assert fields(store.order("o1")) == fields(saved)
    assert store.resting_orders() == []


def test_a_fill_comes_back_as_it_was(store):
    saved = StoredFill("t", "o1", 100, 3, "M", BID, 4200, 17, 300, is_taker=True, time_ms=5)
    store.save_fill(saved)
    (found,) = store.fills(100, ALL)
    assert found == StoredFill("t", "o1", 100, 3, "M", BID, 4200, 17, 300, is_taker=True, time_ms=5, number=1)
    assert list(store.all_fills()) == [found]
    assert store.fills(101, ALL) == []


def test_ranges(store):
    for number in range(1, 6):
        status = Status.RESTING if number % 2 else Status.CANCELED
        store.save_order(order(number, subaccount=number % 2, ticker="AB"[number % 2], status=status))
    store.save_order(order(6, account_id=101))

    def sequences(**wanted):
        return [item.sequence for item in store.orders(100, Range(**{"limit": 100} | wanted))]

    assert sequences() == [5, 4, 3, 2, 1]
    assert sequences(limit=2) == [5, 4]
    assert sequences(before=3) == [2, 1]
    assert sequences(subaccount=0) == [4, 2]
    assert sequences(ticker="B", status="resting") == [5, 3, 1]
    assert sequences(from_ms=2000, to_ms=4000) == [4, 3, 2]
    assert [item.sequence for item in store.resting_orders()] == [1, 3, 5, 6]
    assert store.last_sequence() == 6


def test_a_client_order_id_belongs_to_one_order(store):
    store.save_order(order(1))
    assert store.has_client_order_id(100, "c1")
    assert not store.has_client_order_id(101, "c1")
    assert not store.has_client_order_id(100, "")
    with pytest.raises(sqlite3.IntegrityError):
        store.save_order(order(2, client_order_id="c1"))


def test_a_transaction_is_all_or_nothing(store, tmp_path):

    def twice():
        with store.transaction():
            store.add_account("one", 1)
            store.add_account("one", 1)

    with pytest.raises(StateError, match="exists already"):
        twice()
    assert store.accounts() == []
    create_account(store, "one", 5, "ed25519", 1)
    with pytest.raises(StateError, match="account 'one' exists already"):
        create_account(store, "one", 5, "ed25519", 1)
    other = Store(tmp_path)
    assert [(row.name, row.deposited) for row in other.accounts()] == [("one", 5)]
    assert len(other.keys(other.accounts()[0].account_id)) == 1
    other.close()


def test_a_file_of_another_version_is_refused(tmp_path):
    Store(tmp_path).close()
    database = sqlite3.connect(tmp_path / "exchange.sqlite")
    database.execute("PRAGMA user_version = 1")
    database.close()
    with pytest.raises(StateError, match=r"made by another version \(format 1, this one writes 2\)"):
        Store(tmp_path)


def test_a_directory_that_cannot_be_used(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(StateError, match="give a writable --state-dir"):
        Store(tmp_path / "file")


def test_events_by_account_kind_and_number(store):
    for account, kind in (("a", "accepted"), ("b", "accepted"), ("a", "closed")):
        store.log(5, account, kind, {"n": 1})
    assert [row["sequence"] for row in store.events()] == [1, 2, 3]
    assert store.events("a", "accepted") == [
        {"sequence": 1, "time_ms": 5, "account": "a", "kind": "accepted", "n": 1}
    ]
    assert [row["kind"] for row in store.events("a", since=1)] == ["closed"]
