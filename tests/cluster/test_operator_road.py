"""The road of a bot, against a real API server: brought up, kept, replaced, deleted. Pods are played by the test."""

from __future__ import annotations

import json

import pytest

from tests.cluster.operator_bench import Bench, install_crds, namespaces, running, spec

FINALIZER = "soloist.trade/fence"


@pytest.fixture(scope="module")
def operated(cluster, tmp_path_factory):
    install_crds(cluster)
    with (
        namespaces(cluster, 1) as (name,),
        running(cluster, tmp_path_factory.mktemp("operator"), name) as operator,
    ):
        yield name, operator


@pytest.fixture
def bench(cluster, operated):
    made = Bench(cluster, *operated)
    yield made
    made.tidy()


def test_a_live_bot_is_claimed_checked_fenced_and_armed(bench: Bench) -> None:
    bench.apply("demo", bench.live())
    bench.wait_condition("demo", "AccountClaimed", "Identifying")
    bench.identify("demo")
    bench.wait_condition("demo", "AccountClaimed", "Claimed")
    bench.wait_condition("demo", "Ready", "Checking")
    assert bench.get("job", "demo-fence-e1") is None, "fenced before the configuration was accepted"
    bench.pass_check("demo")
    bench.wait_condition("demo", "Fenced", "Fencing")
    assert bench.get("statefulset", "demo") is None, "an engine before its key"
    evidence = bench.publish("demo", 1)
    pod = bench.wait(lambda: bench.get("pod", "demo-0"), "demo")

    assert FINALIZER in pod["metadata"]["finalizers"]
    secrets = [v["secret"]["secretName"] for v in pod["spec"]["volumes"] if "secret" in v]
    assert secrets == [evidence["secretName"]]
    mounted_in = {
        c["name"]
        for c in [*pod["spec"]["initContainers"], *pod["spec"]["containers"]]
        if any(m["name"] == "epoch-key" for m in c["volumeMounts"])
    }
    assert mounted_in == {"keys", "watchdog"}
    claim = bench.claim("demo")
    assert claim["status"]["phase"] == "Active"
    assert claim["spec"]["holder"]["name"] == "demo"
    bench.wait(
        lambda: (
            (bench.get("lease", "demo-0") or {})["metadata"]["annotations"].get(
                "soloist.trade/admitted-pod-uid"
            )
            == pod["metadata"]["uid"]
        ),
        "demo",
    )
    lease = bench.get("lease", "demo-0")
    assert lease is not None
    assert lease["metadata"]["annotations"]["soloist.trade/epoch"] == "1"

    assert bench.condition("demo", "Ready")["status"] == "False"
    bench.renew("demo")
    bench.wait_condition("demo", "Ready", "Ready", 10)
    header, row = bench.kubectl("get", "tbs").splitlines()
    assert header.split() == ["NAME", "READY", "MODE", "STATE", "VENUE", "EPOCH", "AGE"]
    assert row.split()[:6] == ["demo", "True", "Live", "Running", "simulator", "1"]
    assert bench.operator is not None
    print(f"writes to bring up a Live bot: {bench.operator.writes()}")


def test_reconciling_again_writes_nothing(bench: Bench) -> None:
    bench.bring_up_live("demo")
    operator = bench.operator
    assert operator is not None
    with bench.beating("demo"):
        bench.wait_condition("demo", "Ready", "Ready", 10)
        bench.wait_settled("demo")
        writes, runs = operator.writes(), operator.runs()
        for count in range(3):  # events that change nothing of ours
            bench.kubectl("annotate", "--overwrite", "tbs", "demo", f"example.org/touched={count}")
            bench.kubectl("annotate", "--overwrite", "statefulset", "demo", f"example.org/touched={count}")
        bench.wait(lambda: operator.runs() >= runs + 2, "demo")
        bench.wait_settled("demo")
        assert operator.writes() == writes, bench.story("demo")


CHILDREN = (
    ("statefulset", "demo", {"spec": {"replicas": 0}}),
    ("service", "demo", {"spec": {"publishNotReadyAddresses": False}}),
    ("service", "demo", {"spec": {"ports": [{"name": "admin", "port": 9999}]}}),
    ("poddisruptionbudget", "demo", {"spec": {"maxUnavailable": 1}}),
    ("networkpolicy", "demo", {"spec": {"ingress": [{}]}}),
    ("lease", "demo-0", {"metadata": {"annotations": {"soloist.trade/desired-state": "Halted"}}}),
    ("cronjob", "demo-key-rotation", {"spec": {"suspend": True}}),
)


