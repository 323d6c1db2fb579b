"""Which account it is, what an audit says about it, and when an epoch is renewed: as pure decisions on a made-up cluster."""

from __future__ import annotations

import json
from typing import Any

import pytest
from soloist_fence.api import claim_name_of
from soloist_operator import kinds
from soloist_operator.heartbeat import Heartbeat
from soloist_operator.plan import Again, Blocked

from tests.unit.soloist_operator.operator_scene import (
    NOW,
    STATIC,
    Stage,
    fenced_until_evidence,
    live,
    merged,
    paper,
    record,
    running_pod,
    writes,
)

# ---------------------------------------------------------------------------------------------- identity


def asked(account: dict[str, Any] | None = None) -> Stage:
    stage = Stage(live(account=dict(account)) if account else live())
    stage.settle()
    return stage


def claimed(stage: Stage) -> tuple[str, str]:
    found = stage.condition("AccountClaimed")
    return found["reason"], found["message"]


@pytest.mark.parametrize(
    "forged",
    [
        {"nonce": "othernonce001"},
        {"claim": "claim-000000000000"},
        {"epoch": 1},
        {"outcome": "Clean"},
        {"accountIdentity": ""},
    ],
)
def test_an_identity_that_does_not_fit_binds_nothing(forged) -> None:
    stage = asked()
    stage.identify(**forged)
    stage.settle()
    assert "claim" not in stage.seen.bot["status"]
    assert stage.seen.claim is None


def test_a_failed_identification_waits_and_is_tried_again() -> None:
    stage = asked()
    first = stage.job("-identify")
    failure = {
        "outcome": "Failed",
        "reason": "ManagementKeyMissing",
        "field": "spec.account",
        "message": "no Secret",
    }
    stage.identify(**failure)
    assert writes(stage.run()) == ["Delete Job demo-identify"]
    plan = stage.run()
    assert claimed(stage) == ("ManagementKeyMissing", "spec.account: no Secret")
    assert plan.actions == ()
    assert plan.outcome == Again(5.0)
    stage.now_s = 6
    stage.settle()
    assert stage.job("-identify")["metadata"]["uid"] != first["metadata"]["uid"]
    nonces = [j["metadata"]["annotations"]["soloist.trade/nonce"] for j in (first, stage.job("-identify"))]
    assert nonces[0] != nonces[1]


def test_a_job_that_this_process_did_not_make_is_not_believed() -> None:
    stage = asked()
    stage.identify()
    stage.memory = type(stage.memory)()
    assert writes(stage.run()) == ["Delete Job demo-identify"]
    assert "claim" not in stage.seen.bot["status"]


def test_an_identity_is_asked_for_once() -> None:
    stage = Stage(live())
    stage.bring_up()
    stage.change(jobs=())
    stage.settle()
    assert stage.job("-identify") is None
    assert stage.seen.bot["status"]["accountIdentity"] == "marker:m-1"


def test_an_ambiguous_marker_later_keeps_what_is_bound_and_arms_nothing() -> None:
    stage = fenced_until_evidence()
    told = stage.evidence("Failed", "IdentityAmbiguous", message="two markers: m-1 and m-2")
    stage.end_job("-fence-e1", told, exit_code=1)
    stage.settle()
    assert stage.condition("Fenced")["reason"] == "IdentityAmbiguous"
    assert stage.seen.bot["status"]["accountIdentity"] == "marker:m-1"
    assert stage.seen.claim["spec"]["accountIdentity"] == "marker:m-1"
    assert stage.seen.stateful_set is None


def test_a_static_key_that_may_not_list_names_its_account_and_says_so() -> None:
    stage = asked(STATIC)
    job = stage.job("-identify")
    container = job["spec"]["template"]["spec"]["containers"][0]
    assert "--static" in container["args"]
    volumes = {v["name"]: v for v in job["spec"]["template"]["spec"]["volumes"]}
    assert volumes["management-key"]["secret"]["secretName"] == "mine"
    stage.identify("key:k-7", reason="IdentityByKeyOnly")
    stage.run()
    stage.settle()
    assert claimed(stage)[0] == "IdentityByKeyOnly"
    assert stage.seen.claim["metadata"]["name"] == claim_name_of("key:k-7", 0)


