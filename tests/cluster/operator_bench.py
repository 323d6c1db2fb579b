"""A real operator process against a real API server, and a hand that plays the kubelet where no pod shall really run.

The bots of these tests carry a node selector that no node has, so nothing is scheduled and every pod stays as the API
server stores it. What a kubelet would report is written through the status subresource under its field manager's name:
the operator sees what it would see of a real one.
"""

from __future__ import annotations

import base64
import json
import re
import socket
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import yaml

from tests.support import eventually

ROOT = Path(__file__).resolve().parents[2]
NOWHERE = {"soloist.test/nowhere": "true"}
BOT = "soloist.trade/bot"
RENEW_S = 5

HELM = {
    # The chart installs these later: with its marks on them it takes them over instead of refusing.
    "labels": {"app.kubernetes.io/managed-by": "Helm"},
    "annotations": {
        "meta.helm.sh/release-name": "soloist",
        "meta.helm.sh/release-namespace": "soloist-system",
    },
}


def install_crds(cluster: Any) -> None:
    """Bring the generated CRDs to the cluster, as the chart would."""
    for path in sorted((ROOT / "crds").glob("*.yaml")):
        definition = yaml.safe_load(path.read_text())
        for part, entries in HELM.items():
            definition["metadata"].setdefault(part, {}).update(entries)
        cluster.kubectl(
            "apply",
            "--server-side",
            "--force-conflicts",
            "--field-manager=helm",
            "-f",
            "-",
            input=json.dumps(definition),
        )
        cluster.kubectl(
            "wait", "--for=condition=Established", f"crd/{definition['metadata']['name']}", "--timeout=30s"
        )


@contextmanager
def namespaces(cluster: Any, count: int) -> Iterator[tuple[str, ...]]:
    """Namespaces as the chart prepares them for bots; removed when the block ends."""
    names = tuple(f"test-operator-{uuid.uuid4().hex[:8]}" for _ in range(count))
    levels = {f"pod-security.kubernetes.io/{mode}": "restricted" for mode in ("enforce", "warn")}
    for name in names:
        made = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": levels}}
        cluster.kubectl("create", "-f", "-", input=json.dumps(made))
        for account in ("soloist-engine", "soloist-fence"):
            cluster.kubectl("-n", name, "create", "serviceaccount", account)
    try:
        yield names
    finally:
        cluster.kubectl("delete", "namespace", *names, "--wait=false")


def spec(mode: str = "Paper", **changes: Any) -> dict[str, Any]:
    """A complete spec; `changes` replace whole blocks, None removes one."""
    found: dict[str, Any] = {
        "mode": mode,
        "venue": "simulator",
        "markets": {"tickers": ["SIM-A"]},
        "strategy": {"name": "threshold", "parameters": {"edge": 3}},
        "risk": {
            "maxOrderContracts": "100.00",
            "maxPositionContracts": "500.00",
            "maxExposureDollars": "1000.00",
            "maxOpenOrders": 20,
            "dailyLossDollars": "200.00",
        },
        "nodeSelector": dict(NOWHERE),
    }
    found |= changes
    return {key: value for key, value in found.items() if value is not None}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class Operator:
    """The process under test."""

    log: Path
    metrics_port: int

    def writes(self) -> int:
        """Write requests so far, Events not counted: they tell, they do not change."""
        text = httpx.get(f"http://127.0.0.1:{self.metrics_port}/metrics", timeout=5).text
        found = re.findall(
            r'^soloist_operator_write_requests_total\{kind="(\w+)",verb="\w+"\} ([0-9.]+)', text, re.MULTILINE
        )
        return sum(int(float(value)) for kind, value in found if kind != "events")

    def runs(self) -> int:
        text = httpx.get(f"http://127.0.0.1:{self.metrics_port}/metrics", timeout=5).text
        return sum(
            int(float(v))
            for v in re.findall(
                r'^soloist_operator_runs_total\{outcome="\w+"\} ([0-9.]+)', text, re.MULTILINE
            )
        )


