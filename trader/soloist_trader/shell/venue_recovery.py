"""Starting with the journal gone: what may be believed, and what a person has to know.

The safety record outside the volume (Lease) and the venue's own fills and settlements of the day are both looked at, and
the worse counts. An own order or fill later than the record, or a record too old: REDUCING until a person resumes.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any, Final

from soloist_trader.core import events
from soloist_trader.core.positions import Position, PositionFill
from soloist_trader.core.units import STATE_RANK
from soloist_trader.shell.clock import ms_to_text

DAY_MS: Final = 86_400_000
FENCE_SLACK_MS: Final = 15_000
"""The Lease's duration: a record is renewed every 5 s, so one older than this at the fence misses what came after."""
REPORT_BYTES: Final = 1_000
"""The engine's annotation is kept under 1 KB (docs/interfaces.md)."""
_REASON_LENGTH: Final = 40


@dataclass(frozen=True, slots=True)
class SafetyRecord:
    """What the Lease remembers of an engine. Money in 1/1 000 000 dollar; latches by actor: (state, reason)."""

    as_of_ms: int
    epoch: int
    sequence: int
    day: int
    day_profit: int
    """Made since the day began, fees and open positions included."""
    latches: dict[str, tuple[str, str]] = field(default_factory=dict)
    groups: dict[str, str] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """For the Lease's annotation."""
        return {
            "asOf": self.as_of_ms,
            "sequence": self.sequence,
            "day": self.day,
            "dayProfit": self.day_profit,
            "latches": {
                actor: [state, reason[:_REASON_LENGTH]] for actor, (state, reason) in self.latches.items()
            },
            "groups": self.groups,
        }


def fit(report: dict[str, Any]) -> dict[str, Any]:
    """A report that keeps within the annotation: words for people go first, the safety record never."""
    message = str(report.get("message", ""))
    while len(json.dumps(report, separators=(",", ":"))) > REPORT_BYTES and message:
        message = message[: len(message) * 2 // 3]
        report = {**report, "message": message}
    return report


def read_record(annotation: str) -> SafetyRecord | None:
    """The safety record of the engine's annotation; None if it holds none that can be read."""
    try:
        report = json.loads(annotation)
        safety = report["safety"]
        return SafetyRecord(
            int(safety["asOf"]),
            int(report["epoch"]),
            int(safety["sequence"]),
            int(safety["day"]),
            int(safety["dayProfit"]),
            {
                str(actor): (str(state), str(reason))
                for actor, (state, reason) in safety["latches"].items()
                if state in STATE_RANK
            },
            {str(role): str(group_id) for role, group_id in safety["groups"].items()},
        )
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


@dataclass(frozen=True, slots=True)
class OwnOrder:
    """An own order as the venue lists it. `created_ms` 0 where it does not say when, which nothing good is made of."""

    client_order_id: str
    order_id: str
    market: str
    is_resting: bool
    created_ms: int


@dataclass(frozen=True, slots=True)
class Evidence:
    """What the venue shows of the day: own orders in all statuses, the account's fills and settlements, oldest first or not."""

    orders: list[OwnOrder]
    fills: list[events.FillSeen]
    settlements: list[events.SettlementSeen]

    @property
    def is_empty(self) -> bool:
        """Nothing of ours."""
        return not self.orders


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether the record is trusted, why (not), what the day made at worst, and the report's lines."""

    trusted: bool
    reason: str
    day_profit: int
    lines: list[str]


def made_today(evidence: Evidence, day_start_ms: int) -> int:
    """Realised by the venue's fills and settlements since a moment, fees included, as money.

    What was open before is not known, so a fill that closes it counts as one that opens: an estimate, named as one.
    """
    positions: dict[str, Position] = {}
    own = {order.order_id for order in evidence.orders}
    moves = [(fill.fill_time_ms, 0, fill) for fill in evidence.fills if fill.order_id in own]
    for time_ms, _, fill in sorted(moves, key=lambda move: (move[0], move[2].fill_id)):
        if time_ms >= day_start_ms:
            move = PositionFill(time_ms, fill.fill_id, fill.side, fill.price, fill.size)
            positions.setdefault(fill.market, Position()).book(move, fill.fee)
    for settlement in sorted(evidence.settlements, key=lambda row: row.settled_time_ms):
        held = positions.get(settlement.market)
        if held is not None and settlement.settled_time_ms >= day_start_ms:
            held.settle(settlement.settled_time_ms, settlement.value, 0)
    return sum(position.realised - position.fees for position in positions.values())


def judge(
    record: SafetyRecord | None, evidence: Evidence, now_ms: int, epoch: int, fenced_ms: int
) -> Verdict:
    """Compare the record with the venue. `fenced_ms` is when this engine's key came; pure, see the table of tests."""
    day = now_ms // DAY_MS
    made = made_today(evidence, day * DAY_MS)
    order_ids = {order.order_id for order in evidence.orders}
    lines = [
        f"own orders of the last day at the venue: {len(evidence.orders)}",
        f"of them resting, cancelled by id before trading: {sum(order.is_resting for order in evidence.orders)}",
        f"made today by the venue's fills and settlements, what was open before not counted: {made} (1/1 000 000 dollar)",
        "not known any more: which strategy level each position belongs to, and fills before the venue's live window",
    ]
    if record is None:
        reason = "the journal is gone and there is no safety record"
        return Verdict(trusted=False, reason=reason, day_profit=min(made, 0), lines=lines)
    kept = record.day_profit if record.day == day else 0
    lines.append(f"safety record of {ms_to_text(record.as_of_ms)}: made that day {record.day_profit}")
    later_orders = [
        order.client_order_id
        for order in evidence.orders
        if not order.created_ms or order.created_ms > record.as_of_ms  # one without a time may be later
    ]
    later_fills = [
        fill.fill_id
        for fill in evidence.fills
        if fill.order_id in order_ids and fill.fill_time_ms > record.as_of_ms
    ]
    lines += [f"own order later than the record: {name}" for name in later_orders]
    lines += [f"own fill later than the record: {name}" for name in later_fills]
    lines += [
        f"latch of the record: {actor} {state}, {why}" for actor, (state, why) in record.latches.items()
    ]
    reason = ""
    if later_orders or later_fills:
        reason = f"{len(later_orders)} own orders and {len(later_fills)} own fills are later than the safety record"
    elif record.epoch > epoch:
        reason = f"the safety record is of epoch {record.epoch}, this engine of {epoch}"
    elif record.epoch < epoch and fenced_ms - record.as_of_ms > FENCE_SLACK_MS:
        reason = f"the safety record was {fenced_ms - record.as_of_ms} ms old when the fence gave this engine its key"
    return Verdict(
        not reason,
        f"the journal is gone; {reason or 'nothing of ours is later than the safety record'}",
        min(made, kept, 0),
        lines,
    )