def test_the_identification_has_the_discipline_of_an_attempt() -> None:
    job = asked().job("-identify")
    assert job["spec"]["backoffLimit"] == 0
    assert job["spec"]["podReplacementPolicy"] == "Failed"
    assert job["spec"]["template"]["spec"]["restartPolicy"] == "Never"
    assert job["spec"]["activeDeadlineSeconds"] == 120


# ---------------------------------------------------------------------------------------------- audits


def audited(stage: Stage, outcome: str, reason: str, name: str = "demo-audit-1", **more: Any) -> None:
    """A Job of the CronJob ends, with what `soloist-fence audit` says."""
    made = {
        "metadata": {
            "name": name,
            "uid": f"uid-of-{name}",
            "resourceVersion": "1",
            "labels": {kinds.LABEL_COMPONENT: "audit"},
        },
        "spec": {"template": {"spec": {"containers": [{"name": "fence"}]}}},
        "status": {"startTime": more.pop("at", NOW)},
    }
    others = tuple(job for job in stage.seen.jobs if job["metadata"]["name"] != name)
    stage.change(jobs=(*others, made))
    stage.end_job(name, stage.evidence(outcome, reason, **more), exit_code=3 if outcome == "Found" else 0)


def running() -> Stage:
    stage = Stage(live())
    stage.bring_up()
    return stage


def healthy(stage: Stage) -> tuple[str, str]:
    found = stage.condition("KeysHealthy")
    return found["status"], found["reason"]


def test_the_audit_is_a_cron_job_of_one_pod_at_a_time() -> None:
    spec = running().seen.audit["spec"]
    assert spec["concurrencyPolicy"] == "Forbid"
    assert (spec["successfulJobsHistoryLimit"], spec["failedJobsHistoryLimit"]) == (1, 1)
    assert spec["schedule"].endswith("-59/15 * * * *")
    args = spec["jobTemplate"]["spec"]["template"]["spec"]["containers"][0]["args"]
    assert args[0] == "audit"
    assert "--reap" not in args


def test_a_clean_audit_writes_nothing() -> None:
    stage = running()
    audited(stage, "Clean", "Done")
    assert stage.run().actions == ()
    assert healthy(stage) == ("True", "Published")


def test_a_foreign_key_is_a_condition_and_an_event() -> None:
    stage = running()
    audited(stage, "Found", "Conflict", keyIds=["k-9"], message="key k-9 could trade")
    plan = stage.run()
    assert healthy(stage) == ("False", "ForeignKey")
    assert "k-9" in stage.condition("KeysHealthy")["message"]
    assert [(a.kind, a.reason) for a in plan.announcements] == [("Warning", "ForeignKey")]
    audited(stage, "Clean", "Done", name="demo-audit-2", at="2026-01-02T03:19:05Z")
    stage.run()
    assert healthy(stage) == ("True", "Published")


def test_an_unknown_nonce_is_unknown_history() -> None:
    stage = running()
    audited(stage, "Found", "UnknownHistory", keyIds=["k-9"])
    stage.run()
    assert healthy(stage) == ("False", "UnknownHistory")


def test_an_audit_that_could_not_look_is_not_fine() -> None:
    stage = running()
    audited(stage, "Failed", "VenueUnreachable", message="no answer")
    stage.run()
    assert healthy(stage) == ("Unknown", "VenueUnreachable")


def test_an_audit_of_an_earlier_epoch_says_nothing_about_this_one() -> None:
    stage = running()
    audited(stage, "Found", "Conflict", epoch=7)
    stage.run()
    assert healthy(stage) == ("True", "Published")


