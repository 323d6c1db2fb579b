"""The road of a takeover: a new epoch, the fence elsewhere, a fresh volume, the old pod's name freed, in this order."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from soloist_fence.api import Verb
from soloist_operator.attempts import Attempt, AttemptMemory
from soloist_operator.death import NodeSight, Sight
from soloist_operator.heartbeat import Heartbeat
from soloist_operator.plan import Again, ForceDelete, SetFinalizer
from soloist_operator.relocation import Watch, dismiss
from soloist_operator.takeover import Crowd
from soloist_trader.shell import venue_recovery

from tests.unit.soloist_operator.operator_scene import (
    EARLIER,
    LATER,
    STATIC,
    Stage,
    ended,
    live,
    merged,
    present,
    record,
    running_pod,
    writes,
)

QUIET = Watch(api_healthy_s=60)
NODE_LOST = Watch(api_healthy_s=60, node_silent_s=20, silent_nodes=("node-1",))
ADMITTED = "soloist.trade/admitted-pod-uid"
ACKNOWLEDGE = "soloist.trade/acknowledge-unproven"


def trading(spec: dict[str, Any] | None = None) -> Stage:
    stage = Stage(spec or live())
    stage.watch = QUIET
    stage.bring_up()
    stage.see_stateful_set()
    revision = stage.seen.stateful_set["status"]["updateRevision"]
    stage.change(pod=merged(stage.seen.pod, {"metadata": {"labels": {"controller-revision-hash": revision}}}))
    stage.settle()
    return stage


def lose_the_node(stage: Stage) -> None:
    uid = stage.seen.pod["metadata"]["uid"]
    stage.heartbeat = Heartbeat(record(pod_uid=uid), silent=True, silent_s=20)
    stage.watch = NODE_LOST


def mounted(pod_spec: dict[str, Any]) -> str:
    return next(v["persistentVolumeClaim"]["claimName"] for v in pod_spec["volumes"] if v["name"] == "state")


def kept_off(pod_spec: dict[str, Any]) -> list[str]:
    required = pod_spec["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    return [v for term in required["nodeSelectorTerms"] for f in term["matchFields"] for v in f["values"]]


def fenced(stage: Stage) -> None:
    """P1 to P6: the epoch is opened, its Job runs and publishes."""
    stage.settle()
    epoch = stage.seen.claim["status"]["epoch"]
    stage.end_job(f"-fence-e{epoch}", stage.evidence())


def test_a_lost_node_is_taken_over_in_the_order_of_the_protocol() -> None:
    stage = trading()
    old = stage.seen.pod["metadata"]["uid"]
    lose_the_node(stage)
    assert writes(stage.run()) == ["Swap Fencing 2"]
    assert stage.seen.claim["status"]["reason"] == "NodeSilent"
    assert "Apply Lease demo-0" in writes(stage.run()), (
        "the old engine, should it read, stands down before the fence"
    )
    stage.settle()
    assert stage.seen.lease["metadata"]["annotations"]["soloist.trade/epoch"] == "2"
    assert stage.seen.lease["metadata"]["annotations"][ADMITTED] == ""
    job = stage.job("-fence-e2")
    assert job is not None
    assert kept_off(job["spec"]["template"]["spec"]) == ["node-1"]
    assert stage.seen.pod["metadata"]["uid"] == old, (
        "nothing of the old pod is touched before the fence is done"
    )

    stage.end_job("-fence-e2", stage.evidence())
    armed = stage.run()
    done = writes(armed)
    assert done[0] == "Swap Active 2"
    assert done.index("Apply PersistentVolumeClaim demo-state-1") < done.index("Apply StatefulSet demo")
    template = stage.seen.stateful_set["spec"]["template"]["spec"]
    assert (mounted(template), kept_off(template)) == ("demo-state-1", ["node-1"])
    born_with = stage.seen.stateful_set["spec"]["template"]["metadata"]["finalizers"]
    assert born_with == ["soloist.trade/fence"], "or its name is free before anything is proven or fenced"
    assert not any(isinstance(action, ForceDelete | SetFinalizer) for action in armed.actions)

    assert not any(isinstance(action, ForceDelete) for action in stage.run().actions), (
        "the controller has not seen the new template"
    )
    stage.see_stateful_set()
    assert writes(stage.run())[-1] == "ForceDelete Pod demo-0"
    assert writes(stage.run()) == ["Remove finalizer Pod"]
    assert stage.seen.pod is None
    assert "demo-state-0 is kept" in stage.condition("Fenced")["message"]

    stage.make_pod()
    stage.change(node=NodeSight(Sight.PRESENT, present().node))
    stage.seen.pod["spec"]["nodeName"] = "node-2"
    stage.watch = Watch(api_healthy_s=60, node_silent_s=1, silent_nodes=("node-1",))
    stage.beat(epoch=2)
    stage.settle()
    annotations = stage.seen.lease["metadata"]["annotations"]
    assert annotations[ADMITTED] == stage.seen.pod["metadata"]["uid"] != old
    assert stage.condition("Ready")["status"] == "True"

    # The lost node comes back: nothing of the running engine changes for that.
    stage.watch = QUIET
    assert stage.settle().actions == ()
    assert stage.seen.bot["status"]["resolved"]["stateGeneration"] == "1"


def armed_above() -> Stage:
    """The fence published epoch 2, the template is applied and seen, the pod of epoch 1 is still there."""
    stage = trading()
    lose_the_node(stage)
    fenced(stage)
    stage.run()
    stage.see_stateful_set()
    return stage


def fence_pod(stage: Stage, epoch: int) -> dict[str, Any]:
    job = stage.job(f"-fence-e{epoch}")
    assert job is not None
    return dict(job["spec"]["template"]["spec"])


def test_the_fence_holds_the_last_key_to_see_it_refused() -> None:
    stage = trading()
    assert not any(v["name"] == "epoch-key" for v in fence_pod(stage, 1)["volumes"]), "there was none before"
    last = stage.seen.claim["status"]["secretName"]
    lose_the_node(stage)
    stage.settle()
    pod_spec = fence_pod(stage, 2)
    held = next(v["secret"] for v in pod_spec["volumes"] if v["name"] == "epoch-key")
    assert (held["secretName"], held["optional"]) == (last, True), "an earlier attempt may have deleted it"
    mounts = {m["name"]: m["mountPath"] for m in pod_spec["containers"][0]["volumeMounts"]}
    assert f"--slots-dir={mounts['epoch-key']}" in pod_spec["containers"][0]["args"]


def test_order_groups_that_a_takeover_deleted_are_off_the_record() -> None:
    """Otherwise every takeover would delete all of them again, before anybody may trade."""
    stage = trading()
    claim = merged(stage.seen.claim, {"status": {"orderGroups": [{"epoch": 1, "id": "g-1"}]}})
    stage.change(claim=claim)
    lose_the_node(stage)
    stage.settle()
    assert stage.seen.claim["status"]["orderGroups"] == [{"epoch": 1, "id": "g-1"}], "the fence reads them"
    fenced(stage)
    stage.settle()
    assert stage.seen.claim["status"]["phase"] == "Active"
    assert stage.seen.claim["status"]["orderGroups"] == []


def test_a_venue_slower_than_the_bound_is_no_case_for_another_attempt() -> None:
    """The Secret of the old key is gone after the first one: the next would see nothing, wait too briefly and arm."""
    stage = trading()
    lose_the_node(stage)
    stage.settle()
    told = stage.evidence(
        "Failed", "NotConfirmed", message="still accepted", counts={"stillAcceptedMs": 50_000}
    )
    stage.end_job("-fence-e2", told, exit_code=1)
    stage.settle()
    stage.memory = AttemptMemory()  # an operator that starts again knows no more than the claim
    stage.now_s += 3600
    stage.settle()
    assert stage.seen.claim["status"]["epoch"] == 2
    assert stage.job("-fence-e3") is None
    assert stage.condition("Fenced")["reason"] == "NotConfirmed"
    venue = stage.settings.venues["simulator"]
    longer = venue.model_copy(update={"revocation_bound_ms": 60_000})
    stage.settings = stage.settings.model_copy(update={"venues": {"simulator": longer}})
    stage.settle()
    assert "--revocation-bound-ms=60000" in fence_pod(stage, 3)["containers"][0]["args"]


def test_what_was_seen_counts_whatever_ended_the_attempt() -> None:
    stage = trading()
    lose_the_node(stage)
    stage.settle()
    told = stage.evidence("Failed", "VenueUnreachable", counts={"stillAcceptedMs": 17_000})
    stage.end_job("-fence-e2", told, exit_code=1)
    stage.settle()
    stage.now_s += 3600
    stage.settle()
    assert stage.seen.claim["status"]["epoch"] == 2


def test_what_a_predecessors_attempt_saw_holds_its_successor_back() -> None:
    """Good news of another process's attempt count for nothing; this is bad news."""
    stage = trading()
    lose_the_node(stage)
    stage.settle()
    told = stage.evidence("Failed", "NotConfirmed", counts={"stillAcceptedMs": 50_250})
    stage.end_job("-fence-e2", told, exit_code=1)
    stage.memory = AttemptMemory()
    stage.settle()
    stage.now_s += 3600
    stage.settle()
    assert stage.seen.claim["status"]["epoch"] == 2
    assert "revocationBoundMs" in stage.condition("Fenced")["message"]


