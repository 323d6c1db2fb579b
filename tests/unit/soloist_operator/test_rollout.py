"""A template that fails is taken back, by the road that every replacement takes; what nobody asked for waits for its turn."""

from __future__ import annotations

import dataclasses
import hashlib
from typing import Any

import pytest
from soloist_operator import rollout
from soloist_operator.api.tradingbot import TradingBotSpec
from soloist_operator.conditions import no, yes
from soloist_operator.death import NodeSight, Sight
from soloist_operator.heartbeat import Heartbeat
from soloist_operator.observe import Elsewhere
from soloist_operator.plan import Again
from soloist_operator.queue import Key
from soloist_operator.rollout import BUDGET_S, HELD, SPACING_S, TURN_S, Trials, Turns

from tests.unit.soloist_operator import operator_scene
from tests.unit.soloist_operator.operator_scene import (
    EARLIER,
    SETTINGS,
    Stage,
    ended,
    live,
    merged,
    node,
    observed,
    paper,
    present,
    record,
    running_pod,
    writes,
)

GOOD, BAD, NEXT = "trader:1", "trader:bad", "trader:next"


class Rollouts(Stage):
    """A stage with a budget, turns, and settings that an operator's upgrade changes."""

    trial_s = 0.0
    turn = False
    settings = SETTINGS

    def context(self) -> Any:
        return dataclasses.replace(
            super().context(), trial_s=self.trial_s, turn=self.turn, settings=self.settings
        )

    def default_image(self, reference: str) -> None:
        images = self.settings.images.model_copy(update={"trader": reference})
        self.settings = self.settings.model_copy(update={"images": images})

    def check_passes(self) -> None:
        self.settle()
        last = [j["metadata"]["name"] for j in self.seen.jobs if "-check-" in j["metadata"]["name"]][-1]
        self.end_job(last, "")
        self.settle()
        self.see_stateful_set()

    def dies(self) -> None:
        """The kubelet ends the pod in order, the operator releases its name, the controller makes the next one."""
        assert self.seen.pod["metadata"].get("deletionTimestamp"), "nobody asked it to stop"
        self.change(pod=ended(self.seen.pod), node=present())
        self.settle()
        assert self.seen.pod is None
        self.make_pod()
        self.heartbeat = Heartbeat()

    def image(self) -> str:
        """The image that the next pod gets; whichever way it came there, what the engine is told goes with it."""
        pod = self.seen.stateful_set["spec"]["template"]["spec"]
        (container,) = pod["containers"]
        told = {one["name"]: one.get("value") for one in container["env"]}
        mounted = next(v["configMap"]["name"] for v in pod["volumes"] if v["name"] == "config")
        (file,) = [
            c["data"]["config.yaml"] for c in self.seen.config_maps if c["metadata"]["name"] == mounted
        ]
        assert told["SOLOIST_IMAGE"] == container["image"]
        assert told["SOLOIST_APPROVED_CONFIGURATION_SHA256"] == hashlib.sha256(file.encode()).hexdigest()
        return container["image"]

    def volumes(self) -> list[dict[str, Any]]:
        return self.seen.stateful_set["spec"]["template"]["spec"]["volumes"]


def trading(**changes: Any) -> Rollouts:
    stage = Rollouts(live(image={"repository": "trader", "tag": "1"}, **changes))
    stage.bring_up()
    return stage


def broken(stage: Rollouts | None = None, **changes: Any) -> Rollouts:
    """A new image passed its check, replaced the pod, and its engine does not get ready."""
    stage = stage or trading()
    stage.edit(live(image={"repository": "trader", "tag": "bad"}, **changes))
    stage.check_passes()
    stage.run()
    stage.dies()
    stage.settle()
    assert stage.image() == BAD
    return stage


def given_up(stage: Rollouts) -> None:
    """The budget is used up; the controller has seen the template that was put back."""
    stage.trial_s = BUDGET_S
    stage.run()
    stage.settle()
    stage.see_stateful_set()


def over_budget() -> Rollouts:
    stage = broken()
    stage.trial_s = BUDGET_S
    return stage