def test_stale_keys_are_reaped_once_per_finding() -> None:
    stage = running()
    audited(stage, "Found", "StaleKeys", keyIds=["old"])
    assert writes(stage.run()) == ["Create Job demo-reap-e1"]
    args = stage.job("-reap-")["spec"]["template"]["spec"]["containers"][0]["args"]
    assert args[0] == "audit"
    assert "--reap" in args
    assert stage.run().actions == ()
    reaped = merged(stage.job("-reap-"), {"status": {"startTime": "2026-01-02T03:10:00Z"}})
    stage.change(jobs=(*(j for j in stage.seen.jobs if "-reap-" not in j["metadata"]["name"]), reaped))
    stage.end_job("-reap-", stage.evidence("Clean", "Done"))
    assert stage.run().actions == ()
    assert healthy(stage) == ("True", "Published")
    audited(stage, "Found", "StaleKeys", name="demo-audit-2", at="2026-01-02T03:20:00Z")
    assert writes(stage.run()) == ["Delete Job demo-reap-e1"]
    assert writes(stage.run()) == ["Create Job demo-reap-e1"]


def test_a_foreign_order_halts_the_bot_until_a_person_has_looked() -> None:
    stage = running()
    audited(stage, "Found", "ForeignOrders", counts={"foreignOrders": 2}, message="2 orders of another epoch")
    assert writes(stage.run()) == ["Swap Active 1"]
    assert writes(stage.run()) == ["Apply Lease demo-0"]
    assert stage.seen.lease["metadata"]["annotations"]["soloist.trade/desired-state"] == "Halted"
    assert healthy(stage) == ("False", "ForeignOrders")
    assert f"soloist.trade/acknowledge-halt={NOW}" in stage.condition("KeysHealthy")["message"]
    stage.change(jobs=())
    assert stage.run().actions == (), "the finding is gone, the halt is not"

    stage.change(
        bot=merged(stage.seen.bot, {"metadata": {"annotations": {"soloist.trade/acknowledge-halt": NOW}}})
    )
    assert writes(stage.run()) == ["Swap Active 1"]
    assert writes(stage.run()) == ["Apply Lease demo-0"]
    assert stage.seen.lease["metadata"]["annotations"]["soloist.trade/desired-state"] == "Running"
    audited(stage, "Found", "ForeignOrders", counts={"foreignOrders": 2})
    assert stage.run().actions == (), "the same orders, which a person has seen"
    audited(
        stage,
        "Found",
        "ForeignOrders",
        "demo-audit-2",
        counts={"foreignOrders": 3},
        at="2026-01-02T04:00:00Z",
    )
    assert writes(stage.run()) == ["Swap Active 1"], "one more"


def test_an_acknowledgement_of_another_halt_does_not_count() -> None:
    stage = running()
    audited(stage, "Found", "ForeignOrders", counts={"foreignOrders": 1})
    stage.settle()
    earlier = {"soloist.trade/acknowledge-halt": "2025-12-31T00:00:00Z"}
    stage.change(bot=merged(stage.seen.bot, {"metadata": {"annotations": earlier}}))
    assert stage.run().actions == ()


@pytest.mark.parametrize("account", [None, STATIC])
@pytest.mark.parametrize(
    ("seen", "says"),
    [({"foreign_orders": 2}, "somebody else"), ({"other_epoch_orders": 1}, "another epoch")],
)
def test_what_the_watchdog_saw_is_a_condition_and_an_event(account, seen, says) -> None:
    stage = Stage(live(account=dict(account)) if account else live())
    stage.bring_up()
    fine = healthy(stage)
    stage.beat(**seen)
    plan = stage.run()
    assert healthy(stage) == ("False", "ForeignOrders")
    assert says in stage.condition("KeysHealthy")["message"]
    assert [(a.kind, a.reason) for a in plan.announcements] == [("Warning", "ForeignOrders")]
    stage.beat(**{name: count + 1 for name, count in seen.items()})
    before = stage.seen.bot["status"]
    stage.run()
    assert stage.seen.bot["status"] == before, "more of the same is no news"
    stage.heartbeat = Heartbeat(stage.heartbeat.record, silent=True)
    stage.run()
    assert healthy(stage) == ("False", "ForeignOrders"), "silence takes nothing back"
    stage.beat()
    stage.run()
    assert healthy(stage) == fine


def test_the_watchdog_of_another_pod_says_nothing() -> None:
    stage = running()
    stage.beat(pod_uid="a zombie", foreign_orders=2)
    stage.run()
    assert healthy(stage) == ("True", "Published")


