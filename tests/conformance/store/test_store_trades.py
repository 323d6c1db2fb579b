"""Trades, days and positions from fills, to the last unit, the same in SQLite and PostgreSQL."""

from __future__ import annotations

import random

import pytest
from soloist_trader.core import events
from soloist_trader.core.strategy import Target
from soloist_trader.core.units import BID, IMMEDIATE_OR_CANCEL
from soloist_trader.store import check, open_database, query_names, read_query, rebuild
from soloist_trader.store.schema import TABLES

from tests.conformance.store.store_world import DAY_MS, Trader, dump, live

pytestmark = pytest.mark.timeout(30, func_only=True)  # the first use may install the server

RUNBOOK = {
    "recent-trades",
    "daily-performance",
    "active-positions",
    "recent-errors",
    "account-snapshots",
}
ORIGIN = (
    "SELECT * FROM trades ORDER BY entry_time DESC LIMIT 20",
    "SELECT * FROM daily_performance ORDER BY trade_date DESC LIMIT 7",
    "SELECT * FROM active_positions",
    "SELECT * FROM recent_errors LIMIT 50",
    "SELECT * FROM account_snapshots ORDER BY created_at DESC LIMIT 20",
)


def told(database, trader, name):
    """The rows of a query, after everything so far."""
    rebuild(database, trader.journal.directory)
    assert check(database, trader.journal.directory).differences == []
    return read_query(database, name)


def only(row, *names):
    return tuple(row[name] for name in names)


def test_a_round_trip_is_one_trade_with_exact_money(database, trader):
    trader.buy(4_100, 150, fee=12_345)
    trader.sell(4_500, 150, fee=678)
    (trade,) = told(database, trader, "recent-trades")
    assert only(trade, "side", "status", "contracts", "entry_price_dollars", "exit_price_dollars") == (
        "YES", "closed", "1.50", "0.4100", "0.4500",
    )  # fmt: skip
    assert only(trade, "before_fees_dollars", "fees_dollars", "profit_dollars") == (
        "0.060000", "0.013023", "0.046977",
    )  # fmt: skip
    assert only(trade, "strategy", "exit_reason") == ("wish", "fill")
    assert trade["entry_time"] < trade["exit_time"]


def test_a_trade_in_parts_stays_open_until_it_is_flat(database, trader):
    trader.buy(4_000, 100)
    trader.buy(5_000, 300)
    trader.sell(6_000, 100)
    (trade,) = told(database, trader, "recent-trades")
    # basis 19.00 dollars for 4 contracts, a quarter of it leaves at 6.00
    assert only(trade, "status", "contracts", "entry_price_dollars", "exit_time") == (
        "open", "4.00", "0.4750", None,
    )  # fmt: skip
    assert only(trade, "before_fees_dollars", "exit_price_dollars") == ("0.125000", "0.6000")


def test_turning_around_ends_one_trade_and_begins_the_next_and_divides_the_fee(database, trader):
    trader.buy(4_000, 100)
    place = trader.place(Target(BID, "more", 4_000, 100, IMMEDIATE_OR_CANCEL))
    trader.book(place, 100, 0)
    # A fill on the other side that is larger than what is held, as the venue may report it.
    trader.step(
        events.FillSeen(
            trader.now_ms + 1,
            "turn",
            f"v-{place.client_order_id}",
            place.client_order_id,
            "M",
            -1,
            5_000,
            300,
            100,
            True,  # noqa: FBT003 a tuple's field
            trader.now_ms + 1,
        )
    )
    trader.commit()
    after, before = told(database, trader, "recent-trades")
    assert only(before, "side", "status", "contracts", "before_fees_dollars", "fees_dollars", "exit_reason") == (
        "YES", "closed", "2.00", "0.200000", "0.000066", "flip",
    )  # fmt: skip
    assert only(after, "side", "status", "contracts", "fees_dollars", "exit_reason") == (
        "NO", "open", "1.00", "0.000034", None,
    )  # fmt: skip


