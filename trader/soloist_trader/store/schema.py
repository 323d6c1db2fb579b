# ruff: noqa: S608 statements are put together from names of this module only
"""Tables and views of the store. `docs/store.md` describes each of them.

Integers are what the journal holds: price in 1/10 000 dollar per YES contract, count in 1/100 contract, money in
1/1 000 000 dollar, times in milliseconds since 1970 (UTC). Texts beside them (`entry_time`) are the same times for
people. Views write dollars and contracts as exact decimals.
"""

from __future__ import annotations

from typing import Final

from soloist_trader.store.database import Database

SCHEMA_VERSION: Final = 1
"""Raised with every change of a table or view. There is one way from any version to this one: rebuild."""

TABLES: Final = {
    # The first three columns keep name and meaning in every schema version: a rebuild reads them.
    "projected": """
        only_row BIGINT PRIMARY KEY CHECK (only_row = 1),
        schema_version BIGINT NOT NULL,
        begins_segment BIGINT NOT NULL,
        segment BIGINT NOT NULL,
        sequence BIGINT NOT NULL,
        crc BIGINT NOT NULL,
        before_sequence BIGINT NOT NULL,
        before_crc BIGINT NOT NULL,
        records BIGINT NOT NULL,
        first_record BIGINT NOT NULL,
        last_time_ms BIGINT NOT NULL,
        snapshot_interval BIGINT NOT NULL,
        ledger BYTES NOT NULL""",
    "trades": """
        trade_id TEXT PRIMARY KEY,
        market TEXT NOT NULL,
        number BIGINT NOT NULL,
        strategy TEXT NOT NULL,
        side TEXT NOT NULL CHECK (side IN ('YES', 'NO')),
        status TEXT NOT NULL CHECK (status IN ('open', 'closed')),
        opened_by TEXT NOT NULL CHECK (opened_by IN ('fill', 'flip', 'adopted', 'snapshot')),
        entry_time TEXT NOT NULL,
        entry_time_ms BIGINT NOT NULL,
        entry_order_ms BIGINT NOT NULL,
        entry_fill_id TEXT NOT NULL,
        entry_client_order_id TEXT NOT NULL,
        entry_price BIGINT NOT NULL,
        entry_value BIGINT NOT NULL,
        size BIGINT NOT NULL,
        exit_time TEXT,
        exit_time_ms BIGINT,
        exit_day BIGINT,
        exit_date TEXT,
        exit_reason TEXT CHECK (exit_reason IN ('fill', 'flip', 'settlement', 'adopted')),
        exit_client_order_id TEXT,
        exit_price BIGINT,
        exit_value BIGINT NOT NULL,
        closed_size BIGINT NOT NULL,
        open_size BIGINT NOT NULL,
        basis BIGINT NOT NULL,
        realised BIGINT NOT NULL,
        fees BIGINT NOT NULL,
        profit BIGINT NOT NULL""",
    "account_snapshots": """
        record BIGINT PRIMARY KEY,
        created_at TEXT NOT NULL,
        time_ms BIGINT NOT NULL,
        reason TEXT NOT NULL,
        state TEXT NOT NULL,
        state_reason TEXT NOT NULL,
        cash BIGINT,
        cost BIGINT NOT NULL,
        worst_loss BIGINT NOT NULL,
        realised BIGINT NOT NULL,
        fees BIGINT NOT NULL,
        profit BIGINT NOT NULL,
        day_profit BIGINT NOT NULL,
        open_positions BIGINT NOT NULL,
        unsettled_orders BIGINT NOT NULL""",
    "logs": """
        record BIGINT PRIMARY KEY,
        logged_at TEXT NOT NULL,
        time_ms BIGINT NOT NULL,
        level TEXT NOT NULL CHECK (level IN ('INFO', 'WARNING', 'ERROR')),
        event TEXT NOT NULL,
        market TEXT NOT NULL,
        client_order_id TEXT NOT NULL,
        message TEXT NOT NULL""",
    "orders": """
        client_order_id TEXT PRIMARY KEY,
        order_id TEXT NOT NULL,
        strategy TEXT NOT NULL,
        market TEXT NOT NULL,
        side TEXT NOT NULL CHECK (side IN ('bid', 'ask')),
        level TEXT NOT NULL,
        price BIGINT NOT NULL,
        size BIGINT NOT NULL,
        filled BIGINT NOT NULL,
        booked BIGINT NOT NULL,
        fees BIGINT NOT NULL,
        label TEXT NOT NULL,
        settled BIGINT NOT NULL CHECK (settled IN (0, 1)),
        release_code TEXT NOT NULL,
        contradiction TEXT NOT NULL,
        time_in_force TEXT NOT NULL,
        reduce_only BIGINT NOT NULL CHECK (reduce_only IN (0, 1)),
        group_role TEXT NOT NULL,
        intended_at TEXT NOT NULL,
        intended_ms BIGINT NOT NULL,
        updated_ms BIGINT NOT NULL""",
    "fills": """
        fill_id TEXT PRIMARY KEY,
        record BIGINT NOT NULL,
        client_order_id TEXT NOT NULL,
        order_id TEXT NOT NULL,
        strategy TEXT NOT NULL,
        market TEXT NOT NULL,
        side TEXT NOT NULL CHECK (side IN ('bid', 'ask')),
        price BIGINT NOT NULL,
        size BIGINT NOT NULL,
        fee BIGINT NOT NULL,
        fee_adjustment BIGINT NOT NULL,
        is_taker BIGINT NOT NULL CHECK (is_taker IN (0, 1)),
        filled_at TEXT NOT NULL,
        filled_ms BIGINT NOT NULL,
        order_ms BIGINT NOT NULL,
        day BIGINT NOT NULL""",
    "settlements": """
        market TEXT NOT NULL,
        settled_ms BIGINT NOT NULL,
        settled_at TEXT NOT NULL,
        record BIGINT NOT NULL,
        result TEXT NOT NULL,
        value BIGINT NOT NULL,
        revenue BIGINT NOT NULL,
        residue BIGINT NOT NULL,
        count_yes BIGINT NOT NULL,
        count_no BIGINT NOT NULL,
        fee BIGINT NOT NULL,
        order_ms BIGINT NOT NULL,
        day BIGINT NOT NULL,
        trade_id TEXT NOT NULL,
        PRIMARY KEY (market, settled_ms)""",
    "positions": """
        market TEXT PRIMARY KEY,
        size BIGINT NOT NULL,
        basis BIGINT NOT NULL,
        average_price BIGINT NOT NULL,
        worst_loss BIGINT NOT NULL,
        realised BIGINT NOT NULL,
        fees BIGINT NOT NULL,
        fills BIGINT NOT NULL,
        opened_at TEXT NOT NULL,
        opened_ms BIGINT NOT NULL,
        since_record BIGINT NOT NULL,
        since_size BIGINT NOT NULL,
        since_basis BIGINT NOT NULL,
        since_ms BIGINT NOT NULL,
        since_number BIGINT NOT NULL,
        since_reason TEXT NOT NULL,
        realised_outside BIGINT NOT NULL,
        fees_outside BIGINT NOT NULL""",
}
"""Columns by table."""