# ---------------------------------------------------------------------------------------------- what the engine reports


def test_order_groups_of_the_lease_are_copied_into_the_claim() -> None:
    """A takeover deletes the groups of older epochs: their ids have to outlive the engine that made them."""
    stage = running()
    told = json.dumps({"podUid": "p", "incarnation": "1f", "state": "ACTIVE", "ready": True, "epoch": 1, "safety": {"groups": {"core": "g-1", "hedge": "g-2"}}})  # fmt: skip
    stage.change(
        lease=merged(stage.seen.lease, {"metadata": {"annotations": {"soloist.trade/engine": told}}})
    )
    assert writes(stage.run()) == ["Swap Active 1"]
    assert stage.seen.claim["status"]["orderGroups"] == [{"epoch": 1, "id": "g-1"}, {"epoch": 1, "id": "g-2"}]
    assert stage.run().actions == ()


# ---------------------------------------------------------------------------------------------- renewal


def crashed(stage: Stage, container: str, exit_code: int, told: str) -> None:
    """The engine's pod is restarted again and again by its kubelet; one container says why."""
    volumes = [{"name": "epoch-key", "secret": {"secretName": stage.seen.claim["status"]["secretName"]}}]
    ended = {"terminated": {"exitCode": exit_code, "message": told}}
    part = "initContainerStatuses" if container == "keys" else "containerStatuses"
    status = {
        part: [{"name": container, "state": {"waiting": {"reason": "CrashLoopBackOff"}}, "lastState": ended}]
    }
    stage.change(pod=merged(stage.seen.pod, {"spec": {"volumes": volumes}, "status": status}))


MISSING = json.dumps({"problems": [{"field": "spec.account", "message": "there is no Secret"}]})
REFUSED = json.dumps({"version": 1, "outcome": "Failed", "reason": "KeyRejected", "message": "401"})


@pytest.mark.parametrize(
    ("container", "exit_code", "told", "why"),
    [("keys", 2, MISSING, "EpochSecretGone"), ("engine", 3, REFUSED, "KeyRefused")],
)
def test_a_key_of_no_use_is_replaced_by_a_new_epoch_with_the_reason(container, exit_code, told, why) -> None:
    stage = running()
    crashed(stage, container, exit_code, told)
    assert writes(stage.run()) == ["Swap Fencing 2"]
    assert stage.seen.claim["status"]["reason"] == why
    stage.settle()
    assert stage.job("-fence-e2") is not None
    stage.end_job("-fence-e2", stage.evidence())
    stage.run()
    assert stage.seen.claim["status"]["history"][-1] == {
        "epoch": 2, "time": NOW, "outcome": "Active", "reason": why, "holder": "bots/demo",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("container", "exit_code", "told"),
    [("keys", 137, ""), ("keys", 2, "no report"), ("engine", 1, REFUSED), ("engine", 3, "EpochMismatch")],
)
def test_another_failure_of_the_engine_opens_no_epoch(container, exit_code, told) -> None:
    stage = running()
    crashed(stage, container, exit_code, told)
    stage.settle()
    assert stage.seen.claim["status"]["epoch"] == 1


def test_a_pod_of_an_older_epoch_says_nothing_about_the_new_key() -> None:
    stage = running()
    crashed(stage, "engine", 3, REFUSED)
    other = [{"name": "epoch-key", "secret": {"secretName": "demo-key-e0-x"}}]
    stage.change(pod=merged(stage.seen.pod, {"spec": {"volumes": other}}))
    stage.settle()
    assert stage.seen.claim["status"]["epoch"] == 1


def test_keys_that_are_refused_again_and_again_are_not_the_reason() -> None:
    stage = running()
    line = {"time": NOW, "outcome": "Active", "reason": "KeyRefused", "holder": "bots/demo"}
    history = [{**line, "epoch": epoch} for epoch in (1, 2, 3)]
    stage.change(claim=merged(stage.seen.claim, {"status": {"history": history}}))
    crashed(stage, "engine", 3, REFUSED)
    stage.settle()
    assert stage.seen.claim["status"]["phase"] == "Active"


