"""What CI plays of the chaos: one run of the disasters that matter most. `make chaos` plays all of them, many times."""

from __future__ import annotations

import pytest

from tests.chaos import accounts, engines, nodes, operators  # noqa: F401 they fill the catalogue
from tests.chaos.catalogue import SCENARIOS
from tests.chaos.running import play


@pytest.mark.parametrize("number", ["1", "2a", "4", "11", "16"])
def test_the_exchange_sees_one_holder_through(number, cluster, oracle) -> None:
    run = play(cluster, oracle, SCENARIOS[number], "ci")
    print(f"{run.scenario}: {run.verdict} {run.notes} {run.took_s} s")
    assert not run.failure, run.failure
