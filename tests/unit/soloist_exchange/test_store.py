from __future__ import annotations

import sqlite3
from dataclasses import fields, replace

import pytest
from soloist_exchange import store_file
from soloist_exchange.errors import StateError
from soloist_exchange.exchange import create_account
from soloist_exchange.ledger import Position
from soloist_exchange.markets import FeeTerms, MarketState
from soloist_exchange.orders import ASK, BID, Order, SelfTrade, Status, TimeInForce, UpdateReason
from soloist_exchange.store import Range, Store, StoredFill, serving_alone
from soloist_exchange.store_codec import (
    MARKET_FIELDS,
    ORDER_FIELDS,
    POSITION_FIELDS,
    STATISTICS_FIELDS,
    decode,
    decode_market,
    decode_order,
    decode_position,
    decode_statistics,
    encode_market,
    encode_order,
    encode_position,
    encode_statistics,
)
from soloist_exchange.store_file import VERSION
from soloist_exchange.store_ids import Ids
from soloist_exchange.store_rows import StoredSettlement, TransferRow
from soloist_kalshi.numbers import PriceGrid

ALL = Range(limit=100)
CENTS = [{"start": "0.0000", "end": "1.0000", "step": "0.0100"}]


@pytest.fixture
def store(tmp_path):
    made = Store(tmp_path)
    yield made
    made.close()


def order(sequence, **changes):
    made = Order(
        order_id=f"o{sequence}", account_id=100, ticker="M", side=ASK, price=4200, count=1234, created_ms=sequence * 1000,
        client_order_id=f"c{sequence}", key_id="k", time_in_force=TimeInForce.GOOD_TILL_CANCELED,
        self_trade=SelfTrade.MAKER, expiration_ms=99, post_only=True, cancel_on_pause=True, group_id="g", exchange_index=2,
    )  # fmt: skip
    made.sequence, made.fee_carry, made.filled, made.remaining, made.maker_cost = sequence, 7, 34, 1200, 55
    made.reason = UpdateReason.TRADE
    for name, value in changes.items():
        setattr(made, name, value)
    return made


def values(item):
    return {name: getattr(item, name) for name in ORDER_FIELDS}


# ---------------------------------------------------------------------- format


def test_the_fields_of_this_version_are_these():
    """A change here changes what the state file holds: raise store_file.VERSION with it."""
    assert VERSION == 3
    assert ORDER_FIELDS == (
        "account_id", "cancel_on_pause", "client_order_id", "created_ms", "exchange_index", "expiration_ms", "fee_carry",
        "filled", "group_id", "initial", "key_id", "maker_cost", "maker_fees", "order_id", "post_only", "price", "reason",
        "reduce_only", "releases_id", "remaining", "self_trade", "sequence", "side", "status", "subaccount", "taker_cost",
        "taker_fees", "ticker", "time_in_force", "updated_ms",
    )  # fmt: skip
    assert POSITION_FIELDS == ("count", "cost", "realized", "fees", "traded", "volume", "updated_ms")
    assert STATISTICS_FIELDS == (
        "last_price", "last_count", "volume", "dollar_volume", "open_interest", "previous_price", "previous_bid",
        "previous_ask",
    )  # fmt: skip
    assert set(MARKET_FIELDS) | set(STATISTICS_FIELDS) | {"grid", "book"} == {
        item.name for item in fields(MarketState)
    }
    assert MARKET_FIELDS == (
        "ticker", "event_ticker", "title", "ranges", "open_ms", "close_ms", "status", "series_ticker", "market_type", "label",
        "exchange_index", "fee", "fee_waiver_until_ms", "can_close_early", "settlement_timer_ms", "created_ms", "updated_ms",
        "result", "settlement_value", "determined_ms", "settled_ms",
    )  # fmt: skip


