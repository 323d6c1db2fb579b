"""Records to rows. The state is the core's own ledger, so that rows say what the engine believed.

Rows are kept until `flush`, which the caller makes inside of the transaction that also keeps the position in the
journal. The ledger itself is kept there, too: a run goes on where the last one ended without reading again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from soloist_trader.core import records
from soloist_trader.core.ledger import Ledger
from soloist_trader.core.orders import Order
from soloist_trader.core.positions import Position
from soloist_trader.core.records import Record
from soloist_trader.core.units import ONE_DOLLAR_PRICE, SIDE_NAMES
from soloist_trader.store import schema
from soloist_trader.store.database import Database
from soloist_trader.store.markets import add_fees, load_market, recompute
from soloist_trader.store.trades import SETTLEMENT_KEY, Fill, MarketTrades, Origin, Payout
from soloist_trader.store.words import line, plain, time_text

SNAPSHOT_EVERY_MS: Final = 300_000
"""A row of `account_snapshots` for the first comparison with the venue in each of these; and for other reasons."""

_KEYS: Final = {
    "trades": ("trade_id",),
    "account_snapshots": ("record",),
    "logs": ("record",),
    "orders": ("client_order_id",),
    "fills": ("fill_id",),
    "settlements": ("market", "settled_ms"),
    "positions": ("market",),
}
_UPSERT: Final = {table: schema.upsert(table, keys) for table, keys in _KEYS.items()}


class Projector:
    """What the tables will say after the next flush."""

    def __init__(self, database: Database, ledger: Ledger, record: int, snapshot_interval: int) -> None:
        self.database = database
        self.ledger = ledger
        self.record = record
        """Number of the last record, counted from the journal's first."""
        self.snapshot_interval = snapshot_interval
        self.last_time_ms = 0
        self._rows: dict[str, dict[Any, tuple[Any, ...]]] = {table: {} for table in _KEYS}
        self._orders: set[str] = set()
        self._positions: set[str] = set()
        self._markets: dict[str, MarketTrades] = {}
        self._special: Final[dict[type, Callable[[Any], None]]] = {
            records.Booked: self._booked,
            records.Settled: self._settled,
            records.FeesAdjusted: self._fees_adjusted,
            records.PositionAdopted: self._adopted,
        }

    def begin_at_snapshot(self) -> None:
        """The journal's first records are gone: take over what a snapshot of the engine says of now."""
        for market, position in self.ledger.positions.items():
            trades = self._market(market)
            trades.begin(Origin(position.count, position.basis, position.opened_ms, "snapshot"), self.record)
            trades.realised_outside, trades.fees_outside = position.realised, position.fees
            self._positions.add(market)
        self._orders.update(self.ledger.orders)

    def apply(self, record: Record) -> None:
        """Take one record."""
        self.record += 1
        self.last_time_ms = record.time_ms
        if isinstance(record, records.CursorMoved):
            self._keep_orders()  # the ledger is about to forget what is settled and old
        special = self._special.get(type(record))
        if special is not None:
            special(record)
        else:
            self.ledger.apply(record)
        client_order_id = getattr(record, "client_order_id", "")
        if client_order_id:
            self._orders.add(client_order_id)
        said = line(record)
        if said is not None:
            row = (self.record, time_text(record.time_ms), record.time_ms, said.level, type(record).__name__)
            self._rows["logs"][self.record] = (*row, *said[1:])
        self._snapshot(record)

    # -- trades

    def _market(self, market: str) -> MarketTrades:
        trades = self._markets.get(market)
        if trades is None:
            trades = self._markets[market] = load_market(self.database, market)
        return trades

    def _booked(self, record: records.Booked) -> None:
        if self.ledger.is_booked(record.fill_id):
            return
        # Where the core puts a fill that became known after the core had folded what is older.
        order_ms = max(record.fill_time_ms, self.ledger.horizon_ms - 1)
        trades = self._market(record.market)
        self.ledger.apply(record)
        order = self.ledger.orders.get(record.client_order_id)
        strategy = order.slot.strategy if order else ""
        fill = Fill(
            order_ms,
            plain(record.fill_id),
            record.side,
            record.price,
            record.size,
            record.fee,
            0,
            plain(record.client_order_id),
            plain(strategy),
            record.fill_time_ms,
            self.ledger.day,
        )
        self._rows["fills"][fill.fill_id] = (
            fill.fill_id,
            self.record,
            fill.client_order_id,
            plain(record.order_id),
            fill.strategy,
            plain(record.market),
            SIDE_NAMES[fill.side],
            fill.price,
            fill.size,
            fill.fee,
            0,
            int(record.is_taker),
            time_text(fill.filled_ms),
            fill.filled_ms,
            order_ms,
            fill.day,
        )
        if (order_ms, fill.fill_id) > trades.last:
            trades.add(fill)
            self._positions.add(record.market)
        else:
            self._recompute(record.market, (order_ms, fill.fill_id))

    def _recompute(self, market: str, key: tuple[int, str]) -> None:
        self._write(self.database)
        self._positions.add(market)
        recompute(self.database, self._market(market), key)

    def _settled(self, record: records.Settled) -> None:
        key = (plain(record.market), record.settled_time_ms)
        known = key in self._rows["settlements"] or self.database.rows(
            "SELECT 1 FROM settlements WHERE market = ? AND settled_ms = ?", key
        )
        trades = self._market(record.market)
        self.ledger.apply(record)
        if known:
            return
        exact = record.value * record.count_yes + (ONE_DOLLAR_PRICE - record.value) * record.count_no
        order_ms = max(record.settled_time_ms, self.ledger.horizon_ms - 1)
        payout = Payout(
            order_ms,
            SETTLEMENT_KEY,
            record.settled_time_ms,
            record.value,
            record.revenue - exact,
            self.ledger.day,
        )
        in_sequence = (order_ms, SETTLEMENT_KEY) > trades.last
        if not in_sequence:
            trades.realised_outside += payout.residue  # as it says of itself until it is computed again
        trade_id = trades.settle(payout) if in_sequence else ""
        self._rows["settlements"][key] = (
            key[0],
            record.settled_time_ms,
            time_text(record.settled_time_ms),
            self.record,
            plain(record.result),
            record.value,
            record.revenue,
            payout.residue,
            record.count_yes,
            record.count_no,
            record.fee,
            order_ms,
            payout.day,
            trade_id,
        )
        self._positions.add(record.market)
        if not in_sequence:
            self._recompute(record.market, (order_ms, SETTLEMENT_KEY))

    def _fees_adjusted(self, record: records.FeesAdjusted) -> None:
        trades = self._market(record.market)
        self.ledger.apply(record)
        self._positions.add(record.market)
        self._write(self.database)
        fills = self.database.rows(
            "SELECT order_ms, fill_id FROM fills WHERE client_order_id = ? AND market = ? AND record > ?",
            (plain(record.client_order_id), plain(record.market), trades.since_record),
        )
        if not fills:
            trades.fees_outside += record.amount
            return
        key = max((int(order_ms), str(fill_id)) for order_ms, fill_id in fills)
        self.database.execute(
            "UPDATE fills SET fee_adjustment = fee_adjustment + ? WHERE fill_id = ?", (record.amount, key[1])
        )
        add_fees(self.database, trades, key, record.amount)

    def _adopted(self, record: records.PositionAdopted) -> None:
        trades = self._market(record.market)
        self.ledger.apply(record)
        trades.begin(Origin(record.size, record.cost, record.time_ms, "adopted"), self.record)
        trades.realised_outside = trades.fees_outside = 0  # the ledger begins to count anew
        self._positions.add(record.market)

    # -- rows

    def _snapshot(self, record: Record) -> None:
        interval = record.time_ms // SNAPSHOT_EVERY_MS
        match record:
            case records.CursorMoved() if interval != self.snapshot_interval:
                self.snapshot_interval = interval
            case records.Started() | records.Latched() | records.DayBegan() | records.Stopped():
                pass
            case _:
                return
        ledger = self.ledger
        positions = ledger.positions.values()
        state_reason = "; ".join(
            f"{actor}: {reason}" for actor, (_, reason) in sorted(ledger.latches.items())
        )
        profit = ledger.profit()
        self._rows["account_snapshots"][self.record] = (
            self.record,
            time_text(record.time_ms),
            record.time_ms,
            type(record).__name__,
            ledger.state,
            plain(state_reason),
            ledger.expected_cash() if ledger.cash_known else None,
            sum(position.basis for position in positions),
            sum(position.worst_loss() for position in positions),
            sum(position.realised for position in positions),
            sum(position.fees for position in positions),
            profit,
            profit - ledger.day_profit,
            sum(1 for position in positions if position.count),
            ledger.unsettled_count(),
        )

    def _keep_orders(self) -> None:
        for client_order_id in self._orders:
            order = self.ledger.orders.get(client_order_id)
            if order is not None:
                self._rows["orders"][client_order_id] = _order_row(order)
        self._orders.clear()

    def _write(self, database: Database) -> None:
        self._keep_orders()
        for market in self._positions:
            trades = self._market(market)
            self._rows["positions"][market] = _position_row(market, self.ledger.position(market), trades)
        self._positions.clear()
        for trades in self._markets.values():
            for trade in trades.changed.values():
                self._rows["trades"][trade.trade_id] = tuple(
                    plain(value) if isinstance(value, str) else value for value in trade.row()
                )
            trades.changed.clear()
        for table, rows in self._rows.items():
            if rows:
                database.execute_many(_UPSERT[table], list(rows.values()))
                rows.clear()

    def flush(self) -> None:
        """Write every changed row, inside of the caller's transaction."""
        self._write(self.database)


def _order_row(order: Order) -> tuple[Any, ...]:
    slot = order.slot
    return (
        plain(order.client_order_id),
        plain(order.order_id),
        plain(slot.strategy),
        plain(slot.market),
        SIDE_NAMES[slot.side],
        plain(slot.level),
        order.price,
        order.size,
        order.evidence,
        order.booked,
        order.fees,
        str(order.label),
        int(order.settled),
        plain(order.release_code),
        str(order.contradiction),
        order.time_in_force,
        int(order.reduce_only),
        order.group,
        time_text(order.intended_ms),
        order.intended_ms,
        order.updated_ms,
    )


def _position_row(market: str, position: Position, trades: MarketTrades) -> tuple[Any, ...]:
    origin = trades.origin
    return (
        plain(market),
        position.count,
        position.basis,
        position.average_price,
        position.worst_loss(),
        position.realised,
        position.fees,
        position.fills,
        time_text(position.opened_ms) if position.count else "",
        position.opened_ms,
        trades.since_record,
        origin.size,
        origin.basis,
        origin.opened_ms,
        trades.since_number,
        origin.reason,
        trades.realised_outside,
        trades.fees_outside,
    )