def test_a_fill_that_comes_late_is_put_where_it_belongs(database, trader):
    trader.buy(4_000, 100)
    trader.sell(5_000, 100)
    assert len(told(database, trader, "recent-trades")) == 1
    # Bought a millisecond after the first, known only now: the trade did not end with the sale.
    trader.trade(Target(BID, "entry", 3_000, 100, IMMEDIATE_OR_CANCEL), late_ms=70_000)
    (trade,) = told(database, trader, "recent-trades")
    assert only(trade, "status", "contracts", "before_fees_dollars", "entry_price_dollars") == (
        "open", "2.00", "0.150000", "0.3500",
    )  # fmt: skip


def test_a_settlement_ends_the_trade_and_its_rounding_is_profit(database, trader):
    trader.buy(4_000, 150)
    trader.settle(10_000, residue=-2_500)
    (trade,) = told(database, trader, "recent-trades")
    assert only(trade, "exit_reason", "exit_price_dollars", "profit_dollars") == (
        "settlement", "1.0000", "0.897500",
    )  # fmt: skip
    assert database.rows("SELECT revenue, residue, trade_id FROM settlements") == [(1_497_500, -2_500, "f1")]


def test_an_order_whose_total_fees_differ_corrects_its_trade(database, trader):
    target = Target(BID, "entry", 4_000, 100, IMMEDIATE_OR_CANCEL)
    trader.trade(target, fee=10_000, fees=9_900)
    (trade,) = told(database, trader, "recent-trades")
    assert trade["fees_dollars"] == "0.009900"
    assert database.rows("SELECT fee, fee_adjustment FROM fills") == [(10_000, -100)]


def test_fees_of_a_trade_that_ended_are_corrected_and_stay_so_when_a_late_fill_comes(database, trader):
    trader.trade(Target(BID, "entry", 4_000, 100, IMMEDIATE_OR_CANCEL), fee=10_000, fees=9_900)
    trader.trade(Target(-BID, "exit", 4_500, 100, IMMEDIATE_OR_CANCEL), fee=500, fees=700)
    (trade,) = told(database, trader, "recent-trades")
    assert only(trade, "status", "fees_dollars", "profit_dollars") == ("closed", "0.010600", "0.039400")
    trader.trade(Target(BID, "entry", 4_000, 100, IMMEDIATE_OR_CANCEL), fee=1, late_ms=70_000)
    (trade,) = told(database, trader, "recent-trades")
    assert only(trade, "status", "fees_dollars") == ("open", "0.010601")


def test_daily_performance_counts_a_trade_on_the_day_it_ended(database, trader):
    trader.buy(4_000, 100)
    trader.now_ms += DAY_MS
    trader.tick()
    trader.top()
    trader.sell(4_300, 100, fee=1)
    trader.buy(4_300, 100)
    trader.sell(4_200, 100)
    trader.now_ms += DAY_MS
    trader.tick()
    trader.top()
    trader.buy(4_000, 300)
    trader.sell(4_100, 300)
    newest, first = told(database, trader, "daily-performance")
    names = (
        "trade_date", "total_trades", "wins", "losses", "win_rate_percent", "profit_dollars", "before_fees_dollars",
        "fees_dollars", "average_dollars", "best_dollars", "worst_dollars",
    )  # fmt: skip
    assert tuple(first) == names
    assert only(first, *names) == (
        "1970-01-02", 2, 1, 1, "50.00", "0.019999", "0.020000", "0.000001", "0.009999", "0.029999", "-0.010000",
    )  # fmt: skip
    assert only(newest, "trade_date", "wins", "losses", "profit_dollars") == (
        "1970-01-03", 1, 0, "0.030000",
    )  # fmt: skip