# ---------------------------------------------------------------------------------------------- the way back


def test_within_its_budget_a_new_template_is_given_time() -> None:
    stage = broken()
    stage.trial_s = BUDGET_S - 1
    plan = stage.run()
    assert plan.actions == ()
    assert plan.outcome == Again(1.0), "looked at when the budget is used up, not before"
    assert stage.condition("Updated")["status"] == "True"


def test_a_template_that_does_not_come_up_is_taken_back() -> None:
    stage = over_budget()
    uid = stage.seen.pod["metadata"]["uid"]
    plan = stage.run()
    assert plan.actions == (), "what is refused is on record before anything is written"
    assert stage.condition("Updated")["reason"] == "RolledBack"
    stage.settle()
    assert stage.image() == GOOD
    assert not stage.seen.pod["metadata"].get("deletionTimestamp"), "the controller has not looked yet"
    stage.see_stateful_set()
    assert writes(stage.run()) == ["Delete Pod demo-0"], "a way back is a stop in order, never by force"
    assert stage.run().actions == (), "and waits for its proof"
    assert stage.condition("Updated")["reason"] == "RolledBack", "on the whole way back"
    stage.dies()
    stage.trial_s = 0.0
    stage.beat()
    stage.settle()
    assert stage.seen.pod["metadata"]["uid"] != uid
    found = stage.condition("Updated")
    assert (found["status"], found["reason"]) == ("False", "RolledBack")
    assert BAD in found["message"]
    assert "Change image" in found["message"]
    assert stage.condition("Ready")["reason"] == "RolledBack"
    assert stage.condition("EngineReady")["status"] == "True"
    assert stage.condition("Progressing")["status"] == "False"
    assert stage.seen.claim["status"]["epoch"] == 1


def test_a_broken_pod_that_nobody_can_prove_dead_keeps_its_name() -> None:
    """The way back is no short cut: no force, no finalizer off, however broken the new image is."""
    stage = broken()
    given_up(stage)
    stage.run()
    assert stage.seen.pod["metadata"]["deletionTimestamp"]
    stage.change(
        pod=merged(stage.seen.pod, {"metadata": {"deletionTimestamp": EARLIER}}), node=NodeSight(Sight.ABSENT)
    )
    for _ in range(5):
        assert stage.run().actions == ()
    assert stage.condition("Fenced")["reason"] == "OldInstanceUnproven"


def test_the_same_template_is_not_tried_twice_and_another_is() -> None:
    stage = broken()
    given_up(stage)
    stage.run()
    stage.dies()
    stage.beat()
    stage.settle()
    stage.trial_s = BUDGET_S
    for _ in range(3):
        assert stage.run().actions == ()
    stage.edit(live(image={"repository": "trader", "tag": "next"}))
    stage.check_passes()
    stage.run()
    stage.dies()
    stage.trial_s = 0.0
    stage.beat()
    stage.settle()
    assert stage.image() == NEXT
    assert stage.condition("Updated")["reason"] == "Current"
    assert "refused" not in stage.seen.bot["status"]["rollout"], "a person may ask for the first one again"


def test_a_halt_and_a_stop_arrive_whatever_was_refused() -> None:
    stage = over_budget()
    stage.settle()
    stage.edit(live(image={"repository": "trader", "tag": "bad"}, state="Halted"))
    stage.settle()
    assert stage.seen.lease["metadata"]["annotations"]["soloist.trade/desired-state"] == "Halted"
    assert stage.image() == GOOD
    stage.edit(live(image={"repository": "trader", "tag": "bad"}, state="Stopped"))
    stage.settle()
    assert stage.seen.stateful_set["spec"]["replicas"] == 0


def test_settings_go_back_with_the_image() -> None:
    stage = trading()
    stage = broken(stage, risk={**live()["risk"], "maxOpenOrders": 7})
    before = {v["name"]: v for v in stage.volumes()}["config"]
    given_up(stage)
    assert {v["name"]: v for v in stage.volumes()}["config"] != before
    assert stage.image() == GOOD


