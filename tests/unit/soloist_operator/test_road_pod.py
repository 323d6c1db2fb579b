"""The engine pod on the road: replaced, guarded, proven dead."""

from __future__ import annotations

from soloist_operator.death import NodeSight, Sight
from soloist_operator.observe import Stray
from soloist_operator.plan import (
    Again,
)

from tests.unit.soloist_operator.operator_scene import (
    EARLIER,
    Stage,
    ended,
    live,
    merged,
    present,
    running_pod,
    writes,
)


def rolled_out() -> Stage:
    stage = Stage(live())
    stage.bring_up()
    stage.edit(live(podAnnotations={"note": "1"}))
    stage.settle()
    stage.see_stateful_set()
    return stage


def test_a_changed_template_deletes_the_pod_and_waits_for_its_death() -> None:
    stage = rolled_out()
    uid = stage.seen.pod["metadata"]["uid"]
    assert writes(stage.run()) == ["Delete Pod demo-0"]
    assert stage.run().actions == ()
    assert stage.condition("Fenced")["reason"] == "OldInstanceStopping"
    stage.change(pod=ended(stage.seen.pod))
    assert writes(stage.run()) == ["Apply Lease demo-0", "Remove finalizer Pod"]
    assert stage.seen.pod is None
    stage.make_pod()
    stage.settle()
    assert stage.seen.pod["metadata"]["uid"] != uid
    assert stage.seen.claim["status"]["epoch"] == 1


def test_a_template_that_its_controller_has_not_seen_replaces_nothing() -> None:
    stage = Stage(live())
    stage.bring_up()
    stage.edit(live(podAnnotations={"note": "1"}))
    stage.settle()
    stage.seen.stateful_set["metadata"]["generation"] = "newer"
    assert stage.run().actions == ()


def test_an_unproven_death_keeps_the_name_and_says_what_is_missing() -> None:
    stage = rolled_out()
    stage.run()
    stage.change(
        pod=merged(ended(stage.seen.pod), {"metadata": {"deletionTimestamp": EARLIER}}),
        node=NodeSight(Sight.ABSENT),
    )
    plan = stage.run()
    assert plan.actions == ()
    assert plan.outcome == Again(5.0)
    found = stage.condition("Fenced")
    assert (found["status"], found["reason"]) == ("False", "OldInstanceUnproven")
    assert "the node's object is gone" in found["message"]


def test_a_pod_that_ended_by_itself_is_deleted_to_be_judged() -> None:
    stage = Stage(live())
    stage.bring_up()
    stage.change(pod=merged(stage.seen.pod, {"status": {"phase": "Failed"}}))
    assert writes(stage.run()) == ["Delete Pod demo-0"]


def test_a_missing_fence_is_put_back_on_a_living_pod() -> None:
    stage = Stage(live())
    stage.bring_up()
    stage.change(pod=merged(stage.seen.pod, {"metadata": {"finalizers": None}}))
    assert writes(stage.run()) == ["Add finalizer Pod"]


def test_the_lease_admits_the_live_pod() -> None:
    stage = rolled_out()
    stage.run()
    stage.change(pod=ended(stage.seen.pod))
    stage.settle()
    assert stage.seen.lease["metadata"]["annotations"]["soloist.trade/admitted-pod-uid"] == ""
    stage.make_pod()
    stage.settle()
    annotations = stage.seen.lease["metadata"]["annotations"]
    assert annotations["soloist.trade/admitted-pod-uid"] == stage.seen.pod["metadata"]["uid"]


def test_what_nobody_uses_is_removed_once_the_bot_is_settled() -> None:
    stage = Stage(live())
    stage.bring_up()
    stage.edit(live(risk={**live()["risk"], "maxOpenOrders": 7}))
    stage.settle()
    checks = [j["metadata"]["name"] for j in stage.seen.jobs if "-check-" in j["metadata"]["name"]]
    stage.end_job(checks[-1], "")
    stage.settle()
    assert len(stage.seen.config_maps) == 4, (
        "the old pod still mounts the old configuration, and there is a pre-flight one each"
    )
    stage.see_stateful_set()
    stage.run()
    stage.change(pod=ended(stage.seen.pod))
    stage.settle()
    stage.make_pod()
    stage.beat()
    stage.settle()
    assert len(stage.seen.config_maps) == 3, "the fence's Job still refers to the one it mounted"
    left = [j["metadata"]["name"] for j in stage.seen.jobs]
    assert left == ["demo-identify", "demo-fence-e1", checks[-1]], (
        "the identification goes by its time to live"
    )


def test_a_pod_beside_the_engine_is_ended_and_its_name_released_only_when_proven_dead() -> None:
    """`kubectl scale statefulset demo --replicas=2` makes one before the operator can say no."""
    stage = Stage(live())
    stage.bring_up()
    stray = running_pod(metadata={"name": "demo-1", "uid": "stray"})
    stage.change(strays=(Stray(stray, present()),))
    assert writes(stage.run()) == ["Delete Pod demo-1"]
    proven = stage.seen.strays[0]
    stage.change(strays=(Stray(proven.pod, NodeSight(Sight.ABSENT)),))
    assert stage.run().actions == (), "nobody says whether the machine still runs"
    stage.change(strays=(proven,))
    assert writes(stage.run()) == ["Remove finalizer Pod"]
    assert stage.seen.pod is not None, "the engine itself is left alone"
