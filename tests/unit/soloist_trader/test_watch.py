from soloist_trader.cli.status import BACKLOG_LINES, _Follower


def order(number, label="executed"):
    return {
        "clientOrderId": f"s{number}", "market": "SIM-A", "side": "bid", "size": "1.00", "price": "0.5000", "level": "entry",
        "label": label, "code": "", "updatedAt": f"2026-01-01T00:00:{number:02}.000Z",
    }  # fmt: skip


def fill(number):
    return {
        "number": number, "market": "SIM-A", "side": "bid", "size": "1.00", "price": "0.5000", "taker": True, "fee": "0.02",
        "at": f"2026-01-01T00:00:{number:02}.500Z",
    }  # fmt: skip


def status(orders, fills, incarnation="a1"):
    return {
        "incarnation": incarnation, "publishedAt": "2026-01-01T00:01:00.000Z", "epoch": 1, "mode": "Live", "venueName": "simulator",
        "strategy": "threshold", "state": "ACTIVE", "orders": orders, "fills": fills,
        "positions": [{"market": "SIM-A", "count": "1.00"}, {"market": "SIM-B", "count": "0.00"}],
        "profit": {"net": "-0.17", "realised": "0", "unrealised": "-0.07", "fees": "0.10", "day": "-0.17"},
    }  # fmt: skip


def test_each_order_and_fill_is_shown_once_in_the_order_of_time_with_a_summary():
    follower = _Follower()
    lines = follower.take(status([order(2, "working"), order(1)], [fill(1)]))
    assert "ENGINE  epoch 1, incarnation a1" in lines[0]
    assert [line[:12] for line in lines[1:4]] == ["00:00:01.000", "00:00:01.500", "00:00:02.000"]
    assert "net -0.17" in lines[4]
    assert lines[4].endswith("|  SIM-A 1.00")
    assert follower.take(status([order(2, "working"), order(1)], [fill(1)])) == []
    (changed,) = follower.take(status([order(2, "canceled"), order(1)], [fill(1)]))
    assert "canceled" in changed


def test_it_follows_through_a_restart_with_a_short_backlog():
    follower = _Follower()
    follower.take(status([order(1)], [fill(number) for number in range(1, 6)]))
    lines = follower.take(status([order(number) for number in range(20, 50)], [fill(1)], incarnation="b2"))
    assert "incarnation b2" in lines[0]
    assert len(lines) == 1 + BACKLOG_LINES