def test_an_edited_child_is_put_back_within_two_seconds(bench: Bench) -> None:
    bench.bring_up_live("demo")
    bench.wait_settled("demo")
    for kind, name, edit in CHILDREN:
        before = bench.get(kind, name)
        assert before is not None, kind
        bench.kubectl("patch", kind, name, "--type=merge", "-p", json.dumps(edit))
        path, wrong = _leaf(edit)
        bench.wait(lambda: _at(bench.get(kind, name), path) == _at(before, path) != wrong, "demo", 2)  # noqa: B023


def test_a_deleted_child_comes_back_within_two_seconds(bench: Bench) -> None:
    bench.bring_up_live("demo")
    bench.wait_settled("demo")
    config = next(n for n in bench.names("configmap", "demo"))
    # The volume claim is in use by the pod, so its deletion waits for the pod: it is no part of this list.
    for kind, name in [*dict.fromkeys((kind, name) for kind, name, _ in CHILDREN), ("configmap", config)]:
        uid = bench.get(kind, name)["metadata"]["uid"]
        bench.kubectl(
            "delete", kind, name, "--wait=false", *(["--cascade=orphan"] if kind == "statefulset" else [])
        )
        bench.wait(lambda: (n := bench.get(kind, name)) and n["metadata"]["uid"] != uid, "demo", 2)  # noqa: B023


def _leaf(edit: dict) -> tuple[list[str], object]:
    path: list[str] = []
    while isinstance(edit, dict):
        (key,) = edit
        path.append(key)
        edit = edit[key]
    return path, edit


def _at(body: dict | None, path: list[str]) -> object:
    for key in path:
        body = (body or {}).get(key)
    return body


def test_a_bad_edit_changes_only_the_status(bench: Bench) -> None:
    bench.bring_up_live("demo")
    with bench.beating("demo"):
        _edit_badly(bench)


def _edit_badly(bench: Bench) -> None:
    bench.wait_condition("demo", "Ready", "Ready", 10)
    bench.wait_settled("demo")
    pod, versions = bench.get("pod", "demo-0"), _versions(bench)
    bench.apply("demo", bench.live(strategy={"name": "threshold", "parameters": {"nonsense": 1}}))
    job = bench.asked_check("demo")
    problem = {
        "field": "spec.strategy.parameters.nonsense",
        "message": "unknown parameter; threshold has edge",
    }
    bench.end_job(job, "check", 2, json.dumps({"version": 1, "outcome": "Failed", "problems": [problem]}))
    found = bench.wait_condition("demo", "Ready", "InvalidConfiguration")
    assert "spec.strategy.parameters.nonsense: unknown parameter; threshold has edge" in found["message"]
    assert bench.condition("demo", "EngineReady")["status"] == "True"
    assert bench.condition("demo", "Fenced")["status"] == "True"
    now = bench.get("pod", "demo-0")
    assert pod is not None
    assert now is not None
    assert now["metadata"]["uid"] == pod["metadata"]["uid"]
    assert _versions(bench) == versions
    bench.apply("demo", bench.live())
    bench.wait_condition("demo", "Ready", "Ready")


def _versions(bench: Bench) -> dict[str, str]:
    kinds = "statefulset,service,poddisruptionbudget,networkpolicy,cronjob"
    items = json.loads(bench.kubectl("get", kinds, "-l", "soloist.trade/bot=demo", "-o", "json"))["items"]
    return {f"{i['kind']}/{i['metadata']['name']}": i["metadata"]["resourceVersion"] for i in items}


def test_an_unknown_venue_is_a_condition_with_the_fix(bench: Bench) -> None:
    bench.apply("lost", spec("Paper", venue="elsewhere"))
    found = bench.wait_condition("lost", "Ready", "UnknownVenue")
    assert "spec.venue: no venue profile 'elsewhere'" in found["message"]
    assert "simulator" in found["message"]


