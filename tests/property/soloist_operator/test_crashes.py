"""The operator dies, is paused, or gets no answer at any of its requests, while it brings a bot up and while it takes one over.

A fresh process with an empty memory goes on (scenarios 9 and 16 of the protocol's evidence, the crash points in-process).
The real loop, the real fence, an exchange that checks every order: `fenced_cluster` has the invariants, `crashes` the rest.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import pytest
from soloist_operator.desired import ATTEMPTS_KEPT

from tests.property.soloist_operator.crashes import DIES, PAUSES, SCENES, UNANSWERED, Trouble, play
from tests.property.soloist_operator.fenced_cluster import FencedCluster

RUNS = 8
SHARES = 8
"""Requests are dealt out over so many tests, so that each stays short."""
LATEST_S = 20
"""What a death may cost on top: a process that starts now waits for 15 s of its own good health before it judges a silence."""
READS_PER_RUN = 12
WRITES = {
    "bring-up": {
        "patch tradingbots",
        "create jobs",
        "create accountclaims",
        "replace accountclaims",
        "apply statefulsets",
        "apply leases",
        "apply tradingbots",
    },
    "takeover of a lost node": {
        "replace accountclaims",
        "create jobs",
        "apply persistentvolumeclaims",
        "apply statefulsets",
        "delete pods",
        "patch pods",
        "apply leases",
        "apply tradingbots",
    },
}


@dataclass
class Calm:
    """A scene without trouble: its requests, the numbers of those that wrote, and what there is at its end."""

    scene: FencedCluster
    requests: int
    writes: list[int]
    epoch: int
    seconds: float
    rest: Counter[str]


@pytest.fixture(scope="module", params=SCENES)
def calm(request: pytest.FixtureRequest) -> Calm:
    scene = SCENES[request.param]()
    trouble = Trouble(DIES, 0, done=False)
    cluster, runs, epoch = play(scene, trouble)
    assert not trouble.met
    assert set(cluster.written) >= WRITES[request.param]
    assert runs >= RUNS, "too little happens"
    assert trouble.seen >= READS_PER_RUN * runs + len(trouble.writes), "requests that nobody counts"
    return Calm(scene, trouble.seen, trouble.writes, epoch, cluster.seconds, cluster.rest())


def again_with(calm: Calm, trouble: Trouble) -> tuple[float, int]:
    """Play the scene with trouble. Returns the seconds and the epochs that it cost."""
    cluster, _, epoch = play(calm.scene, trouble)
    assert trouble.met, trouble.request
    assert cluster.rest() == calm.rest, (trouble.request, "left over, or missing")
    assert cluster.attempts() <= ATTEMPTS_KEPT, trouble.request
    return cluster.seconds - calm.seconds, epoch - calm.epoch


@pytest.mark.parametrize("share", range(SHARES))
def test_an_operator_that_dies_at_any_request_is_followed_by_one_that_goes_on(
    calm: Calm, share: int, record_property: Callable[[str, object], None]
) -> None:
    before = [Trouble(DIES, point, done=False) for point in range(1 + share, calm.requests + 1, SHARES)]
    after = [Trouble(DIES, point, done=True) for point in calm.writes[share::SHARES]]
    costs = [again_with(calm, trouble) for trouble in (*before, *after)]
    assert len(costs) >= (calm.requests + len(calm.writes)) // SHARES - 1
    assert {epochs for _, epochs in costs} == {0, 1}, (
        "an epoch whose operator died is followed by the next, and that is enough"
    )
    assert max(seconds for seconds, _ in costs) <= LATEST_S
    record_property("points", len(costs))


@pytest.mark.parametrize("share", range(SHARES))
def test_an_operator_that_wakes_up_at_any_write_changes_nothing(calm: Calm, share: int) -> None:
    """Paused there until another one has done the work; it goes on with what it knew. A read in ten beside all writes."""
    points = [(point, done) for point in calm.writes for done in (False, True)]
    points += [(point, False) for point in range(1, calm.requests, 10)]
    for point, done in points[share::SHARES]:
        again_with(calm, Trouble(PAUSES, point, done=done))


def test_a_write_without_an_answer_is_made_up_for(calm: Calm) -> None:
    for point in calm.writes:
        for done in (False, True):
            again_with(calm, Trouble(UNANSWERED, point, done=done))
