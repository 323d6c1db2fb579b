"""The judge finds what a broken Soloist would do: each figure, made by hand."""

from __future__ import annotations

import pytest

from tests.chaos import accounts, engines, nodes, operators, rollouts, second_cluster  # noqa: F401 they fill the catalogue
from tests.chaos.catalogue import in_order
from tests.chaos.judge import Verdict, judge, time_without_a_key_ms

ORDERS = "/trade-api/v2/portfolio/events/orders"
BALANCE = "/trade-api/v2/portfolio/balance"


def order(time_ms: int, epoch: int, incarnation: str, key_id: str = "", subaccount: int = 0, **more) -> dict:
    return {
        "count": 500,
        "time_in_force": "good_till_canceled",
        "expiration_ms": time_ms + 120_000,
        "time_ms": time_ms,
        "client_order_id": f"sabcdef-{epoch}-{incarnation}-1",
        "key_id": key_id or f"key{epoch}",
        "subaccount": subaccount,
        **more,
    }


def refusal(time_ms: int, key_id: str, path: str = BALANCE, user_agent: str = "soloist") -> dict:
    method = "POST" if path == ORDERS else "GET"
    return {"key_id": key_id, "time_ms": time_ms, "method": method, "path": path, "user_agent": user_agent}


def key(epoch: int, deleted_ms: int | None) -> dict:
    return {"key_id": f"key{epoch}", "created_ms": 0, "deleted_ms": deleted_ms}


GOOD = [order(1000, 1, "a"), order(2000, 1, "a"), order(9000, 2, "b"), order(9500, 2, "b")]
KEYS = [key(1, 5000), key(2, None)]


def test_a_takeover_in_order_is_safe_and_its_recovery_time_is_measured() -> None:
    refused = [refusal(6000, "key1", ORDERS), refusal(6001, "key1"), refusal(6002, "unheard of", ORDERS)]
    verdict = judge(GOOD, KEYS, refused, fault_ms=1500)
    assert verdict == Verdict(0, 0, 2, 1, 7000, 2)
    assert verdict.is_safe()


def test_a_tombstone_of_the_successor_is_not_the_old_engines_but_one_of_the_zombie_is() -> None:
    buried = order(9800, 1, "a", "key2", count=1)
    assert judge([*GOOD, buried], KEYS, [], fault_ms=1500).is_safe()
    assert not judge([*GOOD, {**buried, "key_id": "key1"}], KEYS, [], fault_ms=1500).is_safe()


def test_an_order_that_could_rest_for_ever_is_counted() -> None:
    endless = [*GOOD, order(9900, 2, "b", expiration_ms=0)]
    assert judge(endless, KEYS, [], fault_ms=1500).without_expiry == 1
    at_once = [*GOOD, order(9900, 2, "b", expiration_ms=0, time_in_force="immediate_or_cancel")]
    assert judge(at_once, KEYS, [], fault_ms=1500).is_safe()


@pytest.mark.parametrize(
    ("accepted", "keys", "options", "double", "late"),
    [
        pytest.param([*GOOD, order(9200, 1, "a")], KEYS, {}, 1, 1, id="the old engine trades on"),
        pytest.param(GOOD, [key(1, None), key(2, None)], {}, 1, 0, id="the old key was never deleted"),
        pytest.param(GOOD, [key(1, 9001), key(2, None)], {}, 1, 0, id="deleted after the new engine's first order"),
        pytest.param(GOOD, KEYS, {"revocation_delay_ms": 4500}, 1, 0, id="deleted, and still accepted"),
        pytest.param([*GOOD[:2], order(5000, 1, "a"), *GOOD[2:]], KEYS, {}, 0, 1,
                     id="an order with a deleted key, before the first order of the new engine"),
        pytest.param([*GOOD[:2], order(5900, 1, "a"), *GOOD[2:]], KEYS, {"revocation_delay_ms": 900}, 0, 1,
                     id="an order with a deleted key, later than the venue said"),
        pytest.param([*GOOD, order(9800, 1, "c")], KEYS, {}, 0, 1, id="an epoch goes down"),
        pytest.param([order(1000, 1, "a"), order(2000, 1, "b"), order(2500, 1, "a")], [key(1, None)], {}, 1, 1,
                     id="two engines with one key"),
    ],
)  # fmt: skip
def test_what_must_never_happen_is_counted(accepted, keys, options, double, late) -> None:
    verdict = judge(sorted(accepted, key=lambda row: row["time_ms"]), keys, [], fault_ms=1500, **options)
    assert (verdict.double_holders, verdict.accepted_after_rearm) == (double, late)
    assert not verdict.is_safe()


