from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families
from soloist_exchange.metrics import Family, RequestTimes, Usage, render


def samples(families):
    return {
        (sample.name, tuple(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(render(families))
        for sample in family.samples
    }


def test_labels_are_escaped():
    family = Family("f", "gauge", "F.", [("", {"name": 'a"b\\c\nd'}, 1)])
    assert samples([family]) == {("f", ('a"b\\c\nd',)): 1}


def test_buckets_are_cumulative_and_hold_their_bound():
    times = RequestTimes()
    for took_s in (0.0005, 0.0006, 0.3, 99.0):
        times.observe("GET /x", 200, took_s)
    times.observe("GET /x", 404, 0.0001)
    found = samples(times.families())

    def bucket(bound):
        return found["soloist_exchange_request_duration_seconds_bucket", ("GET /x", bound)]

    assert [bucket(bound) for bound in ("0.0005", "0.001", "0.2", "0.5", "5.0", "+Inf")] == [2, 3, 3, 4, 4, 5]
    assert found["soloist_exchange_request_duration_seconds_sum", ("GET /x",)] == 99.3012
    assert found["soloist_exchange_requests_total", ("GET /x", "200")] == 4
    assert found["soloist_exchange_requests_total", ("GET /x", "404")] == 1


def test_an_account_is_counted_now_and_at_most():
    usage = Usage()
    usage.enter("a", "k1")
    usage.enter("a", "k1", websocket=True)
    usage.enter("a", "k2")
    usage.enter("b", "k3")
    usage.leave("a", "k1")
    usage.leave("a", "k1", websocket=True)
    assert usage.of("a") == {
        "keys": 1, "keys_max": 2, "connections": 1, "connections_max": 3, "websockets": 0, "websockets_max": 1,
    }  # fmt: skip
    assert usage.websockets("a") == usage.websockets("nobody") == 0
    assert samples(usage.families())["soloist_exchange_account_keys_max", ("a",)] == 2
