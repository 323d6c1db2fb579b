"""Scenarios of the operator: it is killed, doubled, paused, or wakes beside a claim from an old backup."""

from __future__ import annotations

import json
import random
import time

from tests.chaos import disasters
from tests.chaos.catalogue import scenario
from tests.chaos.stage import OPERATOR, Stage
from tests.cluster import release
from tests.support import eventually

SYSTEM = release.SYSTEM_NAMESPACE
SECOND = "soloist-operator-two"
PROBE = "/spec/template/spec/containers/0/livenessProbe"
LOOKED_ON_S = 20
ASLEEP_S = 60


def _operator_pod(stage: Stage, name: str = OPERATOR) -> str:
    found = stage.cluster.kubectl(
        "-n", SYSTEM, "get", "pods", "-l", f"app.kubernetes.io/name={name}",
        "--field-selector", "status.phase=Running", "-o", "json",
    )  # fmt: skip
    return f"{SYSTEM}/{json.loads(found)['items'][0]['metadata']['name']}"


@scenario("9", "operator killed in the middle of a takeover, at a random moment", zombie=True)
def operator_killed(stage: Stage) -> None:
    node = stage.node
    stage.begin()
    with disasters.partitioned(stage.cluster, node):
        moments = sorted(random.uniform(10, 40) for _ in range(3))
        stage.notes.append("killed after " + ", ".join(f"{moment:.1f} s" for moment in moments))
        began_s = time.monotonic()
        for moment_s in moments:
            time.sleep(max(0.0, moment_s - (time.monotonic() - began_s)))  # the moment is the scenario
            disasters.kill(stage.cluster, _operator_pod(stage), "operator")
            eventually(lambda: _is_operator_ready(stage), 60, "the operator does not come back")
        stage.trades_again()
        stage.zombie_was_refused()
    disasters.bring_back(stage.cluster, node)
    stage.whole_again()


def _restarts(stage: Stage, pod: str) -> int:
    namespace, name = pod.split("/")
    found = json.loads(stage.cluster.kubectl("-n", namespace, "get", "pod", name, "-o", "json"))
    return int(found["status"]["containerStatuses"][0]["restartCount"])


def _is_operator_ready(stage: Stage) -> bool:
    text = stage.cluster.kubectl("-n", SYSTEM, "get", "deployment", OPERATOR, "-o", "json")
    return json.loads(text)["status"].get("readyReplicas", 0) == 1


@scenario("10", "two operators, one asleep for a minute in the middle of a takeover", runs=10, zombie=True)
def two_operators(stage: Stage) -> None:
    node = stage.node
    deployment = json.loads(stage.cluster.kubectl("-n", SYSTEM, "get", "deployment", OPERATOR, "-o", "json"))
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    probe = container["livenessProbe"]
    twin = _twin(deployment)
    # With its probe the kubelet would end the sleeper and start a new process, which remembers nothing.
    _patch(stage, [{"op": "remove", "path": PROBE}])
    stage.begin()
    try:
        with disasters.partitioned(stage.cluster, node):
            epoch = stage.epoch
            eventually(lambda: stage.epoch > epoch, 60, stage.bot.story, interval_s=0.2)
            # The first sleeps from P1 on; its twin, which has no liveness probe to wake anybody, goes on.
            sleeper = _operator_pod(stage)
            with disasters.frozen(stage.cluster, sleeper):
                awake_s = time.monotonic() + ASLEEP_S
                stage.cluster.kubectl("apply", "-f", "-", input=json.dumps(twin))
                stage.trades_again()
                time.sleep(max(0.0, awake_s - time.monotonic()))  # it sleeps on beside an engine that trades
            assert _restarts(stage, sleeper) == 0, (
                "the operator that slept was replaced: this run shows nothing"
            )
            after = stage.epoch
            time.sleep(LOOKED_ON_S)  # what a woken operator does wrong, it does at once
            assert stage.epoch == after, "the woken operator opened another epoch"
            stage.zombie_was_refused()
    finally:
        stage.cluster.kubectl("-n", SYSTEM, "delete", "deployment", SECOND, "--ignore-not-found")
        _patch(stage, [{"op": "add", "path": PROBE, "value": probe}])
    disasters.bring_back(stage.cluster, node)
    stage.whole_again()