def test_a_changed_limit_replaces_the_pod_only_after_proof_of_death(bench: Bench) -> None:
    bench.bring_up_live("demo")
    node = bench.node()
    old = bench.bind("demo-0", node)
    bench.run_pod("demo-0")
    bench.wait_settled("demo")
    risk = spec()["risk"] | {"maxOpenOrders": 7}
    bench.apply("demo", bench.live(risk=risk))
    bench.pass_check("demo")
    bench.wait(lambda: bench.get("pod", "demo-0")["metadata"].get("deletionTimestamp"), "demo")
    bench.wait_condition("demo", "Fenced", "OldInstanceStopping")

    # PodGC's word is a guess, not an observation: nothing is released on it.
    bench.end_pod("demo-0", manager="kube-controller-manager")
    found = bench.wait(
        lambda: (c := bench.condition("demo", "Fenced")) and "kube-controller-manager" in c["message"] and c,
        "demo",
    )
    assert "not by the kubelet" in found["message"]
    assert FINALIZER in bench.get("pod", "demo-0")["metadata"]["finalizers"]

    bench.patch_status("pod", "demo-0", {"phase": "Running"})
    bench.end_pod("demo-0")
    new = bench.wait(
        lambda: (p := bench.get("pod", "demo-0")) and p["metadata"]["uid"] != old["metadata"]["uid"] and p,
        "demo",
    )
    assert [v["secret"]["secretName"] for v in new["spec"]["volumes"] if "secret" in v] == [
        v["secret"]["secretName"] for v in old["spec"]["volumes"] if "secret" in v
    ], "an ordinary restart keeps epoch and key"
    config = bench.get(
        "configmap", next(v["configMap"]["name"] for v in new["spec"]["volumes"] if "configMap" in v)
    )
    assert "max_open_orders: 7" in config["data"]["config.yaml"]
    assert bench.claim("demo")["status"]["epoch"] == 1


def test_a_pod_on_a_node_that_is_not_ready_is_not_released(bench: Bench) -> None:
    bench.bring_up_live("demo")
    node = bench.node()
    bench.bind("demo-0", node)
    bench.run_pod("demo-0")
    bench.node_ready(node, ready=False)
    bench.kubectl("delete", "pod", "demo-0", "--grace-period=0", "--force", "--wait=false")
    bench.end_pod("demo-0")
    found = bench.wait_condition("demo", "Fenced", "OldInstanceUnproven")
    assert f"node {node} is not Ready" in found["message"]
    assert FINALIZER in bench.get("pod", "demo-0")["metadata"]["finalizers"]
    bench.node_ready(node, ready=True)
    bench.kubectl("annotate", "pod", "demo-0", "example.org/touched=1")
    bench.wait(
        lambda: not (p := bench.get("pod", "demo-0")) or not p["metadata"].get("deletionTimestamp"), "demo"
    )


def test_a_failed_fence_is_a_condition_and_the_next_attempt_a_new_epoch(bench: Bench) -> None:
    bench.apply("demo", bench.live())
    bench.identify("demo")
    bench.pass_check("demo")
    bench.wait(lambda: bench.get("job", "demo-fence-e1"), "demo")
    told = {"message": "Secret management does not exist: create it with key-id and private-key.pem"}
    evidence = bench.evidence(
        "demo", "Failed", "ManagementKeyMissing", field="spec.account.managementKeySecretRef", **told
    )
    bench.end_job("demo-fence-e1", "fence", 1, json.dumps(evidence))
    found = bench.wait_condition("demo", "Fenced", "ManagementKeyMissing")
    assert found["message"].startswith(
        "spec.account.managementKeySecretRef: Secret management does not exist"
    )
    assert bench.condition("demo", "Ready")["reason"] == "ManagementKeyMissing"
    assert bench.get("statefulset", "demo") is None
    bench.publish("demo", 2)
    bench.wait(lambda: bench.get("pod", "demo-0"), "demo")
    assert bench.claim("demo")["status"]["epoch"] == 2


def test_evidence_of_another_attempt_does_not_count(bench: Bench) -> None:
    bench.apply("demo", bench.live())
    bench.identify("demo")
    bench.pass_check("demo")
    bench.wait(lambda: bench.get("job", "demo-fence-e1"), "demo")
    forged = bench.evidence("demo", "Published", "Done", keyId="key-1") | {"nonce": "somebodyelse1"}
    bench.end_job("demo-fence-e1", "fence", 0, json.dumps(forged))
    bench.wait_condition("demo", "Fenced", "NoEvidence")
    assert bench.get("statefulset", "demo") is None


