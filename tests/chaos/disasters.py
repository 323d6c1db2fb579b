"""Disasters beyond a plain partition, each undone when its block ends (tests/cluster/faults.py makes partitions and freezes)."""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from tests.cluster import faults
from tests.cluster.access import Cluster
from tests.cluster.errors import ClusterError
from tests.support import eventually

OUT_OF_SERVICE = "node.kubernetes.io/out-of-service=nodeshutdown:NoExecute"
API_SERVER_MANIFEST = "/etc/kubernetes/manifests/kube-apiserver.yaml"
PARKED = "/etc/kubernetes/kube-apiserver.yaml.parked"
MARK = "soloist-chaos"
KEPT_ROUTES = 99
"""`ip route`'s number for who made a route: ours, and nobody else's."""


def shell(cluster: Cluster, node: str, script: str) -> str:
    """Run a script in a node, as root."""
    return cluster.docker.run("exec", node, "sh", "-c", script)


def control_plane(cluster: Cluster) -> str:
    """The node with the API server."""
    return cluster.nodes[0]


def worker(cluster: Cluster) -> str:
    """The node that disasters happen to."""
    return next(node for node in cluster.nodes if not node.endswith("-control-plane"))


@contextmanager
def partitioned(cluster: Cluster, node: str) -> Iterator[None]:
    """The node reaches everything but the API server."""
    faults.partition(cluster, node)
    try:
        yield
    finally:
        faults.heal(cluster, node)


@contextmanager
def cut_off(cluster: Cluster, node: str, address: str, port: int) -> Iterator[None]:
    """Packets of the node's pods to one address are dropped; what was written stays in the kernel and is sent again later."""
    # POSTROUTING of mangle sees every packet, after Services are resolved and whatever the network policies accepted.
    rule = f"POSTROUTING --destination {address} --protocol tcp --dport {port} --match comment --comment {MARK} --jump DROP"
    shell(cluster, node, f"iptables --wait --table mangle --insert {rule}")
    try:
        yield
    finally:
        let_through(cluster, node)


def let_through(cluster: Cluster, node: str) -> None:
    """Undo every `cut_off` of a node."""
    shell(cluster, node, f"iptables-save --table mangle | grep -v {MARK} | iptables-restore --table=mangle")


@contextmanager
def frozen(cluster: Cluster, pod: str, container: str = "") -> Iterator[None]:
    """Every process of the pod (`NAMESPACE/NAME`), or of one container, stands still."""
    faults.freeze(cluster, pod, container)
    try:
        yield
    finally:
        with suppress(ClusterError):  # the block may have thawed it
            faults.thaw(cluster, pod)


@contextmanager
def kubelet_frozen(cluster: Cluster, node: str) -> Iterator[None]:
    """The kubelet stands still: no liveness probe ends anything, and the node's Lease falls silent."""
    shell(cluster, node, "systemctl kill --signal=STOP --kill-whom=main kubelet")
    try:
        yield
    finally:
        shell(cluster, node, "systemctl kill --signal=CONT --kill-whom=main kubelet")


@contextmanager
def api_server_stopped(cluster: Cluster) -> Iterator[None]:
    """No API server at all, as while a control plane is replaced."""
    node = control_plane(cluster)
    shell(cluster, node, f"mv {API_SERVER_MANIFEST} {PARKED}")
    eventually(
        lambda: not shell(cluster, node, "pgrep kube-apiserver || true").strip(), 60, "the API server runs on"
    )
    try:
        yield
    finally:
        shell(cluster, node, f"mv {PARKED} {API_SERVER_MANIFEST}")
        eventually(lambda: is_api_up(cluster), 120, "the API server does not come back", interval_s=1.0)


@contextmanager
def out_of_service(cluster: Cluster, node: str) -> Iterator[None]:
    """A person's word that the node is off, given while it may not be."""
    cluster.kubectl("taint", "node", node, OUT_OF_SERVICE, "--overwrite")
    try:
        yield
    finally:
        key = OUT_OF_SERVICE.split("=", 1)[0]
        cluster.kubectl("taint", "node", node, f"{key}-", check=False)


def is_api_up(cluster: Cluster) -> bool:
    """Whether the API server answers."""
    return cluster.kubectl("get", "--raw", "/readyz", check=False).strip() == "ok"