INDEXES: Final = {
    "trades_by_market": "trades (market, number)",
    "trades_by_entry": "trades (entry_time_ms)",
    "trades_by_exit": "trades (exit_day)",
    "fills_by_market": "fills (market, order_ms, fill_id)",
    "fills_by_order": "fills (client_order_id)",
    "logs_by_level": "logs (level, time_ms)",
    "snapshots_by_time": "account_snapshots (time_ms)",
}

DAY_MS: Final = 86_400_000


def views(database: Database) -> dict[str, str]:
    """Query by view. Texts are put together from names of this module only."""

    def price(column: str) -> str:
        return database.decimal(column, 4)

    def contracts(column: str) -> str:
        return database.decimal(column, 2)

    def money(column: str) -> str:
        return database.decimal(column, 6)

    total = "CAST(SUM(profit) AS BIGINT)"
    wins = "CAST(SUM(CASE WHEN profit > 0 THEN 1 ELSE 0 END) AS BIGINT)"
    losses = "CAST(SUM(CASE WHEN profit < 0 THEN 1 ELSE 0 END) AS BIGINT)"
    return {
        "daily_performance": f"""
            SELECT exit_date AS trade_date, COUNT(*) AS total_trades, {wins} AS wins, {losses} AS losses,
                {database.decimal(f"{wins} * 10000 / COUNT(*)", 2)} AS win_rate_percent,
                {money(total)} AS profit_dollars,
                {money("CAST(SUM(realised) AS BIGINT)")} AS before_fees_dollars,
                {money("CAST(SUM(fees) AS BIGINT)")} AS fees_dollars,
                {money(f"{total} / COUNT(*)")} AS average_dollars,
                {money("MAX(profit)")} AS best_dollars, {money("MIN(profit)")} AS worst_dollars
            FROM trades WHERE status = 'closed' GROUP BY exit_date""",
        "active_positions": f"""
            SELECT positions.market AS market, CASE WHEN positions.size > 0 THEN 'YES' ELSE 'NO' END AS side,
                {contracts("ABS(positions.size)")} AS contracts,
                {price("positions.average_price")} AS average_price_dollars,
                {money("positions.basis")} AS basis_dollars,
                {money("positions.worst_loss")} AS worst_loss_dollars,
                {money("trades.realised")} AS realised_dollars, {money("trades.fees")} AS fees_dollars,
                positions.opened_at AS opened_at, trades.strategy AS strategy, trades.trade_id AS trade_id,
                (SELECT COUNT(*) FROM orders WHERE orders.market = positions.market AND orders.settled = 0)
                    AS unsettled_orders
            FROM positions LEFT JOIN trades ON trades.market = positions.market AND trades.status = 'open'
            WHERE positions.size <> 0""",
        "recent_errors": f"""
            SELECT record, logged_at, event, market, client_order_id, message FROM logs
            WHERE level = 'ERROR' AND time_ms > (SELECT MAX(time_ms) FROM logs) - {DAY_MS}""",
        "recent_trades": f"""
            SELECT trade_id, market, strategy, side, status, entry_time,
                {price("entry_price")} AS entry_price_dollars, {contracts("size")} AS contracts,
                exit_time, {price("exit_price")} AS exit_price_dollars, exit_reason,
                {money("realised")} AS before_fees_dollars, {money("fees")} AS fees_dollars,
                {money("profit")} AS profit_dollars
            FROM trades""",
        "account_history": f"""
            SELECT record, created_at, reason, state, state_reason, {money("cash")} AS cash_dollars,
                {money("cost")} AS cost_dollars, {money("worst_loss")} AS worst_loss_dollars,
                {money("profit")} AS profit_dollars, {money("day_profit")} AS day_profit_dollars,
                {money("fees")} AS fees_dollars, open_positions, unsettled_orders
            FROM account_snapshots""",
    }