def test_one_account_one_bot(bench: Bench) -> None:
    bench.apply("demo", bench.live())
    bench.identify("demo")
    bench.wait_condition("demo", "AccountClaimed", "Claimed")
    bench.apply("rival", bench.live())
    bench.identify("rival")
    found = bench.wait_condition("rival", "AccountClaimed", "AccountConflict")
    assert f"{bench.namespace}/demo" in found["message"]
    assert not any("fence" in name for name in bench.names("jobs", "rival"))
    assert bench.find("statefulset", "rival") == []
    account = bench.live()["account"] | {"subaccount": 1}
    bench.apply("sibling", bench.live(account=account))
    bench.identify("sibling")
    bench.wait_condition("sibling", "AccountClaimed", "Claimed")


def test_two_keys_of_one_account_meet_in_one_claim(bench: Bench) -> None:
    alias = {"keyPolicy": "Managed", "managementKeySecretRef": {"name": "another-secret-of-the-same-account"}}
    bench.apply("demo", bench.live())
    bench.apply("alias", bench.live(account=alias))
    for bot in ("demo", "alias"):
        bench.identify(bot)
    bench.wait(lambda: all(bench.status(bot).get("claim") for bot in ("demo", "alias")), "alias")
    assert bench.status("demo")["claim"] == bench.status("alias")["claim"]
    reasons = lambda: {bot: bench.condition(bot, "AccountClaimed").get("reason") for bot in ("demo", "alias")}  # noqa: E731
    bench.wait(lambda: sorted(map(str, reasons().values())) == ["AccountConflict", "Claimed"], "alias")
    holder = next(bot for bot, reason in reasons().items() if reason == "Claimed")
    other = next(bot for bot, reason in reasons().items() if reason == "AccountConflict")
    assert f"{bench.namespace}/{holder}" in bench.condition(other, "AccountClaimed")["message"]


def test_a_claim_says_who_since_when_and_why(bench: Bench) -> None:
    bench.bring_up_live("demo")
    claim = bench.status("demo")["claim"]
    header, row = bench.cluster.kubectl("get", "accountclaim", claim).splitlines()
    assert header.split() == ["NAME", "PHASE", "NAMESPACE", "BOT", "VENUE", "EPOCH", "SINCE", "REASON"]
    shown = row.split()
    assert shown[:6] == [claim, "Active", bench.namespace, "demo", "simulator", "1"]
    assert shown[7] == "FirstArm"


def test_a_strangers_object_of_our_name_is_left_alone(bench: Bench) -> None:
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "demo"},
        "spec": {"ports": [{"port": 80}]},
    }
    bench.kubectl("create", "-f", "-", input=json.dumps(service))
    before = bench.get("service", "demo")
    bench.apply("demo", spec("Paper"))
    found = bench.wait_condition("demo", "Ready", "NameTaken")
    assert "Service demo exists and is not this bot's: nothing controls it" in found["message"]
    assert bench.get("service", "demo") == before
    bench.kubectl("delete", "service", "demo")
    bench.kubectl("annotate", "tbs", "demo", "example.org/touched=1")  # no event of a stranger's wakes a bot
    bench.pass_check("demo")
    bench.wait(lambda: bench.get("pod", "demo-0"), "demo", 30)


def test_a_claim_of_a_bot_that_vanished_is_orphaned_and_adopted(bench: Bench) -> None:
    bench.bring_up_live("lost")
    claim = bench.status("lost")["claim"]
    gone = {
        "namespace": bench.namespace,
        "name": "no-such-bot",
        "uid": "00000000-0000-0000-0000-000000000000",
    }
    bench.kubectl("delete", "tbs", "lost", "--wait=false")
    bench.kubectl("annotate", "tbs", "lost", "soloist.trade/abandon=the test makes an orphan")
    bench.wait(lambda: bench.get("tradingbot", "lost") is None, "lost", 30)
    patch = json.dumps({"spec": {"holder": gone}, "status": {"phase": "Active"}})
    bench.cluster.kubectl("patch", "accountclaim", claim, "--type=merge", "-p", patch)
    bench.apply("heir", bench.live())
    bench.identify("heir")
    bench.pass_check("heir")
    bench.publish("heir", 2)
    bench.wait(lambda: bench.get("pod", "heir-0"), "heir")
    status = bench.claim("heir")["status"]
    assert [line["reason"] for line in status["history"]][-3:] == ["Abandoned", "HolderVanished", "Adopted"]
    assert len(status["nonces"]) == 2


