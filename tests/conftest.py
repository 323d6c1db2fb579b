"""Layers, their order and time limits, and the one cluster of a test session.

The cluster starts at the beginning of the session when a selected test needs it, and comes up while the layers that
need none run. It is removed at the end; SOLOIST_KEEP_CLUSTER=1 keeps it for the next run.
"""

import json
import os
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.cluster import Cluster, ClusterError, find, images
from tests.cluster.background import Bringup
from tests.cluster.cluster import DEFAULT_NAME

# The order in which layers run, and how long one test of each may take before it counts as hanging.
TIME_LIMIT_S = {
    "unit": 5,
    "property": 60,
    "model": 120,
    "conformance": 30,
    "crash": 300,
    "cluster": 120,
    "e2e": 300,
    "chaos": 600,
    "bench": 600,
}
NEED_CLUSTER = {"cluster", "e2e", "chaos"}
TESTS = Path(__file__).resolve().parent

BRINGUP = pytest.StashKey[Bringup]()
BROKEN = pytest.StashKey[str]()

RESTRICTED = {f"pod-security.kubernetes.io/{mode}": "restricted" for mode in ("enforce", "audit", "warn")}


@dataclass(frozen=True)
class LoadedCluster(Cluster):
    """The session's cluster, with the tags of the images that every node holds."""

    images: images.Tags


def layer(item: pytest.Item) -> str:
    """Return the layer of a test: the name of its folder below tests/."""
    return item.path.relative_to(TESTS).parts[0]


def pytest_configure(config: pytest.Config) -> None:
    for name in TIME_LIMIT_S:
        config.addinivalue_line("markers", f"{name}: a test of the {name} layer; set by its folder")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    order = list(TIME_LIMIT_S)
    for item in items:
        item.add_marker(layer(item))
        if item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(TIME_LIMIT_S[layer(item)]))
    items.sort(key=lambda item: order.index(layer(item)))


def pytest_collection_finish(session: pytest.Session) -> None:
    needed = any(needs_cluster(item) for item in session.items)
    if needed and not session.config.option.collectonly:
        session.config.stash[BRINGUP] = Bringup(DEFAULT_NAME)


def needs_cluster(item: pytest.Item) -> bool:
    """Tell whether a test needs the cluster, or one of the pinned programs that come with it."""
    return layer(item) in NEED_CLUSTER


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """Wait for the cluster before the first test that needs it, outside of that test's own time limit."""
    stash = item.config.stash
    if needs_cluster(item) and BRINGUP in stash and BROKEN not in stash:
        try:
            wait_for_cluster(item.config)
        except ClusterError as error:
            stash[BROKEN] = str(error)
    return (yield)


def wait_for_cluster(config: pytest.Config) -> None:
    """Wait until the cluster is up, telling a person where to look meanwhile."""
    bringup = config.stash[BRINGUP]
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    if reporter is not None and not bringup.is_done():
        reporter.write_line(f"\nwaiting for the cluster; its progress: {bringup.log}")
    bringup.wait()


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """End what the session started, before pytest prints its closing line."""
    if BRINGUP in session.config.stash:
        keep = os.environ.get("SOLOIST_KEEP_CLUSTER") == "1"
        session.config.stash[BRINGUP].end(keep_cluster=keep)


@pytest.fixture(scope="session")
def cluster(request: pytest.FixtureRequest) -> LoadedCluster:
    """A healthy cluster of two nodes that hold both images."""
    if broken := request.config.stash.get(BROKEN, ""):
        pytest.fail(broken, pytrace=False)
    found = find(DEFAULT_NAME)
    return LoadedCluster(found.name, found.docker, images.loaded(found))


@pytest.fixture
def namespace(cluster: LoadedCluster) -> Iterator[str]:
    """A namespace of the test's own that enforces the `restricted` profile, removed afterwards."""
    name = f"test-{uuid.uuid4().hex[:8]}"
    cluster.kubectl("apply", "-f", "-", input=json.dumps({
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {"name": name, "labels": RESTRICTED},
    }))  # fmt: skip
    yield name
    cluster.kubectl("delete", "namespace", name, "--wait=false", "--ignore-not-found")