def test_a_duel_that_is_over_slows_no_later_takeover() -> None:
    stage = trading()
    lose_the_node(stage)
    stage.settle()
    theirs = {"epoch": 3, "nonce": "twin", "jobUid": "", "secretName": "demo-key-e3-twin"}
    stage.change(claim=merged(stage.seen.claim, {"status": theirs}))
    stage.settle()
    assert stage.condition("Fenced")["reason"] == "Fencing", "the other operator's own word"
    stage.change(claim=merged(stage.seen.claim, {"status": {"phase": "Active"}}))
    stage.run()
    claim = stage.seen.claim["metadata"]["name"]
    assert stage.memory.pause_s(claim, stage.memory._edition[claim], stage.now_s) == 0


def test_a_takeover_that_begins_anew_takes_a_place_like_any_other() -> None:
    stage = trading()
    lose_the_node(stage)
    stage.settle()
    stage.memory = AttemptMemory()
    stage.watch = replace(NODE_LOST, crowd=Crowd(100, 6, 5))
    stage.settle()
    assert stage.seen.claim["status"]["epoch"] == 2
    assert stage.condition("Fenced")["reason"] == "TakeoverWaiting"
    stage.watch = replace(NODE_LOST, crowd=Crowd(100, 6, 4))
    stage.settle()
    assert stage.seen.claim["status"]["epoch"] == 3