@contextmanager
def running(cluster: Any, folder: Path, *namespaces: str) -> Iterator[Operator]:
    """Run the operator from this environment for some namespaces, until the block ends."""
    settings = folder / f"settings-{uuid.uuid4().hex[:6]}.yaml"
    settings.write_text(
        yaml.safe_dump(
            {
                "images": {"trader": "soloist-trader:test", "fence": "soloist-operator:test"},
                "watchNamespaces": list(namespaces),
                "venues": {
                    "simulator": {
                        "restUrl": "https://exchange.test/trade-api/v2",
                        "websocketUrl": "wss://exchange.test/trade-api/ws/v2",
                        "revocationBoundMs": 1000,
                        "egress": [
                            {
                                "to": [{"ipBlock": {"cidr": "10.9.0.0/16"}}],
                                "ports": [{"port": 8443, "protocol": "TCP"}],
                            }
                        ],
                    }
                },
            }
        )
    )
    metrics_port, probe_port = free_port(), free_port()
    log = settings.with_suffix(".log")
    options = [f"--settings={settings}", f"--kubeconfig={cluster.kubeconfig}"]
    options += [f"--metrics-port={metrics_port}", f"--probe-port={probe_port}"]
    with log.open("w") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "soloist_operator.cli", "run", *options],
            stderr=output,
            stdout=output,
        )
    try:
        eventually(lambda: _answers(f"http://127.0.0.1:{probe_port}/healthz"), 20, log.read_text)
        yield Operator(log, metrics_port)
    finally:
        process.terminate()
        process.wait(timeout=20)


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=2).status_code == 200
    except httpx.TransportError:
        return False


