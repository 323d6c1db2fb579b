"""The end of the road: a TradingBot that is being deleted."""

from __future__ import annotations

from soloist_operator import kinds
from soloist_operator.death import NodeSight, Sight
from soloist_operator.observe import Stray
from soloist_operator.plan import (
    Blocked,
)

from tests.unit.soloist_operator.operator_scene import (
    NOW,
    STATIC,
    Stage,
    ended,
    fenced_until_evidence,
    live,
    merged,
    paper,
    pod,
    present,
    running_pod,
    writes,
)


def leaving(stage: Stage, **metadata) -> None:
    stage.change(bot=merged(stage.seen.bot, {"metadata": {"deletionTimestamp": NOW, **metadata}}))


def stopped(stage: Stage) -> None:
    """The engine ends in order."""
    stage.run()
    stage.see_stateful_set()
    stage.change(pod=ended(stage.seen.pod))
    stage.run()
    stage.seen.stateful_set["status"]["replicas"] = 0


def test_a_live_bot_leaves_in_order() -> None:
    stage = Stage(live())
    stage.bring_up()
    leaving(stage)
    assert writes(stage.run()) == [
        "Delete CronJob demo-key-rotation",
        "Delete CronJob demo-audit",
        "ScaleToZero",
    ]
    stage.see_stateful_set()
    assert stage.run().actions == (), "the engine is still stopping"
    stage.change(pod=ended(stage.seen.pod))
    assert writes(stage.run())[-1] == "Remove finalizer Pod"
    stage.seen.stateful_set["status"]["replicas"] = 0
    assert writes(stage.run())[-1] == "Swap Fencing 2"
    assert writes(stage.run()) == ["Create Job demo-release-e2"]
    stage.run()
    stage.end_job("-release-e2", stage.evidence("Released"))
    assert writes(stage.run()) == ["Swap Idle 2"]
    assert "holder" not in stage.seen.claim["spec"]
    last = stage.run()
    assert writes(last) == ["Remove finalizer TradingBot"]
    assert last.status is None


def test_a_bot_does_not_leave_while_its_engine_may_live() -> None:
    stage = Stage(live())
    stage.bring_up()
    leaving(stage)
    stage.run()
    stage.see_stateful_set()
    stage.change(pod=ended(stage.seen.pod), node=NodeSight(Sight.UNSEEN, why="403"))
    for _ in range(3):
        assert stage.run().actions == ()
    assert "could not look at the node: 403" in stage.condition("Fenced")["message"]


def test_a_bot_does_not_leave_before_its_controller_saw_the_stop() -> None:
    stage = Stage(paper())
    stage.bring_up()
    leaving(stage)
    stage.run()
    stage.change(pod=None)
    stage.seen.stateful_set["metadata"]["generation"] = "newer"
    assert stage.run().actions == (), "the controller may be about to make a pod"


def test_a_failed_release_is_tried_again_in_a_new_epoch() -> None:
    stage = Stage(live())
    stage.bring_up()
    leaving(stage)
    stopped(stage)
    stage.settle()
    stage.end_job(
        "-release-e2", stage.evidence("Failed", "VenueUnreachable", message="no answer"), exit_code=1
    )
    stage.settle()
    assert stage.condition("Fenced")["message"] == "no answer"
    stage.now_s = 10
    stage.settle()
    assert stage.job("-release-e3") is not None


def test_a_static_bot_leaves_without_a_release() -> None:
    stage = Stage(live(account=dict(STATIC)))
    stage.bring_up()
    leaving(stage)
    stopped(stage)
    assert writes(stage.run()) == ["Swap Idle 1"]
    assert writes(stage.run()) == ["Remove finalizer TradingBot"]


def test_a_bot_that_never_had_a_key_leaves_without_a_release() -> None:
    stage = fenced_until_evidence()
    told = stage.evidence("Failed", "ManagementKeyMissing", keyMayExist=False)
    stage.end_job("-fence-e1", told, exit_code=1)
    stage.settle()
    leaving(stage)
    assert writes(stage.run()) == ["Swap Idle 1"]


def test_a_takeover_under_way_is_heard_out_before_the_release() -> None:
    stage = fenced_until_evidence()
    leaving(stage)
    assert stage.run().actions == ()
    stage.end_job("-fence-e1", stage.evidence())
    assert writes(stage.run())[-1] == "Swap Fencing 2"


