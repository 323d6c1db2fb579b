"""Children of a TradingBot: put back when deleted or edited, and left alone otherwise."""

from __future__ import annotations

import json
import re

import pytest

from tests.e2e.scene import Bot, now_ms
from tests.support import eventually

NAMESPACE = "e2e-children"
BACK_WITHIN_S = 5  # the budget is 2 s; kubectl's own start and this machine's noise are inside the rest
WRITE_VERBS = ("APPLY", "CREATE", "DELETE", "DELETECOLLECTION", "PATCH", "POST", "PUT", "UPDATE")
QUIET_S = 20

EDITS = {
    "service": [
        "patch",
        "service",
        "demo",
        "--type=merge",
        "-p",
        '{"spec":{"ports":[{"name":"admin","port":9999}]}}',
    ],
    "poddisruptionbudget": ["patch", "pdb", "demo", "--type=merge", "-p", '{"spec":{"maxUnavailable":1}}'],
    "networkpolicy": ["patch", "networkpolicy", "demo", "--type=merge", "-p", '{"spec":{"egress":[{}]}}'],
    "cronjob": [
        "patch",
        "cronjob",
        "demo-key-rotation",
        "--type=merge",
        "-p",
        '{"spec":{"schedule":"* * * * *"}}',
    ],
    "statefulset": ["patch", "statefulset", "demo", "--type=merge", "-p", '{"spec":{"replicas":3}}'],
}
NAMES = {"cronjob": "demo-key-rotation"}


@pytest.fixture(scope="module")
def running(cluster, oracle):
    made = Bot(cluster, oracle, NAMESPACE)
    made.prepare("demo.yaml")
    made.apply()
    made.wait_ready(90)
    yield made
    made.delete()


def declared(bot: Bot, kind: str) -> dict:
    """The part of a child that we declare."""
    child = bot.get(kind, NAMES.get(kind, bot.name))
    return child["spec"]


@pytest.mark.parametrize("kind", EDITS)
def test_an_edited_child_is_put_back(running: Bot, kind: str) -> None:
    before = declared(running, kind)
    running.kubectl(*EDITS[kind])
    edited_ms = now_ms()
    eventually(
        lambda: declared(running, kind) == before, BACK_WITHIN_S, lambda: json.dumps(declared(running, kind))
    )
    print(f"{kind} edited and put back within {(now_ms() - edited_ms) / 1000:.2f} s")


@pytest.mark.parametrize("kind", ["service", "poddisruptionbudget", "networkpolicy", "cronjob", "configmap"])
def test_a_deleted_child_comes_back(running: Bot, kind: str) -> None:
    name = NAMES.get(kind, running.name)
    if kind == "configmap":
        volumes = running.get("statefulset")["spec"]["template"]["spec"]["volumes"]
        name = next(v["configMap"]["name"] for v in volumes if "configMap" in v)
    old = running.get(kind, name)["metadata"]["uid"]
    running.kubectl("delete", kind, name)
    deleted_ms = now_ms()
    eventually(
        lambda: running.exists(kind, name) and running.get(kind, name)["metadata"]["uid"] != old,
        BACK_WITHIN_S,
        running.story,
    )
    print(f"{kind} deleted and back within {(now_ms() - deleted_ms) / 1000:.2f} s")


@pytest.mark.timeout(180)
def test_a_deleted_statefulset_comes_back_without_a_second_engine(running: Bot) -> None:
    assert running.account is not None
    old = running.get("statefulset")["metadata"]["uid"]
    running.kubectl("delete", "statefulset", running.name, "--wait=false")
    deleted_ms = now_ms()
    eventually(
        lambda: (
            running.exists("statefulset", running.name)
            and running.get("statefulset")["metadata"]["uid"] != old
        ),
        60,
        running.story,
    )
    running.wait_ready(90)
    running.wait_accepted_after(deleted_ms, 40)
    running.oracle.assert_one_live_order_per_slot(running.account.name)