def test_an_operator_that_restarts_in_the_middle_goes_on() -> None:
    """Everything that decides is in the status: the next process never saw the trial."""
    stage = over_budget()
    stage.run()
    stage.trial_s = 0.0
    stage.settle()
    assert stage.image() == GOOD


def test_the_way_back_asks_nobody_for_approval() -> None:
    stage = trading(update={"policy": "Manual"})
    stage.edit(live(image={"repository": "trader", "tag": "bad"}, update={"policy": "Manual"}))
    stage.check_passes()
    stage.run()
    assert stage.condition("Updated")["reason"] == "WaitingForApproval"
    revision = stage.seen.stateful_set["status"]["updateRevision"]
    metadata = {"metadata": {"annotations": {"soloist.trade/approve-update": revision}}}
    stage.change(bot=merged(stage.seen.bot, metadata))
    stage.run()
    stage.dies()
    stage.settle()
    given_up(stage)
    assert writes(stage.run()) == ["Delete Pod demo-0"]


def test_the_first_template_has_nothing_to_go_back_to() -> None:
    stage = Rollouts(live())
    stage.identified()
    stage.end_job("-check-", "")
    stage.settle()
    stage.end_job("-fence-", stage.evidence())
    stage.settle()
    stage.make_pod()
    stage.settle()
    stage.trial_s = BUDGET_S * 10
    assert stage.run().actions == ()
    assert stage.condition("Updated")["status"] == "True"
    assert "rollout" not in stage.seen.bot["status"]


def test_a_good_engine_that_falls_ill_later_is_no_reason_to_go_back() -> None:
    stage = trading()
    stage.beat(ready=False, reason="Comparing")
    stage.trial_s = BUDGET_S * 10
    assert stage.run().actions == ()
    assert "refused" not in stage.seen.bot["status"]["rollout"]


def test_a_template_that_its_controller_has_not_seen_is_not_called_good() -> None:
    """The old pod is ready; that says nothing about the template it does not come from."""
    stage = trading()
    stage.edit(live(image={"repository": "trader", "tag": "bad"}))
    stage.settle()
    stage.end_job([j["metadata"]["name"] for j in stage.seen.jobs][-1], "")
    stage.settle()
    stage.seen.stateful_set["metadata"]["generation"] = "newer"
    stage.run()
    assert rollout.remembered(stage.seen.bot).good.image == GOOD


def test_a_memory_that_nobody_understands_is_no_memory() -> None:
    for shown in ({}, {"good": "nonsense"}, {"good": "[]"}, {"good": "{}"}, {"refused": "x"}):
        assert rollout.remembered({"status": {"rollout": shown}}) == rollout.Memory()


def test_what_was_good_once_and_is_no_longer_allowed_is_not_put_back() -> None:
    stage = trading()
    memory = rollout.remembered(stage.seen.bot)
    old = dataclasses.replace(memory.good, asked={**memory.good.asked, "leverage": 100})
    bad = TradingBotSpec.model_validate(live(image={"repository": "trader", "tag": "bad"}))
    asked = rollout.template_of(bad, SETTINGS)
    shown = dataclasses.replace(memory, good=old, refused=asked.fingerprint, why="it failed").shown()
    chosen = rollout.choose({"metadata": {}, "status": {"rollout": shown}}, bad, SETTINGS, turn=False)
    assert (chosen.back, chosen.template) == ("", asked)


def test_every_field_of_the_spec_is_either_the_templates_or_not() -> None:
    """A new field has to be thought about: does it go back with the image?"""
    fields = {field.alias or name for name, field in TradingBotSpec.model_fields.items()}
    others = {"mode", "state", "venue", "account", "update", "disruption", "storage", "network"}
    assert fields == rollout.TEMPLATE_FIELDS | others
    assert not rollout.TEMPLATE_FIELDS & others


# ---------------------------------------------------------------------------------------------- the budget


UP = running_pod()


