from __future__ import annotations

import pytest
from soloist_exchange.errors import ExchangeError
from soloist_exchange.faults import FAULT_KINDS, Fault, Faults, FrameFault, parse

ORDERS = "/portfolio/events/orders"


def armed(*faults: Fault, seed: int = 1) -> Faults:
    made = Faults(seed)
    made.set(faults)
    return made


@pytest.mark.parametrize(
    ("fault", "request_", "hits"),
    [
        (Fault(kind="slow"), ("a", "GET", "/x", "/x"), True),
        (Fault(kind="slow", account="a"), ("a", "GET", "/x", "/x"), True),
        (Fault(kind="slow", account="a"), ("b", "GET", "/x", "/x"), False),
        (Fault(kind="slow", method="POST"), ("a", "GET", "/x", "/x"), False),
        (Fault(kind="slow", path=ORDERS), ("a", "GET", f"{ORDERS}/1", ORDERS + "/{order_id}"), True),
        (Fault(kind="slow", path=ORDERS), ("a", "GET", "/markets", "/markets"), False),
        (Fault(kind="slow", endpoint=ORDERS), ("a", "GET", f"{ORDERS}/1", ORDERS + "/{order_id}"), False),
        (Fault(kind="slow", endpoint=ORDERS), ("a", "GET", ORDERS, ORDERS), True),
        (Fault(kind="slow", percent=0), ("a", "GET", "/x", "/x"), False),
        (Fault(kind="frame_dropped"), ("a", "GET", "/x", "/x"), False),
        (Fault(kind="websocket_refused"), ("a", "GET", "/x", "/x"), False),
        (Fault(kind="revocation_delayed"), ("a", "GET", "/x", "/x"), False),
    ],
)
def test_whom_a_fault_of_requests_hits(fault, request_, hits):
    found = armed(fault).request(*request_)
    assert found == (fault if hits else None)


def test_a_fault_happens_as_often_as_it_says_after_as_many_as_it_spares():
    faults = armed(Fault(kind="slow", after=2, times=3))
    assert [faults.request("a", "GET", "/") is not None for _ in range(8)] == [False] * 2 + [True] * 3 + [
        False
    ] * 3
    (report,) = faults.reports()
    assert (report.matched, report.hits) == (5, 3)
    assert faults.totals == {"slow": 3}


def test_the_first_that_hits_is_the_one_that_happens():
    faults = armed(Fault(kind="slow", times=1), Fault(kind="forbidden"))
    assert [faults.request("a", "GET", "/").kind for _ in range(3)] == ["slow", "forbidden", "forbidden"]


def test_chance_is_the_seeds():
    def hits(seed):
        faults = armed(Fault(kind="slow", percent=30), seed=seed)
        return [faults.request("a", "GET", "/") is not None for _ in range(1000)]

    assert hits(5) == hits(5) != hits(6)
    assert 200 < sum(hits(5)) < 400


@pytest.mark.parametrize(
    ("fault", "channel", "found"),
    [
        (Fault(kind="frame_dropped"), "trade", FrameFault("frame_dropped")),
        (Fault(kind="frame_duplicated"), "trade", FrameFault("frame_duplicated")),
        (Fault(kind="frame_delayed", delay_ms=7), "trade", FrameFault("frame_delayed", 7)),
        (Fault(kind="frame_reordered"), "trade", FrameFault("frame_reordered")),
        (Fault(kind="overflow"), "orderbook_delta", FrameFault("overflow")),
        (Fault(kind="frame_dropped", path="fill"), "trade", None),
        (Fault(kind="frame_dropped", account="b"), "trade", None),
        (Fault(kind="duplicate_fill"), "fill", FrameFault("frame_duplicated")),
        (Fault(kind="duplicate_fill"), "user_orders", None),
        (Fault(kind="late_fill_after_cancel", delay_ms=9), "fill", FrameFault("frame_delayed", 9)),
        (Fault(kind="late_fill_after_cancel"), "user_orders", None),
        (Fault(kind="slow"), "trade", None),
    ],
)
def test_what_happens_to_a_frame(fault, channel, found):
    faults = armed(fault)
    assert faults.frame("a", channel) == found


@pytest.mark.parametrize("how", ["with_frame", "without_frame"])
def test_a_connection_may_end_instead_of_its_next_frame(how):
    faults = armed(Fault(kind=f"close_{how}", account="a", path="trade", times=1))
    ended = []
    faults.disconnect = lambda *what: ended.append(what)
    assert faults.frame("a", "fill") is None
    assert faults.frame("a", "trade") == FrameFault("frame_dropped")
    assert faults.frame("a", "trade") is None
    assert ended == [("a", how)]


def test_an_upgrade_is_hit_by_its_own_faults_only():
    refused = Fault(kind="websocket_refused", account="a", times=1)
    slow = Fault(kind="slow", path="/ws/v2", account="b")
    faults = armed(Fault(kind="error_before"), refused, slow)
    assert faults.upgrade("b") == slow
    assert [faults.upgrade("a") for _ in range(2)] == [refused, None]


def test_faults_of_keys_set_switches_and_hit_nothing():
    faults = armed(
        Fault(kind="revocation_delayed", delay_ms=4000), Fault(kind="key_list_stale", delay_ms=500)
    )
    assert faults.switches() == {"revocation_delay_ms": 4000, "key_list_lag_ms": 500}
    assert not faults.hits_requests
    assert not faults.hits_frames


def test_faults_are_added_and_taken_away_by_name_and_every_change_is_told():
    faults = armed(Fault(kind="slow", name="one", times=5))
    changes = []
    faults.on_change = lambda: changes.append([report.fault.kind for report in faults.reports()])
    faults.request("a", "GET", "/")
    faults.add([Fault(kind="forbidden", name="two")])
    assert [report.hits for report in faults.reports()] == [1, 0]
    faults.remove("one")
    faults.remove("")
    assert changes == [["slow", "forbidden"], ["forbidden"], []]


@pytest.mark.parametrize(
    ("item", "says"),
    [
        ({"kind": "earthquake"}, "earthquake"),
        ({"kind": "slow", "percent": 101}, "percent"),
        ({"kind": "slow", "delay_ms": -1}, "delay_ms"),
        ({"kind": "error_before", "status": 404}, "status"),
        ({"kind": "slow", "colour": "red"}, "colour"),
        ({"kind": "market_paused"}, "ticker"),
        ({"kind": "revocation_delayed", "account": "a"}, "every account"),
    ],
)
def test_what_is_no_fault_is_named(item, says):
    with pytest.raises(ExchangeError, match=says) as error:
        parse([{"kind": "slow"}, item])
    assert "fault 1" in str(error.value)


def test_every_kind_can_be_set():
    faults = parse({"kind": kind, "ticker": "M"} for kind in FAULT_KINDS)
    assert len(armed(*faults).reports()) == len(FAULT_KINDS) > 20
