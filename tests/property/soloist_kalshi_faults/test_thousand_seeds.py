"""After any faults, when it is quiet, the client's orders, fills, positions and balance are the exchange's, and nothing was sent twice.

SOLOIST_FAULT_SEEDS is how many seeds (1 000), SOLOIST_FAULT_FIRST_SEED where they begin: a failing seed is named, and runs alone with both.
"""

import pytest

from tests.conformance.exchange_process import ExchangeProcess
from tests.property.soloist_kalshi_faults.client_world import FIRST_SEED, ROUND, SEEDS, TOTALS, Round

ROUNDS = [
    range(first, min(first + ROUND, FIRST_SEED + SEEDS))
    for first in range(FIRST_SEED, FIRST_SEED + SEEDS, ROUND)
]


@pytest.fixture(scope="module")
def exchange(tmp_path_factory):
    served = ExchangeProcess(tmp_path_factory.mktemp("faults"), tls=False)
    yield served
    served.close()


@pytest.mark.timeout(300)
@pytest.mark.parametrize("seeds", ROUNDS, ids=lambda seeds: f"{seeds.start}-{seeds.stop - 1}")
async def test_when_quiet_the_clients_view_is_the_truth(exchange, seeds):
    found = await Round(exchange, seeds).run(TOTALS)
    assert not found, "\n".join(found)
