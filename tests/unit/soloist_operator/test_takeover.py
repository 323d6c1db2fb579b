"""When a takeover is due: one row per observation, with what was really there; and what holds a due one back."""

from __future__ import annotations

import json

import pytest
from soloist_operator.heartbeat import Heartbeats
from soloist_operator.queue import Key
from soloist_operator.sightings import UNHEARD_S, ApiHealth, NodeLeases, Overruns
from soloist_operator.takeover import (
    AT_ONCE,
    Cause,
    Crowd,
    Due,
    Node,
    Pod,
    Sighting,
    Wait,
    held_back,
    takeover_due,
)

NOW = "2026-01-02T03:04:05Z"
RUNNING, STOPPING, OVERRUN = Pod.RUNNING, Pod.STOPPING, Pod.OVERRUN


ROWS: dict[str, tuple[Sighting, Cause | float | None]] = {
    # what was there: what is seen of it, and the cause, the seconds to wait, or None
    "no pod, none missing": (Sighting(Pod.NONE, engine_silent_s=None), None),
    "a healthy engine": (Sighting(RUNNING), None),
    "a renewal late by two beats": (Sighting(RUNNING, engine_silent_s=14.9, node_silent_s=14.9), None),
    "node partitioned from the API server": (Sighting(RUNNING, engine_silent_s=16, node_silent_s=15), Cause.NODE_SILENT),
    "power lost": (Sighting(RUNNING, engine_silent_s=300, node_silent_s=300), Cause.NODE_SILENT),
    "power lost, the node controller already evicts": (
        Sighting(STOPPING, engine_silent_s=60, node_silent_s=60),
        Cause.NODE_SILENT,
    ),
    "power lost while the engine still started": (
        Sighting(RUNNING, engine_silent_s=None, engine_started=False, node_silent_s=20),
        Cause.NODE_SILENT,
    ),
    "kubelet frozen, the engine trades on": (Sighting(RUNNING, engine_silent_s=2, node_silent_s=60), None),
    "engine silent, its node was heard 5 s ago": (Sighting(RUNNING, engine_silent_s=15, node_silent_s=5), 10.0),
    "engine hung, liveness is about to end it": (Sighting(RUNNING, engine_silent_s=20, node_silent_s=1), 10.0),
    "engine hung, nothing ends it": (Sighting(RUNNING, engine_silent_s=30, node_silent_s=1), Cause.ENGINE_HUNG),
    "engine cut off the API server, its node is not": (
        Sighting(RUNNING, engine_silent_s=31, node_silent_s=9),
        Cause.ENGINE_HUNG,
    ),
    "crash loop": (Sighting(RUNNING, engine_silent_s=200, engine_started=False, node_silent_s=3), 12.0),
    "an image that takes minutes to pull": (
        Sighting(RUNNING, engine_silent_s=None, engine_started=False, node_silent_s=3),
        None,
    ),
    "no node takes the pod": (Sighting(RUNNING, Node.UNASSIGNED, engine_silent_s=None, node_silent_s=None), None),
    "stopping in order": (Sighting(STOPPING, engine_silent_s=1), None),
    "stopped in order, the kubelet is tidying": (Sighting(STOPPING, engine_silent_s=16, node_silent_s=8), 7.0),
    "grace over a moment ago": (Sighting(OVERRUN, engine_silent_s=30, node_silent_s=4, overrun_s=1), 11.0),
    "kubelet cannot end the pod": (Sighting(OVERRUN, node_silent_s=4, overrun_s=15), Cause.POD_STUCK),
    "force delete on a partitioned node": (Sighting(OVERRUN, engine_silent_s=16, node_silent_s=16), Cause.NODE_SILENT),
    "force delete, kubelet frozen, the engine trades on": (
        Sighting(OVERRUN, engine_silent_s=1, node_silent_s=16),
        Cause.NODE_SILENT,
    ),
    "Node object deleted, PodGC deleted the pod": (Sighting(OVERRUN, Node.ABSENT, node_silent_s=None), Cause.NODE_GONE),
    "Node object deleted, PodGC has not yet looked": (
        Sighting(RUNNING, Node.ABSENT, engine_silent_s=15, node_silent_s=None),
        Cause.NODE_GONE,
    ),
    "Node object deleted, the engine trades on": (Sighting(RUNNING, Node.ABSENT, node_silent_s=None), None),
    "out-of-service taint on a live node": (Sighting(OVERRUN, Node.OUT_OF_SERVICE), Cause.NODE_OUT_OF_SERVICE),
    "finalizer stripped, pod gone": (Sighting(Pod.GONE, api_healthy_s=0), Cause.POD_GONE),
    "finalizer stripped, pod made again": (Sighting(Pod.REPLACED, api_healthy_s=0), Cause.POD_REPLACED),
    "API server just came back": (
        Sighting(RUNNING, engine_silent_s=120, node_silent_s=120, api_healthy_s=3),
        12.0,
    ),
    "the operator was paused itself": (
        Sighting(OVERRUN, engine_silent_s=60, node_silent_s=60, overrun_s=60, api_healthy_s=0),
        15.0,
    ),
    "no right to read nodes": (Sighting(RUNNING, Node.UNSEEN, engine_silent_s=60, node_silent_s=60), 5.0),
    "a node without a Lease": (Sighting(RUNNING, engine_silent_s=20, node_silent_s=None), 10.0),
}  # fmt: skip