def create(database: Database) -> None:
    """Remove what is there and make everything anew, inside of the caller's transaction."""
    for view in views(database):
        database.execute(f"DROP VIEW IF EXISTS {view}")
    for table in TABLES:
        database.execute(f"DROP TABLE IF EXISTS {table}")
    for table, columns in TABLES.items():
        database.execute(database.define(f"CREATE TABLE {table} ({columns})"))
    for index, target in INDEXES.items():
        database.execute(f"CREATE INDEX {index} ON {target}")
    for view, query in views(database).items():
        database.execute(f"CREATE VIEW {view} AS {query}")


def column_names(table: str) -> list[str]:
    """Names of a table's columns, in their sequence."""
    lines = (line.strip() for line in TABLES[table].strip().splitlines())
    return [line.split()[0] for line in lines if line and not line.startswith("PRIMARY KEY")]


def upsert(table: str, keys: tuple[str, ...]) -> str:
    """A statement that puts one row into a table, over the row of the same keys if there is one."""
    names = column_names(table)
    changes = ", ".join(f"{name} = excluded.{name}" for name in names if name not in keys)
    marks = ", ".join("?" for _ in names)
    return (
        f"INSERT INTO {table} ({', '.join(names)}) VALUES ({marks}) "
        f"ON CONFLICT ({', '.join(keys)}) DO UPDATE SET {changes}"
    )