def test_an_abandoned_bot_leaves_its_claim_orphaned_with_epoch_and_key() -> None:
    stage = Stage(live())
    stage.bring_up()
    leaving(stage, annotations={"soloist.trade/abandon": "the machine burnt down"})
    stage.change(node=NodeSight(Sight.ABSENT))
    stage.run()
    stage.see_stateful_set()
    assert writes(stage.run()) == ["Delete Pod demo-0"]
    assert writes(stage.run()) == ["Remove finalizer Pod"]
    lingering = merged(
        stage.seen.pod or pod(), {"metadata": {"finalizers": None}, "status": {"phase": "Running"}}
    )
    stage.change(pod=lingering)
    assert writes(stage.run()) == ["Swap Orphaned 1"], "the guard does not put back what was given up"
    assert stage.seen.claim["status"]["keyId"] == "key-1"
    assert stage.condition("Fenced")["reason"] == "Abandoned"
    assert "key-1 may still be accepted" in stage.condition("Fenced")["message"]
    assert writes(stage.run()) == ["Remove finalizer TradingBot"]


def test_a_bot_whose_namespace_terminates_leaves_its_claim_orphaned_and_says_so() -> None:
    """No Job can be made there, and the management key is gone: nobody may pretend that the key was revoked."""
    stage = Stage(live())
    stage.bring_up()
    leaving(stage)
    stopped(stage)
    stage.change(namespace_ending=True)
    plan = stage.run()
    assert writes(plan) == ["Swap Orphaned 1"]
    assert (stage.seen.claim["status"]["phase"], stage.seen.claim["status"]["reason"]) == (
        "Orphaned",
        "NamespaceTerminated",
    )
    assert stage.seen.claim["status"]["keyId"] == "key-1"
    (told,) = [a for a in plan.announcements if a.reason == "NamespaceTerminated"]
    assert "key-1 may still be accepted" in told.message
    assert writes(stage.run()) == ["Remove finalizer TradingBot"]


def test_a_strangers_statefulset_of_the_same_name_is_not_ended() -> None:
    stage = Stage(paper())
    stage.run()
    foreign = {"metadata": {"name": "demo", "uid": "theirs", "resourceVersion": "1"}, "spec": {"replicas": 1}}
    stage.change(stateful_set=foreign, pod=running_pod())
    leaving(stage)
    assert writes(stage.run()) == ["Remove finalizer TradingBot"]


def test_an_empty_reason_abandons_nothing() -> None:
    stage = Stage(live())
    stage.bring_up()
    leaving(stage, annotations={"soloist.trade/abandon": " "})
    stage.run()
    stage.see_stateful_set()
    assert stage.run().actions == ()


def test_a_bot_whose_spec_no_longer_parses_leaves_with_the_one_that_was_accepted() -> None:
    stage = Stage(live())
    stage.bring_up()
    leaving(stage)
    stopped(stage)
    stage.edit({})
    stage.settle()
    assert stage.job("-release-e2") is not None


def test_a_bot_whose_spec_no_longer_parses_and_was_never_accepted_says_how_to_leave() -> None:
    stage = Stage(live())
    stage.bring_up()
    leaving(stage)
    stopped(stage)
    stage.edit(live(venue="elsewhere"))
    stage.change(stateful_set=None)
    plan = stage.run()
    assert plan.outcome == Blocked("CannotRevoke", 30.0)
    assert "soloist.trade/abandon" in stage.condition("Fenced")["message"]


def test_a_pod_without_its_statefulset_is_ended_too() -> None:
    stage = Stage(paper())
    stage.bring_up()
    leaving(stage)
    stage.change(stateful_set=None)
    assert writes(stage.run()) == ["Delete Pod demo-0"]
    stage.change(pod=ended(stage.seen.pod), node=present())
    assert writes(stage.run())[-1] == "Remove finalizer Pod"
    assert writes(stage.run()) == ["Remove finalizer TradingBot"]


def test_a_bot_that_never_came_up_leaves_at_once() -> None:
    stage = Stage(paper())
    stage.run()
    leaving(stage)
    assert writes(stage.run()) == ["Remove finalizer TradingBot"]
    assert kinds.BOT_FINALIZER not in stage.seen.bot["metadata"]["finalizers"]


def test_a_pod_beside_the_engine_is_ended_and_proven_dead_before_the_bot_leaves() -> None:
    stage = Stage(live())
    stage.bring_up()
    leaving(stage)
    stopped(stage)
    stage.change(pod=None, strays=(Stray(running_pod(metadata={"name": "demo-1"}), present()),))
    assert writes(stage.run()) == ["Delete Pod demo-1"]
    assert "demo-1" in stage.condition("Fenced")["message"]
    assert writes(stage.run()) == ["Remove finalizer Pod"]
    assert stage.seen.strays == ()


def test_an_abandoned_bot_lets_go_of_the_pods_beside_the_engine_too() -> None:
    stage = Stage(live())
    stage.bring_up()
    leaving(stage, annotations={"soloist.trade/abandon": "the node burnt down"})
    stopped(stage)
    lost = pod(metadata={"name": "demo-1"}, status={"phase": "Running"})
    stage.change(pod=None, strays=(Stray(lost, NodeSight(Sight.ABSENT)),))
    assert writes(stage.run()) == ["Remove finalizer Pod"]
