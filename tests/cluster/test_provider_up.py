"""The provider's promises about a cluster that is up, faults included."""

import json

import pytest

from tests.cluster import ClusterError, Progress, faults, images, versions
from tests.cluster import cluster as clusters
from tests.support import eventually

# The grace period of the controller manager is 50 s, and a loaded machine adds to it.
NOT_READY_S = 110


def idle_pod(name: str, image: str, node: str) -> str:
    """A pod under the `restricted` profile that writes the time to a file ten times a second."""
    return json.dumps({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name},
        "spec": {
            "nodeName": node,
            "terminationGracePeriodSeconds": 0,
            "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [{
                "name": "clock",
                "image": image,
                "command": ["sh", "-c", "while :; do date +%s%N > /state/now; sleep 0.1; done"],
                "securityContext": {
                    "allowPrivilegeEscalation": False,
                    "readOnlyRootFilesystem": True,
                    "capabilities": {"drop": ["ALL"]},
                },
                "volumeMounts": [{"name": "state", "mountPath": "/state"}],
            }],
            "volumes": [{"name": "state", "emptyDir": {}}],
        },
    })  # fmt: skip


@pytest.fixture
def clock(cluster, namespace):
    """A function that reads the time which a running pod last wrote."""
    cluster.kubectl(
        "-n", namespace, "apply", "-f", "-", input=idle_pod("clock", cluster.images.trader, cluster.nodes[-1])
    )
    cluster.kubectl("-n", namespace, "wait", "--for=condition=Ready", "pod/clock", "--timeout=60s")
    return lambda: cluster.kubectl("-n", namespace, "exec", "clock", "--", "cat", "/state/now").strip()


def test_two_nodes_of_the_pinned_release_are_ready(cluster):
    nodes = json.loads(cluster.kubectl("get", "nodes", "-o", "json"))["items"]
    assert sorted(node["metadata"]["name"] for node in nodes) == cluster.nodes
    assert len(nodes) == 2
    assert {node["status"]["nodeInfo"]["kubeletVersion"] for node in nodes} == {f"v{versions.KUBERNETES}"}
    assert all(map(clusters.node_is_ready, nodes))


def test_both_nodes_take_pods(cluster):
    nodes = json.loads(cluster.kubectl("get", "nodes", "-o", "json"))["items"]
    assert all(not node["spec"].get("taints") for node in nodes)


def test_nodes_have_their_own_machine_ids(cluster):
    assert len({cluster.docker.run("exec", node, "cat", "/etc/machine-id") for node in cluster.nodes}) == 2


def test_every_node_holds_both_images_and_not_just_any(cluster):
    assert not cluster.lacks(cluster.images.operator)
    assert not cluster.lacks(cluster.images.trader)
    assert cluster.lacks("soloist-trader:no-such-tag")


def test_kube_proxy_writes_its_rules(cluster):
    # A proxy can be Running and useless when a plugin of iptables lacks a library; only its log says so.
    log = cluster.kubectl("-n", "kube-system", "logs", "-l", "k8s-app=kube-proxy", "--tail=-1").lower()
    assert "failed to execute" not in log
    assert "sync failed" not in log


def test_a_frozen_pod_stands_still_until_it_is_thawed(cluster, namespace, clock):
    pod = f"{namespace}/clock"
    before = clock()
    eventually(lambda: clock() != before, 10, "the clock does not run")
    assert faults.freeze(cluster, pod) >= 1
    stopped = clock()
    states = eventually(lambda: process_states(cluster, namespace), 5, "no process of the pod was found")
    assert set(states) - {"Z"} == {
        "T"
    }  # Z: a child that ended just before, which its stopped parent cannot reap
    assert clock() == stopped
    assert faults.thaw(cluster, pod) >= 1
    eventually(lambda: clock() != stopped, 10, "the clock did not go on")
    with pytest.raises(ClusterError, match="was not frozen"):
        faults.thaw(cluster, pod)


def process_states(cluster, namespace: str) -> list[str]:
    """Scheduler states of the processes in the pod's container; T is stopped."""
    node = cluster.nodes[-1]
    pids = faults.processes(cluster, node, [container_of(cluster, namespace)])
    listing = cluster.docker.run(
        "exec", node, "sh", "-c", f"grep -h ^State: {' '.join(f'/proc/{pid}/status' for pid in pids)}"
    )
    return [line.split()[1] for line in listing.splitlines()]


