"""One kind cluster of two nodes: made, found healthy, repaired, or removed."""

import hashlib
import json
import os
import shutil
import time
from typing import Any

from tests.cluster import docker, faults, nodeimage, tools
from tests.cluster.access import Cluster, check_name, find, recorded, state_folder, was_begun
from tests.cluster.command import run
from tests.cluster.docker import Docker
from tests.cluster.errors import ClusterError, CommandError
from tests.cluster.paths import binary, exclusive, write_atomically
from tests.cluster.progress import Progress

Object = dict[str, Any]  # a Kubernetes object as JSON

DEFAULT_NAME = os.environ.get("SOLOIST_CLUSTER") or "soloist-test"
CONFIGURATION = """\
kind: Cluster
apiVersion: kind.x-k8s.io/v1alpha4
networking:
  ipFamily: ipv4
kubeadmConfigPatches:
  # failCgroupV1: some hosts still have cgroup v1. syncFrequency: how late a changed Secret may reach a pod.
  - |
    kind: KubeletConfiguration
    failCgroupV1: false
    syncFrequency: 10s
nodes:
  - role: control-plane
  - role: worker
"""


def ensure_up(name: str, progress: Progress) -> Cluster:
    """Return a healthy cluster: the one that runs, or the same one repaired, or a new one.

    Repeatable at any time, also after a run that was killed. Raises ClusterError.
    """
    check_name(name)
    with exclusive(progress):
        daemon = docker.ensure(progress)
        for program in tools.ON_THE_HOST:
            tools.ensure(program, progress)
        image = nodeimage.ensure(daemon, progress)
        cluster = Cluster(name, daemon)
        wanted = fingerprint(image)
        if recorded(name) == wanted and docker.containers(daemon, name):
            if is_healthy(cluster):
                progress.note(f"cluster {name} is up")
                return cluster
            if repair(cluster, progress):
                return cluster
        remove(name, daemon, progress)
        create(cluster, image, progress)
        write_atomically(state_folder(name) / "fingerprint", wanted)
        return cluster


def create(cluster: Cluster, image: str, progress: Progress) -> None:
    """Create the cluster and wait until its nodes are Ready."""
    home = state_folder(cluster.name)
    (home / "kind.yaml").write_text(CONFIGURATION)
    with progress.step(f"created cluster {cluster.name}", expect="30 s"):
        run(
            binary("kind"), "create", "cluster", "--name", cluster.name, "--image", image,
            "--config", home / "kind.yaml", "--kubeconfig", cluster.kubeconfig, "--wait", "180s",
            env=cluster.docker.environment, timeout_s=600,
        )  # fmt: skip
        # Both nodes take pods, so that a bot has somewhere to go when its node is lost.
        cluster.kubectl(
            "taint", "nodes", "--all", "node-role.kubernetes.io/control-plane:NoSchedule-", check=False
        )
        wait_until_healthy(cluster, deadline_s=120)


def repair(cluster: Cluster, progress: Progress) -> bool:
    """Undo what a fault, a reboot or a killed run left: paused or stopped nodes and cut connections."""
    try:
        with progress.step(f"repaired cluster {cluster.name}"):
            for node in cluster.nodes:
                if not runs(cluster, node):
                    paused = container_state(cluster, node) == "paused"
                    cluster.docker.run("unpause" if paused else "start", node)
                faults.heal(cluster, node)
            wait_until_healthy(cluster, deadline_s=90)
    except ClusterError as error:
        progress.note(
            f"cluster {cluster.name} cannot be repaired ({str(error).splitlines()[0]}); making a new one"
        )
        return False
    return True


