"""Install Soloist's chart in a cluster, and make what a person makes by hand: an exchange account and its management key.

The demonstration and the end-to-end tests take the same steps, so they share this file.
"""

from __future__ import annotations

import base64
import json
import subprocess
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import yaml

from tests.cluster.access import Cluster
from tests.cluster.chart import CHART, RELEASE
from tests.cluster.chart import NAMESPACE as SYSTEM_NAMESPACE
from tests.cluster.images import Tags
from tests.cluster.paths import binary

RESTRICTED_LABELS = {
    f"pod-security.kubernetes.io/{mode}": "restricted" for mode in ("enforce", "audit", "warn")
}


class ReleaseError(Exception):
    """A step of the installation failed; the message holds the program's own words."""


@dataclass(frozen=True, slots=True)
class Account:
    """An account of the local exchange, with its management key (the private key is PEM)."""

    name: str
    key_id: str
    private_key: str


def values(
    images: Tags, bot_namespaces: Sequence[str], scenario: str, seed: int, node_selector: Mapping[str, str]
) -> dict[str, object]:
    """Chart values of an installation with the local exchange as venue `simulator`."""
    return {
        "images": {"operator": images.operator, "trader": images.trader, "pullPolicy": "IfNotPresent"},
        "botNamespaces": [{"name": name, "create": True} for name in bot_namespaces],
        "exchange": {
            "enabled": True,
            "scenario": scenario,
            "seed": seed,
            "nodeSelector": dict(node_selector),
        },
        "operator": {"nodeSelector": dict(node_selector)},
    }


def install(
    cluster: Cluster,
    images: Tags,
    *,
    bot_namespaces: Sequence[str] = ("bots",),
    scenario: str = "demo",
    seed: int = 7,
    timeout_s: int = 180,
    node_selector: Mapping[str, str] | None = None,
) -> None:
    """Install or upgrade the release in a namespace that enforces the `restricted` profile, and wait until it is ready.

    `node_selector` is where operator and exchange run: away from the node that a test takes down.
    """
    namespace = {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {"name": SYSTEM_NAMESPACE, "labels": RESTRICTED_LABELS},
    }
    cluster.kubectl("apply", "-f", "-", input=json.dumps(namespace))
    command = [
        str(binary("helm")), "upgrade", "--install", RELEASE, str(CHART),
        "--kubeconfig", str(cluster.kubeconfig), "--namespace", SYSTEM_NAMESPACE,
        "--values", "-", "--wait", "--timeout", f"{timeout_s}s",
    ]  # fmt: skip
    done = subprocess.run(
        command,
        input=yaml.safe_dump(values(images, bot_namespaces, scenario, seed, node_selector or {})),
        capture_output=True,
        text=True,
        check=False,
        timeout=timeout_s + 60,
    )
    if done.returncode != 0:
        pods = cluster.kubectl("-n", SYSTEM_NAMESPACE, "get", "pods", "-o", "wide", check=False)
        raise ReleaseError(f"helm could not install {RELEASE}: {done.stderr.strip()}\n{pods}")


def create_account(cluster: Cluster, name: str, balance_dollars: str = "10000.00") -> Account:
    """Create an account at the local exchange, through the command line that the exchange ships."""
    printed = cluster.kubectl(
        "-n", SYSTEM_NAMESPACE, "exec", "deploy/soloist-exchange", "--",
        "soloist-exchange", "account", "create", name,
        "--balance", balance_dollars, "--state-dir", "/var/lib/soloist", "--print-key",
    )  # fmt: skip
    account = json.loads(printed.strip().splitlines()[-1])
    return Account(account["account"], account["key_id"], account["private_key"])


def management_key_secret(account: Account, namespace: str, name: str) -> dict[str, object]:
    """The Secret that `spec.account.managementKeySecretRef` names."""
    data = {"key-id": account.key_id, "private-key.pem": account.private_key}
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name, "namespace": namespace},
        "type": "Opaque",
        "data": {key: base64.b64encode(value.encode()).decode() for key, value in data.items()},
    }


@contextmanager
def port_forward(cluster: Cluster, namespace: str, target: str, port: int) -> Iterator[str]:
    """Yield `http://127.0.0.1:PORT` that reaches `port` of `target` (as `deploy/soloist-exchange`) until the block ends.

    A forwarding ends with the API server or the pod that it goes through; a new one then takes its place, on the same port.
    """
    command = [
        str(binary("kubectl")), "--kubeconfig", str(cluster.kubeconfig), "-n", namespace,
        "port-forward", target, "--address", "127.0.0.1",
    ]  # fmt: skip
    process, line = _forward([*command, f":{port}"])
    if "->" not in line:  # "Forwarding from 127.0.0.1:40123 -> 8444"
        _end(process)
        raise ReleaseError(f"port-forward to {namespace}/{target}:{port} did not start: {line.strip()}")
    local = line.split("->")[0].rsplit(":", 1)[1].strip()
    ended = threading.Event()

    def keep_up(process: subprocess.Popen[str]) -> None:
        while not ended.wait(0.5):
            if process.poll() is not None:
                _end(process)
                process, _ = _forward([*command, f"{local}:{port}"])
        _end(process)

    keeper = threading.Thread(target=keep_up, args=(process,), daemon=True)
    keeper.start()
    try:
        yield f"http://127.0.0.1:{local}"
    finally:
        ended.set()
        keeper.join(30)


def _forward(command: list[str]) -> tuple[subprocess.Popen[str], str]:
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert process.stdout is not None
    return process, process.stdout.readline()


def _end(process: subprocess.Popen[str]) -> None:
    process.terminate()
    process.wait(timeout=10)
    assert process.stdout is not None
    process.stdout.close()
