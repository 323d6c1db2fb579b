"""Times, dates and log lines for people."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple

from soloist_trader.core import records
from soloist_trader.core.records import Record
from soloist_trader.core.units import ACTIVE, HALTED, TRIGGERED

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_DISTANT: Final = "9999-12-31T23:59:59.999Z"
INFO: Final = "INFO"
WARNING: Final = "WARNING"
ERROR: Final = "ERROR"


class Line(NamedTuple):
    """One row of `logs`, without its number."""

    level: str
    market: str
    client_order_id: str
    message: str


def time_text(time_ms: int) -> str:
    """Milliseconds since 1970 as `2026-01-31T12:00:00.000Z`; sorts like the number."""
    try:
        moment = _EPOCH + timedelta(milliseconds=time_ms)
    except OverflowError:
        return _DISTANT
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03d}Z"


def date_text(day: int) -> str:
    """Days since 1970 as `2026-01-31`."""
    return time_text(day * 86_400_000)[:10]


def plain(text: str) -> str:
    """A text that both databases take: PostgreSQL refuses the character zero."""
    return text.replace("\0", "\N{REPLACEMENT CHARACTER}")


def line(record: Record) -> Line | None:  # noqa: C901, PLR0912 one case for each kind that is said
    """What a record says to a person; None for what the other tables hold."""
    order = getattr(record, "client_order_id", "")
    market = getattr(record, "market", "")

    def say(level: str, message: str) -> Line:
        return Line(level, plain(market), plain(order), plain(message))

    match record:
        case records.Started():
            return say(INFO, f"engine began: mode {record.mode}, epoch {record.epoch}")
        case records.Deployed():
            image = record.image or "not said"
            hashes = f"configuration {record.configuration_sha256}, strategy {record.strategy_sha256}"
            return say(INFO, f"engine runs: image {image}, {hashes}")
        case records.Stopped(proven=True):
            return say(INFO, f"engine stopped, nothing of ours rests: {record.message}")
        case records.Stopped():
            return say(ERROR, f"engine stopped, but nothing proves that no order rests: {record.message}")
        case records.Latched(state=state):
            level = {ACTIVE: INFO, HALTED: ERROR}.get(state, WARNING)
            return say(level, f"{record.actor}: {state}, {record.reason}")
        case records.Doubted():
            return say(ERROR, f"outcome of sending is not known: {record.reason}")
        case records.Tombstoned():
            return say(WARNING, "the id is about to be burnt")
        case records.Released(code="NotSent" | "Absent"):
            return say(WARNING, f"{record.code}: {record.message}")
        case records.Released():
            return say(ERROR, f"refused, {record.code}: {record.message}")
        case records.Contradicted():
            return say(ERROR, f"evidence contradicts the order: {record.contradiction}")
        case records.Found():
            return say(WARNING, "an own order that this journal never intended")
        case records.PositionAdopted():
            return say(INFO, f"position adopted from the venue: {record.size} (1/100 contract)")
        case records.GroupChanged(state=state):
            return say(WARNING if state == TRIGGERED else INFO, f"order group {record.role} is {state}")
        case records.Settled():
            return say(INFO, f"settled {record.result}")
        case records.CashAdjusted():
            return say(INFO, f"cash of {record.amount} (1/1 000 000 dollar): {record.reason}")
        case records.FeesAdjusted():
            return say(INFO, f"fees adjusted by {record.amount} (1/1 000 000 dollar)")
        case records.MarketReleased():
            return say(WARNING, f"{record.actor} lets the market trade again: {record.reason}")
        case records.VenueRecovered():
            return say(ERROR, f"the journal was gone, recovered from the venue: {record.reason}")
        case records.DayBegan():
            return say(INFO, f"trading day {date_text(record.day)} began")
        case _:
            return None