def test_after_a_restore_every_claim_gets_a_new_epoch_above_all_that_was_seen() -> None:
    for account in (None, STATIC):
        stage = Stage(live(account=dict(account)) if account else live())
        stage.bring_up()
        stage.memory = type(stage.memory)()
        stage.after_restore = True
        stage.heartbeat = Heartbeat(record(pod_uid=stage.seen.pod["metadata"]["uid"], epoch=9), silent=False)
        stage.run()
        if account is not None:
            stage.settle()
            stage.identify()
            stage.run()
        status = stage.seen.claim["status"]
        assert (status["epoch"], status["reason"]) == (10, "AfterRestore")
        stage.heartbeat = Heartbeat()
        stage.settle()
        if account is None:
            stage.end_job("-fence-e10", stage.evidence())
            stage.settle()
        assert (stage.seen.claim["status"]["phase"], stage.seen.claim["status"]["epoch"]) == ("Active", 10)


def test_an_engine_above_the_claims_epoch_is_a_restore_that_nobody_announced() -> None:
    stage = running()
    before = stage.seen.stateful_set
    stage.heartbeat = Heartbeat(record(pod_uid=stage.seen.pod["metadata"]["uid"], epoch=5), silent=False)
    plan = stage.run()
    assert plan.actions == ()
    assert plan.outcome == Blocked("UnknownHistory", 15.0)
    assert stage.condition("Fenced")["reason"] == "UnknownHistory"
    assert "--after-restore" in stage.condition("Fenced")["message"]
    assert stage.seen.stateful_set is before


# ---------------------------------------------------------------------------------------------- bounds and names


def test_jobs_of_an_account_that_cannot_be_fenced_for_days_are_bounded() -> None:
    stage = fenced_until_evidence()
    for epoch in range(1, 41):
        stage.end_job(f"-fence-e{epoch}", stage.evidence("Failed", "VenueUnreachable"), exit_code=1)
        stage.settle()
        stage.now_s += 400
        stage.settle()
    names = sorted(job["metadata"]["name"] for job in stage.seen.jobs if "-fence-" in job["metadata"]["name"])
    assert names == ["demo-fence-e39", "demo-fence-e40", "demo-fence-e41"]
    assert len(stage.seen.config_maps) == 1, "attempts share one configuration"
    assert len(stage.seen.claim["status"]["history"]) == 10
    assert len(stage.seen.claim["status"]["nonces"]) == 41, "any of them may have made a key"


FOREIGN = {"name": "demo", "namespace": "bots", "uid": "theirs", "resourceVersion": "1"}


@pytest.mark.parametrize("field", ["service", "network_policy", "disruption_budget"])
def test_a_strangers_object_of_our_name_is_refused_and_never_adopted(field) -> None:
    stage = Stage(paper())
    stage.change(**{field: {"metadata": dict(FOREIGN), "spec": {}}})
    plan = stage.run()
    assert writes(plan) == ["Add finalizer TradingBot"]
    assert stage.condition("Ready")["reason"] == "NameTaken"
    assert "demo exists and is not this bot's: nothing controls it" in stage.condition("Ready")["message"]


def test_a_strangers_statefulset_and_its_pod_are_not_touched() -> None:
    owner = {"kind": "Database", "name": "db", "uid": "x", "controller": True}
    stage = Stage(paper())
    theirs = running_pod(metadata={"finalizers": None})
    stage.change(
        stateful_set={"metadata": {**FOREIGN, "ownerReferences": [owner]}, "spec": {"replicas": 1}},
        pod=theirs,
    )
    plan = stage.run()
    assert plan.actions == (), "not even the fence finalizer on a pod of our pod's name"
    assert "Database db controls it" in stage.condition("Ready")["message"]


def test_a_child_whose_owner_somebody_took_off_is_still_ours() -> None:
    stage = Stage(paper())
    stage.bring_up()
    applied = [{"manager": "soloist", "operation": "Apply"}]
    stage.change(
        service=merged(stage.seen.service, {"metadata": {"ownerReferences": None, "managedFields": applied}})
    )
    stage.change(stateful_set=None)
    assert "Apply Service demo" in writes(stage.run())
