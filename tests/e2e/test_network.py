"""The NetworkPolicy of a bot, tried both ways, with a control for every denial; and the profile the pod runs under."""

from __future__ import annotations

import json

import pytest

from tests.e2e.scene import Bot
from tests.support import eventually

NAMESPACE = "e2e-network"
CONNECT = "import socket,sys; socket.create_connection((sys.argv[1], int(sys.argv[2])), 3).close(); print('connected')"
LISTEN = "import http.server; http.server.HTTPServer(('', 9090), http.server.SimpleHTTPRequestHandler).serve_forever()"


def helper_pod(bot: Bot, name: str, labels: dict[str, str], program: str) -> None:
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": bot.namespace, "labels": labels},
        "spec": {
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "terminationGracePeriodSeconds": 0,
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": 10001,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": [
                {
                    "name": "python",
                    "image": bot.cluster.images.trader,
                    "imagePullPolicy": "Never",
                    "command": ["python3", "-c", program],
                    "workingDir": "/tmp",
                    "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
                }
            ],
        },
    }
    bot.kubectl("apply", "-f", "-", input=json.dumps(pod))


def connects(bot: Bot, pod: str, container: str, address: str, port: int) -> bool:
    """Whether a TCP connection opens; only refusal and silence count as denial, everything else is an error of the test."""
    said = bot.kubectl(
        "exec", pod, "-c", container, "--", "python3", "-c", CONNECT, address, str(port), check=False
    )  # fmt: skip
    return "connected" in said


@pytest.fixture(scope="module")
def scene(cluster, oracle):
    bot = Bot(cluster, oracle, NAMESPACE)
    bot.prepare("demo.yaml")
    bot.apply()
    helper_pod(bot, "friend", {"soloist.trade/access": "true"}, "import signal; signal.pause()")
    helper_pod(bot, "stranger", {"app": "stranger"}, "import signal; signal.pause()")
    helper_pod(bot, "listener", {"app": "listener"}, LISTEN)
    bot.kubectl(
        "wait", "--for=condition=Ready", "pod/friend", "pod/stranger", "pod/listener", "--timeout=60s"
    )
    bot.wait_ready(90)
    yield bot
    bot.kubectl("delete", "pod", "friend", "stranger", "listener", "--wait=false")
    bot.delete()


def pod_ip(bot: Bot, name: str) -> str:
    return bot.get("pod", name)["status"]["podIP"]


def test_only_labelled_pods_reach_the_engine(scene: Bot) -> None:
    address = pod_ip(scene, scene.pod)
    eventually(lambda: connects(scene, "friend", "python", address, 8080), 20, scene.story)
    assert not connects(scene, "stranger", "python", address, 8080)
    assert connects(scene, "friend", "python", address, 8080), "the control after the denial"


def test_the_engine_reaches_its_venue_and_nobody_else(scene: Bot) -> None:
    address = pod_ip(scene, "listener")
    eventually(lambda: connects(scene, "stranger", "python", address, 9090), 20, scene.story)
    assert not connects(scene, scene.pod, "engine", address, 9090)
    assert connects(scene, "stranger", "python", address, 9090), "the control after the denial"
    assert connects(scene, scene.pod, "engine", "soloist-exchange.soloist-system.svc", 8443)


def test_the_namespace_enforces_the_restricted_profile(scene: Bot) -> None:
    labels = json.loads(scene.cluster.kubectl("get", "namespace", NAMESPACE, "-o", "json"))["metadata"][
        "labels"
    ]
    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"
    for container in scene.get("pod", scene.pod)["spec"]["containers"]:
        assert container["securityContext"]["readOnlyRootFilesystem"] is True
        assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