def test_orders_and_positions_are_read_as_they_were_written():
    made = order(3, status=Status.EXECUTED, time_in_force=TimeInForce.FILL_OR_KILL)
    back = decode_order(encode_order(made))
    assert values(back) == values(made)
    assert (back.level, back.ahead, back.behind, back.backed) == (None, None, None, 0)
    held = Position(-3, 10**15, -7, 8, 9, 10, 11)
    assert decode_position(encode_position(held)) == held


def test_a_market_is_read_as_it_was_written():
    made = MarketState(
        "M", "E", "title", PriceGrid.from_ranges(CENTS), CENTS, 1, 2, status="finalized", fee=FeeTerms("flat", 250),
        result="scalar", settlement_value=1234, market_type="scalar", exchange_index=3, volume=77, previous_ask=9,
    )  # fmt: skip
    back = decode_market(encode_market(made), encode_statistics(made, [(1, -5)]))
    names = [item.name for item in fields(MarketState) if item.name not in {"grid", "book"}]
    assert [getattr(back, name) for name in names] == [getattr(made, name) for name in names]
    assert back.grid.contains(100)
    assert not back.grid.contains(150)
    assert decode_statistics(encode_statistics(made, [(1, -5)]))[1] == [[1, -5]]
    assert decode_market(encode_market(made), None).volume == 0


@pytest.mark.parametrize("version", [0, 2, VERSION + 1])
def test_a_file_of_another_version_is_refused(tmp_path, version):
    Store(tmp_path).close()
    database = sqlite3.connect(tmp_path / "exchange.sqlite")
    database.execute(f"PRAGMA user_version = {version}")
    database.close()
    wanted = (
        rf"made by another version \(format {version}, this one writes {VERSION}\); give another --state-dir"
    )
    with pytest.raises(StateError, match=wanted):
        Store(tmp_path)