@pytest.mark.parametrize("case", ROWS)
def test_when_a_takeover_is_due(case: str) -> None:
    seen, wanted = ROWS[case]
    judged = takeover_due(seen)
    match judged:
        case Due(cause):
            assert cause == wanted
        case Wait(why, after_s):
            assert after_s == pytest.approx(wanted)
            assert why
        case None:
            assert wanted is None


def line(seconds_ago: int, reason: str = "NodeSilent", outcome: str = "Active") -> dict[str, object]:
    minutes, seconds = divmod(3 * 3600 + 4 * 60 + 5 - seconds_ago, 60)
    time = f"2026-01-02T{minutes // 60:02d}:{minutes % 60:02d}:{seconds:02d}Z"
    return {"epoch": 1, "time": time, "outcome": outcome, "reason": reason, "holder": ""}


@pytest.mark.parametrize(
    ("history", "crowd", "stopped", "reason"),
    [
        ([], Crowd(1, 1, 0), False, None),
        ([line(29)], Crowd(), False, "TakeoverWaiting"),
        ([line(31)], Crowd(), False, None),
        ([line(31), line(59)], Crowd(), False, "TakeoverWaiting"),
        ([line(61), line(200)], Crowd(), False, None),
        ([line(100), line(300), line(599)], Crowd(), False, "TakeoverStopped"),
        ([line(100), line(300), line(601)], Crowd(), False, None),
        ([line(1, "FirstArm"), line(2, "AfterRestore"), line(3, outcome="Failed")], Crowd(), False, None),
        ([], Crowd(), True, "TakeoverStopped"),
        ([], Crowd(5, 3, 0), False, None),
        ([], Crowd(19, 4, 0), False, "TakeoverWaiting"),
        ([], Crowd(20, 4, 0), False, None),
        ([], Crowd(1000, 201, 0), False, "TakeoverWaiting"),
        ([], Crowd(1000, 200, AT_ONCE), False, "TakeoverWaiting"),
        ([], Crowd(1000, 200, AT_ONCE - 1), False, None),
    ],
)
def test_what_holds_a_due_takeover_back(history, crowd: Crowd, stopped: bool, reason: str | None) -> None:
    held = held_back(history, NOW, crowd, stopped=stopped)
    assert (held and held.reason) == reason


# ---------------------------------------------------------------------------------------------- sightings


def node_lease(name: str, renewed: int) -> dict[str, object]:
    return {"metadata": {"name": name}, "spec": {"renewTime": f"2026-01-01T00:00:{renewed:02d}Z"}}