def container_of(cluster, namespace: str) -> str:
    """The id of the clock's container."""
    status = json.loads(cluster.kubectl("-n", namespace, "get", "pod", "clock", "-o", "json"))["status"]
    return status["containerStatuses"][0]["containerID"].removeprefix("containerd://")


def test_freezing_what_is_not_there_says_so(cluster, namespace, clock):
    with pytest.raises(ClusterError, match="no running container engine"):
        faults.freeze(cluster, f"{namespace}/clock", container="engine")


def test_only_a_worker_of_this_cluster_can_be_cut_off(cluster):
    with pytest.raises(ClusterError, match="is no worker"):
        faults.partition(cluster, cluster.nodes[0])
    with pytest.raises(ClusterError, match="has no node"):
        faults.heal(cluster, "somebody-elses-worker")


@pytest.mark.timeout(300)
def test_a_partitioned_node_is_lost_to_the_api_server_only_and_comes_back(cluster, namespace, clock):
    worker = cluster.nodes[-1]
    node_of = ("get", "node", worker, "-o", "json")
    identity = container_of(cluster, namespace)
    assert faults.processes(cluster, worker, [identity])
    try:
        faults.partition(cluster, worker)
        faults.partition(cluster, worker)  # twice is once
        # Neither does the node hear of it, not even through a watch that was open before.
        cluster.kubectl(
            "-n", namespace, "delete", "pod", "clock", "--force", "--grace-period=0", "--wait=false"
        )
        eventually(
            lambda: not clusters.node_is_ready(json.loads(cluster.kubectl(*node_of))),
            NOT_READY_S,
            lambda: cluster.kubectl("get", "nodes"),
        )
        # Its object is gone and its process lives: exactly the dangerous situation.
        assert faults.processes(cluster, worker, [identity]), "the pod on the partitioned node was ended"
    finally:
        faults.heal(cluster, worker)
    eventually(lambda: clusters.is_healthy(cluster), 90, lambda: cluster.kubectl("get", "nodes,pods", "-A"))


def test_repeating_up_changes_nothing(cluster):
    before = [
        cluster.docker.run("inspect", "--format", "{{.Id}} {{.State.StartedAt}}", node)
        for node in cluster.nodes
    ]
    lines: list[str] = []
    again = clusters.ensure_up(cluster.name, Progress(lines.append))
    after = [
        cluster.docker.run("inspect", "--format", "{{.Id}} {{.State.StartedAt}}", node)
        for node in again.nodes
    ]
    assert before == after
    assert lines[-1:] == [f"[    ...] cluster {cluster.name} is up"]  # others may have held the lock before


def test_images_hold_their_own_packages_and_nothing_to_build_or_install_with(cluster):
    holds = {
        cluster.images.operator: {"soloist_fence", "soloist_kalshi", "soloist_operator"},
        cluster.images.trader: {"soloist_exchange", "soloist_kalshi", "soloist_trader"},
    }
    look = (
        "id -u; ls -d /opt/soloist/lib/python3.11/site-packages/soloist_* | xargs -n1 basename | tr '\\n' ' '; echo; "
        "ls -d /opt/soloist/bin/soloist-* | xargs -n1 basename | tr '\\n' ' '; echo; "
        "command -v gcc cc make pip pip3; python3 -m pip --version 2>&1"
    )
    for tag, packages in holds.items():
        sandbox = ("--rm", "--network=none", "--read-only", "--cap-drop=ALL", "--entrypoint=sh")
        lines = cluster.docker.run("run", *sandbox, tag, "-c", look, check=False).splitlines()
        assert lines[0] == "10001"
        assert set(lines[1].split()) == packages
        assert set(lines[2].split()) == {name.replace("_", "-") for name in packages - {"soloist_kalshi"}}
        assert len(lines) == 4, f"{tag} holds a tool of the build: {lines[3:]}"
        assert "No module named pip" in lines[3]


def test_the_tag_of_an_image_follows_its_content_only():
    base = "some-base:1"
    before = images.content_hash(images.TRADER, base)
    assert images.content_hash(images.TRADER, base) == before
    assert images.content_hash(images.TRADER, "some-base:2") != before
    assert images.content_hash(images.OPERATOR, base) != before
