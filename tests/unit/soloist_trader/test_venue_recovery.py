"""The journal is gone: whether the safety record may be believed, as a table; and what the day made at worst."""

import json

import pytest
from soloist_trader.core import events
from soloist_trader.core.units import ASK, BID
from soloist_trader.shell.venue_recovery import (
    DAY_MS,
    REPORT_BYTES,
    Evidence,
    OwnOrder,
    SafetyRecord,
    fit,
    judge,
    made_today,
    read_record,
)

DAY = 20_000
NOON_MS = DAY * DAY_MS + DAY_MS // 2
EPOCH = 4


def record(**changes):
    values = {
        "as_of_ms": NOON_MS,
        "epoch": EPOCH,
        "sequence": 7,
        "day": DAY,
        "day_profit": -5_000_000,
    } | changes
    return SafetyRecord(**values)


def order(created_ms, name="s1", *, resting=False):
    return OwnOrder(name, f"v-{name}", "M", resting, created_ms)


def fill(time_ms, side=BID, price=5_000, size=100, name="s1", fill_id="f"):
    return events.FillSeen(
        0, f"{fill_id}{time_ms}", f"v-{name}", "", "M", side, price, size, 1_000, is_taker=True, fill_time_ms=time_ms
    )  # fmt: skip


def evidence(orders=(), fills=(), settlements=()):
    return Evidence(list(orders), list(fills), list(settlements))


@pytest.mark.parametrize(
    ("safety", "found", "fenced_ms", "trusted", "reason"),
    [
        (record(), evidence([order(NOON_MS - 1)]), 0, True, "nothing of ours is later"),
        (record(), evidence(), 0, True, "nothing of ours is later"),
        (None, evidence([order(NOON_MS - 1)]), 0, False, "no safety record"),
        (record(), evidence([order(NOON_MS + 1)]), 0, False, "1 own orders and 0 own fills are later"),
        (record(), evidence([order(0)]), 0, False, "1 own orders and 0 own fills are later"),  # of an unknown time
        (record(), evidence([order(1)], [fill(NOON_MS + 1)]), 0, False, "0 own orders and 1 own fills are later"),
        (record(), evidence([order(1)], [fill(NOON_MS + 1, name="other")]), 0, True, "nothing of ours"),
        (record(epoch=EPOCH + 1), evidence(), 0, False, "is of epoch 5, this engine of 4"),
        (record(epoch=EPOCH - 1), evidence(), NOON_MS + 15_000, True, "nothing of ours is later"),
        (record(epoch=EPOCH - 1), evidence(), NOON_MS + 15_001, False, "15001 ms old when the fence"),
        (record(), evidence(), NOON_MS + 900_000, True, "nothing of ours is later"),
    ],
)  # fmt: skip
def test_the_record_is_believed_only_if_nothing_can_be_missing(safety, found, fenced_ms, trusted, reason):
    verdict = judge(safety, found, NOON_MS + 20_000, EPOCH, fenced_ms)
    assert verdict.trusted is trusted
    assert reason in verdict.reason


def test_of_record_and_venue_the_worse_day_counts():
    lost = evidence([order(1)], [fill(NOON_MS - 20, BID, 6_000), fill(NOON_MS - 10, ASK, 2_000)])
    assert made_today(lost, DAY * DAY_MS) == -400_000 - 2_000
    assert judge(record(day_profit=-1), lost, NOON_MS, EPOCH, 0).day_profit == -402_000
    assert judge(record(day_profit=-900_000), lost, NOON_MS, EPOCH, 0).day_profit == -900_000
    assert judge(record(day=DAY - 1, day_profit=-900_000), lost, NOON_MS, EPOCH, 0).day_profit == -402_000
    assert judge(None, evidence(), NOON_MS, EPOCH, 0).day_profit == 0


def test_a_gain_is_never_a_reason_to_risk_more():
    won = evidence([order(1)], [fill(NOON_MS - 20, BID, 2_000), fill(NOON_MS - 10, ASK, 6_000)])
    assert made_today(won, DAY * DAY_MS) == 398_000
    assert judge(record(day_profit=5_000), won, NOON_MS, EPOCH, 0).day_profit == 0


def test_settlements_of_the_day_count_and_yesterdays_and_others_fills_do_not():
    settled = events.SettlementSeen(0, "M", "no", NOON_MS, 0, 100, 0, 1_000, 0)
    bought = [fill(NOON_MS - 20, BID, 6_000), fill(NOON_MS - 2 * DAY_MS, BID, 9_000), fill(NOON_MS, name="x")]
    assert made_today(evidence([order(1)], bought, [settled]), DAY * DAY_MS) == -600_000 - 1_000


def test_the_report_lists_what_cannot_be_known_and_what_is_later():
    found = evidence([order(NOON_MS + 5, "s9", resting=True)], [fill(NOON_MS + 6, name="s9")])
    safety = record(latches={"person": ("HALTED", "ada: look")})
    lines = "\n".join(judge(safety, found, NOON_MS + 20, EPOCH, 0).lines)
    for part in (
        "own order later than the record: s9",
        "own fill later",
        "latch of the record: person HALTED, ada: look",
    ):
        assert part in lines
    assert "not known any more" in lines


def test_a_record_is_read_back_from_the_annotation():
    safety = record(latches={"risk": ("REDUCING", "loss")}, groups={"open": "g1"})
    report = {"epoch": EPOCH, "safety": safety.as_json()}
    assert read_record(json.dumps(report)) == safety


@pytest.mark.parametrize(
    "text", ["", "{}", "null", '{"epoch": 1, "safety": []}', '{"epoch": 1, "safety": {"asOf": 1}}']
)
def test_an_annotation_without_a_record_is_none(text):
    assert read_record(text) is None


def test_the_annotation_stays_small_and_keeps_the_record():
    safety = record(latches={f"actor-{number}": ("REDUCING", "why " * 50) for number in range(6)})
    report = fit({"message": "m" * 300, "safety": safety.as_json()})
    assert len(json.dumps(report, separators=(",", ":"))) <= REPORT_BYTES
    assert set(read_record(json.dumps({"epoch": 1, **report})).latches) == set(safety.latches)
