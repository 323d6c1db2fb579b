from __future__ import annotations

import itertools

import pytest

from tests.conformance.fence.fence_cards import Bench, serving
from tests.unit.soloist_fence.fence_world import World, opened

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def fence_exchange(tmp_path_factory):
    with serving(tmp_path_factory.mktemp("exchange")) as exchange:
        yield exchange


@pytest.fixture(scope="session")
def management_key(fence_exchange):
    return fence_exchange.account("fence")


@pytest.fixture
async def bench(fence_exchange, management_key):
    """An account without any key but the management key, and a claim that was just opened."""
    bench = Bench(fence_exchange, management_key, World(opened()))
    async with bench.venue, fence_exchange.client(management_key) as client:
        yield bench
        fence_exchange.faults()
        fence_exchange.switches(revocation_delay_ms=0, key_list_lag_ms=0, read_model_lag_ms=0)
        for key in await client.list_api_keys():
            if key.api_key_id != management_key.key_id:
                await client.delete_api_key(key.api_key_id)


@pytest.fixture
async def trading_bench(fence_exchange):
    """An account of the test's own, for orders: their ids stay in its history."""
    bench = Bench(fence_exchange, fence_exchange.account(f"fence-orders-{next(_numbers)}"), World(opened()))
    async with bench.venue:
        yield bench