def test_a_takeover_that_nobody_advances_gives_its_place_back() -> None:
    memory, attempt = AttemptMemory(), Attempt(Verb.TAKEOVER, "claim", 2, "nonce")
    assert not memory.is_at_work(attempt, 0.0)
    memory.open(attempt, 0.0)
    assert memory.is_at_work(attempt, 179.0)
    assert not memory.is_at_work(attempt, 180.0)
    assert memory.is_open(attempt), "its evidence still counts"


def test_of_two_operators_the_overtaken_one_waits_until_the_other_is_done() -> None:
    """Both would open epoch after epoch over each other's fence, and nobody would trade."""
    stage = trading()
    lose_the_node(stage)
    stage.settle()
    for pause_s in (20, 40):
        epoch = stage.seen.claim["status"]["epoch"]
        above = {"status": {"epoch": epoch + 1, "nonce": f"twin{epoch}", "jobUid": ""}}
        stage.change(claim=merged(stage.seen.claim, above))
        stage.settle()
        stage.now_s += pause_s - 1
        stage.settle()
        assert stage.seen.claim["status"]["epoch"] == epoch + 1
        stage.now_s += 1
        stage.settle()
        assert stage.seen.claim["status"]["epoch"] == epoch + 2, "a twin that died does not stop us"