def _patch(stage: Stage, changes: list[dict]) -> None:
    """Change the operator's Deployment, and wait until the operator of the new one runs alone."""
    kubectl = stage.cluster.kubectl
    kubectl("-n", SYSTEM, "patch", "deployment", OPERATOR, "--type=json", f"--patch={json.dumps(changes)}")
    kubectl("-n", SYSTEM, "rollout", "status", "deployment", OPERATOR, "--timeout=120s")


def _twin(deployment: dict) -> dict:
    template = deployment["spec"]["template"]
    template["metadata"]["labels"] = {"app.kubernetes.io/name": SECOND}
    for container in template["spec"]["containers"]:
        container.pop("livenessProbe", None)
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": SECOND, "namespace": SYSTEM},
        "spec": {
            "replicas": 1,
            "selector": {"matchLabels": template["metadata"]["labels"]},
            "template": template,
        },
    }


@scenario("19", "claim restored from an old backup, operator restarted")
def claim_restored(stage: Stage) -> None:
    name = stage.bot.status()["claim"]
    old = json.loads(stage.cluster.kubectl("get", "accountclaim", name, "-o", "json"))
    uid = stage.bot.get("pod", stage.bot.pod)["metadata"]["uid"]
    # A newer epoch: the epoch Secret is gone, so a takeover makes another key.
    stage.bot.kubectl("delete", "secret", old["status"]["secretName"])
    stage.bot.kubectl("delete", "pod", stage.bot.pod, "--wait=false")
    eventually(lambda: stage.epoch > old["status"]["epoch"], 120, stage.bot.story)
    stage.bot.wait_ready(180)
    assert stage.bot.get("pod", stage.bot.pod)["metadata"]["uid"] != uid
    stage.begin()
    current = json.loads(stage.cluster.kubectl("get", "accountclaim", name, "-o", "json"))
    restored = {**current, "spec": old["spec"], "status": old["status"]}
    # A restore passes no admission; over the API only the operator may write a claim.
    as_operator = f"--as=system:serviceaccount:{SYSTEM}:{OPERATOR}"
    stage.cluster.kubectl(as_operator, "replace", "-f", "-", input=json.dumps(restored))
    disasters.kill(stage.cluster, _operator_pod(stage), "operator")
    eventually(lambda: _is_operator_ready(stage), 60, "the operator does not come back")
    verdict = eventually(lambda: _decision(stage, current["status"]["epoch"]), 180, stage.bot.story)
    stage.notes.append(verdict)
    if not stage.bot.is_ready():
        _name_the_keys(stage, name)
        eventually(
            lambda: stage.epoch > current["status"]["epoch"] and stage.bot.is_ready(), 180, stage.bot.story
        )


def _name_the_keys(stage: Stage, claim: str) -> None:
    """What a person does about UnknownHistory, having made sure that no other cluster trades: name the keys to revoke."""
    word = f"soloist.trade/revoke-key-ids={','.join(row['key_id'] for row in stage.living_keys())}"
    stage.cluster.kubectl("annotate", "--overwrite", "accountclaim", claim, word)


def _decision(stage: Stage, epoch: int) -> str:
    """What was decided about a claim that is older than the key in use: refused, or an epoch above both."""
    fenced = stage.bot.condition("Fenced")
    if fenced.get("reason") == "UnknownHistory":
        return "refused: UnknownHistory"
    if stage.epoch > epoch and stage.bot.is_ready():
        return f"epoch {stage.epoch}, above both"
    return ""