def test_deletion_ends_the_engine_revokes_the_key_and_lets_the_claim_go(bench: Bench) -> None:
    bench.bring_up_live("demo", storage={"retain": False})
    node = bench.node()
    bench.bind("demo-0", node)
    bench.run_pod("demo-0")
    claim = bench.status("demo")["claim"]
    bench.kubectl("delete", "tbs", "demo", "--wait=false")
    bench.wait(lambda: bench.get("statefulset", "demo")["spec"]["replicas"] == 0, "demo")
    bench.wait(lambda: bench.get("pod", "demo-0")["metadata"].get("deletionTimestamp"), "demo")
    assert bench.find("jobs", "demo") is not None
    assert bench.get("job", "demo-release-e2") is None, (
        "the key is revoked only after the engine is proven dead"
    )
    bench.end_pod("demo-0")
    bench.wait(lambda: bench.get("job", "demo-release-e2"), "demo")
    bench.wait(lambda: bench.claim("demo")["status"].get("jobUid"), "demo")
    bench.end_job("demo-release-e2", "fence", 0, json.dumps(bench.evidence("demo", "Released", "Done")))
    bench.wait(lambda: bench.get("tradingbot", "demo") is None, "demo")
    left = json.loads(bench.cluster.kubectl("get", "accountclaim", claim, "-o", "json"))
    assert left["status"]["phase"] == "Idle"
    assert "holder" not in left["spec"]
    assert "keyId" not in left["status"]
    kinds = "statefulset,service,poddisruptionbudget,networkpolicy,configmap,lease,cronjob,job,pod,persistentvolumeclaim"
    bench.wait(lambda: not bench.find(kinds, "demo"), "demo", 30)


def test_a_bot_that_never_had_a_key_is_deleted_without_a_release(bench: Bench) -> None:
    bench.apply("demo", bench.live())
    bench.identify("demo")
    bench.pass_check("demo")
    bench.wait(lambda: bench.get("job", "demo-fence-e1"), "demo")
    claim = bench.status("demo")["claim"]
    told = {"message": "there is no Secret", "keyMayExist": False}
    evidence = bench.evidence("demo", "Failed", "ManagementKeyMissing", **told)
    bench.kubectl("delete", "tbs", "demo", "--wait=false")
    bench.end_job("demo-fence-e1", "fence", 1, json.dumps(evidence))
    bench.wait(lambda: bench.get("tradingbot", "demo") is None, "demo")
    left = json.loads(bench.cluster.kubectl("get", "accountclaim", claim, "-o", "json"))
    assert left["status"]["phase"] == "Idle"
    assert "holder" not in left["spec"]


def test_an_abandoned_bot_leaves_its_claim_orphaned(bench: Bench) -> None:
    bench.bring_up_live("demo")
    node = bench.node()
    bench.bind("demo-0", node)
    bench.run_pod("demo-0")
    claim = bench.status("demo")["claim"]
    bench.kubectl("delete", "tbs", "demo", "--wait=false")
    bench.wait_condition("demo", "Fenced", "OldInstanceStopping")
    bench.kubectl("annotate", "tbs", "demo", "soloist.trade/abandon=the machine burnt down")
    bench.wait(
        lambda: (
            bench.get("pod", "demo-0") is None or not bench.get("pod", "demo-0")["metadata"].get("finalizers")
        ),
        "demo",
    )
    bench.kubectl("delete", "pod", "demo-0", "--grace-period=0", "--force", "--ignore-not-found")
    bench.wait(lambda: bench.get("tradingbot", "demo") is None, "demo")
    left = json.loads(bench.cluster.kubectl("get", "accountclaim", claim, "-o", "json"))["status"]
    assert (left["phase"], left["epoch"], left["keyId"]) == ("Orphaned", 1, "key-1")
    assert left["evidence"]["message"] == "the machine burnt down"