def test_a_pod_below_the_published_epoch_may_be_deleted_by_force() -> None:
    stage = armed_above()
    dismissal = dismiss(stage.seen, NODE_LOST, start_fresh=True)
    assert dismissal is not None
    assert isinstance(dismissal.actions[0], ForceDelete)


@pytest.mark.parametrize(
    "without",
    [
        {"claim": {"status": {"evidence": {"outcome": "Failed"}}}},
        {"claim": {"status": {"evidence": None}}},
        {"claim": {"status": {"phase": "Fencing"}}},
        {"claim": {"status": {"epoch": 1}}},
        {"claim": {"spec": {"holder": {"uid": "another bot"}}}},
        {"pod": {"spec": {"volumes": []}}},
        {
            "pod": {
                "spec": {"volumes": [{"name": "epoch-key", "secret": {"secretName": "demo-key-e2-nonce"}}]}
            }
        },
        {
            "pod": {
                "spec": {"volumes": [{"name": "epoch-key", "secret": {"secretName": "demo-key-e0-nonce"}}]}
            }
        },
        {
            "pod": {
                "spec": {"volumes": [{"name": "epoch-key", "secret": {"secretName": "another-key-e1-nonce"}}]}
            }
        },
    ],
    ids=str,
)
def test_without_fence_evidence_above_its_key_no_pod_is_deleted_by_force(without: dict[str, Any]) -> None:
    """Whoever writes a number somewhere frees no name: the Secret in the pod's own volumes, which nobody can edit, counts."""
    stage = armed_above()
    for field, change in without.items():
        stage.change(**{field: merged(getattr(stage.seen, field), change)})
    assert dismiss(stage.seen, NODE_LOST, start_fresh=True) is None


def test_an_edited_annotation_frees_no_name() -> None:
    stage = trading()
    annotations = {**stage.seen.pod["metadata"]["annotations"], "soloist.trade/epoch": "0"}
    stage.change(pod=merged(stage.seen.pod, {"metadata": {"annotations": annotations}}))
    lose_the_node(stage)
    assert not any(isinstance(action, ForceDelete | SetFinalizer) for action in stage.run().actions)
    assert dismiss(stage.seen, NODE_LOST, start_fresh=True) is None


def test_a_hung_engine_on_a_live_node_keeps_its_volume_and_is_proven_dead() -> None:
    stage = trading()
    uid = stage.seen.pod["metadata"]["uid"]
    started = {"name": "engine", "started": True, "state": {"running": {}}}
    stage.change(pod=merged(stage.seen.pod, {"status": {"containerStatuses": [started]}}))
    stage.heartbeat = Heartbeat(record(pod_uid=uid), silent=True, silent_s=31)
    stage.watch = Watch(api_healthy_s=60, node_silent_s=2)
    fenced(stage)
    stage.run()
    assert mounted(stage.seen.stateful_set["spec"]["template"]["spec"]) == "demo-state-0"
    stage.see_stateful_set()
    assert writes(stage.run())[-1] == "ForceDelete Pod demo-0"
    assert writes(stage.run()) == [], (
        "its kubelet lives, and the volume is the next engine's: wait for the proof"
    )
    stage.change(pod=merged(ended(stage.seen.pod), {"metadata": {"deletionTimestamp": EARLIER}}))
    assert "Remove finalizer Pod" in writes(stage.run())


def test_a_kubelet_that_cannot_end_the_hung_engine_leads_to_a_fresh_volume() -> None:
    stage = trading()
    stage.change(pod=merged(stage.seen.pod, {"metadata": {"deletionTimestamp": EARLIER}}))
    stage.watch = Watch(api_healthy_s=60, node_silent_s=2, overrun_s=16)
    assert writes(stage.run()) == ["Swap Fencing 2"]
    stage.settle()
    assert stage.condition("Fenced")["reason"] == "Fencing", "a person need not look after the pod now"
    fenced(stage)
    stage.run()
    assert stage.seen.claim["status"]["reason"] == "PodStuck"
    assert mounted(stage.seen.stateful_set["spec"]["template"]["spec"]) == "demo-state-1"
    stage.see_stateful_set()
    assert writes(stage.run())[-1] == "ForceDelete Pod demo-0"
    assert writes(stage.run()) == ["Remove finalizer Pod"]