def test_active_positions_shows_what_is_held(database, trader):
    trader.buy(4_000, 100)
    trader.buy(4_100, 50, fee=77)
    trader.rest()
    (held,) = told(database, trader, "active-positions")
    opened_at = held.pop("opened_at")
    trade_id = held.pop("trade_id")
    assert held == {
        "market": "M", "side": "YES", "contracts": "1.50", "average_price_dollars": "0.4033",
        "basis_dollars": "0.605000", "worst_loss_dollars": "0.605000", "realised_dollars": "0.000000",
        "fees_dollars": "0.000077", "strategy": "wish", "unsettled_orders": 0,
    }  # fmt: skip
    assert (opened_at, trade_id) == ("1970-01-01T00:17:40.100Z", "f1")
    trader.sell(4_500, 150)
    assert told(database, trader, "active-positions") == []


def test_recent_errors_shows_refusals_of_the_last_day_newest_first(database, trader):
    trader.refuse()
    trader.now_ms += DAY_MS
    trader.tick()
    trader.top()
    trader.refuse()
    trader.refuse()
    errors = told(database, trader, "recent-errors")
    assert [only(error, "event", "message") for error in errors] == [
        ("Released", "refused, insufficient_balance: no\tmoney")
    ] * 2
    assert errors[0]["record"] > errors[1]["record"]
    counts = "SELECT COUNT(*) FROM logs WHERE level = 'ERROR'"
    assert database.rows(counts) == [(3,)]


def test_account_snapshots_follow_the_account(database, trader):
    trader.buy(4_000, 100, fee=500)
    trader.now_ms += 300_000
    trader.sweep()
    trader.sweep()  # the same five minutes: no further row
    newest, *older = told(database, trader, "account-snapshots")
    assert only(newest, "reason", "state", "cash_dollars", "cost_dollars", "worst_loss_dollars") == (
        "CursorMoved", "ACTIVE", None, "0.400000", "0.400000",
    )  # fmt: skip
    assert only(newest, "profit_dollars", "fees_dollars", "open_positions", "unsettled_orders") == (
        "-0.000500", "0.000500", 1, 0,
    )  # fmt: skip
    assert [row["reason"] for row in older] == ["CursorMoved", "Started"]


def test_there_are_the_five_queries_of_the_runbook_and_all_are_tested():
    assert set(query_names()) == RUNBOOK


def test_the_runbooks_statements_run_as_they_were_written(database, trader):
    trader.refuse()
    trader.buy(4_000, 100)
    trader.sell(4_500, 100)
    trader.buy(4_000, 100)
    rebuild(database, trader.journal.directory)
    found = {statement: len(database.table(statement)[1]) for statement in ORIGIN}
    assert list(found.values()) == [2, 1, 1, 1, 2]


@pytest.mark.parametrize("seed", range(4))
def test_whatever_happened_the_trades_add_up_to_the_ledger(tmp_path, seed):
    trader = Trader(tmp_path)
    live(trader, random.Random(seed), 300)
    trader.close()
    database = open_database(tmp_path, None)
    rebuild(database, tmp_path)
    assert check(database, tmp_path).differences == []
    assert len(database.rows("SELECT 1 FROM trades")) > 5
    database.close()


def test_both_databases_hold_the_same(postgres, long_life, tmp_path):
    kept = []
    for url in (f"sqlite://{tmp_path / 'one.sqlite'}", postgres.new_database()):
        database = open_database(tmp_path, url)
        rebuild(database, long_life)
        views = ["recent_trades", "daily_performance", "active_positions", "recent_errors", "account_history"]
        everything = dump(database, [*TABLES, *views])
        kept.append({
            table: [tuple(v if isinstance(v, int | bytes) or v is None else str(v) for v in row) for row in rows]
            for table, rows in everything.items()
        })  # fmt: skip
        database.close()
    assert {table: sorted(rows, key=repr) for table, rows in kept[0].items()} == {
        table: sorted(rows, key=repr) for table, rows in kept[1].items()
    }


def test_no_table_holds_a_float(database, long_life):
    rebuild(database, long_life)
    for table, rows in dump(database, list(TABLES)).items():
        kinds = {type(value) for row in rows for value in row}
        assert kinds <= {int, str, bytes, type(None)}, table
