"""The difference table: every verdict once, from a ledger of a few records and a reading of a few rows."""

import pytest
from soloist_kalshi import messages
from soloist_trader.core import events, records
from soloist_trader.core.ledger import Ledger
from soloist_trader.core.units import BID
from soloist_trader.shell import convert
from soloist_trader.shell.difference import DIFFERS, EQUAL, FOREIGN, PENDING, differences
from soloist_trader.shell.venue import Reading

CLAIM = "unit00"
ORDER = f"s{CLAIM}-1-1-1"
START_MS = 1_000_000


def ledger(*extra):
    made = Ledger()
    for record in (
        records.Started(START_MS, CLAIM, 0, 1, 1, "Live"),
        records.CursorMoved(START_MS, START_MS),
        records.Intended(START_MS + 1, ORDER, 1, "s", "M", BID, "l", 4_000, 300, "good_till_canceled", 0, reduce_only=False),
        records.Observed(START_MS + 2, ORDER, "v1", 100, closed=False, source="reply"),
        records.Booked(START_MS + 3, "f1", ORDER, "v1", "M", BID, 4_000, 100, 700, is_taker=True, fill_time_ms=START_MS + 3),
        *extra,
    ):  # fmt: skip
        made.apply(record)
    return made


def order(name=ORDER, filled=100, *, closed=False, order_id="v1"):
    return events.OrderSeen(0, name, order_id, "M", BID, 4_000, 300, filled, closed, "listing")


def fill(fill_id="f1", order_id="v1", time_ms=START_MS + 3):
    return events.FillSeen(
        0, fill_id, order_id, "", "M", BID, 4_000, 100, 700, is_taker=True, fill_time_ms=time_ms
    )


def settlement(time_ms=START_MS + 9):
    return events.SettlementSeen(0, "M", "yes", time_ms, 1_000_000, 100, 0, 700, 10_000)


THE_ORDER, THE_FILL = order(), fill()


def reading(
    orders=(THE_ORDER,), fills=(THE_FILL,), positions=(("M", 100, 400_000),), settlements=(), balance=0
):
    return Reading(
        START_MS + 60_000,
        list(orders),
        list(fills),
        positions,
        balance=balance,
        settlements=list(settlements),
    )


def verdicts(rows, kind):
    return [row.verdict for row in rows if row.kind == kind]


def test_what_agrees_is_equal_and_cash_waits_while_something_rests():
    rows = differences(ledger(records.CashAdjusted(1, 5_000_000, "OpeningBalance")), reading(), CLAIM)
    assert [(row.kind, row.verdict) for row in rows] == [
        ("order", EQUAL), ("fill", EQUAL), ("position", EQUAL), ("cash", PENDING),
    ]  # fmt: skip
    assert rows[0].ours == "working 1.00 of 3.00"
    assert rows[0].venue == "resting 1.00 of 3.00"


@pytest.mark.parametrize(
    ("changes", "kind", "expected"),
    [
        ({"orders": []}, "order", [DIFFERS]),
        ({"orders": [order(filled=200)]}, "order", [PENDING]),
        ({"orders": [order(closed=True)]}, "order", [PENDING]),
        ({"orders": [order(), order(f"s{CLAIM}-1-1-2", 0)]}, "order", [EQUAL, DIFFERS]),
        ({"orders": [order(), order(f"s{CLAIM}-1-0-2", 0, closed=True)]}, "order", [EQUAL, EQUAL]),
        ({"orders": [order(), order("by hand", 0, order_id="v9")]}, "order", [EQUAL, FOREIGN]),
        ({"fills": [fill(), fill("f2")]}, "fill", [EQUAL, DIFFERS]),
        ({"fills": [fill("f3", "v9")]}, "fill", [FOREIGN]),
        ({"fills": [fill("f4", "v9", START_MS - 1)]}, "fill", [EQUAL]),
        ({"positions": (("M", 200, 1),)}, "position", [DIFFERS]),
        ({"positions": (("M", 100, 1), ("N", -100, 1))}, "position", [EQUAL, DIFFERS]),
        ({"positions": ()}, "position", [DIFFERS]),
        ({"settlements": [settlement()]}, "settlement", [DIFFERS]),
        ({"settlements": [settlement(START_MS)]}, "settlement", [EQUAL]),
        ({}, "cash", [PENDING]),
    ],
)
def test_every_difference_has_its_verdict(changes, kind, expected):
    assert verdicts(differences(ledger(), reading(**changes), CLAIM), kind) == expected


@pytest.mark.parametrize(("balance", "expected"), [(4_599_300, EQUAL), (4_599_301, DIFFERS)])
def test_cash_is_compared_to_the_last_unit_when_nothing_rests(balance, expected):
    held = ledger(
        records.CashAdjusted(1, 5_000_000, "OpeningBalance"),
        records.Observed(START_MS + 4, ORDER, "v1", 100, closed=True, source="cancel"),
    )
    rows = differences(held, reading(orders=[order(closed=True)], balance=balance), CLAIM)
    assert verdicts(rows, "cash") == [expected]
    assert verdicts(rows, "order") == [EQUAL]


def test_an_order_in_doubt_is_pending():
    doubt = records.Intended(START_MS + 5, f"s{CLAIM}-1-1-3", 3, "s", "M", BID, "k", 4_000, 100, "x", 0, reduce_only=False)  # fmt: skip
    rows = differences(ledger(doubt, records.Doubted(1, doubt.client_order_id, "lost")), reading(), CLAIM)
    assert verdicts(rows, "order") == [EQUAL, PENDING]


def venue_settlement(**changes):
    return messages.Settlement(
        **{
            "ticker": "M", "event_ticker": "E", "market_result": "scalar", "yes_count_fp": "1.00", "no_count_fp": "2.00",
            "yes_total_cost_dollars": "0.40", "no_total_cost_dollars": "0.90", "revenue": 165,
            "settled_time": "2026-01-02T03:04:05Z", "fee_cost": "0.0123", "value": 35, **changes,
        }
    )  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "value"),
    [
        ({}, 3_500),
        ({"market_result": "yes", "value": None}, 10_000),
        ({"market_result": "no", "value": None}, 0),
    ],
)
def test_settlements_come_in_cents_and_are_kept_in_our_units(changes, value):
    seen = convert.settlement_seen(7, venue_settlement(**changes))
    assert seen.value == value
    assert (seen.revenue, seen.count_yes, seen.count_no, seen.fee) == (1_650_000, 100, 200, 12_300)
    assert seen.settled_time_ms == 1_767_323_045_000


def test_a_settlement_without_a_value_is_said_and_never_guessed():
    with pytest.raises(ValueError, match="settlement of M with result 'void' has no value"):
        convert.settlement_seen(7, venue_settlement(market_result="void", value=None))