def test_a_static_key_is_armed_without_a_fence(bench: Bench) -> None:
    account = {"keyPolicy": "Static", "keySecretRef": {"name": bench.account}}
    bench.apply("demo", bench.live(account=account))
    bench.identify("demo", f"key:{bench.account}")
    bench.pass_check("demo")
    bench.wait_condition("demo", "AccountClaimed", "IdentityByKeyOnly")
    bench.identify("demo", f"key:{bench.account}")  # looked at again before it is armed
    pod = bench.wait(lambda: bench.get("pod", "demo-0"), "demo")
    assert [v["secret"]["secretName"] for v in pod["spec"]["volumes"] if "secret" in v] == [bench.account]
    assert bench.claim("demo")["status"]["epoch"] == 1
    assert bench.find("cronjob", "demo") == []
    assert [n for n in bench.names("jobs", "demo") if "fence" in n] == []


def test_the_engine_uses_a_rotated_key(bench: Bench) -> None:
    bench.bring_up_live("demo")
    bench.renew("demo")
    bench.wait_condition("demo", "Ready", "Ready", 10)
    bench.kubectl("create", "job", "--from=cronjob/demo-key-rotation", "by-hand")
    bench.renew("demo", renewed=1, keyId="key-2", generation=2)
    bench.wait(lambda: bench.status("demo")["keyId"] == "key-2", "demo", 5)
    bench.wait(lambda: bench.claim("demo")["status"]["keyId"] == "key-2", "demo", 5)
    evidence = bench.evidence("demo", "Rotated", "Done", keyId="key-2", message="key-1 gets 401")
    bench.end_job("by-hand", "fence", 0, json.dumps(evidence))
    found = bench.wait_condition("demo", "KeysHealthy", "Rotated")
    assert "key-1 gets 401" in found["message"]


def test_a_silent_engine_is_not_ready(bench: Bench) -> None:
    bench.bring_up_paper("paper")
    bench.renew("paper", epoch=0)
    bench.wait_condition("paper", "Ready", "Ready", 10)
    bench.wait_condition("paper", "Ready", "EngineSilent", 20)
    bench.renew("paper", epoch=0, renewed=1)
    bench.wait_condition("paper", "Ready", "Ready", 10)


def test_a_stopped_bot_has_no_engine_and_a_halted_one_is_told_so(bench: Bench) -> None:
    bench.bring_up_paper("paper")
    bench.apply("paper", spec("Paper", state="Halted"))
    lease = lambda: bench.get("lease", "paper-0")["metadata"]["annotations"]  # noqa: E731
    bench.wait(lambda: lease()["soloist.trade/desired-state"] == "Halted", "paper", 2)
    bench.apply("paper", spec("Paper", state="Stopped"))
    bench.wait(lambda: bench.get("pod", "paper-0") is None, "paper")
    assert bench.wait_condition("paper", "Ready", "Stopped")["status"] == "False"
    bench.wait(lambda: bench.status("paper")["state"] == "Stopped", "paper")


def test_a_manual_update_waits_for_its_approval(bench: Bench) -> None:
    bench.bring_up_paper("paper", update={"policy": "Manual"})
    uid = bench.get("pod", "paper-0")["metadata"]["uid"]
    bench.apply("paper", spec("Paper", update={"policy": "Manual"}, podAnnotations={"example.org/note": "1"}))
    found = bench.wait_condition("paper", "Updated", "WaitingForApproval")
    assert bench.get("pod", "paper-0")["metadata"]["uid"] == uid
    revision = found["message"].rsplit("=", 1)[1]
    bench.kubectl("annotate", "tbs", "paper", f"soloist.trade/approve-update={revision}")
    bench.wait(lambda: (p := bench.get("pod", "paper-0")) and p["metadata"]["uid"] != uid, "paper")


def test_an_object_that_kubernetes_refuses_is_a_condition(bench: Bench) -> None:
    bench.apply("paper", spec("Paper", affinity={"nodeAffinity": {"nonsense": 1}}))
    bench.pass_check("paper")
    found = bench.wait_condition("paper", "Ready", "Refused")
    assert "nonsense" in found["message"]