def test_the_fence_that_tries_the_old_key_is_no_zombie() -> None:
    probes = [refusal(6000, "key1", user_agent="soloist-fence"), refusal(6500, "key1", user_agent="")]
    assert judge(GOOD, KEYS, probes, fault_ms=1500).zombie_requests_rejected == 0
    watchdog = refusal(6700, "key1")
    assert judge(GOOD, KEYS, [*probes, watchdog], fault_ms=1500).zombie_requests_rejected == 1


def test_two_subaccounts_are_held_side_by_side_and_each_by_one() -> None:
    keys = [key(1, None), {"key_id": "other", "created_ms": 0, "deleted_ms": None}]
    side_by_side = [order(1000, 1, "a"), order(1500, 1, "b", "other", 1), order(2000, 1, "a")]
    verdict = judge(side_by_side, keys, [], fault_ms=500)
    assert verdict == Verdict(0, 0, 0, 0, None, 2)
    strayed = order(2500, 1, "a", subaccount=1)
    late = order(3000, 1, "b", "other", 1)
    verdict = judge([*side_by_side, strayed, late], keys, [], fault_ms=500)
    assert (verdict.double_holders, verdict.accepted_after_rearm) == (1, 1)


def test_the_recovery_of_two_subaccounts_is_the_longer_one_and_none_while_one_is_missing() -> None:
    elsewhere = [order(1200, 1, "c", "other1", 1), order(9900, 2, "d", "other2", 1)]
    keys = [*KEYS, {**key(1, 5000), "key_id": "other1"}, {**key(2, None), "key_id": "other2"}]
    both = sorted([*GOOD, *elsewhere], key=lambda row: row["time_ms"])
    assert judge(both, keys, [], fault_ms=2100).recovery_ms == 8700
    assert judge([row for row in both if row["time_ms"] < 9900], keys, [], fault_ms=2100).recovery_ms is None


def test_a_recovery_that_did_not_happen_has_no_time() -> None:
    assert judge(GOOD[:2], KEYS, [], fault_ms=1500).recovery_ms is None
    assert judge(GOOD, KEYS, [], fault_ms=500).recovery_ms is None


def test_an_order_that_a_slow_venue_still_accepts_is_its_own_doing() -> None:
    accepted = [*GOOD[:2], order(5899, 1, "a"), *GOOD[2:]]
    assert judge(accepted, KEYS, [], fault_ms=1500, revocation_delay_ms=900).is_safe()


@pytest.mark.parametrize(
    ("spans", "missing_ms"),
    [
        pytest.param([(0, 500), (400, None)], 0, id="overlapping"),
        pytest.param([(0, 500), (500, None)], 0, id="in the same millisecond"),
        pytest.param([(0, 500), (560, None)], 60, id="a hole"),
        pytest.param([(150, 500), (400, 900)], 150, id="begins late and ends early"),
        pytest.param([], 900, id="no key at all"),
    ],
)
def test_the_time_without_a_key_is_summed(spans, missing_ms) -> None:
    keys = [{"created_ms": begins, "deleted_ms": ends} for begins, ends in spans]
    assert time_without_a_key_ms(keys, 100, 1000) == missing_ms


def test_every_row_is_played_three_times_and_those_of_the_headline_more_often() -> None:
    runs = {each.number: each.runs for each in in_order()}
    assert min(runs.values()) >= 3
    assert {number for number, times in runs.items() if times >= 10} == {
        "1", "2a", "2b", "4", "6", "7", "10", "11", "16",
    }  # fmt: skip
    assert (runs["11"], runs["13"]) == (30, 5)
    numbers = list(runs)
    assert (
        numbers.index("2d")
        < numbers.index("3")
        < numbers.index("10")
        < numbers.index("11b")
        < numbers.index("12")
    )
