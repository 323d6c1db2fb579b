"""Faults made on a running cluster, and undone."""

import json
import time
from itertools import product
from pathlib import Path
from typing import TypedDict

from tests.cluster.access import Cluster, state_folder
from tests.cluster.command import succeeds
from tests.cluster.errors import ClusterError
from tests.cluster.paths import write_atomically

API_SERVER_PORT = 6443
# Everything of the node, of its kubelet and of its pods, passes here with the address behind the Service.
# The network plugin keeps its own rules on top of the filter table's chains and lets pods through before a rule of ours.
TABLE = ("--table", "mangle")
# Both directions. Without the first, an open watch goes on to deliver what the API server sends until its TCP window is
# full: the kubelet then hears that a pod was deleted, and ends the very process that a partition keeps from hearing it.
RULES = (
    ("PREROUTING", "--protocol", "tcp", "--sport", str(API_SERVER_PORT), "--jump", "DROP"),
    ("POSTROUTING", "--protocol", "tcp", "--dport", str(API_SERVER_PORT), "--jump", "DROP"),
)
# kind's network has both families, and the kubelet changes over when one is cut.
FAMILIES = ("iptables", "ip6tables")


class Frozen(TypedDict):
    """Where a frozen pod's processes are."""

    node: str
    containers: list[str]


def partition(cluster: Cluster, node: str) -> None:
    """Cut a node and its pods off the API server, both ways, and off nothing else: they still reach each other and the exchange.

    The node turns NotReady after the grace period of the controller manager, about 50 s.
    """
    check_worker(cluster, node)
    for family, rule in product(FAMILIES, RULES):
        if not has_rule(cluster, node, family, rule):
            cluster.docker.run("exec", node, family, *TABLE, "--wait", "--insert", *rule)


def heal(cluster: Cluster, node: str) -> None:
    """Undo `partition`; does nothing on a node that is not cut off."""
    if node not in cluster.nodes:
        raise ClusterError(f"cluster {cluster.name} has no node {node}; it has {', '.join(cluster.nodes)}")
    for family, rule in product(FAMILIES, RULES):
        while has_rule(cluster, node, family, rule):
            cluster.docker.run("exec", node, family, *TABLE, "--wait", "--delete", *rule)


def is_partitioned(cluster: Cluster, node: str) -> bool:
    """Tell whether `partition`, or a part of it, is in force on a node."""
    return any(has_rule(cluster, node, family, rule) for family, rule in product(FAMILIES, RULES))


def has_rule(cluster: Cluster, node: str, family: str, rule: tuple[str, ...]) -> bool:
    """Tell whether one rule of the partition is in force."""
    command = ("docker", "exec", node, family, *TABLE, "--wait", "--check", *rule)
    return succeeds(*command, env=cluster.docker.environment)


def check_worker(cluster: Cluster, node: str) -> None:
    """Raise ClusterError unless the node is a worker of this cluster."""
    workers = [name for name in cluster.nodes if not name.endswith("-control-plane")]
    if node not in workers:
        raise ClusterError(
            f"{node} is no worker of cluster {cluster.name}; choose one of {', '.join(workers)}"
        )


def freeze(cluster: Cluster, pod: str, container: str = "") -> int:
    """Stop every process of a pod (`NAMESPACE/NAME`), or of one of its containers, as a long pause would.

    Returns how many processes stopped. What was frozen is recorded, so that `thaw` works when the pod object is gone.
    """
    namespace, name = split_pod(pod)
    found = json.loads(cluster.kubectl("--namespace", namespace, "get", "pod", name, "-o", "json"))
    statuses = [
        *found["status"].get("initContainerStatuses", []),
        *found["status"].get("containerStatuses", []),
    ]
    running = {
        entry["name"]: entry["containerID"] for entry in statuses if "running" in entry.get("state", {})
    }
    if container:
        running = {name: identity for name, identity in running.items() if name == container}
    if not running:
        raise ClusterError(f"pod {pod} has no running container {container}".strip() + "; nothing was frozen")
    node = found["spec"]["nodeName"]
    identities = [identity.removeprefix("containerd://") for identity in running.values()]
    # Recorded first: a crash between the two leaves something that `thaw` can undo.
    record: Frozen = {"node": node, "containers": identities}
    records = {**frozen(cluster), pod: record}
    write_atomically(record_file(cluster), json.dumps(records))
    return stop_all(cluster, node, identities)


def thaw(cluster: Cluster, pod: str) -> int:
    """Let the processes that `freeze` stopped go on, and return how many those are."""
    records = frozen(cluster)
    if pod not in records:
        known = ", ".join(records) or "none"
        raise ClusterError(f"pod {pod} was not frozen by this provider (frozen: {known})")
    record = records.pop(pod)
    # Once is enough: a stopped process forks nothing, so whoever is stopped is in this list.
    stopped = processes(cluster, record["node"], record["containers"])
    signal(cluster, record["node"], stopped, "CONT")
    write_atomically(record_file(cluster), json.dumps(records))
    return len(stopped)


def stop_all(cluster: Cluster, node: str, identities: list[str]) -> int:
    """Stop every process of the containers; again until none is new, since those that still run may fork meanwhile."""
    reached: set[str] = set()
    deadline_s = time.monotonic() + 10
    while time.monotonic() < deadline_s:
        new = processes(cluster, node, identities) - reached
        if not new:
            return len(reached)
        signal(cluster, node, new, "STOP")
        reached |= new
    raise ClusterError(f"the containers on {node} start new processes faster than SIGSTOP reaches them")


def signal(cluster: Cluster, node: str, pids: set[str], name: str) -> None:
    """Send a signal to processes of a node; one that has ended meanwhile is no error."""
    cluster.docker.run("exec", node, "sh", "-c", f"kill -{name} {' '.join(pids)} 2>/dev/null || true")


def processes(cluster: Cluster, node: str, identities: list[str]) -> set[str]:
    """Return the pids, in the node, of the processes that belong to the containers by their control group."""
    pattern = "|".join(identities)
    script = f"grep -lE '{pattern}' /proc/[0-9]*/cgroup 2>/dev/null || true"
    return {path.split("/")[2] for path in cluster.docker.run("exec", node, "sh", "-c", script).split()}


def frozen(cluster: Cluster) -> dict[str, Frozen]:
    """Return what is frozen: pod -> its node and containers."""
    file = record_file(cluster)
    records: dict[str, Frozen] = json.loads(file.read_text()) if file.exists() else {}
    return records


def record_file(cluster: Cluster) -> Path:
    """Return the file that remembers what is frozen."""
    return state_folder(cluster.name) / "frozen.json"


def split_pod(pod: str) -> tuple[str, str]:
    """Split `NAMESPACE/NAME`; a name alone is in `default`."""
    namespace, _, name = pod.rpartition("/")
    return namespace or "default", name