@pytest.mark.parametrize(
    ("pod", "heartbeat", "expected"),
    [
        pytest.param(None, Heartbeat(), 0.0, id="no pod"),
        pytest.param(operator_scene.pod(), Heartbeat(), 0.0, id="stopping"),
        pytest.param(merged(UP, {"status": {"phase": "Failed"}}), Heartbeat(), 0.0, id="ended"),
        pytest.param(UP, Heartbeat(), 1.0, id="never spoke"),
        pytest.param(UP, Heartbeat(record(pod_uid="another"), silent=False), 1.0, id="its predecessor spoke"),
        pytest.param(UP, Heartbeat(record(), silent=True), 1.0, id="fell silent"),
        pytest.param(UP, Heartbeat(record(), silent=False), 0.0, id="ready"),
        pytest.param(UP, Heartbeat(record(ready=False, reason="Comparing"), silent=False), 1.0, id="not ready"),
        *(
            pytest.param(UP, Heartbeat(record(ready=False, reason=why), silent=False), 0.0, id=why)
            for why in sorted(HELD)
        ),
        *(
            pytest.param(UP, Heartbeat(record(ready=False, reason=why), silent=False), 0.2, id=why)
            for why in ("DataStale", "Reading", "WaitingForReadModel")
        ),
    ],
)  # fmt: skip
def test_what_uses_up_the_budget(pod: Any, heartbeat: Heartbeat, *, expected: float) -> None:
    assert rollout.share(observed(paper(), pod=pod), heartbeat) == expected


KEY, OTHER = Key("bots", "demo"), Key("bots", "other")


def test_a_trial_counts_only_what_was_seen_of_this_pod() -> None:
    trials = Trials()
    assert trials.seen(KEY, "a", 100.0, share=1.0) == 0.0
    assert trials.seen(KEY, "a", 110.0, share=1.0) == 10.0
    assert trials.seen(KEY, "a", 115.0, share=0.0) == 10.0, "it waits for the venue"
    assert trials.seen(KEY, "a", 120.0, share=1.0) == 15.0
    assert trials.seen(KEY, "a", 1000.0, share=1.0) == 35.0, "this process slept, not the engine"
    assert trials.seen(KEY, "b", 1001.0, share=1.0) == 0.0, "another pod"
    trials.forget(KEY)
    assert trials.seen(KEY, "b", 1002.0, share=1.0) == 0.0


def test_an_engine_that_reads_for_ever_is_taken_back_in_the_end() -> None:
    """A configuration that is accepted and with which the engine never gets through its reading: nobody else would undo it."""
    trials, now_s = Trials(), 0.0
    reading = Heartbeat(record(ready=False, reason="Reading"), silent=False)
    share = rollout.share(observed(paper(), pod=UP), reading)
    stage = broken()
    spec = TradingBotSpec.model_validate(stage.seen.bot["spec"])
    chosen = rollout.choose(stage.seen.bot, spec, SETTINGS, turn=False)
    engine = no("Reading", "not reconciled with the venue yet")
    while not (judged := rollout.judge(chosen, engine, trials.seen(KEY, "a", now_s, share=share))).refused:
        assert now_s < 700, "it would stay there for ever"
        now_s += 10
    assert 590 <= now_s <= 610, "an outage of the venue of some minutes is not blamed on the template"
    assert "within 600 s (Reading: " in judged.memory.why


def test_engines_are_judged_by_their_readiness_alone() -> None:
    stage = broken()
    spec = TradingBotSpec.model_validate(stage.seen.bot["spec"])
    chosen = rollout.choose(stage.seen.bot, spec, SETTINGS, turn=False)
    assert rollout.judge(chosen, yes("Reconciled", ""), BUDGET_S * 2).memory.good.image == BAD
    assert not rollout.judge(chosen, no("Starting", ""), BUDGET_S - 1).refused
    assert rollout.judge(chosen, no("Starting", ""), BUDGET_S).refused


# ---------------------------------------------------------------------------------------------- nobody asked for it


def with_default_image(**changes: Any) -> Rollouts:
    stage = Rollouts(live(**changes))
    stage.bring_up()
    stage.default_image("registry:5000/trader:2")
    return stage


