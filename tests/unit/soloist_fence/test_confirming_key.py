"""Which key a rotation takes as confirmed: the one that engine and watchdog both sign with."""

import pytest
from soloist_fence.cluster import _key_in_use


@pytest.mark.parametrize(
    ("report", "confirmed"),
    [
        ({"keyId": "g2"}, "g2"),  # outside a pod there is no watchdog
        ({"keyId": "g2", "watchdog": {"keyId": "g2", "foreign": 0}}, "g2"),
        ({"keyId": "g2", "watchdog": {"keyId": "g1"}}, ""),
        ({"keyId": "g2", "watchdog": {"keyId": ""}}, ""),
        ({"keyId": "g2", "watchdog": {}}, ""),
    ],
)
def test_a_key_counts_once_both_processes_use_it(report, confirmed):
    assert _key_in_use(report) == confirmed
