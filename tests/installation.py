"""One installation of the chart for every test that needs a running operator; a namespace per module, an account per bot."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.cluster import release
from tests.e2e.scene import Oracle

NAMESPACES = (
    "e2e-life",
    "e2e-children",
    "e2e-network",
    "e2e-bad",
    "e2e-paper",
    "e2e-claim",
    "e2e-takeover",
    "e2e-rollout",
    "chaos",
)


@pytest.fixture(scope="session")
def installed(cluster) -> Iterator[None]:
    # Operator and exchange stay on the control plane: tests take the other node away.
    selector = {"kubernetes.io/hostname": cluster.nodes[0]}
    release.install(cluster, cluster.images, bot_namespaces=NAMESPACES, node_selector=selector)
    yield
    for namespace in NAMESPACES:  # bots first: the operator revokes their keys while it still runs
        cluster.kubectl("-n", namespace, "delete", "tradingbots", "--all", "--timeout=60s", check=False)


@pytest.fixture(scope="session")
def oracle(cluster, installed) -> Iterator[Oracle]:
    with release.port_forward(cluster, release.SYSTEM_NAMESPACE, "deploy/soloist-exchange", 8444) as url:
        made = Oracle(url)
        yield made
        made.close()