def test_a_volume_that_is_waited_for_is_mounted_again_wherever_it_is() -> None:
    stage = trading(live(storage={"whenUnreachable": "Wait"}))
    lose_the_node(stage)
    fenced(stage)
    stage.run()
    template = stage.seen.stateful_set["spec"]["template"]["spec"]
    assert mounted(template) == "demo-state-0"
    assert "affinity" not in template
    stage.see_stateful_set()
    assert writes(stage.run())[-1] == "ForceDelete Pod demo-0"
    assert writes(stage.run()) == ["Remove finalizer Pod"]


def test_a_pod_that_vanished_without_proof_is_taken_over_on_a_fresh_volume() -> None:
    stage = trading()
    old = stage.seen.pod["metadata"]["uid"]
    stage.change(pod=None, node=NodeSight(Sight.UNASSIGNED))
    assert writes(stage.run())[-1] == "Swap Fencing 2"
    assert stage.seen.claim["status"]["reason"] == "PodGone"
    assert stage.seen.lease["metadata"]["annotations"][ADMITTED] in {old, ""}
    fenced(stage)
    stage.run()
    assert mounted(stage.seen.stateful_set["spec"]["template"]["spec"]) == "demo-state-1"


def test_a_pod_that_replaced_one_without_proof_is_not_admitted() -> None:
    stage = trading()
    old = stage.seen.pod["metadata"]["uid"]
    stage.change(pod=merged(stage.seen.pod, {"metadata": {"uid": "second"}}))
    plan = stage.run()
    assert writes(plan)[-1] == "Swap Fencing 2"
    assert stage.seen.claim["status"]["reason"] == "PodReplaced"
    assert stage.seen.lease["metadata"]["annotations"][ADMITTED] == old


def test_a_proven_death_is_on_record_before_the_name_is_free() -> None:
    """A crash between the two writes loses nothing: the next process does not take the missing pod for an unproven one."""
    stage = trading()
    stage.change(pod=ended(merged(stage.seen.pod, {"metadata": {"deletionTimestamp": LATER}})))
    assert writes(stage.run())[:2] == ["Apply Lease demo-0", "Remove finalizer Pod"]
    assert stage.seen.pod is None
    stage.settle()
    assert stage.seen.claim["status"]["epoch"] == 1


def test_a_takeover_that_waits_says_so_and_looks_again() -> None:
    stage = trading()
    lose_the_node(stage)
    stage.watch = Watch(**{**vars(NODE_LOST), "crowd": Crowd(10, 9, 0)})
    plan = stage.run()
    assert plan.actions == ()
    assert plan.outcome == Again(5.0)
    assert stage.condition("Fenced")["reason"] == "TakeoverWaiting"


def test_three_takeovers_in_ten_minutes_stop_until_a_person_acknowledges() -> None:
    stage = trading()
    line = {"time": EARLIER, "outcome": "Active", "reason": "NodeSilent", "holder": "bots/demo"}
    history = [{"epoch": epoch, **line} for epoch in (1, 2, 3)]
    stage.change(claim=merged(stage.seen.claim, {"status": {"history": history}}))
    lose_the_node(stage)
    plan = stage.run()
    assert plan.actions == ()
    found = stage.condition("Fenced")
    uid = stage.seen.pod["metadata"]["uid"]
    assert found["reason"] == "TakeoverStopped"
    assert f"{ACKNOWLEDGE}={uid}" in found["message"]
    assert any(told.reason == "TakeoverStopped" and told.kind == "Warning" for told in plan.announcements)
    stage.change(claim=merged(stage.seen.claim, {"status": {"history": []}}))
    assert stage.run().actions == (), "time alone does not start it again"
    stage.change(bot=merged(stage.seen.bot, {"metadata": {"annotations": {ACKNOWLEDGE: uid}}}))
    assert writes(stage.run()) == ["Swap Fencing 2"]