def kill(cluster: Cluster, pod: str, container: str) -> None:
    """SIGKILL every process of a container, as the kernel's memory killer would."""
    namespace, name = faults.split_pod(pod)
    found = json.loads(cluster.kubectl("--namespace", namespace, "get", "pod", name, "-o", "json"))
    statuses = [
        *found["status"].get("initContainerStatuses", []),
        *found["status"].get("containerStatuses", []),
    ]
    identity = next(entry["containerID"] for entry in statuses if entry["name"] == container)
    node = found["spec"]["nodeName"]
    pids = faults.processes(cluster, node, [identity.removeprefix("containerd://")])
    faults.signal(cluster, node, pids, "KILL")


def delete_node(cluster: Cluster, node: str) -> None:
    """Delete the Node object; whatever runs there runs on, and is heard.

    kube-router ends its session with a deleted node, and both ends take each other's routes away, which would silence the
    zombie; not every network does, so they stay.
    """
    first = control_plane(cluster)
    for here, there in ((first, node), (node, first)):
        found = json.loads(cluster.kubectl("get", "node", there, "-o", "json"))
        address = next(
            each["address"] for each in found["status"]["addresses"] if each["type"] == "InternalIP"
        )
        for half in ipaddress.ip_network(found["spec"]["podCIDR"]).subnets():
            shell(cluster, here, f"ip route replace {half} via {address} protocol {KEPT_ROUTES}")
    cluster.kubectl("delete", "node", node, "--wait=false")


def bring_back(cluster: Cluster, node: str) -> None:
    """The node has its Node object again and is Ready."""
    if not cluster.kubectl("get", "node", node, "--ignore-not-found", "-o", "name").strip():
        # Registered by the kubelet alone it would get other pod addresses than its bridge has, and no pod would start there.
        # After a reboot there are neither kept routes nor a bridge.
        if cidr := kept_addresses(cluster, control_plane(cluster)):
            made = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": node}, "spec": {"podCIDR": cidr, "podCIDRs": [cidr]}}  # fmt: skip
            cluster.kubectl("create", "-f", "-", input=json.dumps(made))
        shell(cluster, node, "systemctl restart kubelet")
    eventually(lambda: is_node_ready(cluster, node), 120, f"{node} does not become Ready", interval_s=1.0)
    for name in cluster.nodes:
        let_go_of_routes(cluster, name)


def kept_addresses(cluster: Cluster, node: str) -> str:
    """The pod addresses that a node reaches by the routes of `delete_node`, empty when there are none."""
    kept = json.loads(shell(cluster, node, f"ip -json route show protocol {KEPT_ROUTES}"))
    whole = ipaddress.collapse_addresses(ipaddress.IPv4Network(route["dst"]) for route in kept)
    return "".join(map(str, whole))


def let_go_of_routes(cluster: Cluster, node: str) -> None:
    """Take the routes of `delete_node` away, once the network has its own again: kube-router needs a while to come back."""
    if cidr := kept_addresses(cluster, node):
        eventually(
            lambda: shell(cluster, node, f"ip route show exact {cidr}").strip(),
            180,
            f"the network makes no route to {cidr} on {node} again",
            interval_s=1.0,
        )
        shell(cluster, node, f"ip route flush protocol {KEPT_ROUTES}")


def is_node_ready(cluster: Cluster, node: str) -> bool:
    """Whether the node says that it is Ready."""
    text = cluster.kubectl("get", "node", node, "--ignore-not-found", "-o", "json", check=False)
    conditions = json.loads(text)["status"].get("conditions", []) if text.strip() else []
    return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)


def repair(cluster: Cluster) -> None:
    """Undo whatever an earlier run, perhaps a killed one, left behind."""
    for pod in list(faults.frozen(cluster)):
        with suppress(ClusterError):
            faults.thaw(cluster, pod)
    node = worker(cluster)
    first = control_plane(cluster)
    shell(cluster, first, f"test ! -e {PARKED} || mv {PARKED} {API_SERVER_MANIFEST}")
    for name in cluster.nodes:
        faults.heal(cluster, name)
        shell(cluster, name, "systemctl kill --signal=CONT --kill-whom=main kubelet")
        let_through(cluster, name)
    eventually(lambda: is_api_up(cluster), 120, "the API server does not answer", interval_s=1.0)
    cluster.kubectl("taint", "node", node, f"{OUT_OF_SERVICE.split('=', 1)[0]}-", check=False)
    cluster.kubectl("uncordon", node, check=False)
    bring_back(cluster, node)