@dataclass
class Bench:
    """One namespace with an operator, and the hands of a user and of a kubelet."""

    cluster: Any
    namespace: str
    operator: Operator | None = None
    nodes: list[str] = field(default_factory=list)
    account: str = field(default_factory=lambda: f"management-{uuid.uuid4().hex[:6]}")
    """Secret that names the account: an account of its own for each test, so that epochs begin at 1."""

    # ---------------------------------------------------------------------------------------- the user

    def live(self, **changes: Any) -> dict[str, Any]:
        """A Live spec on this test's account."""
        account = {"keyPolicy": "Managed", "managementKeySecretRef": {"name": self.account}}
        return spec("Live", **{"account": account, **changes})

    def kubectl(self, *args: str, **options: Any) -> str:
        return self.cluster.kubectl("-n", self.namespace, *args, **options)

    def apply(self, name: str, wanted: dict[str, Any], **metadata: Any) -> None:
        body = {
            "apiVersion": "soloist.trade/v1alpha1",
            "kind": "TradingBot",
            "metadata": {"name": name, "namespace": self.namespace, **metadata},
            "spec": wanted,
        }
        self.kubectl("apply", "-f", "-", input=json.dumps(body))

    def get(self, kind: str, name: str) -> dict[str, Any] | None:
        text = self.kubectl("get", kind, name, "-o", "json", "--ignore-not-found", "--show-managed-fields")
        return json.loads(text) if text.strip() else None

    def find(self, kind: str, bot: str) -> list[dict[str, Any]]:
        return json.loads(self.kubectl("get", kind, "-l", f"{BOT}={bot}", "-o", "json"))["items"]

    def names(self, kind: str, bot: str) -> list[str]:
        return sorted(item["metadata"]["name"] for item in self.find(kind, bot))

    def status(self, bot: str) -> dict[str, Any]:
        return (self.get("tradingbot", bot) or {}).get("status", {})

    def condition(self, bot: str, kind: str) -> dict[str, Any]:
        body = self.get("tradingbot", bot) or {"metadata": {"generation": -1}}
        for found in body.get("status", {}).get("conditions", []):
            if found["type"] == kind and found["observedGeneration"] == body["metadata"]["generation"]:
                return found
        return {}

    def claim(self, bot: str) -> dict[str, Any]:
        name = self.status(bot)["claim"]
        return json.loads(self.cluster.kubectl("get", "accountclaim", name, "-o", "json"))

    # ---------------------------------------------------------------------------------------- waiting

    def story(self, bot: str) -> str:
        log = "" if self.operator is None else "\n".join(self.operator.log.read_text().splitlines()[-25:])
        return json.dumps(self.status(bot), indent=1) + "\n" + log

    def wait(self, condition: Callable[[], Any], bot: str, deadline_s: float = 15) -> Any:
        return eventually(condition, deadline_s, lambda: self.story(bot))

    def wait_condition(self, bot: str, kind: str, reason: str, deadline_s: float = 15) -> dict[str, Any]:
        return self.wait(
            lambda: (c := self.condition(bot, kind)) and c["reason"] == reason and c, bot, deadline_s
        )

    def wait_settled(self, bot: str) -> None:
        """Until nothing is written or run for a while."""
        assert self.operator is not None
        quiet_since, last = time.monotonic(), -1

        def quiet() -> bool:
            nonlocal quiet_since, last
            assert self.operator is not None
            now = self.operator.runs()
            if now != last:
                quiet_since, last = time.monotonic(), now
            return time.monotonic() - quiet_since > 1.5

        self.wait(quiet, bot, 20)

    # ---------------------------------------------------------------------------------------- the kubelet

    def patch_status(self, kind: str, name: str, status: dict[str, Any], manager: str = "kubelet") -> None:
        self.kubectl(
            "patch", kind, name, "--subresource=status", "--type=merge", f"--field-manager={manager}",
            "-p", json.dumps({"status": status}),
        )  # fmt: skip

    def end_job(self, job: str, container: str, exit_code: int, message: str) -> None:
        """The pod of a Job ends, with a termination message."""

        def pod() -> dict[str, Any] | None:
            text = self.kubectl("get", "pods", "-l", f"batch.kubernetes.io/job-name={job}", "-o", "json")
            return next(iter(json.loads(text)["items"]), None)

        found = eventually(pod, 15, lambda: f"Job {job} has no pod")
        ended = {
            "terminated": {
                "exitCode": exit_code,
                "reason": "Completed" if not exit_code else "Error",
                "message": message,
            }
        }
        self.patch_status(
            "pod",
            found["metadata"]["name"],
            {
                "phase": "Failed" if exit_code else "Succeeded",
                "containerStatuses": [
                    _container_status(container, found["spec"]["containers"][0]["image"], ended)
                ],
            },
        )

    def asked_check(self, bot: str) -> str:
        """The Job that waits for the engine's verdict on a configuration."""

        def waiting() -> str | None:
            pods = [pod for pod in self.find("pods", bot) if pod["status"]["phase"] == "Pending"]
            jobs = [pod["metadata"]["labels"].get("batch.kubernetes.io/job-name", "") for pod in pods]
            return next((job for job in jobs if "-check-" in job), None)

        return self.wait(waiting, bot)

    def pass_check(self, bot: str) -> str:
        """The engine's image accepts the configuration."""
        job = self.asked_check(bot)
        self.end_job(job, "check", 0, "")
        return job

    def identify(self, bot: str, identity: str = "") -> None:
        """The venue says which account the bot's key belongs to: by default the one that its Secret's name stands for."""
        job = self.wait(
            lambda: (j := self.get("job", f"{bot}-identify")) and not j["status"].get("conditions") and j, bot
        )
        told = {
            "version": 1,
            "claim": "",
            "epoch": 0,
            "nonce": job["metadata"]["annotations"]["soloist.trade/nonce"],
            "outcome": "Identified",
            "reason": "Done",
            "message": "",
            "accountIdentity": identity or f"marker:{self.account}",
        }
        self.end_job(f"{bot}-identify", "fence", 0, json.dumps(told))

    def publish(self, bot: str, epoch: int, key_id: str = "key-1") -> dict[str, Any]:
        """The fence of an epoch publishes; returns its evidence."""
        self.wait(lambda: self.get("job", f"{bot}-fence-e{epoch}"), bot)
        evidence = self.evidence(bot, "Published", "Done", keyId=key_id)
        self.end_job(f"{bot}-fence-e{epoch}", "fence", 0, json.dumps(evidence))
        return evidence

    def evidence(self, bot: str, outcome: str, reason: str, **more: Any) -> dict[str, Any]:
        self.wait(lambda: self.claim(bot)["status"].get("nonce"), bot)
        claim = self.claim(bot)
        epoch, nonce = claim["status"]["epoch"], claim["status"]["nonce"]
        return {
            "version": 1,
            "claim": claim["metadata"]["name"],
            "epoch": epoch,
            "nonce": nonce,
            "outcome": outcome,
            "reason": reason,
            "message": "told by the test",
            "secretName": f"{bot}-key-e{epoch}-{nonce}",
            "counts": {},
            "durationsMs": {},
            **more,
        }

    def node(self) -> str:
        """A node without a kubelet, on which nothing else is ever scheduled; Ready by our word."""
        name = f"nowhere-{uuid.uuid4().hex[:6]}"
        body = {
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {"name": name},
            "spec": {
                "unschedulable": True,
                "taints": [{"key": "soloist.test/nobody", "effect": "NoExecute"}],
            },
        }
        self.cluster.kubectl("create", "-f", "-", input=json.dumps(body))
        self.nodes.append(name)
        self.node_ready(name, ready=True)
        return name

    def node_ready(self, name: str, *, ready: bool) -> None:
        condition = {"type": "Ready", "status": str(ready), "reason": "Test", "lastHeartbeatTime": None}
        self.cluster.kubectl(
            "patch", "node", name, "--subresource=status", "--type=merge", "--field-manager=kubelet",
            "-p", json.dumps({"status": {"conditions": [condition]}}),
        )  # fmt: skip

    def bind(self, pod: str, node: str) -> dict[str, Any]:
        """Put a pod on a node, as the scheduler would; returns the pod."""
        body = {
            "apiVersion": "v1",
            "kind": "Binding",
            "metadata": {"name": pod, "namespace": self.namespace},
            "target": {"apiVersion": "v1", "kind": "Node", "name": node},
        }
        self.kubectl(
            "create",
            "--raw",
            f"/api/v1/namespaces/{self.namespace}/pods/{pod}/binding",
            "-f",
            "-",
            input=json.dumps(body),
        )
        found = self.get("pod", pod)
        assert found is not None
        return found

    def run_pod(self, pod: str) -> None:
        """The kubelet reports every container of a pod as running."""
        running = {"running": {"startedAt": "2026-01-01T00:00:00Z"}}
        self.patch_status("pod", pod, {"phase": "Running", **self._statuses(pod, running)})

    def end_pod(self, pod: str, manager: str = "kubelet") -> None:
        """The kubelet reports every container of a pod as terminated, having seen its deletion."""
        ended = {"terminated": {"exitCode": 0, "reason": "Completed"}}
        body = self.get("pod", pod)
        assert body is not None
        seen = {"observedGeneration": body["metadata"]["generation"]}
        self.patch_status("pod", pod, {"phase": "Succeeded", **seen, **self._statuses(pod, ended)}, manager)
        if manager == "kubelet" and body["metadata"].get(
            "deletionTimestamp"
        ):  # its last word: nothing is left here
            self.kubectl(
                "delete", "pod", pod, "--grace-period=0", "--force", "--wait=false", "--ignore-not-found"
            )

    def _statuses(self, pod: str, state: dict[str, Any]) -> dict[str, Any]:
        body = self.get("pod", pod)
        assert body is not None
        return {
            reported: [
                _container_status(c["name"], c["image"], state) for c in body["spec"].get(declared, [])
            ]
            for declared, reported in (
                ("containers", "containerStatuses"),
                ("initContainers", "initContainerStatuses"),
            )
            if body["spec"].get(declared)
        }

    # ---------------------------------------------------------------------------------------- the engine

    def renew(self, bot: str, *, renewed: int = 0, **record: Any) -> None:
        """The engine renews its Lease, as a merge patch; `renewed` makes each renewal differ."""
        pod = self.get("pod", f"{bot}-0")
        assert pod is not None
        told = {
            "podUid": pod["metadata"]["uid"],
            "epoch": self.status(bot).get("epoch", 0),
            "incarnation": "1f",
            "keyId": "key-1",
            "generation": 1,
            "state": "ACTIVE",
            "ready": True,
            "reason": "Ready",
            "message": "",
            **record,
        }
        body = {
            "metadata": {"annotations": {"soloist.trade/engine": json.dumps(told)}},
            "spec": {
                "holderIdentity": f"{pod['metadata']['uid']}/1f",
                "leaseDurationSeconds": 15,
                "renewTime": f"2026-01-01T00:00:00.{renewed:06d}Z",
            },
        }
        self.kubectl(
            "patch", "lease", f"{bot}-0", "--type=merge", "--field-manager=engine", "-p", json.dumps(body)
        )

    @contextmanager
    def beating(self, bot: str, **record: Any) -> Iterator[None]:
        """The engine renews its Lease until the block ends, as often as a real one."""
        over = threading.Event()

        def beat() -> None:
            renewed = 1
            while not over.wait(RENEW_S):
                self.renew(bot, renewed=renewed, **record)
                renewed += 1

        self.renew(bot, **record)
        thread = threading.Thread(target=beat)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    # ---------------------------------------------------------------------------------------- shortcuts

    def bring_up_paper(self, bot: str, **changes: Any) -> None:
        self.apply(bot, spec("Paper", **changes))
        self.pass_check(bot)
        self.wait(lambda: self.get("pod", f"{bot}-0"), bot)

    def bring_up_live(self, bot: str, **changes: Any) -> None:
        self.apply(bot, self.live(**changes))
        self.identify(bot)
        self.pass_check(bot)
        self.publish(bot, 1)
        self.wait(lambda: self.get("pod", f"{bot}-0"), bot)

    def tidy(self) -> None:
        """Give up every bot of the namespace, so that it can go; the operator must still run."""
        self.kubectl(
            "annotate",
            "tradingbots",
            "--all",
            "--overwrite",
            "soloist.trade/abandon=the test is over",
            check=False,
        )
        self.kubectl("delete", "tradingbots", "--all", "--wait=false", check=False)
        eventually(
            lambda: not json.loads(self.kubectl("get", "tradingbots", "-o", "json"))["items"],
            20,
            lambda: (
                self.kubectl("get", "tradingbots", "-o", "yaml")
                + (self.operator.log.read_text()[-3000:] if self.operator else "")
            ),
        )
        for node in self.nodes:
            self.cluster.kubectl("delete", "node", node, "--ignore-not-found", "--wait=false")


def _container_status(name: str, image: str, state: dict[str, Any]) -> dict[str, Any]:
    return {
        "name": name,
        "image": image,
        "imageID": "sha256:" + base64.b16encode(name.encode().ljust(32, b"0")[:32]).decode().lower(),
        "containerID": f"containerd://{name}",
        "ready": "running" in state,
        "started": "running" in state,
        "restartCount": 0,
        "state": state,
    }
