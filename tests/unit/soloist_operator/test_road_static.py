"""A Static account's identity is looked at again each time something of it is armed: as pure decisions on a made-up cluster."""

from __future__ import annotations

import pytest
from soloist_operator.plan import Again

from tests.unit.soloist_operator.operator_scene import STATIC, Stage, live, merged, writes

MARKER, KEY = "marker:m-1", "key:k-7"
OTHERS = "the key in its Secret is of"
BLIND = "may not list the account's keys"


def held(identity: str = MARKER) -> Stage:
    """The account is identified, its claim held, the configuration accepted: only the look is missing."""
    stage = Stage(live(account=dict(STATIC)))
    stage.settle()
    stage.identify(identity)
    stage.run()
    stage.settle()
    stage.end_job("-check-", "")
    stage.settle()
    return stage


def phase(stage: Stage) -> tuple[str, int]:
    status = stage.seen.claim["status"]
    return status["phase"], status["epoch"]


def arguments(stage: Stage) -> list[str]:
    found: list[str] = stage.job("-identify")["spec"]["template"]["spec"]["containers"][0]["args"]
    return found


@pytest.mark.parametrize(("identity", "bound"), [(MARKER, ["--bound=marker:m-1"]), (KEY, [])])
def test_nothing_is_armed_before_the_key_was_looked_at_again(identity: str, bound: list[str]) -> None:
    """The first answer is not enough: the Secret may have got another content since."""
    stage = held(identity)
    assert phase(stage) == ("Idle", 0)
    assert stage.seen.stateful_set is None
    assert stage.condition("Fenced")["reason"] == "Fencing"
    assert "--static" in arguments(stage)
    assert [given for given in arguments(stage) if given.startswith("--bound")] == bound
    stage.identify(identity)
    stage.run()
    assert phase(stage) == ("Active", 1)
    assert stage.seen.stateful_set is not None


@pytest.mark.parametrize(
    ("identity", "told", "says"),
    [
        (MARKER, "marker:of-account-b", OTHERS),
        (MARKER, "key:of-account-b", BLIND),
        (KEY, "key:of-account-b", OTHERS),
        (KEY, "marker:of-account-b", OTHERS),
    ],
)
def test_a_key_of_another_account_is_not_armed(identity: str, told: str, says: str) -> None:
    stage = held(identity)
    stage.identify(told)
    assert writes(stage.run()) == ["Delete Job demo-identify"]
    found = stage.condition("Fenced")
    assert (found["status"], found["reason"]) == ("False", "IdentityAmbiguous")
    assert says in found["message"]
    assert phase(stage) == ("Idle", 0)
    assert stage.run().outcome == Again(5.0), "and the next look waits"
    assert stage.condition("Fenced")["message"] == found["message"]
    assert stage.seen.bot["status"]["accountIdentity"] == identity, "what is bound stays bound"
    stage.now_s = 6
    stage.settle()
    stage.identify(identity)
    stage.settle()
    assert phase(stage) == ("Active", 1), "the bound account's key is back"


def test_a_key_that_may_not_list_confirms_no_marker() -> None:
    """The fence repeats the bound identity then, without having seen it."""
    stage = held()
    stage.identify(MARKER, reason="IdentityByKeyOnly", markerId="")
    stage.run()
    assert phase(stage) == ("Idle", 0)
    assert BLIND in stage.condition("Fenced")["message"]


def test_what_the_fence_says_against_the_key_is_shown() -> None:
    stage = held()
    told = {"outcome": "Failed", "reason": "IdentityAmbiguous", "message": "the venue lists none"}
    stage.identify(**told)
    stage.run()
    assert stage.condition("Fenced")["reason"] == "IdentityAmbiguous"
    assert stage.condition("Fenced")["message"] == "the venue lists none"
    assert phase(stage) == ("Idle", 0)


def test_a_look_that_another_process_ordered_counts_for_nothing() -> None:
    stage = held()
    stage.identify()
    stage.memory = type(stage.memory)()
    assert writes(stage.run()) == ["Delete Job demo-identify"]
    assert phase(stage) == ("Idle", 0)


def test_a_look_counts_for_one_epoch() -> None:
    stage = held()
    stage.identify()
    stage.settle()
    stage.make_pod()
    stage.settle()
    answered = stage.job("-identify")
    assert answered is not None
    stage.change(claim=merged(stage.seen.claim, {"status": {"phase": "Idle"}}))
    stage.settle()
    assert phase(stage) == ("Idle", 1)
    assert stage.job("-identify")["metadata"]["uid"] != answered["metadata"]["uid"]
    stage.identify()
    stage.settle()
    assert phase(stage) == ("Active", 2)


# ---------------------------------------------------------------------------------------------- the key that the engine uses


def trading(identity: str, key_id: str) -> Stage:
    stage = held(identity)
    stage.identify(identity)
    stage.settle()
    stage.make_pod()
    stage.settle()
    stage.beat(key_id=key_id)
    stage.settle()
    assert stage.condition("KeysHealthy")["reason"] == "Static"
    assert stage.seen.claim["status"]["keyId"] == key_id
    return stage


def test_an_account_known_by_its_key_says_when_the_engine_signs_with_another() -> None:
    stage = trading(KEY, "k-7")
    stage.beat(key_id="k-8")
    assert stage.run().actions == ()
    found = stage.condition("KeysHealthy")
    assert (found["status"], found["reason"]) == ("False", "IdentityAmbiguous")
    assert "k-8" in found["message"]
    assert stage.seen.claim["status"]["keyId"] == "k-7"
    stage.beat(key_id="k-8", foreign_orders=1)
    stage.run()
    assert stage.condition("KeysHealthy")["reason"] == "ForeignOrders", "what is graver is said"
    stage.beat(key_id="k-7")
    stage.run()
    assert stage.condition("KeysHealthy")["reason"] == "Static"


def test_another_key_of_a_marked_account_is_followed_once_it_was_looked_at() -> None:
    stage = trading(MARKER, "k-7")
    stage.beat(key_id="k-8")
    stage.settle()
    assert stage.condition("KeysHealthy")["status"] == "Unknown"
    assert stage.seen.claim["status"]["keyId"] == "k-7"
    stage.identify()
    stage.settle()
    assert stage.condition("KeysHealthy")["reason"] == "Static"
    assert stage.seen.claim["status"]["keyId"] == "k-8"
    stage.beat(key_id="k-9")
    stage.settle()
    assert stage.seen.claim["status"]["keyId"] == "k-8", "each new key is looked at"


def test_a_swapped_secret_is_seen_when_the_engine_signs_with_its_key() -> None:
    stage = trading(MARKER, "k-7")
    stage.beat(key_id="k-8")
    stage.settle()
    stage.identify(outcome="Failed", reason="IdentityAmbiguous", message="the venue lists none")
    plan = stage.run()
    found = stage.condition("KeysHealthy")
    assert (found["status"], found["reason"]) == ("False", "IdentityAmbiguous")
    assert "the venue lists none" in found["message"]
    assert [(a.kind, a.reason) for a in plan.announcements] == [("Warning", "IdentityAmbiguous")]
    said = stage.run()
    assert stage.condition("KeysHealthy") == found, "the same words while the next look waits"
    assert said.outcome == Again(5.0)
    assert stage.seen.claim["status"]["keyId"] == "k-7"