def test_an_operators_upgrade_alone_changes_no_template() -> None:
    stage = with_default_image()
    stateful_set = stage.seen.stateful_set
    plan = stage.run()
    assert plan.actions == ()
    assert plan.outcome == Again(rollout.TURN_LOOK_S)
    assert stage.seen.stateful_set is stateful_set
    assert stage.condition("Updated")["reason"] == "WaitingForTurn"
    assert stage.condition("Ready")["status"] == "True", "what runs is good"
    assert stage.seen.bot["status"]["resolved"]["image"] == "registry:5000/trader:1"
    assert rollout.unasked(stage.seen, stage.settings)


def test_when_it_is_its_turn_it_takes_the_new_default() -> None:
    stage = with_default_image()
    stage.turn = True
    stage.check_passes()
    assert stage.image() == "registry:5000/trader:2"
    assert writes(stage.run()) == ["Delete Pod demo-0"]
    stage.dies()
    assert rollout.unasked(stage.seen, stage.settings), "its turn lasts until it is ready"
    stage.beat()
    stage.settle()
    assert stage.condition("Updated")["reason"] == "Current"
    assert not rollout.unasked(stage.seen, stage.settings)


def test_what_was_begun_in_its_turn_goes_on_when_the_turn_is_over() -> None:
    """The turn ran out, or another operator process knows of none: the old image does not come back for that."""
    stage = with_default_image()
    stage.turn = True
    stage.check_passes()
    stage.run()
    stage.dies()
    stage.turn = False
    stage.settle()
    assert stage.image() == "registry:5000/trader:2"


def test_a_default_that_fails_is_taken_back_and_not_waited_for_again() -> None:
    stage = with_default_image()
    stage.turn = True
    stage.check_passes()
    stage.run()
    stage.dies()
    given_up(stage)
    stage.turn, stage.trial_s = False, 0.0
    stage.run()
    stage.dies()
    stage.beat()
    stage.settle()
    assert stage.image() == "registry:5000/trader:1"
    assert stage.condition("Updated")["reason"] == "RolledBack"
    assert not rollout.unasked(stage.seen, stage.settings)


def test_an_edit_does_not_bring_the_new_default_along() -> None:
    stage = with_default_image()
    stage.edit(live(podAnnotations={"note": "1"}))
    stage.settle()
    assert stage.image() == "registry:5000/trader:1"
    assert stage.seen.stateful_set["spec"]["template"]["metadata"]["annotations"]["note"] == "1"


def test_manual_takes_the_new_default_when_a_person_says_so() -> None:
    manual = {"policy": "Manual"}
    stage = with_default_image(update=manual)
    stage.turn = True
    assert stage.run().actions == ()
    found = stage.condition("Updated")
    assert found["reason"] == "WaitingForApproval"
    word = found["message"].rsplit("=", 1)[1]
    stage.change(
        bot=merged(stage.seen.bot, {"metadata": {"annotations": {"soloist.trade/approve-update": word}}})
    )
    stage.check_passes()
    assert writes(stage.run()) == ["Delete Pod demo-0"], "one word is enough"
    assert not rollout.unasked(stage.seen, stage.settings), "a person spaces these"


def test_a_stopped_bot_has_nothing_to_wait_for() -> None:
    stage = with_default_image(state="Running")
    stage.edit(live(state="Stopped"))
    stage.check_passes()
    assert stage.image() == "registry:5000/trader:2"


def test_a_template_of_another_operator_waits_for_its_turn_too() -> None:
    stage = Rollouts(live())
    stage.bring_up()
    older = merged(stage.seen.pod, {"metadata": {"labels": {"controller-revision-hash": "older"}}})
    stage.change(pod=older)
    assert stage.run().actions == ()
    assert stage.condition("Updated")["reason"] == "WaitingForTurn"
    assert rollout.unasked(stage.seen, stage.settings)
    stage.turn = True
    assert writes(stage.run()) == ["Delete Pod demo-0"]


def test_an_engine_that_is_not_ready_has_nothing_to_lose() -> None:
    stage = Rollouts(live())
    stage.bring_up()
    older = merged(stage.seen.pod, {"metadata": {"labels": {"controller-revision-hash": "older"}}})
    stage.change(pod=older)
    stage.heartbeat = Heartbeat()
    assert writes(stage.run()) == ["Delete Pod demo-0"]


