"""One installation of the chart for all end-to-end tests; a namespace per test module, an exchange account per bot."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.cluster import release
from tests.e2e.scene import Bot, Oracle

NAMESPACES = ("e2e-life", "e2e-children", "e2e-network", "e2e-bad", "e2e-paper", "e2e-claim")


@pytest.fixture(scope="session")
def installed(cluster) -> Iterator[None]:
    release.install(cluster, cluster.images, bot_namespaces=NAMESPACES)
    yield
    for namespace in NAMESPACES:  # bots first: the operator revokes their keys while it still runs
        cluster.kubectl("-n", namespace, "delete", "tradingbots", "--all", "--timeout=60s", check=False)


@pytest.fixture(scope="session")
def oracle(cluster, installed) -> Iterator[Oracle]:
    with release.port_forward(cluster, release.SYSTEM_NAMESPACE, "deploy/soloist-exchange", 8444) as url:
        made = Oracle(url)
        yield made
        made.close()


@pytest.fixture
def bot(request, cluster, oracle) -> Iterator[Bot]:
    """A bot object in the namespace that the module names in `NAMESPACE`; deleted afterwards."""
    made = Bot(cluster, oracle, request.module.NAMESPACE)
    yield made
    made.delete()