def down(name: str, progress: Progress, *, keep_docker: bool = False) -> None:
    """Remove the cluster, and end our own daemon when nothing else runs on it.

    Cleans what a killed `up` left. Touches only containers that carry this cluster's label and processes that
    run from our own folder.
    """
    check_name(name)
    with exclusive(progress):
        daemon = docker.find()
        if daemon is None and docker.state_exists() and was_begun(name):
            daemon = docker.start()  # it was killed: only with it running can its containers be removed
        if daemon is not None:
            remove(name, daemon, progress)
            if not keep_docker and daemon == docker.own() and docker.is_idle(daemon):
                docker.stop(progress)
        shutil.rmtree(state_folder(name))


def remove(name: str, daemon: Docker, progress: Progress) -> None:
    """Remove the cluster's containers and forget what was recorded about it."""
    (state_folder(name) / "fingerprint").unlink(missing_ok=True)
    if names := docker.containers(daemon, name):
        with progress.step(f"removed cluster {name}"):
            docker.remove(daemon, names)


def status(name: str) -> str:
    """Describe the cluster for a person."""
    cluster = find(name)
    health = "healthy" if is_healthy(cluster) else "NOT healthy; `up` repairs it"
    nodes = cluster.kubectl("get", "nodes", "-o", "wide", check=False)
    where = cluster.docker.host or "the system's Docker"
    return f"cluster {name} is {health}\nkubeconfig {cluster.kubeconfig}\nDocker     {where}\n\n{nodes}"


def is_healthy(cluster: Cluster) -> bool:
    """Tell whether both nodes run uncut, and the API server says that they, DNS and storage work.

    The API server's word alone is late: it calls a node Ready for 50 s after it was paused or cut off.
    """
    if not all(runs(cluster, node) and not faults.is_partitioned(cluster, node) for node in cluster.nodes):
        return False
    try:
        listing = json.loads(
            run(
                binary("kubectl"), "--kubeconfig", cluster.kubeconfig, "--request-timeout=5s",
                "get", "nodes,deployments,daemonsets", "--all-namespaces", "-o", "json", timeout_s=20,
            )
        )  # fmt: skip
    except CommandError:
        return False
    items = listing["items"]
    nodes = [item for item in items if item["kind"] == "Node"]
    system = [
        item for item in items if item["metadata"].get("namespace") in {"kube-system", "local-path-storage"}
    ]
    return (
        len(nodes) == 2
        and all(map(node_is_ready, nodes))
        and bool(system)
        and all(map(workload_is_ready, system))
    )


def runs(cluster: Cluster, node: str) -> bool:
    """Tell whether a node's container runs."""
    return container_state(cluster, node) == "running"


def container_state(cluster: Cluster, node: str) -> str:
    """Return Docker's word for the state of a node's container: running, paused, exited."""
    return cluster.docker.run("inspect", "--format", "{{.State.Status}}", node).strip()


def node_is_ready(node: Object) -> bool:
    """Tell whether a Node object reports Ready."""
    return any(
        entry["type"] == "Ready" and entry["status"] == "True" for entry in node["status"]["conditions"]
    )


def workload_is_ready(workload: Object) -> bool:
    """Tell whether a Deployment or DaemonSet has all its pods ready."""
    state = workload["status"]
    if workload["kind"] == "DaemonSet":
        return bool(state["desiredNumberScheduled"] == state["numberReady"] > 0)
    return bool(workload["spec"]["replicas"] == state.get("readyReplicas", 0))


def wait_until_healthy(cluster: Cluster, deadline_s: float) -> None:
    """Poll until the cluster is healthy. Raises ClusterError with its pods when it is not in time."""
    end_s = time.monotonic() + deadline_s
    while not is_healthy(cluster):
        if time.monotonic() > end_s:
            pods = cluster.kubectl("get", "nodes,pods", "-A", "-o", "wide", check=False)
            raise ClusterError(f"cluster {cluster.name} is not healthy after {deadline_s:.0f} s:\n{pods}")
        time.sleep(0.5)


def fingerprint(image: str) -> str:
    """Return what must be equal for a running cluster to be used again."""
    return hashlib.sha256(f"{image}\n{CONFIGURATION}".encode()).hexdigest()
