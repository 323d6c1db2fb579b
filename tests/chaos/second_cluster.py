"""Two clusters that share nothing but the venue: the second one trades on the exchange of the first."""

from __future__ import annotations

import copy
import json
import os
import subprocess
from typing import Any

import yaml

from tests.chaos import disasters
from tests.chaos.catalogue import scenario
from tests.chaos.stage import NAMESPACE, Stage
from tests.cluster import cluster as clusters
from tests.cluster import images, release
from tests.cluster.access import Cluster
from tests.cluster.chart import CHART, RELEASE
from tests.cluster.paths import binary
from tests.cluster.progress import Progress
from tests.e2e.scene import Bot
from tests.support import eventually

NAME = os.environ.get("SOLOIST_SECOND_CLUSTER") or "soloist-second"
NODE_PORT = 30443
SYSTEM = release.SYSTEM_NAMESPACE


@scenario("12", "two clusters, one account, started at once", with_bot=False)
def two_clusters(stage: Stage) -> None:
    first = stage.bot
    first.prepare("demo.yaml")
    assert first.account is not None
    elsewhere = open_second(stage)
    second = Bot(elsewhere, stage.oracle, NAMESPACE, name=first.name, account=first.account)
    second.manifest = copy.deepcopy(first.manifest)
    secret_name = first.manifest["spec"]["account"]["managementKeySecretRef"]["name"]
    second.kubectl(
        "apply",
        "-f",
        "-",
        input=json.dumps(release.management_key_secret(first.account, NAMESPACE, secret_name)),
    )
    stage.extra_bots.append(second)
    stage.begin()
    rivals = (first, second)
    for bot in rivals:
        bot.apply()
    eventually(
        lambda: any(bot.is_ready() for bot in rivals),
        240,
        lambda: first.story() + second.story(),
        interval_s=0.5,
    )
    winner = next(bot for bot in rivals if bot.is_ready())
    loser = next(bot for bot in rivals if bot is not winner)
    said = loser.wait_condition("Fenced", "False", "Conflict", 180)["message"]
    assert winner.status()["keyId"] in said, said
    assert not loser.is_ready()
    assert winner.is_ready()
    stage.notes.append("the first cluster's" if winner is first else "the second cluster's")


def open_second(stage: Stage) -> Cluster:
    """Bring the second cluster up, with the operator alone, and lead it to the first one's exchange."""
    progress = Progress()
    made = clusters.ensure_up(NAME, progress)
    tags = images.loaded(stage.cluster)
    images.load(made, tags, progress)
    node = disasters.control_plane(stage.cluster)
    address = stage.cluster.docker.run(
        "inspect", "--format", "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}", node
    ).strip()
    stage.cluster.kubectl("apply", "-f", "-", input=yaml.safe_dump_all(_door()))
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": SYSTEM, "labels": release.RESTRICTED_LABELS}}  # fmt: skip
    made.kubectl("apply", "-f", "-", input=yaml.safe_dump_all([namespace, *_road(address)]))
    _install(made, tags, address, _venue(stage.cluster))
    return made


def close_second() -> None:
    """Remove the second cluster, if there is one."""
    clusters.down(NAME, Progress(), keep_docker=True)


def _door() -> list[dict[str, Any]]:
    """In the first cluster: the exchange on a port of its nodes, for anybody on the machine's own container network."""
    labels = {"app.kubernetes.io/name": "soloist-exchange"}
    service = {
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "exchange-door", "namespace": SYSTEM},
        "spec": {"type": "NodePort", "selector": labels, "ports": [{"port": 8443, "nodePort": NODE_PORT}]},
    }  # fmt: skip
    policy = {
        "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
        "metadata": {"name": "exchange-door", "namespace": SYSTEM},
        "spec": {
            "podSelector": {"matchLabels": labels}, "policyTypes": ["Ingress"],
            "ingress": [{"from": [{"ipBlock": {"cidr": "0.0.0.0/0"}}], "ports": [{"port": 8443}]}],
        },
    }  # fmt: skip
    return [service, policy]


def _road(address: str) -> list[dict[str, Any]]:
    """In the second cluster: a Service of the exchange's own name, so that its certificate fits."""
    metadata = {"name": "soloist-exchange", "namespace": SYSTEM}
    service = {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": {"ports": [{"name": "https", "port": 8443, "targetPort": NODE_PORT}]}}  # fmt: skip
    slices = {
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
        "metadata": {**metadata, "labels": {"kubernetes.io/service-name": "soloist-exchange"}},
        "ports": [{"name": "https", "port": NODE_PORT, "protocol": "TCP"}],
        "endpoints": [{"addresses": [address], "conditions": {"ready": True}}],
    }  # fmt: skip
    return [service, slices]


def _venue(first: Cluster) -> dict[str, Any]:
    """The first cluster's own venue profile."""
    held = first.kubectl("-n", SYSTEM, "get", "configmap", "soloist-operator-settings", "-o", "json")
    settings = yaml.safe_load(json.loads(held)["data"]["settings.yaml"])
    return dict(settings["venues"]["simulator"])


def _install(cluster: Cluster, tags: images.Tags, address: str, venue: dict[str, Any]) -> None:
    to = [{"ipBlock": {"cidr": f"{address}/32"}}]
    venue["egress"] = [{"to": to, "ports": [{"port": NODE_PORT, "protocol": "TCP"}]}]
    values = {
        "images": {"operator": tags.operator, "trader": tags.trader, "pullPolicy": "IfNotPresent"},
        "botNamespaces": [{"name": NAMESPACE, "create": True}],
        "venues": {"simulator": venue},
    }
    subprocess.run(
        [
            str(binary("helm")), "upgrade", "--install", RELEASE, str(CHART), "--kubeconfig", str(cluster.kubeconfig),
            "--namespace", SYSTEM, "--values", "-", "--wait", "--timeout", "180s",
        ],
        input=yaml.safe_dump(values), text=True, check=True, capture_output=True, timeout=240,
    )  # fmt: skip