@pytest.mark.timeout(240)
def test_a_pod_beside_the_engine_is_ended_and_its_name_released(running: Bot) -> None:
    """What `kubectl scale statefulset demo --replicas=2` may leave: a fenced pod that is not the engine."""
    engine = running.get("pod", "demo-0")
    stray = f"{running.name}-7"
    running.kubectl("create", "-f", "-", input=json.dumps(pod_like(engine, stray)))
    eventually(lambda: not running.exists("pod", stray), 120, running.story)
    assert running.get("pod", "demo-0")["metadata"]["uid"] == engine["metadata"]["uid"]
    fenced = json.loads(
        running.kubectl("get", "pods", "-l", f"soloist.trade/bot={running.name}", "-o", "json")
    )
    names = [p["metadata"]["name"] for p in fenced["items"] if p["metadata"].get("finalizers")]
    assert names == ["demo-0"], "what scaling by hand made in an earlier test is gone, too"


def pod_like(engine: dict, name: str) -> dict:
    """A pod with the engine's labels, fence and image that only sleeps."""
    container = engine["spec"]["containers"][0]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": name,
            "namespace": engine["metadata"]["namespace"],
            "labels": engine["metadata"]["labels"],
            "finalizers": engine["metadata"]["finalizers"],
        },
        "spec": {
            "securityContext": engine["spec"]["securityContext"],
            "automountServiceAccountToken": False,
            "terminationGracePeriodSeconds": 1,
            "containers": [
                {
                    "name": "engine",
                    "image": container["image"],
                    "imagePullPolicy": container["imagePullPolicy"],
                    "command": ["python", "-c", "import time; time.sleep(3600)"],
                    "securityContext": container["securityContext"],
                }
            ],
        },
    }


def test_reconciling_again_writes_nothing(running: Bot, cluster) -> None:
    """Counted at the API server: while the bot trades, nothing but the engine's Lease is written to the kinds that we own."""
    running.wait_ready(60)
    eventually(lambda: quiet_versions(running) == quiet_versions(running), 20, running.story)
    before = writes(cluster), quiet_versions(running)
    # Touch every key's road: an annotation that is nobody's business makes the operator look at the bot again, and again.
    for turn in range(3):
        running.kubectl(
            "annotate", "tradingbot", running.name, f"example.com/look-again={turn}", "--overwrite"
        )
    end_ms = now_ms() + QUIET_S * 1000
    eventually(lambda: now_ms() > end_ms, QUIET_S + 5, lambda: "the clock stands still")
    after = writes(cluster), quiet_versions(running)
    assert after[1] == before[1]
    grown = {
        key: after[0][key] - before[0].get(key, 0)
        for key in after[0]
        if after[0][key] != before[0].get(key, 0)
    }
    assert set(grown) <= {("tradingbots", "")}, f"something was written: {grown}"
    assert sum(grown.values()) == 3, f"only our own three annotations may be written: {grown}"


def quiet_versions(bot: Bot) -> dict[str, str]:
    """resourceVersion of the bot's children, but for the Lease, which the engine renews."""
    kinds = "statefulset,service,poddisruptionbudget,networkpolicy,configmap,cronjob,persistentvolumeclaim"
    items = json.loads(bot.kubectl("get", kinds, "-l", f"soloist.trade/bot={bot.name}", "-o", "json"))[
        "items"
    ]
    return {f"{i['kind']}/{i['metadata']['name']}": i["metadata"]["resourceVersion"] for i in items}


def writes(cluster) -> dict[tuple[str, str], int]:
    """Write requests that the API server counted, by resource and subresource, for the kinds that the operator owns."""
    owned = "tradingbots|accountclaims|statefulsets|services|poddisruptionbudgets|networkpolicies|configmaps|cronjobs|persistentvolumeclaims"
    counts: dict[tuple[str, str], int] = {}
    for line in cluster.kubectl("get", "--raw", "/metrics").splitlines():
        if not line.startswith("apiserver_request_total{"):
            continue
        labels = dict(re.findall(r'(\w+)="([^"]*)"', line))
        if labels["verb"] not in WRITE_VERBS or not re.fullmatch(owned, labels["resource"]):
            continue
        key = labels["resource"], labels["subresource"]
        counts[key] = counts.get(key, 0) + int(float(line.rsplit(" ", 1)[1]))
    return counts