@pytest.mark.parametrize("acknowledged", ["", "another-uid", None])
def test_a_static_key_waits_for_a_person_who_names_the_pod(acknowledged: str | None) -> None:
    stage = trading(live(account=STATIC))
    lose_the_node(stage)
    uid = stage.seen.pod["metadata"]["uid"]
    word = uid if acknowledged is None else acknowledged
    stage.change(bot=merged(stage.seen.bot, {"metadata": {"annotations": {ACKNOWLEDGE: word}}}))
    plan = stage.run()
    if word != uid:
        assert plan.actions == ()
        found = stage.condition("Fenced")
        assert found["reason"] == "OldInstanceUnproven"
        assert f"{ACKNOWLEDGE}={uid}" in found["message"]
        return
    assert writes(plan) == ["Apply PersistentVolumeClaim demo-state-1", "Apply StatefulSet demo"]
    stage.see_stateful_set()
    assert writes(stage.run())[-1] == "ForceDelete Pod demo-0"
    assert writes(stage.run())[-1] == "Remove finalizer Pod"
    stage.make_pod()
    stage.watch = QUIET
    stage.beat()
    stage.settle()
    assert stage.seen.pod["metadata"]["uid"] != uid
    assert stage.settle().actions == (), "the word was for that pod, and is used up"


def test_an_acknowledgement_does_not_end_a_healthy_engine() -> None:
    stage = trading(live(account=STATIC))
    uid = stage.seen.pod["metadata"]["uid"]
    stage.change(bot=merged(stage.seen.bot, {"metadata": {"annotations": {ACKNOWLEDGE: uid}}}))
    assert stage.run().actions == ()


def test_a_node_that_is_heard_again_is_used_again_by_a_pod_without_one() -> None:
    stage = trading()
    lose_the_node(stage)
    fenced(stage)
    stage.run()
    stage.see_stateful_set()
    stage.run()
    stage.run()
    stage.make_pod()
    waiting = running_pod(metadata={"uid": "waiting"}, spec={"nodeName": None}, status={"phase": "Pending"})
    waiting["spec"]["volumes"] = stage.seen.pod["spec"]["volumes"]
    waiting["metadata"]["annotations"] = stage.seen.pod["metadata"]["annotations"]
    stage.change(pod=waiting, node=NodeSight(Sight.UNASSIGNED))
    stage.watch = QUIET
    stage.settle()
    template = stage.seen.stateful_set["spec"]["template"]["spec"]
    assert ("affinity" in template, mounted(template)) == (False, "demo-state-1")


SAFETY = {
    "asOf": 1,
    "sequence": 7,
    "day": 20000,
    "dayProfit": -5,
    "latches": {"risk": ["REDUCING", "loss"]},
    "groups": {"open": "g1"},
}


def test_the_safety_record_is_mirrored_when_it_changes_and_given_back_to_a_new_lease() -> None:
    stage = trading()
    stage.beat(safety=SAFETY)
    stage.settle()
    shown = stage.seen.bot["status"]["safety"]
    assert shown == {"epoch": 1, **SAFETY}
    stage.beat(safety={**SAFETY, "asOf": 2, "sequence": 8, "dayProfit": -6})
    stage.settle()
    assert stage.seen.bot["status"]["safety"] == shown, "a quiet bot is not written"

    stage.change(lease=None)
    stage.settle()
    given = json.loads(stage.seen.lease["metadata"]["annotations"]["soloist.trade/engine"])
    assert given["safety"] == SAFETY
    assert stage.settle().actions == ()
    read = venue_recovery.read_record(stage.seen.lease["metadata"]["annotations"]["soloist.trade/engine"])
    assert read is not None
    assert (read.epoch, read.latches) == (1, {"risk": ("REDUCING", "loss")})


def test_a_zombies_record_is_not_mirrored() -> None:
    stage = trading()
    stage.heartbeat = Heartbeat(record(pod_uid="zombie", safety=SAFETY), silent=False, silent_s=0)
    stage.settle()
    assert "safety" not in stage.seen.bot["status"]
