"""A typo must not cost the account its safety: what was accepted last goes on, what is wrong stays reported."""

from __future__ import annotations

import json
from typing import Any

import pytest
from soloist_operator.accepted import ANNOTATION_ACCEPTED

from tests.unit.soloist_operator.operator_scene import (
    STATIC,
    Stage,
    live,
    merged,
    paper,
    writes,
)
from tests.unit.soloist_operator.test_road_takeover import (
    ADMITTED,
    QUIET,
    fenced,
    lose_the_node,
    mounted,
    trading,
)


def mistyped(**changes: Any) -> dict[str, Any]:
    spec = live(**changes)
    spec["risk"]["maxOpenOrders"] = "many"
    return spec


def account_forgotten() -> dict[str, Any]:
    spec = live()
    del spec["account"]
    return spec


def checks(stage: Stage) -> list[str]:
    return [name for job in stage.seen.jobs if "-check-" in (name := job["metadata"]["name"])]


def refusal() -> str:
    return json.dumps({"version": 1, "problems": [{"field": "strategy", "message": "edge is too small"}]})


def take_over(stage: Stage) -> None:
    """From the lost node to the engine of the next epoch: every step of the protocol, and no other spec than the old one."""
    before = stage.seen.stateful_set["spec"]["template"]
    lose_the_node(stage)
    assert "Swap Fencing 2" in writes(stage.run())
    fenced(stage)
    assert "Apply StatefulSet demo" in writes(stage.run())
    after = stage.seen.stateful_set["spec"]["template"]
    assert after["spec"]["containers"][0]["image"] == before["spec"]["containers"][0]["image"]
    assert mounted(after["spec"]) == "demo-state-1", "the lost node's volume is left behind"
    assert after["metadata"]["annotations"]["soloist.trade/epoch"] == "2"
    stage.see_stateful_set()
    assert "ForceDelete Pod demo-0" in writes(stage.run())
    assert "Remove finalizer Pod" in writes(stage.run())
    assert stage.seen.pod is None
    stage.watch = QUIET
    stage.make_pod()
    stage.settle()
    assert stage.seen.lease["metadata"]["annotations"][ADMITTED] == stage.seen.pod["metadata"]["uid"]


def configuration(stage: Stage) -> str:
    """The engine's configuration file, by what its pod mounts."""
    volumes = stage.seen.stateful_set["spec"]["template"]["spec"]["volumes"]
    name = next(v["configMap"]["name"] for v in volumes if v["name"] == "config")
    (found,) = (c for c in stage.seen.config_maps if c["metadata"]["name"] == name)
    return str(found["data"]["config.yaml"])


@pytest.mark.parametrize(
    "wrong",
    [
        mistyped(),
        mistyped(state="Runing"),
        account_forgotten(),
        live(venue="elsewhere"),
        live(
            account={
                "keyPolicy": "Managed",
                "managementKeySecretRef": {"name": "management"},
                "subaccount": 7,
            }
        ),
        {},
    ],
)
def test_an_invalid_spec_does_not_stand_in_the_way_of_a_takeover(wrong: dict[str, Any]) -> None:
    stage = trading()
    stage.edit(wrong)
    stage.settle()
    before, said = len(stage.plans), stage.condition("Ready")["reason"]
    assert said in {"InvalidSpec", "UnknownVenue"}
    take_over(stage)
    told = [c for plan in stage.plans[before:] for c in (plan.status or {})["conditions"]]
    assert {c["reason"] for c in told if c["type"] in {"Ready", "Updated"}} == {said}, "all the while"
    assert stage.run().actions == (), "and what runs is left alone again"