def test_a_nodes_silence_is_timed_by_our_own_clock() -> None:
    nodes = NodeLeases()
    nodes.listed([node_lease("a", 0), node_lease("b", 0)], 100)
    nodes.listed([node_lease("a", 1), node_lease("b", 0)], 110)
    assert (nodes.silent_s("a", 114), nodes.silent_s("b", 114)) == (4, 14)
    assert nodes.newly_silent(114) == ()
    assert nodes.newly_silent(115) == ("b",)
    assert nodes.newly_silent(116) == (), "told once"
    assert nodes.silent(116) == ("b",)
    nodes.note("b", node_lease("b", 1), 117)
    assert nodes.silent(117) == ()
    assert nodes.newly_silent(140) == ("a", "b"), "told again after its return"


def test_a_node_that_left_is_not_silent_but_unknown() -> None:
    nodes = NodeLeases()
    nodes.listed([node_lease("a", 0)], 0)
    nodes.listed([], 1)
    assert nodes.silent_s("a", 100) is None
    nodes.note("a", node_lease("a", 0), 2)
    nodes.note("a", None, 3)
    assert nodes.silent_s("a", 100) is None


def test_the_api_server_is_healthy_while_it_answers_and_takes_writes() -> None:
    api = ApiHealth()
    assert api.healthy_s(0) == 0
    for second in (0, 5, 10):
        api.answered(second, writes_seen=True)
    assert api.healthy_s(12) == 12
    api.failed()
    assert api.healthy_s(13) == 0
    api.answered(15, writes_seen=True)
    assert api.healthy_s(16) == 1
    api.answered(20, writes_seen=False)
    assert api.healthy_s(20) == 0, "it answers, and nobody's heartbeat is written"


def test_a_pause_of_our_own_is_not_health() -> None:
    api = ApiHealth()
    api.answered(0, writes_seen=True)
    assert api.healthy_s(UNHEARD_S + 1) == 0
    api.answered(60, writes_seen=True)
    assert api.healthy_s(61) == 1


def test_an_overrun_counts_from_when_we_first_saw_it() -> None:
    overruns = Overruns()
    assert overruns.seen("uid", 10, overrun=True) == 0
    assert overruns.seen("uid", 25, overrun=True) == 15
    assert overruns.seen("uid", 26, overrun=False) == 0
    assert overruns.seen("uid", 30, overrun=True) == 0


# ---------------------------------------------------------------------------------------------- heartbeats

KEY = Key("bots", "demo")


def engine_lease(pod_uid: str, renewed: int, *, admitted: str = "new", epoch: int = 2) -> dict[str, object]:
    told = {"podUid": pod_uid, "epoch": epoch, "incarnation": "1", "state": "ACTIVE", "ready": True}
    return {
        "metadata": {
            "annotations": {
                "soloist.trade/engine": json.dumps(told),
                "soloist.trade/admitted-pod-uid": admitted,
            }
        },
        "spec": {"holderIdentity": f"{pod_uid}/1", "renewTime": f"2026-01-01T00:00:{renewed:02d}Z"},
    }


def test_a_thawed_engine_does_not_renew_for_the_admitted_one() -> None:
    beats = Heartbeats()
    beats.note(KEY, engine_lease("new", 0), 0)
    for second in range(1, 40):
        assert not beats.note(KEY, engine_lease("zombie", second, epoch=1), second)
    seen = beats.view(KEY, 40)
    assert seen.silent
    assert seen.silent_s == 40
    assert seen.record is not None
    assert seen.record.pod_uid == "new"


def test_a_silent_node_wakes_its_bots_and_a_crowd_is_counted() -> None:
    beats = Heartbeats()
    for count, node in enumerate(("a", "a", "b", None)):
        key = Key("bots", f"bot-{count}")
        beats.note(key, engine_lease("new", 0), 0.0)
        beats.place(key, node)
    beats.note(Key("bots", "bot-2"), engine_lease("new", 1), 20.0)
    assert [key.name for key in beats.on_nodes(("a",))] == ["bot-0", "bot-1"]
    assert beats.crowd(20.0) == (4, 3)
    assert beats.crowd(700.0) == (0, 0), "who is silent for ten minutes is no witness"
