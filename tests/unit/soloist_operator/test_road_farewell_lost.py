"""A bot is deleted while nobody hears its engine: fenced at the exchange instead of waited for, and its name freed with evidence."""

from __future__ import annotations

from typing import Any

import pytest
from soloist_operator.plan import ForceDelete

from tests.unit.soloist_operator.operator_scene import (
    EARLIER,
    LATER,
    STATIC,
    Stage,
    ended,
    live,
    merged,
    paper,
    present,
    writes,
)
from tests.unit.soloist_operator.test_road_farewell import leaving
from tests.unit.soloist_operator.test_road_takeover import QUIET, lose_the_node, trading


def deleted_while_lost(spec: dict[str, Any] | None = None, *, deletion: str = EARLIER) -> Stage:
    """The StatefulSet's controller has deleted the pod, and its node says nothing."""
    stage = trading(spec)
    lose_the_node(stage)
    leaving(stage)
    stage.run()
    stage.see_stateful_set()
    gone = {"metadata": {"deletionTimestamp": deletion, "deletionGracePeriodSeconds": 30}}
    stage.change(pod=merged(stage.seen.pod, gone))
    return stage


def test_a_deletion_with_a_lost_node_ends_by_the_fence() -> None:
    stage = deleted_while_lost()
    assert writes(stage.run())[-1] == "Swap Fencing 2"
    assert writes(stage.run()) == ["Create Job demo-release-e2"]
    container = stage.job("-release-e2")["spec"]["template"]["spec"]["containers"][0]
    assert "--orders" in container["args"], "nobody else cancels what the engine left"
    stage.run()
    assert stage.run().actions == (), "no evidence yet: nothing of the pod is touched"
    assert "silent" in stage.condition("Fenced")["message"]
    stage.end_job("-release-e2", stage.evidence("Released"))
    plan = stage.run()
    assert [type(a) for a in plan.actions] == [ForceDelete]
    assert stage.seen.claim["status"]["phase"] == "Fencing", "the claim is held until the name is free"
    assert writes(stage.run()) == ["Remove finalizer Pod"]
    assert stage.seen.pod is None
    stage.seen.stateful_set["status"]["replicas"] = 0
    assert writes(stage.run()) == ["Swap Idle 2"]
    assert writes(stage.run()) == ["Remove finalizer TradingBot"]


def test_the_fence_keeps_off_the_lost_node() -> None:
    stage = deleted_while_lost()
    stage.run()
    stage.run()
    affinity = stage.job("-release-e2")["spec"]["template"]["spec"]["affinity"]
    assert "node-1" in str(affinity)


def test_a_release_that_fails_frees_nothing() -> None:
    stage = deleted_while_lost()
    stage.settle()
    told = stage.evidence("Failed", "VenueUnreachable", message="no answer")
    stage.end_job("-release-e2", told, exit_code=1)
    for _ in range(4):
        assert "Pod" not in " ".join(writes(stage.run()))
    stage.now_s = 10
    stage.settle()
    assert stage.job("-release-e3") is not None, "an attempt is never repeated: the next epoch"
    assert stage.seen.pod is not None


def test_the_evidence_of_another_process_frees_nothing() -> None:
    """An operator that restarts begins again with an epoch of its own."""
    stage = deleted_while_lost()
    stage.settle()
    stage.end_job("-release-e2", stage.evidence("Released"))
    stage.memory = type(stage.memory)()
    assert writes(stage.run()) == ["Swap Fencing 3"]


def test_a_pod_that_does_not_say_its_epoch_is_not_freed() -> None:
    stage = deleted_while_lost()
    volumes = [v for v in stage.seen.pod["spec"]["volumes"] if v["name"] != "epoch-key"]
    stage.change(pod=merged(stage.seen.pod, {"spec": {"volumes": volumes}}))
    stage.settle()
    stage.end_job("-release-e2", stage.evidence("Released"))
    assert stage.settle().actions == ()
    assert stage.condition("Fenced")["reason"] == "OldInstanceUnproven"


def test_a_node_that_comes_back_in_time_is_believed() -> None:
    stage = deleted_while_lost()
    stage.settle()
    stage.watch = QUIET
    stage.change(pod=ended(stage.seen.pod), node=present())
    assert "Remove finalizer Pod" in writes(stage.run())
    stage.seen.stateful_set["status"]["replicas"] = 0
    stage.end_job("-release-e2", stage.evidence("Released"))
    stage.settle()
    assert stage.seen.claim["status"]["phase"] == "Idle"


def test_an_engine_in_its_grace_period_on_a_live_node_is_waited_for() -> None:
    stage = trading()
    leaving(stage)
    stage.run()
    stage.see_stateful_set()
    going = {"metadata": {"deletionTimestamp": LATER, "deletionGracePeriodSeconds": 30}}
    stage.change(pod=merged(stage.seen.pod, going))
    for _ in range(3):
        assert stage.run().actions == ()
    assert stage.seen.claim["status"]["phase"] == "Active"


def test_an_invalid_spec_does_not_keep_a_lost_bot() -> None:
    stage = deleted_while_lost()
    stage.edit({})
    assert writes(stage.run())[-1] == "Swap Fencing 2"
    stage.run()
    assert stage.job("-release-e2") is not None


@pytest.mark.parametrize("spec", [live(account=dict(STATIC)), paper()])
def test_where_nothing_can_be_fenced_the_wait_says_what_a_person_can_do(spec: dict[str, Any]) -> None:
    stage = deleted_while_lost(spec)
    plan = stage.run()
    assert plan.actions == ()
    fenced = stage.condition("Fenced")
    assert fenced["reason"] == "OldInstanceUnproven"
    assert "soloist.trade/abandon=" in fenced["message"]
    (told,) = [a for a in plan.announcements if a.reason == "OldInstanceUnproven"]
    assert told.kind == "Warning"
    assert stage.condition("Progressing")["status"] == "False"