def test_a_refused_configuration_does_not_stand_in_the_way_of_a_takeover() -> None:
    stage = trading()
    stage.edit(live(strategy={"name": "threshold", "parameters": {"edge": 0}}))
    stage.settle()
    stage.end_job(checks(stage)[-1], refusal(), exit_code=2)
    stage.settle()
    assert stage.condition("Ready")["reason"] == "InvalidConfiguration"
    take_over(stage)
    assert stage.condition("Ready")["reason"] == "InvalidConfiguration"
    assert "edge: 3" in configuration(stage)
    assert len(checks(stage)) == 2, "the first, and one for what is refused: asked once"


def test_a_configuration_that_nobody_has_looked_at_yet_is_asked_about_and_not_waited_for() -> None:
    stage = trading()
    stage.edit(live(strategy={"name": "threshold", "parameters": {"edge": 5}}))
    take_over(stage)
    assert "edge: 3" in configuration(stage)
    stage.end_job(checks(stage)[-1], "")
    stage.settle()
    assert "edge: 5" in configuration(stage), "after the takeover it is rolled out as ever"


def test_a_halt_in_an_invalid_spec_is_kept_through_the_takeover() -> None:
    stage = trading()
    stage.edit(mistyped(state="Halted"))
    stage.settle()
    take_over(stage)
    assert stage.seen.lease["metadata"]["annotations"]["soloist.trade/desired-state"] == "Halted"


def test_a_mistyped_state_lifts_no_halt() -> None:
    stage = trading(live(state="Halted"))
    stage.edit(live(state="Haltet"))
    take_over(stage)
    assert stage.seen.lease["metadata"]["annotations"]["soloist.trade/desired-state"] == "Halted"


def test_a_static_pod_that_a_person_gave_up_is_replaced_whatever_the_spec_says() -> None:
    stage = trading(live(account=dict(STATIC)))
    wrong = mistyped(account=dict(STATIC))
    stage.edit(wrong)
    lose_the_node(stage)
    stage.settle()
    uid = stage.seen.pod["metadata"]["uid"]
    said = {"metadata": {"annotations": {"soloist.trade/acknowledge-unproven": uid}}}
    stage.change(bot=merged(stage.seen.bot, said))
    found = [write for _ in range(3) for write in writes(stage.run())]
    assert "ForceDelete Pod demo-0" not in found, (
        "first the template: the next engine must not share the volume"
    )
    stage.see_stateful_set()
    assert "ForceDelete Pod demo-0" in writes(stage.run())


def test_without_a_spec_that_was_ever_accepted_nothing_can_go_on() -> None:
    """A StatefulSet of an operator that noted none, say: it waits for the correction, as it says."""
    stage = trading()
    annotations = {ANNOTATION_ACCEPTED: None}
    stage.change(stateful_set=merged(stage.seen.stateful_set, {"metadata": {"annotations": annotations}}))
    stage.edit(mistyped())
    lose_the_node(stage)
    assert stage.settle().actions == ()
    assert stage.seen.claim["status"]["epoch"] == 1


def test_what_is_noted_is_no_reason_to_replace_a_pod() -> None:
    stage = trading()
    before = stage.seen.stateful_set["spec"]
    stage.edit(live(disruption={"policy": "Block"}))
    stage.settle()
    assert stage.seen.stateful_set["spec"] == before
    noted = json.loads(stage.seen.stateful_set["metadata"]["annotations"][ANNOTATION_ACCEPTED])
    assert noted["disruption"]["policy"] == "Block"
    assert "state" not in noted
    assert "image" not in noted


def test_a_spec_that_no_annotation_can_hold_is_run_all_the_same() -> None:
    strategy = {"name": "threshold", "parameters": {"edge": 3, "note": "x" * 300_000}}
    stage = Stage(paper(strategy=strategy))
    stage.bring_up()
    assert ANNOTATION_ACCEPTED not in stage.seen.stateful_set["metadata"]["annotations"]


def test_a_bot_without_an_account_notes_its_spec_too() -> None:
    stage = Stage(paper())
    stage.bring_up()
    assert ANNOTATION_ACCEPTED in stage.seen.stateful_set["metadata"]["annotations"]