def test_a_new_epoch_waits_for_nobody() -> None:
    stage = Rollouts(live())
    stage.bring_up()
    changes = {"labels": {"controller-revision-hash": "older"}, "annotations": {"soloist.trade/epoch": "0"}}
    stage.change(pod=merged(stage.seen.pod, {"metadata": changes}))
    assert not rollout.reshaped(stage.seen)
    assert "Delete Pod demo-0" in writes(stage.run())


def test_one_turn_at_a_time_and_a_pause_between() -> None:
    turns = Turns()
    assert turns.take(KEY, 0.0, wanted=True)
    assert not turns.take(OTHER, 1.0, wanted=True)
    assert turns.take(KEY, 2.0, wanted=True)
    assert not turns.take(KEY, 3.0, wanted=False)
    assert not turns.take(OTHER, 3.0 + SPACING_S - 1, wanted=True)
    assert turns.take(OTHER, 3.0 + SPACING_S, wanted=True)
    assert not turns.take(KEY, 3.0 + SPACING_S + TURN_S - 1, wanted=True)
    assert turns.take(KEY, 3.0 + SPACING_S + TURN_S, wanted=True), (
        "one that never gets ready stops nobody for ever"
    )


# ---------------------------------------------------------------------------------------------- a cordoned node

HOME = {"spec": {"unschedulable": True}}
AWAY = node(metadata={"name": "node-2"})


def cordoned(stage: Rollouts, *, volume: Any = None) -> Rollouts:
    stage.change(
        node=NodeSight(Sight.PRESENT, node(**HOME)), elsewhere=Elsewhere((node(**HOME), AWAY), volume)
    )
    return stage


LOCAL = {
    "spec": {
        "nodeAffinity": {
            "required": {
                "nodeSelectorTerms": [
                    {"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["node-1"]}]}
                ]
            }
        }
    }
}


def test_a_bot_on_a_cordoned_node_is_stopped_in_order_and_starts_after_the_proof() -> None:
    stage = cordoned(trading())
    assert writes(stage.run()) == ["Delete Pod demo-0"]
    stage.change(elsewhere=None)
    assert stage.run().actions == (), "nothing starts before the proof"
    assert stage.seen.pod is not None
    assert "kubernetes" not in str(stage.seen.pod["metadata"]["finalizers"])
    stage.dies()
    stage.beat()
    stage.settle()
    assert stage.seen.claim["status"]["epoch"] == 1, "a proven stop needs no new epoch"
    assert stage.condition("Ready")["status"] == "True"


def test_a_local_volume_is_left_for_a_fresh_one() -> None:
    stage = cordoned(trading(), volume=LOCAL)
    found = writes(stage.run())
    assert found == ["Apply PersistentVolumeClaim demo-state-1", "Apply StatefulSet demo"]
    assert stage.run().actions == (), "the controller has not looked yet"
    stage.see_stateful_set()
    assert writes(stage.run()) == ["Delete Pod demo-0"]
    stage.change(elsewhere=None)
    stage.dies()
    stage.beat()
    stage.settle()
    assert stage.seen.bot["status"]["resolved"]["stateGeneration"] == "1"
    assert len(stage.seen.volume_claims) == 2, "the old one is kept for a person"


def test_a_bot_that_stays_says_why_and_is_asked_again() -> None:
    stage = trading(storage={"whenUnreachable": "Wait"})
    cordoned(stage, volume=LOCAL)
    plan = stage.run()
    assert plan.actions == ()
    assert plan.outcome == Again(15.0)
    assert [a.reason for a in plan.announcements] == ["DrainWaiting"]
    assert stage.condition("Protected")["reason"] == "DrainWaiting"
    assert stage.condition("Ready")["status"] == "True"


def test_moving_asks_nobody_for_approval() -> None:
    stage = trading(update={"policy": "Manual"})
    cordoned(stage, volume=LOCAL)
    stage.run()
    stage.see_stateful_set()
    assert writes(stage.run()) == ["Delete Pod demo-0"]
