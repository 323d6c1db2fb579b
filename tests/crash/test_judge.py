"""The judge of killed bots sees what it is there for."""

import pytest
from soloist_trader.core.ledger import Ledger
from soloist_trader.core.records import Booked, PositionAdopted

from tests.conformance.engine.engine_processes import Account
from tests.crash.killed_bot import KilledBot, Share


class Said(Share):
    """An exchange that says what the test says."""

    def admin(self, path, body=None):  # noqa: ARG002 as an exchange has it
        return {"events": self.log}


def bot(log, records=()):
    judge = object.__new__(KilledBot)
    judge.share = judge.exchange = Said(None, "", "", "", "", subaccount=0)
    judge.share.log = log
    judge.account, judge.claim = Account("both", "key-0", b""), "kill00"
    judge._records = lambda: list(records)
    return judge


def accepted(number, subaccount, key, claim):
    return {
        "kind": "accepted", "order_id": f"v{number}", "client_order_id": f"s{claim}-{number}", "subaccount": subaccount,
        "key_id": key,
    }  # fmt: skip


OURS, THEIRS = accepted(1, 0, "key-0", "kill00"), accepted(2, 1, "key-1", "kill01")


@pytest.mark.parametrize(
    ("more", "found"),
    [
        ([], 0),
        ([{"kind": "cancel", "order_id": "v1", "key_id": "key-0"}], 0),
        ([{"kind": "cancel", "order_id": "v2", "key_id": "key-1"}], 0),
        ([{"kind": "cancel", "order_id": "v2", "key_id": "key-0"}], 1),
        ([{"kind": "amend", "order_id": "v2", "key_id": "key-0"}], 1),
        ([{"kind": "cancel_all", "order_id": "", "key_id": "key-0"}], 1),
        ([accepted(3, 0, "key-1", "kill01")], 1),
        ([accepted(3, 1, "key-0", "kill00")], 1),
        ([accepted(3, 0, "key-0", "kill01")], 1),
    ],
)
def test_touching_the_other_bots_orders_is_found(more, found):
    assert len(bot([OURS, THEIRS, *more])._judge_hands()) == found


def test_a_fee_that_was_booked_wrong_or_never_charged_is_found_whatever_the_cash_says():
    def booked(number, fee):
        return Booked(
            1, f"t{number}", f"skill00-{number}", f"v{number}", "M", 1, 4_000, 100, fee, is_taker=True, fill_time_ms=1
        )  # fmt: skip

    log = [OURS, {"kind": "filled", "order_id": "v1", "trade_id": "t1", "fee": 70}]
    before = [
        booked(9, 500),
        PositionAdopted(1, "M", 100, 4_000),
    ]  # what was before an adoption is not ours to judge
    for records, found in (
        ([booked(1, 70)], 0),
        ([*before, booked(1, 70)], 0),
        ([booked(1, 71)], 1),
        ([booked(1, 70), booked(2, 0)], 1),
    ):
        ledger = Ledger()
        for record in records:
            ledger.apply(record)
        assert len(bot(log, records)._judge_fees(ledger)) == found, records