def test_a_directory_that_cannot_be_used(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(StateError, match="give a writable --state-dir"):
        Store(tmp_path / "file")


def test_a_file_that_is_no_database(tmp_path):
    (tmp_path / "exchange.sqlite").write_text("not a database, but as long as one has to be" * 100)
    with pytest.raises(StateError, match="give a writable --state-dir"):
        Store(tmp_path)


def test_one_process_serves_a_directory(tmp_path):
    with serving_alone(tmp_path), pytest.raises(StateError, match="another exchange serves it"):
        serving_alone(tmp_path).__enter__()
    with serving_alone(tmp_path):
        pass


# ---------------------------------------------------------------------- checkpoints


def committed(store, number):
    with store.transaction():
        store.save_note("number", number)


def test_a_worker_moves_what_was_committed_into_the_database(tmp_path, monkeypatch):
    monkeypatch.setattr(store_file, "CHECKPOINT_COMMITS", 10)
    store = Store(tmp_path)
    for number in range(60):
        committed(store, number)
        if store._checkpoint is not None:
            store._checkpoint.result(30)
    moved = sqlite3.connect(f"file:{tmp_path / 'exchange.sqlite'}?immutable=1", uri=True)
    (fields,) = moved.execute("SELECT fields FROM notes WHERE name = 'number'").fetchone()
    moved.close()
    store.close()
    # Read without the log: what is there was moved.
    assert decode(fields) >= 49
    store = Store(tmp_path)
    assert store.note("number") == 59
    store.close()


def test_a_checkpoint_that_fails_is_told_by_a_later_commit(tmp_path, monkeypatch):
    def fail(_):
        raise sqlite3.OperationalError("disk I/O error")

    monkeypatch.setattr(store_file, "CHECKPOINT_COMMITS", 10)
    monkeypatch.setattr(store_file, "_checkpoint", fail)
    store = Store(tmp_path)
    numbers = iter(range(1000))
    while store._checkpoint is None:
        committed(store, next(numbers))
    assert store._checkpoint.exception(30) is not None

    def until_it_is_told():
        for number in numbers:
            committed(store, number)

    with pytest.raises(StateError, match="disk I/O error; give a writable --state-dir"):
        until_it_is_told()
    store.close()


# ---------------------------------------------------------------------- orders and fills


def test_an_order_comes_back_as_it_was(store):
    saved = order(1)
    store.save_orders([(saved, 1)])
    assert values(store.order("o1")) == values(saved)
    saved.status, saved.remaining, saved.client_order_id = Status.CANCELED, 0, "renamed"
    store.save_orders([(saved, 1)])
    assert values(store.order("o1")) == values(saved)
    assert store.resting_orders() == []
    assert store.order("o2") is None


def test_a_fill_comes_back_as_it_was(store):
    store.save_fills([("t", "o1", 100, 3, "M", BID, 4200, 17, 300, True, 5, 2)])
    (found,) = store.fills(100, ALL)
    assert found == StoredFill(
        "t", "o1", 100, 3, "M", BID, 4200, 17, 300, is_taker=True, time_ms=5, exchange_index=2, number=1
    )
    assert found.is_taker is True
    assert store.fills(101, ALL) == []
    assert (store.last_fill(), store.fees()) == (1, 300)


def test_ranges(store):
    for number in range(1, 6):
        status = Status.RESTING if number % 2 else Status.CANCELED
        store.save_orders([
            (order(number, subaccount=number % 2, ticker="AB"[number % 2], status=status, exchange_index=number % 3), -number)
        ])  # fmt: skip
        store.save_fills([
            (f"t{number}", f"o{number % 2}", 100, number % 2, "AB"[number % 2], 1, 1, 1, 1, False, number * 1000, number % 3)
        ])  # fmt: skip
    store.save_orders([(order(6, account_id=101), -6)])

    def sequences(**wanted):
        return [item.sequence for item in store.orders(100, Range(**{"limit": 100} | wanted))]

    def numbers(**wanted):
        return [item.number for item in store.fills(100, Range(**{"limit": 100} | wanted))]

    for found in (sequences, numbers):
        assert found() == [5, 4, 3, 2, 1]
        assert found(limit=2) == [5, 4]
        assert found(before=3) == [2, 1]
        assert found(subaccount=0) == [4, 2]
        assert found(from_ms=2000, to_ms=4000) == [4, 3, 2]
        assert found(exchange_index=2) == [5, 2]
        assert found(ticker="B") == [5, 3, 1]
        assert found(tickers=frozenset({"A", "C"})) == [4, 2]
        assert found(tickers=frozenset()) == []
    assert sequences(ticker="B", status="resting") == [5, 3, 1]
    assert numbers(order_id="o0") == [4, 2]
    assert [(item.sequence, place) for item, place in store.resting_orders()] == [
        (6, -6),
        (5, -5),
        (3, -3),
        (1, -1),
    ]
    assert store.last_sequence() == 6


def test_a_page_is_found_in_the_index(store):
    for table, index, number in (("orders", "orders_by_account", "sequence"), ("fills", "fills_by_account", "number")):  # fmt: skip
        plan = store.database.execute(
            f"EXPLAIN QUERY PLAN SELECT {number} FROM {table} INDEXED BY {index} "
            f"WHERE account_id = 1 AND ticker = 'M' AND subaccount = 0 AND exchange_index = 0 ORDER BY {number} DESC LIMIT 5"
        ).fetchall()
        assert [row[3] for row in plan] == [f"SEARCH {table} USING COVERING INDEX {index} (account_id=?)"]


def test_a_client_order_id_is_taken_for_ever(store):
    store.use_client_ids([(100, "c1", 0), (100, "c1", 0), (100, "c1", 3)])
    assert store.has_client_order_id(100, "c1")
    assert store.has_client_order_id(100, "c1", 3)
    assert not store.has_client_order_id(100, "c1", 1)
    assert not store.has_client_order_id(101, "c1")
    assert not store.has_client_order_id(100, "c2")


def test_settlements(store):
    row = StoredSettlement(100, 1, "M", "E", 2, "scalar", 300, 1, 0, 2, 40_000, 1250, 5, 1000)
    store.save_settlement(row)
    store.save_settlement(replace(row, ticker="N", value=None, subaccount=0, time_ms=2000))
    assert store.settlements(100, ALL)[1] == replace(row, number=1)
    assert [item.ticker for item in store.settlements(100, Range(limit=5, subaccount=0))] == ["N"]
    assert [item.ticker for item in store.settlements(100, Range(limit=5, to_ms=1500))] == ["M"]
    assert store.settlements(101, ALL) == []


# ---------------------------------------------------------------------- accounts


def test_a_transaction_is_all_or_nothing(store, tmp_path):

    def twice():
        with store.transaction():
            store.add_account("one", 1)
            store.add_account("one", 1)

    with pytest.raises(StateError, match="exists already"):
        twice()
    assert store.accounts() == []
    create_account(store, "one", 5, "ed25519", 1, tier="prime", subaccounts=2)
    with pytest.raises(StateError, match="account 'one' exists already"):
        create_account(store, "one", 5, "ed25519", 1)
    other = Store(tmp_path)
    (row,) = other.accounts()
    assert (row.name, row.deposited, row.tier, row.subaccounts) == ("one", 5, "prime", 2)
    assert len(other.keys(row.account_id)) == 1
    other.close()


def test_an_account_needs_a_tier_and_subaccounts_that_exist(store):
    with pytest.raises(StateError, match="no tier 'gold'; the tiers are basic, advanced"):
        create_account(store, "one", 5, "ed25519", 1, tier="gold")
    with pytest.raises(StateError, match="0 to 63 numbered subaccounts, not 64"):
        create_account(store, "one", 5, "ed25519", 1, subaccounts=64)
    assert store.accounts() == []


def test_a_transfer_id_belongs_to_one_transfer_of_an_account(store):
    first = store.save_transfer(TransferRow(100, "t1", 0, 1, 0, 0, 50, 1000))
    second = store.save_transfer(TransferRow(100, "t2", 1, 2, 0, 3, 60, 2000))
    store.save_transfer(TransferRow(101, "t1", 0, 1, 0, 0, 70, 3000))
    with pytest.raises(sqlite3.IntegrityError):
        store.save_transfer(TransferRow(100, "t1", 0, 1, 0, 0, 50, 4000))
    assert store.has_transfer(100, "t1")
    assert not store.has_transfer(101, "t2")
    assert store.transfers(100, ALL) == [second, first]
    assert store.transfers(100, Range(limit=5, subaccount=0)) == [first]
    assert store.transfers(100, Range(limit=5, before=second.number)) == [first]


# ---------------------------------------------------------------------- log and ids


def test_events_by_account_kind_and_number(store):
    for account, kind in (("a", "accepted"), ("b", "accepted"), ("a", "closed")):
        store.log(5, account, kind, {"n": 1})
    assert [row["sequence"] for row in store.events()] == [1, 2, 3]
    assert store.events("a", "accepted") == [
        {"sequence": 1, "time_ms": 5, "account": "a", "kind": "accepted", "n": 1}
    ]
    assert [row["kind"] for row in store.events("a", since=1)] == ["closed"]


def test_ids_ascend_and_no_start_repeats_one_of_another(tmp_path):
    store = Store(tmp_path)
    now_ms = 1_700_000_000_000
    made = []
    for _ in range(3):
        ids = Ids(store, lambda: now_ms, 7)
        made.append([ids() for _ in range(1000)])
    store.close()
    assert all(run == sorted(run) for run in made)
    assert len({item for run in made for item in run}) == 3000
    assert all(len(item) == 36 and item[14] == "7" and item[19] == "8" for run in made for item in run)
    again = Store(tmp_path / "again")
    ids = Ids(again, lambda: now_ms, 7)
    assert [ids() for _ in range(1000)] == made[0]
    again.close()
